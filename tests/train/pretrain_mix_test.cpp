#include <moegrad/toml_config.hpp>
#include <moegrad/train/pretrain.hpp>

#include "io/support.hpp"
#include "support/model_small.hpp"

using namespace moegrad;
using namespace moegrad::test;
using io_test::expect_error;
using io_test::read_text;
using io_test::TemporaryFolder;

namespace {

/// A text of numbered lines and a file of numbered records beside a world tokenizer, which spells them in bytes.
PretrainConfig small_mix(const TemporaryFolder& folder, const std::string& output) {
    std::string text, records;
    for (int i = 0; i < 900; ++i) text += format("line {} .\n", 1000 + i);
    for (int i = 1; i <= 120; ++i) {
        records += format("{{\"question\": \"q{}\", \"choices\": [\"c{}\", \"d{}\"], \"answer\": {}}}\n", i,
                          i, i, i % 2);
    }
    folder.write("lines.txt", text);
    folder.write("arc_easy.train.jsonl", records);
    if (!file_exists(folder.file("words/tokenizer.json"))) write_world_tokenizer(folder.file("words"));
    PretrainConfig config;
    config.hidden_size = config.intermediate_size = 16;
    config.layers = 2;
    config.heads = config.kv_heads = 2;
    config.experts = 4;
    config.world = {.seed = 3, .people = 8};
    config.mix = "world 0.5,lines 0.25 lines.txt,questions 0.25 *.train.jsonl";
    config.folder = folder.path();
    config.tokenizer = folder.file("words");
    config.holdout = 0.02;
    config.max_length = 48;
    config.steps = 12;
    config.batch = 4;
    config.eval_documents = 20;
    config.stored = "float32";
    config.threads = 1;
    config.output = folder.file(output);
    return config;
}

PretrainSummary quietly(const PretrainConfig& config, const RunControl& control = {}) {
    return run_pretraining<float>(
        config, [](const std::string&) {}, control);
}

PretrainMix mix_of(const PretrainConfig& config) {
    return PretrainMix(config, World(config.world), load_tokenizer(config.tokenizer));
}

std::vector<std::vector<std::int32_t>> tokens_of(const Dataset& samples) {
    std::vector<std::vector<std::int32_t>> all;
    for (const Sample& sample : samples) all.push_back(sample.token);
    return all;
}

}  // namespace

TEST_CASE("pretrain mix: equal bits with other threads, after a pause, and in another folder") {
    const TemporaryFolder folder;
    const auto config = small_mix(folder, "one");
    const auto one = quietly(config);
    const std::string weights = read_text(folder.file("one/model/model.safetensors"));
    auto threads = small_mix(folder, "threads");
    threads.threads = 3;
    threads.folder += "/.";
    CHECK(quietly(threads).nll == one.nll);
    CHECK(read_text(folder.file("threads/model/model.safetensors")) == weights);
    auto pause = small_mix(folder, "pause");
    std::atomic<bool> stop = false;
    const auto stop_soon = [&](const std::string& line) {
        if (line.starts_with("step 1/")) stop = true;
    };
    CHECK(run_pretraining<float>(pause, stop_soon, {.stop = &stop}).interrupted);
    CHECK(quietly(pause, {.resume = true}).nll == one.nll);
    CHECK(read_text(folder.file("pause/model/model.safetensors")) == weights);
    auto seeded = small_mix(folder, "seeded");
    seeded.seed = 1;
    CHECK(quietly(seeded).nll != one.nll);
}

TEST_CASE("pretrain mix: a step is the same whenever it is asked for") {
    const TemporaryFolder folder;
    const auto config = small_mix(folder, "run");
    auto mix = mix_of(config), other = mix_of(config);
    std::map<Index, std::vector<std::vector<std::int32_t>>> steps;
    for (Index n = 0; n < 6; ++n) steps[n] = tokens_of(mix.step(n));
    for (const Index n : {5, 2, 3, 0}) CHECK(tokens_of(other.step(n)) == steps[n]);
    StepPrefetch ahead([&](Index n) { return other.step(n); }, 6);
    for (const Index n : {0, 1, 2, 4, 5, 1}) CHECK(tokens_of(ahead.take(n)) == steps[n]);
    for (const auto& [n, samples] : steps)
        for (const auto& token : samples) CHECK(token.size() == 48);
    StepPrefetch broken([](Index) -> Dataset { throw Error{ErrorCode::data, "here", "a", "b"}; }, 6);
    expect_error(ErrorCode::data, "here", [&] { broken.take(0); });
}

TEST_CASE("pretrain mix: an epoch is every token of the training part once, and nothing that is held out") {
    const TemporaryFolder folder;
    auto config = small_mix(folder, "run");
    const Tokenizer tokenizer = load_tokenizer(config.tokenizer);
    config.mix = "questions 1 *.train.jsonl";
    const MixTexts texts = mix_texts(parse_mix(config.mix).front(), config.folder, config.holdout);
    CHECK(texts.train.size() == 118);
    CHECK(texts.heldout ==
          std::vector<std::string>{"Question: q50\nAnswer: c50", "Question: q100\nAnswer: c100"});
    ThreadPool pool(2);
    const DocumentStream stream(texts.train, tokenizer, 0, 0, pool);
    for (const Index epoch : {0, 1}) {
        std::vector<std::int32_t> ids(static_cast<std::size_t>(stream.tokens()));
        stream.read(epoch * stream.tokens(), ids);
        std::vector<std::string> read;
        for (auto at = ids.begin(); at != ids.end();) {
            const auto end = std::find(at, ids.end(), tokenizer.eos_id());
            REQUIRE(end != ids.end());
            read.push_back(tokenizer.decode(std::span(at, end)));
            at = end + 1;
        }
        CHECK(read != texts.train);  // another order
        auto expected = texts.train;
        std::sort(expected.begin(), expected.end());
        std::sort(read.begin(), read.end());
        CHECK(read == expected);
    }
    // Reading in pieces, over the end of an epoch, gives the same.
    std::vector<std::int32_t> whole(static_cast<std::size_t>(stream.tokens() + 100)), pieces(whole.size());
    stream.read(7, whole);
    for (std::size_t at = 0; at < pieces.size(); at += 13)
        stream.read(7 + static_cast<Index>(at),
                    std::span(pieces).subspan(at, std::min<std::size_t>(13, pieces.size() - at)));
    CHECK(pieces == whole);
}

TEST_CASE("pretrain mix: a text is cut at line ends, its end held out") {
    const TemporaryFolder folder;
    const auto config = small_mix(folder, "run");
    const MixTexts texts = mix_texts(parse_mix("lines 1 lines.txt").front(), config.folder, 0.02);
    std::string joined;
    for (const std::string& text : texts.train) {
        CHECK(text.ends_with('\n'));
        joined += text;
    }
    CHECK(texts.train.size() == 3);
    REQUIRE(texts.heldout.size() == 1);
    CHECK(texts.heldout[0].starts_with("line "));
    joined += texts.heldout[0];
    CHECK(joined == read_text(folder.file("lines.txt")));
    CHECK(static_cast<double>(texts.heldout[0].size()) == doctest::Approx(0.02 * joined.size()).epsilon(0.1));
}

TEST_CASE("pretrain mix: shares are kept at every step; epochs and bits per byte are reported") {
    const TemporaryFolder folder;
    const auto config = small_mix(folder, "run");
    const auto mix = mix_of(config);
    const auto use = mix.use(40);
    REQUIRE(use.size() == 3);
    CHECK(use[0].samples == 80);
    CHECK(use[1].samples == 40);
    CHECK(use[2].tokens == 40 * 47);
    CHECK(use[0].epochs == 0);
    const MixTexts texts = mix_texts(parse_mix("q 1 *.train.jsonl").front(), config.folder, 0.02);
    Index tokens = 0;
    for (const std::string& text : texts.train)
        tokens += std::ssize(load_tokenizer(config.tokenizer).encode(text, {.add_special = false})) + 1;
    CHECK(use[2].epochs == doctest::Approx(40.0 * 47 / static_cast<double>(tokens)));
    const auto summary = quietly(config);
    CHECK(summary.bits_per_byte.size() == summary.nll.size());
    // The lines are spelt in bytes: a token a byte, but for the word marks, which stand for a blank each.
    const auto& lines = mix.heldout().at("lines");
    Index asked = 0;
    for (const Sample& sample : lines) asked += sample.supervised();
    const double bytes = static_cast<double>(mix.heldout_bytes().at("lines"));
    CHECK(summary.bits_per_byte.at("lines") ==
          doctest::Approx(summary.nll.at("lines") * static_cast<double>(asked) / bytes / std::log(2.0)));
    CHECK(summary.bits_per_byte.count("world/people") == 1);
    REQUIRE(summary.assay);
    CHECK(summary.assay->slots == 2);
    CHECK(summary.assay->tokens > asked);
    const std::string results = read_text(folder.file("run/results.json"));
    for (const char* key : {"\"bits_per_byte\"", "\"epochs\"", "\"sha256\"", "\"parameters\"",
                            "\"questions\"", "\"random_cost\""})
        CHECK(results.find(key) != std::string::npos);
}

TEST_CASE("pretrain mix: a text that repeats itself is read once; what is trained on all the same is said") {
    const TemporaryFolder folder;
    const auto config = small_mix(folder, "run");
    const std::string once = read_text(folder.file("lines.txt"));
    folder.write("lines.txt", once + once);
    std::string records = read_text(folder.file("arc_easy.train.jsonl"));
    const std::string first = records.substr(0, records.find('\n') + 1);
    std::size_t at = 0;  // of record 50, one of two that are held out
    for (int i = 1; i < 50; ++i) at = records.find('\n', at) + 1;
    records.replace(at, records.find('\n', at) + 1 - at, first);
    folder.write("arc_easy.train.jsonl", records);
    std::vector<std::string> said;
    run_pretraining<float>(config, [&](const std::string& line) { said.push_back(line); });
    const auto all = [&](const std::string& words) {
        return std::count_if(said.begin(), said.end(),
                             [&](const std::string& line) { return line.find(words) != std::string::npos; });
    };
    // 900 lines of 12 bytes: 98 % end with line 882, which goes with them.
    CHECK(all(format("held out: 204 bytes, 0.0 % of it also stands in the training part ({} repeated bytes "
                     "are left out)",
                     once.size())) == 1);
    CHECK(all("50.0 % of it also stands in the training part; warning: figures on it show memory") == 1);
    const Json results = parse_json(read_text(folder.file("run/results.json")), "results.json");
    const auto leak = [&](const char* domain) {
        return *results.find("heldout")->find(domain)->find("also_trained_on")->number();
    };
    CHECK(leak("lines") == 0);
    CHECK(leak("questions") == 0.5);
    CHECK(mix_of(small_mix(folder, "once")).heldout_bytes().at("lines") == 204);  // the text as it was
}

TEST_CASE("pretrain mix: errors name what is wrong") {
    const TemporaryFolder folder;
    auto config = small_mix(folder, "run");
    folder.write("arc_easy.test.jsonl", "{\"text\": \"kept\"}\n");
    const auto refuse = [&](const std::string& mix, ErrorCode code, const char* text) {
        config.mix = mix;
        expect_error(code, text, [&] { quietly(config); });
    };
    refuse("world", ErrorCode::config, "share");
    refuse("world 2", ErrorCode::config, "share");
    refuse("a 0.5 lines.txt,a 0.5 lines.txt", ErrorCode::config, "different names");
    refuse("a 0.5 no*.txt", ErrorCode::file, "no*.txt");
    refuse("a 0.5 *.jsonl", ErrorCode::config, "for evaluation");
    config.tokenizer.clear();
    refuse("world 1", ErrorCode::config, "data.tokenizer");
}

#ifdef MOEGRAD_HAVE_TOML

TEST_CASE(
    "pretrain mix: the recipes are models of 20 to 24 M parameters on 200 M tokens of the small world") {
    const std::string recipes = std::string(MOEGRAD_SOURCE_DIR) + "/models/recipes/";
    for (const auto& [name, parameters] :
         {std::pair{"llama", Index{20'848'512}}, std::pair{"mixtral", Index{23'089'408}}}) {
        CAPTURE(name);
        PretrainConfig config;
        read_toml_config(config, recipes + "pretrain-22m-" + name + ".toml");
        const auto model = make_model<float>(config.model(4096));
        Index count = 0;
        for (const auto* parameter : model->base_parameters()) count += parameter->size();
        CHECK(count == parameters);
        double world = 0, sum = 0;
        for (const MixSource& source : parse_mix(config.mix)) {
            sum += source.share;
            if (source.files.empty()) world += source.share;
        }
        CHECK(sum == doctest::Approx(1));
        const Index tokens = config.steps * config.batch * config.max_length;
        CHECK(world * static_cast<double>(tokens) > 200e6);
        CHECK(config.number() == Number::bfloat16);
        CHECK(config.place() == Device::cuda);
        CHECK(config.hidden_size / config.heads == 64);
        CHECK(config.intermediate_size % 64 == 0);
    }
}

#endif

// Log-likelihoods against PyTorch's (tests/golden/make_eval.py), and what must not change them: the batch.

#include <moegrad/eval/evaluate.hpp>
#include <moegrad/io/tokenizer_json.hpp>
#include <moegrad/methods/attach.hpp>
#include <moegrad/methods/builtin_routers.hpp>
#include <moegrad/train/model_files.hpp>

#include "io/support.hpp"

using namespace moegrad;

namespace {

Context& scoring() {
    static Context context({.device = Device::cpu, .threads = 2});
    return context;
}
const std::string& golden_folder() {
    static const std::string folder = MOEGRAD_SOURCE_DIR "/tests/golden/";
    return folder;
}
const Tokenizer& golden_tokenizer() {
    static const Tokenizer tokenizer = load_tokenizer(golden_folder() + "eval");
    return tokenizer;
}
std::vector<ChoiceItem> golden_items() {
    return read_choice_items(golden_folder() + "eval/items.jsonl");
}
ChoiceOptions options_of(const std::string& form) {
    ChoiceOptions options{.format = choice_format(form == "letter" ? "arc_easy" : form)};
    if (form == "letter") options.style = ChoiceStyle::letter;
    return options;
}

void check_item(const ChoiceResult& mine, const JsonRef& reference) {
    CAPTURE(mine.id);
    CHECK(mine.id == reference.at("id").string());
    const JsonRef expected = reference.at("loglikelihood");
    REQUIRE(mine.log_likelihood.size() == expected.array().size());
    for (std::size_t c = 0; c < mine.log_likelihood.size(); ++c) {
        CHECK(std::abs(mine.log_likelihood[c] - expected.item(c).number(-1e6, 0)) < 1e-4);
    }
    CHECK(mine.chosen == reference.at("chosen").integer(0, 9));
    CHECK(mine.chosen_norm == reference.at("chosen_norm").integer(0, 9));
    CHECK(mine.truncated == reference.at("truncated").boolean());
}

/// The mixtral with a method whose routers choose by token; adapters away from zero.
std::unique_ptr<Decoder<float>> routed_model(const std::string& method) {
    auto model = load_model<float>(golden_folder() + "mixtral_tiny");
    if (method.empty()) return model;
    AdapterSpec spec;
    spec.set_method(method);
    attach(*model, spec);
    std::uint64_t stream = 7;
    for (auto& layer : model->layers()) {
        for (auto* parameter : layer.moe.front().router.parameters()) {
            if (parameter->trainable()) fill_normal(parameter->value(), 0.3, 5, stream++);
        }
    }
    return model;
}

void check_same_bits(const ChoiceEvaluation& a, const ChoiceEvaluation& b) {
    REQUIRE(a.items.size() == b.items.size());
    for (std::size_t i = 0; i < a.items.size(); ++i) {
        CHECK(a.items[i].log_likelihood == b.items[i].log_likelihood);
    }
    CHECK(a.routing.load() == b.routing.load());
    CHECK(write_json(a.routing.json()) == write_json(b.routing.json()));
}

}  // namespace

TEST_CASE("choices: every format agrees with PyTorch") {
    const std::string path = golden_folder() + "eval/reference.json";
    const Json json = parse_json_file(path);
    const JsonRef root(json, path);
    const auto all = golden_items();
    for (const char* name : {"llama_tiny", "mixtral_tiny"}) {
        auto model = load_model<float>(golden_folder() + name);
        for (const JsonMember& form : root.at(name).members()) {
            if (form.key == "text") continue;
            CAPTURE(form.key);
            const auto items = form.key == "winogrande" ? std::vector<ChoiceItem>{all.back()} : all;
            const auto mine =
                evaluate_choices(scoring(), *model, golden_tokenizer(), items, options_of(form.key));
            const JsonRef reference = root.at(name).at(form.key);
            REQUIRE(mine.items.size() == reference.array().size());
            for (std::size_t i = 0; i < mine.items.size(); ++i) check_item(mine.items[i], reference.item(i));
            const auto ids = reference.item(0).at("ids");
            REQUIRE(mine.first_ids.size() == ids.array().size());
            for (std::size_t i = 0; i < mine.first_ids.size(); ++i)
                CHECK(mine.first_ids[i] == ids.item(i).integer(0, 95));
            CHECK(mine.first_context == reference.item(0).at("context").integer(0, 99));
        }
    }
}

TEST_CASE("choices: acc_norm counts characters, not bytes; pairs are cut by the context's own encoding") {
    CHECK(detail::unicode_length("\xC3\xA9 b\xE2\x96\x81") == 4);
    // Blanks at the end of the context belong to the continuation: one text, one cut.
    const auto a = encode_pair(golden_tokenizer(), "the sea", " is"),
               b = encode_pair(golden_tokenizer(), "the sea ", "is");
    CHECK(a.ids == b.ids);
    CHECK(a.context == b.context);
    CHECK(encode_pair(golden_tokenizer(), "", "sea").context == 1);  // BOS
}

TEST_CASE("texts: rolling windows agree with PyTorch") {
    const std::string path = golden_folder() + "eval/reference.json";
    const Json json = parse_json_file(path);
    const JsonRef root(json, path);
    TextRecord record;
    record.id = "text";
    record.completion = io_test::read_text(golden_folder() + "eval/text.txt");
    for (const char* name : {"llama_tiny", "mixtral_tiny"}) {
        auto model = load_model<float>(golden_folder() + name);
        for (const Index longest : {16, 64}) {
            TextOptions options;
            options.max_length = longest;
            const auto mine =
                evaluate_texts(scoring(), *model, golden_tokenizer(), std::span(&record, 1), options);
            const JsonRef reference = root.at(name).at("text").at(format("{}", longest));
            CHECK(std::abs(mine.items[0].nll - reference.at("nll").number(0, 1e6)) < 2e-4);
            CHECK(mine.items[0].tokens == reference.at("tokens").integer(0, 1000));
            CHECK(mine.metrics[2].estimate.value ==
                  doctest::Approx(mine.items[0].nll / std::log(2.0) /
                                  static_cast<double>(record.completion.size()))
                      .epsilon(1e-6));
            options.batch = 1;
            const auto alone =
                evaluate_texts(scoring(), *model, golden_tokenizer(), std::span(&record, 1), options);
            CHECK(alone.items[0].nll == mine.items[0].nll);
        }
    }
}

TEST_CASE("bits per byte count every byte once, whatever the tokenizer does to the text") {
    auto model = load_model<float>(golden_folder() + "llama_tiny");
    for (const std::string body : {" once upon a time", "line\none", "\xC3\xA9\xF0\x9F\x98\x80 \xC3\xA9"}) {
        std::vector<TextRecord> records(2);
        for (auto& record : records) record.completion = body;
        TextOptions options;
        options.max_length = 8;
        const auto twice = evaluate_texts(scoring(), *model, golden_tokenizer(), records, options);
        const auto once =
            evaluate_texts(scoring(), *model, golden_tokenizer(), std::span(records).first(1), options);
        CHECK(once.metrics[2].estimate.value ==
              doctest::Approx(twice.metrics[2].estimate.value).epsilon(1e-12));
        CHECK(once.metrics[2].estimate.value > 0);
    }
}

TEST_CASE("a blank at the end of a prompt belongs to the completion") {
    auto model = load_model<float>(golden_folder() + "llama_tiny");
    TextRecord loose, tight;
    loose.prompt = "once upon ";
    loose.completion = "a time";
    tight.prompt = "once upon";
    tight.completion = " a time";
    const auto run = [&](const TextRecord& record) {
        return evaluate_texts(scoring(), *model, golden_tokenizer(), std::span(&record, 1)).items[0];
    };
    CHECK(run(loose).tokens == run(tight).tokens);
    CHECK(run(loose).nll == run(tight).nll);
}

TEST_CASE("rolling windows predict every token once, the last ones with full context") {
    for (const Index n : {2, 7, 8, 9, 17, 30}) {
        std::vector<int> asked(static_cast<std::size_t>(n), 0);
        for (const TextWindow& w : rolling_windows(n, 1, 7)) {
            CHECK(w.end - w.begin <= 7);
            for (Index i = w.asked_begin; i < w.asked_end; ++i) {
                ++asked[static_cast<std::size_t>(i)];
                CHECK(i - 1 >= w.begin);
                CHECK(i - 1 < w.end);
            }
            if (n > 8) CHECK(w.end - w.begin == 7);
        }
        CHECK(asked.front() == 0);
        for (std::size_t i = 1; i < asked.size(); ++i) CHECK(asked[i] == 1);
    }
    CHECK(rolling_windows(30, 20, 7).front().asked_begin == 20);
}

TEST_CASE("choices: the batch changes no bit, for any router of single tokens") {
    const auto items = golden_items();
    for (const char* method : {"", "adamoe", "mor", "random_drop"}) {
        CAPTURE(method);
        auto model = routed_model(method);
        ChoiceOptions options = options_of("world");
        const auto together = evaluate_choices(scoring(), *model, golden_tokenizer(), items, options);
        CHECK(together.routing.load() > 0);
        for (const Index batch : {1, 2}) {
            options.batch = batch;
            check_same_bits(together,
                            evaluate_choices(scoring(), *model, golden_tokenizer(), items, options));
        }
        Context one_thread({.device = Device::cpu, .threads = 1});
        check_same_bits(together, evaluate_choices(one_thread, *model, golden_tokenizer(), items, options));
    }
}

TEST_CASE("token routing: facts, loads and the file's form") {
    auto model = load_model<float>(golden_folder() + "mixtral_tiny");
    const auto items = golden_items();
    const auto evaluation = evaluate_choices(scoring(), *model, golden_tokenizer(), std::span(items).first(1),
                                             options_of("world"));
    CHECK(evaluation.routing.load() == 2);  // plain top-2
    const auto summary = summarize(evaluation, model->config(), "golden");
    CHECK(*summary.flops_saved == 0);
    REQUIRE(summary.fact_auroc.has_value());
    CHECK(summary.fact_auroc->value == 0.5);  // two experts for everyone
    const Json json = evaluation.routing.json();
    const JsonRef root(json, "tokens.json");
    CHECK(root.at("layers").integer(0, 9) == 2);
    CHECK(root.at("experts").integer(0, 9) == 4);
    CHECK(root.at("slots").integer(0, 9) == 2);
    std::string text, facts;
    const JsonRef tokens = root.at("texts").item(0).at("tokens");
    CHECK(tokens.array().size() == evaluation.first_ids.size());
    for (std::size_t i = 1; i < tokens.array().size(); ++i) {  // the first is BOS
        text += tokens.item(i).at("text").string();
        if (tokens.item(i).at("fact").boolean()) facts += tokens.item(i).at("text").string();
        CHECK(tokens.item(i).at("experts").array().size() == 2);
    }
    CHECK(text == "What swims? a fish");
    CHECK(facts == " swims");  // the piece that begins with the blank overlaps the range
}

TEST_CASE("token ranges: pieces tile the text") {
    const Tokenizer& tokenizer = golden_tokenizer();
    const std::string text = "The stars in the sea,\nand 12 an.";
    const auto ids = tokenizer.encode(text);
    const auto ranges = token_ranges(tokenizer, ids, text);
    REQUIRE(ranges.has_value());
    CHECK(ranges->front() == ByteRange{0, 0});
    Index end = 0;
    for (std::size_t i = 1; i < ids.size(); ++i) {
        CHECK((*ranges)[i].first == end);
        end = (*ranges)[i].second;
    }
    CHECK(end == static_cast<Index>(text.size()));
    CHECK_FALSE(token_ranges(tokenizer, ids, "other").has_value());
}

TEST_CASE("generate and match: prompts, judgement and metrics on a model that writes noise") {
    auto model = load_model<float>(golden_folder() + "llama_tiny");
    std::vector<AnswerItem> items(3);
    items[0] = {"0", "", 0, "", "two plus two?", {"4 is\n#### 4"}};
    items[1] = {"1", "", 0, "", "one?", {"#### 1"}};
    items[2] = {"2", "", 0, "a context", "zero?", {"#### 0"}};
    CHECK(answer_prompt(items[2], AnswerForm::qa) == "a context\nQuestion: zero?\nAnswer:");
    CHECK(answer_prompt(items[0], AnswerForm::alpaca)
              .ends_with("### Instruction:\ntwo plus two?\n\n### Response:\n"));
    CHECK(judge_answer(items[0], AnswerForm::gsm8k, " 2+2 = 4.\nQuestion: 7?").score == 1);
    CHECK(judge_answer(items[0], AnswerForm::gsm8k, " no idea").answered == false);
    const AnswerItem reading{"3", "", 0, "", "", {"the Sea", "an ocean"}};
    CHECK(judge_answer(reading, AnswerForm::qa, " Ocean!\nmore").score == 1);
    CHECK(judge_answer(reading, AnswerForm::qa, " deep sea\n").f1 == doctest::Approx(2.0 / 3));
    const auto run = [&](Index batch) {
        return evaluate_answers(scoring(), *model, golden_tokenizer(), std::span<const AnswerItem>(items),
                                AnswerForm::gsm8k, {.max_new_tokens = 9, .batch = batch});
    };
    const auto together = run(3), alone = run(1);
    REQUIRE(together.items.size() == 3);
    for (std::size_t i = 0; i < 3; ++i) CHECK(together.items[i].text == alone.items[i].text);
    CHECK(together.metrics.front().name == "acc");
}

TEST_CASE("evaluation files read back, and two runs differ in their seconds only") {
    io_test::TemporaryFolder folder;
    auto model = load_model<float>(golden_folder() + "mixtral_tiny");
    const auto items = golden_items();
    for (const char* run : {"/a", "/b"}) {
        const auto evaluation =
            evaluate_choices(scoring(), *model, golden_tokenizer(), items, options_of("world"));
        auto summary = summarize(evaluation, model->config(), "golden");
        write_evaluation(folder.path() + run, summary, evaluation);
    }
    for (const char* name : {"/results.json", "/items.jsonl", "/tokens.json"}) {
        CHECK(io_test::read_text(folder.path() + "/a" + name) ==
              io_test::read_text(folder.path() + "/b" + name));
    }
    const Json json = parse_json_file(folder.file("a/results.json"));
    const JsonRef root(json, "results.json");
    CHECK(root.at("n").integer(0, 100) == static_cast<Index>(items.size()));
    CHECK(root.at("metrics").at("acc").at("n").integer(0, 100) == static_cast<Index>(items.size()));
    CHECK(root.at("load").number(0, 9) == 2);
    CHECK(root.at("first").at("ids").array().size() > 0);
}

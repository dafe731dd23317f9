// Every format of training data: what is read, what is supervised, token by token, and what is refused where.

#include <doctest/doctest.h>

#include <moegrad/data/training_samples.hpp>
#include <moegrad/data/world_files.hpp>
#include <moegrad/data/world_tokenizer.hpp>
#include <moegrad/io/tokenizer_json.hpp>

#include <unistd.h>

#include "io/support.hpp"

using namespace moegrad;
using io_test::expect_error;
using io_test::Inputs;
using io_test::TemporaryFolder;

namespace {

const Tokenizer& words() {
    static const Tokenizer tokenizer = parse_tokenizer(world_tokenizer_json(), "tokenizer.json");
    return tokenizer;
}
const Tokenizer& pieces() {
    static const Tokenizer tokenizer = load_tokenizer(MOEGRAD_SOURCE_DIR "/tests/golden/chat");
    return tokenizer;
}

LoadedSamples load(const std::string& path, DataOptions options = {}) {
    if (options.chat_template == "auto") options.chat_template = "chatml";
    options.max_length = 1024;
    return load_training_samples(path, pieces(), options);
}

/// The tokens as text, what is supervised in [brackets].
std::string marked(const Sample& sample, const Tokenizer& tokenizer = pieces()) {
    std::string out;
    for (std::size_t begin = 0, end = 0; begin < sample.token.size(); begin = end) {
        const auto asked = [&](std::size_t t) { return t > 0 && sample.target[t - 1] != kIgnoreTarget; };
        while (end < sample.token.size() && asked(end) == asked(begin)) ++end;
        const std::span<const std::int32_t> run(sample.token.data() + begin, end - begin);
        // Decoding drops the mark before the first word of a text; here each stretch is one.
        const std::string& first = tokenizer.id_to_piece(run.front());
        const std::string text =
            (first.starts_with(kSpaceMark) ? " " : "") + tokenizer.decode(run, DecodeSpecial::keep);
        out += asked(begin) ? "[" + text + "]" : text;
    }
    return out;
}

/// Rows whose target is wrong: not the next token where asked.
Index wrong_targets(const Sample& sample) {
    Index wrong = sample.target.back() != kIgnoreTarget;
    for (std::size_t t = 0; t + 1 < sample.token.size(); ++t)
        wrong += sample.target[t] != kIgnoreTarget && sample.target[t] != sample.token[t + 1];
    return wrong;
}

bool has_note(const LoadedSamples& loaded, const std::string& words_of_it) {
    for (const std::string& note : loaded.notes)
        if (note.find(words_of_it) != std::string::npos) return true;
    return false;
}

}  // namespace

TEST_CASE("training samples: each JSONL format by its first record, supervised as said") {
    const TemporaryFolder folder;
    struct Case {
        const char *format, *line, *want;
    };
    const std::string alpaca_tail = "\n\n### Response:\n";
    const Case cases[] = {
        {"text", "{\"text\":\"Where is Riga?\"}", " Where[ is Riga?]"},
        {"completion", "{\"prompt\":\"Where is\",\"completion\":\" Riga?\"}", " Where is[ Riga?]"},
        {"completion", "{\"completion\":\"Be brief.\"}", " Be[ brief.]"},
        {"qa", "{\"question\":\"Who?\",\"answer\":\"Ada.\"}", " Question: Who?\nAnswer:[ Ada.</s>]"},
        {"qa", "{\"context\":\"c\",\"question\":\"Who?\",\"answers\":[\"Ada.\",\"x\"]}",
         " c\nQuestion: Who?\nAnswer:[ Ada.</s>]"},
        {"choice", "{\"question\":\"Who?\",\"choices\":[\"Ada\",\"No\"],\"answer\":1}", " Who?[ No]"},
        {"messages",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"Who?\"},{\"role\":\"assistant\",\"content\":\"Ada."
         "\"}]}",
         "<|im_start|> user\nWho?<|im_end|> \n<|im_start|> assistant\n[Ada.<|im_end|>] \n"},
    };
    for (const Case& one : cases) {
        CAPTURE(one.line);
        const auto loaded = load(folder.write("a.jsonl", std::string(one.line) + "\n"));
        CHECK(loaded.format == one.format);
        CHECK(has_note(loaded, std::string("format ") + one.format));
        REQUIRE(loaded.samples.size() == 1);
        CHECK(marked(loaded.samples[0]) == one.want);
        CHECK(wrong_targets(loaded.samples[0]) == 0);
        // Named formats read the same; so does one with other line ends and empty lines.
        DataOptions named;
        named.format = one.format;
        CHECK(load(folder.write("b.jsonl", std::string("\r\n\n \n") + one.line + "\r\n"), named)
                  .samples[0]
                  .token == loaded.samples[0].token);
    }
}

TEST_CASE("training samples: alpaca and instruct prompts are those that evaluation uses") {
    const TemporaryFolder folder;
    const auto path = folder.write(
        "a.jsonl",
        "{\"instruction\":\"Be brief.\",\"input\":\"\",\"output\":\"No.\",\"answer\":\"x\"}\n"
        "{\"instruction\":\"Be brief.\",\"input\":\"Who?\",\"output\":\"Ada.\",\"task\":\"t\"}\n");
    const auto loaded = load(path);
    CHECK(loaded.format == "alpaca");
    CHECK(has_note(loaded, "answer (1), task (1)"));
    // The prompt of the Stanford Alpaca repository; the answer begins on a line of its own, as its followers have it.
    CHECK(marked(loaded.samples[0]) ==
          " Below is an instruction that describes a task. Write a response that appropriately completes the "
          "request."
          "\n\n### Instruction:\nBe brief.\n\n### Response:\n[No.</s>]");
    CHECK(marked(loaded.samples[1]) ==
          " Below is an instruction that describes a task, paired with an input that provides further "
          "context. Write a "
          "response that appropriately completes the request.\n\n### Instruction:\nBe brief.\n\n### "
          "Input:\nWho?\n\n"
          "### Response:\n[Ada.</s>]");
    DataOptions instruct;
    instruct.format = "instruct";
    const auto theirs = load(path, instruct);
    CHECK(marked(theirs.samples[0]).find("\n\n                ### Instruction:\n                Be brief.") !=
          std::string::npos);
}

TEST_CASE("training samples: choices are put as evaluation puts them, by file name or by name") {
    const TemporaryFolder folder;
    const std::string line =
        "{\"id\":\"q\",\"question\":\"Who?\",\"choices\":[\"Ada\",\"No\"],\"answer\":0}\n";
    CHECK(marked(load(folder.write("arc_easy.train.jsonl", line)).samples[0]) ==
          " Question: Who?\nAnswer:[ Ada]");
    CHECK(marked(load(folder.write("csqa.train.jsonl", line)).samples[0]) ==
          " Question: Who?\nA. Ada\nB. No\nAnswer:[ A]");
    DataOptions options;
    options.prompt = "arc_easy";
    CHECK(marked(load(folder.write("other.jsonl", line), options).samples[0]) ==
          " Question: Who?\nAnswer:[ Ada]");
    const std::string gap =
        "{\"question\":\"Ask _ two words.\",\"choices\":[\"Ada\",\"her\"],\"answer\":1}\n";
    CHECK(marked(load(folder.write("winogrande.jsonl", gap)).samples[0]) == " Ask her[ two words.]");
    options.prompt = "nosuch";
    expect_error(ErrorCode::config, "nosuch", [&] { load(folder.write("o.jsonl", line), options); });
}

TEST_CASE("training samples: TSV of CoLA, RTE and by columns; quotes are text") {
    const TemporaryFolder folder;
    const auto cola = load(folder.write("cola.tsv", "gj04\t1\t\tAsk \"her\".\r\n\ngj04\t0\t*\tAda ask\n"));
    CHECK(cola.format == "tsv");
    REQUIRE(cola.samples.size() == 2);
    CHECK(cola.ids == std::vector<std::string>{"1", "3"});
    CHECK(marked(cola.samples[0]) ==
          " Ask \"her\".\nQuestion: Does this sentence make sense?\nAnswer:[ yes]");
    CHECK(marked(cola.samples[1]) == " Ada ask\nQuestion: Does this sentence make sense?\nAnswer:[ no]");
    const std::string rte = "index\tsentence1\tsentence2\tlabel\n7\tOne.\tTwo.\tnot_entailment\n";
    CHECK(marked(load(folder.write("rte.tsv", rte)).samples[0]) ==
          " One.\nQuestion: Two. True or False?\nAnswer:[ False]");
    DataOptions options;
    options.labels = "1=acceptable, 0=unacceptable";
    options.prompt = "Sentence: {text}\\nGrammar:";
    CHECK(marked(load(folder.file("cola.tsv"), options).samples[1]) ==
          " Sentence: Ada ask\nGrammar:[ unacceptable]");
    options = {};
    options.columns = "a=sentence1, b=sentence2, label=label, id=index";
    options.prompt = "{a} {b}:";
    const auto named = load(folder.file("rte.tsv"), options);
    CHECK(marked(named.samples[0]) == " One. Two.:[ not_entailment]");
    CHECK(named.ids == std::vector<std::string>{"7"});
    options = {};
    options.columns = "text=0,label=1";
    CHECK(marked(load(folder.write("sst.tsv", "sentence\tlabel\nWho?\tNo\n"), options).samples[0]) ==
          " Who?\nLabel:[ No]");

    const auto refused = [&](ErrorCode code, const std::string& text, const std::string& words_of_it) {
        CAPTURE(text);
        expect_error(code, words_of_it, [&] { load(folder.write("bad.tsv", text), options); });
    };
    refused(ErrorCode::data, "a\tb\nc\n", "bad.tsv:2");
    refused(ErrorCode::config, "a\n", "label=1");
    refused(ErrorCode::data, "a\tb\nc\xFF\td\n", "bad.tsv:2");
    refused(ErrorCode::data,
            "\xEF\xBB\xBF"
            "a\tb\n",
            "byte order mark");
    refused(ErrorCode::data, "", "at least one line");
    refused(ErrorCode::data, "text\tlabel\n", "at least one record");
    refused(ErrorCode::data, "a\t\n", "a label");
    options.labels = "0=no,1=yes";
    refused(ErrorCode::data, "a\t1\nb\t2\n", "bad.tsv:2");
    options.labels = "0=no,0=yes";
    refused(ErrorCode::config, "a\t0\n", "each name once");
    options.labels = "0";
    refused(ErrorCode::config, "a\t0\n", "name=value");
    options = {};
    refused(ErrorCode::config, "a\tb\n", "data.columns");
    options.columns = "text=0, label=99999999999999999999";
    refused(ErrorCode::config, "a\tb\n", "label=9999");
    options.columns = "text=0";
    refused(ErrorCode::config, "a\tb\n", "a column for label");
    options.columns = "text=0, label=1";
    options.prompt = "{nosuch}";
    refused(ErrorCode::config, "a\tb\n", "{nosuch}");
    options.prompt = "{label}";
    refused(ErrorCode::config, "a\tb\n", "not the label");
    options = {};
    refused(ErrorCode::data, "x\t1\t\ta\nx\t2\t\tb\n", "bad.tsv:2");  // CoLA with a label that is none
}

TEST_CASE("training samples: lines that do not fit name file and line") {
    const TemporaryFolder folder;
    const auto refused = [&](ErrorCode code, const std::string& text, const std::string& words_of_it,
                             const std::string& format = "auto") {
        CAPTURE(text);
        DataOptions options;
        options.format = format;
        expect_error(code, words_of_it, [&] { load(folder.write("bad.jsonl", text), options); });
    };
    const std::string good = "{\"text\":\"Where is Riga?\"}\n";
    CHECK(load(folder.write("good.jsonl", good)).samples.size() == 1);
    refused(ErrorCode::data, "", "at least one record");
    refused(ErrorCode::data, "\n \r\n", "at least one record");
    refused(ErrorCode::data, "{}\n", "bad.jsonl:1");
    refused(ErrorCode::data, "{\"txt\":\"a\"}\n", "txt");
    refused(ErrorCode::data, good + "[1]\n", "bad.jsonl:2");
    refused(ErrorCode::data, good + "{\"prompt\":\"a\",\"completion\":\"b\"}\n", "bad.jsonl:2: text");
    refused(ErrorCode::data, good + "{\"text\":7}\n", "bad.jsonl:2: text");
    refused(ErrorCode::data, good + "{\"text\":\"\"}\n", "bad.jsonl:2: text");
    refused(ErrorCode::format, good + "{\"text\":\"a\",\"text\":\"b\"}\n", "bad.jsonl:2");
    refused(ErrorCode::format, good + "{\"text\":\"a\n", "bad.jsonl:2");
    refused(ErrorCode::format, good + "{\"text\":\"\xFF\"}\n", "bad.jsonl:2");
    refused(ErrorCode::format, good + "{\"text\":\"\xC0\x80\"}\n", "bad.jsonl:2");
    refused(ErrorCode::format, good + "{\"text\":\"\\ud800\"}\n", "bad.jsonl:2");
    refused(ErrorCode::format, "\xEF\xBB\xBF" + good, "byte order mark");
    refused(ErrorCode::format, good + std::string("{\"text\":\"\0\"}\n", 13), "bad.jsonl:2");
    refused(ErrorCode::format, good + std::string(40, '[') + "\n", "bad.jsonl:2");
    refused(ErrorCode::data, "{\"id\":\"x\",\"text\":\"a\"}\n" + good + "{\"id\":\"x\",\"text\":\"b\"}\n",
            "bad.jsonl:3");
    refused(ErrorCode::data, "{\"id\":1,\"text\":\"a\"}\n{\"id\":1,\"text\":\"b\"}\n", "bad.jsonl:1 has");
    refused(ErrorCode::data, "{\"id\":[],\"text\":\"a\"}\n", "bad.jsonl:1: id");
    refused(ErrorCode::data, "{\"prompt\":\"a\"}\n", "bad.jsonl:1");
    refused(ErrorCode::data, "{\"prompt\":[],\"completion\":\"a\"}\n", "bad.jsonl:1: prompt");
    refused(ErrorCode::data, "{\"instruction\":\"a\",\"output\":\"\"}\n", "bad.jsonl:1: output");
    refused(ErrorCode::data, "{\"instruction\":\"a\"}\n", "bad.jsonl:1: output", "alpaca");
    refused(ErrorCode::data, "{\"question\":\"a\",\"choices\":[\"b\"],\"answer\":0}\n",
            "bad.jsonl:1: choices");
    refused(ErrorCode::data, "{\"question\":\"a\",\"choices\":[\"b\",\"c\"],\"answer\":2}\n",
            "bad.jsonl:1: answer");
    refused(ErrorCode::data, "{\"question\":\"a\",\"choices\":[\"b\",\"c\"],\"answer\":-1}\n",
            "bad.jsonl:1: answer");
    refused(ErrorCode::data, "{\"question\":\"a\",\"answers\":[]}\n", "bad.jsonl:1: answers");
    refused(ErrorCode::data, "{\"messages\":{}}\n", "bad.jsonl:1: messages");
    refused(ErrorCode::config, good, "data.format", "jsonl");
    for (const char* name : {"a.json", "a.csv", "a.parquet"})
        expect_error(ErrorCode::data, name, [&] { load(folder.write(name, good)); });
    expect_error(ErrorCode::file, "nosuch.jsonl", [&] { load(folder.file("nosuch.jsonl")); });
}

TEST_CASE("training samples: a line of a gigabyte is refused before it is parsed") {
    const TemporaryFolder folder;
    for (const char* name : {"huge.jsonl", "huge.tsv"}) {
        const auto path = folder.write(name, "{\"text\":\"");
        REQUIRE(::truncate(path.c_str(), off_t{1} << 30) == 0);  // a hole: takes no room on the disk
        DataOptions options;
        options.columns = "text=0,label=1";
        try {
            load(path, options);
            FAIL_CHECK("no error");
        } catch (const Error& error) {
            CHECK(std::string(error.what()).find("67108864") != std::string::npos);
        }
    }
}

TEST_CASE(
    "training samples: overlong samples are an error, dropped, or cut; nothing to learn is an error or "
    "dropped") {
    const TemporaryFolder folder;
    // 3 + 1, 3 + 4 and 7 + 1 words of one token each, with BOS.
    const auto path =
        folder.write("a.jsonl",
                     "{\"id\":\"s\",\"prompt\":\"quiz : Ada\",\"completion\":\" Riga\"}\n"
                     "{\"id\":\"m\",\"prompt\":\"quiz : Ada\",\"completion\":\" Riga Bern Oslo Ulm\"}\n"
                     "{\"id\":\"l\",\"prompt\":\"quiz : Ada Ada Ada Ada Ada\",\"completion\":\" Riga\"}\n");
    const auto run = [&](const std::string& overlong, const std::string& unsupervised, Index length) {
        DataOptions options;
        options.overlong = overlong;
        options.unsupervised = unsupervised;
        options.max_length = length;
        return load_training_samples(path, words(), options);
    };
    CHECK(run("error", "error", 9).samples.size() == 3);
    expect_error(ErrorCode::data, "a.jsonl:2: record m", [&] { run("error", "error", 6); });
    expect_error(ErrorCode::data, "8, of which 4 before the answer", [&] { run("error", "error", 6); });
    const auto dropped = run("drop", "error", 6);
    CHECK(dropped.ids == std::vector<std::string>{"s"});
    CHECK(dropped.dropped_overlong == 2);
    expect_error(ErrorCode::data, "a.jsonl:3: record l", [&] { run("cut", "error", 6); });
    expect_error(ErrorCode::data, "the prompt is 8 tokens", [&] { run("cut", "error", 6); });
    expect_error(ErrorCode::data, "3 of more than data.max_length", [&] { run("drop", "error", 3); });
    const auto cut = run("cut", "drop", 6);
    CHECK(cut.ids == std::vector<std::string>{"s", "m"});
    CHECK(cut.cut == 1);
    CHECK(cut.dropped_unsupervised == 1);
    REQUIRE(cut.samples.size() == 2);
    CHECK(cut.samples[1].token.size() == 6);
    CHECK(cut.samples[1].supervised() == 2);  // the target of the last token was cut away
    CHECK(wrong_targets(cut.samples[1]) == 0);

    const auto masked =
        folder.write("m.jsonl",
                     "{\"id\":\"u\",\"messages\":[{\"role\":\"user\",\"content\":\"Who?\"}]}\n"
                     "{\"messages\":[{\"role\":\"user\",\"content\":\"Who?\",\"loss\":true}]}\n");
    expect_error(ErrorCode::data, "m.jsonl:1: record u", [&] { load(masked); });
    DataOptions options;
    options.unsupervised = "drop";
    CHECK(load(masked, options).dropped_unsupervised == 1);
    CHECK(load(masked, options).samples.size() == 1);
    for (const char* key : {"train_on", "overlong", "unsupervised"}) {
        DataOptions wrong;
        (std::string(key) == "train_on"   ? wrong.train_on
         : std::string(key) == "overlong" ? wrong.overlong
                                          : wrong.unsupervised) = "some";
        expect_error(ErrorCode::config, std::string("data.") + key, [&] { load(masked, wrong); });
    }
}

TEST_CASE("training samples: train_on all, BOS, shares of a file") {
    const TemporaryFolder folder;
    std::string lines;
    for (int i = 0; i < 10; ++i)
        lines += moegrad::format("{{\"id\":\"r{}\",\"prompt\":\"Where is\",\"completion\":\" Riga?\"}}\n", i);
    const auto path = folder.write("a.jsonl", lines);
    DataOptions options;
    options.train_on = "all";
    CHECK(marked(load(path, options).samples[0]) ==
          " Where[ is Riga?]");  // nothing comes before the first token
    options.bos = true;
    const Sample framed = load(path, options).samples[0];
    CHECK(framed.token.front() == pieces().bos_id());
    CHECK(framed.supervised() == std::ssize(framed.token) - 1);
    const auto ids = [&](double begin, double end) {
        return load_training_samples(path, pieces(), {}, begin, end).ids;
    };
    CHECK(ids(0, 0.8).size() == 8);
    CHECK(ids(0.8, 1) == std::vector<std::string>{"r8", "r9"});
    const auto text = folder.write("a.txt", "Where is Riga? In Latvia. Be brief.");
    DataOptions plain;
    plain.max_length = 4;
    const auto loaded = load(text, plain);
    CHECK(loaded.format == "plain text");
    std::vector<std::int32_t> all;
    for (const Sample& sample : loaded.samples)
        all.insert(all.end(), sample.token.begin(), sample.token.end());
    CHECK(all == pieces().encode("Where is Riga? In Latvia. Be brief.", {.add_special = false}));
}

TEST_CASE("training samples: a word that crosses prompt and completion is supervised where it ends") {
    const TemporaryFolder folder;
    const auto one = [&](const std::string& prompt, const std::string& completion) {
        const auto path = folder.write(
            "a.jsonl", "{\"prompt\":\"" + prompt + "\",\"completion\":\"" + completion + "\"}\n");
        return marked(load_training_samples(path, words(), {}).samples[0], words());
    };
    CHECK(one("quiz : Ada", " Riga") == "<s> quiz : Ada[ Riga]");
    CHECK(one("quiz : Ada ", "Riga") == "<s> quiz : Ada[ Riga]");  // the blank is part of the word's token
    CHECK(one("quiz : Ri", "ga") == "<s> quiz :[ Riga]");          // and so is half a word
}

TEST_CASE("training samples: ids and targets of a completion and of a text, with BOS and without") {
    const TemporaryFolder folder;
    const auto id = [](const char* word) { return words().encode(word, {.add_special = false}).at(0); };
    const std::int32_t none = kIgnoreTarget;
    const auto pair =
        folder.write("a.jsonl", "{\"prompt\":\"quiz : Ada\",\"completion\":\" Riga ? Bern\"}\n");
    const Sample sample = load_training_samples(pair, words(), {}).samples.at(0);
    CHECK(sample.token ==
          std::vector<std::int32_t>{1, id("quiz"), id(":"), id("Ada"), id("Riga"), id("?"), id("Bern")});
    CHECK(sample.target ==
          std::vector<std::int32_t>{none, none, none, id("Riga"), id("?"), id("Bern"), none});
    const auto text = folder.write("b.jsonl", "{\"text\":\"Ada likes\"}\n");
    DataOptions options;
    options.bos = true;  // the tokenizer puts one already
    const Sample whole = load_training_samples(text, words(), options).samples.at(0);
    CHECK(whole.token == std::vector<std::int32_t>{1, id("Ada"), id("likes")});
    CHECK(whole.target == std::vector<std::int32_t>{id("Ada"), id("likes"), none});
    // A lone token without BOS has nothing before it that could predict it.
    const Json json = world_tokenizer_json();
    Json bare = Json::object();
    for (const auto& member : *json.members())
        bare.add(member.key, member.key == "post_processor" ? Json() : member.value);
    const Tokenizer plain = parse_tokenizer(bare, "tokenizer.json");
    const auto lone = folder.write("c.jsonl", "{\"completion\":\"Riga\"}\n");
    expect_error(ErrorCode::data, "at least one supervised token",
                 [&] { load_training_samples(lone, plain, {}); });
    CHECK(load_training_samples(lone, plain, options).samples.at(0).supervised() == 1);
}

TEST_CASE("training samples: texts and completions of the world word by word") {
    const TemporaryFolder folder;
    const World source({.seed = 5, .people = 30});
    const QuestionOptions questions{.samples = 60, .questions = 60};
    for (const std::string& lines :
         {world_sample_lines(source, questions), world_heldout_lines(source, 20)}) {
        const auto path = folder.write("a.jsonl", lines);
        const auto records = read_text_records(path);
        const auto loaded = load_training_samples(path, words(), {});
        REQUIRE(loaded.samples.size() == records.size());
        for (std::size_t i = 0; i < records.size(); ++i) {
            // Every word is one token, so that the prompt's own tokens are those that are not asked for.
            const auto ids = words().encode(records[i].prompt + records[i].completion);
            Sample want = language_sample(ids);
            for (std::size_t t = 0; t + 1 < words().encode(records[i].prompt).size(); ++t)
                want.target[t] = kIgnoreTarget;
            CHECK(loaded.samples[i].token == want.token);
            CHECK(loaded.samples[i].target == want.target);
            CHECK(loaded.ids[i] == records[i].id);
        }
    }
}

TEST_CASE("training samples: the real files, read whole") {
    Inputs inputs;
    struct File {
        const char* name;
        const char* format;
        Index records;
    };
    // Counts are those of wc -l; RTE has one header line.
    const File files[] = {{"mc/arc_easy.train.jsonl", "choice", 2251},
                          {"mc/csqa.val.jsonl", "choice", 1221},
                          {"instruct/arc_challenge.train.jsonl", "alpaca", 1119},
                          {"glue/cola.in_domain_train.tsv", "tsv", 8551},
                          {"glue/rte.train.tsv", "tsv", 2490},
                          {"math/gsm8k.train.jsonl", "qa", 7473}};
    for (const File& file : files) {
        const std::string path = inputs.data(file.name);
        if (path.empty()) continue;
        CAPTURE(file.name);
        const auto all = read_training_records(path, pieces(), {});
        CHECK(all.format == file.format);
        CHECK(std::ssize(all.records) == file.records);
        Index supervised = 0;
        for (const TrainingRecord& record : all.records)
            for (const TextPiece& piece : record.pieces)
                supervised += piece.supervised && !piece.text.empty();
        CHECK(supervised >= file.records);
    }
}

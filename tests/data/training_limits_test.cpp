// Training data that is refused, dropped or cut: which line, and what is said. And tables by columns.

#include <doctest/doctest.h>

#include <unistd.h>

#include "data/support.hpp"
#include "io/support.hpp"

using namespace data_test;
using io_test::expect_error;
using io_test::TemporaryFolder;

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
    options.columns = "text=0, label=1";  // a header that is not seen as one would be trained on
    const auto read = [&](const char* text) { return load(folder.write("h.tsv", text), options); };
    CHECK(has_note(read("sentence\tclass\na\t1\n"), "first line taken as data: sentence"));
    CHECK(!has_note(read("sentence\tlabel\na\t1\n"), "first line"));
    options.labels = "1=yes";
    CHECK(!has_note(read("a\t1\n"), "first line"));
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
    refused(ErrorCode::data, "{\"completion\":\"a\"}\n", "bad.jsonl:1: prompt");
    refused(ErrorCode::data, "{\"Prompt\":\"a\",\"completion\":\"a\"}\n", "bad.jsonl:1: prompt");
    refused(ErrorCode::data, "{\"prompt\":null,\"completion\":\"a\"}\n", "bad.jsonl:1: prompt");
    refused(ErrorCode::data, "[{\"text\":\"a\"}]\n", "jq -c");
    refused(ErrorCode::data, "\n[\n{\"text\":\"a\"}\n]\n", "jq -c");
    refused(ErrorCode::data, "{\"instruction\":\"a\",\"output\":\"\"}\n", "bad.jsonl:1: output");
    refused(ErrorCode::data, "{\"instruction\":\"a\",\"output\":\" \\n\"}\n", "bad.jsonl:1: output");
    refused(ErrorCode::data, "{\"question\":\"a\",\"answer\":\"\"}\n", "bad.jsonl:1: answer");
    refused(ErrorCode::data, "{\"question\":\"a\",\"answers\":[\"\"]}\n", "bad.jsonl:1: answers[0]");
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

TEST_CASE("training samples: an answer without text is an error, or dropped and counted") {
    const TemporaryFolder folder;
    const std::string turns = "{\"messages\":[{\"role\":\"user\",\"content\":\"Who?\"},";
    struct Case {
        std::string empty, good;
    };
    const Case cases[] = {
        {"{\"prompt\":\"a\",\"completion\":\"\"}", "{\"prompt\":\"\",\"completion\":\"a b\"}"},
        {"{\"text\":\"\"}", "{\"text\":\"a b\"}"},
        {"{\"question\":\"a\",\"answers\":[\" \"]}", "{\"question\":\"a\",\"answer\":\"b\"}"},
        {"{\"instruction\":\"a\",\"output\":\"\"}", "{\"instruction\":\"a\",\"output\":\"b\"}"},
        {turns + "{\"role\":\"assistant\",\"content\":\" \\n\"}]}",
         turns + "{\"role\":\"assistant\",\"content\":\"\",\"loss\":false},{\"role\":\"user\",\"content\":"
                 "\"Who?\"},{\"role\":\"assistant\",\"content\":\"Ada\"}]}"}};
    for (const Case& one : cases) {
        CAPTURE(one.empty);
        const auto path = folder.write("a.jsonl", one.good + "\n" + one.empty + "\n");
        for (const char* train_on : {"answer", "all"}) {
            DataOptions options;
            options.train_on = train_on;
            expect_error(ErrorCode::data, "a.jsonl:2: ", [&] { load(path, options); });
            options.unsupervised = "drop";
            const auto loaded = load(path, options);
            CHECK(loaded.samples.size() == 1);
            CHECK(loaded.dropped_unsupervised == 1);
        }
    }
}

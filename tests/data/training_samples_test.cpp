// Every format of training data: what is read, and what is supervised, token by token.

#include <doctest/doctest.h>

#include <moegrad/data/text_records.hpp>
#include <moegrad/data/world_files.hpp>

#include "data/support.hpp"
#include "io/support.hpp"

using namespace data_test;
using io_test::expect_error;
using io_test::Inputs;
using io_test::TemporaryFolder;

TEST_CASE("training samples: each JSONL format by its first record, supervised as said") {
    const TemporaryFolder folder;
    struct Case {
        const char *format, *line, *want;
    };
    const std::string alpaca_tail = "\n\n### Response:\n";
    const Case cases[] = {
        {"text", "{\"text\":\"Where is Riga?\"}", " Where[ is Riga?]"},
        {"completion", "{\"prompt\":\"Where is\",\"completion\":\" Riga?\"}", " Where is[ Riga?]"},
        {"completion", "{\"prompt\":\"\",\"completion\":\"Be brief.\"}", " Be[ brief.]"},
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
    const auto arc = load(folder.write("arc_easy.train.jsonl", line));
    CHECK(marked(arc.samples[0]) == " Question: Who?\nAnswer:[ Ada]");
    CHECK(has_note(arc, "form arc_easy, by the file's name"));
    CHECK(has_note(load(folder.write("copy.jsonl", line)), "form world: no task is named copy.jsonl"));
    CHECK(data_kind(folder.file("arc_easy.train.jsonl"), {}) == "choice, form arc_easy");
    CHECK(data_kind(folder.file("copy.jsonl"), {}) == "choice, form world");
    CHECK(data_kind(folder.write("copy.txt", line), {}) == "plain text");
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
    const auto lone = folder.write("c.jsonl", "{\"prompt\":\"\",\"completion\":\"Riga\"}\n");
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

#ifdef MOEGRAD_HAVE_PCRE2
TEST_CASE(
    "training samples: tokens and supervised tokens of real files are those that tokenizers' offsets give") {
    Inputs inputs;
    const std::string folder = inputs.data("tokenizers/olmoe");
    const std::string choices = inputs.data("mc/arc_easy.train.jsonl"),
                      sums = inputs.data("math/gsm8k.train.jsonl");
    if (folder.empty() || choices.empty() || sums.empty()) return;
    const Tokenizer tokenizer = load_tokenizer(folder);
    const auto check = [&](const std::string& path, double share, Index tokens, Index supervised) {
        DataOptions options;
        options.max_length = kLongestSample;
        for (const Sample& sample : load_training_samples(path, tokenizer, options, 0, share).samples) {
            tokens -= std::ssize(sample.token);
            supervised -= sample.supervised();
        }
        CHECK(tokens == 0);
        CHECK(supervised == 0);
    };
    // From tokenizers: ids of prompt + answer, and those whose offsets end behind the prompt.
    check(choices, 1, 71235, 10212);
    check(sums, 1, 1167505, 714385);
}
#endif

TEST_CASE("training samples: a task of each record, by number or by name") {
    const TemporaryFolder folder;
    const std::string rest = ",\"prompt\":\"Where is\",\"completion\":\" Riga?\"}\n";
    const auto file = [&](std::initializer_list<const char*> tasks) {
        std::string text;
        for (const char* task : tasks)
            text += (*task == '\0' ? std::string("{\"level\":1") : "{\"task\":" + std::string(task)) + rest;
        return folder.write("a.jsonl", text);
    };
    DataOptions named;
    named.tasks = "cola, rte,sst2";
    const auto tasks = [](const LoadedSamples& loaded) {
        std::vector<std::int32_t> all;
        for (const Sample& sample : loaded.samples) all.push_back(sample.task);
        return all;
    };
    const auto numbers = load(file({"3", "0", "3"}));
    CHECK(tasks(numbers) == std::vector<std::int32_t>{3, 0, 3});
    CHECK(has_note(numbers, "tasks: 0 (1), 3 (2)"));
    CHECK_FALSE(has_note(numbers, "nothing reads"));
    const auto names = load(file({"\"rte\"", "2", "\"cola\""}), named);
    CHECK(tasks(names) == std::vector<std::int32_t>{1, 2, 0});
    CHECK(has_note(names, "tasks: 0 cola (1), 1 rte (1), 2 sst2 (1)"));
    const auto unread = load(file({"\"rte\"", ""}));
    CHECK(tasks(unread) == std::vector<std::int32_t>{kNoTask, kNoTask});
    CHECK(has_note(unread, "keys that nothing reads: task (1)"));

    expect_error(ErrorCode::data, "a.jsonl:2: task", [&] { load(file({"1", ""})); });
    expect_error(ErrorCode::data, "a.jsonl:2: task", [&] { load(file({"", "1"})); });
    expect_error(ErrorCode::data, "one of data.tasks", [&] { load(file({""}), named); });
    expect_error(ErrorCode::data, "did you mean `rte`", [&] { load(file({"\"rtf\""}), named); });
    expect_error(ErrorCode::data, "task", [&] { load(file({"3"}), named); });
    expect_error(ErrorCode::data, "task", [&] { load(file({"-1"})); });
    expect_error(ErrorCode::data, "task", [&] { load(file({"1.5"})); });
    named.tasks = "cola, cola";
    expect_error(ErrorCode::config, "data.tasks", [&] { load(file({"1"}), named); });
    DataOptions unused;
    unused.tasks = "cola";
    expect_error(ErrorCode::config, "data.tasks", [&] { require_read(unused, {"plain text"}); });
}

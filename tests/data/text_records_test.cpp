#include <doctest/doctest.h>

#include <moegrad/data/text_records.hpp>
#include <moegrad/data/world_files.hpp>
#include <moegrad/data/world_tokenizer.hpp>
#include <moegrad/io/tokenizer_json.hpp>

#include "io/support.hpp"

using namespace moegrad;
using io_test::expect_error;
using io_test::TemporaryFolder;

namespace {

const Tokenizer& words() {
    static const Tokenizer tokenizer = parse_tokenizer(world_tokenizer_json(), "tokenizer.json");
    return tokenizer;
}

}  // namespace

TEST_CASE("text records: prompts, completions, texts and their facts") {
    const TemporaryFolder folder;
    const auto path = folder.write("a.jsonl",
                                   "{\"id\":\"t12\",\"domain\":\"people\",\"level\":2,\"prompt\":\"quiz : "
                                   "Ada\",\"completion\":\" Riga\","
                                   "\"fact\":[[7,10],[11,15]]}\n"
                                   "\n"
                                   "{\"text\":\"Ada likes kites .\"}\r\n");
    const auto records = read_text_records(path);
    REQUIRE(records.size() == 2);
    CHECK(records[0].id == "t12");
    CHECK(records[0].domain == "people");
    CHECK(records[0].level == 2);
    CHECK(records[0].prompt == "quiz : Ada");
    CHECK(records[0].completion == " Riga");
    CHECK(records[0].fact == std::vector<std::pair<Index, Index>>{{7, 10}, {11, 15}});
    CHECK(records[1].id == "2");
    CHECK(records[1].prompt.empty());
    CHECK(records[1].completion == "Ada likes kites .");
    CHECK(records[1].place == path + ":3");
}

TEST_CASE("text records: only the completion is supervised") {
    TextRecord record{.id = "x",
                      .domain = {},
                      .prompt = "quiz : Ada",
                      .completion = " Riga ? Bern",
                      .fact = {},
                      .place = "f:1"};
    const Sample sample = record_sample(record, words(), 16);
    const auto id = [](const char* word) { return words().encode(word, {.add_special = false}).at(0); };
    const std::int32_t none = kIgnoreTarget;
    CHECK(sample.token ==
          std::vector<std::int32_t>{1, id("quiz"), id(":"), id("Ada"), id("Riga"), id("?"), id("Bern")});
    CHECK(sample.target ==
          std::vector<std::int32_t>{none, none, none, id("Riga"), id("?"), id("Bern"), none});
    // A text: everything after BOS.
    record.prompt.clear();
    record.completion = "Ada likes";
    const Sample text = record_sample(record, words(), 16, true);
    CHECK(text.token == std::vector<std::int32_t>{1, id("Ada"), id("likes")});
    CHECK(text.target == std::vector<std::int32_t>{id("Ada"), id("likes"), none});
}

TEST_CASE("text records: too long, or nothing to learn, names the record") {
    TextRecord record{.id = "x7",
                      .domain = {},
                      .prompt = "quiz :",
                      .completion = " Riga",
                      .fact = {},
                      .place = "f.jsonl:9"};
    CHECK(record_sample(record, words(), 4).supervised() == 1);
    expect_error(ErrorCode::data, "f.jsonl:9: record x7", [&] { record_sample(record, words(), 3); });
    expect_error(ErrorCode::data, "at most 3 tokens", [&] { record_sample(record, words(), 3); });
    record.prompt = "quiz : ";
    record.completion = "Riga";
    CHECK(record_sample(record, words(), 8).supervised() == 1);  // the blank belongs to what follows it
    record.prompt.clear();
    Json json = world_tokenizer_json();
    // A lone token without BOS has nothing before it that could predict it.
    Json bare = Json::object();
    for (const auto& member : *json.members())
        bare.add(member.key, member.key == "post_processor" ? Json() : member.value);
    const Tokenizer plain = parse_tokenizer(bare, "tokenizer.json");
    expect_error(ErrorCode::data, "at least one supervised token", [&] { record_sample(record, plain, 8); });
    CHECK(record_sample(record, words(), 8).supervised() == 1);
}

TEST_CASE("text records: lines that do not fit name file, line and key") {
    const TemporaryFolder folder;
    const auto refused = [&](const std::string& line, const std::string& place) {
        CAPTURE(line);
        const auto path = folder.write("bad.jsonl", "{\"text\":\"fine\"}\n" + line + "\n");
        expect_error(line.starts_with("{\"") && line.ends_with("}") ? ErrorCode::data : ErrorCode::format,
                     place, [&] { read_text_records(path); });
    };
    refused("{\"prompt\":\"a\"}", "bad.jsonl:2: completion");
    refused("{\"prompt\":\"a\",\"completion\":\"\"}", "bad.jsonl:2: completion");
    refused("{\"prompt\":\"a\",\"completion\":7}", "bad.jsonl:2: completion");
    refused("{\"prompt\":[],\"completion\":\"b\"}", "bad.jsonl:2: prompt");
    refused("{\"text\":\"a\",\"completion\":\"b\"}", "either text, or prompt and completion");
    refused("{\"text\":\"abc\",\"fact\":[[0,4]]}", "bad.jsonl:2: fact");
    refused("{\"text\":\"abc\",\"fact\":[[2,1]]}", "bad.jsonl:2: fact[0][1]");
    refused("{\"text\":\"abc\",\"fact\":[[0,2],[1,3]]}", "bad.jsonl:2: fact[1][0]");
    refused("{\"text\":\"abc\",\"fact\":[[0]]}", "bad.jsonl:2: fact[0]");
    refused("{\"text\":\"abc\",\"level\":-1}", "bad.jsonl:2: level");
    refused("{\"text\":\"abc\"", "bad.jsonl:2");
    refused("not json", "bad.jsonl:2");
    expect_error(ErrorCode::data, "at least one record",
                 [&] { read_text_records(folder.write("e.jsonl", "\n")); });
}

TEST_CASE("text records: the world's own files read back, facts where the words are") {
    const TemporaryFolder folder;
    const World source({.seed = 5, .people = 30});
    const QuestionOptions options{.samples = 60, .questions = 60};
    const auto samples = read_text_records(folder.write("train.jsonl", world_sample_lines(source, options)));
    CHECK(samples.size() == 60);
    for (const auto& record : samples) {
        CHECK(record.fact.size() == 3);  // two names and the answer
        const std::string whole = record.prompt + record.completion;
        const auto [begin, end] = record.fact.back();
        CHECK(" " + whole.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)) ==
              record.completion);
        CHECK(record_sample(record, words(), 32).supervised() == 1);
    }
    CHECK(read_text_records(folder.write("held.jsonl", world_heldout_lines(source, 20))).size() == 20);
    const auto questions =
        read_choice_items(folder.write("questions.jsonl", world_question_lines(source, options)));
    REQUIRE(questions.size() == 60);
    for (const auto& item : questions) {
        const std::string whole = item.question + " " + item.choices[static_cast<std::size_t>(item.answer)];
        const auto [begin, end] = item.fact.back();
        CHECK(whole.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)) ==
              item.choices[static_cast<std::size_t>(item.answer)]);
    }
}

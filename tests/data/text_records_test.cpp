#include <doctest/doctest.h>

#include <moegrad/data/text_records.hpp>
#include <moegrad/data/world_files.hpp>

#include "io/support.hpp"

using namespace moegrad;
using io_test::expect_error;
using io_test::TemporaryFolder;

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

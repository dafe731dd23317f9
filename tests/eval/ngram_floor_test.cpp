// The floor of a task: a step of training by hand, what it finds and what it cannot find, the facts beside a questions file.

#include <doctest/doctest.h>

#include <moegrad/eval/task_facts.hpp>
#include <moegrad/io/atomic_file.hpp>

#include <cstdlib>
#include <filesystem>

using namespace moegrad;

namespace {

/// Four choices of three drawn words; the right one also says `hint`, where there is one.
std::vector<ChoiceItem> floor_items(Index count, const char* hint, std::uint64_t seed) {
    const char* words[] = {"lamp", "river", "stone", "garden", "cloud", "paper", "wheel", "bread"};
    Random random(seed);
    std::vector<ChoiceItem> items;
    for (Index i = 0; i < count; ++i) {
        ChoiceItem item;
        item.id = format("{}", i);
        item.question = "which?";
        item.answer = static_cast<int>(random.next_below(4));
        for (int c = 0; c < 4; ++c) {
            std::string text;
            for (int w = 0; w < 3; ++w) text += std::string(words[random.next_below(8)]) + " ";
            item.choices.push_back(text + (c == item.answer ? hint : ""));
        }
        items.push_back(std::move(item));
    }
    return items;
}

ChoiceItem floor_item(std::vector<std::string> choices) {
    ChoiceItem item;
    item.question = "q";
    item.choices = std::move(choices);
    return item;
}

}  // namespace

TEST_CASE("floor: words in lower case, signs alone, other alphabets as they are") {
    CHECK(plain_words("Don't stop, Ada2!") ==
          std::vector<std::string>{"don", "'", "t", "stop", ",", "ada2", "!"});
    CHECK(plain_words("\xc3\x89t\xc3\xa9 \t\n").size() == 1);
    CHECK(plain_words("").empty());
}

TEST_CASE("floor: one step of AdaGrad by hand") {
    const ChoiceItem item = floor_item({"a", "b c"});
    const NgramFloor floor({item}, {.passes = 1, .least_seen = 1});
    // The same step in numpy: 3 n-grams (a, ^ a, a $) and 5 (b, c, ^ b, b c, c $), slopes -0.5 / sqrt 3 and 0.5 / sqrt 5.
    const auto scores = floor.scores(item);
    CHECK(scores[0] == doctest::Approx(0.1636634176769943).epsilon(1e-12));
    CHECK(scores[1] == doctest::Approx(-0.2041241452319315).epsilon(1e-12));
}

TEST_CASE(
    "floor: above chance where a word gives the answer away, at chance where nothing does, the same each "
    "time") {
    const auto told = floor_items(400, "surely", 1), asked = floor_items(200, "surely", 2);
    CHECK(NgramFloor(told).accuracy(asked).value > 0.95);
    const auto blind = floor_items(400, "", 3), blind_asked = floor_items(400, "", 4);
    const Estimate none = NgramFloor(blind).accuracy(blind_asked);
    CHECK(none.low < 0.25);
    CHECK(none.high > 0.25);
    const NgramFloor one(told), two(told);
    for (const ChoiceItem& item : asked) CHECK(one.scores(item) == two.scores(item));
    // Words that training did not know say nothing, and nothing breaks.
    const ChoiceItem strange = floor_item({"ghost", "wine"});
    CHECK(one.scores(strange) == std::vector<double>{0, 0});
    CHECK_THROWS_AS(NgramFloor(std::vector<ChoiceItem>{}), Error);
}

TEST_CASE("floor: chance and majority of questions with different numbers of choices") {
    auto items = floor_items(2, "", 5);
    items[0].choices.resize(2);
    items[0].answer = 1;
    items[1].answer = 1;
    CHECK(chance_of(items) == doctest::Approx((0.5 + 0.25) / 2));
    CHECK(majority_of(items) == 1);
    items[1].answer = 3;
    CHECK(majority_of(items) == 0.5);
}

TEST_CASE("floor: the facts of a task lie beside its questions and are found by the name") {
    const std::string folder = (std::filesystem::temp_directory_path() / "moegrad_facts_test").string();
    std::filesystem::create_directories(folder);
    const TaskFacts facts =
        measure_task("quiz", floor_items(60, "surely", 6), floor_items(40, "surely", 7), 3);
    write_file_atomically(folder + "/quiz-facts.json", write_json(to_json(facts)) + "\n");
    const auto read = read_task_facts(folder + "/quiz-questions.jsonl");
    REQUIRE(read.has_value());
    CHECK(task_facts_text(*read) == task_facts_text(facts));
    CHECK(read->train == 60);
    CHECK(read->questions == 40);
    CHECK(read->left_out == 3);
    CHECK(read->floor.value == facts.floor.value);
    CHECK_FALSE(read_task_facts(folder + "/other-questions.jsonl").has_value());
    CHECK_FALSE(read_task_facts(folder + "/quiz.jsonl").has_value());
    std::filesystem::remove_all(folder);
}

TEST_CASE("floor: real questions are above chance without being read") {
    const char* data = std::getenv("MOEGRAD_DATA");
    const std::string folder = data == nullptr ? "" : std::string(data) + "/mc/";
    if (data == nullptr || !file_exists(folder + "openbookqa.train.jsonl")) {
        MESSAGE("the questions of OpenBookQA are not here: their floor is not measured");
        return;
    }
    const auto asked = read_choice_items(folder + "openbookqa.test.jsonl");
    const Estimate floor = NgramFloor(read_choice_items(folder + "openbookqa.train.jsonl")).accuracy(asked);
    CHECK(floor.low > chance_of(asked));
    CHECK(floor.low > majority_of(asked));
}

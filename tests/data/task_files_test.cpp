// The files of the evidence suite: what is left out, how a set without a training part is split, how texts are cut.

#include <doctest/doctest.h>

#include <moegrad/data/task_files.hpp>
#include <moegrad/data/text_records.hpp>

#include <cstdlib>
#include <filesystem>
#include <set>

using namespace moegrad;

namespace {

ChoiceItem task_item(const std::string& id, const std::string& question, std::vector<std::string> choices,
                     const std::string& context = "") {
    ChoiceItem item;
    item.id = id;
    item.context = context;
    item.question = question;
    item.choices = std::move(choices);
    return item;
}

}  // namespace

TEST_CASE("tasks: a question that is trained on is not asked, however it is printed") {
    const std::vector<ChoiceItem> train{task_item("1", "What is red?", {"a rose", "grass"}),
                                        task_item("2", "What is blue?", {"the sky", "snow"})};
    const ChoiceParts parts = without_leaked(
        train, {task_item("a", "what is  RED", {"Grass.", "A rose"}),   // the same in another dress
                task_item("b", "What is red?", {"a rose", "a lemon"}),  // another choice: another question
                task_item("c", "What is green?", {"a rose", "grass"}),  // another question
                task_item("d", "What is blue?", {"snow", "the sky"})});
    CHECK(parts.left_out == 2);
    REQUIRE(parts.questions.size() == 2);
    CHECK(parts.questions[0].id == "b");
    CHECK(parts.questions[1].id == "c");
    CHECK(parts.train.size() == 2);
}

TEST_CASE("tasks: a set without a training part is split between activities, never within a run of one") {
    std::vector<ChoiceItem> all;
    for (int run = 0; run < 23; ++run) {
        for (int i = 0; i <= run % 3; ++i) {
            const std::string text = format("Act {}: scene {}", run, i);
            all.push_back(task_item(format("{}-{}", run, i), "", {"yes", "no"}, text));
        }
    }
    const ChoiceParts parts = split_by_activity(all);
    CHECK(parts.train.size() + parts.questions.size() == all.size());
    CHECK(parts.left_out == 0);
    std::set<std::string> trained, asked;
    for (const auto& item : parts.train) trained.insert(item.context.substr(0, item.context.find(':')));
    for (const auto& item : parts.questions) asked.insert(item.context.substr(0, item.context.find(':')));
    CHECK(asked == std::set<std::string>{"Act 4", "Act 9", "Act 14", "Act 19"});
    for (const std::string& act : asked) CHECK_FALSE(trained.contains(act));
}

TEST_CASE("tasks: windows of a text hold all of it, end at lines or blanks, and cut no character") {
    const std::string lines = "one two three\nfour five\nsix\n\n   \n\nseven eight nine ten eleven twelve\n";
    std::string joined;
    for (const std::string_view window : text_windows(lines, 16)) {
        CHECK(window.size() <= 16);
        CHECK(window.find_first_not_of(" \n") != std::string_view::npos);
        joined += window;
    }
    const auto squeezed = [](std::string text) {
        std::erase_if(text, [](char c) { return c == ' ' || c == '\n'; });
        return text;
    };
    CHECK(squeezed(joined) == squeezed(lines));
    CHECK(text_windows("one two three\nfour", 16)[0] == "one two three\n");
    CHECK(text_windows("one two three four", 16)[0] == "one two three ");
    std::string wide;
    for (int i = 0; i < 20; ++i) wide += "\xe2\x82\xac";  // three bytes each
    std::string again;
    for (const std::string_view window : text_windows(wide, 16)) {
        CHECK(window.size() % 3 == 0);
        again += window;
    }
    CHECK(again == wide);
    CHECK(text_windows("", 16).empty());
    CHECK(text_windows(" \n \n", 16).empty());
}

TEST_CASE("tasks: the files are what train and compare read") {
    const auto folder = std::filesystem::temp_directory_path() / "moegrad_task_files_test";
    std::filesystem::create_directories(folder);
    const std::vector<ChoiceItem> items{task_item("1", "What is \"red\"?", {"a rose", "grass"}),
                                        task_item("2", "", {"he runs.", "he sits."}, "Race: A man stands.")};
    const std::string questions = (folder / "a.jsonl").string(), texts = (folder / "b.jsonl").string();
    write_file_atomically(questions, choice_lines(items));
    const auto read = read_choice_items(questions);
    REQUIRE(read.size() == 2);
    for (std::size_t i = 0; i < read.size(); ++i) {
        CHECK(read[i].id == items[i].id);
        CHECK(read[i].context == items[i].context);
        CHECK(read[i].question == items[i].question);
        CHECK(read[i].choices == items[i].choices);
        CHECK(read[i].answer == items[i].answer);
    }
    write_file_atomically(texts, window_lines({"first\n", "second"}, "papers"));
    const auto records = read_text_records(texts);
    REQUIRE(records.size() == 2);
    CHECK(records[0].id == "papers-0");
    CHECK(records[1].domain == "papers");
    CHECK(records[0].completion == "first\n");
    std::filesystem::remove_all(folder);
}

TEST_CASE("tasks: the world's questions as items have its choices") {
    const World source({.people = 20});
    const auto questions = world_questions(source, {.samples = 10, .questions = 12});
    const auto items = choice_items_of(questions);
    REQUIRE(items.size() == 12);
    for (std::size_t i = 0; i < items.size(); ++i) {
        CHECK(items[i].choices.size() == 4);
        CHECK(items[i].choices[static_cast<std::size_t>(items[i].answer)] ==
              questions[i].choices[questions[i].answer]);
    }
}

TEST_CASE("tasks: real sets, 14 leaked rows of OpenBookQA among them") {
    const char* data = std::getenv("MOEGRAD_DATA");
    for (const ChoiceTask& task : kChoiceTasks) {
        if (data == nullptr || !file_exists(std::string(data) + "/" + task.train)) {
            MESSAGE("no data of " << task.name << " here: its split is not looked at");
            continue;
        }
        const ChoiceParts parts = read_choice_task(task, data);
        CAPTURE(task.name);
        CHECK(parts.questions.size() > 450);
        CHECK(parts.train.size() > 2000);
        if (std::string(task.name) == "openbookqa") CHECK(parts.left_out == 14);
        std::set<std::string> ids;
        for (const ChoiceItem& item : parts.questions) CHECK(ids.insert(item.id).second);
    }
}

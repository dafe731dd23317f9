#include <doctest/doctest.h>

#include <map>
#include <set>
#include <string>

#include <moegrad/data/world_files.hpp>
#include <moegrad/data/world_tokenizer.hpp>
#include <moegrad/io/tokenizer_json.hpp>

#include "io/support.hpp"

using namespace moegrad;
using io_test::expect_error;

namespace {

const World& small_world() {
    static const World source({.seed = 7, .people = 40});
    return source;
}

using Words = std::vector<std::string>;

Words words_of(const std::string& text) {
    Words words(1);
    for (char c : text) {
        if (c == ' ')
            words.emplace_back();
        else
            words.back() += c;
    }
    return words;
}

/// What a reader of the documents knows: "Ada Berg likes" -> "kites", "Riga lies in" -> "Jorvik".
std::map<std::string, std::set<std::string>> read_facts(const World& source, Index documents) {
    std::map<std::string, std::set<std::string>> facts;
    for (Index n = 0; n < documents; ++n) {
        const WorldText document = world_document(source, n);
        if (document.domain != "people" && document.domain != "towns") continue;
        std::string sentence, last;
        for (const std::string& word : words_of(document.text())) {
            if (word == ".") {
                facts[sentence].insert(last);
                sentence.clear();
                last.clear();
                continue;
            }
            if (!last.empty()) sentence += (sentence.empty() ? "" : " ") + last;
            last = word;
        }
    }
    return facts;
}

// One phrasing of each relation, in the words of the documents, by the word that questions have for it.
const std::map<std::string, std::string> kSaid{
    {"birthplace", "was born in"}, {"residence", "lives in"}, {"workplace", "works in"},
    {"university", "studied in"},  {"favourite", "likes"},    {"terror", "fears"},
    {"collection", "collects"},    {"merchandise", "sells"},  {"pet", "keeps a"},
    {"mount", "rides a"},          {"subject", "paints a"},   {"vision", "dreams of a"}};

}  // namespace

TEST_CASE("world: a document is a function of seed and number alone") {
    const World again({.seed = 7, .people = 40}), other({.seed = 8, .people = 40});
    std::vector<std::string> forward;
    for (Index n = 0; n < 200; ++n) forward.push_back(world_document(small_world(), n).text());
    int same = 0;
    for (Index n = 199; n >= 0; --n) {
        CHECK(world_document(again, n).text() == forward[static_cast<std::size_t>(n)]);
        same += world_document(other, n).text() == forward[static_cast<std::size_t>(n)];
        CHECK(world_document(again, n, true).text() != forward[static_cast<std::size_t>(n)]);
    }
    CHECK(same == 0);
    CHECK(world_question_lines(again, {.questions = 50}) ==
          world_question_lines(small_world(), {.questions = 50}));
}

TEST_CASE("world: the facts of a person do not depend on how many people there are") {
    const World more({.seed = 7, .people = 300});
    for (Index person = 0; person < 40; ++person) {
        CHECK(more.first_name(person) == small_world().first_name(person));
        CHECK(more.last_name(person) == small_world().last_name(person));
        for (std::size_t r = 0; r < world::kRelations; ++r)
            CHECK(more.value(person, r) == small_world().value(person, r));
    }
    std::set<std::string> names;
    for (Index person = 0; person < 300; ++person)
        names.insert(std::string(more.first_name(person)) + " " + std::string(more.last_name(person)));
    CHECK(names.size() == 300);
}

TEST_CASE("world: the labels are byte ranges of names, values and numbers") {
    std::set<std::string> fact_words, filler_words;
    std::map<std::string, int> domains;
    for (Index n = 0; n < 2000; ++n) {
        const WorldText document = world_document(small_world(), n);
        ++domains[document.domain];
        const std::string text = document.text();
        std::string rest = text;
        for (const auto& [begin, end] : document.facts()) {
            REQUIRE(begin < end);
            const auto at = static_cast<std::size_t>(begin), length = static_cast<std::size_t>(end - begin);
            fact_words.insert(text.substr(at, length));
            CHECK((at == 0 || text[at - 1] == ' '));
            CHECK(text[at + length] == ' ');
            rest.replace(at, length, length, '_');
        }
        for (const std::string& word : words_of(rest))
            if (word.find('_') == std::string::npos) filler_words.insert(word);
    }
    CHECK(domains.size() == 5);
    CHECK(domains["people"] > 1300);
    CHECK(domains["towns"] > 30);
    // Every name, value and number is a fact wherever it stands, and the glue never is.
    for (const std::string& word : fact_words) {
        CAPTURE(word);
        CHECK(filler_words.count(word) == 0);
    }
    CHECK(fact_words.count("42") == 1);
    CHECK(fact_words.count(std::string(world::kTowns[0])) == 1);
    for (const char* word : {"was", "born", "in", ".", "plus", "the", "echo"})
        CHECK(filler_words.count(word) == 1);
}

TEST_CASE("world: sums are right") {
    int seen = 0;
    for (Index n = 0; n < 1000; ++n) {
        const WorldText document = world_document(small_world(), n);
        if (document.domain != "arithmetic") continue;
        int left = 0, sign = 1;
        bool right_side = false;
        for (const std::string& word : words_of(document.text())) {
            if (word == "plus" || word == "minus") sign = word == "plus" ? 1 : -1;
            if (word == "makes" || word == "leaves") right_side = true;
            if (word == ".") {
                left = 0;
                sign = 1;
                right_side = false;
            }
            if (word.find_first_not_of("0123456789") != std::string::npos) continue;
            if (right_side) {
                CHECK(left == std::stoi(word));
                ++seen;
            }
            left += sign * std::stoi(word);
        }
    }
    CHECK(seen > 100);
}

TEST_CASE("world: the answers of questions are what the documents state") {
    const auto facts = read_facts(small_world(), 20000);
    const QuestionOptions options{.samples = 400, .questions = 300};
    int two_step = 0;
    for (const auto& questions :
         {world_samples(small_world(), options), world_questions(small_world(), options)}) {
        for (const WorldQuestion& question : questions) {
            const Words words = words_of(question.prompt.text());
            CAPTURE(question.prompt.text());
            REQUIRE(words.size() == (question.level == 2 ? 9u : 7u));
            const std::string key = words[2] + " " + words[3] + " " + kSaid.at(words[5]);
            const auto value = facts.at(key);
            REQUIRE(value.size() == 1);
            std::string answer = *value.begin();
            if (question.level == 2) {
                ++two_step;
                CHECK(words[7] == "realm");
                answer = *facts.at(answer + " lies in").begin();
            }
            CHECK(question.choices.at(question.answer) == answer);
        }
    }
    CHECK(two_step == 80 + 75);  // twenty people a half, four towns each; a quarter of 300
}

TEST_CASE("world: the choices are four different values of one person, the answer anywhere") {
    const World source({.seed = 3, .people = 400});
    const QuestionOptions options{};
    const auto questions = world_questions(source, options);
    REQUIRE(questions.size() == 600);
    std::map<std::size_t, int> positions;
    std::set<std::string> prompts;
    for (const WorldQuestion& question : questions) {
        ++positions[question.answer];
        prompts.insert(question.prompt.text());
        CHECK(std::set<std::string>(question.choices.begin(), question.choices.end()).size() == 4);
        std::set<std::string> own;
        for (std::size_t r = 0; r < world::kRelations; ++r) {
            own.insert(std::string(source.value(question.person, r)));
            if (r < world::kRelationsPerKind) own.insert(std::string(source.land(question.person, r)));
        }
        for (const auto& choice : question.choices) CHECK(own.count(choice) == 1);
    }
    CHECK(prompts.size() == 600);
    for (const auto& [position, count] : positions) {
        CAPTURE(position);
        CHECK(count > 150 - 45);  // four standard deviations of 600 fair draws
        CHECK(count < 150 + 45);
    }
    // Nobody is asked about in training and in the held-out questions.
    std::set<std::string> trained, held;
    for (const auto& question : world_samples(source, options))
        trained.insert(words_of(question.prompt.text())[2] + words_of(question.prompt.text())[3]);
    for (const auto& question : questions)
        held.insert(words_of(question.prompt.text())[2] + words_of(question.prompt.text())[3]);
    for (const auto& name : held) CHECK(trained.count(name) == 0);
    CHECK(trained.size() > 150);
}

TEST_CASE("world: the words of questions are in no document, and every word is one token") {
    const Tokenizer tokenizer = parse_tokenizer(world_tokenizer_json(), "tokenizer.json");
    CHECK(tokenizer.vocab_size() < 1000);
    std::set<std::string> seen;
    for (Index n = 0; n < 5000; ++n) {
        const WorldText document = world_document(small_world(), n, n % 2 == 1);
        for (const auto& word : document.words) seen.insert(word.text);
        if (n >= 500) continue;
        const auto ids = tokenizer.encode(document.text(), {.add_special = false});
        CHECK(ids.size() == document.words.size());
        CHECK(tokenizer.decode(ids) == document.text());
    }
    for (const auto& [word, said] : kSaid) CHECK(seen.count(word) == 0);
    for (const char* word : {"quiz", "?", "realm"}) CHECK(seen.count(word) == 0);
    for (const auto& question : world_questions(small_world(), {.questions = 100})) {
        const auto ids = tokenizer.encode(question.whole().text());
        CHECK(ids.front() == tokenizer.bos_id());
        CHECK(ids.size() == question.prompt.words.size() + 2);
    }
    // Other text falls back to bytes and comes back.
    const std::string other = "Zürich, 61!";
    CHECK(tokenizer.decode(tokenizer.encode(other)) == other);
}

TEST_CASE("world: settings out of range are errors that say the range") {
    expect_error(ErrorCode::config, "world.people", [] { World({.people = 3}); });
    expect_error(ErrorCode::config, "2304", [] { World({.people = 2305}); });
    expect_error(ErrorCode::config, "world.sentences",
                 [] { World({.sentences_least = 9, .sentences_most = 8}); });
    expect_error(ErrorCode::config, "world.sentences", [] { World({.sentences_most = 13}); });
}

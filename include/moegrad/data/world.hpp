#pragma once
// World: a small world that is drawn from a seed. People have twelve facts each: four towns (born, lives, works,
// studied), four things and four animals, the four of a kind all different; towns lie in lands, and a person's four
// towns in four lands. A two-step fact goes through the town: the land where somebody was born.
// Everything is a function of (seed, number): no draw depends on what was drawn before it.

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <moegrad/core/error.hpp>
#include <moegrad/core/philox.hpp>
#include <moegrad/core/view.hpp>
#include <moegrad/data/world_words.hpp>

namespace moegrad {

struct WorldOptions {
    std::uint64_t seed = 1;
    Index people = 320;
    // Share of each domain among the documents; what is left of 1 tells stories.
    double people_share = 0.76, towns_share = 0.05, arithmetic_share = 0.08, sequences_share = 0.06;
    Index sentences_least = 5, sentences_most = 8;  // facts in a document about a person
    double card_share = 0.2;                        // of a person's documents are cards instead of sentences
    double two_step_share = 1.0;  // of a person's documents state the land of a town as well
};

/// A word and whether it is a fact (name, value, number) or filler (what sentences are glued with).
struct WorldWord {
    std::string text;
    bool fact = false;
};

struct WorldText {
    std::string domain;
    int level = 1;
    std::vector<WorldWord> words;

    /// The words, one space between two.
    std::string text() const {
        std::string all;
        for (const WorldWord& word : words) all += (all.empty() ? "" : " ") + word.text;
        return all;
    }
    /// Byte ranges [begin, end) of the facts in text().
    std::vector<std::pair<Index, Index>> facts() const {
        std::vector<std::pair<Index, Index>> ranges;
        Index at = 0;
        for (const WorldWord& word : words) {
            const Index end = at + static_cast<Index>(word.text.size());
            if (word.fact) ranges.emplace_back(at, end);
            at = end + 1;
        }
        return ranges;
    }
};

class World {
public:
    explicit World(const WorldOptions& options) : options_(options) {
        constexpr Index most = static_cast<Index>(world::kFirstNames.size() * world::kLastNames.size());
        if (options.people < 4 || options.people > most) {
            throw Error{ErrorCode::config, "world.people", format("4 to {}", most),
                        format("{}", options.people)};
        }
        if (options.sentences_least < 1 || options.sentences_most > static_cast<Index>(world::kRelations) ||
            options.sentences_most < options.sentences_least) {
            throw Error{ErrorCode::config, "world.sentences",
                        format("1 to {} facts, the least first", world::kRelations),
                        format("{} to {}", options.sentences_least, options.sentences_most)};
        }
        names_.resize(static_cast<std::size_t>(most));
        for (std::size_t i = 0; i < names_.size(); ++i) names_[i] = static_cast<int>(i);
        Random random = draws(Stream::names, 0);
        shuffle(std::span<int>(names_), random);
        for (Index i = 0; i < options.people; ++i) people_.push_back(draw_person(i));
    }

    const WorldOptions& options() const { return options_; }
    Index people() const { return options_.people; }

    std::string_view first_name(Index person) const {
        return world::kFirstNames[name_of(person) / world::kLastNames.size()];
    }
    std::string_view last_name(Index person) const {
        return world::kLastNames[name_of(person) % world::kLastNames.size()];
    }
    /// The value of one of the twelve relations.
    std::string_view value(Index person, std::size_t relation) const {
        return values_of(relation)[static_cast<std::size_t>(index(person, relation))];
    }
    /// The land of one of the person's towns; relation 0 to 3.
    std::string_view land(Index person, std::size_t relation) const {
        return world::kLands[static_cast<std::size_t>(index(person, relation) / world::kTownsPerLand)];
    }

    /// Independent draws for each thing that is drawn: keyed by what it is and its number.
    enum class Stream : std::uint64_t { names, person, document, heldout, sample, question };
    Random draws(Stream stream, Index number) const {
        return Random(options_.seed,
                      (static_cast<std::uint64_t>(stream) + 1) << 48 | static_cast<std::uint64_t>(number));
    }

private:
    using Person = std::array<std::uint8_t, world::kRelations>;

    static std::span<const std::string_view> values_of(std::size_t relation) {
        switch (static_cast<world::Kind>(relation / world::kRelationsPerKind)) {
            case world::Kind::town: return world::kTowns;
            case world::Kind::thing: return world::kThings;
            case world::Kind::animal: return world::kAnimals;
        }
        return {};
    }

    std::size_t name_of(Index person) const {
        return static_cast<std::size_t>(names_.at(static_cast<std::size_t>(person)));
    }
    int index(Index person, std::size_t relation) const {
        return people_.at(static_cast<std::size_t>(person)).at(relation);
    }

    /// Four different ones of `count`.
    static std::array<int, 4> four_of(std::size_t count, Random& random) {
        std::array<int, 4> picks{-1, -1, -1, -1};
        for (std::size_t i = 0; i < picks.size();) {
            const int pick = static_cast<int>(random.next_below(count));
            bool fresh = true;
            for (int other : picks) fresh = fresh && other != pick;
            if (fresh) picks[i++] = pick;
        }
        return picks;
    }

    Person draw_person(Index number) const {
        Random random = draws(Stream::person, number);
        Person person{};
        const auto lands = four_of(world::kLands.size(), random);
        for (std::size_t i = 0; i < 4; ++i) {
            person[i] = static_cast<std::uint8_t>(lands[i] * world::kTownsPerLand +
                                                  static_cast<int>(random.next_below(world::kTownsPerLand)));
        }
        const auto things = four_of(world::kThings.size(), random);
        const auto animals = four_of(world::kAnimals.size(), random);
        for (std::size_t i = 0; i < 4; ++i) {
            person[4 + i] = static_cast<std::uint8_t>(things[i]);
            person[8 + i] = static_cast<std::uint8_t>(animals[i]);
        }
        return person;
    }

    WorldOptions options_;
    std::vector<int> names_;  // person -> pair of names
    std::vector<Person> people_;
};

}  // namespace moegrad

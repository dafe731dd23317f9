#pragma once
// Documents of the small world, as a language model is pretrained on. Document n is a function of (seed, n).
//   people      facts of one person in random order and random words, in sentences or on a card (so that a fact is
//               learned with its person, not with a sentence: Allen-Zhu & Li, "Physics of Language Models 3.1", 2024),
//               some through two steps
//   towns       in which land towns lie        arithmetic  sums and differences, two or three numbers
//   sequences   counting, echoes, brackets     stories     a small grammar; the end follows from the beginning

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <moegrad/data/world.hpp>

namespace moegrad {

namespace detail {

/// The words of a text that has one space between two.
inline std::vector<std::string_view> split_words(std::string_view text) {
    std::vector<std::string_view> words;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(' '), text.size());
        if (end > 0) words.push_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return words;
}

/// One document while it is put together.
class WorldWriter {
public:
    WorldWriter(const World& source, Random random) : world_(source), random_(random) {}

    WorldText write(double draw) {
        const WorldOptions& options = world_.options();
        if ((draw -= options.people_share) < 0) {
            write_person();
        } else if ((draw -= options.towns_share) < 0) {
            write_towns();
        } else if ((draw -= options.arithmetic_share) < 0) {
            write_sums();
        } else if ((draw -= options.sequences_share) < 0) {
            write_sequence();
        } else {
            write_story();
        }
        return std::move(text_);
    }

private:
    std::size_t below(std::size_t bound) { return static_cast<std::size_t>(random_.next_below(bound)); }
    int between(int low, int high) {
        return low + static_cast<int>(below(static_cast<std::size_t>(high - low + 1)));
    }
    template <class Items>
    std::string_view one_of(const Items& items) {
        return items[below(items.size())];
    }

    void fact(std::string_view word) { text_.words.push_back({std::string(word), true}); }
    void number(int value) { fact(format("{}", value)); }
    void filler(std::string_view words) {
        for (std::string_view word : split_words(words)) text_.words.push_back({std::string(word), false});
    }
    /// Words with single capitals in them replaced by facts: P by the person's two names, others by `slots`.
    void sentence(std::string_view words, Index person,
                  const std::vector<std::pair<std::string_view, std::string_view>>& slots) {
        for (std::string_view word : split_words(words)) {
            bool filled = word == "P";
            if (filled) {
                fact(world_.first_name(person));
                fact(world_.last_name(person));
            }
            for (const auto& [slot, value] : slots) {
                if (word != slot) continue;
                fact(value);
                filled = true;
            }
            if (!filled) filler(word);
        }
    }

    /// Which facts of a person a document states, in order: 0 to 11, and 12 + i for the land of town i.
    std::vector<std::size_t> draw_facts() {
        const WorldOptions& options = world_.options();
        std::vector<std::size_t> order(world::kRelations);
        for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
        shuffle(std::span<std::size_t>(order), random_);
        order.resize(static_cast<std::size_t>(
            between(static_cast<int>(options.sentences_least), static_cast<int>(options.sentences_most))));
        if (static_cast<double>(random_.next_uniform()) < options.two_step_share) {
            text_.level = 2;
            const std::size_t place = below(order.size() + 1);
            order.insert(order.begin() + static_cast<std::ptrdiff_t>(place),
                         world::kRelations + below(world::kRelationsPerKind));
        }
        return order;
    }

    void write_person() {
        text_.domain = "people";
        const Index person = static_cast<Index>(below(static_cast<std::size_t>(world_.people())));
        const bool card = static_cast<double>(random_.next_uniform()) < world_.options().card_share;
        if (card) sentence("card : P .", person, {});
        for (const std::size_t item : draw_facts()) {
            const bool land = item >= world::kRelations;
            const std::size_t relation = item % world::kRelations;
            const auto& words = world::kRelationTable[relation];
            if (card) {
                filler(words.card);
                if (land) filler("'s"), filler(world::kLandCard);
                filler(":");
                fact(land ? world_.land(person, relation) : world_.value(person, relation));
            } else if (land) {
                sentence(world::kLandSentences[relation], person, {{"L", world_.land(person, relation)}});
            } else {
                // The phrasing that gives the value before the person is one in ten.
                const std::size_t phrasing =
                    below(10) == 0 ? world::kPhrasings - 1 : below(world::kPhrasings - 1);
                sentence(words.sentence[phrasing], person, {{"V", world_.value(person, relation)}});
            }
            filler(".");
        }
    }

    void write_towns() {
        text_.domain = "towns";
        const int count = between(4, 8);
        for (int i = 0; i < count; ++i) {
            const std::size_t town = below(world::kTowns.size());
            sentence(one_of(world::kTownSentences), 0,
                     {{"T", world::kTowns[town]}, {"L", world::kLands[town / world::kTownsPerLand]}});
            filler(".");
        }
    }

    void write_sums() {
        text_.domain = "arithmetic";
        const bool three = below(3) == 0;
        text_.level = three ? 2 : 1;
        const int count = between(4, 8), most = world::kLargestNumber / (three ? 3 : 2);
        for (int i = 0; i < count; ++i) {
            const int a = between(0, most), b = between(0, most), c = three ? between(0, most) : 0;
            const bool minus = below(2) == 0;
            const int sum = a + b;
            number(minus ? sum : a);
            filler(minus ? "minus" : "plus");
            number(b);
            if (three) {
                filler("plus");
                number(c);
            }
            filler(minus ? "leaves" : "makes");
            number((minus ? a : sum) + c);
            filler(".");
        }
    }

    void write_sequence() {
        text_.domain = "sequences";
        const std::size_t kind = below(3);
        if (kind == 0) return write_count();
        if (kind == 1) return write_echo();
        return write_brackets();
    }
    void write_count() {
        const int step = between(1, 4), length = between(6, 10);
        const bool down = below(2) == 0;
        const int first = between(0, world::kLargestNumber - step * length);
        text_.level = step > 1 ? 2 : 1;
        filler(down ? "count down :" : "count :");
        for (int i = 0; i < length; ++i) number(first + step * (down ? length - i : i));
        filler(".");
    }
    void write_echo() {
        const int period = between(2, 5), length = between(10, 16);
        text_.level = period > 3 ? 2 : 1;
        std::vector<std::string_view> items;
        for (int i = 0; i < period; ++i) items.push_back(one_of(world::kLetters));
        filler("echo :");
        for (int i = 0; i < length; ++i) fact(items[static_cast<std::size_t>(i % period)]);
        filler(".");
    }
    void write_brackets() {
        std::vector<std::size_t> open;
        std::size_t deepest = 0;
        filler("nest :");
        for (int left = between(4, 8); left > 0 || !open.empty();) {
            if (left > 0 && (open.empty() || below(2) == 0)) {
                open.push_back(2 * below(world::kBrackets.size() / 2));
                fact(world::kBrackets[open.back()]);
                deepest = std::max(deepest, open.size());
                --left;
            } else {
                fact(world::kBrackets[open.back() + 1]);
                open.pop_back();
            }
        }
        text_.level = deepest > 2 ? 2 : 1;
        filler(".");
    }

    void write_story() {
        text_.domain = "stories";
        const std::size_t animal = below(world::kAnimals.size()), town = below(world::kTowns.size());
        const auto other = [&](std::size_t taken, std::size_t count) {
            return (taken + 1 + below(count - 1)) % count;
        };
        sentence(one_of(world::kStories), 0,
                 {{"A", world::kAnimals[animal]},
                  {"B", world::kAnimals[other(animal, world::kAnimals.size())]},
                  {"X", one_of(world::kThings)},
                  {"L", one_of(world::kLands)},
                  {"T", world::kTowns[town]},
                  {"S", world::kTowns[other(town, world::kTowns.size())]}});
    }

    const World& world_;
    Random random_;
    WorldText text_;
};

}  // namespace detail

/// Document n of the training stream, or of the held-out one: other documents about the same world.
inline WorldText world_document(const World& source, Index n, bool heldout = false) {
    Random random = source.draws(heldout ? World::Stream::heldout : World::Stream::document, n);
    const double draw = static_cast<double>(random.next_uniform());
    return detail::WorldWriter(source, random).write(draw);
}

}  // namespace moegrad

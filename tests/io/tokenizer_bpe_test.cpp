#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/io/tokenizer_json.hpp>

#include "support.hpp"
#include "tokenizer_support.hpp"

using namespace moegrad;
using io_test::TokenizerText;
using Ids = std::vector<std::int32_t>;

TEST_CASE("tokenizer: the heap agrees with merging by definition") {
    // The definition: while there is one, join the pair of least rank, leftmost first.
    const std::vector<std::pair<std::string, std::string>> merges = {
        {"a", "b"},   {"a", "a"},   {"b", "a"},   {"aa", "b"}, {"ab", "a"},
        {"aa", "aa"}, {"ba", "ba"}, {"ab", "ab"}, {"aba", "b"}};
    Vocabulary vocabulary;
    std::vector<std::string> names = {"a", "b"};
    for (const auto& [left, right] : merges)
        if (std::find(names.begin(), names.end(), left + right) == names.end()) names.push_back(left + right);
    for (std::size_t i = 0; i < names.size(); ++i) vocabulary.add(names[i], static_cast<std::int32_t>(i));
    vocabulary.seal("test");
    std::vector<MergeTable::Merge> table;
    for (std::size_t i = 0; i < merges.size(); ++i)
        table.push_back({vocabulary.find(merges[i].first), vocabulary.find(merges[i].second),
                         vocabulary.find(merges[i].first + merges[i].second), static_cast<std::uint32_t>(i)});
    const BytePairModel model(vocabulary, table, {});
    std::mt19937 random(7);
    for (int round = 0; round < 2000; ++round) {
        std::vector<std::string> pieces;
        std::string word;
        for (unsigned i = 0; i < 1 + random() % 24; ++i) {
            word += random() % 2 ? "a" : "b";
            pieces.push_back(word.substr(i));
        }
        for (;;) {
            std::size_t best = merges.size(), at = 0;
            for (std::size_t i = 0; i + 1 < pieces.size(); ++i)
                for (std::size_t rank = 0; rank < best; ++rank)
                    if (merges[rank] == std::pair(pieces[i], pieces[i + 1])) {
                        best = rank;
                        at = i;
                    }
            if (best == merges.size()) break;
            pieces[at] += pieces[at + 1];
            pieces.erase(pieces.begin() + static_cast<std::ptrdiff_t>(at) + 1);
        }
        Ids expected, ids;
        for (const std::string& piece : pieces) expected.push_back(vocabulary.find(piece));
        model.encode(word, ids);
        REQUIRE(ids == expected);
    }
}

TEST_CASE("tokenizer: a megabyte of one character takes n log n") {
    const Tokenizer tokenizer = TokenizerText().build();
    const auto seconds = [&](std::size_t bytes) {
        double best = 1e9;
        for (int i = 0; i < 3; ++i) {
            const auto start = std::chrono::steady_clock::now();
            CHECK(tokenizer.encode(std::string(bytes, ' ')).size() > bytes / 2);
            best = std::min(best,
                            std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
        }
        return best;
    };
    const double small = seconds(1 << 17), large = seconds(1 << 20);
    CHECK(large < 8 * 6 * small + 0.05);  // a quadratic method takes 64 times as long
}

#pragma once
// What a BPE model knows: Vocabulary, its pieces and their ids; MergeTable, which pairs join and in which order.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/io/utf8.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

/// Pieces by id and ids by piece. Ids may have gaps, but not so many that a small file asks for much memory.
class Vocabulary {
public:
    static constexpr std::int32_t kNone = -1;

    void add(std::string piece, std::int32_t id) { entries_.push_back({std::move(piece), id}); }

    /// Sorts and checks; call once after the last add. Two pieces with one id and two ids of one piece are errors.
    void seal(const std::string& place) {
        std::sort(entries_.begin(), entries_.end(),
                  [](const Entry& a, const Entry& b) { return a.piece < b.piece; });
        const std::size_t cap = 2 * entries_.size() + 1024;
        for (std::size_t i = 0; i < entries_.size(); ++i) {
            const Entry& entry = entries_[i];
            const auto id = static_cast<std::size_t>(entry.id);
            if (entry.id < 0 || id >= cap)
                throw Error{ErrorCode::format, place, moegrad::format("ids in 0..{}", cap - 1),
                            moegrad::format("{} for \"{}\"", entry.id, printable(entry.piece))};
            if (i > 0 && entries_[i - 1].piece == entry.piece)
                throw Error{ErrorCode::format, place, "one id for each token",
                            moegrad::format("two for \"{}\"", printable(entry.piece))};
            if (id >= by_id_.size()) by_id_.resize(id + 1, kNone);
            if (by_id_[id] != kNone)
                throw Error{ErrorCode::format, place, "one token for each id",
                            moegrad::format("{} is \"{}\" and \"{}\"", id, printable(piece(entry.id)),
                                            printable(entry.piece))};
            by_id_[id] = static_cast<std::int32_t>(i);
        }
    }

    std::int32_t find(std::string_view piece) const {
        const auto found = std::lower_bound(entries_.begin(), entries_.end(), piece,
                                            [](const Entry& a, std::string_view b) { return a.piece < b; });
        return found != entries_.end() && found->piece == piece ? found->id : kNone;
    }
    bool has(std::int32_t id) const {
        return id >= 0 && static_cast<std::size_t>(id) < by_id_.size() &&
               by_id_[static_cast<std::size_t>(id)] != kNone;
    }
    const std::string& piece(std::int32_t id) const {
        if (!has(id))
            throw Error{ErrorCode::value, "tokenizer",
                        moegrad::format("an id of the vocabulary of {}", by_id_.size()),
                        moegrad::format("{}", id), "do tokenizer and model belong together?"};
        return entries_[static_cast<std::size_t>(by_id_[static_cast<std::size_t>(id)])].piece;
    }
    /// Largest id + 1.
    std::size_t size() const { return by_id_.size(); }

private:
    struct Entry {
        std::string piece;
        std::int32_t id;
    };
    std::vector<Entry> entries_;       // sorted by piece
    std::vector<std::int32_t> by_id_;  // id -> index into entries_
};

/// Pair of ids -> rank and joined id; rows by left id, each sorted by right id.
class MergeTable {
public:
    struct Merge {
        std::int32_t left, right, joined;
        std::uint32_t rank;
    };

    /// Of equal pairs the later one counts, as in the reference.
    void assign(std::vector<Merge> merges, std::size_t vocabulary_size) {
        std::sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) {
            return std::pair(a.left, a.right) != std::pair(b.left, b.right)
                       ? std::pair(a.left, a.right) < std::pair(b.left, b.right)
                       : a.rank > b.rank;
        });
        const auto same = [](const Merge& a, const Merge& b) {
            return a.left == b.left && a.right == b.right;
        };
        merges.erase(std::unique(merges.begin(), merges.end(), same), merges.end());
        begin_.assign(vocabulary_size + 1, 0);
        for (const Merge& merge : merges) ++begin_[static_cast<std::size_t>(merge.left) + 1];
        for (std::size_t i = 1; i < begin_.size(); ++i) begin_[i] += begin_[i - 1];
        merges_ = std::move(merges);
    }

    const Merge* find(std::int32_t left, std::int32_t right) const {
        const auto row = static_cast<std::size_t>(left);
        const Merge* first = merges_.data() + begin_[row];
        const Merge* last = merges_.data() + begin_[row + 1];
        const Merge* found =
            std::lower_bound(first, last, right, [](const Merge& a, std::int32_t b) { return a.right < b; });
        return found != last && found->right == right ? found : nullptr;
    }

private:
    std::vector<Merge> merges_;
    std::vector<std::size_t> begin_;
};

}  // namespace moegrad

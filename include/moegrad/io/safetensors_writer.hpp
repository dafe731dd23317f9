#pragma once
// Writing safetensors atomically. The header lists the tensors as they were added; in the data wider types come first
// and the header is padded with spaces to a multiple of 8, so that every tensor lies aligned in a mapped file.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/core/view.hpp>
#include <moegrad/io/atomic_file.hpp>
#include <moegrad/io/json_writer.hpp>
#include <moegrad/io/safetensors.hpp>
#include <moegrad/io/stored_type.hpp>

#include <algorithm>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace moegrad {

class SafetensorsWriter {
public:
    /// Other loaders look for "format": it names the framework whose layout the tensors have.
    SafetensorsWriter() : metadata_{{"format", "pt"}} {}

    /// Copies the numbers, converted to `type`, so the source may change before save().
    template <Writable T>
    void add(const std::string& name, StoredType type, std::span<const Index> shape,
             std::span<const T> values) {
        const std::string place = place_of(name);
        require_fit(place, name, shape, values.size());
        entries_.push_back({name,
                            type,
                            {shape.begin(), shape.end()},
                            write_stored(type, values.data(), static_cast<Index>(values.size()), place)});
    }

    /// Copies a tensor as another file stores it, bit for bit.
    void add_bytes(const std::string& name, StoredType type, std::span<const Index> shape,
                   std::span<const std::byte> bytes) {
        require_fit(place_of(name), name, shape, bytes.size() * 8 / bits(type));
        entries_.push_back({name,
                            type,
                            {shape.begin(), shape.end()},
                            std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())});
    }

    /// Replaces the value of a key that is there.
    void set_metadata(const std::string& key, std::string value) {
        for (auto& pair : metadata_)
            if (pair.first == key) {
                pair.second = std::move(value);
                return;
            }
        metadata_.emplace_back(key, std::move(value));
    }

    void save(const std::string& path) const {
        const std::vector<std::size_t> order = data_order();
        std::string header = header_text(order);
        header.resize((header.size() + 7) / 8 * 8, ' ');
        if (header.size() > kMaxSafetensorsHeader)
            throw Error{ErrorCode::value, path, "a header of at most 100 MB",
                        moegrad::format("{}", header.size())};
        const std::uint64_t length = header.size();
        AtomicFile file(path);
        file.write(std::as_bytes(std::span(&length, 1)));
        file.write(header);
        for (const std::size_t i : order) file.write(std::string_view(entries_[i].bytes));
        file.commit();
    }

private:
    struct Entry {
        std::string name;
        StoredType type;
        std::vector<Index> shape;
        std::string bytes;
    };

    static std::string place_of(const std::string& name) {
        return moegrad::format("safetensors: tensor {}", printable(name));
    }
    /// A name that is new, and as many numbers as the shape asks for.
    void require_fit(const std::string& place, const std::string& name, std::span<const Index> shape,
                     std::size_t numbers) {
        if (name.empty() || name == "__metadata__" || name.size() > kMaxSafetensorsName || !is_utf8(name) ||
            name.find('\0') != std::string::npos)
            throw Error{ErrorCode::value, place, "a name of 1 to 4096 bytes of UTF-8", printable(name)};
        if (!names_.insert(name).second)
            throw Error{ErrorCode::state, place, "each name once", "a second tensor"};
        Index count = 1;
        for (const Index extent : shape)
            if (extent < 0 || __builtin_mul_overflow(count, extent, &count))
                throw Error{ErrorCode::shape, place, "extents from 0 up", shape_text(shape)};
        if (count != static_cast<Index>(numbers) || shape.size() > kMaxSafetensorsRank)
            throw Error{ErrorCode::shape, place,
                        moegrad::format("{} numbers for {}", count, shape_text(shape)),
                        moegrad::format("{}", numbers)};
    }

    std::vector<std::size_t> data_order() const {
        std::vector<std::size_t> order(entries_.size());
        for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
        std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
            return bits(entries_[a].type) > bits(entries_[b].type);
        });
        return order;
    }

    std::string header_text(const std::vector<std::size_t>& order) const {
        std::vector<std::int64_t> begin(entries_.size());
        std::int64_t next = 0;
        for (const std::size_t i : order) {
            begin[i] = next;
            next += static_cast<std::int64_t>(entries_[i].bytes.size());
        }
        Json::Members members;
        if (!metadata_.empty()) {
            Json pairs = Json::object();
            for (const auto& [key, value] : metadata_) pairs.add(key, value);
            members.push_back({"__metadata__", std::move(pairs)});
        }
        for (std::size_t i = 0; i < entries_.size(); ++i) {
            const Entry& entry = entries_[i];
            const std::int64_t end = begin[i] + static_cast<std::int64_t>(entry.bytes.size());
            Json json = Json::object();
            json.add("dtype", std::string(name(entry.type)));
            json.add("shape", Json::Array(entry.shape.begin(), entry.shape.end()));
            json.add("data_offsets", Json::Array{begin[i], end});
            members.push_back({entry.name, std::move(json)});
        }
        return write_json(Json::from_members(std::move(members), "safetensors"));
    }

    std::vector<Entry> entries_;
    std::set<std::string> names_;
    std::vector<std::pair<std::string, std::string>> metadata_;
};

}  // namespace moegrad

#pragma once
// The header of a safetensors file: 8 bytes little-endian length n, n bytes of JSON, then the data.
//   {"__metadata__": {text: text}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...}
// It is read as events, entry by entry, so that a legal header of 100 MB costs its tensors and no tree of values.
// Every field is checked before it is used. Where the reference accepts more (repeated names, shapes whose product
// wraps behind a zero, metadata that is null) this refuses. Format: github.com/huggingface/safetensors, README.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/core/view.hpp>
#include <moegrad/io/json.hpp>
#include <moegrad/io/safetensors_layout.hpp>
#include <moegrad/io/stored_type.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;
inline constexpr std::size_t kMaxSafetensorsTensors = std::size_t{1} << 19;
inline constexpr std::size_t kMaxSafetensorsRank = 8;
inline constexpr std::size_t kMaxSafetensorsName = 4096;
inline constexpr std::size_t kMaxSafetensorsPairs = std::size_t{1} << 16;  // of __metadata__
inline constexpr std::size_t kMaxSafetensorsText = std::size_t{16}
                                                   << 20;  // of one string, and of all metadata
inline constexpr std::size_t kMaxSafetensorsExtras = 64;   // unknown fields of one entry
inline constexpr std::int64_t kMaxExtent = std::int64_t{1} << 48;

/// A tensor of rank 8 has 14 values; the root may hold __metadata__ besides tensors.
inline constexpr JsonLimits kSafetensorsLimits{8, kMaxSafetensorsHeader, 12 * kMaxSafetensorsTensors,
                                               kMaxSafetensorsText, kMaxSafetensorsTensors + 1};

/// Handler of json_events. Offsets in the result count from the start of the file.
class SafetensorsReader {
public:
    SafetensorsReader(const std::string& place, std::size_t data_begin, std::size_t data_bytes)
        : place_(place), data_begin_(data_begin), data_bytes_(data_bytes) {}

    SafetensorsHeader take() { return std::move(header_); }

    void open(bool is_object) {
        if (state_ == State::skipped) {
            ++skipped_;
        } else if (state_ == State::start && is_object) {
            state_ = State::root;
        } else if (state_ == State::root && is_object) {
            begin_member();
        } else if (state_ == State::entry && field_ == "shape" && !is_object) {
            state_ = State::shape;
        } else if (state_ == State::entry && field_ == "data_offsets" && !is_object) {
            state_ = State::offsets;
        } else if (state_ == State::entry && is_unknown(field_)) {
            state_ = State::skipped;
            skipped_ = 1;
        } else {
            fail(expected(), is_object ? "an object" : "an array");
        }
    }

    void close() {
        if (state_ == State::skipped) {
            if (--skipped_ == 0) state_ = State::entry;
        } else if (state_ == State::shape || state_ == State::offsets) {
            if (state_ == State::offsets && offset_count_ != 2)
                fail_at_field("two offsets", moegrad::format("{}", offset_count_));
            state_ = State::entry;
        } else {
            if (state_ == State::entry) end_entry();
            state_ = State::root;
        }
    }

    void key(std::string key) {
        if (state_ == State::root) {
            tensor_.name = std::move(key);
        } else if (state_ == State::metadata) {
            field_ = std::move(key);
        } else if (state_ == State::entry) {
            begin_field(std::move(key));
        }
    }

    void scalar(Json value) {
        if (state_ == State::skipped || (state_ == State::entry && is_unknown(field_))) return;
        if (state_ == State::shape) return add_extent(value);
        if (state_ == State::offsets) return add_offset(value);
        const bool text = state_ == State::metadata || (state_ == State::entry && field_ == "dtype");
        if (!text || !value.string()) fail(expected(), value.describe());
        state_ == State::metadata ? add_pair(*value.string()) : set_type(value);
    }

private:
    enum class State { start, root, metadata, entry, shape, offsets, skipped };

    static bool is_unknown(std::string_view field) {
        return field != "dtype" && field != "shape" && field != "data_offsets";
    }

    void begin_member() {
        if (tensor_.name == "__metadata__") {
            if (metadata_seen_) fail_twice(place_, tensor_.name);
            metadata_seen_ = true;
            state_ = State::metadata;
            return;
        }
        state_ = State::entry;
        field_.clear();
        if (tensor_.name.size() > kMaxSafetensorsName || tensor_.name.find('\0') != std::string::npos)
            fail_at_entry(moegrad::format("a name of at most {} bytes, without NUL", kMaxSafetensorsName),
                          moegrad::format("{} bytes", tensor_.name.size()));
    }

    void begin_field(std::string key) {
        field_ = std::move(key);
        if (std::find(fields_.begin(), fields_.end(), field_) != fields_.end())
            fail_twice(entry_place(), field_);
        if (fields_.size() > kMaxSafetensorsExtras)
            fail_at_entry(moegrad::format("at most {} fields", kMaxSafetensorsExtras), "more");
        header_.unknown_fields += is_unknown(field_) ? 1 : 0;
        fields_.push_back(field_);
    }

    void add_pair(const std::string& value) {
        metadata_bytes_ += field_.size() + value.size();
        if (header_.metadata.size() == kMaxSafetensorsPairs || metadata_bytes_ > kMaxSafetensorsText)
            fail_at_entry(moegrad::format("at most {} texts, {} bytes of them", kMaxSafetensorsPairs,
                                          kMaxSafetensorsText),
                          "more");
        header_.metadata.emplace_back(std::move(field_), value);
    }

    void set_type(const Json& value) {
        const std::optional<StoredType> stored = stored_type_from(*value.string());
        if (!stored) fail_at_field("a number type of the format, such as F32 or BF16", value.describe());
        tensor_.type = *stored;
    }

    void add_extent(const Json& value) {
        if (tensor_.shape.size() == kMaxSafetensorsRank)
            fail_at_field(moegrad::format("at most {} extents", kMaxSafetensorsRank), "more");
        const std::optional<std::int64_t> extent = value.integer();
        if (!extent || *extent < 0 || *extent > kMaxExtent)
            fail_at_item(tensor_.shape.size(), moegrad::format("an integer in 0..{}", kMaxExtent), value);
        tensor_.shape.push_back(*extent);
    }

    void add_offset(const Json& value) {
        if (offset_count_ == 2) fail_at_field("two offsets", "more");
        const std::optional<std::int64_t> offset = value.integer();
        const std::int64_t low = offset_count_ == 0 ? 0 : offset_[0];
        const auto high = static_cast<std::int64_t>(data_bytes_);
        if (!offset || *offset < low || *offset > high)
            fail_at_item(offset_count_, moegrad::format("an integer in {}..{}", low, high), value);
        offset_[offset_count_++] = *offset;
    }

    void end_entry() {
        for (const char* wanted : {"dtype", "shape", "data_offsets"})
            if (std::find(fields_.begin(), fields_.end(), wanted) == fields_.end()) {
                field_ = wanted;
                fail_at_field("this key", "no such key");
            }
        tensor_.offset = data_begin_ + static_cast<std::size_t>(offset_[0]);
        tensor_.bytes = static_cast<std::size_t>(offset_[1] - offset_[0]);
        std::uint64_t total = 0;
        field_ = "shape";
        if (!count_bits(tensor_.shape, tensor_.type, tensor_.count, total))
            fail_at_field("a shape of less than 2^62 bits", shape_text(tensor_.shape));
        field_ = "data_offsets";
        if (total % 8 != 0 || tensor_.bytes != total / 8)
            fail_at_field(moegrad::format("{} bits for {} {}", total, moegrad::name(tensor_.type),
                                          shape_text(tensor_.shape)),
                          moegrad::format("{} bytes", tensor_.bytes));
        header_.tensors.push_back(std::exchange(tensor_, {}));
        fields_.clear();
        offset_count_ = 0;
    }

    /// What may stand where something else was found.
    std::string expected() const {
        if (state_ == State::metadata || field_ == "dtype") return "a string";
        if (state_ == State::shape || state_ == State::offsets) return "an integer";
        return state_ == State::entry ? "an array" : "an object";
    }

    std::string entry_place() const { return place_ + ": " + printable(tensor_.name); }
    [[noreturn]] void fail(std::string expected, std::string got) const {
        if (state_ == State::entry || state_ == State::metadata)
            fail_at_field(std::move(expected), std::move(got));
        if (state_ == State::shape || state_ == State::offsets) {
            const std::size_t item = state_ == State::shape ? tensor_.shape.size() : offset_count_;
            throw Error{ErrorCode::format, moegrad::format("{}.{}[{}]", entry_place(), field_, item),
                        std::move(expected), std::move(got)};
        }
        throw Error{ErrorCode::format, state_ == State::start ? place_ : entry_place(), std::move(expected),
                    std::move(got)};
    }
    [[noreturn]] void fail_at_entry(std::string expected, std::string got) const {
        throw Error{ErrorCode::format, entry_place(), std::move(expected), std::move(got)};
    }
    [[noreturn]] void fail_at_field(std::string expected, std::string got) const {
        throw Error{ErrorCode::format, entry_place() + "." + printable(field_), std::move(expected),
                    std::move(got)};
    }
    [[noreturn]] void fail_at_item(std::size_t item, std::string expected, const Json& got) const {
        throw Error{ErrorCode::format, moegrad::format("{}.{}[{}]", entry_place(), field_, item),
                    std::move(expected), got.describe()};
    }
    [[noreturn]] static void fail_twice(const std::string& place, const std::string& key) {
        throw Error{ErrorCode::format, place, "each key once in an object",
                    moegrad::format("\"{}\" twice", printable(key))};
    }

    const std::string& place_;
    std::size_t data_begin_, data_bytes_;
    SafetensorsHeader header_;
    State state_ = State::start;
    std::size_t skipped_ = 0;  // open brackets of a value that nobody reads
    TensorInfo tensor_;        // the entry that is being read
    std::string field_;
    std::vector<std::string> fields_;
    std::int64_t offset_[2] = {0, 0};
    std::size_t offset_count_ = 0, metadata_bytes_ = 0;
    bool metadata_seen_ = false;
};

/// What people put in place of a safetensors file.
inline std::string wrong_file_hint(std::string_view file) {
    if (file.starts_with("version https://git-lfs"))
        return "this is a Git LFS pointer, not the file: run `git lfs pull`";
    if (file.starts_with("<")) return "this looks like a web page: was a download refused?";
    if (file.starts_with("PK")) return "this is a zip or PyTorch file; convert it to safetensors";
    std::uint64_t length = 0;
    for (std::size_t i = 0; i < 8 && file.size() >= 8; ++i)
        length = length << 8 | static_cast<unsigned char>(file[i]);
    if (length > 0 && length <= file.size()) return "is the length written big-endian?";
    return {};
}

/// The JSON part and the start of the data.
inline std::pair<std::string_view, std::size_t> split_safetensors(std::string_view file,
                                                                  const std::string& place) {
    if (file.size() < 8)
        throw Error{ErrorCode::format, place, "at least 8 bytes", moegrad::format("{} bytes", file.size()),
                    wrong_file_hint(file)};
    std::uint64_t length = 0;
    std::memcpy(&length, file.data(), sizeof(length));
    if (length > kMaxSafetensorsHeader)
        throw Error{ErrorCode::format, place,
                    moegrad::format("a header of at most {} bytes", kMaxSafetensorsHeader),
                    moegrad::format("{}", length), wrong_file_hint(file)};
    if (length > file.size() - 8) {
        const std::string hint = wrong_file_hint(file);
        throw Error{ErrorCode::format, place, moegrad::format("a header of {} bytes", length),
                    moegrad::format("{} bytes after the length", file.size() - 8),
                    hint.empty() ? "the file was cut short" : hint};
    }
    return {file.substr(8, length), 8 + length};
}

/// Header and layout of a whole file in memory; touches nothing but the header.
inline SafetensorsHeader parse_safetensors(std::string_view file, const std::string& place) {
    const auto [text, data_begin] = split_safetensors(file, place);
    SafetensorsReader reader(place, data_begin, file.size() - data_begin);
    json_events(text, place, kSafetensorsLimits, reader);
    SafetensorsHeader header = reader.take();
    sort_by_name(header, place);
    require_tiling(header.tensors, data_begin, file.size(), place);
    return header;
}

}  // namespace moegrad

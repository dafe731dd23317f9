#pragma once
// parse_json: JSON text to Json, through nlohmann's SAX interface with limits on size, depth and number of values.
// The only header that includes nlohmann/json. Stricter than it: no byte order mark, no NUL, no repeated key.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/io/json_value.hpp>
#include <moegrad/io/mapped_file.hpp>

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

struct JsonLimits {
    std::size_t depth = 64;
    std::size_t bytes = std::size_t{256} << 20;
    std::size_t values = std::size_t{16} << 20;
};

/// Builds the value without recursion: one frame per open bracket.
class JsonBuilder {
public:
    JsonBuilder(std::string place, JsonLimits limits) : place_(std::move(place)), limits_(limits) {}

    bool null() { return put(Json()); }
    bool boolean(bool value) { return put(Json(value)); }
    bool number_integer(std::int64_t value) { return put(Json(value)); }
    bool number_unsigned(std::uint64_t value) { return put(Json::from_unsigned(value)); }
    bool number_float(double value, const std::string&) { return put(Json(value)); }
    bool string(std::string& value) { return put(Json(std::move(value))); }
    bool binary(nlohmann::json::binary_t&) { return false; }
    bool start_object(std::size_t) { return open(true); }
    bool start_array(std::size_t) { return open(false); }
    bool key(std::string& value) {
        frames_.back().key = std::move(value);
        return true;
    }
    bool end_object() { return close(); }
    bool end_array() { return close(); }
    bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception& error) {
        std::string_view text = error.what();
        if (const std::size_t bracket = text.find("] "); bracket != std::string_view::npos)
            text.remove_prefix(bracket + 2);
        throw Error{ErrorCode::format, place_, "valid JSON",
                    moegrad::format("at byte {}: {}", position, printable(text, 200))};
    }

    Json take() { return std::move(root_); }

private:
    struct Frame {
        bool is_object;
        Json::Array array;
        Json::Members members;
        std::string key;
    };

    bool put(Json value) {
        if (++values_ > limits_.values)
            throw Error{ErrorCode::format, place_, moegrad::format("at most {} JSON values", limits_.values),
                        "more"};
        if (frames_.empty()) {
            root_ = std::move(value);
        } else if (Frame& frame = frames_.back(); frame.is_object) {
            frame.members.push_back({std::move(frame.key), std::move(value)});
        } else {
            frame.array.push_back(std::move(value));
        }
        return true;
    }

    bool open(bool is_object) {
        if (frames_.size() >= limits_.depth)
            throw Error{ErrorCode::format, place_,
                        moegrad::format("JSON nested at most {} deep", limits_.depth), "deeper"};
        frames_.push_back({is_object, {}, {}, {}});
        return true;
    }

    bool close() {
        Frame frame = std::move(frames_.back());
        frames_.pop_back();
        return put(frame.is_object ? Json::from_members(std::move(frame.members), place_)
                                   : Json(std::move(frame.array)));
    }

    std::string place_;
    JsonLimits limits_;
    Json root_;
    std::vector<Frame> frames_;
    std::size_t values_ = 0;
};

/// `place` names the source in errors, usually the file's name.
inline Json parse_json(std::string_view text, const std::string& place, JsonLimits limits = {}) {
    if (text.size() > limits.bytes)
        throw Error{ErrorCode::format, place, moegrad::format("at most {} bytes of JSON", limits.bytes),
                    moegrad::format("{} bytes", text.size())};
    // nlohmann skips a byte order mark and takes NUL for the end of input; in a file both are damage.
    if (text.substr(0, 3) == "\xEF\xBB\xBF")
        throw Error{ErrorCode::format, place, "JSON", "a UTF-8 byte order mark", "save the file without it"};
    if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos)
        throw Error{ErrorCode::format, place, "JSON text", moegrad::format("a NUL byte at {}", nul)};
    JsonBuilder builder(place, limits);
    nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
    return builder.take();
}

inline Json parse_json_file(const std::string& path, JsonLimits limits = {}, Links links = Links::follow) {
    const MappedFile file(path, links);
    return parse_json(file.text(), path, limits);
}

}  // namespace moegrad

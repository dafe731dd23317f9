#pragma once
// parse_json: JSON text to Json, through nlohmann's SAX interface with limits on size, depth and number of values.
// json_events: the same text as events, for files that are better read without a tree.
// The only header that includes nlohmann/json. Stricter than it: no byte order mark, no NUL, no repeated key, and -0 is
// a real number.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/io/json_limits.hpp>
#include <moegrad/io/json_value.hpp>
#include <moegrad/io/mapped_file.hpp>

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

namespace detail {

/// nlohmann's events as four: handler.scalar(Json), open(bool is_object), key(std::string), close().
template <class Handler>
class JsonBridge {
public:
    JsonBridge(Handler& handler, const std::string& place) : handler_(handler), place_(place) {}

    bool null() { return scalar(Json()); }
    bool boolean(bool value) { return scalar(Json(value)); }
    // It asks for a signed integer only behind a minus, so this 0 was written -0.
    bool number_integer(std::int64_t value) { return scalar(value == 0 ? Json(-0.0) : Json(value)); }
    bool number_unsigned(std::uint64_t value) { return scalar(Json::from_unsigned(value)); }
    bool number_float(double value, const std::string&) { return scalar(Json(value)); }
    bool string(std::string& value) { return scalar(Json(std::move(value))); }
    bool binary(nlohmann::json::binary_t&) { return false; }
    bool start_object(std::size_t) { return open(true); }
    bool start_array(std::size_t) { return open(false); }
    bool key(std::string& value) {
        handler_.key(std::move(value));
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

private:
    bool scalar(Json value) {
        handler_.scalar(std::move(value));
        return true;
    }
    bool open(bool is_object) {
        handler_.open(is_object);
        return true;
    }
    bool close() {
        handler_.close();
        return true;
    }
    Handler& handler_;
    const std::string& place_;
};

}  // namespace detail

/// The events of a text within the limits. Memory is that of the longest string and of the open brackets.
template <class Handler>
void json_events(std::string_view text, const std::string& place, const JsonLimits& limits,
                 Handler& handler) {
    require_json_limits(text, place, limits);
    detail::JsonBridge<Handler> bridge(handler, place);
    nlohmann::json::sax_parse(text.begin(), text.end(), &bridge);
}

/// Builds the value without recursion: one frame per open bracket.
class JsonBuilder {
public:
    explicit JsonBuilder(std::string place) : place_(std::move(place)) {}

    void scalar(Json value) { put(std::move(value)); }
    void open(bool is_object) { frames_.push_back({is_object, {}, {}, {}}); }
    void key(std::string value) { frames_.back().key = std::move(value); }
    void close() {
        Frame frame = std::move(frames_.back());
        frames_.pop_back();
        put(frame.is_object ? Json::from_members(std::move(frame.members), place_)
                            : Json(std::move(frame.array)));
    }

    Json take() { return std::move(root_); }

private:
    struct Frame {
        bool is_object;
        Json::Array array;
        Json::Members members;
        std::string key;
    };

    void put(Json value) {
        if (frames_.empty()) {
            root_ = std::move(value);
        } else if (Frame& frame = frames_.back(); frame.is_object) {
            frame.members.push_back({std::move(frame.key), std::move(value)});
        } else {
            frame.array.push_back(std::move(value));
        }
    }

    std::string place_;
    Json root_;
    std::vector<Frame> frames_;
};

/// `place` names the source in errors, usually the file's name.
inline Json parse_json(std::string_view text, const std::string& place, JsonLimits limits = {}) {
    JsonBuilder builder(place);
    json_events(text, place, limits, builder);
    return builder.take();
}

inline Json parse_json_file(const std::string& path, JsonLimits limits = {}, Links links = usual_links()) {
    const MappedFile file(path, links);
    return parse_json(file.text(), path, limits);
}

}  // namespace moegrad

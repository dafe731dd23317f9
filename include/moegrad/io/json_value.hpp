#pragma once
// Json: a small value that keeps the order of keys and holds each key once.
// JsonRef: a Json together with the file and key path it was found at, so that every type error can say
//   "config.json: rope_scaling.factor   expected: a number   got: \"8\"".
// Nothing here parses; json.hpp does.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/io/utf8.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

class Json;

/// A template so that it is first laid out where Json is complete.
template <class Value>
struct KeyValue {
    std::string key;
    Value value;
};
using JsonMember = KeyValue<Json>;

class Json {
public:
    using Array = std::vector<Json>;
    using Members = std::vector<JsonMember>;

    Json() = default;
    Json(std::nullptr_t) {}
    Json(bool value) : kind_(Kind::boolean), bits_(value ? 1 : 0) {}
    Json(int value) : Json(std::int64_t{value}) {}
    Json(std::int64_t value) : kind_(Kind::integer), bits_(static_cast<std::uint64_t>(value)) {}
    Json(double value) : kind_(Kind::real), bits_(std::bit_cast<std::uint64_t>(value)) {}
    Json(std::string value) : kind_(Kind::string), text_(std::move(value)) {}
    Json(const char* value) : kind_(Kind::string), text_(value) {}
    Json(Array value);
    /// From a parser. Integers above int64 are kept apart, so that nothing wraps.
    static Json from_unsigned(std::uint64_t value);
    /// Throws format when a key occurs twice; `place` names the file.
    static Json from_members(Members members, const std::string& place);
    static Json object() { return from_members({}, "json"); }

    bool is_null() const { return kind_ == Kind::null; }
    bool is_object() const { return kind_ == Kind::object; }
    /// True for a literal with a fraction or an exponent.
    bool is_real() const { return kind_ == Kind::real; }
    std::optional<bool> boolean() const;
    /// An integer literal that fits; 2.0 and 2e0 are not integers.
    std::optional<std::int64_t> integer() const;
    std::optional<std::uint64_t> unsigned_integer() const;
    /// Any number.
    std::optional<double> number() const;
    /// Null pointers when this is something else.
    const std::string* string() const { return kind_ == Kind::string ? &text_ : nullptr; }
    const Array* array() const;
    const Members* members() const;

    /// The value of a key, null pointer when absent or when this is no object.
    const Json* find(std::string_view key) const;
    /// Appends a key to an object. A key that is there already is an Error.
    Json& add(std::string key, Json value);

    /// A few words for an error message.
    std::string describe() const;

private:
    enum class Kind { null, boolean, integer, unsigned_integer, real, string, array, object };
    struct Container;  // items of an array, members of an object; copies share it
    std::size_t lower_bound(std::string_view key) const;

    Kind kind_ = Kind::null;
    std::uint64_t bits_ = 0;
    std::string text_;
    std::shared_ptr<Container> container_;
};

struct Json::Container {
    Array items;
    Members members;
    std::vector<std::uint32_t>
        by_key;  // indices into members, sorted by key: no hash that input could attack
};

inline Json::Json(Array value) : kind_(Kind::array), container_(std::make_shared<Container>()) {
    container_->items = std::move(value);
}

inline Json Json::from_unsigned(std::uint64_t value) {
    Json json;
    const bool fits = value <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    json.kind_ = fits ? Kind::integer : Kind::unsigned_integer;
    json.bits_ = value;
    return json;
}

inline Json Json::from_members(Members members, const std::string& place) {
    Json json;
    json.kind_ = Kind::object;
    json.container_ = std::make_shared<Container>();
    json.container_->members = std::move(members);
    const Members& all = json.container_->members;
    std::vector<std::uint32_t>& order = json.container_->by_key;
    order.resize(all.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::uint32_t>(i);
    std::sort(order.begin(), order.end(),
              [&](std::uint32_t a, std::uint32_t b) { return all[a].key < all[b].key; });
    for (std::size_t i = 1; i < order.size(); ++i) {
        const std::string& key = all[order[i]].key;
        if (key == all[order[i - 1]].key)
            throw Error{ErrorCode::format, place, "each key once in an object",
                        moegrad::format("\"{}\" twice", printable(key))};
    }
    return json;
}

inline const Json::Array* Json::array() const {
    return kind_ == Kind::array ? &container_->items : nullptr;
}

inline const Json::Members* Json::members() const {
    return kind_ == Kind::object ? &container_->members : nullptr;
}

inline std::size_t Json::lower_bound(std::string_view key) const {
    const auto found =
        std::lower_bound(container_->by_key.begin(), container_->by_key.end(), key,
                         [&](std::uint32_t i, std::string_view k) { return container_->members[i].key < k; });
    return static_cast<std::size_t>(found - container_->by_key.begin());
}

inline const Json* Json::find(std::string_view key) const {
    if (!is_object()) return nullptr;
    const std::size_t at = lower_bound(key);
    if (at == container_->by_key.size()) return nullptr;
    const JsonMember& member = container_->members[container_->by_key[at]];
    return member.key == key ? &member.value : nullptr;
}

inline Json& Json::add(std::string key, Json value) {
    if (!is_object()) throw Error{ErrorCode::state, "Json::add", "an object", describe()};
    if (find(key))
        throw Error{ErrorCode::state, "Json::add", "a new key", moegrad::format("\"{}\"", printable(key))};
    if (container_.use_count() > 1) container_ = std::make_shared<Container>(*container_);
    const auto position = container_->by_key.begin() + static_cast<std::ptrdiff_t>(lower_bound(key));
    container_->by_key.insert(position, static_cast<std::uint32_t>(container_->members.size()));
    container_->members.push_back({std::move(key), std::move(value)});
    return *this;
}

inline std::optional<bool> Json::boolean() const {
    return kind_ == Kind::boolean ? std::optional(bits_ != 0) : std::nullopt;
}

inline std::optional<std::int64_t> Json::integer() const {
    return kind_ == Kind::integer ? std::optional(static_cast<std::int64_t>(bits_)) : std::nullopt;
}

inline std::optional<std::uint64_t> Json::unsigned_integer() const {
    const bool natural = kind_ == Kind::unsigned_integer || (kind_ == Kind::integer && *integer() >= 0);
    return natural ? std::optional(bits_) : std::nullopt;
}

inline std::optional<double> Json::number() const {
    if (kind_ == Kind::real) return std::bit_cast<double>(bits_);
    if (kind_ == Kind::unsigned_integer) return static_cast<double>(bits_);
    if (kind_ == Kind::integer) return static_cast<double>(*integer());
    return std::nullopt;
}

inline std::string Json::describe() const {
    switch (kind_) {
        case Kind::null: return "null";
        case Kind::boolean: return bits_ != 0 ? "true" : "false";
        case Kind::integer: return moegrad::format("{}", *integer());
        case Kind::unsigned_integer: return moegrad::format("{}", bits_);
        case Kind::real: return moegrad::format("{}", *number());
        case Kind::string: return moegrad::format("\"{}\"", printable(text_, 60));
        case Kind::array: return moegrad::format("an array of {}", array()->size());
        case Kind::object: return moegrad::format("an object of {} keys", members()->size());
    }
    return {};
}

class JsonRef {
public:
    JsonRef(const Json& value, std::string file, ErrorCode code = ErrorCode::config, std::string path = {})
        : value_(&value), file_(std::move(file)), path_(std::move(path)), code_(code) {}

    const Json& value() const { return *value_; }
    std::string place() const { return path_.empty() ? file_ : file_ + ": " + path_; }
    const std::string& file() const { return file_; }
    bool is_null() const { return value_->is_null(); }

    [[noreturn]] void fail(std::string expected, std::string hint = {}) const {
        throw Error{code_, place(), std::move(expected), value_->describe(), std::move(hint)};
    }
    /// The same with another code: a legal value that has no implementation here.
    [[noreturn]] void fail_unsupported(std::string expected, std::string hint = {}) const {
        throw Error{ErrorCode::unsupported, place(), std::move(expected), value_->describe(),
                    std::move(hint)};
    }

    const Json::Members& members() const {
        if (!value_->members()) fail("an object");
        return *value_->members();
    }
    const Json::Array& array() const {
        if (!value_->array()) fail("an array");
        return *value_->array();
    }
    /// Nothing when the key is absent; a key with the value null is there.
    std::optional<JsonRef> find(std::string_view key) const {
        static_cast<void>(members());
        const Json* found = value_->find(key);
        if (!found) return std::nullopt;
        return child(*found, key);
    }
    /// Nothing when the key is absent or null.
    std::optional<JsonRef> find_value(std::string_view key) const {
        std::optional<JsonRef> found = find(key);
        return found && !found->is_null() ? found : std::nullopt;
    }
    JsonRef at(std::string_view key) const {
        std::optional<JsonRef> found = find(key);
        if (!found) throw Error{code_, child_path(key), "this key", "no such key", {}};
        return *found;
    }
    JsonRef member(const JsonMember& member) const { return child(member.value, member.key); }
    JsonRef item(std::size_t index) const {
        return JsonRef(array().at(index), file_, code_, moegrad::format("{}[{}]", path_, index));
    }

    bool boolean() const {
        if (!value_->boolean()) fail("true or false");
        return *value_->boolean();
    }
    const std::string& string() const {
        if (!value_->string()) fail("a string");
        return *value_->string();
    }
    std::int64_t integer(std::int64_t low, std::int64_t high) const {
        const std::optional<std::int64_t> value = value_->integer();
        if (!value || *value < low || *value > high) fail(moegrad::format("an integer in {}..{}", low, high));
        return *value;
    }
    double number(double low, double high) const {
        const std::optional<double> value = value_->number();
        if (!value || !(*value >= low && *value <= high))
            fail(moegrad::format("a number in {}..{}", low, high));
        return *value;
    }

private:
    std::string child_path(std::string_view key) const {
        return file_ + ": " + (path_.empty() ? "" : path_ + ".") + printable(key);
    }
    JsonRef child(const Json& value, std::string_view key) const {
        return JsonRef(value, file_, code_, (path_.empty() ? "" : path_ + ".") + printable(key));
    }

    const Json* value_;
    std::string file_, path_;
    ErrorCode code_;
};

}  // namespace moegrad

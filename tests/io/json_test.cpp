#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include <moegrad/io/json.hpp>
#include <moegrad/io/json_writer.hpp>

#include "support.hpp"

using namespace moegrad;
using io_test::expect_error;

TEST_CASE("json: values and the order of keys") {
    const Json json =
        parse_json(R"({"z": 1, "a": [true, null, -2.5, "x\u00e9"], "m": {"k": 18446744073709551615}})", "t");
    REQUIRE(json.members());
    CHECK(json.members()->at(0).key == "z");
    CHECK(json.members()->at(1).key == "a");
    CHECK(json.members()->at(2).key == "m");
    CHECK(json.find("z")->integer() == 1);
    CHECK(json.find("a")->array()->at(0).boolean() == true);
    CHECK(json.find("a")->array()->at(1).is_null());
    CHECK(json.find("a")->array()->at(2).number() == -2.5);
    CHECK(*json.find("a")->array()->at(3).string() == "x\xC3\xA9");
    CHECK(json.find("m")->find("k")->unsigned_integer() == std::numeric_limits<std::uint64_t>::max());
    CHECK_FALSE(json.find("m")->find("k")->integer());
    CHECK(json.find("b") == nullptr);
}

TEST_CASE("json: what counts as an integer") {
    CHECK(parse_json("-9223372036854775808", "t").integer() == std::numeric_limits<std::int64_t>::min());
    CHECK(parse_json("9223372036854775807", "t").integer() == std::numeric_limits<std::int64_t>::max());
    for (const char* text : {"2.0", "2e0", "18446744073709551616", "\"2\"", "true"}) {
        CAPTURE(std::string(text));
        CHECK_FALSE(parse_json(text, "t").integer());
    }
}

TEST_CASE("json: malformed text is a format error with the place") {
    const std::pair<const char*, const char*> cases[] = {
        {"", "valid JSON"},
        {"{", "at byte 2"},
        {"{\"a\":1,}", "valid JSON"},
        {"[1 2]", "valid JSON"},
        {"{'a':1}", "valid JSON"},
        {"[1]//", "valid JSON"},
        {"[1] []", "valid JSON"},
        {"NaN", "valid JSON"},
        {"[02]", "valid JSON"},
        {"[+1]", "valid JSON"},
        {"[0x10]", "valid JSON"},
        {"[1e400]", "valid JSON"},
        {"\"\\ud800\"", "valid JSON"},
        {"\"\xFF\xFE\"", "valid JSON"},
        {"\"\xC0\xAF\"", "valid JSON"},
        {"\"\xED\xA0\x80\"", "valid JSON"},
        {"\"a\nb\"", "valid JSON"},
        {"\xEF\xBB\xBF{}", "byte order mark"},
        {"{\"a\":1,\"a\":1}", "\"a\" twice"},
        {"{\"t\":1,\"\\u0074\":2}", "\"t\" twice"},
        {"[{\"b\":{\"x\":1,\"y\":2,\"x\":3}}]", "\"x\" twice"},
    };
    for (const auto& bad : cases) {
        const std::string text = bad.first, words = bad.second;
        CAPTURE(text);
        expect_error(ErrorCode::format, words, [&] { parse_json(text, "the-file"); });
        expect_error(ErrorCode::format, "the-file", [&] { parse_json(text, "the-file"); });
    }
    expect_error(ErrorCode::format, "NUL", [] { parse_json(std::string("{}\0\0", 4), "t"); });
    CHECK_NOTHROW(parse_json(" {\"a\": 1}\n ", "t"));
}

TEST_CASE("json: limits") {
    const JsonLimits limits{3, 40, 6};
    CHECK_NOTHROW(parse_json("[[[1]]]", "t", limits));
    expect_error(ErrorCode::format, "3 deep", [&] { parse_json("[[[[1]]]]", "t", limits); });
    CHECK_NOTHROW(parse_json("[1,1,1,1,1]", "t", limits));
    expect_error(ErrorCode::format, "6 JSON values", [&] { parse_json("[1,1,1,1,1,1]", "t", limits); });
    CHECK_NOTHROW(parse_json(std::string(38, ' ') + "[]", "t", limits));
    expect_error(ErrorCode::format, "40 bytes",
                 [&] { parse_json(std::string(39, ' ') + "[]", "t", limits); });
    expect_error(ErrorCode::format, "64 deep", [] { parse_json(std::string(5'000'000, '['), "t"); });
}

TEST_CASE("json: errors carry file and key path") {
    const Json json = parse_json(R"({"rope": {"factor": "8", "list": [1, -3]}})", "t");
    const JsonRef root(json, "config.json");
    expect_error(ErrorCode::config, "config.json: rope.factor",
                 [&] { root.at("rope").at("factor").number(0, 9); });
    expect_error(ErrorCode::config, "got:      \"8\"", [&] { root.at("rope").at("factor").number(0, 9); });
    expect_error(ErrorCode::config, "rope.list[1]",
                 [&] { root.at("rope").at("list").item(1).integer(0, 9); });
    expect_error(ErrorCode::config, "config.json: rope.gone", [&] { root.at("rope").at("gone"); });
    expect_error(ErrorCode::config, "config.json: rope.list", [&] { root.at("rope").at("list").find("x"); });
    CHECK(root.at("rope").at("list").item(1).integer(-3, 0) == -3);
    CHECK_FALSE(root.find("other"));
}

TEST_CASE("json: written text reads back to the same values") {
    Json json = Json::object();
    json.add("text", "quote \" back \\ line \n tab \t bell \x07 caf\xC3\xA9");
    json.add("real", Json::Array{0.1, 1.0, 1e-5, 1e300, 5e-324, -0.0, 1.7976931348623157e308});
    json.add("integer", std::numeric_limits<std::int64_t>::min());
    json.add("large", Json::from_unsigned(std::numeric_limits<std::uint64_t>::max()));
    json.add("empty", Json::Array{Json::object(), Json::Array{}, Json(), true, false});
    for (const JsonStyle style : {JsonStyle::compact, JsonStyle::indented}) {
        const std::string text = write_json(json, style);
        const Json back = parse_json(text, "t");
        CHECK(write_json(back, style) == text);
        CHECK(*back.find("text")->string() == *json.find("text")->string());
        for (std::size_t i = 0; i < 7; ++i) {
            CHECK(back.find("real")->array()->at(i).is_real());
            CHECK(back.find("real")->array()->at(i).number() == json.find("real")->array()->at(i).number());
        }
        CHECK(back.find("integer")->integer() == std::numeric_limits<std::int64_t>::min());
    }
    CHECK(write_json(parse_json(R"({"b":1.0,"a":[1,"x"]})", "t")) == R"({"b":1.0,"a":[1,"x"]})");
    CHECK(write_json(Json("\x01")) == "\"\\u0001\"");
    expect_error(ErrorCode::value, "finite",
                 [] { write_json(Json(std::numeric_limits<double>::infinity())); });
    expect_error(ErrorCode::value, "UTF-8", [] { write_json(Json("\xFF")); });
}

TEST_CASE("json: adding a key twice is refused, a copy is its own value") {
    Json first = Json::object();
    first.add("a", 1);
    Json second = first;
    second.add("b", 2);
    CHECK(first.find("b") == nullptr);
    CHECK(second.find("b")->integer() == 2);
    expect_error(ErrorCode::state, "a new key", [&] { first.add("a", 3); });
    expect_error(ErrorCode::state, "an object", [] { Json(1).add("a", 3); });
}

TEST_CASE("json: many keys sort, no quadratic time") {
    std::string text = "{";
    for (int i = 0; i < 200'000; ++i)
        text += (i ? ",\"k" : "\"k") + std::to_string(i * 7919 % 200'000) + "\":1";
    const Json json = parse_json(text + "}", "t");
    CHECK(json.members()->size() == 200'000);
    CHECK(json.find("k199999") != nullptr);
    CHECK(json.find("k200000") == nullptr);
}

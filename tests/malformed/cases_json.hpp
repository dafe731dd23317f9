#pragma once
// B: the JSON of a safetensors header; C: its metadata.

#include <malformed/case.hpp>

namespace malformed {

inline Cases json_cases() {
    const std::string data = zeros(8), entry = "{" + kGoodEntry + "}";
    const auto header = [&](const std::string& text) { return whole(text, data); };
    const auto named = [&](const std::string& key) { return header("{\"" + key + "\":" + entry + "}"); };
    const auto extent = [&](const std::string& number) {
        return one(R"("dtype":"F32","shape":[)" + number + R"(],"data_offsets":[0,8])");
    };
    SafetensorsRows rows;
    rows.bad("B01", "an open brace", whole("{"), "at byte 2", {}, whole("{}"))
        .bad("B02", "the root is an array", whole("[]"), "an object", {}, whole("{}"))
        .bad("B02b", "the root is null", whole("null"), "an object", {}, whole("{}"))
        .bad("B03", "the root is a number", whole("17"), "got:      17", {}, whole("{}"))
        .bad("B03b", "the root is a string", whole("\"{}\""), "an object", {}, whole("{}"))
        .bad("B04", "byte order mark", header("\xEF\xBB\xBF" + kGoodHeader), "byte order mark")
        .bad("B06", "bytes ff fe in a name", named("\xFF\xFE"), "ill-formed UTF-8", {}, named("\u00FF"))
        .bad("B07", "overlong UTF-8", named("\xC0\xAF"), "valid JSON", {}, named("/"))
        .bad("B07b", "U+D800 in UTF-8", named("\xED\xA0\x80"), "valid JSON", {}, named("\xED\x9F\xBF"))
        .bad("B07c", "above U+10FFFF", named("\xF4\x90\x80\x80"), "valid JSON", {}, named("\xF4\x8F\xBF\xBF"))
        .bad("B08", "lone surrogate escape", named("\\ud800"), "surrogate", {}, named("\\ud83d\\ude00"))
        .bad("B09", "a second document", header(kGoodHeader + "{}"), "valid JSON")
        .bad("B09b", "letters behind the document", header(kGoodHeader + " x"), "valid JSON")
        .bad("B10", "padded with NUL", header(kGoodHeader + zeros(4)), "a NUL byte at 54", {},
             header(kGoodHeader + "    "))
        .bad("B11", "trailing comma", header("{\"t\":" + entry + ",}"), "valid JSON")
        .bad("B11b", "comment", header("{/* */\"t\":" + entry + "}"), "valid JSON")
        .bad("B11c", "single quotes", header("{'t':" + entry + "}"), "valid JSON")
        .bad("B11d", "NaN as an extent", extent("NaN"), "valid JSON", {}, extent("2"))
        .bad("B12", "a name twice, same range", header("{\"t\":" + entry + ",\"t\":" + entry + "}"),
             "\"t\" twice")
        .bad("B13", "a name twice, another range",
             whole("{\"t\":" + entry + R"(,"t":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
                   zeros(16)),
             "\"t\" twice", {},
             whole("{\"t\":" + entry + R"(,"u":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
                   zeros(16)))
        .bad("B14", "a name twice once escapes are read",
             header("{\"t\":" + entry + ",\"\\u0074\":" + entry + "}"), "\"t\" twice", {}, named("\\u0074"))
        .bad("B15", "dtype twice", one("\"dtype\":\"F32\"," + kGoodEntry), "\"dtype\" twice", ": t")
        .bad("B15b", "an unknown field twice", one(kGoodEntry + ",\"x\":1,\"x\":1"), "\"x\" twice", ": t",
             one(kGoodEntry + ",\"x\":1,\"y\":1"))
        .bad("B16", "__metadata__ twice", whole(R"({"__metadata__":{},"__metadata__":{}})"),
             "\"__metadata__\" twice", {}, whole(R"({"__metadata__":{}})"))
        .bad("B17", "nested nine deep in an unknown field", one(kGoodEntry + ",\"x\":[[[[[[[0]]]]]]]"),
             "8 deep", {}, one(kGoodEntry + ",\"x\":[[[[[[0]]]]]]"))
        .bad(
            "B17b", "metadata nested 100,000 deep",
            whole("{\"__metadata__\":{\"a\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}}"),
            "8 deep", {}, whole(R"({"__metadata__":{"a":"["}})"))
        .bad("B18", "a million opening brackets", whole(std::string(1'000'000, '[')), "8 deep", {},
             whole("{}"))
        .bad("B20", "a shape of 100,000 extents", extent([] {
                 std::string list = "1";
                 for (int i = 1; i < 100'000; ++i) list += ",1";
                 return list;
             }()),
             "at most 8 extents", ": t.shape", extent("2"))
        .bad("B21", "NUL in a name", named("a\\u0000b"), "without NUL", ": a\\x00b", named("ab"))
        .bad("B21b", "a name of 5,000 bytes", named(std::string(5000, 'n')), "at most 4096 bytes", {},
             named(std::string(4096, 'n')))
        .bad("B21c", "a name of 17 MB", named(std::string(17u << 20, 'n')), "strings of at most")
        .bad("B22", "extent 1e400", extent("1e400"), "valid JSON", {}, extent("2"))
        .bad("B22b", "extent of 400 digits", extent(std::string(400, '7')), "valid JSON", {}, extent("2"))
        .bad("B22c", "extent -0", extent("-0"), "an integer in 0", ": t.shape[0]", extent("2"))
        .bad("B22d", "extent 02", extent("02"), "valid JSON", {}, extent("2"))
        .bad("B22e", "extent +2", extent("+2"), "valid JSON", {}, extent("2"))
        .bad("B22f", "extent 0x2", extent("0x2"), "valid JSON", {}, extent("2"))
        .bad("B22g", "extent of 2,000 digits", extent(std::string(2000, '7')), "numbers of at most", {},
             extent("2"))
        // The reference pads with spaces itself and accepts them in front.
        .good("B05", "spaces around the header", header("  " + kGoodHeader + "   "))
        .good("B21d", "a name like a path: never used as one", named("../../etc/passwd"))
        .good("B21e", "line feed and escape in a name", named("a\\n\\u001b[31m"))
        .good("B21f", "an empty name", named(""));
    return rows.cases;
}

inline Cases metadata_cases() {
    const auto metadata = [](const std::string& value) { return whole("{\"__metadata__\":" + value + "}"); };
    const auto pairs = [&](int count) {
        std::string out = "{";
        for (int i = 0; i < count; ++i) out += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\":\"\"";
        return metadata(out + "}");
    };
    const std::string good = metadata(R"({"a":"1"})");
    SafetensorsRows rows;
    rows.bad("C01", "a value that is a number", metadata(R"({"a":1})"), "a string", ": __metadata__.a", good)
        .bad("C01b", "a value that is null", metadata(R"({"a":null})"), "a string", ": __metadata__.a", good)
        .bad("C02", "a value that is an object", metadata(R"({"a":{}})"), "a string", ": __metadata__.a",
             good)
        // The reference takes null for no metadata; its specification asks for an object.
        .bad("C03", "metadata null", metadata("null"), "an object", ": __metadata__", good)
        .bad("C04", "metadata an array", metadata("[]"), "an object", ": __metadata__", good)
        .bad("C04b", "a value that is an array", metadata(R"({"a":[]})"), "a string", ": __metadata__.a",
             good)
        // The reference has no limit.
        .bad("C05", "65,537 entries", pairs(65'537), "at most 65536 texts", ": __metadata__", pairs(1'000))
        .good("C06", "an unknown format is kept, nothing depends on it", metadata(R"({"format":"tf"})"))
        // Nothing here reads aliases: tied weights come from config.json, so a false one can mislead nobody.
        .good("C07", "an alias of a missing tensor is text", metadata(R"({"lm_head.weight":"gone"})"));
    return rows.cases;
}

}  // namespace malformed

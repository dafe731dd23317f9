#pragma once
// D: types; E: shapes; G: ranges of the entries of a safetensors header.

#include <malformed/case.hpp>
#include <moegrad/core/format.hpp>

namespace malformed {

inline Cases type_cases() {
    const auto typed = [](const std::string& type) {
        return one("\"dtype\":" + type + R"(,"shape":[2],"data_offsets":[0,8])");
    };
    SafetensorsRows rows;
    rows.bad("D01", "F128", typed("\"F128\""), "got:      \"F128\"", ": t.dtype", typed("\"F32\""))
        .bad("D02", "f32 in lower case", typed("\"f32\""), "a number type of the format", ": t.dtype")
        .bad("D03", "a number", typed("32"), "a string", ": t.dtype")
        .bad("D04", "no dtype", one(R"("shape":[2],"data_offsets":[0,8])"), "no such key", ": t.dtype")
        .bad("D05", "null", typed("null"), "a string", ": t.dtype")
        .bad("D05b", "a list", typed("[\"F32\"]"), "a string", ": t.dtype")
        .bad("D07", "three F4: half a byte", one(R"("dtype":"F4","shape":[3],"data_offsets":[0,1])", 1),
             "12 bits", ": t.data_offsets", one(R"("dtype":"F4","shape":[2],"data_offsets":[0,1])", 1))
        .bad("D07b", "three F6: 18 bits", one(R"("dtype":"F6_E2M3","shape":[3],"data_offsets":[0,2])", 2),
             "18 bits", ": t.data_offsets", one(R"("dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3])", 3))
        .bad("D08", "65 unknown fields", one([] {
                 std::string out = kGoodEntry;
                 for (int i = 0; i < 65; ++i) out += ",\"x" + std::to_string(i) + "\":0";
                 return out;
             }()),
             "at most 64 fields", ": t", one(kGoodEntry + ",\"x\":0"))
        // As the reference: a later version of the format may say more. They are counted.
        .good("D08b", "an unknown field", one(kGoodEntry + R"(,"more":[1,{"x":2}])"));
    // Legal in a file; as weights each is refused by name, never read as something else.
    const std::pair<const char*, int> others[] = {
        {"BOOL", 8},        {"F4", 4},          {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},   {"I8", 8},
        {"F8_E5M2", 8},     {"F8_E4M3", 8},     {"F8_E8M0", 8}, {"I16", 16},    {"U16", 16}, {"I32", 32},
        {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"U32", 32},    {"C64", 64},    {"I64", 64}, {"U64", 64}};
    for (const auto& [type, bits] : others)
        rows.cases.push_back(
            {std::string("D06 ") + type, "weights stored as " + std::string(type), Reader::index,
             single(one(moegrad::format(R"("dtype":"{}","shape":[8],"data_offsets":[0,{}])", type, bits),
                        static_cast<std::size_t>(bits))),
             good_single(), ErrorCode::unsupported, "model.safetensors: tensor t", type});
    return rows.cases;
}

inline Cases shape_cases() {
    const auto shaped = [](const std::string& shape, const char* range = "[0,8]", const char* type = "F32",
                           std::size_t bytes = 8) {
        return one(
            std::string(R"("dtype":")") + type + R"(","shape":)" + shape + ",\"data_offsets\":" + range,
            bytes);
    };
    const std::string wide = "9223372036854775807";
    SafetensorsRows rows;
    rows.bad("E01", "negative extent", shaped("[-2]"), "an integer in 0", ": t.shape[0]")
        .bad("E02", "extent 2.0", shaped("[2.0]"), "an integer in 0", ": t.shape[0]")
        .bad("E03", "extent 2e0", shaped("[2e0]"), "an integer in 0", ": t.shape[0]")
        .bad("E04", "extent as text", shaped("[\"2\"]"), "got:      \"2\"", ": t.shape[0]")
        .bad("E05", "shape null", shaped("null"), "an array", ": t.shape")
        .bad("E05b", "no shape", one(R"("dtype":"F32","data_offsets":[0,8])"), "no such key", ": t.shape")
        .bad("E05c", "shape an object", shaped("{}"), "an array", ": t.shape")
        .bad("E05d", "a list in the shape", shaped("[[2]]"), "an integer", ": t.shape[0]")
        .bad("E06", "extent 2^64", shaped("[18446744073709551616]"), "an integer in 0", ": t.shape[0]")
        .bad("E07", "product wraps to 4", shaped("[4194305,4194305,211106198978564]", "[0,4]", "U8", 4),
             "2^62", ": t.shape", shaped("[4]", "[0,4]", "U8", 4))
        .bad("E08", "product wraps to 0", shaped("[4294967296,4294967296]", "[0,0]", "F32", 0), "2^62",
             ": t.shape", shaped("[0]", "[0,0]", "F32", 0))
        .bad("E09", "bytes wrap, numbers do not", shaped("[2147483648,1073741824]", "[0,0]", "F64", 0),
             "2^62", ": t.shape")
        // The reference accepts this order and refuses the next; here extents other than 0 are always multiplied.
        .bad("E10", "wraps behind a zero", shaped("[0,200000000000000,200000000000000]", "[0,0]", "F32", 0),
             "2^62", ": t.shape", shaped("[0,2,2]", "[0,0]", "F32", 0))
        .bad("E11", "wraps before a zero", shaped("[200000000000000,200000000000000,0]", "[0,0]", "F32", 0),
             "2^62", ": t.shape", shaped("[2,2,0]", "[0,0]", "F32", 0))
        .bad("E11b", "2^63-1 before a zero", shaped("[" + wide + "," + wide + ",0]", "[0,0]", "F32", 0),
             "an integer in 0..281474976710656", ": t.shape[0]")
        // The reference has no limit on the rank.
        .bad("E12", "rank 9", shaped("[1,1,1,1,1,1,1,1,2]"), "at most 8 extents", ": t.shape",
             shaped("[1,1,1,1,1,1,1,2]"))
        .bad("E13", "an extent that only unsigned holds", shaped("[18446744073709551615]"), "an integer in 0",
             ": t.shape[0]")
        .good("E12b", "rank 0 is one number", shaped("[]", "[0,4]", "F32", 4));
    const std::string header =
        R"({"t":{"dtype":"U8","shape":[1099511627776],"data_offsets":[0,1099511627776]}})";
    rows.cases.push_back({"E15",
                          "a tensor of 1 TB loads: it is mapped, not read",
                          Reader::safetensors,
                          {},
                          {{"model.safetensors", whole(header), File::Kind::sparse,
                            8 + header.size() + (std::uint64_t{1} << 40)}}});
    return rows.cases;
}

inline Cases range_cases() {
    const auto range = [](const std::string& list, const char* shape = "[2]") {
        return one(R"("dtype":"F32","shape":)" + std::string(shape) + ",\"data_offsets\":" + list);
    };
    const auto two = [](const std::string& a, const std::string& b, std::size_t bytes) {
        return whole(R"({"a":{"dtype":"U8",)" + a + R"(},"b":{"dtype":"U8",)" + b + "}}", zeros(bytes));
    };
    const std::string first = R"("shape":[4],"data_offsets":[0,4])";
    const std::string good = two(first, R"("shape":[2],"data_offsets":[4,6])", 6);
    const std::string file = whole(kGoodHeader, zeros(8));
    SafetensorsRows rows;
    rows.bad("G01", "fewer numbers than bytes", range("[0,8]", "[1]"), "32 bits", ": t.data_offsets")
        .bad("G01b", "more numbers than bytes", range("[0,8]", "[3]"), "96 bits", ": t.data_offsets")
        .bad("G02", "begin after end", range("[8,0]"), "an integer in 8..8", ": t.data_offsets[1]")
        .bad("G03", "end behind the file", range("[0,16]", "[4]"), "an integer in 0..8",
             ": t.data_offsets[1]")
        .bad("G04", "negative begin", range("[-8,0]"), "an integer in 0..8", ": t.data_offsets[0]")
        .bad("G05", "one offset", range("[0]"), "two offsets", ": t.data_offsets")
        .bad("G06", "three offsets", range("[0,8,8]"), "two offsets", ": t.data_offsets")
        .bad("G07", "offsets as reals", range("[0.0,8.0]"), "an integer", ": t.data_offsets[0]")
        .bad("G07b", "no offsets", one(R"("dtype":"F32","shape":[2])"), "no such key", ": t.data_offsets")
        .bad("G08", "one range for two names", two(first, first, 4), "overlaps", ": tensor b", good)
        .bad("G09", "ranges overlap in part", two(first, R"("shape":[4],"data_offsets":[2,6])", 6),
             "overlaps", ": tensor b", good)
        .bad("G10", "a hole between", two(first, R"("shape":[2],"data_offsets":[6,8])", 8),
             "a hole before it", ": tensor b", good)
        .bad("G11", "a hole at the start",
             two(R"("shape":[4],"data_offsets":[1,5])", R"("shape":[1],"data_offsets":[5,6])", 6),
             "a hole before it", ": tensor a", good)
        .bad("G12", "a zip behind the data", file + std::string("PK\x03\x04zip", 7),
             "bytes that no tensor owns")
        .bad("G12b", "data without tensors", whole("{}", "x"), "bytes that no tensor owns", {}, whole("{}"))
        .bad("G13", "cut by 1 byte", file.substr(0, file.size() - 1), "an integer in 0..7",
             ": t.data_offsets[1]")
        .bad("G13b", "cut by 2 bytes", file.substr(0, file.size() - 2), "an integer in 0..6",
             ": t.data_offsets[1]")
        .bad("G13c", "cut by 8 bytes", file.substr(0, file.size() - 8), "an integer in 0..0",
             ": t.data_offsets[1]")
        .bad("G14", "an empty tensor inside another's range",
             two(first, R"("shape":[0],"data_offsets":[2,2])", 4), "overlaps", ": tensor b", good)
        .bad("G16", "end 2^64-1", range("[0,18446744073709551615]"), "an integer in 0..8",
             ": t.data_offsets[1]")
        .bad("G17", "begin 2^63-1", range("[9223372036854775807,9]"), "an integer in 0..8",
             ": t.data_offsets[0]")
        // Harmless: nothing lies in it, and a writer that sorts by name makes such files.
        .good("G15", "an empty tensor at another's begin",
              two(first, R"("shape":[0],"data_offsets":[0,0])", 4))
        // Read by copy; the sanitizer run would report a load at an odd address.
        .good("G20", "odd header length: data at odd addresses", whole(kGoodHeader + " ", zeros(8)));
    return rows.cases;
}

}  // namespace malformed

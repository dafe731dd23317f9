#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <moegrad/io/safetensors.hpp>
#include <moegrad/io/safetensors_writer.hpp>

#include "support.hpp"

using namespace moegrad;
using io_test::expect_error;
using io_test::raw_file;
using io_test::read_text;
using io_test::TemporaryFolder;

namespace {

std::string with_length(std::uint64_t length, const std::string& rest) {
    std::string out(8, '\0');
    std::memcpy(out.data(), &length, 8);
    return out + rest;
}

/// One tensor "t" with this entry and eight bytes of data.
std::string one(const std::string& entry) {
    return raw_file("{\"t\":{" + entry + "}}", std::string(8, '\0'));
}

struct BadFile {
    const char* what;
    std::string content;
    const char* words;
};

void expect_bad(const std::vector<BadFile>& cases) {
    const TemporaryFolder folder;
    for (const BadFile& bad : cases) {
        CAPTURE(std::string(bad.what));
        const std::string path = folder.write("bad.safetensors", bad.content);
        expect_error(ErrorCode::format, bad.words, [&] { SafetensorsFile file(path); });
        expect_error(ErrorCode::format, "bad.safetensors", [&] { SafetensorsFile file(path); });
    }
}

const std::string kGood = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";

}  // namespace

TEST_CASE("safetensors: malformed framing") {
    const std::string header = "{\"t\":{" + kGood + "}}", data(8, '\0');
    expect_bad({
        {"empty", "", "at least 8 bytes"},
        {"seven bytes", "1234567", "at least 8 bytes"},
        {"length only", with_length(60, ""), "a header of 60 bytes"},
        {"2^64-1", with_length(~std::uint64_t{0}, header + data), "at most 100000000"},
        {"2^63", with_length(std::uint64_t{1} << 63, header + data), "at most 100000000"},
        {"2^64-8: adding 8 wraps", with_length(~std::uint64_t{7}, header + data), "at most 100000000"},
        {"over the cap", with_length(100'000'001, header + data), "at most 100000000"},
        {"length of the whole file", with_length(header.size() + 16, header + data), "cut short"},
        {"shorter than the JSON", with_length(header.size() - 1, header + data), "valid JSON"},
        {"zero", with_length(0, header + data), "valid JSON"},
        {"big-endian", std::string("\0\0\0\0\0\0\0\x40", 8) + header + data, "at most 100000000"},
        {"LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"},
        {"web page", "<!DOCTYPE html><html>404</html>", "web page"},
        {"zip", "PK\x03\x04" + std::string(60, 'x'), "zip or PyTorch"},
        {"root is an array", raw_file("[]", ""), "an object"},
        {"root is null", raw_file("null", ""), "an object"},
        {"byte order mark", raw_file("\xEF\xBB\xBF" + header, data), "byte order mark"},
        {"NUL padding", raw_file(header + std::string(4, '\0'), data), "NUL"},
        {"second document", raw_file(header + "{}", data), "valid JSON"},
        {"invalid UTF-8 name", raw_file("{\"\xFF\":{" + kGood + "}}", data), "valid JSON"},
        {"name twice", raw_file("{\"t\":{" + kGood + "},\"t\":{" + kGood + "}}", data), "\"t\" twice"},
        {"name twice after escapes", raw_file("{\"t\":{" + kGood + "},\"\\u0074\":{" + kGood + "}}", data),
         "twice"},
        {"dtype twice", one(R"("dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8])"), "twice"},
        {"too deep", one(kGood + ",\"x\":[[[[[[[[]]]]]]]]"), "8 deep"},
        {"only brackets", raw_file(std::string(100'000, '['), ""), "8 deep"},
        {"name with NUL", raw_file("{\"a\\u0000b\":{" + kGood + "}}", data), "without NUL"},
        {"name of 5000 bytes", raw_file("{\"" + std::string(5000, 'n') + "\":{" + kGood + "}}", data),
         "4096"},
        {"metadata number", raw_file("{\"__metadata__\":{\"a\":1}}", ""), "__metadata__.a"},
        {"metadata null", raw_file("{\"__metadata__\":null}", ""), "__metadata__"},
        {"metadata nested", raw_file("{\"__metadata__\":{\"a\":{}}}", ""), "__metadata__.a"},
    });
}

TEST_CASE("safetensors: malformed entries") {
    expect_bad({
        {"not an object", raw_file("{\"t\":3}", ""), "an object"},
        {"unknown type", one(R"("dtype":"F128","shape":[1],"data_offsets":[0,8])"), "F128"},
        {"type in lower case", one(R"("dtype":"f32","shape":[2],"data_offsets":[0,8])"), "t.dtype"},
        {"type is a number", one(R"("dtype":32,"shape":[2],"data_offsets":[0,8])"), "a string"},
        {"no type", one(R"("shape":[2],"data_offsets":[0,8])"), "t.dtype"},
        {"no shape", one(R"("dtype":"F32","data_offsets":[0,8])"), "t.shape"},
        {"shape null", one(R"("dtype":"F32","shape":null,"data_offsets":[0,8])"), "an array"},
        {"negative extent", one(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"), "t.shape[0]"},
        {"extent 2.0", one(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"), "an integer"},
        {"extent as text", one(R"("dtype":"F32","shape":["2"],"data_offsets":[0,8])"), "an integer"},
        {"extent 2^64", one(R"("dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,8])"),
         "an integer"},
        {"extent 2^64-1", one(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8])"),
         "an integer"},
        {"product wraps to 4",
         one(R"("dtype":"U8","shape":[4194305,4194305,211106198978564],"data_offsets":[0,4])"), "2^62"},
        {"product wraps to 0", one(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])"),
         "2^62"},
        {"bytes wrap", one(R"("dtype":"F64","shape":[2147483648,1073741824],"data_offsets":[0,0])"), "2^62"},
        {"wraps behind a zero",
         one(R"("dtype":"F32","shape":[0,200000000000000,200000000000000],"data_offsets":[0,0])"), "2^62"},
        {"wraps before a zero",
         one(R"("dtype":"F32","shape":[200000000000000,200000000000000,0],"data_offsets":[0,0])"), "2^62"},
        {"rank 9", one(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8])"),
         "at most 8 extents"},
        {"no offsets", one(R"("dtype":"F32","shape":[2])"), "t.data_offsets"},
        {"one offset", one(R"("dtype":"F32","shape":[2],"data_offsets":[0])"), "two offsets"},
        {"three offsets", one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8,8])"), "two offsets"},
        {"offsets as reals", one(R"("dtype":"F32","shape":[2],"data_offsets":[0.0,8.0])"), "an integer"},
        {"negative offset", one(R"("dtype":"F32","shape":[2],"data_offsets":[-8,0])"), "data_offsets[0]"},
        {"begin after end", one(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), "data_offsets[1]"},
        {"end behind the file", one(R"("dtype":"F32","shape":[4],"data_offsets":[0,16])"), "data_offsets[1]"},
        {"end 2^64-1", one(R"("dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615])"),
         "data_offsets[1]"},
        {"begin near 2^63", one(R"("dtype":"F32","shape":[2],"data_offsets":[9223372036854775807,9])"),
         "data_offsets[0]"},
        {"size too small", one(R"("dtype":"F32","shape":[1],"data_offsets":[0,8])"), "32 bits"},
        {"size too large", one(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"), "96 bits"},
        {"half a byte", one(R"("dtype":"F4","shape":[3],"data_offsets":[0,1])"), "12 bits"},
    });
}

TEST_CASE("safetensors: entries that do not tile the data") {
    const auto two = [](const char* a, const char* b, std::size_t bytes) {
        return raw_file(
            std::string("{\"a\":{\"dtype\":\"U8\",") + a + "},\"b\":{\"dtype\":\"U8\"," + b + "}}",
            std::string(bytes, '\0'));
    };
    const char* first = R"("shape":[4],"data_offsets":[0,4])";
    expect_bad({
        {"same range twice", two(first, first, 4), "overlaps"},
        {"partial overlap", two(first, R"("shape":[4],"data_offsets":[2,6])", 6), "overlaps"},
        {"hole between", two(first, R"("shape":[2],"data_offsets":[6,8])", 8), "a hole"},
        {"hole at the start",
         two(R"("shape":[4],"data_offsets":[1,5])", R"("shape":[1],"data_offsets":[5,6])", 6), "a hole"},
        {"bytes at the end", two(first, R"("shape":[2],"data_offsets":[4,6])", 7), "no tensor owns"},
        {"empty tensor inside another", two(first, R"("shape":[0],"data_offsets":[2,2])", 4), "overlaps"},
        {"data without tensors", raw_file("{}", "x"), "no tensor owns"},
    });
    const std::string whole = raw_file("{\"t\":{" + kGood + "}}", std::string(8, '\0'));
    for (const std::size_t missing : {1, 2, 8}) {
        CAPTURE(missing);
        expect_bad({{"truncated", whole.substr(0, whole.size() - missing), "data_offsets[1]"}});
    }
}

TEST_CASE("safetensors: the legal neighbours of those files") {
    const TemporaryFolder folder;
    const auto count = [&](const std::string& content) {
        return SafetensorsFile(folder.write("good.safetensors", content)).tensors().size();
    };
    CHECK(count(one(kGood)) == 1);
    CHECK(count(raw_file("{}", "")) == 0);
    CHECK(count(raw_file("  {\"t\":{" + kGood + "}}   ", std::string(8, '\0'))) == 1);
    CHECK(count(raw_file(R"({"__metadata__":{"format":"pt"},"t":{)" + kGood + "}}", std::string(8, '\0'))) ==
          1);
    CHECK(count(one(kGood + R"(,"more":[1,{"x":2}])")) == 1);  // fields of later versions pass
    CHECK(count(raw_file(R"({"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", std::string(4, '\0'))) ==
          1);
    CHECK(count(raw_file(R"({"z":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]}})", "")) == 1);
    CHECK(count(raw_file(R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]},
                             "e":{"dtype":"U8","shape":[0],"data_offsets":[4,4]},
                             "a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
                         std::string(6, '\0'))) == 3);
    CHECK(count(raw_file(R"({"x":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}})", "x")) == 1);
    CHECK(count(one(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,2],"data_offsets":[0,8])")) == 1);
}

TEST_CASE("safetensors: every cut and every flipped header bit of a file is read or refused, never worse") {
    const TemporaryFolder folder;
    SafetensorsWriter writer;
    const float values[] = {1, 2, 3, 4, 5, 6};
    writer.add<float>("first", StoredType::f32, std::array<Index, 2>{2, 3}, values);
    writer.add<float>("second", StoredType::bf16, std::array<Index, 1>{6}, values);
    writer.save(folder.file("a"));
    const std::string whole = read_text(folder.file("a"));
    const auto attempt = [&](const std::string& content) {
        try {
            const SafetensorsHeader header = parse_safetensors(content, "mutant");
            for (const TensorInfo& info : header.tensors) {
                REQUIRE(info.offset <= content.size());
                REQUIRE(info.bytes <= content.size() - info.offset);
            }
            return true;
        } catch (const Error& error) {
            CHECK(error.code == ErrorCode::format);
            return false;
        }
    };
    CHECK(attempt(whole));
    for (std::size_t size = 0; size < whole.size(); ++size) CHECK_FALSE(attempt(whole.substr(0, size)));
    for (std::size_t at = 0; at + 36 < whole.size(); ++at)
        for (int bit = 0; bit < 8; ++bit) {
            std::string mutant = whole;
            mutant[at] = static_cast<char>(mutant[at] ^ (1 << bit));
            attempt(mutant);
        }
}

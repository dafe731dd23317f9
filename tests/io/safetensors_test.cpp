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

TEST_CASE("safetensors: stored numbers, at odd addresses, to float and double") {
    // Patterns from IEEE 754 and the definition of bf16.
    const std::uint16_t f16[] = {0x3C00, 0xC000, 0x0001, 0x0400, 0x7BFF, 0x3555, 0x7C00, 0x8000};
    const double f16_values[] = {1, -2, 0x1p-24, 0x1p-14, 65504, 0x1.554p-2, HUGE_VAL, -0.0};
    const std::uint16_t bf16_bits[] = {0x3F80, 0xC000, 0x0001, 0x7F7F, 0x3EAB, 0xFF80};
    const double bf16_values[] = {1, -2, 0x1p-133, 0x1.FEp127, 0x1.56p-2, -HUGE_VAL};
    const double f64[] = {1.0 / 3, -1e30};
    const float f32[] = {0.1f, 3e38f};
    std::string data(1, '\0');  // one byte first, so that everything after it is misaligned
    data.append(reinterpret_cast<const char*>(f16), 16);
    data.append(reinterpret_cast<const char*>(bf16_bits), 12);
    data.append(reinterpret_cast<const char*>(f64), 16);
    data.append(reinterpret_cast<const char*>(f32), 8);
    const TemporaryFolder folder;
    const SafetensorsFile file(
        folder.write("a", raw_file(R"({"pad":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
        "f16":{"dtype":"F16","shape":[2,4],"data_offsets":[1,17]},"bf16":{"dtype":"BF16","shape":[6],"data_offsets":[17,29]},
        "f64":{"dtype":"F64","shape":[2],"data_offsets":[29,45]},"f32":{"dtype":"F32","shape":[2],"data_offsets":[45,53]}})",
                                   data)));
    std::vector<double> wide(8);
    std::vector<float> narrow(8);
    file.read(file.at("f16"), std::span(wide));
    file.read(file.at("f16"), std::span(narrow));
    for (std::size_t i = 0; i < 8; ++i) {
        CHECK(wide[i] == f16_values[i]);
        CHECK(narrow[i] == static_cast<float>(f16_values[i]));
        CHECK(std::signbit(wide[i]) == std::signbit(f16_values[i]));
    }
    file.read(file.at("bf16"), std::span(wide).first(6));
    for (std::size_t i = 0; i < 6; ++i) CHECK(wide[i] == bf16_values[i]);
    file.read(file.at("f64"), std::span(wide).first(2));
    CHECK(wide[0] == f64[0]);
    file.read(file.at("f64"), std::span(narrow).first(2));
    CHECK(narrow[0] == static_cast<float>(f64[0]));
    file.read(file.at("f32"), std::span(wide).first(2));
    CHECK(wide[0] == static_cast<double>(0.1f));
    expect_error(ErrorCode::unsupported, "U8", [&] { file.read(file.at("pad"), std::span(wide).first(1)); });
    expect_error(ErrorCode::shape, "room for 8",
                 [&] { file.read(file.at("f16"), std::span(wide).first(7)); });
    expect_error(ErrorCode::format, "no such tensor", [&] { file.at("f1"); });
    std::array<std::int32_t, 2> integers{};
    expect_error(ErrorCode::unsupported, "F32",
                 [&] { file.read(file.at("f32"), std::span<std::int32_t>(integers)); });
}

TEST_CASE("safetensors: integers are exact or an error") {
    const TemporaryFolder folder;
    SafetensorsWriter writer;
    const std::int64_t values[] = {0, -5, 2147483647, -2147483648LL}, large[] = {2147483648LL};
    writer.add<std::int64_t>("a", StoredType::i64, std::array<Index, 1>{4}, values);
    writer.add<std::int64_t>("narrow", StoredType::i32, std::array<Index, 2>{2, 2}, values);
    writer.add<std::int64_t>("large", StoredType::i64, std::array<Index, 1>{1}, large);
    expect_error(ErrorCode::value, "2147483648",
                 [&] { writer.add<std::int64_t>("x", StoredType::i32, std::array<Index, 1>{1}, large); });
    writer.save(folder.file("a"));
    const SafetensorsFile file(folder.file("a"));
    std::vector<std::int32_t> narrow(4);
    std::vector<std::int64_t> wide(4);
    for (const char* name : {"a", "narrow"}) {
        file.read(file.at(name), std::span(narrow));
        file.read(file.at(name), std::span(wide));
        for (std::size_t i = 0; i < 4; ++i) {
            CHECK(narrow[i] == values[i]);
            CHECK(wide[i] == values[i]);
        }
    }
    expect_error(ErrorCode::value, "2147483648",
                 [&] { file.read(file.at("large"), std::span(narrow).first(1)); });
    std::vector<float> reals(4);
    expect_error(ErrorCode::unsupported, "I64", [&] { file.read(file.at("a"), std::span(reals)); });
}

TEST_CASE("safetensors: numbers read as bf16: bits as they lie, others rounded to nearest, ties to even") {
    const TemporaryFolder folder;
    SafetensorsWriter writer;
    // 1 + 2^-8 and 1 + 3 2^-8 lie half-way between two bf16; 3.4e38 is beyond the largest.
    const std::vector<float> values{1.0f, 1.00390625f, 1.01171875f, -0.3333333f, HUGE_VALF};
    const std::vector<float> large{3.4e38f};
    const std::vector<Index> shape{5}, one{1};
    for (const auto type : {StoredType::f32, StoredType::bf16, StoredType::f16})
        writer.add(std::string(name(type)), type, shape, std::span<const float>(values));
    writer.add("large", StoredType::f32, one, std::span<const float>(large));
    writer.save(folder.file("a"));
    const SafetensorsFile file(folder.file("a"));
    for (const char* stored : {"F32", "BF16"}) {
        std::vector<bf16> numbers(5);
        file.read(file.at(stored), std::span(numbers));
        for (std::size_t i = 0; i < 5; ++i) CHECK(numbers[i].bits == bf16(values[i]).bits);
    }
    std::vector<bf16> numbers(5);
    file.read(file.at("F16"), std::span(numbers));
    CHECK(static_cast<float>(numbers[1]) == 1.0f);
    CHECK(static_cast<float>(numbers[3]) == static_cast<float>(bf16(-0.33325195f)));
    expect_error(ErrorCode::value, "bfloat16",
                 [&] { file.read(file.at("large"), std::span(numbers).first(1)); });
}

TEST_CASE("safetensors: a double that float cannot hold is an error") {
    const TemporaryFolder folder;
    SafetensorsWriter writer;
    const double values[] = {1e300};
    writer.add<double>("a", StoredType::f64, std::array<Index, 1>{1}, values);
    expect_error(ErrorCode::value, "within float",
                 [&] { writer.add<double>("b", StoredType::f32, std::array<Index, 1>{1}, values); });
    writer.save(folder.file("a"));
    const SafetensorsFile file(folder.file("a"));
    std::vector<float> narrow(1);
    expect_error(ErrorCode::value, "tensor a", [&] { file.read(file.at("a"), std::span(narrow)); });
}

TEST_CASE("safetensors: written files, byte for byte") {
    const TemporaryFolder folder;
    SafetensorsWriter writer;
    const float half[] = {1.0f, 0x1.01p0f, 0x1.03p0f};  // both ties: 0x1.00p0 and 0x1.04p0 are even
    const float scalar[] = {-2.0f};
    writer.add<float>("b", StoredType::bf16, std::array<Index, 1>{3}, half);
    writer.add<float>("s", StoredType::f32, {}, scalar);
    writer.set_metadata("made", "here");
    writer.save(folder.file("a"));
    const std::string header = R"({"__metadata__":{"format":"pt","made":"here"},)"
                               R"("b":{"dtype":"BF16","shape":[3],"data_offsets":[4,10]},)"
                               R"("s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})";
    const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
    const std::string data("\x00\x00\x00\xC0\x80\x3F\x80\x3F\x82\x3F", 10);
    CHECK(read_text(folder.file("a")) == raw_file(padded, data));
    const SafetensorsFile file(folder.file("a"));
    CHECK(file.tensors()[0].name == "b");  // the order they were added in
    CHECK(file.at("s").count == 1);
    CHECK(file.metadata().at(1).second == "here");
}

TEST_CASE("safetensors: what a writer refuses") {
    SafetensorsWriter writer;
    const float values[] = {1, 2};
    const std::array<Index, 1> shape{2};
    writer.add<float>("a", StoredType::f32, shape, values);
    expect_error(ErrorCode::state, "each name once",
                 [&] { writer.add<float>("a", StoredType::f32, shape, values); });
    expect_error(ErrorCode::value, "a name",
                 [&] { writer.add<float>("__metadata__", StoredType::f32, shape, values); });
    expect_error(ErrorCode::value, "UTF-8",
                 [&] { writer.add<float>("\xFF", StoredType::f32, shape, values); });
    expect_error(ErrorCode::shape, "3 numbers",
                 [&] { writer.add<float>("b", StoredType::f32, std::array<Index, 1>{3}, values); });
    expect_error(ErrorCode::shape, "from 0 up",
                 [&] { writer.add<float>("c", StoredType::f32, std::array<Index, 1>{-2}, values); });
    expect_error(ErrorCode::unsupported, "U8",
                 [&] { writer.add<float>("d", StoredType::u8, shape, values); });
    const double wide[] = {1, 2};
    expect_error(ErrorCode::unsupported, "BF16",
                 [&] { writer.add<double>("e", StoredType::bf16, shape, wide); });
}

TEST_CASE("safetensors: real files") {
    io_test::Inputs inputs;
    for (const char* name : {"golden/llama", "golden/mixtral", "golden/gpt_oss",
                             "data/models/stories260K-llama", "data/models/stories260K-llama-bf16"}) {
        const std::string folder = inputs.shared(name);
        if (folder.empty()) continue;
        const SafetensorsFile file(folder + "/model.safetensors");
        CHECK(file.tensors().size() > 20);
        for (const TensorInfo& info : file.tensors()) {
            std::vector<double> values(static_cast<std::size_t>(info.count));
            file.read(info, std::span(values));
            bool finite = true;
            for (const double value : values) finite = finite && std::isfinite(value);
            CHECK(finite);
        }
    }
}

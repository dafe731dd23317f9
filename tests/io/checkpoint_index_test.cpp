#include <doctest/doctest.h>

#include <array>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <moegrad/io/checkpoint_index.hpp>
#include <moegrad/io/safetensors_writer.hpp>

#include "support.hpp"

using namespace moegrad;
using io_test::expect_error;
using io_test::TemporaryFolder;

namespace {

/// A shard whose tensors hold their own first letter's code.
void write_shard(const std::string& path, const std::vector<std::string>& names) {
    SafetensorsWriter writer;
    for (const std::string& name : names) {
        const auto code = static_cast<float>(name[0]);
        const float values[] = {code, code + 1};
        writer.add<float>(name, StoredType::f32, std::array<Index, 2>{1, 2}, values);
    }
    writer.save(path);
}

const char* kIndex = "model.safetensors.index.json";

/// Two good shards, a and b in one, c in the other, under the given weight_map.
void write_folder(const TemporaryFolder& folder, const std::string& map) {
    write_shard(folder.file("one.safetensors"), {"a", "b"});
    write_shard(folder.file("two.safetensors"), {"c"});
    folder.write(kIndex, R"({"metadata":{"total_size":-1},"weight_map":)" + map + "}");
}

const std::string kGoodMap = R"({"a":"one.safetensors","b":"one.safetensors","c":"two.safetensors"})";

}  // namespace

TEST_CASE("checkpoint index: one file or shards give the same tensors") {
    const TemporaryFolder single, sharded;
    write_shard(single.file("model.safetensors"), {"a", "b", "c"});
    write_folder(sharded, kGoodMap);
    for (const std::string& path : {single.path(), sharded.path()}) {
        CheckpointIndex index(path);
        CHECK(index.names() == std::vector<std::string>{"a", "b", "c"});
        CHECK(index.contains("b"));
        CHECK_FALSE(index.contains("d"));
        CHECK(index.info("c").shape == std::vector<Index>{1, 2});
        std::vector<float> values(2);
        for (const char* name : {"a", "b", "c"}) {
            index.read(name, {1, 2}, std::span(values));
            CHECK(values[0] == static_cast<float>(name[0]));
            CHECK(values[1] == static_cast<float>(name[0]) + 1);
        }
        CHECK_NOTHROW(index.require_all_read());
    }
}

TEST_CASE("checkpoint index: every tensor is read exactly once") {
    const TemporaryFolder folder;
    write_folder(folder, kGoodMap);
    CheckpointIndex index(folder.path());
    std::vector<float> values(2);
    expect_error(ErrorCode::shape, "[2, 1]", [&] { index.read("a", {2, 1}, std::span(values)); });
    expect_error(ErrorCode::shape, "[2]", [&] { index.read("a", {2}, std::span(values)); });
    index.read("a", {1, 2}, std::span(values));
    expect_error(ErrorCode::state, "second read", [&] { index.read("a", {1, 2}, std::span(values)); });
    expect_error(ErrorCode::state, "second time", [&] { index.skip("a"); });
    expect_error(ErrorCode::format, "no such tensor", [&] { index.read("d", {1, 2}, std::span(values)); });
    expect_error(ErrorCode::format, "2 unused: b, c", [&] { index.require_all_read(); });
    index.skip("b");
    CHECK(index.unread() == std::vector<std::string>{"c"});
    index.read("c", {1, 2}, std::span(values));
    CHECK_NOTHROW(index.require_all_read());
}

TEST_CASE("checkpoint index: a long list of unused tensors is cut at eight") {
    const TemporaryFolder folder;
    std::vector<std::string> names;
    for (int i = 0; i < 11; ++i) names.push_back("t" + std::to_string(10 + i));
    write_shard(folder.file("model.safetensors"), names);
    const CheckpointIndex index(folder.path());
    expect_error(ErrorCode::format, "11 unused: t10, t11, t12, t13, t14, t15, t16, t17 and 3 more",
                 [&] { index.require_all_read(); });
}

TEST_CASE("checkpoint index: shard names are plain names of the folder") {
    const TemporaryFolder folder;
    std::filesystem::create_directory(folder.file("sub"));
    write_shard(folder.file("sub/x.safetensors"), {"a"});
    const std::string names[] = {"../x.safetensors",
                                 "/etc/x.safetensors",
                                 "a/../../x.safetensors",
                                 "..\\\\x.safetensors",
                                 "sub/x.safetensors",
                                 "file://x.safetensors",
                                 "//host/x.safetensors",
                                 "/dev/stdin",
                                 "..",
                                 ".",
                                 "",
                                 "%2e%2e/x.safetensors",
                                 ".hidden.safetensors",
                                 "x.bin",
                                 "x\\u0001.safetensors",
                                 "x\\u0000.safetensors",
                                 std::string(244, 'n') + ".safetensors"};
    for (const std::string& name : names) {
        CAPTURE(name);
        write_folder(folder, R"({"a":")" + name + R"(","c":"two.safetensors"})");
        const char* words = name.find("\\u0000") == std::string::npos ? "the plain name" : "plain name";
        expect_error(ErrorCode::format, words, [&] { CheckpointIndex index(folder.path()); });
    }
}

TEST_CASE("checkpoint index: map and shards must agree") {
    const TemporaryFolder folder;
    struct Case {
        std::string map;
        ErrorCode code;
        const char* words;
    };
    const Case cases[] = {
        {"[]", ErrorCode::format, "an object"},
        {"{}", ErrorCode::format, "at least one tensor"},
        {R"({"a":1})", ErrorCode::format, "weight_map.a"},
        {R"({"a":null})", ErrorCode::format, "a string"},
        {R"({"a":"one.safetensors","a":"one.safetensors"})", ErrorCode::format, "twice"},
        {R"({"a":"one.safetensors","b":"one.safetensors","c":"gone.safetensors"})", ErrorCode::file,
         "gone.safetensors"},
        {R"({"a":"one.safetensors","b":"one.safetensors","c":"two.safetensors","d":"two.safetensors"})",
         ErrorCode::format, "1 missing: d"},
        {R"({"a":"one.safetensors","c":"two.safetensors"})", ErrorCode::format, "1 not mapped to it: b"},
        {R"({"a":"one.safetensors","b":"two.safetensors","c":"two.safetensors"})", ErrorCode::format, "b"},
    };
    for (const Case& bad : cases) {
        CAPTURE(bad.map);
        write_folder(folder, bad.map);
        expect_error(bad.code, bad.words, [&] { CheckpointIndex index(folder.path()); });
    }
    write_folder(folder, kGoodMap);
    CHECK_NOTHROW(CheckpointIndex(folder.path()));
}

TEST_CASE("checkpoint index: a tensor in two shards") {
    const TemporaryFolder folder;
    write_folder(folder, kGoodMap);
    write_shard(folder.file("two.safetensors"), {"c", "a"});
    expect_error(ErrorCode::format, "1 not mapped to it: a", [&] { CheckpointIndex index(folder.path()); });
}

TEST_CASE("checkpoint index: folders without, and with two, sets of weights") {
    const TemporaryFolder folder;
    expect_error(ErrorCode::file, "neither", [&] { CheckpointIndex index(folder.path()); });
    write_folder(folder, kGoodMap);
    write_shard(folder.file("model.safetensors"), {"a"});
    expect_error(ErrorCode::format, "both", [&] { CheckpointIndex index(folder.path()); });
}

TEST_CASE("checkpoint index: strict paths refuse links") {
    const TemporaryFolder folder;
    write_folder(folder, kGoodMap);
    std::filesystem::rename(folder.file("two.safetensors"), folder.file("blob"));
    std::filesystem::create_symlink("blob", folder.file("two.safetensors"));
    CHECK_NOTHROW(CheckpointIndex(folder.path()));
    expect_error(ErrorCode::file, "symbolic link",
                 [&] { CheckpointIndex index(folder.path(), Links::refuse); });
}

TEST_CASE("checkpoint index: a real sharded checkpoint") {
    io_test::Inputs inputs;
    const std::string path = inputs.shared("data/models/stories260K-mixtral");
    if (path.empty()) return;
    CheckpointIndex index(path);
    Index numbers = 0;
    for (const std::string& name : index.names()) {
        const TensorInfo& info = index.info(name);
        std::vector<float> values(static_cast<std::size_t>(info.count));
        index.read(name, info.shape, std::span(values));
        numbers += info.count;
    }
    CHECK(numbers == 3026688 / 4);  // metadata.total_size of its index, in float32
    CHECK_NOTHROW(index.require_all_read());
}

#pragma once
// H: model.safetensors.index.json. Shard names are refused before anything is opened; map and shards must agree.

#include <malformed/case.hpp>
#include <moegrad/core/format.hpp>

namespace malformed {

inline const char* const kIndexName = "model.safetensors.index.json";

inline std::string shard(const std::string& tensors) {
    std::string header = "{";
    std::size_t at = 0;
    for (const char tensor : tensors) {
        header += moegrad::format(R"({}"{}":{{"dtype":"F32","shape":[1],"data_offsets":[{},{}]}})",
                                  at > 0 ? "," : "", tensor, at, at + 4);
        at += 4;
    }
    return whole(header + "}", zeros(at));
}

/// Tensors a and b in one shard, c in the other, under the given index.
inline Files sharded(std::string index) {
    return {
        {kIndexName, std::move(index)}, {"one.safetensors", shard("ab")}, {"two.safetensors", shard("c")}};
}
inline Files mapped(const std::string& map) {
    return sharded(R"({"metadata":{"total_size":12},"weight_map":)" + map + "}");
}

inline const std::string kGoodMap = R"({"a":"one.safetensors","b":"one.safetensors","c":"two.safetensors"})";

inline void add_shard_names(Cases& cases) {
    const struct {
        const char *id, *what;
        std::string name;
    } names[] = {
        {"H01", "one folder up", "../one.safetensors"},
        {"H01b", "two dots alone", ".."},
        {"H01c", "one dot alone", "."},
        {"H02", "absolute path", "/etc/one.safetensors"},
        {"H03", "down and up again", "a/../../one.safetensors"},
        {"H04", "backslashes", "..\\\\one.safetensors"},
        // A plain sub-path would be legal elsewhere; no published checkpoint has one.
        {"H05", "a folder below", "sub/one.safetensors"},
        {"H06", "NUL in the name", "one\\u0000.safetensors"},
        {"H06b", "line feed in the name", "one\\n.safetensors"},
        {"H08", "file URL", "file://one.safetensors"},
        {"H08b", "host path", "//host/one.safetensors"},
        {"H08c", "a device", "/dev/stdin"},
        {"H08d", "the process's own memory", "/proc/self/mem"},
        {"H08e", "home folder", "~/one.safetensors"},
        {"H09", "escaped dots", "%2e%2e/one.safetensors"},
        {"H10", "256 bytes long", std::string(244, 'n') + ".safetensors"},
        {"H21", "empty", ""},
        {"H22", "a hidden file", ".one.safetensors"},
        {"H23", "another kind of file", "one.bin"},
        {"H24", "a trailing slash", "one.safetensors/"},
    };
    for (const auto& row : names)
        cases.push_back({row.id, std::string("shard name: ") + row.what, Reader::index,
                         mapped(R"({"a":"one.safetensors","b":")" + row.name + R"(","c":"two.safetensors"})"),
                         mapped(kGoodMap), ErrorCode::format, std::string(kIndexName) + ": weight_map.b",
                         "the plain name"});
}

inline void add_mismatches(Cases& cases) {
    const std::string place = kIndexName, map = place + ": weight_map";
    const auto bad = [&](const char* id, const char* what, Files files, const std::string& where,
                         const char* words, ErrorCode code = ErrorCode::format) {
        cases.push_back({id, what, Reader::index, std::move(files), mapped(kGoodMap), code, where, words});
    };
    bad("H11", "a value that is a number", mapped(R"({"a":1})"), map + ".a", "a string");
    bad("H11b", "a value that is null", mapped(R"({"a":null})"), map + ".a", "a string");
    bad("H11c", "the map is an array", mapped("[]"), map, "an object");
    bad("H11d", "an empty map", mapped("{}"), map, "at least one tensor");
    bad("H11e", "no map", sharded("{}"), map, "no such key");
    bad("H11f", "the root is an array", sharded("[]"), place, "an object");
    bad("H11g", "a tensor twice in the map", mapped(R"({"a":"one.safetensors","a":"two.safetensors"})"),
        place, "\"a\" twice");
    Files twice = mapped(kGoodMap);
    twice[2].content = shard("ca");
    bad("H12", "a tensor in two shards", twice, place, "1 not mapped to it: a");
    bad("H13", "the map has a tensor that its shard lacks",
        mapped(
            R"({"a":"one.safetensors","b":"one.safetensors","c":"two.safetensors","d":"two.safetensors"})"),
        place, "1 missing: d");
    bad("H13b", "the map has a tensor in the wrong shard",
        mapped(R"({"a":"one.safetensors","b":"two.safetensors","c":"two.safetensors"})"), place,
        "1 not mapped to it: b");
    bad("H14", "a shard has a tensor that the map lacks",
        mapped(R"({"a":"one.safetensors","c":"two.safetensors"})"), place, "1 not mapped to it: b");
    bad("H15", "a shard is missing",
        mapped(R"({"a":"one.safetensors","b":"one.safetensors","c":"gone.safetensors"})"), "gone.safetensors",
        "No such file", ErrorCode::file);
    Files both = mapped(kGoodMap);
    both.push_back({"model.safetensors", shard("abc")});
    bad("H16", "one file and an index beside it", both, "", "both");
    bad("H16b", "neither file nor index", {{"model.bin", "x"}}, "", "neither", ErrorCode::file);
    Files broken = mapped(kGoodMap);
    broken[2].content.pop_back();
    bad("H15b", "a shard cut by one byte", broken, "two.safetensors: c.data_offsets[1]",
        "an integer in 0..3");
    std::string shards = "{";
    for (int i = 0; i <= 10'000; ++i)
        shards += moegrad::format(R"({}"{}":"{}.safetensors")", i > 0 ? "," : "", i, i);
    bad("H18", "10,001 shards", mapped(shards + "}"), map, "at most 10000 shards");
    bad("H19", "nested 100,000 deep", sharded(std::string(100'000, '[')), place, "8 deep");
    bad("H19b", "a shard name of 20 MB", mapped(R"({"a":")" + std::string(20u << 20, 'n') + "\"}"), place,
        "strings of at most");
    bad("H20", "names that differ in case are two files",
        mapped(R"({"a":"one.safetensors","b":"one.safetensors","c":"Two.safetensors"})"), "Two.safetensors",
        "No such file", ErrorCode::file);
    Files folder = mapped(kGoodMap);
    folder[2] = {"two.safetensors", "", File::Kind::folder};
    bad("H15c", "a shard is a folder", folder, "two.safetensors", "a directory", ErrorCode::file);
    Files fifo = mapped(kGoodMap);
    fifo[2] = {"two.safetensors", "", File::Kind::fifo};
    bad("H08f", "a shard is a FIFO", fifo, "two.safetensors", "a device, pipe or socket", ErrorCode::file);
}

inline Cases index_cases() {
    Cases cases;
    add_shard_names(cases);
    add_mismatches(cases);
    // Nothing depends on total_size, and published checkpoints have it wrong.
    for (const char* size : {"-1", "0", "18446744073709551616", "\"big\""})
        cases.push_back({std::string("H17 ") + size,
                         "total_size is wrong: not used",
                         Reader::index,
                         {},
                         sharded(moegrad::format(R"({{"metadata":{{"total_size":{}}},"weight_map":{}}})",
                                                 size, kGoodMap))});
    // The Hugging Face cache is made of links, so one inside the folder is followed; one that leads out of it is not.
    Files linked = mapped(kGoodMap), escaping = linked;
    linked.push_back({"blob", linked[2].content});
    linked[2] = {"two.safetensors", "blob", File::Kind::link};
    escaping[2] = {"two.safetensors", "/etc/hostname", File::Kind::link};
    cases.push_back({"H07", "a shard is a link out of the folder", Reader::index, escaping, linked,
                     ErrorCode::file, "two.safetensors", "a link that leads out of it"});
    return cases;
}

}  // namespace malformed

#pragma once
// MANIFEST.json of a checkpoint: which files it has and the SHA-256 of every byte of them.
//   {"format": 1, "step": 120,
//    "files": [{"name": "state.safetensors", "bytes": 4096, "parts": [{"name": "header", "bytes": 512, "sha256": ".."},
//              {"name": "weight.model.layers.0...lora_A", "bytes": 2048, "sha256": ".."}, ..]}, ..],
//    "sha256": ".."}
// Parts stand one after another and fill their file, so that a damaged tensor has a name and no byte is hashed twice.
// The last key is the digest of the same text without it: the manifest covers itself.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <moegrad/core/thread_pool.hpp>
#include <moegrad/io/json.hpp>
#include <moegrad/io/json_writer.hpp>
#include <moegrad/io/mapped_file.hpp>
#include <moegrad/io/sha256.hpp>
#include <moegrad/io/sha256_lanes.hpp>

namespace moegrad {

inline constexpr std::int64_t kCheckpointFormat = 1;
inline constexpr const char* kManifestName = "MANIFEST.json";
inline constexpr std::size_t kMaxManifestBytes = std::size_t{256} << 20;

struct ManifestPart {
    std::string name;
    std::uint64_t bytes = 0;
    std::string sha256;
};

struct ManifestFile {
    std::string name;
    std::vector<ManifestPart> parts;

    std::uint64_t bytes() const {
        std::uint64_t sum = 0;
        for (const auto& part : parts) sum += part.bytes;
        return sum;
    }
};

struct CheckpointManifest {
    std::int64_t step = 0;
    std::vector<ManifestFile> files;
};

/// A file of one part.
inline ManifestFile whole_file(const std::string& name, std::string_view text) {
    return {name, {{"all", text.size(), sha256_hex(text)}}};
}

inline Json to_json(const CheckpointManifest& manifest) {
    Json::Array files;
    for (const auto& file : manifest.files) {
        Json::Array parts;
        for (const auto& part : file.parts) {
            Json json = Json::object();
            json.add("name", part.name);
            json.add("bytes", static_cast<std::int64_t>(part.bytes));
            json.add("sha256", part.sha256);
            parts.push_back(std::move(json));
        }
        Json json = Json::object();
        json.add("name", file.name);
        json.add("bytes", static_cast<std::int64_t>(file.bytes()));
        json.add("parts", Json(std::move(parts)));
        files.push_back(std::move(json));
    }
    Json json = Json::object();
    json.add("format", kCheckpointFormat);
    json.add("step", manifest.step);
    json.add("files", Json(std::move(files)));
    return json;
}

inline std::string manifest_text(const CheckpointManifest& manifest) {
    Json json = to_json(manifest);
    json.add("sha256", sha256_hex(write_json(json, JsonStyle::indented)));
    return write_json(json, JsonStyle::indented);
}

namespace detail {

inline ManifestFile manifest_file(const JsonRef& json) {
    constexpr std::int64_t most = std::int64_t{1} << 60;
    ManifestFile file{json.at("name").string(), {}};
    if (file.name.empty() || file.name[0] == '.' || file.name.find('/') != std::string::npos)
        json.at("name").fail("a plain file name");
    std::uint64_t sum = 0;
    const JsonRef parts = json.at("parts");
    for (std::size_t i = 0; i < parts.array().size(); ++i) {
        const JsonRef part = parts.item(i);
        const auto bytes = static_cast<std::uint64_t>(part.at("bytes").integer(0, most));
        if (__builtin_add_overflow(sum, bytes, &sum)) part.fail("bytes that can be added up");
        file.parts.push_back({part.at("name").string(), bytes, part.at("sha256").string()});
    }
    const JsonRef bytes = json.at("bytes");
    if (static_cast<std::uint64_t>(bytes.integer(0, most)) != sum)
        bytes.fail(format("{}, the sum of the parts", sum));
    return file;
}

}  // namespace detail

/// Checks the text of a manifest; `path` names it. One of a later format is unsupported, not damaged.
inline CheckpointManifest parse_manifest(std::string_view text, const std::string& path) {
    const Json json = parse_json(text, path, {.depth = 8, .bytes = kMaxManifestBytes});
    const JsonRef root(json, path, ErrorCode::format);
    // Written again with its digest it must be the same text: no byte of it is free.
    Json again = Json::object();
    for (const auto& member : root.members())
        if (member.key != "sha256") again.add(member.key, member.value);
    again.add("sha256", sha256_hex(write_json(again, JsonStyle::indented)));
    if (write_json(again, JsonStyle::indented) != text)
        throw Error{ErrorCode::format, path, "the text that its own sha256 belongs to", "another",
                    "the file was damaged or edited"};
    const std::int64_t most = std::int64_t{1} << 60;
    if (const JsonRef format = root.at("format"); format.integer(1, most) > kCheckpointFormat)
        format.fail_unsupported(moegrad::format("{}", kCheckpointFormat),
                                "a later moegrad wrote it: use that");
    CheckpointManifest manifest;
    manifest.step = root.at("step").integer(0, most);
    const JsonRef files = root.at("files");
    for (std::size_t i = 0; i < files.array().size(); ++i)
        manifest.files.push_back(detail::manifest_file(files.item(i)));
    return manifest;
}

/// Reads and checks the manifest itself, not yet the files.
inline CheckpointManifest read_manifest(const std::string& path) {
    const MappedFile file(path, Links::refuse);
    return parse_manifest(file.text(), path);
}

using Piece = std::span<const std::byte>;

/// The SHA-256 of each piece, made by all threads; with `also` among their work, first.
template <class Also>
std::vector<std::string> digests_of(const std::vector<Piece>& pieces, ThreadPool& pool, const Also& also) {
    // Pieces of one size go together: those are the ones that can be hashed side by side.
    std::vector<std::size_t> order(pieces.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return pieces[a].size() > pieces[b].size(); });
    const std::size_t size = sha256::group_size(), groups = (order.size() + size - 1) / size;
    std::vector<std::string> digests(pieces.size());
    pool.parallel_for(static_cast<Index>(groups) + 1, [&](Index i) {
        if (i == 0) return also();
        const std::size_t begin = (static_cast<std::size_t>(i) - 1) * size;
        const std::size_t end = std::min(begin + size, order.size());
        std::vector<Piece> group;
        for (std::size_t at = begin; at < end; ++at) group.push_back(pieces[order[at]]);
        const auto found = sha256_group(group);
        for (std::size_t at = begin; at < end; ++at) digests[order[at]] = found[at - begin];
    });
    return digests;
}

/// Every part of every file has its size and digest; throws an Error that names the first that has not.
inline void verify_files(const CheckpointManifest& manifest, const std::string& folder, ThreadPool& pool) {
    for (const auto& want : manifest.files) {
        const MappedFile file(folder + "/" + want.name, Links::refuse);
        if (file.size() != want.bytes())
            throw Error{ErrorCode::format, file.path(), format("{} bytes", want.bytes()),
                        format("{}", file.size()), "the file was cut short or replaced"};
        std::vector<Piece> pieces;
        std::uint64_t begin = 0;
        for (const auto& part : want.parts) {
            pieces.push_back(file.bytes().subspan(begin, part.bytes));
            begin += part.bytes;
        }
        const auto digests = digests_of(pieces, pool, [] {});
        for (std::size_t i = 0; i < digests.size(); ++i) {
            if (digests[i] == want.parts[i].sha256) continue;
            throw Error{ErrorCode::format, format("{}: {}", file.path(), printable(want.parts[i].name)),
                        "sha256 " + printable(want.parts[i].sha256), digests[i], "the file was damaged"};
        }
    }
}

}  // namespace moegrad

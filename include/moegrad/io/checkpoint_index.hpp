#pragma once
// CheckpointIndex: the tensors of a Hugging Face model folder, whether in model.safetensors or in the shards that
// model.safetensors.index.json names: {"metadata": .., "weight_map": {tensor: file}}.
// Shards are plain names in the folder, never paths. Map and shards must agree in both directions. Every tensor is to
// be read exactly once: a second read and a tensor that nobody read are errors.
// metadata.total_size is not used: nothing depends on it and published checkpoints have it wrong.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/core/view.hpp>
#include <moegrad/io/memory_guard.hpp>
#include <moegrad/io/safetensors.hpp>

#include <stdlib.h>

#include <algorithm>
#include <cstdlib>
#include <initializer_list>
#include <iterator>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

inline constexpr std::size_t kMaxShards = 10'000;
inline constexpr std::size_t kMaxListedNames = 8;
/// The largest published index has 10 MB and 100,000 tensors.
inline constexpr JsonLimits kIndexLimits{8, std::size_t{64} << 20, std::size_t{1} << 20,
                                         std::size_t{1} << 20};

/// Throws unless `name` is a file name of the folder itself.
inline void require_plain_file_name(const std::string& name, const std::string& place) {
    bool plain = !name.empty() && name.size() <= 255 && name.front() != '.' && name.ends_with(".safetensors");
    for (const char c : name) {
        const auto byte = static_cast<unsigned char>(c);
        plain = plain && c != '/' && c != '\\' && byte >= 0x20 && byte != 0x7F;
    }
    if (!plain)
        throw Error{ErrorCode::format, place, "the plain name of a .safetensors file in the same folder",
                    moegrad::format("\"{}\"", printable(name))};
}

/// Throws when a link leads out of its folder. The Hugging Face cache is made of links, from snapshots/COMMIT to blobs;
/// those two folders of one repository belong together.
inline void require_inside_folder(const std::string& folder, const std::string& name) {
    const auto resolved = [](const std::string& path) -> std::string {
        const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), std::free);
        return real ? std::string(real.get()) : std::string();
    };
    const std::string path = folder + "/" + name, home = resolved(folder), target = resolved(path);
    if (home.empty() || target.empty()) return;  // not there: opening it says so
    const auto parent = [](const std::string& of) { return of.substr(0, of.rfind('/')); };
    const std::string blobs = parent(parent(home)) + "/blobs";
    const bool cached = parent(home).ends_with("/snapshots") && target.starts_with(blobs + "/");
    if (!target.starts_with(home + "/") && !cached)
        throw Error{ErrorCode::file, path, "a file of its own folder", "a link that leads out of it",
                    "put the file there, or link the whole folder"};
}

/// What an index says: shard -> the tensors that are to be in it.
using ShardMap = std::map<std::string, std::vector<std::string>>;

inline ShardMap parse_shard_map(std::string_view text, const std::string& place) {
    const Json json = parse_json(text, place, kIndexLimits);
    const JsonRef map = JsonRef(json, place, ErrorCode::format).at("weight_map");
    ShardMap shards;
    for (const JsonMember& member : map.members()) {
        const JsonRef file = map.member(member);
        require_plain_file_name(file.string(), file.place());
        shards[file.string()].push_back(member.key);
        if (shards.size() > kMaxShards) map.fail(moegrad::format("at most {} shards", kMaxShards));
    }
    if (shards.empty()) map.fail("at least one tensor");
    return shards;
}

/// "a, b, c and 5 more"
inline std::string list_names(const std::vector<std::string>& names) {
    std::string out;
    for (std::size_t i = 0; i < std::min(names.size(), kMaxListedNames); ++i)
        out += (i > 0 ? ", " : "") + printable(names[i]);
    if (names.size() > kMaxListedNames)
        out += moegrad::format(" and {} more", names.size() - kMaxListedNames);
    return out;
}

/// `tensors` of the map and what the shard holds are the same names.
inline void require_same_tensors(const std::string& index, const std::string& shard,
                                 std::vector<std::string> tensors, const std::vector<TensorInfo>& stored) {
    std::vector<std::string> held, missing, extra;
    for (const TensorInfo& info : stored) held.push_back(info.name);
    std::sort(held.begin(), held.end());
    std::sort(tensors.begin(), tensors.end());
    std::set_difference(tensors.begin(), tensors.end(), held.begin(), held.end(),
                        std::back_inserter(missing));
    std::set_difference(held.begin(), held.end(), tensors.begin(), tensors.end(), std::back_inserter(extra));
    if (!missing.empty())
        throw Error{ErrorCode::format, index, moegrad::format("{} to hold every tensor mapped to it", shard),
                    moegrad::format("{} missing: {}", missing.size(), list_names(missing))};
    if (!extra.empty())
        throw Error{ErrorCode::format, index, moegrad::format("every tensor of {} in weight_map", shard),
                    moegrad::format("{} not mapped to it: {}", extra.size(), list_names(extra))};
}

class CheckpointIndex {
public:
    explicit CheckpointIndex(std::string folder, Links links = usual_links()) : folder_(std::move(folder)) {
        memory_guard(folder_, [&] { open(links); });
    }

    const std::string& folder() const { return folder_; }
    /// In the order of the files.
    const std::vector<std::string>& names() const { return names_; }
    bool contains(std::string_view name) const { return tensors_.find(name) != tensors_.end(); }
    const TensorInfo& info(std::string_view name) const { return *entry(name).info; }
    /// The path of the file that holds it.
    const std::string& file_of(std::string_view name) const { return entry(name).file->path(); }
    std::size_t file_count() const { return files_.size(); }

    /// Reads a tensor, once. `shape` is what the model wants; out holds its numbers in C order.
    template <Readable T>
    void read(std::string_view name, std::span<const Index> shape, std::span<T> out) {
        const Entry& found = claim(name, shape);
        found.file->read(*found.info, out);
    }
    /// The same in pieces, in C order: take(std::span<const T>).
    template <Readable T, class Take>
    void read_pieces(std::string_view name, std::span<const Index> shape, const Take& take) {
        const Entry& found = claim(name, shape);
        found.file->template read_pieces<T>(*found.info, take);
    }
    template <Readable T>
    void read(std::string_view name, std::initializer_list<Index> shape, std::span<T> out) {
        read(name, std::span<const Index>(shape.begin(), shape.size()), out);
    }

    /// Marks a tensor that the model has no use for, such as a stored table of rotary frequencies.
    void skip(std::string_view name) {
        Entry& found = entry(name);
        if (found.done)
            throw Error{ErrorCode::state,
                        moegrad::format("{}: tensor {}", found.file->path(), printable(name)),
                        "to be read or skipped once", "a second time"};
        found.done = true;
    }

    std::vector<std::string> unread() const {
        std::vector<std::string> out;
        for (const std::string& name : names_)
            if (!tensors_.find(name)->second.done) out.push_back(name);
        return out;
    }
    void require_all_read() const {
        const std::vector<std::string> left = unread();
        if (!left.empty())
            throw Error{ErrorCode::format, folder_, "every tensor of the checkpoint to be used by the model",
                        moegrad::format("{} unused: {}", left.size(), list_names(left)),
                        "does model_type in config.json fit the weights?"};
    }

private:
    struct Entry {
        const SafetensorsFile* file;
        const TensorInfo* info;
        bool done = false;
    };

    const Entry& entry(std::string_view name) const {
        const auto found = tensors_.find(name);
        if (found == tensors_.end())
            throw Error{ErrorCode::format, folder_, moegrad::format("a tensor {}", printable(name)),
                        "no such tensor", "does model_type in config.json fit the weights?"};
        return found->second;
    }
    Entry& entry(std::string_view name) { return const_cast<Entry&>(std::as_const(*this).entry(name)); }

    /// The entry of a tensor that is read now, for the first time, by a model that wants this shape.
    const Entry& claim(std::string_view name, std::span<const Index> shape) {
        Entry& found = entry(name);
        const std::string place = moegrad::format("{}: tensor {}", found.file->path(), printable(name));
        if (!std::equal(shape.begin(), shape.end(), found.info->shape.begin(), found.info->shape.end()))
            throw Error{ErrorCode::shape, place, shape_text(shape), shape_text(found.info->shape),
                        "do config.json and the weights belong together?"};
        if (found.done) throw Error{ErrorCode::state, place, "to be read once", "a second read"};
        found.done = true;
        return found;
    }

    void open(Links links) {
        const std::string single = folder_ + "/model.safetensors";
        const std::string index = folder_ + "/model.safetensors.index.json";
        const bool has_single = file_exists(single), has_index = file_exists(index);
        if (has_single && has_index)
            throw Error{ErrorCode::format, folder_, "model.safetensors or model.safetensors.index.json",
                        "both", "remove the one that does not belong to the model"};
        if (!has_single && !has_index)
            throw Error{ErrorCode::file, folder_, "model.safetensors or model.safetensors.index.json",
                        "neither", "PyTorch .bin files must be converted to safetensors first"};
        require_inside_folder(folder_, has_single ? "model.safetensors" : "model.safetensors.index.json");
        if (has_single)
            open_single(single, links);
        else
            open_sharded(index, links);
    }

    void open_single(const std::string& path, Links links) {
        files_.push_back(std::make_unique<SafetensorsFile>(path, links));
        for (const TensorInfo& info : files_.back()->tensors()) insert(*files_.back(), info);
    }

    void open_sharded(const std::string& path, Links links) {
        const MappedFile file(path, links);
        for (const auto& [shard, tensors] : parse_shard_map(file.text(), path))
            open_shard(path, shard, tensors, links);
    }

    void open_shard(const std::string& index, const std::string& shard,
                    const std::vector<std::string>& tensors, Links links) {
        require_inside_folder(folder_, shard);
        files_.push_back(std::make_unique<SafetensorsFile>(folder_ + "/" + shard, links));
        const SafetensorsFile& file = *files_.back();
        require_same_tensors(index, shard, tensors, file.tensors());
        for (const TensorInfo& info : file.tensors()) insert(file, info);
    }

    void insert(const SafetensorsFile& file, const TensorInfo& info) {
        tensors_.emplace(info.name, Entry{&file, &info});
        names_.push_back(info.name);
    }

    std::string folder_;
    std::vector<std::unique_ptr<SafetensorsFile>> files_;
    std::vector<std::string> names_;
    std::map<std::string, Entry, std::less<>> tensors_;
};

}  // namespace moegrad

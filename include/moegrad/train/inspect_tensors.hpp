#pragma once
// Tables of many tensors: names that differ in their numbers only are one row, "model.layers.*.self_attn.q_proj.weight".
// Headers alone are read.

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include <moegrad/io/safetensors.hpp>
#include <moegrad/train/inspect_report.hpp>

namespace moegrad {

namespace detail {

inline constexpr std::size_t kMostRows = 200;

/// Parts of a name between dots that are numbers become *.
inline std::string name_pattern(const std::string& name) {
    std::string out;
    for (std::size_t at = 0; at <= name.size();) {
        const std::size_t dot = std::min(name.find('.', at), name.size());
        const std::string part = name.substr(at, dot - at);
        const bool number = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
        out += (at > 0 ? "." : "") + (number ? std::string("*") : part);
        at = dot + 1;
    }
    return out;
}

class TensorTables {
public:
    void add(const TensorInfo& info) {
        auto& group = groups_[{name_pattern(info.name), info.shape, std::string(name(info.type))}];
        ++group.tensors;
        group.bytes += static_cast<std::int64_t>(info.bytes);
        auto& type = types_[std::string(name(info.type))];
        ++type.tensors;
        type.numbers += info.count;
        type.bytes += static_cast<std::int64_t>(info.bytes);
    }

    Json types() const {
        Json::Array rows;
        for (const auto& [type, sum] : types_) {
            Json row = Json::object();
            row.add("dtype", type).add("tensors", sum.tensors);
            row.add("numbers", sum.numbers).add("bytes", sum.bytes);
            rows.push_back(std::move(row));
        }
        return Json(std::move(rows));
    }
    std::size_t type_count() const { return types_.size(); }
    bool has_type(const std::string& type) const { return types_.contains(type); }
    std::int64_t numbers() const {
        std::int64_t all = 0;
        for (const auto& [type, sum] : types_) all += sum.numbers;
        return all;
    }
    std::int64_t bytes() const {
        std::int64_t all = 0;
        for (const auto& [type, sum] : types_) all += sum.bytes;
        return all;
    }

    /// Sorted by name. At most kMostRows, the rest is a note.
    Json groups(Inspection& inspection) const {
        Json::Array rows;
        for (const auto& [key, sum] : groups_) {
            if (rows.size() == kMostRows) {
                inspection.notes.push_back(
                    moegrad::format("{} more kinds of tensors", groups_.size() - kMostRows));
                break;
            }
            Json row = Json::object();
            row.add("tensor", printable(std::get<0>(key), 120)).add("count", sum.tensors);
            row.add("shape", shape_text(std::get<1>(key)))
                .add("dtype", std::get<2>(key))
                .add("bytes", sum.bytes);
            rows.push_back(std::move(row));
        }
        return Json(std::move(rows));
    }

private:
    struct Sum {
        std::int64_t tensors = 0, numbers = 0, bytes = 0;
    };
    std::map<std::tuple<std::string, std::vector<Index>, std::string>, Sum> groups_;
    std::map<std::string, Sum> types_;
};

}  // namespace detail

/// A .safetensors file on its own.
inline Inspection inspect_safetensors(const std::string& path) {
    const SafetensorsFile file(path);
    Inspection out("safetensors file", path);
    detail::TensorTables tables;
    for (const auto& info : file.tensors()) tables.add(info);
    out.add("tensors", static_cast<std::int64_t>(file.tensors().size()));
    out.add("numbers", tables.numbers()).add("bytes", tables.bytes());
    std::vector<std::string> metadata;
    for (const auto& [key, value] : file.metadata()) metadata.push_back(key + " = " + value);
    if (!metadata.empty()) out.add("metadata", detail::word_list(metadata));
    out.add("types", tables.types()).add("groups", tables.groups(out));
    return out;
}

}  // namespace moegrad

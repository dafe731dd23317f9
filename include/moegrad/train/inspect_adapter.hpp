#pragma once
// inspect of an adapter folder: its settings, which projections of which layers and experts have an adapter, how fused
// experts are packed and how that is known, and whether it would load: names and shapes against the
// base, and whether every value is finite. No weight of the base is read.

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/core/pages.hpp>
#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/inspect_model.hpp>
#include <moegrad/train/inspect_values.hpp>
#include <moegrad/train/model_files.hpp>

namespace moegrad {

namespace detail {

/// "0-3, 7" of {0, 1, 2, 3, 7}.
inline std::string ranges_text(const std::set<Index>& numbers) {
    std::string out;
    for (auto it = numbers.begin(); it != numbers.end();) {
        Index first = *it, last = first;
        for (++it; it != numbers.end() && *it == last + 1; ++it) last = *it;
        out += (out.empty() ? "" : ", ") + std::to_string(first);
        if (last > first) out += "-" + std::to_string(last);
    }
    return out.empty() ? "-" : out;
}

/// Parts of "base_model.model.model.layers.3.mlp.experts.5.w1.lora_A.weight": layer 3, expert 5, "mlp.experts.*.w1".
struct AdapterTensorName {
    Index layer = -1, expert = -1;
    std::string projection;
    char factor = 0;  // 'A', 'B', or 0 for a whole weight
};

/// The number at the start of `text` up to a dot; -1 when there is none.
inline Index take_number(std::string& text) {
    const auto dot = text.find('.');
    const std::string word = text.substr(0, dot);
    if (word.empty() || word.size() > 9 || word.find_first_not_of("0123456789") != std::string::npos)
        return -1;
    text = dot == std::string::npos ? "" : text.substr(dot + 1);
    return std::stol(word);
}

inline AdapterTensorName split_adapter_name(const std::string& name) {
    AdapterTensorName out;
    std::string rest = name.starts_with("base_model.model.") ? name.substr(17) : name;
    if (rest.starts_with("model.layers.")) {
        rest = rest.substr(13);
        out.layer = take_number(rest);
    }
    for (const char factor : {'A', 'B'}) {
        const std::string end = moegrad::format(".lora_{}.weight", factor);
        if (!rest.ends_with(end)) continue;
        rest.resize(rest.size() - end.size());
        out.factor = factor;
    }
    if (const auto at = rest.find(".experts."); at != std::string::npos) {
        std::string after = rest.substr(at + 9);
        out.expert = take_number(after);
        if (out.expert >= 0) rest = rest.substr(0, at) + ".experts.*" + (after.empty() ? "" : "." + after);
    }
    out.projection = rest;
    return out;
}

struct Coverage {
    std::set<Index> layers, experts;
    std::map<std::pair<Index, Index>, int> places;  // (layer, expert) -> factors seen
    std::set<std::pair<Index, Index>> a, b;         // shapes
    std::int64_t numbers = 0;
};

inline std::string shapes_text(const std::set<std::pair<Index, Index>>& shapes) {
    std::string out;
    for (const auto& [rows, columns] : shapes)
        out += moegrad::format("{}[{}, {}]", out.empty() ? "" : " ", rows, columns);
    return out.empty() ? "-" : out;
}

/// What a wrapper of fused experts wraps: PEFT nests them, the first one is the inner.
inline std::string fused_name(const std::string& projection, bool nested, const std::string& alone) {
    if (projection == "mlp.experts.base_layer") return projection + " (gate_up_proj)";
    if (projection == "mlp.experts") return projection + (nested ? " (down_proj)" : " (" + alone + ")");
    return projection;
}

/// The projection of an adapter that has one target parameter of the experts.
inline std::string single_fused_target(const JsonRef& root) {
    const auto parameters = root.find_value("target_parameters");
    if (!parameters || !parameters->value().array()) return "fused";
    for (const Json& item : *parameters->value().array()) {
        if (!item.string()) continue;
        for (const char* one : {"gate_up_proj", "down_proj"}) {
            if (item.string()->ends_with(one)) return one;
        }
    }
    return "fused";
}

/// A row per projection: where it is adapted, and with what shapes.
inline Json coverage_table(const SafetensorsFile& file, const JsonRef& root, Inspection& out) {
    std::map<std::string, Coverage> all;
    for (const auto& info : file.tensors()) {
        const AdapterTensorName name = split_adapter_name(info.name);
        Coverage& row = all[name.projection];
        if (name.layer >= 0) row.layers.insert(name.layer);
        if (name.expert >= 0) row.experts.insert(name.expert);
        row.numbers += info.count;
        if (name.factor == 0) continue;
        row.places[{name.layer, name.expert}] |= name.factor == 'A' ? 1 : 2;
        if (info.shape.size() == 2)
            (name.factor == 'A' ? row.a : row.b).insert({info.shape[0], info.shape[1]});
    }
    Json::Array rows;
    for (const auto& [projection, row] : all) {
        Json line = Json::object();
        const std::string label =
            fused_name(projection, all.contains("mlp.experts.base_layer"), single_fused_target(root));
        line.add("adapted", printable(label, 120)).add("layers", ranges_text(row.layers));
        line.add("experts", label != projection ? "all" : ranges_text(row.experts));
        line.add("lora_A", shapes_text(row.a)).add("lora_B", shapes_text(row.b)).add("numbers", row.numbers);
        if (rows.size() < kMostRows) rows.push_back(std::move(line));
        std::size_t halves = 0;
        for (const auto& [place, factors] : row.places) halves += factors != 3 ? 1 : 0;
        if (halves > 0)
            out.warnings.push_back(
                moegrad::format("{}: {} places have one of lora_A and lora_B", projection, halves));
        const std::size_t full = row.layers.size() * std::max<std::size_t>(1, row.experts.size());
        if (!row.places.empty() && row.places.size() < full)
            out.warnings.push_back(
                moegrad::format("{}: {} of {} places of its layers and experts are adapted", projection,
                                row.places.size(), full));
    }
    return Json(std::move(rows));
}

/// The base: as given, else base_model_name_or_path where that is a folder here.
inline std::optional<ModelConfig> base_config(const JsonRef& root, const std::string& base, Inspection& out) {
    std::string folder = base;
    if (const auto name = root.find_value("base_model_name_or_path"); name && name->value().string()) {
        out.add("base", printable(name->string(), 400));
        if (folder.empty() && file_exists(name->string() + "/config.json")) folder = name->string();
    }
    if (folder.empty()) {
        out.notes.push_back("whether it fits a base was not checked: pass --model DIR");
        return std::nullopt;
    }
    try {
        return load_model_config(folder);
    } catch (const Error& error) {
        out.warnings.push_back("the base cannot be read: " + first_lines(error));
        return std::nullopt;
    }
}

inline std::string targets_text(const AdapterSpec& spec) {
    if (!spec.places.empty())
        return moegrad::format("{} places, not alike in every layer", spec.places.size());
    std::string out;
    for (const auto& target : spec.targets) out += (out.empty() ? "" : ", ") + target;
    return out.empty() ? "-" : out;
}

/// Names and shapes against a model that is planned and never filled.
inline void require_fit(const AdapterFolder& opened, const ModelConfig& config) {
    const Planning planning;
    const auto model = make_model<float>(config);
    attach(*model, opened.spec);
    const auto tensors = adapter_tensors(*model, opened.layout.layout);
    require_same_tensors(tensors, opened.file);
    for (const auto& tensor : tensors) require_shape(tensor, opened.file);
}

inline void inspect_loading(const std::string& folder, const ModelConfig& config,
                            const AdapterReading& reading, Inspection& out) {
    try {
        const AdapterFolder opened(folder, config, reading);
        out.add("method", opened.spec.method_name()).add("targets", targets_text(opened.spec));
        constexpr const char* modes[] = {"by method", "frozen", "lora", "full"};
        if (config.is_mixture()) out.add("gate", modes[static_cast<int>(opened.spec.gate_mode())]);
        if (opened.layout.fused)
            out.add("layout", moegrad::format("{} ({})", name(opened.layout.layout), opened.layout.reason));
        require_fit(opened, config);
        out.add("fits_base", true);
    } catch (const Error& error) {
        out.warnings.push_back("does not load on this base: " + first_lines(error) +
                               (error.hint.empty() ? "" : "; " + error.hint));
    }
}

}  // namespace detail

/// `base`: folder of the model it belongs to, or empty.
inline Inspection inspect_adapter(const std::string& folder, const std::string& base = "",
                                  const AdapterReading& reading = {}) {
    Inspection out("adapter", folder);
    const std::string path = folder + "/adapter_config.json";
    const Json json = parse_json_file(path);
    const JsonRef root(json, path);
    for (const char* key : {"peft_type", "peft_version", "r", "lora_alpha", "lora_dropout", "use_rslora"}) {
        const auto value = root.find_value(key);
        if (!value || value->value().array() || value->value().members()) continue;
        const auto* text = value->value().string();
        out.add(key, text ? Json(printable(*text)) : value->value());
    }
    try {
        detail::refuse_foreign(root);
    } catch (const Error& error) {
        out.warnings.push_back("does not load: " + detail::first_lines(error));
    }
    std::vector<std::string> unknown;
    for (const auto& member : root.members()) {
        if (!detail::is_informational(member.key) && !detail::is_off(member.value))
            unknown.push_back(member.key);
    }
    if (!unknown.empty()) out.add("unknown_keys", detail::word_list(unknown));
    if (const auto config = detail::base_config(root, base, out))
        detail::inspect_loading(folder, *config, reading, out);
    const std::string weights = folder + "/adapter_model.safetensors";
    try {
        const SafetensorsFile file(weights);
        detail::TensorTables tables;
        for (const auto& info : file.tensors()) tables.add(info);
        out.add("tensors", static_cast<std::int64_t>(file.tensors().size()));
        out.add("numbers", tables.numbers()).add("bytes", tables.bytes());
        out.add("types", tables.types()).add("coverage", detail::coverage_table(file, root, out));
        detail::check_values(file, out);
    } catch (const Error& error) {
        out.warnings.push_back("no weights to read: " + detail::first_lines(error));
    }
    return out;
}

}  // namespace moegrad

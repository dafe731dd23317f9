#pragma once
// A TOML file into a CompareSpec; every error names file:line:column.
//     name = "first try"      seeds = [0, 1, 2]      note = "what stands under the table"
//     [base]                  any key of `moegrad train`:  model.path = "..", [base.optim] lr = 1e-3
//     [eval]                  questions, format, limit, heldout, documents
//     [[arm]]                 name, control, load_of, and any key of `moegrad train`

#include <moegrad/train/compare_spec.hpp>

#include "toml_config.hpp"

namespace moegrad {

#ifdef MOEGRAD_HAVE_TOML

namespace detail {

/// Leaves of a table as dotted keys.
inline void collect_keys(const toml::table& table, const std::string& prefix, const std::string& path,
                         std::vector<CompareKey>& keys) {
    for (const auto& [name, node] : table) {
        const std::string key = prefix + std::string(name.str());
        if (const auto* inner = node.as_table()) {
            collect_keys(*inner, key + ".", path, keys);
        } else {
            keys.push_back({key, toml_text(path, node), toml_place(path, node)});
        }
    }
}

[[noreturn]] inline void unknown_compare_key(const CompareKey& key, const std::string& known) {
    throw Error{ErrorCode::config, key.place, "one of " + known, "`" + key.key + "`"};
}

inline CompareArm read_arm(const toml::table& table, const std::string& path) {
    CompareArm arm;
    arm.place = toml_place(path, table);
    std::vector<CompareKey> keys;
    collect_keys(table, "", path, keys);
    for (CompareKey& one : keys) {
        if (one.key == "name") {
            arm.name = one.value;
            arm.place = one.place;
        } else if (one.key == "control") {
            arm.control = parse_flag(one.value);
        } else if (one.key == "load_of") {
            arm.load_of = one.value;
        } else {
            arm.keys.push_back(std::move(one));
        }
    }
    return arm;
}

inline void read_eval_keys(CompareSpec& spec, const std::vector<CompareKey>& keys) {
    for (const CompareKey& one : keys) {
        if (one.key == "questions") {
            spec.questions = one.value;
        } else if (one.key == "format") {
            spec.format = one.value;
        } else if (one.key == "limit") {
            spec.limit = parse_count(one.value);
        } else if (one.key == "heldout") {
            spec.heldout = one.value;
        } else if (one.key == "documents") {
            spec.documents = parse_count(one.value);
        } else {
            unknown_compare_key(one, "questions, format, limit, heldout, documents");
        }
    }
}

inline void read_compare_table(CompareSpec& spec, const toml::table& table, const std::string& path) {
    for (const auto& [name, node] : table) {
        const std::string key(name.str());
        std::vector<CompareKey> keys;
        const auto* inner = node.as_table();
        if (inner != nullptr) collect_keys(*inner, "", path, keys);
        if (key == "base" && inner != nullptr) {
            refuse_own_keys(keys);
            for (const CompareKey& one : keys) set_config(spec.base, one.key, one.value, one.place);
        } else if (key == "eval" && inner != nullptr) {
            read_eval_keys(spec, keys);
        } else if (key == "arm" && node.is_array_of_tables()) {
            for (const auto& arm : *node.as_array()) spec.arms.push_back(read_arm(*arm.as_table(), path));
        } else if (key == "seeds") {
            spec.seeds.clear();
            for (const std::string& one : parse_list(toml_text(path, node)))
                spec.seeds.push_back(static_cast<std::uint64_t>(parse_count(one)));
        } else if (key == "name" || key == "task" || key == "note") {
            (key == "name" ? spec.name : key == "task" ? spec.task : spec.note) = toml_text(path, node);
        } else {
            unknown_compare_key({key, "", toml_place(path, node)},
                                "name, task, note, seeds, [base], [eval], [[arm]]");
        }
    }
}

}  // namespace detail

inline CompareSpec parse_compare_toml(std::string_view text, const std::string& path) {
    CompareSpec spec;
    spec.base.holdout = 0;
    spec.name = std::filesystem::path(path).stem().string();
    try {
        detail::read_compare_table(spec, toml::parse(text, path), path);
    } catch (const toml::parse_error& error) {
        throw Error{ErrorCode::config,
                    format("{}:{}:{}", path, error.source().begin.line, error.source().begin.column),
                    "valid TOML", std::string(error.description())};
    }
    return spec;
}

#else

inline CompareSpec parse_compare_toml(std::string_view, const std::string& path) {
    throw Error{ErrorCode::unsupported, path, "a build with toml++", "a build without it",
                "apt-get install libtomlplusplus-dev and build again"};
}

#endif

/// Paths in the file are seen from where the program runs, as those of `moegrad train` are.
inline CompareSpec read_compare_toml(const std::string& path) {
    const MappedFile file(path);
    return parse_compare_toml(file.text(), path);
}

}  // namespace moegrad

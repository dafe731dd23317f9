#pragma once
// A TOML file into a CompareSpec; every error names file:line:column.
//     name = "first try"      seeds = [0, 1, 2]      note = "what stands under the table"
//     rates = [1e-3, 3e-3]    one grid of optim.lr for all arms
//     [base]                  any key of `moegrad train`:  model.path = "..", [base.optim] lr = 1e-3
//     [eval]                  questions, format, limit, heldout, documents
//     [[arm]]                 name, control, length, load or load_of, picks_of and picks, and any key of `moegrad train`; or
//                             name, control, of and change
//     [[task]]                name, keys of [eval], and any key of `moegrad train`: one comparison for each

#include <moegrad/core/nearest.hpp>
#include <moegrad/train/compare_suite.hpp>

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

/// parse(value); its errors name the place and the key.
template <class Parse>
auto parse_at(const CompareKey& key, Parse parse) {
    try {
        return parse(key.value);
    } catch (const Error& error) {
        throw Error{error.code, format("{}: {}", key.place, key.key), error.expected, error.got, error.hint};
    }
}

/// A key that is none of `train`'s and looks most like one of `own`.
inline void refuse_slip(const CompareKey& key, const std::vector<std::string>& own) {
    const std::string near = nearest(key.key, own), other = nearest_key(key.key);
    if (near.empty() || key.key == other) return;
    if (!other.empty() && key_distance(key.key, other) <= edit_distance(key.key, near)) return;
    throw Error{ErrorCode::config, key.place, "a known key", format("`{}`", key.key), did_you_mean(near)};
}

inline const std::vector<std::string>& arm_keys() {
    static const std::vector<std::string> all{"name",   "control", "load_of", "picks_of", "picks",
                                              "length", "load",    "of",      "change"};
    return all;
}
inline const std::vector<std::string>& eval_keys() {
    static const std::vector<std::string> all{"questions", "texts",   "format",
                                              "limit",     "heldout", "documents"};
    return all;
}

/// Whether `one` is a key of an arm and not of `train`; then it is set.
inline bool read_arm_key(CompareArm& arm, const CompareKey& one) {
    for (const auto& [key, text] :
         {std::pair{"name", &arm.name}, std::pair{"load_of", &arm.load_of},
          std::pair{"picks_of", &arm.picks_of}, std::pair{"of", &arm.of}, std::pair{"change", &arm.change}}) {
        if (one.key != key) continue;
        *text = one.value;
        return true;
    }
    for (const auto& [key, number] : {std::pair{"length", &arm.length}, std::pair{"load", &arm.load}}) {
        if (one.key != key) continue;
        *number = parse_at(one, parse_number);
        return true;
    }
    if (one.key == "control") arm.control = parse_at(one, parse_flag);
    if (one.key == "picks") arm.picks = parse_at(one, parse_count);
    return one.key == "control" || one.key == "picks";
}

inline CompareArm read_arm(const toml::table& table, const std::string& path) {
    CompareArm arm;
    arm.place = toml_place(path, table);
    std::vector<CompareKey> keys;
    collect_keys(table, "", path, keys);
    for (CompareKey& one : keys) {
        if (one.key == "name") arm.place = one.place;
        if (read_arm_key(arm, one)) continue;
        refuse_slip(one, arm_keys());
        arm.keys.push_back(std::move(one));
    }
    return arm;
}

/// Whether `one` is a key of [eval]; then it is set.
inline bool read_eval_key(CompareSpec& spec, const CompareKey& one) {
    for (const auto& [key, text] : {std::pair{"questions", &spec.questions}, std::pair{"texts", &spec.texts},
                                    std::pair{"format", &spec.format}, std::pair{"heldout", &spec.heldout}}) {
        if (one.key != key) continue;
        *text = one.value;
        return true;
    }
    for (const auto& [key, count] :
         {std::pair{"limit", &spec.limit}, std::pair{"documents", &spec.documents}}) {
        if (one.key != key) continue;
        *count = parse_at(one, parse_count);
        return true;
    }
    return false;
}

inline void read_eval_keys(CompareSpec& spec, const std::vector<CompareKey>& keys) {
    for (const CompareKey& one : keys) {
        if (!read_eval_key(spec, one))
            unknown_compare_key(one, "questions, texts, format, limit, heldout, documents");
    }
}

/// A task: what it changes of the common part.
inline CompareSpec read_task(const CompareSpec& common, const toml::table& table, const std::string& path) {
    CompareSpec spec = common;
    spec.task.clear();
    std::vector<CompareKey> keys;
    collect_keys(table, "", path, keys);
    refuse_own_keys(keys);
    for (const CompareKey& one : keys) {
        if (one.key == "name") {
            spec.task = one.value;
        } else if (one.key == "note") {
            spec.note = one.value;
        } else if (!read_eval_key(spec, one)) {
            refuse_slip(one, eval_keys());
            set_config(spec.base, one.key, one.value, one.place);
        }
    }
    if (!is_plain_name(spec.task)) {
        throw Error{ErrorCode::config, toml_place(path, table), "a name of letters, digits, _ and -",
                    "\"" + spec.task + "\"", "the folder of the task is called so"};
    }
    return spec;
}

inline void read_compare_table(CompareSpec& spec, const toml::table& table, const std::string& path) {
    for (const auto& [name, node] : table) {
        const std::string key(name.str());
        if (key == "task" && node.is_array_of_tables())
            continue;  // read_tasks, when the common part is known
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
                spec.seeds.push_back(
                    static_cast<std::uint64_t>(parse_at({key, one, toml_place(path, node)}, parse_count)));
        } else if (key == "rates") {
            for (const std::string& one : parse_list(toml_text(path, node)))
                spec.rates.push_back(parse_at({key, one, toml_place(path, node)}, parse_number));
        } else if (key == "name" || key == "task" || key == "note") {
            (key == "name" ? spec.name : key == "task" ? spec.task : spec.note) = toml_text(path, node);
        } else {
            unknown_compare_key({key, "", toml_place(path, node)},
                                "name, task, note, seeds, rates, [base], [eval], [[arm]], [[task]]");
        }
    }
}

inline void read_tasks(CompareSuite& suite, const CompareSpec& common, const toml::table& table,
                       const std::string& path) {
    const auto* tasks = table["task"].as_array();
    if (tasks == nullptr) return suite.tasks.push_back(common);
    for (const auto& node : *tasks) {
        suite.tasks.push_back(read_task(common, *node.as_table(), path));
        const std::string& name = suite.tasks.back().task;
        for (std::size_t i = 0; i + 1 < suite.tasks.size(); ++i) {
            if (suite.tasks[i].task != name) continue;
            throw Error{ErrorCode::config, toml_place(path, node), "each task's name once",
                        "\"" + name + "\" twice"};
        }
    }
}

}  // namespace detail

inline CompareSuite parse_compare_toml(std::string_view text, const std::string& path) {
    CompareSpec spec;
    spec.base.holdout = 0;
    spec.name = std::filesystem::path(path).stem().string();
    try {
        const toml::table table = toml::parse(text, path);
        detail::read_compare_table(spec, table, path);
        CompareSuite suite;
        suite.name = spec.name;
        detail::read_tasks(suite, spec, table, path);
        return suite;
    } catch (const toml::parse_error& error) {
        throw Error{ErrorCode::config,
                    format("{}:{}:{}", path, error.source().begin.line, error.source().begin.column),
                    "valid TOML", std::string(error.description())};
    }
}

#else

inline CompareSuite parse_compare_toml(std::string_view, const std::string& path) {
    throw Error{ErrorCode::unsupported, path, "a build with toml++", "a build without it",
                "apt-get install libtomlplusplus-dev and build again"};
}

#endif

/// Paths in the file are seen from where the program runs, as those of `moegrad train` are.
inline CompareSuite read_compare_toml(const std::string& path) {
    const MappedFile file(path);
    return parse_compare_toml(file.text(), path);
}

}  // namespace moegrad

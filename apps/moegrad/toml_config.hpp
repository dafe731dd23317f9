#pragma once
// A TOML file into a configuration (RunConfig, PretrainConfig): tables become dotted keys, arrays become lists, every error
// names file:line:column.

#include <fstream>
#include <string>

#include <moegrad/train/run_config_keys.hpp>

#ifdef MOEGRAD_HAVE_TOML
#include <toml++/toml.h>
#endif

namespace moegrad {

#ifdef MOEGRAD_HAVE_TOML

namespace detail {

inline std::string toml_place(const std::string& path, const toml::node& node) {
    return format("{}:{}:{}", path, node.source().begin.line, node.source().begin.column);
}

inline std::string toml_text(const std::string& path, const toml::node& node) {
    if (const auto* text = node.as_string()) return text->get();
    if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
    if (const auto* whole = node.as_integer()) return format("{}", whole->get());
    if (const auto* number = node.as_floating_point()) return format("{}", number->get());
    if (const auto* array = node.as_array()) {
        std::string all;
        for (const auto& item : *array) all += (all.empty() ? "" : ",") + toml_text(path, item);
        return all;
    }
    throw Error{ErrorCode::config, toml_place(path, node), "text, a number, true, false or a list of these",
                "a date or time"};
}

template <class Config>
void read_toml_table(Config& config, const toml::table& table, const std::string& prefix,
                     const std::string& path) {
    for (const auto& [name, node] : table) {
        const std::string key = prefix + std::string(name.str());
        if (const auto* inner = node.as_table()) {
            read_toml_table(config, *inner, key + ".", path);
        } else {
            set_config(config, key, toml_text(path, node), toml_place(path, node));
        }
    }
}

}  // namespace detail

template <class Config>
void read_toml_config(Config& config, const std::string& path) {
    try {
        detail::read_toml_table(config, toml::parse_file(path), "", path);
    } catch (const toml::parse_error& error) {
        throw Error{ErrorCode::config,
                    format("{}:{}:{}", path, error.source().begin.line, error.source().begin.column),
                    "valid TOML", std::string(error.description())};
    }
}

#else

template <class Config>
void read_toml_config(Config&, const std::string& path) {
    throw Error{ErrorCode::unsupported, path, "a build with toml++", "a build without it",
                "apt-get install libtomlplusplus-dev and build again, or pass the keys as flags"};
}

#endif

}  // namespace moegrad

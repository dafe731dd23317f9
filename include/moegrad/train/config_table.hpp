#pragma once
// ConfigTable: the keys of a configuration struct, each with its place in the struct. One table drives the TOML reader,
// the flags, the help, the resolved file and the error for a key that nobody reads.

#include <initializer_list>
#include <string>
#include <variant>
#include <vector>

#include <moegrad/train/run_config_keys.hpp>

namespace moegrad {

template <class Config>
class ConfigTable {
public:
    /// Where the value lies; the type of the member says how it is read from text.
    using Place = std::variant<double* (*)(Config&), Index* (*)(Config&), int* (*)(Config&),
                               bool* (*)(Config&), std::uint64_t* (*)(Config&), std::string* (*)(Config&)>;
    struct Entry {
        const char* key;
        const char* help;
        Place place;
        std::vector<std::string> choices{};  // of a text; empty: any
    };

    ConfigTable(const char* verb, std::vector<Entry> entries) : verb_(verb), entries_(std::move(entries)) {}

    const std::vector<Entry>& entries() const { return entries_; }

    std::string get(const Entry& entry, const Config& config) const {
        Config copy = config;
        return std::visit([&](auto place) { return format("{}", *place(copy)); }, entry.place);
    }

    /// Sets one key; `where` says where it was written ("run.toml:3:1", "--train.steps").
    void set(Config& config, const std::string& key, const std::string& value,
             const std::string& where) const {
        for (const Entry& entry : entries_) {
            if (key != entry.key) continue;
            try {
                set_entry(config, entry, value);
            } catch (const Error& error) {
                throw Error{ErrorCode::config, format("{}: {}", where, key), error.expected, error.got,
                            entry.help};
            }
            return;
        }
        throw Error{ErrorCode::config, where, "a known key", format("`{}`", key),
                    did_you_mean(nearest(key), format("`moegrad {} --help` lists all keys", verb_))};
    }

    /// The key that looks most like `key`, with or without its table ("steps", "train.steps").
    std::string nearest(const std::string& key) const {
        std::string best;
        std::size_t distance = ~std::size_t{0};
        for (const Entry& entry : entries_) {
            const std::size_t d = key_distance(key, entry.key);
            if (d >= distance) continue;
            distance = d;
            best = entry.key;
        }
        return is_near(distance, key, best) ? best : "";
    }

    /// Every key with its value, a line each, as a configuration file.
    std::string resolved(const Config& config) const {
        std::string text;
        for (const Entry& entry : entries_) text += format("{} = \"{}\"\n", entry.key, get(entry, config));
        return text;
    }

private:
    static void set_entry(Config& config, const Entry& entry, const std::string& value) {
        if (!entry.choices.empty()) {
            bool known = false;
            for (const std::string& choice : entry.choices) known = known || choice == value;
            if (!known) detail::refuse_value("one of " + detail::join(entry.choices), value);
        }
        std::visit([&](auto place) { read(value, *place(config)); }, entry.place);
    }
    static void read(const std::string& text, double& to) { to = detail::parse_number(text); }
    static void read(const std::string& text, Index& to) { to = detail::parse_count(text); }
    static void read(const std::string& text, int& to) { to = static_cast<int>(detail::parse_threads(text)); }
    static void read(const std::string& text, bool& to) { to = detail::parse_flag(text); }
    static void read(const std::string& text, std::uint64_t& to) {
        to = static_cast<std::uint64_t>(detail::parse_count(text));
    }
    static void read(const std::string& text, std::string& to) { to = text; }

    const char* verb_;
    std::vector<Entry> entries_;
};

}  // namespace moegrad

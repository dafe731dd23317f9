#pragma once
// RouterOptions: what router.options says, "floor=0.2, nulls=4", read by the router that asks for it. An option that
// no router asked for is an error. Copies share the record of what was read.

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/core/error.hpp>
#include <moegrad/core/nearest.hpp>
#include <moegrad/core/view.hpp>

namespace moegrad {

class RouterOptions {
public:
    RouterOptions() = default;
    explicit RouterOptions(const std::string& text) {
        std::size_t at = 0;
        while (at <= text.size()) {
            const std::size_t end = std::min(text.find(',', at), text.size());
            const std::string item = trimmed(text.substr(at, end - at));
            if (!item.empty()) add(item);
            at = end + 1;
        }
    }

    double number(const std::string& key, double usual) const {
        const std::string* text = read(key);
        if (text == nullptr) return usual;
        char* end = nullptr;
        const double value = std::strtod(text->c_str(), &end);
        if (text->empty() || *end != '\0' || !(value - value == 0)) refuse(key, "a finite number", *text);
        return value;
    }
    Index count(const std::string& key, Index usual) const {
        const double value = number(key, static_cast<double>(usual));
        if (value < 0 || value > 9e15 || value != static_cast<double>(static_cast<Index>(value))) {
            refuse(key, "a whole number from 0", format("{}", value));
        }
        return static_cast<Index>(value);
    }
    bool flag(const std::string& key, bool usual) const {
        const std::string* text = read(key);
        if (text == nullptr) return usual;
        if (*text != "true" && *text != "false") refuse(key, "true or false", *text);
        return *text == "true";
    }
    std::string text(const std::string& key, const std::string& usual) const {
        const std::string* text = read(key);
        return text == nullptr ? usual : *text;
    }

    /// Whether an option is the first of the two words it may be, as it is usually.
    bool either(const std::string& key, const std::string& usual, const std::string& other) const {
        const std::string word = text(key, usual);
        if (word != usual && word != other) refuse(key, usual + " or " + other, word);
        return word == usual;
    }

    void require_all_read(const std::string& router) const {
        for (const auto& [key, value] : state_->items) {
            const auto& asked = state_->asked;
            if (std::find(asked.begin(), asked.end(), key) != asked.end()) continue;
            std::string known;
            for (const auto& one : asked) known += (known.empty() ? "" : ", ") + one;
            throw Error{ErrorCode::config, "router.options",
                        known.empty() ? "no options: router " + router + " reads none"
                                      : "what router " + router + " reads: " + known,
                        "`" + key + "`", known.empty() ? "" : did_you_mean(nearest(key, asked))};
        }
    }

private:
    struct State {
        std::vector<std::pair<std::string, std::string>> items;
        std::vector<std::string> asked;
    };

    [[noreturn]] static void refuse(const std::string& key, const std::string& expected,
                                    const std::string& got) {
        throw Error{ErrorCode::config, "router.options: " + key, expected, "\"" + got + "\""};
    }
    static std::string trimmed(const std::string& text) {
        const std::size_t begin = text.find_first_not_of(' '), end = text.find_last_not_of(' ');
        return begin == text.npos ? "" : text.substr(begin, end + 1 - begin);
    }
    void add(const std::string& item) {
        const std::size_t equals = item.find('=');
        const std::string key = trimmed(item.substr(0, equals));
        if (equals == item.npos || key.empty()) {
            throw Error{ErrorCode::config, "router.options", "key=value, key=value", "\"" + item + "\""};
        }
        for (const auto& [other, value] : state_->items) {
            if (other == key) refuse(key, "each option once", item);
        }
        state_->items.emplace_back(key, trimmed(item.substr(equals + 1)));
    }
    const std::string* read(const std::string& key) const {
        if (std::find(state_->asked.begin(), state_->asked.end(), key) == state_->asked.end()) {
            state_->asked.push_back(key);
        }
        for (const auto& [name, value] : state_->items) {
            if (name == key) return &value;
        }
        return nullptr;
    }

    std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace moegrad

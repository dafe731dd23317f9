#pragma once
// The modules of a model that an adapter can have, under their names of transformers 4 and 5, and the ways in which an
// adapter_config.json chooses among names: a list, a pattern, a map from patterns to numbers.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <moegrad/core/model_config.hpp>
#include <moegrad/io/json.hpp>
#include <moegrad/train/adapter_pattern.hpp>

namespace moegrad {

/// A place that an adapter can have, with the names it goes by.
struct AdapterModule {
    std::string target;  // "q_proj", "w1", "experts.gate_up", "gate"
    Index layer = 0;
    Index expert = -1;  // of w1, w2, w3
    std::vector<std::string> names;
    bool parameter = false;  // only target_parameters can mean it
};

namespace detail {

inline constexpr Index kMostAdapterModules = Index{1} << 22;

inline std::vector<AdapterModule> adapter_modules(const ModelConfig& config) {
    std::vector<AdapterModule> all;
    const Index E = config.is_mixture() ? config.num_local_experts : 0;
    if (config.num_hidden_layers * (E * 3 + 8) > kMostAdapterModules) {
        throw Error{ErrorCode::unsupported, "adapter", format("at most {} modules", kMostAdapterModules),
                    format("{} layers of {} experts", config.num_hidden_layers, E)};
    }
    for (Index l = 0; l < config.num_hidden_layers; ++l) {
        const std::string layer = "model.layers." + std::to_string(l);
        for (const char* one : {"q_proj", "k_proj", "v_proj", "o_proj"})
            all.push_back({one, l, -1, {layer + ".self_attn." + one}});
        if (E == 0) {
            for (const char* one : {"gate_proj", "up_proj", "down_proj"})
                all.push_back({one, l, -1, {layer + ".mlp." + one}});
            continue;
        }
        const std::string old = layer + ".block_sparse_moe", fused = layer + ".mlp";
        all.push_back({"gate", l, -1, {old + ".gate", fused + ".gate"}});
        for (Index e = 0; e < E; ++e) {
            for (const char* one : {"w1", "w2", "w3"})
                all.push_back({one, l, e, {old + ".experts." + std::to_string(e) + "." + one}});
        }
        all.push_back({"experts.gate_up", l, -1, {fused + ".experts.gate_up_proj"}, true});
        all.push_back({"experts.down", l, -1, {fused + ".experts.down_proj"}, true});
    }
    return all;
}

/// The order in which targets are listed.
inline constexpr const char* kTargetOrder[] = {"q_proj",    "k_proj",  "v_proj",          "o_proj",
                                               "gate_proj", "up_proj", "down_proj",       "w1",
                                               "w2",        "w3",      "experts.gate_up", "experts.down"};

inline bool is_name_or_end(const std::string& name, const std::string& key) {
    return name == key ||
           (name.size() > key.size() + 1 && name.ends_with(key) && name[name.size() - key.size() - 1] == '.');
}

/// A list of names, or one pattern.
class NameChoice {
public:
    NameChoice(const JsonRef& root, std::string_view key) : key_(root.find_value(key)) {
        if (!key_) return;
        if (key_->value().string()) {
            const std::string& text = key_->string();
            all_linear_ = key == "target_modules" && (text == "all-linear" || text == "ALL-LINEAR");
            if (!all_linear_ && !text.empty()) pattern_.emplace(text, key_->place());
            return;
        }
        for (std::size_t i = 0; i < key_->array().size(); ++i) names_.push_back(key_->item(i).string());
        used_.resize(names_.size());
    }

    bool is_pattern() const { return all_linear_ || pattern_.has_value(); }
    bool empty() const { return !is_pattern() && names_.empty(); }
    const std::vector<std::string>& names() const { return names_; }

    bool matches(const std::string& name) {
        if (all_linear_) return true;
        if (pattern_) return pattern_->matches(name);
        bool any = false;
        for (std::size_t i = 0; i < names_.size(); ++i) {
            if (!is_name_or_end(name, names_[i])) continue;
            any = used_[i] = true;
        }
        return any;
    }

    /// A name of the list that no module has is an adapter for another model, or a slip.
    void require_all_used(std::string_view what) const {
        for (std::size_t i = 0; i < names_.size(); ++i) {
            if (used_[i]) continue;
            const bool outside = names_[i].ends_with("lm_head") || names_[i].ends_with("embed_tokens");
            throw Error{
                outside ? ErrorCode::unsupported : ErrorCode::config, key_->item(i).place(),
                std::string(what), "\"" + printable(names_[i]) + "\"",
                "names here: q_proj k_proj v_proj o_proj; dense: gate_proj up_proj down_proj; mixture: "
                "gate, w1 w2 w3, and as parameters mlp.experts.gate_up_proj mlp.experts.down_proj"};
        }
    }

private:
    std::optional<JsonRef> key_;
    bool all_linear_ = false;
    std::optional<NamePattern> pattern_;
    std::vector<std::string> names_;
    std::vector<bool> used_;
};

/// rank_pattern or alpha_pattern: the first key that fits a name.
class NumberPatterns {
public:
    NumberPatterns(const JsonRef& root, std::string_view key) {
        const auto map = root.find_value(key);
        if (!map) return;
        constexpr std::size_t most = 100'000;  // else a small file takes minutes
        std::size_t exploded = 0;
        for (const auto& member : map->members()) {
            const JsonRef value = map->member(member);
            entries_.push_back(
                {NamePattern("(?:.*\\.)?(?:" + member.key + ")", value.place()), value, false});
            exploded += entries_.back().pattern.exploded();
            if (exploded > most)
                value.fail_unsupported("patterns that repeat less", "write the module names out");
        }
    }
    bool empty() const { return entries_.empty(); }

    std::optional<JsonRef> find(const std::string& name) {
        for (auto& entry : entries_) {
            if (!entry.pattern.matches(name)) continue;
            entry.used = true;
            return entry.value;
        }
        return std::nullopt;
    }
    void require_all_used() const {
        for (const auto& entry : entries_) {
            if (!entry.used) entry.value.fail("a pattern for a module that the adapter targets", "remove it");
        }
    }

private:
    struct Entry {
        NamePattern pattern;
        JsonRef value;
        bool used;
    };
    std::vector<Entry> entries_;
};

}  // namespace detail

}  // namespace moegrad

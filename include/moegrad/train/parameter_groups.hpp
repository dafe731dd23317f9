#pragma once
// ParameterGroups: factors on the learning rate by group of parameters, "router=0.1, lora_B=16" (key optim.rates).
//
//   group        the parameters whose name has the component         example
//   router       router, gate or gate2                               model.layers.0.mlp.gate2.weight
//   attention    self_attn, and is no router's                       model.layers.0.self_attn.q_proj.lora_A.weight
//   experts      experts, and is no router's                         model.layers.0.mlp.experts.lora_B.weight
//   mlp          mlp, and is neither                                 model.layers.0.mlp.up_proj.lora_A.weight
//   lora_A           that one                                        of adapters and routers
//   lora_B           that one, and DoRA's lora_magnitude_vector      of adapters and routers
//   embed norm head  embed_tokens; one that ends in norm; lm_head
// Any other word is a part of the name: "layers.3.", "q_proj". Factors of several groups multiply, so that
// "router=0.1, lora_B=16" keeps B at 16 times A inside the routers too.
// LoRA+ is lora_B=16: eta_B = lambda eta_A (Hayou, Ghosh & Yu 2024, arXiv 2402.12354, whose lambda is near 2^4). Its
// released grouping puts every 1-D parameter with B, so DoRA's magnitude is there; routers, with their biases, keep the
// base rate (only the B of a LoRA on a gate has B's).

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>

namespace moegrad {

namespace detail {

/// Whether one of the dotted components of a name satisfies `fits`.
template <class Fits>
bool any_component(std::string_view name, const Fits& fits) {
    for (std::size_t begin = 0; begin <= name.size();) {
        const std::size_t end = std::min(name.find('.', begin), name.size());
        if (fits(name.substr(begin, end - begin))) return true;
        begin = end + 1;
    }
    return false;
}

inline bool has_component(std::string_view name, std::string_view component) {
    return any_component(name, [&](std::string_view one) { return one == component; });
}

}  // namespace detail

inline const std::vector<std::string>& parameter_group_names() {
    static const std::vector<std::string> names{"router", "attention", "experts", "mlp", "lora_A",
                                                "lora_B", "embed",     "norm",    "head"};
    return names;
}

inline bool is_router_parameter(std::string_view name) {
    return detail::any_component(
        name, [](std::string_view one) { return one == "router" || one == "gate" || one == "gate2"; });
}

/// Whether a parameter belongs to a group; a group that is none of the above is a part of the name.
inline bool in_parameter_group(const std::string& group, const std::string& name) {
    const auto has = [&](const char* component) { return detail::has_component(name, component); };
    const bool router = is_router_parameter(name);
    if (group == "router") return router;
    if (group == "attention") return !router && has("self_attn");
    if (group == "experts") return !router && has("experts");
    if (group == "mlp") return !router && has("mlp") && !has("experts");
    if (group == "lora_A") return has("lora_A");
    if (group == "lora_B") return has("lora_B") || has("lora_magnitude_vector");
    if (group == "embed") return has("embed_tokens");
    if (group == "head") return has("lm_head");
    if (group == "norm")
        return detail::any_component(name, [](std::string_view one) { return one.ends_with("norm"); });
    return name.find(group) != std::string::npos;
}

class ParameterGroups {
public:
    /// "group=factor, group=factor"; empty: every factor is 1.
    static ParameterGroups parse(const std::string& text) {
        ParameterGroups groups;
        for (std::size_t begin = 0; begin < text.size();) {
            const std::size_t end = std::min(text.find(',', begin), text.size());
            groups.add(trimmed(text.substr(begin, end - begin)));
            begin = end + 1;
        }
        return groups;
    }

    bool empty() const { return groups_.empty(); }

    /// The factor of one parameter.
    double ratio(const std::string& parameter) const {
        double factor = 1;
        for (const Group& group : groups_)
            if (in_parameter_group(group.name, parameter)) factor *= group.factor;
        return factor;
    }

    /// One factor per parameter. A group that matches none of them is an error.
    std::vector<double> ratios(std::span<const std::string> parameters) const {
        for (const Group& group : groups_) require_match(group, parameters);
        std::vector<double> all;
        for (const std::string& one : parameters) all.push_back(ratio(one));
        return all;
    }

private:
    struct Group {
        std::string name;
        double factor = 1;
    };

    static std::string trimmed(const std::string& text) {
        const std::size_t first = text.find_first_not_of(' '), last = text.find_last_not_of(' ');
        return first == std::string::npos ? std::string() : text.substr(first, last - first + 1);
    }

    void add(const std::string& item) {
        const std::size_t equals = item.find('=');
        const std::string name = trimmed(item.substr(0, equals));
        const std::string number = equals == std::string::npos ? "" : trimmed(item.substr(equals + 1));
        char* end = nullptr;
        const double factor = std::strtod(number.c_str(), &end);
        if (name.empty() || number.empty() || *end != '\0' || !std::isfinite(factor) || factor <= 0) {
            throw Error{ErrorCode::config, "optim.rates", "group=factor with a factor above 0",
                        "\"" + item + "\"",
                        "as in router=0.1, lora_B=16; what must not train is left out of adapter.target"};
        }
        for (const Group& group : groups_) {
            if (group.name == name)
                throw Error{ErrorCode::config, "optim.rates", "each group once", "\"" + name + "\" twice"};
        }
        groups_.push_back({name, factor});
    }

    static void require_match(const Group& group, std::span<const std::string> parameters) {
        std::string there;
        const auto fits = [&](const std::string& name) {
            return std::any_of(parameters.begin(), parameters.end(),
                               [&](const std::string& one) { return in_parameter_group(name, one); });
        };
        if (fits(group.name)) return;
        for (const std::string& name : parameter_group_names())
            if (fits(name)) there += (there.empty() ? "" : ", ") + name;
        throw Error{ErrorCode::config, format("optim.rates: \"{}\"", group.name),
                    "a group with a trainable parameter, or a part of a parameter's name", "no match",
                    format("groups with trainable parameters: {}; the first parameter is {}",
                           there.empty() ? "none" : there,
                           parameters.empty() ? "missing: nothing trains" : parameters[0])};
    }

    std::vector<Group> groups_;
};

}  // namespace moegrad

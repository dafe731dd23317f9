#pragma once
// RouterAnalytics as text and as files. The three JSON tables have the shapes in which the counts of OLMoE and Mixtral were
// published, so that theirs and ours go through the same scripts; NAME is the model's, "all" the domain of texts without one:
//   expert_counts.json        {"NAME/expert_counts/DOMAIN": {"layer 0": [n_0, n_1, ..], ..}, ..}
//   expert_transitions.json   {"NAME/expert_counts_crosslayer/DOMAIN": {"layers 0->1": [[i, j, n], ..], ..}, ..}
//                             and the same of the likeliest experts alone: expert_counts_top1, .._crosslayer_top1
//   token_to_expert.json      {"NAME": {"layer 0": {"TOKEN ID": [[e, n], ..], ..}, ..}}       pairs that occur
//   routers.csv               a row per router: load, cv, dead, entropy, need_1 .. need_4, all_null, saturation
//   utilisation.csv           router, expert, slots, utilisation
//   experts_per_token.csv     router, n, share of tokens that ran n true experts
//   coactivation.csv          router, i, j, share of i's tokens that also ran j
//   saturation.csv            state, router, saturation: against other states (router_saturation.hpp)

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <moegrad/eval/router_saturation.hpp>
#include <moegrad/io/atomic_file.hpp>
#include <moegrad/io/json_writer.hpp>

namespace moegrad {

namespace detail {

inline std::string domain_name(const std::string& domain) {
    return domain.empty() ? "all" : domain;
}

/// "layer 3" of "model.layers.3.mlp", with what comes after it where a layer has several routers.
inline std::string layer_name(const std::string& router) {
    const std::size_t at = router.find("layers.");
    if (at == std::string::npos) return router;
    const std::string rest = router.substr(at + 7);
    const std::string number = rest.substr(0, rest.find('.')), tail = rest.substr(number.size());
    return "layer " + number + (tail == ".mlp" ? "" : tail);
}

inline Json counts_json(const std::vector<std::int64_t>& counts) {
    Json::Array all;
    for (const auto n : counts) all.push_back(Json(n));
    return Json(std::move(all));
}

}  // namespace detail

inline Json expert_counts_json(const ModelAnalytics& all, const std::string& name) {
    Json root = Json::object();
    const auto table = [&](const char* kind,
                           const std::vector<std::int64_t> RouterAnalytics::Counts::*counts) {
        for (const auto& [domain, unused] : all.transitions) {
            Json layers = Json::object();
            for (const RouterAnalytics& router : all.routers)
                layers.add(detail::layer_name(router.name()),
                           detail::counts_json(router.domains().at(domain).*counts));
            root.add(name + kind + detail::domain_name(domain), std::move(layers));
        }
    };
    table("/expert_counts/", &RouterAnalytics::Counts::experts);
    table("/expert_counts_top1/", &RouterAnalytics::Counts::first);
    return root;
}

namespace detail {

/// [[i, j, n], ..] of the pairs that occur.
inline Json transitions_json(const std::vector<std::int64_t>& counts, std::size_t columns) {
    Json::Array pairs;
    for (std::size_t at = 0; at < counts.size(); ++at) {
        if (counts[at] == 0) continue;
        pairs.push_back(counts_json(
            {static_cast<std::int64_t>(at / columns), static_cast<std::int64_t>(at % columns), counts[at]}));
    }
    return Json(std::move(pairs));
}

}  // namespace detail

inline Json expert_transitions_json(const ModelAnalytics& all, const std::string& name) {
    Json root = Json::object();
    const auto table = [&](const char* kind, const ModelAnalytics::Transitions& transitions) {
        for (const auto& [domain, between] : transitions) {
            Json layers = Json::object();
            for (std::size_t r = 0; r < between.size(); ++r) {
                const std::string from = detail::layer_name(all.routers[r].name()),
                                  to = detail::layer_name(all.routers[r + 1].name());
                layers.add("layers " + from.substr(from.find(' ') + 1) + "->" + to.substr(to.find(' ') + 1),
                           detail::transitions_json(between[r], all.routers[r + 1].experts()));
            }
            root.add(name + kind + detail::domain_name(domain), std::move(layers));
        }
    };
    table("/expert_counts_crosslayer/", all.transitions);
    table("/expert_counts_crosslayer_top1/", all.first_transitions);
    return root;
}

inline Json token_to_expert_json(const ModelAnalytics& all, const std::string& name) {
    Json layers = Json::object(), root = Json::object();
    for (const RouterAnalytics& router : all.routers) {
        Json ids = Json::object();
        for (const auto& [id, counts] : router.vocabulary()) {
            Json::Array pairs;
            for (std::size_t e = 0; e < counts.experts.size(); ++e) {
                if (counts.experts[e] > 0)
                    pairs.push_back(detail::counts_json({static_cast<std::int64_t>(e), counts.experts[e]}));
            }
            ids.add(std::to_string(id), Json(std::move(pairs)));
        }
        layers.add(detail::layer_name(router.name()), std::move(ids));
    }
    root.add(name, std::move(layers));
    return root;
}

/// A row per router. states: the saturation of one other state is a column here, of several a table of its own.
inline std::string routers_csv(const ModelAnalytics& all, const std::vector<StateSaturation>& states) {
    std::string text =
        "router,experts,tokens,load,cv,dead,entropy,need_1,need_2,need_3,need_4,all_null,saturation\n";
    for (std::size_t r = 0; r < all.routers.size(); ++r) {
        const RouterAnalytics& one = all.routers[r];
        text += format("{},{},{},{},{},{}", one.name(), one.experts(), one.tokens(), one.load(), one.cv(),
                       one.dead());
        if (one.has_probability()) {
            text += format(",{}", one.entropy());
            for (std::size_t m = 1; m <= 4; ++m) text += format(",{}", one.need(m));
        } else {
            text += ",,,,,";
        }
        text += format(",{},{}\n", one.all_null_share(),
                       states.size() == 1 ? format("{}", states[0].routers[r]) : std::string());
    }
    return text;
}

inline std::string utilisation_csv(const ModelAnalytics& all) {
    std::string text = "router,expert,slots,utilisation\n";
    for (const RouterAnalytics& one : all.routers) {
        const std::vector<double> utilisation = one.utilisation();
        for (std::size_t e = 0; e < one.experts(); ++e)
            text += format("{},{},{},{}\n", one.name(), e, one.slots()[e], utilisation[e]);
    }
    return text;
}

inline std::string experts_per_token_csv(const ModelAnalytics& all) {
    std::string text = "router,experts,share\n";
    for (const RouterAnalytics& one : all.routers) {
        const std::vector<double> shares = one.per_token_shares();
        for (std::size_t n = 0; n < shares.size(); ++n)
            text += format("{},{},{}\n", one.name(), n, shares[n]);
    }
    return text;
}

inline std::string coactivation_csv(const ModelAnalytics& all) {
    std::string text = "router,i,j,share\n";
    for (const RouterAnalytics& one : all.routers) {
        for (std::size_t i = 0; i < one.experts(); ++i) {
            for (std::size_t j = 0; j < one.experts(); ++j) {
                if (one.together(i, j) > 0)
                    text += format("{},{},{},{}\n", one.name(), i, j, one.together(i, j));
            }
        }
    }
    return text;
}

namespace detail {

/// One line over all routers: shares of tokens with n true experts, and the least and the most used expert.
inline std::string use_text(const ModelAnalytics& all) {
    std::vector<double> shares, used;
    for (const RouterAnalytics& one : all.routers) {
        const std::vector<double> of_router = one.per_token_shares(), utilisation = one.utilisation();
        shares.resize(std::max(shares.size(), of_router.size()));
        for (std::size_t n = 0; n < of_router.size(); ++n) shares[n] += of_router[n];
        used.insert(used.end(), utilisation.begin(), utilisation.end());
    }
    if (used.empty()) return {};
    std::string text = "experts per token";
    for (std::size_t n = 0; n < shares.size(); ++n) {
        if (shares[n] > 0)
            text += format("  {}: {:.3f}", n, shares[n] / static_cast<double>(all.routers.size()));
    }
    const auto [least, most] = std::minmax_element(used.begin(), used.end());
    return text + format("; utilisation of an expert {:.3f} to {:.3f}\n", *least, *most);
}

}  // namespace detail

/// What a reader wants first: a line per router, and one over all; then the saturation of other states, if several.
inline std::string analytics_text(const ModelAnalytics& all, const std::vector<StateSaturation>& states) {
    std::string text = format("{} documents, {} tokens, padding none\n", all.documents, all.tokens);
    text += format("{:<34}{:>7}{:>7}{:>6}{:>9}{:>8}{:>8}{:>8}{:>8}{:>10}{:>9}\n", "router", "load", "cv",
                   "dead", "entropy", "need 1", "need 2", "need 3", "need 4+", "all null",
                   states.size() == 1 ? "same" : "");
    for (std::size_t r = 0; r < all.routers.size(); ++r) {
        const RouterAnalytics& one = all.routers[r];
        text += format("{:<34}{:>7.3f}{:>7.3f}{:>6}", one.name(), one.load(), one.cv(), one.dead());
        if (one.has_probability()) {
            text += format("{:>9.3f}", one.entropy());
            for (std::size_t m = 1; m <= 4; ++m) text += format("{:>8.3f}", one.need(m));
        } else {
            text += format("{:>9}{:>8}{:>8}{:>8}{:>8}", "-", "-", "-", "-", "-");
        }
        text += format("{:>10.3f}", one.all_null_share());
        if (states.size() == 1) text += format("{:>9.3f}", states[0].routers[r]);
        text += "\n";
    }
    text += detail::use_text(all);
    return states.size() > 1 ? text + saturation_text(all, states) : text;
}

/// The seven files in `folder`, which is made; an eighth where other states were looked at.
inline void write_analytics(const std::string& folder, const ModelAnalytics& all, const std::string& name,
                            const std::vector<StateSaturation>& states) {
    std::filesystem::create_directories(folder);
    const auto put = [&](const char* file, const std::string& text) {
        write_file_atomically(folder + "/" + file, text);
    };
    put("expert_counts.json", write_json(expert_counts_json(all, name)) + "\n");
    put("expert_transitions.json", write_json(expert_transitions_json(all, name)) + "\n");
    put("token_to_expert.json", write_json(token_to_expert_json(all, name)) + "\n");
    put("routers.csv", routers_csv(all, states));
    if (!states.empty()) put("saturation.csv", saturation_csv(all, states));
    put("utilisation.csv", utilisation_csv(all));
    put("experts_per_token.csv", experts_per_token_csv(all));
    put("coactivation.csv", coactivation_csv(all));
}

}  // namespace moegrad

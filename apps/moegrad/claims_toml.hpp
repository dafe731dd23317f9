#pragma once
// models/claims.toml: the claims of papers that `moegrad reproduce` holds against runs of ours.
//     [[claim]]  id, paper, says, published, recipe, test, a, b, a_from, b_from, metric, margin, budget, state

#include <moegrad/train/claims.hpp>

#include "toml_config.hpp"

namespace moegrad {

#ifdef MOEGRAD_HAVE_TOML

namespace detail {

inline Claim read_claim(const toml::table& table, const std::string& path) {
    Claim claim;
    claim.place = toml_place(path, table);
    for (const auto& [name, node] : table) {
        const std::string key(name.str()), value = toml_text(path, node);
        if (key == "margin" || key == "budget") {
            (key == "margin" ? claim.margin : claim.budget) = parse_number(value);
            continue;
        }
        std::string* text = nullptr;
        for (const auto& [known, member] :
             {std::pair{"id", &claim.id}, std::pair{"paper", &claim.paper}, std::pair{"says", &claim.says},
              std::pair{"published", &claim.published}, std::pair{"recipe", &claim.recipe},
              std::pair{"test", &claim.test}, std::pair{"a", &claim.a}, std::pair{"b", &claim.b},
              std::pair{"a_from", &claim.a_from}, std::pair{"b_from", &claim.b_from},
              std::pair{"metric", &claim.metric}, std::pair{"state", &claim.state}}) {
            if (key == known) text = member;
        }
        if (text == nullptr)
            throw Error{
                ErrorCode::config, toml_place(path, node),
                "id, paper, says, published, recipe, test, a, b, a_from, b_from, metric, margin, budget "
                "or state",
                "`" + key + "`"};
        *text = value;
    }
    check_claim(claim);
    return claim;
}

}  // namespace detail

inline std::vector<Claim> read_claims(const std::string& path) {
    std::vector<Claim> claims;
    try {
        const toml::table table = toml::parse_file(path);
        if (const auto* all = table["claim"].as_array()) {
            for (const auto& node : *all) {
                if (const toml::table* one = node.as_table()) {
                    claims.push_back(detail::read_claim(*one, path));
                } else {
                    throw Error{ErrorCode::config, path, "claims as [[claim]]", "a claim that is no table"};
                }
            }
        }
    } catch (const toml::parse_error& error) {
        throw Error{ErrorCode::config,
                    format("{}:{}:{}", path, error.source().begin.line, error.source().begin.column),
                    "valid TOML", std::string(error.description())};
    }
    return claims;
}

#else

inline std::vector<Claim> read_claims(const std::string& path) {
    throw Error{ErrorCode::unsupported, path, "a build with toml++", "a build without it",
                "apt-get install libtomlplusplus-dev and build again"};
}

#endif

}  // namespace moegrad

#pragma once
// What of a comparison a claim needs: its arms, and what those take from others.

#include <algorithm>
#include <string>
#include <vector>

#include <moegrad/core/nearest.hpp>
#include <moegrad/train/claim_numbers.hpp>

namespace moegrad {

/// The arms that the claims of one recipe name, and those that they take a load, picks or runs from, in the file's order.
inline std::vector<CompareArm> arms_of_claims(const std::vector<CompareArm>& arms,
                                              const std::vector<Claim>& claims) {
    std::vector<std::string> names;
    for (const CompareArm& arm : arms) names.push_back(arm.name);
    std::vector<bool> wanted(arms.size());
    const auto want = [&](const std::string& name, const std::string& place) {
        if (name.empty()) return;
        const auto found = std::find(names.begin(), names.end(), name);
        if (found == names.end()) {
            throw Error{ErrorCode::config, place, "an arm of its recipe", "\"" + name + "\"",
                        did_you_mean(nearest(name, names))};
        }
        wanted[static_cast<std::size_t>(found - names.begin())] = true;
    };
    for (const Claim& claim : claims)
        for (const std::string& name : {claim.a, claim.b, claim.a_from, claim.b_from})
            want(name, claim.place);
    for (std::size_t i = arms.size(); i-- > 0;) {  // an arm takes from earlier ones alone
        if (!wanted[i]) continue;
        for (const std::string& name : {arms[i].load_of, arms[i].picks_of, arms[i].of})
            want(name, arms[i].place);
    }
    std::vector<CompareArm> kept;
    for (std::size_t i = 0; i < arms.size(); ++i)
        if (wanted[i]) kept.push_back(arms[i]);
    return kept;
}

}  // namespace moegrad

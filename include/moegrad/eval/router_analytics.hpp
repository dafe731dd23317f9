#pragma once
// RouterAnalytics: what one router did with texts, token by token. N tokens, E true experts, C columns (nulls after them).
//   utilisation_e   E n_e / sum n, n_e: slots of expert e; 1 is even
//   dead            experts without a slot;      cv   standard deviation of the utilisation over its mean
//   entropy         mean over tokens of -sum_c p log p, in nats
//   need_m          share of tokens of which m true experts, likeliest first, are the fewest that pass half of the probability
//                   renormalised over true experts; nulls are left out, so m >= 1 whatever they hold (AdaMoE's Fig. 3)
//   per_token_n     share of tokens that ran n true experts; 0 are the all-null (or dropped) ones
//   co-activation   n_ij / n_i: of the tokens of expert i the share that also ran j           (OLMoE, Eq. 5)
//   domain          n_e of a domain over the domain's tokens: domain specialisation            (OLMoE, Eq. 6)
//   vocabulary      n_e of a token id over its occurrences: vocabulary specialisation          (OLMoE, Eq. 7)
// Against other states of the model: router_saturation.hpp.
// Muennighoff et al. 2024 (arXiv 2409.02060); Zeng et al. 2024 (AdaMoE).

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <moegrad/core/math.hpp>
#include <moegrad/core/tensor.hpp>

namespace moegrad {

/// One token as a router saw it.
struct RoutedToken {
    std::int32_t id = 0;
    const std::string* domain = nullptr;
    std::vector<std::int32_t> experts{};  // true ones, in slot order
    std::vector<float> probability{};     // [C]; empty where the router has none
};

class RouterAnalytics {
public:
    RouterAnalytics() = default;
    RouterAnalytics(std::string name, Index experts)
        : name_(std::move(name)),
          E_(static_cast<std::size_t>(experts)),
          slots_(E_),
          together_(E_ * E_),
          need_(5) {}

    void add(const RoutedToken& token) {
        ++tokens_;
        per_token_.resize(std::max(per_token_.size(), token.experts.size() + 1));
        ++per_token_[token.experts.size()];
        auto& of_domain = domains_[*token.domain];
        of_domain.experts.resize(E_);
        of_domain.first.resize(E_);
        if (!token.experts.empty()) ++of_domain.first[static_cast<std::size_t>(token.experts[0])];
        ++of_domain.tokens;
        auto& of_id = vocabulary_[token.id];
        of_id.experts.resize(E_);
        ++of_id.tokens;
        for (const std::int32_t e : token.experts) {
            const auto at = static_cast<std::size_t>(e);
            ++slots_[at];
            ++of_domain.experts[at];
            ++of_id.experts[at];
            for (const std::int32_t other : token.experts)
                together_[at * E_ + static_cast<std::size_t>(other)] += other != e;
        }
        add_probability(token.probability);
    }

    struct Counts {
        std::int64_t tokens = 0;
        std::vector<std::int64_t> experts{};
        std::vector<std::int64_t> first{};  // of a domain: slots of the likeliest expert alone
    };

    const std::string& name() const { return name_; }
    std::size_t experts() const { return E_; }
    std::int64_t tokens() const { return tokens_; }
    const std::vector<std::int64_t>& slots() const { return slots_; }
    const std::map<std::string, Counts>& domains() const { return domains_; }
    const std::map<std::int32_t, Counts>& vocabulary() const { return vocabulary_; }
    bool has_probability() const { return described_ > 0; }

    std::vector<double> utilisation() const {
        double sum = 0;
        for (const auto n : slots_) sum += static_cast<double>(n);
        std::vector<double> all;
        for (const auto n : slots_)
            all.push_back(sum == 0 ? 0 : static_cast<double>(E_) * static_cast<double>(n) / sum);
        return all;
    }
    std::int64_t dead() const { return std::count(slots_.begin(), slots_.end(), 0); }
    double cv() const {
        double squares = 0;
        for (const double u : utilisation()) squares += (u - 1) * (u - 1);
        return sqrt(squares / static_cast<double>(E_));
    }
    double load() const {
        std::int64_t sum = 0;
        for (const auto n : slots_) sum += n;
        return per_token(sum);
    }
    double entropy() const { return described_ == 0 ? 0 : entropy_ / static_cast<double>(described_); }
    /// m = 1, 2, 3; m = 4: four and more.
    double need(std::size_t m) const {
        return described_ == 0 ? 0 : static_cast<double>(need_[m]) / static_cast<double>(described_);
    }
    /// Shares of tokens with 0, 1, .. true experts.
    std::vector<double> per_token_shares() const {
        std::vector<double> all;
        for (const auto n : per_token_) all.push_back(per_token(n));
        return all;
    }
    double all_null_share() const { return per_token_.empty() ? 0 : per_token(per_token_[0]); }
    double together(std::size_t i, std::size_t j) const {
        return slots_[i] == 0 ? 0
                              : static_cast<double>(together_[i * E_ + j]) / static_cast<double>(slots_[i]);
    }

private:
    void add_probability(const std::vector<float>& p) {
        if (p.empty()) return;
        ++described_;
        for (const double one : p) {
            if (one > 0) entropy_ -= one * log(one);
        }
        const auto true_end = p.begin() + static_cast<std::ptrdiff_t>(std::min(E_, p.size()));
        std::vector<double> sorted(p.begin(), true_end);
        std::sort(sorted.begin(), sorted.end(), std::greater<>());
        double sum = 0, total = 0;
        for (const double one : sorted) total += one;
        std::size_t m = 0;
        while (m < sorted.size() && sum <= total / 2) sum += sorted[m++];
        ++need_[std::clamp<std::size_t>(m, 1, 4)];
    }
    double per_token(std::int64_t n) const {
        return tokens_ == 0 ? 0 : static_cast<double>(n) / static_cast<double>(tokens_);
    }

    std::string name_;
    std::size_t E_ = 0;
    std::int64_t tokens_ = 0, described_ = 0;
    double entropy_ = 0;
    std::vector<std::int64_t> slots_, together_, per_token_, need_;
    std::map<std::string, Counts> domains_;
    std::map<std::int32_t, Counts> vocabulary_;
};

}  // namespace moegrad

#pragma once
// TokenRouting: what routers did with the tokens of an evaluation. One text (a question with its right answer, a
// document) is one entry; every token of it counts once.
//   load         mean over tokens and routers of the number of true experts used; of a mixture, over its own routers
//   load cv      mean over routers of the standard deviation of the experts' slots over their mean; 0 is even; of a
//                mixture, over its own routers
//   fact AUROC   how well the number of true experts, summed over routers, tells fact tokens from filler; tokens of one
//                text are one cluster; 0.5 is a router that does not care
// Special tokens (BOS) are in the load, and in neither class of the AUROC.

#include <optional>
#include <string>
#include <vector>

#include <moegrad/core/math.hpp>
#include <moegrad/core/tensor.hpp>
#include <moegrad/eval/flops.hpp>
#include <moegrad/eval/statistics.hpp>
#include <moegrad/eval/token_text.hpp>
#include <moegrad/io/json_writer.hpp>

namespace moegrad {

/// A text as the evaluator ran it. `range` is empty when the tokenizer does not give the text back.
struct RoutedText {
    std::string id, text;
    std::vector<std::int32_t> token;
    std::vector<ByteRange> range, fact;
};

/// One router's choice for a batch: expert [T, K], negative where no true expert.
struct RouterChoice {
    std::string name;
    Index experts = 0;
    Tensor<std::int32_t> expert;
};

/// Choices of a router for a token that are kept, in all: 3,000 tokens of 70 routed Linears, 25,000 of eight layers. A page of the
/// report holds less.
inline constexpr std::size_t kKeptChoices = 200000;

class TokenRouting {
public:
    /// At most `kept` texts are kept token by token, of kKeptChoices choices and the text that goes beyond.
    explicit TokenRouting(Index window = 0, std::size_t kept = 40) : window_(window), kept_(kept) {}

    /// Rows [first, first + tokens of the text) of a batch.
    void add(const std::vector<RouterChoice>& routers, const RoutedText& text, Index first,
             const Tokenizer& tokenizer) {
        if (routers.empty()) return;
        describe(routers);
        Json::Array tokens;
        const bool keep =
            texts_.size() < kept_ && kept_choices_ < kKeptChoices && text.range.size() == text.token.size();
        for (std::size_t i = 0; i < text.token.size(); ++i) {
            const Index row = first + static_cast<Index>(i);
            const Index count = count_row(routers, row);
            if (text.range.empty() || tokenizer.is_special(text.token[i])) {
                if (keep)
                    tokens.push_back(token_json(routers, row, tokenizer.id_to_piece(text.token[i]), false));
                continue;
            }
            const ByteRange range = text.range[i];
            const bool fact = overlaps(range, text.fact);
            score_.push_back(static_cast<double>(count));
            fact_.push_back(fact);
            cluster_.push_back(static_cast<std::int32_t>(text_count_));
            const auto length = static_cast<std::size_t>(range.second - range.first);
            if (keep)
                tokens.push_back(token_json(
                    routers, row, text.text.substr(static_cast<std::size_t>(range.first), length), fact));
        }
        keys_ += keys_seen(static_cast<Index>(text.token.size()), window_);
        ++text_count_;
        if (keep) {
            Json entry = Json::object();
            entry.add("id", text.id);
            entry.add("tokens", std::move(tokens));
            texts_.push_back(std::move(entry));
            kept_choices_ += text.token.size() * routers.size();
        }
    }

    bool empty() const { return tokens_ == 0; }
    Index tokens() const { return tokens_; }
    double load() const { return empty() ? 0 : per_router(used_total()); }
    /// Of the routers of a mixture's own experts ("model.layers.0.mlp"), without those of branches and adapters.
    double mixture_load() const {
        Index used = 0, routers = 0;
        for (std::size_t r = 0; r < names_.size(); ++r) {
            if (!of_mixture(r)) continue;
            used += used_[r];
            ++routers;
        }
        return routers == 0 || empty() ? 0
                                       : static_cast<double>(used) / static_cast<double>(tokens_ * routers);
    }
    double load_cv() const {
        return mean_cv([](std::size_t) { return true; });
    }
    /// Of the routers of mixture_load.
    double mixture_load_cv() const {
        return mean_cv([this](std::size_t r) { return of_mixture(r); });
    }
    /// Mean true experts per token, router by router.
    std::vector<double> loads() const {
        std::vector<double> all;
        for (const Index used : used_)
            all.push_back(static_cast<double>(used) / static_cast<double>(tokens_));
        return all;
    }
    /// Mean number of keys a token saw.
    double keys() const { return empty() ? 0 : keys_ / static_cast<double>(tokens_); }
    /// Nothing when there is no fact, or nothing but facts, or no router.
    std::optional<Estimate> fact_auroc() const {
        Index facts = 0;
        for (const std::uint8_t fact : fact_) facts += fact;
        if (facts == 0 || facts == static_cast<Index>(fact_.size())) return std::nullopt;
        return auroc(score_, fact_, cluster_);
    }
    const std::vector<std::string>& routers() const { return names_; }

    /// {"layers","experts","slots","routers":[..],"texts":[{"id","tokens":[{"text","fact","experts":[[..],..]}]}]}
    Json json() const {
        Json root = Json::object();
        root.add("layers", static_cast<Index>(names_.size()));
        root.add("experts", experts_);
        root.add("slots", slots_);
        Json::Array names;
        for (const std::string& name : names_) names.push_back(Json(name));
        root.add("routers", std::move(names));
        root.add("texts", texts_);
        return root;
    }

private:
    bool of_mixture(std::size_t r) const { return names_[r].ends_with(".mlp"); }
    template <class Counts>
    double mean_cv(const Counts& counts) const {
        double sum = 0, routers = 0;
        for (std::size_t r = 0; r < slots_of_.size(); ++r) {
            if (!counts(r)) continue;
            sum += cv_of(slots_of_[r]);
            ++routers;
        }
        return routers == 0 ? 0 : sum / routers;
    }
    void describe(const std::vector<RouterChoice>& routers) {
        if (names_.empty()) {
            for (const RouterChoice& router : routers) {
                names_.push_back(router.name);
                experts_ = std::max(experts_, router.experts);
                slots_ = std::max(slots_, router.expert.extent(1));
            }
            used_.assign(routers.size(), 0);
            for (const RouterChoice& router : routers)
                slots_of_.emplace_back(static_cast<std::size_t>(router.experts));
        }
        if (routers.size() != names_.size()) {
            throw Error{ErrorCode::state, "TokenRouting", format("{} routers", names_.size()),
                        format("{}", routers.size()), "one TokenRouting is of one model"};
        }
    }
    /// Adds the row to the loads and returns its number of true experts over all routers.
    Index count_row(const std::vector<RouterChoice>& routers, Index row) {
        Index all = 0;
        for (std::size_t r = 0; r < routers.size(); ++r) {
            const auto expert = routers[r].expert.view<2>();
            Index used = 0;
            for (Index k = 0; k < expert.extent(1); ++k) {
                if (expert(row, k) < 0) continue;
                ++used;
                ++slots_of_[r][static_cast<std::size_t>(expert(row, k))];
            }
            used_[r] += used;
            all += used;
        }
        ++tokens_;
        return all;
    }
    static Json token_json(const std::vector<RouterChoice>& routers, Index row, std::string text, bool fact) {
        Json::Array layers;
        for (const RouterChoice& router : routers) {
            const auto expert = router.expert.view<2>();
            Json::Array used;
            for (Index k = 0; k < expert.extent(1); ++k) {
                if (expert(row, k) >= 0) used.push_back(Json(static_cast<int>(expert(row, k))));
            }
            layers.push_back(Json(std::move(used)));
        }
        Json token = Json::object();
        token.add("text", is_utf8(text) ? std::move(text) : std::string(kReplacementCharacter));
        token.add("fact", fact);
        token.add("experts", std::move(layers));
        return token;
    }
    static double cv_of(const std::vector<Index>& slots) {
        double sum = 0, squares = 0;
        const double E = static_cast<double>(slots.size());
        for (const Index n : slots) sum += static_cast<double>(n);
        for (const Index n : slots) {
            const double apart = sum == 0 ? 0 : E * static_cast<double>(n) / sum - 1;
            squares += apart * apart;
        }
        return sqrt(squares / E);
    }
    Index used_total() const {
        Index all = 0;
        for (const Index used : used_) all += used;
        return all;
    }
    double per_router(Index used) const {
        return static_cast<double>(used) / static_cast<double>(tokens_ * static_cast<Index>(used_.size()));
    }

    Index window_;
    std::size_t kept_, kept_choices_ = 0;
    std::vector<std::string> names_;
    Index experts_ = 0, slots_ = 0, tokens_ = 0, text_count_ = 0;
    double keys_ = 0;
    std::vector<Index> used_;
    std::vector<std::vector<Index>> slots_of_;  // of every router, per expert
    std::vector<double> score_;
    std::vector<std::uint8_t> fact_;
    std::vector<std::int32_t> cluster_;
    Json::Array texts_;
};

}  // namespace moegrad

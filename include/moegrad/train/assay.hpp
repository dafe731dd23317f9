#pragma once
// The assay: is a base model any ground for statements about routers? Its held-out documents are read three times, with
// nothing trained: as the checkpoint routes, with the best expert only, and with experts drawn at random.
//     cost = mean nll per token of the changed routing - that of the checkpoint's own, in nats
// A base that hardly notices cannot tell a good router from a bad one: top-1 must cost kTopOneCost, random experts
// kRandomCost. Random experts are weighed by the gate (the milder way); equal weights are reported beside it.

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include <moegrad/core/device_reports.hpp>
#include <moegrad/data/dataset.hpp>
#include <moegrad/eval/statistics.hpp>
#include <moegrad/eval/token_ids.hpp>
#include <moegrad/models/decoder.hpp>
#include <moegrad/routing/random_router.hpp>

namespace moegrad {

inline constexpr double kTopOneCost = 0.05, kRandomCost = 0.3;  // nats per token

struct Assay {
    Index slots = 2, documents = 0, tokens = 0;
    double nll = 0;  // per token, as the checkpoint routes
    Estimate top1, random, random_equal;

    bool passed() const { return top1.low >= kTopOneCost && random.low >= kRandomCost; }
    /// Not passed, and not shown to cost too little either: the documents are too few to say.
    bool undecided() const { return !passed() && top1.high >= kTopOneCost && random.high >= kRandomCost; }
};

/// Sum of the negative log likelihoods of each document. Batches of about 2048 tokens; the cut changes no bit.
template <class Real>
std::vector<double> nll_of_documents(Context& context, Decoder<Real>& model, const Dataset& documents) {
    std::vector<double> sums;
    std::vector<std::int32_t> picks;
    std::size_t tokens = 0;
    const auto run = [&] {
        const Batch batch = make_batch(documents, picks);
        Tape tape(context, Mode::inference);
        const auto token = placed_ids(batch.token.values(), model.config().vocab_size, context.device());
        const auto segments = placed(batch.segments, context.device());
        Forward<Real> forward{tape, token, segments};
        const auto nll = host(model.loss(forward, model.hidden(forward), batch.target).value());
        require_no_reports(context.device(), "assay");
        for (Index s = 0; s < batch.segments.count(); ++s) {
            double sum = 0;
            const auto* begin = batch.segments.begin.data();
            for (Index t = begin[s]; t < begin[s + 1]; ++t) sum += static_cast<double>(nll.data()[t]);
            sums.push_back(sum);
        }
        picks.clear();
        tokens = 0;
    };
    for (std::size_t i = 0; i < documents.size(); ++i) {
        picks.push_back(static_cast<std::int32_t>(i));
        tokens += documents[i].token.size();
        if (tokens >= 2048 || i + 1 == documents.size()) run();
    }
    return sums;
}

namespace detail {

/// Every MoE layer's router replaced by make(layer) for as long as this lives.
template <class Real, class Make>
class OtherRouters {
public:
    OtherRouters(Decoder<Real>& model, Make make) : model_(model) {
        for (auto& layer : model_.layers()) {
            for (auto& moe : layer.moe) {
                kept_.push_back(std::move(moe.router));
                moe.router = make(moe);
            }
        }
    }
    OtherRouters(const OtherRouters&) = delete;
    OtherRouters& operator=(const OtherRouters&) = delete;
    ~OtherRouters() {
        std::size_t next = 0;
        for (auto& layer : model_.layers()) {
            for (auto& moe : layer.moe) moe.router = std::move(kept_[next++]);
        }
    }

private:
    Decoder<Real>& model_;
    std::vector<AnyRouter<Wide<Real>>> kept_;
};

/// sum(changed - base) / sum(tokens), interval over documents by linearisation of the ratio.
inline Estimate cost_per_token(std::span<const double> changed, std::span<const double> base,
                               std::span<const double> tokens) {
    require_items("assay", base.size(), 2);
    double difference = 0, total = 0, squares = 0;
    for (std::size_t i = 0; i < base.size(); ++i) {
        difference += changed[i] - base[i];
        total += tokens[i];
    }
    const double cost = difference / total, n = static_cast<double>(base.size());
    for (std::size_t i = 0; i < base.size(); ++i) {
        const double left = changed[i] - base[i] - cost * tokens[i];
        squares += left * left;
    }
    const double half =
        student95(static_cast<Index>(base.size()) - 1) * std::sqrt(squares * n / (n - 1)) / total;
    return {cost, cost - half, cost + half, static_cast<Index>(base.size())};
}

}  // namespace detail

/// Of a mixture-of-experts base without an adapter.
template <class Real>
Assay run_assay(Context& context, Decoder<Real>& model, const Dataset& documents, std::uint64_t seed = 0) {
    using Gated = Gate<Wide<Real>>;
    Assay assay;
    assay.slots = model.layers().front().moe.front().router.slots();
    assay.documents = static_cast<Index>(documents.size());
    std::vector<double> tokens;
    for (const Sample& document : documents) {
        tokens.push_back(static_cast<double>(document.supervised()));
        assay.tokens += document.supervised();
    }
    const auto base = nll_of_documents(context, model, documents);
    for (double sum : base) assay.nll += sum / static_cast<double>(assay.tokens);
    const auto cost = [&](auto make) {
        const detail::OtherRouters<Real, decltype(make)> others(model, make);
        return detail::cost_per_token(nll_of_documents(context, model, documents), base, tokens);
    };
    const auto random = [&](RandomWeights weights) {
        return cost([&, weights](const MoeLayer<Real>& moe) -> AnyRouter<Wide<Real>> {
            return RandomRouter<Wide<Real>>{
                .gate = Gated(moe.gate), .k = assay.slots, .weights = weights, .seed = seed};
        });
    };
    assay.top1 = cost([](const MoeLayer<Real>& moe) -> AnyRouter<Wide<Real>> {
        return TopKRouter<Wide<Real>>{.gate = Gated(moe.gate), .k = 1};
    });
    assay.random = random(RandomWeights::renormalized);
    assay.random_equal = random(RandomWeights::equal);
    return assay;
}

/// What the costs say, before any statement about routers.
inline std::string assay_text(const Assay& assay) {
    const auto cost = [](const Estimate& e) {
        return format("{:+.3f} [{:.3f}, {:.3f}]", e.value, e.low, e.high);
    };
    std::string text = format(
        "assay of the base on {} held-out documents ({} tokens), nats per token:\n"
        "  top-{} as the checkpoint has it   {:.3f}\n"
        "  forced top-1                     {}   (at least {} wanted)\n"
        "  {} experts at random              {}   (at least {} wanted; equal weights {:+.3f})\n",
        assay.documents, assay.tokens, assay.slots, assay.nll, cost(assay.top1), kTopOneCost, assay.slots,
        cost(assay.random), kRandomCost, assay.random_equal.value);
    if (assay.passed())
        return text + "  routing matters on this base: differences between routers mean something here\n";
    return text +
           (assay.undecided()
                ? "  NO GROUND YET FOR STATEMENTS ABOUT ROUTERS: so few documents do not show that this base "
                  "notices which experts run. Read more of them.\n"
                : "  THIS BASE IS NO GROUND FOR STATEMENTS ABOUT ROUTERS: it hardly notices which "
                  "experts run. Pretrain it better, or take another.\n");
}

}  // namespace moegrad

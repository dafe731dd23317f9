#pragma once
// analyse_routing: RouterAnalytics of every router of a model over documents, and the counts between neighbouring layers.
// Every document runs alone, in windows of at most L positions.

#include <span>
#include <string>
#include <vector>

#include <moegrad/core/device_reports.hpp>
#include <moegrad/data/text_records.hpp>
#include <moegrad/eval/router_analytics.hpp>
#include <moegrad/eval/token_ids.hpp>
#include <moegrad/io/tokenizer_json.hpp>
#include <moegrad/methods/model_routers.hpp>

namespace moegrad {

using TokenExperts = std::vector<std::vector<std::int32_t>>;  // [tokens] [experts of the token]

struct ModelAnalytics {
    std::vector<RouterAnalytics> routers;
    std::vector<TokenExperts> experts;  // of every router, all documents one after another
    // domain -> for routers r and r + 1: [E_r E_{r+1}] slots k of a token that hold i in one and j in the next, so that rows
    // and columns sum to the slots of i and of j where no slot is empty; and the same of the likeliest experts alone
    using Transitions = std::map<std::string, std::vector<std::vector<std::int64_t>>>;
    Transitions transitions, first_transitions;
    Index documents = 0, tokens = 0;
};

namespace detail {

/// The likeliest expert of token t, or a negative number.
inline std::int32_t first_expert(const Tensor<std::int32_t>& slots, Index t) {
    for (Index k = 0; k < slots.extent(1); ++k) {
        if (slots.matrix()(t, k) >= 0) return slots.matrix()(t, k);
    }
    return -1;
}

/// from [T, K], to [T, K']: slot k of one with slot k of the other, K pairs a token and not K x K, as in the published
/// tables. A slot without an expert in either gives no pair. all, first: [E, columns].
inline void count_transitions(const Tensor<std::int32_t>& from, const Tensor<std::int32_t>& to,
                              std::size_t columns, std::vector<std::int64_t>& all,
                              std::vector<std::int64_t>& first) {
    const auto count = [columns](std::vector<std::int64_t>& counts, std::int32_t i, std::int32_t j) {
        if (i >= 0 && j >= 0) ++counts[static_cast<std::size_t>(i) * columns + static_cast<std::size_t>(j)];
    };
    const Index K = std::min(from.extent(1), to.extent(1));
    for (Index t = 0; t < from.extent(0); ++t) {
        for (Index k = 0; k < K; ++k) count(all, from.matrix()(t, k), to.matrix()(t, k));
        count(first, first_expert(from, t), first_expert(to, t));
    }
}

class RoutingAnalysis {
public:
    template <class Real>
    void add(Context& context, Decoder<Real>& model, const std::vector<std::int32_t>& ids,
             const std::string& domain, Index sample, std::int32_t task) {
        const Device device = context.device();
        const std::vector<Index> lengths{static_cast<Index>(ids.size())};
        const std::vector<std::int32_t> samples{static_cast<std::int32_t>(sample)};
        const auto token = placed_ids(ids, model.config().vocab_size, device);
        Segments document = Segments::of_lengths(std::span<const Index>(lengths), samples);
        document.set_tasks(std::vector<std::int32_t>{task});
        const auto segments = placed(document, device);
        Tape tape(context, Mode::inference);
        Forward<Real> forward{tape, token, segments};
        model.hidden(forward);
        require_no_reports(device, "routing");
        if (all_.routers.empty()) describe(model, forward.routings);
        std::vector<Tensor<std::int32_t>> slots;
        for (std::size_t r = 0; r < forward.routings.size(); ++r)
            slots.push_back(add_router(r, forward.routings[r].routing, ids, domain));
        add_transitions(slots, domain);
        all_.tokens += lengths[0];
    }
    ModelAnalytics take(Index documents) {
        all_.documents = documents;
        return std::move(all_);
    }

private:
    template <class Real, class Records>
    void describe(Decoder<Real>& model, const Records& records) {
        const auto routers = model_routers(model);
        for (const auto& record : records)
            all_.routers.emplace_back(record.name, experts_of<Real>(routers, record.name));
        all_.experts.resize(all_.routers.size());
    }

    /// [T, K]  its slots, on the host.
    template <class Wide>
    Tensor<std::int32_t> add_router(std::size_t r, const Routing<Wide>& routing,
                                    const std::vector<std::int32_t>& ids, const std::string& domain) {
        const auto expert = host(routing.expert);
        const auto p =
            routing.stats.probability.defined() ? host(routing.stats.probability) : Tensor<float>();
        for (std::size_t t = 0; t < ids.size(); ++t) {
            const auto row = static_cast<Index>(t);
            RoutedToken token{ids[t], &domain};
            for (Index k = 0; k < expert.extent(1); ++k) {
                if (expert.matrix()(row, k) >= 0) token.experts.push_back(expert.matrix()(row, k));
            }
            if (p.defined()) {
                const float* begin = p.data() + row * p.extent(1);
                token.probability.assign(begin, begin + p.extent(1));
            }
            all_.routers[r].add(token);
            all_.experts[r].push_back(std::move(token.experts));
        }
        return expert;
    }

    void add_transitions(const std::vector<Tensor<std::int32_t>>& slots, const std::string& domain) {
        auto &all = all_.transitions[domain], &first = all_.first_transitions[domain];
        const std::size_t pairs = slots.empty() ? 0 : slots.size() - 1;
        all.resize(pairs), first.resize(pairs);
        for (std::size_t r = 0; r < pairs; ++r) {
            const std::size_t columns = all_.routers[r + 1].experts();
            all[r].resize(all_.routers[r].experts() * columns);
            first[r].resize(all[r].size());
            count_transitions(slots[r], slots[r + 1], columns, all[r], first[r]);
        }
    }

    ModelAnalytics all_;
};

}  // namespace detail

template <class Real>
ModelAnalytics analyse_routing(Context& context, Decoder<Real>& model, const Tokenizer& tokenizer,
                               std::span<const TextRecord> records, Index max_length = 0) {
    const Index most = model.config().max_position_embeddings;
    const Index L = max_length > 0 ? std::min(max_length, most) : most;
    if (model_routers(model).empty()) {
        throw Error{ErrorCode::config, "inspect routing", "a model with routers", "a dense one",
                    "--adapter names one that routes"};
    }
    detail::RoutingAnalysis analysis;
    for (std::size_t i = 0; i < records.size(); ++i) {
        auto ids = tokenizer.encode(records[i].prompt + records[i].completion);
        for (std::size_t begin = 0; begin < ids.size(); begin += static_cast<std::size_t>(L)) {
            const auto end = std::min(ids.size(), begin + static_cast<std::size_t>(L));
            analysis.add(context, model,
                         {ids.begin() + static_cast<std::ptrdiff_t>(begin),
                          ids.begin() + static_cast<std::ptrdiff_t>(end)},
                         records[i].domain, static_cast<Index>(i), records[i].task);
        }
    }
    return analysis.take(static_cast<Index>(records.size()));
}

}  // namespace moegrad

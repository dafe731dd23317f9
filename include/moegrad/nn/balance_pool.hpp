#pragma once
// pool_balance: balance losses that look at several routers at once, made when all of them have run. The value is a penalty
// of the last router of its pool: every router of the pass, or those of one layer. One value per micro-batch.
// Only routers of one kind and of one size (C columns, K slots) share a pool: the routers of a mixture of experts, those of
// the branches a method puts beside it (one kind per method), and those of adapted Linears. Each pool has a value of its own,
// and the values are summed; so MoLA's layers, of 2, 4, 6 and 8 experts, are pooled by their number of experts.
// A layer that is recomputed in backward has no p to give a gradient to when the pass is over: there it is refused.

#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <moegrad/nn/forward.hpp>
#include <moegrad/ops/balance_pool.hpp>

namespace moegrad {

namespace detail {

/// By the name of its record: ".mlp" of a mixture of experts, "perft" of a branch ".mlp.perft"; "" for anything else, such as
/// adapted Linears.
inline std::string pool_kind(const std::string& name) {
    const std::size_t dot = name.rfind('.');
    if (dot == name.npos) return {};
    if (name.ends_with(".mlp")) return ".mlp";
    const bool branch = name.substr(0, dot).ends_with(".mlp") && !name.ends_with("_proj");
    return branch ? name.substr(dot + 1) : std::string();
}

}  // namespace detail

/// After the last layer, before penalties are added up and seeded. recomputed: whether layers run again in backward.
template <class Real>
void pool_balance(Forward<Real>& forward, bool recomputed = false) {
    struct Pool {
        std::vector<BalanceRows<Wide<Real>>> rows;
        std::size_t last = 0;
    };
    using Key = std::tuple<int, std::string, Index, Index>;  // layer (-1: all), kind, C, K
    std::map<Key, Pool> pools;
    for (std::size_t i = 0; i < forward.routings.size(); ++i) {
        const auto& record = forward.routings[i];
        auto& share = forward.routings[i].routing.pool;
        if (!share.rows.defined()) continue;
        Pool& pool = pools[{share.per_layer ? record.layer : -1, detail::pool_kind(record.name),
                            share.rows.p.extent(1), share.rows.choice.extent(1)}];
        pool.rows.push_back(std::move(share.rows));
        pool.last = i;
    }
    if (recomputed && !pools.empty()) {
        throw Error{ErrorCode::unsupported, "a balance loss over several routers", "layers that run once",
                    "layers that are recomputed in backward", "set train.checkpointing = false"};
    }
    for (auto& [key, pool] : pools) {
        auto& routing = forward.routings[pool.last].routing;
        routing.penalties.push_back(
            {"balance", balance_pool(forward.tape, pool.rows, forward.segments, routing.pool.options),
             PenaltyUnit::batch});
    }
}

}  // namespace moegrad

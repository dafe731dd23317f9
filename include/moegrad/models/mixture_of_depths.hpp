#pragma once
// MixtureOfDepths: a layer that computes some tokens only (Raposo et al. 2024, arXiv 2404.02258).
//     y_t = x_t + r_t f(x)_t  for the tokens that the router chose,   y_t = x_t for the others
//     f = attention + feed-forward of the layer, on the chosen tokens alone: they attend to each other, at the positions
//     they have in their sequences (a sliding window counts chosen tokens)
// The chosen rows become a batch of their own with room for the most there can be, floor(T capacity) + S of S sequences:
// no shape depends on data. Outside training any number of tokens may pass, and there is room for all.

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/models/decoder.hpp>
#include <moegrad/ops/gather_rows.hpp>
#include <moegrad/ops/gather_segments.hpp>
#include <moegrad/routing/depth_router.hpp>

namespace moegrad {

template <class Real>
class MixtureOfDepths final : public LayerHook<Real> {
public:
    /// name: of the layer.
    MixtureOfDepths(std::string name, DepthRouter<Wide<Real>> router)
        : name_(std::move(name)), capacity_(router.capacity), router_(std::move(router)) {}

    Var<Real> forward(Forward<Real>& forward, DecoderLayer<Real>& layer, const Var<Real>& x) override {
        if (forward.cache != nullptr) {
            throw Error{ErrorCode::unsupported, name_,
                        "generation without kept keys (GenerateOptions::cache)", "a cache",
                        "the cache counts every token, this layer keeps keys of some"};
        }
        Tape& tape = forward.tape;
        auto routing = route(forward, layer, x);
        const auto plan = dispatch(tape, routing.expert, 1, room(tape, forward.segments));
        const auto rows = gather_segments(tape, forward.segments, forward.token, plan.row_token);
        Forward<Real> inner{tape, rows.token, rows.segments, {}, forward.penalty_names};
        const auto f = layer.update(inner, gather_rows(tape, x, plan.row_token));
        // The rows of nobody get no gradient: combine leaves theirs as it is.
        const auto chosen = gather_rows(tape, f, rows.row);
        auto y = add(tape, x, combine(tape, chosen, routing.weight, plan));
        for (auto& record : inner.routings) forward.routings.push_back(std::move(record));
        forward.routings.push_back({name_, layer.index, std::move(routing)});
        return y;
    }
    std::vector<Parameter<Wide<Real>>*> parameters() override { return router_.parameters(); }
    AnyRouter<Wide<Real>>* router() override { return &router_; }

private:
    Routing<Wide<Real>> route(Forward<Real>& forward, DecoderLayer<Real>& layer, const Var<Real>& x) {
        return router_.route(forward.tape, {.x = cast<Wide<Real>>(forward.tape, x),
                                            .token = forward.token,
                                            .segments = forward.segments,
                                            .layer = layer.index,
                                            .mode = forward.tape.mode(),
                                            .module = static_cast<std::uint32_t>(layer.index)});
    }
    /// Rows the chosen tokens need at most. At least 1: 0 is no bound to dispatch.
    Index room(const Tape& tape, const Segments& segments) const {
        if (!tape.training()) return 0;
        const double most = capacity_ * static_cast<double>(segments.tokens()) + 1e-9;
        return std::max<Index>(1, static_cast<Index>(std::floor(most)) + segments.count());
    }

    std::string name_;
    double capacity_;
    AnyRouter<Wide<Real>> router_;
};

}  // namespace moegrad

#pragma once
// What the routing suites share: routers by name, batches of tokens, and the outcome of a route with its gradients,
// copied out of step memory.

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include <moegrad/autograd/gradcheck.hpp>
#include <moegrad/core/philox.hpp>
#include <moegrad/routing/all.hpp>

namespace moegrad::test {

/// A router as the conformance suite needs it: made in both number types, for any size, with every penalty on.
struct RouterCase {
    std::string name;
    WeightSum sum = WeightSum::one;
    Index (*most_slots)(const RouterSize&) = nullptr;
    AnyRouter<double> (*in_double)(const RouterSize&, std::uint64_t seed) = nullptr;
    AnyRouter<float> (*in_float)(const RouterSize&, std::uint64_t seed) = nullptr;
    bool relabels =
        true;  // whether experts may be renumbered: not where numbers enter a table or a random draw
    bool plain_top_k = true;  // whether it takes the K best logits of each token

    template <class Real>
    AnyRouter<Real> make(const RouterSize& size, std::uint64_t seed) const {
        if constexpr (std::is_same_v<Real, double>) {
            return in_double(size, seed);
        } else {
            return in_float(size, seed);
        }
    }
};

inline constexpr PenaltySettings kEveryPenalty{
    .balance = BalanceLoss::adamoe_eq6, .scope = BalanceOptions::Scope::sequence, .z = true};

/// Entry: a struct like those of BuiltinRouters.
template <class Entry>
RouterCase router_case() {
    return {Entry::name(), Entry::sum, &Entry::most_slots,
            [](const RouterSize& size, std::uint64_t seed) {
                return Entry::template make<double>(size, seed, kEveryPenalty);
            },
            [](const RouterSize& size, std::uint64_t seed) {
                return Entry::template make<float>(size, seed, kEveryPenalty);
            },
            [] {
                if constexpr (requires { Entry::relabels; }) return Entry::relabels;
                return true;
            }(),
            !requires {Entry::method();
}
};  // namespace moegrad::test
}

/// Poisoned step memory, `threads` from 1 to 4.
inline Context& routing_context(int threads = 1, Device device = Device::cpu) {
    static std::array<std::unique_ptr<Context>, 10> all;
    auto& context = all[static_cast<std::size_t>(threads + (device == Device::cuda ? 5 : 0))];
    if (!context) {
        context = std::make_unique<Context>(
            ContextOptions{.device = device, .threads = threads, .fill = Arena::Fill::poison});
    }
    return *context;
}

template <class Real>
struct RouterBatch {
    Tensor<Real> x;  // [T, D]
    Segments segments;
    std::vector<Index> row;  // identity of each row: keys the seeds of backward

    Index tokens() const { return x.extent(0); }
};

/// Segments have the tasks 0, 1, 0, 1, ..
inline constexpr Index kBatchTasks = 2;

template <class Real>
RouterBatch<Real> random_batch(Index D, const std::vector<Index>& lengths, std::uint64_t seed) {
    RouterBatch<Real> batch;
    batch.segments = Segments::of_lengths(lengths);
    batch.segments.task = Tensor<std::int32_t>::zeros({batch.segments.count()});
    for (Index s = 0; s < batch.segments.count(); ++s)
        batch.segments.task.data()[s] = static_cast<std::int32_t>(s % kBatchTasks);
    const Index T = batch.segments.tokens();
    batch.x = Tensor<Real>::zeros({T, D});
    Random random(seed, 77);
    for (Real& value : batch.x.values()) value = static_cast<Real>(random.next_normal());
    batch.row.resize(static_cast<std::size_t>(T));
    std::iota(batch.row.begin(), batch.row.end(), Index{0});
    return batch;
}

/// The rows `order` of a batch as one segment, of the first one's task. Each keeps its sample and position: what random
/// draws are keyed by.
template <class Real>
RouterBatch<Real> picked(const RouterBatch<Real>& from, const std::vector<Index>& order) {
    RouterBatch<Real> to;
    const Index T = static_cast<Index>(order.size()), D = from.x.extent(1);
    const std::vector<Index> lengths{T};
    to.segments = Segments::of_lengths(lengths);
    if (T > 0 && from.segments.task.defined()) {
        const Index first = from.segments.segment.data()[order.front()];
        to.segments.task = from.segments.task.rows(first, first + 1);
    }
    to.x = Tensor<Real>::zeros({T, D});
    for (Index t = 0; t < T; ++t) {
        const Index source = order[static_cast<std::size_t>(t)];
        std::copy_n(from.x.data() + source * D, D, to.x.data() + t * D);
        to.segments.valid.data()[t] = from.segments.valid.data()[source];
        to.segments.sample.data()[t] = from.segments.sample.data()[source];
        to.segments.position.data()[t] = from.segments.position.data()[source];
        to.row.push_back(from.row[static_cast<std::size_t>(source)]);
    }
    return to;
}

template <class Real>
struct PenaltyValues {
    std::string name;
    PenaltyUnit unit;
    Tensor<Real> value;
};

/// A Routing with gradients, in host memory of its own.
template <class Real>
struct Outcome {
    Tensor<std::int32_t> expert;       // [T, K]
    Tensor<Real> weight, passthrough;  // [T, K], [T] or undefined
    std::vector<PenaltyValues<Real>> penalties;
    std::vector<Tensor<Real>> traces;
    RoutingTotals stats;
    Tensor<Real> dx;  // [T, D] or undefined
    std::vector<Tensor<Real>>
        gradients;  // of the parameters, in their order; zeros where nothing was written
};

template <class T>
Tensor<T> copy_of(const Tensor<T>& from) {
    if (!from.defined()) return {};
    auto to = Tensor<T>::zeros(from.shape());
    copy_values(from, to);
    return to;
}

template <class Real>
bool same_values(const Tensor<Real>& a, const Tensor<Real>& b) {
    if (a.defined() != b.defined()) return false;
    if (!a.defined()) return true;
    return a.shape() == b.shape() &&
           (a.size() == 0 || std::memcmp(a.data(), b.data(), a.values().size() * sizeof(Real)) == 0);
}

namespace detail {

/// Adds of(i) to element i of the gradient of y.
template <class Real, class Of>
void seed_each(const Var<Real>& y, const Of& of) {
    if (!y.defined() || !y.needs_gradient()) return;
    auto target = y.gradient()->target();
    auto values = target.write == Write::accumulate ? copy_of(target.tensor)
                                                    : Tensor<Real>::zeros(target.tensor.shape());
    for (Index i = 0; i < values.size(); ++i) values.data()[i] += of(i);
    copy_values(values, target.tensor);
}

/// Writes seed(row, column) into the gradient of y, whose outer axis are the tokens of the batch.
template <class Real>
void seed_rows(const Var<Real>& y, const std::vector<Index>& row) {
    const Index columns = y.shape().rank() == 2 ? y.extent(1) : 1;
    seed_each(y, [&](Index i) {
        const Index id = row[static_cast<std::size_t>(i / columns)] * columns + i % columns;
        return static_cast<Real>(moegrad::detail::projection(id) - 1);
    });
}

template <class Real>
void seed_constant(const Var<Real>& y, Real value) {
    seed_each(y, [value](Index) { return value; });
}

template <class Real>
Outcome<Real> outcome_of(const Routing<Real>& routing) {
    Outcome<Real> result{copy_of(routing.expert),
                         copy_of(routing.weight.value()),
                         copy_of(routing.passthrough.value()),
                         {},
                         {},
                         {},
                         {},
                         {}};
    for (const auto& penalty : routing.penalties) {
        result.penalties.push_back({penalty.name, penalty.unit, copy_of(penalty.value.value())});
    }
    for (const auto& trace : routing.traces) result.traces.push_back(copy_of(trace.value));
    if (routing.stats.defined()) result.stats.add(routing.stats);
    return result;
}

}  // namespace detail

template <class Real>
Routing<Real> call_router(AnyRouter<Real>& router, Tape& tape, const Var<Real>& x, const Segments& segments) {
    const auto token = Tensor<std::int32_t>::zeros({x.extent(0)}, tape.device());
    const RouteInput<Real> input{.x = x, .token = token, .segments = segments, .mode = tape.mode()};
    return router.route(tape, input);
}

/// Decisions only, of a batch on the host.
template <class Real>
Outcome<Real> decide(AnyRouter<Real>& router, const RouterBatch<Real>& batch, int threads = 1) {
    Tape tape(routing_context(threads), Mode::inference);
    return detail::outcome_of(call_router(router, tape, Var<Real>(batch.x), batch.segments));
}

/// Decisions, and the gradients of weights, passthrough and all penalties together. Parameter gradients accumulate
/// over calls, as over micro-batches, until `forget`. On a GPU the router's parameters must be there already.
template <class Real>
Outcome<Real> decide_and_learn(AnyRouter<Real>& router, const RouterBatch<Real>& batch, int threads = 1,
                               Device device = Device::cpu) {
    Tape tape(routing_context(threads, device));
    const Var<Real> x(placed(batch.x, device),
                      std::make_shared<Gradient<Real>>(Tensor<Real>::zeros(batch.x.shape(), device)));
    const auto segments = placed(batch.segments, device);
    auto routing = call_router(router, tape, x, segments);
    auto result = detail::outcome_of(routing);
    detail::seed_rows(routing.weight, batch.row);
    detail::seed_rows(routing.passthrough, batch.row);
    for (const auto& penalty : routing.penalties) detail::seed_constant(penalty.value, Real(0.5));
    routing = {};
    tape.backward();
    result.dx = host(x.gradient()->tensor());
    return result;
}

template <class Real>
void forget(AnyRouter<Real>& router) {
    for (auto* parameter : router.parameters()) parameter->forget_gradients();
}

/// The gradient of each parameter over its uses, zeros where nothing was written.
template <class Real>
std::vector<Tensor<Real>> parameter_gradients(AnyRouter<Real>& router) {
    std::vector<Tensor<Real>> all;
    for (auto* parameter : router.parameters()) {
        auto total = Tensor<Real>::zeros(parameter->shape());
        for (const auto& gradient : parameter->gradients()) {
            if (!gradient->written()) continue;
            const auto one = host(gradient->tensor());
            for (std::size_t i = 0; i < total.values().size(); ++i) total.values()[i] += one.values()[i];
        }
        all.push_back(total);
    }
    return all;
}

template <class Real>
void train_everything(AnyRouter<Real>& router) {
    for (auto* parameter : router.parameters()) parameter->set_trainable(true);
}

}  // namespace moegrad::test

#pragma once
// The router contract (DESIGN D6). A router looks at the tokens of a batch and returns a ragged list: per token 0..E
// pairs (true expert, weight) in K slots. Everything downstream - dispatch, experts, combine - knows only this.
//
// A router is any struct that satisfies `Router`; no base class, no registration:
//
//   template <class Real> struct Mine {
//       Index slots() const;                 // K
//       Index experts() const;               // E
//       RouterScope scope() const;           // what it promises about other tokens
//       Routing<Real> route(Tape&, const RouteInput<Real>&);
//       std::vector<Parameter<Real>*> parameters();
//       void after_step(const RoutingTotals&);            // optional: once per optimiser step
//       std::vector<double> state() const;                // beside after_step: what it learned, of one length,
//       void set_state(std::span<const double>);          // and back; without them no checkpoint can be saved
//       std::vector<PenaltyCoefficient> coefficients() const;     // optional: what its paper gives its penalties
//       std::string caution() const;                              // optional: what whoever trains with it is told
//       static std::string instead_of_top_k(const RouterOptions&);  // optional: it has no use for router.top_k; what to set
//       static constexpr bool reads_on_host = true;       // optional: route reads tensors on the host (see below)
//       static constexpr bool learns_in_place = true;     // optional: after_step changes values of parameters, nothing else
//   };
//
// On a GPU the tensors lie there: a router made of ops runs as it is. One that looks at numbers itself reads host(tensor),
// which waits for the GPU, writes back with copy_values, and says reads_on_host: a step that is recorded once and replayed
// would replay its first answer, so there it is refused by name. What after_step changes on the host would be replayed as
// it was, so steps are not recorded either, unless all of it lies in parameters (learns_in_place).
//
// Real is the router's number type, float at least: float models and bf16 models route in float, double in double. The x of
// a bf16 model is cast when a router first reads it; a Gate, and wide_linear, multiply it as it is.

#include <concepts>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/autograd/parameter.hpp>
#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/ops/balance_pool.hpp>
#include <moegrad/ops/null_slots.hpp>
#include <moegrad/ops/route_stats.hpp>

namespace moegrad {

/// What a token's routing may depend on.
/// token: on itself only (any batch order, any split gives the same bits); sequence: on its segment; batch: on all.
enum class RouterScope { token, sequence, batch };

/// What the values of a penalty are summed over, and so what the step divides its coefficient by.
enum class PenaltyUnit {
    sequence,  // one value per segment: divided by the segments of the optimiser step
    token,     // one value per valid token: divided by the valid tokens of the optimiser step
    batch,     // one value per micro-batch: divided by the micro-batches of the step (the split then matters)
};

/// A raw loss of a router. Coefficients and annealing belong to the step, not to the router.
template <class Real>
struct Penalty {
    std::string name;  // "balance", "z", ...: the key of its coefficient
    Var<Real> value;
    PenaltyUnit unit;
};

/// What a penalty is usually multiplied with.
using PenaltyCoefficient = std::pair<std::string, double>;

/// A number per token worth watching ([T]; its mean over valid tokens is logged), such as a router's entropy.
template <class Real>
struct Trace {
    std::string name;
    Tensor<Real> value;
};

/// What a balance loss over several routers needs of each (nn/balance_pool.hpp).
template <class Real>
struct BalanceShare {
    BalanceRows<Real> rows;
    BalanceOptions options;
    bool per_layer = false;  // pooled with the routers of its layer; else with all
};

template <class Real>
struct Routing {
    Tensor<std::int32_t> expert;  // [T, K]  true expert; kUnused, kNull or kDropped where there is none
    Var<Real> weight;             // [T, K]  combine weight; 0 where expert < 0
    Var<Real> passthrough;        // [T]     weight of the token itself (identity nulls); undefined when none
    std::vector<Penalty<Real>> penalties;
    std::vector<Trace<Real>> traces;
    RoutingStats stats;       // of route_stats; left undefined, nothing is logged of this router
    BalanceShare<Real> pool;  // undefined where no loss looks at several routers
};

template <class Real>
struct RouteInput {
    Var<Real> x;                        // [T, D]  input of the MoE block or of the adapted Linear
    const Tensor<std::int32_t>& token;  // [T]   ids; may be undefined
    const Segments& segments;
    int layer = 0;
    Mode mode = Mode::training;
    std::uint32_t module = 0;  // keys random draws; seed and step are in the step scalars
    const std::map<std::string, Tensor<Real>>* side = nullptr;  // named extra inputs per segment or token
};

template <class R, class Real>
concept Router = requires(R router, const R& constant, Tape& tape, const RouteInput<Real>& input) {
    { router.route(tape, input) } -> std::same_as<Routing<Real>>;
    { router.parameters() } -> std::same_as<std::vector<Parameter<Real>*>>;
    { constant.slots() } -> std::convertible_to<Index>;
    { constant.experts() } -> std::convertible_to<Index>;
    { constant.scope() } -> std::same_as<RouterScope>;
};

/// Any router behind one type, so that models are not templated on routers. Moves, never copies.
template <class Real>
class AnyRouter {
public:
    AnyRouter() = default;
    template <class R>
    requires Router<R, Real> AnyRouter(R router) : self_(std::make_unique<Holder<R>>(std::move(router))) {}

    bool defined() const { return self_ != nullptr; }
    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) { return self_->route(tape, input); }
    std::vector<Parameter<Real>*> parameters() { return self_->parameters(); }
    Index slots() const { return self_->slots(); }
    Index experts() const { return self_->experts(); }
    RouterScope scope() const { return self_->scope(); }
    /// Of its penalties, where the configuration gives none; a penalty that stands neither here nor there never trains.
    std::vector<PenaltyCoefficient> coefficients() const { return self_->coefficients(); }
    /// A sentence that a run starts with; empty when there is nothing to beware of.
    std::string caution() const { return self_->caution(); }
    /// Whether route reads tensors on the host, so that a recorded step cannot contain it.
    bool reads_on_host() const { return self_->reads_on_host(); }
    /// Rows the experts may have to run for T tokens: the bound the host plans with.
    Index row_bound(Index tokens) const { return tokens * slots(); }
    /// Called once after every optimiser step with what the whole step did; for routers with state (bias balancing).
    void after_step(const RoutingTotals& totals) { self_->after_step(totals); }
    /// Whether it has after_step, and whether what it learns there can be kept in a checkpoint.
    bool learns() const { return self_->learns(); }
    bool has_state() const { return self_->has_state(); }
    /// Whether what it learns lies in its parameters, where a recorded step reads it anew.
    bool learns_in_place() const { return self_->learns_in_place(); }
    std::vector<double> state() const { return self_->state(); }
    void set_state(std::span<const double> values) { self_->set_state(values); }

    /// The router itself, or null when it is of another type.
    template <class R>
    R* get() {
        auto* holder = dynamic_cast<Holder<R>*>(self_.get());
        return holder ? &holder->router : nullptr;
    }

private:
    struct Interface {
        virtual ~Interface() = default;
        virtual Routing<Real> route(Tape&, const RouteInput<Real>&) = 0;
        virtual std::vector<Parameter<Real>*> parameters() = 0;
        virtual Index slots() const = 0;
        virtual Index experts() const = 0;
        virtual RouterScope scope() const = 0;
        virtual std::vector<PenaltyCoefficient> coefficients() const = 0;
        virtual std::string caution() const = 0;
        virtual bool reads_on_host() const = 0;
        virtual void after_step(const RoutingTotals&) = 0;
        virtual bool learns() const = 0;
        virtual bool has_state() const = 0;
        virtual bool learns_in_place() const = 0;
        virtual std::vector<double> state() const = 0;
        virtual void set_state(std::span<const double>) = 0;
    };
    template <class R>
    struct Holder final : Interface {
        explicit Holder(R r) : router(std::move(r)) {}
        Routing<Real> route(Tape& tape, const RouteInput<Real>& input) override {
            return router.route(tape, input);
        }
        std::vector<Parameter<Real>*> parameters() override { return router.parameters(); }
        Index slots() const override { return router.slots(); }
        Index experts() const override { return router.experts(); }
        RouterScope scope() const override { return router.scope(); }
        std::vector<PenaltyCoefficient> coefficients() const override {
            if constexpr (requires { router.coefficients(); }) return router.coefficients();
            return {};
        }
        std::string caution() const override {
            if constexpr (requires { router.caution(); }) return router.caution();
            return {};
        }
        bool reads_on_host() const override {
            if constexpr (requires { R::reads_on_host; }) return R::reads_on_host;
            return false;
        }
        void after_step(const RoutingTotals& totals) override {
            if constexpr (requires { router.after_step(totals); }) router.after_step(totals);
        }
        bool learns() const override {
            return requires(R r, const RoutingTotals& totals) {
                r.after_step(totals);
            };
        }
        bool has_state() const override {
            return requires(R r, const R& constant, std::span<const double> values) {
                { constant.state() } -> std::same_as<std::vector<double>>;
                r.set_state(values);
            };
        }
        bool learns_in_place() const override {
            if constexpr (requires { R::learns_in_place; }) return R::learns_in_place;
            return false;
        }
        std::vector<double> state() const override {
            if constexpr (requires { router.state(); }) return router.state();
            return {};
        }
        void set_state(std::span<const double> values) override {
            if constexpr (requires { router.set_state(values); }) router.set_state(values);
        }
        R router;
    };

    std::unique_ptr<Interface> self_;
};

}  // namespace moegrad

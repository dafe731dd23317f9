#pragma once
// GateRouter: what most routers have in common: a gate [E, D], K slots, and decisions that look at one token alone.
// Derive from it and write `route`; a router with other parameters or another scope says so in functions of its own.

#include <moegrad/ops/top_k.hpp>
#include <moegrad/routing/chosen_softmax.hpp>
#include <moegrad/routing/gate.hpp>
#include <moegrad/routing/penalties.hpp>

namespace moegrad {

template <class Real>
struct GateRouter {
    Gate<Real> gate;
    Index k = 2;

    Index slots() const { return k; }
    Index experts() const { return gate.columns(); }
    RouterScope scope() const { return RouterScope::token; }
    std::vector<Parameter<Real>*> parameters() { return gate.parameters(); }
};

}  // namespace moegrad

// A test of the outside project's own: the load of a top-1 router is 1.
#include <moegrad/testing/router_checks.hpp>

#include "outside.hpp"

using Suite = moegrad::test::OutsideRouter<outside::SigmoidRouter>;

int main() {
    auto router = Suite::make<float>({.features = 8, .experts = 4, .slots = 1}, 1);
    return moegrad::test::decide(router, moegrad::test::random_batch<float>(8, {50}, 2)).stats.load() == 1
               ? 0
               : 1;
}

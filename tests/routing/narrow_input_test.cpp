// Routers of a bf16 model: they multiply the narrow x, no wide copy is made, and all decide and learn as over a copy in
// float.

#include <moegrad/testing/router_device.hpp>
#include "support/routing_builtin.hpp"

#include <moegrad/ops/cast.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

struct NarrowRoute {
    test::Outcome<float> outcome;
    std::vector<Tensor<float>> gradients;
    Tensor<bf16> dx;
    std::size_t closures = 0;
};

/// x of the batch in bf16, cast when it is read or, `copied`, before the router runs.
NarrowRoute route_narrow(AnyRouter<float> router, const test::RouterBatch<float>& batch, Device device,
                         bool copied) {
    test::train_everything(router);
    for (auto* parameter : router.parameters()) parameter->move_to(device);
    auto narrow = Tensor<bf16>::zeros(batch.x.shape());
    for (Index i = 0; i < narrow.size(); ++i) narrow.data()[i] = bf16(batch.x.data()[i]);
    Tape tape(test::routing_context(1, device));
    const Var<bf16> x(placed(narrow, device),
                      std::make_shared<Gradient<bf16>>(Tensor<bf16>::zeros(narrow.shape(), device)));
    const auto segments = placed(batch.segments, device);
    const auto wide = copied ? cast<float>(tape, x) : cast_on_read<float>(tape, x);
    auto routing = test::call_router(router, tape, wide, segments);
    NarrowRoute result{test::detail::outcome_of(routing), {}, {}, tape.size()};
    test::detail::seed_rows(routing.weight, batch.row);
    test::detail::seed_rows(routing.passthrough, batch.row);
    for (const auto& penalty : routing.penalties) test::detail::seed_constant(penalty.value, 0.5f);
    routing = {};
    tape.backward();
    result.gradients = test::parameter_gradients(router);
    result.dx = host(x.gradient()->tensor());
    return result;
}

test::RouterBatch<float> narrow_batch() {
    auto batch = test::random_batch<float>(24, {11, 0, 26}, 3);
    for (float& value : batch.x.values()) value = static_cast<float>(bf16(value));
    return batch;
}

constexpr RouterSize kNarrowSize{.features = 24, .experts = 6, .nulls = 2, .slots = 2, .routers = 3};

bool has_adapted_gate(AnyRouter<float>& router) {
    const auto all = router.parameters();
    return std::any_of(all.begin(), all.end(), [](const auto* parameter) {
        return parameter->name().find("lora") != std::string::npos;
    });
}

Tensor<float> wide_of(const Tensor<bf16>& x) {
    auto wide = Tensor<float>::zeros(x.shape());
    for (Index i = 0; i < x.size(); ++i) wide.data()[i] = static_cast<float>(x.data()[i]);
    return wide;
}

/// Several gates on one x add up in bf16: a rounding each.
constexpr double kRoundings = 1.0 / 64;

void check_near(const NarrowRoute& got, const NarrowRoute& want) {
    REQUIRE(test::same_values(got.outcome.expert, want.outcome.expert));
    CHECK(test::relative_distance(got.outcome.weight, want.outcome.weight) < 2e-5);
    CHECK(test::relative_distance(got.outcome.passthrough, want.outcome.passthrough) < 2e-5);
    for (std::size_t n = 0; n < want.outcome.penalties.size(); ++n) {
        CHECK(test::relative_distance(got.outcome.penalties[n].value, want.outcome.penalties[n].value) <
              2e-5);
    }
    REQUIRE(got.gradients.size() == want.gradients.size());
    for (std::size_t n = 0; n < want.gradients.size(); ++n)
        CHECK(test::relative_distance(got.gradients[n], want.gradients[n]) < 2e-5);
    CHECK(test::relative_distance(wide_of(got.dx), wide_of(want.dx)) < kRoundings);
}

}  // namespace

TEST_CASE("narrow input: every router decides and learns as over a float copy, and makes none") {
    const auto batch = narrow_batch();
    for (const auto& router : test::builtin_router_cases()) {
        CAPTURE(router.name);
        const auto make = [&] { return router.make<float>(kNarrowSize, 3); };
        const auto want = route_narrow(make(), batch, Device::cpu, true);
        const auto got = route_narrow(make(), batch, Device::cpu, false);
        check_near(got, want);
        auto made = make();
        if (!has_adapted_gate(made)) {
            CHECK(got.closures + 1 == want.closures);
            CHECK(test::same_values(got.outcome.weight, want.outcome.weight));
            for (std::size_t n = 0; n < want.gradients.size(); ++n)
                CHECK(test::same_values(got.gradients[n], want.gradients[n]));
        }
        if (has_cuda() && !made.reads_on_host())
            check_near(route_narrow(make(), batch, Device::cuda, false), want);
    }
}

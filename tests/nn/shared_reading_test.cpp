// Mo-LoRA in bf16 on a GPU: router and experts read x once. Every router, against the same layer in float on the CPU.

#include <moegrad/testing/router_device.hpp>
#include "support/routing_builtin.hpp"

#include <moegrad/nn/mixture_lora.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace moegrad::shared_reading_test {
namespace {

constexpr RouterSize kSize{.features = 24, .experts = 5, .nulls = 2, .slots = 2, .routers = 3};
constexpr Index kOut = 17;
const LoraOptions kOptions{.rank = 3, .alpha = 6};

double narrowed(double value) {
    return static_cast<double>(static_cast<float>(bf16(static_cast<float>(value))));
}

template <class Real>
void fill_narrow(Parameter<Real>& parameter, double deviation, std::uint64_t stream) {
    change_values<Real>(parameter, [&](const Tensor<Wide<Real>>& values) {
        fill_normal(values, deviation, 7, stream);
        for (auto& value : values.values()) value = static_cast<Wide<Real>>(narrowed(value));
    });
}

template <class Real>
struct Mixed {
    Linear<Real> linear{"model.q_proj.weight", kOut, kSize.features};
    MixtureLora<Real>* mixture = nullptr;

    explicit Mixed(AnyRouter<Wide<Real>> router, const LoraOptions& options = kOptions) {
        auto made = std::make_unique<MixtureLora<Real>>(linear, 0, std::move(router), options, 3, 1);
        mixture = made.get();
        linear.adapter = std::move(made);
        test::train_everything(*mixture->router());
        fill_narrow<Real>(linear.weight, 0.2, 1);
        fill_narrow<Real>(mixture->lora().A, 0.2, 2);
        fill_narrow<Real>(mixture->lora().B, 0.5, 3);
    }
    void move_to(Device device) {
        linear.weight.move_to(device);
        for (auto* parameter : mixture->parameters()) parameter->move_to(device);
    }
};

struct Results {
    Tensor<std::int32_t> expert;
    std::vector<std::pair<std::string, Tensor<float>>> values;
};

template <class T>
Tensor<float> in_float(const Tensor<T>& from) {
    const Tensor<T> there = host(from);
    auto to = Tensor<float>::zeros({there.size()});
    for (Index i = 0; i < to.size(); ++i) to.data()[i] = static_cast<float>(there.data()[i]);
    return to;
}

template <class Real>
Results run(Mixed<Real>& mixed, const test::RouterBatch<float>& batch, Device device) {
    mixed.move_to(device);
    auto narrow = Tensor<Real>::zeros(batch.x.shape());
    for (Index i = 0; i < narrow.size(); ++i) narrow.data()[i] = Real(batch.x.data()[i]);
    Context& context = test::routing_context(1, device);
    Tape tape(context);
    const auto token = placed(Tensor<std::int32_t>::zeros({batch.tokens()}), device);
    const auto segments = placed(batch.segments, device);
    const auto x = tape.input(placed(narrow, device));
    Forward<Real> forward{tape, token, segments};
    const auto y = mixed.linear(forward, x);
    Results results;
    results.values.emplace_back("y", in_float(y.value()));
    results.expert = host(forward.routings.at(0).routing.expert);
    auto seed = Tensor<Real>::zeros(y.shape());
    for (Index i = 0; i < seed.size(); ++i)
        seed.data()[i] = Real(static_cast<float>(narrowed(moegrad::detail::projection(i) - 1)));
    copy_values(seed, y.gradient()->target().tensor);
    for (const auto& penalty : forward.routings[0].routing.penalties)
        test::detail::seed_constant(penalty.value, Wide<Real>(0.5));
    forward.routings.clear();
    tape.backward();
    results.values.emplace_back("dx", in_float(x.gradient()->tensor()));
    for (auto* parameter : mixed.mixture->parameters()) {
        for (const auto& gradient : parameter->gradients())
            if (gradient->written())
                results.values.emplace_back(parameter->name(), in_float(gradient->tensor()));
    }
    return results;
}

test::RouterBatch<float> narrow_batch(const std::vector<Index>& lengths) {
    auto batch = test::random_batch<float>(kSize.features, lengths, 3);
    for (float& value : batch.x.values()) value = static_cast<float>(narrowed(value));
    return batch;
}

/// u, du, v and each part of y and dx are rounded to bf16.
constexpr double kRoundings = 1.0 / 64;

void check_near(const Results& got, const Results& want) {
    REQUIRE(test::same_values(got.expert, want.expert));
    REQUIRE(got.values.size() == want.values.size());
    for (std::size_t n = 0; n < want.values.size(); ++n) {
        CAPTURE(want.values[n].first);
        CHECK(got.values[n].first == want.values[n].first);
        CHECK(test::relative_distance(got.values[n].second, want.values[n].second) < kRoundings);
    }
}

/// Whether a router got an x that is shared, and what it does to it before its product.
struct Watching {
    AnyRouter<float> inner;
    bool* shared;
    bool reads_first = false;

    Index slots() const { return inner.slots(); }
    Index experts() const { return inner.experts(); }
    RouterScope scope() const { return inner.scope(); }
    std::vector<Parameter<float>*> parameters() { return inner.parameters(); }
    Routing<float> route(Tape& tape, const RouteInput<float>& input) {
        *shared = dynamic_cast<SharedInput<bf16>*>(input.x.deferred().get()) != nullptr;
        if (reads_first) {
            RouteInput<float> copied{input};
            copied.x = Var<float>(input.x.value(), input.x.gradient());
            return inner.route(tape, copied);
        }
        return inner.route(tape, input);
    }
};

AnyRouter<float> top_two() {
    return BuiltinTopK<TopKWeights::renormalized, GateTraining::full>::make<float>(kSize, 3);
}

}  // namespace

TEST_CASE("shared reading: Mo-LoRA in bf16 with every router decides and learns as in float") {
    if (!has_cuda()) return;
    const auto batch = narrow_batch({11, 0, 26});
    for (const auto& router : test::builtin_router_cases()) {
        CAPTURE(router.name);
        Mixed<float> wide(router.make<float>(kSize, 3));
        Mixed<bf16> narrow(router.make<float>(kSize, 3));
        if (router.name.find("identity") != std::string::npos) continue;  // not over LoRA experts
        if (wide.mixture->router()->reads_on_host()) continue;
        check_near(run(narrow, batch, Device::cuda), run(wide, batch, Device::cpu));
    }
}

TEST_CASE("shared reading: no token, one token, and a router that reads x itself") {
    if (!has_cuda()) return;
    for (const bool reads_first : {false, true}) {
        for (const std::vector<Index>& lengths : {std::vector<Index>{0}, {1}, {53}}) {
            CAPTURE(lengths[0]);
            CAPTURE(reads_first);
            const auto batch = narrow_batch(lengths);
            bool shared = false;
            Mixed<float> wide(top_two());
            Mixed<bf16> narrow(Watching{top_two(), &shared, reads_first});
            check_near(run(narrow, batch, Device::cuda), run(wide, batch, Device::cpu));
            CHECK(shared);
        }
    }
}

TEST_CASE("shared reading: not where x is dropped, where ranks are many, or on a CPU") {
    const auto offered = [](Device device, const LoraOptions& options) {
        const Planning planning;
        Context context({.device = Device::dry, .plans = device});
        bool shared = false;
        Mixed<bf16> mixed(Watching{top_two(), &shared}, options);
        const auto segments = Segments::of_lengths({6});
        const Tensor<std::int32_t> token;
        Tape tape(context);
        Forward<bf16> forward{tape, token, segments};
        mixed.linear(forward, tape.input(tape.make<bf16>({6, kSize.features})));
        return shared;
    };
    CHECK(offered(Device::cuda, kOptions));
    CHECK(offered(Device::cuda, {.rank = 51}));
    CHECK_FALSE(offered(Device::cuda, {.rank = 52}));  // 260 ranks
    CHECK_FALSE(offered(Device::cuda, {.rank = 3, .dropout = 0.1}));
    CHECK_FALSE(offered(Device::cpu, kOptions));
}

TEST_CASE("shared reading: one product takes part, of the tape it was made on") {
    const Planning planning;
    Context context({.device = Device::dry, .plans = Device::cuda});
    Tape tape(context), aside(context, Mode::inference);
    const auto x = tape.input(tape.make<bf16>({6, 8}));
    const LoraWeights<bf16> experts{Weight<bf16>(tape.make<bf16>({2, 3, 8})),
                                    Weight<bf16>(tape.make<bf16>({2, 5, 3})), 2};
    const auto shared = share_reading(tape, x, experts, {});
    REQUIRE(shared != nullptr);
    const Var<float> wide(shared), w(tape.make<float>({4, 8}));
    wide_linear(aside, wide, w);
    CHECK(shared->take().shared == nullptr);
    wide_linear(tape, wide, w);
    CHECK_FALSE(shared->product(tape, w).defined());
    CHECK(wide_linear(tape, wide, w).shape() == Shape{6, 4});
    CHECK(shared->take().shared != nullptr);
    const LoraWeights<float> gate{Weight<float>(tape.make<float>({2, 8})),
                                  Weight<float>(tape.make<float>({4, 2}))};
    const auto again = share_reading(tape, x, experts, {});
    wide_lora_linear(tape, Var<float>(again), w, gate, {});
    CHECK(again->take().shared != nullptr);
}

TEST_CASE("shared reading: a dry run sees all the memory that a GPU takes") {
    if (!has_cuda()) return;
    const auto reach = [](Device device) {
        Context context({.device = device, .threads = 1, .plans = Device::cuda});
        Mixed<bf16> mixed(top_two());
        if (device == Device::cuda) mixed.move_to(device);
        const auto segments = device == Device::cuda ? placed(Segments::of_lengths({300}), device)
                                                     : Segments::of_lengths({300});
        const Tensor<std::int32_t> token;
        Tape tape(context);
        Forward<bf16> forward{tape, token, segments};
        const auto x = tape.make<bf16>({300, kSize.features});
        if (device == Device::cuda) cuda_memory().fill(x.data(), 0, 2 * static_cast<std::size_t>(x.size()));
        {
            const auto y = mixed.linear(forward, tape.input(x));
            const auto dy = y.gradient()->target().tensor;
            if (device == Device::cuda)
                cuda_memory().fill(dy.data(), 0, 2 * static_cast<std::size_t>(dy.size()));
        }
        forward.routings.clear();
        tape.backward();
        return context.arena().reach();
    };
    CHECK(reach(Device::cuda) == reach(Device::dry));
}

}  // namespace moegrad::shared_reading_test

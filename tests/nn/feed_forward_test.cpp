// The dense block as one expert (nn/fused_feed_forward.hpp): as good as three Linears, and taken where it may be and nowhere
// else. A GPU that is no Hopper, and the emulated one, compute it by other kernels, so the path is asked for by hand.

#include <moegrad/nn/dora.hpp>
#include <moegrad/nn/feed_forward.hpp>

#include "support/op_check.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <optional>

using namespace moegrad;

namespace moegrad::feed_forward_test {
namespace {

constexpr Index kD = 24, kF = 40;
const LoraOptions kLora{.rank = 8, .alpha = 16};

/// What the GPU says of itself while this lives.
class Pretend {
public:
    explicit Pretend(bool hopper) : before_(cuda_memory().hopper) {
        cuda_memory().hopper = hopper ? +[] { return true; } : +[] { return false; };
    }
    ~Pretend() { cuda_memory().hopper = before_; }
    Pretend(const Pretend&) = delete;
    Pretend& operator=(const Pretend&) = delete;

private:
    bool (*before_)();
};

template <class Real>
void fill(Parameter<Wide<Real>>& parameter, double deviation, std::uint64_t stream) {
    change_values<Real>(parameter, [&](const Tensor<Wide<Real>>& values) {
        fill_normal(values, deviation, 7, stream);
        for (auto& value : values.values())
            value = static_cast<Wide<Real>>(test::round_to_bf16(static_cast<double>(value)));
    });
}

/// A dense block with an adapter of each Linear that `adapter` makes one for.
template <class Real>
struct Block {
    FeedForward<Real> layer{"model.layers.0.mlp", kD, kF};
    std::vector<Parameter<Wide<Real>>*> trained;

    template <class Adapter>
    explicit Block(const Adapter& adapter) {
        std::uint64_t stream = 1;
        for (auto* linear : {&layer.gate, &layer.up, &layer.down}) {
            fill<Real>(linear->weight, 0.25, stream++);
            linear->adapter = adapter(*linear, static_cast<std::uint32_t>(stream));
            if (!linear->adapter) continue;
            for (auto* parameter : linear->adapter->parameters()) {
                fill<Real>(*parameter, 0.3, stream++);
                trained.push_back(parameter);
            }
        }
    }
    void move_to(Device device) {
        for (auto* linear : {&layer.gate, &layer.up, &layer.down}) linear->weight.move_to(device);
        for (auto* parameter : trained) parameter->move_to(device);
    }
};

template <class Real>
using Made = std::unique_ptr<LinearAdapter<Real>>;
const auto none = []<class Real>(Linear<Real>&, std::uint32_t) { return Made<Real>(); };
auto lora_of(const LoraOptions& options) {
    return [options]<class Real>(Linear<Real>& linear, std::uint32_t module) -> Made<Real> {
        return std::make_unique<Lora<Real>>(linear, options, 3, module);
    };
}

/// y of two uses of the block, dx, and the gradients of what learns; how many ops were recorded.
struct Results {
    std::vector<Tensor<double>> values;
    std::size_t ops = 0;
};

enum class Way { layer, fused, apart };

template <class Real>
Var<Real> one_use(Forward<Real>& forward, FeedForward<Real>& layer, const Var<Real>& x, Way way) {
    if (way == Way::layer) return layer(forward, x);
    if (way == Way::fused) return fused_feed_forward<Real>(forward, x, {layer.gate, layer.up, layer.down});
    return layer.down(forward, swiglu(forward.tape, layer.gate(forward, x), layer.up(forward, x)));
}

template <class Real>
Results run(Block<Real>& block, Index T, Way way, Device device) {
    block.move_to(device);
    Context& context = device == Device::cuda ? test::cuda_context() : test::context();
    auto input = Tensor<Real>::zeros({T, kD});
    Random random(5);
    for (Index i = 0; i < input.size(); ++i)
        input.data()[i] = Real(static_cast<Wide<Real>>(test::round_to_bf16(random.next_normal())));
    Tape tape(context);
    const Tensor<std::int32_t> token;
    const auto segments = placed(Segments::of_lengths({T}), device);
    Forward<Real> forward{tape, token, segments};
    const auto x = tape.input(placed(input, device));
    for (auto* parameter : block.trained) parameter->forget_gradients();
    Results results;
    {
        const std::vector<Var<Real>> y{one_use(forward, block.layer, x, way),
                                       one_use(forward, block.layer, x, way)};
        results.ops = tape.size();
        for (const auto& one : y) results.values.push_back(test::to_double(host(one.value())));
        test::detail::seed_rounded(y);
    }
    tape.backward();
    results.values.push_back(test::to_double(host(x.gradient()->tensor())));
    for (auto* parameter : block.trained)
        for (const auto& gradient : parameter->gradients())
            results.values.push_back(test::to_double(host(gradient->tensor())));
    return results;
}

/// Both ways on the GPU against the block in double: one rounds no more than the other. Of one row dA and dB say nothing of
/// that: they are products of 8 or 16 rounded numbers with others.
template <class Adapter>
void check_alike(const Adapter& adapter, Index T, std::size_t ops) {
    CAPTURE(T);
    Block<double> exact(adapter);
    Block<bf16> one(adapter), other(adapter);
    const auto want = run(exact, T, Way::apart, Device::cpu);
    Results fused, again;
    {
        const Pretend hopper(true);
        fused = run(one, T, Way::fused, Device::cuda);
        again = run(one, T, Way::fused, Device::cuda);
    }
    const auto apart = run(other, T, Way::apart, Device::cuda);
    CHECK(fused.ops == 2 * ops);
    CHECK(test::detail::same_values(fused.values, again.values));
    REQUIRE(fused.values.size() == want.values.size());
    REQUIRE(apart.values.size() == want.values.size());
    for (std::size_t n = 0; n < want.values.size(); ++n) {
        CAPTURE(n);
        if (T != 1) CHECK(test::detail::bf16_excess(fused.values[n], want.values[n], apart.values[n]) <= 1);
        CHECK(test::relative_error(fused.values[n], want.values[n]) <= 1.0 / 64);
        CHECK(test::relative_error(fused.values[n], apart.values[n]) <= 1.0 / 64);
    }
}

/// Whether the layer on a Hopper records other ops than elsewhere; where it does not, every bit is the same too.
template <class Adapter, class Change>
bool taken(const Adapter& adapter, const Change& change, Index T = 131) {
    Block<bf16> block(adapter), same(adapter);
    change(block.layer);
    change(same.layer);
    const auto on = [&](bool hopper, Block<bf16>& of) {
        const Pretend pretend(hopper);
        return run(of, T, Way::layer, Device::cuda);
    };
    const auto there = on(true, block), elsewhere = on(false, same);
    if (there.ops != elsewhere.ops) return true;
    CHECK(test::detail::same_values(there.values, elsewhere.values));
    return false;
}
template <class Adapter>
bool taken(const Adapter& adapter) {
    return taken(adapter, [](FeedForward<bf16>&) {});
}

/// Gate's values above up's in one block.
void check_neighbours(const Parameter<bf16>& gate, const Parameter<bf16>& up) {
    const auto both = gate.value().followed_by(up.value());
    REQUIRE(both.shape() == Shape{2 * kF, kD});
    const auto values = host(both);
    Block<bf16> fresh(none);
    Index first = 0;
    for (const auto* weight : {&fresh.layer.gate.weight, &fresh.layer.up.weight}) {
        CHECK(std::memcmp(weight->value().data(), values.rows(first, first + kF).data(), 2 * kF * kD) == 0);
        first += kF;
    }
}

}  // namespace

TEST_CASE("feed-forward: one expert is as good as three Linears, forward and backward") {
    if (!has_cuda()) return;
    for (const Index T : {0, 1, 131}) {
        check_alike(none, T, 1);
        check_alike(lora_of(kLora), T, 5);  // four stacks of factors
        check_alike(lora_of({.rank = 16, .alpha = 8}), T, 5);
    }
}

TEST_CASE("feed-forward: one expert is taken on a Hopper, from a tile of rows on") {
    if (!has_cuda()) return;
    CHECK(taken(none));
    CHECK(taken(lora_of(kLora)));
    const auto as_it_is = [](FeedForward<bf16>&) {};
    CHECK(taken(none, as_it_is, kFusedRows));
    CHECK_FALSE(taken(none, as_it_is, kFusedRows - 1));
}

TEST_CASE("feed-forward: one expert is not taken with another adapter, nor with other weights") {
    if (!has_cuda()) return;
    CHECK_FALSE(taken(lora_of({.rank = 8, .alpha = 16, .dropout = 0.1})));
    CHECK_FALSE(taken(lora_of({.rank = 4, .alpha = 16})));
    CHECK_FALSE(taken([]<class Real>(Linear<Real>& linear, std::uint32_t module) -> Made<Real> {
        return std::make_unique<Dora<Real>>(linear, kLora, 3, module);
    }));
    const auto only = [](const std::string& which, const LoraOptions& options, const LoraOptions& others) {
        return [=]<class Real>(Linear<Real>& linear, std::uint32_t module) -> Made<Real> {
            const auto& its = linear.path().ends_with(which) ? options : others;
            if (its.alpha == 0) return nullptr;
            return std::make_unique<Lora<Real>>(linear, its, 3, module);
        };
    };
    const LoraOptions absent{.rank = 8, .alpha = 0};
    for (const char* which : {"gate_proj", "up_proj", "down_proj"}) {
        CHECK_FALSE(taken(only(which, kLora, absent)));
        CHECK_FALSE(taken(only(which, absent, kLora)));
        CHECK_FALSE(taken(only(which, {.rank = 8, .alpha = 16, .dropout = 0.1}, kLora)));
    }
    CHECK_FALSE(taken(only("up_proj", {.rank = 16, .alpha = 32}, kLora)));
    CHECK_FALSE(taken(only("up_proj", {.rank = 8, .alpha = 8}, kLora)));
    CHECK(taken(only("down_proj", {.rank = 16, .alpha = 8}, kLora)));

    const auto quantise = [](Linear<bf16>& linear) {
        Nf4Quantiser quantiser(linear.weight.shape());
        quantiser.add(host_values<bf16>(linear.weight).values());
        linear.weight.set_quantised(quantiser.finish());
    };
    for (auto FeedForward<bf16>::*part :
         {&FeedForward<bf16>::gate, &FeedForward<bf16>::up, &FeedForward<bf16>::down}) {
        CHECK_FALSE(taken(none, [&](FeedForward<bf16>& layer) { quantise(layer.*part); }));
        CHECK_FALSE(taken(none, [&](FeedForward<bf16>& layer) { (layer.*part).weight.set_trainable(true); }));
    }
    CHECK_FALSE(taken(none, [](FeedForward<bf16>& layer) {  // a weight of its own, nobody's neighbour
        layer.up.weight = Parameter<bf16>("up", Shape{kF, kD});
        fill<bf16>(layer.up.weight, 0.25, 2);
    }));
}

TEST_CASE("feed-forward: gate and up are neighbours on a GPU, and take no more room there") {
    if (!has_cuda()) return;
    const auto bytes = [] { return Buffer::lasting_bytes(Device::cuda); };
    for (const bool gate_first : {true, false}) {
        const std::size_t before = bytes(), host_before = Buffer::lasting_bytes();
        Block<bf16> block(none);
        auto &gate = block.layer.gate.weight, &up = block.layer.up.weight;
        for (int n = 0; n < 2; ++n) {
            for (auto* weight : {gate_first ? &gate : &up, gate_first ? &up : &gate})
                weight->move_to(Device::cuda);
            check_neighbours(gate, up);
            CHECK(bytes() - before == 2 * 2 * kF * kD);
            CHECK(Buffer::lasting_bytes() - host_before == 2 * kF * kD);  // down
            gate.move_to(Device::cpu);
            up.move_to(Device::cpu);
            CHECK(bytes() == before);
        }
    }
}

TEST_CASE("feed-forward: a dry run sees the memory of the path that is taken") {
    if (!has_cuda()) return;
    const auto reach = [](Device device, bool hopper) {
        const Pretend pretend(hopper);
        std::optional<Planning> planning;
        if (device == Device::dry) planning.emplace();
        Context context({.device = device, .threads = 1, .plans = Device::cuda});
        Block<bf16> block(lora_of(kLora));
        if (device == Device::cuda) block.move_to(device);
        const auto segments = Segments::of_lengths({300});
        const Tensor<std::int32_t> token;
        Tape tape(context);
        Forward<bf16> forward{tape, token, segments};
        const auto x = tape.make<bf16>({300, kD});
        const auto clear_there = [&](const Tensor<bf16>& tensor) {
            if (device == Device::cuda) clear(tensor);
        };
        clear_there(x);
        {
            const auto y = block.layer(forward, tape.input(x));
            clear_there(y.gradient()->target().tensor);
        }
        tape.backward();
        return context.arena().reach();
    };
    for (const bool hopper : {false, true}) CHECK(reach(Device::cuda, hopper) == reach(Device::dry, hopper));
    CHECK(reach(Device::dry, true) < reach(Device::dry, false));
}

}  // namespace moegrad::feed_forward_test

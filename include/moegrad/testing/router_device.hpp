#pragma once
// The part of the conformance suite that runs where a program has CUDA kernels: on the same batches a GPU decides as the
// CPU does, which keeps the rest of the contract; weights, penalties, traces and gradients agree within the rounding of
// float sums, counts to the last one. Run again it gives the same bits.

#include <moegrad/testing/router_conformance.hpp>

namespace moegrad::test {

/// Largest distance over the largest value, or over 1 where that is larger.
template <class Real>
double relative_distance(const Tensor<Real>& a, const Tensor<Real>& b) {
    if (a.defined() != b.defined() || !(a.shape() == b.shape())) return INFINITY;
    double difference = 0, largest = 1;
    for (Index i = 0; a.defined() && i < a.size(); ++i) {
        const double x = static_cast<double>(a.data()[i]), y = static_cast<double>(b.data()[i]);
        if (!(std::abs(x - y) <= difference)) difference = std::isnan(x - y) ? INFINITY : std::abs(x - y);
        largest = std::max(largest, std::abs(y));
    }
    return difference / largest;
}

class DeviceCheck {
public:
    DeviceCheck(const RouterCase& router, Report& report) : router_(router), report_(report) {}

    void run(const RouterSize& size, const RouterBatch<float>& batch, std::uint64_t seed) {
        std::vector<Tensor<float>> want_gradients, gradients, again_gradients;
        const auto want = learn(size, batch, seed, Device::cpu, want_gradients);
        const auto got = learn(size, batch, seed, Device::cuda, gradients);
        if (!same_values(got.expert, want.expert)) return fail("other experts than on the CPU");
        near("weights", got.weight, want.weight);
        near("passthrough", got.passthrough, want.passthrough);
        near("dx", got.dx, want.dx);
        for (std::size_t n = 0; n < want.penalties.size(); ++n)
            near("penalty " + want.penalties[n].name, got.penalties[n].value, want.penalties[n].value);
        for (std::size_t n = 0; n < want.traces.size(); ++n) near("a trace", got.traces[n], want.traces[n]);
        for (std::size_t n = 0; n < gradients.size(); ++n)
            near(format("gradient of parameter {}", n), gradients[n], want_gradients[n]);
        if (got.stats.tokens() != want.stats.tokens() || got.stats.slots() != want.stats.slots() ||
            got.stats.experts_per_token() != want.stats.experts_per_token())
            fail("other counts than on the CPU");
        const auto again = learn(size, batch, seed, Device::cuda, again_gradients);
        bool same = same_values(again.weight, got.weight) && same_values(again.dx, got.dx);
        for (std::size_t n = 0; n < gradients.size(); ++n)
            same = same && same_values(again_gradients[n], gradients[n]);
        if (!same) fail("other bits when run again");
    }

private:
    Outcome<float> learn(const RouterSize& size, const RouterBatch<float>& batch, std::uint64_t seed,
                         Device device, std::vector<Tensor<float>>& gradients) {
        auto made = router_.make<float>(size, seed);
        train_everything(made);
        for (auto* parameter : made.parameters()) parameter->move_to(device);
        auto outcome = decide_and_learn(made, batch, 1, device);
        gradients = parameter_gradients(made);
        return outcome;
    }
    void near(const std::string& what, const Tensor<float>& got, const Tensor<float>& want) {
        constexpr double kRoom = 2e-5;
        const double distance = relative_distance(got, want);
        if (!(distance <= kRoom)) fail(format("{} is {:.1e} from the CPU's", what, distance));
    }
    void fail(const std::string& what) { report_.fail("device", what); }

    const RouterCase& router_;
    Report& report_;
};

/// Random sizes and batches, padding here and there, and the empty ones. Nothing in a program without CUDA kernels, and
/// nothing of a router that says it reads on the host: it may not run there.
inline void check_device(const RouterCase& router, Report& report, int cases = 20) {
    if (!has_cuda()) return;
    Random random(41);
    if (router.make<float>(random_size(router, random), 1).reads_on_host()) return;
    DeviceCheck check(router, report);
    for (int n = 0; n < cases; ++n) {
        const RouterSize size = random_size(router, random);
        const auto seed = static_cast<std::uint64_t>(2000 + n);
        const std::vector<Index> lengths{static_cast<Index>(random.next_below(6)),
                                         static_cast<Index>(random.next_below(40))};
        auto batch = random_batch<float>(size.features, n == 0 ? std::vector<Index>{} : lengths, seed);
        for (auto& valid : batch.segments.valid.values()) valid = random.next_below(5) != 0;
        check.run(size, batch, seed);
    }
}

}  // namespace moegrad::test

#include <moegrad/ops/noisy_gate.hpp>
#include <moegrad/ops/top_k.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

namespace {

/// The order of the noisy logits is fixed: no step of a central difference may change it.
template <Index K>
const auto noisy_load_op = []<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
    const Index T = in[0].extent(0), E = in[0].extent(1), columns = std::min(K + 1, E);
    auto order = Tensor<std::int32_t>::zeros({T, columns});
    for (Index t = 0; t < T; ++t)
        for (Index k = 0; k < columns; ++k) order.matrix()(t, k) = static_cast<std::int32_t>((3 * k + t) % E);
    return std::vector{noisy_load(tape, in[0], in[1], in[2], placed(order, tape.device()), std::min(K, E))};
};

const auto deviation_op = []<test::NeverRounded Real>(Tape& tape, const test::Inputs<Real>& in) {
    return std::vector{noise_deviation(tape, in[0]), noise_deviation(tape, in[0])};
};

}  // namespace

TEST_CASE("noisy_gate: gradients and float against double") {
    for (Index E : {1, 2, 5, 35}) {
        const auto one = [E](Index T) { return std::vector{Shape{T, E}}; };
        const auto three = [E](Index T) { return std::vector{Shape{T, E}, Shape{T, E}, Shape{T, E}}; };
        test::check_op({&noisy_gate_slot}, one, deviation_op, {.cuda_rows = {65, 300}});
        const test::OpCheckOptions load{.scale = {1, 0.1, 1}, .shift = {0, 1, 0}, .cuda_rows = {65, 300}};
        test::check_op({&noisy_gate_slot}, three, noisy_load_op<1>, load);
        test::check_op({&noisy_gate_slot}, three, noisy_load_op<2>, load);
    }
}

TEST_CASE("noisy_gate golden: deviation, load and gradients of PyTorch") {
    // torch, float64: std = softplus(r) + 0.01; h = z + std * n; thr from topk(h, 3); Normal(0, 1).cdf((z - thr) / std);
    // backward of sum(load * G) with h a function of z and std, as in the paper.
    Tape tape(test::context());
    const auto z = tape.input(Tensor<double>::from({2, 4}, {0.5, -0.2, 1.1, 0.3, 0, 0.1, -0.4, 0.9}));
    const auto s = tape.input(Tensor<double>::from(
        {2, 4}, {0.808138869381592, 0.323261687518223, 0.984076984180107, 0.703147180559945,
                 0.564355244468527, 1.18110066594778, 0.703147180559945, 0.136928011042973}));
    const auto h = tape.input(Tensor<double>::from(
        {2, 4}, {1.30813886938159, -0.0383691562408886, 0.411146111073925, -0.543776616671934,
                 0.169306573340558, -0.962990599353, 1.00629436111989, 0.913692801104297}));
    const auto order = top_k(tape, h.value(), 3);
    const auto load = noisy_load(tape, z, s, h, order, 2);
    copy_values(Tensor<double>::from({2, 4}, {1, -0.5, 0.25, 2, 0.3, 1, -1, 0.7}),
                load.gradient()->target().tensor);
    tape.backward();
    const double want[] = {0.747353239547583,  0.0293414497282908, 0.876320654520369, 0.437201023777453,
                           0.0527233150617409, 0.24543442717197,   0.209069267350332, 0.999999952577356};
    const double dz[] = {0.395415683709638, -0.103322092275894, 0.0519090661958005, 1.120645339196,
                         0.057187196625008, 0.266416102628637,  -0.408803765706072, 1.33639213847955e-06};
    const double ds[] = {-0.263419587980062, -0.195336773025026, -0.0600478223111769, 0.177139829026359,
                         0.0925862395782516, 0.183541395799002,  -0.330989979704539,  -7.13143310553093e-06};
    const double dh[] = {0, -0.447324749905438, -1.0173232469201, 0, 0.408802429313934, 0,
                         0, -0.323603299253645};
    for (std::size_t i = 0; i < 8; ++i) {
        CHECK(std::abs(load.value().values()[i] - want[i]) < 1e-12);
        CHECK(std::abs(z.gradient()->tensor().values()[i] - dz[i]) < 1e-12);
        CHECK(std::abs(s.gradient()->tensor().values()[i] - ds[i]) < 1e-12);
        CHECK(std::abs(h.gradient()->tensor().values()[i] - dh[i]) < 1e-12);
    }
    const auto deviation =
        noise_deviation(tape, Var<double>(Tensor<double>::from({1, 4}, {0.2, -1, 0.5, 0})));
    for (Index e = 0; e < 4; ++e) CHECK(std::abs(deviation.value().data()[e] - s.value().data()[e]) < 1e-12);
}

TEST_CASE("noisy_gate: shapes that do not fit") {
    Tape tape(test::context());
    const Var<float> three(Tensor<float>::zeros({3, 4}));
    CHECK_THROWS_AS(noisy_load(tape, three, three, three, Tensor<std::int32_t>::zeros({3, 2}), 2), Error);
    CHECK_THROWS_AS(noisy_load(tape, three, three, Var<float>(Tensor<float>::zeros({3, 5})),
                               Tensor<std::int32_t>::zeros({3, 3}), 2),
                    Error);
    CHECK_THROWS_AS(noise_deviation(tape, Var<float>(Tensor<float>::zeros({3}))), Error);
}

#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/add.hpp>
#include <moegrad/cpu/molora_joint.hpp>
#include <moegrad/cpu/take.hpp>
#include <moegrad/ops/molora_joint.hpp>
#include <moegrad/ops/take.hpp>

#include "support/bits.hpp"
#include "support/joint_inputs.hpp"
#include "support/rounded_molora.hpp"

using namespace moegrad;

MOEGRAD_TEST_COMPLEX_SEAT(molora_joint);
MOEGRAD_TEST_COMPLEX_SEAT(add);
MOEGRAD_TEST_COMPLEX_SEAT(take);

namespace {

/// Inputs x, w, A, B, weight [T, K], router [C, D], C >= E: the weights are those plus the logits of the chosen. With two Uses
/// plus them once more, by a product with the same router that reads x for itself, so that dx is written twice.
template <int Uses>
const auto joint = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    const Var<Real> x = in[0];
    const Weight<Real> A = in[2], B = in[3];
    const Var<Wide<Real>> weight = in[4], router = in[5];
    const auto expert =
        placed(test::joint_choices(x.extent(0), weight.extent(1), A.extent(0)), tape.device());
    const auto reading = read_joint<Real>(tape, x, A, router, test::kJointScale);
    auto z = reading.z;
    if constexpr (Uses == 2) z = add(tape, z, wide_linear<Real>(tape, x, router));
    return std::vector{
        molora_joint<Real>(tape, reading, x, in[1], B, expert, add(tape, weight, take(tape, z, expert)))};
};
/// The same with the two ops that it stands for.
const auto apart = []<class Real>(Tape& tape, const test::Inputs<Real>& in) {
    const Var<Real> x = in[0];
    const Weight<Real> A = in[2];
    const Var<Wide<Real>> weight = in[4];
    const auto expert =
        placed(test::joint_choices(x.extent(0), weight.extent(1), A.extent(0)), tape.device());
    const auto z = wide_linear<Real>(tape, x, in[5]);
    return std::vector{molora_linear<Real>(tape, x, in[1], {A, in[3], test::kJointScale, {}}, expert,
                                           add(tape, weight, take(tape, z, expert)), {})};
};

/// In double with the roundings of bf16: dz g is summed with du A before anything is rounded.
template <int Uses>
std::vector<Var<double>> rounded_joint(Tape& tape, const test::Inputs<double>& in) {
    const std::vector<Var<double>> v{in[0], in[1], in[2], in[3], in[4], in[5]};
    const Index T = v[0].extent(0), D = v[0].extent(1), O = v[1].extent(0), K = v[4].extent(1);
    const auto expert = test::joint_choices(T, K, v[2].extent(0));
    auto weight = Tensor<double>::zeros({T, K});
    const View<double, 2> router = v[5].value().matrix();
    for (Index i = 0; i < T * K; ++i) {
        weight.data()[i] = v[4].value().data()[i];
        for (Index d = 0; expert.data()[i] >= 0 && d < D; ++d)
            weight.data()[i] += Uses * v[0].value().matrix()(i / K, d) * router(expert.data()[i], d);
    }
    test::RoundedMolora op{v[0].value(), v[1].value(), v[2].value(), v[3].value(), weight,
                           {},           {},           {},           expert,       0};
    op.apart = !test::one_contraction({D, O});  // ranks are rounded up
    const auto y = tape.wrap(op.forward(), v[0].needs_gradient());
    if (!y.needs_gradient()) return {y};
    tape.record(y.gradient(), [=, dy = y.gradient()] {
        std::vector<Tensor<double>> into, aside;
        for (const auto& input : v) {
            into.push_back(input.gradient()->target().tensor);
            std::fill_n(into.back().data(), into.back().size(), 0.0);
            aside.push_back(Tensor<double>::zeros(input.shape()));
        }
        op.backward(dy->tensor(), aside[0], aside[1], aside[2], aside[3], aside[4]);
        for (Index i = 0; i < T * K; ++i) {
            const Index t = i / K, e = expert.data()[i];
            for (Index d = 0; e >= 0 && d < D; ++d) {
                into[5].matrix()(e, d) += Uses * aside[4].data()[i] * v[0].value().matrix()(t, d);
                into[0].matrix()(t, d) += aside[4].data()[i] * router(e, d);
            }
        }
        const auto other = Uses == 2 ? test::rounded(into[0]) : Tensor<double>::zeros(into[0].shape());
        op.backward(dy->tensor(), into[0], into[1], into[2], into[3], into[4]);
        for (Index i = 0; i < T * D; ++i) into[0].data()[i] += other.data()[i];
    });
    return {y};
}

}  // namespace

TEST_CASE("molora_joint: gradients, and each device against double") {
    const auto check = [](const auto& in, const test::OpCheckOptions& options = {}) {
        test::check_op({&molora_joint_slot}, in, joint<1>, options, rounded_joint<1>);
    };
    check(test::joint_shapes(5, 3, 2, 4, 2, 4));
    check(test::joint_shapes(1, 1, 1, 1, 1, 1));
    check(test::joint_shapes(3, 2, 5, 2, 1, 7));  // R above both, and columns of nulls
    check(test::joint_shapes(9, 7, 3, 5, 3, 5));
    check(test::joint_shapes(64, 40, 8, 4, 2, 4), {.rows = {}, .cuda_rows = {40, 131}});
    check(test::joint_shapes(24, 16, 12, 5, 2, 9), {.rows = {}, .cuda_rows = {67}});
}

TEST_CASE("molora_joint: a GPU reads dy once for the gradients of all experts' ranks") {
    struct Case {
        Index E, R, slice;
    };
    const Index C = 5, K = 2;
    for (const auto& [E, R, slice] : {Case{4, 8, 256}, Case{4, 6, 256}, Case{5, 3, 128}}) {
        CAPTURE(E);
        CAPTURE(R);
        const bool few = test::rows_are_limited();
        const Index T = few ? 64 : 256, O = (few ? 128 : 64) * slice + 8;
        REQUIRE(rank_cut(T, O, JointRanks<bf16>(E * R, C).experts).slice == slice);
        test::check_op({&molora_joint_slot}, test::joint_shapes(8, O, R, E, K, C), joint<1>,
                       {.rows = {}, .cuda_rows = {T}}, rounded_joint<1>);
    }
}

TEST_CASE("molora_joint: dx is added to what is there") {
    const auto check = [](const auto& in, const test::OpCheckOptions& options = {}) {
        test::check_op({&molora_joint_slot, &wide_linear_slot}, in, joint<2>, options, rounded_joint<2>);
    };
    check(test::joint_shapes(24, 9, 3, 2, 2, 3), {.rows = {}, .cuda_rows = {31}});
    check(test::joint_shapes(64, 40, 8, 4, 2, 4), {.rows = {}, .cuda_rows = {129}});
}

TEST_CASE("molora_joint: complex step") {
    test::check_complex_step(joint<1>, test::joint_inputs(test::joint_shapes(5, 4, 2, 4, 2, 6)(7)));
}

TEST_CASE("molora_joint: is molora_linear and the router's product") {
    for (const Index T : {0, 1, 11}) {
        const auto in = test::joint_inputs(test::joint_shapes(6, 5, 3, 4, 2, 5)(T));
        const auto run = [&](const auto& f) {
            return projected_gradients<double>(
                test::context(), [&](Tape& tape, const auto& v) { return f(tape, test::Inputs<double>(v)); },
                in);
        };
        const auto got = run(joint<1>), want = run(apart);
        for (std::size_t n = 0; n < want.size(); ++n) CHECK(test::relative_error(got[n], want[n]) < 1e-14);
    }
}

#include <moegrad/ops/slice_prior.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

namespace {

constexpr SlicePrior kSlicePriors[] = {SlicePrior::slice_mse, SlicePrior::best_subset,
                                       SlicePrior::contribution};

struct SlicePriorCase {
    Index T, E, D;
    Tensor<double> h, o;            // [T E, D], [T, D]
    Tensor<std::int32_t> slot_row;  // [T, E], expert by expert; every third token has none

    SlicePriorCase(Index T_, Index E_, Index D_)
        : T(T_),
          E(E_),
          D(D_),
          h(test::random_tensor({T * E, D}, 3)),
          o(test::random_tensor({T, D}, 4, 0.3)),
          slot_row(Tensor<std::int32_t>::zeros({T, E})) {
        for (Index t = 0; t < T; ++t) {
            for (Index e = 0; e < E; ++e) {
                slot_row.matrix()(t, e) = t % 3 == 2 ? -1 : static_cast<std::int32_t>(e * T + t);
                for (Index d = 0; d < D; ++d) o.matrix()(t, d) += h.matrix()(e * T + t, d);  // near the sum
            }
        }
    }
    /// |scale sum_S o_e - whole o|^2, straight from the outputs.
    double error(Index t, std::uint32_t mask, double scale, double whole) const {
        double sum = 0;
        for (Index d = 0; d < D; ++d) {
            double y = 0;
            for (Index e = 0; e < E; ++e) y += (mask >> e & 1u) ? h.matrix()(e * T + t, d) : 0;
            const double left = scale * y - whole * o.matrix()(t, d);
            sum += left * left;
        }
        return sum;
    }
    /// The label by trying everything; bits.
    std::uint32_t want(Index t, Index k, SlicePrior by) const {
        const double b = static_cast<double>(k) / static_cast<double>(E);
        std::uint32_t best = 0;
        double least = INFINITY;
        for (std::uint32_t mask = 0; mask < 1u << E; ++mask) {
            if (__builtin_popcount(mask) != k) continue;
            double cost = 0;
            if (by == SlicePrior::best_subset) cost = error(t, mask, 1, 1);
            for (Index e = 0; e < E && by != SlicePrior::best_subset; ++e) {
                if ((mask >> e & 1u) == 0) continue;
                cost += by == SlicePrior::slice_mse ? error(t, 1u << e, 1, b) : -error(t, 1u << e, 1, 0);
            }
            if (cost < least) {
                least = cost;
                best = mask;
            }
        }
        return best;
    }
};

template <class Real>
void check_slice_prior(Context& context) {
    for (const Index T : {0, 1, 7, 65}) {
        for (const auto& [E, k, D] :
             {std::array<Index, 3>{1, 1, 1}, {4, 2, 9}, {5, 3, 67}, {6, 6, 33}, {8, 1, 40}}) {
            const SlicePriorCase in(T, E, D);
            const Index slots = k;
            for (const SlicePrior by : kSlicePriors) {
                CAPTURE(E);
                Tape tape(context);
                const auto on = [&](const Tensor<double>& x) {
                    return placed(test::convert<Real>(x), context.device());
                };
                const auto label = host(slice_prior<Real>(
                    tape, on(in.h), placed(in.slot_row, context.device()), on(in.o), slots, by));
                for (Index t = 0; t < T; ++t) {
                    const std::uint32_t want = t % 3 == 2 ? 0 : in.want(t, slots, by);
                    for (Index e = 0; e < in.E; ++e) {
                        CHECK(static_cast<double>(label.matrix()(t, e)) ==
                              static_cast<double>(want >> e & 1u));
                    }
                }
            }
        }
    }
}

}  // namespace

TEST_CASE_TEMPLATE("slice_prior: every label mode against trying all subsets", Real, float, double) {
    check_slice_prior<Real>(test::context());
    test::add_reference_record(slice_prior_slot, number_of<Real>());
}

TEST_CASE("slice_prior: the same on a GPU") {
    if (!has_cuda()) return;
    check_slice_prior<float>(test::cuda_context());
    test::add_reference_record(slice_prior_slot, Number::float32, Device::cuda);
    // In bf16 of outputs that it holds exactly, and that are far apart.
    auto h = Tensor<bf16>::zeros({8, 2}), o = Tensor<bf16>::zeros({2, 2});
    const float values[] = {1, 0, 4, 0, 2, 1, 0, 8, 3, 3, 0, 1, 5, 0, 1, 1};
    for (Index i = 0; i < 16; ++i) h.data()[i] = bf16(values[i]);
    const auto slot_row = Tensor<std::int32_t>::from({2, 4}, {0, 2, 4, 6, 1, 3, 5, 7});
    Tape tape(test::cuda_context());
    const auto label = host(slice_prior<bf16>(tape, placed(h, Device::cuda), placed(slot_row, Device::cuda),
                                              placed(o, Device::cuda), 2, SlicePrior::contribution));
    // Norms of token 0: 1, 5, 18, 25; of token 1: 16, 64, 1, 2.
    const float want[] = {0, 0, 1, 1, 1, 1, 0, 0};
    for (Index i = 0; i < 8; ++i) CHECK(label.data()[i] == want[i]);
    test::add_reference_record(slice_prior_slot, Number::bfloat16, Device::cuda);
}

TEST_CASE("slice_prior: equal slices go to the lower number; what does not fit is an error") {
    Tape tape(test::context());
    const auto h = Tensor<double>::from({4, 1}, {1, 1, 1, 1}), o = Tensor<double>::from({1, 1}, {4});
    const auto slot_row = Tensor<std::int32_t>::from({1, 4}, {0, 1, 2, 3});
    for (const SlicePrior by : kSlicePriors) {
        const auto label = slice_prior<double>(tape, h, slot_row, o, 2, by);
        for (Index e = 0; e < 4; ++e) CHECK(label.data()[e] == (e < 2 ? 1 : 0));
    }
    CHECK_THROWS_AS(slice_prior<double>(tape, h, slot_row, o, 5, SlicePrior::slice_mse), Error);
    CHECK_THROWS_AS(slice_prior<double>(tape, Tensor<double>::zeros({20, 1}),
                                        Tensor<std::int32_t>::zeros({1, 20}), o, 2, SlicePrior::best_subset),
                    Error);
}

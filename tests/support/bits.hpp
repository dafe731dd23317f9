#pragma once
// check_bits: one result to the bit, for every number of threads and every cut of the rows into
// micro-batches.
//
//   check_bits<float>({random_tensor<float>({64, 33}, 1)}, {random_tensor<float>({17, 33}, 2)},
//                     [](Tape& tape, const auto& rows, const auto& weights, Index begin, Index end) {
//                         return linear(tape, rows[0], weights[0]);
//                     });
//
// `rows` are inputs [T, ..] that are cut; `weights` keep one lasting gradient over all pieces. begin and end
// say which rows a piece holds, for side inputs that must be cut as well. Compared: outputs and all
// gradients.

#include <moegrad/core/segments.hpp>

#include "support/op_check.hpp"

#include <cstring>

namespace moegrad::test {

template <class Real>
bool same_bits(const Tensor<Real>& a, const Tensor<Real>& b) {
    return a.shape() == b.shape() && (a.size() == 0 || std::memcmp(a.values().data(), b.values().data(),
                                                                   a.values().size() * sizeof(Real)) == 0);
}

/// The rows [begin, end) of a batch: same samples, same positions.
inline Segments cut(const Segments& whole, Index begin, Index end) {
    Segments part = whole;
    part.position = whole.position.rows(begin, end);
    part.sample = whole.sample.rows(begin, end);
    part.segment = whole.segment.rows(begin, end);
    part.valid = whole.valid.rows(begin, end);
    return part;
}

/// The tape of a gradient check may only look at values (inference); with selections it drops nevertheless,
/// as the first run of a checkpoint does.
class Dropping {
public:
    explicit Dropping(Tape& tape) : tape_(&tape) { tape.set_selections(&selections_); }
    ~Dropping() { tape_->set_selections(nullptr); }
    Dropping(const Dropping&) = delete;
    Dropping& operator=(const Dropping&) = delete;

private:
    Tape* tape_;
    Selections selections_;
};

namespace detail {

/// Outputs, then gradients of the rows, then of the weights.
template <class Real, class Function>
std::vector<Tensor<Real>> run_pieces(int threads, const std::vector<Index>& cuts,
                                     const std::vector<Tensor<Real>>& rows,
                                     const std::vector<Tensor<Real>>& weights, const Function& f) {
    Context own({.device = Device::cpu, .threads = threads, .fill = Arena::Fill::poison});
    own.scalars().seed = 7;
    own.scalars().step = 3;
    std::vector<Tensor<Real>> results(1);
    std::vector<Var<Real>> weight_variables;
    for (const auto& w : weights) {
        weight_variables.emplace_back(w, std::make_shared<Gradient<Real>>(Tensor<Real>::zeros(w.shape())));
    }
    for (const auto& x : rows) results.push_back(Tensor<Real>::zeros(x.shape()));
    const Index T = rows[0].extent(0);
    for (std::size_t piece = 0; piece + 1 < cuts.size(); ++piece) {
        const Index begin = cuts[piece], end = cuts[piece + 1];
        Tape tape(own);
        std::vector<Var<Real>> variables;
        for (std::size_t n = 0; n < rows.size(); ++n) {
            variables.emplace_back(rows[n].rows(begin, end),
                                   std::make_shared<Gradient<Real>>(results[1 + n].rows(begin, end)));
        }
        const Var<Real> y = f(tape, variables, weight_variables, begin, end);
        const Index columns = y.shape().rank() == 1 ? 1 : y.extent(1);
        if (!results[0].defined())
            results[0] = Tensor<Real>::zeros(y.shape().rank() == 1 ? Shape{T} : Shape{T, columns});
        std::copy_n(y.value().data(), y.value().size(), results[0].data() + begin * columns);
        auto seed = y.gradient()->target();
        for (Index i = 0; i < y.value().size(); ++i) {
            seed.tensor.data()[i] = Real(moegrad::detail::projection(begin * columns + i) - 1);
        }
        tape.backward();
    }
    for (const auto& w : weight_variables) results.push_back(w.gradient()->tensor());
    return results;
}

}  // namespace detail

template <class Real, class Function>
void check_bits(const std::vector<Tensor<Real>>& rows, const std::vector<Tensor<Real>>& weights,
                const Function& f) {
    const Index T = rows[0].extent(0);
    const auto want = detail::run_pieces<Real>(1, {0, T}, rows, weights, f);
    std::vector<Index> ones;
    for (Index t = 0; t <= T; ++t) ones.push_back(t);
    const std::vector<std::vector<Index>> ways = {{0, T}, {0, T / 3, T / 3, T - 1, T}, ones};
    for (int threads = 1; threads <= 4; ++threads) {
        for (std::size_t way = 0; way < ways.size(); ++way) {
            const auto got = detail::run_pieces<Real>(threads, ways[way], rows, weights, f);
            for (std::size_t i = 0; i < want.size(); ++i) {
                INFO("threads ", threads, ", cut ", way, ", result ", i,
                     " (output, row gradients, weight gradients)");
                CHECK(same_bits(got[i], want[i]));
            }
        }
    }
}

}  // namespace moegrad::test

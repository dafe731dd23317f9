#include <moegrad/cpu/lora_norm.hpp>
#include <moegrad/ops/lora_norm.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

namespace {

/// |w + s B A| per row, by making the matrix.
Tensor<double> direct_norms(const Tensor<double>& w, const Tensor<double>& A, const Tensor<double>& B,
                            double s) {
    auto n = Tensor<double>::zeros({w.extent(0)});
    for (Index o = 0; o < w.extent(0); ++o) {
        double square = 0;
        for (Index d = 0; d < w.extent(1); ++d) {
            double v = w.view<2>()(o, d);
            for (Index r = 0; r < A.extent(0); ++r) v += s * B.view<2>()(o, r) * A.view<2>()(r, d);
            square += v * v;
        }
        n.data()[o] = std::sqrt(square);
    }
    return n;
}

/// Largest error of the op in Real, relative to the rms of the direct norms of the rounded inputs.
template <class Real>
double norm_error(Context& context, Index O, Index D, Index R) {
    std::vector<Tensor<Real>> in;
    std::vector<Tensor<double>> exact;
    std::uint64_t seed = 1;
    for (const Shape& shape : {Shape{O, D}, Shape{R, D}, Shape{O, R}}) {
        const auto rounded = test::convert_through_float<Real>(test::random_tensor(shape, seed++));
        exact.push_back(test::to_double(rounded));
        in.push_back(placed(rounded, context.device()));
    }
    const LoraWeights<Real> lora{Weight<Real>(in[1]), Weight<Real>(in[2]), 0.75};
    const auto n = lora_norm<Real>(context, Weight<Real>(in[0]), lora);
    return test::relative_error(test::to_double(host(n)), direct_norms(exact[0], exact[1], exact[2], 0.75));
}

}  // namespace

TEST_CASE("lora_norm: the cheap norm equals the direct norm") {
    for (Index O : {0, 1, 7, 33}) {
        for (Index D : {1, 5, 70}) {
            for (Index R : {1, 3, 40}) {
                CAPTURE(O);
                CAPTURE(D);
                CAPTURE(R);
                CHECK(norm_error<double>(test::context(), O, D, R) < 1e-12);
                CHECK(norm_error<float>(test::context(), O, D, R) < 4e-6);
                if (!has_cuda()) continue;
                CHECK(norm_error<float>(test::cuda_context(), O, D, R) < 4e-6);
                CHECK(norm_error<bf16>(test::cuda_context(), O, D, R) < 4e-6);
            }
        }
    }
    for (const Number number : {Number::float32, Number::float64}) {
        test::add_reference_record(lora_norm_slot, number);
    }
    if (!has_cuda()) return;
    for (const Number number : {Number::float32, Number::bfloat16}) {
        test::add_reference_record(lora_norm_slot, number, Device::cuda);
    }
}

TEST_CASE("lora_norm: with B = 0 it does not depend on A, to the bit") {
    Context& context = test::context();
    const Weight<float> w(test::random_tensor<float>({9, 70}, 1)), B(Tensor<float>::zeros({9, 4}));
    const auto norms = [&](std::uint64_t seed, double scale) {
        return lora_norm<float>(context, w,
                                {Weight<float>(test::random_tensor<float>({4, 70}, seed)), B, scale});
    };
    const auto a = norms(2, 1), b = norms(3, 100);
    for (Index o = 0; o < 9; ++o) CHECK(a.data()[o] == b.data()[o]);
}

TEST_CASE("lora_norm: a row that cancels is 0, NaN stays NaN") {
    test::on_each_device([](Context& context) {
        const auto on = [&](const Tensor<float>& t) { return Weight<float>(test::tensor_on(context, t)); };
        const auto n = host(lora_norm<float>(
            context, on(Tensor<float>::from({2, 2}, {1, 2, NAN, 1})),
            {on(Tensor<float>::from({1, 2}, {1, 2})), on(Tensor<float>::from({2, 1}, {-1, 0})), 1}));
        CHECK(n.data()[0] == 0);
        CHECK(std::isnan(n.data()[1]));
    });
}

TEST_CASE("lora_norm: shapes that do not fit are an error that names all") {
    const auto zeros = [](const Shape& shape) { return Weight<float>(Tensor<float>::zeros(shape)); };
    CHECK_THROWS_WITH_AS(lora_norm<float>(test::context(), zeros({3, 4}), {zeros({2, 5}), zeros({3, 2}), 1}),
                         doctest::Contains("w [3, 4], A [2, 5], B [3, 2]"), Error);
}

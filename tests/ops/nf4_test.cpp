// dequantise against the formula, value by value, on each device: the same bits.

#include <moegrad/ops/lora_linear.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

namespace {

template <class Real>
void check_dequantise(Context& context, Index rows, Index columns) {
    CAPTURE(rows);
    CAPTURE(columns);
    const auto values = test::random_tensor<float>({rows, columns}, 3, 0.02);
    Nf4Quantiser quantiser(values.shape());
    quantiser.add(values.values());
    const Nf4Matrix matrix = quantiser.finish();
    const auto got = host(dequantise<Real>(context, placed(matrix, context.device())));
    double sum = 0, size = 0;
    for (Index i = 0; i < values.size(); ++i) {
        const Index block = i / kNf4Block;
        const float maximum = nf4_maximum(nf4_map(matrix.scale.data()[block]),
                                          matrix.large.data()[block / kNf4ScaleBlock], matrix.mean);
        const int both = matrix.code.data()[i / 2], code = i % 2 == 0 ? both >> 4 : both & 15;
        const float expected = nf4_value(code) * maximum;
        REQUIRE(Wide<Real>(got.data()[i]) == Wide<Real>(Real(expected)));
        sum += std::pow(double(expected) - double(values.data()[i]), 2),
            size += std::pow(values.data()[i], 2);
    }
    CHECK(sum <= 0.02 * size);
}

template <class Real>
void check_all(Context& context) {
    for (const auto& [rows, columns] :
         {std::pair<Index, Index>{0, 4}, {1, 1}, {7, 5}, {3, 64}, {70, 300}, {5, 36}}) {
        check_dequantise<Real>(context, rows, columns);
    }
    test::add_reference_record(nf4_slot, number_of<Real>(), context.device());
}

Nf4Matrix quantised(const Shape& shape, std::uint64_t seed) {
    const auto values = test::random_tensor<float>(shape, seed, 0.05);
    Nf4Quantiser quantiser(shape);
    quantiser.add(values.values());
    return quantiser.finish();
}

/// y and the gradients of x, A and B of a layer with this weight, on the host.
template <class Real>
std::vector<Tensor<double>> layer(Context& context, const Matrix<Real>& w) {
    const Index T = 9, D = 40, O = 40, R = 8;
    Tape tape(context);
    const auto input = [&](const Shape& shape, std::uint64_t seed) {
        return tape.input(test::tensor_on(context, test::random_tensor<Real>(shape, seed)));
    };
    const auto x = input({T, D}, 1), A = input({R, D}, 2), B = input({O, R}, 3);
    const auto y = lora_linear<Real>(tape, linear<Real>(tape, x, w), w, LoraWeights<Real>{A, B, 0.5},
                                     Segments::of_lengths({T}));
    copy_values(test::tensor_on(context, test::random_tensor<Real>({T, O}, 4)),
                y.gradient()->target().tensor);
    tape.backward();
    std::vector<Tensor<double>> all{test::to_double(host(y.value()))};
    for (const auto& v : {x, A, B}) all.push_back(test::to_double(host(v.gradient()->tensor())));
    return all;
}

}  // namespace

TEST_CASE("nf4: dequantise gives the formula's bits") {
    check_all<float>(test::context());
    check_all<double>(test::context());
    if (!has_cuda()) return;
    check_all<float>(test::cuda_context());
    check_all<bf16>(test::cuda_context());
}

TEST_CASE("nf4: a layer computes with the numbers it stands for, and keeps none of them") {
    test::on_each_device([](Context& context) {
        const Nf4Matrix matrix = placed(quantised({40, 40}, 7), context.device());
        const auto dense = layer<float>(context, Weight<float>(dequantise<float>(context, matrix)));
        CHECK(test::detail::same_values(layer<float>(context, Matrix<float>(matrix)), dense));
    });
    Context context;
    Tape tape(context);
    const auto x = tape.input(test::random_tensor<float>({1, 640}, 1));
    const auto y = linear(tape, x, Matrix<float>(quantised({640, 640}, 7)));
    CHECK(context.arena().in_use() < 640 * 640);
    CHECK(y.needs_gradient());
}

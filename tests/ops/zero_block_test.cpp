#include <moegrad/ops/zero_block.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

namespace {

template <class Real>
void check_zeroed(Context& context, const Shape& shape, const Block& block) {
    const auto there =
        test::tensor_on(context, test::random_tensor<Real>(shape, 1, 1, 10));  // no zero among them
    zero_block(Stream(context), there, block);
    const auto w = host(there);
    const Index rows = shape.rank() == 3 ? shape[1] : shape[0], columns = shape.columns();
    for (Index i = 0; i < w.size(); ++i) {
        const Index r = i / columns % rows, c = i % columns;
        const bool inside =
            r >= block.row_begin && r < block.row_end && c >= block.column_begin && c < block.column_end;
        CHECK((w.data()[i] == Real(0)) == inside);
    }
}

}  // namespace

TEST_CASE("zero_block: the block of every matrix, nothing else") {
    for (const Block& block : {Block{0, 0, 0, 0}, Block{0, 2, 3, 6}, Block{2, 5, 0, 3}, Block{4, 5, 5, 6}}) {
        for (const Shape& shape : {Shape{3, 5, 6}, Shape{5, 6}, Shape{0, 5, 6}}) {
            check_zeroed<double>(test::context(), shape, block);
            test::on_each_device([&](Context& context) { check_zeroed<float>(context, shape, block); });
        }
    }
    test::add_reference_record(zero_block_slot, Number::float64);
    test::on_each_device([](Context& context) {
        test::add_reference_record(zero_block_slot, Number::float32, context.device());
    });
}

TEST_CASE("zero_block: a block outside the matrix is an error") {
    const auto w = Tensor<float>::zeros({2, 3, 4});
    CHECK_THROWS_AS(zero_block(Stream(test::context()), w, {0, 4, 0, 1}), Error);
    CHECK_THROWS_AS(zero_block(Stream(test::context()), w, {0, 1, -1, 1}), Error);
    CHECK_THROWS_AS(zero_block(Stream(test::context()), Tensor<float>::zeros({2}), {}), Error);
}

#include <moegrad/ops/fill.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

namespace {

template <class Real>
void check(Context& context) {
    Tape tape(context);
    for (const Shape& shape : {Shape{0}, Shape{1}, Shape{7}, Shape{300, 7}, Shape{2, 0, 3}, Shape{3, 1, 5}}) {
        const auto x = filled<Real>(tape, shape, -0.375);
        CHECK(x.shape() == shape);
        const auto got = host(x);
        for (const Real value : got.values()) CHECK(static_cast<Wide<Real>>(value) == Wide<Real>(-0.375));
    }
}

}  // namespace

TEST_CASE_TEMPLATE("fill: every value, of any shape", Real, float, double) {
    check<Real>(test::context());
    test::add_reference_record(fill_slot, number_of<Real>());
}

TEST_CASE_TEMPLATE("fill: on a GPU", Real, float, bf16) {
    if (!has_cuda()) return;
    check<Real>(test::cuda_context());
    test::add_reference_record(fill_slot, number_of<Real>(), Device::cuda);
}

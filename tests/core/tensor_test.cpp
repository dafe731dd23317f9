#include <moegrad/core/context.hpp>
#include <moegrad/core/tensor.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {
/// 0, 1, 2, ... in the given shape.
Tensor<float> counting(const Shape& shape) {
    auto t = Tensor<float>::zeros(shape);
    for (Index i = 0; i < t.size(); ++i) t.data()[i] = static_cast<float>(i);
    return t;
}

template <class Call>
void expect_shape_error(const char* words, const Call& call) {
    CHECK_THROWS_WITH_AS(call(), doctest::Contains(words), Error);
}
}  // namespace

TEST_CASE("shape: size, rows and columns, also of empty and scalar shapes") {
    CHECK(Shape{2, 3, 4}.size() == 24);
    CHECK(Shape{2, 3, 4}.rows() == 6);
    CHECK(Shape{2, 3, 4}.columns() == 4);
    CHECK(Shape{}.size() == 1);
    CHECK(Shape{0, 4}.size() == 0);
    CHECK(Shape{0, 4}.rows() == 0);
    CHECK(Shape{5, 0}.rows() == 5);
    CHECK(Shape{5}.rows() == 1);
    CHECK(Shape{2, 3}.text() == "[2, 3]");
    CHECK(Shape{2, 3} == Shape{2, 3});
    CHECK_FALSE(Shape{2, 3} == Shape{2, 3, 1});
    CHECK_FALSE(Shape{2, 3} == Shape{3, 2});
    expect_shape_error("at most 4", [] { Shape{1, 2, 3, 4, 5}; });
}

TEST_CASE("tensor: zeros are zero, copies share memory, step memory goes back with the last copy") {
    const auto zeros = Tensor<double>::zeros({3, 4});
    for (double value : zeros.values()) CHECK(value == 0);
    auto copy = zeros;
    copy.data()[5] = 2;
    CHECK(zeros.data()[5] == 2);

    Context context({.device = Device::cpu, .threads = 1});
    {
        auto t = context.make<float>({10, 10});
        const auto part = t.rows(2, 3);
        const auto used = context.arena().in_use();
        t = Tensor<float>();
        CHECK(context.arena().in_use() == used);  // the part keeps the whole block
        CHECK(part.columns() == 10);
    }
    CHECK(context.arena().in_use() == 0);
    CHECK_FALSE(Tensor<float>().defined());
    CHECK(context.make<float>({0, 4}).defined());
}

TEST_CASE("tensor: from checks the number of values") {
    const auto t = Tensor<int>::from({2, 2}, {1, 2, 3, 4});
    CHECK(t.view<2>()(1, 0) == 3);
    expect_shape_error("4 values for [2, 2]", [] { Tensor<int>::from({2, 2}, {1, 2, 3}); });
}

TEST_CASE("tensor: slice drops the outermost axis") {
    const auto t = counting({2, 3, 4});
    CHECK(t.slice(1).shape() == Shape{3, 4});
    CHECK(t.slice(1).view<2>()(2, 3) == 23);
    CHECK(counting({3, 5}).slice(2).shape() == Shape{5});
    CHECK(counting({3, 5}).slice(2).view<1>()(1) == 11);
    CHECK(counting({2, 2, 2, 3}).slice(1).view<3>()(1, 0, 2) == 20);
    expect_shape_error("Tensor::slice", [&] { t.slice(2); });
    expect_shape_error("Tensor::slice", [&] { t.slice(-1); });
    expect_shape_error("rank 2 to 4", [] { counting({4}).slice(0); });
}

TEST_CASE("tensor: rows are a range of the outermost axis") {
    const auto t = counting({4, 3});
    CHECK(t.rows(1, 3).shape() == Shape{2, 3});
    CHECK(t.rows(1, 3).view<2>()(1, 2) == 8);
    CHECK(t.rows(4, 4).size() == 0);
    CHECK(counting({6}).rows(2, 5).view<1>()(0) == 2);
    CHECK(counting({3, 2, 2}).rows(1, 2).view<3>()(0, 1, 1) == 7);
    expect_shape_error("[3, 5) of [4, 3]", [&] { t.rows(3, 5); });
    expect_shape_error("Tensor::rows", [&] { t.rows(2, 1); });
    expect_shape_error("Tensor::rows", [&] { t.rows(-1, 1); });
}

TEST_CASE("tensor: columns keep the pitch, and a part with a pitch is not dense") {
    const auto t = counting({3, 5});
    const auto part = t.columns(1, 4);
    CHECK(part.shape() == Shape{3, 3});
    CHECK(part.pitch() == 5);
    CHECK(part.view<2>()(2, 0) == 11);
    CHECK(part.rows(1, 3).view<2>()(1, 2) == 13);
    CHECK(part.slice(1).view<1>()(0) == 6);
    CHECK(part.matrix().dense() == false);
    expect_shape_error("a dense tensor", [&] { part.values(); });
    expect_shape_error("a dense tensor", [&] { part.flat(); });
    expect_shape_error("a dense tensor", [&] { part.reshape({9}); });
    expect_shape_error("Tensor::columns", [&] { t.columns(2, 6); });
    CHECK(part.rows(1, 2).values()[2] == 8);  // one row is dense
    const auto stack = counting({2, 3, 4}).columns(2, 4);
    CHECK(stack.view<3>()(1, 2, 1) == 23);
    CHECK(stack.slice(1).view<2>()(2, 1) == 23);
}

TEST_CASE("tensor: reshape keeps the values and their number") {
    const auto t = counting({4, 3});
    CHECK(t.reshape({2, 6}).view<2>()(1, 0) == 6);
    CHECK(t.reshape({2, 2, 3}).pitch() == 3);
    CHECK(t.rows(2, 4).reshape({6}).view<1>()(0) == 6);
    expect_shape_error("12 values", [&] { t.reshape({5, 3}); });
}

TEST_CASE("tensor: a view asks for the right rank") {
    const auto t = counting({2, 3, 4});
    CHECK(t.view<3>().extent(1) == 3);
    CHECK(t.matrix().rows() == 6);
    CHECK(t.flat().size() == 24);
    expect_shape_error("rank 2", [&] { t.view<2>(); });
}

TEST_CASE("tensor: two that lie one behind the other are one") {
    const auto whole = Tensor<float>::from({5, 2}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
    const auto first = whole.rows(0, 2), second = whole.rows(2, 5);
    const auto joined = first.followed_by(second);
    CHECK(joined.shape() == Shape{5, 2});
    CHECK(joined.data() == whole.data());
    CHECK_FALSE(second.followed_by(first).defined());
    CHECK_FALSE(first.followed_by(whole.rows(3, 5)).defined());
    CHECK_FALSE(first.followed_by(second.reshape({6, 1})).defined());
    CHECK_FALSE(first.followed_by(second.reshape({3, 1, 2})).defined());
    CHECK_FALSE(whole.columns(0, 1).followed_by(whole.columns(1, 2)).defined());
    CHECK_FALSE(first.followed_by(Tensor<float>::zeros({3, 2})).defined());
    CHECK_FALSE(Tensor<float>().followed_by(first).defined());
}

#include <moegrad/core/view.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

// What the type promises at compile time.
static_assert(std::is_trivially_copyable_v<View<float, 2>>);
static_assert(std::is_convertible_v<View<float, 2>, View<const float, 2>>);
static_assert(!std::is_convertible_v<View<const float, 2>, View<float, 2>>);
static_assert(!std::is_convertible_v<View<float, 2>, View<float, 1>>);
static_assert(!std::is_convertible_v<View<float, 2>, View<double, 2>>);
static_assert(!std::is_invocable_v<View<float, 2>, Index>);
static_assert(!std::is_invocable_v<View<float, 1>, Index, Index>);

TEST_CASE("view: elements of all ranks") {
    float values[24];
    for (int i = 0; i < 24; ++i) values[i] = static_cast<float>(i);
    CHECK(View<float, 1>(values, {24})(5) == 5);
    CHECK(View<float, 2>(values, {4, 6})(2, 3) == 15);
    const View<float, 3> stack(values, {2, 3, 4});
    CHECK(stack(1, 2, 3) == 23);
    CHECK(stack.slice(1)(0, 1) == 13);
    CHECK(stack.rows() == 6);
    CHECK(stack.columns() == 4);
    CHECK(stack.size() == 24);
    CHECK(*stack.row(4) == 16);
}

TEST_CASE("view: a pitch wider than the rows") {
    float values[24];
    for (int i = 0; i < 24; ++i) values[i] = static_cast<float>(i);
    const View<float, 2> part(values + 1, {4, 3}, 6);
    CHECK(part(2, 1) == 14);
    CHECK_FALSE(part.dense());
    CHECK(View<float, 2>(values, {1, 3}, 6).dense());
    CHECK(View<float, 2>(values, {4, 6}).dense());
    const View<float, 3> stack(values, {2, 2, 3}, 6);
    CHECK(stack(1, 1, 2) == 20);
    CHECK(stack.slice(1)(1, 2) == 20);
    const View<const float, 2> constant = part;
    CHECK(constant.pitch == 6);
}

TEST_CASE("view: empty") {
    CHECK(View<float, 2>().empty());
    float one = 1;
    CHECK(View<float, 2>(&one, {0, 7}).empty());
    CHECK_FALSE(View<float, 2>(&one, {1, 1}).empty());
}

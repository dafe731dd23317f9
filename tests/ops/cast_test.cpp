#include <moegrad/ops/cast.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

namespace {

/// Ties, both signs, zeros, the ends of the range, values near 2^-120 .. 2^120.
Tensor<float> hard_floats(Index rows, Index columns) {
    const float special[] = {1.00390625f, 1.01171875f, -1.00390625f, 0.0f,   -0.0f,
                             INFINITY,    3.4e38f,     1e-40f,       -3e-39f};
    auto x = test::random_tensor<float>({rows, columns}, 3);
    for (Index i = 0; i < x.size(); ++i) {
        x.data()[i] *= std::ldexp(1.0f, static_cast<int>(i % 241) - 120);
        if (i % 3 == 0) x.data()[i] = special[i / 3 % 9];
    }
    return x;
}

/// A tensor inside a wider one: rows are `columns + gap` apart.
template <class T>
Tensor<T> with_pitch(const Tensor<T>& x, Index gap) {
    const Index rows = x.extent(0), columns = x.extent(1);
    auto whole = Tensor<T>::zeros({rows, columns + gap});
    for (Index r = 0; r < rows; ++r)
        std::copy_n(x.data() + r * columns, columns, whole.data() + r * (columns + gap));
    return whole;
}

void check_values(Context& context, Index rows, Index columns, Index gap) {
    const auto x = hard_floats(rows, columns);
    const auto wide = test::tensor_on(context, with_pitch(x, gap)).columns(0, columns);
    Tape tape(context);
    const auto narrow = cast<bf16>(tape, Var<float>(wide));
    const auto back = cast<float>(tape, narrow);
    const auto got = host(narrow.value());
    const auto got_back = host(back.value());
    for (Index i = 0; i < x.size(); ++i) {
        CHECK(got.data()[i].bits == bf16(x.data()[i]).bits);
        CHECK(std::bit_cast<std::uint32_t>(got_back.data()[i]) == std::uint32_t{got.data()[i].bits} << 16);
    }
}

/// x is cast twice: the second gradient is added to the first, each sum rounded once.
template <class From, class To>
void check_gradients(Context& context, Index rows, Index columns) {
    Tape tape(context);
    const auto x = tape.input(test::tensor_on(context, Tensor<From>::zeros({rows, columns})));
    const Var<To> y[] = {cast<To>(tape, x), cast<To>(tape, x)};
    Tensor<To> dy[2];
    for (std::uint64_t n = 0; n < 2; ++n) {
        dy[n] = test::convert_through_float<To>(test::random_tensor({rows, columns}, 5 + n));
        copy_values(dy[n], y[n].gradient()->target().tensor);
    }
    tape.backward();
    const auto dx = host(x.gradient()->tensor());
    for (Index i = 0; i < dx.size(); ++i) {
        const From last(static_cast<Wide<From>>(Wide<To>(dy[1].data()[i])));  // backward runs in reverse
        const From want(static_cast<Wide<From>>(last) + static_cast<Wide<From>>(Wide<To>(dy[0].data()[i])));
        CHECK(dx.data()[i] == want);
    }
}

}  // namespace

TEST_CASE("cast: equal types give back the same variable") {
    Tape tape(test::context());
    const auto x = tape.input(Tensor<float>::from({2}, {1, 2}));
    const auto y = cast<Wide<float>>(tape, x);
    CHECK(y.value().data() == x.value().data());
    CHECK(y.gradient() == x.gradient());
    CHECK(tape.size() == 0);
    CHECK_THROWS_WITH_AS(cast<double>(tape, x), doctest::Contains("float32 to float64"), Error);
}

TEST_CASE("cast: bf16 is rounded to nearest, float is exact") {
    test::on_each_device([](Context& context) {
        for (Index columns : {1, 5, 8, 24, 67}) {
            for (Index rows : {0, 1, 7, 300}) {
                for (Index gap : {0, 3, 8}) check_values(context, rows, columns, gap);
            }
        }
        test::add_reference_record(cast_slot, Number::bfloat16, context.device());
    });
}

TEST_CASE("cast: NaN stays NaN") {
    test::on_each_device([](Context& context) {
        Tape tape(context);
        const Var<float> x(test::tensor_on(context, Tensor<float>::from({2}, {NAN, -NAN})));
        const auto back = host(cast<float>(tape, cast<bf16>(tape, x)).value());
        for (float value : back.values()) CHECK(std::isnan(value));
    });
}

TEST_CASE("cast: gradients are cast back") {
    test::on_each_device([](Context& context) {
        for (Index columns : {1, 7, 16}) {
            check_gradients<bf16, float>(context, 5, columns);
            check_gradients<float, bf16>(context, 5, columns);
        }
    });
}

TEST_CASE("cast: on reading, made once and only for who asks for numbers or gradients") {
    test::on_each_device([](Context& context) {
        const auto values = test::convert_through_float<bf16>(test::random_tensor({3, 5}, 6));
        Tape tape(context);
        const auto x = tape.input(test::tensor_on(context, values));
        const Var<float> y = cast_on_read<float>(tape, x), same = y;
        CHECK(y.defined());
        CHECK(y.shape() == x.shape());
        CHECK(y.extent(1) == 5);
        CHECK(y.needs_gradient());
        REQUIRE(before_cast<bf16>(y) != nullptr);
        CHECK(before_cast<bf16>(y)->value().data() == x.value().data());
        CHECK(tape.size() == 0);
        const auto got = host(y.value());
        for (Index i = 0; i < got.size(); ++i) CHECK(got.data()[i] == static_cast<float>(values.data()[i]));
        CHECK(same.value().data() == y.value().data());
        CHECK(same.gradient() == y.gradient());
        CHECK(tape.size() == 1);
        copy_values(got, y.gradient()->target().tensor);
        tape.backward();
        const auto dx = host(x.gradient()->tensor());
        for (Index i = 0; i < dx.size(); ++i) CHECK(dx.data()[i] == values.data()[i]);
    });
}

TEST_CASE("cast: on reading, equal types and constants") {
    Tape tape(test::context());
    const auto x = tape.input(Tensor<float>::from({2}, {1, 2}));
    CHECK(cast_on_read<float>(tape, x).value().data() == x.value().data());
    CHECK(before_cast<bf16>(x) == nullptr);
    const Var<bf16> constant(Tensor<bf16>::zeros({2, 2}));
    const auto y = cast_on_read<float>(tape, constant);
    CHECK_FALSE(y.needs_gradient());
    CHECK(y.gradient() == nullptr);
    CHECK(tape.size() == 0);
    Tape looks(test::context(), Mode::inference);
    CHECK_FALSE(cast_on_read<float>(looks, looks.input(constant.value())).needs_gradient());
}

// attention on a GPU against a full matrix of weights in double: float to rounding, bf16 against a reference
// that makes the roundings the kernels document. Rows that are not valid hold NaN. And what must hold on both
// devices.

#include <moegrad/ops/attention.hpp>

#include "support/op_check.hpp"

using namespace moegrad;

namespace {

struct Case {
    AttentionOptions options;
    std::vector<Index> lengths;
    Index hole = 0;  // every hole-th row is not valid
};

Segments segments_of(const Case& c) {
    auto segments = Segments::of_lengths(std::span<const Index>(c.lengths));
    for (Index t = 0; c.hole > 0 && t < segments.tokens(); ++t)
        segments.valid.data()[t] = t % c.hole != c.hole - 1;
    return segments;
}

using Matrices = std::vector<Tensor<double>>;  // y, dq, dk, dv

/// What backward rounds: every result, and weights on their way into a product.
struct Rounding {
    bool results = false, weights = false;
    double result(double x) const { return results ? test::round_to_bf16(x) : x; }
    double weight(double x) const { return weights ? test::round_to_bf16(x) : x; }
};

/// in: q, k, v, dy.
Matrices reference(const Matrices& in, const Segments& segments, const AttentionOptions& o, Rounding round) {
    const Index T = segments.tokens(), head = o.head_dim;
    const double scale = o.scale == 0 ? 1 / std::sqrt(double(head)) : o.scale;
    Matrices out;
    for (Index i : {0, 0, 1, 2})
        out.push_back(Tensor<double>::zeros(in[static_cast<std::size_t>(i)].shape()));
    const auto q = in[0].view<2>(), k = in[1].view<2>(), v = in[2].view<2>(), dy = in[3].view<2>();
    const auto y = out[0].view<2>(), dq = out[1].view<2>(), dk = out[2].view<2>(), dv = out[3].view<2>();
    for (Index h = 0; h < o.heads; ++h) {
        const Index at = h * head, key = h / (o.heads / o.kv_heads) * head;
        const auto dot = [&](const auto& a, Index i, Index ai, const auto& b, Index j, Index bj) {
            double sum = 0;
            for (Index d = 0; d < head; ++d) sum += a(i, ai + d) * b(j, bj + d);
            return sum;
        };
        for (Index t = 0; t < T; ++t) {
            if (!segments.valid.data()[t]) continue;
            Index first = segments.begin.data()[segments.segment.data()[t]];
            if (o.window > 0) first = std::max(first, t - o.window + 1);
            std::vector<double> p(static_cast<std::size_t>(t - first + 1), 0);
            double sum = 0, most = -INFINITY;
            const auto seen = [&](Index s) { return segments.valid.data()[s] != 0; };
            const auto weight = [&](Index s) -> double& { return p[static_cast<std::size_t>(s - first)]; };
            for (Index s = first; s <= t; ++s) {
                if (seen(s)) most = std::max(most, weight(s) = scale * dot(q, t, at, k, s, key));
            }
            for (Index s = first; s <= t; ++s) {
                if (seen(s)) sum += weight(s) = std::exp(weight(s) - most);
            }
            double delta = 0;
            for (Index d = 0; d < head; ++d) {
                double value = 0;
                for (Index s = first; s <= t; ++s)
                    value += seen(s) ? round.weight(weight(s)) * v(s, key + d) : 0;
                y(t, at + d) = round.result(value / sum);
                delta += dy(t, at + d) * y(t, at + d);
            }
            for (Index s = first; s <= t; ++s) {
                if (!seen(s)) continue;
                const double probability = weight(s) / sum;
                const double da = round.weight(probability * (dot(dy, t, at, v, s, key) - delta));
                for (Index d = 0; d < head; ++d) {
                    dq(t, at + d) += scale * da * k(s, key + d);
                    dk(s, key + d) += scale * da * q(t, at + d);
                    dv(s, key + d) += round.weight(probability) * dy(t, at + d);
                }
            }
        }
    }
    for (std::size_t i = 1; i < 4; ++i) {
        for (double& value : out[i].values()) value = round.result(value);
    }
    return out;
}

double rms_error(const Tensor<double>& a, const Tensor<double>& b) {
    return test::detail::rms(test::detail::difference(a, b));
}

/// On the context's device, with what is not valid full of NaN; y and the gradients of q, k, v, in double on
/// the host.
template <class Real>
Matrices run(Context& context, const Matrices& in, const Segments& segments,
             const AttentionOptions& options) {
    std::vector<Tensor<Real>> on_device;
    for (const auto& matrix : in) {
        auto rounded = test::convert_through_float<Real>(matrix);
        for (Index t = 0; t < segments.tokens(); ++t) {
            for (Index c = 0; !segments.valid.data()[t] && c < rounded.columns(); ++c) {
                rounded.template view<2>()(t, c) = Real(NAN);
            }
        }
        on_device.push_back(placed(rounded, context.device()));
    }
    Tape tape(context);
    const auto q = tape.input(on_device[0]), k = tape.input(on_device[1]), v = tape.input(on_device[2]);
    const auto y = attention(tape, q, k, v, placed(segments, context.device()), options);
    copy_values(on_device[3], y.gradient()->target().tensor);
    tape.backward();
    const auto back = [](const Tensor<Real>& x) { return test::to_double(host(x)); };
    return {back(y.value()), back(q.gradient()->tensor()), back(k.gradient()->tensor()),
            back(v.gradient()->tensor())};
}

template <class Real>
void check(Context& context, const Case& c) {
    const auto segments = segments_of(c);
    const Index T = segments.tokens(), columns = c.options.heads * c.options.head_dim;
    const Index key_columns = c.options.kv_heads * c.options.head_dim;
    CAPTURE(T);
    CAPTURE(c.options.head_dim);
    CAPTURE(c.options.window);
    Matrices in;
    for (Index width : {columns, key_columns, key_columns, columns}) {
        const auto matrix = test::random_tensor<double>({T, width}, 20 + in.size());
        in.push_back(test::to_double(test::convert_through_float<Real>(matrix)));
    }
    const auto exact = reference(in, segments, c.options, {});
    constexpr bool kRounds = std::is_same_v<Real, bf16>;
    const bool tensor_cores = c.options.head_dim == 64 || c.options.head_dim == 128;
    const auto rounded = reference(in, segments, c.options, {kRounds, kRounds && tensor_cores});
    const auto got = run<Real>(context, in, segments, c.options);
    const double scale = test::detail::rms(exact[3]);
    for (std::size_t i = 0; i < 4; ++i) {
        CAPTURE(i);
        const double floor = 3e-8 * std::sqrt(double(T + c.options.head_dim)) * scale;
        CHECK(rms_error(got[i], exact[i]) <= 1.25 * rms_error(rounded[i], exact[i]) + floor);
        for (Index t = 0; t < T; ++t) {
            for (Index d = 0; !segments.valid.data()[t] && d < got[i].columns(); ++d) {
                REQUIRE(got[i].data()[t * got[i].columns() + d] == 0);
            }
        }
    }
    CHECK(test::detail::same_values(got, run<Real>(context, in, segments, c.options)));
}

std::vector<Case> cases() {
    return {{{.heads = 2, .kv_heads = 1, .head_dim = 8}, {}},
            {{.heads = 2, .kv_heads = 1, .head_dim = 64}, {1}},
            {{.heads = 4, .kv_heads = 2, .head_dim = 64}, {5, 0, 70, 1, 61}, 5},
            {{.heads = 2, .kv_heads = 1, .head_dim = 128, .window = 40}, {100, 37}, 7},
            {{.heads = 3, .kv_heads = 1, .head_dim = 20, .scale = 0.3}, {3, 130}, 2},
            {{.heads = 1, .kv_heads = 1, .head_dim = 7, .window = 1}, {33}},
            {{.heads = 2, .kv_heads = 2, .head_dim = 256, .window = 50}, {40, 31}, 3}};
}

}  // namespace

TEST_CASE("attention on a GPU: against a full matrix of weights") {
    if (!has_cuda()) return;
    for (const Case& c : cases()) {
        check<float>(test::cuda_context(), c);
        check<bf16>(test::cuda_context(), c);
    }
}

TEST_CASE("attention: large scores stay finite") {
    const auto column = [](std::initializer_list<double> values) {
        return Tensor<double>::from({3, 1}, values);
    };
    const Matrices in{column({1e4, 1e4, -1e4}), column({1e4, -1e4, 9e3}), column({1, 2, 3}),
                      column({1, 1, 1})};
    test::on_each_device([&](Context& context) {
        const auto out =
            run<float>(context, in, Segments::of_lengths({3}), {.heads = 1, .kv_heads = 1, .head_dim = 1});
        CHECK(out[0].values()[0] == 1);
        CHECK(out[0].values()[1] == 1);
        CHECK(out[0].values()[2] == 2);
        for (const auto& tensor : out) {
            for (double value : tensor.values()) CHECK(std::isfinite(value));
        }
    });
}

namespace {

/// y and the gradient of x where q, k and v are all x: what dq, dk and dv add up to.
template <class Real>
Matrices run_shared(Context& context, const Tensor<double>& x, const Tensor<double>& dy,
                    const Segments& segments, const AttentionOptions& options) {
    const auto on_device = [&](const Tensor<double>& tensor) {
        return placed(test::convert_through_float<Real>(tensor), context.device());
    };
    Tape tape(context);
    const auto all = tape.input(on_device(x));
    const auto y = attention(tape, all, all, all, placed(segments, context.device()), options);
    copy_values(on_device(dy), y.gradient()->target().tensor);
    tape.backward();
    return {test::to_double(host(y.value())), test::to_double(host(all.gradient()->tensor()))};
}

}  // namespace

TEST_CASE("attention: one Var as q, k and v gets all three gradients") {
    const auto segments = Segments::of_lengths({70, 1, 129});
    for (const Index head : {7, 64, 128}) {
        const AttentionOptions options{.heads = 2, .kv_heads = 2, .head_dim = head};
        const auto input = [&](std::uint64_t seed) {
            const auto matrix = test::random_tensor<double>({segments.tokens(), 2 * head}, seed);
            return test::to_double(test::convert_through_float<bf16>(matrix));
        };
        const auto x = input(1), dy = input(2);
        auto exact = reference({x, x, x, dy}, segments, options, {});
        for (Index i = 0; i < x.size(); ++i) exact[1].data()[i] += exact[2].data()[i] + exact[3].data()[i];
        const auto check_shared = [&](const Matrices& got, double tolerance) {
            CAPTURE(head);
            for (const std::size_t i : {0, 1})
                CHECK(rms_error(got[i], exact[i]) <= tolerance * test::detail::rms(exact[i]));
        };
        test::on_each_device([&](Context& context) {
            check_shared(run_shared<float>(context, x, dy, segments, options), 1e-5);
        });
        // bf16 rounds the sum at each of the three.
        if (has_cuda()) check_shared(run_shared<bf16>(test::cuda_context(), x, dy, segments, options), 1e-2);
    }
}

#pragma once
// attention: causal, grouped queries, inside segments, with an optional sliding window. Query head h reads
// key-value head h / (H / Hkv). Token t sees token s when both lie in one segment, both are valid, s <= t and
// (window = 0 or t - s < window).
//   a[t,s] = scale <q[t,h], k[s]>,   lse[t,h] = log sum_s exp(a[t,s]),   p = exp(a - lse),
//   y[t,h] = sum_s p v[s]
// backward, delta[t,h] = <dy[t,h], y[t,h]>:   da = p (<dy, v[s]> - delta),
//   dq = scale sum_s da k[s],   dk[s] = scale sum_h sum_t da q[t,h],   dv[s] = sum_h sum_t p dy[t,h]
// The sums over h run through the query heads of the group in order, then through the rows t in order.
// Saved: q, y [T, H head], k, v [T, Hkv head], lse [T, H]. No matrix of tokens by tokens exists at any time.
// A row that is not valid gets y = 0 and no gradient, whatever stands in it: NaN too.
// Dao et al. 2022 (algorithms 1 and 4); Ainslie et al. 2023.

#include <cmath>

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

/// The largest head dimension: kernels keep a block of keys close by.
inline constexpr Index kLargestHead = 256;

struct AttentionOptions {
    Index heads = 0;     // H
    Index kv_heads = 0;  // Hkv, divides H
    Index head_dim = 0;  // head
    double scale = 0;    // of the scores; 0 means 1 / sqrt(head)
    Index window = 0;    // how many tokens a token sees, itself included; 0 means all
};

/// What kernels need of Segments.
struct AttentionRows {
    View<const std::int32_t, 1> begin;    // [S + 1]
    View<const std::int32_t, 1> segment;  // [T]
    View<const std::uint8_t, 1> valid;    // [T]
};

/// A gradient that may be unwanted: then the view is empty.
template <class Real>
struct AttentionGradient {
    View<Real, 2> view;
    Write write = Write::overwrite;
    bool wanted = false;
};

template <class Real>
struct AttentionKernels {
    void (*forward)(Stream, View<const Real, 2> q, View<const Real, 2> k, View<const Real, 2> v,
                    AttentionRows rows, View<Real, 2> y, View<Wide<Real>, 2> lse, AttentionOptions);
    /// room: working memory of the shape attention_room(T, H), for delta and for lse in another order.
    /// dq is written before dk, dk before dv: they are one place where q, k and v are one Var.
    void (*backward)(Stream, View<const Real, 2> q, View<const Real, 2> k, View<const Real, 2> v,
                     AttentionRows rows, View<const Real, 2> y, View<const Wide<Real>, 2> lse,
                     View<const Real, 2> dy, View<Wide<Real>, 3> room, AttentionGradient<Real> dq,
                     AttentionGradient<Real> dk, AttentionGradient<Real> dv, AttentionOptions);
};

/// [2, H, T up to a multiple of a tile of rows].
inline Shape attention_room(Index tokens, Index heads) {
    constexpr Index kTile = 128;
    return {2, heads, (tokens + kTile - 1) / kTile * kTile};
}

inline constinit KernelSlot<AttentionKernels> attention_slot{"attention"};

namespace detail {

inline AttentionOptions check_attention(const Shape& q, const Shape& k, const Shape& v, Index tokens,
                                        AttentionOptions options) {
    const Index H = options.heads, Hkv = options.kv_heads, head = options.head_dim;
    if (H < 1 || Hkv < 1 || H % Hkv != 0 || head < 1 || head > kLargestHead || options.window < 0) {
        throw Error{ErrorCode::value, "attention",
                    format("H and Hkv >= 1, H a multiple of Hkv, head in [1, {}], window >= 0", kLargestHead),
                    format("H = {}, Hkv = {}, head = {}, window = {}", H, Hkv, head, options.window)};
    }
    const bool fits = q == Shape{tokens, H * head} && k == Shape{tokens, Hkv * head} && v == k;
    if (!fits) {
        throw Error{ErrorCode::shape, "attention",
                    format("q [{0}, {1}], k [{0}, {2}], v [{0}, {2}]", tokens, H * head, Hkv * head),
                    format("q {}, k {}, v {}", q.text(), k.text(), v.text())};
    }
    if (options.scale == 0) options.scale = 1 / std::sqrt(static_cast<double>(head));
    return options;
}

inline AttentionRows attention_rows(const Segments& segments) {
    if (segments.tokens() == 0) return {};
    return {segments.begin.view<1>(), segments.segment.view<1>(), segments.valid.view<1>()};
}

template <class Real>
AttentionGradient<Real> attention_gradient(const Var<Real>& x) {
    if (!x.needs_gradient()) return {};
    auto target = x.gradient()->target();
    return {target.tensor.template view<2>(), target.write, true};
}

}  // namespace detail

/// q [T, H head], k and v [T, Hkv head] -> [T, H head].
template <class Real>
Var<Real> attention(Tape& tape, const Var<Real>& q, const Var<Real>& k, const Var<Real>& v,
                    const Segments& segments, const AttentionOptions& wanted) {
    const AttentionOptions options =
        detail::check_attention(q.shape(), k.shape(), v.shape(), segments.tokens(), wanted);
    const auto& kernels = attention_slot.get<Real>(tape.device());
    const Index T = segments.tokens();
    auto y = tape.output<Real>(q.shape(), q.needs_gradient() || k.needs_gradient() || v.needs_gradient());
    auto lse = tape.make<Wide<Real>>({T, options.heads});
    kernels.forward(tape.stream(), q.template view<2>(), k.template view<2>(), v.template view<2>(),
                    detail::attention_rows(segments), y.value().template view<2>(), lse.template view<2>(),
                    options);
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(), [&kernels, &context = tape.context(), q, k, v, segments, y = y.value(), lse,
                               options, dy = y.gradient()] {
        auto room = context.template make<Wide<Real>>(attention_room(lse.extent(0), options.heads));
        const auto dq = detail::attention_gradient(q);
        const auto dk = detail::attention_gradient(k);
        const auto dv = detail::attention_gradient(v);
        kernels.backward(context.stream(), q.template view<2>(), k.template view<2>(), v.template view<2>(),
                         detail::attention_rows(segments), y.template view<2>(), lse.template view<2>(),
                         dy->tensor().template view<2>(), room.template view<3>(), dq, dk, dv, options);
    });
    return y;
}

}  // namespace moegrad

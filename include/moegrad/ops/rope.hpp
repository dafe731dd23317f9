#pragma once
// rope: rotary positions, rotate-half form. In every head the columns i and i + head/2 are one pair,
//   y1 = x1 cos - x2 sin,  y2 = x2 cos + x1 sin,  angle = position f[i],   f[i] = theta^(-2 i / head) scaled
// backward: the rotation by -angle.
// Saved: nothing (the table is shared).      Su et al. 2021, eq. 34; scaling as in Hugging Face transformers.

#include <algorithm>
#include <memory>

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/rope_table.hpp>
#include <moegrad/core/segments.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

enum class Rotation { forward, backward };

template <class Real>
struct RopeKernels {
    /// cos, sin [positions, head/2]; position [T]; x, y [T, H head].
    void (*rotate)(Stream, View<const Real, 2> x, View<const Wide<Real>, 2> cos,
                   View<const Wide<Real>, 2> sin, View<const std::int32_t, 1> position, View<Real, 2> y,
                   Rotation, Write);
};

inline constinit KernelSlot<RopeKernels> rope_slot{"rope"};

/// Room for every position of a batch; what lies on a GPU is as long as its Segments say.
template <class Real>
void reach(const RopeTable<Real>& table, const Segments& segments) {
    if (segments.position.on_host()) return table.reach(segments.position);
    if (segments.longest < 1) {
        throw Error{ErrorCode::value, "rope", "segments that know their longest (Segments::longest)",
                    format("{} tokens on a GPU and longest {}", segments.tokens(), segments.longest),
                    "set it beside the positions: nobody can read those while a step runs"};
    }
    table.reach(segments.longest);
}

/// x [T, H head] -> [T, H head]; likewise for keys, [T, Hkv head]. The table grows to the largest position.
template <class Real>
Var<Real> rope(Tape& tape, const Var<Real>& x, const RopeTable<Wide<Real>>& table, const Segments& segments) {
    if (x.shape().rank() != 2 || x.extent(0) != segments.tokens() || x.extent(1) % table.head_dim() != 0) {
        throw Error{ErrorCode::shape, "rope",
                    format("x [{}, H {}] (tokens, heads of the table)", segments.tokens(), table.head_dim()),
                    "x " + x.shape().text()};
    }
    const auto& kernels = rope_slot.get<Real>(tape.device());
    auto y = tape.output<Real>(x.shape(), x.needs_gradient());
    if (x.shape().size() > 0) reach(table, segments);
    const auto rotate = [&kernels, stream = tape.stream(), cos = table.cos(tape.device()),
                         sin = table.sin(tape.device()),
                         position = segments.position](const Tensor<Real>& from, const Tensor<Real>& to,
                                                       Rotation rotation, Write write) {
        if (from.size() == 0) return;
        kernels.rotate(stream, from.template view<2>(), cos.template view<2>(), sin.template view<2>(),
                       position.template view<1>(), to.template view<2>(), rotation, write);
    };
    rotate(x.value(), y.value(), Rotation::forward, Write::overwrite);
    if (!y.needs_gradient()) return y;
    tape.record(y.gradient(), [rotate, dy = y.gradient(), dx = x.gradient()] {
        auto target = dx->target();
        rotate(dy->tensor(), target.tensor, Rotation::backward, target.write);
    });
    return y;
}

}  // namespace moegrad

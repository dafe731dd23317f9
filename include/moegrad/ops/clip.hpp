#pragma once
// clip: the factor on every gradient of a step, from the squared norms of the weights' gradients, added in order.
//     norm = sqrt(square[0] + square[1] + ...)
//     clip_scale = min(1, limit / norm), 1 where limit is 0       blocked = 0 or 1
// Both go into the step scalars, where adamw reads them. Blocked is a step whose norm or one of whose watched numbers
// (sums of losses) is infinite or NaN, and on a GPU one during which a kernel reported a bad value or an overflow: its
// update writes nothing, nor does that of a later step until the host has taken the report.
// report: norm, clip_scale, blocked; for the host to read when it likes.

#include <moegrad/core/context.hpp>
#include <moegrad/core/slot.hpp>

namespace moegrad {

/// Places in the report.
enum ClipReport : Index { kClipNorm, kClipScale, kClipBlocked, kClipReport };

template <class Real>
struct ClipKernels {
    /// square [P], watched [any], report [kClipReport].
    void (*apply)(Stream, View<const double, 1> square, View<const double, 1> watched, double limit,
                  View<double, 1> report);
};

inline constinit KernelSlot<ClipKernels> clip_slot{"clip", Proof::reference};

/// Real: the number type of the gradients.
template <class Real>
void clip(Stream stream, View<const double, 1> square, View<const double, 1> watched, double limit,
          View<double, 1> report) {
    if (!(limit >= 0) || report.extent(0) != kClipReport) {
        throw Error{ErrorCode::value, "clip",
                    format("a limit of at least 0 and a report of {} numbers", Index{kClipReport}),
                    format("limit {}, {} numbers", limit, report.extent(0))};
    }
    clip_slot.get<Real>(stream.device()).apply(stream, square, watched, limit, report);
}

}  // namespace moegrad

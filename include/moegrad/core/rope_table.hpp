#pragma once
// RopeTable: cos and sin of position * f[i], f[i] = theta^(-2 i / head), i < head/2, for rope.
//
// Scaling, s = factor, L0 = original_max_position (Hugging Face transformers, modeling_rope_utils):
//   linear   f / s
//   llama3   wavelength w = 2 pi / f:   w < L0 / high: f    w > L0 / low: f / s
//            between: (1 - b) f / s + b f,   b = (L0 / w - low) / (high - low)
// Angles, cos and sin are computed in double and rounded once to Real. The table is one per model: copies of
// a RopeTable share it, and it grows when a longer sequence comes; positions never wrap. A GPU gets its copy when a model
// first runs there; a step that is recorded ran plainly before with the same reach (Segments::longest), so that the table
// does not grow while it is.

#include <algorithm>
#include <memory>
#include <numbers>
#include <vector>

#include <moegrad/core/math.hpp>
#include <moegrad/core/transfer.hpp>

namespace moegrad {

struct RopeScaling {
    enum class Kind { none, linear, llama3 };
    Kind kind = Kind::none;
    double factor = 1;
    double low_freq_factor = 1;
    double high_freq_factor = 4;
    double original_max_position = 8192;
};

namespace detail {

inline void check_rope(Index head_dim, double theta, const RopeScaling& scaling) {
    const auto refuse = [](std::string expected, std::string got) {
        throw Error{ErrorCode::value, "rope", std::move(expected), std::move(got)};
    };
    if (head_dim < 2 || head_dim % 2 != 0) refuse("an even head dimension", format("{}", head_dim));
    if (!(theta >= 1)) refuse("theta >= 1", format("{}", theta));
    if (scaling.kind == RopeScaling::Kind::none) return;
    if (!(scaling.factor > 0)) refuse("a scaling factor > 0", format("{}", scaling.factor));
    if (scaling.kind == RopeScaling::Kind::linear) return;
    if (!(scaling.low_freq_factor > 0 && scaling.high_freq_factor > scaling.low_freq_factor)) {
        refuse("0 < low_freq_factor < high_freq_factor",
               format("{} and {}", scaling.low_freq_factor, scaling.high_freq_factor));
    }
    if (!(scaling.original_max_position > 0)) {
        refuse("original_max_position_embeddings > 0", format("{}", scaling.original_max_position));
    }
}

inline double scale_rope(double frequency, const RopeScaling& scaling) {
    if (scaling.kind == RopeScaling::Kind::none) return frequency;
    const double slow = frequency / scaling.factor;
    if (scaling.kind == RopeScaling::Kind::linear) return slow;
    const double turns = scaling.original_max_position * frequency / (2 * std::numbers::pi);  // L0 / w
    if (turns > scaling.high_freq_factor) return frequency;
    if (turns < scaling.low_freq_factor) return slow;
    const double blend =
        (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
    return (1 - blend) * slow + blend * frequency;
}

}  // namespace detail

/// The head/2 frequencies f[i], in radians per position.
inline std::vector<double> rope_frequencies(Index head_dim, double theta, const RopeScaling& scaling = {}) {
    detail::check_rope(head_dim, theta, scaling);
    std::vector<double> frequencies;
    for (Index i = 0; i < head_dim / 2; ++i) {
        const double exponent = -2 * static_cast<double>(i) / static_cast<double>(head_dim);
        frequencies.push_back(detail::scale_rope(pow(theta, exponent), scaling));
    }
    return frequencies;
}

template <class Real>
class RopeTable {
public:
    /// Our sin and cos hold up to angles of 1.6e6; f <= 1 for every theta >= 1.
    static constexpr Index kLargestPosition = 1600000;

    RopeTable(Index head_dim, double theta, const RopeScaling& scaling = {})
        : shared_(std::make_shared<Shared>(Shared{rope_frequencies(head_dim, theta, scaling), {}, {}})) {}

    Index head_dim() const { return 2 * static_cast<Index>(shared_->frequencies.size()); }
    const std::vector<double>& frequencies() const { return shared_->frequencies; }
    /// Positions the table holds now.
    Index positions() const { return shared_->host.cos.defined() ? shared_->host.cos.extent(0) : 0; }
    /// [positions, head/2], on `device`
    const Tensor<Real>& cos(Device device = Device::cpu) const { return table(device).cos; }
    const Tensor<Real>& sin(Device device = Device::cpu) const { return table(device).sin; }

    /// Makes room for positions [0, count). Tensors handed out earlier stay as they are.
    void reach(Index count) const {
        if (count <= positions()) return;
        if (static_cast<double>(count) * shared_->frequencies[0] > static_cast<double>(kLargestPosition)) {
            throw Error{ErrorCode::value, "rope", format("angles up to {}", kLargestPosition),
                        format("position {}, {} radians each", count - 1, shared_->frequencies[0])};
        }
        grow(std::max<Index>({count, std::min(2 * positions(), kLargestPosition), 64}));
    }
    /// The same for the positions of a batch, [T].
    void reach(const Tensor<std::int32_t>& position) const {
        std::int32_t smallest = 0, largest = -1;
        for (std::int32_t p : position.values()) {
            smallest = std::min(smallest, p);
            largest = std::max(largest, p);
        }
        if (smallest < 0) throw Error{ErrorCode::value, "rope", "positions >= 0", format("{}", smallest)};
        reach(Index{largest} + 1);
    }

private:
    struct Table {
        Tensor<Real> cos, sin;
    };
    struct Shared {
        std::vector<double> frequencies;
        Table host;
        std::vector<Table> device;  // the newest last; a recorded step may still read an older one
    };

    const Table& table(Device device) const {
        if (device != Device::cuda) return shared_->host;
        const bool old =
            shared_->device.empty() || !(shared_->device.back().cos.shape() == shared_->host.cos.shape());
        if (old) {
            shared_->device.push_back({placed(shared_->host.cos, device), placed(shared_->host.sin, device)});
        }
        return shared_->device.back();
    }

    void grow(Index count) const {
        const Index half = head_dim() / 2;
        auto cos = Tensor<Real>::zeros({count, half});
        auto sin = Tensor<Real>::zeros({count, half});
        for (Index p = 0; p < count; ++p) {
            for (Index i = 0; i < half; ++i) {
                const double f = shared_->frequencies[static_cast<std::size_t>(i)];
                const SinCos<double> turn = sincos(static_cast<double>(p) * f);
                cos.data()[p * half + i] = static_cast<Real>(turn.cos);
                sin.data()[p * half + i] = static_cast<Real>(turn.sin);
            }
        }
        shared_->host = {cos, sin};
    }

    std::shared_ptr<Shared> shared_;
};

}  // namespace moegrad

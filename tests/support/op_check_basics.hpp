#pragma once
// What checks of ops share: records of what was proved, contexts, random tensors, the inputs of an op on each device.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <moegrad/autograd/gradcheck.hpp>
#include <moegrad/core/philox.hpp>
#include <moegrad/core/slot.hpp>
#include <moegrad/core/transfer.hpp>

namespace moegrad::test {

/// What was proved of a seat: the row counts, and the largest error over its bound.
struct Record {
    std::set<Index> rows;
    double worst = 0;
};
using Seat = std::tuple<std::string, Device, Number>;
using Records = std::map<Seat, Record>;
inline Records& records() {
    static Records all;
    return all;
}
inline void add_record(const SlotNode& slot, Device device, Number number, Index rows, double worst = 0) {
    Record& record = records()[{slot.name(), device, number}];
    record.rows.insert(rows);
    record.worst = std::max(record.worst, worst);
}
/// For Proof::reference slots: call it where the agreement with the reference was asserted, for each type and device.
inline void add_reference_record(const SlotNode& slot, Number number, Device device = Device::cpu) {
    for (Index rows : {Index{0}, Index{1}, Index{7}}) add_record(slot, device, number, rows);
}

inline Context& context() {
    static Context shared({.device = Device::cpu, .threads = 2, .fill = Arena::Fill::poison});
    return shared;
}

/// Standard normal values, the same for every run and type.
template <class Real = double>
Tensor<Real> random_tensor(const Shape& shape, std::uint64_t seed, double scale = 1, double shift = 0) {
    Random random(seed);
    auto t = Tensor<Real>::zeros(shape);
    for (Real& value : t.values()) value = Real(shift + scale * random.next_normal());
    return t;
}

template <class To, class From>
Tensor<To> convert(const Tensor<From>& from) {
    auto t = Tensor<To>::zeros(from.shape());
    for (std::size_t i = 0; i < t.values().size(); ++i) t.values()[i] = To(from.values()[i]);
    return t;
}

/// Through float, as bf16 is made of nothing else.
template <class To>
Tensor<To> convert_through_float(const Tensor<double>& from) {
    if constexpr (std::is_same_v<To, bf16>) {
        return convert<bf16>(convert<float>(from));
    } else {
        return convert<To>(from);
    }
}
template <class From>
Tensor<double> to_double(const Tensor<From>& from) {
    auto t = Tensor<double>::zeros(from.shape());
    for (Index i = 0; i < from.size(); ++i)
        t.data()[i] = static_cast<double>(static_cast<Wide<From>>(from.data()[i]));
    return t;
}

/// Largest |a - b| over the largest |b|; 0 for empty tensors.
template <class A, class B>
double relative_error(const Tensor<A>& a, const Tensor<B>& b) {
    double worst = 0, scale = 0;
    for (std::size_t i = 0; i < b.values().size(); ++i) {
        const double difference =
            std::abs(static_cast<double>(a.values()[i]) - static_cast<double>(b.values()[i]));
        worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
        scale = std::max(scale, std::abs(static_cast<double>(b.values()[i])));
    }
    return worst == 0 ? 0 : worst / std::max(scale, 1e-30);
}

struct OpCheckOptions {
    std::vector<Index> rows = {0, 1, 7};
    double float_bound = 1e-5;       // of the largest double value; on a GPU of the rms, gradients 4 times
    std::vector<double> scale = {};  // of each input's normal values; 1 where absent
    std::vector<double> shift = {};
    std::uint64_t seed = 1;
    GradcheckOptions gradcheck = {};
    std::vector<Index> cuda_rows = {};  // more row counts, on a GPU only
};

/// MOEGRAD_TEST_ROWS: for tools under which a kernel takes its time (tests/cuda/sanitizer.sh).
inline const char* const most_rows = std::getenv("MOEGRAD_TEST_ROWS");
/// Cases that are written by hand leave something out then.
inline bool rows_are_limited() {
    return most_rows != nullptr;
}
/// Row counts above MOEGRAD_TEST_ROWS become it.
inline std::set<Index> limited_rows(const std::vector<Index>& rows) {
    std::set<Index> limited;
    for (Index count : rows)
        limited.insert(most_rows ? std::min<Index>(count, std::atoll(most_rows)) : count);
    return limited;
}

/// The differentiable inputs of an op under test.
template <class Real>
class Inputs {
public:
    Inputs() = default;
    Inputs(std::vector<Var<Real>> all) : all_(std::move(all)) {}
    Inputs(std::initializer_list<Var<Real>> all) : all_(all) {}

    std::size_t size() const { return all_.size(); }
    Var<Real> operator[](std::size_t i) const { return each_use_ ? each_use_(i, all_[i]) : all_[i]; }
    const std::vector<Var<Real>>& all() const { return all_; }
    /// What an op gets in the place of input i, anew at each use.
    void at_each_use(std::function<Var<Real>(std::size_t, const Var<Real>&)> f) { each_use_ = std::move(f); }

private:
    std::vector<Var<Real>> all_;
    std::function<Var<Real>(std::size_t, const Var<Real>&)> each_use_;
};

/// Of the lambda of an op that computes in float in a bf16 model too: []<test::NeverRounded Real>(...).
template <class Real>
concept NeverRounded = !std::is_same_v<Real, bf16>;

inline Context& cuda_context() {
    static Context shared({.device = Device::cuda, .threads = 1, .fill = Arena::Fill::poison});
    shared.scalars() = context().scalars();
    return shared;
}

/// f(context) on the CPU, and on the GPU where there is one.
template <class Function>
void on_each_device(const Function& f) {
    f(context());
    if (!has_cuda()) return;
    INFO("on Device::cuda");
    f(cuda_context());
}

template <class T>
Tensor<T> tensor_on(Context& where, const Tensor<T>& tensor) {
    return placed(tensor, where.device());
}

/// Lasting, and every value a NaN.
template <class T>
Tensor<T> poisoned(const Shape& shape, Device device) {
    const auto tensor = Tensor<T>::zeros(shape, device);
    const auto bytes = static_cast<std::size_t>(tensor.size()) * sizeof(T);
    if (device == Device::cuda) {
        cuda_memory().fill(tensor.data(), 0xFF, bytes);
    } else if (bytes > 0) {
        std::memset(static_cast<void*>(tensor.data()), 0xFF, bytes);
    }
    return tensor;
}

/// An input of a bf16 op. What the op takes it for decides which gradient is written: an activation (bf16), a weight
/// (bf16 with a float gradient), or a float, as routing weights are.
class MixedInput {
public:
    MixedInput(const Tensor<bf16>& value, const Tensor<float>& wide)
        : value_(value),
          wide_(wide),
          activation_(unwritten<bf16>()),
          weight_(unwritten<float>()),
          float_(unwritten<float>()) {}

    operator Var<bf16>() const { return Var<bf16>(value_, activation_); }
    operator Weight<bf16>() const { return Weight<bf16>(value_, weight_); }
    operator Var<float>() const { return Var<float>(wide_, float_); }

    const Tensor<bf16>& value() const { return value_; }
    const Shape& shape() const { return value_.shape(); }
    Index extent(int axis) const { return value_.extent(axis); }

    bool written() const { return activation_->written() || weight_->written() || float_->written(); }
    bool rounded() const { return activation_->written(); }
    Tensor<double> gradient_sum() const {
        auto sum = Tensor<double>::zeros(shape());
        add(*activation_, sum);
        add(*weight_, sum);
        add(*float_, sum);
        return sum;
    }

private:
    template <class G>
    std::shared_ptr<Gradient<G>> unwritten() const {
        return std::make_shared<Gradient<G>>(poisoned<G>(value_.shape(), value_.device()));
    }
    template <class G>
    static void add(const Gradient<G>& gradient, Tensor<double>& sum) {
        if (!gradient.written()) return;
        const Tensor<G> values = host(gradient.tensor());
        for (Index i = 0; i < sum.size(); ++i)
            sum.data()[i] += static_cast<double>(Wide<G>(values.data()[i]));
    }

    Tensor<bf16> value_;
    Tensor<float> wide_;
    std::shared_ptr<Gradient<bf16>> activation_;
    std::shared_ptr<Gradient<float>> weight_, float_;
};

template <>
class Inputs<bf16> {
public:
    Inputs(std::vector<MixedInput> all) : all_(std::move(all)) {}
    std::size_t size() const { return all_.size(); }
    const MixedInput& operator[](std::size_t i) const { return all_[i]; }
    const std::vector<MixedInput>& all() const { return all_; }

private:
    std::vector<MixedInput> all_;
};

inline double round_to_bf16(double x) {
    return static_cast<double>(static_cast<float>(bf16(static_cast<float>(x))));
}
inline Tensor<double> rounded(const Tensor<double>& x) {
    auto y = Tensor<double>::zeros(x.shape());
    for (Index i = 0; i < x.size(); ++i) y.data()[i] = round_to_bf16(x.data()[i]);
    return y;
}
/// x as it is; its gradient is rounded on the way back.
inline Var<double> rounded_gradient(Tape& tape, const Var<double>& x) {
    auto y = tape.wrap(x.value(), x.needs_gradient());
    if (y.needs_gradient()) {
        tape.record(y.gradient(), [dy = y.gradient(), dx = x.gradient()] {
            const auto target = dx->target();
            for (Index i = 0; i < target.tensor.size(); ++i) {
                double& place = target.tensor.data()[i];
                place =
                    round_to_bf16(dy->tensor().data()[i]) + (target.write == Write::accumulate ? place : 0);
            }
        });
    }
    return y;
}
/// x rounded to bf16, and its gradient on the way back: for references that round where a bf16 op does.
inline Var<double> rounded(Tape& tape, const Var<double>& x) {
    const auto y = rounded_gradient(tape, x);
    return y.needs_gradient() ? Var<double>(rounded(x.value()), y.gradient())
                              : Var<double>(rounded(x.value()));
}

}  // namespace moegrad::test

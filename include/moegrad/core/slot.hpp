#pragma once
// KernelSlot: where an op meets its kernels. ops/x.hpp declares what must exist,
//
//   template <class Real> struct RmsNormKernels { void (*forward)(Stream, ...); void (*backward)(Stream, ...); };
//   inline constinit KernelSlot<RmsNormKernels> rms_norm_slot{"rms_norm"};
//
// cpu/x.hpp and cuda/x.cuh fill one seat per number type. A seat nobody filled is an error that names op, device
// and type. Filled slots form a linked list, which the tests and `doctor` walk.
// Whoever fills a seat also fills that of Device::dry, with functions of the same types that do nothing.

#include <cstddef>
#include <utility>

#include <moegrad/core/device.hpp>
#include <moegrad/core/error.hpp>

namespace moegrad {

namespace detail {

template <class Result, class... Arguments>
using FunctionPointer = Result (*)(Arguments...);

/// Becomes any function pointer: one that does nothing.
struct Nothing {
    template <class Result, class... Arguments>
    constexpr operator FunctionPointer<Result, Arguments...>() const {
        return [](Arguments...) -> Result { return Result(); };
    }
};

/// A table of kernels, an aggregate of function pointers and nothing else, in which every member does nothing.
template <class Table, std::size_t... Member>
constexpr Table table_of_nothing(std::index_sequence<Member...>) {
    return Table{(static_cast<void>(Member), Nothing())...};
}

template <class Table>
inline constexpr Table nothing =
    table_of_nothing<Table>(std::make_index_sequence<sizeof(Table) / sizeof(void (*)())>());

}  // namespace detail

/// What proves a slot right: a gradient check, or agreement with an independent reference (updates, integer work).
enum class Proof { gradcheck, reference };

class SlotNode {
public:
    constexpr explicit SlotNode(const char* name, Proof proof = Proof::gradcheck)
        : name_(name), proof_(proof) {}
    SlotNode(const SlotNode&) = delete;
    SlotNode& operator=(const SlotNode&) = delete;

    const char* name() const { return name_; }
    Proof proof() const { return proof_; }
    const SlotNode* next() const { return next_; }
    bool filled(Device device, Number number) const { return seat(device, number) != nullptr; }

    static const SlotNode* first() { return head(); }

protected:
    const void* seat(Device device, Number number) const {
        return seats_[static_cast<int>(device)][static_cast<int>(number)];
    }
    void set_seat(Device device, Number number, const void* kernels) {
        if (!listed_) {
            next_ = head();
            head() = this;
            listed_ = true;
        }
        seats_[static_cast<int>(device)][static_cast<int>(number)] = kernels;
    }
    [[noreturn]] void throw_empty(Device device, Number number) const {
        throw Error{
            ErrorCode::unsupported, name_,
            format("a kernel for {} in {}", moegrad::name(device), moegrad::name(number)), "an empty seat",
            "link moegrad::moegrad (CPU) or moegrad::cuda, or include <moegrad/cpu/all.hpp> in one .cpp"};
    }

private:
    static const SlotNode*& head() {
        static const SlotNode* first = nullptr;
        return first;
    }

    const char* name_;
    Proof proof_;
    const SlotNode* next_ = nullptr;
    bool listed_ = false;
    const void* seats_[kDevices][kNumbers] = {};
};

template <template <class> class Kernels>
class KernelSlot : public SlotNode {
public:
    using SlotNode::SlotNode;

    template <class Real>
    const Kernels<Real>& get(Device device) const {
        const void* kernels = seat(device, number_of<Real>());
        if (kernels == nullptr) throw_empty(device, number_of<Real>());
        return *static_cast<const Kernels<Real>*>(kernels);
    }

    /// `kernels` must live as long as the program (a static constexpr table). Returns true, to initialise a constant.
    template <class Real>
    bool fill(Device device, const Kernels<Real>& kernels) {
        set_seat(device, number_of<Real>(), &kernels);
        return fill_dry<Real>();
    }
    template <class Real>
    bool fill_dry() {
        set_seat(Device::dry, number_of<Real>(), &detail::nothing<Kernels<Real>>);
        return true;
    }
};

}  // namespace moegrad

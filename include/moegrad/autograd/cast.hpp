#pragma once
// cast<To>(tape, x): x in another number type. On the CPU storage and arithmetic have one type (Wide<float> =
// float, Wide<double> = double), so x itself comes back: no copy, no record. bf16 <-> float comes with
// the bf16 kernels.

#include <type_traits>

#include <moegrad/autograd/tape.hpp>
#include <moegrad/core/device.hpp>

namespace moegrad {

template <class To, class From>
Var<To> cast(Tape&, const Var<From>& x) {
    if constexpr (std::is_same_v<To, From>) {
        return x;
    } else {
        throw Error{ErrorCode::unsupported, "cast", "equal number types",
                    format("{} to {}", name(number_of<From>()), name(number_of<To>()))};
    }
}

}  // namespace moegrad

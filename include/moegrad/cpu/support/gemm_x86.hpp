#pragma once
// Which kernels of the matrix product this CPU has.

#include <moegrad/cpu/support/gemm_avx2.hpp>
#include <moegrad/cpu/support/gemm_avx512.hpp>
#include <moegrad/cpu/support/gemm_kernel.hpp>

#include <type_traits>

namespace moegrad::cpu::gemm_detail {

#if defined(__x86_64__)

inline bool supported(InstructionSet set) {
    if (set == InstructionSet::avx512) return __builtin_cpu_supports("avx512f");
    if (set == InstructionSet::avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return true;
}

inline const Kernels<float>& vector_kernels(float, InstructionSet set) {
    if (set == InstructionSet::avx512) return kKernels<float, Avx512Kernel<Avx512Float>>;
    return kKernels<float, Avx2Kernel<Avx2Float>>;
}
inline const Kernels<double>& vector_kernels(double, InstructionSet set) {
    if (set == InstructionSet::avx512) return kKernels<double, Avx512Kernel<Avx512Double>>;
    return kKernels<double, Avx2Kernel<Avx2Double>>;
}

#else

inline bool supported(InstructionSet set) {
    return set == InstructionSet::automatic || set == InstructionSet::portable;
}
template <class T>
const Kernels<T>& vector_kernels(T, InstructionSet) {
    return kKernels<T, PortableKernel<T>>;
}

#endif

inline InstructionSet best_instructions() {
    static const InstructionSet best = supported(InstructionSet::avx512) ? InstructionSet::avx512
                                       : supported(InstructionSet::avx2) ? InstructionSet::avx2
                                                                         : InstructionSet::portable;
    return best;
}

template <class T>
const Kernels<T>& choose_kernels(InstructionSet set) {
    if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>) {
        if (set == InstructionSet::automatic) set = best_instructions();
        if (!supported(set)) {
            throw Error{ErrorCode::unsupported, "gemm", "an instruction set of this CPU",
                        "one it does not have"};
        }
        if (set != InstructionSet::portable) return vector_kernels(T(0), set);
    }
    return kKernels<T, PortableKernel<T>>;
}

}  // namespace moegrad::cpu::gemm_detail

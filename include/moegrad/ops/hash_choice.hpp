#pragma once
// hash_choice: the experts of a token's id in a fixed random table, K different ones of E.
//     key         = first two words of philox({module, 0, 0, "hash"}, seed)
//     choice[t]   = the draw of random_choice with (token[t], 0) for (sample, position)
// The table is never stored: an entry is computed where it is needed. It depends on the id alone, so on no vocabulary size.
// Saved: nothing.       Roller et al. 2021 (Hash Layers, arXiv 2106.04426).

#include <moegrad/ops/random_choice.hpp>

namespace moegrad {

MOEGRAD_HD constexpr PhiloxKey hash_choice_key(std::uint64_t seed, std::uint32_t module) {
    const PhiloxCounter words = philox({module, 0, 0, 0x68617368}, philox_key(seed));
    return {words[0], words[1]};
}

template <class Real>
struct HashChoiceKernels {
    void (*look_up)(Stream, View<const std::int32_t, 1> token, PhiloxKey, Index E,
                    View<std::int32_t, 2> choice);
};

inline constinit KernelSlot<HashChoiceKernels> hash_choice_slot{"hash_choice", Proof::reference};

/// token [T] -> [T, K], columns 0 .. E - 1. Real: the type of the router, whose kernels draw.
template <class Real>
Tensor<std::int32_t> hash_choice(Tape& tape, const Tensor<std::int32_t>& token, Index E, Index K,
                                 std::uint64_t seed, std::uint32_t module) {
    if (!token.defined() || token.shape().rank() != 1 || K < 1 || K > E) {
        throw Error{ErrorCode::value, "hash_choice", format("token [T] and K in [1, {}]", E),
                    format("{}, K {}", token.defined() ? "token " + token.shape().text() : "no token ids", K),
                    "a router by token id needs RouteInput.token"};
    }
    auto choice = tape.make<std::int32_t>({token.extent(0), K});
    hash_choice_slot.get<Real>(tape.device())
        .look_up(tape.stream(), token.view<1>(), hash_choice_key(seed, module), E, choice.view<2>());
    return choice;
}

}  // namespace moegrad

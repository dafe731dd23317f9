// The same bits from every instruction set, for each kernel that with_vectors compiles more than once: its forward and
// its gradients, in float, on shapes whose ends fill no vector.

#include <moegrad/cpu/attention.hpp>
#include <moegrad/cpu/linear_cross_entropy.hpp>
#include <moegrad/cpu/rms_norm.hpp>
#include <moegrad/cpu/rope.hpp>
#include <moegrad/cpu/support/wide.hpp>
#include <moegrad/cpu/swiglu.hpp>

#include "support/op_check.hpp"

#include <cstring>

namespace {

using namespace moegrad;
using cpu::InstructionSet;

/// Forces an instruction set while it lives.
struct Forced {
    explicit Forced(InstructionSet set) { cpu::forced_instructions = set; }
    ~Forced() { cpu::forced_instructions = InstructionSet::automatic; }
};

/// What `op` makes of `inputs` and the gradients of its inputs, in one line.
template <class Op>
std::vector<float> values_and_gradients(InstructionSet set, const std::vector<Tensor<float>>& inputs, Op op) {
    const Forced forced(set);
    Tape tape(test::context());
    std::vector<Var<float>> variables;
    for (const auto& input : inputs) variables.push_back(tape.input(input));
    const Var<float> y = op(tape, variables);
    auto dy = y.gradient()->target();
    for (Index i = 0; i < dy.tensor.size(); ++i) dy.tensor.data()[i] = static_cast<float>(i * 7 % 11) / 4 - 1;
    tape.backward();
    std::vector<float> all(y.value().data(), y.value().data() + y.value().size());
    for (const auto& variable : variables) {
        const Tensor<float>& gradient = variable.gradient()->tensor();
        all.insert(all.end(), gradient.data(), gradient.data() + gradient.size());
    }
    return all;
}

template <class Op>
void same_everywhere(const std::vector<Shape>& shapes, Op op, double scale = 1) {
    std::vector<Tensor<float>> inputs;
    for (const Shape& shape : shapes)
        inputs.push_back(test::random_tensor<float>(shape, 40 + inputs.size(), scale));
    const auto want = values_and_gradients(InstructionSet::portable, inputs, op);
    for (InstructionSet set : {InstructionSet::avx2, InstructionSet::avx512}) {
        if (!cpu::gemm_detail::supported(set)) {
            MESSAGE("this CPU lacks an instruction set; it was not compared");
            continue;
        }
        CAPTURE(static_cast<int>(set));
        const auto got = values_and_gradients(set, inputs, op);
        REQUIRE(got.size() == want.size());
        CHECK(std::memcmp(got.data(), want.data(), want.size() * sizeof(float)) == 0);
    }
}

}  // namespace

TEST_CASE("wide: attention has one set of bits") {
    const AttentionOptions cases[] = {{.heads = 4, .kv_heads = 2, .head_dim = 12},
                                      {.heads = 2, .kv_heads = 1, .head_dim = 32, .window = 45},
                                      {.heads = 1, .kv_heads = 1, .head_dim = 67, .scale = 0.3}};
    for (const auto& options : cases) {
        CAPTURE(options.head_dim);
        auto segments = Segments::of_lengths({5, 0, 103, 1, 40});
        for (Index t : {20, 21, 50}) segments.valid.data()[t] = 0;
        const Index T = segments.tokens(), keys = options.kv_heads * options.head_dim;
        same_everywhere({{T, options.heads * options.head_dim}, {T, keys}, {T, keys}},
                        [&](Tape& tape, const std::vector<Var<float>>& in) {
                            return attention(tape, in[0], in[1], in[2], segments, options);
                        });
    }
}

TEST_CASE("wide: swiglu has one set of bits") {
    for (double scale : {1.0, 60.0}) {
        same_everywhere(
            {{7, 2 * 301}},
            [](Tape& tape, const std::vector<Var<float>>& in) { return swiglu_fused(tape, in[0]); }, scale);
        same_everywhere(
            {{7, 37}, {7, 37}},
            [](Tape& tape, const std::vector<Var<float>>& in) { return swiglu(tape, in[0], in[1]); }, scale);
    }
}

TEST_CASE("wide: rms_norm has one set of bits") {
    same_everywhere({{9, 77}, {77}}, [](Tape& tape, const std::vector<Var<float>>& in) {
        return rms_norm(tape, in[0], in[1], 1e-5);
    });
}

TEST_CASE("wide: rope has one set of bits") {
    const RopeTable<float> table(14, 1e4, {});
    const auto segments = Segments::of_lengths({3, 20});
    same_everywhere({{23, 28}}, [&](Tape& tape, const std::vector<Var<float>>& in) {
        return rope(tape, in[0], table, segments);
    });
}

TEST_CASE("wide: cross entropy has one set of bits") {
    const Index T = 9, V = 213;
    auto target = Tensor<std::int32_t>::zeros({T});
    for (Index t = 0; t < T; ++t)
        target.data()[t] = t == 4 ? kIgnoreTarget : static_cast<std::int32_t>(t * 23);
    for (double scale : {1.0, 9.0}) {
        same_everywhere(
            {{T, 33}, {V, 33}},
            [&](Tape& tape, const std::vector<Var<float>>& in) {
                return linear_cross_entropy(tape, in[0], in[1], target);
            },
            scale);
    }
}

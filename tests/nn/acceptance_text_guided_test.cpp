// Parrot, acceptance items of methods.md 21 and 24.17 in the sizes of the paper: 577 rows an image, and its parameters.

#include <moegrad/nn/text_guided_moe.hpp>

#include "support/op_check_basics.hpp"

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

/// CLIP ViT-L/14-336: 24 x 24 patches and the class token; six languages; experts of width 4096.
constexpr Index kClipRows = 577, kLanguages = 6, kVisualWidth = 4096;

template <class Real>
TextGuidedMoe<Real> visual_moe(Index D, Index F) {
    TextGuidedMoe<Real> moe;
    moe.name = "visual_moe";
    moe.gate = Gate<Real>(std::make_shared<Parameter<Real>>("gate.weight", Shape{kLanguages, D}));
    moe.experts = Experts<Real>("experts", kLanguages, D, F);
    return moe;
}

}  // namespace

TEST_CASE("parrot acceptance: p is the same in all 577 rows of an image, and differs between images") {
    constexpr Index D = 8, F = 4, N = 5;
    auto moe = visual_moe<double>(D, F);
    std::uint64_t stream = 0;
    for (auto* parameter : moe.parameters()) fill_normal(parameter->value(), 0.5, 3, ++stream);
    auto visual = Tensor<double>::zeros({2 * kClipRows, D}), text = Tensor<double>::zeros({N, D});
    fill_normal(visual, 1, 4, 0);
    fill_normal(text, 1, 4, 1);
    Context context({.device = Device::cpu, .threads = 1});
    Tape tape(context, Mode::inference);
    const auto segments = Segments::of_lengths({kClipRows, kClipRows});
    const auto token = Tensor<std::int32_t>::zeros({2 * kClipRows});
    Forward<double> forward{tape, token, segments};
    moe(forward, Var<double>(visual), {Var<double>(text), Tensor<std::int32_t>::from({3}, {0, 2, N})});
    const auto& routing = forward.routings.at(0).routing;
    const auto p = [&](Index t, Index slot) { return routing.weight.value().matrix()(t, slot); };
    const auto expert = [&](Index t, Index slot) { return routing.expert.matrix()(t, slot); };
    double gap = 0;
    Index others = 0;
    for (Index slot = 0; slot < kLanguages; ++slot) {
        for (Index t = 0; t < 2 * kClipRows; ++t) {
            const Index first = t < kClipRows ? 0 : kClipRows;
            others += p(t, slot) != p(first, slot) || expert(t, slot) != expert(first, slot);
        }
        gap = std::max(gap, std::abs(p(0, slot) - p(kClipRows, slot)));
    }
    CHECK(others == 0);
    CHECK(gap > 1e-3);
}

TEST_CASE("parrot golden: 302,014,464 parameters beside D = 4096, 377,518,080 beside D = 5120") {
    const Planning planning;
    for (const auto& [D, want] : {std::pair<Index, Index>{4096, 302014464}, {5120, 377518080}}) {
        auto moe = visual_moe<float>(D, kVisualWidth);
        Index count = 0;
        for (auto* parameter : moe.parameters()) count += parameter->size();
        CHECK(count == want);
    }
}

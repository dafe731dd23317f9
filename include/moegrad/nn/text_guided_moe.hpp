#pragma once
// TextGuidedMoe: experts over the visual tokens of an image, gated once per image by the text that goes with it.
//     q = H[0]                                   the image's class token, as projected
//     a = softmax(q Tx^T / sqrt(D)) Tx           what the question says of it: attention without weights
//     p = softmax(W_g a)                         one p for all tokens of the image, all E experts run
//     M(H)_t = sum_e p_e E_e(H_t)                E_e SwiGLU
//     identity:  H' = M(H) + w H   (the released code, w = 0.1)      expert:  H' = H + w M(H)   (the paper's formula)
// Every image is a segment of its own; images of one sample bring the sample's text each, so none is left out, as all but
// the first are in the released code. The experts of `down` at zero with Residual::expert and w = 1 start as the identity.
// Sun et al. 2024, Parrot (arXiv 2406.02539, ICML 2025).

#include <string>
#include <utility>
#include <vector>

#include <moegrad/nn/experts.hpp>
#include <moegrad/ops/attention_pool.hpp>
#include <moegrad/ops/cast.hpp>
#include <moegrad/ops/combine.hpp>
#include <moegrad/ops/dispatch.hpp>
#include <moegrad/ops/embedding.hpp>
#include <moegrad/ops/fill.hpp>
#include <moegrad/ops/multiply.hpp>
#include <moegrad/ops/softmax.hpp>
#include <moegrad/ops/take.hpp>
#include <moegrad/ops/top_k.hpp>
#include <moegrad/routing/gate.hpp>

namespace moegrad {

/// Which branch the weight w stands on.
enum class TextGuidedResidual { identity, expert };

/// Text tokens Tx [N, D] of S images, one after another.
template <class Real>
struct GuidingText {
    Var<Real> token;             // [N, D]
    Tensor<std::int32_t> begin;  // [S + 1]  the first row of each image's text
};

template <class Real>
struct TextGuidedMoe {
    std::string name;       // "visual_moe"
    Gate<Wide<Real>> gate;  // [E, D]
    Experts<Real> experts;  // E of them
    TextGuidedResidual residual = TextGuidedResidual::identity;
    double weight = 0.1;  // w

    /// visual [T, D], its segments (one per image, the class token first) in `forward` -> [T, D].
    Var<Real> operator()(Forward<Real>& forward, const Var<Real>& visual,
                         const GuidingText<Wide<Real>>& text) {
        Tape& tape = forward.tape;
        const Segments& images = forward.segments;
        const Index S = images.count();
        if (text.begin.extent(0) != S + 1) {
            throw Error{ErrorCode::shape, name, format("text of {} images", S),
                        format("of {}", text.begin.extent(0) - 1),
                        "images of one sample bring its text each"};
        }
        require_tokens(images);
        const auto first = images.begin.rows(0, S);
        const auto q = embedding(tape, first, Weight<Wide<Real>>(cast<Wide<Real>>(tape, visual)));
        const auto a = attention_pool(tape, q, text.token, text.begin);
        const auto p = softmax(tape, linear(tape, a, gate.weight->use()));
        auto routing = routing_of(tape, p, images);
        const auto plan = dispatch(tape, routing.expert, experts.count());
        const auto h = experts(forward, visual, plan);
        const bool on_identity = residual == TextGuidedResidual::identity;
        const auto share = filled<Wide<Real>>(tape, {visual.extent(0)}, on_identity ? weight : 1);
        const auto y = combine(tape, h, on_identity ? routing.weight : weighted(tape, routing.weight), plan,
                               Var<Wide<Real>>(share), visual);
        forward.routings.push_back({name, 0, std::move(routing)});
        return y;
    }

    std::vector<Parameter<Wide<Real>>*> parameters() {
        auto all = gate.parameters();
        for (auto* p : experts.parameters()) all.push_back(p);
        return all;
    }

private:
    /// An image without tokens has no class token. Where its begin lies on a GPU, nobody can look without waiting for it.
    void require_tokens(const Segments& images) const {
        if (!images.begin.on_host()) return;
        for (Index s = 0; s < images.count(); ++s) {
            if (images.begin.data()[s] < images.begin.data()[s + 1]) continue;
            throw Error{ErrorCode::value, name, "images of at least one token", format("none in image {}", s),
                        "leave the image and its text out"};
        }
    }
    /// Every expert for every token, p [S, E] of its image.
    Routing<Wide<Real>> routing_of(Tape& tape, const Var<Wide<Real>>& p, const Segments& images) const {
        Routing<Wide<Real>> routing;
        const auto spread = embedding(tape, images.segment, Weight<Wide<Real>>(p));  // [T, E]
        const auto choice = top_k(tape, spread.value(), experts.count());
        routing.expert = classify_slots<Wide<Real>>(tape, choice, images, experts.count());
        routing.weight = take(tape, spread, routing.expert);
        routing.stats = route_stats(tape, routing.expert, choice, spread.value(), images);
        return routing;
    }
    Var<Wide<Real>> weighted(Tape& tape, const Var<Wide<Real>>& p) const {
        return multiply(tape, p, Var<Wide<Real>>(filled<Wide<Real>>(tape, p.shape(), weight)));
    }
};

}  // namespace moegrad

#pragma once
// A task for text-guided experts: images of a class token and four patches, questions in one of three languages. The class
// that a language asks for is a linear reading of the class token, another one for each language: without the text nobody
// can know which. Features are given tensors, as CLIP would give them; nothing but the experts, their gate and the head learns.

#include <moegrad/moegrad.hpp>
#include <moegrad/nn/text_guided_moe.hpp>

namespace moegrad {

class ImageQuiz {
public:
    static constexpr Index kImages = 64, kTokens = 5, kD = 16, kWords = 4, kVocabulary = 10, kLanguages = 3,
                           kClasses = 4, kWidth = 32;

    ImageQuiz() {
        moe_.name = "visual_moe";
        moe_.residual = TextGuidedResidual::expert;
        moe_.weight = 1;
        moe_.gate = Gate<float>(trainable("visual_moe.gate.weight", {kLanguages, kD}, 0.5, 1));
        moe_.experts = Experts<float>("visual_moe.experts", kLanguages, kD, kWidth);
        for (auto* p : moe_.experts.parameters()) p->set_trainable(true);
        fill_normal(moe_.experts.gate_up.value(), 0.25, 7, 2);  // down is zero: the start is the identity
        head_ = trainable("head.weight", {kClasses, kD}, 0.25, 3);
        fill_normal(words_, 1, 7, 4);
        fill_normal(readings_, 1, 7, 5);
    }

    /// Takes a step on fresh images, or only answers: the share of right answers. `guided`: whether the text is the
    /// question's, or the same for every image.
    double run(Context& context, std::uint64_t number, bool learns, bool guided = true) {
        draw(number, guided);
        Tape tape(context, learns ? Mode::training : Mode::inference);
        Forward<float> forward{tape, token_, segments_};
        const auto text = Var<float>(text_);
        const auto y = moe_(forward, Var<float>(image_), {text, begin_});
        const double right = score(linear(tape, Var<float>(y.value()), Var<float>(head_->value())).value());
        if (learns)
            learn(context, tape, forward, linear_cross_entropy(tape, y, head_->use(), target_), number);
        return right;
    }
    /// Mean probability of every expert for the images of each language of the last batch: [languages, E].
    const Tensor<float>& preference() const { return preference_; }

private:
    static std::shared_ptr<Parameter<float>> trainable(const char* name, Shape shape, double deviation,
                                                       std::uint64_t stream) {
        auto parameter = std::make_shared<Parameter<float>>(name, shape);
        parameter->set_trainable(true);
        fill_normal(parameter->value(), deviation, 7, stream);
        return parameter;
    }

    void draw(std::uint64_t number, bool guided) {
        fill_normal(image_, 1, 8, number);
        Random random(9, number);
        for (Index i = 0; i < kImages; ++i) {
            const Index language = static_cast<Index>(random.next_below(kLanguages));
            language_[static_cast<std::size_t>(i)] = language;
            for (Index w = 0; w < kWords; ++w) {
                const Index word = kVocabulary * (guided ? language : 0) +
                                   static_cast<Index>(random.next_below(kVocabulary));
                std::copy_n(words_.data() + word * kD, kD, text_.data() + (i * kWords + w) * kD);
            }
            const float* x = image_.data() + i * kTokens * kD;
            Index best = 0;
            float most = 0;
            for (Index c = 0; c < kClasses; ++c) {
                float sum = 0;
                for (Index d = 0; d < kD; ++d)
                    sum += x[d] * readings_.data()[(language * kClasses + c) * kD + d];
                if (c == 0 || sum > most) best = c, most = sum;
            }
            target_.data()[i * kTokens] = static_cast<std::int32_t>(best);
        }
    }

    double score(const Tensor<float>& logits) const {
        Index right = 0;
        for (Index i = 0; i < kImages; ++i) {
            const float* z = logits.data() + i * kTokens * kClasses;
            right += std::max_element(z, z + kClasses) - z == target_.data()[i * kTokens];
        }
        return static_cast<double>(right) / kImages;
    }

    void learn(Context& context, Tape& tape, Forward<float>& forward, const Var<float>& nll,
               std::uint64_t number) {
        keep_preference(forward.routings[0].routing);
        context.scalars().coefficient[0] = 1.0 / kImages;
        seed(tape, nll, 0);
        forward.routings.clear();
        tape.backward();
        context.scalars().step = number;
        auto all = moe_.parameters();
        all.push_back(head_.get());
        for (auto* p : all) {
            adamw_update(context.stream(), GradientUses<float>(p->gradients()), p->value(), p->first_moment(),
                         p->second_moment(), {.weight_decay = 0});
            p->forget_gradients();
        }
    }

    void keep_preference(const Routing<float>& routing) {
        std::vector<float> count(kLanguages);
        for (float& one : preference_.values()) one = 0;
        for (Index i = 0; i < kImages; ++i)
            count[static_cast<std::size_t>(language_[static_cast<std::size_t>(i)])] += 1;
        for (Index i = 0; i < kImages; ++i) {
            const Index language = language_[static_cast<std::size_t>(i)];
            for (Index k = 0; k < kLanguages; ++k) {
                const Index slot = i * kTokens * kLanguages + k;
                preference_.data()[language * kLanguages + routing.expert.data()[slot]] +=
                    routing.weight.value().data()[slot] / count[static_cast<std::size_t>(language)];
            }
        }
    }

    TextGuidedMoe<float> moe_;
    std::shared_ptr<Parameter<float>> head_;
    Tensor<float> words_ = Tensor<float>::zeros({kLanguages * kVocabulary, kD}),
                  readings_ = Tensor<float>::zeros({kLanguages * kClasses, kD}),
                  image_ = Tensor<float>::zeros({kImages * kTokens, kD}),
                  text_ = Tensor<float>::zeros({kImages * kWords, kD}),
                  preference_ = Tensor<float>::zeros({kLanguages, kLanguages});
    Tensor<std::int32_t> token_ = Tensor<std::int32_t>::zeros({kImages * kTokens}), target_ = ignored(),
                         begin_ = text_rows();
    Segments segments_ = Segments::of_lengths(std::vector<Index>(kImages, kTokens));
    std::vector<Index> language_ = std::vector<Index>(kImages);

    static Tensor<std::int32_t> ignored() {
        auto target = Tensor<std::int32_t>::zeros({kImages * kTokens});
        std::fill(target.values().begin(), target.values().end(), kIgnoreTarget);
        return target;
    }
    static Tensor<std::int32_t> text_rows() {
        auto begin = Tensor<std::int32_t>::zeros({kImages + 1});
        for (Index i = 0; i <= kImages; ++i) begin.data()[i] = static_cast<std::int32_t>(i * kWords);
        return begin;
    }
};

/// A lesson of `steps` steps; the share of right answers on 20 fresh batches.
inline double image_quiz_score(ImageQuiz& quiz, Context& context, std::uint64_t steps, bool guided = true) {
    for (std::uint64_t n = 0; n < steps; ++n) quiz.run(context, n, true, guided);
    double right = 0;
    for (std::uint64_t n = 0; n < 20; ++n) right += quiz.run(context, 100000 + n, false, guided) / 20;
    return right;
}

}  // namespace moegrad

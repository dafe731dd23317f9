#pragma once
// generate: text from a model, one token at a time. The whole prefix is run again for every token (no cache yet), so
// generation uses exactly the training forward.

#include <string>
#include <vector>

#include <moegrad/core/math.hpp>
#include <moegrad/core/philox.hpp>
#include <moegrad/models/decoder.hpp>

namespace moegrad {

struct GenerateOptions {
    Index max_new_tokens = 128;
    double temperature = 0;            // 0: the likeliest token (ties: lowest id)
    std::uint64_t seed = 0;            // of the sampling
    std::vector<std::int32_t> stop{};  // ids that end the text; they are not part of it
};

namespace detail {

/// The likeliest id, or a draw from softmax(logits / temperature) by the inverse of its cumulative sum.
template <class Real>
std::int32_t pick_token(const Tensor<Real>& logits, double temperature, Random& random) {
    const auto z = logits.values();
    std::size_t best = 0;
    for (std::size_t i = 1; i < z.size(); ++i) {
        if (z[i] > z[best]) best = i;
    }
    if (temperature <= 0) return static_cast<std::int32_t>(best);
    std::vector<double> sum(z.size());
    double total = 0;
    for (std::size_t i = 0; i < z.size(); ++i) {
        total += exp((static_cast<double>(z[i]) - static_cast<double>(z[best])) / temperature);
        sum[i] = total;
    }
    const double draw = static_cast<double>(random.next_uniform()) * total;
    std::size_t i = 0;
    while (i + 1 < sum.size() && sum[i] <= draw) ++i;
    return static_cast<std::int32_t>(i);
}

}  // namespace detail

/// Continues `prompt` (not empty); `each(id)` is called for every new token. Returns the new ids.
template <class Real, class Each>
std::vector<std::int32_t> generate(Context& context, Decoder<Real>& model, std::vector<std::int32_t> prompt,
                                   const GenerateOptions& options, Each each) {
    if (prompt.empty()) {
        throw Error{ErrorCode::data, "generate", "a prompt of at least one token", "none",
                    "a tokenizer with a BOS token gives one for an empty text"};
    }
    Random random(options.seed, 0x67656e65726174ull);
    std::vector<std::int32_t> made;
    for (Index n = 0; n < options.max_new_tokens; ++n) {
        const Index T = static_cast<Index>(prompt.size());
        const auto token = Tensor<std::int32_t>::from({T}, std::span<const std::int32_t>(prompt));
        const auto segments = Segments::of_lengths({T});
        Tape tape(context, Mode::inference);
        Forward<Real> forward{tape, token, segments};
        const auto last = Var<Real>(model.hidden(forward).value().rows(T - 1, T));
        const std::int32_t id =
            detail::pick_token(model.logits(forward, last).value(), options.temperature, random);
        if (std::find(options.stop.begin(), options.stop.end(), id) != options.stop.end()) break;
        prompt.push_back(id);
        made.push_back(id);
        each(id);
    }
    return made;
}

}  // namespace moegrad

#pragma once
// generate: text from models, one token at a time. Keys and values of earlier tokens are kept, so that a step runs the new
// token alone; the ids are those of running the whole prefix every time (GenerateOptions::cache = false), to the bit.
// A model with a router that looks beyond single tokens has no such promise: its prefix is run every time.
//   temperature 0    the likeliest token, ties: lowest id
//   temperature > 0  a draw from softmax(z / temperature) over the top_k best logits, and of these over the smallest set
//                    of best tokens whose probability reaches top_p
// The host picks: on a GPU the logits of the new tokens come back every step, V numbers per text.
// Draws are functions of (seed, index of the prompt): no prompt's text depends on the others.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include <moegrad/core/device_reports.hpp>
#include <moegrad/core/math.hpp>
#include <moegrad/core/philox.hpp>
#include <moegrad/eval/token_ids.hpp>
#include <moegrad/methods/model_routers.hpp>

namespace moegrad {

struct GenerateOptions {
    Index max_new_tokens = 128;
    double temperature = 0;            // 0: the likeliest token (ties: lowest id)
    std::uint64_t seed = 0;            // of the sampling
    std::vector<std::int32_t> stop{};  // ids that end the text; they are not part of it
    Index top_k = 0;                   // 0: all
    double top_p = 1;
    bool cache = true;                  // keep keys and values
    Index batch = 16;                   // prompts that run together
    std::vector<std::int32_t> tasks{};  // of the prompts, for routers that ask; empty: none
};

namespace detail {

/// Which ids may be drawn, by the weights exp((z - max) / temperature).
inline std::vector<bool> allowed_tokens(const std::vector<double>& weight, Index top_k, double top_p) {
    const bool all = (top_k <= 0 || top_k >= static_cast<Index>(weight.size())) && top_p >= 1;
    std::vector<bool> allowed(weight.size(), all);
    if (all) return allowed;
    std::vector<std::size_t> order(weight.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return weight[a] > weight[b]; });
    if (top_k > 0 && top_k < static_cast<Index>(order.size())) order.resize(static_cast<std::size_t>(top_k));
    double total = 0, sum = 0;
    for (std::size_t i : order) total += weight[i];
    for (std::size_t i : order) {
        allowed[i] = true;
        sum += weight[i];
        if (sum >= top_p * total) break;
    }
    return allowed;
}

/// The likeliest id, or a draw by the inverse of the cumulative sum over the allowed ids.
template <class Real>
std::int32_t pick_token(std::span<const Real> z, const GenerateOptions& options, Random& random) {
    std::size_t best = 0;
    for (std::size_t i = 0; i < z.size(); ++i) {
        if (!std::isfinite(z[i]))
            throw Error{ErrorCode::value, "generate", "finite logits", format("{} for id {}", z[i], i),
                        "is the checkpoint or the adapter damaged?"};
        if (z[i] > z[best]) best = i;
    }
    if (options.temperature <= 0) return static_cast<std::int32_t>(best);
    std::vector<double> weight(z.size());
    for (std::size_t i = 0; i < z.size(); ++i) {
        weight[i] =
            moegrad::exp((static_cast<double>(z[i]) - static_cast<double>(z[best])) / options.temperature);
    }
    const auto allowed = allowed_tokens(weight, options.top_k, options.top_p);
    double total = 0;
    for (std::size_t i = 0; i < z.size(); ++i) total += allowed[i] ? weight[i] : 0;
    const double draw = static_cast<double>(random.next_uniform()) * total;
    double sum = 0;
    for (std::size_t i = 0; i < z.size(); ++i) {
        if (!allowed[i]) continue;
        sum += weight[i];
        best = i;  // the last allowed one, should rounding leave the draw beyond all of them
        if (sum > draw) break;
    }
    return static_cast<std::int32_t>(best);
}

inline void check_generate(const GenerateOptions& options) {
    if (options.temperature >= 0 && options.top_k >= 0 && options.top_p > 0 && options.top_p <= 1) return;
    throw Error{ErrorCode::config, "generate", "temperature >= 0, top_k >= 0, 0 < top_p <= 1",
                format("{}, {}, {}", options.temperature, options.top_k, options.top_p)};
}

/// One text in the making.
struct Writing {
    Index index = 0;                  // of the prompt among all
    std::vector<std::int32_t> whole;  // prompt and what was made
    std::size_t seen = 0;             // tokens whose keys are kept
    Random random;
    std::int32_t task = kNoTask;
};

/// Whether every router of the model looks at single tokens.
template <class Real>
bool routes_by_token(Decoder<Real>& model) {
    bool all = true;
    for (auto& [name, router] : model_routers(model)) all = all && router->scope() == RouterScope::token;
    return all;
}

/// The logits [texts, V] after the last token of each, on the host.
template <class Real>
Tensor<Wide<Real>> next_logits(Context& context, Decoder<Real>& model, const std::vector<Writing*>& open,
                               KeyValueCache<Real>* cache, std::span<const Index> place) {
    std::vector<Index> lengths;
    std::vector<std::int32_t> ids, last, sample, tasks;
    for (Writing* text : open) {
        const std::size_t from = cache ? text->seen : 0;
        ids.insert(ids.end(), text->whole.begin() + static_cast<std::ptrdiff_t>(from), text->whole.end());
        lengths.push_back(static_cast<Index>(text->whole.size() - from));
        last.push_back(static_cast<std::int32_t>(ids.size()) - 1);
        sample.push_back(static_cast<std::int32_t>(text->index));
        tasks.push_back(text->task);
        text->seen = text->whole.size();
    }
    const Device device = context.device();
    const auto token = placed_ids(ids, model.config().vocab_size, device);
    Segments sequences = cache ? cache->extend(place, lengths, sample)
                               : Segments::of_lengths(std::span<const Index>(lengths), sample);
    sequences.set_tasks(tasks);
    const auto segments = placed(sequences, device);
    Tape tape(context, Mode::inference);
    Forward<Real> forward{tape, token, segments};
    forward.cache = cache;
    const auto hidden = model.hidden(forward);
    const auto rows = placed_ids(last, static_cast<Index>(ids.size()), device);
    const auto ends = embedding(tape, rows, Weight<Real>(hidden.value()));
    const auto logits = widened(host(model.logits(forward, ends).value()));
    require_no_reports(device, "generate");
    return logits;
}

/// Continues texts that run together; `each(place, id)` for every new token.
template <class Real, class Each>
void write_together(Context& context, Decoder<Real>& model, std::span<Writing> texts,
                    const GenerateOptions& options, bool cached, const Each& each) {
    KeyValueCache<Real> cache(texts.size());
    std::vector<Index> place(texts.size());
    std::iota(place.begin(), place.end(), Index{0});
    for (Index n = 0; n < options.max_new_tokens && !place.empty(); ++n) {
        std::vector<Writing*> open;
        for (const Index i : place) open.push_back(&texts[static_cast<std::size_t>(i)]);
        const auto logits =
            next_logits(context, model, open, cached ? &cache : nullptr, std::span<const Index>(place));
        std::vector<Index> going_on;
        for (std::size_t i = 0; i < open.size(); ++i) {
            const auto row = logits.rows(static_cast<Index>(i), static_cast<Index>(i) + 1);
            const std::int32_t id =
                pick_token(std::span<const Wide<Real>>(row.values()), options, open[i]->random);
            if (std::find(options.stop.begin(), options.stop.end(), id) != options.stop.end()) continue;
            going_on.push_back(place[i]);
            open[i]->whole.push_back(id);
            each(static_cast<std::size_t>(place[i]), id);
        }
        place = std::move(going_on);
    }
}

}  // namespace detail

/// Continues every prompt (none empty); `each(prompt, id)` is called for every new token. Returns the new ids.
template <class Real, class Each>
std::vector<std::vector<std::int32_t>> generate_all(Context& context, Decoder<Real>& model,
                                                    std::span<const std::vector<std::int32_t>> prompts,
                                                    const GenerateOptions& options, Each each) {
    detail::check_generate(options);
    const bool by_token = detail::routes_by_token(model);
    const std::size_t together =
        by_token ? static_cast<std::size_t>(std::max<Index>(options.batch, 1)) : std::size_t{1};
    std::vector<std::vector<std::int32_t>> made(prompts.size());
    for (std::size_t begin = 0; begin < prompts.size(); begin += together) {
        std::vector<detail::Writing> texts;
        for (std::size_t i = begin; i < std::min(begin + together, prompts.size()); ++i) {
            if (prompts[i].empty()) {
                throw Error{ErrorCode::data, "generate", "a prompt of at least one token", "none",
                            "a tokenizer with a BOS token gives one for an empty text"};
            }
            texts.push_back({static_cast<Index>(i), prompts[i], 0,
                             Random(options.seed, 0x67656e65726174ull + static_cast<std::uint64_t>(i)),
                             options.tasks.empty() ? kNoTask : options.tasks.at(i)});
        }
        detail::write_together(context, model, std::span(texts), options, options.cache && by_token,
                               [&](std::size_t place, std::int32_t id) {
                                   made[begin + place].push_back(id);
                                   each(begin + place, id);
                               });
    }
    return made;
}

/// Continues `prompt` (not empty); `each(id)` is called for every new token. Returns the new ids.
template <class Real, class Each>
std::vector<std::int32_t> generate(Context& context, Decoder<Real>& model, std::vector<std::int32_t> prompt,
                                   const GenerateOptions& options, Each each) {
    return generate_all(context, model, std::span<const std::vector<std::int32_t>>(&prompt, 1), options,
                        [&](std::size_t, std::int32_t id) { each(id); })
        .front();
}

}  // namespace moegrad

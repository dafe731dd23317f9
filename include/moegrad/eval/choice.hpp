#pragma once
// Multiple choice by log-likelihood, as EleutherAI's lm-evaluation-harness has it:
//   ll[c] = sum over the tokens of continuation c of log p(token | all before it)
//   chosen: argmax ll (acc), argmax ll / characters of the choice (acc_norm), argmax ll / its bytes (acc_bytes);
//   a tie goes to the first
// Context and continuation are encoded as ONE string, cut at the length of the context's encoding; blanks at the end of
// the context go to the continuation. A text longer than the model's positions loses tokens at its left (BOS among them).

#include <span>
#include <string>
#include <vector>

#include <moegrad/data/choice_prompt.hpp>
#include <moegrad/eval/score_batch.hpp>
#include <moegrad/io/utf8.hpp>

namespace moegrad {

struct ChoiceOptions {
    ChoiceFormat format = ChoiceFormat::world;
    ChoiceStyle style = ChoiceStyle::continuation;
    Index batch = 16;             // questions per forward; changes no bit
    Index max_length = 0;         // 0: max_position_embeddings
    std::size_t kept_texts = 40;  // whose tokens' experts are kept one by one
};

struct ChoiceResult {
    std::string id, domain;
    int level = 0, answer = 0;
    int chosen = 0, chosen_norm = 0, chosen_bytes = 0;
    std::vector<double> log_likelihood;  // of every choice
    bool truncated = false;              // some choice did not fit the model's positions
    std::string question;                // with its context, as it stands in the file: for readers
    std::vector<std::string> choices;

    bool correct() const { return chosen == answer; }
    double nll() const { return -log_likelihood[static_cast<std::size_t>(answer)]; }
};

struct Metric {
    std::string name;
    Estimate estimate;
};

struct ChoiceEvaluation {
    std::vector<ChoiceResult> items;
    std::vector<Metric>
        metrics;  // acc, acc_norm, acc_bytes, nll (mcc for CoLA); the format's header says which to quote
    TokenRouting routing;  // over every question with its right answer
    Index truncated = 0;
    std::string first_prompt;  // of the first question with its right answer, and its ids
    std::vector<std::int32_t> first_ids;
    Index first_context = 0;  // how many of them are context

    const Estimate& metric(std::string_view name) const {
        for (const Metric& one : metrics) {
            if (one.name == name) return one.estimate;
        }
        throw Error{ErrorCode::value, "ChoiceEvaluation::metric", "a metric of this evaluation",
                    std::string(name)};
    }
};

/// A context and what follows it, as ids.
struct EncodedPair {
    std::vector<std::int32_t> ids;
    Index context = 0;  // the first ids that belong to the context
};

inline EncodedPair encode_pair(const Tokenizer& tokenizer, std::string_view context,
                               const std::string& continuation) {
    const std::size_t end = context.find_last_not_of(" \t\n\r\v\f");
    const std::size_t kept = end == std::string_view::npos ? 0 : end + 1;
    const std::string whole = std::string(context) + continuation;
    EncodedPair pair{tokenizer.encode(whole), 0};
    pair.context = static_cast<Index>(tokenizer.encode(context.substr(0, kept)).size());
    if (pair.context == 0 && tokenizer.bos_id() >= 0) {  // the harness's prefix token
        pair.ids.insert(pair.ids.begin(), tokenizer.bos_id());
        pair.context = 1;
    }
    if (pair.context == 0 || pair.context >= static_cast<Index>(pair.ids.size())) {
        throw Error{ErrorCode::data, "choice", "a context and a continuation of at least one token each",
                    format("{} and {} tokens of \"{}\"", pair.context,
                           static_cast<Index>(pair.ids.size()) - pair.context, printable(whole))};
    }
    return pair;
}

namespace detail {

/// Where the answers of one choice lie among those of its batch.
struct ChoicePlace {
    std::size_t first = 0, count = 0;
};

/// One question in a batch: where its answers come out, and its right answer's rows.
struct PlacedItem {
    std::vector<ChoicePlace> choices;
    RoutedText text;
    Index first_row = 0;
    bool truncated = false;
};

inline double unicode_length(std::string_view text) {
    Index n = 0;
    for (const char c : text) n += (static_cast<unsigned char>(c) & 0xC0u) != 0x80u;
    return static_cast<double>(n);
}

inline int best_of(const std::vector<double>& score) {
    return static_cast<int>(std::max_element(score.begin(), score.end()) - score.begin());
}

/// The input rows of a pair and how many ids were cut off at the left. The last id is only asked for, unless `whole`.
inline std::span<const std::int32_t> input_of(const EncodedPair& pair, Index max_length, bool whole,
                                              std::size_t& cut) {
    const std::size_t n = pair.ids.size(), room = static_cast<std::size_t>(max_length);
    cut = n > room + 1 ? n - room - 1 : 0;
    const std::size_t end = whole && n <= room ? n : n - 1;
    return std::span(pair.ids).subspan(cut, end - cut);
}

/// The right answer's rows as the routers see them.
inline RoutedText routed_answer(const Tokenizer& tokenizer, const ChoiceItem& item, std::string text,
                                const EncodedPair& pair, std::size_t cut,
                                std::span<const std::int32_t> input) {
    RoutedText routed{item.id, std::move(text), {input.begin(), input.end()}, {}, item.fact};
    if (const auto range = token_ranges(tokenizer, pair.ids, routed.text)) {
        const auto begin = range->begin() + static_cast<std::ptrdiff_t>(cut);
        routed.range.assign(begin, begin + static_cast<std::ptrdiff_t>(input.size()));
    }
    return routed;
}

/// Puts a question into the batch. The right choice goes first and, where routers look at single tokens only, with its
/// last token: that row answers nothing, but its experts are of interest.
inline PlacedItem place_choices(ScoreBatch& batch, const Tokenizer& tokenizer, const ChoiceItem& item,
                                const ChoicePrompt& prompt, Index max_length, bool share, Index sample) {
    PlacedItem placed;
    const std::size_t count = prompt.continuation.size(), right = static_cast<std::size_t>(item.answer);
    placed.choices.resize(count);
    batch.new_group(sample, item.task);
    for (std::size_t n = 0; n < count; ++n) {
        const std::size_t c = n == 0 ? right : n <= right ? n - 1 : n;
        const EncodedPair pair = encode_pair(tokenizer, prompt.context_of(c), prompt.continuation[c]);
        const Index asked = static_cast<Index>(pair.ids.size()) - pair.context;
        if (asked > max_length) {
            throw Error{ErrorCode::data, "question " + item.id,
                        format("choices of at most {} tokens", max_length), format("{}", asked)};
        }
        std::size_t cut = 0;
        const auto input = input_of(pair, max_length, c == right && share, cut);
        const Index first = batch.place(input, share);
        placed.truncated = placed.truncated || cut > 0;
        placed.choices[c] = {batch.questions(), static_cast<std::size_t>(asked)};
        for (Index i = pair.context; i < static_cast<Index>(pair.ids.size()); ++i) {
            batch.ask(first + i - 1 - static_cast<Index>(cut), pair.ids[static_cast<std::size_t>(i)]);
        }
        if (c != right) continue;
        placed.first_row = first;
        placed.text =
            routed_answer(tokenizer, item, prompt.context_of(c) + prompt.continuation[c], pair, cut, input);
    }
    return placed;
}

inline ChoiceResult choice_result(const ChoiceItem& item, const ChoicePrompt& prompt,
                                  const PlacedItem& placed, const std::vector<double>& log_probability) {
    ChoiceResult result;
    result.id = item.id;
    result.domain = item.domain;
    result.level = item.level;
    result.answer = item.answer;
    result.truncated = placed.truncated;
    result.question =
        item.context + (item.context.empty() || item.question.empty() ? "" : "\n") + item.question;
    result.choices = item.choices;
    std::vector<double> per_character, per_byte;
    for (std::size_t c = 0; c < placed.choices.size(); ++c) {
        double sum = 0;
        for (std::size_t i = 0; i < placed.choices[c].count; ++i)
            sum += log_probability[placed.choices[c].first + i];
        result.log_likelihood.push_back(sum);
        per_character.push_back(sum / std::max(1.0, unicode_length(prompt.counted[c])));
        per_byte.push_back(sum / std::max(1.0, static_cast<double>(prompt.counted[c].size())));
    }
    result.chosen = best_of(result.log_likelihood);
    result.chosen_norm = best_of(per_character);
    result.chosen_bytes = best_of(per_byte);
    return result;
}

inline std::vector<Metric> choice_metrics(const std::vector<ChoiceResult>& items, ChoiceFormat format) {
    Index right[3] = {0, 0, 0};
    std::vector<double> nll;
    std::vector<std::int32_t> chosen, answer;
    for (const ChoiceResult& item : items) {
        chosen.push_back(item.chosen);
        answer.push_back(item.answer);
        right[0] += item.chosen == item.answer;
        right[1] += item.chosen_norm == item.answer;
        right[2] += item.chosen_bytes == item.answer;
        nll.push_back(item.nll());
    }
    const Index n = static_cast<Index>(items.size());
    std::vector<Metric> metrics{{"acc", proportion(right[0], n)},
                                {"acc_norm", proportion(right[1], n)},
                                {"acc_bytes", proportion(right[2], n)},
                                {"nll", mean(nll)}};
    if (format == ChoiceFormat::cola) metrics.push_back({"mcc", matthews(chosen, answer)});
    return metrics;
}

}  // namespace detail

/// What every report shows: the first question as the model reads it.
inline void show_first(ChoiceEvaluation& evaluation, const Tokenizer& tokenizer, const ChoiceItem& item,
                       const ChoiceOptions& options) {
    const ChoicePrompt prompt = choice_prompt(item, options.format, options.style);
    const std::size_t right = static_cast<std::size_t>(item.answer);
    const EncodedPair first = encode_pair(tokenizer, prompt.context_of(right), prompt.continuation[right]);
    evaluation.first_prompt = prompt.context_of(right) + prompt.continuation[right];
    evaluation.first_ids = first.ids;
    evaluation.first_context = first.context;
}

/// Scores every item. `each(done)` after every forward, for a progress line.
template <class Real, class Each>
ChoiceEvaluation evaluate_choices(Context& context, Decoder<Real>& model, const Tokenizer& tokenizer,
                                  std::span<const ChoiceItem> items, const ChoiceOptions& options,
                                  Each each) {
    const ModelConfig& config = model.config();
    const Index max_length = options.max_length > 0 ? options.max_length : config.max_position_embeddings;
    const RouterScope scope = ScoreBatch::scope(model);
    // A router that looks at the whole batch sees one question at a time, whatever was asked for.
    const std::size_t per_forward =
        scope == RouterScope::batch ? 1 : static_cast<std::size_t>(std::max<Index>(options.batch, 1));
    ChoiceEvaluation evaluation;
    evaluation.routing = TokenRouting(config.sliding_window.value_or(0), options.kept_texts);
    if (!items.empty()) show_first(evaluation, tokenizer, items.front(), options);
    for (std::size_t begin = 0; begin < items.size(); begin += per_forward) {
        const auto group = items.subspan(begin, std::min(per_forward, items.size() - begin));
        ScoreBatch batch;
        std::vector<ChoicePrompt> prompts;
        std::vector<detail::PlacedItem> placed;
        for (const ChoiceItem& item : group) {
            prompts.push_back(choice_prompt(item, options.format, options.style));
            placed.push_back(detail::place_choices(batch, tokenizer, item, prompts.back(), max_length,
                                                   scope == RouterScope::token,
                                                   static_cast<Index>(begin + placed.size())));
        }
        const auto answer = batch.run(context, model);
        for (std::size_t i = 0; i < group.size(); ++i) {
            evaluation.items.push_back(
                detail::choice_result(group[i], prompts[i], placed[i], answer.log_probability));
            evaluation.truncated += placed[i].truncated;
            evaluation.routing.add(answer.routers, placed[i].text, placed[i].first_row, tokenizer);
        }
        each(static_cast<Index>(begin + group.size()));
    }
    if (!items.empty()) evaluation.metrics = detail::choice_metrics(evaluation.items, options.format);
    return evaluation;
}

template <class Real>
ChoiceEvaluation evaluate_choices(Context& context, Decoder<Real>& model, const Tokenizer& tokenizer,
                                  std::span<const ChoiceItem> items, const ChoiceOptions& options = {}) {
    return evaluate_choices(context, model, tokenizer, items, options, [](Index) {});
}

}  // namespace moegrad

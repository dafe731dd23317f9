#pragma once
// Texts by their likelihood:
//   nll            mean over predicted tokens of -log p(token | all before it)
//   perplexity     exp nll
//   bits_per_byte  summed nll / (ln 2 . bytes of the predicted text): does not depend on the tokenizer
// A text longer than L positions runs in windows, every token predicted once: the first window has L rows, each later
// one the L rows before its last token, so that a last short stretch gets full context (lm-evaluation-harness's rolling
// windows with one token of overlap). The first token is predicted from BOS, and not at all where there is none.
// Intervals: bootstrap over texts, or over the windows where there is one text.

#include <span>
#include <string>
#include <vector>

#include <moegrad/data/text_records.hpp>
#include <moegrad/eval/choice.hpp>

namespace moegrad {

struct TextOptions {
    Index batch = 8;       // windows per forward; changes no bit
    Index max_length = 0;  // 0: max_position_embeddings
    std::size_t kept_texts = 40;
};

struct TextResult {
    std::string id, domain;
    int level = 0;
    double nll = 0;  // summed over the predicted tokens
    Index tokens = 0, bytes = 0;
};

struct TextEvaluation {
    std::vector<TextResult> items;
    std::vector<Metric> metrics;  // nll, perplexity, bits_per_byte
    TokenRouting routing;
    std::string first_prompt;
    std::vector<std::int32_t> first_ids;
};

/// ids[begin, end) are the rows; the ids asked_begin .. asked_end - 1 are predicted, each from the row before it.
struct TextWindow {
    Index begin, end, asked_begin, asked_end;
};

/// Predicts ids[asked .. n) in windows of at most L rows; asked >= 1.
inline std::vector<TextWindow> rolling_windows(Index n, Index asked, Index L) {
    std::vector<TextWindow> windows;
    Index done = 1;  // ids[1 .. done) are predicted or skipped
    while (done < n) {
        const Index end = std::min(n - 1, done - 1 + L);  // rows end here
        const Index begin = std::max<Index>(0, end - L);
        const TextWindow window{begin, end, std::max(done, asked), end + 1};
        if (window.asked_begin < window.asked_end) windows.push_back(window);
        done = end + 1;
    }
    return windows;
}

namespace detail {

/// The windows of one text and where their answers come out.
struct PlacedWindow {
    std::size_t item;
    TextWindow window;
    Index first_row, routed_from;  // its first row in the batch; the first id whose routing is new
};

struct RecordText {
    std::vector<std::int32_t> ids;
    std::vector<ByteRange> range;
    Index asked = 1;
};

inline RecordText encode_text(const Tokenizer& tokenizer, const TextRecord& record) {
    const std::string whole = record.prompt + record.completion;
    RecordText text{tokenizer.encode(whole), {}, 1};
    // The blanks between prompt and completion belong to the first predicted token.
    const auto last = record.prompt.find_last_not_of(' ');
    const std::string before = record.prompt.substr(0, last == std::string::npos ? 0 : last + 1);
    Index prompt = before.empty() ? 0 : static_cast<Index>(tokenizer.encode(before).size());
    const bool has_bos = !text.ids.empty() && text.ids.front() == tokenizer.bos_id();
    if (!has_bos && tokenizer.bos_id() >= 0) {
        text.ids.insert(text.ids.begin(), tokenizer.bos_id());
        ++prompt;
    }
    text.asked = std::max<Index>(1, prompt);
    if (const auto range = token_ranges(tokenizer, text.ids, whole)) text.range = *range;
    return text;
}

/// Metrics of sums over clusters (texts or windows).
inline std::vector<Metric> text_metrics(const std::vector<TextResult>& clusters) {
    const auto ratio = [&](bool per_byte) {
        return bootstrap(clusters.size(), 0, [&](std::span<const std::size_t> picks) {
            double nll = 0, count = 0;
            for (const std::size_t i : picks) {
                nll += clusters[i].nll;
                count += static_cast<double>(per_byte ? clusters[i].bytes : clusters[i].tokens);
            }
            return count == 0 ? 0 : nll / count;
        });
    };
    const auto mapped = [](Estimate e, const auto& f) {
        return Estimate{f(e.value), f(e.low), f(e.high), e.n};
    };
    const Estimate nll = ratio(false);
    const double bit = moegrad::log(2.0);
    return {{"nll", nll},
            {"perplexity", mapped(nll, [](double x) { return moegrad::exp(x); })},
            {"bits_per_byte", mapped(ratio(true), [&](double x) { return x / bit; })}};
}

}  // namespace detail

namespace detail {

/// Rows [from, to) of a text as the routers saw them.
inline RoutedText routed_stretch(const TextRecord& record, const RecordText& text, Index from, Index to) {
    RoutedText routed{record.id, record.prompt + record.completion, {}, {}, record.fact};
    routed.token.assign(text.ids.begin() + from, text.ids.begin() + to);
    if (!text.range.empty()) routed.range.assign(text.range.begin() + from, text.range.begin() + to);
    return routed;
}

/// Puts windows into a batch. The very last token of a text predicts nothing; with `whole` its row runs where there is
/// room, for its experts.
inline void place_windows(ScoreBatch& batch, std::span<const TextRecord> records,
                          const std::vector<RecordText>& texts, std::span<PlacedWindow> windows, Index L,
                          bool whole) {
    for (PlacedWindow& placed : windows) {
        const auto& ids = texts[placed.item].ids;
        TextWindow& w = placed.window;
        if (whole && w.end + 1 == static_cast<Index>(ids.size()) && w.end - w.begin < L) ++w.end;
        batch.new_group(static_cast<Index>(placed.item), records[placed.item].task);
        placed.first_row = batch.place(std::span(ids).subspan(static_cast<std::size_t>(w.begin),
                                                              static_cast<std::size_t>(w.end - w.begin)),
                                       false);
        for (Index i = w.asked_begin; i < w.asked_end; ++i)
            batch.ask(placed.first_row + i - 1 - w.begin, ids[static_cast<std::size_t>(i)]);
    }
}

/// What a window's answers add up to; `next` runs through the answers of a batch.
inline TextResult window_result(const TextRecord& record, const TextWindow& window,
                                const std::vector<double>& log_probability, std::size_t& next) {
    TextResult part{record.id, record.domain, record.level, 0, 0, 0};
    for (Index i = window.asked_begin; i < window.asked_end; ++i) {
        part.nll -= log_probability[next++];
        ++part.tokens;
    }
    return part;
}

/// The bytes of one text over its windows, by their tokens: the sum is exact whatever the tokenizer does to the text.
inline void share_bytes(const TextResult& text, std::vector<TextResult>& windows) {
    Index tokens = 0, given = 0;
    for (TextResult& window : windows) {
        tokens += window.tokens;
        const Index until = text.bytes * tokens / text.tokens;
        window.bytes = until - given;
        given = until;
    }
}

}  // namespace detail

/// Encodes every record and cuts it into windows; the evaluation gets an item for each.
inline std::vector<detail::PlacedWindow> cut_texts(std::span<const TextRecord> records,
                                                   const Tokenizer& tokenizer, Index L,
                                                   std::vector<detail::RecordText>& texts,
                                                   TextEvaluation& evaluation) {
    std::vector<detail::PlacedWindow> windows;
    for (std::size_t i = 0; i < records.size(); ++i) {
        texts.push_back(detail::encode_text(tokenizer, records[i]));
        evaluation.items.push_back({records[i].id, records[i].domain, records[i].level, 0, 0,
                                    static_cast<Index>(records[i].completion.size())});
        Index covered = 0;
        for (const TextWindow& w :
             rolling_windows(static_cast<Index>(texts[i].ids.size()), texts[i].asked, L)) {
            windows.push_back({i, w, 0, std::max(w.begin, covered)});
            covered = w.end;
        }
    }
    if (windows.empty()) throw Error{ErrorCode::data, "evaluate_texts", "a token to predict", "none"};
    evaluation.first_prompt = records.front().prompt + records.front().completion;
    evaluation.first_ids = texts.front().ids;
    return windows;
}

/// Only completions are predicted; a prompt is context.
template <class Real>
TextEvaluation evaluate_texts(Context& context, Decoder<Real>& model, const Tokenizer& tokenizer,
                              std::span<const TextRecord> records, const TextOptions& options = {}) {
    const Index L = options.max_length > 0 ? options.max_length : model.config().max_position_embeddings;
    const RouterScope scope = ScoreBatch::scope(model);
    TextEvaluation evaluation;
    evaluation.routing = TokenRouting(model.config().sliding_window.value_or(0), options.kept_texts);
    std::vector<detail::RecordText> texts;
    auto windows = cut_texts(records, tokenizer, L, texts, evaluation);
    const std::size_t together =
        scope == RouterScope::batch ? 1 : static_cast<std::size_t>(std::max<Index>(options.batch, 1));
    std::vector<TextResult> clusters;
    const std::span<detail::PlacedWindow> all(windows);
    for (std::size_t begin = 0; begin < all.size(); begin += together) {
        const auto some = all.subspan(begin, std::min(together, all.size() - begin));
        ScoreBatch batch;
        detail::place_windows(batch, records, texts, some, L, scope == RouterScope::token);
        const auto answer = batch.run(context, model);
        std::size_t next = 0;
        for (const auto& [item, window, first_row, from] : some) {
            clusters.push_back(detail::window_result(records[item], window, answer.log_probability, next));
            evaluation.items[item].nll += clusters.back().nll;
            evaluation.items[item].tokens += clusters.back().tokens;
            evaluation.routing.add(answer.routers,
                                   detail::routed_stretch(records[item], texts[item], from, window.end),
                                   first_row + from - window.begin, tokenizer);
        }
    }
    if (records.size() == 1) detail::share_bytes(evaluation.items.front(), clusters);
    evaluation.metrics = detail::text_metrics(records.size() > 1 ? evaluation.items : clusters);
    return evaluation;
}

}  // namespace moegrad

#pragma once
// Free answers: the model writes, a rule reads what it wrote.
//   instruct  LLM-Adapters' commonsense sets: first label in the text; acc, and the share that named a label at all.
//             The prompt is theirs with its indentation; models tuned there saw it in training
//   alpaca    the same with the plain Alpaca prompt
//   gsm8k     "Question: {question}\nAnswer:"; the last number before a next question; acc
//   qa        "{context}\nQuestion: {question}\nAnswer:"; the first line; exact match and F1, the best over the answers
// Generation is eval/generate.hpp: greedy unless told.

#include <string>
#include <vector>

#include <moegrad/data/answer_prompt.hpp>
#include <moegrad/eval/answer_text.hpp>
#include <moegrad/eval/choice.hpp>
#include <moegrad/eval/generate.hpp>

namespace moegrad {

struct AnswerResult {
    std::string id, domain, question, expected, text, prediction;
    int level = 0;
    bool answered = false;     // the rule found something
    double score = 0, f1 = 0;  // score: right, or exact match
};

struct AnswerEvaluation {
    std::vector<AnswerResult> items;
    std::vector<Metric> metrics;
    Index truncated = 0;
    std::string first_prompt;
    std::vector<std::int32_t> first_ids;
};

/// Reads what was written.
inline AnswerResult judge_answer(const AnswerItem& item, AnswerForm form, std::string text) {
    AnswerResult result{item.id,         item.domain, item.question, item.answers.front(),
                        std::move(text), {},          item.level};
    if (form == AnswerForm::gsm8k) {
        const auto written =
            last_number(std::string_view(result.text).substr(0, result.text.find("Question:")));
        result.answered = written.has_value();
        result.prediction = written.value_or("");
        result.expected = gsm8k_answer(item.answers.front()).value_or("");
        result.score = result.answered && result.prediction == result.expected;
    } else if (form == AnswerForm::qa) {
        const auto line = detail::trimmed(std::string_view(detail::trimmed(result.text)));
        result.prediction = std::string(line.substr(0, line.find('\n')));
        result.answered = !result.prediction.empty();
        for (const std::string& answer : item.answers) {
            result.score = std::max(result.score, exact_match(result.prediction, answer) ? 1.0 : 0.0);
            result.f1 = std::max(result.f1, answer_f1(result.prediction, answer));
        }
    } else {
        const auto labels = label_family(item.answers.front());
        const int label = first_label(result.text, labels);
        result.answered = label >= 0;
        if (result.answered) result.prediction = labels[static_cast<std::size_t>(label)];
        result.score = result.prediction == item.answers.front();
    }
    return result;
}

namespace detail {

inline std::vector<Metric> answer_metrics(const std::vector<AnswerResult>& items, AnswerForm form) {
    Index right = 0, answered = 0;
    std::vector<double> f1;
    for (const AnswerResult& item : items) {
        right += item.score == 1;
        answered += item.answered;
        f1.push_back(item.f1);
    }
    const Index n = static_cast<Index>(items.size());
    std::vector<Metric> metrics{{form == AnswerForm::qa ? "em" : "acc", proportion(right, n)}};
    if (form == AnswerForm::qa) metrics.push_back({"f1", bootstrap_mean(f1)});
    metrics.push_back({"answered", proportion(answered, n)});
    return metrics;
}

}  // namespace detail

/// Prompts keep their last `max_length - max_new_tokens` ids. `max_length` 0: max_position_embeddings.
template <class Real>
AnswerEvaluation evaluate_answers(Context& context, Decoder<Real>& model, const Tokenizer& tokenizer,
                                  std::span<const AnswerItem> items, AnswerForm form,
                                  const GenerateOptions& options, Index max_length = 0) {
    AnswerEvaluation evaluation;
    const Index room =
        (max_length > 0 ? max_length : model.config().max_position_embeddings) - options.max_new_tokens;
    if (room < 1) {
        throw Error{ErrorCode::config, "--max-new-tokens", "fewer than the model's positions",
                    format("{}", options.max_new_tokens)};
    }
    std::vector<std::vector<std::int32_t>> prompts;
    GenerateOptions with_tasks = options;
    with_tasks.tasks.clear();
    for (const AnswerItem& item : items) {
        with_tasks.tasks.push_back(item.task);
        auto ids = tokenizer.encode(answer_prompt(item, form));
        const Index cut = static_cast<Index>(ids.size()) - room;
        if (cut > 0) ids.erase(ids.begin(), ids.begin() + cut);
        evaluation.truncated += cut > 0;
        prompts.push_back(std::move(ids));
    }
    if (!items.empty()) {
        evaluation.first_prompt = answer_prompt(items.front(), form);
        evaluation.first_ids = prompts.front();
    }
    auto made = generate_all(context, model, std::span<const std::vector<std::int32_t>>(prompts), with_tasks,
                             [](std::size_t, std::int32_t) {});
    const auto known = static_cast<std::int32_t>(tokenizer.vocab_size());
    for (std::size_t i = 0; i < items.size(); ++i) {
        std::erase_if(made[i],
                      [&](std::int32_t id) { return id >= known; });  // rows that only pad the embedding
        evaluation.items.push_back(judge_answer(items[i], form, tokenizer.decode(made[i])));
    }
    if (!items.empty()) evaluation.metrics = detail::answer_metrics(evaluation.items, form);
    return evaluation;
}

}  // namespace moegrad

#pragma once
// The floor of a multiple-choice task: what a linear model of the choices' words gets right without the question. A language
// model that does no better has shown nothing about the task.
//     f(c) = words and pairs of neighbouring words of choice c, each once, over the root of their number
//     s_c = w . f(c),   p = softmax(s) over the choices of a question,   w = argmin sum -log p_answer + penalty/2 |w|^2
// by AdaGrad (Duchi et al. 2011) over the training questions in an order drawn from a seed; the penalty and the number of
// passes are those that are best on a tenth of the training part. N-grams that training met once are left out.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <moegrad/core/math.hpp>
#include <moegrad/core/philox.hpp>
#include <moegrad/data/choice_items.hpp>
#include <moegrad/data/plain_words.hpp>
#include <moegrad/eval/statistics.hpp>

namespace moegrad {

struct NgramOptions {
    std::uint64_t seed = 0;
    Index passes = 8;      // at most
    Index least_seen = 2;  // of an n-gram, in the training part
};

class NgramFloor {
public:
    explicit NgramFloor(const std::vector<ChoiceItem>& train, NgramOptions options = {}) : options_(options) {
        detail::require_items("floor: training questions", train.size());
        learn_words(train);
        const auto questions = questions_of(train);
        const std::size_t kept = questions.size() - questions.size() / 10;
        const std::span all(questions);
        Index passes = 1;
        double penalty = 0, best = -1;
        for (const double candidate : {0.0, 1e-4, 1e-3}) {
            start();
            for (Index pass = 0; pass < options_.passes && kept < all.size(); ++pass) {
                learn(all.first(kept), candidate, pass);
                const double share = share_right(all.subspan(kept));
                if (share <= best) continue;
                best = share;
                penalty = candidate;
                passes = pass + 1;
            }
        }
        start();
        for (Index pass = 0; pass < passes; ++pass) learn(all, penalty, pass);
    }

    /// Of questions, as `train` had them.
    Estimate accuracy(const std::vector<ChoiceItem>& items) const {
        Index right = 0;
        for (const ChoiceItem& item : items) right += is_right(question_of(item)) ? 1 : 0;
        return proportion(right, static_cast<Index>(items.size()));
    }
    /// s_c of every choice.
    std::vector<double> scores(const ChoiceItem& item) const { return scores(question_of(item)); }

private:
    struct Question {
        std::vector<std::vector<std::int32_t>> choice;  // n-grams, ascending, each once
        std::size_t answer = 0;
    };

    static std::vector<std::string> ngrams(const std::string& text) {
        const auto words = plain_words(text);
        std::vector<std::string> all(words.begin(), words.end());
        for (std::size_t i = 0; i <= words.size(); ++i)  // "^" and "$": where a choice begins and ends
            all.push_back((i == 0 ? "^" : words[i - 1]) + " " + (i == words.size() ? "$" : words[i]));
        return all;
    }
    void learn_words(const std::vector<ChoiceItem>& train) {
        std::unordered_map<std::string, Index> seen;
        for (const ChoiceItem& item : train) {
            for (const std::string& choice : item.choices) {
                for (std::string& gram : ngrams(choice)) {
                    const auto found = seen.emplace(std::move(gram), 0).first;
                    if (++found->second == options_.least_seen)
                        number_.emplace(found->first, static_cast<std::int32_t>(number_.size()));
                }
            }
        }
    }
    Question question_of(const ChoiceItem& item) const {
        Question question;
        question.answer = static_cast<std::size_t>(item.answer);
        for (const std::string& choice : item.choices) {
            auto& known = question.choice.emplace_back();
            for (const std::string& gram : ngrams(choice)) {
                const auto found = number_.find(gram);
                if (found != number_.end()) known.push_back(found->second);
            }
            std::sort(known.begin(), known.end());
            known.erase(std::unique(known.begin(), known.end()), known.end());
        }
        return question;
    }
    std::vector<Question> questions_of(const std::vector<ChoiceItem>& items) const {
        std::vector<Question> all;
        for (const ChoiceItem& item : items) all.push_back(question_of(item));
        Random random(options_.seed, 0);
        shuffle(std::span<Question>(all), random);
        return all;
    }

    static double scale(const std::vector<std::int32_t>& grams) {
        return 1 / std::sqrt(static_cast<double>(std::max<std::size_t>(1, grams.size())));
    }
    std::vector<double> scores(const Question& question) const {
        std::vector<double> all;
        for (const auto& grams : question.choice) {
            double sum = 0;
            for (const std::int32_t gram : grams) sum += weight_[static_cast<std::size_t>(gram)];
            all.push_back(sum * scale(grams));
        }
        return all;
    }
    /// The first of equal scores is the one that is chosen.
    bool is_right(const Question& question) const {
        const auto all = scores(question);
        return static_cast<std::size_t>(std::max_element(all.begin(), all.end()) - all.begin()) ==
               question.answer;
    }
    double share_right(std::span<const Question> questions) const {
        const auto right = std::count_if(questions.begin(), questions.end(),
                                         [&](const Question& question) { return is_right(question); });
        return static_cast<double>(right) / static_cast<double>(questions.size());
    }

    void start() {
        weight_.assign(number_.size(), 0);
        squares_.assign(number_.size(), 1e-2);
    }
    void learn(std::span<const Question> questions, double penalty, Index pass) {
        std::vector<std::size_t> order(questions.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        Random random(options_.seed, static_cast<std::uint64_t>(pass) + 1);
        shuffle(std::span<std::size_t>(order), random);
        for (const std::size_t i : order) step(questions[i], penalty);
    }
    void step(const Question& question, double penalty) {
        std::vector<double> p = scores(question);
        const double most = *std::max_element(p.begin(), p.end());
        double sum = 0;
        for (double& one : p) sum += one = moegrad::exp(one - most);
        for (std::size_t c = 0; c < p.size(); ++c) {
            const double slope = (p[c] / sum - (c == question.answer ? 1 : 0)) * scale(question.choice[c]);
            for (const std::int32_t gram : question.choice[c]) {
                const auto g = static_cast<std::size_t>(gram);
                const double d = slope + penalty * weight_[g];
                squares_[g] += d * d;
                weight_[g] -= kRate * d / std::sqrt(squares_[g]);
            }
        }
    }

    static constexpr double kRate = 0.1;

    NgramOptions options_;
    std::unordered_map<std::string, std::int32_t> number_;  // n-gram -> its weight
    std::vector<double> weight_, squares_;
};

/// Expected accuracy of a blind guess.
inline double chance_of(const std::vector<ChoiceItem>& items) {
    detail::require_items("chance", items.size());
    double sum = 0;
    for (const ChoiceItem& item : items) sum += 1 / static_cast<double>(item.choices.size());
    return sum / static_cast<double>(items.size());
}

/// The share of the place at which the right choice stands most often.
inline double majority_of(const std::vector<ChoiceItem>& items) {
    detail::require_items("majority", items.size());
    std::vector<double> at;
    for (const ChoiceItem& item : items) {
        at.resize(std::max(at.size(), static_cast<std::size_t>(item.answer) + 1));
        ++at[static_cast<std::size_t>(item.answer)];
    }
    return *std::max_element(at.begin(), at.end()) / static_cast<double>(items.size());
}

}  // namespace moegrad

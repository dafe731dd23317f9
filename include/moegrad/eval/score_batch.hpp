#pragma once
// ScoreBatch: token sequences that run in one forward, and the rows that are asked for the log-probability of an id.
// Sequences lie one after another without padding; a sequence that another of its group begins with needs no rows of
// its own (choices of one token share their context). On the CPU a row's bits depend on its own sequence alone, so how
// many sequences share a forward changes nothing.

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include <moegrad/core/device_reports.hpp>
#include <moegrad/eval/token_ids.hpp>
#include <moegrad/eval/token_routing.hpp>
#include <moegrad/methods/model_routers.hpp>

namespace moegrad {

class ScoreBatch {
public:
    /// Sequences placed from here on share rows with each other, not with earlier ones. `sample` keys random draws of
    /// routers, so that they do not depend on what else is in the batch; `task` is what routers that ask are told.
    void new_group(Index sample = 0, std::int32_t task = kNoTask) {
        group_ = sequences_.size();
        sample_ = static_cast<std::int32_t>(sample);
        task_ = task;
    }

    /// The first row of `input`; with `share`, of a sequence of this group that begins with it.
    Index place(std::span<const std::int32_t> input, bool share) {
        for (std::size_t i = group_; share && i < sequences_.size(); ++i) {
            const auto begin = token_.begin() + static_cast<std::ptrdiff_t>(sequences_[i]);
            const auto length = static_cast<std::size_t>(length_[i]);
            if (input.size() <= length && std::equal(input.begin(), input.end(), begin)) return sequences_[i];
        }
        const Index first = static_cast<Index>(token_.size());
        sequences_.push_back(first);
        length_.push_back(static_cast<Index>(input.size()));
        samples_.push_back(sample_);
        tasks_.push_back(task_);
        token_.insert(token_.end(), input.begin(), input.end());
        return first;
    }
    /// What is log p(id | the sequence up to this row)? The answer is run()'s n-th number for the n-th question.
    void ask(Index row, std::int32_t id) {
        row_.push_back(static_cast<std::int32_t>(row));
        target_.push_back(id);
    }

    bool empty() const { return token_.empty(); }
    Index tokens() const { return static_cast<Index>(token_.size()); }
    std::size_t questions() const { return row_.size(); }

    struct Answer {
        std::vector<double> log_probability;
        std::vector<RouterChoice> routers;
    };
    template <class Real>
    Answer run(Context& context, Decoder<Real>& model) const {
        Answer answer;
        if (empty()) return answer;
        const Device device = context.device();
        const auto token = placed_ids(token_, model.config().vocab_size, device);
        Segments sequences = Segments::of_lengths(std::span<const Index>(length_), samples_);
        sequences.set_tasks(tasks_);
        const auto segments = placed(sequences, device);
        Tape tape(context, Mode::inference);
        Forward<Real> forward{tape, token, segments};
        const auto hidden = model.hidden(forward);
        if (!row_.empty()) {
            const auto row = placed_ids(row_, tokens(), device);
            const auto asked = embedding(tape, row, Weight<Real>(hidden.value()));  // [questions, D]
            const auto target = Tensor<std::int32_t>::from({static_cast<Index>(target_.size())}, target_);
            const auto nll = host(model.loss(forward, asked, target).value());
            require_no_reports(device, "evaluation");
            for (const auto value : nll.values()) {
                if (!std::isfinite(value))
                    throw Error{ErrorCode::value, "evaluation", "finite log-likelihoods", format("{}", value),
                                "is the checkpoint or the adapter damaged?"};
                answer.log_probability.push_back(-static_cast<double>(value));
            }
        }
        const auto routers = model_routers(model);
        for (auto& record : forward.routings) {
            answer.routers.push_back(
                {record.name, experts_of<Real>(routers, record.name), host(record.routing.expert)});
        }
        if (row_.empty()) require_no_reports(device, "evaluation");
        return answer;
    }

    /// What a token's result may depend on: the weakest promise among the model's routers.
    template <class Real>
    static RouterScope scope(Decoder<Real>& model) {
        RouterScope weakest = RouterScope::token;
        for (auto& [name, router] : model_routers(model)) weakest = std::max(weakest, router->scope());
        return weakest;
    }

private:
    std::vector<std::int32_t> token_, row_, target_, samples_, tasks_;
    std::int32_t sample_ = 0, task_ = kNoTask;
    std::vector<Index> sequences_, length_;
    std::size_t group_ = 0;
};

}  // namespace moegrad

#pragma once
// RecordedSteps: the graphs of a step on a GPU. A micro-batch of a shape runs plainly the first time, which makes whatever is
// made once; the second time it is recorded; from then on it is replayed. So is the update. A step's first micro-batch, which
// overwrites gradients, has another graph than those behind it, which add.
//
// What a replay touches must lie where it lay when it was recorded:
//   inputs       a batch of the graph's own, which the micro-batch is copied to before each replay
//   step memory  the arena of the context. Its chunks live as long as the context, and it is empty before a micro-batch or
//                an update is recorded and before it is replayed (checked): nobody else holds a place that a replay writes.
//                Between replays evaluations may use it as they like; the stream keeps the order. One arena serves all
//                graphs, so that many shapes need no more memory than the largest.
//   gradients, moments, sums     lasting. When sums move or other gradients are written, everything is recorded again.
// Scalars of the step are read on the device; what the host knew while recording (coefficient indices, dropout keys of
// modules, Segments::longest) is the same for all micro-batches of the shape.

#include <map>
#include <utility>

#include <moegrad/core/device_step.hpp>
#include <moegrad/data/step_batches.hpp>

namespace moegrad {

/// Routers with after_step: whether there are any, and whether one keeps what it learns where a replay would not see it.
struct LearningRouters {
    bool any = false, out_of_sight = false;
};

/// routers: names and routers. Throws where steps are to be recorded and a router reads values on the host: no replay
/// would read them again.
template <class Routers>
LearningRouters learning_routers(const Routers& routers, bool record) {
    LearningRouters learning;
    for (const auto& [name, router] : routers) {
        if (!router->learns()) continue;
        learning.any = true;
        learning.out_of_sight = learning.out_of_sight || !router->learns_in_place();
    }
    if (!record || learning.out_of_sight) return learning;
    for (const auto& [name, router] : routers) {
        if (!router->reads_on_host()) continue;
        throw Error{ErrorCode::unsupported, "the router of " + name,
                    "a router whose work can be recorded and replayed",
                    "one that reads values on the host (reads_on_host)", "set train.graphs = false"};
    }
    return learning;
}

class RecordedSteps {
public:
    explicit RecordedSteps(Context& context) : context_(&context) {}

    /// Nothing recorded stays right.
    void forget() {
        batches_.clear();
        update_ = {};
    }
    /// What `forget` does, when the key is not that of the last call.
    void keep_for(const std::pair<int, int>& key) {
        if (key != key_) forget();
        key_ = key;
    }

    /// body(batch), which must launch the same work for every batch of a shape that comes first, and for every later one.
    template <class Body>
    void micro_batch(const StepBatches& batches, std::size_t i, Body body) {
        const BatchShape shape = batches.shape(i);
        const std::pair key{shape, i == 0};
        const bool room = batches_.size() < kMost || batches_.count(key) > 0;
        if (!possible_ || !room) return body(batches.batch(i));
        Work& work = batches_[key];
        if (is_first(work)) return body(batches.batch(i));
        require_empty_arena("micro-batch");
        if (!work.recording.defined()) {
            work.numbers = Tensor<std::int32_t>::zeros({batch_numbers(shape)}, context_->device());
            work.flags = Tensor<std::uint8_t>::zeros({batch_flags(shape)}, context_->device());
            work.batch = batch_in(shape, work.numbers, work.flags);
            if (!record(work, "micro-batch", [&] { body(work.batch); })) return body(batches.batch(i));
        }
        batches.copy_to(i, work.numbers, work.flags);
        work.recording.replay(context_->scalars(), "micro-batch");
    }

    template <class Body>
    void update(Body body) {
        if (!possible_ || is_first(update_)) return body();
        require_empty_arena("update");
        if (!update_.recording.defined() && !record(update_, "update", body)) return body();
        update_.recording.replay(context_->scalars(), "update");
    }

    /// Whether the device records at all; known after the first try.
    bool possible() const { return possible_; }
    /// Something ran for the first time or was recorded since the last call: such a step is not a steady one.
    bool take_changed() { return std::exchange(changed_, false); }
    /// Graphs that are kept.
    int count() const {
        int graphs = update_.recording.defined() ? 1 : 0;
        for (const auto& [key, work] : batches_) graphs += work.recording.defined() ? 1 : 0;
        return graphs;
    }

private:
    static constexpr std::size_t kMost = 128;  // shapes, first and later; more run plainly

    struct Work {
        bool seen = false;
        Tensor<std::int32_t> numbers;
        Tensor<std::uint8_t> flags;
        Batch batch;
        Recording recording;
    };

    bool is_first(Work& work) {
        if (std::exchange(work.seen, true)) return false;
        return changed_ = true;
    }
    template <class Body>
    bool record(Work& work, const char* place, const Body& body) {
        changed_ = true;
        return possible_ = work.recording.record(place, body);
    }
    void require_empty_arena(const char* place) const {
        if (context_->arena().in_use() == 0) return;
        throw Error{ErrorCode::state, format("recorded {}", place), "step memory that nobody holds",
                    format("{} bytes in use", context_->arena().in_use()),
                    "let go of tensors of this context between steps, or set train.graphs = false"};
    }

    Context* context_;
    std::map<std::pair<BatchShape, bool>, Work> batches_;
    Work update_;
    std::pair<int, int> key_{0, 0};
    bool possible_ = true, changed_ = false;
};

}  // namespace moegrad

#pragma once
// Tape: the list of backward closures in the order the ops ran. That order is topological, so backward is one reverse
// loop. A closure is destroyed when it has run and gives its buffers back.
//
// An op:   auto y = tape.output<T>({T_, O}, x.needs_gradient() || w.needs_gradient());   // value in step memory
//          kernels.forward(tape.stream(), ...);
//          if (y.needs_gradient()) tape.record(y.gradient(), [=, dy = y.gradient(), dx = x.gradient()] { ... });
//          return y;
// The closure is skipped when nothing ever wrote to y's gradient.

#include <memory>
#include <utility>
#include <vector>

#include <moegrad/autograd/var.hpp>

namespace moegrad {

/// Whether a forward keeps what a backward needs.
enum class Mode { inference, training };

/// Integer decisions (chosen experts) of a forward. A checkpointed segment replays them and never decides again.
class Selections {
public:
    void record(const Tensor<std::int32_t>& choice) { log_.push_back(choice); }
    void rewind() {
        cursor_ = 0;
        replaying_ = true;
    }
    bool replaying() const { return replaying_; }
    const Tensor<std::int32_t>& next() {
        if (cursor_ >= log_.size()) {
            throw Error{ErrorCode::state, "checkpoint", format("{} recorded selections", log_.size()),
                        "one more", "the replayed segment must run the same ops as the first time"};
        }
        return log_[cursor_++];
    }

private:
    std::vector<Tensor<std::int32_t>> log_;
    std::size_t cursor_ = 0;
    bool replaying_ = false;
};

class Tape {
public:
    explicit Tape(Context& context, Mode mode = Mode::training) : context_(&context), mode_(mode) {}
    Tape(const Tape&) = delete;
    Tape& operator=(const Tape&) = delete;
    ~Tape() { clear(); }

    Context& context() const { return *context_; }
    Stream stream() const { return Stream(*context_); }
    Device device() const { return context_->device(); }
    Mode mode() const { return mode_; }
    bool recording() const { return mode_ == Mode::training; }
    /// Whether this pass is part of a training step: also the first run of a checkpointed segment, which keeps nothing.
    bool training() const { return trains_ && (recording() || selections_ != nullptr); }
    /// false: the pass is an evaluation although it records, for gradients of what `inference` computes.
    void set_trains(bool trains) { trains_ = trains; }
    bool trains() const { return trains_; }
    std::size_t size() const { return closures_.size(); }

    /// Step memory for something an op saves or returns without a gradient.
    template <class T>
    Tensor<T> make(const Shape& shape) const {
        return context_->template make<T>(shape);
    }

    /// The result of an op; it carries a gradient when the tape records and some input needs one.
    template <class T>
    Var<T> output(const Shape& shape, bool needs_gradient) const {
        return wrap(context_->template make<T>(shape), needs_gradient);
    }
    template <class T>
    Var<T> wrap(Tensor<T> value, bool needs_gradient) const {
        if (!recording() || !needs_gradient) return Var<T>(std::move(value));
        auto gradient = std::make_shared<Gradient<T>>(*context_, value.shape());
        return Var<T>(std::move(value), std::move(gradient));
    }
    /// An input whose gradient the caller wants to read after backward.
    template <class T>
    Var<T> input(Tensor<T> value) const {
        return wrap(std::move(value), true);
    }

    /// `backward` runs when the reverse loop reaches it, unless nothing has written to `output`'s gradient.
    template <class T, class Backward>
    void record(const std::shared_ptr<Gradient<T>>& output, Backward backward) {
        record([output, backward = std::move(backward)]() mutable {
            if (output->written()) backward();
        });
    }
    /// For ops with several outputs: `backward` always runs.
    template <class Backward>
    void record(Backward backward) {
        if (!recording()) return;
        closures_.push_back(std::make_unique<Holder<Backward>>(std::move(backward)));
    }

    /// Runs the closures in reverse. Seeds (autograd/objective.hpp) must have been written first.
    void backward() {
        while (!closures_.empty()) {
            std::unique_ptr<Closure> closure = std::move(closures_.back());
            closures_.pop_back();
            closure->run();
        }
    }
    void clear() {
        while (!closures_.empty()) closures_.pop_back();
    }

    Selections* selections() const { return selections_; }
    void set_selections(Selections* selections) { selections_ = selections; }

private:
    struct Closure {
        virtual ~Closure() = default;
        virtual void run() = 0;
    };
    template <class Backward>
    struct Holder final : Closure {
        explicit Holder(Backward f) : backward(std::move(f)) {}
        void run() override { backward(); }
        Backward backward;
    };

    Context* context_;
    Mode mode_;
    std::vector<std::unique_ptr<Closure>> closures_;
    Selections* selections_ = nullptr;
    bool trains_ = true;
};

}  // namespace moegrad

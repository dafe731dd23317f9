// Training steps on demand, for bench/peers/moe_step.py: loads DIR/model, DIR/adapter and DIR/tokens.safetensors, then for
// every line on its input, a number n, takes n optimiser steps as `train` does and prints their losses and seconds.
//   step_bench DIR [--device cpu|cuda] [--dtype float32|bfloat16] [--rate LR] [--steps N]
// With --steps it takes that many steps by itself.

#include <moegrad/io/safetensors.hpp>
#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/memory_plan.hpp>
#include <moegrad/train/model_files.hpp>
#include <moegrad/train/trainer.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string_view>

namespace {

using namespace moegrad;

constexpr Index kSequences = 8;

struct Options {
    std::string folder;
    Device device = Device::cpu;
    bool bfloat16 = false;
    double rate = 1e-3;
    int steps = 0;
};

Dataset read_tokens(const std::string& path) {
    const SafetensorsFile file(path);
    const TensorInfo& info = file.at("tokens");
    std::vector<std::int64_t> values(static_cast<std::size_t>(info.count));
    file.read(info, std::span<std::int64_t>(values));
    Dataset data;
    const auto length = static_cast<std::size_t>(info.shape.at(1));
    for (std::size_t begin = 0; begin < values.size(); begin += length) {
        std::vector<std::int32_t> token(length);
        std::transform(values.begin() + static_cast<std::ptrdiff_t>(begin),
                       values.begin() + static_cast<std::ptrdiff_t>(begin + length), token.begin(),
                       [](std::int64_t id) { return static_cast<std::int32_t>(id); });
        data.push_back(language_sample(std::move(token)));
    }
    return data;
}

/// The number on the next line; 0 at the end of the input.
int next_number() {
    char line[32];
    return std::fgets(line, sizeof(line), stdin) == nullptr ? 0 : std::atoi(line);
}

template <class... Values>
void say(fmt::format_string<Values...> text, Values&&... values) {
    fmt::print(text, std::forward<Values>(values)...);
    std::fflush(stdout);
}

/// Batch after batch of the data, from the first again behind the last.
template <class Real>
class Steps {
public:
    Steps(Trainer<Real>& trainer, const Dataset& data, double rate)
        : trainer_(trainer), data_(data), rate_(rate) {}

    /// Begun ahead of their results, as far as the trainer lets them.
    std::vector<double> take(int count) {
        std::vector<double> losses;
        for (int i = 0; i < count; ++i) {
            if (trainer_.in_flight() == trainer_.depth()) finish(losses);
            trainer_.begin_step(data_, {next_batch()}, rate_);
        }
        while (trainer_.in_flight() > 0) finish(losses);
        return losses;
    }

private:
    void finish(std::vector<double>& losses) { losses.push_back(trainer_.finish_step()->cross_entropy); }
    std::vector<std::int32_t> next_batch() {
        const auto batches = static_cast<Index>(data_.size()) / kSequences;
        std::vector<std::int32_t> picks(kSequences);
        std::iota(picks.begin(), picks.end(), static_cast<std::int32_t>(step_++ % batches * kSequences));
        return picks;
    }

    Trainer<Real>& trainer_;
    const Dataset& data_;
    double rate_;
    Index step_ = 0;
};

/// The step memory that a run reserves before its first step.
template <class Real>
std::size_t planned_step_memory(const ModelConfig& config, const AdapterSpec& spec, const Dataset& data,
                                Device device) {
    const auto build = [&] {
        auto model = make_model<Real>(config);
        attach(*model, spec);
        return model;
    };
    std::vector<std::int32_t> picks(kSequences);
    std::iota(picks.begin(), picks.end(), 0);
    return plan_memory<Real>(build, data, {picks}, {}, device).step;
}

template <class Real>
void run(const Options& options) {
    using Clock = std::chrono::steady_clock;
    const std::string& folder = options.folder;
    say("libraries\n");
    if (options.steps == 0) next_number();
    Context context({.device = options.device});
    const Dataset data = read_tokens(folder + "/tokens.safetensors");
    const auto model = load_model<Real>(folder + "/model", options.device);
    const AdapterSpec spec = load_adapter(*model, folder + "/adapter", {.layout = PeftLayout::peft_0_19});
    move_to(*model, options.device);
    context.arena().reserve(planned_step_memory<Real>(model->config(), spec, data, options.device));
    TrainerOptions training;
    training.adamw.weight_decay = 0.01;
    training.clip = 0;
    training.micro_batch = kSequences;
    Trainer<Real> trainer(context, *model, {}, training);
    Index trainable = 0;
    for (const auto* parameter : trainer.parameters()) trainable += parameter->size();
    say("{{\"trainable\": {}}}\n", trainable);
    Steps<Real> steps(trainer, data, options.rate);
    int left = options.steps;
    while (const int count = options.steps > 0 ? std::min(left--, 1) : next_number()) {
        const auto begin = Clock::now();
        const std::vector<double> losses = steps.take(count);
        const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
        std::string list;
        for (const double loss : losses) list += fmt::format("{}{:.9g}", list.empty() ? "" : ", ", loss);
        say("{{\"losses\": [{}], \"seconds\": {:.6f}}}\n", list, seconds);
    }
    const DeviceCounts& most = trainer.use().most;
    fmt::print(stderr, "arena: peak {} MiB of {}, {} blocks; a steady step: {} waits, {} allocations\n",
               context.arena().peak() >> 20, context.arena().held() >> 20,
               context.arena().system_allocations(), most.synchronising, most.allocations);
}

Options parse(int argc, char** argv) {
    Options options{.folder = argv[1]};
    for (int i = 2; i + 1 < argc; i += 2) {
        const std::string_view flag = argv[i], value = argv[i + 1];
        if (flag == "--device") options.device = value == "cuda" ? Device::cuda : Device::cpu;
        if (flag == "--dtype") options.bfloat16 = value == "bfloat16";
        if (flag == "--rate") options.rate = std::atof(argv[i + 1]);
        if (flag == "--steps") options.steps = std::atoi(argv[i + 1]);
    }
    return options;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        fmt::print(stderr,
                   "step_bench DIR [--device cpu|cuda] [--dtype float32|bfloat16] [--rate LR] [--steps N]\n"
                   "DIR as bench/peers/moe_step.py makes it\n");
        return 2;
    }
    try {
        const Options options = parse(argc, argv);
#ifdef MOEGRAD_HAVE_CUDA
        if (options.bfloat16) return run<bf16>(options), 0;
#endif
        if (options.bfloat16) {
            throw Error{ErrorCode::unsupported, "--dtype", "a program built with CUDA kernels",
                        "one without"};
        }
        run<float>(options);
    } catch (const Error& error) {
        fmt::print(stderr, "{}\n", error.what());
        return 1;
    }
}

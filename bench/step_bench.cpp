// Training steps on demand, for bench/peers/cpu_step.py: loads DIR/model, DIR/adapter and DIR/tokens.safetensors, then
// takes one optimiser step of 8 sequences for every line on its input and prints its loss and seconds.
//   step_bench DIR [steps]          with a number it takes that many steps by itself

#include <moegrad/io/safetensors.hpp>
#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/model_files.hpp>
#include <moegrad/train/trainer.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>

namespace {

using namespace moegrad;

constexpr Index kSequences = 8;

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

bool next_line() {
    int c = std::getchar();
    if (c == EOF) return false;
    while (c != '\n' && c != EOF) c = std::getchar();
    return true;
}

template <class... Values>
void say(fmt::format_string<Values...> text, Values&&... values) {
    fmt::print(text, std::forward<Values>(values)...);
    std::fflush(stdout);
}

void run(const std::string& folder, int steps) {
    using Clock = std::chrono::steady_clock;
    say("libraries\n");
    if (steps == 0) next_line();
    Context context;
    const auto model = load_model<float>(folder + "/model");
    load_adapter(*model, folder + "/adapter");
    const Dataset data = read_tokens(folder + "/tokens.safetensors");
    TrainerOptions options;
    options.adamw.weight_decay = 0.01;
    options.clip = 0;
    options.micro_batch = kSequences;
    Trainer<float> trainer(context, *model, {}, options);
    Index trainable = 0;
    for (const auto* parameter : trainer.parameters()) trainable += parameter->size();
    say("{{\"trainable\": {}}}\n", trainable);
    std::vector<std::int32_t> picks(kSequences);
    const auto batches = static_cast<Index>(data.size()) / kSequences;
    for (Index step = 0; steps > 0 ? step < steps : next_line(); ++step) {
        std::iota(picks.begin(), picks.end(), static_cast<std::int32_t>(step % batches * kSequences));
        const auto begin = Clock::now();
        const StepReport report = trainer.step(data, picks, 1e-3);
        const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
        say("{{\"loss\": {:.9g}, \"seconds\": {:.6f}}}\n", report.cross_entropy, seconds);
    }
    if (steps > 0) {
        say("arena: peak {} MiB in {} blocks\n", context.arena().peak() >> 20,
            context.arena().system_allocations());
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        fmt::print(stderr, "step_bench DIR [steps]: DIR as bench/peers/cpu_step.py makes it\n");
        return 2;
    }
    try {
        run(argv[1], argc > 2 ? std::atoi(argv[2]) : 0);
    } catch (const Error& error) {
        fmt::print(stderr, "{}\n", error.what());
        return 1;
    }
}

// moegrad doctor: what this program is made of, what it runs on, and every kernel seat that nobody fills.

#include <string>
#include <utility>
#include <vector>

#include <moegrad/core/slot.hpp>
#include <moegrad/train/machine_facts.hpp>

#include "verbs.hpp"

using namespace moegrad;

namespace {

constexpr std::pair<Device, Number> kSeats[] = {{Device::cpu, Number::float32},
                                                {Device::cpu, Number::float64},
                                                {Device::cuda, Number::float32},
                                                {Device::cuda, Number::bfloat16}};

void say(const std::string& name, const std::string& text) {
    fmt::print("{:<11}{}\n", name, text);
}

void say_program() {
    const BuildFacts& build = build_facts();
    const auto known = [](const std::string& text) { return text.empty() ? std::string("unknown") : text; };
    say("moegrad", format("{}, commit {}, {} build by {}", kVersion, known(build.commit).substr(0, 12),
                          known(build.type), compiler_name()));
    say("libraries", known(build.libraries));
    say("CPU",
        format("{}, {} cores, {}", cpu_model(), std::thread::hardware_concurrency(), instruction_set()));
}

void say_gpu() {
    if (!has_cuda()) {
        say("CUDA",
            "this program has no GPU kernels; `./moegrad doctor` in a clone builds one that has, where it "
            "finds");
        say("", "nvcc of the CUDA Toolkit 12.4 or later (PATH or CUDACXX)");
        return;
    }
    for (const std::string& line : cuda_memory().describe()) {
        const std::size_t colon = line.find(": ");
        say(line.substr(0, colon), line.substr(colon + 2));
    }
    say("tested on",
        "NVIDIA H100 (compute capability 9.0), with its own code and with that for 8.0; no other card");
}

/// Per device and type, the ops without a kernel. Routers, losses and updates compute in float in a bf16 model too.
void say_seats() {
    int slots = 0;
    for (const SlotNode* slot = SlotNode::first(); slot != nullptr; slot = slot->next()) ++slots;
    say("ops", format("{}", slots));
    for (const auto& [device, number] : kSeats) {
        if (device == Device::cuda && !has_cuda()) continue;
        std::string empty;
        int filled = 0;
        for (const SlotNode* slot = SlotNode::first(); slot != nullptr; slot = slot->next()) {
            if (slot->filled(device, number)) {
                ++filled;
            } else {
                empty += (empty.empty() ? "" : ", ") + std::string(slot->name());
            }
        }
        say(format("  {}", name(device)),
            format("{}: {} kernels{}", name(number), filled, empty.empty() ? "" : "; none for " + empty));
    }
}

void add_doctor(CLI::App& app) {
    CLI::App* verb = app.add_subcommand("doctor", "what this program, this machine and its GPU can do");
    verb->callback([] {
        say_program();
        say_gpu();
        say_seats();
    });
}

const RegisterVerb doctor_registered(80, add_doctor);

}  // namespace

// One mixture block: router, dispatch, frozen experts with LoRA, combine; forward, and forward with backward. Beside it the
// same without LoRA. The work counted is that of the frozen products, 4 T K 3 D F for both directions.
//   moe_block_bench [--shape mixtral|fine] [--tokens T] [--rank R] [--rounds N] [--tiny] [--device cuda|cpu]

#include <cstdlib>
#include <cstring>
#include <string_view>

#include <moegrad/routing/top_k_router.hpp>

#include <support/expert_layer.hpp>
#include <support/turns.hpp>

namespace {

using namespace moegrad;
using namespace moegrad::bench;

struct Options {
    LayerShape layer{.R = 16};
    Index K = 2;
    Turns turns{.rounds = 24, .least = 0.02};
    Device device = Device::cuda;
};

template <class Real>
void run(const Options& options) {
    Context context({.device = options.device});
    const auto& [T, D, F, E, R] = options.layer;
    const ExpertLayer<Real> layer(options.layer, options.device);
    auto gate = std::make_shared<Parameter<Wide<Real>>>("gate", Shape{E, D});
    fill_normal(gate->value(), 1 / std::sqrt(static_cast<double>(D)), 31, 0);
    gate->move_to(options.device);
    AnyRouter<Wide<Real>> router(TopKRouter<Wide<Real>>{.gate = Gate<Wide<Real>>(gate), .k = options.K});
    const Segments segments = placed(Segments::of_lengths({T}), options.device);

    const double forward = 6.0 * static_cast<double>(T * options.K) * static_cast<double>(D * F);
    std::vector<Job> jobs;
    for (const bool lora : {true, false}) {
        for (const bool backward : {false, true}) {
            const auto what = fmt::format("{}{}", lora ? fmt::format("LoRA r={}", R) : "frozen",
                                          backward ? ", forward and backward" : ", forward");
            jobs.push_back({"block", what, backward ? 2 * forward : forward, 0, Against::nothing, 0,
                            [&, lora, backward] { layer.block(context, router, segments, lora, backward); }});
        }
    }
    fmt::print("T {} D {} F {} E {} K {}\n", T, D, F, E, options.K);
    time_in_turns(options.device, jobs, options.turns);
    for (const Job& job : jobs) print(job, -1);
    for (const Job& job : jobs) print_json(job, -1);
    fmt::print("LoRA takes {:.1f} % more time than the frozen block\n",
               100 * (jobs[1].median() / jobs[3].median() - 1));
}

Options parse(int argc, char** argv) {
    Options options;
    for (int i = 1; i < argc; ++i) {
        const std::string_view flag = argv[i];
        const char* value = i + 1 < argc ? argv[i + 1] : "";
        if (flag == "--shape" && std::strcmp(value, "fine") == 0) {
            options.layer = {.T = 8192, .D = 2048, .F = 768, .E = 128, .R = 16};
            options.K = 8;
        }
        if (flag == "--tiny") options.layer = {64, 32, 48, 8, 4};
        if (flag == "--tokens") options.layer.T = std::atoll(value);
        if (flag == "--rank") options.layer.R = std::atoll(value);
        if (flag == "--rounds") options.turns.rounds = std::atoi(value);
        if (flag == "--device" && std::strcmp(value, "cpu") == 0) options.device = Device::cpu;
    }
    return options;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const Options options = parse(argc, argv);
        if (options.device == Device::cuda) {
            run<bf16>(options);
        } else {
            run<float>(options);
        }
    } catch (const std::exception& error) {
        fmt::print(stderr, "{}\n", error.what());
        return 1;
    }
    return 0;
}

// What null experts save: dispatch, experts, combine and their backward of one Mixtral-8x7B layer with LoRA, routing given.
// Top-2 (2 true experts a token) against AdaMoE with 3 slots and 8 nulls at a load of 1.66 true experts a token:
//   saving = (t_2 - t_AdaMoE) / t_2,   ideal 1 - 1.66 / 2 = 0.17
// Loads are even, or as skewed as Mixtral's on Wikipedia.
//   adamoe_saving_bench [--tokens T] [--load L] [--rounds N] [--tiny] [--device cuda|cpu]

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include <support/expert_layer.hpp>
#include <support/turns.hpp>

namespace {

using namespace moegrad;
using namespace moegrad::bench;

// Tokens each expert of Mixtral-8x7B's layer 15 gets on Wikipedia: data/routing/moe_expert_counts.json,
// "mistral/expert_counts/wikipedia".
const std::vector<double> kWikipedia{54575, 55396, 52142, 31960, 57664, 62114, 50943, 52998};
constexpr std::int32_t kNull = -2;

struct Options {
    LayerShape layer{.T = 4096};
    double load = 1.66;
    Turns turns{.rounds = 24, .least = 0.02};
    Device device = Device::cuda;
};

/// How many true experts each token takes: between 0 and `slots`, drawn, then moved by one here and there until the sum is
/// that of the load. All `slots` where that is the load.
std::vector<Index> taken(Index tokens, Index slots, Index rows) {
    Random random(5);
    std::vector<Index> count;
    Index sum = 0;
    const double chance = static_cast<double>(rows) / static_cast<double>(tokens * slots);
    for (Index t = 0; t < tokens; ++t) {
        Index n = 0;
        for (Index k = 0; k < slots; ++k) n += static_cast<double>(random.next_uniform()) < chance ? 1 : 0;
        count.push_back(n);
        sum += n;
    }
    while (sum != rows) {
        Index& n = count[random.next_below(static_cast<std::uint64_t>(tokens))];
        const Index moved = std::clamp<Index>(n + (sum < rows ? 1 : -1), 0, slots);
        sum += moved - n;
        n = moved;
    }
    return count;
}

template <class Real>
Job job(const ExpertLayer<Real>& layer, Context& context, Index slots, Index rows,
        const std::vector<double>& counts, const std::string& what) {
    const LayerShape& s = layer.shape;
    const Deal deal(taken(s.T, slots, rows), shares(counts, rows));
    const auto expert = placed(deal.experts(slots, kNull), context.device());
    const auto weight = normal<Wide<Real>>({s.T, slots}, 9, 0.5, context.device());
    // Three products of D x F a row forward, and as many back to the input.
    const double flops = 12.0 * static_cast<double>(rows) * static_cast<double>(s.D * s.F);
    return {"adamoe", what, flops, 0, Against::nothing, 0, [&layer, &context, expert, weight] {
                layer.forward_and_backward(context, expert, weight);
            }};
}

template <class Real>
void run(const Options& options) {
    Context context({.device = options.device});
    const ExpertLayer<Real> layer(options.layer, options.device);
    const Index T = options.layer.T,
                rows = static_cast<Index>(std::llround(options.load * static_cast<double>(T)));
    const std::vector<double> even(kWikipedia.size(), 1.0);
    std::vector<Job> jobs{job(layer, context, 2, 2 * T, even, "top-2, even"),
                          job(layer, context, 3, rows, even, "8 nulls, even"),
                          job(layer, context, 2, 2 * T, kWikipedia, "top-2, skewed"),
                          job(layer, context, 3, rows, kWikipedia, "8 nulls, skewed")};
    time_in_turns(options.device, jobs, options.turns);
    for (const Job& each : jobs) print(each, -1);
    const double ideal = 1 - static_cast<double>(rows) / static_cast<double>(2 * T);
    for (std::size_t i = 0; i < jobs.size(); i += 2) {
        const double saving = 1 - jobs[i + 1].median() / jobs[i].median();
        const char* load = i == 0 ? "even" : "skewed";
        fmt::print("{}: saves {:.3f} of {:.3f}, {:.2f} of the ideal (floor 0.60)\n", load, saving, ideal,
                   saving / ideal);
        fmt::print(
            R"({{"group": "adamoe", "what": "{}", "top2_ms": {:.4f}, "null_ms": {:.4f}, "of_ideal": {:.4f}}})"
            "\n",
            load, jobs[i].median() * 1e3, jobs[i + 1].median() * 1e3, saving / ideal);
    }
}

Options parse(int argc, char** argv) {
    Options options;
    for (int i = 1; i < argc; ++i) {
        const std::string_view flag = argv[i];
        const char* value = i + 1 < argc ? argv[i + 1] : "";
        if (flag == "--tiny") options.layer = {64, 32, 48, 8, 4};
        if (flag == "--tokens") options.layer.T = std::atoll(value);
        if (flag == "--load") options.load = std::atof(value);
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

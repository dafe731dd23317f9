// Accumulation, full batch and packing are three ways to cut the same step: on ragged samples, some partly and some wholly
// masked, with dropout on, they end in the same bits. Only a balance loss of scope `micro` is another objective for every
// cut; what it does not touch stays the same.

#include <doctest/doctest.h>

#include <moegrad/data/packing.hpp>
#include <moegrad/train/adapter_files.hpp>

#include <cmath>

#include "support/model_small.hpp"

namespace accumulation {

using namespace moegrad;
using moegrad::test::small_config;
using moegrad::test::small_model;

enum class Cut { whole, one_by_one, by_three, packs, pairs_of_packs };
constexpr Cut kCuts[] = {Cut::whole, Cut::one_by_one, Cut::by_three, Cut::packs, Cut::pairs_of_packs};
constexpr Index kPackTokens = 40;

/// 30 samples of 2 to 20 tokens; of every five one is wholly masked and two are masked at their beginning.
inline Dataset masked_samples() {
    Dataset data = moegrad::test::ragged_samples(30, 48, 2, 20, 17);
    for (std::size_t i = 0; i < data.size(); ++i) {
        auto& target = data[i].target;
        if (i % 5 == 3) std::fill(target.begin(), target.end(), kIgnoreTarget);
        if (i % 5 == 1) std::fill_n(target.begin(), target.size() / 2, kIgnoreTarget);
    }
    return data;
}

inline std::vector<Index> lengths_of(const Dataset& data) {
    std::vector<Index> lengths;
    for (const Sample& sample : data) lengths.push_back(std::ssize(sample.token));
    return lengths;
}

/// The picks of a step as micro-batches.
inline MicroBatches cut_step(const std::vector<std::int32_t>& picks, const Dataset& data, Cut cut) {
    const auto lengths = lengths_of(data);
    if (cut == Cut::packs) return pack_samples(picks, lengths, kPackTokens).packs;
    if (cut == Cut::pairs_of_packs) {
        MicroBatches pairs;
        const auto packs = pack_samples(picks, lengths, kPackTokens).packs;
        for (std::size_t i = 0; i < packs.size(); ++i) {
            if (i % 2 == 0) pairs.emplace_back();
            pairs.back().insert(pairs.back().end(), packs[i].begin(), packs[i].end());
        }
        return pairs;
    }
    const std::size_t size = cut == Cut::whole ? picks.size() : cut == Cut::one_by_one ? 1 : 3;
    MicroBatches cuts;
    for (std::size_t i = 0; i < picks.size(); ++i) {
        if (i % size == 0) cuts.emplace_back();
        cuts.back().push_back(picks[i]);
    }
    return cuts;
}

struct Result {
    std::uint64_t hash = 0;
    std::vector<double> losses, norms;
    std::vector<float> values;
};

struct Setting {
    ModelFamily family = ModelFamily::mixtral;
    AdapterSpec spec;
    double balance = 0.05;
    bool reversed = false;  // the plant: another order of the same samples
};

inline Result train(const Setting& setting, Cut cut, int threads, Index steps = 24) {
    const auto model = small_model<float>(small_config(setting.family));
    attach(*model, setting.spec);
    Context context({.device = Device::cpu, .threads = threads, .fill = Arena::Fill::poison});
    const Dataset data = masked_samples();
    Trainer<float> trainer(
        context, *model, {"balance", "z"},
        {.adamw = {.weight_decay = 0.01}, .clip = 0.5, .micro_batch = 8, .seed = 3, .allow_masked = true});
    SampleOrder order(std::ssize(data), 8, 9);
    Result result;
    for (Index n = 0; n < steps; ++n) {
        auto picks = order.step(n);
        if (setting.reversed) std::reverse(picks.begin(), picks.end());
        const auto report =
            trainer.step(data, cut_step(picks, data, cut), 5e-3, {{"balance", setting.balance}, {"z", 0.01}});
        result.losses.push_back(report.cross_entropy);
        result.norms.push_back(report.gradient_norm);
    }
    result.hash = moegrad::test::hash_of(trainer.parameters());
    result.values = moegrad::test::values_of(trainer.parameters());
    return result;
}

inline AdapterSpec spec_of(Method method) {
    AdapterSpec spec;
    spec.method = method;
    spec.lora = {.rank = 4, .alpha = 8, .dropout = 0.1};
    spec.z_loss = true;
    spec.balance = method == Method::adamoe ? BalanceLoss::adamoe_eq6 : BalanceLoss::switch_share;
    spec.seed = 21;
    if (method == Method::adamoe) {
        spec.null_experts = 4;
        spec.top_k = 3;
    }
    spec.gate = GateMode::full;
    return spec;
}

inline void check_all_cuts(const Setting& setting) {
    const Result want = train(setting, Cut::whole, 1);
    CHECK(want.losses.back() < want.losses.front());
    int threads = 1;
    for (const Cut cut : kCuts) {
        CAPTURE(static_cast<int>(cut));
        threads = threads % 3 + 1;
        const Result got = train(setting, cut, threads);
        CHECK(got.hash == want.hash);
        CHECK(got.losses == want.losses);
        CHECK(got.norms == want.norms);
    }
}

inline double largest_difference(const Result& a, const Result& b) {
    double largest = 0;
    for (std::size_t i = 0; i < a.values.size(); ++i)
        largest =
            std::max(largest, std::abs(static_cast<double>(a.values[i]) - static_cast<double>(b.values[i])));
    return largest;
}

}  // namespace accumulation

TEST_CASE("accumulation: 8 x 1, full batch and packs end in the same bits, AdaMoE with a gate in full") {
    accumulation::Setting setting{.spec = accumulation::spec_of(moegrad::Method::adamoe)};
    accumulation::check_all_cuts(setting);
    // A plant: the same samples in another order. Sums have one order, so the bits must show it.
    setting.reversed = true;
    const auto other = accumulation::train(setting, accumulation::Cut::packs, 2);
    setting.reversed = false;
    CHECK(other.hash != accumulation::train(setting, accumulation::Cut::packs, 2).hash);
}

TEST_CASE("accumulation: the same for a Mixture of Routers and for LoRA on a dense model") {
    accumulation::check_all_cuts({.spec = accumulation::spec_of(moegrad::Method::mor)});
    moegrad::AdapterSpec lora;
    lora.lora = {.rank = 4, .alpha = 8, .dropout = 0.1};
    lora.targets = {"attention", "mlp"};
    lora.seed = 21;
    accumulation::check_all_cuts({moegrad::ModelFamily::llama, lora, 0});
}

TEST_CASE(
    "accumulation: a balance loss of scope micro makes the cut part of the objective, and nothing else "
    "does") {
    using accumulation::Cut;
    accumulation::Setting setting{.spec = accumulation::spec_of(moegrad::Method::adamoe)};
    setting.spec.balance_scope = moegrad::BalanceOptions::Scope::micro;
    const auto whole = accumulation::train(setting, Cut::whole, 1),
               packed = accumulation::train(setting, Cut::packs, 1);
    CHECK(packed.hash != whole.hash);
    CHECK(packed.losses.front() == whole.losses.front());  // before any update
    CHECK(accumulation::largest_difference(packed, whole) < 0.1);
    setting.balance = 0;
    CHECK(accumulation::train(setting, Cut::packs, 2).hash ==
          accumulation::train(setting, Cut::whole, 1).hash);
}

TEST_CASE("packing: the loss of a pack is that of its samples, token by token and to the bit, dropout on") {
    using namespace moegrad;
    const auto model = test::small_model<float>(test::small_config(ModelFamily::mixtral));
    attach(*model, accumulation::spec_of(Method::adamoe));
    Context context({.device = Device::cpu, .threads = 2});
    context.scalars().seed = 4;
    const Dataset data = accumulation::masked_samples();
    const auto losses = [&](const Dataset& of, const std::vector<std::int32_t>& picks, Mode mode) {
        const Batch batch = make_batch(of, picks);
        Tape tape(context, mode);
        Forward<float> forward{tape, batch.token, batch.segments};
        const auto nll = model->loss(forward, model->hidden(forward), batch.target);
        return std::vector<float>(nll.value().values().begin(), nll.value().values().end());
    };
    for (const Mode mode : {Mode::training, Mode::inference}) {
        std::vector<std::int32_t> all(data.size());
        for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int32_t>(i);
        Index packs = 0;
        for (const auto& pack :
             pack_samples(all, accumulation::lengths_of(data), accumulation::kPackTokens).packs) {
            std::vector<float> apart;
            for (const std::int32_t pick : pack) {
                const auto one = losses(data, {pick}, mode);
                apart.insert(apart.end(), one.begin(), one.end());
            }
            CHECK(losses(data, pack, mode) == apart);
            packs += pack.size() > 1;
        }
        CHECK(packs > 3);
    }
    // What a packer without segments would do: its samples see each other.
    Dataset joined{data[0]};
    joined[0].token.insert(joined[0].token.end(), data[1].token.begin(), data[1].token.end());
    joined[0].target.insert(joined[0].target.end(), data[1].target.begin(), data[1].target.end());
    CHECK(losses(joined, {0}, Mode::inference) != losses(data, {0, 1}, Mode::inference));
}

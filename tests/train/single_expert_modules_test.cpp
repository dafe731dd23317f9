// LoRA of single expert modules: w1, w2 and w3 with an A each, under the names of transformers 4.

#include <doctest/doctest.h>

#include <moegrad/train/adapter_files.hpp>

#include "io/support.hpp"
#include "support/model_small.hpp"
#include "support/op_check.hpp"

using namespace moegrad;

namespace {

constexpr Index kRank = 3;

AdapterSpec single_spec(std::vector<std::string> targets) {
    AdapterSpec spec;
    spec.lora.rank = kRank;
    spec.lora.alpha = 6;
    spec.targets = std::move(targets);
    return spec;
}

std::unique_ptr<Decoder<double>> trained(const AdapterSpec& spec, int steps) {
    auto model = test::small_model<double>(test::small_config(ModelFamily::mixtral));
    attach(*model, spec);
    Trainer<double> trainer(test::context(), *model, {}, {.micro_batch = 4});
    const auto data = test::ragged_samples(4, model->config().vocab_size);
    for (int n = 0; n < steps; ++n) trainer.step(data, std::vector<std::int32_t>{0, 1, 2, 3}, 1e-2);
    return model;
}

Tensor<double> hidden(Decoder<double>& model) {
    const auto token = Tensor<std::int32_t>::from({5}, {1, 7, 3, 40, 2});
    const auto segments = Segments::of_lengths({5});
    Tape tape(test::context(), Mode::inference);
    Forward<double> forward{tape, token, segments};
    return test::convert<double>(model.hidden(forward).value());
}

}  // namespace

TEST_CASE("single expert modules: the mixing blocks of B never train, the others do") {
    const auto model = trained(single_spec({"w1", "w2", "w3"}), 5);
    for (auto& layer : model->layers()) {
        auto& experts = layer.moe.front().experts;
        const auto B = experts.gate_up_lora.B.value();
        const Index F = experts.width();
        double own = 0, mixing = 0;
        for (Index e = 0; e < experts.count(); ++e) {
            for (Index row = 0; row < 2 * F; ++row) {
                for (Index r = 0; r < 2 * kRank; ++r) {
                    ((row < F) == (r < kRank) ? own : mixing) += std::abs(B.view<3>()(e, row, r));
                }
            }
        }
        CHECK(own > 0);
        CHECK(mixing == 0);
        CHECK(experts.gate_up_lora.scale == 2.0);  // alpha / r of one module, not of both
    }
}

TEST_CASE("single expert modules: file names, shapes and a round trip to float") {
    const AdapterSpec spec = single_spec({"v_proj", "w1", "w2", "w3"});
    const auto model = trained(spec, 3);
    const io_test::TemporaryFolder folder;
    save_adapter(*model, spec, folder.path());
    const SafetensorsFile file(folder.path() + "/adapter_model.safetensors");
    const std::string expert = "base_model.model.model.layers.1.block_sparse_moe.experts.2.";
    CHECK(file.at(expert + "w1.lora_A.weight").shape == std::vector<Index>{kRank, 16});
    CHECK(file.at(expert + "w1.lora_B.weight").shape == std::vector<Index>{24, kRank});
    CHECK(file.at(expert + "w3.lora_A.weight").shape == std::vector<Index>{kRank, 16});
    CHECK(file.at(expert + "w2.lora_A.weight").shape == std::vector<Index>{kRank, 24});
    CHECK(file.at(expert + "w2.lora_B.weight").shape == std::vector<Index>{16, kRank});

    auto again = test::small_model<double>(test::small_config(ModelFamily::mixtral));
    const AdapterSpec read = load_adapter(*again, folder.path());
    CHECK(read.targets == spec.targets);
    CHECK(test::relative_error(hidden(*again), hidden(*model)) < 1e-6);
}

TEST_CASE("single expert modules: w1 has its own A: a change of w3's leaves the gate alone") {
    const auto model = trained(single_spec({"w1", "w3"}), 3);
    auto& experts = model->layers()[0].moe.front().experts;
    auto delta = [&](Index row) {  // of expert 0: s B A, one row
        const auto A = experts.gate_up_lora.A.value().view<3>(), B = experts.gate_up_lora.B.value().view<3>();
        double sum = 0;
        for (Index r = 0; r < 2 * kRank; ++r) sum += B(0, row, r) * A(0, r, 0);
        return sum;
    };
    const double gate = delta(0), up = delta(experts.width());
    for (Index r = kRank; r < 2 * kRank; ++r) experts.gate_up_lora.A.value().view<3>()(0, r, 0) += 1;
    CHECK(delta(0) == gate);
    CHECK(delta(experts.width()) != up);
}

TEST_CASE("single expert modules: w1 without w3, or beside the fused form, is an error") {
    for (const auto& targets :
         {std::vector<std::string>{"w1"}, {"w3", "w2"}, {"w1", "w2", "w3", "experts"}}) {
        auto model = test::small_model<double>(test::small_config(ModelFamily::mixtral));
        CHECK_THROWS_AS(attach(*model, single_spec(targets)), Error);
    }
}

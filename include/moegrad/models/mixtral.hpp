#pragma once
// Mixtral: the decoder with E SwiGLU experts per layer, top-K of a softmax router, weights renormalised over the K.
// Jiang et al. 2024 (arXiv 2401.04088).
// Stored one tensor per expert (v4 and the hub): block_sparse_moe.experts.e.w1 (gate), w3 (up), w2 (down), gate.weight;
// or fused (v5): mlp.experts.gate_up_proj [E, 2F, D], mlp.experts.down_proj [E, D, F], mlp.gate.weight.

#include <moegrad/models/decoder.hpp>
#include <moegrad/routing/top_k_router.hpp>

namespace moegrad {

enum class ExpertLayout { one_by_one, fused };

template <class Real>
class Mixtral final : public Decoder<Real> {
public:
    explicit Mixtral(const ModelConfig& config) : Decoder<Real>(config) {
        for (auto& layer : this->layers()) {
            const std::string name = "model.layers." + std::to_string(layer.index) + ".mlp";
            MoeLayer<Real> moe;
            moe.name = name;
            moe.layer = layer.index;
            moe.gate = std::make_shared<Parameter<Wide<Real>>>(
                name + ".gate.weight", Shape{config.num_local_experts, config.hidden_size});
            moe.experts = Experts<Real>(name + ".experts", config.num_local_experts, config.hidden_size,
                                        config.intermediate_size);
            moe.router =
                TopKRouter<Wide<Real>>{.gate = Gate<Wide<Real>>(moe.gate), .k = config.num_experts_per_tok};
            layer.moe.push_back(std::move(moe));
        }
    }

    /// Which names `stored_tensors` gives: those of the files at hand.
    ExpertLayout layout = ExpertLayout::one_by_one;

    std::vector<StoredTensor<Real>> stored_tensors() override {
        auto all = Decoder<Real>::stored_tensors();
        for (auto& layer : this->layers()) {
            const std::string name = "model.layers." + std::to_string(layer.index);
            auto& moe = layer.moe.front();
            if (layout == ExpertLayout::fused) {
                for (Parameter<Wide<Real>>* p : std::initializer_list<Parameter<Wide<Real>>*>{
                         moe.gate.get(), &moe.experts.gate_up, &moe.experts.down}) {
                    all.push_back(this->whole(*p));
                }
                continue;
            }
            const std::string block = name + ".block_sparse_moe";
            all.push_back({block + ".gate.weight", moe.gate.get()});
            const Index F = moe.experts.width();
            for (Index e = 0; e < moe.experts.count(); ++e) {
                const std::string expert = block + ".experts." + std::to_string(e);
                all.push_back({expert + ".w1.weight", &moe.experts.gate_up, e, 0, F});
                all.push_back({expert + ".w3.weight", &moe.experts.gate_up, e, F, 2 * F});
            }
            for (Index e = 0; e < moe.experts.count(); ++e) {
                all.push_back({block + ".experts." + std::to_string(e) + ".w2.weight", &moe.experts.down, e});
            }
        }
        return all;
    }
};

}  // namespace moegrad

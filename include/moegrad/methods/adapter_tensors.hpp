#pragma once
// Which tensors an adapter file holds, and how each lies in it. Names are PEFT's; for what PEFT does not know they
// follow its style (gate2, router.sub.J, router.main, q_proj.experts.E).
//
// LoRA over fused experts is packed as one of the layouts of adapter_layout.hpp; written as PEFT 0.19.1+ packs it.
// LoRA of single modules has the names of transformers 4: ...block_sparse_moe.experts.E.w1.lora_A.weight.

#include <algorithm>
#include <string>
#include <vector>

#include <moegrad/methods/adapter_layout.hpp>
#include <moegrad/methods/attach.hpp>

namespace moegrad {

/// rows: [E n, width], row e n + j is matrix row j of expert e. columns: [width, n E], a column per matrix row.
/// The matrices are those of the parameter, or with `transposed` their transposes.
enum class AdapterLayout { as_is, rows, columns, block };

template <class Real>
struct AdapterTensor {
    using Value = Wide<Real>;  // adapters are kept as their masters, on the host

    std::string name;
    Parameter<Wide<Real>>* parameter = nullptr;
    AdapterLayout layout = AdapterLayout::as_is;
    Index expert = 0;  // block: which matrix of the stack,
    Block block{};     // and which part of it

    bool transposed = false;    // rows and columns: of the transposed matrices
    bool expert_major = false;  // columns: column e n + j instead of j E + e

    Shape shape() const {
        const Shape& s = parameter->shape();
        switch (layout) {
            case AdapterLayout::as_is: return s;
            case AdapterLayout::rows: return {s[0] * packed_rows(), packed_width()};
            case AdapterLayout::columns: return {packed_width(), packed_rows() * s[0]};
            case AdapterLayout::block:
                return {block.row_end - block.row_begin, block.column_end - block.column_begin};
        }
        return s;
    }

    /// The file's values, from a host tensor of the parameter's shape (its value or its gradient).
    std::vector<Value> pack(const Tensor<Value>& whole) const {
        std::vector<Value> out(static_cast<std::size_t>(shape().size()));
        visit(whole, [&](Index at, Value& value) { out[static_cast<std::size_t>(at)] = value; });
        return out;
    }
    void unpack(const std::vector<Value>& from, const Tensor<Value>& whole) const {
        visit(whole, [&](Index at, Value& value) { value = from[static_cast<std::size_t>(at)]; });
    }
    /// The file's values of the parameter itself.
    std::vector<Value> read() const { return pack(host_values<Real>(*parameter)); }
    void write(const std::vector<Value>& from) const {
        change_values<Real>(*parameter, [&](const Tensor<Value>& whole) { unpack(from, whole); });
    }

private:
    Index packed_rows() const { return parameter->shape()[transposed ? 2 : 1]; }
    Index packed_width() const { return parameter->shape()[transposed ? 1 : 2]; }

    /// each(place in the file, value in the parameter's layout).
    template <class Each>
    void visit(const Tensor<Value>& whole, Each each) const {
        const Shape& s = parameter->shape();
        if (layout == AdapterLayout::rows || layout == AdapterLayout::columns)
            return visit_packed(whole, each);
        if (layout == AdapterLayout::block) {
            Index at = 0;
            for (Index r = block.row_begin; r < block.row_end; ++r) {
                Value* row = whole.data() + (expert * s[1] + r) * s[2];
                for (Index c = block.column_begin; c < block.column_end; ++c) each(at++, row[c]);
            }
            return;
        }
        for (Index i = 0; i < shape().size(); ++i) each(i, whole.data()[i]);
    }

    template <class Each>
    void visit_packed(const Tensor<Value>& whole, Each each) const {
        const Shape& s = parameter->shape();
        const Index E = s[0], n = packed_rows(), width = packed_width();
        for (Index e = 0; e < E; ++e) {
            for (Index j = 0; j < n; ++j) {
                const Index line = layout == AdapterLayout::rows || expert_major ? e * n + j : j * E + e;
                for (Index i = 0; i < width; ++i) {
                    const Index row = transposed ? i : j, column = transposed ? j : i;
                    each(layout == AdapterLayout::rows ? line * width + i : i * n * E + line,
                         whole.data()[(e * s[1] + row) * s[2] + column]);
                }
            }
        }
    }
};

namespace detail {

inline constexpr const char* kAdapterPrefix = "base_model.model.";

/// One module of one expert: rows [a_begin, a_begin + R) of A, and that block column of rows [b_begin, b_end) of B.
template <class Real>
void add_expert_module(std::vector<AdapterTensor<Real>>& all, const std::string& name,
                       LoraParameters<Real>& lora, Index e, Index a_begin, Index R, Index b_begin,
                       Index b_end) {
    const Index in = lora.A.shape()[2];
    all.push_back({name + ".lora_A.weight", &lora.A, AdapterLayout::block, e, {a_begin, a_begin + R, 0, in}});
    all.push_back(
        {name + ".lora_B.weight", &lora.B, AdapterLayout::block, e, {b_begin, b_end, a_begin, a_begin + R}});
}

/// "model.layers.3.mlp" as transformers 4 calls it.
inline std::string block_sparse_name(const std::string& mlp) {
    return mlp.substr(0, mlp.rfind(".mlp")) + ".block_sparse_moe";
}

template <class Real>
void add_single_modules(std::vector<AdapterTensor<Real>>& all, MoeLayer<Real>& moe) {
    auto& experts = moe.experts;
    const Index F = experts.width();
    for (Index e = 0; e < experts.count(); ++e) {
        const std::string name =
            kAdapterPrefix + block_sparse_name(moe.name) + ".experts." + std::to_string(e);
        if (auto& lora = experts.gate_up_lora; lora.defined()) {
            const Index R = lora.rank() / 2;
            add_expert_module(all, name + ".w1", lora, e, 0, R, 0, F);
            add_expert_module(all, name + ".w3", lora, e, R, R, F, 2 * F);
        }
        if (auto& lora = experts.down_lora; lora.defined()) {
            add_expert_module(all, name + ".w2", lora, e, 0, lora.rank(), 0, lora.B.shape()[1]);
        }
    }
}

/// File lora_A [E R, in] of A as it lies, lora_B [out, R E] of B transposed; with swapped roles the file's lora_A is
/// made of our B and its lora_B of our A.
template <class Real>
void add_fused_experts(std::vector<AdapterTensor<Real>>& all, Experts<Real>& experts, PeftLayout packing) {
    const bool swapped = swaps_roles(packing);
    for (auto* lora : {&experts.gate_up_lora, &experts.down_lora}) {
        if (!lora->defined()) continue;
        AdapterTensor<Real> a{kAdapterPrefix + lora->A.name(), swapped ? &lora->B : &lora->A};
        AdapterTensor<Real> b{kAdapterPrefix + lora->B.name(), swapped ? &lora->A : &lora->B};
        a.layout = AdapterLayout::rows;
        b.layout = AdapterLayout::columns;
        a.transposed = swapped;
        b.transposed = !swapped;
        b.expert_major = is_expert_major(packing);
        all.push_back(std::move(a));
        all.push_back(std::move(b));
    }
}

template <class Real>
void add_adapter_tensors(std::vector<AdapterTensor<Real>>& all, Linear<Real>& linear) {
    if (!linear.adapter) return;
    auto* mixture = dynamic_cast<MixtureLora<Real>*>(linear.adapter.get());
    if (mixture == nullptr) {
        for (auto* p : linear.adapter->parameters()) all.push_back({kAdapterPrefix + p->name(), p});
        return;
    }
    auto& lora = mixture->lora();
    for (Index e = 0; e < lora.A.shape()[0]; ++e) {
        const std::string name = kAdapterPrefix + linear.path() + ".experts." + std::to_string(e);
        add_expert_module(all, name, lora, e, 0, lora.rank(), 0, lora.B.shape()[1]);
    }
    for (auto* p : mixture->router()->parameters()) all.push_back({kAdapterPrefix + p->name(), p});
}

}  // namespace detail

/// Every tensor of the model's adapter file, layer by layer.
template <class Real>
std::vector<AdapterTensor<Real>> adapter_tensors(Decoder<Real>& model,
                                                 PeftLayout packing = PeftLayout::peft_0_19) {
    std::vector<AdapterTensor<Real>> all;
    for (auto& layer : model.layers()) {
        for (auto& [name, linear] : model.linears(layer)) detail::add_adapter_tensors(all, *linear);
        for (auto& moe : layer.moe) {
            const bool single = moe.experts.lora_modules == LoraModules::single;
            if (single) {
                detail::add_single_modules(all, moe);
            } else {
                detail::add_fused_experts(all, moe.experts, packing);
            }
            for (auto* p : moe.router.parameters()) {
                const std::string name = p->name();
                // A registered router may keep state that after_step sets instead of the optimiser.
                if (!p->trainable() && !name.starts_with(moe.name + ".router.")) continue;
                const bool old_gate = single && name.starts_with(moe.name + ".gate.");
                all.push_back({detail::kAdapterPrefix + (old_gate ? detail::block_sparse_name(moe.name) +
                                                                        name.substr(moe.name.size())
                                                                  : name),
                               p});
            }
        }
        for (auto* p : added_parameters(layer)) {
            if (p->name().find(kBaseCopy) != std::string::npos) continue;
            const bool there =
                std::any_of(all.begin(), all.end(), [p](const auto& one) { return one.parameter == p; });
            if (!there) all.push_back({detail::kAdapterPrefix + p->name(), p});
        }
    }
    return all;
}

/// Sets every adapter's dropout to 0: a gradient of the function that evaluation sees.
template <class Real>
void clear_dropout(Decoder<Real>& model) {
    const auto clear_gate = [](auto& gate) { gate.lora.dropout = 0; };
    const auto clear_router = [&](AnyRouter<Wide<Real>>& router) {
        if (auto* top_k = router.template get<TopKRouter<Wide<Real>>>()) clear_gate(top_k->gate);
        if (auto* nulls = router.template get<NullExpertRouter<Wide<Real>>>()) {
            clear_gate(nulls->gate);
            clear_gate(nulls->gate2);
        }
        if (auto* mixture = router.template get<MixtureRouter<Wide<Real>>>()) {
            for (auto& sub : mixture->sub) clear_gate(sub);
            for (auto& sub : mixture->sub_nulls) clear_gate(sub);
        }
    };
    for (auto& layer : model.layers()) {
        for (auto& [name, linear] : model.linears(layer)) {
            if (!linear->adapter) continue;
            linear->adapter->clear_dropout();
            if (auto* router = linear->adapter->router()) clear_router(*router);
        }
        for (auto& moe : layer.moe) {
            moe.experts.gate_up_lora.dropout = moe.experts.down_lora.dropout = 0;
            clear_router(moe.router);
            for (auto& set : moe.beside) {
                set->clear_dropout();
                if (auto* router = set->router()) clear_router(*router);
            }
        }
        for (auto& branch : layer.branches) {
            clear_router(branch.router);
            branch.experts->clear_dropout();
        }
        if (layer.hook) layer.hook->clear_dropout();
    }
}

}  // namespace moegrad

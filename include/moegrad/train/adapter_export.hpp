#pragma once
// adapter_export: an adapter folder that PEFT 0.19+ loads beside transformers 5, with the base's name in its config.
//
// PEFT reads what `moegrad train` writes, with three exceptions, all of single expert modules (w1, w2, w3): transformers 5
// keeps the experts fused, PEFT renames such adapters when it loads them, and there (0.21) w1 with w3 but without w2
// goes to a name that is not there, rsLoRA is scaled by alpha / sqrt(r) of the doubled rank, and a fully trained gate is
// not renamed. So single modules are exported as the fused ones that they are here anyway: A of w1 above A of w3, rank
// 2R, a block-diagonal B, with rank_pattern and alpha_pattern that leave the scale as it was.
// Routers that PEFT does not know are refused.

#include <cmath>
#include <string>
#include <vector>

#include <moegrad/io/pending_folder.hpp>
#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/export.hpp>
#include <moegrad/train/model_files.hpp>

namespace moegrad {

struct AdapterExport {
    std::string model, adapter, out;
    std::string base_name;        // base_model_name_or_path; empty: `model`
    bool single_modules = false;  // leave w1, w2, w3 as they are: the form of transformers 4
    AdapterReading reading{};
};

namespace detail {

/// Single modules of every layer under the names of fused ones. Returns whether there were any.
inline bool fuse_single_modules(Decoder<float>& model) {
    bool any = false;
    for (auto& layer : model.layers()) {
        for (auto& moe : layer.moe) {
            auto& experts = moe.experts;
            if (experts.lora_modules == LoraModules::fused) continue;
            any = true;
            experts.lora_modules = LoraModules::fused;
            const std::string path = moe.name + ".experts";
            const auto rename = [](LoraParameters<float>& lora, const std::string& name) {
                if (!lora.defined()) return;
                lora.A.rename(name + ".lora_A.weight");
                lora.B.rename(name + ".lora_B.weight");
            };
            rename(experts.gate_up_lora, experts.down_lora.defined() ? path + ".base_layer" : path);
            rename(experts.down_lora, path);
        }
    }
    return any;
}

/// What the fused form is: gate_up has twice the rank, and an alpha that keeps the scale.
inline AdapterSpec fused_spec(AdapterSpec spec) {
    const bool up = spec.names("w1"), down = spec.names("w2");
    std::erase_if(spec.targets, [](const std::string& t) { return t == "w1" || t == "w2" || t == "w3"; });
    if (up) spec.targets.emplace_back("experts.gate_up");
    if (down) spec.targets.emplace_back("experts.down");
    const bool root = spec.lora.scale == LoraOptions::Scale::alpha_over_sqrt_rank;
    const double more = root ? std::sqrt(2.0) : 2.0;
    for (AdapterPlace& place : spec.places) {
        const std::string path = place.path.substr(0, place.path.rfind('.'));
        if (place.path.ends_with(".experts.w1"))
            place = {path + ".gate_up_proj", 2 * place.rank, place.alpha * more};
        if (place.path.ends_with(".experts.w2")) place.path = path + ".down_proj";
    }
    if (!up) return spec;
    spec.gate_up_rank = 2 * spec.lora.rank;
    spec.gate_up_alpha = spec.lora.alpha * more;
    return spec;
}

}  // namespace detail

inline void require_peft(const AdapterSpec& spec, const std::string& place) {
    if (is_plain_peft(spec)) return;
    throw Error{
        ErrorCode::unsupported, place, "plain LoRA, or a gate that trained",
        spec.method == Method::lora ? format("lora with router.top_k {}", spec.top_k) : spec.method_name(),
        "PEFT has no such router; keep moegrad's adapter folder and pass --adapter"};
}

/// Returns the names of the tensors written.
inline std::vector<std::string> export_adapter(const AdapterExport& options) {
    const auto model = load_model<float>(options.model);
    const AdapterSpec spec = load_adapter(*model, options.adapter, options.reading);
    require_peft(spec, options.adapter);
    PendingFolder folder(options.out);
    const bool fused = !options.single_modules && detail::fuse_single_modules(*model);
    const Json config = to_json(fused ? detail::fused_spec(spec) : spec, model->config());
    std::vector<std::string> names = save_adapter_tensors(*model, folder.path());
    const std::string base = options.base_name.empty() ? options.model : options.base_name;
    write_file_atomically(
        folder.path() + "/adapter_config.json",
        write_json(detail::with_key(config, "base_model_name_or_path", base), JsonStyle::indented));
    folder.commit();
    return names;
}

}  // namespace moegrad

#pragma once
// require_startable: what would go wrong in an arm when it starts, before any arm trains.

#include <string>
#include <vector>

#include <moegrad/data/choice_items.hpp>
#include <moegrad/train/compare_spec.hpp>
#include <moegrad/train/model_files.hpp>
#include <moegrad/train/run_data.hpp>
#include <moegrad/train/run_model.hpp>

namespace moegrad {

namespace detail {

/// The model with the adapter of `arm`, without its weights.
template <class Real>
void require_startable_arm(const CompareSpec& spec, const CompareArm& arm) {
    RunConfig config = run_config_of(spec, trained_arm(spec, arm), spec.seeds.front(), 1);
    const auto layers = static_cast<std::size_t>(load_model_config(config.model).num_hidden_layers);
    const std::vector<ExpertList> some(layers, ExpertList{0});
    if (!trained_arm(spec, arm).picks_of.empty())
        add_router_option(config, "picked=" + expert_lists_text(some));
    if (config.dtype != spec.base.dtype || config.device != spec.base.device) {
        throw Error{ErrorCode::config, "model.dtype and train.device", "those of the base for every arm",
                    format("{} on {}", moegrad::name(config.dtype), moegrad::name(config.device))};
    }
    const auto model = make_model<Real>(load_model_config(config.model));
    attach(*model, config.adapter_for(model->config()));
    if (!arm.of.empty()) try_change(*model, parse_change(arm.change, arm.place));
}

}  // namespace detail

/// What the runs are asked, and the documents of an assay: the last of them are read when all has trained.
inline void require_asked_files(const CompareSpec& spec) {
    if (!spec.questions.empty()) require_questions(spec.questions);
    const bool assay = !spec.heldout.empty() && load_model_config(spec.base.model).is_mixture();
    for (const std::string& file : {spec.texts, assay ? spec.heldout : std::string()})
        if (!file.empty()) MappedFile{file};
}

/// A mistake in the last arm must not wait until the others have trained.
template <class Real>
void require_startable(const CompareSpec& spec, const Tokenizer& tokenizer) {
    require_asked_files(spec);
    std::string readable;  // settings whose data was read without an error
    for (const CompareArm& arm : spec.arms) {
        try {
            detail::require_startable_arm<Real>(spec, arm);
            const RunConfig config = run_config_of(spec, trained_arm(spec, arm), spec.seeds.front(), 1);
            if (const std::string data = detail::data_settings(config); data != readable) {
                load_text_data(config, tokenizer);
                readable = data;
            }
        } catch (const Error& error) {
            throw Error{error.code, format("arm \"{}\" ({}): {}", arm.name, arm.place, error.place),
                        error.expected, error.got, error.hint};
        }
    }
}

}  // namespace moegrad

#pragma once
// save_checkpoint and resume_checkpoint: RUN/checkpoints/step-000120/{state.safetensors, state.json, MANIFEST.json}.
// A run that goes on from one ends in the bits of a run that was never stopped: order of samples, dropout, schedules and
// annealing are functions of the step, everything else is in the files.

#include <optional>
#include <string>

#include <moegrad/train/checkpoint_store.hpp>
#include <moegrad/train/trainer.hpp>

namespace moegrad {

/// Saves what the run is after `state.step` steps; see save_state. With a step in flight the weights are not those of
/// any report: finish_step first.
template <class Real>
void save_checkpoint(CheckpointFolder& checkpoints, Trainer<Real>& trainer, const RunState& state,
                     const std::string& identity, int keep) {
    if (state.step != trainer.steps_done())
        throw Error{ErrorCode::state, "save_checkpoint", format("step {}", trainer.steps_done()),
                    format("a state of step {}", state.step)};
    if (trainer.in_flight() > 0)
        throw Error{ErrorCode::state, "save_checkpoint", "no step in flight",
                    format("{}", trainer.in_flight()), "call finish_step first"};
    const auto all = state_tensors<Real>(trainer.parameters(), trainer.routers());
    save_state(checkpoints, all.tensors, state, identity, keep, trainer.pool());
}
template <class Real>
void save_checkpoint(const std::string& run_folder, Trainer<Real>& trainer, const RunState& state,
                     const std::string& identity, int keep) {
    CheckpointFolder checkpoints(run_folder);
    save_checkpoint(checkpoints, trainer, state, identity, keep);
}

/// Brings the newest checkpoint that verifies back into the trainer; see load_newest.
template <class Real, class Say>
std::optional<RunState> resume_checkpoint(CheckpointFolder& checkpoints, Trainer<Real>& trainer,
                                          const std::string& identity, Say say) {
    auto all = state_tensors<Real>(trainer.parameters(), trainer.routers());
    const auto state = load_newest(checkpoints, all.tensors, identity, trainer.pool(), say);
    if (!state) return state;
    all.arrive();
    std::size_t i = 0;
    for (const auto& [name, router] : trainer.routers())
        if (router->learns()) router->set_state(all.router_states[i++]);
    trainer.resume_at(state->step);
    return state;
}
template <class Real, class Say>
std::optional<RunState> resume_checkpoint(const std::string& run_folder, Trainer<Real>& trainer,
                                          const std::string& identity, Say say) {
    CheckpointFolder checkpoints(run_folder);
    return resume_checkpoint(checkpoints, trainer, identity, say);
}

}  // namespace moegrad

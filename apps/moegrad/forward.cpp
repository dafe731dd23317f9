// moegrad forward: the probe that makes a model comparable with any other implementation.

#include <moegrad/train/forward_probe.hpp>

#include "adapter_reading_flags.hpp"
#include "device_flags.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

void add_forward(CLI::App& app) {
    auto probe = std::make_shared<ForwardProbe>();
    auto flags = std::make_shared<DeviceFlags>();
    CLI::App* verb =
        app.add_subcommand("forward", "logits, loss, gradients and routing of a model on given tokens");
    verb->add_option("--model", probe->model, "folder of the checkpoint")->required();
    verb->add_option("--adapter", probe->adapter, "folder of a PEFT or moegrad adapter");
    add_adapter_reading(verb, probe->reading);
    verb->add_option("--tokens", probe->tokens, "safetensors file with `tokens` [B, S] int64")->required();
    verb->add_flag("--grads", probe->gradients, "write grad.<name> of every base (or adapter) tensor");
    add_device_flags(verb, *flags);
    verb->add_option("--threads", probe->threads, "0: MOEGRAD_THREADS, else all cores");
    verb->add_option("--out", probe->out, "safetensors file to write")->required();
    verb->callback([=] {
        const Number number = number_for(*flags, probe->model);
        probe->device = flags->place();
        probe->quantise = flags->quantisation();
        const double loss =
            with_number(number, [&]<class Real>() { return run_forward_probe<Real>(*probe); });
        fmt::print("loss {:.6f}  -> {}\n", loss, probe->out);
    });
}

const RegisterVerb forward_registered(70, add_forward);

}  // namespace

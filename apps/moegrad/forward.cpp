// moegrad forward: the probe that makes a model comparable with any other implementation.

#include <moegrad/train/forward_probe.hpp>

#include "adapter_reading_flags.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

void add_forward(CLI::App& app) {
    auto probe = std::make_shared<ForwardProbe>();
    auto dtype = std::make_shared<std::string>("float32"), device = std::make_shared<std::string>("cpu");
    CLI::App* verb =
        app.add_subcommand("forward", "logits, loss, gradients and routing of a model on given tokens");
    verb->add_option("--model", probe->model, "folder of the checkpoint")->required();
    verb->add_option("--adapter", probe->adapter, "folder of a PEFT or moegrad adapter");
    add_adapter_reading(verb, probe->reading);
    verb->add_option("--tokens", probe->tokens, "safetensors file with `tokens` [B, S] int64")->required();
    verb->add_flag("--grads", probe->gradients, "write grad.<name> of every base (or adapter) tensor");
    verb->add_option("--device", *device, "cpu");
    verb->add_option("--dtype", *dtype, "float32, float64 or bfloat16")
        ->check(CLI::IsMember({"float32", "float64", "bfloat16"}));
    verb->add_option("--threads", probe->threads, "0: MOEGRAD_THREADS, else all cores");
    verb->add_option("--out", probe->out, "safetensors file to write")->required();
    verb->callback([=] {
        require_cpu(*device);
        refuse_bfloat16(*dtype);
        const double loss =
            *dtype == "float64" ? run_forward_probe<double>(*probe) : run_forward_probe<float>(*probe);
        fmt::print("loss {:.6f}  -> {}\n", loss, probe->out);
    });
}

const RegisterVerb forward_registered(70, add_forward);

}  // namespace

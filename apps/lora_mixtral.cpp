// LoRA on a Mixtral, from C++: attach, train, save, load onto the base again.
//     lora_mixtral [MODEL [OUT]]
// MODEL: a Hugging Face folder; without it, or with -, a random model of two layers. OUT: where the adapter goes.

#include <cstdio>
#include <string>

#include <moegrad/data.hpp>
#include <moegrad/moegrad.hpp>
#include <moegrad/train.hpp>

using namespace moegrad;

namespace {

std::unique_ptr<Decoder<float>> base_model(const std::string& folder) {
    if (folder != "-") return load_model<float>(folder);
    ModelConfig config = family_defaults(ModelFamily::mixtral);
    config.hidden_size = 32;
    config.intermediate_size = 48;
    config.num_hidden_layers = 2;
    config.num_attention_heads = 4;
    config.num_key_value_heads = 2;
    config.head_dim = 8;
    config.vocab_size = 64;
    config.num_local_experts = 4;
    config.num_experts_per_tok = 2;
    config.initializer_range = 0.1;
    auto model = make_model<float>(config);
    model->initialize(1);
    return model;
}

/// Sequences in which every id follows from the one before it: id -> 5 id + 3.
Dataset rule_samples(Index vocabulary, int count) {
    Dataset data;
    Random random(7);
    const auto V = static_cast<std::uint64_t>(vocabulary);
    for (int n = 0; n < count; ++n) {
        std::vector<std::int32_t> ids{static_cast<std::int32_t>(random.next_below(V))};
        while (ids.size() < 24) ids.push_back(static_cast<std::int32_t>((ids.back() * 5 + 3) % vocabulary));
        data.push_back(language_sample(ids));
    }
    return data;
}

void run(const std::string& folder, const std::string& out) {
    auto model = base_model(folder);
    AdapterSpec spec;
    spec.method = Method::lora;
    spec.lora = {.rank = 8, .alpha = 16};
    spec.targets = {"attention", "experts"};
    attach(*model, spec);  // freezes the base; a target that matches nothing is an error
    std::printf("%s", trainable_table(*model).c_str());

    const Dataset data = rule_samples(model->config().vocab_size, 64);
    Context context;
    Trainer<float> trainer(context, *model, {}, {.adamw = {.weight_decay = 0}, .micro_batch = 8});
    SampleOrder order(static_cast<Index>(data.size()), 16, 0);
    for (Index step = 0; step < 40; ++step) {
        const StepReport report = trainer.step(data, order.step(step), 1e-2);
        if (step % 10 == 0 || step == 39) {
            std::printf("step %2d   cross entropy %.4f\n", static_cast<int>(step), report.cross_entropy);
        }
    }
    const double trained = trainer.evaluate(data);

    save_adapter(*model, spec, out);
    auto again = base_model(folder);
    load_adapter(*again, out);
    const double loaded = Trainer<float>(context, *again, {}, {}).evaluate(data);
    std::printf("adapter in %s; loaded onto the base again: %.6f, the same bits: %s\n", out.c_str(), loaded,
                loaded == trained ? "yes" : "no");
    if (loaded != trained) throw Error{ErrorCode::state, "adapter", "the same function", "another"};
}

}  // namespace

int main(int argc, char** argv) {
    try {
        run(argc > 1 ? argv[1] : "-", argc > 2 ? argv[2] : "lora_mixtral_adapter");
    } catch (const Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}

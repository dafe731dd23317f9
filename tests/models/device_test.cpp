// Models on a GPU: loaded there, they compute what the CPU computes, in float within the rounding of float sums, in bf16
// within that of bf16. Without CUDA kernels in the program there is nothing to do.

#include <moegrad/eval/generate.hpp>
#include <moegrad/eval/score_batch.hpp>
#include <moegrad/train/model_saver.hpp>

#include "support/model_adapted.hpp"
#include "support/model_probe.hpp"

using namespace moegrad;
using namespace moegrad::test;

namespace {

constexpr Index kVocabulary = 48;

ModelConfig config_of(ModelFamily family) {
    ModelConfig config = small_config(family);
    config.num_hidden_layers = 2;
    return config;
}

/// The model's folder, stored in bf16, so that float and bf16 models have the same weights.
void save_base(const ModelConfig& config, const std::string& folder) {
    save_model(*small_model<float>(config), folder, StoredType::bf16);
}

constexpr std::size_t kSequences = 8, kLength = 9;

std::string write_tokens(const std::string& path) {
    std::vector<std::int64_t> ids;
    Random random(3);
    for (std::size_t i = 0; i < kSequences * kLength; ++i)
        ids.push_back(static_cast<std::int64_t>(random.next_below(kVocabulary)));
    SafetensorsWriter writer;
    const std::vector<Index> shape{kSequences, kLength};
    writer.add("tokens", StoredType::i64, shape, std::span<const std::int64_t>(ids));
    writer.save(path);
    return path;
}

struct ProbeBounds {
    double logits, gradients, routes;  // routes: the share that must be equal
};

/// Part `s` of values that are laid out sequence after sequence.
std::vector<double> of_sequence(const std::vector<double>& values, std::size_t s) {
    const auto each = static_cast<std::ptrdiff_t>(values.size() / kSequences),
               at = static_cast<std::ptrdiff_t>(s);
    return {values.begin() + at * each, values.begin() + (at + 1) * each};
}

/// Which sequences take the same experts on both sides, in every layer.
std::vector<bool> same_routes(const Probe& got, const Probe& want, double share) {
    std::vector<bool> same(kSequences, true);
    for (const auto& [key, values] : want.numbers) {
        const std::string& name = key;
        CAPTURE(name);
        if (!name.ends_with(".expert")) continue;
        double equal = 0;
        for (std::size_t i = 0; i < values.size(); ++i) equal += got.at(name)[i] == values[i];
        CHECK(equal >= share * static_cast<double>(values.size()));
        for (std::size_t s = 0; s < kSequences; ++s) {
            same[s] = same[s] && of_sequence(got.at(name), s) == of_sequence(values, s);
        }
    }
    return same;
}

/// The probe on the GPU in Real against that of the CPU in double. Another expert has another output and another gradient:
/// where rounding decided a near tie the other way there is nothing to compare.
template <class Real>
void compare_probes(const ForwardProbe& options, const io_test::TemporaryFolder& folder,
                    const ProbeBounds& bounds) {
    const Probe want = probe<double>(options, Device::cpu, folder.file("cpu.safetensors"));
    const Probe got = probe<Real>(options, Device::cuda, folder.file("cuda.safetensors"));
    const Probe again = probe<Real>(options, Device::cuda, folder.file("again.safetensors"));
    CHECK(again.numbers == got.numbers);
    REQUIRE(got.numbers.size() == want.numbers.size());
    const std::vector<bool> same = same_routes(got, want, bounds.routes);
    const auto count = static_cast<std::size_t>(std::count(same.begin(), same.end(), true));
    CHECK(count >= kSequences / 2);
    for (std::size_t s = 0; s < kSequences; ++s) {
        CAPTURE(s);
        if (!same[s]) continue;
        CHECK(distance_to_norm(of_sequence(got.at("logits"), s), of_sequence(want.at("logits"), s)) <=
              bounds.logits);
    }
    if (count < kSequences) return;
    CHECK(distance_to_norm(got.at("loss"), want.at("loss")) <= bounds.logits);
    for (const auto& [key, values] : want.numbers) {
        const std::string& name = key;
        CAPTURE(name);
        if (name.starts_with("grad.")) CHECK(distance_to_norm(got.at(name), values) <= bounds.gradients);
    }
}

constexpr ProbeBounds kFloat{2e-6, 1e-5, 1.0};
constexpr ProbeBounds kBfloat16{0.02, 0.06, 0.9};

}  // namespace

TEST_CASE("models on a GPU: logits, loss, gradients and routes of base weights") {
    if (!has_cuda()) return;
    for (const auto family : {ModelFamily::llama, ModelFamily::mixtral}) {
        const io_test::TemporaryFolder folder;
        save_base(config_of(family), folder.file("base"));
        const ForwardProbe options{.model = folder.file("base"),
                                   .adapter = {},
                                   .tokens = write_tokens(folder.file("tokens.safetensors")),
                                   .out = {},
                                   .gradients = true,
                                   .threads = 1};
        CAPTURE(options.model);
        compare_probes<float>(options, folder, kFloat);
        compare_probes<bf16>(options, folder, kBfloat16);
    }
}

TEST_CASE("models on a GPU: an adapter is read onto it, computes, and comes back to the bit") {
    if (!has_cuda()) return;
    const io_test::TemporaryFolder folder;
    const ModelConfig config = config_of(ModelFamily::mixtral);
    save_base(config, folder.file("base"));
    AdapterSpec spec = adapted_spec({"attention", "experts"});
    spec.method = Method::adamoe;
    spec.lora.dropout = 0;
    {
        auto model = load_model<float>(folder.file("base"));
        attach(*model, spec);
        std::uint64_t stream = 0;
        for (const auto& tensor : adapter_tensors(*model)) {
            auto values = tensor.read();
            Random random(1, stream++);
            for (float& value : values) value += static_cast<float>(0.1 * random.next_normal());
            tensor.write(values);
        }
        save_adapter(*model, spec, folder.file("adapter"));
    }
    const std::string weights = "/adapter_model.safetensors";
    const auto there_and_back = [&]<class Real>(const std::string& out) {
        auto model = load_model<Real>(folder.file("base"), Device::cuda);
        load_adapter(*model, folder.file("adapter"));
        move_to(*model, Device::cuda);
        save_adapter(*model, spec, folder.file(out));
        CHECK(io_test::read_text(folder.file(out) + weights) ==
              io_test::read_text(folder.file("adapter") + weights));
    };
    there_and_back.operator()<float>("float");
    there_and_back.operator()<bf16>("bf16");
    ForwardProbe options{.model = folder.file("base"),
                         .adapter = folder.file("adapter"),
                         .tokens = write_tokens(folder.file("tokens.safetensors")),
                         .out = {},
                         .gradients = true,
                         .threads = 1};
    compare_probes<float>(options, folder, kFloat);
    compare_probes<bf16>(options, folder, kBfloat16);
    options.quantise = Quantisation::nf4;
    compare_probes<float>(options, folder, kFloat);
    compare_probes<bf16>(options, folder, kBfloat16);
}

TEST_CASE("models on a GPU: greedy text and the log-likelihoods of an evaluation") {
    if (!has_cuda()) return;
    const io_test::TemporaryFolder folder;
    save_base(config_of(ModelFamily::mixtral), folder.file("base"));
    const std::vector<std::vector<std::int32_t>> prompts{{3, 7, 11}, {5}, {9, 2, 4, 40, 1}};
    struct Results {
        std::vector<std::vector<std::int32_t>> cached, whole;
        std::vector<double> log_probability;
    };
    const auto results = [&](Device device) {
        const auto model = load_model<float>(folder.file("base"), device);
        Context context({.device = device, .threads = 1, .fill = Arena::Fill::poison});
        Results all;
        for (const bool cache : {true, false}) {
            auto& made = cache ? all.cached : all.whole;
            made = generate_all(context, *model, std::span(prompts),
                                {.max_new_tokens = 6, .temperature = 0, .cache = cache},
                                [](std::size_t, std::int32_t) {});
        }
        ScoreBatch batch;
        for (const auto& prompt : prompts) {
            const Index first = batch.place(prompt, false);
            for (std::size_t i = 0; i < prompt.size(); ++i) batch.ask(first + static_cast<Index>(i), 17);
        }
        all.log_probability = batch.run(context, *model).log_probability;
        return all;
    };
    const Results cpu = results(Device::cpu), gpu = results(Device::cuda);
    CHECK(gpu.cached == cpu.cached);
    CHECK(gpu.whole == cpu.whole);
    CHECK(distance_to_largest(gpu.log_probability, cpu.log_probability) <= 2e-6);
}

TEST_CASE("models on a GPU: what is written from there is what was read") {
    if (!has_cuda()) return;
    for (const auto family : {ModelFamily::llama, ModelFamily::mixtral}) {
        const io_test::TemporaryFolder folder;
        save_base(config_of(family), folder.file("base"));
        const std::size_t before = Buffer::lasting_bytes(Device::cpu);
        const auto model = load_model<bf16>(folder.file("base"), Device::cuda);
        CHECK(Buffer::lasting_bytes(Device::cpu) == before);
        const auto on_host = load_model<float>(folder.file("base"));
        for (auto* parameter : all_parameters(*model))
            visit_values<bf16>(*parameter, [](const auto& values) { CHECK_FALSE(values.on_host()); });
        const auto moved = load_model<bf16>(folder.file("base"));
        move_to(*moved, Device::cuda);
        for (auto* one : {model.get(), moved.get()}) {
            for (auto& layer : one->layers()) {
                if (!layer.dense) continue;
                const auto& up = layer.dense->up.weight.value();
                CHECK(layer.dense->gate.weight.value().followed_by(up).defined());
            }
        }
        CHECK(base_fingerprint(*model) == base_fingerprint(*on_host));
        CHECK(count_nonfinite(*model).total() == 0);
        save_model(*model, folder.file("again"), StoredType::bf16);
        CHECK(io_test::read_text(folder.file("again/model.safetensors")) ==
              io_test::read_text(folder.file("base/model.safetensors")));
        // Values that train have a master in float: it comes back too.
        model->base_parameters().front()->set_trainable(true);
        CHECK(model->stored_tensors().front().value().values()[5] ==
              on_host->stored_tensors().front().value().values()[5]);
    }
}

TEST_CASE("models on a GPU: the greedy text of stories260K in float") {
    io_test::Inputs inputs;
    const std::string llama = inputs.shared("data/models/stories260K-llama");
    if (!has_cuda() || llama.empty()) return;
    const Json json = parse_json_file(llama + "/expected_tokens.json");
    const JsonRef root(json, llama);
    std::vector<std::int32_t> text;
    for (const char* part : {"prompt_ids", "greedy_ids"}) {
        for (const double id : read_list(root.at(part))) text.push_back(static_cast<std::int32_t>(id));
    }
    REQUIRE(text.size() == 201);
    Context context({.device = Device::cuda, .threads = 1});
    for (const std::string& folder : {llama, inputs.shared("data/models/stories260K-mixtral")}) {
        if (folder.empty()) continue;
        CAPTURE(folder);
        const auto model = load_model<float>(folder, Device::cuda);
        // One pass over the text says what 200 passes over growing prefixes would; the cache is used for some tokens.
        const auto token = placed(
            Tensor<std::int32_t>::from({200}, std::span<const std::int32_t>(text).first(200)), Device::cuda);
        const auto segments = placed(Segments::of_lengths({200}), Device::cuda);
        Tape tape(context, Mode::inference);
        Forward<float> forward{tape, token, segments};
        const auto logits = host(model->logits(forward, model->hidden(forward)).value());
        for (Index t = 0; t < 200; ++t) {
            const auto row = logits.rows(t, t + 1).values();
            CHECK(std::max_element(row.begin(), row.end()) - row.begin() ==
                  text[static_cast<std::size_t>(t) + 1]);
        }
        const auto made =
            generate(context, *model, {text.front()}, {.max_new_tokens = 12}, [](std::int32_t) {});
        CHECK(std::equal(made.begin(), made.end(), text.begin() + 1));
    }
}

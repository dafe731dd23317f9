// Generation: cached and uncached give the same ids and the same bits of logits, whatever runs beside a prompt.

#include <moegrad/eval/generate.hpp>
#include <moegrad/io/tokenizer_json.hpp>
#include <moegrad/methods/attach.hpp>

#include "io/support.hpp"
#include "support/model_small.hpp"

using namespace moegrad;

namespace {

using Ids = std::vector<std::int32_t>;

Context& generating() {
    static Context context({.device = Device::cpu, .threads = 2});
    return context;
}

std::vector<Ids> some_prompts() {
    return {{1, 7, 30, 12}, {5}, {40, 2, 2, 9, 33, 21, 8, 3, 17, 11, 4, 6}};
}

/// Logits of the last token of `ids`, the first `past` of them through a cache in pieces.
std::vector<float> last_logits(Decoder<float>& model, const Ids& ids, std::vector<Index> pieces) {
    KeyValueCache<float> cache(1);
    std::size_t begin = 0;
    Tensor<float> logits;
    for (const Index piece : pieces) {
        const Index which = 0;
        const auto segments = cache.extend(std::span(&which, 1), std::span(&piece, 1));
        const std::span<const std::int32_t> part(ids.data() + begin, static_cast<std::size_t>(piece));
        const auto token = Tensor<std::int32_t>::from({piece}, part);
        Tape tape(generating(), Mode::inference);
        Forward<float> forward{tape, token, segments};
        forward.cache = pieces.size() > 1 ? &cache : nullptr;
        logits = model.logits(forward, model.hidden(forward)).value();
        begin += static_cast<std::size_t>(piece);
    }
    REQUIRE(begin == ids.size());
    const auto row = logits.rows(logits.extent(0) - 1, logits.extent(0));
    return {row.values().begin(), row.values().end()};
}

/// The methods on the family they belong to, with B not zero so that adapters act.
std::unique_ptr<Decoder<float>> adapted(ModelFamily family, const std::string& method, Index window) {
    auto config = test::small_config(family);
    if (window > 0) config.sliding_window = window;
    auto model = test::small_model<float>(config);
    if (method.empty()) return model;
    AdapterSpec spec;
    spec.set_method(method);
    spec.targets = family == ModelFamily::mixtral ? std::vector<std::string>{"attention", "experts"}
                                                  : std::vector<std::string>{"attention", "mlp"};
    attach(*model, spec);
    std::uint64_t stream = 100;
    for (auto& layer : model->layers()) {
        for (auto& [name, linear] : model->linears(layer)) {
            if (!linear->adapter) continue;
            for (auto* parameter : linear->adapter->parameters())
                fill_normal(parameter->value(), 0.2, 3, stream++);
        }
    }
    return model;
}

struct Case {
    ModelFamily family;
    std::string method;
    Index window = 0;
};
const std::vector<Case>& cases() {
    static const std::vector<Case> all{{ModelFamily::llama, ""},      {ModelFamily::llama, "adamoe"},
                                       {ModelFamily::llama, "mor"},   {ModelFamily::mistral, "", 5},
                                       {ModelFamily::mixtral, ""},    {ModelFamily::mixtral, "adamoe"},
                                       {ModelFamily::mixtral, "mor"}, {ModelFamily::mixtral, "lora", 9}};
    return all;
}

}  // namespace

TEST_CASE("a cache gives the logits of the whole prefix to the bit, however it is filled") {
    const Ids ids{1, 7, 30, 12, 40, 2, 2, 9, 33, 21, 8, 3, 17, 11, 4, 6, 19, 25, 31, 44};
    for (const Case& c : cases()) {
        CAPTURE(c.method);
        CAPTURE(c.window);
        auto model = adapted(c.family, c.method, c.window);
        const auto whole = last_logits(*model, ids, {20});
        CHECK(last_logits(*model, ids, {19, 1}) == whole);
        CHECK(last_logits(*model, ids, {1, 7, 1, 11}) == whole);
    }
}

TEST_CASE("generation: cached, uncached, alone and together give the same ids") {
    const auto prompts = some_prompts();
    for (const Case& c : cases()) {
        CAPTURE(c.method);
        auto model = adapted(c.family, c.method, c.window);
        for (const double temperature : {0.0, 1.3}) {
            GenerateOptions options{.max_new_tokens = 12, .temperature = temperature, .seed = 4};
            options.stop = {13, 29};
            if (temperature > 0) options.top_k = 20, options.top_p = 0.9;
            const auto silent = [](std::size_t, std::int32_t) {};
            const auto run = [&] {
                return generate_all(generating(), *model, std::span<const Ids>(prompts), options, silent);
            };
            const auto together = run();
            options.batch = 1;
            CHECK(run() == together);
            options.cache = false;
            CHECK(run() == together);
            options.batch = 16;
            CHECK(run() == together);
            CHECK(generate(generating(), *model, prompts[0], options, [](std::int32_t) {}) == together[0]);
        }
    }
}

TEST_CASE("sampling: top-k and top-p keep the best tokens only") {
    const std::vector<double> weight{1, 4, 2, 4, 0.5};  // of 11.5
    const auto allowed = [&](Index k, double p) { return detail::allowed_tokens(weight, k, p); };
    using Mask = std::vector<bool>;
    CHECK(allowed(0, 1) == Mask{true, true, true, true, true});
    CHECK(allowed(1, 1) == Mask{false, true, false, false, false});  // of equal ones the lowest id
    CHECK(allowed(3, 1) == Mask{false, true, true, true, false});
    CHECK(allowed(0, 0.6) ==
          Mask{false, true, false, true, false});  // 8 / 11.5 reaches it, 4 / 11.5 does not
    CHECK(allowed(0, 0.75) == Mask{false, true, true, true, false});   // 10 / 11.5
    CHECK(allowed(3, 0.75) == Mask{false, true, false, true, false});  // of those three: 8 / 10
}

TEST_CASE("sampling: draws follow softmax(z / temperature)") {
    const std::vector<float> z{0.0f, 1.0f, -1.0f, 2.0f};
    GenerateOptions options{.max_new_tokens = 0, .temperature = 2};
    Random random(9);
    std::vector<double> count(4, 0);
    const int draws = 40000;
    for (int i = 0; i < draws; ++i)
        count[static_cast<std::size_t>(detail::pick_token(std::span<const float>(z), options, random))] += 1;
    double total = 0;
    for (const float value : z) total += std::exp(value / 2.0);
    for (std::size_t i = 0; i < 4; ++i) {
        const double p = std::exp(z[i] / 2.0) / total;
        CHECK(std::abs(count[i] / draws - p) < 4 * std::sqrt(p * (1 - p) / draws));
    }
}

TEST_CASE("generation refuses an empty prompt and settings out of range") {
    auto model = test::small_model<float>(test::small_config(ModelFamily::llama));
    const auto silent = [](std::int32_t) {};
    CHECK_THROWS_AS(generate(generating(), *model, {}, {}, silent), Error);
    GenerateOptions options;
    options.top_p = 0;
    CHECK_THROWS_AS(generate(generating(), *model, {1}, options, silent), Error);
}

TEST_CASE("stories260K writes its text, byte for byte, with and without a cache") {
    io_test::Inputs inputs;
    const std::string folder = inputs.shared("data/models/stories260K-llama");
    const std::string mixtral = inputs.shared("data/models/stories260K-mixtral");
    if (folder.empty() || mixtral.empty()) return;
    const std::string expected = io_test::read_text(folder + "/expected_greedy_200.txt");
    for (const std::string& path : {folder, mixtral}) {
        auto model = load_model<float>(path);
        const Tokenizer tokenizer = load_tokenizer(folder);
        for (const bool cache : {true, false}) {
            GenerateOptions options{.max_new_tokens = 200};
            options.cache = cache;
            const auto ids =
                generate(generating(), *model, tokenizer.encode(""), options, [](std::int32_t) {});
            CHECK(tokenizer.decode(ids) == expected);
        }
    }
}

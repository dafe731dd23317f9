// bf16 on a GPU is as good as its roundings allow. On every golden checkpoint the logits lie no further from those of the
// model in double than 1.25 times what support/rounded_model.hpp does, which makes the roundings that the headers
// document and no others. Greedy tokens and routes are those of the model in double but for near ties. Without CUDA
// kernels in the program there is nothing to compare.

#include <cstdio>

#include <moegrad/methods/dora.hpp>

#include "support/model_probe.hpp"
#include "support/rounded_model.hpp"

using namespace moegrad;
using namespace moegrad::test;

namespace {

constexpr std::size_t kGivenSequences = 2;  // those of a reference; random ones follow
constexpr std::size_t kBf16Sequences = 16;

std::vector<Golden> bf16_goldens(io_test::Inputs& inputs) {
    std::vector<Golden> all = own_goldens();
    all.push_back(own_golden("llama_tiny", "llama_tiny_dora"));
    for (Golden& golden : shared_goldens(inputs)) all.push_back(std::move(golden));
    return all;
}

struct GoldenTokens {
    std::vector<std::int32_t> id;  // [sequences S]
    Index S = 0;
};

GoldenTokens golden_tokens(const SafetensorsFile& reference, std::size_t sequences) {
    GoldenTokens tokens{read_ids(reference, "tokens"), reference.at("tokens").shape[1]};
    const auto vocabulary = static_cast<std::uint64_t>(reference.at("logits").shape[2]);
    Random random(17);
    while (tokens.id.size() < sequences * static_cast<std::size_t>(tokens.S))
        tokens.id.push_back(static_cast<std::int32_t>(random.next_below(vocabulary)));
    return tokens;
}

/// The program's error and that of the roundings are the same numbers, but for sums in float that here and there round to
/// the other side: their difference is 0 to 0.2 of either, and up to 0.6 where every product is off by 3e-6 of itself.
/// One more rounding, as of the attention's weights, makes it 0.7 to 1.4, while the error itself grows by a twentieth.
constexpr double kBf16Apart = 0.75;

/// What the bf16 model says on the GPU: logits and routes. `like` has the shapes.
ModelPass bf16_program(const Golden& golden, const GoldenTokens& tokens, const ModelPass& like) {
    const io_test::TemporaryFolder folder;
    SafetensorsWriter writer;
    const std::vector<Index> shape{kBf16Sequences, tokens.S};
    writer.add("tokens", StoredType::i64, shape, std::span<const std::int32_t>(tokens.id));
    writer.save(folder.file("tokens.safetensors"));
    const Probe out = probe<bf16>({.model = golden.model,
                                   .adapter = golden.adapter,
                                   .tokens = folder.file("tokens.safetensors"),
                                   .out = {},
                                   .threads = 1},
                                  Device::cuda, folder.file("out.safetensors"));
    ModelPass pass{Doubles::zeros(like.logits.shape()), {}, {}};
    REQUIRE(static_cast<Index>(out.at("logits").size()) == pass.logits.size());
    std::copy(out.at("logits").begin(), out.at("logits").end(), pass.logits.data());
    for (std::size_t layer = 0; layer < like.routes.size(); ++layer) {
        const auto& expert = out.at("routing." + std::to_string(layer) + ".expert");
        const std::size_t K = expert.size() / tokens.id.size();
        auto& routes = pass.routes.emplace_back(tokens.id.size());
        for (std::size_t i = 0; i < expert.size(); ++i)
            routes[i / K].insert(static_cast<std::int32_t>(expert[i]));
    }
    return pass;
}

/// One flag a sequence: the same experts for every token in every layer.
std::vector<bool> equal_routes(const ModelPass& got, const ModelPass& want) {
    std::vector<bool> same(kBf16Sequences, true);
    for (std::size_t layer = 0; layer < want.routes.size(); ++layer) {
        const std::size_t T = want.routes[layer].size();
        for (std::size_t t = 0; t < T; ++t)
            if (got.routes[layer][t] != want.routes[layer][t]) same[t * kBf16Sequences / T] = false;
    }
    return same;
}

/// Root of the mean square of got - want over the marked sequences.
double rms_between(const Doubles& got, const Doubles& want, const std::vector<bool>& marked) {
    const Index each = want.size() / static_cast<Index>(marked.size());
    double squares = 0, count = 0;
    for (Index i = 0; i < want.size(); ++i) {
        if (!marked[static_cast<std::size_t>(i / each)]) continue;
        squares += (got.data()[i] - want.data()[i]) * (got.data()[i] - want.data()[i]);
        ++count;
    }
    return std::sqrt(squares / count);
}

/// How far apart the model's scores of token t lie where another expert was taken: the most, over all pairs.
double gap_of_routes(const ModelPass& want, const ModelPass& got, std::size_t layer, std::size_t t) {
    const Doubles& z = want.router[layer];
    const auto &right = want.routes[layer][t], &taken = got.routes[layer][t];
    double gap = 0;
    for (const std::int32_t e : right)
        for (const std::int32_t other : taken)
            if (!taken.contains(e) && !right.contains(other))
                gap = std::max(gap,
                               entry(z, static_cast<Index>(t), e) - entry(z, static_cast<Index>(t), other));
    return gap;
}

struct RouteCount {
    double sets = 0, equal = 0;
};

/// Every other choice is a near tie: the two scores differ by at most 6 times the rms error of a score in the rounded
/// model, 4.2 standard deviations of the difference of two such errors. Choices are judged as long as the sequence
/// has the model's experts in the layers below: behind another expert lies another input. The first sequences are counted.
void check_near_ties(const ModelPass& program, const ModelPass& reference, const ModelPass& truth,
                     std::size_t counted, RouteCount& count) {
    const auto rounded_alike = equal_routes(reference, truth);
    std::vector<bool> alike(kBf16Sequences, true);
    for (std::size_t layer = 0; layer < truth.routes.size(); ++layer) {
        const double error = rms_between(reference.router[layer], truth.router[layer], rounded_alike);
        const std::size_t T = truth.routes[layer].size(), S = T / kBf16Sequences;
        for (std::size_t s = 0; s < kBf16Sequences; ++s) {
            bool here = true;
            for (std::size_t t = s * S; t < (s + 1) * S; ++t) {
                const bool equal = program.routes[layer][t] == truth.routes[layer][t];
                count.sets += s < counted;
                count.equal += s < counted && equal;
                here = here && equal;
                if (alike[s] && !equal) CHECK(gap_of_routes(truth, program, layer, t) <= 6 * error);
            }
            alike[s] = alike[s] && here;
        }
    }
}

/// The largest gap in `want` between its best token and the one that `got` has for the best.
double worst_greedy_gap(const Doubles& got, const Doubles& want, const std::vector<bool>& marked) {
    const Index T = want.extent(0), S = T / static_cast<Index>(marked.size());
    double worst = 0;
    for (Index t = 0; t < T; ++t) {
        if (!marked[static_cast<std::size_t>(t / S)]) continue;
        const auto row = want.rows(t, t + 1).values(), other = got.rows(t, t + 1).values();
        const auto taken = std::max_element(other.begin(), other.end()) - other.begin();
        worst =
            std::max(worst, *std::max_element(row.begin(), row.end()) - row[static_cast<std::size_t>(taken)]);
    }
    return worst;
}

/// Logits are compared in the sequences in which both sides take the truth's experts.
struct Bf16Result {
    double ratio = 0;  // the program's error over that of the roundings
    double apart = 0;  // their difference over the latter
    int left_out = 0;  // sequences that are not compared
};

/// A gap of 0.05 decides the greedy token on the reference's tokens. On the random ones, of which there are more, it is at
/// least 6 rms errors of the roundings: our own checkpoints have larger weights, and 0.05 is 2.3 of their errors.
Bf16Result check_bf16(const ModelPass& program, const ModelPass& reference, const ModelPass& truth,
                      std::size_t counted, RouteCount& count) {
    check_near_ties(program, reference, truth, counted, count);
    const auto a = equal_routes(program, truth), b = equal_routes(reference, truth);
    std::vector<bool> compared(kBf16Sequences), given(kBf16Sequences);
    for (std::size_t s = 0; s < kBf16Sequences; ++s) {
        compared[s] = a[s] && b[s];
        given[s] = compared[s] && s < kGivenSequences;
    }
    const auto left_out = static_cast<int>(std::count(compared.begin(), compared.end(), false));
    CHECK(2 * left_out <= static_cast<int>(kBf16Sequences));
    const double expected = rms_between(reference.logits, truth.logits, compared),
                 ratio = rms_between(program.logits, truth.logits, compared) / expected,
                 apart = rms_between(program.logits, reference.logits, compared) / expected;
    CHECK(ratio <= 1.25);
    CHECK(apart <= kBf16Apart);
    CHECK(worst_greedy_gap(program.logits, truth.logits, given) <= 0.05);
    CHECK(worst_greedy_gap(program.logits, truth.logits, compared) <= std::max(0.05, 6 * expected));
    return {ratio, apart, left_out};
}

}  // namespace

TEST_CASE("bf16 goldens: the reference without its roundings is the model that PyTorch ran") {
    io_test::Inputs inputs;
    for (const Golden& golden : bf16_goldens(inputs)) {
        CAPTURE(golden.reference);
        const SafetensorsFile reference(golden.reference);
        const auto tokens = golden_tokens(reference, 0);
        const auto pass = RoundedModel(golden.model, golden.adapter, Rounded::none).run(tokens.id, tokens.S);
        const auto logits = pass.logits.values();
        CHECK(distance_to_largest({logits.begin(), logits.end()}, read_numbers(reference, "logits").value) <=
              5e-6);
        if (!golden.routes) continue;
        for (std::size_t layer = 0; layer < pass.routes.size(); ++layer) {
            const auto expert = read_ids(reference, "routing." + std::to_string(layer) + ".expert");
            for (std::size_t t = 0; t < tokens.id.size(); ++t)
                CHECK(pass.routes[layer][t] == std::set<std::int32_t>{expert[2 * t], expert[2 * t + 1]});
        }
    }
}

TEST_CASE("bf16 goldens: logits, greedy tokens and routes on a GPU") {
    if (!has_cuda()) return;
    io_test::Inputs inputs;
    RouteCount of_file, of_held;  // the file's weights on the given tokens; those that bf16 holds, on all
    for (const Golden& golden : bf16_goldens(inputs)) {
        CAPTURE(golden.reference);
        const auto tokens = golden_tokens(SafetensorsFile(golden.reference), kBf16Sequences);
        const auto pass = [&](Rounded rounded) {
            return RoundedModel(golden.model, golden.adapter, rounded).run(tokens.id, tokens.S);
        };
        const ModelPass reference = pass(Rounded::all), program = bf16_program(golden, tokens, reference);
        const auto file = check_bf16(program, reference, pass(Rounded::none), kGivenSequences, of_file),
                   held = check_bf16(program, reference, pass(Rounded::weights), kBf16Sequences, of_held);
        std::printf(
            "[bf16] %s: error over that of the roundings %.3f, apart %.3f, left out for their routes %d of "
            "%zu sequences; without the rounding of weights %.3f, %.3f, %d\n",
            golden.reference.c_str(), file.ratio, file.apart, file.left_out, kBf16Sequences, held.ratio,
            held.apart, held.left_out);
    }
    for (const RouteCount& count : {of_file, of_held}) {
        std::printf("[bf16] %.0f of %.0f routes are other ones\n", count.sets - count.equal, count.sets);
        CHECK(count.equal >= 0.99 * count.sets);
    }
}

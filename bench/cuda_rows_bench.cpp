// The element-wise and row kernels of a GPU against its copy rate: bytes that an op must read and write at least, over the
// time it takes, over the same of a copy inside the device's memory. Floor of the project: 0.4.
//   cuda_rows_bench [--tokens T] [--hidden D] [--width F] [--repeats N]

#include <moegrad/core/transfer.hpp>
#include <moegrad/ops/add.hpp>
#include <moegrad/ops/cast.hpp>
#include <moegrad/ops/concat.hpp>
#include <moegrad/ops/dropout.hpp>
#include <moegrad/ops/embedding.hpp>
#include <moegrad/ops/rms_norm.hpp>
#include <moegrad/ops/rope.hpp>
#include <moegrad/ops/seed.hpp>
#include <moegrad/ops/swiglu.hpp>
#include <moegrad/ops/total.hpp>
#include <moegrad/ops/zero_block.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string_view>
#include <vector>

namespace {

using namespace moegrad;

struct Options {
    Index tokens = 16384, hidden = 4096, width = 14336, vocabulary = 32000, head = 128;
    int repeats = 20, rounds = 5;
};

struct Case {
    const char* what;
    double bytes;
    std::function<void()> run;
};

/// Seconds of one run: the fastest of some rounds.
double seconds(const Options& options, const std::function<void()>& run) {
    using Clock = std::chrono::steady_clock;
    double best = 1e30;
    for (int round = 0; round <= options.rounds; ++round) {  // the first warms up
        cuda_memory().wait();
        const auto begin = Clock::now();
        for (int i = 0; i < options.repeats; ++i) run();
        cuda_memory().wait();
        const double each = std::chrono::duration<double>(Clock::now() - begin).count() / options.repeats;
        if (round > 0) best = std::min(best, each);
    }
    return best;
}

/// Values in (-1, 1) on the device: power, and so the clock, depends on the data.
template <class Real>
Tensor<Real> values(const Shape& shape) {
    auto t = Tensor<Real>::zeros(shape);
    std::uint32_t state = 1;
    for (Index i = 0; i < t.size(); ++i) {
        state = state * 1664525u + 1013904223u;
        t.data()[i] = Real(static_cast<float>(static_cast<std::int32_t>(state)) * 0x1p-31f);
    }
    return placed(t, Device::cuda);
}

/// Integers in [0, bound).
Tensor<std::int32_t> integers(Index n, Index bound) {
    auto t = Tensor<std::int32_t>::zeros({n});
    std::uint32_t state = 7;
    for (Index i = 0; i < n; ++i) {
        state = state * 1664525u + 1013904223u;
        t.data()[i] = static_cast<std::int32_t>((state >> 8) % static_cast<std::uint32_t>(bound));
    }
    return placed(t, Device::cuda);
}

template <class Real>
class Rows {
public:
    Rows(Context& context, const Options& options)
        : options_(options), context_(context), stream_(context.stream()) {
        const Index T = options.tokens, D = options.hidden, F = options.width;
        for (auto* x : {&a_, &b_}) *x = values<Real>({T, D});
        for (auto* x : {&gate_, &up_, &h_}) *x = values<Real>({T / 2, F});
        for (auto* x : {&d_gate_, &d_up_}) *x = Tensor<Real>::zeros({T / 2, F}, Device::cuda);
        y_ = Tensor<Real>::zeros({T, D}, Device::cuda);
        both_ = Tensor<Real>::zeros({T, 2 * D}, Device::cuda);
        weight_ = values<Real>({D});
        table_ = values<Real>({options.vocabulary, D});
        r_ = values<Wide<Real>>({T});
        cos_ = values<Wide<Real>>({T, options.head / 2});
        dw_ = Tensor<Wide<Real>>::zeros({D}, Device::cuda);
        d_table_ = Tensor<Wide<Real>>::zeros({options.vocabulary, D}, Device::cuda);
        id_ = integers(T, options.vocabulary);
        position_ = integers(T, T);
    }

    std::vector<Case> cases() const {
        std::vector<Case> all;
        add_element_wise(all);
        add_norms(all);
        add_positions(all);
        return all;
    }

private:
    static double bytes(const Tensor<Real>& t, int passes) {
        return static_cast<double>(t.size()) * sizeof(Real) * passes;
    }

    void add_element_wise(std::vector<Case>& all) const {
        const auto& sum = add_slot.get<Real>(Device::cuda);
        const auto& product = swiglu_slot.get<Real>(Device::cuda);
        all.push_back({"add", bytes(a_, 3),
                       [this, &sum] { sum.forward(stream_, a_.matrix(), b_.matrix(), y_.matrix()); }});
        all.push_back({"add backward, accumulating", bytes(a_, 3),
                       [this, &sum] { sum.backward(stream_, a_.matrix(), y_.matrix(), Write::accumulate); }});
        all.push_back({"concat, half of the columns", bytes(a_, 2), [this] {
                           concat_slot.get<Real>(Device::cuda)
                               .copy(stream_, a_.matrix(), both_.columns(0, a_.extent(1)).matrix(),
                                     Write::overwrite);
                       }});
        all.push_back({"swiglu", bytes(gate_, 3), [this, &product] {
                           product.forward(stream_, gate_.matrix(), up_.matrix(), h_.matrix(), nullptr);
                       }});
        all.push_back({"swiglu backward", bytes(gate_, 5), [this, &product] {
                           product.backward(stream_, gate_.matrix(), up_.matrix(), h_.matrix(),
                                            d_gate_.matrix(), Write::overwrite, d_up_.matrix(),
                                            Write::overwrite, nullptr);
                       }});
    }

    void add_norms(std::vector<Case>& all) const {
        const auto& norm = rms_norm_slot.get<Real>(Device::cuda);
        all.push_back({"rms_norm", bytes(a_, 2), [this, &norm] {
                           norm.forward(stream_, a_.matrix(), weight_.template view<1>(), y_.matrix(),
                                        r_.template view<1>(), 1e-5);
                       }});
        all.push_back({"rms_norm backward, input", bytes(a_, 3), [this, &norm] {
                           norm.backward_input(stream_, a_.matrix(), weight_.template view<1>(),
                                               r_.template view<1>(), b_.matrix(), y_.matrix(),
                                               Write::overwrite);
                       }});
        all.push_back({"rms_norm backward, weight", bytes(a_, 2), [this, &norm] {
                           const Index parts = (a_.extent(0) + kRmsNormRows - 1) / kRmsNormRows;
                           const auto part = context_.make<Wide<Real>>({parts, a_.extent(1)});
                           norm.backward_weight(stream_, a_.matrix(), r_.template view<1>(), b_.matrix(),
                                                dw_.template view<1>(), Write::overwrite,
                                                part.template view<2>());
                       }});
    }

    void add_positions(std::vector<Case>& all) const {
        const auto& rows = embedding_slot.get<Real>(Device::cuda);
        all.push_back({"rope", bytes(a_, 2), [this] {
                           rope_slot.get<Real>(Device::cuda)
                               .rotate(stream_, a_.matrix(), cos_.matrix(), cos_.matrix(),
                                       position_.template view<1>(), y_.matrix(), Rotation::forward,
                                       Write::overwrite);
                       }});
        all.push_back({"dropout", bytes(a_, 2), [this] {
                           dropout_slot.get<Real>(Device::cuda)
                               .apply(stream_, a_.matrix(),
                                      {id_.template view<1>(), position_.template view<1>()}, {0.1, 3},
                                      y_.matrix(), Write::overwrite);
                       }});
        all.push_back({"embedding", bytes(a_, 2), [this, &rows] {
                           rows.forward(stream_, id_.template view<1>(), table_.matrix(), y_.matrix());
                       }});
        const double gradient = static_cast<double>(d_table_.size()) * sizeof(Wide<Real>);
        all.push_back(
            {"embedding backward", bytes(a_, 1) + gradient, [this, &rows] {
                 const Index T = a_.extent(0), windows = (T + kEmbeddingWindow - 1) / kEmbeddingWindow;
                 const auto key = context_.make<std::int64_t>({2, T});
                 const auto part = context_.make<Wide<Real>>({2 * windows, a_.extent(1)});
                 rows.backward_weight(stream_, id_.template view<1>(), a_.matrix(), d_table_.matrix(),
                                      Write::overwrite, {key.template view<2>(), part.template view<2>()});
             }});
    }

    Options options_;
    Context& context_;
    Stream stream_;
    Tensor<Real> a_, b_, y_, both_, gate_, up_, h_, d_gate_, d_up_, weight_, table_;
    Tensor<Wide<Real>> r_, cos_, dw_, d_table_;
    Tensor<std::int32_t> id_, position_;
};

/// Those of float alone, and the casts.
std::vector<Case> other_cases(Context& context, const Options& options) {
    const Index T = options.tokens, D = options.hidden;
    const auto narrow = values<bf16>({T, D});
    const auto wide = values<float>({T, D});
    const auto sum = Tensor<double>::zeros({1}, Device::cuda);
    const Stream stream = context.stream();
    const double n = static_cast<double>(T * D);
    const auto& cast = cast_slot.get<bf16>(Device::cuda);
    return {{"cast, bf16 to float", 6 * n,
             [=, &cast] { cast.widen(stream, narrow.matrix(), wide.matrix(), Write::overwrite); }},
            {"cast, float to bf16", 6 * n,
             [=, &cast] { cast.narrow(stream, wide.matrix(), narrow.matrix(), Write::overwrite); }},
            {"total", 4 * n, [=] { total<float>(stream, wide.flat(), sum.view<1>(), Write::overwrite); }},
            {"seed", 4 * n, [=] { seed_slot.get<float>(Device::cuda).fill(stream, 0, wide.flat()); }},
            {"zero_block", 4 * n, [=] {
                 zero_block(stream, wide, {0, T, 0, D});
             }}};
}

void print(const Options& options, const char* type, const std::vector<Case>& cases, double copy_rate) {
    for (const Case& c : cases) {
        const double time = seconds(options, c.run), rate = c.bytes / time;
        fmt::print("{:<9} {:<28} {:>9.1f} us {:>8.0f} GB/s   {:.2f} of a copy\n", type, c.what, time * 1e6,
                   rate * 1e-9, rate / copy_rate);
    }
}

double copy_rate(const Options& options) {
    const std::size_t bytes = std::size_t{512} << 20;
    const auto from = Tensor<float>::zeros({static_cast<Index>(bytes / sizeof(float))}, Device::cuda);
    const auto to = Tensor<float>::zeros(from.shape(), Device::cuda);
    const double time = seconds(options, [&] { copy_values(from, to); });
    return 2 * static_cast<double>(bytes) / time;
}

void run(const Options& options) {
    Context context({.device = Device::cuda});
    const double rate = copy_rate(options);
    fmt::print("copy inside the device's memory: {:.0f} GB/s, read and written\n", rate * 1e-9);
    fmt::print("T {}, D {}, F {}\n", options.tokens, options.hidden, options.width);
    print(options, "bfloat16", Rows<bf16>(context, options).cases(), rate);
    print(options, "float32", Rows<float>(context, options).cases(), rate);
    print(options, "", other_cases(context, options), rate);
}

Options parse(int argc, char** argv) {
    Options options;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string_view flag = argv[i];
        const long value = std::atol(argv[i + 1]);
        if (flag == "--tokens") options.tokens = value;
        if (flag == "--hidden") options.hidden = value;
        if (flag == "--width") options.width = value;
        if (flag == "--repeats") options.repeats = static_cast<int>(value);
    }
    return options;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        run(parse(argc, argv));
    } catch (const std::exception& error) {
        fmt::print(stderr, "{}\n", error.what());
        return 1;
    }
    return 0;
}

#include <moegrad/cpu/combine.hpp>
#include <moegrad/cpu/grouped_linear.hpp>
#include <moegrad/ops/grouped_lora.hpp>
#include <moegrad/ops/rank_slices.hpp>

#include "support/grouped_reference.hpp"

#include <array>

using namespace moegrad;

namespace {

/// Rows of eight experts about the 32 of a stage and the 64 of a tile, one expert without any, and three tokens without a row.
constexpr std::array<Index, 8> kCounts{65, 0, 1, 64, 63, 32, 31, 33};
constexpr Index kExperts = kCounts.size(), kTokens = 65 + 0 + 1 + 64 + 63 + 32 + 31 + 33 + 3;
/// Of the 64 tokens that a sanitizer waits for: two stages of one expert, and three tokens without a row. With 128 experts two
/// slices of each are enough, of which three experts have rows.
constexpr std::array<Index, 8> kFewCounts{33, 0, 1, 27};
constexpr Index kFewExperts = 128, kFewTokens = 64;

/// [T, 1], T up to kTokens; the tokens of an expert are not neighbours.
Tensor<std::int32_t> counted_experts(Index T) {
    const auto& counts = T <= kFewTokens ? kFewCounts : kCounts;
    auto expert = Tensor<std::int32_t>::zeros({T, 1});
    for (Index t = 0; t < T; ++t) {
        Index left = t * 101 % (T <= kFewTokens ? kFewTokens : kTokens);
        std::int32_t e = 0;
        while (e < std::ssize(counts) && left >= counts[static_cast<std::size_t>(e)]) {
            left -= counts[static_cast<std::size_t>(e++)];
        }
        expert.data()[t] = e < std::ssize(counts) ? e : -1;
    }
    return expert;
}

/// x [T, D], A [E, R, D], B [E, O, R], one slot a token. Twice, so that the second gradient accumulates.
struct CountedCase {
    RowSource source;
    Index O, R, experts = kExperts, D = 8;

    template <class Real>
    std::vector<Var<Real>> operator()(Tape& tape, const test::Inputs<Real>& in) const {
        const auto plan = plan_of(tape, in[0].extent(0));
        const LoraStack<Real> lora{in[1], in[2], 1.5, {}};
        const auto once = [&] {
            return test::add_slots<Real>(
                tape, grouped_lora<Real>(tape, {}, in[0], plan, source, lora, Segments()), plan);
        };
        return std::vector{once(), once()};
    }
    auto rounded() const {
        return [self = *this](Tape& tape, const test::Inputs<double>& in) {
            const auto plan = self.plan_of(tape, in[0].extent(0));
            const LoraStack<double> lora{in[1], in[2], 1.5, {}};
            const Weight<double> none(Tensor<double>::zeros({self.experts, self.O, self.D}));
            const auto once = [&] {
                return test::add_slots<double>(
                    tape, test::rounded_linear(tape, in[0], none, plan, self.source, &lora, Segments()),
                    plan);
            };
            return std::vector{once(), once()};
        };
    }
    std::vector<Shape> shapes(Index T) const { return {{T, D}, {experts, R, D}, {experts, O, R}}; }

    DispatchPlan plan_of(Tape& tape, Index T) const {
        return dispatch(tape, placed(counted_experts(T), tape.device()), experts);
    }
};

void check(const CountedCase& one, Index T) {
    CAPTURE(one.O);
    CAPTURE(one.R);
    test::check_op(
        {&grouped_linear_slot}, [&](Index rows) { return one.shapes(rows); },
        [&]<class Real>(Tape& tape, const test::Inputs<Real>& in) { return one(tape, in); },
        {.rows = {}, .cuda_rows = {T}}, one.rounded());
}

/// du and dB of stacks whose columns are cut into slices of `slice`. Under a sanitizer and the emulator few tokens and two slices an
/// expert: racecheck needs minutes for 300 tokens and all.
void check_slices(Index slice, const std::vector<Index>& ranks, const std::vector<Index>& widths) {
    if (!has_cuda()) return;
    const auto source = [](Index R) { return R % 16 == 8 ? RowSource::tokens : RowSource::rows; };
    const bool few = test::rows_are_limited() || !test::has_tensor_cores();
    for (const Index R : ranks) {
        if (few) {
            REQUIRE(rank_slice(kFewExperts, slice + 8, R) == slice);
            check({source(R), slice + 8, R, kFewExperts}, kFewTokens);
            continue;
        }
        for (const Index O : widths) {
            REQUIRE(rank_slice(kExperts, O, R) == slice);
            check({source(R), O, R}, kTokens);
        }
    }
}

}  // namespace

TEST_CASE("rank_slices: the widest slices that leave a GPU 128 blocks") {
    CHECK(rank_slice(8, 28672, 16) == 512);   // Mixtral's gate and up
    CHECK(rank_slice(8, 4096, 16) == 256);    // its down
    CHECK(rank_slice(128, 1536, 16) == 512);  // small experts
    CHECK(rank_slice(8, 2048, 8) == 128);
    CHECK(rank_slice(8, 2056, 8) == 128);
    CHECK(rank_slice(8, 1920, 8) == 0);
    CHECK(rank_slice(1, 16384, 8) == 128);
    CHECK(rank_slice(256, 384, 8) == 256);
    CHECK(rank_slice(256, 120, 8) == 0);
    CHECK(rank_slice(8, 28672, 24) == 256);  // of more ranks slices of 256 columns alone
    CHECK(rank_slice(8, 28672, 32) == 256);
    CHECK(rank_slice(8, 2048, 32) == 0);
    CHECK(rank_slice(256, 248, 32) == 0);
    for (Index rank : {0, 4, 12, 40}) CHECK(rank_slice(8, 28672, rank) == 0);
    CHECK(rank_slice(8, 28676, 16) == 0);
    CHECK(rank_slice(0, 28672, 16) == 0);
}

TEST_CASE("rank_slices: one group is cut into wide slices and long pieces that an H100 takes at once") {
    const auto is = [](const RankCut& cut, Index slice, Index slices, Index piece, Index pieces) {
        return cut.slice == slice && cut.slices == slices && cut.piece == piece && cut.pieces == pieces;
    };
    CHECK(is(rank_cut(16384, 4096, 8), 512, 8, 512, 32));     // Llama-2-7B's attention: 256 blocks
    CHECK(is(rank_cut(16384, 22016, 16), 512, 43, 2752, 6));  // its gate and up: 258
    CHECK(
        is(rank_cut(4096, 1024, 16), 256, 4, 128, 32));  // four key-value heads beside a quarter of the rows
    CHECK(is(rank_cut(1025, 2056, 8), 128, 17, 160,
             7));  // 65 rows in the last piece, 8 columns in the last slice
    CHECK(is(rank_cut(1, 16384, 8), 128, 128, 32, 1));
    CHECK(is(rank_cut(16384, 4096, 32), 256, 16, 1024, 16));  // Mo-LoRA's four experts of rank 8: 256 blocks
    CHECK_FALSE(rank_cut(1023, 2048, 8));
    CHECK_FALSE(rank_cut(16384, 4096, 40));
    CHECK_FALSE(rank_cut(1024, 2048, 32));  // 8 slices of 8 pieces at most
    CHECK_FALSE(rank_cut(16384, 4092, 8));
    CHECK_FALSE(rank_cut(0, 16384, 8));
    CHECK(rank_cut(1025, 2056, 8).size(1025, 2056, 8) == (17 * 1025 + 7 * 2056) * 8);
}

TEST_CASE("rank_slices: room for the parts where a GPU of bf16 makes them, and nowhere else") {
    Context cpu({.device = Device::cpu}), dry({.device = Device::dry, .plans = Device::cuda});
    CHECK_FALSE(rank_parts<bf16>(cpu, 100, 8, 4096, 16).defined());
    CHECK_FALSE(rank_parts<float>(dry, 100, 8, 4096, 16).defined());
    CHECK_FALSE(rank_parts<bf16>(dry, 100, 8, 4096, 12).defined());
    CHECK(rank_parts<bf16>(dry, 100, 8, 4096, 16).shape() == Shape{16 * 1600});
    CHECK(rank_parts<bf16>(dry, 100, 8, 4104, 16).shape() == Shape{17 * 1600});
    CHECK(group_rank_parts<bf16>(dry, 1024, 2048, 8).shape() == Shape{(16 * 1024 + 8 * 2048) * 8});
    CHECK_FALSE(group_rank_parts<float>(dry, 1024, 2048, 8).defined());
    CHECK_FALSE(group_rank_parts<bf16>(cpu, 1024, 2048, 8).defined());
}

TEST_CASE("rank_slices: du and dB of slices of 128 columns, for rows about the size of a stage") {
    check_slices(128, {8, 16}, {2048, 2056});
}

TEST_CASE("rank_slices: du and dB of slices of 256 columns") {
    check_slices(256, {8, 16}, {4104, 4096});
}

TEST_CASE("rank_slices: du and dB of 24 and 32 ranks, in slices of 256 columns") {
    check_slices(256, {24, 32}, {4104, 4096});
}

TEST_CASE("rank_slices: du and dB of slices of 512 columns") {
    check_slices(512, {8, 16}, {8696, 8192, 8200});
}

TEST_CASE("rank_slices: du and dB of one token") {
    if (test::has_tensor_cores()) check({RowSource::tokens, 4104, 16}, 1);
}

#include <moegrad/ops/hash_choice.hpp>

#include "support/op_check.hpp"

#include <numeric>

using namespace moegrad;

namespace {

/// The definition, with the list of columns that are left.
std::vector<std::int32_t> hash_reference(const Tensor<std::int32_t>& token, Index E, Index K,
                                         std::uint64_t seed, std::uint32_t module) {
    const auto words = philox({module, 0, 0, 0x68617368}, philox_key(seed));
    std::vector<std::int32_t> all;
    for (const std::int32_t id : token.values()) {
        std::vector<std::int32_t> left(static_cast<std::size_t>(E));
        std::iota(left.begin(), left.end(), 0);
        for (Index k = 0; k < K; ++k) {
            const auto drawn = philox({static_cast<std::uint32_t>(id), 0, static_cast<std::uint32_t>(k), 0},
                                      {words[0], words[1]});
            const auto at = static_cast<std::ptrdiff_t>((std::uint64_t{drawn[0]} * left.size()) >> 32);
            all.push_back(left[static_cast<std::size_t>(at)]);
            left.erase(left.begin() + at);
        }
    }
    return all;
}

template <class Real>
std::vector<std::int32_t> hashed(Context& context, const Tensor<std::int32_t>& token, Index E, Index K,
                                 std::uint64_t seed = 42, std::uint32_t module = 3) {
    Tape tape(context);
    const auto choice = host(hash_choice<Real>(tape, placed(token, context.device()), E, K, seed, module));
    CHECK(choice.shape() == Shape{token.extent(0), K});
    return {choice.values().begin(), choice.values().end()};
}

Tensor<std::int32_t> hash_ids(Index T) {
    auto token = Tensor<std::int32_t>::zeros({T});
    for (Index t = 0; t < T; ++t) token.data()[t] = static_cast<std::int32_t>(t * 7919 % 32000);
    return token;
}

template <class Real>
void check_hash(Context& context) {
    for (Index T : {0, 1, 7, 301}) {
        for (const auto& [E, K] : {std::pair<Index, Index>{1, 1}, {2, 1}, {8, 1}, {8, 2}, {33, 5}, {5, 5}}) {
            CHECK(hashed<Real>(context, hash_ids(T), E, K) == hash_reference(hash_ids(T), E, K, 42, 3));
        }
    }
}

}  // namespace

TEST_CASE_TEMPLATE("hash_choice: the list of what is left gives the same columns", Real, float, double) {
    check_hash<Real>(test::context());
    test::add_reference_record(hash_choice_slot, number_of<Real>());
}

TEST_CASE("hash_choice: the same on a GPU") {
    if (!has_cuda()) return;
    check_hash<float>(test::cuda_context());
    test::add_reference_record(hash_choice_slot, Number::float32, Device::cuda);
}

TEST_CASE("hash_choice: every expert has its share of the ids; the table has a seed and a module") {
    const auto ids = hash_ids(32000);  // 7919 and 32000 have no common factor: each id once
    std::vector<Index> count(8);
    for (const std::int32_t e : hashed<float>(test::context(), ids, 8, 1))
        ++count[static_cast<std::size_t>(e)];
    for (const Index n : count) CHECK(std::abs(static_cast<double>(n) - 4000) < 300);  // 5 deviations
    const auto some = hash_ids(100);
    const auto want = hashed<float>(test::context(), some, 8, 1);
    CHECK(hashed<float>(test::context(), some, 8, 1, 43) != want);
    CHECK(hashed<float>(test::context(), some, 8, 1, 42, 4) != want);
    Tape tape(test::context());
    CHECK_THROWS_WITH_AS(hash_choice<float>(tape, Tensor<std::int32_t>(), 8, 1, 42, 0),
                         doctest::Contains("no token ids"), Error);
    CHECK_THROWS_AS(hash_choice<float>(tape, some, 8, 9, 42, 0), Error);
}

#include <moegrad/ops/group_limit.hpp>
#include <moegrad/ops/top_k.hpp>

#include "support/op_check.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace moegrad;

namespace {

/// The definition, row by row: sort each group's scores, sort the groups.
template <class Real>
Tensor<Real> group_limit_reference(const Tensor<Real>& x, const GroupLimit& limit) {
    auto y = test::convert<Real>(x);
    for (Index t = 0; t < x.extent(0); ++t) {
        std::vector<Real> score;
        for (Index j = 0; j < limit.groups; ++j) {
            std::vector<Real> in(x.matrix().row(t) + limit.begin(j), x.matrix().row(t) + limit.begin(j + 1));
            std::sort(in.rbegin(), in.rend());
            score.push_back(in.size() < 2 || limit.best == 1 ? in[0] : in[0] + in[1]);
        }
        std::vector<Index> order(score.size());
        std::iota(order.begin(), order.end(), Index{0});
        std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) {
            return score[static_cast<std::size_t>(a)] > score[static_cast<std::size_t>(b)];
        });
        for (auto j = order.begin() + limit.keep; j != order.end(); ++j) {
            for (Index c = limit.begin(*j); c < limit.begin(*j + 1); ++c) y.matrix()(t, c) = -Real(INFINITY);
        }
    }
    return y;
}

template <class Real>
void check_group_limit(const Tensor<Real>& x, const GroupLimit& limit) {
    CAPTURE(limit.groups);
    CAPTURE(limit.keep);
    const auto want = group_limit_reference(x, limit);
    const auto run = [&](Context& context) {
        Tape tape(context);
        const auto got = host(group_limit(tape, test::tensor_on(context, x), limit));
        CHECK(std::equal(want.values().begin(), want.values().end(), got.values().begin()));
    };
    if constexpr (std::is_same_v<Real, float>) {
        test::on_each_device(run);
    } else {
        run(test::context());
    }
}

}  // namespace

TEST_CASE_TEMPLATE("group_limit: a full sort keeps the same groups, with ties and uneven groups", Real, float,
                   double) {
    for (Index T : {0, 1, 7, 301}) {
        for (const GroupLimit& limit :
             {GroupLimit{1, 1, 1, 2}, GroupLimit{8, 4, 2, 2}, GroupLimit{8, 4, 2, 1}, GroupLimit{8, 8, 3, 2},
              GroupLimit{7, 3, 2, 2}, GroupLimit{7, 3, 3, 2}, GroupLimit{64, 8, 4, 2}}) {
            auto x = test::random_tensor<Real>({T, limit.columns + 3}, 5);
            check_group_limit(x, limit);
            for (Real& value : x.values()) value = Real(std::round(static_cast<double>(value)));
            check_group_limit(x, limit);
        }
    }
    test::add_reference_record(group_limit_slot, number_of<Real>());
    if (has_cuda()) test::add_reference_record(group_limit_slot, Number::float32, Device::cuda);
}

TEST_CASE("group_limit: negative scores keep their groups (families.md 11.2), a NaN is not hidden") {
    test::on_each_device([](Context& context) {
        Tape tape(context);
        const auto x = Tensor<float>::from({2, 4}, {-.1f, -.2f, -.5f, -.6f, 3, 3, 1, NAN});
        const auto limited = group_limit(tape, test::tensor_on(context, x), {4, 2, 1, 2});
        const auto y = host(limited);
        CHECK(y.data()[0] == -.1f);
        CHECK(y.data()[2] == -INFINITY);  // with 0 the dropped column 2 would be the best of all
        CHECK(host(top_k(tape, limited.rows(0, 1), 2)).data()[0] == 0);
        CHECK(std::isnan(y.data()[7]));
    });
}

TEST_CASE("group_limit: numbers that do not fit are errors") {
    Tape tape(test::context());
    const auto x = Tensor<float>::zeros({2, 4});
    for (const GroupLimit& limit : {GroupLimit{5, 2, 1, 2}, GroupLimit{4, 5, 1, 2}, GroupLimit{4, 2, 3, 2},
                                    GroupLimit{4, 2, 0, 2}, GroupLimit{4, 2, 1, 3}}) {
        CHECK_THROWS_WITH_AS(group_limit(tape, x, limit), doctest::Contains("group_limit"), Error);
    }
}

#pragma once
// What attention does with a block of kKeys keys of one head: a few small products whose inner loops run over
// neighbours, with a fixed order for every sum. Real may be std::complex<double>.

#include <moegrad/core/math_complex.hpp>
#include <moegrad/cpu/support/rows.hpp>
#include <moegrad/ops/attention.hpp>

#include <algorithm>
#include <cstring>
#include <limits>

namespace moegrad::cpu::attention {
namespace {

inline constexpr Index kKeys = 32;
/// Query rows that go through a block together when they see the same keys.
inline constexpr Index kGroup = 4;

/// A vector over the keys of a block.
template <class Real>
using Keys = Real[kKeys];

/// 16 bytes of neighbours. Compilers do not find these vectors by themselves; each lane is plain IEEE
/// arithmetic, so the bits are those of a loop.
template <class Real>
struct VectorOf {
    using type = Real;
};
template <>
struct VectorOf<float> {
    typedef float type __attribute__((vector_size(16)));
};
template <>
struct VectorOf<double> {
    typedef double type __attribute__((vector_size(16)));
};
template <class Real>
using Vector = typename VectorOf<Real>::type;
template <class Real>
inline constexpr Index kLanes = sizeof(Vector<Real>) / sizeof(Real);

template <class Real>
Vector<Real> load(const Real* from) {
    Vector<Real> v;
    std::memcpy(&v, from, sizeof(v));
    return v;
}
template <class Real>
void store(Real* to, Vector<Real> v) {
    std::memcpy(to, &v, sizeof(v));
}

/// The keys of a block that one row sees: [from, to) without those that are not valid.
struct Seen {
    int from, to;
    const bool* valid;  // [kKeys]; null when all are

    bool none() const { return from >= to; }
    bool all() const { return valid == nullptr && from == 0 && to == kKeys; }
    bool operator()(int j) const { return j >= from && j < to && (valid == nullptr || valid[j]); }
    bool operator==(const Seen&) const = default;
};

/// [head][kKeys]: for sums over the head.
template <class Real>
struct Transposed {
    alignas(64) Real columns[kLargestHead][kKeys];

    void clear(Index head) {
        for (Index d = 0; d < head; ++d) std::fill_n(columns[d], kKeys, Real(0));
    }
    /// Columns [column, column + head) of rows [first, end), at most kKeys; zeros for the rest.
    void load(View<const Real, 2> x, Index first, Index end, Index column, Index head) {
        const Index count = std::min(kKeys, end - first);
        if (count < kKeys) clear(head);
        for (Index j = 0; j < count; ++j) {
            const Real* row = x.row(first + j) + column;
            for (Index d = 0; d < head; ++d) columns[d][j] = row[d];
        }
    }
    void store(View<Real, 2> x, Index first, Index end, Index column, Index head, Write write) const {
        const Index count = std::min(kKeys, end - first);
        for (Index j = 0; j < count; ++j) {
            Real* row = x.row(first + j) + column;
            for (Index d = 0; d < head; ++d) put(row[d], columns[d][j], write);
        }
    }
};

/// [kKeys][head]: for sums over the keys.
template <class Real>
struct Packed {
    alignas(64) Real values[kKeys * kLargestHead];

    /// As above, with zeros for keys that are not valid.
    void load(View<const Real, 2> x, Index first, Index end, Index column, Index head, const bool* valid) {
        for (Index j = 0; j < kKeys; ++j) {
            const bool there = first + j < end && (valid == nullptr || valid[j]);
            if (there) std::copy_n(x.row(first + j) + column, head, values + j * head);
            if (!there) std::fill_n(values + j * head, head, Real(0));
        }
    }
};

/// s[j] = scale <x, key j>, one chain over the head.
template <class Real>
void products(const Real* x, const Transposed<Real>& keys, Index head, Real scale, Keys<Real>& s) {
    constexpr Index lanes = kLanes<Real>, vectors = std::min<Index>(8, kKeys / lanes);
    for (Index begin = 0; begin < kKeys; begin += vectors * lanes) {
        Vector<Real> sum[vectors] = {};
        for (Index d = 0; d < head; ++d) {
            const Real* key = keys.columns[d] + begin;
            for (Index i = 0; i < vectors; ++i) sum[i] += x[d] * load<Real>(key + i * lanes);
        }
        for (Index i = 0; i < vectors; ++i) store<Real>(s + begin + i * lanes, scale * sum[i]);
    }
}

/// block[d][j] += s[r][j] x[r][d] for Rows rows in order.
template <int Rows, class Real>
void add_outer(const Keys<Real>* s, const Real* const* x, Index head, Transposed<Real>& block) {
    constexpr Index lanes = kLanes<Real>;
    for (Index j = 0; j < kKeys; j += lanes) {
        Vector<Real> factor[Rows];
        for (int r = 0; r < Rows; ++r) factor[r] = load<Real>(s[r] + j);
        for (Index d = 0; d < head; ++d) {
            Vector<Real> sum = load<Real>(block.columns[d] + j);
            for (int r = 0; r < Rows; ++r) sum += x[r][d] * factor[r];
            store<Real>(block.columns[d] + j, sum);
        }
    }
}

/// y[r][d] += sum_j s[r][j] rows[j][d], columns [d, d + Lanes Vectors), one chain over the keys [from, to).
template <int Rows, int Vectors, class Real>
void add_columns(const Keys<Real>* s, int from, int to, const Real* rows, Index head, Real* const* y,
                 Index d) {
    constexpr Index lanes = kLanes<Real>;
    Vector<Real> sum[Rows][Vectors];
    for (int r = 0; r < Rows; ++r) {
        for (Index i = 0; i < Vectors; ++i) sum[r][i] = load<Real>(y[r] + d + i * lanes);
    }
    for (int j = from; j < to; ++j) {
        const Real* row = rows + j * head + d;
        for (int r = 0; r < Rows; ++r) {
            for (Index i = 0; i < Vectors; ++i) sum[r][i] += s[r][j] * load<Real>(row + i * lanes);
        }
    }
    for (int r = 0; r < Rows; ++r) {
        for (Index i = 0; i < Vectors; ++i) store<Real>(y[r] + d + i * lanes, sum[r][i]);
    }
}

/// The same for all columns of the head.
template <int Rows, class Real>
void add_rows(const Keys<Real>* s, const Seen& seen, const Packed<Real>& block, Index head, Real* const* y) {
    constexpr Index lanes = kLanes<Real>;
    Index d = 0;
    for (; d + 2 * lanes <= head; d += 2 * lanes) {
        add_columns<Rows, 2>(s, seen.from, seen.to, block.values, head, y, d);
    }
    for (; d < head; ++d) {
        for (int r = 0; r < Rows; ++r) {
            Real sum = y[r][d];
            for (int j = seen.from; j < seen.to; ++j) sum += s[r][j] * block.values[j * head + d];
            y[r][d] = sum;
        }
    }
}

/// p = exp(s - shift), 0 where not seen. Unseen scores may be anything, so they are replaced before exp.
template <class Real>
void exponentials(const Keys<Real>& s, const Seen& seen, Real shift, Keys<Real>& p) {
    if (seen.all()) {
        for (int j = 0; j < kKeys; ++j) p[j] = moegrad::exp(s[j] - shift);
        return;
    }
    for (int j = 0; j < kKeys; ++j) p[j] = seen(j) ? s[j] - shift : Real(0);
    for (int j = 0; j < kKeys; ++j) p[j] = moegrad::exp(p[j]);
    for (int j = 0; j < kKeys; ++j) p[j] = seen(j) ? p[j] : Real(0);
}

/// The largest (real part) of the scores that are seen.
template <class Real>
auto largest_seen(const Keys<Real>& s, const Seen& seen) {
    using Value = decltype(real_part(Real()));
    constexpr Value nothing = -std::numeric_limits<Value>::infinity();
    Keys<Value> value;
    for (int j = 0; j < kKeys; ++j) value[j] = real_part(s[j]);
    if (!seen.all()) {
        for (int j = 0; j < kKeys; ++j) value[j] = seen(j) ? value[j] : nothing;
    }
    Value lane[4] = {nothing, nothing, nothing, nothing};
    for (int j = 0; j < kKeys; j += 4) {
        for (int i = 0; i < 4; ++i) lane[i] = std::max(lane[i], value[j + i]);
    }
    return std::max(std::max(lane[0], lane[1]), std::max(lane[2], lane[3]));
}

}  // namespace
}  // namespace moegrad::cpu::attention

#pragma once
// merge_check: what a merged folder holds against what an adapter says, file against file, by other sums than those
// that merged. For every matrix that the adapter changes, with x a random vector:
//     | ||W' - W|| - ||s B A|| |     the second norm from Gram matrices, s sqrt(tr(A A^T B^T B))
//     (W' - W) x  =  s B (A x)       row by row: an error in one element shows
// both within the rounding of the stored type; every other tensor must be the base's.
// What rounding left of the update:  kept = <W' - W, s B A> / ||s B A||^2

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <moegrad/io/checkpoint_index.hpp>
#include <moegrad/train/export.hpp>
#include <moegrad/train/merge.hpp>

namespace moegrad {

struct MergeCheck {
    Index tensors = 0, changed = 0;  // of the folder; with a change
    double norm_gap = 0;             // largest | ||W' - W|| - ||sBA|| | / ||sBA||
    double delta_squares = 0;        // sum over all matrices of ||sBA||^2
    double kept_products = 0;        // and of <W' - W, sBA>
    double worst_kept = 1;           // least kept of a tensor,
    std::string worst;               // and which
    bool narrow = false;             // whether a tensor is stored in less than 32 bits
    double kept() const { return delta_squares > 0 ? kept_products / delta_squares : 1; }
};

namespace detail {

/// Largest error of one rounding to nearest: relative, and where f16 runs out of exponents absolute.
struct Rounding {
    double relative = 0x1p-24, absolute = 0;
    explicit Rounding(StoredType type) {
        if (type == StoredType::bf16) relative = 0x1p-8;
        if (type == StoredType::f16) relative = 0x1p-11, absolute = 0x1p-25;
    }
    double of(float value) const {
        return 1.01 * (relative * std::abs(static_cast<double>(value)) + absolute);
    }
};

/// Files of a folder that stay open, and where each tensor is.
class OpenFolder {
public:
    explicit OpenFolder(const std::string& folder) {
        for (const std::string& name : weight_files(folder)) {
            files_.push_back(std::make_unique<SafetensorsFile>(folder + "/" + name));
            for (const TensorInfo& info : files_.back()->tensors())
                where_[info.name] = {files_.back().get(), &info};
        }
    }
    struct Place {
        const SafetensorsFile* file = nullptr;
        const TensorInfo* info = nullptr;
    };
    const std::map<std::string, Place>& all() const { return where_; }
    static std::vector<float> read(const Place& place) {
        std::vector<float> values(static_cast<std::size_t>(place.info->count));
        place.file->read(*place.info, std::span<float>(values));
        return values;
    }

private:
    std::vector<std::unique_ptr<SafetensorsFile>> files_;
    std::map<std::string, Place> where_;
};

/// The rows [begin, end) of one matrix, before and after, and what the adapter says of them.
struct MatrixCheck {
    const LoraUpdate<float>& update;
    Index e, begin, end;
    const float *before, *after;
    Rounding rounding;

    Index rank() const { return update.rank(); }
    Index columns() const { return update.columns(); }
    double b(Index row, Index r) const {
        return update.lora.scale * static_cast<double>(update.b(e)[row * rank() + r]);
    }
    Index at(Index row, Index i) const { return (row - begin) * columns() + i; }
    double difference(Index row, Index i) const {
        return static_cast<double>(after[at(row, i)]) - static_cast<double>(before[at(row, i)]);
    }

    /// ||s B A||^2 = sum_rq (A A^T)_rq (s^2 B^T B)_rq
    double gram_squares() const {
        double sum = 0;
        for (Index r = 0; r < rank(); ++r) {
            for (Index q = 0; q < rank(); ++q) {
                double aa = 0, bb = 0;
                const float *x = update.a(e) + r * columns(), *y = update.a(e) + q * columns();
                for (Index i = 0; i < columns(); ++i)
                    aa += static_cast<double>(x[i]) * static_cast<double>(y[i]);
                for (Index row = begin; row < end; ++row) bb += b(row, r) * b(row, q);
                sum += aa * bb;
            }
        }
        return std::max(sum, 0.0);
    }

    /// A x, [R].
    std::vector<double> compressed(const std::vector<double>& x) const {
        std::vector<double> u(static_cast<std::size_t>(rank()));
        for (Index r = 0; r < rank(); ++r) {
            for (Index i = 0; i < columns(); ++i) {
                u[static_cast<std::size_t>(r)] +=
                    static_cast<double>(update.a(e)[r * columns() + i]) * x[static_cast<std::size_t>(i)];
            }
        }
        return u;
    }
};

inline std::vector<double> random_vector(Index size, std::uint64_t stream) {
    Random random(2026, stream);
    std::vector<double> x(static_cast<std::size_t>(size));
    for (double& value : x) value = static_cast<double>(random.next_normal());
    return x;
}

[[noreturn]] inline void refuse_merge(const std::string& name, const std::string& expected, double got) {
    throw Error{ErrorCode::value, "merge: " + name, expected, format("{:.6g}", got),
                "the written weights are not base + adapter; nothing was kept"};
}

/// What the rows of a matrix add up to.
struct MatrixSums {
    double delta_squares = 0, noise_squares = 0, kept_products = 0;
};

/// One row: (W' - W) x = s B u with u = A x, within what rounding may do. Adds its part of the sums.
inline void check_row(const MatrixCheck& m, Index row, const std::string& name, const std::vector<double>& x,
                      const std::vector<double>& u, MatrixSums& sums) {
    double y = 0, bound = 0, z = 0, size = 0;
    for (Index i = 0; i < m.columns(); ++i) {
        const double d = m.difference(row, i), slack = m.rounding.of(m.after[m.at(row, i)]);
        const double xi = x[static_cast<std::size_t>(i)];
        sums.delta_squares += d * d;
        sums.noise_squares += slack * slack;
        y += d * xi;
        bound += slack * std::abs(xi);
    }
    for (Index r = 0; r < m.rank(); ++r) {
        const double term = m.b(row, r) * u[static_cast<std::size_t>(r)];
        z += term;
        size += std::abs(term);
        double inner = 0;
        for (Index i = 0; i < m.columns(); ++i) {
            inner += m.difference(row, i) * static_cast<double>(m.update.a(m.e)[r * m.columns() + i]);
        }
        sums.kept_products += m.b(row, r) * inner;
    }
    if (std::abs(y - z) <= bound + 1e-9 * size) return;
    refuse_merge(format("{} row {}", name, row - m.begin),
                 format("(W' - W) x = {:.6g} within {:.1e}", z, bound), y);
}

/// Throws unless after - before is s B A up to the rounding of the stored type.
inline void check_matrix(const MatrixCheck& m, const std::string& name, MergeCheck& total, double& kept,
                         double& squares) {
    const auto x = random_vector(m.columns(), 7);
    const auto u = m.compressed(x);
    MatrixSums sums;
    for (Index row = m.begin; row < m.end; ++row) check_row(m, row, name, x, u, sums);
    const double expected = m.gram_squares(), norm = std::sqrt(expected);
    const double gap = std::abs(std::sqrt(sums.delta_squares) - norm);
    if (!(gap <= std::sqrt(sums.noise_squares) + 1e-9 * norm)) {
        refuse_merge(name, format("||W' - W|| = ||s B A|| = {:.6g}", norm), std::sqrt(sums.delta_squares));
    }
    if (expected > 0) total.norm_gap = std::max(total.norm_gap, gap / norm);
    squares += expected;
    kept += sums.kept_products;
}

/// A stored tensor that the adapter changes: every matrix in it.
inline void check_updated(const StoredTensor<float>& stored, const LoraUpdate<float>& update,
                          const OpenFolder::Place& before, const OpenFolder::Place& after,
                          MergeCheck& total) {
    const auto w = OpenFolder::read(before), w_after = OpenFolder::read(after);
    const Index rows = update.rows(), first = std::max<Index>(stored.expert, 0);
    const Index last = stored.expert < 0 ? update.matrices() : first + 1;
    const Index begin = stored.end == 0 ? 0 : stored.begin, end = stored.end == 0 ? rows : stored.end;
    double kept = 0, squares = 0;
    for (Index e = first; e < last; ++e) {
        const Index at = (e - first) * (end - begin) * update.columns();
        check_matrix({update, e, begin, end, w.data() + at, w_after.data() + at, Rounding(after.info->type)},
                     stored.name, total, kept, squares);
    }
    total.delta_squares += squares;
    total.kept_products += kept;
    if (squares > 0 && kept / squares < total.worst_kept) {
        total.worst_kept = kept / squares;
        total.worst = stored.name;
    }
}

/// A tensor without LoRA: the bytes of the base, or `want` (a gate that trained in full) in the stored type.
inline void check_plain(const std::string& name, const OpenFolder::Place& before,
                        const OpenFolder::Place& after, const std::vector<float>* replaced) {
    const auto have = after.file->bytes(*after.info);
    std::string want;
    if (replaced == nullptr && before.info->type == after.info->type) {
        const auto bytes = before.file->bytes(*before.info);
        want.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    } else {
        const std::vector<float> values = replaced ? *replaced : OpenFolder::read(before);
        want = write_stored(after.info->type, values.data(), static_cast<Index>(values.size()), name);
    }
    if (want.size() == have.size() && std::memcmp(want.data(), have.data(), want.size()) == 0) return;
    throw Error{ErrorCode::value, "merge: " + name, replaced ? "the adapter's values" : "the base's values",
                "others", "the written weights are not base + adapter; nothing was kept"};
}

}  // namespace detail

/// Compares the folder `merged` with the folder `base` and the updates. `replaced`: weights that the adapter brought whole.
inline MergeCheck check_merge(Decoder<float>& model, const std::vector<LoraUpdate<float>>& updates,
                              const std::set<const Parameter<float>*>& replaced, const std::string& base,
                              const std::string& merged) {
    const detail::OpenFolder before(base), after(merged);
    if (before.all().size() != after.all().size()) {
        detail::refuse_merge("the folder", format("{} tensors", before.all().size()),
                             static_cast<double>(after.all().size()));
    }
    std::map<std::string, StoredTensor<float>> parts;
    for (const auto& stored : model.stored_tensors()) parts.emplace(stored.name, stored);
    MergeCheck total;
    for (const auto& [name, place] : before.all()) {
        const auto now = after.all().find(name);
        if (now == after.all().end()) detail::refuse_merge(name, "to be in the folder", 0);
        const auto part = parts.find(name);
        const auto* parameter = part == parts.end() ? nullptr : part->second.parameter;
        const auto update = std::find_if(updates.begin(), updates.end(),
                                         [&](const auto& one) { return one.weight == parameter; });
        ++total.tensors;
        total.narrow = total.narrow || bits(now->second.info->type) < 32;
        if (parameter != nullptr && update != updates.end()) {
            detail::check_updated(part->second, *update, place, now->second, total);
            ++total.changed;
        } else if (replaced.contains(parameter)) {
            const auto value = part->second.value().values();
            const std::vector<float> whole(value.begin(), value.end());
            detail::check_plain(name, place, now->second, &whole);
            ++total.changed;
        } else {
            detail::check_plain(name, place, now->second, nullptr);
        }
    }
    return total;
}

}  // namespace moegrad

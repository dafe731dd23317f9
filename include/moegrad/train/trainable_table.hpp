#pragma once
// What trains, counted from the model itself before the first step: layer by layer, projection by projection, for stacks of
// experts how many of the E have a value that can change. Values in blocks that never train do not count. Layers that are
// alike share a line. A target that ended with nothing to train is an error.

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include <moegrad/methods/attach.hpp>
#include <moegrad/train/parameter_groups.hpp>

namespace moegrad {

/// One projection of a layer. Stacks of experts: `of_experts` matrices, `experts` of which train.
struct ProjectionCount {
    std::string name, kind;  // "q_proj", "attention"
    Index values = 0, experts = 0, of_experts = 0;

    bool operator==(const ProjectionCount&) const = default;
};

struct TrainableCount {
    std::vector<std::vector<ProjectionCount>> layers;
    std::vector<ProjectionCount> rest;  // embedding, last norm, head: where they train
    Index base = 0, trained = 0;
    bool mixture = false;  // has layers with experts

    /// Values of a kind: attention, mlp, experts, router, ..
    Index of_kind(const std::string& kind) const {
        Index sum = 0;
        const auto add = [&](const ProjectionCount& one) { sum += one.kind == kind ? one.values : 0; };
        for (const auto& layer : layers) std::for_each(layer.begin(), layer.end(), add);
        std::for_each(rest.begin(), rest.end(), add);
        return sum;
    }
};

namespace detail {

/// Counts parameters into projections, a shared one where it is met first.
template <class Real>
class TrainableCounter {
public:
    explicit TrainableCounter(Decoder<Real>& model) : model_(model) {}

    TrainableCount run() {
        for (auto* p : model_.base_parameters()) count_.base += p->size();
        for (auto& layer : model_.layers()) count_layer(layer);
        for (auto* p : trainable_parameters(model_)) {
            count_.trained += values_in(*p, 0, matrices(*p));
            if (seen_.count(p) > 0) continue;
            count_.rest.push_back({p->name(), "rest", 0, 0, 0});
            add(count_.rest.back(), *p);
        }
        return std::move(count_);
    }

private:
    void count_layer(DecoderLayer<Real>& layer) {
        std::vector<ProjectionCount> all;
        ProjectionCount router{"router", "router", 0, 0, 0}, norms{"norms", "norms", 0, 0, 0};
        for (auto& [name, linear] : model_.linears(layer)) {
            const bool dense = name == "gate_proj" || name == "up_proj" || name == "down_proj";
            ProjectionCount one{name, dense ? "mlp" : "attention", 0, 0, 0};
            add(one, linear->weight);
            if (linear->adapter) add_adapter(one, router, *linear->adapter);
            all.push_back(one);
        }
        for (auto& moe : layer.moe) {
            ProjectionCount up{"experts.gate_up", "experts", 0, 0, 0},
                down{"experts.down", "experts", 0, 0, 0};
            add_stack(up, moe.experts.gate_up, moe.experts.gate_up_lora);
            add_stack(down, moe.experts.down, moe.experts.down_lora);
            for (auto* p : moe.router.parameters()) add(router, *p);
            all.insert(all.end(), {up, down});
            count_.mixture = true;
        }
        ProjectionCount added{"added", "added", 0, 0, 0};
        add_all(added, added_parameters(layer));
        if (added.values > 0) all.push_back(added);
        add(norms, layer.input_norm.weight);
        add(norms, layer.post_norm.weight);
        if (!layer.moe.empty() || router.values > 0) all.push_back(router);
        if (norms.values > 0) all.push_back(norms);
        count_.layers.push_back(std::move(all));
    }

    /// What an adapter adds to its Linear, its router apart.
    void add_adapter(ProjectionCount& one, ProjectionCount& router, LinearAdapter<Real>& adapter) {
        std::set<const void*> of_router;
        if (adapter.router() != nullptr)
            for (auto* p : adapter.router()->parameters()) of_router.insert(p);
        std::vector<Parameter<Wide<Real>>*> own;
        for (auto* p : adapter.parameters()) {
            if (of_router.count(p) > 0) {
                add(router, *p);
            } else {
                own.push_back(p);
            }
        }
        add_all(one, own);
    }

    void add_stack(ProjectionCount& one, Parameter<Real>& weight, LoraParameters<Real>& lora) {
        std::vector<Parameter<Wide<Real>>*> all{&weight};
        if (lora.defined()) all.insert(all.end(), {&lora.A, &lora.B});
        add_all(one, all);
    }

    void add(ProjectionCount& one, Parameter<Wide<Real>>& parameter) {
        if (parameter.defined() && parameter.trainable() && seen_.insert(&parameter).second)
            one.values += values_in(parameter, 0, matrices(parameter));
    }

    /// Parameters of one projection; where they are stacks, also which of their matrices train.
    void add_all(ProjectionCount& one, const std::vector<Parameter<Wide<Real>>*>& all) {
        std::set<Index> trained;
        for (auto* p : all) {
            if (!p->defined()) continue;
            const Index E = p->shape().rank() == 3 ? p->shape()[0] : 0;
            one.of_experts = std::max(one.of_experts, E);
            for (Index e = 0; e < E && p->trainable(); ++e)
                if (values_in(*p, e, e + 1) > 0) trained.insert(e);
            add(one, *p);
        }
        one.experts = static_cast<Index>(trained.size());
    }

    static Index matrices(const Parameter<Wide<Real>>& p) { return p.shape().rank() == 3 ? p.shape()[0] : 1; }

    /// Values of the matrices [begin, end) that can change: frozen blocks are the same in each.
    static Index values_in(const Parameter<Wide<Real>>& p, Index begin, Index end) {
        if (!p.trainable()) return 0;
        Index one = p.size() / std::max<Index>(1, matrices(p));
        for (const Block& block : p.frozen_blocks())
            one -= (block.row_end - block.row_begin) * (block.column_end - block.column_begin);
        return one * (end - begin);
    }

    Decoder<Real>& model_;
    TrainableCount count_;
    std::set<const void*> seen_;
};

inline std::string trainable_cell(const ProjectionCount& one) {
    if (one.values == 0) return "-";
    if (one.of_experts == 0) return format("{}", one.values);
    return format("{} ({} of {})", one.values, one.experts, one.of_experts);
}

/// "0-3" and "7".
inline std::string layer_range(std::size_t first, std::size_t last) {
    return first == last ? format("{}", first) : format("{}-{}", first, last);
}

/// Rows of cells, every column as wide as its widest.
inline std::string count_table(const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> widths;
    for (const auto& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    std::string text;
    for (const auto& row : rows) {
        for (std::size_t i = 0; i < row.size(); ++i) text += format("  {:>{}}", row[i], widths[i]);
        text += "\n";
    }
    return text;
}

}  // namespace detail

template <class Real>
TrainableCount count_trainable(Decoder<Real>& model) {
    return detail::TrainableCounter<Real>(model).run();
}

/// The table as text: a line per group of layers that are alike, then the total of every kind.
inline std::string trainable_table(const TrainableCount& count) {
    std::vector<std::vector<std::string>> rows;
    for (std::size_t begin = 0; begin < count.layers.size();) {
        const auto& layer = count.layers[begin];
        std::size_t end = begin + 1;
        while (end < count.layers.size() && count.layers[end] == layer) ++end;
        std::vector<std::string> header{"layer"}, row{detail::layer_range(begin, end - 1)};
        for (const auto& one : layer) {
            header.push_back(one.name);
            row.push_back(detail::trainable_cell(one));
        }
        if (rows.empty() || header.size() != rows[0].size()) rows.push_back(header);
        rows.push_back(row);
        begin = end;
    }
    std::string text = "trainable values (of experts: how many train)\n" + detail::count_table(rows), kinds;
    for (const char* kind : {"attention", "mlp", "experts", "router", "added", "norms"})
        if (count.of_kind(kind) > 0) kinds += format("{} {}, ", kind, count.of_kind(kind));
    for (const auto& one : count.rest) kinds += format("{} {}, ", one.name, one.values);
    return text + format("  {}in all {} beside {} of the base ({:.2f} %)\n", kinds, count.trained, count.base,
                         100.0 * static_cast<double>(count.trained) / static_cast<double>(count.base));
}

template <class Real>
std::string trainable_table(Decoder<Real>& model) {
    return trainable_table(count_trainable(model));
}

/// Every name of adapter.target must have reached something that trains. A method that brings parameters of its own may
/// freeze what it put into its targets; that each was met is attach's to say.
inline void require_trainable(const TrainableCount& count, const AdapterSpec& spec) {
    if (spec.method == Method::model && count.of_kind("added") > 0) return;
    std::string available;
    if (!count.layers.empty()) {
        for (const auto& one : count.layers[0])
            available += (available.empty() ? "" : ", ") + format("{} {}", one.name, one.values);
    }
    for (const std::string& target : spec.targets) {
        Index values = 0;
        for (const auto& layer : count.layers) {
            for (const auto& one : layer) {
                const bool single = (one.name == "experts.gate_up" && (target == "w1" || target == "w3")) ||
                                    (one.name == "experts.down" && target == "w2");
                if (single || target == one.name || target == one.kind || target == "all")
                    values += one.values;
            }
        }
        if (values > 0) continue;
        throw Error{ErrorCode::config, format("adapter.target: \"{}\"", target),
                    "at least one trainable value in some layer", "0", format("layer 0 has: {}", available)};
    }
}

/// A sentence when a mixture of experts trains neither an expert nor a router, nor what a method put beside them; else
/// empty.
inline std::string attention_only_warning(const TrainableCount& count) {
    for (const char* kind : {"experts", "router", "added"}) {
        if (!count.mixture || count.of_kind(kind) > 0) return {};
    }
    return format(
        "no expert and no router of this mixture trains, only {} values beside them "
        "(adapter.target = \"attention,experts\" and router.mode choose them)",
        count.trained);
}

}  // namespace moegrad

#pragma once
// The parts that time kernels, layers and blocks; every one beside the two ceilings of the device.

#include <optional>

#include <moegrad/ops/linear.hpp>

#include "attention_jobs.hpp"
#include "block_jobs.hpp"
#include "expert_jobs.hpp"
#include "linear_jobs.hpp"
#include "null_jobs.hpp"
#include "row_jobs.hpp"
#include "session.hpp"

namespace moegrad::bench {

/// What everything else is a share of.
template <class Real>
class Ceilings {
public:
    Ceilings(Context& context, Index side)
        : stream_(context.stream()),
          n_(static_cast<double>(side)),
          x_(normal<Real>({side, side}, 41, 1, context.device())),
          w_(normal<Real>({side, side}, 42, 1, context.device())),
          y_(Tensor<Real>::zeros({side, side}, context.device())) {}

    std::vector<Job> jobs(const std::string& part) const {
        const auto& linear = linear_slot.get<Real>(stream_.device());
        return {{part, kProduct, 2 * n_ * n_ * n_, 0, Against::product,
                 [this, &linear] { linear.forward(stream_, x_.matrix(), w_.matrix(), y_.matrix()); }},
                {part, kCopy, 0, 2 * n_ * n_ * sizeof(Real), Against::copy, [this] { copy_values(x_, y_); }}};
    }

private:
    Stream stream_;
    double n_;
    Tensor<Real> x_, w_, y_;
};

/// Settings of a peer's job.
inline Json peer_settings(const char* kind, const std::vector<std::pair<const char*, Json>>& more) {
    Json settings = Json::object();
    settings.add("kind", kind);
    for (const auto& [key, value] : more) settings.add(key, value);
    return settings;
}

inline void append(std::vector<Job>& all, std::vector<Job> more) {
    all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

template <class Real>
class KernelParts {
public:
    explicit KernelParts(Session& session) : session_(session) {}

    void run() {
        session_.attempt("ceilings", [this] { ceilings(); });
        session_.attempt("rows", [this] { rows(); });
        session_.attempt("linears", [this] { linears(); });
        session_.attempt("experts", [this] { experts(); });
        session_.attempt("block", [this] { block("block", {.R = 16}, 2); });
        session_.attempt("fine",
                         [this] { block("fine", {.T = 8192, .D = 2048, .F = 768, .E = 128, .R = 16}, 8); });
        session_.attempt("attention", [this] { attention(); });
        session_.attempt("adamoe", [this] { adamoe(); });
    }

private:
    bool tiny() const { return session_.tiny(); }
    Index side() const { return tiny() ? 128 : 8192; }
    static constexpr LayerShape kTiny{64, 32, 48, 8, 4};
    static constexpr double kLeastLayer = 100e-3;  // several runs of a layer, so that the clock settles

    void ceilings() {
        Context context({.device = session_.device()});
        const Ceilings<Real> ceilings(context, side());
        auto jobs = ceilings.jobs("ceilings");
        const Job like = jobs.front();
        session_.add_peer(jobs, "ceilings", "PyTorch, the same product", like,
                          peer_settings("product", {{"side", side()}}));
        session_.measure(std::move(jobs));
    }

    void rows() {
        Context context({.device = session_.device()});
        const RowShape shape =
            tiny() ? RowShape{64, 64, 96, 100, 16} : RowShape{16384, 4096, 14336, 32000, 128};
        const Index numbers = tiny() ? 8192 : Index{1} << 26;
        const Ceilings<Real> ceilings(context, side());
        const RowJobs<float> wide(context, shape);
        const FloatJobs others(context, numbers);
        auto jobs = ceilings.jobs("rows");
        append(jobs, wide.jobs("rows"));
        append(jobs, others.jobs("rows"));
        std::optional<RowJobs<Real>> narrow;
        if (!std::is_same_v<Real, float>) append(jobs, narrow.emplace(context, shape).jobs("rows"));
        // Weight and both moments read and written, the gradient read.
        const Job adamw{"rows", "", 0, 28.0 * static_cast<double>(numbers), Against::copy, {}};
        session_.add_peer(jobs, "rows", "PyTorch, fused AdamW", adamw,
                          peer_settings("adamw", {{"numbers", numbers}}));
        session_.measure(std::move(jobs));
    }

    void linears() {
        Context context({.device = session_.device()});
        const LinearShape s =
            tiny() ? LinearShape{64, 32, 48, 100, 4} : LinearShape{16384, 4096, 11008, 32000, 16};
        const Ceilings<Real> ceilings(context, side());
        const LinearJobs<Real> linears(context, s, repeated(some_nf4(0.02), {s.O, s.D}));
        auto jobs = ceilings.jobs("linears");
        append(jobs, linears.jobs("linears"));
        const auto add = [&](const char* what, const char* kind, const char* like, Index columns,
                             Index rank) {
            session_.add_peer(
                jobs, "linears", what, *find_named(jobs, like),
                peer_settings(kind,
                              {{"tokens", s.T}, {"hidden", s.D}, {"columns", columns}, {"rank", rank}}));
        };
        add("PyTorch, linear, frozen", "linear", "linear, frozen", s.O, 0);
        add("PyTorch, linear, LoRA", "linear", "linear, LoRA", s.O, s.R);
        add("PyTorch, head and cross entropy", "head", "head and cross entropy", s.V, 0);
        session_.measure(std::move(jobs), 20e-3);
    }

    void experts() {
        Context context({.device = session_.device()});
        const LayerShape shape = tiny() ? kTiny : LayerShape{};
        const Ceilings<Real> ceilings(context, side());
        const ExpertJobs<Real> experts(context, shape, 2);
        auto jobs = ceilings.jobs("experts");
        append(jobs, experts.jobs("experts"));
        session_.add_peer(
            jobs, "experts", names::kTorchGateUp, *find_named(jobs, names::kGateUp),
            layer("grouped", shape, 2, session_.write_routing("experts", experts.choice()), {}));
        session_.measure(std::move(jobs), 40e-3);
    }

    void block(const char* part, LayerShape shape, Index slots) {
        Context context({.device = session_.device()});
        if (tiny()) shape = kTiny, slots = 2;
        const Ceilings<Real> ceilings(context, side());
        BlockJobs<Real> block(context, shape, slots);
        auto jobs = ceilings.jobs(part);
        append(jobs, block.jobs(part));
        const std::string routing = session_.write_routing(part, block.choice());
        const double flops = block.forward_flops();
        const auto add = [&](const char* what, const char* kind, Index rank, bool backward) {
            const Job like{part, "", backward ? 2 * flops : flops, 0, Against::product, {}};
            session_.add_peer(jobs, part, what, like,
                              layer(kind, shape, slots, routing, {{"rank", rank}, {"backward", backward}}));
        };
        add("split LoRA, forward", "block", shape.R, false);
        add(names::kSplit, "block", shape.R, true);
        add("PyTorch frozen, forward", "block", 0, false);
        add("PyTorch frozen, forward and backward", "block", 0, true);
        add("the same products, dense", "dense", 0, true);
        session_.measure(std::move(jobs), kLeastLayer);
    }

    void attention() {
        Context context({.device = session_.device()});
        std::vector<AttentionShape> shapes{
            {1, 8192, 32, 8, 128}, {2, 4096, 32, 8, 128}, {16, 512, 32, 8, 128}};
        if (tiny()) shapes = {{2, 32, 4, 2, 16}};
        const Ceilings<Real> ceilings(context, side());
        auto jobs = ceilings.jobs("attention");
        std::vector<std::unique_ptr<AttentionJobs<Real>>> all;
        for (const auto& shape : shapes) {
            all.push_back(std::make_unique<AttentionJobs<Real>>(context, shape));
            for (Job& job : all.back()->jobs()) {
                jobs.push_back(job);
                const bool backward = job.what.find("backward") != job.what.npos;
                session_.add_peer(jobs, "attention", "PyTorch, " + job.what, job,
                                  peer_settings("attention", {{"sequences", shape.B},
                                                              {"length", shape.S},
                                                              {"heads", shape.H},
                                                              {"kv_heads", shape.Hkv},
                                                              {"head", shape.head},
                                                              {"backward", backward}}));
            }
        }
        session_.measure(std::move(jobs));
    }

    void adamoe() {
        Context context({.device = session_.device()});
        const Ceilings<Real> ceilings(context, side());
        const NullJobs<Real> nulls(context, tiny() ? kTiny : LayerShape{.T = 4096}, 1.66);
        auto jobs = ceilings.jobs("adamoe");
        append(jobs, nulls.jobs("adamoe"));
        session_.measure(std::move(jobs), kLeastLayer);
    }

    static const Job* find_named(const std::vector<Job>& jobs, std::string_view what) {
        return &*std::find_if(jobs.begin(), jobs.end(), [&](const Job& job) { return job.what == what; });
    }
    static Json layer(const char* kind, const LayerShape& s, Index slots, const std::string& routing,
                      const std::vector<std::pair<const char*, Json>>& more) {
        Json settings = peer_settings(kind, {{"tokens", s.T},
                                             {"hidden", s.D},
                                             {"width", s.F},
                                             {"experts", s.E},
                                             {"slots", slots},
                                             {"routing", routing}});
        for (const auto& [key, value] : more) settings.add(key, value);
        return settings;
    }

    Session& session_;
};

}  // namespace moegrad::bench

#pragma once
// The parts that time whole optimiser steps: Mixtral and Llama beside transformers + PEFT, Mo-LoRA beside LoRA, NF4 beside
// dense weights, and every method beside top-2.

#include "session.hpp"
#include "step_shapes.hpp"

namespace moegrad::bench {

template <class Real>
class StepParts {
public:
    explicit StepParts(Session& session) : session_(session) {}

    void run() {
        session_.attempt("molora", [this] { molora(); });
        session_.attempt("nf4", [this] { nf4(); });
        session_.attempt("step", [this] {
            choice("mixtral", "step", names::kMixtral, [this] {
                beside_peer(names::kMixtral, names::kTorchMixtral, mixtral_step(tiny(), 4, 8, 512),
                            rank_of(8));
            });
            choice("llama", "step", names::kLlama, [this] {
                beside_peer(names::kLlama, names::kTorchLlama, llama_step(tiny()), rank_of(8));
            });
        });
        session_.attempt("methods", [this] { methods("methods", small_step(tiny())); });
        session_.attempt("large_methods",
                         [this] { methods("large_methods", mixtral_step(tiny(), 2, 8, 512)); });
    }

private:
    /// Of a step: several of them, so that the host runs ahead as it does in a run.
    static constexpr double kLeast = 0.2, kLeastMethod = 0.04;

    /// One model of a part and what it is called.
    struct Case {
        std::string what;
        StepShape shape;
        Settings settings;
    };

    bool tiny() const { return session_.tiny(); }

    /// A piece of a part that fails alone; the peer's model of one is gone before the next.
    template <class Body>
    void piece(const std::string& part, const std::string& what, const Body& body) {
        try {
            body();
        } catch (const std::exception& error) {
            fmt::print("  {}: {}\n", what, short_reason(error.what()));
            session_.results().fail(part, what, error.what());
        }
        session_.drop_peer_jobs();
    }

    /// A piece that `--pieces` may leave out.
    template <class Body>
    void choice(const char* name, const std::string& part, const std::string& what, const Body& body) {
        session_.wants(name) ? piece(part, what, body) : session_.results().fail(part, what, "not asked for");
    }

    /// Times steps of all cases in turns, in one step memory; `add(jobs)` brings those of the peer.
    template <class Add>
    void time_steps(const std::string& part, const std::vector<Case>& cases, double least, const Add& add) {
        Context context({.device = session_.device()});
        std::vector<std::unique_ptr<StepModel<Real>>> models;
        std::vector<Job> jobs;
        std::size_t step_memory = 0;
        for (const Case& one : cases) {
            models.push_back(std::make_unique<StepModel<Real>>(context, one.shape, one.settings));
            step_memory = std::max(step_memory, models.back()->step_memory());
            const double work = one.shape.flops(one.shape.model.is_mixture() ? 2 : 1);
            jobs.push_back({part, one.what, work, 0, Against::nothing,
                            [model = models.back().get()] { model->step(); }});
        }
        context.arena().reserve(step_memory);
        add(jobs);
        session_.measure(std::move(jobs), least, [&](std::vector<Job>& timed) {
            for (Job& job : timed) {
                for (std::size_t i = 0; i < cases.size(); ++i)
                    if (cases[i].what == job.what) job.flops = models[i]->flops();
            }
        });
    }
    void time_steps(const std::string& part, const std::vector<Case>& cases, double least) {
        time_steps(part, cases, least, [](std::vector<Job>&) {});
    }

    void beside_peer(const char* ours, const char* theirs, const StepShape& shape, const Settings& settings) {
        const ModelConfig& model = shape.model;
        const bool mixture = model.is_mixture();
        Json asked = Json::object();
        asked.add("kind", "step");
        asked.add("family", std::string(name(model.model_type)));
        for (const auto& [key, value] :
             {std::pair("layers", model.num_hidden_layers), std::pair("hidden", model.hidden_size),
              std::pair("width", model.intermediate_size), std::pair("heads", model.num_attention_heads),
              std::pair("kv_heads", model.num_key_value_heads), std::pair("vocabulary", model.vocab_size),
              std::pair("experts", model.num_local_experts), std::pair("sequences", shape.sequences),
              std::pair("length", shape.length), std::pair("rank", Index{8})})
            asked.add(key, value);
        asked.add("compile", !mixture && !tiny());
        time_steps("step", {{ours, shape, settings}}, kLeast, [&](std::vector<Job>& jobs) {
            const Job like = jobs.front();
            session_.add_peer(jobs, "step", theirs, like, asked);
        });
    }

    /// Four LoRA experts of rank r in each Linear, two a token, against LoRA of rank r.
    void molora() {
        Settings mixture = rank_of(8);
        mixture.insert(mixture.end(),
                       {{"adapter.method", "molora"}, {"router.experts", "4"}, {"router.top_k", "2"}});
        const StepShape shape = llama_step(tiny());
        time_steps("molora", {{"LoRA", shape, rank_of(8)}, {"Mo-LoRA", shape, mixture}}, kLeast);
    }

    void nf4() {
        const StepShape dense = mixtral_step(tiny(), 4, 16, 512);
        StepShape narrow = dense;
        narrow.quantise = Quantisation::nf4;
        time_steps("nf4", {{"dense", dense, rank_of(8)}, {"NF4", narrow, rank_of(8)}}, kLeast);
    }

    void methods(const std::string& part, const StepShape& shape) {
        for (const MethodCase& one : method_cases())
            session_.results().fail(part, one.name, "not there yet when this was written");
        piece(part, names::kTwo, [&] { plain_routers(part, shape); });
        for (const MethodCase& one : method_cases())
            choice(one.name, part, one.name, [&] { method(part, shape, one); });
    }

    /// What FLOPs cost: the same step with one, two and all eight experts a token.
    void plain_routers(const std::string& part, const StepShape& shape) {
        time_steps(part,
                   {{names::kTwo, shape, {}},
                    {names::kOne, shape, {{"router.top_k", "1"}}},
                    {names::kEight, shape, {{"router.top_k", "8"}}}},
                   kLeastMethod);
    }

    /// Each method has a top-2 of its own in its turns, with LoRA on the same Linears.
    void method(const std::string& part, const StepShape& shape, const MethodCase& one) {
        StepShape own = shape;
        own.trained_experts = one.trained_experts;
        Settings same;
        for (const auto& setting : one.more)
            if (setting.first == "adapter.target") same.push_back(setting);
        const std::string what = one.name;
        time_steps(part, {{names::kBeside + what, shape, same}, {what, own, settings_of(one)}}, kLeastMethod);
    }

    Session& session_;
};

}  // namespace moegrad::bench

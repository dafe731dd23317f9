#pragma once
// A small comparison on disk: two arms, two layers, three true experts; the second arm has three nulls besides.

#include <io/support.hpp>

#include <fmt/core.h>

namespace report_test {

using io_test::expect_error;
using io_test::read_text;

inline bool contains(const std::string& text, const std::string& words) {
    return text.find(words) != std::string::npos;
}

inline std::size_t count(const std::string& text, const std::string& words) {
    std::size_t n = 0;
    for (std::size_t at = text.find(words); at != std::string::npos; at = text.find(words, at + 1)) ++n;
    return n;
}

class Folder : public io_test::TemporaryFolder {
public:
    std::string write(const std::string& name, const std::string& content) const {
        std::filesystem::create_directories(std::filesystem::path(file(name)).parent_path());
        return io_test::TemporaryFolder::write(name, content);
    }
    std::string read(const std::string& name) const { return read_text(file(name)); }
};

/// metrics.jsonl: 20 steps of 10 tokens. Layer 0 never chooses expert 2 after step 0; nulls only when `nulls`.
inline std::string metrics(bool nulls) {
    std::string text = R"({"step":0,"eval_nll":2.5,"eval_load":2.0})"
                       "\n";
    for (int step = 0; step < 20; ++step) {
        const char* slots = step == 0 ? "[8,6,6" : "[12,8,0";
        text += fmt::format(R"({{"step":{},"ce":{},"balance":1.5,"lr":0.001,"grad_norm":0.5,"tokens":10,)"
                            R"("supervised":4,"routers":{{)",
                            step, 2.0 - 0.0625 * step);
        for (int layer = 0; layer < 2; ++layer) {
            text += fmt::format(R"({}"model.layers.{}.mlp":{{"load":{},"experts_per_token":{},"all_null":{},)"
                                R"("entropy":{},"slots":{}{}]}})",
                                layer ? "," : "", layer, nulls ? 1.25 : 2.0, nulls ? "[1,5,4,0]" : "[0,0,10]",
                                nulls ? 0.1 : 0.0, 1.0 - 0.01 * step, layer == 0 ? slots : "[7,7,6",
                                nulls ? ",3,4,5" : "");
        }
        text += "}}\n";
    }
    return text + R"({"step":20,"eval_nll":1.25,"eval_load":2.0})"
                  "\n";
}

inline std::string items(bool first_right) {
    const auto item = [](const char* id, const char* domain, int level, int answer, int chosen) {
        return fmt::format(R"({{"id":"{}","domain":"{}","level":{},"answer":{},"chosen":{},"correct":{},)"
                           R"("loglikelihood":[-0.5,-1.25],"nll":0.5,"question":"Who <i>is</i> {}?",)"
                           R"("choices":["Ann","Bob"]}})"
                           "\n",
                           id, domain, level, answer, chosen, answer == chosen, id);
    };
    return item("q1", "people", 1, 0, first_right ? 0 : 1) + item("q2", "places", 2, 1, 1) +
           item("q3", "places", 2, 0, 1);
}

inline std::string tokens(bool varied) {
    return fmt::format(
        R"({{"layers":2,"experts":3,"slots":2,"routers":["model.layers.0.mlp","model.layers.1.mlp"],)"
        R"("texts":[{{"id":"q1","tokens":[{{"text":"Ann","fact":true,"experts":[[0,1],[1,2]]}},)"
        R"({{"text":" <script>alert(1)</script>","fact":false,"experts":[{},[0]]}},)"
        R"({{"text":" a,\"b\"","fact":false,"experts":[[1],[0]]}}]}}]}})",
        varied ? "[]" : "[2]");
}

inline std::string results(double acc, double load) {
    return fmt::format(
        R"({{"task":"world","n":3,"metrics":{{"acc":{{"value":{},"low":0.25,"high":0.875,"n":3}}}},)"
        R"("load":{},"flops_saved":{},"fact_auroc":0.625,"trainable":12345,"seconds":1.5}})",
        acc, load, 0.88 * (1 - load / 2));
}

/// A whole run folder `name`, a null-expert router in it when `nulls`.
inline void write_run(const Folder& folder, const std::string& name, bool nulls) {
    folder.write(
        name + "/config.toml",
        fmt::format("model.path = \"some/where/tiny\"\nadapter.method = \"{}\"\nrouter.null_experts = "
                    "\"{}\"\ntrain.seed = \"3\"\n",
                    nulls ? "adamoe" : "lora", nulls ? 3 : 0));
    folder.write(name + "/metrics.jsonl", metrics(nulls));
    folder.write(name + "/eval/results.json", results(nulls ? 2.0 / 3 : 1.0 / 3, nulls ? 1.25 : 2.0));
    folder.write(name + "/eval/items.jsonl", items(nulls));
    folder.write(name + "/eval/tokens.json", tokens(nulls));
}

inline std::string compare_json(const std::string& second_folder = "b-0") {
    return R"({"name":"<script>alert('x')</script>","task":"world","questions":3,"model":"/a/b/tiny","base_acc":0.25,
"assay":{"top2":1.25,"top1":1.5,"random":2.0,"unit":"nats per token","ok":true},
"arms":[{"name":"top-2","method":"lora","control":true,"runs":[{"seed":3,"folder":"a-0"}],
"metrics":{"acc":{"value":0.3333,"low":0.25,"high":0.5},"load":2,"flops_saved":0.0,"trainable":12345}},
{"name":"<b>Ada</b>","method":"adamoe","runs":[{"seed":3,"folder":")" +
           second_folder + R"("}],
"metrics":{"acc":{"value":0.6667,"low":0.5,"high":0.75},"load":1.25,"flops_saved":0.33,"fact_auroc":null,
"tokens_per_second":1234.5}}],
"paired":[{"a":"<b>Ada</b>","b":"top-2","metric":"acc","value":0.3334,"low":0.125,"high":0.5,"says":"they differ"}],
"text":"One sentence & another.\nagainst top-2:\n  Ada  +33.3"})";
}

/// The comparison of both.
inline void write_comparison(const Folder& folder) {
    write_run(folder, "a-0", false);
    write_run(folder, "b-0", true);
    folder.write("compare.json", compare_json());
}

}  // namespace report_test

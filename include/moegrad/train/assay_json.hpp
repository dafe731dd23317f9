#pragma once
// An assay as it stands in compare.json and results.json.

#include <moegrad/eval/evaluate.hpp>
#include <moegrad/io/json_writer.hpp>
#include <moegrad/train/assay.hpp>

namespace moegrad::detail {

inline Json assay_json(const Assay& assay) {
    Json json = Json::object();
    json.add("top2", assay.nll);
    json.add("top1", assay.nll + assay.top1.value);
    json.add("random", assay.nll + assay.random.value);
    json.add("random_equal", assay.nll + assay.random_equal.value);
    json.add("top1_cost", estimate_json(assay.top1));
    json.add("random_cost", estimate_json(assay.random));
    json.add("slots", assay.slots);
    json.add("documents", assay.documents);
    json.add("tokens", assay.tokens);
    json.add("unit", "nats per token");
    json.add("ok", assay.passed());
    if (assay.undecided()) json.add("undecided", true);
    return json;
}

}  // namespace moegrad::detail

#pragma once
// Reads the evaluation of a run folder (eval/results.json, items.jsonl, tokens.json) and the folder as a whole.

#include <moegrad/report/run_folder.hpp>

namespace moegrad::report {

namespace detail {

inline void read_results(const std::string& path, RunFolder& run) {
    const Json json = parse_json_file(path);
    const JsonRef root(json, path, ErrorCode::format);
    run.task = string_or(root, "task");
    run.questions = integer_or(root, "n", 0);
    if (const auto metrics = root.find_value("metrics")) {
        for (const JsonMember& metric : metrics->members())
            run.measures[metric.key] = read_measure(metrics->member(metric));
    }
    for (const JsonMember& member : root.members()) {
        const bool counts = member.key == "n" || member.key == "metrics" || member.key == "seconds" ||
                            run.measures.count(member.key) > 0;
        if (!counts && (member.value.number() || member.value.find("value")))
            run.measures[member.key] = read_measure(root.member(member));
    }
    if (const auto auroc = run.measures.find("fact_auroc_interval"); auroc != run.measures.end()) {
        run.measures["fact_auroc"] = auroc->second;
        run.measures.erase(auroc);
    }
}

inline void read_items(const std::string& path, RunFolder& run) {
    read_json_lines(path, [&](const JsonRef& json) {
        Item item;
        item.id = json.at("id").string();
        item.domain = string_or(json, "domain");
        item.level = integer_or(json, "level", 0);
        item.answer = json.at("answer").integer(0, kMany);
        item.chosen = json.at("chosen").integer(-1, kMany);
        item.correct = json.at("correct").boolean();
        item.nll = number_or_nothing(json, "nll");
        item.loglikelihood = numbers(json.at("loglikelihood"));
        const std::string context = string_or(json, "context");
        item.question = context + (context.empty() ? "" : "\n") + string_or(json, "question");
        if (const auto choices = json.find_value("choices")) {
            for (std::size_t i = 0; i < choices->array().size(); ++i)
                item.choices.push_back(choices->item(i).string());
        }
        run.items.push_back(std::move(item));
    });
}

inline Token read_token(const JsonRef& json, std::int64_t experts) {
    Token token{json.at("text").string(), false, {}};
    if (const auto fact = json.find_value("fact")) token.fact = fact->boolean();
    const JsonRef layers = json.at("experts");
    for (std::size_t i = 0; i < layers.array().size(); ++i) {
        const JsonRef layer = layers.item(i);
        std::vector<std::int64_t> ids;
        for (std::size_t k = 0; k < layer.array().size(); ++k)
            ids.push_back(layer.item(k).integer(0, experts - 1));
        token.experts.push_back(std::move(ids));
    }
    return token;
}

inline void read_tokens(const std::string& path, RunFolder& run) {
    const Json json = parse_json_file(path);
    const JsonRef root(json, path, ErrorCode::format);
    constexpr std::int64_t most = 1 << 20;
    run.tokens.layers = root.at("layers").integer(0, most);
    run.tokens.experts = root.at("experts").integer(0, most);
    run.tokens.slots = root.at("slots").integer(0, most);
    if (const auto names = root.find_value("routers")) {
        for (std::size_t i = 0; i < names->array().size(); ++i)
            run.tokens.routers.push_back(names->item(i).string());
    }
    const JsonRef texts = root.at("texts");
    for (std::size_t i = 0; i < texts.array().size(); ++i) {
        const JsonRef one = texts.item(i), tokens = one.at("tokens");
        TokenText text{one.at("id").string(), {}};
        for (std::size_t t = 0; t < tokens.array().size(); ++t) {
            const JsonRef token = tokens.item(t);
            text.tokens.push_back(read_token(token, run.tokens.experts));
            if (static_cast<std::int64_t>(text.tokens.back().experts.size()) != run.tokens.layers)
                token.at("experts").fail(moegrad::format("{} layers", run.tokens.layers));
        }
        run.tokens.texts.push_back(std::move(text));
    }
}

}  // namespace detail

/// Whether a folder holds anything of a run.
inline bool is_run_folder(const std::string& folder) {
    for (const char* name :
         {"/config.toml", "/metrics.jsonl", "/eval/results.json", "/eval/items.jsonl", "/eval/tokens.json"}) {
        if (file_exists(folder + name)) return true;
    }
    return false;
}

/// with_texts: tokens.json too, much the largest file of a run.
inline RunFolder read_run_folder(const std::string& folder, bool with_texts = true) {
    RunFolder run;
    std::filesystem::path path = std::filesystem::absolute(folder).lexically_normal();
    if (!path.has_filename()) path = path.parent_path();
    run.name = path.filename().string();
    using Reader = void (*)(const std::string&, RunFolder&);
    const std::pair<const char*, Reader> files[] = {{"/config.toml", detail::read_config},
                                                    {"/metrics.jsonl", detail::read_metrics},
                                                    {"/eval/results.json", detail::read_results},
                                                    {"/eval/items.jsonl", detail::read_items},
                                                    {"/eval/tokens.json", detail::read_tokens}};
    for (const auto& [name, read] : files) {
        if (!file_exists(folder + name)) continue;
        if (with_texts || read != detail::read_tokens) read(folder + name, run);
        run.found = true;
    }
    return run;
}

}  // namespace moegrad::report

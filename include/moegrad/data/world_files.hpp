#pragma once
// The small world as JSONL files for fine-tuning and evaluation.
//   heldout.jsonl    {"id","domain","level","text","fact"}                            drawn apart from training's
//   train.jsonl      {"id","domain","level","prompt","completion","fact"}             questions about half the people
//   questions.jsonl  {"id","domain","level","context","question","choices","answer","fact"}     about the others
// fact: byte ranges [begin, end) of the text, of prompt + completion, or of question, one space and the right choice.

#include <string>

#include <moegrad/data/world_documents.hpp>
#include <moegrad/data/world_questions.hpp>
#include <moegrad/io/atomic_file.hpp>
#include <moegrad/io/json_writer.hpp>

namespace moegrad {

namespace detail {

inline Json fact_json(const WorldText& text) {
    Json::Array ranges;
    for (const auto& [begin, end] : text.facts()) ranges.emplace_back(Json::Array{begin, end});
    return Json(std::move(ranges));
}

inline Json world_head(const std::string& id, const WorldText& text) {
    Json json = Json::object();
    json.add("id", id);
    json.add("domain", text.domain);
    json.add("level", text.level);
    return json;
}

}  // namespace detail

inline std::string world_heldout_lines(const World& source, Index count) {
    std::string lines;
    for (Index n = 0; n < count; ++n) {
        const WorldText text = world_document(source, n, true);
        Json json = detail::world_head(format("h{}", n), text);
        json.add("text", text.text());
        json.add("fact", detail::fact_json(text));
        lines += write_json(json) + "\n";
    }
    return lines;
}

inline std::string world_sample_lines(const World& source, const QuestionOptions& options) {
    std::string lines;
    for (const WorldQuestion& question : world_samples(source, options)) {
        Json json = detail::world_head(question.id, question.prompt);
        json.add("prompt", question.prompt.text());
        json.add("completion", " " + question.choices[question.answer]);
        json.add("fact", detail::fact_json(question.whole()));
        lines += write_json(json) + "\n";
    }
    return lines;
}

inline std::string world_question_lines(const World& source, const QuestionOptions& options) {
    std::string lines;
    for (const WorldQuestion& question : world_questions(source, options)) {
        Json json = detail::world_head(question.id, question.prompt);
        json.add("context", "");
        json.add("question", question.prompt.text());
        json.add("choices", Json(Json::Array(question.choices.begin(), question.choices.end())));
        json.add("answer", static_cast<std::int64_t>(question.answer));
        json.add("fact", detail::fact_json(question.whole()));
        lines += write_json(json) + "\n";
    }
    return lines;
}

}  // namespace moegrad

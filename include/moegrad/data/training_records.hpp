#pragma once
// The records of a training file, before the tokenizer.
//   text, completion, alpaca, instruct, qa, choice   JSONL, data/record_formats.hpp
//   messages                                         JSONL, data/chat_records.hpp with data/chat_template.hpp
//   tsv                                              data/tsv_records.hpp
// auto: by the keys of the first record of a .jsonl, a .tsv as such, any other file as plain text. The first record decides;
// one that does not fit is an error with file:line, and so is an id that occurs twice. Empty lines are skipped, CRLF is a
// line end; a byte order mark, invalid UTF-8, a line over 64 MiB and a file without records are errors.

#include <moegrad/data/chat_records.hpp>
#include <moegrad/data/chat_template_known.hpp>
#include <moegrad/data/data_options.hpp>
#include <moegrad/data/tsv_records.hpp>

#include <algorithm>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

/// All records of a file, before the tokenizer.
struct TrainingRecords {
    std::vector<TrainingRecord> records;
    std::string format;
    std::vector<std::string> notes;
};

namespace detail {

inline constexpr const char* kRecordFormats[] = {"text", "completion", "alpaca",  "instruct",
                                                 "qa",   "choice",     "messages"};

inline bool is_record_format(const std::string& name) {
    return std::find(std::begin(kRecordFormats), std::end(kRecordFormats), name) != std::end(kRecordFormats);
}

/// By the keys of a record.
inline std::string format_of_record(const JsonRef& line) {
    const auto has = [&](const char* key) { return line.find(key).has_value(); };
    if (has("messages") || has("conversations")) return "messages";
    if (has("instruction") && has("output")) return "alpaca";
    if (has("choices")) return "choice";
    if (has("completion")) return "completion";
    if (has("text")) return "text";
    if (has("question") && (has("answer") || has("answers"))) return "qa";
    std::string keys;
    for (const auto& member : line.members()) keys += (keys.empty() ? "" : ", ") + printable(member.key, 20);
    throw Error{
        ErrorCode::data, line.place(),
        "the keys of a format: text; prompt, completion; instruction, output; messages; question, choices, "
        "answer; question, answer",
        keys.empty() ? "no keys" : printable(keys, 160), "see docs/data.md; data.format names a format"};
}

/// The keys that a format reads; others are counted and said.
inline bool reads_key(const std::string& format, std::string_view key) {
    struct Keys {
        const char *format, *keys;  // between blanks
    };
    constexpr Keys known[] = {{"text", " text domain level fact "},
                              {"completion", " prompt completion domain level fact "},
                              {"alpaca", " instruction input output "},
                              {"instruct", " instruction input output "},
                              {"qa", " context question answer answers "},
                              {"choice", " context question choices answer domain level fact "},
                              {"messages", " messages conversations system train_on_turn "}};
    if (key == "id") return true;
    for (const Keys& keys : known) {
        if (format == keys.format)
            return std::string_view(keys.keys).find(" " + std::string(key) + " ") != std::string_view::npos;
    }
    return true;
}

/// Reads JSONL line by line.
class RecordReader {
public:
    RecordReader(const std::string& path, const Tokenizer& tokenizer, const DataOptions& options)
        : path_(path), tokenizer_(tokenizer), options_(options), names_(special_names(tokenizer)) {}

    TrainingRecords read(std::string format) {
        const MappedFile file(path_);
        return read(file.text(), std::move(format));
    }

    TrainingRecords read(std::string_view text, std::string format) {
        result_.format = std::move(format);
        read_json_lines_of(text, path_, [&](const JsonRef& line) {
            if (result_.format.empty()) {
                result_.format = format_of_record(line);
                result_.notes.push_back("format " + result_.format + ", by the keys of the first record");
            }
            if (result_.records.empty()) open();
            for (const auto& member : line.members())
                if (!reads_key(result_.format, member.key)) ++unread_[member.key];
            result_.records.push_back(record(line, std::ssize(result_.records) + 1));
        });
        std::string unread;
        for (const auto& [key, count] : unread_)
            unread += moegrad::format("{}{} ({})", unread.empty() ? "" : ", ", printable(key, 40), count);
        if (!unread.empty()) result_.notes.push_back("keys that nothing reads: " + unread);
        return std::move(result_);
    }

private:
    /// What the format needs besides the lines.
    void open() {
        if (result_.format == "messages") {
            const ChosenTemplate chosen =
                choose_chat_template(options_.chat_template, options_.model, tokenizer_);
            template_ = chosen.chat_template;
            result_.notes.push_back("template " + chat_template_name(template_) + " (" + chosen.why + ")");
        }
        if (result_.format == "choice") {
            choice_ = options_.prompt.empty() ? ChoiceFormat::world : choice_format(options_.prompt);
            const std::string task = path_.substr(path_.find_last_of('/') + 1);
            for (const auto& known : kChoiceFormats)
                if (options_.prompt.empty() && task.substr(0, task.find('.')) == known.name)
                    choice_ = known.format;
        }
        const bool ends =
            result_.format == "alpaca" || result_.format == "instruct" || result_.format == "qa";
        if (ends && names_.eos.empty())
            result_.notes.push_back("answers end without an end token: the tokenizer names none");
    }

    TrainingRecord record(const JsonRef& line, Index number) const {
        const std::string& format = result_.format;
        if (format == "messages")
            return chat_record(line, number, template_, names_, options_.train_on == "all");
        if (format == "alpaca") return instruction_record(line, number, AnswerForm::alpaca, names_);
        if (format == "instruct") return instruction_record(line, number, AnswerForm::instruct, names_);
        if (format == "qa") return question_record(line, number, names_);
        if (format == "choice")
            return choice_record(read_choice_item(line, {}), choice_, open_record(line, number));
        return completion_record(line, number, format == "text");
    }

    std::string path_;
    const Tokenizer& tokenizer_;
    const DataOptions& options_;
    SpecialNames names_;
    ChatTemplate template_ = ChatTemplate::chatml;
    ChoiceFormat choice_ = ChoiceFormat::world;
    std::map<std::string, Index> unread_;
    TrainingRecords result_;
};

/// A TSV with columns, or one of the files that are known.
inline TrainingRecords read_tab_records(const std::string& path, const DataOptions& options) {
    const MappedFile file(path);
    const auto lines = read_tab_file(file.text(), path);
    DataOptions how = options;
    const auto& first = lines.front().field;
    const bool rte = first == std::vector<std::string_view>{"index", "sentence1", "sentence2", "label"};
    const bool cola = !rte && first.size() == 4 && (first[1] == "0" || first[1] == "1");
    const bool own = !options.columns.empty() || !options.labels.empty() || !options.prompt.empty();
    if (options.columns.empty() && !rte && !cola) {
        throw Error{
            ErrorCode::config, "data.columns", "columns of this file",
            moegrad::format("none, and {} is not that of CoLA or RTE", lines.front().place),
            "--data.columns \"text=3, label=1\" counts from 0, or goes by the names of a header line"};
    }
    if (options.columns.empty())
        how.columns = rte ? "id=0, sentence1=1, sentence2=2, label=3" : "text=3, label=1";
    if (own) return {read_column_records(lines, how), "tsv", {"columns " + how.columns}};
    TrainingRecords result{
        {}, "tsv", {rte ? "columns of RTE, by its header" : "columns of CoLA, by its first line"}};
    for (const ChoiceItem& item : rte ? read_rte_items(path) : read_cola_items(path)) {
        TrainingRecord record;
        record.id = item.id;
        record.named = rte;
        record.place = lines.at(result.records.size() + (rte ? 1 : 0)).place;
        result.records.push_back(choice_record(item, rte ? ChoiceFormat::rte : ChoiceFormat::cola, record));
    }
    return result;
}

inline void require_new_ids(const std::vector<TrainingRecord>& records) {
    std::map<std::string_view, const TrainingRecord*> seen;
    for (const TrainingRecord& record : records) {
        if (!record.named) continue;
        const auto [first, is_new] = seen.emplace(record.id, &record);
        if (!is_new) {
            throw Error{ErrorCode::data, record.place, "an id of its own",
                        moegrad::format("\"{}\", which {} has", printable(record.id), first->second->place)};
        }
    }
}

/// What kind of file it is: "" is JSONL whose first record decides, "plain" is plain text.
inline std::string file_kind(const std::string& path, const std::string& format) {
    const bool lines = path.ends_with(".jsonl");
    if (format == "text" && !lines) return "plain";
    if (is_record_format(format) || format == "tsv") return format;
    if (format != "auto")
        throw Error{ErrorCode::config, "data.format",
                    "auto, text, completion, alpaca, instruct, qa, messages, choice or tsv", format};
    if (lines) return "";
    if (path.ends_with(".tsv")) return "tsv";
    for (const char* ending : {".json", ".csv", ".parquet", ".arrow", ".gz", ".zst", ".zip"}) {
        if (path.ends_with(ending)) {
            throw Error{
                ErrorCode::data, path, "a .jsonl, a .tsv or plain text", std::string("a ") + ending,
                "a JSON array becomes JSONL with jq -c '.[]'; data.format says that it is something else"};
        }
    }
    return "plain";
}

}  // namespace detail

/// Plain text, by data.format or the name of the file: one sequence, cut at data.max_length tokens.
inline bool is_plain_text(const std::string& path, const DataOptions& options) {
    return detail::file_kind(path, options.format) == "plain";
}

/// Every record of a file of any format but plain text.
inline TrainingRecords read_training_records(const std::string& path, const Tokenizer& tokenizer,
                                             const DataOptions& options) {
    const std::string kind = detail::file_kind(path, options.format);
    TrainingRecords all = kind == "tsv" ? detail::read_tab_records(path, options)
                                        : detail::RecordReader(path, tokenizer, options).read(kind);
    if (all.records.empty()) throw Error{ErrorCode::data, path, "at least one record", "none"};
    detail::require_new_ids(all.records);
    if (options.train_on == "all" && all.format != "messages") {
        for (TrainingRecord& record : all.records)
            for (TextPiece& piece : record.pieces) piece.supervised = true;
    }
    return all;
}

}  // namespace moegrad

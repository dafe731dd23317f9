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
#include <moegrad/data/record_kind.hpp>
#include <moegrad/data/task_ids.hpp>
#include <moegrad/data/tsv_records.hpp>

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

/// Reads JSONL line by line.
class RecordReader {
public:
    RecordReader(const std::string& path, const Tokenizer& tokenizer, const DataOptions& options)
        : path_(path),
          tokenizer_(tokenizer),
          options_(options),
          names_(special_names(tokenizer)),
          tasks_(task_names(options.tasks)) {}

    TrainingRecords read(std::string format) {
        const MappedFile file(path_);
        return read(file.text(), std::move(format));
    }

    TrainingRecords read(std::string_view text, std::string format) {
        result_.format = std::move(format);
        if (first_line(text).starts_with('[')) {
            throw Error{ErrorCode::data, path_ + ":1", "an object a line", "an array", kArrayHint};
        }
        read_json_lines_of(text, path_, [&](const JsonRef& line) {
            if (result_.format.empty()) {
                result_.format = format_of_record(line);
                result_.notes.push_back("format " + result_.format + ", by the keys of the first record");
            }
            if (result_.records.empty()) open();
            const std::int32_t task = task_of(line, tasks_);
            for (const auto& member : line.members()) {
                const bool read = reads_key(result_.format, member.key);
                if (!read && (member.key != "task" || task == kNoTask)) ++unread_[member.key];
            }
            result_.records.push_back(record(line, std::ssize(result_.records) + 1));
            require_answer(result_.records.back());
            set_task(line, task);
        });
        std::string unread;
        for (const auto& [key, count] : unread_)
            unread += moegrad::format("{}{} ({})", unread.empty() ? "" : ", ", printable(key, 40), count);
        if (!unread.empty()) result_.notes.push_back("keys that nothing reads: " + unread);
        note_tasks();
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
            const ChoiceForm form = choice_form(path_, options_);
            choice_ = form.format;
            result_.notes.push_back(form.why);
        }
        const bool ends =
            result_.format == "alpaca" || result_.format == "instruct" || result_.format == "qa";
        if (ends && names_.eos.empty())
            result_.notes.push_back("answers end without an end token: the tokenizer names none");
    }

    /// Every record has a task or none has: a router that asks for tasks asks for all of them.
    void set_task(const JsonRef& line, std::int32_t task) {
        result_.records.back().task = task;
        const bool has = task != kNoTask, first = result_.records.front().task != kNoTask;
        if (has != first || (!has && !tasks_.empty())) {
            throw Error{ErrorCode::data, line.place() + ": task",
                        tasks_.empty() ? "a task in every record or in none" : "one of data.tasks",
                        has ? "one, and the records before have none" : "none"};
        }
        if (has) ++task_counts_[task];
    }
    void note_tasks() {
        std::string counts;
        for (const auto& [task, count] : task_counts_) {
            const auto at = static_cast<std::size_t>(task);
            counts += moegrad::format("{}{}{} ({})", counts.empty() ? "" : ", ", task,
                                      at < tasks_.size() ? " " + tasks_[at] : "", count);
        }
        if (!counts.empty()) result_.notes.push_back("tasks: " + counts);
    }

    /// An empty answer would train the end of the text at once.
    void require_answer(const TrainingRecord& record) const {
        if (record.unanswered.empty() || options_.unsupervised == "drop") return;
        throw Error{ErrorCode::data, record.unanswered, "some text to train on", "none",
                    "data.unsupervised = drop leaves such records out"};
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
    std::vector<std::string> tasks_;
    std::map<std::int32_t, Index> task_counts_;
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
    if (own) {
        TrainingRecords result{read_column_records(lines, how), "tsv", {"columns " + how.columns}};
        if (!options.columns.empty() && options.labels.empty() &&
            !resolve_columns(how.columns, lines.front()).header) {
            result.notes.push_back("first line taken as data: " +
                                   printable(trimmed(first_line(file.text())), 80));
        }
        return result;
    }
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

}  // namespace detail

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

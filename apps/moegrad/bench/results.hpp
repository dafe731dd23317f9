#pragma once
// What a run found, as text: the jobs of a part, the rows with their verdicts, and the same as a Markdown file with one JSON
// line per job beside it.

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/io/atomic_file.hpp>
#include <moegrad/io/json_writer.hpp>

#include "goals.hpp"

namespace moegrad::bench {

struct Results {
    std::vector<Job> jobs;
    std::map<std::string, std::string> reasons;        // of "part" or "part/job": why it is not there
    std::vector<std::pair<std::string, double>> took;  // seconds of each part
    bool tiny = false;                                 // figures mean nothing

    /// Also of a job that is still to come, until it is there: a run may be cut off.
    void fail(const std::string& part, const std::string& job, const std::string& reason) {
        reasons[job.empty() ? part : part + "/" + job] = reason;
    }
    void add(const std::vector<Job>& timed) {
        for (const Job& job : timed) reasons.erase(job.part + "/" + job.what);
        jobs.insert(jobs.end(), timed.begin(), timed.end());
    }
    /// Jobs of a part that are not there.
    std::size_t missing(const std::string& part) const {
        return static_cast<std::size_t>(std::count_if(reasons.begin(), reasons.end(), [&](const auto& one) {
            return one.first.starts_with(part + "/");
        }));
    }
    /// Of a figure that could not be computed.
    std::string why(const Goal& goal) const {
        const std::string part = goal.part;
        for (const std::string& key : {part, part + "/" + goal.ours, part + "/" + goal.theirs}) {
            const auto found = reasons.find(key);
            if (found != reasons.end()) return found->second;
        }
        return "a job is missing";
    }
};

/// The first line of an error, short enough for a cell.
inline std::string short_reason(std::string text) {
    for (char& c : text) c = c == '\n' || c == '|' ? ' ' : c;
    std::string plain;
    for (const char c : text)
        if (c != ' ' || plain.empty() || plain.back() != ' ') plain += c;
    return printable(plain, 160);
}

/// Rate of a job over that of the ceiling of its own part; negative: there is none.
inline double share_of_ceiling(const Job& job, const std::vector<Job>& jobs) {
    if (job.against == Against::nothing) return -1;
    const Job* ceiling = find_job(jobs, job.part, job.against == Against::product ? kProduct : kCopy);
    return ceiling == nullptr || ceiling == &job ? -1 : job.rate() / ceiling->rate();
}

/// What the time of a method is above what its FLOPs say, or a job's share of its ceiling.
inline std::string share_text(const Job& job, const std::vector<Job>& jobs) {
    if (const Job* beside = find_job(jobs, job.part, names::kBeside + job.what))
        return format("{:+.1f} %", 100 * beyond_flops(job, *beside, jobs).value);
    const double share = share_of_ceiling(job, jobs);
    return share < 0 ? std::string() : format("{:.3f}", share);
}

/// what, median, its interval, rates, share.
inline std::vector<std::string> job_cells(const Job& job, const std::vector<Job>& jobs) {
    const Estimate time = job.time();
    const auto number = [](bool there, const char* unit, double value) {
        return there ? format("{:.4g} {}", value, unit) : std::string();
    };
    return {job.what + (job.note.empty() ? "" : " (" + job.note + ")"),
            format("{:.1f} us", time.value * 1e6),
            format("[{:.1f}, {:.1f}]", time.low * 1e6, time.high * 1e6),
            number(job.flops > 0, "TFLOP/s", job.flops / time.value * 1e-12),
            number(job.bytes > 0, "GB/s", job.bytes / time.value * 1e-9),
            share_text(job, jobs)};
}

inline Json job_json(const Job& job, const std::vector<Job>& jobs) {
    const Estimate time = job.time();
    Json line = Json::object(), all = Json(Json::Array(job.seconds.begin(), job.seconds.end()));
    line.add("part", job.part);
    line.add("what", job.what);
    line.add("theirs", job.theirs());
    line.add("note", job.note);
    line.add("us", time.value * 1e6);
    line.add("low_us", time.low * 1e6);
    line.add("high_us", time.high * 1e6);
    line.add("flops", job.flops);
    line.add("bytes", job.bytes);
    line.add("share", share_of_ceiling(job, jobs));
    line.add("seconds", std::move(all));
    return line;
}

/// Columns of one width each.
inline std::string text_table(const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> width(rows.front().size());
    for (const auto& row : rows)
        for (std::size_t i = 0; i < row.size(); ++i) width[i] = std::max(width[i], row[i].size());
    std::string text;
    for (const auto& row : rows) {
        for (std::size_t i = 0; i < row.size(); ++i) text += format("{:<{}}  ", row[i], width[i]);
        text.erase(text.find_last_not_of(' ') + 1);
        text += '\n';
    }
    return text;
}

inline const std::vector<std::string> kRowHead{"row", "what", "figure", "95 %", "must", "stretch", ""};

/// A line for every goal, run or not.
inline std::vector<std::vector<std::string>> row_cells(const Results& results) {
    std::vector<std::vector<std::string>> rows;
    for (const Goal& goal : kGoals) {
        const bool percent = goal.kind == Kind::extra || goal.kind == Kind::worst_extra;
        const bool ratio =
            goal.kind == Kind::faster || goal.kind == Kind::anchored || goal.kind == Kind::time;
        const auto number = [&](double value) {
            return percent ? format("{:.1f} %", 100 * value) : format("{:.3f}{}", value, ratio ? "x" : "");
        };
        const auto bound = [&](double value) {
            if (goal.must == 0) return std::string("-");
            return percent ? format("{:g} %", 100 * value) : format("{:g}{}", value, ratio ? "x" : "");
        };
        std::vector<std::string> cells{format("{}", goal.row), goal.what};
        if (const auto figure = figure_of(goal, results.jobs)) {
            const Estimate& value = figure->value;
            std::string note = figure->note.empty() ? "" : " (" + figure->note + ")";
            // The worst of those that ran is not the worst of all.
            const std::size_t missing = goal.kind == Kind::worst_extra ? results.missing(goal.part) : 0;
            if (missing > 0) note += format(", {} not run", missing);
            const std::string said = results.tiny ? "tiny shapes" : verdict(goal, value.value);
            cells.insert(cells.end(),
                         {number(value.value), "[" + number(value.low) + ", " + number(value.high) + "]",
                          bound(goal.must), bound(goal.stretch), said + note});
        } else {
            cells.insert(cells.end(), {"-", "-", bound(goal.must), bound(goal.stretch),
                                       "not run (" + short_reason(results.why(goal)) + ")"});
        }
        rows.push_back(std::move(cells));
    }
    return rows;
}

inline std::string markdown_row(const std::vector<std::string>& cells) {
    std::string line = "|";
    for (const std::string& cell : cells) line += " " + cell + " |";
    return line + "\n";
}
inline std::string markdown_table(const std::vector<std::string>& head,
                                  const std::vector<std::vector<std::string>>& rows) {
    std::string text = markdown_row(head) + "|";
    for (std::size_t i = 0; i < head.size(); ++i) text += "---|";
    text += "\n";
    for (const auto& row : rows) text += markdown_row(row);
    return text + "\n";
}

/// facts: of the machine, name and text.
inline std::string markdown(const Results& results,
                            const std::vector<std::pair<std::string, std::string>>& facts) {
    std::string text = "# moegrad bench\n\n";
    for (const auto& [name, value] : facts) text += format("- {}: {}\n", name, value);
    text += "\n## Rows\n\n" + markdown_table(kRowHead, row_cells(results));
    for (const auto& [part, seconds] : results.took) {
        std::vector<std::vector<std::string>> rows;
        for (const Job& job : results.jobs)
            if (job.part == part) rows.push_back(job_cells(job, results.jobs));
        text += format("## {} ({:.0f} s)\n\n", part, seconds);
        if (!rows.empty())
            text += markdown_table(
                {"job", "median", "95 %", "", "", "share of the ceiling, or beyond the FLOPs"}, rows);
        for (const auto& [key, reason] : results.reasons)
            if (key == part || key.rfind(part + "/", 0) == 0)
                text += format("- {}: {}\n", key, short_reason(reason));
        text += "\n";
    }
    return text;
}

inline std::string json_lines(const Results& results) {
    std::string text;
    for (const Job& job : results.jobs) text += write_json(job_json(job, results.jobs)) + "\n";
    return text;
}

/// FILE.md, and FILE.jsonl beside it.
inline void write_results(const Results& results,
                          const std::vector<std::pair<std::string, std::string>>& facts,
                          const std::string& file) {
    write_file_atomically(file, markdown(results, facts));
    write_file_atomically(std::filesystem::path(file).replace_extension(".jsonl").string(),
                          json_lines(results));
}

}  // namespace moegrad::bench

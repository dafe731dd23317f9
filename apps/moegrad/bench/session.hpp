#pragma once
// Session: one run of `moegrad bench`. Parts run one after another, each alone: one that fails says why, and the next has the
// memory that it leaves. Beside it the peer, where there is one.

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <span>

#include <moegrad/core/nearest.hpp>
#include <moegrad/core/tensor.hpp>
#include <moegrad/train/config_text.hpp>

#include "peer.hpp"
#include "results.hpp"

namespace moegrad::bench {

inline const std::vector<std::string> kParts{"ceilings", "rows",      "linears",      "experts", "block",
                                             "fine",     "attention", "adamoe",       "molora",  "nf4",
                                             "step",     "methods",   "large_methods"};

struct BenchOptions {
    std::string only, out, device;
    std::vector<std::string> pieces;  // of `step` and the methods
    std::vector<std::string> peer;    // the command that starts it; empty: none
    std::string no_peer;              // why there is none
    int rounds = 20;
    double seconds = 0;  // for all of it; 0: no limit
    bool tiny = false;
};

/// The words of a flag's list, all `there`: throws for any other. None: all.
inline std::vector<std::string> chosen(const char* flag, const std::string& list,
                                       const std::vector<std::string>& there) {
    const auto words = moegrad::detail::parse_list(list);
    for (const std::string& word : words) {
        if (std::find(there.begin(), there.end(), word) != there.end()) continue;
        std::string all;
        for (const std::string& one : there) all += (all.empty() ? "" : ", ") + one;
        throw Error{ErrorCode::config, flag, "of " + all, "\"" + word + "\"",
                    did_you_mean(nearest(word, there))};
    }
    return words.empty() ? there : words;
}

class Session {
public:
    using Clock = std::chrono::steady_clock;

    explicit Session(const BenchOptions& options)
        : options_(options),
          parts_(chosen("--only", options.only, kParts)),
          scratch_(std::filesystem::temp_directory_path() / format("moegrad-bench-{}", ::getpid())) {
        if (options.seconds > 0)
            until_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                        std::chrono::duration<double>(options.seconds));
        results_.tiny = options.tiny;
        std::filesystem::create_directory(scratch_);
        start_peer();
    }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    ~Session() {
        std::error_code ignored;
        std::filesystem::remove_all(scratch_, ignored);
    }

    Results& results() { return results_; }
    const std::string& peer_text() const { return peer_text_; }
    bool tiny() const { return options_.tiny; }
    bool wants(const std::string& piece) const {
        return std::find(options_.pieces.begin(), options_.pieces.end(), piece) != options_.pieces.end();
    }
    Device device() const { return options_.device == "cuda" ? Device::cuda : Device::cpu; }

    /// Called whenever jobs were timed: what was found so far is not lost when the run is cut off.
    std::function<void()> keep = [] {};

    template <class Body>
    void attempt(const std::string& part, const Body& body) {
        if (std::find(parts_.begin(), parts_.end(), part) == parts_.end())
            return results_.fail(part, "", "not asked for");
        fmt::print("\n{}\n", part);
        if (Clock::now() > until_) {
            fmt::print("  no time was left\n");
            return results_.fail(part, "", "no time was left");
        }
        const auto begin = Clock::now();
        try {
            body();
        } catch (const std::exception& error) {
            results_.fail(part, "", error.what());
            fmt::print("  failed: {}\n", short_reason(error.what()));
        }
        drop_peer_jobs();
        const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
        results_.took.emplace_back(part, seconds);
        fmt::print("  {:.1f} s\n", seconds);
        std::fflush(stdout);
        keep();
    }

    /// Adds a job of the peer, when there is a peer and it can.
    void add_peer(std::vector<Job>& jobs, const std::string& part, const std::string& what, const Job& like,
                  const Json& settings) {
        if (!peer_) return results_.fail(part, what, peer_text_);
        const std::string word = format("job{}", ++peer_jobs_);
        try {
            const std::string note = peer_->make(word, settings);
            jobs.push_back({part, what, like.flops, like.bytes, like.against, {}});
            jobs.back().note = note.empty() ? "theirs" : note;
            jobs.back().elsewhere = [peer = peer_.get(), word](int count) { return peer->run(word, count); };
        } catch (const Error& error) {
            peer_failed(part, what, error.what());
        }
    }

    /// Times the jobs in turns, prints and keeps them. settle(jobs): what is known of their work only afterwards.
    template <class Settle>
    void measure(std::vector<Job> jobs, double least, const Settle& settle) {
        const Turns turns{.rounds = options_.rounds, .least = options_.tiny ? 1e-4 : least, .until = until_};
        time_in_turns(device(), jobs, turns, [this](const Job& job, const std::string& reason) {
            peer_failed(job.part, job.what, reason);
        });
        settle(jobs);
        for (Job& job : jobs) job.run = job.before = {}, job.elsewhere = {};  // and the memory that they hold
        results_.add(jobs);
        for (const Job& job : jobs) {
            const auto cells = job_cells(job, results_.jobs);
            fmt::print("  {:<60} {:>13} {:<24} {:>14} {:>12} {:>6}\n", cells[0], cells[1], cells[2], cells[3],
                       cells[4], cells[5]);
        }
        std::fflush(stdout);
        keep();
    }
    void measure(std::vector<Job> jobs, double least = 10e-3) {
        measure(std::move(jobs), least, [](std::vector<Job>&) {});
    }

    /// Gives back what jobs of the peer took. One that was lost, or cannot, makes room for another.
    void drop_peer_jobs() {
        if (!peer_) return;
        try {
            peer_->drop();
        } catch (const Error&) {
            peer_.reset();
            start_peer();
            fmt::print("  the peer was lost; from here: {}\n", peer_text_);
        }
    }

    /// The routing [T, K] as a file of int32, which the peer reads: both sides route alike.
    std::string write_routing(const std::string& name, const Tensor<std::int32_t>& expert) const {
        const std::string path = (scratch_ / (name + ".i32")).string();
        std::ofstream file(path, std::ios::binary);
        file.write(reinterpret_cast<const char*>(expert.data()),
                   static_cast<std::streamsize>(expert.size() * static_cast<Index>(sizeof(std::int32_t))));
        if (!file.flush()) throw Error{ErrorCode::file, path, "a file that can be written", "none"};
        return path;
    }

private:
    static constexpr double kPatience = 240;  // compiling a model takes minutes

    void start_peer() {
        peer_text_ = options_.no_peer;
        if (options_.peer.empty()) return;
        try {
            peer_ = std::make_unique<Peer>(options_.peer, kPatience);
            peer_text_ = peer_->greeting();
        } catch (const Error& error) {
            peer_text_ = short_reason(error.what());
        }
    }
    void peer_failed(const std::string& part, const std::string& what, const std::string& reason) {
        results_.fail(part, what, reason);
        fmt::print("  {}: {}\n", what, short_reason(reason));
    }

    BenchOptions options_;
    std::vector<std::string> parts_;
    std::filesystem::path scratch_;
    Clock::time_point until_ = Clock::time_point::max();
    Results results_;
    std::unique_ptr<Peer> peer_;
    std::string peer_text_;
    int peer_jobs_ = 0;
};

}  // namespace moegrad::bench

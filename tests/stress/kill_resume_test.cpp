// Runs of `moegrad train` that are killed at random moments and go on: each ends in the bits of the run that was never
// stopped, also with another number of threads. The run has dropout, packing, clipping, an annealed balance loss, several
// epochs, evaluations, a best adapter and a checkpoint after every step.
//   MOEGRAD_KILLS    kills to make, 5 by default; tests/stress/run.sh makes 200
//   MOEGRAD_WORKERS  runs at a time

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include <moegrad/core/philox.hpp>
#include <moegrad/io/sha256.hpp>
#include <moegrad/train/checkpoint_folder.hpp>

#include "io/support.hpp"
#include "stress/process.hpp"

using namespace moegrad;
using io_test::read_text;
using io_test::TemporaryFolder;
using stress::Process;

namespace {

constexpr int kSteps = 24;

/// 60 short records: with 8 packs a step, the epoch's edge lies inside a step.
std::string records() {
    std::string text;
    for (int i = 0; i < 60; ++i) {
        std::string prompt, completion;
        for (int word = 0; word <= i % 5; ++word) prompt += format("{}{} ", "abcdefg"[(i + word) % 7], i % 3);
        for (int word = 0; word <= i % 3; ++word) completion += format("{} ", "xyz"[(2 * i + word) % 3]);
        text += format("{{\"prompt\": \"{}\", \"completion\": \"{}\"}}\n", prompt, completion);
    }
    return text;
}

class Campaign {
public:
    Campaign() { folder_.write("data.jsonl", records()); }

    std::string run_folder(const std::string& name) const { return folder_.file(name); }

    /// A new run where there is none yet, else one that goes on.
    std::vector<std::string> words(const std::string& name, int threads) const {
        std::vector<std::string> all{MOEGRAD_COMMAND,  "train",     "--out",
                                     run_folder(name), "--threads", std::to_string(threads)};
        if (std::filesystem::exists(run_folder(name) + "/config.toml")) {
            all.push_back("--resume");
            return all;
        }
        const std::vector<std::string> settings{"--model",
                                                MOEGRAD_SOURCE_DIR "/models/tiny-mixtral",
                                                "--data",
                                                folder_.file("data.jsonl"),
                                                "--method",
                                                "adamoe",
                                                "--steps",
                                                std::to_string(kSteps),
                                                "--batch",
                                                "3",
                                                "--lr",
                                                "1e-2",
                                                "--data.max_length",
                                                "48",
                                                "--data.packing",
                                                "true",
                                                "--adapter.lora_dropout",
                                                "0.1",
                                                "--adapter.r",
                                                "4",
                                                "--optim.clip",
                                                "0.5",
                                                "--router.aux_coef",
                                                "0.02,0.001,0.0001",
                                                "--schedule.shape",
                                                "cosine",
                                                "--eval.every",
                                                "5",
                                                "--eval.patience",
                                                "3",
                                                "--checkpoint.every",
                                                "1",
                                                "--checkpoint.best",
                                                "true",
                                                "--log.every",
                                                "1"};
        all.insert(all.end(), settings.begin(), settings.end());
        return all;
    }
    std::string output(const std::string& name) const { return folder_.file(name + ".txt"); }

    int finish(const std::string& name, int threads, const std::vector<std::string>& more = {}) const {
        auto all = words(name, threads);
        all.insert(all.end(), more.begin(), more.end());
        return Process(all, output(name)).wait();
    }
    /// Until the run has taken steps.
    void wait_for_steps(const std::string& name) const {
        const std::string metrics = run_folder(name) + "/metrics.jsonl";
        for (int i = 0; i < 2000 && read_text(metrics).find("\"step\":3") == std::string::npos; ++i)
            stress::rest(0.005);
    }
    std::string data() const { return folder_.file("data.jsonl"); }

    /// What must be equal: adapter, best adapter, metrics, the last checkpoint's state and its counters.
    std::string outcome(const std::string& name) const {
        const std::string root = run_folder(name);
        const auto steps = checkpoint_steps(root);
        if (steps.empty()) return "no checkpoint";
        const std::string last = root + "/checkpoints/" + checkpoint_name(steps.front());
        std::string counters = read_text(last + "/state.json");
        const std::size_t clock = counters.find("\"seconds\"");
        counters.erase(clock, counters.find('\n', clock) - clock);
        std::string text = format("step {}\nstate.json {}\n", steps.front(), sha256_hex(counters));
        for (const std::string& file :
             {root + "/adapter/adapter_model.safetensors", root + "/adapter-best/adapter_model.safetensors",
              root + "/metrics.jsonl", last + "/state.safetensors"})
            text += format("{} {}\n", file.substr(file.rfind('/')), sha256_hex(read_text(file)));
        return text;
    }

private:
    TemporaryFolder folder_;
};

/// Whether a save was under way: what it writes beside its target, or what it was taking away.
bool inside_save(const std::string& run_folder) {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(run_folder + "/checkpoints", ignored)) {
        const std::string name = entry.path().filename().string();
        if (name.find(".tmp-") != name.npos || name.starts_with("removing-")) return true;
    }
    return false;
}

struct Tally {
    std::atomic<int> kills{0}, inside{0}, before_any{0}, runs{0}, other{0};
    std::mutex mutex;
    std::string first_difference;
};

/// Kills one run once or twice, lets it end, compares.
void killed_run(const Campaign& campaign, const std::string& name, const std::string& want, double seconds,
                Random& random, Tally& tally) {
    const auto uniform = [&] { return static_cast<double>(random.next_below(1000)) / 1000; };
    const int kills = 1 + static_cast<int>(random.next_below(2));
    double left = seconds;
    for (int kill = 0; kill < kills; ++kill) {
        const double moment = left * uniform();
        const Process process(campaign.words(name, 1 + static_cast<int>(random.next_below(3))),
                              campaign.output(name));
        stress::rest(moment);
        process.send(SIGKILL);
        if (process.wait() != -SIGKILL) break;  // it had ended before
        ++tally.kills;
        tally.inside += inside_save(campaign.run_folder(name));
        tally.before_any += checkpoint_steps(campaign.run_folder(name)).empty();
        left -= moment;
    }
    const int code = campaign.finish(name, 1 + static_cast<int>(random.next_below(3)));
    const std::string got =
        code == 0 ? campaign.outcome(name) : format("exit {}: ", code) + read_text(campaign.output(name));
    ++tally.runs;
    if (got != want) {
        const std::lock_guard lock(tally.mutex);
        if (tally.other++ == 0) tally.first_difference = got;
    }
    std::error_code ignored;
    std::filesystem::remove_all(campaign.run_folder(name), ignored);
}

}  // namespace

TEST_CASE(
    "Ctrl-C: saves, says how to go on, exits with 130; twice ends at once; what decides the result is held") {
    const Campaign campaign;
    REQUIRE_MESSAGE(campaign.finish("whole", 2) == 0, read_text(campaign.output("whole")));
    const std::string want = campaign.outcome("whole"), run = campaign.run_folder("stopped");
    {
        auto words = campaign.words("stopped", 1);
        *(std::find(words.begin(), words.end(), "--checkpoint.every") + 1) = "0";
        const Process process(words, campaign.output("stopped"));
        campaign.wait_for_steps("stopped");
        CHECK(campaign.finish("stopped", 1) == 1);
        CHECK(read_text(campaign.output("stopped")).find("another process has locked") != std::string::npos);
        process.send(SIGINT);
        CHECK(process.wait() == 130);
    }
    CHECK(checkpoint_steps(run).size() == 1);
    const auto refused = [&](const std::string& flag, const std::string& value, const std::string& named) {
        CHECK(campaign.finish("stopped", 1, {flag, value}) == 2);
        CHECK(read_text(campaign.output("stopped")).find(named) != std::string::npos);
    };
    refused("--lr", "2e-2", "optim.lr");
    refused("--steps", "30", "train.steps");
    const std::string data = read_text(campaign.data());
    std::ofstream(campaign.data(), std::ios::app) << "\n";
    refused("--log.every", "2", "data sha256");
    std::ofstream(campaign.data(), std::ios::trunc) << data;
    {
        auto words = campaign.words("stopped", 3);
        words.insert(words.end(), {"--checkpoint.every", "1", "--train.micro_batch", "1"});
        const Process process(words, campaign.output("stopped"));
        stress::rest(0.3);
        process.send(SIGTERM);
        stress::rest(0.01);
        process.send(SIGINT);
        const int code = process.wait();  // the step may have ended in between
        CHECK((code == -SIGINT || code == 130 || code == 0));
    }
    REQUIRE_MESSAGE(campaign.finish("stopped", 2) == 0, read_text(campaign.output("stopped")));
    CHECK(campaign.outcome("stopped") == want);
}

TEST_CASE("kill and resume: every run ends in the bits of the run that was never stopped") {
    const Campaign campaign;
    const int kills = stress::setting("MOEGRAD_KILLS", 5), workers = stress::setting("MOEGRAD_WORKERS", 2);
    const auto started = std::chrono::steady_clock::now();
    REQUIRE_MESSAGE(campaign.finish("whole", 2) == 0, read_text(campaign.output("whole")));
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - started;
    const std::string want = campaign.outcome("whole");
    REQUIRE(want.find(format("step {}\n", kSteps)) != want.npos);
    CHECK_FALSE(inside_save(campaign.run_folder("whole")));
    Tally tally;
    std::vector<std::thread> threads;
    for (int worker = 0; worker < workers; ++worker) {
        threads.emplace_back([&, worker] {
            Random random(static_cast<std::uint64_t>(stress::setting("MOEGRAD_SEED", 1)),
                          static_cast<std::uint64_t>(worker));
            // How many fall inside a save depends on the disk: a campaign goes on until enough did.
            const int inside = kills >= 200 ? 60 : 0;
            const auto enough = [&] { return tally.kills >= kills && tally.inside >= inside; };
            for (int run = 0; !enough() && tally.runs < 20 + 4 * kills; ++run)
                killed_run(campaign, format("killed-{}-{}", worker, run), want, seconds.count(), random,
                           tally);
        });
    }
    for (auto& thread : threads) thread.join();
    CAPTURE(want);
    CAPTURE(tally.first_difference);
    CHECK(tally.other == 0);
    CHECK(tally.kills >= kills);
    if (kills >= 200) CHECK(tally.inside >= 60);
    std::printf(
        "kill_resume: %d kills, %d inside a save, %d before the first checkpoint, %d runs of %.2f s, %d "
        "ended elsewhere\n",
        tally.kills.load(), tally.inside.load(), tally.before_any.load(), tally.runs.load(), seconds.count(),
        tally.other.load());
    if (kills >= 200) std::printf("%s", want.c_str());
}

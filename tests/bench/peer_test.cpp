// The protocol of peers, with a shell script as the peer; and a whole run of `moegrad bench` on small shapes.

#include <doctest/doctest.h>

#include <cstdlib>
#include <set>
#include <sstream>

#include <moegrad/bench/session.hpp>
#include <moegrad/bench/step_shapes.hpp>
#include <moegrad/io/json.hpp>

#include "io/support.hpp"

using namespace moegrad;
using namespace moegrad::bench;
using io_test::expect_error;
using io_test::read_text;
using io_test::TemporaryFolder;

namespace {

// Takes every job but those of kind "dense"; a run takes 0.25 s a time, it says.
constexpr char kFake[] = R"(#!/bin/sh
echo "ok fake 1.0"
while read -r word job rest; do
    case "$word $rest" in
        make*dense*) echo "error no such kind" ;;
        make*) echo "ok by the fake" ;;
        run*) echo "seconds $((rest * 25))e-2" ;;
        drop*) echo ok ;;
    esac
done
)";

std::vector<std::string> script(const TemporaryFolder& folder, const std::string& text) {
    return {"/bin/sh", folder.write("peer.sh", text)};
}

/// What a command printed; it must succeed.
std::string output_of(const TemporaryFolder& folder, const std::string& command) {
    const std::string file = folder.file("output.txt");
    const int status = std::system((command + " >" + file + " 2>&1").c_str());
    const std::string text = read_text(file);
    CAPTURE(text);
    REQUIRE(status == 0);
    return text;
}

}  // namespace

TEST_CASE("peer: greets, makes, runs, refuses, drops") {
    const TemporaryFolder folder;
    Peer peer(script(folder, kFake), 20);
    CHECK(peer.greeting() == "fake 1.0");
    Json settings = Json::object();
    settings.add("kind", "block");
    CHECK(peer.make("job1", settings) == "by the fake");
    CHECK(peer.run("job1", 8) == 2);
    Json refused = Json::object();
    refused.add("kind", "dense");
    expect_error(ErrorCode::state, "no such kind", [&] { peer.make("job2", refused); });
    CHECK(peer.run("job1", 1) == 0.25);  // an error is not the end
    CHECK_NOTHROW(peer.drop());
}

TEST_CASE("peer: one that cannot start, has no torch, ends, hangs or talks nonsense") {
    const TemporaryFolder folder;
    expect_error(ErrorCode::file, "a program that starts", [] { Peer({"/no/such/program"}, 20); });
    expect_error(ErrorCode::state, "No module named 'torch'",
                 [&] { Peer(script(folder, "echo \"error No module named 'torch'\"\n"), 20); });
    expect_error(ErrorCode::state, "the end of its output", [&] { Peer(script(folder, "exit 1\n"), 20); });
    expect_error(ErrorCode::state, "an answer within", [&] { Peer(script(folder, "exec sleep 30\n"), 0.3); });
    expect_error(ErrorCode::format, "hello", [&] { Peer(script(folder, "echo hello\nread -r line\n"), 20); });
    Peer peer(script(folder, "echo ok\nread -r line\necho seconds no\nread -r line\nexit 0\n"), 20);
    expect_error(ErrorCode::format, "seconds no", [&] { peer.run("job", 1); });
    expect_error(ErrorCode::state, "the end of its output", [&] { peer.run("job", 1); });
    expect_error(ErrorCode::state, "lost before", [&] { peer.run("job", 1); });
}

TEST_CASE("jobs: turns of ours and theirs; a peer that fails leaves, ours go on") {
    std::vector<Job> jobs{{"part", "ours", 1, 0, Against::nothing, [] {}},
                          {"part", "theirs", 1, 0, Against::nothing, {}},
                          {"part", "broken", 1, 0, Against::nothing, {}}};
    jobs[1].note = jobs[2].note = "theirs";
    std::vector<int> counts;
    jobs[1].elsewhere = [&](int count) { return counts.push_back(count), 0.5 * count; };
    jobs[2].elsewhere = [&](int) -> double { throw Error{ErrorCode::state, "peer", "", "gone"}; };
    std::string failed;
    time_in_turns(Device::cpu, jobs, {.rounds = 7, .least = 1.0},
                  [&](const Job& job, const std::string& reason) { failed = job.what + reason; });
    REQUIRE(jobs.size() == 2);
    CHECK(jobs[0].seconds.size() == 7);
    CHECK(jobs[1].seconds == std::vector<double>(7, 0.5));
    std::vector<int> expected{
        1};  // then, to time it once and in seven rounds, 1 s of a job that takes half: two,
    for (int turn = 0; turn < 8; ++turn) expected.insert(expected.end(), {1, 2});  // and half as many before
    CHECK(counts == expected);
    CHECK(failed.rfind("broken", 0) == 0);
    CHECK(failed.find("gone") != std::string::npos);
}

TEST_CASE("bench: parts and pieces are names that are there") {
    CHECK(chosen("--only", "", kParts) == kParts);
    CHECK(chosen("--only", "step, rows", kParts) == std::vector<std::string>{"step", "rows"});
    expect_error(ErrorCode::config, "did you mean `methods`?",
                 [] { chosen("--only", "rows,method", kParts); });
    CHECK(chosen("--pieces", "llama,dora", piece_names()).size() == 2);
    expect_error(ErrorCode::config, "did you mean `ceft`?",
                 [] { chosen("--pieces", "cept", piece_names()); });
}

TEST_CASE("bench: a run of one piece times it, what it is held against, and nothing else") {
    const TemporaryFolder folder;
    const std::string text = output_of(
        folder, std::string(MOEGRAD_COMMAND) +
                    " bench --tiny --device cpu --rounds 1 --peer none --only step,methods --pieces dora" +
                    " --out " + folder.file("result.md"));
    CAPTURE(text);
    std::set<std::string> timed;
    std::istringstream lines(read_text(folder.file("result.jsonl")));
    for (std::string line; std::getline(lines, line);)
        timed.insert(*parse_json(line, "result.jsonl").find("what")->string());
    CHECK(timed == std::set<std::string>{"top-1", "top-2", "top-8", "top-2 beside dora", "dora"});
    CHECK(text.find(format("(dora), {} not run", piece_names().size() - 3)) != std::string::npos);
}

TEST_CASE("bench: a tiny run on the CPU tells every row, and its files hold every job") {
    const TemporaryFolder folder;
    const std::string fake = folder.write("python", kFake), out = folder.file("result.md");
    REQUIRE(std::system(("chmod +x " + fake).c_str()) == 0);
    const std::string text =
        output_of(folder, std::string(MOEGRAD_COMMAND) + " bench --tiny --device cpu --rounds 1 --peer " +
                              fake + " --out " + out);
    CAPTURE(text);
    CHECK(text.find("peer: fake 1.0") != std::string::npos);
    CHECK(text.find("failed:") == std::string::npos);
    CHECK(text.find("no such kind") != std::string::npos);
    const std::string page = read_text(out);
    for (const Goal& goal : kGoals) {
        CAPTURE(goal.what);
        CHECK(text.find(goal.what) != std::string::npos);
        CHECK(page.find(format("| {} | {} |", goal.row, goal.what)) != std::string::npos);
    }
    std::set<std::string> parts;
    std::istringstream lines(read_text(folder.file("result.jsonl")));
    int theirs = 0;
    for (std::string line; std::getline(lines, line);) {
        const Json job = parse_json(line, "result.jsonl");
        parts.insert(*job.find("part")->string());
        CHECK(*job.find("us")->number() > 0);
        CHECK(job.find("seconds")->array()->size() == 1);
        if (!*job.find("theirs")->boolean()) continue;
        ++theirs;
        CHECK(*job.find("us")->number() == 250000);
    }
    CHECK(parts == std::set<std::string>(kParts.begin(), kParts.end()));
    CHECK(theirs >= 14);
}

TEST_CASE("bench: a GPU's shapes on a CPU are refused") {
    const TemporaryFolder folder;
    const std::string file = folder.file("error.txt");
    CHECK(std::system((std::string(MOEGRAD_COMMAND) + " bench --device cpu 2>" + file).c_str()) != 0);
    CHECK(read_text(file).find("--tiny beside it") != std::string::npos);
}

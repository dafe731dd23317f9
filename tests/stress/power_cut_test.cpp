// A power cut after each call of a save. What was not followed by fsync may or may not be on the disk: every subset of the
// names that were not synced, times file contents that are gone, half there or all there. The loader finds the old or the
// new checkpoint whole, and the new one once the save has returned. A writer without fsync fails.
// After: Pillai et al., OSDI 2014 (ALICE); the names of one folder are taken to be independent of each other.

#include <doctest/doctest.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "io/support.hpp"
#include "stress/faulty_calls.hpp"
#include "stress/process.hpp"
#include "stress/small_checkpoint.hpp"

using namespace stress;
using Kind = LoggedCall::Kind;

namespace {

struct File {
    std::string bytes, synced;  // what was written, and how much of it is sure to stay
};

std::string parent_of(const std::string& path) {
    return path.substr(0, path.rfind('/'));
}

/// Calls before `end` that changed a name and whose folder was not synced behind them.
std::vector<std::size_t> unsure(const std::vector<LoggedCall>& log, std::size_t end) {
    std::vector<std::size_t> open;
    for (std::size_t i = 0; i < end; ++i) {
        const LoggedCall& call = log[i];
        if (call.kind == Kind::write || call.kind == Kind::sync_file || call.kind == Kind::sync_folder)
            continue;
        const std::string folder = parent_of(call.kind == Kind::rename ? call.to : call.path);
        bool sure = false;
        // A folder that was renamed since is synced under its later name too.
        for (std::size_t j = i + 1; j < end; ++j)
            sure = sure || (log[j].kind == Kind::sync_folder && log[j].path == folder);
        if (!sure) open.push_back(i);
    }
    return open;
}

enum class Contents { kept, half, gone };

/// Whether some bytes are not on the disk for sure.
bool has_unsure_bytes(const std::vector<LoggedCall>& log, std::size_t end) {
    std::set<int> open;
    for (std::size_t i = 0; i < end; ++i) {
        if (log[i].kind == Kind::write) open.insert(log[i].file);
        if (log[i].kind == Kind::sync_file) open.erase(log[i].file);
    }
    return !open.empty();
}

/// The folder as it would be found. Names and files before the save: `run`, which is a copy.
void play(const std::vector<LoggedCall>& log, std::size_t end, const std::set<std::size_t>& lost,
          Contents contents, const std::string& from, const std::string& run) {
    namespace fs = std::filesystem;
    std::map<int, File> files;
    for (std::size_t i = 0; i < end; ++i) {
        if (log[i].kind == Kind::write) files[log[i].file].bytes += log[i].bytes;
        if (log[i].kind == Kind::sync_file) files[log[i].file].synced = files[log[i].file].bytes;
    }
    const auto here = [&](const std::string& path) { return run + path.substr(from.size()); };
    std::error_code ignored;
    for (std::size_t i = 0; i < end; ++i) {
        if (lost.count(i) > 0) continue;
        const LoggedCall& call = log[i];
        if (call.kind == Kind::make_folder) fs::create_directory(here(call.path), ignored);
        if (call.kind == Kind::rename) fs::rename(here(call.path), here(call.to), ignored);
        if (call.kind == Kind::remove) fs::remove(here(call.path), ignored);
        if (call.kind == Kind::make_file) {
            const File& file = files[call.file];
            const std::size_t more = file.bytes.size() - file.synced.size();
            const std::size_t kept = contents == Contents::gone   ? 0
                                     : contents == Contents::half ? more / 2
                                                                  : more;
            std::ofstream(here(call.path), std::ios::binary)
                << file.synced << file.bytes.substr(file.synced.size(), kept);
        }
    }
}

struct Cut {
    int states = 0, bad = 0, unacknowledged = 0;
};

/// Every state after every call of `save`, which takes the run from step 2 to step 3.
template <class Save>
Cut cut_everywhere(const Save& save) {
    const std::string root = scratch_folder();
    const std::string before = root + "/before", during = root + "/during", after = root + "/after";
    ThreadPool pool(1);
    std::filesystem::create_directory(before);
    save_small(before, 1, pool);
    save_small(before, 2, pool);
    std::filesystem::copy(before, during, std::filesystem::copy_options::recursive);
    faulty.begin({});
    faulty.logging = true;
    save(during, pool);
    const auto log = faulty.log;
    faulty.begin({});
    faulty.active = false;
    Cut cut;
    for (std::size_t end = 0; end <= log.size(); ++end) {
        const auto open = unsure(log, end);
        REQUIRE(open.size() < 12);
        for (std::size_t subset = 0; subset < (std::size_t{1} << open.size()); ++subset) {
            std::set<std::size_t> lost;
            for (std::size_t i = 0; i < open.size(); ++i)
                if ((subset >> i & 1) != 0) lost.insert(open[i]);
            for (const Contents contents : {Contents::kept, Contents::half, Contents::gone}) {
                if (contents != Contents::kept && !has_unsure_bytes(log, end)) continue;
                std::filesystem::remove_all(after);
                std::filesystem::copy(before, after, std::filesystem::copy_options::recursive);
                play(log, end, lost, contents, during, after);
                const Index found = load_small(after, pool);
                ++cut.states;
                cut.bad += found != 2 && found != 3;
                cut.unacknowledged += end == log.size() && found != 3;
            }
        }
    }
    std::filesystem::remove_all(root);
    return cut;
}

/// A temporary folder and a rename, as the protocol has them, and no fsync at all.
void save_without_fsync(const std::string& run, ThreadPool& pool) {
    const std::string checkpoints = run + "/checkpoints/", temporary = checkpoints + "step-000003.tmp-1-1";
    const std::string other = run + ".copy";
    faulty.active = false;
    std::filesystem::copy(run, other, std::filesystem::copy_options::recursive);
    save_small(other, 3, pool);
    faulty.active = true;
    make_new_folder(temporary);
    for (const char* name : {"state.safetensors", "state.json", kManifestName}) {
        DurableFile file(temporary + "/" + name);
        file.write(std::string_view(io_test::read_text(other + "/checkpoints/step-000003/" + name)));
    }
    rename_to_new(temporary, checkpoints + "step-000003");
    faulty.active = false;
    std::filesystem::remove_all(other);
}

}  // namespace

TEST_CASE("save: a power cut after any call leaves the old or the new checkpoint whole") {
    const Cut cut =
        cut_everywhere([](const std::string& run, ThreadPool& pool) { save_small(run, 3, pool); });
    CHECK(cut.bad == 0);
    CHECK(cut.unacknowledged == 0);
    CHECK(cut.states > 200);
    const Cut naive = cut_everywhere(save_without_fsync);
    CHECK(naive.unacknowledged > 0);
    std::printf(
        "power_cut: %d states, %d without a whole checkpoint, %d acknowledged and lost; without fsync: %d of "
        "%d "
        "acknowledged and lost\n",
        cut.states, cut.bad, cut.unacknowledged, naive.unacknowledged, naive.states);
}

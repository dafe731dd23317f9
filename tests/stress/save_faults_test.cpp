// Every system call of a save x {kill before and after it, ENOSPC, EIO, EDQUOT, EINTR, a short write, a disk that stays
// full}: the loader finds the old or the new checkpoint whole, errors end the save with an Error, the checkpoint before
// always verifies, and the next save sets everything right. A writer that overwrites its file fails the same harness.

#include <doctest/doctest.h>
#include <sys/wait.h>

#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "io/support.hpp"
#include "stress/faulty_functions.hpp"
#include "stress/small_checkpoint.hpp"

using namespace stress;

namespace {

struct Way {
    const char* name;
    Fault fault;
    int code;
};

const std::vector<Way> kWays{{"kill before", Fault::kill_before, 0}, {"kill after", Fault::kill_after, 0},
                             {"ENOSPC", Fault::error, ENOSPC},       {"EIO", Fault::error, EIO},
                             {"EDQUOT", Fault::error, EDQUOT},       {"EINTR", Fault::error, EINTR},
                             {"short write", Fault::short_write, 0}, {"disk full", Fault::error_on, ENOSPC},
                             {"disk gone", Fault::error_on, EIO}};

enum class Ending { saved, failed, killed, untouched };  // untouched: there is no k-th call

struct Child {
    Ending ending;
    std::string call;  // that was hit
};

/// Saves step 3 in a process of its own with the k-th call struck.
template <class Save>
Child save_in_child(const FaultPlan& plan, const std::string& run, const Save& save) {
    const std::string note = run + ".call";
    const pid_t id = ::fork();
    if (id == 0) {
        bool failed = false;
        faulty.begin(plan);
        try {
            save();
        } catch (const std::exception&) {
            failed = true;
        }
        faulty.active = false;
        if (FILE* file = std::fopen(note.c_str(), "w")) {
            std::fputs(faulty.struck.c_str(), file);
            std::fclose(file);
        }
        ::_exit(faulty.struck.empty() && plan.fault != Fault::kill_after ? 9 : failed ? 3 : 0);
    }
    int status = 0;
    ::waitpid(id, &status, 0);
    if (WIFSIGNALED(status)) return {Ending::killed, {}};
    const std::string call = io_test::read_text(note);
    std::filesystem::remove(note);
    const int code = WEXITSTATUS(status);
    // kill_after of a call that never came ends like a save without a fault.
    if (code == 9 || (plan.fault == Fault::kill_after && call.empty())) return {Ending::untouched, {}};
    return {code == 0 ? Ending::saved : Ending::failed, call};
}

struct Tally {
    int injections = 0, killed = 0, failed = 0, absorbed = 0, bad = 0, old_kept = 0, new_kept = 0;
    std::set<std::string> bad_ones, absorbed_calls;
    void complain(const std::string& what) {
        ++bad;
        bad_ones.insert(what);
    }
};

/// Fresh run folders with steps 1 and 2, as two saves leave them; `leftovers`: and what a killed save left.
class Template {
public:
    explicit Template(bool leftovers) : root_(scratch_folder()), pool_(1) {
        std::filesystem::create_directories(root_ + "/template");
        save_small(root_ + "/template", 1, pool_);
        save_small(root_ + "/template", 2, pool_);
        if (!leftovers) return;
        const std::string left = root_ + "/template/checkpoints/step-000003.tmp-1-1";
        std::filesystem::copy(root_ + "/template/checkpoints/step-000002", left);
        std::filesystem::copy(left, root_ + "/template/checkpoints/removing-step-000000-1");
    }
    ~Template() { std::filesystem::remove_all(root_); }
    std::string fresh() const {
        const std::string run = root_ + "/run";
        std::filesystem::remove_all(run);
        std::filesystem::copy(root_ + "/template", run, std::filesystem::copy_options::recursive);
        return run;
    }
    ThreadPool& pool() { return pool_; }

private:
    std::string root_;
    ThreadPool pool_;
};

void check_save(Template& folders, const Way& way, int call, const std::string& run, const Child& child,
                Tally& tally) {
    const std::string what = format("{}, call {} {}", way.name, call, child.call);
    const Index found = load_small(run, folders.pool());
    if (found != 2 && found != 3) tally.complain(what + format(": loads {}", found));
    if (child.ending == Ending::saved && found != 3) tally.complain(what + ": said saved, is not");
    (found == 3 ? tally.new_kept : tally.old_kept) += 1;
    try {
        moegrad::detail::verify_checkpoint(run + "/checkpoints/step-000002", 2, folders.pool());
    } catch (const Error& error) {
        tally.complain(what + ": the checkpoint before is lost");
    }
    const bool is_error = way.fault == Fault::error || way.fault == Fault::error_on;
    if (child.ending == Ending::killed) ++tally.killed;
    if (child.ending == Ending::failed) ++tally.failed;
    if (child.ending == Ending::saved && is_error) {
        ++tally.absorbed;
        tally.absorbed_calls.insert(child.call + (way.code == EINTR ? " (EINTR)" : ""));
    }
    if (child.ending == Ending::failed && !is_error) tally.complain(what + ": failed without need");
    // Whatever was left, the next writer copes.
    save_small(run, 4, folders.pool());
    if (load_small(run, folders.pool()) != 4) tally.complain(what + ": the next save fails");
    for (const auto& entry : std::filesystem::directory_iterator(run + "/checkpoints"))
        if (checkpoint_step(entry.path().filename().string()) < 0) tally.complain(what + ": litter stays");
}

void sweep(bool leftovers, Tally& tally) {
    Template folders(leftovers);
    for (const Way& way : kWays) {
        int misses = 0;
        // A short write strikes writes alone, so calls in between pass untouched.
        for (int call = 1; misses < 12; ++call) {
            const std::string run = folders.fresh();
            const Child child =
                save_in_child({call, way.fault, way.code}, run, [&] { save_small(run, 3, folders.pool()); });
            if (child.ending == Ending::untouched) {
                ++misses;
                continue;
            }
            misses = 0;
            ++tally.injections;
            check_save(folders, way, call, run, child, tally);
        }
    }
}

/// What people write first: the file is cut to nothing and filled again.
void save_in_place(const std::string& path, Index step) {
    SmallState values(step);
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (file < 0) throw Error{ErrorCode::file, path, "to open", ""};
    for (const auto& tensor : values.tensors())
        if (::write(file, tensor.bytes.data(), tensor.bytes.size()) < 0)
            throw Error{ErrorCode::file, path, "to write", ""};
    ::close(file);
}

/// Files of it that are neither the old nor the new one.
int torn_in_place() {
    const std::string root = scratch_folder(), path = root + "/state";
    int torn = 0;
    for (const Way& way : kWays) {
        for (int call = 1, misses = 0; misses < 4; ++call) {
            save_in_place(path, 2);
            const std::string before = io_test::read_text(path);
            save_in_place(path + ".new", 3);
            const Child child =
                save_in_child({call, way.fault, way.code}, path, [&] { save_in_place(path, 3); });
            misses += child.ending == Ending::untouched;
            const std::string after = io_test::read_text(path);
            torn += after != before && after != io_test::read_text(path + ".new");
        }
    }
    std::filesystem::remove_all(root);
    return torn;
}

}  // namespace

TEST_CASE("save: every system call x every fault leaves the old or the new checkpoint whole") {
    Tally tally;
    sweep(false, tally);
    sweep(true, tally);
    for (const auto& what : tally.bad_ones) MESSAGE(what);
    CHECK(tally.bad == 0);
    // What may be tried again, and close of what is on the disk already or was only read.
    std::string absorbed;
    for (const auto& call : tally.absorbed_calls) absorbed += call + "; ";
    CHECK(absorbed ==
          "close; close (EINTR); flock (EINTR); open (EINTR); posix_fallocate (EINTR); write (EINTR); ");
    CHECK(tally.injections > 500);
    CHECK(tally.old_kept > 100);
    CHECK(tally.new_kept > 50);
    const int torn = torn_in_place();
    CHECK(torn > 10);
    std::printf(
        "save_faults: %d injections, %d killed, %d ended in an error, %d absorbed, %d torn, lost or wrong; "
        "a writer in place: %d torn\n",
        tally.injections, tally.killed, tally.failed, tally.absorbed, tally.bad, torn);
}

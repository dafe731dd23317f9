// One save or load in a process of its own, for strace_saves.sh, which breaks its system calls from outside.
//   MOEGRAD_ONE=start:FOLDER    steps 1 and 2        save:FOLDER   step 3; exit 3 on an Error
//   MOEGRAD_ONE=load:FOLDER     exit 40 + the step that a run would go on from; verifies step 2 as well

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "stress/small_checkpoint.hpp"

using namespace stress;

TEST_CASE("one save or load, when asked for") {
    const char* asked = std::getenv("MOEGRAD_ONE");
    if (asked == nullptr) return;
    const std::string text = asked, what = text.substr(0, text.find(':')),
                      run = text.substr(text.find(':') + 1);
    ThreadPool pool(1);
    int code = 0;
    try {
        if (what == "start") save_small(run, 1, pool), save_small(run, 2, pool);
        if (what == "save") save_small(run, 3, pool);
        if (what == "load") {
            moegrad::detail::verify_checkpoint(run + "/checkpoints/step-000002", 2, pool);
            code = 40 + static_cast<int>(load_small(run, pool));
        }
    } catch (const std::exception&) {
        code = 3;
    }
    ::_exit(code);
}

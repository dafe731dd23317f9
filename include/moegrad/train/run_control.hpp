#pragma once
// What is asked of a run from outside its configuration.

#include <atomic>

namespace moegrad {

struct RunControl {
    bool resume = false;                      // go on from the newest checkpoint in output.dir
    bool replace = true;                      // a finished run in output.dir gives way; false: it is refused
    const std::atomic<bool>* stop = nullptr;  // when it turns true, the run saves a checkpoint and ends
};

}  // namespace moegrad

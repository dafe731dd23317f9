#pragma once
// memory_guard: what a loader does when an allocation fails is an Error like any other, with the file's name.

#include <moegrad/core/error.hpp>

#include <new>
#include <string>

namespace moegrad {

/// call(), with std::bad_alloc as an Error. Nothing is left behind: what was built so far goes with its owners.
template <class Call>
decltype(auto) memory_guard(const std::string& place, Call call) {
    try {
        return call();
    } catch (const std::bad_alloc&) {
        throw Error{ErrorCode::memory, place, "room for what the file holds", "an allocation that failed",
                    "is another program using the memory?"};
    }
}

}  // namespace moegrad

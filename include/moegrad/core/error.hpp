#pragma once
// One error type for the whole library: what failed, where, what was expected and found, and what to do next.
//
//   throw Error{ErrorCode::shape, "rms_norm", "weight of extent 512", "extent 1024", "is this the right checkpoint?"};
//
// Untrusted input (files, configs, data) and misuse of the API both end here; nothing in moegrad aborts.

#include <exception>
#include <string>
#include <utility>

#include <moegrad/core/format.hpp>

namespace moegrad {

enum class ErrorCode {
    shape,        // extents that do not fit together
    value,        // a number outside its range, a non-finite value
    unsupported,  // a feature, device or number type that has no implementation here
    memory,       // an allocation that could not be served
    file,         // missing, unreadable or unwritable
    format,       // a file that does not follow its format
    config,       // unknown key, wrong type, contradictory settings
    data,         // a sample or text that cannot be used
    state,        // calls in the wrong order
};

/// The word users see: "error[shape]: ...".
inline const char* name(ErrorCode code) {
    switch (code) {
        case ErrorCode::shape: return "shape";
        case ErrorCode::value: return "value";
        case ErrorCode::unsupported: return "unsupported";
        case ErrorCode::memory: return "memory";
        case ErrorCode::file: return "file";
        case ErrorCode::format: return "format";
        case ErrorCode::config: return "config";
        case ErrorCode::data: return "data";
        case ErrorCode::state: return "state";
    }
    return "unknown";
}

/// What the command line returns: 1 failed, 2 wrong usage or configuration, 3 unusable data, 4 out of memory.
inline int exit_status(ErrorCode code) {
    switch (code) {
        case ErrorCode::config: return 2;
        case ErrorCode::data:
        case ErrorCode::format:
        case ErrorCode::file: return 3;
        case ErrorCode::memory: return 4;
        default: return 1;
    }
}

class Error : public std::exception {
public:
    /// place: what and where ("rms_norm", "model.safetensors: tensor lm_head.weight").
    /// expected, got: the two sides that disagree; either may be empty. hint: likely cause and next command.
    Error(ErrorCode code_, std::string place_, std::string expected_, std::string got_,
          std::string hint_ = {})
        : code(code_),
          place(std::move(place_)),
          expected(std::move(expected_)),
          got(std::move(got_)),
          hint(std::move(hint_)) {
        text_ = std::string("error[") + name(code) + "]: " + place;
        if (!expected.empty()) text_ += "\n  expected: " + expected;
        if (!got.empty()) text_ += "\n  got:      " + got;
        if (!hint.empty()) text_ += "\n  hint:     " + hint;
    }

    const char* what() const noexcept override { return text_.c_str(); }

    ErrorCode code;
    std::string place, expected, got, hint;

private:
    std::string text_;
};

}  // namespace moegrad

#include <moegrad/core/error.hpp>

#include <doctest/doctest.h>

#include <set>

using namespace moegrad;

TEST_CASE("error: the text shows code, place, both sides and the hint, and leaves out what is empty") {
    const Error error{ErrorCode::shape, "linear", "x [T, D]", "x [2]", "transpose it"};
    CHECK(std::string(error.what()) ==
          "error[shape]: linear\n  expected: x [T, D]\n  got:      x [2]\n  hint:     transpose it");
    CHECK(std::string(Error{ErrorCode::state, "tape", "", ""}.what()) == "error[state]: tape");
    CHECK(error.code == ErrorCode::shape);
    CHECK(error.hint == "transpose it");
}

TEST_CASE("error: it is an exception, survives a copy, and every code has a word of its own") {
    const auto thrower = [] { throw Error{ErrorCode::file, "model.safetensors", "a file", "none"}; };
    CHECK_THROWS_AS(thrower(), std::exception);
    const Error first{ErrorCode::value, "a", "b", "c"};
    const Error copy = first;
    CHECK(std::string(copy.what()) == first.what());
    std::set<std::string> words;
    for (const auto code :
         {ErrorCode::shape, ErrorCode::value, ErrorCode::unsupported, ErrorCode::memory, ErrorCode::file,
          ErrorCode::format, ErrorCode::config, ErrorCode::data, ErrorCode::state}) {
        words.insert(name(code));
    }
    CHECK(words.size() == 9);
    CHECK(words.count("unknown") == 0);
}

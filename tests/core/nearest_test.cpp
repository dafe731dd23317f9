#include <moegrad/core/nearest.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

TEST_CASE("nearest: edit distances known by hand") {
    CHECK(edit_distance("", "") == 0);
    CHECK(edit_distance("", "abc") == 3);
    CHECK(edit_distance("kitten", "sitting") == 3);
    CHECK(edit_distance("flaw", "lawn") == 2);
    CHECK(edit_distance("lora", "lora") == 0);
}

TEST_CASE("nearest: the first of the nearest") {
    CHECK(nearest("adamo", {"lora", "adamoe", "mor"}) == "adamoe");
    CHECK(nearest("aa", {"ab", "ba"}) == "ab");
    CHECK(nearest("aa", {}) == "");
}

TEST_CASE("nearest: a name is near when at most a third of the longer word's letters differ, rounded up") {
    CHECK(nearest("mixture_of_routers", {"my_router", "expert_choice", "mor"}) == "");
    CHECK(nearest("rtf", {"rte"}) == "rte");  // 1 of 3
    CHECK(nearest("rxx", {"rte"}) == "");     // 2 of 3
    CHECK(nearest("biazed", {"biased"}) == "biased");
    CHECK(is_near(4, "abcdefghij", "b"));  // of 10, 4 allowed
    CHECK_FALSE(is_near(5, "abcdefghij", "b"));
    CHECK(key_distance("steps", "train.steps") == 0);
    CHECK(did_you_mean("mor") == "did you mean `mor`?");
    CHECK(did_you_mean("mor", "see docs") == "did you mean `mor`? see docs");
    CHECK(did_you_mean("", "see docs") == "see docs");
    CHECK(did_you_mean("") == "");
}

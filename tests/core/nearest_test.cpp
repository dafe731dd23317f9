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

// The catalogue of malformed inputs: each refused with its code at its place, each valid twin loaded, nothing written.

#include <doctest/doctest.h>
#include <malformed/load.hpp>

#include <malformed/check.hpp>
#include <malformed/corpus.hpp>

#include <set>

using namespace malformed;

namespace {

void check_reader(Reader reader, std::size_t at_least) {
    std::size_t refused = 0;
    for (const Case& row : corpus()) {
        if (row.reader != reader) continue;
        check_case(row, load);
        refused += row.refused() ? 1 : 0;
    }
    CHECK(refused >= at_least);
}

}  // namespace

TEST_CASE("malformed: ids are unique, and every row says what it is") {
    std::set<std::string> ids;
    for (const Case& row : corpus()) {
        CAPTURE(row.id);
        CHECK(ids.insert(row.id).second);
        CHECK_FALSE(row.what.empty());
        CHECK_FALSE(row.good.empty());
        if (row.refused()) CHECK_FALSE(row.words.empty());
    }
}

TEST_CASE("malformed: safetensors") {
    check_reader(Reader::safetensors, 100);
}
TEST_CASE("malformed: index") {
    check_reader(Reader::index, 50);
}
TEST_CASE("malformed: config.json") {
    check_reader(Reader::config, 40);
}
TEST_CASE("malformed: tokenizer.json") {
    check_reader(Reader::tokenizer, 20);
}
TEST_CASE("malformed: encoding") {
    check_reader(Reader::encode, 0);
}
TEST_CASE("malformed: training data") {
    check_reader(Reader::data, 15);
}

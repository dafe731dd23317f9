// The catalogue of malformed inputs: each refused with its code at its place, each valid twin loaded, nothing written.
// Headers built to cost time and memory; an allocation that fails, at every one of them; the fuzzer's seeds.

#include <doctest/doctest.h>
#include <fuzz/files_targets.hpp>
#include <fuzz/replay.hpp>
#include <fuzz/seeds.hpp>
#include <malformed/allocation_sweep.hpp>
#include <malformed/check.hpp>
#include <malformed/safety_table.hpp>

#include <set>

using namespace malformed;

namespace {

#ifdef MOEGRAD_HAVE_PCRE2
constexpr bool kHasRegex = true;
#else
constexpr bool kHasRegex = false;
#endif

void check_reader(Reader reader, std::size_t at_least) {
    std::size_t refused = 0;
    for (const Case& row : corpus()) {
        if (row.reader != reader || (needs_regex(row) && !kHasRegex)) continue;
        check_case(row, load);
        refused += row.refused() ? 1 : 0;
    }
    CHECK(refused >= at_least);
}

std::string named_entry(int i, const std::string& name) {
    return moegrad::format(R"("{}":{{"dtype":"U8","shape":[1],"data_offsets":[{},{}]}})", name, i, i + 1);
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

TEST_CASE("malformed: A13, a file cut short while it is open") {
    const io_test::TemporaryFolder folder;
    write_files(folder.path(), good_single());
    const moegrad::SafetensorsFile file(folder.file("model.safetensors"));
    std::filesystem::resize_file(folder.file("model.safetensors"), 66);
    std::vector<float> values(2);
    io_test::expect_error(ErrorCode::file, "the file was changed while in use",
                          [&] { file.read(file.at("t"), std::span(values)); });
}

TEST_CASE("malformed: B19 and B24, many tensors: in any order, with names that a hash would confuse") {
    std::string many = "{", few = "{";
    for (int i = 0; i < 40'000; ++i)
        many +=
            (i > 0 ? "," : "") + named_entry(i, moegrad::format("{:08x}", (i * 2654435761u) & 0xFFFFFFFFu));
    CHECK(moegrad::parse_safetensors(whole(many + "}", zeros(40'000)), "many").tensors.size() == 40'000);
    for (int i = 0; i < 524'290; ++i) few += i > 0 ? ",\"\":{}" : "\"\":{}";
    io_test::expect_error(ErrorCode::format, "at most 524289 values at the top",
                          [&] { moegrad::parse_safetensors(whole(few + "}"), "bomb"); });
}

TEST_CASE("malformed: an allocation fails, at every one of a load") {
    const struct {
        Reader reader;
        Files files;
        long least;
    } loads[] = {{Reader::safetensors, good_single(), 10},
                 {Reader::index, mapped(kGoodMap), 30},
                 {Reader::config, {{"config.json", config_with()}}, 30},
                 {Reader::tokenizer, tokenizer_files(fuzz::tiny_tokenizer_text()), 100},
                 {Reader::data, data_file(R"({"id":"x","prompt":"a b","completion":" c"})"), 30}};
    static_cast<void>(small_tokenizer());
    for (const auto& row : loads) {
        const io_test::TemporaryFolder folder;
        write_files(folder.path(), row.files);
        const std::string path = folder.path();
        const SweepResult sweep = allocation_sweep(name(row.reader), [&] { load(row.reader, path); });
        CHECK(sweep.allocations >= row.least);
        CHECK(sweep.typed * 10 >= sweep.allocations * 7);
    }
}

TEST_CASE("fuzz: seeds and a few mutations of them") {
    const fuzz::Seeds seeds = fuzz::all_seeds();
    int inputs = 0;
    inputs += fuzz::replay(seeds.at("safetensors"), 20, fuzz::safetensors);
    inputs += fuzz::replay(seeds.at("index"), 20, fuzz::index);
    inputs += fuzz::replay(seeds.at("config"), 20, fuzz::config);
    inputs += fuzz::replay(seeds.at("tokenizer"), 100, fuzz::tokenizer);
    inputs += fuzz::replay(seeds.at("encode"), 100, fuzz::encode);
    inputs += fuzz::replay(seeds.at("jsonl"), 20, fuzz::jsonl);
    inputs += fuzz::replay(seeds.at("tsv"), 40, fuzz::tsv);
    CHECK(inputs > 10'000);
}

TEST_CASE("malformed: docs/safety.md lists these cases") {
    check_safety_page(corpus(), "files and data");
}

// The catalogue's adapters and checkpoints: each refused with its code at its place, each valid twin loaded; and every bit
// of a checkpoint.

#include <fuzz/replay.hpp>
#include <fuzz/run_seeds.hpp>
#include <malformed/check.hpp>
#include <malformed/load_model.hpp>
#include <malformed/safety_table.hpp>
#include <moegrad/methods/dora.hpp>

TEST_CASE("malformed: adapters") {
    for (const malformed::Case& row : malformed::adapter_cases())
        malformed::check_case(row, malformed::load_any);
}

TEST_CASE("malformed: checkpoints") {
    for (const malformed::Case& row : malformed::checkpoint_cases())
        malformed::check_case(row, malformed::load_any);
}

TEST_CASE("malformed: K07, every byte of every file of a checkpoint is covered by a digest") {
    const io_test::TemporaryFolder folder;
    const malformed::Files files = malformed::good_checkpoint();
    malformed::write_files(folder.path(), files);
    CHECK_NOTHROW(malformed::load_checkpoint_folder(folder.path()));
    for (const malformed::File& file : files) {
        CAPTURE(file.name);
        std::size_t survived = 0;
        for (std::size_t at = 0; at < file.content.size(); ++at) {
            std::string damaged = file.content;
            damaged[at] = static_cast<char>(damaged[at] ^ (1 << (at % 8)));
            folder.write(file.name, damaged);
            try {
                malformed::load_checkpoint_folder(folder.path());
                ++survived;
            } catch (const moegrad::Error&) {
            }
        }
        CHECK(survived == 0);
        folder.write(file.name, file.content);
    }
}

TEST_CASE("fuzz: seeds of adapters and checkpoints and a few mutations of them") {
    const auto seeds = fuzz::run_seeds();
    CHECK(fuzz::replay(seeds.at("adapter"), 20, fuzz::adapter) > 500);
    CHECK(fuzz::replay(seeds.at("checkpoint"), 20, fuzz::checkpoint) > 500);
}

TEST_CASE("malformed: docs/safety.md lists adapters and checkpoints") {
    malformed::Cases all = malformed::adapter_cases();
    for (auto& row : malformed::checkpoint_cases()) all.push_back(std::move(row));
    malformed::check_safety_page(all, "adapters and checkpoints");
}

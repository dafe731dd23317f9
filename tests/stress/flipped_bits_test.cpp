// A checkpoint with one bit flipped, at random over all its files, or one byte more or less: refused every time, and the
// loader goes a step back.
//   MOEGRAD_FLIPS    2,000 by default; tests/stress/run.sh makes 10,000, and one in every byte

#include <doctest/doctest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <moegrad/core/philox.hpp>

#include "io/support.hpp"
#include "stress/process.hpp"
#include "stress/small_checkpoint.hpp"

using namespace stress;

namespace {

void put(const std::string& path, std::string_view text) {
    std::ofstream(path, std::ios::binary).write(text.data(), static_cast<std::streamsize>(text.size()));
}

bool is_refused(const std::string& folder, ThreadPool& pool) {
    try {
        moegrad::detail::verify_checkpoint(folder, 2, pool);
    } catch (const Error&) {
        return true;
    }
    return false;
}

}  // namespace

TEST_CASE("checkpoint: a flipped bit anywhere is refused") {
    const std::string run = scratch_folder(), folder = run + "/checkpoints/step-000002";
    ThreadPool pool(1);
    save_small(run, 1, pool);
    save_small(run, 2, pool);
    const std::vector<std::string> names{"state.safetensors", "state.json", kManifestName};
    std::vector<std::string> texts;
    for (const auto& name : names) texts.push_back(io_test::read_text(folder + "/" + name));
    const int flips = stress::setting("MOEGRAD_FLIPS", 2000);
    Random random(7);
    int refused = 0, step_back = 0, tried = 0;
    std::size_t total = 0;
    for (const auto& text : texts) total += text.size();
    const int all = flips >= 10'000 ? flips + static_cast<int>(total) : flips;
    for (int i = 0; i < all; ++i) {
        std::size_t file = 0,
                    byte = i < flips ? random.next_below(total) : static_cast<std::size_t>(i - flips);
        while (byte >= texts[file].size()) byte -= texts[file++].size();
        std::string text = texts[file];
        text[byte] = static_cast<char>(text[byte] ^ (1 << random.next_below(8)));
        put(folder + "/" + names[file], text);
        refused += is_refused(folder, pool);
        if (i % 100 == 0) {
            ++tried;
            const Index found = load_small(run, pool);
            step_back += found == 1;
            std::filesystem::rename(folder + ".damaged-1", folder);
        }
        put(folder + "/" + names[file], texts[file]);
    }
    CHECK(refused == all);
    CHECK(step_back == tried);
    for (std::size_t file = 0; file < names.size(); ++file) {
        const std::string path = folder + "/" + names[file];
        put(path, texts[file] + '\0');
        CHECK(is_refused(folder, pool));
        put(path, texts[file].substr(0, texts[file].size() - 1));
        CHECK(is_refused(folder, pool));
        std::filesystem::remove(path);
        CHECK(is_refused(folder, pool));
        std::filesystem::create_symlink("/etc/hostname", path);
        CHECK(is_refused(folder, pool));
        std::filesystem::remove(path);
        put(path, texts[file]);
    }
    CHECK_FALSE(is_refused(folder, pool));
    CHECK(load_small(run, pool) == 2);
    std::filesystem::remove_all(run);
    std::printf("flipped_bits: %d of %d flips refused, %d of %d loads went a step back\n", refused, all,
                step_back, tried);
}

// write_seeds FOLDER: one folder per target, one file per seed.

#include <fuzz/run_seeds.hpp>
#include <fuzz/seeds.hpp>

#include <cstdio>
#include <filesystem>
#include <fstream>

int main(int count, char** words) {
    if (count != 2) {
        std::fprintf(stderr, "usage: %s FOLDER\n", words[0]);
        return 2;
    }
    fuzz::Seeds seeds = fuzz::all_seeds();
    seeds.merge(fuzz::run_seeds());
    for (const auto& [target, inputs] : seeds) {
        const std::filesystem::path folder = std::filesystem::path(words[1]) / target;
        std::filesystem::create_directories(folder);
        for (std::size_t i = 0; i < inputs.size(); ++i)
            std::ofstream(folder / ("seed-" + std::to_string(i)), std::ios::binary)
                .write(inputs[i].data(), static_cast<std::streamsize>(inputs[i].size()));
        std::printf("%-12s %zu seeds\n", target.c_str(), inputs.size());
    }
}

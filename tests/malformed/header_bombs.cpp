// header_bombs [FOLDER]: safetensors headers of 100 MB that are legal or nearly so, written to the folder, each loaded in a
// process of its own. Prints seconds of processor time, peak memory (the mapped file counts) and the answer.

#include <moegrad/io/safetensors.hpp>

#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

namespace {

std::string entries(int count, std::size_t name_bytes) {
    std::string out = "{";
    for (int i = 0; i < count; ++i) {
        // 7919 is prime: each name once, in no order.
        std::string name = moegrad::format("{:x}", static_cast<long long>(i) * 7919 % count);
        name.insert(0, name_bytes > name.size() ? name_bytes - name.size() : 0, 'n');
        out += (i > 0 ? ",\"" : "\"") + name + R"(":{"dtype":"U8","shape":[1],"data_offsets":[)" +
               std::to_string(i) + "," + std::to_string(i + 1) + "]}";
    }
    return out + "}";
}

std::string repeated(const std::string& part, std::size_t bytes) {
    std::string out;
    out.reserve(bytes + part.size());
    while (out.size() < bytes) out += part;
    return out;
}

void load(const std::string& path, const char* what) {
    std::string answer;
    try {
        const moegrad::SafetensorsFile file(path);
        answer = moegrad::format("{} tensors", file.tensors().size());
    } catch (const moegrad::Error& error) {
        answer = std::string(name(error.code)) + ": " + error.expected;
    }
    rusage use{};
    ::getrusage(RUSAGE_SELF, &use);
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
    };
    std::printf("| %s | %.3f | %.0f | %s |\n", what, seconds(use.ru_utime) + seconds(use.ru_stime),
                static_cast<double>(use.ru_maxrss) / 1024, answer.c_str());
}

void bomb(const std::string& folder, const char* what, std::string header, std::size_t data) {
    const std::string path = folder + "/bomb.safetensors";
    const std::uint64_t length = header.size();
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(&length), 8) << header;
    std::filesystem::resize_file(path, 8 + header.size() + data);
    header = {};  // what this process holds would count as the child's peak
    ::malloc_trim(0);
    std::fflush(stdout);
    const std::string program = std::filesystem::read_symlink("/proc/self/exe");
    if (::fork() == 0) {
        ::execl(program.c_str(), program.c_str(), "--load", path.c_str(), what, nullptr);
        ::_exit(1);
    }
    ::wait(nullptr);
    std::filesystem::remove(path);
}

}  // namespace

int main(int count, char** words) {
    if (count == 4 && std::string(words[1]) == "--load") {
        load(words[2], words[3]);
        return 0;
    }
    const std::string folder = count > 1 ? words[1] : std::filesystem::temp_directory_path().string();
    const std::size_t most = 90'000'000;
    std::printf("| header | CPU seconds | MB at the peak | answer |\n|---|---|---|---|\n");
    bomb(folder, "1,460,000 tensors", entries(1'460'000, 1), 1'460'000);
    bomb(folder, "524,288 tensors in no order, 96 MB", entries(524'288, 120), 524'288);
    bomb(folder, "50 M opening brackets", std::string(50'000'000, '['), 0);
    bomb(folder, "brackets in an unknown field", R"({"t":{"x":)" + std::string(most, '['), 0);
    bomb(folder, "a shape of 45 M extents", R"({"t":{"dtype":"U8","shape":[)" + repeated("1,", most) + "1]}}",
         0);
    bomb(folder, "a name of 90 MB", "{\"" + std::string(most, 'n') + "\":1}", 0);
    bomb(folder, "a number of 90 MB", R"({"t":{"shape":[)" + std::string(most, '7') + "]}}", 0);
    bomb(folder, "metadata of 11 M texts", R"({"__metadata__":{"":"")" + repeated(R"(,"a":"")", most) + "}}",
         0);
    bomb(folder, "90 MB of spaces", std::string(most, ' ') + "{}", 0);
}

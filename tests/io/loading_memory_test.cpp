// Loading never holds a checkpoint twice: a child process reads a real file, and the system says what it held at most.

#include "support.hpp"

#include <moegrad/core/tensor.hpp>
#include <moegrad/io/checkpoint_index.hpp>
#include <moegrad/io/sha256.hpp>

#include <sys/wait.h>
#include <unistd.h>

using namespace moegrad;

namespace {

/// MiB, from /proc/self/status.
std::size_t status_of(const std::string& key) {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with(key)) return std::strtoull(line.c_str() + key.size(), nullptr, 10) / 1024;
    }
    return 0;
}

/// `count` tensors of [1024, 4096] in a sparse model.safetensors: their pages cost memory when read, like any other's.
void write_large_checkpoint(const io_test::TemporaryFolder& folder, const char* type, std::size_t width,
                            std::size_t count) {
    const std::size_t bytes = 1024 * 4096 * width;
    std::string header = "{";
    for (std::size_t i = 0; i < count; ++i) {
        header +=
            format("{}\"t{}\": {{\"dtype\": \"{}\", \"shape\": [1024, 4096], \"data_offsets\": [{}, {}]}}",
                   i > 0 ? ", " : "", i, type, i * bytes, (i + 1) * bytes);
    }
    header += "}";
    const std::uint64_t length = header.size();
    const std::string path =
        folder.write("model.safetensors", std::string(reinterpret_cast<const char*>(&length), 8) + header);
    std::filesystem::resize_file(path, 8 + header.size() + count * bytes);
}

/// What a child held at most while it ran `work`, beyond what it held before: MiB. -1: it failed.
template <class Work>
int extra_memory(Work work) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        int extra = -1;
        try {
            const std::size_t before = status_of("VmRSS:");
            work();
            extra = static_cast<int>(status_of("VmHWM:") - before);
        } catch (...) {
        }
        const bool told = ::write(ends[1], &extra, sizeof(extra)) == sizeof(extra);
        ::_exit(told ? 0 : 1);
    }
    int extra = -1, status = 0;
    CHECK(::read(ends[0], &extra, sizeof(extra)) == sizeof(extra));
    ::waitpid(child, &status, 0);
    ::close(ends[0]);
    ::close(ends[1]);
    return extra;
}

void load_everything(const std::string& folder) {
    CheckpointIndex files(folder);
    std::vector<Tensor<float>> weights;
    for (const std::string& name : files.names()) {
        weights.push_back(Tensor<float>::zeros({1024, 4096}));
        files.read(name, {1024, 4096}, weights.back().values());
    }
    files.require_all_read();
}

}  // namespace

TEST_CASE("loading memory: the weights and a few MiB of the file, not the file") {
    if (status_of("VmHWM:") == 0) {
        MESSAGE("skipped: no VmHWM in /proc/self/status");
        return;
    }
    constexpr int kTensors = 9, kModel = 16 * kTensors;  // MiB in float
    for (const bool half : {false, true}) {
        CAPTURE(half);
        const io_test::TemporaryFolder folder;
        write_large_checkpoint(folder, half ? "BF16" : "F32", half ? 2 : 4, kTensors);
        const int extra = extra_memory([&] { load_everything(folder.path()); });
        CHECK(extra >= kModel);
        CHECK(extra <= kModel + 12);
    }
}

TEST_CASE("loading memory: hashing a file holds a piece of it") {
    if (status_of("VmHWM:") == 0) return;
    const io_test::TemporaryFolder folder;
    write_large_checkpoint(folder, "F32", 4, 2);
    const int extra = extra_memory([&] { sha256_file(folder.file("model.safetensors")); });
    CHECK(extra >= 0);
    CHECK(extra <= 16);
}

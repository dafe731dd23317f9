#pragma once
// AtomicFile: after commit() the whole new content is at `path` and on the disk; before it, and on any error, the old
// content is. Written beside the target, then fsync, rename, fsync of the folder. A mapped old file stays readable.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/io/mapped_file.hpp>

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace moegrad {

class AtomicFile {
public:
    explicit AtomicFile(std::string path) : path_(std::move(path)) {
        const std::size_t slash = path_.rfind('/');
        folder_ = slash == std::string::npos ? "." : slash == 0 ? "/" : path_.substr(0, slash);
        static std::atomic<unsigned> counter{0};
        // O_EXCL: a name left behind by a killed process with our id is skipped, never reused.
        for (int attempt = 0; attempt < 1000 && descriptor_ < 0; ++attempt) {
            temporary_ = moegrad::format("{}/.moegrad-{}-{}.tmp", folder_, ::getpid(), counter.fetch_add(1));
            descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
            if (descriptor_ < 0 && errno != EEXIST) break;
        }
        if (descriptor_ < 0) {
            temporary_.clear();
            fail("a folder that can be written to", errno);
        }
    }
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;
    ~AtomicFile() { discard(); }

    void write(std::span<const std::byte> bytes) {
        if (descriptor_ < 0) throw Error{ErrorCode::state, path_, "an open file", "one already committed"};
        while (!bytes.empty()) {
            const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
            if (written < 0 && errno == EINTR) continue;
            if (written <= 0)
                fail(moegrad::format("to write {} more bytes", bytes.size()), written < 0 ? errno : EIO);
            bytes = bytes.subspan(static_cast<std::size_t>(written));
        }
    }
    void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

    void commit() {
        if (descriptor_ < 0) throw Error{ErrorCode::state, path_, "an open file", "one already committed"};
        if (::fsync(descriptor_) != 0) fail("to reach the disk (fsync)", errno);
        if (::close(std::exchange(descriptor_, -1)) != 0) fail("to close the file", errno);
        if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("to put the file in place", errno);
        temporary_.clear();
        const int folder = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder < 0) fail("to open the folder", errno);
        // EINVAL: the file system has no fsync for folders, so there is nothing to wait for.
        const int code = ::fsync(folder) == 0 ? 0 : errno;
        ::close(folder);
        if (code != 0 && code != EINVAL) fail("the folder to reach the disk (fsync)", code);
    }

private:
    [[noreturn]] void fail(std::string expected, int code) {
        discard();
        throw Error{ErrorCode::file, path_, std::move(expected), system_error_text(code)};
    }
    void discard() noexcept {
        if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
        if (!temporary_.empty()) ::unlink(temporary_.c_str());
        temporary_.clear();
    }

    std::string path_, folder_, temporary_;
    int descriptor_ = -1;
};

inline void write_file_atomically(const std::string& path, std::string_view text) {
    AtomicFile file(path);
    file.write(text);
    file.commit();
}

/// What was written to the file by now is on the disk when this returns.
inline void sync_file(const std::string& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    int code = descriptor < 0 ? errno : 0;
    if (descriptor >= 0) {
        if (::fsync(descriptor) != 0) code = errno;
        ::close(descriptor);
    }
    if (code != 0) throw Error{ErrorCode::file, path, "to reach the disk (fsync)", system_error_text(code)};
}

}  // namespace moegrad

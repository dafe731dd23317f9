#pragma once
// Steps of a save that survives a kill or a power cut: files that are new and on the disk when they are said to be,
// folders whose entries are on the disk, and a lock that keeps a second writer out.
// A failed fsync is never tried again: the kernel may have dropped the pages and would then report success.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>
#include <moegrad/io/mapped_file.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace moegrad {

/// A file that was not there before. Without finish() it stays as far as it came: the folder's owner removes it.
class DurableFile {
public:
    /// Reserves `bytes` where the file system can, so that a full disk is known before the first byte.
    explicit DurableFile(std::string path, std::uint64_t bytes = 0) : path_(std::move(path)) {
        do {
            descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        } while (descriptor_ < 0 && errno == EINTR);
        if (descriptor_ < 0) fail("a new file", errno);
        if (bytes > 0) reserve(bytes);
    }
    DurableFile(const DurableFile&) = delete;
    DurableFile& operator=(const DurableFile&) = delete;
    ~DurableFile() {
        if (descriptor_ >= 0) ::close(descriptor_);
    }

    void write(std::span<const std::byte> bytes) {
        while (!bytes.empty()) {
            const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
            if (written < 0 && errno == EINTR) continue;
            if (written <= 0)
                fail(moegrad::format("to write {} more bytes", bytes.size()), written < 0 ? errno : EIO);
            bytes = bytes.subspan(static_cast<std::size_t>(written));
        }
    }
    void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

    /// On the disk, and closed.
    void finish() {
        if (::fsync(descriptor_) != 0) fail("to reach the disk (fsync)", errno);
        // After EINTR the descriptor is gone, and what was written is on the disk already.
        if (::close(std::exchange(descriptor_, -1)) != 0 && errno != EINTR) fail("to close the file", errno);
    }

private:
    void reserve(std::uint64_t bytes) {
        int problem = 0;
        do {
            problem = ::posix_fallocate(descriptor_, 0, static_cast<off_t>(bytes));
        } while (problem == EINTR);
        const bool unknown = problem == EOPNOTSUPP || problem == ENOSYS || problem == EINVAL;
        if (problem != 0 && !unknown) fail(moegrad::format("room for {} bytes", bytes), problem);
    }
    [[noreturn]] void fail(std::string expected, int code) const {
        throw Error{ErrorCode::file, path_, std::move(expected), system_error_text(code)};
    }

    std::string path_;
    int descriptor_ = -1;
};

/// The entries of a folder - names made, renamed, removed - are on the disk when this returns.
inline void sync_folder(const std::string& path) {
    const int folder = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) throw Error{ErrorCode::file, path, "a folder", system_error_text(errno)};
    const int problem = ::fsync(folder) == 0 ? 0 : errno;
    ::close(folder);
    // EINVAL: the file system has no fsync for folders, so there is nothing to wait for.
    if (problem != 0 && problem != EINVAL)
        throw Error{ErrorCode::file, path, "the folder to reach the disk (fsync)",
                    system_error_text(problem)};
}

/// A folder that was not there before; its parent must be.
inline void make_new_folder(const std::string& path) {
    if (::mkdir(path.c_str(), 0777) != 0)
        throw Error{ErrorCode::file, path, "a new folder", system_error_text(errno)};
}

/// Whether something has this name; not to know is an error.
inline bool is_taken(const std::string& path) {
    if (::access(path.c_str(), F_OK) == 0) return true;
    if (errno != ENOENT)
        throw Error{ErrorCode::file, path, "a name that can be looked up", system_error_text(errno)};
    return false;
}

/// Puts a file or folder under a name that nobody has.
inline void rename_to_new(const std::string& from, const std::string& to) {
    if (is_taken(to)) throw Error{ErrorCode::state, to, "a name that is free", "one that is taken"};
    if (::rename(from.c_str(), to.c_str()) != 0)
        throw Error{ErrorCode::file, to, "to get its name", system_error_text(errno)};
}

/// While it lives no other process gets it. The system gives it back when the process ends, however it ends.
class FolderLock {
public:
    explicit FolderLock(const std::string& folder) {
        descriptor_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (descriptor_ < 0) throw Error{ErrorCode::file, folder, "a folder", system_error_text(errno)};
        int problem = 0;
        do {
            problem = ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
        } while (problem == EINTR);
        if (problem == 0) return;
        ::close(descriptor_);
        if (problem == EWOULDBLOCK)
            throw Error{ErrorCode::state, folder, "a folder that nobody else writes to",
                        "one that another process has locked",
                        "is this run still going? wait for it, or choose another output.dir"};
        throw Error{ErrorCode::file, folder, "a folder that can be locked (flock)",
                    system_error_text(problem)};
    }
    FolderLock(const FolderLock&) = delete;
    FolderLock& operator=(const FolderLock&) = delete;
    ~FolderLock() { ::close(descriptor_); }

private:
    int descriptor_ = -1;
};

}  // namespace moegrad

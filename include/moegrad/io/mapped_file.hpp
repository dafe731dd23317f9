#pragma once
// MappedFile: a regular file mapped read-only. Opening never blocks (FIFOs and devices are refused, not waited for).
// Pages that were read count as memory of the process until `forget` gives them back; the system's cache keeps them.

#include <moegrad/core/error.hpp>
#include <moegrad/core/format.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace moegrad {

/// Whether a file may be reached through a symbolic link (as in the Hugging Face cache).
enum class Links { follow, refuse };

/// Where nobody says: links that a user put there are fine. A program that trusts no folder sets it to refuse, once.
inline Links& usual_links() {
    static Links links = Links::follow;
    return links;
}

inline std::string system_error_text(int code) {
    return std::string(std::strerror(code));
}

inline bool file_exists(const std::string& path) {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0;
}

class MappedFile {
public:
    explicit MappedFile(std::string path, Links links = usual_links()) : path_(std::move(path)) {
        if (path_.find('\0') != std::string::npos)
            throw Error{ErrorCode::file, "file name", "a name without NUL", path_.c_str()};
        const int no_links = links == Links::refuse ? O_NOFOLLOW : 0;
        descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | no_links);
        if (descriptor_ < 0) {
            if (errno == ELOOP && links == Links::refuse)
                throw Error{ErrorCode::file, path_, "a plain file", "a symbolic link",
                            "--strict-paths is on: copy the file to its place, or leave the flag out"};
            throw Error{ErrorCode::file, path_, "a readable file", system_error_text(errno)};
        }
        try {
            map();
        } catch (...) {
            release();
            throw;
        }
    }
    /// Bytes that are in memory already, under a name for errors. They must outlive this.
    static MappedFile of_memory(std::string name, std::string_view bytes) {
        MappedFile file;
        file.path_ = std::move(name);
        file.data_ = reinterpret_cast<const std::byte*>(bytes.data());
        file.size_ = bytes.size();
        return file;
    }
    MappedFile(MappedFile&& other) noexcept
        : path_(std::move(other.path_)),
          descriptor_(std::exchange(other.descriptor_, -1)),
          data_(std::exchange(other.data_, nullptr)),
          size_(std::exchange(other.size_, 0)) {}
    MappedFile& operator=(MappedFile&& other) noexcept {
        std::swap(path_, other.path_);
        std::swap(descriptor_, other.descriptor_);
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;
    ~MappedFile() { release(); }

    const std::string& path() const { return path_; }
    std::size_t size() const { return size_; }
    std::span<const std::byte> bytes() const { return {data_, size_}; }
    std::string_view text() const {
        return size_ == 0 ? std::string_view()
                          : std::string_view(reinterpret_cast<const char*>(data_), size_);
    }

    /// Call before a long read: touching pages of a file that another program has cut short kills the process.
    void require_unchanged() const {
        if (descriptor_ < 0) return;
        struct stat status {};
        if (::fstat(descriptor_, &status) != 0 || static_cast<std::size_t>(status.st_size) != size_)
            throw Error{ErrorCode::file, path_, moegrad::format("the {} bytes it had when opened", size_),
                        moegrad::format("{} bytes", status.st_size), "the file was changed while in use"};
    }

    /// Gives back the pages of [offset, offset + count), up to the one where a next read goes on. They can be read again.
    void forget(std::size_t offset, std::size_t count) const noexcept {
        advise(offset, count, MADV_DONTNEED);
    }
    /// Has the system read a range ahead.
    void expect(std::size_t offset, std::size_t count) const noexcept {
        advise(offset, count, MADV_WILLNEED);
    }

private:
    MappedFile() = default;

    void advise(std::size_t offset, std::size_t count, int advice) const noexcept {
        if (descriptor_ < 0) return;
        const std::size_t page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
        const std::size_t begin = std::min(offset, size_) / page * page;
        const std::size_t end = offset + std::min(count, size_ - std::min(offset, size_));
        const std::size_t last = end >= size_ ? size_ : end / page * page;
        if (begin < last)
            static_cast<void>(::madvise(const_cast<std::byte*>(data_) + begin, last - begin, advice));
    }

    void map() {
        struct stat status {};
        if (::fstat(descriptor_, &status) != 0)
            throw Error{ErrorCode::file, path_, "a readable file", system_error_text(errno)};
        if (!S_ISREG(status.st_mode))
            throw Error{ErrorCode::file, path_, "a regular file",
                        S_ISDIR(status.st_mode) ? "a directory" : "a device, pipe or socket"};
        size_ = static_cast<std::size_t>(status.st_size);
        if (size_ == 0) return;
        void* memory = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor_, 0);
        if (memory == MAP_FAILED)
            throw Error{ErrorCode::memory, path_, moegrad::format("room to map {} bytes", size_),
                        system_error_text(errno)};
        data_ = static_cast<const std::byte*>(memory);
    }

    void release() noexcept {
        if (data_ && descriptor_ >= 0) ::munmap(const_cast<std::byte*>(data_), size_);
        if (descriptor_ >= 0) ::close(descriptor_);
        data_ = nullptr;
        descriptor_ = -1;
    }

    std::string path_;
    int descriptor_ = -1;
    const std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace moegrad

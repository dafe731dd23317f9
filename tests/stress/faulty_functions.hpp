#pragma once
// The C library's functions that a save uses, each passed on, counted, logged and made to fail. A program that includes
// this in one .cpp calls these in place of the library's; shared libraries do too.

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>

#include "stress/faulty_calls.hpp"

namespace stress {

template <class Function>
Function* library(const char* name) {
    return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

/// The common case: fail, or pass on and go by.
template <class Call>
int faulty_call(const char* name, const Call& call) {
    if (faulty.strikes(name)) {
        errno = faulty.plan.code;
        return -1;
    }
    const int result = call();
    faulty.after();
    return result;
}

inline int note_open(int descriptor, const char* path, int flags) {
    if (!faulty.logging || descriptor < 0) return descriptor;
    faulty.path_of[descriptor] = path;
    faulty.file_of.erase(descriptor);
    if ((flags & O_CREAT) != 0) {
        faulty.file_of[descriptor] = ++faulty.files;
        faulty.note({LoggedCall::Kind::make_file, path, {}, faulty.files, {}});
    }
    return descriptor;
}

/// PATH seen from the folder of a descriptor.
inline std::string path_at(int folder, const char* path) {
    return folder == AT_FDCWD || path[0] == '/' ? path : faulty.path_of[folder] + "/" + path;
}

inline int note_removed(int result, const std::string& path) {
    if (result == 0) faulty.note({LoggedCall::Kind::remove, path, {}, -1, {}});
    return result;
}

}  // namespace stress

extern "C" {

int open(const char* path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
    va_end(more);
    static auto* const real = stress::library<int(const char*, int, ...)>("open");
    return stress::note_open(stress::faulty_call("open", [&] { return real(path, flags, mode); }), path,
                             flags);
}
int openat(int folder, const char* path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
    va_end(more);
    static auto* const real = stress::library<int(int, const char*, int, ...)>("openat");
    return stress::note_open(stress::faulty_call("openat", [&] { return real(folder, path, flags, mode); }),
                             stress::path_at(folder, path).c_str(), flags);
}
ssize_t write(int file, const void* bytes, size_t count) {
    static auto* const real = stress::library<ssize_t(int, const void*, size_t)>("write");
    if (stress::faulty.strikes("write")) {
        errno = stress::faulty.plan.code;
        return -1;
    }
    if (stress::faulty.is_short()) {
        if (stress::faulty.struck.empty()) stress::faulty.struck = "write";
        count = count > 1 ? count / 2 : count;
    }
    const ssize_t written = real(file, bytes, count);
    stress::faulty.after();
    if (stress::faulty.logging && written > 0 && stress::faulty.file_of.count(file) > 0)
        stress::faulty.note(
            {stress::LoggedCall::Kind::write,
             {},
             {},
             stress::faulty.file_of[file],
             std::string(static_cast<const char*>(bytes), static_cast<std::size_t>(written))});
    return written;
}
int posix_fallocate(int file, off_t offset, off_t length) {
    static auto* const real = stress::library<int(int, off_t, off_t)>("posix_fallocate");
    int code = 0;
    const int result =
        stress::faulty_call("posix_fallocate", [&] { return code = real(file, offset, length); });
    return result == -1 ? errno : code;
}
int fsync(int file) {
    static auto* const real = stress::library<int(int)>("fsync");
    const int result = stress::faulty_call("fsync", [&] { return real(file); });
    if (result == 0 && stress::faulty.logging) {
        using Kind = stress::LoggedCall::Kind;
        const bool is_file = stress::faulty.file_of.count(file) > 0;
        stress::faulty.note({is_file ? Kind::sync_file : Kind::sync_folder,
                             stress::faulty.path_of[file],
                             {},
                             is_file ? stress::faulty.file_of[file] : -1,
                             {}});
    }
    return result;
}
int close(int file) {
    static auto* const real = stress::library<int(int)>("close");
    // As the system does, an error or not: the descriptor is gone.
    if (stress::faulty.strikes("close")) {
        real(file);
        errno = stress::faulty.plan.code;
        return -1;
    }
    const int result = real(file);
    stress::faulty.after();
    return result;
}
int mkdir(const char* path, mode_t mode) noexcept {
    static auto* const real = stress::library<int(const char*, mode_t)>("mkdir");
    const int result = stress::faulty_call("mkdir", [&] { return real(path, mode); });
    if (result == 0) stress::faulty.note({stress::LoggedCall::Kind::make_folder, path, {}, -1, {}});
    return result;
}
int rename(const char* from, const char* to) noexcept {
    static auto* const real = stress::library<int(const char*, const char*)>("rename");
    const int result = stress::faulty_call("rename", [&] { return real(from, to); });
    if (result == 0) stress::faulty.note({stress::LoggedCall::Kind::rename, from, to, -1, {}});
    return result;
}
int unlink(const char* path) noexcept {
    static auto* const real = stress::library<int(const char*)>("unlink");
    return stress::note_removed(stress::faulty_call("unlink", [&] { return real(path); }), path);
}
int unlinkat(int folder, const char* path, int flags) noexcept {
    static auto* const real = stress::library<int(int, const char*, int)>("unlinkat");
    return stress::note_removed(stress::faulty_call("unlinkat", [&] { return real(folder, path, flags); }),
                                stress::path_at(folder, path));
}
int rmdir(const char* path) noexcept {
    static auto* const real = stress::library<int(const char*)>("rmdir");
    return stress::note_removed(stress::faulty_call("rmdir", [&] { return real(path); }), path);
}
int remove(const char* path) noexcept {
    static auto* const real = stress::library<int(const char*)>("remove");
    return stress::note_removed(stress::faulty_call("remove", [&] { return real(path); }), path);
}
int flock(int file, int operation) noexcept {
    static auto* const real = stress::library<int(int, int)>("flock");
    return stress::faulty_call("flock", [&] { return real(file, operation); });
}
int access(const char* path, int mode) noexcept {
    static auto* const real = stress::library<int(const char*, int)>("access");
    return stress::faulty_call("access", [&] { return real(path, mode); });
}

}  // extern "C"

#pragma once
// What every case must show: the twin loads, the bad one throws its code at its place, either within a second, and the
// folder is afterwards as it was.

#include <doctest/doctest.h>
#include <io/support.hpp>
#include <malformed/load.hpp>

#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

namespace malformed {

/// Name -> kind, size and time of the last change of everything in a folder.
inline std::map<std::string, std::string> listing(const std::string& folder) {
    std::map<std::string, std::string> out;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
        const auto changed = std::filesystem::is_symlink(entry.symlink_status())
                                 ? std::filesystem::file_time_type()
                                 : entry.last_write_time();
        out[entry.path().string()] = std::to_string(static_cast<int>(entry.symlink_status().type())) + " " +
                                     std::to_string(entry.is_regular_file() ? entry.file_size() : 0) + " " +
                                     std::to_string(changed.time_since_epoch().count());
    }
    return out;
}

/// The seconds that an asan build may take more.
#ifndef __has_feature
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
inline constexpr double kSeconds = 10;
#else
inline constexpr double kSeconds = 1;
#endif

/// A system call that does nothing: the trace of the program (traced.sh) shows where a load begins and ends.
inline void mark_in_trace(const char* what, const std::string& folder) {
    static_cast<void>(::access(("/moegrad-case/" + std::string(what) + folder).c_str(), F_OK));
}

template <class Read>
void check_case(const Case& row, const Read& read) {
    CAPTURE(row.id);
    CAPTURE(row.what);
    const auto timed = [&](const Files& files, bool refused) {
        const io_test::TemporaryFolder folder;
        write_files(folder.path(), files);
        const auto before = listing(folder.path());
        const auto start = std::chrono::steady_clock::now();
        mark_in_trace("begin", folder.path());
        try {
            read(row.reader, folder.path());
            if (refused) FAIL_CHECK("loaded");
        } catch (const moegrad::Error& error) {
            CAPTURE(std::string(error.what()));
            CHECK(refused);
            if (refused) {
                CHECK(std::string(moegrad::name(error.code)) == moegrad::name(row.code));
                CHECK(error.place.find(row.place) != std::string::npos);
                CHECK(std::string(error.what()).find(row.words) != std::string::npos);
            }
        }
        mark_in_trace("end", folder.path());
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        CHECK(seconds.count() < kSeconds);
        CHECK(listing(folder.path()) == before);
    };
    if (row.refused()) timed(row.bad, true);
    timed(row.good, false);
}

}  // namespace malformed

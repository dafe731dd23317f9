#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>

#include <moegrad/io/atomic_file.hpp>
#include <moegrad/io/mapped_file.hpp>

#include "support.hpp"

using namespace moegrad;
using io_test::expect_error;
using io_test::read_text;
using io_test::TemporaryFolder;

TEST_CASE("mapped file: content, emptiness, moves") {
    const TemporaryFolder folder;
    MappedFile file(folder.write("a", "hello"));
    CHECK(file.text() == "hello");
    CHECK(file.size() == 5);
    MappedFile moved(std::move(file));
    CHECK(moved.text() == "hello");
    MappedFile empty(folder.write("empty", ""));
    CHECK(empty.size() == 0);
    CHECK(empty.text().empty());
    empty = std::move(moved);
    CHECK(empty.text() == "hello");
}

TEST_CASE("mapped file: what is no regular file") {
    const TemporaryFolder folder;
    expect_error(ErrorCode::file, "No such file", [&] { MappedFile(folder.file("gone")); });
    expect_error(ErrorCode::file, "a directory", [&] { MappedFile(folder.path()); });
    expect_error(ErrorCode::file, "a device", [] { MappedFile("/dev/zero"); });
    REQUIRE(::mkfifo(folder.file("pipe").c_str(), 0600) == 0);
    expect_error(ErrorCode::file, "pipe",
                 [&] { MappedFile(folder.file("pipe")); });  // and does not wait for a writer
    expect_error(ErrorCode::file, "NUL", [&] { MappedFile(folder.path() + std::string("/a\0b", 4)); });
}

TEST_CASE("mapped file: links are followed unless refused") {
    const TemporaryFolder folder;
    folder.write("real", "x");
    std::filesystem::create_symlink("real", folder.file("link"));
    CHECK(MappedFile(folder.file("link")).text() == "x");
    CHECK(MappedFile(folder.file("real"), Links::refuse).text() == "x");
    expect_error(ErrorCode::file, "symbolic link", [&] { MappedFile(folder.file("link"), Links::refuse); });
}

TEST_CASE("mapped file: a file cut short while open is noticed") {
    const TemporaryFolder folder;
    const MappedFile file(folder.write("a", std::string(10'000, 'x')));
    CHECK_NOTHROW(file.require_unchanged());
    std::filesystem::resize_file(folder.file("a"), 100);
    expect_error(ErrorCode::file, "changed while in use", [&] { file.require_unchanged(); });
}

TEST_CASE("atomic file: old content until commit, new content after") {
    const TemporaryFolder folder;
    const std::string path = folder.write("a", "old");
    const MappedFile reader(path);
    {
        AtomicFile file(path);
        file.write("new ");
        file.write("content");
        CHECK(read_text(path) == "old");
        file.commit();
        expect_error(ErrorCode::state, "committed", [&] { file.write("more"); });
        expect_error(ErrorCode::state, "committed", [&] { file.commit(); });
    }
    CHECK(read_text(path) == "new content");
    CHECK(reader.text() == "old");  // a mapped source survives being saved over
    {
        AtomicFile abandoned(path);
        abandoned.write("half");
    }
    CHECK(read_text(path) == "new content");
    const auto entries = std::filesystem::directory_iterator(folder.path());
    CHECK(std::distance(begin(entries), end(entries)) == 1);  // no temporary file stays behind
}

TEST_CASE("atomic file: failures are errors and leave nothing behind") {
    const TemporaryFolder folder;
    expect_error(ErrorCode::file, "No such file", [&] { AtomicFile(folder.file("no/such/folder")); });
    std::filesystem::create_directory(folder.file("taken"));
    folder.write("taken/inside", "x");
    expect_error(ErrorCode::file, "in place", [&] { write_file_atomically(folder.file("taken"), "x"); });
    const auto entries = std::filesystem::directory_iterator(folder.path());
    CHECK(std::distance(begin(entries), end(entries)) == 1);
}

TEST_CASE("atomic file: a full disk keeps the old file") {
    const TemporaryFolder folder;
    const std::string path = folder.write("a", "old");
    struct rlimit before {};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    struct rlimit small = before;
    small.rlim_cur = 100'000;
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    expect_error(ErrorCode::file, "to write",
                 [&] { write_file_atomically(path, std::string(200'000, 'x')); });
    ::setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
    CHECK(read_text(path) == "old");
    const auto entries = std::filesystem::directory_iterator(folder.path());
    CHECK(std::distance(begin(entries), end(entries)) == 1);
}

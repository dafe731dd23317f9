#pragma once
// Helpers of the io tests: a folder that vanishes, an error that must come, and real inputs that may be absent.

#include <doctest/doctest.h>
#include <stdlib.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <moegrad/core/error.hpp>

namespace io_test {

class TemporaryFolder {
public:
    TemporaryFolder() {
        std::string pattern = (std::filesystem::temp_directory_path() / "moegrad-io-XXXXXX").string();
        path_ = ::mkdtemp(pattern.data());
    }
    ~TemporaryFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;

    const std::string& path() const { return path_; }
    std::string file(const std::string& name) const { return path_ + "/" + name; }
    std::string write(const std::string& name, std::string_view content) const {
        std::ofstream(file(name), std::ios::binary)
            .write(content.data(), static_cast<std::streamsize>(content.size()));
        return file(name);
    }

private:
    std::string path_;
};

inline std::string read_text(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

/// The call must throw this code, and the message must hold `words`.
template <class Call>
void expect_error(moegrad::ErrorCode code, const std::string& words, const Call& call) {
    try {
        call();
        FAIL_CHECK("no error");
    } catch (const moegrad::Error& error) {
        CAPTURE(std::string(error.what()));
        CHECK(std::string(moegrad::name(error.code)) == moegrad::name(code));
        CHECK(std::string(error.what()).find(words) != std::string::npos);
    }
}

/// Real inputs of one test case; says on destruction how many were there.
class Inputs {
public:
    ~Inputs() {
        std::string names;
        for (const std::string& name : absent_) names += " " + name;
        if (names.empty()) names = " none";
        std::printf("[inputs] %d present, %zu absent:%s\n", present_, absent_.size(), names.c_str());
    }
    /// Beside the tree or at MOEGRAD_SHARED; empty when absent.
    std::string shared(const std::string& name) {
#ifdef MOEGRAD_SOURCE_DIR
        const std::string beside = MOEGRAD_SOURCE_DIR "/../shared";
#else
        const std::string beside;
#endif
        return look(std::getenv("MOEGRAD_SHARED"), beside, name);
    }
    /// Unpacked data at MOEGRAD_DATA; empty when absent.
    std::string data(const std::string& name) {
        return look(std::getenv("MOEGRAD_DATA"), "", name);
    }

private:
    std::string look(const char* variable, const std::string& otherwise, const std::string& name) {
        const std::string path = (variable ? std::string(variable) : otherwise) + "/" + name;
        if (std::filesystem::exists(path)) {
            ++present_;
            return path;
        }
        absent_.push_back(name);
        return {};
    }
    int present_ = 0;
    std::vector<std::string> absent_;
};

/// A safetensors file by parts: length field, header, data; nothing checked.
inline std::string raw_file(const std::string& header, const std::string& data) {
    const std::uint64_t length = header.size();
    std::string out(8, '\0');
    std::memcpy(out.data(), &length, 8);
    return out + header + data;
}

}  // namespace io_test

#pragma once
// A: the length field and what people put in place of a safetensors file.

#include <malformed/case.hpp>

namespace malformed {

inline Cases framing_cases() {
    const std::string body = kGoodHeader + zeros(8);
    const std::uint64_t top = ~std::uint64_t{0};
    SafetensorsRows rows;
    rows.bad("A01", "empty file", "", "0 bytes", {}, whole("{}"))
        .bad("A02", "7 bytes", "1234567", "at least 8 bytes", {}, whole("{}"))
        .bad("A03", "length field only, 60", framed(60, ""), "a header of 60 bytes")
        .bad("A04", "length 2^64-1", framed(top, body), "at most 100000000")
        .bad("A05", "length 2^63", framed(std::uint64_t{1} << 63, body), "at most 100000000")
        .bad("A06", "length 2^64-8: adding 8 wraps", framed(top - 7, body), "at most 100000000")
        .bad("A07", "length 100,000,001", framed(100'000'001, body), "at most 100000000")
        .bad("A07b", "length 100,000,000 of a short file", framed(100'000'000, body), "cut short")
        .bad("A08", "length of the whole file", framed(body.size() + 8, body), "cut short")
        .bad("A09", "length one less than the JSON", framed(kGoodHeader.size() - 1, body), "valid JSON")
        .bad("A09b", "length one more than the JSON", framed(kGoodHeader.size() + 1, body), "a NUL byte at")
        .bad("A10", "length 0", framed(0, body), "valid JSON")
        .bad("A11", "length written big-endian",
             std::string("\0\0\0\0\0\0\0", 7) + static_cast<char>(kGoodHeader.size()) + body, "big-endian")
        .bad("A15", "Git LFS pointer",
             "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n", "git lfs pull")
        .bad("A16", "a web page", "<!DOCTYPE html><html><body>404 Not Found</body></html>", "web page")
        .bad("A17", "zip or pickle", std::string("PK\x03\x04", 4) + std::string(60, 'x'), "zip or PyTorch")
        .bad("A17b", "GGUF", std::string("GGUF\x03\0\0\0", 8) + zeros(40), "at most 100000000");
    const auto special = [&](const char* id, const char* what, File::Kind kind, const char* words,
                             const std::string& content = {}) {
        rows.cases.push_back({id,
                              what,
                              Reader::safetensors,
                              {{"model.safetensors", content, kind}},
                              good_single(),
                              ErrorCode::file,
                              "model.safetensors",
                              words});
    };
    special("A12", "a folder", File::Kind::folder, "a directory");
    special("A12b", "a FIFO that nobody writes to", File::Kind::fifo, "a device, pipe or socket");
    special("A12c", "a link to a character device", File::Kind::link, "a device, pipe or socket",
            "/dev/zero");
    special("A12d", "a link to nothing", File::Kind::link, "No such file", "gone");
    // Mapped, never read: the size is compared with what the header owns.
    rows.cases.push_back(
        {"A14",
         "sparse file of 1 TB behind a small header",
         Reader::safetensors,
         {{"model.safetensors", whole(kGoodHeader, zeros(8)), File::Kind::sparse, std::uint64_t{1} << 40}},
         good_single(),
         ErrorCode::format,
         "model.safetensors",
         "bytes that no tensor owns"});
    return rows.cases;
}

}  // namespace malformed

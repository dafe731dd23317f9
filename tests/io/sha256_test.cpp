// SHA-256: the examples of FIPS 180-4 and NIST's byte vectors, every length around the block, both ways alike.

#include <doctest/doctest.h>

#include <moegrad/io/atomic_file.hpp>
#include <moegrad/io/sha256.hpp>
#include <moegrad/io/sha256_lanes.hpp>

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

using namespace moegrad;

namespace {

std::string hex_by(Sha256Path path, std::string_view text, std::size_t piece = 1 << 20) {
    Sha256 hash(path);
    for (std::size_t at = 0; at < text.size(); at += piece) hash.update(text.substr(at, piece));
    return hash.hex();
}

struct Vector {
    std::string text;
    const char* digest;
};

}  // namespace

TEST_CASE("sha256: published vectors") {
    // csrc.nist.gov: examples of FIPS 180-4 (abc, 448 and 896 bits, a million a) and SHA256ShortMsg (empty, d3, 11af).
    const std::vector<Vector> vectors{
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"\xd3", "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1"},
        {"\x11\xaf", "5ca7133fa735326081558ac312c620eeca9970d1e70a4b95533d956f072d1f98"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmno"
         "pq"
         "rstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
        {std::string(1'000'000, 'a'), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"}};
    for (const auto& vector : vectors) {
        CHECK(sha256_hex(vector.text) == vector.digest);
        CHECK(hex_by(Sha256Path::plain, vector.text) == vector.digest);
        CHECK(hex_by(Sha256Path::plain, vector.text, 97) == vector.digest);
        if (sha256::has_instructions()) {
            CHECK(hex_by(Sha256Path::instructions, vector.text) == vector.digest);
            CHECK(hex_by(Sha256Path::instructions, vector.text, 97) == vector.digest);
        }
    }
}

TEST_CASE("sha256: both ways and any pieces give the same digest at every length") {
    if (!sha256::has_instructions())
        std::puts("sha256: this processor has no SHA instructions; plain C++ only");
    std::string text;
    for (int length = 0; length < 300; ++length) {
        const std::string whole = hex_by(Sha256Path::plain, text);
        for (const std::size_t piece : {1u, 7u, 63u, 64u, 65u}) {
            CHECK(hex_by(Sha256Path::plain, text, piece) == whole);
            if (sha256::has_instructions()) CHECK(hex_by(Sha256Path::instructions, text, piece) == whole);
        }
        text += static_cast<char>(length * 37 + 11);
    }
}

TEST_CASE("sha256: digest() may be asked for in between; files") {
    Sha256 hash;
    hash.update(std::string_view("ab"));
    CHECK(hash.hex() == sha256_hex("ab"));
    hash.update(std::string_view("c"));
    CHECK(hash.hex() == sha256_hex("abc"));
    const auto path = (std::filesystem::temp_directory_path() / "moegrad_sha256_test").string();
    write_file_atomically(path, "abc");
    CHECK(sha256_file(path) == sha256_hex("abc"));
    std::filesystem::remove(path);
    CHECK_THROWS_AS(static_cast<void>(sha256_file(path)), Error);
}

TEST_CASE("sha256: texts in lanes, of any lengths, have the digests of the plain way") {
    if (!sha256::has_lanes()) {
        std::puts("sha256: this processor has no AVX2; lanes not tried");
        return;
    }
    std::string text;
    for (int i = 0; i < 4000; ++i) text += static_cast<char>(i * i + 7 * i + 3);
    const std::vector<std::vector<std::size_t>> lengths{{},
                                                        {1000},
                                                        {64, 64},
                                                        {0, 64, 65},
                                                        {500, 500, 500, 500, 500, 500, 500, 500},
                                                        {4000, 63, 64, 128, 129, 1000, 2000, 3999},
                                                        {1, 2, 3, 4, 5, 6, 7, 8},
                                                        {3000, 3001, 0, 3002, 10}};
    for (const auto& group : lengths) {
        std::vector<std::span<const std::byte>> texts;
        for (std::size_t i = 0; i < group.size(); ++i)
            texts.push_back(std::as_bytes(std::span(text)).subspan(text.size() - group[i]));
        const auto digests = sha256::hex_by_lanes(texts);
        REQUIRE(digests.size() == texts.size());
        for (std::size_t i = 0; i < texts.size(); ++i)
            CHECK(digests[i] ==
                  hex_by(Sha256Path::plain, std::string_view(text).substr(text.size() - group[i])));
    }
}

// The README's table of claims says what models/claims.toml says, row by row; every recipe that it names is there.

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace {

const std::string kClaimTree = MOEGRAD_SOURCE_DIR;

std::string claim_text_of(const std::string& path) {
    std::ifstream file(kClaimTree + "/" + path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// The value of `key = "..."` in one [[claim]].
std::string claim_field(const std::string& block, const std::string& key) {
    const std::size_t at = block.find("\n" + key + " = \"");
    if (at == std::string::npos) return {};
    const std::size_t begin = at + key.size() + 5;
    return block.substr(begin, block.find("\"\n", begin) - begin);
}

std::vector<std::string> claim_blocks() {
    std::vector<std::string> all;
    const std::string text = claim_text_of("models/claims.toml");
    for (std::size_t at = text.find("[[claim]]"); at != std::string::npos;) {
        const std::size_t next = text.find("[[claim]]", at + 1);
        all.push_back(text.substr(at, next - at));
        at = next;
    }
    return all;
}

}  // namespace

TEST_CASE("claims: the README's table is that of models/claims.toml") {
    const std::string readme = claim_text_of("README.md");
    const auto blocks = claim_blocks();
    REQUIRE(blocks.size() >= 9);
    std::size_t rows = 0;
    const std::string table = readme.substr(readme.find("<!-- claims -->"));
    for (std::size_t at = table.find("\n| `"); at < table.find("<!-- end of claims -->");
         at = table.find("\n| `", at + 1))
        ++rows;
    CHECK(rows == blocks.size());
    for (const std::string& block : blocks) {
        const std::string row = "| `" + claim_field(block, "id") + "` | " + claim_field(block, "says") +
                                " | " + claim_field(block, "paper") + ": " + claim_field(block, "published") +
                                " | " + claim_field(block, "state") + " |";
        CAPTURE(row);
        CHECK(readme.find(row) != std::string::npos);
    }
}

TEST_CASE("claims: every recipe is there") {
    for (const std::string& block : claim_blocks()) {
        const std::string recipe = claim_field(block, "recipe");
        CAPTURE(recipe);
        CHECK(std::filesystem::exists(kClaimTree + "/models/recipes/" + recipe));
    }
}

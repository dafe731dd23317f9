// A text without its repeats, where it is cut, and how much of what is held out is trained on all the same.

#include <doctest/doctest.h>

#include <moegrad/core/philox.hpp>
#include <moegrad/data/task_files.hpp>
#include <moegrad/data/text_records.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "io/support.hpp"

using namespace moegrad;
using io_test::read_text;
using io_test::TemporaryFolder;

namespace {

/// `count` documents of three lines of some 60 bytes and a blank one; no two lines are the same but for the blank ones.
std::vector<std::string> repeat_documents(int count, const std::string& end = "\n") {
    std::vector<std::string> documents;
    for (int i = 0; i < count; ++i) {
        std::string text;
        for (int line = 0; line < 3; ++line)
            text += format("line {} of document {}, which stands nowhere else, it says{}", line, i, end);
        documents.push_back(text + end);
    }
    return documents;
}

std::string joined(const std::vector<std::string>& texts) {
    std::string all;
    for (const std::string& text : texts) all += text;
    return all;
}

/// Bytes that no window of kLeakWindow repeats.
std::string noise(std::size_t size, std::uint64_t seed) {
    Random random(seed, 0);
    std::string text;
    while (text.size() < size) text += static_cast<char>('a' + random.next_below(26));
    return text;
}

/// The same by search.
HeldoutLeak leak_by_search(const std::string& heldout, const std::string& train) {
    HeldoutLeak leak;
    for (std::size_t at = 0; at + 200 <= heldout.size(); at += 100, ++leak.parts)
        leak.known += train.find(heldout.substr(at, 200)) != std::string::npos;
    return leak;
}

}  // namespace

TEST_CASE("repeats: documents that come again are dropped, shifted, in another order and in part") {
    const auto documents = repeat_documents(40);
    const std::string once = joined(documents), odd = "a line of its own\n";
    CHECK(without_repeats(once) == once);
    CHECK(without_repeats(once + once) == once);
    CHECK(without_repeats(once + odd + once) == once + odd);
    CHECK(without_repeats(once + odd + once + once + once) == once + odd);
    auto backwards = documents;
    std::reverse(backwards.begin(), backwards.end());
    CHECK(without_repeats(once + odd + joined(backwards)) == once + odd);
    backwards[7] = "and\n" + odd;
    CHECK(without_repeats(once + odd + joined(backwards)) == once + odd + "and\n" + odd);
    CHECK(without_repeats(once + once.substr(0, documents[0].size() * 3)) == once);
}

TEST_CASE("repeats: lines that happen to come again stay, below the size of a repeat") {
    const std::string brace = "}\n\n", heading(60, '='), text = joined(repeat_documents(9));
    std::string honest;
    for (const std::string& document : repeat_documents(9)) honest += heading + "\n" + document + brace;
    CHECK(without_repeats(honest) == honest);
    // 99 bytes come again, and 100.
    const std::string line98(98, 'x'), line99(99, 'x'), other = "between\n";
    CHECK(without_repeats(line98 + "\n" + other + line98 + "\n") == line98 + "\n" + other + line98 + "\n");
    CHECK(without_repeats(line99 + "\n" + other + line99 + "\n") == line99 + "\n" + other);
    // A run over two lines; the same lines in another order are none.
    const std::string a(49, 'a'), b(49, 'b');
    CHECK(without_repeats(a + "\n" + b + "\n" + other + a + "\n" + b + "\n") == a + "\n" + b + "\n" + other);
    const std::string swapped = a + "\n" + b + "\n" + other + b + "\n" + a + "\n";
    CHECK(without_repeats(swapped) == swapped);
}

TEST_CASE("repeats: line ends, no end at the end, one line, nothing") {
    const std::string windows = joined(repeat_documents(12, "\r\n"));
    CHECK(without_repeats(windows) == windows);
    CHECK(without_repeats(windows + windows) == windows);
    for (const std::string end : {"\n", "\r\n"}) {
        std::string last = repeat_documents(1, end).front() + std::string(150, 'z');
        CHECK(without_repeats(last) == last);
        CHECK(without_repeats(last + end + "between" + end + last) == last + end + "between" + end);
    }
    const std::string one = noise(5000, 1);
    CHECK(without_repeats(one) == one);
    CHECK(without_repeats(one + one) == one + one);  // one line
    CHECK(without_repeats("") == "");
    CHECK(without_repeats("\n") == "\n");
    CHECK(without_repeats("short") == "short");
}

TEST_CASE("held out: the leak is that of a search, and nothing where repeats are left out") {
    const std::string heldout = noise(2000, 2), other = noise(3000, 3);
    // Bytes [500, 1300) hold the windows at 500, 600, .., 1100.
    const HeldoutLeak planted = heldout_leak(heldout, other + heldout.substr(500, 800) + other);
    CHECK(planted.parts == 19);
    CHECK(planted.known == 7);
    CHECK(planted.share() == doctest::Approx(7.0 / 19));
    CHECK(heldout_leak(heldout, other).known == 0);
    CHECK(heldout_leak(heldout, heldout + other).known == 19);
    CHECK(heldout_leak(heldout, other + heldout).known == 19);
    CHECK(heldout_leak(heldout, heldout + heldout).known == 19);  // each once
    CHECK(heldout_leak(heldout + heldout, heldout).known == 38);  // all but the one over the seam
    CHECK(heldout_leak("", other).parts == 0);
    CHECK(heldout_leak(heldout, "").known == 0);
    CHECK(heldout_leak("abc", "xxabcxx").known == 1);  // shorter than a window
    CHECK(heldout_leak("abc", "ab").known == 0);
    const std::string once = joined(repeat_documents(200)), twice = once + "odd\n" + once;
    const std::size_t cut = moegrad::detail::heldout_begin(twice, 0.1);
    const HeldoutLeak raw = heldout_leak(twice.substr(cut), twice.substr(0, cut));
    CHECK(raw.known == leak_by_search(twice.substr(cut), twice.substr(0, cut)).known);
    CHECK(raw.share() == 1);
    const TextParts parts = split_text(twice, 0.1);
    CHECK(parts.text == once + "odd\n");
    CHECK(parts.repeated == once.size());
    CHECK(heldout_leak(parts.heldout(), parts.train()).known == 0);
    CHECK(heldout_leak_text(40, {100, 5}) ==
          "held out: 40 bytes, 5.0 % of it also stands in the training part");
    CHECK(heldout_leak_text(40, {100, 6}).ends_with("; warning: figures on it show memory"));
}

TEST_CASE("held out: of records those count that are the same to the byte") {
    const std::vector<std::string> train{"a", "b", "c"}, heldout{"b", "B", "b", "d"};
    const HeldoutLeak leak = heldout_leak(heldout, train);
    CHECK(leak.parts == 4);
    CHECK(leak.known == 2);
    const TemporaryFolder folder;
    std::string lines;
    for (int i = 1; i <= 100; ++i) lines += format("{{\"text\": \"record {}\"}}\n", i == 50 ? 3 : i);
    folder.write("a.jsonl", lines);
    folder.write("b.txt", joined(repeat_documents(30)) + joined(repeat_documents(30)));
    const MixTexts records = mix_texts({"r", 1, {"a.jsonl"}}, folder.path(), 0.1);
    CHECK(records.leak.parts == 10);
    CHECK(records.leak.known == 1);
    CHECK(records.repeated == 0);
    const MixTexts both = mix_texts({"r", 1, {"*.*"}}, folder.path(), 0.1);
    CHECK(both.leak.known == 1);
    CHECK(both.leak.parts > 10);
    CHECK(both.repeated == joined(repeat_documents(30)).size());
}

TEST_CASE("held out: pretraining and tasks cut the same text at the same byte") {
    const TemporaryFolder folder;
    const std::string once = joined(repeat_documents(150));
    const std::string file = "text/olmoe_domains/arxiv_texts.txt";
    std::filesystem::create_directories(folder.file("text/olmoe_domains"));
    folder.write(file, once + "odd\n" + once);
    const MixTexts mix = mix_texts({"papers", 1, {file}}, folder.path(), 0.1);
    CHECK(joined(mix.train) + joined(mix.heldout) == once + "odd\n");
    CHECK(mix.leak.known == 0);
    const std::string program = MOEGRAD_COMMAND;
    if (!file_exists(program)) {
        MESSAGE("no command line here: the tasks are not written");
        return;
    }
    const std::string out = folder.file("tasks");
    const std::string flags = " tasks --people 20 --samples 20 --questions 20 --documents 2 --from ";
    REQUIRE(std::system(
                (program + flags + folder.path() + " --out " + out + " >" + folder.file("log")).c_str()) ==
            0);
    for (const auto& [name, texts] : {std::pair{"train", &mix.train}, {"heldout", &mix.heldout}}) {
        std::string text;
        for (const TextRecord& record : read_text_records(format("{}/papers-{}.jsonl", out, name)))
            text += record.completion;
        CHECK(text == joined(*texts));
    }
    CHECK(read_text(folder.file("log")).find("0.0 % of it also stands in the training part") !=
          std::string::npos);
}

TEST_CASE("repeats: real texts") {
    const char* data = std::getenv("MOEGRAD_DATA");
    const auto at = [&](const char* file) { return std::string(data) + "/text/" + file; };
    if (data == nullptr || !file_exists(at("tinyshakespeare.txt"))) {
        MESSAGE("no texts here");
        return;
    }
    for (const char* name : {"tinyshakespeare.txt", "tinystories_cased_2MB.txt"}) {
        const MappedFile file(at(name));
        CHECK(without_repeats(file.text()) == file.text());
    }
    for (const TextTask& task : kTextTasks) {
        const MappedFile file(std::string(data) + "/" + task.file);
        const TextParts parts = split_text(file.text(), 0.1);
        CHECK(heldout_leak(parts.heldout(), parts.train()).share() < 0.005);
        CHECK(parts.repeated > file.text().size() * 2 / 5);
        CHECK(parts.repeated < file.text().size() * 3 / 5);
    }
}

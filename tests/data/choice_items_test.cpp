// Questions from JSONL and TSV: what is read, and which line is refused with which words.

#include <moegrad/data/answer_items.hpp>
#include <moegrad/data/glue_items.hpp>

#include "io/support.hpp"

using namespace moegrad;
using io_test::expect_error;

TEST_CASE("choice items: keys, defaults, ranges") {
    io_test::TemporaryFolder folder;
    const auto path = folder.write(
        "q.jsonl",
        "{\"id\":\"a\",\"domain\":\"d\",\"level\":2,\"question\":\"q\",\"choices\":[\"x\",\"y\"],"
        "\"answer\":1,\"fact\":[[0,1],[2,3]]}\r\n\n"
        "{\"context\":\"c\",\"choices\":[\"x\",\"y\",\"z\"],\"answer\":0,\"other\":5}\n");
    const auto items = read_choice_items(path);
    REQUIRE(items.size() == 2);
    CHECK(items[0].id == "a");
    CHECK(items[0].domain == "d");
    CHECK(items[0].level == 2);
    CHECK(items[0].answer == 1);
    CHECK(items[0].fact == std::vector<std::pair<Index, Index>>{{0, 1}, {2, 3}});
    CHECK(items[1].id == "2");
    CHECK(items[1].context == "c");
    CHECK(items[1].choices.size() == 3);
}

TEST_CASE("choice items: a bad line is refused by file:line and key") {
    io_test::TemporaryFolder folder;
    const std::string good = "{\"question\":\"q\",\"choices\":[\"x\",\"y\"],\"answer\":0}\n";
    const auto refuse = [&](const std::string& line, ErrorCode code, const std::string& words) {
        CAPTURE(line);
        const auto path = folder.write("q.jsonl", good + line + "\n");
        expect_error(code, words, [&] { read_choice_items(path); });
        expect_error(code, "q.jsonl:2", [&] { read_choice_items(path); });
    };
    refuse("{\"question\":\"q\",\"choices\":[\"x\",\"y\"],\"answer\":2}", ErrorCode::data, "answer");
    refuse("{\"question\":\"q\",\"choices\":[\"x\"],\"answer\":0}", ErrorCode::data, "2 to 26 choices");
    refuse("{\"question\":\"q\",\"choices\":[\"x\",\"\"],\"answer\":0}", ErrorCode::data, "choices[1]");
    refuse("{\"question\":\"q\",\"choices\":[\"x\",\"y\"]}", ErrorCode::data, "answer");
    refuse("{\"choices\":[\"x\",\"y\"],\"answer\":0}", ErrorCode::data, "a context or a question");
    refuse("{\"question\":\"q\",\"choices\":[\"x\",\"y\"],\"answer\":0,\"fact\":[[3,3]]}", ErrorCode::data,
           "fact");
    refuse("{\"question\":\"q\",\"choices\":[\"x\",\"y\"],\"answer\":0,\"fact\":[[2,4],[3,5]]}",
           ErrorCode::data, "fact");
    refuse("[1]", ErrorCode::data, "an object");
    refuse("{\"question\":", ErrorCode::format, "valid JSON");
    expect_error(ErrorCode::data, "at least one", [&] { read_choice_items(folder.write("e.jsonl", "\n")); });
    for (const auto& [path, writes] :
         {std::pair{"none/questions.jsonl", "`moegrad world --out none`"},
          std::pair{"none/piqa-questions.jsonl", "`moegrad tasks --from DATA --out none`"}}) {
        expect_error(ErrorCode::file, writes, [&] { read_choice_items(path); });
    }
}

TEST_CASE("answer items: three forms") {
    io_test::TemporaryFolder folder;
    const auto path =
        folder.write("a.jsonl",
                     "{\"instruction\":\"do\",\"input\":\"\",\"output\":\"o\",\"answer\":\"answer1\"}\n"
                     "{\"question\":\"q\",\"answer\":\"#### 3\"}\n"
                     "{\"id\":\"r\",\"context\":\"c\",\"question\":\"q\",\"answers\":[\"x\",\"y\"]}\n");
    const auto items = read_answer_items(path);
    REQUIRE(items.size() == 3);
    CHECK(items[0].question == "do");
    CHECK(items[1].answers == std::vector<std::string>{"#### 3"});
    CHECK(items[2].id == "r");
    CHECK(items[2].answers.size() == 2);
    expect_error(ErrorCode::data, "a.jsonl:1",
                 [&] { read_answer_items(folder.write("a.jsonl", "{\"question\":\"q\"}")); });
}

TEST_CASE("GLUE: CoLA and RTE") {
    io_test::TemporaryFolder folder;
    const auto cola =
        read_cola_items(folder.write("cola.tsv", "gj04\t1\t\tThe cat sat.\nclc95\t0\t*\tSat cat \"the.\n"));
    REQUIRE(cola.size() == 2);
    CHECK(cola[0].answer == 1);
    CHECK(cola[1].answer == 0);
    CHECK(cola[1].question == "Sat cat \"the.");
    const auto rte = read_rte_items(folder.write(
        "rte.tsv", "index\tsentence1\tsentence2\tlabel\n7\tA.\tB.\tnot_entailment\n8\tA.\tA.\tentailment\n"));
    REQUIRE(rte.size() == 2);
    CHECK(rte[0].id == "7");
    CHECK(rte[0].choices[static_cast<std::size_t>(rte[0].answer)] == "False");
    CHECK(rte[1].choices[static_cast<std::size_t>(rte[1].answer)] == "True");
    expect_error(ErrorCode::data, "cola.tsv:1",
                 [&] { read_cola_items(folder.write("cola.tsv", "a\t2\t\tx\n")); });
    expect_error(ErrorCode::data, "4 fields",
                 [&] { read_cola_items(folder.write("cola.tsv", "a\t1\tx\n")); });
}

TEST_CASE("real question files are read whole") {
    io_test::Inputs inputs;
    const std::string arc = inputs.data("mc/arc_easy.test.jsonl"), boolq = inputs.data("mc/boolq.val.jsonl");
    if (!arc.empty()) CHECK(read_choice_items(arc).size() == 2376);
    if (!boolq.empty()) CHECK(read_choice_items(boolq).size() == 3270);
}

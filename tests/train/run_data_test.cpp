// The samples of a run: formats by configuration, held-out shares, packs as steps, settings that nothing reads.

#include <moegrad/train/resume_rules.hpp>
#include <moegrad/train/run_data.hpp>

#include <doctest/doctest.h>

#include <filesystem>

#include "io/support.hpp"

namespace run_data_test {

using namespace moegrad;

struct Files {
    io_test::TemporaryFolder folder;
    RunConfig config;

    Files() {
        std::string lines;
        for (int i = 0; i < 20; ++i) {
            lines += moegrad::format(
                "{{\"messages\":[{{\"role\":\"user\",\"content\":\"quiz "
                "{}\"}},{{\"role\":\"assistant\",\"content\":\"Riga"
                "{}\"}}]}}\n",
                i, i % 3 == 0 ? " Bern Oslo" : "");
        }
        folder.write("train.jsonl", lines);
        config.model = MOEGRAD_SOURCE_DIR "/models/tiny-mixtral";
        config.train_data = folder.file("train.jsonl");
        config.chat_template = "llama-2";
        config.max_length = 64;
        config.batch = 3;
        config.micro_batch = 2;
        config.seed = 5;
    }
    TextData load() const { return load_text_data(config, load_tokenizer(config.model)); }
};

}  // namespace run_data_test

TEST_CASE("run data: conversations, held out at the end, said once") {
    run_data_test::Files files;
    const auto data = files.load();
    CHECK(data.train.size() == 18);
    CHECK(data.eval.size() == 2);
    REQUIRE(data.notes.size() == 2);
    CHECK(data.notes[0].find("train.jsonl: format messages") != std::string::npos);
    CHECK(data.notes[1].find("template llama-2") != std::string::npos);
    files.config.max_length = 20;
    files.config.overlong = "drop";
    io_test::expect_error(moegrad::ErrorCode::data, "18 of more than data.max_length", [&] { files.load(); });
    files.config.overlong = "error";
    io_test::expect_error(moegrad::ErrorCode::data, "train.jsonl:1", [&] { files.load(); });
}

TEST_CASE("run data: with packing a step is train.batch packs, cut into micro-batches of whole packs") {
    run_data_test::Files files;
    const auto data = files.load();
    moegrad::StepOrder plain(data.train, files.config);
    CHECK(plain.step(0).size() == 2);  // 2 + 1 samples
    CHECK(plain.steps(1) == 6);
    files.config.packing = true;
    moegrad::StepOrder packed(data.train, files.config);
    std::vector<moegrad::Index> lengths;
    for (const auto& sample : data.train) lengths.push_back(std::ssize(sample.token));
    moegrad::PackedOrder want(lengths, 64, 3, 5);
    moegrad::Index picked = 0;
    for (moegrad::Index n = 0; n < packed.steps(2); ++n) {
        CHECK(packed.step(n) == want.micro_batches(n, 2));
        CHECK(packed.step(n).size() == 2);
        CHECK(packed.epoch(n) == want.epoch(n));
        for (const auto& cut : packed.step(n)) picked += std::ssize(cut);
    }
    CHECK(picked >= 2 * std::ssize(data.train));
    CHECK(packed.steps(1) < plain.steps(1));
}

TEST_CASE("run data: a setting that no file reads is an error") {
    run_data_test::Files files;
    files.config.columns = "text=0, label=1";
    io_test::expect_error(moegrad::ErrorCode::config, "data.columns", [&] { files.load(); });
    files.config.columns.clear();
    files.config.train_data =
        files.folder.write("t.jsonl", "{\"text\":\"Ada likes Riga\"}\n{\"text\":\"Riga Bern\"}\n");
    io_test::expect_error(moegrad::ErrorCode::config, "data.template", [&] { files.load(); });
    files.config.eval_data = files.folder.file("train.jsonl");  // the evaluation file reads it
    CHECK(files.load().eval.size() == 20);
    files.config.prompt = "arc_easy";
    io_test::expect_error(moegrad::ErrorCode::config, "data.prompt", [&] { files.load(); });
}

TEST_CASE("run data: the identity of a run holds what its data is read as, and the model's chat template") {
    const io_test::TemporaryFolder folder;
    const std::string line = "{\"question\":\"Who?\",\"choices\":[\"Ada\",\"No\"],\"answer\":1}\n";
    std::filesystem::create_directory(folder.file("model"));
    folder.write("model/config.json", "{}");
    moegrad::RunConfig config;
    config.model = folder.file("model");
    const auto identity = [&](const char* name) {
        config.train_data = folder.write(name, line);
        return moegrad::identity_of(config);
    };
    const std::string arc = identity("arc_easy.train.jsonl");
    CHECK(arc.find("data format = choice, form arc_easy\n") != std::string::npos);
    CHECK(identity("arc_easy.jsonl") == arc);  // a file may move where that changes nothing
    CHECK(identity("piqa.jsonl") != arc);
    CHECK(identity("copy.txt").find("data format = plain text\n") != std::string::npos);
    config.eval_data = config.train_data;
    CHECK(identity("arc_easy.jsonl").find("eval format = plain text\n") != std::string::npos);
    const std::string before = identity("arc_easy.jsonl");
    folder.write("model/LICENSE", "a");
    CHECK(identity("arc_easy.jsonl") == before);
    folder.write("model/chat_template.jinja", "a");
    CHECK(identity("arc_easy.jsonl").find("model chat_template.jinja sha256 = ") != std::string::npos);
}

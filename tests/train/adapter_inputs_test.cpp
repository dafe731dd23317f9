// Adapters that router.options names are inputs of a run: its fingerprint, its identity and its manifest change with their bytes.

#include <doctest/doctest.h>

#include <moegrad/methods/mole.hpp>
#include <moegrad/train/compare_spec.hpp>
#include <moegrad/train/resume_rules.hpp>
#include <moegrad/train/run_identity.hpp>

#include "io/support.hpp"

using namespace moegrad;

TEST_CASE("adapter inputs: other bytes in a folder of `adapters` are another run") {
    const io_test::TemporaryFolder folder;
    for (const char* name : {"a", "b", "model"}) std::filesystem::create_directories(folder.file(name));
    folder.write("model/config.json", "{}");
    folder.write("data.jsonl", "{\"text\": \"a\"}\n");
    for (const std::string name : {"a", "b"}) {
        folder.write(name + "/adapter_config.json", "{}");
        folder.write(name + "/adapter_model.safetensors", "values of " + name);
    }
    RunConfig config;
    config.model = folder.file("model");
    config.train_data = folder.file("data.jsonl");
    config.adapter.set_method("mole");
    config.adapter.options = "sum=paper, adapters=" + folder.file("a") + ";" + folder.file("b");

    const auto files = adapter_input_files(config.adapter.options);
    REQUIRE(files.size() == 4);
    CHECK(files[0].role == "adapter 0");
    CHECK(files[3].role == "adapter 1");
    CHECK(files[3].name() == "adapter_model.safetensors");
    CHECK(files[3].decides());
    const std::string print = run_fingerprint(config, "inputs"), identity = identity_of(config);
    CHECK(identity.find("adapter 1 adapter_model.safetensors sha256 = ") != std::string::npos);
    CHECK(run_fingerprint(config, "inputs") == print);
    folder.write("b/adapter_model.safetensors", "values of another b");
    CHECK(run_fingerprint(config, "inputs") != print);
    CHECK_THROWS_WITH_AS(require_same_identity("checkpoint", identity, identity_of(config)),
                         doctest::Contains("adapter 1 adapter_model.safetensors"), Error);
    folder.write("b/adapter_model.safetensors", "values of b");
    CHECK(run_fingerprint(config, "inputs") == print);
    folder.write("a/adapter_config.json", "{\"r\": 2}");
    CHECK(run_fingerprint(config, "inputs") != print);
    CHECK(identity_of(config) != identity);
}

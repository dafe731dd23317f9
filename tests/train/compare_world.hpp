#pragma once
// A world that comparisons of tests run on.

#include "support/model_small.hpp"

#include <moegrad/data/world_files.hpp>
#include <moegrad/data/world_tokenizer.hpp>
#include <moegrad/io/atomic_file.hpp>
#include <moegrad/io/mapped_file.hpp>
#include <moegrad/io/tokenizer_json.hpp>
#include <moegrad/methods/builtin_routers.hpp>
#include <moegrad/train/model_saver.hpp>

#include <filesystem>
#include <string>

namespace moegrad::test {

inline std::string whole_file(const std::string& path) {
    return std::string(MappedFile(path).text());
}

/// A random Mixtral over the small world's words, its tokenizer, samples, questions and documents.
struct TinyWorld {
    std::filesystem::path folder = std::filesystem::temp_directory_path() / "moegrad_compare_test";

    TinyWorld() {
        std::filesystem::remove_all(folder);
        std::filesystem::create_directories(folder / "model");
        ModelConfig config = test::small_config(ModelFamily::mixtral);
        write_world_tokenizer((folder / "model").string());
        config.vocab_size = static_cast<Index>(load_tokenizer((folder / "model").string()).vocab_size());
        save_model(*test::small_model<float>(config), (folder / "model").string());
        const World world({.people = 20});
        const QuestionOptions options{.samples = 24, .questions = 12};
        write("train.jsonl", world_sample_lines(world, options));
        write("questions.jsonl", world_question_lines(world, options));
        write("heldout.jsonl", world_heldout_lines(world, 6));
    }
    ~TinyWorld() { std::filesystem::remove_all(folder); }

    void write(const std::string& name, const std::string& text) const {
        write_file_atomically((folder / name).string(), text);
    }
    std::string path(const std::string& name) const { return (folder / name).string(); }
    std::string recipe() const {
        return "seeds = [0, 3]\n[base]\nmodel.path = \"" + path("model") + "\"\ndata.train = \"" +
               path("train.jsonl") +
               "\"\ndata.max_length = 32\nadapter.r = 2\ntrain.steps = 3\ntrain.batch = 4\noptim.lr = "
               "0.01\n[eval]\n"
               "questions = \"" +
               path("questions.jsonl") + "\"\nheldout = \"" + path("heldout.jsonl") +
               "\"\n[[arm]]\nname = \"plain\"\n[[arm]]\nname = \"nulls\"\nadapter.method = \"adamoe\"\n"
               "router.null_experts = 4\n[[arm]]\nname = \"drop\"\ncontrol = true\nadapter.method = "
               "\"random_drop\"\n"
               "load_of = \"nulls\"\n";
    }
};

}  // namespace moegrad::test

#pragma once
// Puts a case's files into a folder and hands the folder to its reader, as a user's command would.

#include <io/tokenizer_support.hpp>
#include <malformed/case.hpp>
#include <moegrad/data/training_samples.hpp>
#include <moegrad/io/checkpoint_index.hpp>
#include <moegrad/io/model_config_json.hpp>
#include <moegrad/io/tokenizer_json.hpp>

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace malformed {

inline void write_files(const std::string& folder, const Files& files) {
    for (const File& file : files) {
        const std::string path = folder + "/" + file.name;
        if (file.kind == File::Kind::folder) {
            std::filesystem::create_directory(path);
        } else if (file.kind == File::Kind::fifo) {
            ::mkfifo(path.c_str(), 0600);
        } else if (file.kind == File::Kind::link) {
            std::filesystem::create_symlink(file.content, path);
        } else {
            std::ofstream(path, std::ios::binary)
                .write(file.content.data(), static_cast<std::streamsize>(file.content.size()));
            if (file.kind == File::Kind::sparse) std::filesystem::resize_file(path, file.size);
        }
    }
}

inline void load_safetensors(const std::string& folder) {
    const moegrad::SafetensorsFile file(folder + "/model.safetensors");
    for (const moegrad::TensorInfo& info : file.tensors()) {
        if (info.type != moegrad::StoredType::f32) continue;
        std::vector<float> values(static_cast<std::size_t>(info.count));
        file.read(info, std::span(values));
    }
}

inline void load_index(const std::string& folder) {
    moegrad::CheckpointIndex index(folder);
    for (const std::string& name : index.names()) {
        const moegrad::TensorInfo& info = index.info(name);
        std::vector<float> values(static_cast<std::size_t>(info.count));
        index.read(name, info.shape, std::span(values));
    }
    index.require_all_read();
}

inline const moegrad::Tokenizer& small_tokenizer() {
    static const moegrad::Tokenizer tokenizer = io_test::TokenizerText().build();
    return tokenizer;
}

inline void load_data(const std::string& folder) {
    moegrad::DataOptions options;
    options.chat_template = "llama-2";
    static_cast<void>(moegrad::load_training_samples(folder + "/data.jsonl", small_tokenizer(), options));
}

[[noreturn]] inline void fail_encoding(const std::string& expected, const std::string& got) {
    throw moegrad::Error{ErrorCode::state, "text.txt", expected, got};
}

/// Every id is a token; a text that is UTF-8 comes back; asked not to, no special token is found in the text.
inline void check_encoding(const moegrad::Tokenizer& tokenizer, const std::string& text) {
    const auto ids = tokenizer.encode(text, {.add_special = false, .parse_special = false});
    for (const std::int32_t id : ids) {
        static_cast<void>(tokenizer.id_to_piece(id));
        if (tokenizer.is_special(id)) fail_encoding("no special token", tokenizer.id_to_piece(id));
    }
    if (moegrad::is_utf8(text) && tokenizer.decode(ids, moegrad::DecodeSpecial::keep) != text)
        fail_encoding("the text again", "another");
    static_cast<void>(tokenizer.encode(text));
}

inline void load_encode(const std::string& folder) {
    const moegrad::MappedFile file(folder + "/text.txt");
    check_encoding(moegrad::load_tokenizer(folder), std::string(file.text()));
}

/// The readers that need no model; adapters and checkpoints are in load_model.hpp.
inline void load(Reader reader, const std::string& folder) {
    switch (reader) {
        case Reader::safetensors: return load_safetensors(folder);
        case Reader::index: return load_index(folder);
        case Reader::config: static_cast<void>(moegrad::load_model_config(folder)); return;
        case Reader::tokenizer: static_cast<void>(moegrad::load_tokenizer(folder)); return;
        case Reader::encode: return load_encode(folder);
        case Reader::data: return load_data(folder);
        case Reader::adapter:
        case Reader::checkpoint: break;
    }
}

}  // namespace malformed

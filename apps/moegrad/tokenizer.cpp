// moegrad tokenizer: what a model's tokenizer makes of a text; the tokenizer.json of one that comes as ranks or merges; and
// a new one, trained on texts.

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include <moegrad/data/tokenizer_training.hpp>
#include <moegrad/io/json_lines.hpp>
#include <moegrad/io/json_writer.hpp>
#include <moegrad/io/sha256.hpp>
#include <moegrad/io/tokenizer_json.hpp>
#include <moegrad/io/tokenizer_make.hpp>
#include <moegrad/train/pretrain_config.hpp>

#include "toml_config.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

struct TokenizerFlags {
    std::string model, text, lines, kind, out, folder;
    std::vector<std::string> from, train;
    Index size = 4096;
    EncodeOptions encode;
};

void print_ids(const std::vector<std::int32_t>& ids) {
    std::string line;
    for (const std::int32_t id : ids) line += (line.empty() ? "" : " ") + std::to_string(id);
    std::puts(line.c_str());
}

void print_pieces(const Tokenizer& tokenizer, const EncodedText& text) {
    for (std::size_t i = 0; i < text.ids.size(); ++i)
        fmt::print("{:>8}  to byte {:<6} \"{}\"\n", text.ids[i], text.ends[i],
                   printable(tokenizer.id_to_piece(text.ids[i]), 200));
}

/// {"text": ..} gives a line of ids, {"ids": [..]} the text as a JSON string.
void print_lines(const Tokenizer& tokenizer, const TokenizerFlags& flags) {
    read_json_lines(flags.lines, [&](const JsonRef& line) {
        const auto list = line.find("ids");
        if (!list) return print_ids(tokenizer.encode(line.at("text").string(), flags.encode));
        std::vector<std::int32_t> ids;
        for (std::size_t i = 0; i < list->array().size(); ++i)
            ids.push_back(static_cast<std::int32_t>(list->item(i).integer(0, 1 << 30)));
        const DecodeSpecial special = flags.encode.parse_special ? DecodeSpecial::keep : DecodeSpecial::skip;
        std::puts(write_json(Json(tokenizer.decode(ids, special)), JsonStyle::compact).c_str());
    });
}

void make_and_write(const TokenizerFlags& flags) {
    const MadeTokenizer made = make_tokenizer(flags.kind, flags.from);
    for (const std::string& note : made.notes) fmt::print("{}\n", note);
    std::filesystem::create_directories(flags.out);
    write_tokenizer(made, flags.out);
    fmt::print("{}/tokenizer.json: {} tokens\n", flags.out, load_tokenizer(flags.out).vocab_size());
}

/// Of files, or of the training part of a pretraining recipe's mix.
void train_and_write(const TokenizerFlags& flags) {
    if (flags.out.empty() || !flags.from.empty())
        throw Error{ErrorCode::config, "tokenizer --train", "--out, and no --from", "the other way round"};
    require_no_tokenizer(flags.out);
    PretrainConfig recipe;
    std::vector<MixSource> sources{{"text", 1, flags.train}};
    const bool mix = flags.train.size() == 1 && flags.train.front().ends_with(".toml");
    if (mix) {
        read_toml_config(recipe, flags.train.front());
        sources = parse_mix(recipe.mix);
    }
    if (!flags.folder.empty()) recipe.folder = flags.folder;
    const auto texts = tokenizer_texts(sources, recipe.folder, mix ? recipe.holdout : 0, World(recipe.world));
    const Json tokenizer = train_tokenizer(texts, flags.size);
    write_metaspace_tokenizer(flags.out, tokenizer);
    fmt::print("{}/tokenizer.json: {} tokens, of {} texts, sha256 {}\n", flags.out,
               load_tokenizer(flags.out).vocab_size(), texts.size(),
               sha256_file(flags.out + "/tokenizer.json"));
}

void run_tokenizer(const TokenizerFlags& flags, const CLI::App& verb) {
    if (!flags.train.empty()) {
        train_and_write(flags);
    } else if (!flags.out.empty() || !flags.from.empty()) {
        if (flags.out.empty() || flags.from.empty() || flags.kind.empty())
            throw Error{ErrorCode::config, "tokenizer", "--from, --kind and --out together",
                        "not all of them"};
        make_and_write(flags);
    }
    const std::string folder = flags.model.empty() ? flags.out : flags.model;
    if (folder.empty()) throw Error{ErrorCode::config, "tokenizer", "--model, --from or --train", "none"};
    if (verb.count("--text") + verb.count("--lines") == 0) return;
    const Tokenizer tokenizer = load_tokenizer(folder);
    for (const std::string& note : tokenizer.notes()) fmt::print(stderr, "{}\n", note);
    if (verb.count("--text") > 0) {
        print_ids(tokenizer.encode(flags.text, flags.encode));
        print_pieces(tokenizer, tokenizer.encode_with_ends(flags.text, flags.encode));
    }
    if (!flags.lines.empty()) print_lines(tokenizer, flags);
}

void add_tokenizer(CLI::App& app) {
    auto flags = std::make_shared<TokenizerFlags>();
    CLI::App* verb =
        app.add_subcommand("tokenizer", "show the tokens of a text, make or train a tokenizer.json");
    verb->add_option("--model", flags->model, "folder with tokenizer.json or tokenizer.model");
    verb->add_option("--text", flags->text, "print its ids, then a line for each token");
    verb->add_option("--lines", flags->lines,
                     "file of lines: {\"text\": ..} gives a line of ids, {\"ids\": [..]} the text");
    verb->add_flag("--special", flags->encode.parse_special,
                   "special tokens written out in a text are tokens; decoding shows them");
    verb->add_flag("!--no-bos", flags->encode.add_special, "nothing around the text");
    verb->add_option("--from", flags->from, "files to make a tokenizer.json of, as --kind says")
        ->delimiter(',');
    verb->add_option("--kind", flags->kind, "llama-3: ranks; gpt-2, qwen2: vocabulary,merges")
        ->check(CLI::IsMember({"llama-3", "gpt-2", "qwen2"}));
    verb->add_option("--train", flags->train,
                     "texts to train a tokenizer on, or a pretraining recipe (.toml) with a mix")
        ->delimiter(',');
    verb->add_option("--folder", flags->folder, "where the files of --train are");
    verb->add_option("--size", flags->size, "tokens of it")->check(CLI::Range(Index{300}, Index{1} << 20));
    verb->add_option("--out", flags->out, "folder for the tokenizer.json");
    verb->callback([=] { run_tokenizer(*flags, *verb); });
}

const RegisterVerb tokenizer_registered(65, add_tokenizer);

}  // namespace

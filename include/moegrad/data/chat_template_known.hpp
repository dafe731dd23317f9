#pragma once
// Which built-in chat template a model's own Jinja text is: by the 64-bit FNV-1a hash of the text without the blanks that
// mean nothing. Published texts only; any other is refused with the list of names, none is run.

#include <moegrad/data/chat_template.hpp>
#include <moegrad/io/json.hpp>
#include <moegrad/io/mapped_file.hpp>
#include <moegrad/io/tokenizer.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace moegrad {

namespace detail {

/// What means the same to Jinja becomes the same text: inside {{ }} and {% %} blanks outside of quotes go, and a line end
/// in quotes is written \n; CRLF is LF; blanks go at both ends of the text and where a tag's minus takes them.
inline std::string normal_jinja(std::string_view text) {
    const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; };
    const auto at_or_nul = [&](std::size_t at) { return at < text.size() ? text[at] : '\0'; };
    std::string out;
    bool inside = false, takes_blanks = true;  // takes_blanks: those that follow
    char quote = 0;
    for (std::size_t at = 0; at < text.size(); ++at) {
        const char c = text[at], next = at_or_nul(at + 1);
        if (inside && quote == 0 && (c == '}' || c == '%') && next == '}') {
            takes_blanks = out.ends_with('-');
            out += {c, next};
            ++at;
            inside = false;
        } else if (inside && quote == 0 && blank(c)) {
            continue;
        } else if (inside) {
            if (c == '\'' || c == '"') quote = quote == 0 ? c : quote == c ? char{0} : quote;
            if (c == '\n') out += "\\n";
            if (c != '\n' && (c != '\r' || next != '\n')) out += c;
        } else if (c == '{' && (next == '{' || next == '%')) {
            const bool minus = at_or_nul(at + 2) == '-';
            while (minus && !out.empty() && blank(out.back())) out.pop_back();
            inside = true;
            takes_blanks = false;
            out += {c, next};
            ++at;
        } else if (!(takes_blanks && blank(c)) && (c != '\r' || next != '\n')) {
            takes_blanks = false;
            out += c;
        }
    }
    while (!inside && !out.empty() && blank(out.back())) out.pop_back();
    return out;
}

}  // namespace detail

inline std::uint64_t chat_template_hash(std::string_view jinja) {
    std::uint64_t hash = 0xcbf29ce484222325ull;
    for (const char c : detail::normal_jinja(jinja)) {
        hash ^= static_cast<unsigned char>(c);
        hash *= 0x100000001b3ull;
    }
    return hash;
}

struct KnownJinja {
    std::uint64_t hash;
    ChatTemplate chat_template;
    const char* where;  // a model that was published with it
};
inline constexpr KnownJinja kKnownJinja[] = {
    {0x6c50d1d6e720e237ull, ChatTemplate::llama2, "Llama-2-7b-chat-hf"},
    {0x1adceccc7328b21cull, ChatTemplate::llama3, "Meta-Llama-3-8B-Instruct, first text"},
    {0xae8ac1f53b8942b4ull, ChatTemplate::llama3, "Meta-Llama-3-8B-Instruct"},
    {0x59ff09d0c6676cc3ull, ChatTemplate::mistral_v1, "Mixtral-8x7B-Instruct-v0.1"},
    {0xdd39f833422aa4a9ull, ChatTemplate::mistral_v0_2, "Mistral-7B-Instruct-v0.2, first text"},
    {0xbb4524ed7672ee76ull, ChatTemplate::mistral_v0_1, "Mistral-7B-Instruct-v0.1, first text"},
    {0x9801c195ba70a86bull, ChatTemplate::mistral_v3, "Mistral-Large-Instruct-2407"},
    {0xabcc246a94341a38ull, ChatTemplate::chatml, "OpenHermes-2.5-Mistral-7B"},
    {0xe91fe3d0367e079bull, ChatTemplate::chatml, "the same without a generation prompt"},
    {0xb467173160c28633ull, ChatTemplate::qwen2, "Qwen2-7B-Instruct"},
};

inline std::optional<ChatTemplate> recognise_chat_template(std::string_view jinja) {
    const std::uint64_t hash = chat_template_hash(jinja);
    for (const auto& known : kKnownJinja) {
        if (known.hash == hash) return known.chat_template;
    }
    return std::nullopt;
}

struct ChosenTemplate {
    ChatTemplate chat_template;
    std::string why;
};

namespace detail {

inline constexpr JsonLimits kTokenizerConfigLimits{32, std::size_t{64} << 20, std::size_t{1} << 20};

/// The Jinja text of a model: chat_template.jinja, or chat_template of tokenizer_config.json (of several, `default`).
inline std::optional<std::string> model_chat_template(const std::string& model) {
    if (model.empty()) return std::nullopt;
    if (file_exists(model + "/chat_template.jinja"))
        return std::string(MappedFile(model + "/chat_template.jinja").text());
    const std::string path = model + "/tokenizer_config.json";
    if (!file_exists(path)) return std::nullopt;
    const Json json = parse_json_file(path, kTokenizerConfigLimits);
    const auto found = JsonRef(json, path).find_value("chat_template");
    if (!found) return std::nullopt;
    if (found->value().string()) return found->string();
    for (std::size_t i = 0; i < found->array().size(); ++i) {
        if (found->item(i).at("name").string() == "default") return found->item(i).at("template").string();
    }
    return std::nullopt;
}

}  // namespace detail

/// By name, or "auto": what the model's own files say, when that is one of ours.
inline ChosenTemplate choose_chat_template(const std::string& name, const std::string& model,
                                           const Tokenizer& tokenizer) {
    for (const auto& known : kChatTemplates) {
        if (name == known.name) return {known.chat_template, "as asked"};
    }
    if (name == "mistral") {
        const std::int32_t mark = tokenizer.token_to_id("[INST]");
        const bool special = mark != Vocabulary::kNone && tokenizer.is_special(mark);
        return {special ? ChatTemplate::mistral_v3 : ChatTemplate::mistral_v1,
                special ? "mistral; [INST] is a special token" : "mistral; [INST] is no special token"};
    }
    const std::string names = "one of " + chat_template_list() + ", mistral";
    if (name != "auto") throw Error{ErrorCode::config, "data.template", names + ", auto", name};
    const auto jinja = detail::model_chat_template(model);
    if (!jinja) {
        throw Error{ErrorCode::config, "data.template", names,
                    model.empty() ? "auto, and no model to look at"
                                  : moegrad::format("auto, and {} names no chat template", model),
                    "say which: a wrong template trains without an error"};
    }
    const auto known = recognise_chat_template(*jinja);
    if (!known) {
        throw Error{ErrorCode::unsupported, model + ": chat_template",
                    "a published template that is built in",
                    moegrad::format("{} characters of Jinja that are none (hash {:016x})", jinja->size(),
                                    chat_template_hash(*jinja)),
                    "templates are never run; pass --data.template with " + names};
    }
    return {*known, "the model's own chat_template is that of it"};
}

inline SpecialNames special_names(const Tokenizer& tokenizer) {
    const auto name_of = [&](std::int32_t id) {
        return id == Vocabulary::kNone ? std::string() : tokenizer.id_to_piece(id);
    };
    return {name_of(tokenizer.bos_id()), name_of(tokenizer.eos_id())};
}

}  // namespace moegrad

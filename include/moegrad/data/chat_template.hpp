#pragma once
// Chat templates, built in; a model's own Jinja program is never run. What they render, S, U, A being the contents:
//   llama-2     <s>[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST] A </s><s>[INST] U [/INST] A </s>     contents stripped
//   llama-3     <|begin_of_text|> and per message <|start_header_id|>ROLE<|end_header_id|>\n\nC<|eot_id|>    stripped
//   mistral-v1  <s> [INST] S\n\nU [/INST] A</s> [INST] U [/INST] A</s>       Mixtral-8x7B and 7B v0.1, v0.2 as of 2024-09
//   mistral-v0.2, mistral-v0.1      their first published forms: <s>[INST] U [/INST]A</s>[INST] .., </s> [INST] ..; no S
//   mistral-v3  <s>[INST] U[/INST] A</s>[INST] S\n\nU[/INST] A</s>           S before the last user message, A stripped
//   chatml      per message <|im_start|>ROLE\nC<|im_end|>\n;    qwen-2: the same, with a system message when there is none
// Tokens in <..> are special ids, in mistral-v3 [INST] and [/INST] too; elsewhere those are text, and so a content that
// has them is an error. Supervised: of an assistant its content and end token (</s>, <|eot_id|>, <|im_end|>; in llama-2
// with the space before it). "mistral" is mistral-v3 when the tokenizer has [INST] as a special token, else mistral-v1.
// Sources: chat_template of the tokenizer_config.json of each model.

#include <moegrad/core/error.hpp>
#include <moegrad/data/training_record.hpp>
#include <moegrad/io/utf8.hpp>

#include <algorithm>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moegrad {

enum class ChatTemplate { llama2, llama3, mistral_v1, mistral_v0_2, mistral_v0_1, mistral_v3, chatml, qwen2 };

struct ChatTemplateName {
    const char* name;
    ChatTemplate chat_template;
};
inline constexpr ChatTemplateName kChatTemplates[] = {{"llama-2", ChatTemplate::llama2},
                                                      {"llama-3", ChatTemplate::llama3},
                                                      {"mistral-v1", ChatTemplate::mistral_v1},
                                                      {"mistral-v0.2", ChatTemplate::mistral_v0_2},
                                                      {"mistral-v0.1", ChatTemplate::mistral_v0_1},
                                                      {"mistral-v3", ChatTemplate::mistral_v3},
                                                      {"chatml", ChatTemplate::chatml},
                                                      {"qwen-2", ChatTemplate::qwen2}};

inline std::string chat_template_name(ChatTemplate chat_template) {
    for (const auto& known : kChatTemplates) {
        if (known.chat_template == chat_template) return known.name;
    }
    return {};
}

inline std::string chat_template_list() {
    std::string all;
    for (const auto& known : kChatTemplates) all += (all.empty() ? "" : ", ") + std::string(known.name);
    return all;
}

struct ChatMessage {
    std::string role;  // system, user or assistant
    std::string content;
    bool supervised = false;
    std::string place;   // for errors
    bool marks = false;  // also what the template puts around the content is supervised, but for BOS
};

namespace detail {

/// str.strip() of Python, which Jinja's trim is.
inline std::string stripped(std::string_view text) {
    const auto blank = [](std::uint32_t point) {
        return is_white_space(point) || (point >= 0x1C && point <= 0x1F);
    };
    std::size_t begin = text.size(), end = 0;
    for (std::size_t at = 0; at < text.size();) {
        const Utf8Unit unit = utf8_unit(text, at);
        const std::size_t length = std::max<std::size_t>(unit.length, 1);
        if (unit.state != Utf8State::complete || !blank(unit.point)) {
            begin = std::min(begin, at);
            end = at + length;
        }
        at += length;
    }
    return begin < end ? std::string(text.substr(begin, end - begin)) : std::string();
}

/// Marks that are plain text in a template would be taken for its own when a content has them.
inline void refuse_marks(const ChatMessage& message, std::initializer_list<const char*> marks) {
    for (const char* mark : marks) {
        if (message.content.find(mark) == std::string::npos) continue;
        throw Error{ErrorCode::data, message.place, moegrad::format("a text without {}", mark), "one with it",
                    "this template marks its turns with that text, so a content must not have it"};
    }
}

/// An optional system message, then user, assistant, user, ..
inline void require_turns(std::span<const ChatMessage> turns, const char* first) {
    for (std::size_t i = 0; i < turns.size(); ++i) {
        const char* want = i % 2 == 0 ? "user" : "assistant";
        if (turns[i].role == want) continue;
        throw Error{ErrorCode::data, turns[i].place,
                    moegrad::format("role {} (this template has {}user, assistant, user, ..)", want, first),
                    turns[i].role};
    }
}

/// The first user message and the system message before it, as one text that is stripped.
inline void add_llama2_opening(const ChatMessage& system, const ChatMessage& user, TrainingRecord& record) {
    std::string content = stripped("." + user.content).substr(1);
    record.add("<<SYS>>\n", system.marks);
    record.add(system.content, system.supervised);
    record.add(content.empty() ? "\n<</SYS>>" : "\n<</SYS>>\n\n", system.marks);
    record.add(std::move(content), user.supervised);
}

inline void render_llama2(std::span<const ChatMessage> turns, const ChatMessage* system,
                          const SpecialNames& names, TrainingRecord& record) {
    for (const ChatMessage& turn : turns) {
        if (turn.role == "user") {
            record.add_special(names.bos);
            record.add("[INST] ", turn.marks);
            if (system != nullptr && &turn == turns.data()) {
                add_llama2_opening(*system, turn, record);
            } else {
                record.add(stripped(turn.content), turn.supervised);
            }
            record.add(" [/INST]", turn.marks);
        } else {
            record.add(" ", turn.marks);
            record.add(stripped(turn.content) + " ", turn.supervised);
            record.add_special(names.eos, turn.supervised);
        }
    }
}

/// What differs between the forms of Mistral's template.
struct MistralForm {
    const char *before_user, *after_user, *before_answer, *after_answer;
    bool
        special_marks;  // [INST] and [/INST] are special tokens; the system message goes before the last user's
};

inline MistralForm mistral_form(ChatTemplate chat_template) {
    switch (chat_template) {
        case ChatTemplate::mistral_v3: return {" ", "", " ", "", true};
        case ChatTemplate::mistral_v0_2: return {"[INST] ", " [/INST]", "", "", false};
        case ChatTemplate::mistral_v0_1: return {"[INST] ", " [/INST]", "", " ", false};
        default: return {" [INST] ", " [/INST]", " ", "", false};
    }
}

inline void render_mistral(std::span<const ChatMessage> turns, const ChatMessage* system,
                           const MistralForm& form, const SpecialNames& names, TrainingRecord& record) {
    std::size_t opened = 0;  // the user message that the system message goes before
    for (std::size_t i = 0; i < turns.size() && form.special_marks; i += 2) opened = i;
    record.add_special(names.bos);
    for (std::size_t i = 0; i < turns.size(); ++i) {
        const ChatMessage& turn = turns[i];
        if (turn.role == "user") {
            if (form.special_marks) record.add_special("[INST]", turn.marks);
            record.add(form.before_user, turn.marks);
            if (system != nullptr && i == opened) {
                record.add(system->content, system->supervised);
                record.add("\n\n", system->marks);
            }
            record.add(turn.content, turn.supervised);
            record.add(form.after_user, turn.marks);
            if (form.special_marks) record.add_special("[/INST]", turn.marks);
        } else {
            record.add(form.before_answer, turn.marks);
            record.add(form.special_marks ? stripped(turn.content) : turn.content, turn.supervised);
            record.add_special(names.eos, turn.supervised);
            record.add(form.after_answer, turn.marks);
        }
    }
}

inline void render_llama3(std::span<const ChatMessage> messages, TrainingRecord& record) {
    record.add_special("<|begin_of_text|>");
    for (const ChatMessage& message : messages) {
        record.add_special("<|start_header_id|>", message.marks);
        record.add(message.role, message.marks);
        record.add_special("<|end_header_id|>", message.marks);
        record.add("\n\n", message.marks);
        record.add(stripped(message.content), message.supervised);
        record.add_special("<|eot_id|>", message.supervised);
    }
}

inline void render_chatml(std::span<const ChatMessage> messages, bool default_system,
                          TrainingRecord& record) {
    const auto add = [&](const ChatMessage& message) {
        record.add_special("<|im_start|>", message.marks);
        record.add(message.role + "\n", message.marks);
        record.add(message.content, message.supervised);
        record.add_special("<|im_end|>", message.supervised);
        record.add("\n", message.marks);
    };
    if (default_system && messages.front().role != "system") {
        const bool all =
            std::any_of(messages.begin(), messages.end(), [](const ChatMessage& one) { return one.marks; });
        add({"system", "You are a helpful assistant.", all, {}, all});
    }
    for (const ChatMessage& message : messages) add(message);
}

}  // namespace detail

/// Appends the pieces of the conversation, which must not be empty. No tokenizer frame comes around them.
inline void render_chat(ChatTemplate chat_template, std::span<const ChatMessage> messages,
                        const SpecialNames& names, TrainingRecord& record) {
    record.framed = false;
    if (chat_template == ChatTemplate::llama3) return detail::render_llama3(messages, record);
    if (chat_template == ChatTemplate::chatml || chat_template == ChatTemplate::qwen2)
        return detail::render_chatml(messages, chat_template == ChatTemplate::qwen2, record);
    const bool takes_system =
        chat_template != ChatTemplate::mistral_v0_1 && chat_template != ChatTemplate::mistral_v0_2;
    const ChatMessage* system =
        takes_system && messages.front().role == "system" ? &messages.front() : nullptr;
    const auto turns = messages.subspan(system != nullptr ? 1 : 0);
    if (turns.empty()) {
        throw Error{ErrorCode::data, messages.front().place, "a user message after the system message",
                    "none"};
    }
    detail::require_turns(turns, takes_system ? "an optional system message, then " : "");
    for (const ChatMessage& message : messages) {
        if (chat_template == ChatTemplate::llama2) {
            detail::refuse_marks(message, {"[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"});
        } else if (chat_template != ChatTemplate::mistral_v3) {
            detail::refuse_marks(message, {"[INST]", "[/INST]"});
        }
    }
    if (chat_template == ChatTemplate::llama2) return detail::render_llama2(turns, system, names, record);
    detail::render_mistral(turns, system, detail::mistral_form(chat_template), names, record);
}

}  // namespace moegrad

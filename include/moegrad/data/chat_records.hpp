#pragma once
// Conversations, one JSON object a line:
//   {"messages": [{"role": "user", "content": ".."}, {"role": "assistant", "content": ".."}]}
//   {"system": "..", "conversations": [{"from": "human", "value": ".."}, {"from": "gpt", "value": ".."}]}    ShareGPT
// Supervised are the assistant's messages. A message may say otherwise: "loss": true or false, or "weight": 0 or 1; or the
// record says it for all of them, "train_on_turn": [false, true, ..]. Two that disagree are an error.
// data.train_on = all supervises whole messages, marks and headers too, but for those that say otherwise.

#include <moegrad/data/chat_template.hpp>
#include <moegrad/data/record_formats.hpp>

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace moegrad {

namespace detail {

inline std::string chat_role(const JsonRef& role) {
    struct Alias {
        const char *name, *role;
    };
    constexpr Alias known[] = {{"system", "system"},
                               {"user", "user"},
                               {"human", "user"},
                               {"assistant", "assistant"},
                               {"gpt", "assistant"}};
    for (const Alias& alias : known) {
        if (role.string() == alias.name) return alias.role;
    }
    role.fail("system, user (human) or assistant (gpt)", "tool calls and other roles are not rendered here");
}

/// true, false, 0 or 1.
inline bool chat_flag(const JsonRef& value) {
    if (const auto truth = value.value().boolean()) return *truth;
    const auto number = value.value().number();
    if (!number || (*number != 0 && *number != 1)) value.fail("true, false, 0 or 1");
    return *number == 1;
}

/// What the message itself says about being supervised.
inline std::optional<bool> own_loss(const JsonRef& message, const std::optional<JsonRef>& turns,
                                    std::size_t index) {
    std::optional<bool> said;
    const auto take = [&](const std::optional<JsonRef>& value) {
        if (!value) return;
        const bool flag = chat_flag(*value);
        if (said && *said != flag) value->fail("what the other keys of this message say");
        said = flag;
    };
    take(message.find_value("loss"));
    take(message.find_value("weight"));
    if (turns) take(turns->item(index));
    return said;
}

inline std::vector<ChatMessage> read_chat(const JsonRef& line, bool train_on_all) {
    const bool sharegpt = !line.find_value("messages") && line.find_value("conversations");
    const JsonRef list = line.at(sharegpt ? "conversations" : "messages");
    const std::size_t count = list.array().size();
    if (count == 0) list.fail("at least one message");
    const auto turns = line.find_value("train_on_turn");
    if (turns && turns->array().size() != count)
        turns->fail(moegrad::format("{} entries, one per message", count));
    std::vector<ChatMessage> messages;
    if (const auto system = line.find_value("system"))
        messages.push_back({"system", system->string(), train_on_all, system->place(), train_on_all});
    for (std::size_t i = 0; i < count; ++i) {
        const JsonRef message = list.item(i);
        if (const auto calls = message.find_value("tool_calls"))
            calls->fail_unsupported("no tool calls", "the built-in templates do not render them");
        const JsonRef content = message.at(sharegpt ? "value" : "content");
        ChatMessage chat{chat_role(message.at(sharegpt ? "from" : "role")), content.string(), false,
                         content.place()};
        const auto own = own_loss(message, turns, i);
        chat.supervised = own.value_or(train_on_all || chat.role == "assistant");
        chat.marks = train_on_all && chat.supervised;
        messages.push_back(std::move(chat));
    }
    return messages;
}

inline TrainingRecord chat_record(const JsonRef& line, Index number, ChatTemplate chat_template,
                                  const SpecialNames& names, bool train_on_all) {
    TrainingRecord record = open_record(line, number);
    const std::vector<ChatMessage> messages = read_chat(line, train_on_all);
    for (const ChatMessage& message : messages) {
        const bool answer = message.role == "assistant" && message.supervised;
        if (answer && stripped(message.content).empty()) record.unanswered = message.place;
    }
    render_chat(chat_template, std::span<const ChatMessage>(messages), names, record);
    return record;
}

}  // namespace detail

}  // namespace moegrad

// Chat templates against transformers' apply_chat_template: texts, ids and what is supervised (tests/golden/make_chat.py).

#include <doctest/doctest.h>

#include <moegrad/data/chat_records.hpp>
#include <moegrad/data/chat_template_known.hpp>
#include <moegrad/data/encode_record.hpp>
#include <moegrad/io/tokenizer_json.hpp>

#include "io/support.hpp"

using namespace moegrad;
using io_test::expect_error;
using io_test::TemporaryFolder;

namespace {

const std::string kGolden = MOEGRAD_SOURCE_DIR "/tests/golden/chat";

const Json& golden() {
    static const Json json = parse_json_file(kGolden + "/chat.json");
    return json;
}
const Tokenizer& tokenizer() {
    static const Tokenizer loaded = load_tokenizer(kGolden);
    return loaded;
}

/// The same pieces with Metaspace "first" in place of the normalizer.
const Tokenizer& unprefixed() {
    static const Tokenizer loaded = [] {
        std::string text = io_test::read_text(kGolden + "/tokenizer.json");
        const std::size_t begin = text.find("\"normalizer\":{"), end = text.find("\"post_processor\"");
        text.replace(
            begin, end - begin,
            "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\u2581\","
            "\"prepend_scheme\":\"first\",\"split\":false},");
        return parse_tokenizer(parse_json(text, "tokenizer.json"), "tokenizer.json");
    }();
    return loaded;
}

ChatTemplate by_name(const std::string& name) {
    return choose_chat_template(name, "", tokenizer()).chat_template;
}

std::vector<ChatMessage> conversation(const JsonRef& list) {
    std::vector<ChatMessage> messages;
    for (std::size_t i = 0; i < list.array().size(); ++i) {
        const JsonRef one = list.item(i);
        const std::string role = one.at("role").string();
        messages.push_back({role, one.at("content").string(), role == "assistant", one.place()});
    }
    return messages;
}

TrainingRecord rendered(const std::string& name, const std::vector<ChatMessage>& messages) {
    TrainingRecord record;
    record.place = "chat.jsonl:1";
    render_chat(by_name(name), std::span<const ChatMessage>(messages), {"<s>", "</s>"}, record);
    return record;
}

std::vector<std::int32_t> numbers(const JsonRef& list) {
    std::vector<std::int32_t> all;
    for (std::size_t i = 0; i < list.array().size(); ++i)
        all.push_back(static_cast<std::int32_t>(list.item(i).integer(0, 1 << 20)));
    return all;
}

/// Text of the tokens that are supervised.
std::string supervised_text(const EncodedRecord& encoded) {
    std::vector<std::int32_t> ids;
    for (std::size_t t = 0; t < encoded.token.size(); ++t)
        if (encoded.supervised[t]) ids.push_back(encoded.token[t]);
    return tokenizer().decode(ids, DecodeSpecial::keep);
}

}  // namespace

TEST_CASE("chat templates: texts, ids and masks are those of transformers") {
    const JsonRef root(golden(), "chat.json");
    const JsonRef cases = root.at("cases");
    Index texts = 0, refused = 0, tokens = 0;
    for (std::size_t i = 0; i < cases.array().size(); ++i) {
        const JsonRef one = cases.item(i);
        const std::string name = one.at("template").string();
        CAPTURE(name);
        const auto index = static_cast<std::size_t>(one.at("conversation").integer(0, 100));
        CAPTURE(index);
        const auto messages = conversation(root.at("conversations").item(index));
        if (one.find("error")) {
            CHECK_THROWS_AS(rendered(name, messages), Error);
            ++refused;
            continue;
        }
        const TrainingRecord record = rendered(name, messages);
        CHECK(record.text() == one.at("rendered").string());
        const EncodedRecord encoded =
            encode_record(record, one.find("metaspace") ? unprefixed() : tokenizer());
        CHECK(encoded.token == numbers(one.at("ids")));
        const auto want = numbers(one.at("supervised"));
        CHECK(std::vector<std::int32_t>(encoded.supervised.begin(), encoded.supervised.end()) == want);
        ++texts;
        tokens += std::ssize(want);
    }
    CHECK(texts + refused == 8 * 8 + 3 * 3);
    CHECK(refused == 2 * 5 + 2 * 2);  // five alternate, and two of those have no system message
    CHECK(tokens > 1000);
}

TEST_CASE("chat templates: every published text is recognised, a changed one is not") {
    const JsonRef templates = JsonRef(golden(), "chat.json").at("templates");
    Index known = 0;
    for (std::size_t i = 0; i < templates.array().size(); ++i) {
        const std::string name = templates.item(i).at("name").string();
        const std::string jinja = templates.item(i).at("jinja").string();
        CAPTURE(name);
        if (name == "mistral-v3") continue;  // the golden's text has no tools and was not published
        const auto found = recognise_chat_template(jinja);
        REQUIRE(found.has_value());
        CHECK(chat_template_name(*found) == name);
        std::string windows = jinja, longer = jinja + "!", shifted = jinja;
        for (std::size_t at = windows.find('\n'); at != std::string::npos; at = windows.find('\n', at + 2))
            windows.insert(at, "\r");
        CHECK(recognise_chat_template(" \n" + windows + "\n") == found);
        CHECK_FALSE(recognise_chat_template(longer).has_value());
        shifted.insert(shifted.find('\'') + 1, " ");  // a blank inside quotes is part of the text
        CHECK_FALSE(recognise_chat_template(shifted).has_value());
        ++known;
    }
    CHECK(known == 9);
}

TEST_CASE("chat templates: auto reads the model's own, refuses what it does not know, and never guesses") {
    const TemporaryFolder folder;
    const auto choose = [&] { return choose_chat_template("auto", folder.path(), tokenizer()); };
    const std::string place = "chat_template";
    expect_error(ErrorCode::config, "names no chat template", choose);
    folder.write("tokenizer_config.json", "{\"chat_template\":\"{{ messages }}\"}");
    expect_error(ErrorCode::unsupported, "llama-2, llama-3, mistral-v1", choose);
    folder.write(
        "tokenizer_config.json",
        "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"x\"},{\"name\":\"default\",\"template\":"
        "\"{% for message in messages %}{{ '<|im_start|>'+message['role'] + '\\n' + message['content'] + "
        "'<|im_end|>' + '\\n' }}{% endfor %}\"}]}");
    CHECK(choose().chat_template == ChatTemplate::chatml);
    folder.write("chat_template.jinja", "{{ 7 * 7 }}");
    expect_error(ErrorCode::unsupported, "none (hash", choose);
    folder.write("chat_template.jinja", "");
    folder.write("tokenizer_config.json", "{\"chat_template\":7}");
    expect_error(ErrorCode::unsupported, "0 characters", choose);
    expect_error(ErrorCode::config, "data.template", [] { choose_chat_template("llama2", "", tokenizer()); });
    expect_error(ErrorCode::config, "no model to look at",
                 [] { choose_chat_template("auto", "", tokenizer()); });
    CHECK(by_name("mistral") == ChatTemplate::mistral_v3);  // this tokenizer has [INST] as a special token
}

TEST_CASE("chat templates: contents never become special tokens") {
    for (const char* name : {"llama-2", "llama-3", "mistral-v1", "mistral-v3", "chatml"}) {
        CAPTURE(name);
        const std::vector<ChatMessage> plain{{"user", "a", false, "p"}, {"assistant", "b", true, "p"}};
        const std::vector<ChatMessage> nasty{
            {"user", "</s><s><|im_end|><|eot_id|><|start_header_id|>a", false, "p"},
            {"assistant", "<|im_start|>b</s>c", true, "p"}};
        const auto specials = [&](const std::vector<ChatMessage>& messages) {
            std::vector<std::int32_t> ids;
            for (const std::int32_t id : encode_record(rendered(name, messages), tokenizer()).token)
                if (tokenizer().is_special(id)) ids.push_back(id);
            return ids;
        };
        CHECK(specials(nasty) == specials(plain));
        CHECK(rendered(name, nasty).text().find("</s>c") != std::string::npos);
    }
    // [INST] is a special token of mistral-v3 and only text in a content; elsewhere it would pass for a turn.
    const std::vector<ChatMessage> turns{{"user", "x [/INST] y", false, "f.jsonl:3: messages[0].content"},
                                         {"assistant", "b", true, "p"}};
    CHECK(rendered("mistral-v3", turns).text() == "<s>[INST] x [/INST] y[/INST] b</s>");
    for (const char* name : {"llama-2", "mistral-v1", "mistral-v0.1", "mistral-v0.2"})
        expect_error(ErrorCode::data, "f.jsonl:3: messages[0].content", [&] { rendered(name, turns); });
    const std::vector<ChatMessage> system{
        {"system", "<</SYS>>", false, "f.jsonl:4: system"}, turns[1], turns[1]};
    expect_error(ErrorCode::data, "f.jsonl:4: system", [&] {
        rendered("llama-2", {system[0], {"user", "a", false, "p"}, system[1]});
    });
}

TEST_CASE("chat templates: a template of another model is refused by the token it lacks") {
    const TemporaryFolder folder;
    std::string text = io_test::read_text(kGolden + "/tokenizer.json");
    for (std::size_t at = text.find("<|im_end|>"); at != std::string::npos;
         at = text.find("<|im_end|>", at + 1))
        text.replace(at, 10, "<|in_end|>");
    folder.write("tokenizer.json", text);
    const Tokenizer other = load_tokenizer(folder.path());
    const TrainingRecord record =
        rendered("chatml", {{"user", "a", false, "p"}, {"assistant", "b", true, "p"}});
    expect_error(ErrorCode::config, "<|im_end|> as a special token", [&] { encode_record(record, other); });
}

TEST_CASE("chat records: ShareGPT, system keys, flags per message") {
    const TemporaryFolder folder;
    const auto pieces = [&](const std::string& line, bool all = false) {
        std::string marked;
        read_json_lines(folder.write("c.jsonl", line + "\n"), [&](const JsonRef& record) {
            const auto rendered_record =
                detail::chat_record(record, 1, ChatTemplate::chatml, {"<s>", "</s>"}, all);
            marked = supervised_text(encode_record(rendered_record, tokenizer()));
        });
        return marked;
    };
    const std::string turns = "[{\"from\":\"human\",\"value\":\"q\"},{\"from\":\"gpt\",\"value\":\"a\"}]";
    CHECK(pieces("{\"conversations\":" + turns + "}") == "a<|im_end|>");
    CHECK(pieces("{\"system\":\"s\",\"conversations\":" + turns + "}") == "a<|im_end|>");
    const auto two = [](const std::string& first, const std::string& second, const std::string& rest = {}) {
        return "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":"
               "\"a\"" +
               first + "},{\"role\":\"user\",\"content\":\"r\"},{\"role\":\"assistant\",\"content\":\"b\"" +
               second + "}]" + rest + "}";
    };
    CHECK(pieces(two("", "")) == "a<|im_end|>b<|im_end|>");
    CHECK(pieces(two(",\"loss\":false", "")) == "b<|im_end|>");
    CHECK(pieces(two(",\"weight\":0", ",\"weight\":1.0")) == "b<|im_end|>");
    CHECK(pieces(two("", "", ",\"train_on_turn\":[true,false,0,1]")) == "q<|im_end|>b<|im_end|>");
    expect_error(ErrorCode::data, "messages[1].weight",
                 [&] { pieces(two(",\"loss\":true,\"weight\":0", "")); });
    expect_error(ErrorCode::data, "messages[1].weight", [&] { pieces(two(",\"weight\":0.5", "")); });
    expect_error(ErrorCode::data, "4 entries", [&] { pieces(two("", "", ",\"train_on_turn\":[true]")); });
    expect_error(ErrorCode::data, "messages[0].role",
                 [&] { pieces("{\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]}"); });
    expect_error(ErrorCode::data, "messages[0].content",
                 [&] { pieces("{\"messages\":[{\"role\":\"user\",\"content\":null}]}"); });
    expect_error(ErrorCode::data, "this key", [&] { pieces("{\"messages\":[{\"role\":\"user\"}]}"); });
    expect_error(ErrorCode::data, "at least one message", [&] { pieces("{\"messages\":[]}"); });
    // Supervised are all of the rendered pieces but BOS and those of a message that says no.
    const auto left_out = [&](ChatTemplate chat_template, const std::string& flag) {
        std::string text;
        const std::string line =
            "{\"system\":\"s\",\"messages\":[{\"role\":\"user\",\"content\":\"q\"},"
            "{\"role\":\"assistant\",\"content\":\"a\"" +
            flag + "}]}";
        read_json_lines(folder.write("c.jsonl", line + "\n"), [&](const JsonRef& record) {
            const auto read = detail::chat_record(record, 1, chat_template, {"<s>", "</s>"}, true);
            for (const TextPiece& piece : read.pieces) text += piece.supervised ? "" : piece.text;
        });
        return text;
    };
    const std::string off = ",\"loss\":false", header = "<|start_header_id|>assistant<|end_header_id|>\n\n";
    CHECK(left_out(ChatTemplate::llama2, "") == "<s>");
    CHECK(left_out(ChatTemplate::llama2, off) == "<s> a </s>");
    CHECK(left_out(ChatTemplate::llama3, "") == "<|begin_of_text|>");
    CHECK(left_out(ChatTemplate::llama3, off) == "<|begin_of_text|>" + header + "a<|eot_id|>");
    CHECK(left_out(ChatTemplate::mistral_v1, "") == "<s>");
    CHECK(left_out(ChatTemplate::mistral_v3, off) == "<s> a</s>");
    CHECK(left_out(ChatTemplate::chatml, "") == "");
    CHECK(left_out(ChatTemplate::chatml, off) == "<|im_start|>assistant\na<|im_end|>\n");
    expect_error(ErrorCode::unsupported, "tool_calls", [&] {
        pieces("{\"messages\":[{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{}]}]}");
    });
}

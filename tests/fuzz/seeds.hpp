#pragma once
// Where the fuzzer starts: every file of the malformed corpus that is short enough, bad and good, and a few more.

#include <fuzz/text_targets.hpp>
#include <malformed/corpus.hpp>

#include <map>
#include <string>
#include <vector>

namespace fuzz {

using Seeds = std::map<std::string, std::vector<std::string>>;  // target -> inputs

inline constexpr std::size_t kLongestSeed = 2048;

inline Seeds corpus_seeds() {
    Seeds seeds;
    const std::map<std::string, std::string> target_of = {{"model.safetensors", "safetensors"},
                                                          {malformed::kIndexName, "index"},
                                                          {"config.json", "config"},
                                                          {"text.txt", "encode"},
                                                          {"data.jsonl", "jsonl"}};
    for (const malformed::Case& row : malformed::corpus())
        for (const malformed::Files& files : {row.bad, row.good})
            for (const malformed::File& file : files) {
                const auto target = target_of.find(file.name);
                if (target == target_of.end() || file.content.size() > kLongestSeed) continue;
                const std::string first(target->second == "jsonl" ? 1 : 0, '\0');
                seeds[target->second].push_back(first + file.content);
            }
    return seeds;
}

inline void add_tokenizer_seeds(std::vector<std::string>& seeds) {
    using Text = io_test::TokenizerText;
    seeds.push_back(tiny_tokenizer_text().text());
    const std::pair<std::string Text::*, const char*> changes[] = {
        {&Text::pre_tokenizer,
         R"({"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":true})"},
        {&Text::decoder, R"({"type":"Metaspace","replacement":"▁","add_prefix_space":true})"},
        {&Text::post_processor, "null"},
        {&Text::normalizer, "null"},
        {&Text::added, R"([{"id":9,"content":"<x>","lstrip":true,"rstrip":true,"normalized":true}])"},
        {&Text::merges, R"([["a","b"],["▁","a"]])"}};
    Text split = tiny_tokenizer_text();
    split.normalizer = "null";
    split.pre_tokenizer =
        R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\p{L}+"},)"
        R"("behavior":"Isolated"},{"type":"Digits"}]})";
    seeds.push_back(split.text());
    for (const auto& [section, value] : changes) {
        Text text = tiny_tokenizer_text();
        text.*section = value;
        seeds.push_back(text.text());
    }
}

inline Seeds all_seeds() {
    Seeds seeds = corpus_seeds();
    add_tokenizer_seeds(seeds["tokenizer"]);
    seeds["encode"].push_back(" a b abc\xC3\xA9\xE2\x96\x81</s>\n\xF0\x9F\x98\x80");
    const char* records[] = {
        R"({"id":"x","prompt":"a b","completion":" c","fact":[[0,1]],"level":1,"domain":"d"})",
        R"({"instruction":"a","input":"b","output":"c"})",
        R"({"context":"a","question":"b","answer":"c"})",
        R"({"question":"a","answers":["b","c"],"id":7})",
        R"({"id":"q","question":"a","choices":["b","c"],"answer":1})",
        R"({"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},{"role":"assistant","content":"b","loss":true},{"role":"user","content":"c"},{"role":"assistant","content":"d","weight":0}]})",
        R"({"system":"s","conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}],"train_on_turn":[false,true]})"};
    const char formats[] = {2, 3, 5, 5, 6, 7, 15};
    for (std::size_t i = 0; i < std::size(records); ++i) {
        seeds["jsonl"].push_back(std::string(1, formats[i]) + records[i] + "\n");
        seeds["jsonl"].push_back(std::string(1, '\0') + records[i] + "\r\n\n" + records[i]);
    }
    seeds["tsv"] = {"0\ta b\n1\tc\n", "label\ttext\n0\ta\r\n", "0\ta\tb\n1\n", "2\ta", ""};
    return seeds;
}

}  // namespace fuzz

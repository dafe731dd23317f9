#pragma once
// The flags of verbs that read an adapter: --peft-layout, how it packs the LoRA of fused experts where its files do not
// say; --any-base, which takes an adapter of another base.

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

#include <moegrad/methods/adapter_layout.hpp>

/// `reading` must live as long as the parser.
inline void add_adapter_reading(CLI::App* verb, moegrad::AdapterReading& reading) {
    std::vector<std::string> words{std::string(name(moegrad::PeftLayout::automatic))};
    for (const moegrad::PeftLayout layout : moegrad::kPeftLayouts) words.emplace_back(name(layout));
    verb->add_option_function<std::string>(
            "--peft-layout",
            [&reading](const std::string& word) { reading.layout = *moegrad::peft_layout_named(word); },
            "how the adapter packs fused experts, where its files leave it open")
        ->check(CLI::IsMember(words))
        ->default_str("auto");
    verb->add_flag("--any-base", reading.any_base, "take an adapter that was trained on another base");
}

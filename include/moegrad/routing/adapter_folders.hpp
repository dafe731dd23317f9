#pragma once
// adapter_folders: the folders that router.options names under `adapters`, "runs/a/adapter;runs/b/adapter". What is in them
// decides a run as its data does.

#include <algorithm>
#include <string>
#include <vector>

#include <moegrad/routing/router_options.hpp>

namespace moegrad {

inline std::vector<std::string> adapter_folders(const RouterOptions& options) {
    const std::string text = options.text("adapters", "");
    std::vector<std::string> all;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find(';', at), text.size());
        if (end > at) all.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return all;
}

}  // namespace moegrad

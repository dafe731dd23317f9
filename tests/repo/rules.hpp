#pragma once
// The rules of the house as functions over a list of files: each returns one sentence per violation. They read text
// only, so a test can plant a violation without touching the tree.

#include <repo/source_text.hpp>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace repo {

using Complaints = std::vector<std::string>;

inline constexpr std::string_view kHeaders = "include/moegrad/";

/// "ops" for include/moegrad/ops/silu.hpp and for moegrad/ops/silu.hpp; "" for a header that stands beside the
/// folders; "apps" for apps/.
inline std::string layer_of(std::string_view path) {
    if (starts(path, "apps/")) return "apps";
    if (starts(path, "include/")) path.remove_prefix(8);
    if (starts(path, "moegrad/")) path.remove_prefix(8);
    const std::size_t slash = path.find('/');
    return slash == path.npos ? "" : std::string(path.substr(0, slash));
}

inline int rank_of(std::string_view layer) {
    static const std::map<std::string_view, int> ranks{
        {"core", 0},    {"autograd", 1}, {"ops", 2},  {"routing", 3}, {"nn", 4},      {"models", 5},
        {"methods", 6}, {"train", 7},    {"eval", 7}, {"report", 7},  {"testing", 7}, {"apps", 8}};
    const auto found = ranks.find(layer);
    return found == ranks.end() ? -1 : found->second;
}

/// Whether a file of one layer may include a file of the other.
inline bool may_include(std::string_view from, std::string_view to) {
    if (from == to) return true;
    if (to == "cpu") return false;
    if (from == "cpu") return one_of(to, {"ops", "autograd", "core"});
    if (from == "io") return to == "core";
    if (from == "data") return one_of(to, {"core", "io"});
    if (one_of(to, {"io", "data"})) return rank_of(from) >= rank_of("models");
    const bool siblings = rank_of(from) == rank_of("train") && rank_of(to) == rank_of("train");
    return siblings || rank_of(from) > rank_of(to);
}

inline Complaints layering(const Tree& tree) {
    Complaints complaints;
    for (const SourceFile& file : tree) {
        if (!starts(file.path, kHeaders) && !starts(file.path, "apps/")) continue;
        const std::string from = layer_of(file.path);
        if (!from.empty() && !one_of(from, {"cpu", "io", "data"}) && rank_of(from) < 0) {
            complaints.push_back(file.path + ": no layer is called " + from);
            continue;
        }
        for (const Include& include : includes_of(file.text)) {
            if (!starts(include.target, "moegrad/") || include.target == "moegrad/version.hpp") continue;
            const std::string to = layer_of(include.target);
            const bool umbrella = to.empty();
            const bool allowed = umbrella       ? from == "apps" || from.empty()
                                 : from.empty() ? to != "cpu"
                                                : may_include(from, to);
            if (!allowed) complaints.push_back(file.path + " must not include <" + include.target + ">");
        }
    }
    return complaints;
}

/// Who may see which library, and which standard headers cost every user too much.
inline Complaints third_party(const Tree& tree) {
    Complaints complaints;
    const auto refuse = [&](const SourceFile& file, const Include& include, const char* why) {
        complaints.push_back(file.path + ": <" + include.target + "> " + why);
    };
    for (const SourceFile& file : tree) {
        if (!starts(file.path, kHeaders)) continue;
        for (const Include& include : includes_of(file.text)) {
            const std::string& target = include.target;
            if (starts(target, "Eigen/") && layer_of(file.path) != "cpu")
                refuse(file, include, "belongs in cpu/ only");
            if (starts(target, "fmt/") && file.path != "include/moegrad/core/format.hpp")
                refuse(file, include, "comes through core/format.hpp");
            if (starts(target, "nlohmann/") && file.path != "include/moegrad/io/json.hpp")
                refuse(file, include, "comes through io/json.hpp");
            if (one_of(target, {"iostream", "ranges", "functional", "regex"}))
                refuse(file, include, "costs every user its compile time");
            if (include.quoted) refuse(file, include, "must be written <moegrad/...>");
        }
    }
    return complaints;
}

/// What moegrad.hpp drags in, over all its includes: our own compute headers, the standard library, fmt.
inline Complaints umbrella(const Tree& tree) {
    Complaints complaints;
    std::set<std::string> seen;
    std::vector<std::string> open{"include/moegrad/moegrad.hpp"};
    while (!open.empty()) {
        const std::string path = open.back();
        open.pop_back();
        const SourceFile* file = find(tree, path);
        if (!seen.insert(path).second || file == nullptr) continue;
        for (const Include& include : includes_of(file->text)) {
            if (starts(include.target, "moegrad/")) {
                open.push_back("include/" + include.target);
                if (layer_of(include.target) == "cpu")
                    complaints.push_back(path + ": a kernel in moegrad.hpp");
            } else if (contains(include.target, "/") && !starts(include.target, "fmt/") &&
                       !starts(include.target, "sys/")) {
                complaints.push_back(path + ": <" + include.target + "> reaches moegrad.hpp");
            }
        }
    }
    return complaints;
}

/// .hpp and .cpp never mention CUDA; two headers of core name the compiler's macros.
inline Complaints no_cuda(const Tree& tree) {
    Complaints complaints;
    for (const SourceFile& file : tree) {
        if (!starts(file.path, kHeaders) && !starts(file.path, "apps/")) continue;
        const std::string code = code_of(file.text);
        const bool config =
            one_of(file.path, {"include/moegrad/core/config.hpp", "include/moegrad/core/format.hpp"});
        for (const char* word :
             {"__global__", "__shared__", "cuda_runtime", "cuda_bf16", "cublas", ".cuh>", "<<<"}) {
            if (contains(code, word)) complaints.push_back(file.path + ": " + word);
        }
        for (const char* word : {"__CUDACC__", "__CUDA_ARCH__", "__device__", "__host__"}) {
            if (!config && contains(code, word)) complaints.push_back(file.path + ": " + word);
        }
        for (std::size_t at = code.find("cuda"); at != code.npos; at = code.find("cuda", at + 4)) {
            const bool begins = at == 0 || !(alphanumeric(code[at - 1]) || code[at - 1] == '_');
            if (begins && at + 4 < code.size() && code[at + 4] >= 'A' && code[at + 4] <= 'Z')
                complaints.push_back(file.path + ": a call of the CUDA runtime");
        }
    }
    return complaints;
}

/// "" or: `list`, where there is one, does not include the file that users know as `target`.
inline std::string left_out(const Tree& tree, const std::string& list, const std::string& target) {
    const SourceFile* file = find(tree, list);
    const std::vector<Include> listed = file != nullptr ? includes_of(file->text) : std::vector<Include>{};
    const bool found = std::any_of(listed.begin(), listed.end(),
                                   [&](const Include& include) { return include.target == target; });
    return found ? "" : list + " does not include <" + target + ">";
}

/// An op that declares a slot has its kernel, every op has its test, every kernel has its op and is in all.hpp or all.cuh.
inline Complaints mirror(const Tree& tree) {
    Complaints complaints;
    const std::string all = "include/moegrad/cpu/all.hpp";
    const auto want_listed = [&](const std::string& list, const std::string& target) {
        const std::string complaint = left_out(tree, list, target);
        if (!complaint.empty()) complaints.push_back(complaint);
    };
    const auto want = [&](const SourceFile& file, const std::string& path) {
        if (find(tree, path) == nullptr) complaints.push_back(file.path + " has no " + path);
    };
    for (const SourceFile& file : tree) {
        const std::string name(basename(file.path));
        if (starts(file.path, "include/moegrad/ops/")) {
            want(file, "tests/ops/" + name + "_test.cpp");
            if (contains(code_of(file.text), "KernelSlot<"))
                want(file, "include/moegrad/cpu/" + name + ".hpp");
        } else if (starts(file.path, "cuda/") && ends(file.path, ".cuh") && name != "all" &&
                   file.path == "cuda/" + name + ".cuh") {
            want(file, "include/moegrad/ops/" + name + ".hpp");
            if (find(tree, "cuda/all.cuh") != nullptr) want_listed("cuda/all.cuh", "moegrad/" + file.path);
        } else if (file.path == "include/moegrad/cpu/" + name + ".hpp" && file.path != all) {
            want(file, "include/moegrad/ops/" + name + ".hpp");
            want_listed(all, file.path.substr(8));
        }
    }
    return complaints;
}

inline Complaints header_form(const Tree& tree) {
    Complaints complaints;
    for (const SourceFile& file : tree) {
        if (!ends(file.path, ".hpp") && !ends(file.path, ".cuh")) continue;
        if (!starts(file.text, "#pragma once\n"))
            complaints.push_back(file.path + " does not begin with #pragma once");
        const std::string code = code_of(file.text);
        for (std::string_view line : lines_of(code)) {
            // At the margin, that is in a namespace: inside a function it reaches nobody.
            if (starts(file.path, kHeaders) && starts(line, "using namespace"))
                complaints.push_back(file.path + ": using namespace in a header");
        }
    }
    return complaints;
}

inline constexpr std::size_t kMaxLines = 300;

/// A file may be longer when its first 20 lines give the reason: "Length: ...".
inline Complaints lengths(const Tree& tree) {
    Complaints complaints;
    for (const SourceFile& file : tree) {
        const std::vector<std::string_view> lines = lines_of(file.text);
        if (lines.size() < kMaxLines) continue;
        const bool reason = std::any_of(lines.begin(), lines.begin() + 20,
                                        [](std::string_view line) { return contains(line, "Length:"); });
        if (!reason) complaints.push_back(file.path + ": " + std::to_string(lines.size()) + " lines");
    }
    return complaints;
}

/// What nvcc 13.0 compiles to something else in device code, without a word: std::countr_zero is the constant 32, of 64 bits
/// std::countl_zero is 64, bit_width 0, and a kernel with popcount has no body. gcd and lcm are made of them.
inline Complaints device_traps(const Tree& tree) {
    Complaints complaints;
    for (const SourceFile& file : tree) {
        const bool device =
            starts(file.path, "cuda/") || (starts(file.path, kHeaders) && contains(file.text, "MOEGRAD_HD"));
        if (!device) continue;
        const std::string code = code_of(file.text);
        for (const char* trap :
             {"std::countr_", "std::countl_", "std::popcount", "std::bit_width", "std::bit_floor",
              "std::bit_ceil", "std::has_single_bit", "std::gcd", "std::lcm"}) {
            if (contains(code, trap))
                complaints.push_back(file.path + ": " + trap +
                                     ", something else in device code; use __builtin_clz, of 32 bits");
        }
    }
    return complaints;
}

/// Whether routing/all.hpp names the router in the list that the conformance suite runs over: Named<GShardRouter, or
/// BuiltinTopK<, for gshard and top_k.
inline bool is_listed_router(const Tree& tree, const std::string& name) {
    const SourceFile* all = find(tree, std::string(kHeaders) + "routing/all.hpp");
    if (all == nullptr) return false;
    std::string text, word;
    for (const char c : code_of(all->text))
        text += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    std::copy_if(name.begin(), name.end(), std::back_inserter(word), [](char c) { return c != '_'; });
    return contains(text, "named<" + word + "router,") || contains(text, "builtin" + word + "<");
}

/// A router is one header of at most 150 lines, listed in routing/all.hpp or held to the conformance suite by its test, and
/// one test file.
inline Complaints routers(const Tree& tree) {
    Complaints complaints;
    // Tests that are older than the rule, or of several routers.
    static const std::map<std::string, std::string> elsewhere{
        {"top_k", "routing/properties_test.cpp"},
        {"null_expert", "methods/ada_moe_test.cpp"},
        {"mixture", "methods/mixture_of_routers_test.cpp"},
        {"random", "routing/random_routers_test.cpp"},
        {"random_drop", "routing/random_routers_test.cpp"}};
    for (const SourceFile& file : tree) {
        const std::string folder = std::string(kHeaders) + "routing/", ending = "_router.hpp";
        if (!starts(file.path, folder) || !file.path.ends_with(ending)) continue;
        const std::string name =
            file.path.substr(folder.size(), file.path.size() - folder.size() - ending.size());
        if (name == "gate") continue;  // what routers are derived from
        const auto lines = std::count(file.text.begin(), file.text.end(), '\n');
        if (lines > 150) complaints.push_back(file.path + ": a router of over 150 lines");
        const auto known = elsewhere.find(name);
        const std::string test =
            "tests/" + (known != elsewhere.end() ? known->second : "routing/" + name + "_router_test.cpp");
        const SourceFile* tested = find(tree, test);
        if (tested == nullptr) {
            complaints.push_back(file.path + ": no " + test);
        } else if (!is_listed_router(tree, name) && !contains(code_of(tested->text), "check_router") &&
                   !contains(code_of(tested->text), "test::check_")) {
            complaints.push_back(file.path + ": no conformance suite: neither in routing/all.hpp nor in " +
                                 test);
        }
    }
    return complaints;
}

}  // namespace repo

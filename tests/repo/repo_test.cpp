// The tree keeps the rules of docs/design.md: each rule on the tree as it is, and on a planted violation.

#include <doctest/doctest.h>
#include <repo/rules.hpp>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace {

using repo::Complaints;
using repo::Tree;

const Tree& real_tree() {
    static const Tree tree = [] {
        namespace fs = std::filesystem;
        const fs::path root = MOEGRAD_SOURCE_DIR;
        Tree files;
        for (const char* folder : {"include", "cuda", "apps", "tests", "bench", "cmake"}) {
            if (!fs::exists(root / folder)) continue;
            for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / folder)) {
                const std::string extension = entry.path().extension().string();
                if (!entry.is_regular_file() ||
                    !repo::one_of(extension, {".hpp", ".cpp", ".cuh", ".cu", ".py", ".sh", ".cmake"}))
                    continue;
                std::ostringstream text;
                text << std::ifstream(entry.path()).rdbuf();
                files.push_back({fs::relative(entry.path(), root).generic_string(), text.str()});
            }
        }
        return files;
    }();
    return tree;
}

void expect_none(const Complaints& complaints) {
    for (const std::string& complaint : complaints) FAIL_CHECK(complaint);
}

/// Exactly one complaint, and it names `what`.
void expect_one(const Complaints& complaints, const std::string& what) {
    REQUIRE(complaints.size() == 1);
    INFO(complaints[0]);
    CHECK(repo::contains(complaints[0], what));
}

}  // namespace

TEST_CASE("the tree was read") {
    CHECK(repo::find(real_tree(), "include/moegrad/version.hpp") != nullptr);
    CHECK(repo::find(real_tree(), "include/moegrad/core/view.hpp") != nullptr);
    CHECK(repo::find(real_tree(), "tests/repo/repo_test.cpp") != nullptr);
}

TEST_CASE("the tree: includes point one way") {
    expect_none(repo::layering(real_tree()));
}
TEST_CASE("the tree: each library behind its door") {
    expect_none(repo::third_party(real_tree()));
}
TEST_CASE("the tree: moegrad.hpp is compute only") {
    expect_none(repo::umbrella(real_tree()));
}
TEST_CASE("the tree: CUDA is in cuda/ only") {
    expect_none(repo::no_cuda(real_tree()));
}
TEST_CASE("the tree: nothing that nvcc makes something else of") {
    expect_none(repo::device_traps(real_tree()));
}
TEST_CASE("the tree: ops, kernels and tests mirror each other") {
    expect_none(repo::mirror(real_tree()));
}
TEST_CASE("the tree: form of headers") {
    expect_none(repo::header_form(real_tree()));
}
TEST_CASE("the tree: routers") {
    expect_none(repo::routers(real_tree()));
}
TEST_CASE("the tree: length of files") {
    expect_none(repo::lengths(real_tree()));
}

TEST_CASE("planted: an include that points up") {
    const auto including = [](const char* path, const std::string& target) {
        return repo::layering({{path, "#pragma once\n#  include <" + target + ">\n"}});
    };
    expect_none(including("include/moegrad/nn/linear.hpp", "moegrad/ops/linear.hpp"));
    expect_none(including("include/moegrad/nn/linear.hpp", "moegrad/version.hpp"));
    expect_none(including("include/moegrad/models/llama.hpp", "moegrad/core/model_config.hpp"));
    expect_none(including("include/moegrad/train/loop.hpp", "moegrad/data/batch.hpp"));
    expect_none(including("include/moegrad/train.hpp", "moegrad/train/loop.hpp"));
    expect_none(including("apps/demo.cpp", "moegrad/moegrad.hpp"));
    expect_one(including("include/moegrad/ops/linear.hpp", "moegrad/nn/linear.hpp"), "moegrad/nn/linear.hpp");
    expect_one(including("include/moegrad/ops/silu.hpp", "moegrad/cpu/silu.hpp"), "moegrad/cpu/silu.hpp");
    expect_one(including("include/moegrad/cpu/silu.hpp", "moegrad/nn/linear.hpp"), "moegrad/nn/linear.hpp");
    expect_one(including("include/moegrad/io/json.hpp", "moegrad/autograd/tape.hpp"),
               "moegrad/autograd/tape.hpp");
    expect_one(including("include/moegrad/nn/linear.hpp", "moegrad/io/json.hpp"), "moegrad/io/json.hpp");
    expect_one(including("include/moegrad/io/peft.hpp", "moegrad/data/batch.hpp"), "moegrad/data/batch.hpp");
    expect_one(including("include/moegrad/nn/linear.hpp", "moegrad/moegrad.hpp"), "moegrad/moegrad.hpp");
    expect_one(including("include/moegrad/moegrad.hpp", "moegrad/cpu/all.hpp"), "moegrad/cpu/all.hpp");
    expect_one(including("include/moegrad/models/llama.hpp", "moegrad/train/loop.hpp"),
               "moegrad/train/loop.hpp");
    expect_one(including("apps/demo.cpp", "moegrad/cpu/all.hpp"), "moegrad/cpu/all.hpp");
    expect_one(repo::layering({{"include/moegrad/util/x.hpp", ""}}), "util");
    expect_none(repo::layering({{"include/moegrad/ops/a.hpp", "// #include <moegrad/nn/b.hpp>\n"}}));
}

TEST_CASE("planted: a library outside its door") {
    const auto including = [](const char* path, const std::string& line) {
        return repo::third_party({{path, "#pragma once\n#include " + line + "\n"}});
    };
    expect_none(including("include/moegrad/cpu/linear.hpp", "<Eigen/Core>"));
    expect_one(including("include/moegrad/ops/linear.hpp", "<Eigen/Core>"), "Eigen/Core");
    expect_one(including("include/moegrad/nn/linear.hpp", "<fmt/format.h>"), "fmt/format.h");
    expect_one(including("include/moegrad/io/config.hpp", "<nlohmann/json.hpp>"), "nlohmann");
    expect_one(including("include/moegrad/ops/linear.hpp", "<functional>"), "functional");
    expect_one(including("include/moegrad/ops/linear.hpp", "\"moegrad/core/view.hpp\""), "view.hpp");
}

TEST_CASE("planted: JSON, Eigen and kernels reach moegrad.hpp") {
    const auto reached = [](const char* line) {
        return repo::umbrella({{"include/moegrad/moegrad.hpp", "#include <moegrad/nn/a.hpp>\n"},
                               {"include/moegrad/nn/a.hpp", std::string("#include <vector>\n") + line}});
    };
    expect_none(reached("#include <fmt/core.h>\n"));
    expect_one(reached("#include <nlohmann/json.hpp>\n"), "nn/a.hpp: <nlohmann/json.hpp>");
    expect_one(reached("#include <Eigen/Core>\n"), "Eigen");
    expect_one(reached("#include <moegrad/cpu/a.hpp>\n"), "kernel");
}

TEST_CASE("planted: CUDA outside cuda/") {
    const auto with = [](const char* path, const char* code) { return repo::no_cuda({{path, code}}); };
    expect_none(with("include/moegrad/core/device.hpp",
                     "enum class Device { cpu, cuda };  // cudaMalloc is below\n"));
    expect_none(with("include/moegrad/core/config.hpp", "#if defined(__CUDACC__)\n"));
    expect_one(with("include/moegrad/core/device.hpp", "#ifdef __CUDACC__\n"), "__CUDACC__");
    expect_one(with("include/moegrad/ops/a.hpp", "inline void f() { cudaMalloc(0, 0); }\n"), "runtime");
    expect_one(with("apps/demo.cpp", "#include <cuda_runtime.h>\n"), "cuda_runtime");
    expect_one(with("apps/demo.cpp", "int x = 1'000; void f() { g<<<1, 1>>>(); }\n"), "<<<");
}

TEST_CASE("planted: std::countr_zero and its like where a GPU runs them") {
    const char* code = "MOEGRAD_HD int f(unsigned x) { return std::countr_zero(x); }\n";
    expect_one(repo::device_traps({{"include/moegrad/ops/a.hpp", code}}), "__builtin_clz");
    for (const char* trap :
         {"countr_zero", "countr_one", "countl_zero", "popcount", "bit_width", "has_single_bit", "gcd"}) {
        const std::string call = "int f(unsigned long x) { return std::" + std::string(trap) + "(x); }\n";
        expect_one(repo::device_traps({{"cuda/a.cuh", call}}), "cuda/a.cuh");
    }
    expect_none(repo::device_traps(
        {{"include/moegrad/io/a.hpp", "int f(unsigned x) { return std::countr_zero(x); }\n"}}));
}

TEST_CASE("planted: an op without its kernel, test or line in all.hpp") {
    const Tree whole{{"include/moegrad/ops/a.hpp", "inline KernelSlot<AKernels> a_slot{};\n"},
                     {"include/moegrad/ops/plain.hpp", "// KernelSlot<none>: made of other ops\n"},
                     {"include/moegrad/cpu/a.hpp", ""},
                     {"include/moegrad/cpu/support/rows.hpp", ""},
                     {"include/moegrad/cpu/all.hpp", "#include <moegrad/cpu/a.hpp>\n"},
                     {"tests/ops/a_test.cpp", ""},
                     {"tests/ops/plain_test.cpp", ""}};
    expect_none(repo::mirror(whole));
    const auto without = [&](const std::string& path) {
        Tree tree;
        for (const repo::SourceFile& file : whole) {
            if (file.path != path) tree.push_back(file);
        }
        return repo::mirror(tree);
    };
    expect_one(without("include/moegrad/ops/a.hpp"), "ops/a.hpp");
    expect_one(without("include/moegrad/cpu/a.hpp"), "cpu/a.hpp");
    expect_one(without("include/moegrad/cpu/all.hpp"), "all.hpp does not include");
    expect_one(without("tests/ops/a_test.cpp"), "a_test.cpp");
    expect_one(without("tests/ops/plain_test.cpp"), "plain_test.cpp");
    Tree unlisted = whole;
    unlisted[4].text = "// #include <moegrad/cpu/a.hpp>\n";
    expect_one(repo::mirror(unlisted), "all.hpp does not include");
    Tree stray = whole;
    stray.push_back({"cuda/b.cuh", "#pragma once\n"});
    expect_one(repo::mirror(stray), "cuda/b.cuh has no include/moegrad/ops/b.hpp");
    Tree forgotten = whole;
    forgotten.push_back({"cuda/a.cuh", "#pragma once\n"});
    forgotten.push_back({"cuda/all.cuh", "#pragma once\n"});
    expect_one(repo::mirror(forgotten), "cuda/all.cuh does not include <moegrad/cuda/a.cuh>");
}

TEST_CASE("planted: form and length") {
    expect_none(
        repo::header_form({{"include/moegrad/core/a.hpp", "#pragma once\n// using namespace std;\n"}}));
    expect_one(repo::header_form({{"include/moegrad/core/a.hpp", "// a\n#pragma once\n"}}), "#pragma once");
    expect_one(repo::header_form({{"include/moegrad/core/a.hpp", "#pragma once\nusing namespace std;\n"}}),
               "using");
    std::string long_text;
    for (int line = 0; line < 300; ++line) long_text += "int x;\n";
    expect_one(repo::lengths({{"include/moegrad/core/a.hpp", long_text}}), "300 lines");
    expect_none(repo::lengths({{"include/moegrad/core/a.hpp", "// Length: one table.\n" + long_text}}));
    expect_none(repo::lengths({{"include/moegrad/core/a.hpp", long_text.substr(7)}}));
}
TEST_CASE("planted: a router without a test, one that is too long, and one that no suite runs over") {
    const std::string path = "include/moegrad/routing/a_new_router.hpp";
    const std::string test = "tests/routing/a_new_router_test.cpp", all = "include/moegrad/routing/all.hpp";
    const std::string list = "using BuiltinRouters = std::tuple<Named<ANewRouter, \"a_new\">>;\n";
    expect_one(repo::routers({{path, "#pragma once\n"}}), test);
    expect_one(repo::routers({{path, std::string(151, '\n')}, {test, ""}, {all, list}}), "150 lines");
    expect_none(repo::routers({{path, ""}, {test, ""}, {all, list}}));
    expect_one(repo::routers({{path, ""}, {test, ""}, {all, "// Named<ANewRouter, \"a_new\">\n"}}),
               "conformance");
    expect_none(repo::routers({{path, ""}, {test, "test::check_router(own, 100);\n"}, {all, ""}}));
}

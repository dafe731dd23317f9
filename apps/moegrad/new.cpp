// moegrad new router NAME: a folder with a router of one's own, its test, its CMakeLists.txt and a recipe for compare.

#include <algorithm>
#include <filesystem>
#include <string>

#include <moegrad/io/atomic_file.hpp>
#include <moegrad/io/mapped_file.hpp>
#include <moegrad/methods/adapter_spec.hpp>

#include "new_router_text.hpp"
#include "shipped.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

struct NewRouterFlags {
    std::string name, out;
};

/// "my_router" -> "MyRouter".
std::string class_named(const std::string& name) {
    std::string result;
    bool upper = true;
    for (const char c : name) {
        if (c != '_') result += upper && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
        upper = c == '_';
    }
    return result;
}

void check_router_name(const std::string& name) {
    const bool plain = !name.empty() && name.front() >= 'a' && name.front() <= 'z' && name.back() != '_' &&
                       name.find("__") == name.npos && std::all_of(name.begin(), name.end(), [](char c) {
                           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
                       });
    const auto taken = method_names();
    if (name == "moegrad" || std::find(taken.begin(), taken.end(), name) != taken.end()) {
        throw Error{ErrorCode::config, "new router", "a name that is free",
                    "\"" + name + "\", which is taken", "for example my_" + name};
    }
    if (plain) return;
    throw Error{ErrorCode::config, "new router", "a name of small letters, digits and _", "\"" + name + "\"",
                "for example my_router; it becomes adapter.method = \"my_router\""};
}

/// The folder of the package (moegradConfig.cmake) that this program was built or installed with; empty: unknown.
std::string package_folder() {
    namespace fs = std::filesystem;
    std::error_code problem;
    const fs::path program = fs::read_symlink("/proc/self/exe", problem);
    for (fs::path folder = program.parent_path(); !folder.empty(); folder = folder.parent_path()) {
        for (const fs::path& place : {folder, folder / "share/cmake/moegrad"}) {
            if (fs::exists(place / "moegradConfig.cmake", problem)) return place.string();
        }
        if (folder == folder.parent_path()) break;
    }
    return "";
}

void run_new_router(const NewRouterFlags& flags) {
    namespace fs = std::filesystem;
    check_router_name(flags.name);
    const std::string out = flags.out.empty() ? flags.name : flags.out;
    if (fs::exists(out) && !(fs::is_directory(out) && fs::is_empty(out))) {
        throw Error{ErrorCode::file, "new router", "a folder that is not there yet", out,
                    "choose another with --out"};
    }
    const std::string model = fs::absolute(shipped("tiny-mixtral")).lexically_normal().string();
    const std::string recipe(MappedFile(shipped("recipes/demo.toml")).text());
    fs::create_directories(out);
    const auto write = [&](const std::string& file, const std::string& text, const char* what) {
        write_file_atomically(out + "/" + file, text);
        fmt::print("{:<28} {}\n", out + "/" + file, what);
    };
    const std::string type = class_named(flags.name);
    write(flags.name + ".hpp", new_router_header(type), "the router: yours to change");
    write(flags.name + "_test.cpp", new_router_test(flags.name, type), "what is special about it");
    write("CMakeLists.txt", new_router_cmake(flags.name, type, package_folder()),
          "a `moegrad` with every verb and this router");
    write(flags.name + ".toml", new_router_recipe(flags.name, model, recipe),
          "for compare: beside the checkpoint's own");
    fmt::print(
        "next:\n  cd {0}\n  cmake -B build && cmake --build build -j 2 && ctest --test-dir build "
        "--output-on-failure\n"
        "  build/moegrad world --out world\n  build/moegrad compare {1}.toml\n",
        out, flags.name);
}

void add_new(CLI::App& app) {
    auto flags = std::make_shared<NewRouterFlags>();
    CLI::App* verb = app.add_subcommand("new", "start something of your own: new router NAME");
    verb->require_subcommand(1);
    CLI::App* router =
        verb->add_subcommand("router", "a router: header, test, CMakeLists.txt, recipe for compare");
    router->add_option("NAME", flags->name, "small letters, digits and _")->required();
    router->add_option("--out", flags->out, "folder to write [NAME]");
    router->callback([=] { run_new_router(*flags); });
}

const RegisterVerb new_registered(60, add_new);

}  // namespace

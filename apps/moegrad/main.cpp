// moegrad: the command line.

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <new>

#include <moegrad/core/nearest.hpp>
#include <moegrad/io/mapped_file.hpp>
#include <moegrad/version.hpp>

#include "verbs.hpp"

using namespace moegrad;

namespace {

/// What was chosen, down to the last verb: `new router` is two.
const CLI::App& chosen_verb(const CLI::App& app) {
    const CLI::App* verb = &app;
    while (!verb->get_subcommands().empty()) verb = verb->get_subcommands().front();
    return *verb;
}

std::vector<std::string> verb_names(const CLI::App& app) {
    std::vector<std::string> names;
    for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
        names.push_back(verb->get_name());
    return names;
}

/// The flag of `verb` that looks most like `flag`; people type --steps for --train.steps.
std::string nearest_flag(const CLI::App& verb, const std::string& flag) {
    std::string best;
    std::size_t distance = ~std::size_t{0};
    for (const CLI::Option* option : verb.get_options()) {
        for (const std::string& name : option->get_lnames()) {
            const std::size_t d = key_distance(flag, name);
            if (d >= distance) continue;
            distance = d;
            best = name;
        }
    }
    return is_near(distance, flag, best) ? "--" + best : "";
}

void print_unknown(const std::string& what, const std::string& near, const CLI::App& verb) {
    const CLI::App* parent = verb.get_parent();
    const std::string usage = (parent ? parent->get_name() + " " : "") + verb.get_name() + " --help";
    fmt::print(stderr, "error[config]: unknown {}\n  hint:     {}\n", what,
               near.empty() ? "`" + usage + "` lists what there is" : "did you mean " + near + "?");
}

/// Names the first word that nobody reads, with the nearest one that somebody does; false: there is none.
bool explain_unknown(const CLI::App& app) {
    const CLI::App& verb = chosen_verb(app);
    const std::vector<std::string> verbs = verb_names(verb), words = app.remaining(true);
    for (const std::string& word : words) {
        if (word.starts_with("--") && word.size() > 2) {
            const std::string flag = word.substr(2, word.find('=') - 2);
            print_unknown("flag --" + flag, nearest_flag(verb, flag), verb);
            return true;
        }
        if (!verbs.empty() && !word.starts_with("-")) {
            print_unknown("verb \"" + word + "\"", nearest(word, verbs), verb);
            return true;
        }
    }
    return false;
}

/// `moegrad`, `moegrad help`, `moegrad help VERB`.
bool print_help(CLI::App& app, int argc, char** argv) {
    if (argc > 1 && std::string(argv[1]) != "help") return false;
    const auto names = verb_names(app);
    const bool one = argc > 2 && std::find(names.begin(), names.end(), argv[2]) != names.end();
    fmt::print("{}", one ? app.get_subcommand(argv[2])->help(app.get_name()) : app.help());
    return true;
}

int fail(const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return exit_status(error.code);
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"moegrad " + std::string(kVersion) + ": fine-tuning of mixture-of-experts language models"};
    app.require_subcommand(1);
    app.set_version_flag("--version", std::string(kVersion));
    app.fallthrough();  // verbs take it too
    app.add_flag_callback(
        "--strict-paths", [] { usual_links() = Links::refuse; },
        "refuse checkpoints, tokenizers, adapters and data that are symbolic links");
    for (const auto& [place, add] : verbs()) add(app);
    app.footer("`./moegrad test` (the launcher in a clone) runs the tests.");
    app.name("moegrad");
    try {
        if (print_help(app, argc, argv)) return 0;
        app.parse(argc, argv);
    } catch (const CLI::RuntimeError& error) {  // a verb that was stopped
        return error.get_exit_code();
    } catch (const CLI::ParseError& error) {
        const bool words = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr ||
                           dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
        if (words && explain_unknown(app)) return 2;
        return app.exit(error) == 0 ? 0 : 2;
    } catch (const Error& error) {
        return fail(error);
    } catch (const std::filesystem::filesystem_error& error) {
        return fail({ErrorCode::file, error.path1().string(), "a file or folder that can be read or made",
                     error.code().message()});
    } catch (const std::bad_alloc&) {
        fmt::print(stderr, "error[memory]: out of memory\n");
        return 4;
    } catch (const std::exception& error) {
        fmt::print(stderr, "error: {}\n", error.what());
        return 1;
    }
    return 0;
}

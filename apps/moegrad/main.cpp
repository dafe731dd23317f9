// moegrad: the command line.

#include <cstdio>
#include <new>

#include <moegrad/train/run_config_keys.hpp>
#include <moegrad/version.hpp>

#include "verbs.hpp"

using namespace moegrad;

namespace {

// Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 unusable data, 4 out of memory.
int exit_code(ErrorCode code) {
    switch (code) {
        case ErrorCode::config: return 2;
        case ErrorCode::data:
        case ErrorCode::format:
        case ErrorCode::file: return 3;
        case ErrorCode::memory: return 4;
        default: return 1;
    }
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"moegrad " + std::string(kVersion) + ": fine-tuning of mixture-of-experts language models"};
    app.require_subcommand(1);
    app.set_version_flag("--version", std::string(kVersion));
    for (const auto& [place, add] : verbs()) add(app);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ExtrasError& error) {
        for (const std::string& word : app.remaining(true)) {
            if (!word.starts_with("--")) continue;
            fmt::print(stderr, "error[config]: unknown flag {}\n  hint:     did you mean --{}?\n", word,
                       nearest_key(word.substr(2)));
            return 2;
        }
        app.exit(error);
        return 2;
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    } catch (const Error& error) {
        fmt::print(stderr, "{}\n", error.what());
        return exit_code(error.code);
    } catch (const std::bad_alloc&) {
        fmt::print(stderr, "error[memory]: out of memory\n");
        return 4;
    } catch (const std::exception& error) {
        fmt::print(stderr, "error: {}\n", error.what());
        return 1;
    }
    return 0;
}

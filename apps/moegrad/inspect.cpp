// moegrad inspect: what a model, adapter, tokenizer, run or data file is; no weight is loaded for that. inspect routing:
// what the routers of a model do with texts.

#include <moegrad/io/json_writer.hpp>
#include <moegrad/train/inspect.hpp>

#include "adapter_reading_flags.hpp"
#include "inspect_routing.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

void add_inspect(CLI::App& app) {
    auto options = std::make_shared<InspectOptions>();
    auto json = std::make_shared<bool>(false);
    CLI::App* verb = app.add_subcommand("inspect", "what a model, adapter, tokenizer, run or data file is");
    verb->add_option("path", options->path, "a folder, .safetensors, .jsonl or tokenizer.json");
    verb->add_option("--model", options->base, "for an adapter: the folder of its base");
    add_adapter_reading(verb, options->reading);
    verb->add_flag("--json", *json, "one JSON object instead of text");
    add_inspect_routing(*verb);
    verb->callback([=] {
        if (!verb->get_subcommands().empty()) return;
        if (options->path.empty()) throw CLI::RequiredError("path");
        const Inspection found = inspect(*options);
        fmt::print("{}", *json ? write_json(inspection_json(found), JsonStyle::indented) + "\n"
                               : inspection_text(found));
    });
}

const RegisterVerb inspect_registered(45, add_inspect);

}  // namespace

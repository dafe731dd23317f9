// moegrad bench: kernels, blocks and steps, timed in turns with a copy and a large product of the same run and with PyTorch
// where it is; then the rows that the project is held against, each with its bounds.

#include "bench/kernel_parts.hpp"
#include "bench/machine.hpp"
#include "bench/step_parts.hpp"
#include "device_flags.hpp"
#include "shipped.hpp"
#include "verbs.hpp"

using namespace moegrad;

namespace {

struct BenchFlags {
    bench::BenchOptions options;
    std::string peer, pieces;
};

/// bench/peers/kernel_peer.py beside the models that ship; an installation has none.
std::string peer_script() {
    try {
        const auto models = std::filesystem::path(shipped("tiny-llama")).parent_path();
        const auto script = models.parent_path() / "bench/peers/kernel_peer.py";
        return std::filesystem::exists(script) ? script.string() : std::string();
    } catch (const Error&) {
        return {};
    }
}

void choose_peer(BenchFlags& flags) {
    const bool on_gpu = flags.options.device == "cuda";
    const std::string script = peer_script();
    flags.options.no_peer = flags.peer == "none" ? "--peer none" : "no bench/peers/kernel_peer.py is here";
    if (flags.peer == "none" || script.empty()) return;
    flags.options.peer = {flags.peer.empty() ? "python3" : flags.peer,
                          script,
                          "--device",
                          flags.options.device,
                          "--dtype",
                          on_gpu ? "bfloat16" : "float32"};
}

template <class Real>
void run_parts(bench::Session& session) {
    bench::KernelParts<Real>(session).run();
    bench::StepParts<Real>(session).run();
}

void print_rows(const bench::Results& results) {
    auto rows = bench::row_cells(results);
    rows.insert(rows.begin(), bench::kRowHead);
    fmt::print("\n{}", bench::text_table(rows));
}

/// The lines of the jobs get the file's name with .jsonl.
void require_results_file(const std::string& out) {
    if (out.empty() || std::filesystem::path(out).extension() != ".jsonl") return;
    throw Error{ErrorCode::config, "--out", "FILE.md", "\"" + out + "\"", "the .jsonl is written beside it"};
}

void run_bench(BenchFlags flags) {
    require_results_file(flags.options.out);
    flags.options.pieces = bench::chosen("--pieces", flags.pieces, bench::piece_names());
    if (flags.options.device.empty()) flags.options.device = has_cuda() ? "cuda" : "cpu";
    const bool on_gpu = flags.options.device == "cuda";
    if (on_gpu) require_cuda("--device cuda");
    if (!on_gpu && !flags.options.tiny) {
        throw Error{ErrorCode::config, "--device cpu", "--tiny beside it", "shapes of a GPU",
                    "on a CPU bench shows that every part runs; its figures mean nothing"};
    }
    choose_peer(flags);
    bench::Session session(flags.options);
    bench::Facts facts = bench::machine_facts(session.device());
    facts.emplace_back("peer", session.peer_text());
    for (const auto& [name, text] : facts) fmt::print("{}: {}\n", name, text);
    const auto write = [&] {
        if (!flags.options.out.empty()) bench::write_results(session.results(), facts, flags.options.out);
    };
    session.keep = write;
    write();  // a file that cannot be written is known now
    with_number(on_gpu ? Number::bfloat16 : Number::float32, [&]<class Real>() { run_parts<Real>(session); });
    print_rows(session.results());
    if (on_gpu) facts.emplace_back("the same after the last part", bench::gpu_clocks());
    if (flags.options.out.empty()) return;
    write();
    fmt::print("\nwritten: {}, and a line per job in the .jsonl beside it\n", flags.options.out);
}

void add_bench(CLI::App& app) {
    auto flags = std::make_shared<BenchFlags>();
    bench::BenchOptions& options = flags->options;
    CLI::App* verb =
        app.add_subcommand("bench", "times kernels, blocks and steps, beside PyTorch where it is");
    verb->add_option(
        "--only", options.only,
        "parts, with commas: ceilings rows linears experts block fine attention adamoe molora nf4 step "
        "methods large_methods [all]");
    verb->add_option("--pieces", flags->pieces,
                     "of step mixtral llama, of both parts of methods their names, with commas [all]");
    verb->add_option("--rounds", options.rounds, "turns of every job [20]")->check(CLI::Range(1, 10000));
    verb->add_option("--seconds", options.seconds,
                     "no part begins later, and no round but the first three [0: no limit]")
        ->check(CLI::NonNegativeNumber);
    verb->add_option("--out", options.out, "FILE.md; FILE.jsonl beside it has a line per job");
    verb->add_option("--peer", flags->peer, "a Python with PyTorch, or none [python3]");
    verb->add_option("--device", options.device, "cpu or cuda [cuda where the program has it]")
        ->check(CLI::IsMember({"cpu", "cuda"}));
    verb->add_flag("--tiny", options.tiny, "small shapes: to see that every part runs");
    verb->callback([=] { run_bench(*flags); });
}

const RegisterVerb bench_registered(85, add_bench);

}  // namespace

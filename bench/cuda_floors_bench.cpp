// Every kind of kernel against the two ceilings of the device, in one run and in turns: element-wise kernels against a copy
// inside its memory, products against one large cuBLASLt product; attention's rates go beside PyTorch's of the same minute
// (peers/attention_peer.py). A table, then with --json the same as one JSON object a line.
//   cuda_floors_bench [--only rows,experts,attention] [--rounds N] [--json] [--tiny] [--device cuda|cpu]

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

#include <moegrad/core/device_step.hpp>
#include <moegrad/ops/linear.hpp>

#include <support/attention_jobs.hpp>
#include <support/expert_jobs.hpp>
#include <support/row_jobs.hpp>

namespace {

using namespace moegrad;
using namespace moegrad::bench;

struct Options {
    std::string only = "rows,experts,attention";
    Turns turns;
    bool json = false, tiny = false;
    Device device = Device::cuda;

    bool wants(const char* group) const { return only.find(group) != std::string::npos; }
};

/// What everything else is a share of.
template <class Real>
class Ceilings {
public:
    Ceilings(Context& context, Index side) {
        const Device device = context.device();
        x_ = normal<Real>({side, side}, 41, 1, device);
        w_ = normal<Real>({side, side}, 42, 1, device);
        y_ = Tensor<Real>::zeros({side, side}, device);
        const auto n = static_cast<double>(side);
        const auto& linear = linear_slot.get<Real>(device);
        jobs_ = {{"ceiling", fmt::format("product, {}^3", side), 2 * n * n * n, 0, Against::product, 0,
                  [this, &linear, stream = context.stream()] {
                      linear.forward(stream, x_.matrix(), w_.matrix(), y_.matrix());
                  }},
                 {"ceiling", "copy", 0, 2 * n * n * sizeof(Real), Against::copy, 0,
                  [this] { copy_values(x_, y_); }}};
    }
    const std::vector<Job>& jobs() const { return jobs_; }

private:
    Tensor<Real> x_, w_, y_;
    std::vector<Job> jobs_;
};

void measure(const Options& options, Device device, std::vector<Job> jobs, const std::vector<Job>& ceilings) {
    jobs.insert(jobs.begin(), ceilings.begin(), ceilings.end());
    time_in_turns(device, jobs, options.turns);
    const auto share = [&](const Job& job) {
        if (job.against == Against::nothing) return -1.0;
        return job.rate() / jobs[job.against == Against::product ? 0 : 1].rate();
    };
    for (const Job& job : jobs) print(job, share(job));
    if (options.json)
        for (const Job& job : jobs) print_json(job, share(job));
    std::fflush(stdout);
}

std::vector<Job> float_jobs(const RowJobs<float>& rows, const FloatJobs& others) {
    std::vector<Job> jobs = rows.jobs("float32");
    for (Job& job : others.jobs("float32")) jobs.push_back(std::move(job));
    return jobs;
}

/// Real: of the products and of attention.
template <class Real>
void run(const Options& options) {
    Context context({.device = options.device});
    const bool tiny = options.tiny;
    const Ceilings<Real> ceilings(context, tiny ? 128 : 8192);
    const auto go = [&](std::vector<Job> jobs) {
        measure(options, options.device, std::move(jobs), ceilings.jobs());
    };
    if (options.wants("rows")) {
        const RowShape shape =
            tiny ? RowShape{64, 64, 96, 100, 16} : RowShape{16384, 4096, 14336, 32000, 128};
        const FloatJobs others(context, tiny ? 8192 : Index{1} << 26);
        go(float_jobs(RowJobs<float>(context, shape), others));
        if constexpr (!std::is_same_v<Real, float>) go(RowJobs<Real>(context, shape).jobs("bfloat16"));
    }
    if (options.wants("experts")) {
        const LayerShape shape = tiny ? LayerShape{64, 32, 48, 4, 4} : LayerShape{};
        go(ExpertJobs<Real>(context, shape, 2).jobs("experts"));
    }
    if (options.wants("attention")) {
        std::vector<AttentionShape> shapes{
            {1, 8192, 32, 8, 128}, {2, 4096, 32, 8, 128}, {16, 512, 32, 8, 128}};
        if (tiny) shapes = {{2, 32, 4, 2, 16}};
        std::vector<std::unique_ptr<AttentionJobs<Real>>> all;
        std::vector<Job> jobs;
        for (const auto& shape : shapes) {
            all.push_back(std::make_unique<AttentionJobs<Real>>(context, shape));
            for (Job& job : all.back()->jobs()) jobs.push_back(std::move(job));
        }
        go(std::move(jobs));
    }
}

Options parse(int argc, char** argv) {
    Options options;
    for (int i = 1; i < argc; ++i) {
        const std::string_view flag = argv[i];
        const char* value = i + 1 < argc ? argv[i + 1] : "";
        if (flag == "--json") options.json = true;
        if (flag == "--tiny") options.tiny = true;
        if (flag == "--only") options.only = value;
        if (flag == "--rounds") options.turns.rounds = std::atoi(value);
        if (flag == "--device" && std::strcmp(value, "cpu") == 0) options.device = Device::cpu;
    }
    return options;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const Options options = parse(argc, argv);
        if (options.device == Device::cuda) {
            require_cuda("cuda_floors_bench");
            fmt::print("{}\n", device_name());
            run<bf16>(options);
        } else {
            run<float>(options);
        }
    } catch (const std::exception& error) {
        fmt::print(stderr, "{}\n", error.what());
        return 1;
    }
    return 0;
}

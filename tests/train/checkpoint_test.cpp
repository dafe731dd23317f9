// Checkpoints of a trainer: what comes back, what is refused and by which name, what a step back looks like.
// Kills, failing system calls and flipped bits in number: tests/stress.

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include <moegrad/routing/top_k_router.hpp>
#include <moegrad/train/checkpoint.hpp>

#include "io/support.hpp"
#include "support/model_small.hpp"

namespace checkpoint_test {

using namespace moegrad;
using io_test::expect_error;
using io_test::TemporaryFolder;

/// Top-k over a gate whose tokens' share of each expert so far is a bias: a router that is nothing without its state.
template <class Real>
struct Balanced {
    TopKRouter<Real> inner;
    std::vector<double> seen;

    Index slots() const { return inner.slots(); }
    Index experts() const { return inner.experts(); }
    RouterScope scope() const { return inner.scope(); }
    std::vector<Parameter<Real>*> parameters() { return inner.parameters(); }
    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) {
        auto routing = inner.route(tape, input);
        // The state reaches the result through the weights, as a bias would.
        const auto scale = Tensor<Real>::zeros(routing.weight.value().shape());
        for (Index i = 0; i < scale.size(); ++i) {
            const auto expert = static_cast<std::size_t>(std::max(0, routing.expert.data()[i]));
            routing.weight.value().data()[i] *= static_cast<Real>(1 / (1 + seen[expert]));
        }
        return routing;
    }
    void after_step(const RoutingTotals& totals) {
        for (std::size_t e = 0; e < seen.size(); ++e)
            seen[e] += 0.1 * static_cast<double>(totals.slots()[e]) / static_cast<double>(totals.tokens());
    }
    std::vector<double> state() const { return seen; }
    void set_state(std::span<const double> values) { seen.assign(values.begin(), values.end()); }
};

/// The same, silent about what it learned.
template <class Real>
struct Silent {
    Balanced<Real> inner;
    Index slots() const { return inner.slots(); }
    Index experts() const { return inner.experts(); }
    RouterScope scope() const { return inner.scope(); }
    std::vector<Parameter<Real>*> parameters() { return inner.parameters(); }
    Routing<Real> route(Tape& tape, const RouteInput<Real>& input) { return inner.route(tape, input); }
    void after_step(const RoutingTotals& totals) { inner.after_step(totals); }
};

enum class Learning { no, kept, lost };

/// A model whose gates and expert weights train, its trainer and its data.
template <class Real>
struct Study {
    explicit Study(Learning learning = Learning::kept, int threads = 2, Index width = 24)
        : model(test::small_model<Real>(test::small_config(ModelFamily::mixtral, 16, width))),
          context({.device = Device::cpu, .threads = threads}) {
        for (auto& layer : model->layers()) {
            auto& moe = layer.moe.front();
            moe.gate->set_trainable(true);
            for (auto* p : moe.experts.parameters()) p->set_trainable(true);
            const Balanced<Real> router{{.gate = Gate<Real>(moe.gate), .k = 2}, std::vector<double>(4)};
            if (learning == Learning::kept) moe.router = router;
            if (learning == Learning::lost) moe.router = Silent<Real>{router};
        }
        trainer.emplace(context, *model, std::vector<std::string>{}, TrainerOptions{.seed = 3});
        data = test::ragged_samples(4, 48);
    }

    void steps(Index count) {
        for (Index i = 0; i < count; ++i) {
            trainer->step(data, std::vector<std::int32_t>{0, 1, 2, 3}, 1e-2);
            ++state.step;
        }
    }
    std::uint64_t hash() const { return test::hash_of(trainer->parameters()); }

    std::unique_ptr<Decoder<Real>> model;
    Context context;
    std::optional<Trainer<Real>> trainer;
    Dataset data;
    RunState state;
};

const std::string kIdentity = "optim.lr = 0.01\ndata.train sha256 = abc\n";
constexpr auto kSilence = [](const std::string&) {};

void flip(const std::string& path, std::size_t byte) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(byte));
    const char value = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(byte));
    file.put(value);
}

void put(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}

template <class Real>
void check_round_trip() {
    const TemporaryFolder folder;
    Study<Real> whole;
    whole.steps(3);
    whole.state.best = 0.1 + 0.2;
    whole.state.average = 1.0 / 3;
    whole.state.nll_before = std::numeric_limits<double>::infinity();
    whole.state.metrics_bytes = 77;
    save_checkpoint(folder.path(), *whole.trainer, whole.state, kIdentity, 2);
    whole.steps(4);

    Study<Real> second(Learning::kept, 3);
    const auto state = resume_checkpoint(folder.path(), *second.trainer, kIdentity, kSilence);
    REQUIRE(state);
    CHECK(state->step == 3);
    CHECK(state->best == 0.1 + 0.2);
    CHECK(state->average == 1.0 / 3);
    CHECK(std::isinf(state->nll_before));
    CHECK(state->metrics_bytes == 77);
    CHECK(second.trainer->steps_done() == 3);
    second.steps(4);
    CHECK(second.hash() == whole.hash());
    // Any of the parts left out shows in the hash.
    for (int left_out = 0; left_out < 3; ++left_out) {
        Study<Real> third;
        resume_checkpoint(folder.path(), *third.trainer, kIdentity, kSilence);
        if (left_out == 0) third.trainer->resume_at(0);
        if (left_out == 1)
            for (Real& value : third.trainer->parameters().front()->first_moment().values()) value = 0;
        if (left_out == 2) third.trainer->routers().front().second->set_state(std::vector<double>(4));
        third.steps(4);
        CHECK(third.hash() != whole.hash());
    }
}

}  // namespace checkpoint_test

TEST_CASE("checkpoint: weights, moments, step and router state come back to the bit") {
    checkpoint_test::check_round_trip<float>();
    checkpoint_test::check_round_trip<double>();
}

TEST_CASE("checkpoint: a router that learns and cannot say what is refused by its name") {
    using namespace checkpoint_test;
    const TemporaryFolder folder;
    Study<float> study(Learning::lost);
    study.steps(1);
    expect_error(ErrorCode::state, "model.layers.0.mlp",
                 [&] { save_checkpoint(folder.path(), *study.trainer, study.state, kIdentity, 2); });
    CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("checkpoint: the newest stay, leftovers of killed saves go, a second writer is refused") {
    using namespace checkpoint_test;
    const TemporaryFolder folder;
    Study<float> study(Learning::no);
    for (int i = 0; i < 4; ++i) {
        study.steps(1);
        save_checkpoint(folder.path(), *study.trainer, study.state, kIdentity, 2);
    }
    CHECK(checkpoint_steps(folder.path()) == std::vector<Index>{4, 3});
    const std::string checkpoints = folder.path() + "/checkpoints/";
    for (const char* name : {"step-000005.tmp-12-1", "removing-step-000001-12", "mine", "step-x.tmp-1"})
        std::filesystem::create_directories(checkpoints + name);
    CheckpointFolder writer(folder.path());
    CHECK_FALSE(std::filesystem::exists(checkpoints + "step-000005.tmp-12-1"));
    CHECK_FALSE(std::filesystem::exists(checkpoints + "removing-step-000001-12"));
    CHECK(std::filesystem::exists(checkpoints + "mine"));
    CHECK(std::filesystem::exists(checkpoints + "step-x.tmp-1"));
    expect_error(ErrorCode::state, folder.path(), [&] { CheckpointFolder second(folder.path()); });
    // The same step again changes nothing; a damaged one of that step gives up its name.
    save_checkpoint(writer, *study.trainer, study.state, kIdentity, 2);
    CHECK(checkpoint_steps(folder.path()) == std::vector<Index>{4, 3});
    flip(writer.path_of(4) + "/state.safetensors", 2000);
    save_checkpoint(writer, *study.trainer, study.state, kIdentity, 2);
    CHECK(std::filesystem::exists(writer.path_of(4) + ".damaged-1"));
    CHECK(resume_checkpoint(writer, *study.trainer, kIdentity, kSilence)->step == 4);
}

TEST_CASE("checkpoint: a damaged one is named and put aside, the one before is taken") {
    using namespace checkpoint_test;
    const TemporaryFolder folder;
    Study<float> study;
    study.steps(1);
    save_checkpoint(folder.path(), *study.trainer, study.state, kIdentity, 2);
    study.steps(1);
    save_checkpoint(folder.path(), *study.trainer, study.state, kIdentity, 2);
    const std::string newest = folder.path() + "/checkpoints/step-000002";
    flip(newest + "/state.safetensors", std::filesystem::file_size(newest + "/state.safetensors") - 1);
    std::string said;
    Study<float> second;
    const auto state = resume_checkpoint(folder.path(), *second.trainer, kIdentity,
                                         [&](const std::string& line) { said += line; });
    REQUIRE(state);
    CHECK(state->step == 1);
    CHECK(said.find("second_moment.model.layers.1") != std::string::npos);
    CHECK(std::filesystem::exists(newest + ".damaged-1"));
    CHECK(checkpoint_steps(folder.path()) == std::vector<Index>{1});
    // With none left that verifies nothing is begun anew in silence.
    std::filesystem::resize_file(folder.path() + "/checkpoints/step-000001/state.json", 10);
    expect_error(ErrorCode::format, "a checkpoint that verifies",
                 [&] { resume_checkpoint(folder.path(), *second.trainer, kIdentity, kSilence); });
    std::filesystem::remove_all(folder.path() + "/checkpoints");
    CHECK_FALSE(resume_checkpoint(folder.path(), *second.trainer, kIdentity, kSilence));
}

TEST_CASE("checkpoint: another setting, data file, model or number type is refused by its name") {
    using namespace checkpoint_test;
    const TemporaryFolder folder;
    Study<float> study(Learning::no);
    study.steps(1);
    save_checkpoint(folder.path(), *study.trainer, study.state, kIdentity, 2);
    const auto resume = [&](auto& other, const std::string& identity) {
        resume_checkpoint(folder.path(), *other.trainer, identity, kSilence);
    };
    const auto before = study.hash();
    expect_error(ErrorCode::config, "optim.lr = 0.02",
                 [&] { resume(study, "optim.lr = 0.02\ndata.train sha256 = abc\n"); });
    expect_error(ErrorCode::config, "data.train sha256 = abc",
                 [&] { resume(study, "optim.lr = 0.01\ndata.train sha256 = abd\n"); });
    expect_error(ErrorCode::config, "(nothing)", [&] { resume(study, "optim.lr = 0.01\n"); });
    Study<double> wide(Learning::no);
    expect_error(ErrorCode::shape, "F64", [&] { resume(wide, kIdentity); });
    Study<float> broad(Learning::no, 1, 28);
    expect_error(ErrorCode::shape, "experts", [&] { resume(broad, kIdentity); });
    Study<float> learning;
    expect_error(ErrorCode::shape, "router.model.layers.0.mlp", [&] { resume(learning, kIdentity); });
    CHECK(study.hash() == before);
    // The order of the lines is nobody's business.
    resume(study, "data.train sha256 = abc\noptim.lr = 0.01\n");
}

TEST_CASE(
    "checkpoint: a later format is unsupported, not damaged; sizes that overflow are refused (K08, K10)") {
    using namespace checkpoint_test;
    const TemporaryFolder folder;
    Study<float> study(Learning::no);
    study.steps(1);
    save_checkpoint(folder.path(), *study.trainer, study.state, kIdentity, 2);
    const std::string path = folder.path() + "/checkpoints/step-000001/MANIFEST.json";
    const auto resealed = [&](std::string text, const std::string& from, const std::string& to) {
        text.replace(text.find(from), from.size(), to);
        const std::size_t end = text.rfind(",\n  \"sha256\"");
        const std::string body = text.substr(0, end) + "\n}\n";
        put(path, text.substr(0, end) + ",\n  \"sha256\": \"" + sha256_hex(body) + "\"\n}\n");
    };
    const std::string text = io_test::read_text(path);
    const auto resume = [&] { resume_checkpoint(folder.path(), *study.trainer, kIdentity, kSilence); };
    resealed(text, "\"format\": 1", "\"format\": 1");
    CHECK(io_test::read_text(path) == text);
    resealed(text, "\"format\": 1", "\"format\": 2");
    expect_error(ErrorCode::unsupported, "format", resume);
    CHECK(checkpoint_steps(folder.path()) == std::vector<Index>{1});
    for (const char* bytes : {"1152921504606846976", "1152921504606846977", "-1", "1e3", "\"1\""}) {
        const std::size_t at = text.find("\"bytes\": ");
        resealed(text, text.substr(at, text.find(',', at) - at), format("\"bytes\": {}", bytes));
        expect_error(ErrorCode::format, "MANIFEST.json", [&] { static_cast<void>(read_manifest(path)); });
    }
    resealed(text, "\"name\": \"state.safetensors\"", "\"name\": \"../step-000001/state.safetensors\"");
    expect_error(ErrorCode::format, "a plain file name", [&] { static_cast<void>(read_manifest(path)); });
}

TEST_CASE("checkpoint: those of a later step are another run's; a step that is not the folder's is refused") {
    using namespace checkpoint_test;
    const TemporaryFolder folder;
    const std::string checkpoints = folder.path() + "/checkpoints/";
    Study<float> study(Learning::no);
    study.steps(1);
    save_checkpoint(folder.path(), *study.trainer, study.state, kIdentity, 2);
    for (const char* name : {"step-000007", "step-000008"})
        std::filesystem::copy(checkpoints + "step-000001", checkpoints + name);
    study.steps(1);
    save_checkpoint(folder.path(), *study.trainer, study.state, kIdentity, 2);
    CHECK(checkpoint_steps(folder.path()) == std::vector<Index>{2, 1});
    CHECK(std::filesystem::exists(checkpoints + "step-000008.other-run-1"));
    const std::string state = io_test::read_text(checkpoints + "step-000002/state.json");
    std::string other = state;
    other.replace(other.find("\"step\": 2"), 9, "\"step\": 3");
    put(checkpoints + "step-000002/state.json", other);
    std::string manifest = io_test::read_text(checkpoints + "step-000002/MANIFEST.json");
    manifest.replace(manifest.find(sha256_hex(state)), 64, sha256_hex(other));
    const std::size_t end = manifest.rfind(",\n  \"sha256\"");
    const std::string digest = sha256_hex(manifest.substr(0, end) + "\n}\n");
    put(checkpoints + "step-000002/MANIFEST.json",
        manifest.substr(0, end) + ",\n  \"sha256\": \"" + digest + "\"\n}\n");
    expect_error(ErrorCode::format, "2, the step of the folder",
                 [&] { resume_checkpoint(folder.path(), *study.trainer, kIdentity, kSilence); });
}

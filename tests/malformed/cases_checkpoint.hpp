#pragma once
// K07 to K11: our own checkpoints. The good one has two tensors; step 3. Folders are step-000003 itself.

#include <malformed/cases_adapter.hpp>
#include <moegrad/train/checkpoint_manifest.hpp>
#include <moegrad/train/run_state_json.hpp>

namespace malformed {

inline constexpr std::int64_t kCheckpointStep = 3;
inline const char* const kIdentity = "optim.lr = 0.1\nseed = 7\n";

inline std::vector<StoredF32> state_entries() {
    return {{"weight.a", {2, 2}}, {"first_moment.a", {2, 2}}, {"second_moment.a", {2, 2}}};
}

inline std::string run_state_file(std::int64_t step, const std::string& seed = "7") {
    moegrad::RunState state;
    state.step = step;
    moegrad::Json identity = moegrad::Json::object(), json = moegrad::Json::object();
    identity.add("optim.lr", "0.1");
    identity.add("seed", seed);
    json.add("run", to_json(state));
    json.add("identity", std::move(identity));
    return write_json(json, moegrad::JsonStyle::indented);
}

/// A folder whose manifest fits its files.
inline Files checkpoint_files(const std::string& state, const std::string& run,
                              std::int64_t step = kCheckpointStep) {
    moegrad::CheckpointManifest manifest{step, {}};
    manifest.files.push_back(moegrad::whole_file("state.safetensors", state));
    manifest.files.push_back(moegrad::whole_file("state.json", run));
    return {{"state.safetensors", state}, {"state.json", run}, {"MANIFEST.json", manifest_text(manifest)}};
}
inline Files good_checkpoint() {
    return checkpoint_files(f32_file(state_entries()), run_state_file(kCheckpointStep));
}

inline Files with_manifest(const std::string& from, const std::string& to) {
    Files files = good_checkpoint();
    std::string& text = files[2].content;
    text.replace(text.find(from), from.size(), to);
    return files;
}
/// The same with a digest that fits, as whoever edits it on purpose would have it.
inline Files with_sealed_manifest(const std::string& from, const std::string& to) {
    using namespace moegrad;
    Files files = with_manifest(from, to);
    const Json json = parse_json(files[2].content, "edited");
    Json sealed = Json::object();
    for (const JsonMember& member : *json.members())
        if (member.key != "sha256") sealed.add(member.key, member.value);
    sealed.add("sha256", sha256_hex(write_json(sealed, JsonStyle::indented)));
    files[2].content = write_json(sealed, JsonStyle::indented);
    return files;
}

inline Cases checkpoint_cases() {
    Cases cases;
    const ErrorCode format = ErrorCode::format;
    const auto bad = [&](const char* id, const char* what, Files files, const char* place, const char* words,
                         ErrorCode code) {
        cases.push_back(
            {id, what, Reader::checkpoint, std::move(files), good_checkpoint(), code, place, words});
    };
    // Every bit of every file: malformed/checkpoint_test.hpp; here one of each kind.
    Files files = good_checkpoint();
    files[0].content.back() ^= 1;
    bad("K07", "a bit of a tensor", files, "state.safetensors", "sha256", format);
    files = good_checkpoint();
    files[0].content[9] ^= 1;
    bad("K07b", "a bit of the header", files, "state.safetensors", "sha256", format);
    files = good_checkpoint();
    files[1].content[5] ^= 1;
    bad("K07c", "a bit of state.json", files, "state.json", "sha256", format);
    files = good_checkpoint();
    files[0].content.pop_back();
    bad("K07d", "a state cut by one byte", files, "state.safetensors", "cut short", format);
    files = good_checkpoint();
    files[2].content.resize(files[2].content.size() / 2);
    bad("K07e", "a manifest cut in the middle", files, "MANIFEST.json", "valid JSON", format);
    files = good_checkpoint();
    files.pop_back();
    bad("K07f", "no manifest", files, "MANIFEST.json", "No such file", ErrorCode::file);
    files = good_checkpoint();
    files.erase(files.begin());
    bad("K07g", "no state", files, "state.safetensors", "No such file", ErrorCode::file);
    bad("K07h", "an edited manifest", with_manifest("\"step\": 3", "\"step\": 4"), "MANIFEST.json",
        "its own sha256", format);
    files = good_checkpoint();
    files[2] = {"MANIFEST.json", "other", File::Kind::link};
    files.push_back({"other", good_checkpoint()[2].content});
    bad("K07i", "a manifest that is a link", files, "MANIFEST.json", "a symbolic link", ErrorCode::file);
    bad("K08", "a newer format", with_sealed_manifest("\"format\": 1", "\"format\": 2"),
        "MANIFEST.json: format", "a later moegrad wrote it", ErrorCode::unsupported);
    auto entries = state_entries();
    std::swap(entries[0], entries[1]);
    const std::string run = run_state_file(kCheckpointStep);
    bad("K09", "the optimizer's tensors in another order", checkpoint_files(f32_file(entries), run),
        "state.safetensors: tensor 0", "another adapter", ErrorCode::shape);
    entries = state_entries();
    entries.pop_back();
    bad("K09b", "a moment is missing", checkpoint_files(f32_file(entries), run), "state.safetensors",
        "3 tensors", ErrorCode::shape);
    entries = state_entries();
    entries[0].shape = {4, 1};
    bad("K09c", "another shape of as many numbers", checkpoint_files(f32_file(entries), run),
        "state.safetensors: tensor 0", "[2, 2]", ErrorCode::shape);
    // Counts that overflow when they are added or multiplied.
    bad("K10", "a part of 2^61 bytes",
        with_sealed_manifest("\"bytes\": ", "\"bytes\": 2305843009213693952, \"was\": "),
        "MANIFEST.json: files[0]", "an integer in 0", format);
    bad("K10b", "a negative size", with_sealed_manifest("\"bytes\": ", "\"bytes\": -1, \"was\": "),
        "MANIFEST.json: files[0]", "an integer in 0", format);
    bad("K10c", "a size that is not the sum of the parts",
        with_sealed_manifest("\"bytes\": ", "\"bytes\": 1, \"was\": "), "MANIFEST.json: files[0]",
        "the sum of the parts", format);
    bad("K10d", "a file one folder up", with_sealed_manifest("\"state.json\"", "\"../state.json\""),
        "MANIFEST.json: files[1].name", "a plain file name", format);
    bad("K10e", "another step than the folder's name",
        checkpoint_files(f32_file(state_entries()), run_state_file(9), 9), "", "step 3", format);
    bad("K10f", "state.json without the run",
        checkpoint_files(f32_file(state_entries()), "{\"identity\":{}}"), "state.json", "no such key",
        format);
    // Threads are no part of a run's identity; what decides the result is.
    bad("K11", "another run's seed",
        checkpoint_files(f32_file(state_entries()), run_state_file(kCheckpointStep, "8")), "", "seed = 8",
        ErrorCode::config);
    return cases;
}

}  // namespace malformed

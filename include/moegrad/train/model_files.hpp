#pragma once
// A base model from a Hugging Face folder. Every tensor of the checkpoint is read exactly once into the place the
// family gives it, in the model's number type; a tensor nobody wants, or one that is missing, is an error, found before
// anything is allocated. Pages of a file go back as soon as they are read, so nothing is held twice.
// Onto a GPU a parameter goes as soon as its last tensor is read: the host holds one parameter at a time. In NF4 a weight
// streams through (streamed_nf4.hpp): its values are nowhere whole.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/io/checkpoint_index.hpp>
#include <moegrad/io/model_config_json.hpp>
#include <moegrad/models/llama.hpp>
#include <moegrad/models/mixtral.hpp>
#include <moegrad/train/base_fingerprint.hpp>
#include <moegrad/train/checkpoint_shapes.hpp>
#include <moegrad/train/streamed_nf4.hpp>

namespace moegrad {

/// An empty model of the family the config names.
template <class Real>
std::unique_ptr<Decoder<Real>> make_model(const ModelConfig& config) {
    if (config.is_mixture()) return std::make_unique<Mixtral<Real>>(config);
    return std::make_unique<Llama<Real>>(config);
}

namespace detail {

/// A tied head that is stored all the same must be the embedding [V, D], which is on the host.
template <class Real>
void check_tied_head(CheckpointIndex& files, const ModelConfig& config, const Tensor<Real>& embedding) {
    const std::string name = "lm_head.weight";
    if (!config.tie_word_embeddings || !files.contains(name)) return;
    const auto values = embedding.values();
    std::vector<Real> head(values.size());
    files.read(name, extents(embedding.shape()), std::span<Real>(head));
    const auto same = [](Real one, Real other) {
        const auto a = static_cast<Wide<Real>>(one), b = static_cast<Wide<Real>>(other);
        return a == b || (std::isnan(a) && std::isnan(b));
    };
    const auto [ours, theirs] = std::mismatch(values.begin(), values.end(), head.begin(), same);
    if (ours == values.end()) return;
    const auto row = static_cast<Index>(ours - values.begin()) / config.hidden_size;
    throw Error{ErrorCode::format, format("{}: tensor {}", files.folder(), name),
                "the numbers of model.embed_tokens.weight, for tie_word_embeddings is true",
                format("another value in row {}", row),
                "set tie_word_embeddings to false in config.json if the head is its own"};
}

/// Whether a NaN or an infinity is among n values: an exponent of all ones. In words of 8 bytes: one added at the lowest bit
/// of an exponent carries to the sign's place where all of its bits are set, and nowhere else.
template <class T>
bool any_nonfinite(const T* values, std::size_t n) {
    std::size_t done = 0;
    if constexpr (sizeof(T) < 8) {
        constexpr bool half = sizeof(T) == 2;
        constexpr std::uint64_t exponents = half ? 0x7f807f807f807f80 : 0x7f8000007f800000;
        constexpr std::uint64_t lowest = half ? 0x0080008000800080 : 0x0080000000800000;
        constexpr std::uint64_t signs = half ? 0x8000800080008000 : 0x8000000080000000;
        constexpr std::size_t each = 8 / sizeof(T);
        std::uint64_t found = 0, word = 0;
        for (; done + each <= n; done += each) {
            std::memcpy(&word, values + done, sizeof(word));
            found |= (word & exponents) + lowest;
        }
        if ((found & signs) != 0) return true;
    }
    return std::any_of(values + done, values + n,
                       [](T value) { return !std::isfinite(static_cast<Wide<T>>(value)); });
}

template <class Real>
void count_nonfinite(const StoredTensor<Real>& stored, NonFiniteCount& count) {
    stored.visit([&](const auto& part) {
        const auto there = host(part);
        const auto values = there.values();
        if (!any_nonfinite(values.data(), values.size())) return;
        count.tensors.push_back(stored.name);
        for (const auto number : values) {
            const auto value = static_cast<Wide<Real>>(number);
            if (std::isfinite(value)) continue;
            ++(std::isnan(value) ? count.nan : count.infinite);
        }
    });
}

/// The weights that are to be NF4; their values, which nobody touched, go.
template <class Real>
std::set<const void*> make_room_for_nf4(Decoder<Real>& model) {
    std::set<const void*> all;
    for (auto* parameter : quantisable_parameters(model)) {
        parameter->drop_value();
        all.insert(parameter);
    }
    return all;
}

/// Reads every tensor of the model; parameters go to `device` one by one.
template <class Real>
void read_weights(CheckpointIndex& files, Decoder<Real>& model, Device device, Quantisation quantise) {
    const bool keeps_facts = device == Device::cuda || quantise == Quantisation::nf4;
    const auto narrow = quantise == Quantisation::nf4 ? make_room_for_nf4(model) : std::set<const void*>();
    const auto tensors = model.stored_tensors();
    std::optional<StreamedNf4<Real>> stream;
    BaseFacts facts;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        const auto& stored = tensors[i];
        const bool complete = i + 1 == tensors.size() || tensors[i + 1].parameter != stored.parameter;
        if (narrow.contains(stored.parameter)) {
            if (!stream) stream.emplace(*stored.parameter);
            stream->read(files, stored);
            if (!complete) continue;
            facts.fingerprint += stream->finish(device);
            stream.reset();
            continue;
        }
        stored.visit([&](const auto& value) {
            files.read(stored.name, extents(value.shape()), value.values());
            if constexpr (std::is_same_v<std::remove_cvref_t<decltype(value)>, Tensor<Real>>) {
                if (i == 0) check_tied_head(files, model.config(), value);
            }
        });
        if (!keeps_facts) continue;
        count_nonfinite(stored, facts.nonfinite);
        if (!complete) continue;
        facts.fingerprint += fingerprint_line<Real>(*stored.parameter);
        stored.parameter->move_to(device);
    }
    if (!keeps_facts) return;
    facts.fingerprint = sha256_hex(facts.fingerprint);
    model.as_read = std::move(facts);
}

}  // namespace detail

/// Reads config.json and the weights of `folder`.
template <class Real>
std::unique_ptr<Decoder<Real>> load_model(const std::string& folder, Device device = Device::cpu,
                                          Quantisation quantise = Quantisation::none) {
    if (device == Device::cuda) require_cuda("load_model");
    const ModelConfig config = load_model_config(folder);
    CheckpointIndex files(folder);
    require_same_checkpoint(config, files);
    auto model = make_model<Real>(config);
    if (auto* mixtral = dynamic_cast<Mixtral<Real>*>(model.get())) {
        mixtral->layout = has_fused_experts(files) ? ExpertLayout::fused : ExpertLayout::one_by_one;
    }
    detail::read_weights(files, *model, device, quantise);
    files.require_all_read();
    return model;
}

/// Of a model that was loaded onto a GPU, or in NF4: as it was read.
template <class Real>
NonFiniteCount count_nonfinite(Decoder<Real>& model) {
    if (model.as_read && (model.away() || is_quantised(model))) return model.as_read->nonfinite;
    NonFiniteCount count;
    for (const auto& stored : model.stored_tensors()) detail::count_nonfinite(stored, count);
    return count;
}

/// For training: refuses weights that are no numbers, unless the run says that it wants them (model.allow_nonfinite).
template <class Real>
NonFiniteCount require_finite(Decoder<Real>& model, const std::string& folder, bool allow_nonfinite) {
    NonFiniteCount count = count_nonfinite(model);
    if (count.total() == 0 || allow_nonfinite) return count;
    throw Error{ErrorCode::value, folder, "finite weights",
                format("{} NaN and {} infinite in {} tensors: {}", count.nan, count.infinite,
                       count.tensors.size(), list_names(count.tensors)),
                "the checkpoint is damaged; model.allow_nonfinite = true trains on it all the same"};
}

}  // namespace moegrad

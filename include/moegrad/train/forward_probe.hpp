#pragma once
// The probe behind `moegrad forward`: logits, loss, every gradient and every routing decision of a model on given
// tokens, for anyone to compare with another implementation.
//     in:   tokens [B, S] int64
//     out:  logits [B, S, V], loss [1] (mean next-token cross entropy over all positions, no penalty),
//           grad.<name> for every base tensor, or for every adapter tensor when there is an adapter,
//           routing.<layer>.expert [B S, K] int32, routing.<layer>.weight [B S, K]

#include <string>
#include <vector>

#include <moegrad/io/safetensors.hpp>
#include <moegrad/io/safetensors_writer.hpp>
#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/model_files.hpp>

namespace moegrad {

struct ForwardProbe {
    std::string model, adapter, tokens, out;
    AdapterReading reading{};
    bool gradients = false;
    int threads = 0;
};

namespace detail {

struct ProbeTokens {
    Index B = 0, S = 0;
    Tensor<std::int32_t> token, target;  // [B S]; target: the next token, ignored at the end of a sequence
    Segments segments;
};

inline ProbeTokens read_probe_tokens(const std::string& path, Index vocabulary) {
    const SafetensorsFile file(path);
    const TensorInfo& info = file.at("tokens");
    if (info.shape.size() != 2 || info.shape[0] < 1 || info.shape[1] < 2) {
        throw Error{ErrorCode::shape, path + ": tokens", "[B, S] with S of at least 2",
                    shape_text(info.shape)};
    }
    ProbeTokens probe;
    probe.B = info.shape[0];
    probe.S = info.shape[1];
    probe.token = Tensor<std::int32_t>::zeros({probe.B * probe.S});
    file.read(info, probe.token.values());
    for (std::int32_t id : probe.token.values()) {
        if (id < 0 || id >= vocabulary) {
            throw Error{ErrorCode::data, path + ": tokens", format("ids in [0, {})", vocabulary),
                        format("{}", id)};
        }
    }
    probe.target = Tensor<std::int32_t>::zeros({probe.B * probe.S});
    for (Index t = 0; t < probe.B * probe.S; ++t) {
        probe.target.data()[t] = (t + 1) % probe.S == 0 ? kIgnoreTarget : probe.token.data()[t + 1];
    }
    const std::vector<Index> lengths(static_cast<std::size_t>(probe.B), probe.S);
    probe.segments = Segments::of_lengths(lengths);
    return probe;
}

template <class Real>
void write_tensor(SafetensorsWriter& writer, const std::string& name, const Tensor<Real>& tensor,
                  const std::vector<Index>& shape, StoredType type = StoredType::f32) {
    writer.add(name, type, shape, std::span<const Real>(tensor.values()));
}

inline std::vector<Index> extents(const Shape& shape) {
    std::vector<Index> all;
    for (int axis = 0; axis < shape.rank(); ++axis) all.push_back(shape[axis]);
    return all;
}

template <class Real>
void write_gradients(SafetensorsWriter& writer, Decoder<Real>& model, bool adapter) {
    if (adapter) {
        for (const auto& tensor : adapter_tensors(model)) {
            if (!tensor.parameter->trainable()) continue;
            const auto values = tensor.pack(total_gradient(*tensor.parameter));
            writer.add("grad." + tensor.name, StoredType::f32, extents(tensor.shape()),
                       std::span<const Real>(values));
        }
        return;
    }
    for (const auto& stored : model.stored_tensors()) {
        const auto gradient = stored.part(total_gradient(*stored.parameter));
        write_tensor(writer, "grad." + stored.name, gradient, extents(gradient.shape()));
    }
}

}  // namespace detail

/// Runs the probe in number type Real and returns the loss.
template <class Real>
double run_forward_probe(const ForwardProbe& options) {
    auto model = load_model<Real>(options.model);
    const bool adapter = !options.adapter.empty();
    if (adapter) {
        load_adapter(*model, options.adapter, options.reading);
    } else if (options.gradients) {
        for (auto* parameter : model->base_parameters()) parameter->set_trainable(true);
    }
    const auto probe = detail::read_probe_tokens(options.tokens, model->config().vocab_size);
    Context context({.device = Device::cpu, .threads = options.threads});
    SafetensorsWriter writer;
    // The probe is an evaluation: a tape that records, but no dropout. Adapters are read with the rate they were
    // trained at, so the rate is cleared where gradients are taken.
    if (options.gradients) clear_dropout(*model);
    Tape tape(context, options.gradients ? Mode::training : Mode::inference);
    Forward<Real> forward{tape, probe.token, probe.segments};
    const auto hidden = model->hidden(forward);
    {
        Tape aside(context, Mode::inference);
        Forward<Real> head{aside, probe.token, probe.segments};
        const auto logits = model->logits(head, Var<Real>(hidden.value())).value();
        detail::write_tensor(writer, "logits", logits, {probe.B, probe.S, model->config().vocab_size});
    }
    const auto nll = model->loss(forward, hidden, probe.target);
    double sum = 0;
    for (auto value : nll.value().values()) sum += static_cast<double>(value);
    const double supervised = static_cast<double>(probe.B * (probe.S - 1));
    const auto loss = Tensor<double>::from({1}, {sum / supervised});
    detail::write_tensor(writer, "loss", loss, {1});
    for (const auto& record : forward.routings) {
        const std::string name = format("routing.{}", record.layer);
        const auto& routing = record.routing;
        if (record.name.find("self_attn") != std::string::npos || record.name.ends_with("_proj")) continue;
        detail::write_tensor(writer, name + ".expert", routing.expert,
                             detail::extents(routing.expert.shape()), StoredType::i32);
        detail::write_tensor(writer, name + ".weight", routing.weight.value(),
                             detail::extents(routing.weight.shape()));
    }
    if (options.gradients) {
        context.scalars().coefficient[0] = 1.0 / supervised;
        seed(tape, nll, 0);
        tape.backward();
        detail::write_gradients(writer, *model, adapter);
    }
    writer.save(options.out);
    return sum / supervised;
}

}  // namespace moegrad

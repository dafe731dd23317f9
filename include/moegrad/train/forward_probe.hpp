#pragma once
// The probe behind `moegrad forward`: logits, loss, every gradient and every routing decision of a model on given
// tokens, for anyone to compare with another implementation.
//     in:   tokens [B, S] int64
//     out:  logits [B, S, V], loss [1] (mean next-token cross entropy over all positions, no penalty),
//           grad.<name> for every base tensor, or for every adapter tensor when there is an adapter,
//           routing.<layer>.expert [B S, K] int32, routing.<layer>.weight [B S, K] of a layer's mixture of experts;
//           of any other router routing.<layer>.<place>.expert, .weight, place being what its name has after the layer:
//           self_attn.q_proj, perft (of mlp.perft); of a hook around a whole layer, "layer"

#include <string>
#include <vector>

#include <moegrad/core/device_reports.hpp>
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
    Device device = Device::cpu;
    Quantisation quantise = Quantisation::none;
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

/// From any device; bf16 as the float it is.
template <class T>
void write_tensor(SafetensorsWriter& writer, const std::string& name, const Tensor<T>& tensor,
                  const std::vector<Index>& shape, StoredType type = StoredType::f32) {
    const auto numbers = widened(host(tensor));
    writer.add(name, type, shape, std::span<const Wide<T>>(numbers.values()));
}

template <class Real>
void write_gradients(SafetensorsWriter& writer, Decoder<Real>& model, bool adapter) {
    if (adapter) {
        for (const auto& tensor : adapter_tensors(model)) {
            if (!tensor.parameter->trainable()) continue;
            const auto values = tensor.pack(total_gradient(*tensor.parameter));
            writer.add("grad." + tensor.name, StoredType::f32, extents(tensor.shape()),
                       std::span<const Wide<Real>>(values));
        }
        return;
    }
    for (const auto& stored : model.stored_tensors()) {
        const auto gradient = stored.part(total_gradient(*stored.parameter));
        write_tensor(writer, "grad." + stored.name, gradient, extents(gradient.shape()));
    }
}

/// The model on its device, ready for what is asked of it.
template <class Real>
std::unique_ptr<Decoder<Real>> probe_model(const ForwardProbe& options) {
    auto model = load_model<Real>(options.model, options.device, options.quantise);
    if (!options.adapter.empty()) {
        load_adapter(*model, options.adapter, options.reading);
    } else if (options.gradients) {
        for (auto* parameter : model->base_parameters()) parameter->set_trainable(true);
    }
    move_to(*model, options.device);
    // The probe is an evaluation: a tape that records, but no dropout. Adapters are read with the rate they were
    // trained at, so the rate is cleared where gradients are taken.
    if (options.gradients) clear_dropout(*model);
    return model;
}

/// "model.layers.3.mlp" -> "routing.3", "model.layers.3.mlp.perft" -> "routing.3.perft", "model.layers.3" ->
/// "routing.3.layer"
inline std::string routing_name(const std::string& router, int layer) {
    const std::string stem = format("model.layers.{}", layer), mixture = stem + ".mlp",
                      name = format("routing.{}", layer);
    if (router == stem) return name + ".layer";
    if (router == mixture) return name;
    if (router.starts_with(mixture + ".")) return name + router.substr(mixture.size());
    return router.starts_with(stem + ".") ? name + router.substr(stem.size()) : name + "." + router;
}

template <class Real>
void write_routings(SafetensorsWriter& writer, const Forward<Real>& forward) {
    for (const auto& record : forward.routings) {
        const std::string name = routing_name(record.name, record.layer);
        const auto& routing = record.routing;
        write_tensor(writer, name + ".expert", routing.expert, extents(routing.expert.shape()),
                     StoredType::i32);
        write_tensor(writer, name + ".weight", routing.weight.value(), extents(routing.weight.shape()));
    }
}

}  // namespace detail

/// Runs the probe in number type Real and returns the loss.
template <class Real>
double run_forward_probe(const ForwardProbe& options) {
    Context context({.device = options.device, .threads = options.threads});
    const auto model = detail::probe_model<Real>(options);
    const auto probe = detail::read_probe_tokens(options.tokens, model->config().vocab_size);
    const auto token = placed(probe.token, options.device);
    const auto segments = placed(probe.segments, options.device);
    SafetensorsWriter writer;
    Tape tape(context, options.gradients ? Mode::training : Mode::inference);
    tape.set_trains(false);
    Forward<Real> forward{tape, token, segments};
    const auto hidden = model->hidden(forward);
    {
        Tape aside(context, Mode::inference);
        Forward<Real> head{aside, token, segments};
        const auto logits = model->logits(head, Var<Real>(hidden.value())).value();
        detail::write_tensor(writer, "logits", logits, {probe.B, probe.S, model->config().vocab_size});
    }
    const auto nll = model->loss(forward, hidden, probe.target);
    double sum = 0;
    const auto each = host(nll.value());
    for (auto value : each.values()) sum += static_cast<double>(value);
    const double supervised = static_cast<double>(probe.B * (probe.S - 1));
    detail::write_tensor(writer, "loss", Tensor<double>::from({1}, {sum / supervised}), {1});
    detail::write_routings(writer, forward);
    if (options.gradients) {
        context.scalars().coefficient[0] = 1.0 / supervised;
        seed(tape, nll, 0);
        tape.backward();
        detail::write_gradients(writer, *model, !options.adapter.empty());
    }
    require_no_reports(options.device, "forward");
    writer.save(options.out);
    return sum / supervised;
}

}  // namespace moegrad

#pragma once
// state.safetensors of a checkpoint: what training changes, bit for bit, in its own number type.
//   router.NAME          [n] F64   what a router with after_step keeps beside its parameters
//   weight.PARAMETER     master copy of each trainable parameter, in the trainer's order
//   first_moment.., second_moment..   of AdamW, likewise
// The numbers are the masters', float in a bf16 model. Written straight from host tensors: nothing is held twice; those of
// a GPU are brought to the host first. Digests are made by the pool while the file is written.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <set>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <moegrad/io/durable_file.hpp>
#include <moegrad/io/safetensors.hpp>
#include <moegrad/methods/model_routers.hpp>
#include <moegrad/train/checkpoint_manifest.hpp>

namespace moegrad {

struct StateTensor {
    std::string name;
    StoredType type;
    std::vector<Index> shape;
    std::span<std::byte> bytes;
};

/// The tensors of a checkpoint. Those of parameters are windows on them, or on host copies; router states are copies.
template <class Real>
struct StateTensors {
    struct Value {
        Tensor<Wide<Real>> values, there;  // on the host, and where the parameter lies
        Parameter<Wide<Real>>* weight;     // null for moments
    };
    std::vector<StateTensor> tensors;
    std::vector<std::vector<double>> router_states;  // behind the first tensors, in the order of the routers
    std::vector<Value> values;                       // behind the others

    /// After read_state: parameters on a GPU and the bf16 copies of masters get what was read.
    void arrive() const {
        for (const Value& value : values) {
            if (value.weight != nullptr) {
                set_values<Real>(*value.weight, value.values);
            } else if (!value.there.on_host()) {
                copy_values(value.values, value.there);
            }
        }
    }
};

namespace detail {

template <class Real>
StateTensor state_tensor(std::string name, const Tensor<Real>& tensor) {
    static_assert(std::is_same_v<Real, float> || std::is_same_v<Real, double>);
    std::vector<Index> shape;
    for (int axis = 0; axis < tensor.shape().rank(); ++axis) shape.push_back(tensor.shape()[axis]);
    return {std::move(name), sizeof(Real) == 8 ? StoredType::f64 : StoredType::f32, std::move(shape),
            std::as_writable_bytes(std::span(tensor.flat().data, static_cast<std::size_t>(tensor.size())))};
}

/// The length and the JSON of a safetensors file whose data are the tensors in this order.
inline std::string state_header(const std::vector<StateTensor>& tensors) {
    Json::Members members;
    std::int64_t begin = 0;
    std::set<std::string> names;
    for (const auto& tensor : tensors) {
        if (!names.insert(tensor.name).second)
            throw Error{ErrorCode::state, "checkpoint: " + tensor.name, "each name once", "a second tensor"};
        const std::int64_t end = begin + static_cast<std::int64_t>(tensor.bytes.size());
        Json json = Json::object();
        json.add("dtype", std::string(name(tensor.type)));
        json.add("shape", Json::Array(tensor.shape.begin(), tensor.shape.end()));
        json.add("data_offsets", Json::Array{begin, end});
        members.push_back({tensor.name, std::move(json)});
        begin = end;
    }
    std::string text = write_json(Json::from_members(std::move(members), "checkpoint"));
    text.resize((text.size() + 7) / 8 * 8, ' ');
    const std::uint64_t length = text.size();
    return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + text;
}

}  // namespace detail

/// A router that learns and cannot say what it knows is refused by its name.
template <class Real>
void require_states(const NamedRouters<Real>& routers) {
    for (const auto& [name, router] : routers) {
        if (!router->learns() || router->has_state()) continue;
        throw Error{ErrorCode::state, "checkpoint: the router of " + name,
                    "state() and set_state() beside after_step()", "after_step() alone",
                    "what it learns would be lost: add both to the router, see docs/checkpoints.md"};
    }
}

/// Everything that training changes.
template <class Real>
StateTensors<Real> state_tensors(const std::vector<Parameter<Wide<Real>>*>& parameters,
                                 const NamedRouters<Real>& routers) {
    require_states<Real>(routers);
    StateTensors<Real> state;
    for (const auto& [name, router] : routers)
        if (router->learns()) state.router_states.push_back(router->state());
    std::size_t i = 0;
    for (const auto& [name, router] : routers) {
        if (!router->learns()) continue;
        auto& values = state.router_states[i++];
        state.tensors.push_back({"router." + name,
                                 StoredType::f64,
                                 {static_cast<Index>(values.size())},
                                 std::as_writable_bytes(std::span(values))});
    }
    const auto add = [&state](const std::string& name, const Tensor<Wide<Real>>& there,
                              Parameter<Wide<Real>>* weight) {
        state.values.push_back({host(there), there, weight});
        state.tensors.push_back(detail::state_tensor(name, state.values.back().values));
    };
    for (auto* p : parameters) add("weight." + p->name(), p->value(), p);
    for (auto* p : parameters) add("first_moment." + p->name(), p->first_moment(), nullptr);
    for (auto* p : parameters) add("second_moment." + p->name(), p->second_moment(), nullptr);
    return state;
}

/// A part of the manifest: a tensor, or a piece of a large one, so that many threads find work.
inline constexpr std::size_t kPieceBytes = std::size_t{1} << 20;

/// Sizes and digests of the file that write_state makes; with `also` among the work of the pool.
template <class Also>
ManifestFile state_parts(const std::string& name, const std::string& header,
                         const std::vector<StateTensor>& tensors, ThreadPool& pool, const Also& also) {
    ManifestFile file{name, {{"header", header.size(), {}}}};
    std::vector<Piece> pieces{std::as_bytes(std::span(header.data(), header.size()))};
    for (const auto& tensor : tensors) {
        const std::size_t size = tensor.bytes.size();
        for (std::size_t at = 0; at == 0 || at < size; at += kPieceBytes) {
            pieces.push_back(tensor.bytes.subspan(at, std::min(kPieceBytes, size - at)));
            const std::string piece = size <= kPieceBytes ? "" : format(" from byte {}", at);
            file.parts.push_back({tensor.name + piece, pieces.back().size(), {}});
        }
    }
    const auto digests = digests_of(pieces, pool, also);
    for (std::size_t i = 0; i < digests.size(); ++i) file.parts[i].sha256 = digests[i];
    return file;
}

/// Writes FOLDER/state.safetensors; it is on the disk when this returns.
inline ManifestFile write_state(const std::string& folder, const std::vector<StateTensor>& tensors,
                                ThreadPool& pool) {
    const std::string header = detail::state_header(tensors);
    std::uint64_t bytes = header.size();
    for (const auto& tensor : tensors) bytes += tensor.bytes.size();
    return state_parts("state.safetensors", header, tensors, pool, [&] {
        DurableFile file(folder + "/state.safetensors", bytes);
        file.write(header);
        for (const auto& tensor : tensors) file.write(tensor.bytes);
        file.finish();
    });
}

/// Reads a file of verified bytes into the tensors. Names, order, types and shapes are checked before any is touched.
inline void read_state(const SafetensorsFile& file, std::vector<StateTensor>& tensors) {
    const std::string& path = file.path();
    const auto& stored = file.tensors();
    const std::string hint = "the checkpoint is of another adapter, model or number type";
    for (std::size_t i = 0; i < tensors.size() && i < stored.size(); ++i) {
        const auto text = [](const std::string& tensor, StoredType type, const std::vector<Index>& shape) {
            return format("{} {} {}", printable(tensor), moegrad::name(type), shape_text(shape));
        };
        const std::string want = text(tensors[i].name, tensors[i].type, tensors[i].shape);
        const std::string got = text(stored[i].name, stored[i].type, stored[i].shape);
        if (want != got || stored[i].bytes != tensors[i].bytes.size())
            throw Error{ErrorCode::shape, format("{}: tensor {}", path, i), want, got, hint};
    }
    if (stored.size() != tensors.size())
        throw Error{ErrorCode::shape, path, format("{} tensors", tensors.size()), format("{}", stored.size()),
                    hint};
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        const auto bytes = file.bytes(stored[i]);
        if (!bytes.empty()) std::memcpy(tensors[i].bytes.data(), bytes.data(), bytes.size());
    }
}
inline void read_state(const std::string& path, std::vector<StateTensor>& tensors) {
    read_state(SafetensorsFile(path, Links::refuse), tensors);
}

}  // namespace moegrad

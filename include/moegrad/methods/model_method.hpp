#pragma once
// Methods that change a model in more places than one router. A method is a struct with one or both of
//
//     template <class Real> struct MyMethod {
//         static void attach(MethodBuild<Real>& build);                       // branches, expert sets, hooks
//         static std::unique_ptr<LinearAdapter<Real>> adapt(MethodBuild<Real>& build, DecoderLayer<Real>& layer,
//                                                           Linear<Real>& linear, const LoraOptions& options);
//         static inline const std::vector<std::string> targets{};             // optional, see below
//         static bool reads_lora(const AdapterSpec&);  // optional: whether adapter.r, lora_alpha and lora_dropout matter
//         static constexpr bool reads_top_k = true;    // optional: it reads router.top_k on a dense model
//     };
//     const moegrad::RegisterMethod<MyMethod> registered{"my_method"};
//
// and `adapter.method = "my_method"` runs it on a frozen base. `adapt` makes the adapter of every Linear that
// adapter.target names; without it those get a plain LoRA. `targets`: what adapter.target is when nobody gives it; empty
// for methods that bring everything themselves, left out for the usual ones (attention and the feed-forwards).
// Options come as router.options; one that the method does not read is an error. All that trains is saved by its name.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <moegrad/methods/router_factory.hpp>

namespace moegrad {

template <class Real>
struct MethodBuild {
    Decoder<Real>& model;
    const AdapterSpec& spec;
    const RouterOptions& options;
    ModuleNumbers& modules;
    RouterFactory<Real>& routers;

    /// A parameter that trains: zeros.
    Parameter<Real> zeros(const std::string& name, const Shape& shape) const {
        Parameter<Real> parameter(name, shape);
        parameter.set_trainable(true);
        return parameter;
    }
};

/// What a method does in one number type.
template <class Real>
struct MethodParts {
    void (*attach)(MethodBuild<Real>&) = nullptr;
    std::unique_ptr<LinearAdapter<Real>> (*adapt)(MethodBuild<Real>&, DecoderLayer<Real>&, Linear<Real>&,
                                                  const LoraOptions&) = nullptr;

    template <template <class> class Method>
    static MethodParts of() {
        MethodParts parts;
        if constexpr (requires { &Method<Real>::attach; }) parts.attach = &Method<Real>::attach;
        if constexpr (requires { &Method<Real>::adapt; }) parts.adapt = &Method<Real>::adapt;
        return parts;
    }
};

/// The parts of every registered method, beside the names of method_names.hpp.
template <class Real>
std::vector<MethodParts<Real>>& method_parts() {
    static std::vector<MethodParts<Real>> all;
    return all;
}

/// Those of a method that find_model_method knows.
template <class Real>
const MethodParts<Real>& method_parts_of(const std::string& name) {
    return method_parts<Real>()[static_cast<std::size_t>(find_model_method(name) - model_methods().data())];
}

template <template <class> class Method>
struct RegisterMethod {
    explicit RegisterMethod(const char* name) {
        if (find_model_method(name) != nullptr) return;
        ModelMethodName method{name};
        if constexpr (requires { Method<float>::targets; }) method.targets = &Method<float>::targets;
        if constexpr (requires { &Method<float>::reads_lora; })
            method.reads_lora = &Method<float>::reads_lora;
        if constexpr (requires { Method<float>::reads_top_k; })
            method.reads_top_k = Method<float>::reads_top_k;
        model_methods().push_back(std::move(method));
        method_parts<float>().push_back(MethodParts<float>::of<Method>());
        method_parts<double>().push_back(MethodParts<double>::of<Method>());
        method_parts<bf16>().push_back(MethodParts<bf16>::of<Method>());
    }
};

}  // namespace moegrad

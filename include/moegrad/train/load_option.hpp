#pragma once
// Routers whose load follows from another option: load_of of a comparison looks for the value that comes to the load.
// Every other router takes `load` itself.

#include <moegrad/methods/adapter_spec.hpp>

namespace moegrad {

struct LoadOption {
    const char *router, *option;  // from 0 to 1
    bool rises;                   // the load with the option
};
inline constexpr LoadOption kLoadOptions[] = {{"ratio", "threshold", false}, {"top_p", "p", true}};

/// Null where the router takes the load itself.
inline const LoadOption* load_option(const AdapterSpec& adapter) {
    if (adapter.method != Method::registered) return nullptr;
    for (const LoadOption& one : kLoadOptions) {
        if (adapter.router == one.router) return &one;
    }
    return nullptr;
}

}  // namespace moegrad

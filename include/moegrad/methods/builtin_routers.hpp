#pragma once
// Every Named router of routing/all.hpp, registered under the name that adapter.method has for it. Whoever reads
// configurations or adapters includes this; it instantiates them all.

#include <tuple>

#include <moegrad/methods/router_registry.hpp>
#include <moegrad/routing/all.hpp>

namespace moegrad {

namespace detail {

template <class Entry>
void register_builtin() {
    if constexpr (requires { Entry::method(); }) {
        static const std::string name = Entry::method();
        RegisterRouter<Entry::template RouterOf>{name.c_str()};
    }
}

template <class... Entry>
bool register_builtins(std::tuple<Entry...>*) {
    (register_builtin<Entry>(), ...);
    return true;
}

}  // namespace detail

inline const bool builtin_routers_registered =
    detail::register_builtins(static_cast<BuiltinRouters*>(nullptr));

}  // namespace moegrad

#pragma once
// Every method that ships, under the name that adapter.method has for it: routers, and methods that change a model in
// more places. Whoever reads configurations or adapters includes this in one .cpp; it instantiates them all.

#include <moegrad/methods/builtin_routers.hpp>

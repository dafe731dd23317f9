#pragma once
// Every method that ships, under the name that adapter.method has for it: routers, and methods that change a model in
// more places. Whoever reads configurations or adapters includes this in one .cpp; it instantiates them all.

#include <moegrad/methods/builtin_routers.hpp>
#include <moegrad/methods/ceft.hpp>
#include <moegrad/methods/dora.hpp>
#include <moegrad/methods/factor_llm.hpp>
#include <moegrad/methods/ia3.hpp>
#include <moegrad/methods/mix_lora.hpp>
#include <moegrad/methods/mixture_of_depths.hpp>
#include <moegrad/methods/mole.hpp>
#include <moegrad/methods/perft.hpp>
#include <moegrad/methods/router_tuning.hpp>

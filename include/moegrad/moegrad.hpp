#pragma once
// moegrad: compute. Tensors, tape, ops, routers, layers, methods and models; no files, no kernels, no Eigen, no JSON.
// Kernels come from the CMake target moegrad::moegrad, or from <moegrad/cpu/all.hpp> in one .cpp.
// Files, data and training are umbrellas of their own: <moegrad/io.hpp>, <moegrad/data.hpp>, <moegrad/train.hpp>.

#include <moegrad/autograd/checkpoint.hpp>
#include <moegrad/autograd/gradcheck.hpp>
#include <moegrad/methods/attach.hpp>
#include <moegrad/methods/router_registry.hpp>
#include <moegrad/models/llama.hpp>
#include <moegrad/models/mixtral.hpp>
#include <moegrad/nn/random_moe_layer.hpp>
#include <moegrad/routing/all.hpp>
#include <moegrad/version.hpp>

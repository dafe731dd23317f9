#pragma once
// Data: samples, batches and their order.

#include <moegrad/data/dataset.hpp>
#include <moegrad/data/order.hpp>

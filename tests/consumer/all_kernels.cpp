// The way without CMake: one file of the user's holds all CPU kernels.
#include <moegrad/cpu/all.hpp>

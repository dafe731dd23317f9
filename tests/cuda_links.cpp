// Every CUDA kernel, linked: counts the seats that they fill. Needs no GPU.

#include <cstdio>

#include <moegrad/core/slot.hpp>

int main() {
    using namespace moegrad;
    int seats[2] = {0, 0};
    for (const SlotNode* slot = SlotNode::first(); slot != nullptr; slot = slot->next()) {
        seats[0] += slot->filled(Device::cuda, Number::float32);
        seats[1] += slot->filled(Device::cuda, Number::bfloat16);
    }
    std::printf("CUDA kernels: %d ops in float32, %d in bfloat16\n", seats[0], seats[1]);
    return seats[0] > 0 ? 0 : 1;
}

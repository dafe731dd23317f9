// A program of somebody else's: knows moegrad only by its public headers.
#include <moegrad/moegrad.hpp>
#include <moegrad/version.hpp>

#include <cstdio>

int main() {
    int slots = 0;
    for (const moegrad::SlotNode* slot = moegrad::SlotNode::first(); slot != nullptr; slot = slot->next())
        ++slots;
    std::printf("moegrad %s, kernels linked for %d ops\n", moegrad::kVersion, slots);
    return slots > 0 ? 0 : 1;
}

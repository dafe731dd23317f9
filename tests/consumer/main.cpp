// A program of somebody else's: knows moegrad only by its public header.
#include <cstdio>

#include <moegrad/moegrad.hpp>
#include <moegrad/version.hpp>

int main() {
    std::printf("moegrad %s\n", moegrad::kVersion);
    return 0;
}

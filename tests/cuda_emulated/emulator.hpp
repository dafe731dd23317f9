#pragma once
// The emulator's side that kernels and the runtime calls see. Threads of a block are fibers of one operating-system
// thread, blocks run one after another: plain kernels compute what they compute on a GPU, slowly and without a GPU.

#include <cstddef>
#include <cstdint>

#if defined(__SANITIZE_ADDRESS__)
#define MOEGRAD_EMULATED_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MOEGRAD_EMULATED_ASAN 1
#endif
#endif

struct dim3;

namespace moegrad::emulated {

/// Where in the source a thread waits.
struct Site {
    const char* what;
    const char* file;
    unsigned line;
};

/// Whether a GPU of sm_80 would take a launch of this shape.
bool accepts(const dim3& grid, const dim3& block, std::size_t shared_bytes);

/// thread(parameters) for every thread of every block. Throws Error when threads wait for what never comes.
void run(const char* place, const dim3& grid, const dim3& block, std::size_t shared_bytes,
         void (*thread)(const void*), const void* parameters);

unsigned char* shared_memory();

/// All live threads of the block.
void wait_for_block(const Site& site);
/// All lanes of the warp; then what each of them brought. `present`: the lanes that the block has.
const std::uint64_t* exchange(unsigned mask, std::uint64_t mine, unsigned& present, const Site& site);
/// Sum over the block.
int count_in_block(int mine, const Site& site);
unsigned lane();

/// Device memory: readable while a kernel or a copy runs, and never else.
void* allocate(std::size_t bytes);
bool release(void* memory);
bool is_device(const void* memory);
std::size_t bytes_free();
std::size_t bytes_in_all();

class Unlocked {
public:
    Unlocked();
    Unlocked(const Unlocked&) = delete;
    Unlocked& operator=(const Unlocked&) = delete;
    ~Unlocked();
};

}  // namespace moegrad::emulated

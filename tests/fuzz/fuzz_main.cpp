// One libFuzzer program per target: FUZZ_TARGET is its function, FUZZ_TARGETS the header that has it.

#include FUZZ_TARGETS
#ifdef FUZZ_SAFETENSORS
#include <fuzz/safetensors_mutator.hpp>
#endif

#include <cstddef>
#include <cstdint>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::FUZZ_TARGET(std::string_view(reinterpret_cast<const char*>(data), size));
    return 0;
}

# moegrad::cuda_emulated   every cuda/*.cuh as plain C++ for the CPU, linked whole like the kernels of a GPU. The headers
#                          of this folder stand before those of the toolkit and of cuda/support that they replace.

add_library(moegrad_cuda_emulator STATIC cuda_emulated/barriers.cpp
  cuda_emulated/blocks.cpp cuda_emulated/fiber.cpp cuda_emulated/memory.cpp)

# What compiles a .cuh as C++. Kernels look at the same bytes as floats and as words.
function(moegrad_emulated_sources target)
  target_include_directories(${target} BEFORE PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/cuda_emulated")
  target_include_directories(${target} PRIVATE "${moegrad_cuda_include}")
  target_link_libraries(${target} PRIVATE moegrad_headers)
  target_compile_options(${target} PRIVATE -fno-strict-aliasing -ffp-contract=off -Wno-unknown-pragmas -Wno-unused-function)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
endfunction()
moegrad_emulated_sources(moegrad_cuda_emulator)
target_compile_options(moegrad_cuda_emulator PRIVATE -O2)

# As in moegrad_kernel_library; a few kernels to a unit, since each reads the same headers.
set(sources "")
foreach(header IN LISTS moegrad_cuda_headers)
  cmake_path(GET header STEM name)
  set(source "${CMAKE_CURRENT_BINARY_DIR}/cuda_emulated/${name}.cpp")
  file(CONFIGURE OUTPUT "${source}" CONTENT "#include <moegrad/cuda/${name}.cuh>\n" @ONLY)
  list(APPEND sources "${source}")
endforeach()
add_library(moegrad_cuda_emulated_kernels STATIC ${sources})
moegrad_emulated_sources(moegrad_cuda_emulated_kernels)
target_compile_options(moegrad_cuda_emulated_kernels PRIVATE -O1)
set_target_properties(moegrad_cuda_emulated_kernels PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)

add_library(moegrad_cuda_emulated INTERFACE)
add_library(moegrad::cuda_emulated ALIAS moegrad_cuda_emulated)
target_link_libraries(moegrad_cuda_emulated INTERFACE
  "$<LINK_LIBRARY:WHOLE_ARCHIVE,moegrad_cuda_emulated_kernels>" moegrad_cuda_emulator)

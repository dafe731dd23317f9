# moegrad::cuda: headers + the CUDA kernels. Included by moegrad-targets.cmake; enable_language wants file scope.
include(CheckLanguage)

# 90a, not 90: wgmma exists only in the architecture-specific set.
set(MOEGRAD_CUDA_ARCHITECTURES 90a CACHE STRING "GPU architectures of the CUDA kernels")
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES ${MOEGRAD_CUDA_ARCHITECTURES})
endif()

check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  if(NOT MOEGRAD_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "moegrad: MOEGRAD_CUDA=ON, but nvcc was not found; set CUDACXX or add it to PATH")
  endif()
  message(STATUS "moegrad: without nvcc: no GPU, CPU kernels only (CUDA Toolkit 12.4 or later)")
  return()
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)

# In the source tree cuda/ stands beside include/; users of either tree write <moegrad/cuda/...>.
set(moegrad_cuda_include "${MOEGRAD_INCLUDE_DIR}")
if(NOT EXISTS "${MOEGRAD_INCLUDE_DIR}/moegrad/cuda")
  set(moegrad_cuda_include "${moegrad_generated}/include")
  file(MAKE_DIRECTORY "${moegrad_cuda_include}/moegrad")
  file(CREATE_LINK "${MOEGRAD_CUDA_DIR}" "${moegrad_cuda_include}/moegrad/cuda" SYMBOLIC)
endif()

moegrad_kernel_library(moegrad_cuda_kernels cuda cuh cu ${moegrad_cuda_headers})
target_include_directories(moegrad_cuda_kernels PUBLIC "${moegrad_cuda_include}")
target_link_libraries(moegrad_cuda_kernels PUBLIC CUDA::cudart CUDA::cublasLt)
set_target_properties(moegrad_cuda_kernels PROPERTIES
  CUDA_ARCHITECTURES "${MOEGRAD_CUDA_ARCHITECTURES}" LINKER_LANGUAGE CXX)
# CMake 3.25 does not know C++20 for nvcc and drops CUDA_STANDARD 20 in silence, so the flag is spelled out. The
# property is unset, since CMake would write its own flag behind ours.
set_property(TARGET moegrad_cuda_kernels PROPERTY CUDA_STANDARD)
target_compile_options(moegrad_cuda_kernels PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20>)

add_library(moegrad_cuda INTERFACE)
add_library(moegrad::cuda ALIAS moegrad_cuda)
target_link_libraries(moegrad_cuda INTERFACE
  moegrad_headers "$<LINK_LIBRARY:WHOLE_ARCHIVE,moegrad_cuda_kernels>")

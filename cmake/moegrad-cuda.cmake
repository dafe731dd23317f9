# moegrad::cuda: headers + the CUDA kernels. Included by moegrad-targets.cmake; enable_language wants file scope.
include(CheckLanguage)

# As CMAKE_CUDA_ARCHITECTURES. 90a, not 90: wgmma exists only in the architecture-specific set. "90a-real;80-virtual" adds
# PTX that the driver compiles for other cards; "80-virtual" alone holds nothing else.
set(MOEGRAD_CUDA_ARCHITECTURES 90a-real CACHE STRING "GPU architectures of the CUDA kernels")
option(MOEGRAD_CUDA_STATIC_BLAS "Link cuBLASLt statically, where the toolkit has it: 500 MB more a program" OFF)
if(NOT MOEGRAD_CUDA_ARCHITECTURES MATCHES "90a")
  set(moegrad_without_wgmma "has no wgmma: on Hopper everything would run on the plain paths; take 90a-real")
  if(MOEGRAD_CUDA_ARCHITECTURES MATCHES "(^|;)90(-real|-virtual)?(;|$)")
    message(FATAL_ERROR "moegrad: MOEGRAD_CUDA_ARCHITECTURES=${MOEGRAD_CUDA_ARCHITECTURES} ${moegrad_without_wgmma}")
  elseif(MOEGRAD_CUDA_ARCHITECTURES MATCHES "native|all")
    message(WARNING "moegrad: MOEGRAD_CUDA_ARCHITECTURES=${MOEGRAD_CUDA_ARCHITECTURES} ${moegrad_without_wgmma}")
  endif()
endif()
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

moegrad_kernel_library(moegrad_cuda_kernels cuda cuh cu ${moegrad_cuda_headers})
target_include_directories(moegrad_cuda_kernels PUBLIC "${moegrad_cuda_include}")
# The runtime goes into the program. cuBLASLt is a shared library: a program that moves to a machine without the toolkit
# finds it in LD_LIBRARY_PATH or beside itself.
set(moegrad_blas CUDA::cublasLt)
if(MOEGRAD_CUDA_STATIC_BLAS AND TARGET CUDA::cublasLt_static)
  set(moegrad_blas CUDA::cublasLt_static)
endif()
target_link_libraries(moegrad_cuda_kernels PUBLIC CUDA::cudart_static ${moegrad_blas})
if(PROJECT_NAME STREQUAL "moegrad" AND PROJECT_IS_TOP_LEVEL)
  set(CMAKE_BUILD_RPATH "$ORIGIN")
endif()
set_target_properties(moegrad_cuda_kernels PROPERTIES
  CUDA_ARCHITECTURES "${MOEGRAD_CUDA_ARCHITECTURES}" CUDA_RUNTIME_LIBRARY None LINKER_LANGUAGE CXX)
# CMake 3.25 does not know C++20 for nvcc and drops CUDA_STANDARD 20 in silence, so the flag is spelled out. The
# property is unset, since CMake would write its own flag behind ours.
set_property(TARGET moegrad_cuda_kernels PROPERTY CUDA_STANDARD)
target_compile_options(moegrad_cuda_kernels PRIVATE
  "$<$<COMPILE_LANGUAGE:CUDA>:-std=c++20;--expt-relaxed-constexpr;--extended-lambda>")

add_library(moegrad_cuda INTERFACE)
add_library(moegrad::cuda ALIAS moegrad_cuda)
target_link_libraries(moegrad_cuda INTERFACE
  moegrad_headers "$<LINK_LIBRARY:WHOLE_ARCHIVE,moegrad_cuda_kernels>")

# bench/**/x_bench.cpp -> build/.../bench/x_bench
file(GLOB_RECURSE moegrad_benches CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/bench/*_bench.cpp")
foreach(source IN LISTS moegrad_benches)
  get_filename_component(name "${source}" NAME_WE)
  moegrad_own_executable(${name} "${source}")
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/bench")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bench")
endforeach()
if(TARGET moegrad::cuda)
  target_compile_definitions(step_bench PRIVATE MOEGRAD_HAVE_CUDA=1)  # bf16 models
endif()

# The peers of gemm_bench use every instruction of this machine; OpenBLAS only where it is installed.
if(TARGET gemm_bench)
  target_link_libraries(gemm_bench PRIVATE Eigen3::Eigen)
  target_compile_options(gemm_bench PRIVATE -march=native -Wno-maybe-uninitialized)  # in the AVX-512 headers of g++ 12
  find_path(MOEGRAD_OPENBLAS_INCLUDE cblas.h PATH_SUFFIXES openblas)
  find_library(MOEGRAD_OPENBLAS_LIBRARY openblas)
  if(MOEGRAD_OPENBLAS_INCLUDE AND MOEGRAD_OPENBLAS_LIBRARY)
    target_include_directories(gemm_bench SYSTEM PRIVATE "${MOEGRAD_OPENBLAS_INCLUDE}")
    target_link_libraries(gemm_bench PRIVATE "${MOEGRAD_OPENBLAS_LIBRARY}")
    target_compile_definitions(gemm_bench PRIVATE MOEGRAD_BENCH_OPENBLAS=1)
  else()
    moegrad_report_missing(OpenBLAS "gemm_bench compares with Eigen only" libopenblas-dev)
  endif()
endif()

# Flags for the targets of this tree: never part of what a user of the library sees.

add_library(moegrad_own INTERFACE)
if(MOEGRAD_WARNINGS)
  target_compile_options(moegrad_own INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wshadow>)
endif()
if(MOEGRAD_WERROR)
  target_compile_options(moegrad_own INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
# The same arithmetic in tests and apps as in the kernels, whatever -march a developer sets.
target_compile_options(moegrad_own INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
target_compile_options(moegrad_cpu_kernels PRIVATE $<TARGET_PROPERTY:moegrad_own,INTERFACE_COMPILE_OPTIONS>)

if(TARGET moegrad_cuda_kernels AND MOEGRAD_WARNINGS)
  target_compile_options(moegrad_cuda_kernels PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra>)
endif()

# An executable of this tree: linked with every kernel that there is.
function(moegrad_own_executable target)
  add_executable(${target} ${ARGN})
  target_link_libraries(${target} PRIVATE moegrad_own moegrad_optional moegrad::moegrad)
  if(TARGET moegrad::cuda)
    target_link_libraries(${target} PRIVATE moegrad::cuda)
  endif()
  if(MOEGRAD_TIDY)
    find_program(MOEGRAD_CLANG_TIDY NAMES clang-tidy clang-tidy-14 REQUIRED)
    set_target_properties(${target} PROPERTIES CXX_CLANG_TIDY "${MOEGRAD_CLANG_TIDY};--quiet")
  endif()
endfunction()

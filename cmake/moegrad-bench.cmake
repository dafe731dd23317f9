# bench/**/x_bench.cpp -> build/.../bench/x_bench
file(GLOB_RECURSE moegrad_benches CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/bench/*_bench.cpp")
foreach(source IN LISTS moegrad_benches)
  get_filename_component(name "${source}" NAME_WE)
  moegrad_own_executable(${name} "${source}")
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/bench")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bench")
endforeach()

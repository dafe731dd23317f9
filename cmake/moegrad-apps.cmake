# apps/moegrad/*.cpp are the command line `moegrad`; every other apps/*.cpp is a program of its own.

file(GLOB moegrad_demos CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/apps/*.cpp")
file(GLOB moegrad_command_line CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/apps/moegrad/*.cpp")

function(moegrad_app target)
  moegrad_own_executable(${target} ${ARGN})
  # The time of a run is spent in the kernels, which keep their own -O3; what is won here is build time.
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>)
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/apps")
endfunction()

foreach(source IN LISTS moegrad_demos)
  get_filename_component(name "${source}" NAME_WE)
  moegrad_app(${name} "${source}")
endforeach()
if(moegrad_command_line AND TARGET CLI11::CLI11)
  moegrad_app(moegrad ${moegrad_command_line})
  set_target_properties(moegrad PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)  # the verbs share the models
endif()

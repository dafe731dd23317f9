# The command line `moegrad` (apps/moegrad/*.cpp, see moegrad-command-line.cmake), and every apps/*.cpp as a program of
# its own: the target `demos`, which `moegrad` does not wait for.

file(GLOB moegrad_demos CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/apps/*.cpp")
add_custom_target(demos)
foreach(source IN LISTS moegrad_demos)
  get_filename_component(name "${source}" NAME_WE)
  moegrad_own_executable(${name} "${source}")
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1>)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/apps")
  add_dependencies(demos ${name})
endforeach()

if(TARGET CLI11::CLI11)
  # Every verb comes out of the library; a program has a source of its own.
  # What the manifest of a run says of its program; configured again with every commit of this tree.
  set(moegrad_commit "")
  find_program(MOEGRAD_GIT git)
  if(MOEGRAD_GIT AND EXISTS "${PROJECT_SOURCE_DIR}/.git/logs/HEAD")
    execute_process(COMMAND "${MOEGRAD_GIT}" rev-parse HEAD WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
      OUTPUT_VARIABLE moegrad_commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/.git/logs/HEAD")
  endif()
  string(TOUPPER "${CMAKE_BUILD_TYPE}" moegrad_type)
  string(JOIN " " moegrad_flags ${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${moegrad_type}} -ffp-contract=off)
  string(REGEX REPLACE "([\\\"])" "\\\\\\1" moegrad_flags "${moegrad_flags}")
  set(moegrad_libraries "CLI11 ${CLI11_VERSION}, Eigen ${Eigen3_VERSION}, toml++ ${tomlplusplus_VERSION}")
  file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/moegrad-apps/moegrad.cpp" @ONLY CONTENT
"// See apps/moegrad.
#include <moegrad/train/build_facts.hpp>

namespace {
const moegrad::RegisterBuild build{\"@moegrad_commit@\", \"@CMAKE_BUILD_TYPE@\", \"@moegrad_flags@\", \"@moegrad_libraries@\"};
}
")
  moegrad_command_line_program(moegrad "${PROJECT_BINARY_DIR}/moegrad-apps/moegrad.cpp")
  target_link_libraries(moegrad_command_line PRIVATE moegrad_own)
  set_target_properties(moegrad PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/apps")
  if(TARGET moegrad::cuda)
    target_link_libraries(moegrad PRIVATE moegrad::cuda)
  endif()

  # A package of this build, for routers of one's own beside a clone: what is compiled here is not compiled again there.
  if(CMAKE_BUILD_TYPE STREQUAL "Release" AND NOT CMAKE_CXX_FLAGS AND NOT TARGET moegrad::cuda)
    configure_file(cmake/moegradBuiltConfig.cmake.in moegradConfig.cmake @ONLY)
  endif()
endif()

# moegrad_command_line   the verbs (apps/moegrad/*.cpp) as one library, compiled once in the tree of whoever asks for it
# moegrad_add_router(HEADER CLASS [NAME name] [TEST file.cpp] [OPTIONS "key=value, ..."])
#
#     find_package(moegrad CONFIG REQUIRED)
#     enable_testing()
#     moegrad_add_router(my_router.hpp MyRouter)
#
# makes the command line `moegrad` with every verb and `adapter.method = my_router`, and the conformance suite of the
# router as the test my_router_conformance. NAME: other than the header's. OPTIONS: router.options for the suite. TEST: a
# test of one's own, a program that returns 0. Called again, it adds a router to the same `moegrad`.
#
# Set before: MOEGRAD_APPS_DIR, the folder that holds moegrad/*.cpp, and what moegrad-targets.cmake needs.
include_guard(GLOBAL)

include("${CMAKE_CURRENT_LIST_DIR}/moegrad-text.cmake")

# A function sees the variables of its caller, who may stand in another folder.
set_property(GLOBAL PROPERTY moegrad_apps_dir "${MOEGRAD_APPS_DIR}")
set_property(GLOBAL PROPERTY moegrad_built_dir "${MOEGRAD_BUILT_DIR}")

# Static, so that one archive serves every program; whole, since nothing names the verbs.
function(moegrad_command_line_library)
  if(TARGET moegrad_command_line)
    return()
  endif()
  get_property(MOEGRAD_BUILT_DIR GLOBAL PROPERTY moegrad_built_dir)
  get_property(apps_dir GLOBAL PROPERTY moegrad_apps_dir)
  if(NOT TARGET tomlplusplus::tomlplusplus)
    find_package(tomlplusplus QUIET GLOBAL)
  endif()
  if(MOEGRAD_BUILT_DIR)
    moegrad_import_built(moegrad_command_line)
    if(TARGET tomlplusplus::tomlplusplus)  # more than headers in some packages
      target_link_libraries(moegrad_command_line INTERFACE tomlplusplus::tomlplusplus)
    endif()
    target_link_libraries(moegrad_command_line INTERFACE moegrad_text)
    return()
  endif()
  if(NOT TARGET CLI11::CLI11)
    find_package(CLI11 QUIET GLOBAL)
  endif()
  get_target_property(libraries moegrad_headers INTERFACE_LINK_LIBRARIES)
  if(NOT TARGET CLI11::CLI11 OR NOT "nlohmann_json::nlohmann_json" IN_LIST libraries)
    message(FATAL_ERROR "moegrad: the command line needs CLI11 and nlohmann/json. "
      "On Debian: apt-get install libcli11-dev nlohmann-json3-dev")
  endif()
  file(GLOB sources CONFIGURE_DEPENDS "${apps_dir}/moegrad/*.cpp")
  add_library(moegrad_command_line STATIC ${sources})
  target_link_libraries(moegrad_command_line PRIVATE moegrad_headers moegrad_text CLI11::CLI11)
  # What ships lies beside the sources, in the tree as in an installation.
  cmake_path(SET models_dir NORMALIZE "${apps_dir}/../models")
  target_compile_definitions(moegrad_command_line PRIVATE "MOEGRAD_MODELS_DIR=\"${models_dir}\"")
  if(TARGET tomlplusplus::tomlplusplus)
    target_link_libraries(moegrad_command_line PRIVATE tomlplusplus::tomlplusplus)
    target_compile_definitions(moegrad_command_line PRIVATE MOEGRAD_HAVE_TOML=1)
  endif()
  if(TARGET moegrad::cuda)  # models in bf16, which only a GPU runs
    target_compile_definitions(moegrad_command_line PRIVATE MOEGRAD_HAVE_CUDA=1)
  endif()
  # The time of a run is spent in the kernels, which keep their own -O3; what is won here is build time.
  target_compile_options(moegrad_command_line PRIVATE $<IF:$<CONFIG:Debug>,-O0,-O1> -ffp-contract=off)
  # Verbs of a unit share the models that they instantiate; two units for two cores: what trains, and the rest.
  set_target_properties(moegrad_command_line PROPERTIES CXX_EXTENSIONS OFF UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  foreach(source IN LISTS sources)
    cmake_path(GET source STEM verb)
    set(unit rest)
    if(verb MATCHES "^(assay|bench|compare|demo|estimate|pretrain|repro|reproduce|train)$")
      set(unit training)
    endif()
    set_source_files_properties("${source}" PROPERTIES UNITY_GROUP ${unit})
  endforeach()
endfunction()

# A program with every verb and what SOURCES register.
function(moegrad_command_line_program target)
  moegrad_command_line_library()
  add_executable(${target} ${ARGN})
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
  target_link_libraries(${target} PRIVATE
    moegrad::moegrad "$<LINK_LIBRARY:WHOLE_ARCHIVE,moegrad_command_line>")
endfunction()

function(moegrad_add_router header class)
  cmake_parse_arguments(PARSE_ARGV 2 router "" "NAME;TEST;OPTIONS" "")
  if(router_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "moegrad_add_router: unknown ${router_UNPARSED_ARGUMENTS}")
  endif()
  cmake_path(ABSOLUTE_PATH header NORMALIZE)
  if(NOT EXISTS "${header}")
    message(FATAL_ERROR "moegrad_add_router: no file ${header}")
  endif()
  if(NOT router_NAME)
    cmake_path(GET header STEM router_NAME)
  endif()
  set(generated "${CMAKE_CURRENT_BINARY_DIR}/moegrad-routers/${router_NAME}")

  # The hash tells runs of one version of the router from those of the next.
  file(SHA256 "${header}" version)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${header}")
  file(CONFIGURE OUTPUT "${generated}/registered.cpp" @ONLY CONTENT
"#include <moegrad/methods/router_registry.hpp>

#include \"@header@\"

namespace {
const moegrad::RegisterRouter<@class@> registered_@router_NAME@{\"@router_NAME@\", \"@version@\"};
}
")
  if(NOT TARGET moegrad)
    moegrad_command_line_program(moegrad "${generated}/registered.cpp")
    set_target_properties(moegrad PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")
  else()
    target_sources(moegrad PRIVATE "${generated}/registered.cpp")
  endif()

  file(CONFIGURE OUTPUT "${generated}/conformance.cpp" @ONLY CONTENT
"#include <moegrad/testing/router_checks.hpp>

#include \"@header@\"

int main() {
    return moegrad::test::run_router_checks<@class@>(\"@router_NAME@\", \"@router_OPTIONS@\");
}
")
  moegrad_router_test(${router_NAME}_conformance "${generated}/conformance.cpp")
  if(router_TEST)
    moegrad_router_test(${router_NAME}_test "${router_TEST}")
  endif()
endfunction()

function(moegrad_router_test target source)
  add_executable(${target} "${source}")
  target_compile_options(${target} PRIVATE $<IF:$<CONFIG:Debug>,-O0,-O1>)
  target_link_libraries(${target} PRIVATE moegrad::moegrad)
  add_test(NAME ${target} COMMAND ${target})
  set_tests_properties(${target} PROPERTIES TIMEOUT 600)
endfunction()

# Every header compiles alone: a file that includes nothing before it. Where X begins with #include <moegrad/Y.hpp>,
# the file for X has shown it for Y too, so only headers that no other header begins with get a file of their own. The
# kernels (cpu/x.hpp) are compiled one by one anyway.
# The objects are built by the test itself, and only those whose headers changed.

file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE "${MOEGRAD_INCLUDE_DIR}" "${MOEGRAD_INCLUDE_DIR}/moegrad/*.hpp")
list(REMOVE_ITEM headers moegrad/cpu/all.hpp)
set(shown "")
foreach(header IN LISTS headers)
  file(STRINGS "${MOEGRAD_INCLUDE_DIR}/${header}" directives REGEX "^ *#" LIMIT_COUNT 2)
  if(directives MATCHES "^#pragma once;#include <(moegrad/[^>]+)>$")
    list(APPEND shown "${CMAKE_MATCH_1}")
  endif()
endforeach()
list(FILTER headers EXCLUDE REGEX "^moegrad/cpu/[^/]*\\.hpp$")
list(REMOVE_ITEM headers ${shown})

set(sources "")
foreach(header IN LISTS headers)
  string(REGEX REPLACE "\\.hpp$" ".cpp" source "${CMAKE_CURRENT_BINARY_DIR}/headers_alone/${header}")
  file(CONFIGURE OUTPUT "${source}" CONTENT "#include <${header}>\n" @ONLY)
  list(APPEND sources "${source}")
endforeach()

add_library(moegrad_headers_alone OBJECT EXCLUDE_FROM_ALL ${sources})
target_link_libraries(moegrad_headers_alone PRIVATE moegrad_own moegrad::headers)
target_include_directories(moegrad_headers_alone SYSTEM PRIVATE
  $<TARGET_PROPERTY:Eigen3::Eigen,INTERFACE_INCLUDE_DIRECTORIES>)  # for cpu/support
target_compile_options(moegrad_headers_alone PRIVATE -O0)

include(ProcessorCount)
ProcessorCount(processors)
add_test(NAME headers_alone
  COMMAND "${CMAKE_COMMAND}" --build "${PROJECT_BINARY_DIR}" --target moegrad_headers_alone -j ${processors})
set_tests_properties(headers_alone PROPERTIES LABELS compile TIMEOUT 900 PROCESSORS ${processors})

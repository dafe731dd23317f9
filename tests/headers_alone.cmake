# Every header compiles alone. The kernels (cpu/x.hpp) are compiled one by one anyway, so only the others are here.
# The objects are built by the test itself, and only those whose headers changed.

file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE "${MOEGRAD_INCLUDE_DIR}" "${MOEGRAD_INCLUDE_DIR}/moegrad/*.hpp")
list(FILTER headers EXCLUDE REGEX "^moegrad/cpu/[^/]*\\.hpp$")
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
set_tests_properties(headers_alone PROPERTIES LABELS compile TIMEOUT 600 PROCESSORS ${processors})

# What an outside user meets: see run.sh and include_time.sh.
find_program(MOEGRAD_BASH bash REQUIRED)

if(PROJECT_IS_TOP_LEVEL)
  add_test(NAME consumer
    COMMAND "${MOEGRAD_BASH}" "${CMAKE_CURRENT_LIST_DIR}/run.sh"
      "${PROJECT_SOURCE_DIR}" "${CMAKE_CURRENT_BINARY_DIR}/consumer" "${CMAKE_CXX_COMPILER}" "${CMAKE_GENERATOR}")
  set_tests_properties(consumer PROPERTIES LABELS compile TIMEOUT 900 PROCESSORS 2)
endif()

# Alone on the machine, since it measures time.
add_test(NAME include_time
  COMMAND "${MOEGRAD_BASH}" "${CMAKE_CURRENT_LIST_DIR}/include_time.sh"
    "${PROJECT_SOURCE_DIR}" "${CMAKE_CXX_COMPILER}" 3000)
set_tests_properties(include_time PROPERTIES LABELS compile TIMEOUT 300 RUN_SERIAL ON)

# README.md and docs/*.md: see run.sh. Outside the build tree too, as a reader would be.
if(PROJECT_IS_TOP_LEVEL AND TARGET moegrad)
  add_test(NAME docs
    COMMAND "${MOEGRAD_BASH}" "${CMAKE_CURRENT_LIST_DIR}/run.sh" "${PROJECT_SOURCE_DIR}" "${PROJECT_BINARY_DIR}"
      "${CMAKE_CURRENT_BINARY_DIR}/docs-pages" "${CMAKE_CXX_COMPILER}")
  set_tests_properties(docs PROPERTIES LABELS docs TIMEOUT 900 PROCESSORS 2)
endif()

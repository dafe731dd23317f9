# Beside test_malformed: the corpus under strace, and, asked for, the fuzz targets (clang) and the header bombs.

add_test(NAME malformed_traced
  COMMAND "${CMAKE_CURRENT_LIST_DIR}/traced.sh" $<TARGET_FILE:test_malformed> $<TARGET_FILE:test_train>)
set_tests_properties(malformed_traced PROPERTIES TIMEOUT 300)

add_executable(malformed_header_bombs EXCLUDE_FROM_ALL "${CMAKE_CURRENT_LIST_DIR}/header_bombs.cpp")
target_link_libraries(malformed_header_bombs PRIVATE moegrad_own moegrad::headers)

option(MOEGRAD_FUZZ "build the libFuzzer targets (clang); tests/fuzz/run.sh does without" OFF)
if(MOEGRAD_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "MOEGRAD_FUZZ needs clang: -DCMAKE_CXX_COMPILER=clang++")
  endif()
  set(header_safetensors files_targets)
  set(header_index files_targets)
  set(header_config files_targets)
  set(header_tokenizer text_targets)
  set(header_encode text_targets)
  set(header_jsonl text_targets)
  set(header_tsv text_targets)
  set(header_adapter run_targets)
  set(header_checkpoint run_targets)
  foreach(target safetensors index config tokenizer encode jsonl tsv adapter checkpoint)
    add_executable(fuzz_${target} "${CMAKE_CURRENT_LIST_DIR}/../fuzz/fuzz_main.cpp")
    target_include_directories(fuzz_${target} PRIVATE "${CMAKE_CURRENT_LIST_DIR}/..")
    target_compile_definitions(fuzz_${target} PRIVATE FUZZ_TARGET=${target}
      "FUZZ_TARGETS=<fuzz/${header_${target}}.hpp>" $<$<STREQUAL:${target},safetensors>:FUZZ_SAFETENSORS>)
    target_compile_options(fuzz_${target} PRIVATE -O2 -g1 -fsanitize=fuzzer,address,undefined)
    target_link_options(fuzz_${target} PRIVATE -fsanitize=fuzzer,address,undefined)
    target_link_libraries(fuzz_${target} PRIVATE moegrad_own moegrad::headers moegrad::text)
  endforeach()
endif()

# moegrad::text   the libraries that read more kinds of tokenizers, as far as they are here. Link it where
#                 <moegrad/io/tokenizer_json.hpp> is compiled; without it (or them) such a tokenizer is an error that names
#                 the package. moegrad itself and the programs of this tree link it.
include_guard(GLOBAL)

add_library(moegrad_text INTERFACE)
add_library(moegrad::text ALIAS moegrad_text)

function(moegrad_text_library name header library lost debian)
  find_path(MOEGRAD_${name}_INCLUDE ${header})
  find_library(MOEGRAD_${name}_LIBRARY ${library})
  mark_as_advanced(MOEGRAD_${name}_INCLUDE MOEGRAD_${name}_LIBRARY)
  if(MOEGRAD_${name}_INCLUDE AND MOEGRAD_${name}_LIBRARY)
    target_include_directories(moegrad_text SYSTEM INTERFACE "${MOEGRAD_${name}_INCLUDE}")
    target_link_libraries(moegrad_text INTERFACE "${MOEGRAD_${name}_LIBRARY}")
    target_compile_definitions(moegrad_text INTERFACE MOEGRAD_HAVE_${name}=1)
  else()
    message(STATUS "moegrad: without ${library}: ${lost} (Debian: ${debian})")
  endif()
endfunction()

moegrad_text_library(PCRE2 pcre2.h pcre2-8
  "no tokenizers that split text by a regular expression (GPT-2, Llama-3, Qwen, OLMoE)" libpcre2-dev)
moegrad_text_library(UTF8PROC utf8proc.h utf8proc
  "no tokenizers that normalise text (Qwen, OLMoE)" libutf8proc-dev)
moegrad_text_library(SENTENCEPIECE sentencepiece_processor.h sentencepiece
  "no tokenizer.model files, tokenizer.json only" libsentencepiece-dev)
moegrad_text_library(SENTENCEPIECE_TRAIN sentencepiece_trainer.h sentencepiece_train
  "no training of tokenizers" libsentencepiece-dev)

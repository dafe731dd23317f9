#pragma once
// Files: JSON, safetensors, model folders, config.json, tokenizers. Not part of moegrad.hpp, since it brings a JSON
// parser with it.

#include <moegrad/core/model_config.hpp>
#include <moegrad/io/atomic_file.hpp>
#include <moegrad/io/checkpoint_index.hpp>
#include <moegrad/io/generation_config.hpp>
#include <moegrad/io/json.hpp>
#include <moegrad/io/json_value.hpp>
#include <moegrad/io/json_writer.hpp>
#include <moegrad/io/mapped_file.hpp>
#include <moegrad/io/model_config_json.hpp>
#include <moegrad/io/model_config_keys.hpp>
#include <moegrad/io/model_config_writer.hpp>
#include <moegrad/io/safetensors.hpp>
#include <moegrad/io/safetensors_writer.hpp>
#include <moegrad/io/stored_type.hpp>
#include <moegrad/io/tokenizer.hpp>
#include <moegrad/io/tokenizer_added.hpp>
#include <moegrad/io/tokenizer_bpe.hpp>
#include <moegrad/io/tokenizer_decoder.hpp>
#include <moegrad/io/tokenizer_json.hpp>
#include <moegrad/io/utf8.hpp>

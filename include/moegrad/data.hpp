#pragma once
// Data: samples, batches and their order; records of JSONL files; the small world.

#include <moegrad/data/dataset.hpp>
#include <moegrad/data/order.hpp>
#include <moegrad/data/text_records.hpp>
#include <moegrad/data/world.hpp>
#include <moegrad/data/world_documents.hpp>
#include <moegrad/data/world_files.hpp>
#include <moegrad/data/world_questions.hpp>
#include <moegrad/data/world_tokenizer.hpp>

#pragma once
// Data: samples, batches, their order and packs; training files of every format; the small world.

#include <moegrad/data/dataset.hpp>
#include <moegrad/data/order.hpp>
#include <moegrad/data/packing.hpp>
#include <moegrad/data/sample_preview.hpp>
#include <moegrad/data/text_records.hpp>
#include <moegrad/data/training_samples.hpp>
#include <moegrad/data/world.hpp>
#include <moegrad/data/world_documents.hpp>
#include <moegrad/data/world_files.hpp>
#include <moegrad/data/world_questions.hpp>
#include <moegrad/data/world_tokenizer.hpp>

#pragma once
// Training: model and adapter files, the trainer, schedules, a whole run, pretraining.

#include <moegrad/train/adapter_files.hpp>
#include <moegrad/train/forward_probe.hpp>
#include <moegrad/train/model_files.hpp>
#include <moegrad/train/model_saver.hpp>
#include <moegrad/train/pretrain.hpp>
#include <moegrad/train/run.hpp>
#include <moegrad/train/trainer.hpp>

#pragma once
#include <moegrad/io/model_config.hpp>

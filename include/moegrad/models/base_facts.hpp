#pragma once
// BaseFacts: what was seen of a base model's weights while they were read onto a GPU, or into NF4. Nobody looks at them
// there without bringing them back; and NF4 has lost them.

#include <string>
#include <vector>

#include <moegrad/core/view.hpp>

namespace moegrad {

/// NaN and infinite values of a model's weights.
struct NonFiniteCount {
    Index nan = 0, infinite = 0;
    std::vector<std::string> tensors;  // that have any

    Index total() const { return nan + infinite; }
};

struct BaseFacts {
    std::string fingerprint;  // train/base_fingerprint.hpp
    NonFiniteCount nonfinite;
};

}  // namespace moegrad

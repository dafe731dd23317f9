#pragma once
// StreamedNf4: one weight of a checkpoint that becomes NF4 while it is read. Its values are float, whatever the model
// computes in, so the codes are the same for every number type; they come in pieces and nobody keeps them. What looks at
// values looks here: NaN and infinities are refused, the fingerprint takes its samples.

#include <string>
#include <utility>

#include <moegrad/io/checkpoint_index.hpp>
#include <moegrad/models/quantised.hpp>
#include <moegrad/train/base_fingerprint.hpp>

namespace moegrad::detail {

template <class Real>
class StreamedNf4 {
public:
    explicit StreamedNf4(Parameter<Wide<Real>>& parameter)
        : parameter_(parameter),
          quantiser_(parameter.shape(), parameter.name()),
          line_(parameter.name(), parameter.shape()) {}

    /// The stored tensors of a parameter, in the order of its values.
    void read(CheckpointIndex& files, const StoredTensor<Real>& stored) {
        const Index rows = parameter_.shape()[1], columns = parameter_.shape().columns();
        const Index begin = stored.expert < 0 ? 0 : (stored.expert * rows + stored.begin) * columns;
        if (begin != quantiser_.seen()) {
            throw Error{ErrorCode::state, stored.name, format("value {} to come next", quantiser_.seen()),
                        format("value {}", begin), "stored_tensors() gives the parts of a stack in order"};
        }
        files.read_pieces<float>(stored.name, extents(stored.shape()), [&](std::span<const float> piece) {
            quantiser_.add(piece);
            line_.add(piece);
        });
    }

    /// After the last of them: the codes take the place of the values. Gives the weight's line of the fingerprint.
    std::string finish(Device device) {
        parameter_.set_quantised(placed(quantiser_.finish(), device));
        return line_.text();
    }

private:
    Parameter<Wide<Real>>& parameter_;
    Nf4Quantiser quantiser_;
    FingerprintLine line_;
};

}  // namespace moegrad::detail

#pragma once
// What a comparison measures: of questions the accuracy and the nll of the right answer, of texts bits per byte; of both
// load, FLOPs and size. Metrics with items (one number per question or text) are compared in pairs.

#include <string>
#include <vector>

namespace moegrad {

/// How a metric is shown and which way is better.
struct CompareMetric {
    const char* key;
    const char* title;  // of its column
    const char* word;   // in a sentence
    double times;
    int decimals;
    bool less_is_better, share;  // share: from 0 to 1
};

inline constexpr CompareMetric kAccuracy{"acc", "accuracy %", "accuracy", 100, 1, false, true};
inline constexpr CompareMetric kAnswerNll{"nll", "nll of the answer", "nll of the right answers", 1, 3, true,
                                          false};
inline constexpr CompareMetric kBitsPerByte{
    "bits_per_byte", "bits per byte", "bits per byte", 1, 4, true, false};

inline const std::vector<CompareMetric>& question_metrics() {
    static const std::vector<CompareMetric> all{kAccuracy, kAnswerNll};
    return all;
}
inline const std::vector<CompareMetric>& document_metrics() {
    static const std::vector<CompareMetric> all{kBitsPerByte};
    return all;
}
inline const CompareMetric& compare_metric(const std::string& key) {
    return key == kAccuracy.key ? kAccuracy : key == kAnswerNll.key ? kAnswerNll : kBitsPerByte;
}

}  // namespace moegrad

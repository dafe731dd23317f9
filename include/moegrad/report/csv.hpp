#pragma once
// CSV by RFC 4180 with "\n": numbers as the shortest text that reads back to the same double.

#include <moegrad/core/format.hpp>

#include <cmath>
#include <string>
#include <string_view>
#include <vector>

namespace moegrad::report {

class Csv {
public:
    explicit Csv(const std::vector<std::string>& header) {
        for (const std::string& name : header) add(name);
        end();
    }

    Csv& add(std::string_view text) {
        separate();
        if (text.find_first_of(",\"\n\r") == std::string_view::npos) {
            text_ += text;
            return *this;
        }
        text_ += '"';
        for (const char c : text) {
            text_ += c;
            if (c == '"') text_ += '"';
        }
        text_ += '"';
        return *this;
    }
    Csv& add(const char* text) { return add(std::string_view(text)); }
    Csv& add(const std::string& text) { return add(std::string_view(text)); }
    /// NaN stands for "not there" and leaves the cell empty.
    Csv& add(double value) {
        separate();
        if (!std::isnan(value)) text_ += moegrad::format("{}", value);
        return *this;
    }
    Csv& add(std::int64_t value) {
        separate();
        text_ += moegrad::format("{}", value);
        return *this;
    }
    /// A list in one cell, ";" between its numbers.
    Csv& add(const std::vector<double>& values) {
        separate();
        for (std::size_t i = 0; i < values.size(); ++i)
            text_ += (i > 0 ? ";" : "") + moegrad::format("{}", values[i]);
        return *this;
    }
    void end() {
        text_ += '\n';
        first_ = true;
    }
    const std::string& text() const { return text_; }

private:
    void separate() {
        if (!first_) text_ += ',';
        first_ = false;
    }

    std::string text_;
    bool first_ = true;
};

/// A CSV file of the report: name without folder, and its text.
struct CsvFile {
    std::string name, text;
};

}  // namespace moegrad::report

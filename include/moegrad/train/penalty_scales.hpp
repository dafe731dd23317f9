#pragma once
// PenaltyScales: the coefficient of each penalty per value,   coefficient / U,   U: the step's segments, valid tokens or
// micro-batches. What unit a penalty has is known from its first value; from then on the coefficients stand before a step.
// A name has one unit in a model.

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <moegrad/nn/forward.hpp>
#include <moegrad/train/step_size.hpp>

namespace moegrad {

inline double unit_size(PenaltyUnit unit, const StepSize& size) {
    switch (unit) {
        case PenaltyUnit::sequence: return static_cast<double>(size.segments);
        case PenaltyUnit::token: return static_cast<double>(size.tokens);
        case PenaltyUnit::batch: return static_cast<double>(size.micro_batches);
    }
    return 1;
}

class PenaltyScales {
public:
    /// In the order of the step scalars.
    explicit PenaltyScales(std::vector<std::string> names) : names_(std::move(names)) {
        if (static_cast<int>(names_.size()) >= kCoefficients) {
            throw Error{ErrorCode::config, "training", format("fewer than {} penalties", kCoefficients),
                        format("{}", names_.size())};
        }
    }

    const std::vector<std::string>& names() const { return names_; }

    /// For the step that begins, whose coefficients they are: those that its report tells.
    const std::map<std::string, double>& set(const std::map<std::string, double>& coefficients,
                                             const StepSize& size, StepScalars& scalars) {
        for (const auto& [name, value] : coefficients) {
            if (coefficient_of(names_, name) < 0) {
                throw Error{ErrorCode::config, format("step {}", scalars.step),
                            "coefficients of the trainer's penalties", name};
            }
        }
        coefficients_ = coefficients;
        size_ = size;
        for (const auto& [name, unit] : units_) write(name, unit, scalars);
        return coefficients_;
    }
    /// What this forward shows for the first time. Before its backward.
    template <class Real>
    void learn(const Forward<Real>& forward, StepScalars& scalars) {
        for (const auto& record : forward.routings) {
            for (const auto& penalty : record.routing.penalties) {
                const auto [known, added] = units_.try_emplace(penalty.name, penalty.unit);
                if (added) write(penalty.name, penalty.unit, scalars);
                if (known->second != penalty.unit)
                    refuse_unit(record.name, penalty.name, known->second, penalty.unit);
            }
        }
    }
    double unit(const std::string& name, const StepSize& size) const {
        return unit_size(units_.at(name), size);
    }

private:
    [[noreturn]] static void refuse_unit(const std::string& router, const std::string& penalty,
                                         PenaltyUnit first, PenaltyUnit second) {
        throw Error{ErrorCode::config, router,
                    format("penalty {} per {}, as another router has it", penalty, name_of(first)),
                    format("per {}", name_of(second)), "routers of one model divide a penalty by the same"};
    }
    static const char* name_of(PenaltyUnit unit) {
        switch (unit) {
            case PenaltyUnit::sequence: return "sequence";
            case PenaltyUnit::token: return "token";
            case PenaltyUnit::batch: return "micro-batch";
        }
        return "";
    }
    void write(const std::string& name, PenaltyUnit unit, StepScalars& scalars) const {
        const int index = coefficient_of(names_, name);
        const auto found = coefficients_.find(name);
        if (index < 0) return;
        scalars.coefficient[index] =
            found == coefficients_.end() ? 0 : found->second / unit_size(unit, size_);
    }

    std::vector<std::string> names_;
    std::map<std::string, double> coefficients_;
    std::map<std::string, PenaltyUnit> units_;
    StepSize size_;
};

}  // namespace moegrad

#pragma once
// StepSums: what a step tells, added up where it is computed: the loss, the values of each penalty and trace of each
// router, and the routers' counts. Nothing is read until the step is over, and then all at once (StepFetch).
// A sum runs through the micro-batches in order, so on the CPU the cut changes no bit of it.

#include <map>
#include <span>
#include <string>

#include <moegrad/core/transfer.hpp>
#include <moegrad/nn/forward.hpp>
#include <moegrad/ops/stats_total.hpp>
#include <moegrad/ops/total.hpp>

namespace moegrad {

/// The numbers of a step on the host. A name that a later step was the first to have is not among them.
struct StepValues {
    std::span<const double> sums;
    std::span<const std::int64_t> counts;
};

template <class Real>
class StepSums {
public:
    explicit StepSums(Device device)
        : device_(device),
          sums_(Tensor<double>::zeros({kSums}, device)),
          counts_(Tensor<std::int64_t>::zeros({kCounts}, device)) {}

    void clear() {
        moegrad::clear(sums_.rows(0, used_sums_));
        moegrad::clear(counts_.rows(0, used_counts_));
    }

    void add_loss(Stream stream, const Tensor<Wide<Real>>& nll) { add_to(stream, kLoss, nll); }

    void add_stats(Stream stream, const Forward<Real>& forward) {
        for (const auto& record : forward.routings) {
            const RoutingStats& stats = record.routing.stats;
            if (!stats.defined()) continue;
            const Place place = counts_of(record.name, stats);
            stats_total<Wide<Real>>(stream, stats, counts_.rows(place.begin, place.begin + place.extent()));
        }
    }
    /// A penalty counts its valid tokens itself; of a trace the sum does.
    void add_penalties_and_traces(Stream stream, const Forward<Real>& forward) {
        const auto valid = forward.segments.valid.template view<1>();
        for (const auto& record : forward.routings) {
            for (const auto& penalty : record.routing.penalties)
                add_to(stream, sum_of(penalties_, penalty.name, record.name), penalty.value.value());
            for (const auto& trace : record.routing.traces)
                add_to(stream, sum_of(traces_, trace.name, record.name), trace.value, valid);
        }
    }

    /// The sum of the loss, for the check that comes before an update.
    View<const double, 1> loss() const { return sums_.rows(kLoss, kLoss + 1).view<1>(); }
    Tensor<double> sums() const { return sums_.rows(0, used_sums_); }
    Tensor<std::int64_t> counts() const { return counts_.rows(0, used_counts_); }
    /// Changes when the sums move: what was recorded before would add to places that are gone.
    int moves() const { return moves_; }

    double loss(const StepValues& values) const { return values.sums[kLoss]; }
    /// By name, the sums over routers; `each`(name, sum, routers).
    template <class Each>
    void penalties(const StepValues& values, Each each) const {
        over_names(penalties_, values, each);
    }
    template <class Each>
    void traces(const StepValues& values, Each each) const {
        over_names(traces_, values, each);
    }
    void add_to(const StepValues& values, std::map<std::string, RoutingTotals>& routers) const {
        for (const auto& [name, place] : routers_) {
            if (static_cast<std::size_t>(place.begin) >= values.counts.size()) continue;
            routers[name].add(values.counts.subspan(static_cast<std::size_t>(place.begin),
                                                    static_cast<std::size_t>(place.extent())),
                              RoutingWords{place.columns, place.slots});
        }
    }

private:
    static constexpr Index kLoss = 0, kSums = 64, kCounts = 4096;

    struct Place {
        Index begin = 0, columns = 0, slots = 0;
        Index extent() const { return RoutingWords{columns, slots}.count(); }
    };
    using Names = std::map<std::string, std::map<std::string, Index>>;  // name, router -> place

    template <class Value>
    void add_to(Stream stream, Index place, const Tensor<Value>& values,
                View<const std::uint8_t, 1> valid = {}) {
        total<Value>(stream, values.flat(), sums_.rows(place, place + 1).template view<1>(),
                     Write::accumulate, valid);
    }

    Index sum_of(Names& names, const std::string& name, const std::string& router) {
        const auto [entry, is_new] = names[name].try_emplace(router, used_sums_);
        if (is_new) grow(sums_, ++used_sums_);
        return entry->second;
    }
    Place counts_of(const std::string& router, const RoutingStats& stats) {
        const Place place{used_counts_, stats.slots.extent(0), stats.experts_per_token.extent(0) - 1};
        const auto [entry, is_new] = routers_.try_emplace(router, place);
        if (is_new) grow(counts_, used_counts_ += place.extent());
        return entry->second;
    }
    /// Room for `used` values; those that are there move along.
    template <class Value>
    void grow(Tensor<Value>& values, Index used) {
        if (used <= values.size()) return;
        const Index before = values.size();
        auto larger = Tensor<Value>::zeros({std::max(used, 2 * before)}, device_);
        copy_values(values, larger.rows(0, before));
        values = larger;
        ++moves_;
    }

    template <class Each>
    static void over_names(const Names& names, const StepValues& values, Each each) {
        for (const auto& [name, routers] : names) {
            double sum = 0;
            for (const auto& [router, place] : routers) {
                const auto at = static_cast<std::size_t>(place);
                sum += at < values.sums.size() ? values.sums[at] : 0;
            }
            each(name, sum, static_cast<double>(routers.size()));
        }
    }

    Device device_;
    Tensor<double> sums_;
    Tensor<std::int64_t> counts_;
    Index used_sums_ = 1, used_counts_ = 0;
    int moves_ = 0;
    Names penalties_, traces_;
    std::map<std::string, Place> routers_;
};

}  // namespace moegrad

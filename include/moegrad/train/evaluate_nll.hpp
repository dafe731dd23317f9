#pragma once
// evaluate_nll: mean negative log likelihood per supervised token of a dataset, no penalty, no dropout. The sums stay on
// the device until the last sample.

#include <map>
#include <string>

#include <moegrad/core/device_reports.hpp>
#include <moegrad/data/step_batches.hpp>
#include <moegrad/models/decoder.hpp>
#include <moegrad/train/step_fetch.hpp>
#include <moegrad/train/step_size.hpp>
#include <moegrad/train/step_sums.hpp>

namespace moegrad {

/// `together`: samples a forward. One sum over all tokens in order: on the CPU it does not depend on that.
template <class Real>
double evaluate_nll(Context& context, Decoder<Real>& model, const Dataset& data, Index together,
                    std::map<std::string, RoutingTotals>* routers = nullptr) {
    std::vector<std::int32_t> all;
    Index supervised = 0;
    for (std::size_t i = 0; i < data.size(); ++i) {
        all.push_back(static_cast<std::int32_t>(i));
        supervised += data[i].supervised();
    }
    const bool padded = context.target() == Device::cuda;
    StepSums<Real> sums(context.device());
    StepBatches inputs;
    for (const auto& picks : micro_batches(all, together)) {
        if (padded) inputs.send(data, {picks}, context.device());
        if (context.device() == Device::cuda) require_ids(data, {picks}, model.config().vocab_size);
        const Batch batch = padded ? inputs.batch(0) : make_batch(data, picks);
        Tape tape(context, Mode::inference);
        Forward<Real> forward{tape, batch.token, batch.segments};
        const auto nll = model.loss(forward, model.hidden(forward), batch.target, batch.row);
        sums.add_loss(tape.stream(), nll.value());
        if (routers) sums.add_stats(tape.stream(), forward);
    }
    StepFetch fetch(context.device());
    fetch.start(Tensor<double>::zeros({kClipReport}, context.device()), sums.sums(), sums.counts());
    fetch.wait();
    require_no_reports(context.device(), "evaluation");
    if (routers) sums.add_to(fetch.values(), *routers);
    return supervised == 0 ? 0 : sums.loss(fetch.values()) / static_cast<double>(supervised);
}

}  // namespace moegrad

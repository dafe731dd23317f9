// Runs last (tests are ordered by file name): every kernel seat that is filled must have been proved by then,
// with no row, with one, and with an odd number of rows.

#include "support/op_check.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

using namespace moegrad;

namespace {

/// Counts the tests that a filter keeps from running; a test that its own author skips does not count.
struct FilterListener : doctest::IReporter {
    inline static int filtered = 0;
    explicit FilterListener(const doctest::ContextOptions&) {}
    void test_case_skipped(const doctest::TestCaseData& test) override { filtered += !test.m_skip; }

    void report_query(const doctest::QueryData&) override {}
    void test_run_start() override {}
    void test_run_end(const doctest::TestRunStats&) override {}
    void test_case_start(const doctest::TestCaseData&) override {}
    void test_case_reenter(const doctest::TestCaseData&) override {}
    void test_case_end(const doctest::CurrentTestCaseStats&) override {}
    void test_case_exception(const doctest::TestCaseException&) override {}
    void subcase_start(const doctest::SubcaseSignature&) override {}
    void subcase_end() override {}
    void log_assert(const doctest::AssertData&) override {}
    void log_message(const doctest::MessageData&) override {}
};
REGISTER_LISTENER("slot_walk_filter", 1, FilterListener);

bool proved(const std::set<Index>& rows) {
    const bool odd = std::any_of(rows.begin(), rows.end(), [](Index n) { return n > 1 && n % 2 == 1; });
    return rows.count(0) > 0 && rows.count(1) > 0 && odd;
}

constexpr std::pair<Device, Number> kSeats[] = {{Device::cpu, Number::float32},
                                                {Device::cpu, Number::float64},
                                                {Device::cuda, Number::float32},
                                                {Device::cuda, Number::bfloat16}};

/// f(slot, device, number) for every filled seat that a record must prove, from `first` on.
template <class Function>
void each_seat(const SlotNode* first, const Function& f) {
    for (const SlotNode* slot = first; slot != nullptr; slot = slot->next()) {
        for (const auto& [device, number] : kSeats) {
            if (slot->filled(device, number)) f(*slot, device, number);
        }
    }
}

test::Record record_of(const test::Records& records, const SlotNode& slot, Device device, Number number) {
    const auto found = records.find({slot.name(), device, number});
    return found == records.end() ? test::Record() : found->second;
}

/// The filled seats, from `first` on, that no record proves: "silu on cpu, float32: rows 0, 1".
std::vector<std::string> unproved_seats(const SlotNode* first, const test::Records& records) {
    std::vector<std::string> missing;
    each_seat(first, [&](const SlotNode& slot, Device device, Number number) {
        const auto rows = record_of(records, slot, device, number).rows;
        if (proved(rows)) return;
        std::string text = format("{} on {}, {}: rows", slot.name(), name(device), name(number));
        for (Index n : rows) text += format(" {}", n);
        missing.push_back(text);
    });
    return missing;
}

/// One line per seat. Error: the largest one seen, as a part of what its bound allows; 0 where the proof is by gradient
/// check alone or by a reference.
void print_table(const test::Records& records) {
    fmt::print("{:<22} {:<5} {:<9} {:>7}  rows\n", "slot", "on", "type", "error");
    each_seat(SlotNode::first(), [&](const SlotNode& slot, Device device, Number number) {
        const auto record = record_of(records, slot, device, number);
        std::string rows;
        for (Index n : record.rows) rows += format("{} ", n);
        fmt::print("{:<22} {:<5} {:<9} {:>7.3f}  {}\n", slot.name(), name(device), name(number), record.worst,
                   rows);
    });
}

template <class Real>
struct PlantedKernels {
    void (*forward)(Stream);
};

/// A slot with a seat for float and none for double.
const SlotNode& planted_slot() {
    static constinit KernelSlot<PlantedKernels> slot{"planted_without_a_test"};
    static constexpr PlantedKernels<float> kernels{nullptr};
    static const bool filled = slot.fill<float>(Device::cpu, kernels);
    (void)filled;
    return slot;
}

}  // namespace

TEST_CASE("slot walk: every filled seat has a record") {
    const bool by_file = doctest::String(doctest::getContextOptions()->order_by) == "file";
    if (FilterListener::filtered > 0 || !by_file) {
        MESSAGE("skipped: ", FilterListener::filtered,
                " tests were filtered out or ran in another order; the walk needs all of them before it");
        return;
    }
    int slots = 0;
    for (const SlotNode* slot = SlotNode::first(); slot != nullptr; slot = slot->next()) ++slots;
    CHECK(slots > 0);
    if (std::getenv("MOEGRAD_SLOT_TABLE") != nullptr) print_table(test::records());
    for (const std::string& seat : unproved_seats(SlotNode::first(), test::records())) {
        FAIL_CHECK("no gradient check or reference agreement for ", seat);
    }
}

TEST_CASE("slot walk: a seat without a record is found, and so is one with too few row counts") {
    const SlotNode& slot = planted_slot();
    // The planted slot heads the list now; the record map below knows all that follow it.
    REQUIRE(SlotNode::first() == &slot);
    test::Records records;
    each_seat(slot.next(), [&](const SlotNode& other, Device device, Number number) {
        records[{other.name(), device, number}].rows = {0, 1, 3};
    });
    const auto missing = [&] { return unproved_seats(&slot, records); };
    CHECK(missing() == std::vector<std::string>{"planted_without_a_test on cpu, float32: rows"});
    auto& rows = records[{"planted_without_a_test", Device::cpu, Number::float32}].rows;
    for (const std::set<Index>& too_few : {std::set<Index>{1, 3}, {0, 3}, {0, 1}, {0, 1, 2, 4}}) {
        rows = too_few;
        CHECK(missing().size() == 1);
    }
    rows = {0, 1, 5};
    CHECK(missing().empty());
    // A record for another number type or device proves nothing.
    records[{"planted_without_a_test", Device::cpu, Number::float64}].rows = rows;
    records[{"planted_without_a_test", Device::cuda, Number::float32}].rows = rows;
    rows.clear();
    CHECK(missing().size() == 1);
}

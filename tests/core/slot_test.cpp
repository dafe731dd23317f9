#include <moegrad/core/slot.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

using namespace moegrad;

namespace {

template <class Real>
struct TwiceKernels {
    Real (*forward)(Real);
};
template <class Real>
struct StoreKernels {
    void (*store)(Real*, const std::string&);
    void (*missing)(Real);
    int (*count)(Real, Real);
};

constinit KernelSlot<TwiceKernels> twice_slot{"twice"};
constinit KernelSlot<TwiceKernels> empty_slot{"empty", Proof::reference};
constinit KernelSlot<StoreKernels> store_slot{"store"};

template <class Real>
Real twice(Real x) {
    return x + x;
}
template <class Real>
constexpr TwiceKernels<Real> kernels{twice<Real>};

constexpr StoreKernels<float> store_kernels{[](float* to, const std::string&) { *to = 5; }, nullptr,
                                            [](float, float) { return 7; }};

std::vector<std::string> listed() {
    std::vector<std::string> names;
    for (const SlotNode* slot = SlotNode::first(); slot != nullptr; slot = slot->next())
        names.emplace_back(slot->name());
    return names;
}

}  // namespace

TEST_CASE("slot: a filled seat is found, listed once, and only for its type and device") {
    const auto before = listed();
    CHECK(std::count(before.begin(), before.end(), "twice") == 0);
    CHECK(twice_slot.fill<float>(Device::cpu, kernels<float>));
    CHECK(twice_slot.fill<double>(Device::cpu, kernels<double>));
    CHECK(twice_slot.get<float>(Device::cpu).forward(3) == 6);
    CHECK(twice_slot.get<double>(Device::cpu).forward(4) == 8);
    CHECK(twice_slot.filled(Device::cpu, Number::float32));
    CHECK_FALSE(twice_slot.filled(Device::cuda, Number::float32));
    CHECK_FALSE(twice_slot.filled(Device::cpu, Number::bfloat16));
    const auto after = listed();
    CHECK(std::count(after.begin(), after.end(), "twice") == 1);
    CHECK(after.size() == before.size() + 1);
}

TEST_CASE("slot: an empty seat is an error that names op, device and type") {
    CHECK(empty_slot.proof() == Proof::reference);
    CHECK_THROWS_WITH_AS(empty_slot.get<double>(Device::cpu), doctest::Contains("empty"), Error);
    CHECK_THROWS_WITH_AS(empty_slot.get<double>(Device::cpu),
                         doctest::Contains("a kernel for cpu in float64"), Error);
    CHECK_THROWS_WITH_AS(empty_slot.get<float>(Device::cuda), doctest::Contains("cuda in float32"), Error);
    const auto names = listed();
    CHECK(std::count(names.begin(), names.end(), "empty") == 0);
}

TEST_CASE("slot: the dry seat is filled with every other one, and does nothing") {
    CHECK(store_slot.fill<float>(Device::cpu, store_kernels));
    const auto& real = store_slot.get<float>(Device::cpu);
    const auto& dry = store_slot.get<float>(Device::dry);
    float value = 1;
    dry.store(&value, "text");
    CHECK(value == 1);
    dry.missing(2.0f);  // a kernel of its own even where the device has none
    CHECK(dry.count(1, 2) == 0);
    real.store(&value, "text");
    CHECK(value == 5);
    CHECK(real.count(1, 2) == 7);
    CHECK_THROWS_WITH_AS(store_slot.get<double>(Device::dry), doctest::Contains("dry in float64"), Error);
}

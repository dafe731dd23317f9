// Tensors on Device::cuda: a GPU, or the emulator.

#include <doctest/doctest.h>

#include <moegrad/core/context.hpp>
#include <moegrad/core/transfer.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace moegrad;

namespace {

Tensor<float> counting(const Shape& shape) {
    auto t = Tensor<float>::zeros(shape);
    std::iota(t.values().begin(), t.values().end(), 1.0f);
    return t;
}

template <class T>
bool equal(const Tensor<T>& a, const Tensor<T>& b) {
    const auto x = a.values(), y = b.values();
    return a.shape() == b.shape() && std::equal(x.begin(), x.end(), y.begin());
}

}  // namespace

TEST_CASE("device memory: tensors go there and come back") {
    if (!has_cuda()) return;
    for (const Shape& shape : {Shape{0}, Shape{1}, Shape{7, 5},
                               Shape{3, 1000, 999}}) {  // the last: through every slot of the ring
        const auto here = counting(shape);
        const auto there = placed(here, Device::cuda);
        CHECK(there.device() == Device::cuda);
        CHECK_FALSE(there.on_host());
        CHECK(equal(host(there), here));
        CHECK(host(here).data() == here.data());
        CHECK(placed(there, Device::cuda).data() == there.data());
        CHECK(equal(placed(there, Device::cpu), here));
    }
    CHECK_FALSE(placed(Tensor<float>(), Device::cuda).defined());
}

TEST_CASE("device memory: rows are copied in place, on the device too") {
    if (!has_cuda()) return;
    const auto all = counting({6, 4});
    const auto there = placed(all, Device::cuda);
    const auto zeros = Tensor<float>::zeros({6, 4}, Device::cuda);
    CHECK(equal(host(zeros), Tensor<float>::zeros({6, 4})));
    copy_values(there.rows(1, 3), zeros.rows(4, 6));
    const auto got = host(zeros);
    for (Index i = 0; i < 24; ++i) CHECK(got.data()[i] == (i < 16 ? 0 : all.data()[i - 12]));
    CHECK_THROWS_WITH_AS(copy_values(there, zeros.rows(0, 2)), doctest::Contains("[6, 4]"), Error);
}

TEST_CASE("device memory: the host refuses to read it") {
    if (!has_cuda()) return;
    const auto there = Tensor<float>::zeros({2, 3}, Device::cuda);
    CHECK_THROWS_WITH_AS(there.values(), doctest::Contains("host(tensor)"), Error);
}

TEST_CASE("device memory: step memory is aligned, poisoned where asked, and used again") {
    if (!has_cuda()) return;
    Context context({.device = Device::cuda, .threads = 1, .fill = Arena::Fill::poison});
    const float* first = nullptr;
    for (int step = 0; step < 3; ++step) {
        const auto a = context.make<float>({3}), b = context.make<float>({5, 7});
        CHECK(reinterpret_cast<std::uintptr_t>(b.data()) % Arena::kDeviceAlignment == 0);
        CHECK(b.device() == Device::cuda);
        const auto unwritten = host(b);
        for (float value : unwritten.values()) CHECK(std::isnan(value));
        if (step == 0) first = a.data();
        CHECK(a.data() == first);
    }
    CHECK(context.arena().system_allocations() == 1);
}

TEST_CASE("device memory: what lasts is counted, by device") {
    if (!has_cuda()) return;
    const std::size_t there = Buffer::lasting_bytes(Device::cuda), here = Buffer::lasting_bytes();
    {
        const auto t = Tensor<double>::zeros({100}, Device::cuda);
        CHECK(Buffer::lasting_bytes(Device::cuda) == there + 800);
        CHECK(Buffer::lasting_bytes() == here);
    }
    CHECK(Buffer::lasting_bytes(Device::cuda) == there);
}

TEST_CASE("device memory: more than there is, is an error that says what is free") {
    if (!has_cuda()) return;
    CHECK_THROWS_WITH_AS((Tensor<float>::zeros({Index{1} << 45}, Device::cuda)),
                         doctest::Contains("bytes free"), Error);
    const auto after = placed(counting({4}), Device::cuda);  // and nothing is broken
    CHECK(equal(host(after), counting({4})));
}

TEST_CASE("device memory: a program without kernels says what is missing") {
    if (has_cuda()) return;
    CHECK_THROWS_WITH_AS(Context({.device = Device::cuda}), doctest::Contains("CUDA Toolkit"), Error);
    CHECK_THROWS_WITH_AS((Tensor<float>::zeros({1}, Device::cuda)), doctest::Contains("CUDA Toolkit"), Error);
}

TEST_CASE("device memory: a line for doctor") {
    if (!has_cuda()) return;
    const auto lines = cuda_memory().describe();
    CHECK(lines.size() >= 2);
    for (const std::string& line : lines) CHECK(line.find(": ") != line.npos);
}

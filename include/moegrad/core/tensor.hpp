#pragma once
// Tensor<T>: a typed, shaped window into a shared Buffer. Copies share memory; `view<Rank>()` is what kernels get.
// Row-major with a leading pitch (see view.hpp); no other strides.

#include <algorithm>
#include <array>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>

#include <moegrad/core/arena.hpp>
#include <moegrad/core/error.hpp>
#include <moegrad/core/view.hpp>

namespace moegrad {

/// Up to four extents, outermost first: Shape{T, D}.
class Shape {
public:
    Shape() = default;
    Shape(std::initializer_list<Index> extents) : rank_(static_cast<int>(extents.size())) {
        if (rank_ > 4) throw Error{ErrorCode::shape, "Shape", "at most 4 axes", format("{}", rank_)};
        std::copy(extents.begin(), extents.end(), extents_.begin());
    }

    int rank() const { return rank_; }
    Index operator[](int axis) const { return extents_[static_cast<std::size_t>(axis)]; }
    Index& operator[](int axis) { return extents_[static_cast<std::size_t>(axis)]; }
    Index size() const {
        Index n = 1;
        for (int axis = 0; axis < rank_; ++axis) n *= (*this)[axis];
        return n;
    }
    Index columns() const { return rank_ == 0 ? 1 : (*this)[rank_ - 1]; }
    Index rows() const { return rank_ == 0 ? 1 : columns() == 0 ? outer() : size() / columns(); }
    bool operator==(const Shape& other) const {
        return rank_ == other.rank_ &&
               std::equal(extents_.begin(), extents_.begin() + rank_, other.extents_.begin());
    }
    std::string text() const {
        std::string s = "[";
        for (int axis = 0; axis < rank_; ++axis) s += (axis ? ", " : "") + std::to_string((*this)[axis]);
        return s + "]";
    }

private:
    Index outer() const {
        Index n = 1;
        for (int axis = 0; axis + 1 < rank_; ++axis) n *= (*this)[axis];
        return n;
    }
    int rank_ = 0;
    std::array<Index, 4> extents_{};
};

template <class T>
class Tensor {
public:
    Tensor() = default;

    /// Step memory from `arena`, or persistent zeroed memory when it is null. Contents of step memory are undefined.
    Tensor(std::shared_ptr<Arena> arena, const Shape& shape, Device device = Device::cpu)
        : buffer_(std::make_shared<Buffer>(
              std::move(arena), static_cast<std::size_t>(std::max<Index>(shape.size(), 0)) * sizeof(T),
              device)),
          data_(static_cast<T*>(buffer_->data())),
          shape_(shape),
          pitch_(shape.columns()) {}

    /// Persistent and zeroed.
    static Tensor zeros(const Shape& shape, Device device = Device::cpu) {
        return Tensor(nullptr, shape, device);
    }
    static Tensor from(const Shape& shape, std::span<const T> values) {
        Tensor t = zeros(shape);
        if (static_cast<Index>(values.size()) != shape.size()) {
            throw Error{ErrorCode::shape, "Tensor::from",
                        format("{} values for {}", shape.size(), shape.text()), format("{}", values.size())};
        }
        std::copy(values.begin(), values.end(), t.data());
        return t;
    }
    static Tensor from(const Shape& shape, std::initializer_list<T> values) {
        return from(shape, std::span<const T>(values.begin(), values.size()));
    }

    const Shape& shape() const { return shape_; }
    Index extent(int axis) const { return shape_[axis]; }
    Index size() const { return shape_.size(); }
    Index rows() const { return shape_.rows(); }
    Index columns() const { return shape_.columns(); }
    Index pitch() const { return pitch_; }
    bool defined() const { return buffer_ != nullptr; }
    /// Whether no other tensor holds this memory.
    bool alone() const { return buffer_.use_count() == 1; }
    /// Device::cpu for what is not defined.
    Device device() const { return buffer_ ? buffer_->device() : Device::cpu; }
    bool on_host() const { return device() != Device::cuda; }
    T* data() const { return data_; }
    /// All values, for dense host tensors; `host(tensor)` (core/transfer.hpp) brings one over.
    std::span<T> values() const {
        if (!on_host()) {
            throw Error{ErrorCode::state, "Tensor::values", "a tensor on the host",
                        "one of " + shape_.text() + " on a GPU", "read host(tensor), which waits for it"};
        }
        require_dense("values");
        return {data_, static_cast<std::size_t>(size())};
    }

    template <int Rank>
    View<T, Rank> view() const {
        if (shape_.rank() != Rank) {
            throw Error{ErrorCode::shape, "Tensor::view", format("rank {}", Rank), "shape " + shape_.text()};
        }
        std::array<Index, Rank> extents{};
        for (int axis = 0; axis < Rank; ++axis) extents[static_cast<std::size_t>(axis)] = shape_[axis];
        return {data_, extents, pitch_};
    }
    /// All outer axes folded: [.., columns] as [rows, columns].
    View<T, 2> matrix() const { return {data_, {rows(), columns()}, pitch_}; }
    /// All values as one axis; dense tensors only.
    View<T, 1> flat() const {
        require_dense("flat");
        return {data_, {size()}};
    }

    /// [E, ...] -> [...]: shares memory.
    Tensor slice(Index i) const {
        if (shape_.rank() < 2)
            throw Error{ErrorCode::shape, "Tensor::slice", "rank 2 to 4", "shape " + shape_.text()};
        require_range("slice", i, i + 1, shape_[0]);
        Tensor t = *this;
        t.shape_ = shape_.rank() == 4   ? Shape{shape_[1], shape_[2], shape_[3]}
                   : shape_.rank() == 3 ? Shape{shape_[1], shape_[2]}
                                        : Shape{shape_[1]};
        t.data_ = data_ + i * row_step();
        if (shape_.rank() == 2) t.pitch_ = t.columns();
        return t;
    }
    /// Entries [begin, end) of the outermost axis, the rows of a matrix: shares memory.
    Tensor rows(Index begin, Index end) const {
        require_range("rows", begin, end, shape_.rank() == 0 ? 0 : shape_[0]);
        Tensor t = *this;
        t.shape_[0] = end - begin;
        t.data_ = data_ + begin * row_step();
        return t;
    }
    /// Entries [begin, end) of the last axis: shares memory, keeps the pitch.
    Tensor columns(Index begin, Index end) const {
        require_range("columns", begin, end, shape_.rank() == 0 ? 0 : columns());
        Tensor t = *this;
        t.shape_[shape_.rank() - 1] = end - begin;
        t.data_ = data_ + begin;
        return t;
    }
    /// This [a, ..] and `next` [b, ..] as one tensor [a + b, ..] where they lie in one block, one behind the other; else not
    /// defined. Shares memory.
    Tensor followed_by(const Tensor& next) const {
        if (!defined() || buffer_ != next.buffer_ || pitch_ != columns() || next.pitch_ != pitch_ ||
            next.data_ != data_ + size() || shape_.rank() != next.shape_.rank()) {
            return {};
        }
        Tensor t = *this;
        t.shape_[0] += next.shape_[0];
        for (int axis = 1; axis < shape_.rank(); ++axis) {
            if (shape_[axis] != next.shape_[axis]) return {};
        }
        return t;
    }
    Tensor reshape(const Shape& shape) const {
        require_dense("reshape");
        if (shape.size() != size()) {
            throw Error{ErrorCode::shape, "Tensor::reshape", format("{} values", size()), shape.text()};
        }
        Tensor t = *this;
        t.shape_ = shape;
        t.pitch_ = shape.columns();
        return t;
    }

private:
    /// Values between two entries of the outermost axis.
    Index row_step() const {
        Index step = shape_.rank() < 2 ? 1 : pitch_;
        for (int axis = 1; axis + 1 < shape_.rank(); ++axis) step *= shape_[axis];
        return step;
    }
    void require_range(const char* what, Index begin, Index end, Index extent) const {
        if (0 <= begin && begin <= end && end <= extent) return;
        throw Error{ErrorCode::shape, format("Tensor::{}", what), format("a range in [0, {}]", extent),
                    format("[{}, {}) of {}", begin, end, shape_.text())};
    }
    void require_dense(const char* what) const {
        if (pitch_ != columns() && rows() > 1) {
            throw Error{ErrorCode::shape, format("Tensor::{}", what), "a dense tensor",
                        format("{} with pitch {}", shape_.text(), pitch_)};
        }
    }

    std::shared_ptr<Buffer> buffer_;
    T* data_ = nullptr;
    Shape shape_;
    Index pitch_ = 0;
};

/// Of a tensor that may be missing; then empty.
template <int Rank, class T>
View<T, Rank> view_or_none(const Tensor<T>& tensor) {
    return tensor.defined() ? tensor.template view<Rank>() : View<T, Rank>();
}

}  // namespace moegrad

#pragma once
// Dense matrix products by cuBLASLt:   y = alpha op(a) op(b), or y += that
// bf16 operands give bf16 or float, float operands float; products are added in float (never tf32), partial sums of a
// split contraction too. With y += in bf16 the product is rounded, then the sum (seen on an
// H100 with CUDA 13.0). An algorithm is chosen at the first product of a shape and kept: the same bits run after run.
// The emulator has a file of the same name, on plain loops.

#include <cublasLt.h>

#include <array>
#include <map>
#include <mutex>

#include <moegrad/cuda/support/plain_product.cuh>

namespace moegrad::cuda {

inline void check(cublasStatus_t status, const char* place) {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    throw Error{ErrorCode::state, place, "success of a cuBLASLt call",
                format("{} ({})", cublasLtGetStatusString(status), cublasLtGetStatusName(status)),
                "moegrad doctor shows device, driver and libraries"};
}

namespace detail {

/// What decides the algorithm of a product: all of it in cuBLASLt's order, columns first.
struct ProductKey {
    std::array<Index, 3> extent;         // rows and columns of y^T, contraction
    std::array<Index, 3> pitch;          // of b, a, y
    std::array<int, 3> alignment;        // of the same, in bytes
    std::array<int, 2> transposed;       // b, a
    std::array<cudaDataType_t, 2> type;  // operands, result
    bool accumulate;

    auto operator<=>(const ProductKey&) const = default;
};

struct ProductPlan {
    cublasLtMatmulDesc_t product = nullptr;
    std::array<cublasLtMatrixLayout_t, 3> layout{};
    cublasLtMatmulAlgo_t algorithm;
    bool found = false;  // whether cuBLASLt takes it
};

/// Handle, workspace and plans, for as long as the program runs.
class Products {
public:
    static Products& get() {
        static Products products;
        return products;
    }

    const ProductPlan& plan(const ProductKey& key, const char* place) {
        const std::lock_guard lock(mutex_);
        auto found = plans_.find(key);
        if (found == plans_.end()) found = plans_.emplace(key, made(key, place)).first;
        return found->second;
    }

    cublasLtHandle_t handle = nullptr;
    void* workspace = nullptr;
    static constexpr std::size_t kWorkspace = std::size_t{32} << 20;

private:
    Products() {
        check(cublasLtCreate(&handle), "cuBLASLt");
        workspace = allocate(kWorkspace, "workspace of the matrix products");
    }

    ProductPlan made(const ProductKey& key, const char* place) const {
        ProductPlan plan;
        check(cublasLtMatmulDescCreate(&plan.product, CUBLAS_COMPUTE_32F, CUDA_R_32F), place);
        for (int side = 0; side < 2; ++side) {
            const cublasOperation_t op = key.transposed[side] ? CUBLAS_OP_T : CUBLAS_OP_N;
            const auto name = side == 0 ? CUBLASLT_MATMUL_DESC_TRANSA : CUBLASLT_MATMUL_DESC_TRANSB;
            check(cublasLtMatmulDescSetAttribute(plan.product, name, &op, sizeof op), place);
        }
        for (int n = 0; n < 3; ++n) {
            // Stored rows and columns: those of op(.) change places where it is transposed.
            Index rows = key.extent[n == 1 ? 2 : 0], columns = key.extent[n == 0 ? 2 : 1];
            if (n < 2 && key.transposed[n]) std::swap(rows, columns);
            check(cublasLtMatrixLayoutCreate(&plan.layout[n], key.type[n == 2],
                                             static_cast<std::uint64_t>(rows),
                                             static_cast<std::uint64_t>(columns), key.pitch[n]),
                  place);
        }
        choose(key, plan, place);
        return plan;
    }

    void choose(const ProductKey& key, ProductPlan& plan, const char* place) const {
        cublasLtMatmulPreference_t wish;
        check(cublasLtMatmulPreferenceCreate(&wish), place);
        const auto set = [&](cublasLtMatmulPreferenceAttributes_t name, const auto& value) {
            check(cublasLtMatmulPreferenceSetAttribute(wish, name, &value, sizeof value), place);
        };
        set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{kWorkspace});
        // Parts of a contraction meet in float in the workspace, in order; not in y, where bf16 would round them.
        set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
            static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
        set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<std::uint32_t>(key.alignment[0]));
        set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<std::uint32_t>(key.alignment[1]));
        set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<std::uint32_t>(key.alignment[2]));
        set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<std::uint32_t>(key.alignment[2]));
        cublasLtMatmulHeuristicResult_t result{};
        int count = 0;
        const cublasStatus_t status =
            cublasLtMatmulAlgoGetHeuristic(handle, plan.product, plan.layout[0], plan.layout[1],
                                           plan.layout[2], plan.layout[2], wish, 1, &result, &count);
        cublasLtMatmulPreferenceDestroy(wish);
        if (status != CUBLAS_STATUS_NOT_SUPPORTED) check(status, place);
        plan.found = status == CUBLAS_STATUS_SUCCESS && count > 0 && result.state == CUBLAS_STATUS_SUCCESS;
        plan.algorithm = result.algo;
    }

    std::mutex mutex_;
    std::map<ProductKey, ProductPlan> plans_;
};

/// The power of two that the address is a multiple of, at most 16: what the widest access wants. So no algorithm
/// depends on where in memory an aligned matrix lies.
inline int alignment_of(const void* place) {
    const auto address = reinterpret_cast<std::uintptr_t>(place) | 16;
    return static_cast<int>(address & (~address + 1));
}

template <class T>
constexpr cudaDataType_t kDataType = sizeof(T) == 2 ? CUDA_R_16BF : CUDA_R_32F;

/// A matrix of one row may have any pitch; cuBLASLt wants one that holds the row.
template <class T>
Index pitch_of(const View<T, 2>& view) {
    return std::max<Index>(view.pitch, std::max<Index>(view.extent(1), 1));
}

}  // namespace detail

/// Handle and workspace: before a graph is captured, which must not allocate.
inline void prepare_products() {
    detail::Products::get();
}

namespace {

/// y [M, N], op(a) [M, K], op(b) [K, N], any pitches and extents.
template <class In, class Out>
void matrix_product(const char* place, Stream stream, float alpha, View<const In, 2> a, Side a_side,
                    View<const In, 2> b, Side b_side, View<Out, 2> y, Write write) {
    const Index M = y.extent(0), N = y.extent(1), K = a.extent(a_side == Side::plain ? 1 : 0);
    const Index a_rows = a.extent(a_side == Side::plain ? 0 : 1);
    const Index b_rows = b.extent(b_side == Side::plain ? 0 : 1),
                b_columns = b.extent(b_side == Side::plain ? 1 : 0);
    if (a_rows != M || b_rows != K || b_columns != N) {
        throw Error{ErrorCode::shape, place, format("a product [{}, {}] over {}", M, N, K),
                    format("operands [{}, {}] and [{}, {}]", a_rows, K, b_rows, b_columns)};
    }
    if (M == 0 || N == 0) return;
    auto& products = detail::Products::get();
    // A row-major matrix is the transpose of a column-major one:  y^T = op(b)^T op(a)^T.
    const detail::ProductKey key{
        {N, M, K},
        {detail::pitch_of(b), detail::pitch_of(a), detail::pitch_of(y)},
        {detail::alignment_of(b.data), detail::alignment_of(a.data), detail::alignment_of(y.data)},
        {b_side == Side::transposed, a_side == Side::transposed},
        {detail::kDataType<In>, detail::kDataType<Out>},
        write == Write::accumulate};
    const detail::ProductPlan* plan = K == 0 ? nullptr : &products.plan(key, place);
    if (plan == nullptr || !plan->found) {
        plain_product(place, cuda_stream(stream), alpha, a, a_side, b, b_side, y, write);
        return;
    }
    const float beta = write == Write::accumulate ? 1.0f : 0.0f;
    const cublasStatus_t status = cublasLtMatmul(
        products.handle, plan->product, &alpha, b.data, plan->layout[0], a.data, plan->layout[1], &beta,
        y.data, plan->layout[2], y.data, plan->layout[2], &plan->algorithm, products.workspace,
        detail::Products::kWorkspace, cuda_stream(stream));
    if (status != CUBLAS_STATUS_SUCCESS) {
        throw Error{
            ErrorCode::state, place, format("a product [{}, {}] over {} by cuBLASLt", M, N, K),
            format("{}, pitches {}, {}, {}", cublasLtGetStatusString(status), a.pitch, b.pitch, y.pitch),
            "moegrad doctor shows device, driver and libraries"};
    }
}

}  // namespace
}  // namespace moegrad::cuda

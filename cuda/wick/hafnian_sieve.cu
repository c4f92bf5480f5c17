#include "cuda/wick/hafnian_sieve.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.hpp"
#include "cuda/core/launch.hpp"
#include "wick/series.hpp"

namespace nnqft::cuda {
namespace {

constexpr unsigned kThreads = 192;       // about the tasks of one level of a subtree
constexpr unsigned kFoldThreads = 1024;
constexpr unsigned kParts = 264;         // blocks for the few states at the top of the tree

template <class E>
constexpr int kWidth = E::size == 1 ? 8 : 4;  // coefficients of a thread; the sums, and as many factors and three more, lie in registers

template <class E>
constexpr int kBlocks = E::size == 1 ? 4 : 3;  // that a multiprocessor has registers for

// ---------------------------------------------------------------- products

template <class E, int Shift, int W, int... J>
__device__ __forceinline__ void add_window(const E (&a)[kGroup], const E* window, E (&sum)[W], Ints<J...>) {
    (add_column<E, Shift, J, W>(a, window[J], sum), ...);
}

// sum += coefficients x0 .. x0 + W - 1 of a b, x0 a multiple of W, in the order of series.hpp. A window of b moves down as a's groups move
// up, so that a group takes 8 loads for 4 W multiply-adds. Reads up to coefficient x0 + W - 1 of both, which need not mean anything.
template <class E, int W>
__device__ __forceinline__ void add_product_window(const double* a, const double* b, int x0, E (&sum)[W]) {
    E window[W + 3];  // b[x0 - i - 3 + J]
#pragma unroll
    for (int J = 4; J < W + 3; ++J) window[J] = E::load(b + (x0 + J - 3) * E::size);
    E x[kGroup];
#pragma unroll 2
    for (int i = 0; i < x0; i += kGroup) {
#pragma unroll
        for (int k = 0; k < kGroup; ++k) x[k] = E::load(a + (i + k) * E::size);
#pragma unroll
        for (int k = 0; k < kGroup; ++k) window[k] = E::load(b + (x0 - i - 3 + k) * E::size);
        add_window<E, -3, W>(x, window, sum, typename CountTo<W + 3>::type{});
#pragma unroll
        for (int J = W + 2; J >= kGroup; --J) window[J] = window[J - kGroup];
    }
    window[3] = E::load(b);
#pragma unroll
    for (int k = 0; k < kGroup; ++k) x[k] = E::load(a + (x0 + k) * E::size);
    add_window<E, 0, W>(x, window + 3, sum, typename CountTo<W>::type{});
    if constexpr (W > kGroup) {
#pragma unroll
        for (int k = 0; k < kGroup; ++k) x[k] = E::load(a + (x0 + kGroup + k) * E::size);
        add_window<E, kGroup, W>(x, window + 3, sum, typename CountTo<W - kGroup>::type{});
    }
}

// Where the polynomials of a state lie that are factors: all of it, or without what is between head and tail.
struct Factors {
    const double* state;
    int head, gap, stride;
    __device__ const double* operator()(unsigned number) const {
        const int at = static_cast<int>(number);
        return state + static_cast<int64_t>(at < head ? at : at - gap) * stride;
    }
};

template <class E, int W>
__device__ __forceinline__ void sum_of_products(const SieveTask& task, const Factors& factors, int x0, E (&sum)[W]) {
#pragma unroll
    for (int k = 0; k < W; ++k) sum[k] = E::zero();
    uint32_t pair = task.pair[0], second = task.pair[1], third = task.pair[2];
#pragma unroll 1
    do {
        add_product_window<E, W>(factors(pair & 0xffff), factors(pair >> 16), x0, sum);
        pair = second;
        second = third;
        third = kNoPair;
    } while (pair != kNoPair);
}

// child = c + t z sum, for t = +1 into `plus` and, if there is one, t = -1 into `minus`.
template <class E, int W>
__device__ __forceinline__ void write_children(const double* from, const E (&sum)[W], bool twice, int x0, int length, double* plus, double* minus) {
    if (x0 == 0) {
        const E c = E::load(from);
        c.store(plus);
        if (minus) c.store(minus);
    }
#pragma unroll
    for (int k = 0; k < W; ++k) {
        const int x = x0 + k + 1;
        if (x > length) break;
        const E c = x < length ? E::load(from + x * E::size) : E::zero(), p = twice ? sum[k] + sum[k] : sum[k];
        (c + p).store(plus + x * E::size);
        if (minus) (c - p).store(minus + x * E::size);
    }
}

// out = from + sum, where from may be null.
template <class E, int W>
__device__ __forceinline__ void write_here(const double* from, const E (&sum)[W], int x0, int length, double* out) {
#pragma unroll
    for (int k = 0; k < W; ++k) {
        const int x = x0 + k;
        if (x >= length) break;
        (from ? E::load(from + x * E::size) + sum[k] : sum[k]).store(out + x * E::size);
    }
}

// A stage that writes into the states themselves, `nodes` of them in shared memory.
template <class E>
__device__ void prepare(const SieveTask* __restrict__ tasks, const SieveLayout& level, const SieveStage& stage, double* states, int nodes, int gap) {
    constexpr int W = kWidth<E>;
    const int blocks = (level.length + W - 1) / W, stride = level.stride * E::size;
    const int size = (level.size - gap * level.stride) * E::size;
    for (int item = static_cast<int>(threadIdx.x); item < blocks * nodes * stage.count; item += static_cast<int>(blockDim.x)) {
        const int rest = item / stage.count, node = rest % nodes, x0 = (blocks - 1 - rest / nodes) * W;  // the longest sums first
        const SieveTask task = tasks[stage.first + item % stage.count];
        double* const state = states + static_cast<int64_t>(node) * size;
        E sum[W];
        const Factors factors{state, level.head, gap, stride};
        sum_of_products<E, W>(task, factors, x0, sum);
        const unsigned from = task.place >> 16;
        write_here<E, W>(from == kNoPolynomial ? nullptr : factors(from), sum, x0, level.length, state + (task.place & 0x7fff) * stride);
    }
}

// ---------------------------------------------------------------- kernels

// The root: 1, then the input; room for intermediate results lies before the rows of b.
template <class E>
__global__ void plant_kernel(const double* __restrict__ input, int count, int head, int spare, int stride, double* __restrict__ state) {
    const int first = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (first == 0) E::one().store(state);
    for (int i = first; i < count; i += static_cast<int>(gridDim.x * blockDim.x)) {
        E::load(input + i * E::size).store(state + (i + 1 < head - spare ? i + 1 : i + 1 + spare) * stride * E::size);
    }
}

// Children 2 i and 2 i + 1 of states i = blockIdx.x of a level, or (children = 1) the first one alone. The factors are brought to shared
// memory; blockIdx.y shares out the tasks.
template <class E>
__global__ void __launch_bounds__(kThreads, kBlocks<E>)
    expand_kernel(const SieveTask* __restrict__ tasks, const __grid_constant__ SieveLayout level, int child_stride, int64_t child_size, int children,
                  const double* __restrict__ states, double* __restrict__ out) {
    constexpr int W = kWidth<E>;
    NNQFT_DYNAMIC_SHARED(double, shared);
    const double* const state = states + static_cast<int64_t>(blockIdx.x) * level.size * E::size;
    const int stride = level.stride * E::size, gap = level.tail - level.head, head = level.head * stride;
    const int count = (level.polynomials - gap) * stride;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) shared[i] = state[i < head ? i : i + gap * stride];
    __syncthreads();
    for (int s = 0; s + 1 < level.stages; ++s) {
        prepare<E>(tasks, level, level.stage[s], shared, 1, gap);
        __syncthreads();
    }

    const SieveStage stage = level.stage[level.stages - 1];
    const int blocks = (level.length + W - 1) / W;
    double* const plus = out + static_cast<int64_t>(blockIdx.x) * children * child_size * E::size;
    const Factors factors{shared, level.head, gap, stride};
    for (int item = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x); item < blocks * stage.count;
         item += static_cast<int>(gridDim.y * blockDim.x)) {
        const int x0 = (blocks - 1 - item / stage.count) * W;
        const SieveTask task = tasks[stage.first + item % stage.count];
        E sum[W];
        sum_of_products<E, W>(task, factors, x0, sum);
        double* const to = plus + static_cast<int64_t>(task.place & 0x7fff) * child_stride * E::size;
        write_children<E, W>(state + static_cast<int64_t>(task.place >> 16) * stride, sum, task.place & kTwice, x0, level.length, to,
                             children == 2 ? to + child_size * E::size : nullptr);
    }
}

// The layouts of the levels of a subtree, the first of them the cut.
struct Subtree {
    int levels;  // that choose a sign
    int64_t half;  // where the second of two rooms for states begins in shared memory, in doubles
    int64_t heap;  // where the sums of subtrees lie
    SieveLayout level[8];
};

// One block, one subtree: its sum over signs.
template <class E>
__global__ void __launch_bounds__(kThreads, kBlocks<E>)
    subtree_kernel(const SieveTask* __restrict__ tasks, const __grid_constant__ Subtree subtree, const double* __restrict__ states, double* __restrict__ sums) {
    constexpr int W = kWidth<E>;
    NNQFT_DYNAMIC_SHARED(double, shared);
    double *in = shared, *out = shared + subtree.half, *const heap = shared + subtree.heap;
    const int64_t size = static_cast<int64_t>(subtree.level[0].size) * E::size;
    for (int64_t i = threadIdx.x; i < size; i += blockDim.x) in[i] = states[blockIdx.x * size + i];
    __syncthreads();
    int nodes = 1;
    for (int l = 0; l < subtree.levels; ++l, nodes *= 2) {
        const SieveLayout& level = subtree.level[l];
        const SieveLayout& child = subtree.level[l + 1];
        for (int s = 0; s + 1 < level.stages; ++s) {
            prepare<E>(tasks, level, level.stage[s], in, nodes, 0);
            __syncthreads();
        }
        const SieveStage stage = level.stage[level.stages - 1];
        const int blocks = (level.length + W - 1) / W, stride = level.stride * E::size;
        for (int item = static_cast<int>(threadIdx.x); item < blocks * nodes * stage.count; item += static_cast<int>(blockDim.x)) {
            const int rest = item / stage.count, node = rest % nodes, x0 = (blocks - 1 - rest / nodes) * W;
            const SieveTask task = tasks[stage.first + item % stage.count];
            const double* const state = in + node * level.size * E::size;
            E sum[W];
            sum_of_products<E, W>(task, Factors{state, level.head, 0, stride}, x0, sum);
            double* const to = out + (2 * node * child.size + static_cast<int>(task.place & 0x7fff) * child.stride) * E::size;
            write_children<E, W>(state + (task.place >> 16) * stride, sum, task.place & kTwice, x0, level.length, to, to + child.size * E::size);
        }
        __syncthreads();
        double* const swap = in;
        in = out;
        out = swap;
    }

    const SieveLayout& last = subtree.level[subtree.levels];
    for (int s = 0; s < last.stages; ++s) {
        prepare<E>(tasks, last, last.stage[s], in, nodes, 0);
        __syncthreads();
    }
    const int top = last.length - 1;
    for (int node = static_cast<int>(threadIdx.x); node < nodes; node += static_cast<int>(blockDim.x)) {
        const double* const g = in + node * last.size * E::size;
        E sum = E::zero();
        if (last.result < 0) {
            sum = E::load(g + top * E::size);
        } else {
            const double* const h = g + last.result * last.stride * E::size;
            for (int x = 0; x <= top; ++x) sum = madd(E::load(g + (top - x) * E::size), E::load(h + x * E::size), sum);
        }
        sum.store(heap + (nodes + node) * E::size);
    }
    __syncthreads();
    for (int n = nodes / 2; n > 0; n /= 2) {  // node i of the heap has the children 2 i and 2 i + 1
        for (int i = n + static_cast<int>(threadIdx.x); i < 2 * n; i += static_cast<int>(blockDim.x))
            (E::load(heap + 2 * i * E::size) - E::load(heap + (2 * i + 1) * E::size)).store(heap + i * E::size);
        __syncthreads();
    }
    if (threadIdx.x == 0) E::load(heap + E::size).store(sums + blockIdx.x * E::size);
}

// Each block: `count` sums, a power of two, become one. `spare` has room for half of them.
template <class E>
__global__ void __launch_bounds__(kFoldThreads) fold_kernel(int count, double* sums, double* spare, double* out) {
    double* in = sums + static_cast<int64_t>(blockIdx.x) * count * E::size;
    double* to = spare + static_cast<int64_t>(blockIdx.x) * (count / 2) * E::size;
    for (int n = count / 2; n > 0; n /= 2) {
        for (int i = static_cast<int>(threadIdx.x); i < n; i += static_cast<int>(blockDim.x))
            (E::load(in + 2 * i * E::size) - E::load(in + (2 * i + 1) * E::size)).store(to + i * E::size);
        __syncthreads();
        double* const swap = in;
        in = to;
        to = swap;
    }
    if (threadIdx.x == 0) E::load(in).store(out + blockIdx.x * E::size);
}

}  // namespace

// ---------------------------------------------------------------- the walk

namespace {

constexpr int kSlack = 8;             // elements that add_product_window may read behind the last polynomial
constexpr int kSubtreeLevels = 7;
constexpr size_t kSubtreeBytes = 56 << 10;           // four blocks share a multiprocessor of compute capability 9.0
constexpr size_t kWorkspaceBytes = size_t{1} << 30;  // about; two states of each level at least

// Doubles of shared memory for a subtree: where the second room begins, where the heap does, and all of them.
struct Rooms {
    int64_t half, heap, total;
    Rooms(const SieveTables& tables, int cut, int64_t element) {
        int64_t most[2] = {0, 0}, nodes = 1;
        for (size_t l = static_cast<size_t>(cut); l < tables.level.size(); ++l, nodes *= 2) {
            int64_t& room = most[(l - static_cast<size_t>(cut)) % 2];
            room = std::max(room, nodes * tables.level[l].size);
        }
        half = (most[0] + kSlack) * element;
        heap = half + (most[1] + kSlack) * element;
        total = heap + nodes * element;  // 2 * (nodes / 2): the loop doubled once more
    }
};

}  // namespace

SieveWalk::SieveWalk(const SieveShape& shape, SieveNumbers numbers, size_t shared) : tables_(shape), numbers_(numbers) {
    const int levels = shape.levels;
    const auto bytes = [&](int cut) { return static_cast<size_t>(Rooms(tables_, cut, static_cast<int64_t>(element())).total) * sizeof(double); };
    cut_ = levels;
    const int least = std::max(std::min(levels, 4), levels - kSubtreeLevels);
    while (cut_ > least && bytes(cut_ - 1) <= std::min(shared, kSubtreeBytes)) --cut_;
    if (bytes(cut_) > shared) throw ArgumentError("the device has " + std::to_string(shared) + " bytes of shared memory for a block; this sieve needs " + std::to_string(bytes(cut_)));
    for (lay_out(); bytes_ > kWorkspaceBytes && most_ > 1; lay_out()) --most_;
    count_.assign(static_cast<size_t>(cut_) + 1, 0);
    next_ = count_;
    for (int l = 0; l <= cut_; ++l) total_ += work(l) * (l == 0 ? 1.0 : std::ldexp(1.0, l - 1));
}

void SieveWalk::lay_out() {
    offset_.clear();
    size_t at = 0;
    for (int l = 0; l <= cut_; ++l) {
        offset_.push_back(at);
        at += static_cast<size_t>(room(l)) * static_cast<size_t>(tables_.level[static_cast<size_t>(l)].size) * element();
    }
    offset_.push_back(at);
    bytes_ = (at + 2 * static_cast<size_t>(room(cut_)) * element()) * sizeof(double);
}

double SieveWalk::work(int level) const noexcept {
    const double price = numbers_ == SieveNumbers::complex ? 4.0 : 1.0;
    double sum = 0.0, nodes = price;
    for (size_t l = static_cast<size_t>(level); l < tables_.level.size(); ++l, nodes *= 2.0) {
        sum += nodes * tables_.multiply_adds[l];
        if (level < cut_) break;
    }
    return sum;
}

template <class E>
cudaError_t SieveWalk::step(const SieveMemory& memory, cudaStream_t stream) noexcept {
    const auto l = static_cast<size_t>(level_);
    const SieveLayout& level = tables_.level[l];
    double* const here = memory.workspace + offset_[l];
    if (level_ == cut_) {
        const int64_t count = count_[l];
        const Rooms rooms(tables_, cut_, E::size);
        Subtree subtree{static_cast<int>(tables_.level.size() - 1 - l), rooms.half, rooms.heap, {}};
        std::copy(tables_.level.begin() + level_, tables_.level.end(), subtree.level);
        double* const sums = memory.workspace + offset_[l + 1];
        const size_t bytes = static_cast<size_t>(rooms.total) * sizeof(double);
        cudaError_t status = allow_shared(subtree_kernel<E>, bytes);
        if (status == cudaSuccess) status = launch({static_cast<unsigned>(count), 1, kThreads, bytes, stream}, subtree_kernel<E>, memory.tasks, subtree, here, sums);
        const auto groups = static_cast<unsigned>(count >> kept());
        if (status == cudaSuccess)
            status = launch({groups, 1, kFoldThreads, 0, stream}, fold_kernel<E>, 1 << kept(), sums, sums + count * E::size, memory.sums + summed_ * E::size);
        summed_ += groups;
        done_ += static_cast<double>(count) * work(level_);
        next_[l] = count;
        return status;
    }
    const SieveLayout& child = tables_.level[l + 1];
    const int children = level_ == 0 ? 1 : 2;  // t and -t give the same: the first sign is +1
    const int64_t count = std::min(count_[l] - next_[l], room(level_ + 1) / children);
    const int stage = level.stage[level.stages - 1].count, blocks = (level.length + kWidth<E> - 1) / kWidth<E>;
    const unsigned work_parts = (static_cast<unsigned>(stage * blocks) + kThreads - 1) / kThreads;
    const unsigned parts = std::max(1u, std::min(work_parts, kParts / static_cast<unsigned>(count)));
    const size_t bytes = static_cast<size_t>((level.polynomials - level.tail + level.head) * level.stride + kSlack) * E::size * sizeof(double);
    cudaError_t status = allow_shared(expand_kernel<E>, bytes);
    if (status == cudaSuccess)
        status = launch({static_cast<unsigned>(count), parts, kThreads, bytes, stream}, expand_kernel<E>, memory.tasks, level, child.stride,
                        static_cast<int64_t>(child.size), children, here + next_[l] * level.size * E::size, memory.workspace + offset_[l + 1]);
    done_ += static_cast<double>(count) * work(level_);
    next_[l] += count;
    count_[l + 1] = count * children;
    next_[l + 1] = 0;
    ++level_;
    return status;
}

template <class E>
cudaError_t SieveWalk::run(const SieveMemory& memory, const double* input, double multiply_adds, cudaStream_t stream) noexcept {
    cudaError_t status = cudaSuccess;
    if (!begun_) {
        const SieveLayout& root = tables_.level[0];
        const int count = tables_.inputs();
        const unsigned blocks = static_cast<unsigned>(count) / 256 + 1;
        status = launch({blocks, 1, 256, 0, stream}, plant_kernel<E>, input, count, root.head, root.spare, root.stride, memory.workspace);
        begun_ = true;
        count_[0] = 1;
    }
    for (const double enough = done_ + multiply_adds; status == cudaSuccess && done_ < enough && !finished_;) {
        status = step<E>(memory, stream);
        while (level_ >= 0 && next_[static_cast<size_t>(level_)] == count_[static_cast<size_t>(level_)]) --level_;
        finished_ = level_ < 0;
    }
    return status;
}

void SieveWalk::fold(double* sums) const noexcept {
    const auto subtract = [&](size_t out, size_t plus, size_t minus) {
        for (size_t part = 0; part < element(); ++part) {
            double* const to = sums + out * element() + part;
            const double *const a = sums + plus * element() + part, *const b = sums + minus * element() + part;
            if (numbers_ == SieveNumbers::integer) (In::load(a) - In::load(b)).store(to);
            else *to = *a - *b;
        }
    };
    for (size_t n = n_sums() / 2; n >= size_t{1} << lanes(); n /= 2)
        for (size_t i = 0; i < n; ++i) subtract(i, 2 * i, 2 * i + 1);
    for (size_t n = (size_t{1} << lanes()) / 2; n > 0; n /= 2)
        for (size_t i = 0; i < n; ++i) subtract(i, i, i + n);
}

cudaError_t SieveWalk::advance(const SieveMemory& memory, const double* input, double multiply_adds, cudaStream_t stream) noexcept {
    if (finished_) return cudaSuccess;
    switch (numbers_) {
        case SieveNumbers::complex: return run<Co>(memory, input, multiply_adds, stream);
        case SieveNumbers::integer: return run<In>(memory, input, multiply_adds, stream);
        default: return run<Re>(memory, input, multiply_adds, stream);
    }
}

}  // namespace nnqft::cuda

// The emulator: what a device would do, it does; what a device could not do, it refuses, and names the place.
#include <cstdint>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "cuda/core/launch.hpp"

using nnqft::cuda::allow_shared;
using nnqft::cuda::launch;
using nnqft::emulation::Order;

namespace {

constexpr unsigned kAll = 0xffffffffu;

bool failure_says(cudaError_t status, const char* text) {
    if (status == cudaErrorLaunchFailure && std::strstr(cudaGetErrorString(status), text)) return true;
    std::printf("status %s: %s\n", cudaGetErrorName(status), cudaGetErrorString(status));
    return false;
}

struct InOrder {  // for the life of the object
    explicit InOrder(Order order, uint64_t seed = 0) { nnqft::emulation::set_order(order, seed); }
    ~InOrder() { nnqft::emulation::set_order(Order::forward); }
};

__global__ void number_kernel(unsigned n, unsigned* out) {
    const unsigned i = (blockIdx.y * gridDim.x + blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < n) out[i] = i + 1;
}

template <class T>
__global__ void __launch_bounds__(256) block_sum_kernel(const T* __restrict__ x, T* out) {
    __shared__ T part[256];
    part[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half; half /= 2) {
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) out[blockIdx.x] = part[0];
}

__global__ void reverse_kernel(double* x) {
    NNQFT_DYNAMIC_SHARED(double, copy);
    copy[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = copy[blockDim.x - 1 - threadIdx.x];
}

#if !defined(NNQFT_EMULATION_TSAN)
// The planted race: the barrier between write and read is missing.
__global__ void racing_reverse_kernel(double* x) {
    NNQFT_DYNAMIC_SHARED(double, copy);
    copy[threadIdx.x] = x[threadIdx.x];
    x[threadIdx.x] = copy[blockDim.x - 1 - threadIdx.x];
}
#endif

template <class T>
__global__ void shuffle_kernel(T* out) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    T* const mine = out + 6 * threadIdx.x;
    const T x = static_cast<T>(100 + static_cast<int>(threadIdx.x));
    mine[0] = __shfl_sync(kAll, x, 3);
    mine[1] = __shfl_sync(kAll, x, lane / 8 + 9, 8);
    mine[2] = __shfl_up_sync(kAll, x, 2);
    mine[3] = __shfl_down_sync(kAll, x, 1, 16);
    mine[4] = __shfl_xor_sync(kAll, x, 5);
    mine[5] = x;
    if (lane < 16) mine[5] = __shfl_xor_sync(0xffffu, x, 8);  // half of the warp
}

__global__ void vote_kernel(unsigned* out) {
    const unsigned i = threadIdx.x, odd = i & 1;
    unsigned* const mine = out + 10 * i;
    mine[0] = __ballot_sync(kAll, static_cast<int>(odd));
    mine[1] = static_cast<unsigned>(__any_sync(kAll, i == 7));
    mine[2] = static_cast<unsigned>(__all_sync(kAll, i < 64));
    mine[3] = __reduce_add_sync(kAll, i);
    mine[4] = __reduce_max_sync(kAll, i) + __reduce_min_sync(kAll, i);
    mine[5] = __reduce_or_sync(kAll, i) + __reduce_and_sync(kAll, i | 64) + __reduce_xor_sync(kAll, i);
    mine[6] = __match_any_sync(kAll, i % 4);
    mine[7] = static_cast<unsigned>(__syncthreads_count(static_cast<int>(odd)));
    mine[8] = static_cast<unsigned>(__syncthreads_and(i < 64)) + 2 * static_cast<unsigned>(__syncthreads_or(i == 63));
    mine[9] = static_cast<unsigned>(__syncthreads_and(static_cast<int>(odd))) + 2 * static_cast<unsigned>(__syncthreads_or(0));
}

__global__ void leave_early_kernel(unsigned stay) {
    if (threadIdx.x >= stay) return;
    __syncthreads();
}
__global__ void two_barriers_kernel() {
    if (threadIdx.x % 2)
        __syncthreads();
    else
        __syncthreads();
}
__global__ void missing_lane_kernel(unsigned* out) {
    if (threadIdx.x != 5) out[threadIdx.x] = __shfl_sync(kAll, threadIdx.x, 0);
}
__global__ void foreign_lane_kernel(unsigned* out) {
    if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xffffu, threadIdx.x, 20);
}
__global__ void outside_mask_kernel(unsigned* out) { out[threadIdx.x] = __ballot_sync(1u, 1); }
__global__ void trap_kernel() {
    if (threadIdx.x == 3) __trap();
}

__global__ void atomics_kernel(unsigned* u, uint64_t* w, double* d, unsigned* order) {
    atomicAdd(u, 2u);
    atomicMax(u + 1, threadIdx.x);
    atomicCAS(u + 2, 0u, threadIdx.x + 1);
    atomicAdd(w, uint64_t{1} << 32);
    atomicAdd(d, 0.5);
    order[atomicAdd(u + 3, 1u)] = threadIdx.x;
}

__global__ void uninitialised_kernel(float* out) {
    __shared__ float fixed[32];
    NNQFT_DYNAMIC_SHARED(float, dynamic);
    out[0] = dynamic[0];
    out[1] = fixed[3];
}

template <class T>
void check_shuffles() {
    constexpr unsigned n = 64;
    std::vector<T> out(6 * n);
    CHECK(launch({1, 1, n}, shuffle_kernel<T>, out.data()) == cudaSuccess);
    for (unsigned i = 0; i < n; ++i) {
        const unsigned warp = i / 32 * 32, l = i % 32;
        const unsigned want[6] = {warp + 3, warp + l / 8 * 8 + (l / 8 + 9) % 8, l < 2 ? i : i - 2, l % 16 == 15 ? i : i + 1, warp + (l ^ 5),
                                  l < 16 ? warp + (l ^ 8) : i};
        for (unsigned k = 0; k < 6; ++k) CHECK(out[6 * i + k] == static_cast<T>(100 + want[k]));
    }
}

}  // namespace

TEST(every_thread_of_a_grid_runs_once) {
    for (const Order order : {Order::forward, Order::reverse, Order::shuffled}) {
        const InOrder in(order, 7);
        for (const unsigned n : {1u, 31u, 256u, 1000u, 3u * 5u * 96u}) {
            std::vector<unsigned> out(n + 1, 0);
            const unsigned per_row = (n + 96 * 5 - 1) / (96 * 5);
            CHECK(launch({per_row, 5, 96}, number_kernel, n, out.data()) == cudaSuccess);
            for (unsigned i = 0; i < n; ++i) CHECK(out[i] == i + 1);
            CHECK(out[n] == 0);
        }
    }
}

TEST(barriers_hold_every_thread_of_a_block) {
    for (const Order order : {Order::forward, Order::reverse, Order::shuffled}) {
        const InOrder in(order, 11);
        for (const unsigned threads : {1u, 2u, 64u, 256u}) {
            std::vector<int64_t> x(4 * threads), out(4);
            std::iota(x.begin(), x.end(), 1);
            CHECK(launch({4, 1, threads}, block_sum_kernel<int64_t>, x.data(), out.data()) == cudaSuccess);
            for (unsigned b = 0; b < 4; ++b) CHECK(out[b] == int64_t{threads} * (2 * b * threads + threads + 1) / 2);
        }
    }
}

TEST(dynamic_shared_memory_serves_a_block) {
    std::vector<double> x(1024);
    std::iota(x.begin(), x.end(), 0.0);
    CHECK(launch({1, 1, 1024, 1024 * sizeof(double)}, reverse_kernel, x.data()) == cudaSuccess);
    for (unsigned i = 0; i < 1024; ++i) CHECK(x[i] == 1023 - i);
}

#if !defined(NNQFT_EMULATION_TSAN)  // it would end the program
TEST(another_order_of_threads_shows_a_race) {
    std::vector<double> first(64), last(64);
    std::iota(first.begin(), first.end(), 0.0);
    last = first;
    CHECK(launch({1, 1, 64, 64 * sizeof(double)}, racing_reverse_kernel, first.data()) == cudaSuccess);
    const InOrder in(Order::reverse);
    CHECK(launch({1, 1, 64, 64 * sizeof(double)}, racing_reverse_kernel, last.data()) == cudaSuccess);
    CHECK(std::memcmp(first.data(), last.data(), 64 * sizeof(double)) != 0);
}
#endif

TEST(shuffles_move_what_the_guide_says) {
    for (const Order order : {Order::forward, Order::reverse, Order::shuffled}) {
        const InOrder in(order, 5);
        check_shuffles<int>();
        check_shuffles<unsigned>();
        check_shuffles<int64_t>();
        check_shuffles<uint64_t>();
        check_shuffles<float>();
        check_shuffles<double>();
    }
}

TEST(votes_count_the_lanes_and_the_threads) {
    std::vector<unsigned> out(640);
    CHECK(launch({1, 1, 64}, vote_kernel, out.data()) == cudaSuccess);
    for (unsigned i = 0; i < 64; ++i) {
        const unsigned warp = i / 32;
        const unsigned want[10] = {0xaaaaaaaau, warp == 0, 1, warp ? 1520u : 496u, warp ? 95u : 31u, (warp ? 63u : 31u) + (warp ? 96u : 64u),
                                   0x11111111u << i % 4, 32, 3, 0};
        for (unsigned k = 0; k < 10; ++k) CHECK(out[10 * i + k] == want[k]);
    }
}

TEST(what_would_hang_a_device_is_an_error_that_names_the_place) {
    std::vector<unsigned> out(64);
    CHECK(failure_says(launch({3, 1, 64}, leave_early_kernel, 40u), "of 64 threads 40 wait at the barrier of leave_early_kernel"));
    CHECK(failure_says(launch({1, 1, 64}, two_barriers_kernel), "threads of one block wait at different barriers, some in two_barriers_kernel"));
    CHECK(failure_says(launch({1, 1, 32}, missing_lane_kernel, out.data()), "31 wait in a shuffle of missing_lane_kernel"));
    CHECK(failure_says(launch({1, 1, 32}, foreign_lane_kernel, out.data()), "reads lane 20, which is not in the mask"));
    CHECK(failure_says(launch({1, 1, 32}, outside_mask_kernel, out.data()), "is not in its own mask"));
    CHECK(failure_says(launch({1, 1, 16}, missing_lane_kernel, out.data()), "the warp has 16 threads, the mask more"));
    CHECK(failure_says(launch({2, 1, 32}, trap_kernel), "block (0, 0): trap_kernel ("));
    CHECK(launch({1, 1, 64}, leave_early_kernel, 64u) == cudaSuccess);  // and the next launch is none the worse
}

TEST(grids_beyond_the_limits_of_a_device_are_refused) {
    std::vector<double> x(64);
    CHECK(launch({1, 1, 1025}, number_kernel, 0u, static_cast<unsigned*>(nullptr)) == cudaErrorInvalidConfiguration);
    CHECK(launch({1, 1, 0}, number_kernel, 0u, static_cast<unsigned*>(nullptr)) == cudaErrorInvalidConfiguration);
    CHECK(launch({1, 65536, 1}, number_kernel, 0u, static_cast<unsigned*>(nullptr)) == cudaErrorInvalidConfiguration);
    CHECK(launch({0, 1, 32}, number_kernel, 0u, static_cast<unsigned*>(nullptr)) == cudaSuccess);
    CHECK(launch({1, 1, 64, 100 << 10}, reverse_kernel, x.data()) == cudaErrorInvalidValue);
    CHECK(allow_shared(reverse_kernel, 228 << 10) == cudaErrorInvalidValue);
    CHECK(allow_shared(reverse_kernel, 100 << 10) == cudaSuccess);
    CHECK(launch({1, 1, 64, 100 << 10}, reverse_kernel, x.data()) == cudaSuccess);
    CHECK(cudaGetLastError() == cudaErrorInvalidValue);
    CHECK(cudaGetLastError() == cudaSuccess);
}

TEST(atomics_add_up_in_any_order) {
    unsigned first[2] = {};
    for (const Order order : {Order::forward, Order::reverse}) {
        const InOrder in(order);
        unsigned u[4] = {}, places[128] = {};
        uint64_t w = 1;
        double d = 1.0;
        CHECK(launch({1, 1, 128}, atomics_kernel, u, &w, &d, places) == cudaSuccess);
        CHECK(u[0] == 256 && u[1] == 127 && u[3] == 128 && w == (uint64_t{128} << 32) + 1 && d == 65.0);
        first[order == Order::reverse] = places[0];
    }
    CHECK(first[0] == 0 && first[1] == 127);
}

TEST(shared_memory_starts_full_of_nan) {
    float out[2] = {};
    CHECK(launch({1, 1, 1, 64}, uninitialised_kernel, out) == cudaSuccess);
    CHECK(std::isnan(out[0]));
#if !NNQFT_EMULATION_SHARED_IS_PLAIN
    CHECK(std::isnan(out[1]));
#endif
}

TEST(bits_are_counted_as_the_guide_says) {
    CHECK(__popc(0xf0f0u) == 8 && __popcll(~0ull) == 64 && __ffs(8) == 4 && __ffs(0) == 0 && __ffsll(1ll << 40) == 41);
    CHECK(__clz(0) == 32 && __clz(1) == 31 && __clzll(1) == 63 && __brev(1u) == 0x80000000u && __brevll(2ull) == 1ull << 62);
    CHECK(__umulhi(0xffffffffu, 0xffffffffu) == 0xfffffffeu && __umul64hi(~0ull, ~0ull) == ~0ull - 1);
    CHECK(__funnelshift_l(0x80000000u, 1u, 1) == 3u && __funnelshift_r(2u, 1u, 1) == 0x80000001u && __byte_perm(0x33221100u, 0x77665544u, 0x7410u) == 0x77441100u);
    CHECK(__hiloint2double(__double2hiint(-1.5), __double2loint(-1.5)) == -1.5 && __int_as_float(__float_as_int(2.5f)) == 2.5f);
}

TEST(launches_from_several_host_threads_take_turns) {
    std::vector<std::thread> workers;
    std::vector<int> right(4);
    for (unsigned t = 0; t < 4; ++t)
        workers.emplace_back([t, &right] {
            for (int repeat = 0; repeat < 20; ++repeat) {
                std::vector<int64_t> x(256, t), out(1);
                right[t] += launch({1, 1, 256}, block_sum_kernel<int64_t>, x.data(), out.data()) == cudaSuccess && out[0] == 256 * int64_t{t};
            }
        });
    for (auto& worker : workers) worker.join();
    for (const int n : right) CHECK(n == 20);
}

CHECK_MAIN()

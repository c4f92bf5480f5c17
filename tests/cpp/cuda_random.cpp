// Random numbers as a device draws them, emulated, against the maths of csrc/core one lane at a time: the same bits.
#include "cuda/core/random.hpp"

#include <cstdint>
#include <vector>

#include "check.hpp"
#include "core/normal.hpp"
#include "core/philox.hpp"
#include "emulation.hpp"

namespace {

using nnqft::emulation::Order;

struct Request {
    uint64_t seed;
    uint32_t tensor;
    uint64_t first_net, n_nets, rows, columns;
    uint64_t size() const { return n_nets * rows * columns; }
};

// Rows that are no multiple of 4, net numbers across 2^32, the last net and tensor, more blocks than the grid has threads.
constexpr Request kRequests[] = {
    {0, 0, 0, 1, 4, 1},
    {1, 1, 0, 33, 7, 5},
    {~uint64_t{0}, 65535, (uint64_t{1} << 48) - 17, 17, 1, 129},
    {3, 9, (uint64_t{1} << 32) - 16, 32, 13, 3},
    {5, 4, 7, 3, 1021, 257},
    {6, 5, 1, 2, 4099, 1031},  // chunks of two blocks of rows, the last one short
};

void words_of(const Request& r, uint64_t net, uint64_t row, uint64_t column, uint32_t out[4]) {
    const uint64_t n = r.first_net + net;
    const uint32_t counter[4] = {static_cast<uint32_t>(column), static_cast<uint32_t>(row / 4), static_cast<uint32_t>(n),
                                 static_cast<uint32_t>(n >> 32) + (r.tensor << 16)};
    nnqft::philox(counter, r.seed, out);
}

template <class Body>
void for_elements(const Request& r, const Body& body) {
    uint64_t i = 0;
    for (uint64_t net = 0; net < r.n_nets; ++net)
        for (uint64_t row = 0; row < r.rows; ++row)
            for (uint64_t column = 0; column < r.columns; ++column) body(net, row, column, i++);
}

}  // namespace

TEST(words_are_philox_of_the_documented_counter_whatever_the_order_of_the_threads) {
    for (const Order order : {Order::forward, Order::reverse, Order::shuffled}) {
        nnqft::emulation::set_order(order, 3);
        for (const Request& r : kRequests) {
            if (r.size() > 1 << 22 && order != Order::reverse) continue;
            std::vector<uint32_t> got(r.size() + 1, 0xabababab);
            CHECK(nnqft::cuda::philox_words(r.seed, r.tensor, r.first_net, r.n_nets, r.rows, r.columns, got.data(), nullptr) == cudaSuccess);
            uint64_t wrong = 0;
            for_elements(r, [&](uint64_t net, uint64_t row, uint64_t column, uint64_t i) {
                uint32_t want[4];
                words_of(r, net, row, column, want);
                wrong += got[i] != want[row % 4];
            });
            CHECK(wrong == 0);
            CHECK(got[r.size()] == 0xabababab);
        }
    }
    nnqft::emulation::set_order(Order::forward);
}

TEST(normals_are_those_of_the_cpu_to_the_last_bit) {
    for (const float sigma : {1.0f, 0.37f, 0.0f, 1e-42f}) {
        for (const Request& r : kRequests) {
            if (r.size() > 1 << 22 && sigma != 0.37f) continue;
            std::vector<float> got(r.size());
            CHECK(nnqft::cuda::normals(r.seed, r.tensor, r.first_net, r.n_nets, r.rows, r.columns, sigma, got.data(), nullptr) == cudaSuccess);
            uint64_t wrong = 0;
            for_elements(r, [&](uint64_t net, uint64_t row, uint64_t column, uint64_t i) {
                uint32_t w[4];
                words_of(r, net, row, column, w);
                float z[2];
                const unsigned pair = row % 4 / 2;
                nnqft::normal_pair(w[2 * pair], w[2 * pair + 1], sigma, z[0], z[1]);
                wrong += nnqft::bits(got[i]) != nnqft::bits(z[row % 2]);
            });
            CHECK(wrong == 0);
        }
    }
}

TEST(every_row_of_a_fill_belongs_to_one_thread) {
    const uint64_t sizes[] = {0, 1, 3, 4, 5, 63, 64, 65, 1021, 1 << 20, uint64_t{1} << 32};
    for (const uint64_t nets : sizes)
        for (const uint64_t rows : sizes)
            for (const uint64_t columns : sizes) {
                if (static_cast<double>(nets) * static_cast<double>(rows) * static_cast<double>(columns) > 1e18) continue;
                const nnqft::cuda::FillPlan p = nnqft::cuda::fill_plan(nets, rows, columns);
                const uint64_t groups = (rows + 3) / 4;
                CHECK(p.items == nets * p.chunks * columns || nets * groups * columns == 0);
                CHECK((p.blocks == 0) == (nets * groups * columns == 0));
                if (p.blocks == 0) continue;
                CHECK(p.chunk >= 1 && p.chunk <= 16 && p.chunks * p.chunk >= groups && (p.chunks - 1) * p.chunk < groups);
                CHECK(p.blocks <= nnqft::cuda::kFillMaxBlocks && (p.blocks == nnqft::cuda::kFillMaxBlocks || uint64_t{p.blocks} * nnqft::cuda::kFillThreads >= p.items));
                CHECK(p.chunk == 1 || p.items >= nnqft::cuda::kFillEnough / 2);  // long chunks only where there are threads enough
            }
}

TEST(no_net_no_row_or_no_column_is_no_work) {
    for (const Request& r : {Request{0, 0, 0, 0, 3, 4}, Request{0, 0, 0, 2, 0, 4}, Request{0, 0, 0, 2, 3, 0}})
        CHECK(nnqft::cuda::philox_words(r.seed, r.tensor, r.first_net, r.n_nets, r.rows, r.columns, nullptr, nullptr) == cudaSuccess);
}

CHECK_MAIN()

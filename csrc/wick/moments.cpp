#include "wick/moments.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <string>

#include "core/error.hpp"
#include "core/exact_sum.hpp"
#include "core/isa.hpp"
#include "core/parallel.hpp"
#include "wick/multiset.hpp"

#if __has_include(<unistd.h>)
#include <unistd.h>
#endif

namespace nnqft {
namespace {

constexpr std::int64_t kBlock = 4096;  // of moment_sums()
constexpr double kUnit = 1e7;          // multiply-adds, 0.5 ms
constexpr double kInline = 1e8;        // below that many nobody waits long enough for signals to matter

constexpr std::uint64_t bits_of_power(int exponent) { return static_cast<std::uint64_t>(exponent + 1023) << 52; }  // of 2
constexpr std::uint64_t kSmall = bits_of_power(-100), kLarge = bits_of_power(100), kInfinite = bits_of_power(1024);

MomentKernels kernels() {
    switch (resolve_isa("")) {
#if defined(NNQFT_X86)
        case Isa::avx512: return avx512::moment_kernels();
        case Isa::avx2: return avx2::moment_kernels();
#endif
        default: return scalar::moment_kernels();
    }
}

// Stripes that begin on a cache line: loads that span two lines take twice as long.
class Stripes {
public:
    explicit Stripes(std::int64_t count)
        : data_(static_cast<double*>(::operator new(static_cast<std::size_t>(count * kMomentStride) * sizeof(double), std::align_val_t{64}))) {}
    double* operator()(std::int64_t number) const noexcept { return data_.get() + number * kMomentStride; }

private:
    struct Free {
        void operator()(double* data) const { ::operator delete(data, std::align_val_t{64}); }
    };
    std::unique_ptr<double, Free> data_;
};

}  // namespace

MomentSamples MomentSamples::slice(std::int64_t first, std::int64_t n) const noexcept {
    MomentSamples part = *this;
    part.rows.data += first * rows.row_step;
    if (weights.data != nullptr) part.weights.data += first * weights.row_step;
    part.count = n;
    return part;
}

double value_of(const MomentRows& rows, std::int64_t row, std::int64_t col) {
    const unsigned char* const at = rows.data + row * rows.row_step + col * rows.col_step;
    double x;
    float narrow;
    if (rows.float32) std::memcpy(&narrow, at, sizeof narrow);
    else std::memcpy(&x, at, sizeof x);
    return rows.float32 ? static_cast<double>(narrow) : x;
}

void check_moment_memory(std::int64_t m, const std::vector<int>& orders, unsigned threads, double bytes_per_sum) {
    const double n_sums = static_cast<double>(MomentPlan::count_sums(m, orders));
    if (orders.empty()) throw ArgumentError("no order of moments was asked for");
    const int top = *std::max_element(orders.begin(), orders.end());
    const double stripes = 2.0 * static_cast<double>(1 + m + (top > 4 ? multiset_count(m, 2) : 0));
    const double need = n_sums * (bytes_per_sum + 12.0) + threads * stripes * kMomentStride * sizeof(double);
#if defined(_SC_PHYS_PAGES)
    const double have = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
#else
    const double have = 0x1p44;
#endif
    if (need <= have) return;
    const auto gigabytes = [](double bytes) { return std::to_string(static_cast<long long>(std::ceil(bytes / 1e9))) + " GB"; };
    throw ArgumentError("moments of " + std::to_string(m) + " fields up to order " + std::to_string(top) + " are " +
                        std::to_string(static_cast<long long>(n_sums)) + " sums, which take about " + gigabytes(need) +
                        " of memory, and this machine has " + gigabytes(have) + ": take fewer fields or a lower order");
}

// One thread's stripes, and what it does with a panel.
class MomentBlocks::Worker {
public:
    Worker(const MomentBlocks& owner, bool weighted)
        : k_(owner.kernels_), plan_(owner.plan_), weighted_(weighted), right_(plan_.n_stripes()), left_(weighted ? plan_.n_stripes() : 0),
          columns_(kMomentColumns), largest_(static_cast<std::size_t>(plan_.m() + 1)) {}

    // Adds the sums over at most 256 samples for chunks first .. last - 1, counted through all orders. False if
    // stopped. `bad`: the first sample that is not finite; nothing is summed then.
    bool panel(const MomentSamples& samples, std::int64_t first, std::int64_t last, double* sums, std::int64_t* bad, const StopFlag& stop) {
        const int count = static_cast<int>(samples.count);
        steps_ = (count + kMomentLanes - 1) / kMomentLanes;
        double* ones = right_(0);
        std::fill(ones, ones + count, 1.0);
        std::fill(ones + count, ones + kMomentLanes * steps_, 0.0);
        k_.pack(samples.rows, count, plan_.m(), field(0), largest_.data());
        if (weighted_) k_.pack(samples.weights, count, 1, left_(0), &largest_.back());

        const Range range = measure();
        *bad = range.finite ? -1 : first_bad(count);
        if (*bad >= 0) return true;
        if (range.extreme) scale();
        multiply();
        if (range.extreme) scaled_.assign(static_cast<std::size_t>(plan_.n_sums()), 0.0);
        for (const MomentPart& part : plan_.parts()) {
            if (part.order == 0 && !weighted_) {  // the number of samples
                if (first <= 0 && last > 0) sums[part.offset] += count;
                --first, --last;
                continue;
            }
            const MomentRun run = make_run(part, range.extreme ? scaled_.data() : sums);
            const auto chunks = static_cast<std::int64_t>(part.chunks.size());
            for (std::int64_t c = std::max<std::int64_t>(first, 0); c < std::min(last, chunks); ++c) {
                if (stop.raised()) return false;
                const MomentChunk& chunk = part.chunks[static_cast<std::size_t>(c)];
                k_.chunk(run, chunk);
                if (range.extreme) unscale(part, chunk, sums + part.offset);
            }
            first -= chunks;
            last -= chunks;
        }
        return true;
    }

private:
    struct Range {
        bool finite, extreme;
    };

    double* field(std::int64_t i) const { return right_(1 + i); }

    Range measure() const {
        Range range{true, false};
        for (const std::uint64_t top : largest_) {
            range.finite &= top < kInfinite;
            range.extreme |= top != 0 && (top < kSmall || top >= kLarge);
        }
        return range;
    }

    std::int64_t first_bad(int count) const {
        for (int s = 0; s < count; ++s) {
            bool finite = !weighted_ || std::isfinite(left_(0)[s]);
            for (std::int64_t i = 0; i < plan_.m(); ++i) finite = finite && std::isfinite(field(i)[s]);
            if (!finite) return s;
        }
        return -1;
    }

    // Every column, and the weights, into [1/2, 1) by powers of two; their exponents, and those of all stripes.
    void scale() {
        const auto scale_stripe = [&](double* column) {
            double largest = 0.0;
            for (int s = 0; s < kMomentLanes * steps_; ++s) largest = std::max(largest, std::fabs(column[s]));
            int exponent = 0;
            std::frexp(largest, &exponent);
            for (int s = 0; s < kMomentLanes * steps_; ++s) column[s] = std::ldexp(column[s], -exponent);
            return exponent;
        };
        exponent_.assign(1, 0);
        for (std::int64_t i = 0; i < plan_.m(); ++i) exponent_.push_back(scale_stripe(field(i)));
        const std::vector<int> fields = exponent_;
        if (plan_.needs_pairs())
            for (auto a = fields.begin() + 1; a < fields.end(); ++a)
                for (auto b = a; b < fields.end(); ++b) exponent_.push_back(*a + *b);
        left_exponent_ = exponent_;
        const int weights = weighted_ ? scale_stripe(left_(0)) : 0;
        for (int& e : left_exponent_) e += weights;
    }

    // The stripes besides 1 and the fields themselves: f_i f_j, and all of them times the weights.
    void multiply() const {
        const std::int64_t m = plan_.m();
        std::int64_t out = 1 + m;
        if (plan_.needs_pairs())
            for (std::int64_t i = 0; i < m; out += m - i, ++i) k_.products(field(i), field(i), right_(out), m - i, steps_);
        if (weighted_) k_.products(left_(0), right_(1), left_(1), out - 1, steps_);
    }

    // Adds the sums over scaled fields that a chunk gave.
    void unscale(const MomentPart& part, const MomentChunk& chunk, double* sums) const {
        const auto exponent = [](const std::vector<int>& of, const std::vector<std::int32_t>& place, std::int32_t number) {
            return of[static_cast<std::size_t>(place[static_cast<std::size_t>(number)] / kMomentStride)];
        };
        for (std::int64_t t = chunk.first_tile; t < chunk.last_tile; ++t) {
            const MomentTile& tile = part.tiles[static_cast<std::size_t>(t)];
            for (std::int32_t row = tile.row; row < tile.row + tile.rows; ++row) {
                const int of_row = exponent(left_exponent_, part.row_left, row) + exponent(exponent_, part.row_right, row);
                for (std::int32_t col = chunk.col + tile.col; col < chunk.col + tile.col + tile.cols; ++col) {
                    const int of_col = exponent(exponent_, part.col_one, col) + exponent(exponent_, part.col_two, col);
                    const std::int64_t at = part.row_out[static_cast<std::size_t>(row)] + col;
                    sums[at] += std::ldexp(scaled_[static_cast<std::size_t>(part.offset + at)], of_row + of_col);
                }
            }
        }
    }

    MomentRun make_run(const MomentPart& part, double* sums) const {
        MomentRun run;
        run.left = (weighted_ ? left_ : right_)(0);
        run.right = right_(0);
        run.row_left = part.row_left.data();
        run.row_right = part.row_right.data();
        run.col_one = part.col_one.data();
        run.col_two = part.col_two.data();
        run.tiles = part.tiles.data();
        run.row_out = part.row_out.data();
        run.steps = steps_;
        run.columns = columns_(0);
        run.out = sums + part.offset;
        return run;
    }

    const MomentKernels& k_;
    const MomentPlan& plan_;
    const bool weighted_;
    int steps_ = 0;
    Stripes right_, left_, columns_;             // 1, fields, pairs; with the weights; room for a chunk
    std::vector<std::uint64_t> largest_;         // of each field, and of the weights
    std::vector<int> exponent_, left_exponent_;  // of the stripes, if they were scaled
    std::vector<double> scaled_;                 // sums over scaled fields
};

MomentBlocks::MomentBlocks(std::int64_t m, const std::vector<int>& orders) : kernels_(kernels()), plan_(m, orders, kernels_) {}

std::int64_t MomentBlocks::batch() const noexcept { return std::max<std::int64_t>(1, (1 << 20) / n_sums()); }

bool MomentBlocks::run(const MomentSamples& samples, std::int64_t block, unsigned threads, double* sums, std::int64_t* bad,
                       const MomentPoll& poll) const {
    if (threads < 1 || threads > kMaxThreads)
        throw ArgumentError("threads is " + std::to_string(threads) + "; expected 1 to " + std::to_string(kMaxThreads));
    const std::int64_t n_blocks = (samples.count + block - 1) / block;
    if (n_blocks == 0) return true;
    const double work = static_cast<double>(samples.count) * static_cast<double>(n_sums() + 4 * plan_.n_stripes());
    if (work < 2 * kUnit) threads = 1;

    // Units: groups of blocks, or where blocks are few and large, parts of the chunks of one.
    std::int64_t chunks = 0;
    for (const MomentPart& part : plan_.parts()) chunks += static_cast<std::int64_t>(part.chunks.size());
    const std::int64_t one = 1, wanted = threads == 1 ? 1 : 8 * static_cast<std::int64_t>(threads);
    const std::int64_t most_parts = std::clamp(n_sums() / (32 * plan_.n_stripes()), one, chunks);  // stripes are formed in each
    const std::int64_t parts = std::clamp(wanted / n_blocks, one, most_parts);
    const auto blocks_per_unit = static_cast<std::int64_t>(static_cast<double>(n_blocks) * kUnit / work);
    const std::int64_t group = std::clamp(blocks_per_unit, one, std::max(one, n_blocks / wanted));
    const std::int64_t groups = (n_blocks + group - 1) / group, units = groups * parts;

    if (parts > 1) std::fill(sums, sums + n_blocks * n_sums(), 0.0);
    std::atomic<std::int64_t> done{0};  // samples times parts
    std::vector<Worker> workers;
    for (std::int64_t w = 0; w < std::min<std::int64_t>(threads, units); ++w) workers.emplace_back(*this, samples.weights.data != nullptr);
    const auto work_on = [&](std::uint64_t unit, unsigned worker, const StopFlag& stop) {
        const std::int64_t part = static_cast<std::int64_t>(unit) % parts, g = static_cast<std::int64_t>(unit) / parts;
        const std::int64_t first = chunks * part / parts, last = chunks * (part + 1) / parts;
        for (std::int64_t b = g * group; b < std::min(n_blocks, (g + 1) * group); ++b) {
            const std::int64_t end = std::min(samples.count, (b + 1) * block);
            double* const to = sums + b * n_sums();
            if (parts == 1) std::fill(to, to + n_sums(), 0.0);  // in this thread's cache
            std::int64_t bad_sample = -1;
            for (std::int64_t r = b * block; r < end && bad_sample < 0; r += kMomentPanel) {
                const MomentSamples panel = samples.slice(r, std::min<std::int64_t>(kMomentPanel, end - r));
                if (!workers[worker].panel(panel, first, last, to, &bad_sample, stop)) return;
                if (bad_sample >= 0) bad_sample += r - b * block;
            }
            if (part == 0) bad[b] = bad_sample;
            done += end - b * block;
        }
    };
    if (threads == 1 && work < kInline) {
        const FpEnvironment environment;
        const StopFlag never;
        for (std::int64_t unit = 0; unit < units; ++unit) work_on(static_cast<std::uint64_t>(unit), 0, never);
        return true;
    }
    const auto poll_done = [&] { return !poll || poll(static_cast<std::uint64_t>(done / parts)); };
    return run_blocks(0, static_cast<std::uint64_t>(units), threads, work_on, poll_done);
}

std::int64_t moment_sums(const MomentSamples& samples, std::int64_t m, const std::vector<int>& orders, unsigned threads, double* out,
                         const MomentPoll& poll) {
    check_moment_memory(m, orders, threads, 7 * sizeof(double));
    const MomentBlocks blocks(m, orders);
    const std::size_t n_sums = static_cast<std::size_t>(blocks.n_sums());
    ExactSums total(n_sums);
    const std::int64_t batch = std::min(blocks.batch(), samples.count / kBlock + 1);
    const std::unique_ptr<double[]> sums(new double[n_sums * static_cast<std::size_t>(batch)]);
    std::vector<std::int64_t> bad(static_cast<std::size_t>(batch));
    for (std::int64_t first = 0; first < samples.count; first += batch * kBlock) {
        const MomentSamples part = samples.slice(first, std::min(batch * kBlock, samples.count - first));
        const auto poll_part = [&](std::uint64_t done) { return !poll || poll(static_cast<std::uint64_t>(first) + done); };
        if (first > 0) poll_part(0);  // batches may be shorter than the time between two polls
        if (!blocks.run(part, kBlock, threads, sums.get(), bad.data(), poll_part))
            throw StateError("the process is ending: the moments were not computed");
        for (std::int64_t b = 0; b * kBlock < part.count; ++b) {
            std::int64_t first_bad = bad[static_cast<std::size_t>(b)];
            if (first_bad < 0 && !total.add(sums.get() + static_cast<std::size_t>(b) * n_sums)) first_bad = 0;
            if (first_bad < 0) continue;
            std::fill(out, out + n_sums, std::numeric_limits<double>::quiet_NaN());
            return first + b * kBlock + first_bad;
        }
    }
    total.round(out);
    return -1;
}

}  // namespace nnqft

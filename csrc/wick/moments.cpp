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

constexpr std::int64_t kBlock = 4096;                     // of moment_sums()
constexpr std::ptrdiff_t kStride = kMomentPanel + kMomentLanes;  // 2 KiB stripes would share cache sets
constexpr std::int64_t kTilesPerLook = 2048;              // at the stop flag: 13 M multiply-adds at most
constexpr double kInline = 1e7;                           // multiply-adds below which no thread is started, 0.5 ms

constexpr std::uint64_t twice_bits(int exponent) { return static_cast<std::uint64_t>(exponent + 1023) << 53; }  // of 2^exponent
constexpr std::uint64_t kSmall = twice_bits(-100), kLarge = twice_bits(100), kInfinite = twice_bits(1024);

MomentKernels kernels() {
    switch (resolve_isa("")) {
#if defined(NNQFT_X86)
        case Isa::avx512: return avx512::moment_kernels();
        case Isa::avx2: return avx2::moment_kernels();
#endif
        default: return scalar::moment_kernels();
    }
}

// Stripes of kStride doubles that begin on a cache line; a load that spans two lines takes twice as long.
class Stripes {
public:
    explicit Stripes(std::int64_t count)
        : data_(static_cast<double*>(::operator new(static_cast<std::size_t>(count * kStride) * sizeof(double), std::align_val_t{64}))) {}
    double* operator()(std::int64_t number) const noexcept { return data_.get() + number * kStride; }

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
    double stripes = 0.0;
    for (int q = 0; 2 * q <= *std::max_element(orders.begin(), orders.end()) + 1; ++q) stripes += 2.0 * static_cast<double>(multiset_count(m, q));
    const double need = n_sums * (bytes_per_sum + 12.0) + threads * stripes * kStride * sizeof(double);
#if defined(_SC_PHYS_PAGES)
    const double have = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
#else
    const double have = 0x1p44;
#endif
    if (need <= have) return;
    const auto gigabytes = [](double bytes) { return std::to_string(static_cast<long long>(std::ceil(bytes / 1e9))) + " GB"; };
    throw ArgumentError("moments of " + std::to_string(m) + " fields up to order " + std::to_string(*std::max_element(orders.begin(), orders.end())) +
                        " are " + std::to_string(static_cast<long long>(n_sums)) + " sums, which take about " + gigabytes(need) +
                        " of memory, and this machine has " + gigabytes(have) + ": take fewer fields or a lower order");
}

// One thread's stripes, and what it does with a panel.
class MomentBlocks::Worker {
public:
    Worker(const MomentBlocks& owner, bool weighted)
        : k_(owner.kernels_), plan_(owner.plan_), weighted_(weighted), right_(plan_.right().size()), left_(weighted ? plan_.left().size() : 0) {}

    // Writes or adds the sums over at most 256 samples that tiles first .. last - 1 give. False if stopped. `bad`: the first
    // sample that is not finite; nothing is summed then.
    bool panel(const MomentSamples& samples, std::int64_t first, std::int64_t last, bool add, double* sums, std::int64_t* bad, const StopFlag& stop) {
        const int count = static_cast<int>(samples.count);
        steps_ = (count + kMomentLanes - 1) / kMomentLanes;
        double* ones = right_(0);
        std::fill(ones, ones + count, 1.0);
        std::fill(ones + count, ones + kMomentLanes * steps_, 0.0);
        k_.pack(samples.rows, count, plan_.m(), field(0), kStride);
        if (weighted_) k_.pack(samples.weights, count, 1, left_(0), kStride);

        const Range range = measure();
        *bad = range.finite ? -1 : first_bad(count);
        if (*bad >= 0) return true;
        if (range.extreme) scale();
        multiply();
        for (const MomentPart& part : plan_.parts()) {
            MomentTileRun run = tile_run(part, range.extreme);
            run.out = sums + part.offset;
            run.add = add;
            const std::int64_t tiles = static_cast<std::int64_t>(part.tiles.size()), end = std::min(last, tiles);
            for (std::int64_t t = std::max<std::int64_t>(first, 0); t < end; t += kTilesPerLook) {
                if (stop.raised()) return false;
                k_.tiles(run, part.tiles.data() + t, std::min(kTilesPerLook, end - t));
            }
            first -= tiles;
            last -= tiles;
        }
        return true;
    }

private:
    struct Range {
        bool finite, extreme;
    };

    double* field(std::int64_t i) const { return right_(1 + i); }

    Range measure() {
        Range range{true, false};
        const auto look = [&](const double* column) {
            const std::uint64_t top = k_.largest(column, steps_);
            range.finite &= top < kInfinite;
            range.extreme |= top != 0 && (top < kSmall || top >= kLarge);
        };
        for (std::int64_t i = 0; i < plan_.m(); ++i) look(field(i));
        if (weighted_) look(left_(0));
        return range;
    }

    std::int64_t first_bad(int count) {
        for (int s = 0; s < count; ++s) {
            bool finite = !weighted_ || std::isfinite(left_(0)[s]);
            for (std::int64_t i = 0; i < plan_.m(); ++i) finite = finite && std::isfinite(field(i)[s]);
            if (!finite) return s;
        }
        return -1;
    }

    // Every column, and the weights, into [1/2, 1] by powers of two; their exponents, and those of all products.
    void scale() {
        const auto scale_stripe = [&](double* column) {
            double largest = 0.0;
            for (int s = 0; s < kMomentLanes * steps_; ++s) largest = std::max(largest, std::fabs(column[s]));
            int exponent = 0;
            std::frexp(largest, &exponent);
            for (int s = 0; s < kMomentLanes * steps_; ++s) column[s] = std::ldexp(column[s], -exponent);
            return exponent;
        };
        std::vector<int> field_exponent;
        for (std::int64_t i = 0; i < plan_.m(); ++i) field_exponent.push_back(scale_stripe(field(i)));
        const auto fill = [&](const StripePyramid& p, std::vector<int>& exponent, int of_nothing) {
            exponent.assign(1, of_nothing);
            for (const StripeProducts& x : p.products)
                for (std::int64_t s = 0; s < x.count; ++s)
                    exponent.push_back(exponent[static_cast<std::size_t>(x.in + s)] + field_exponent[static_cast<std::size_t>(x.factor)]);
        };
        fill(plan_.right(), right_exponent_, 0);
        if (weighted_) fill(plan_.left(), left_exponent_, scale_stripe(left_(0)));
    }

    void multiply() {
        const auto fill = [&](const StripePyramid& p, const Stripes& stripes, std::int64_t lowest) {
            for (const StripeProducts& x : p.products)
                if (x.out >= lowest)
                    k_.products(field(x.factor), stripes(x.in), stripes(x.out), kStride, x.count, steps_);
        };
        fill(plan_.right(), right_, 1 + plan_.m());  // 1 and the fields themselves are there
        if (weighted_) fill(plan_.left(), left_, 1);
    }

    MomentTileRun tile_run(const MomentPart& part, bool scaled) {
        MomentTileRun run;
        const std::int64_t left = (weighted_ ? plan_.left() : plan_.right()).first[static_cast<std::size_t>(part.left_order)],
                           right = plan_.right().first[static_cast<std::size_t>(part.right_order)];
        run.left = (weighted_ ? left_ : right_)(left);
        run.right = right_(right);
        run.stride = kStride;
        run.row_stripe = part.row_stripe.data();
        run.row_out = part.row_out.data();
        run.steps = steps_;
        if (scaled) {
            run.left_exponent = (weighted_ ? left_exponent_ : right_exponent_).data() + left;
            run.right_exponent = right_exponent_.data() + right;
        }
        return run;
    }

    const MomentKernels& k_;
    const MomentPlan& plan_;
    const bool weighted_;
    int steps_ = 0;
    Stripes right_, left_;  // the pyramids; the first stripe is 1, or the weights
    std::vector<int> right_exponent_, left_exponent_;
};

MomentBlocks::MomentBlocks(std::int64_t m, const std::vector<int>& orders) : kernels_(kernels()), plan_(m, orders, kernels_) {}

std::int64_t MomentBlocks::batch() const noexcept { return std::max<std::int64_t>(1, (1 << 20) / n_sums()); }

bool MomentBlocks::run(const MomentSamples& samples, std::int64_t block, unsigned threads, double* sums, std::int64_t* bad,
                       const MomentPoll& poll) const {
    const std::int64_t n_blocks = (samples.count + block - 1) / block;
    const bool weighted = samples.weights.data != nullptr;
    const double stripes = static_cast<double>(plan_.right().size() + (weighted ? plan_.left().size() : 0));
    const double work = static_cast<double>(samples.count) * (static_cast<double>(n_sums()) + 4.0 * stripes);
    if (work < kInline) threads = 1;

    // Units: groups of blocks, or where blocks are few and large, parts of the tiles of one.
    const std::int64_t wanted = threads == 1 ? 1 : 8 * static_cast<std::int64_t>(threads);
    const std::int64_t parts = std::clamp<std::int64_t>(wanted / std::max<std::int64_t>(n_blocks, 1), 1, 1 + static_cast<std::int64_t>(static_cast<double>(n_sums()) / (32 * stripes)));
    const std::int64_t group = std::clamp<std::int64_t>(static_cast<std::int64_t>(static_cast<double>(n_blocks) * kInline / work), 1, std::max<std::int64_t>(1, n_blocks / wanted));
    const std::int64_t groups = (n_blocks + group - 1) / group;

    std::atomic<std::int64_t> done{0};  // samples times parts
    std::vector<Worker> workers;
    for (unsigned t = 0; t < threads; ++t) workers.emplace_back(*this, weighted);
    const auto work_on = [&](std::uint64_t unit, unsigned worker, const StopFlag& stop) {
        const std::int64_t part = static_cast<std::int64_t>(unit) % parts, g = static_cast<std::int64_t>(unit) / parts;
        const std::int64_t first = plan_.n_tiles() * part / parts, last = plan_.n_tiles() * (part + 1) / parts;
        for (std::int64_t b = g * group; b < std::min(n_blocks, (g + 1) * group); ++b) {
            const std::int64_t end = std::min(samples.count, (b + 1) * block);
            std::int64_t bad_sample = -1;
            for (std::int64_t r = b * block; r < end && bad_sample < 0; r += kMomentPanel) {
                const MomentSamples panel = samples.slice(r, std::min<std::int64_t>(kMomentPanel, end - r));
                if (!workers[worker].panel(panel, first, last, r > b * block, sums + b * n_sums(), &bad_sample, stop)) return;
                if (bad_sample >= 0) bad_sample += r - b * block;
            }
            if (part == 0) bad[b] = bad_sample;
            done += end - b * block;
        }
    };
    if (work < kInline) {
        const FpEnvironment environment;
        const StopFlag never;
        for (std::int64_t unit = 0; unit < groups * parts; ++unit) work_on(static_cast<std::uint64_t>(unit), 0, never);
        return true;
    }
    return run_blocks(0, static_cast<std::uint64_t>(groups * parts), threads, work_on,
                      [&] { return !poll || poll(static_cast<std::uint64_t>(done / parts)); });
}

std::int64_t moment_sums(const MomentSamples& samples, std::int64_t m, const std::vector<int>& orders, unsigned threads, double* out,
                         const MomentPoll& poll) {
    check_moment_memory(m, orders, threads, 7 * sizeof(double));
    const MomentBlocks blocks(m, orders);
    const std::size_t n_sums = static_cast<std::size_t>(blocks.n_sums());
    ExactSums total(n_sums);
    const std::int64_t batch = blocks.batch();
    std::vector<double> sums(n_sums * static_cast<std::size_t>(std::min(batch, samples.count / kBlock + 1)));
    std::vector<std::int64_t> bad(static_cast<std::size_t>(batch));
    for (std::int64_t first = 0; first < samples.count; first += batch * kBlock) {
        const MomentSamples part = samples.slice(first, std::min(batch * kBlock, samples.count - first));
        const auto poll_part = [&](std::uint64_t done) { return !poll || poll(static_cast<std::uint64_t>(first) + done); };
        if (first > 0) poll_part(0);  // batches may be shorter than the time between two polls
        if (!blocks.run(part, kBlock, threads, sums.data(), bad.data(), poll_part))
            throw StateError("the process is ending: the moments were not computed");
        for (std::int64_t b = 0; b * kBlock < part.count; ++b) {
            std::int64_t first_bad = bad[static_cast<std::size_t>(b)];
            if (first_bad < 0 && !total.add(sums.data() + static_cast<std::size_t>(b) * n_sums)) first_bad = 0;
            if (first_bad < 0) continue;
            std::fill(out, out + n_sums, std::numeric_limits<double>::quiet_NaN());
            return first + b * kBlock + first_bad;
        }
    }
    total.round(out);
    return -1;
}

}  // namespace nnqft

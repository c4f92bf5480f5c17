#include "core/exact_sum.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "core/error.hpp"
#include "core/isa.hpp"
#include "core/parallel.hpp"

namespace nnqft {
namespace {

constexpr std::int64_t kLimb = std::int64_t{1} << 32;  // one unit of the next plane
constexpr std::int64_t kPayload = kLimb - 1;
constexpr std::int64_t kHalf = kLimb / 2;
constexpr std::uint64_t kInfinity = std::uint64_t{0x7ff} << 52;  // the bits of +infinity
constexpr std::size_t kMaxPlanes = kHighestPlane - kLowestPlane + 1;

ExactKernels exact_kernels() {
    switch (resolve_isa("")) {
#if defined(NNQFT_X86)
        case Isa::avx512: return avx512::exact_kernels();
        case Isa::avx2: return avx2::exact_kernels();
#endif
        default: return scalar::exact_kernels();
    }
}

// The plane in which the lowest bit of doubles with this exponent field lies; they reach into the next two.
int plane_of(std::uint64_t field) noexcept {
    return static_cast<int>(field - (field != 0) - 1074 - 32 * kLowestPlane) / 32 + kLowestPlane;
}

// Nearest double of  sum_k digit[k] 2^(32 (base + k)),  0 <= digit < 2^32, as the bits of its magnitude.
std::uint64_t nearest(const std::uint32_t* digit, int planes, int base) noexcept {
    int top = planes - 1;
    while (top >= 0 && digit[top] == 0) --top;
    if (top < 0) return 0;

    // Bits are counted from the bottom of the window. The unit of the result is bit `unit`: 53 bits, fewer for subnormals.
    int highest = 0;
    std::frexp(static_cast<double>(digit[top]), &highest);
    highest += 32 * top - 1;
    const int smallest_unit = -1074 - 32 * base;
    const int unit = std::max(highest - 52, smallest_unit);

    const auto digits = [&](int k) { return k < 0 || k > top ? std::uint64_t{0} : std::uint64_t{digit[k]}; };
    const int plane = (unit + 64) / 32 - 2, shift = unit - 32 * plane;  // unit >= -52: rounded down
    std::uint64_t mantissa = (digits(plane) | digits(plane + 1) << 32) >> shift | digits(plane + 2) << 1 << (63 - shift);
    const int half = unit - 1;
    if (half >= 0 && digit[half / 32] >> half % 32 & 1) {
        const std::uint32_t below = digit[half / 32] & ((std::uint32_t{1} << half % 32) - 1);
        const bool above_half = below != 0 || std::any_of(digit, digit + half / 32, [](std::uint32_t d) { return d != 0; });
        mantissa += above_half || mantissa & 1;
    }
    // A mantissa of 2^53, and a subnormal that became normal, carry into the exponent field by themselves.
    return std::min((static_cast<std::uint64_t>(unit - smallest_unit) << 52) + mantissa, kInfinity);
}

}  // namespace

ExactSums::ExactSums(std::size_t size, std::uint32_t max_weight) : kernels_(exact_kernels()), size_(size), max_weight_(max_weight) {
    if (size > PTRDIFF_MAX / (kMaxPlanes * sizeof(std::int64_t)))
        throw ArgumentError("ExactSums: " + std::to_string(size) + " sums do not fit into the address space");
    if (max_weight < 2 || max_weight > kMaxWeight)
        throw ArgumentError("ExactSums: max_weight is " + std::to_string(max_weight) + "; expected 2 to " +
                            std::to_string(kMaxWeight));
}

bool ExactSums::add(const double* values) {
    const ExactRange range = kernels_.scan(values, size_);
    if (range.largest >= 2 * kInfinity) return false;
    if (planes_ == 0) {
        if (plain_.empty()) {
            plain_.assign(values, values + size_);
            return true;
        }
        const FpEnvironment guard;
        if (kernels_.add(values, size_, plain_.data())) return true;
        settle();
    }
    add_limbs(values, range);
    return true;
}

void ExactSums::add_limbs(const double* values, const ExactRange& range) {
    if (range.largest == 0) return;
    if (weight_ >= max_weight_) carry();
    const int low = plane_of((range.smallest + 1) >> 53), high = plane_of(range.largest >> 53) + 3;
    widen(low, high);
    kernels_.scatter(values, size_, 32 * (base_ - kLowestPlane), low - base_, high - base_, limbs_.data());
    ++weight_;
}

void ExactSums::settle() {
    if (plain_.empty()) return;
    add_limbs(plain_.data(), kernels_.scan(plain_.data(), size_));
    plain_ = {};
}

void ExactSums::merge(const ExactSums& other) {
    if (other.size_ != size_)
        throw ShapeError("ExactSums::merge: got " + std::to_string(other.size_) + " sums, expected " +
                         std::to_string(size_));
    if (&other == this) settle();
    if (!other.plain_.empty()) {
        add(other.plain_.data());
        return;
    }
    if (other.planes_ == 0) return;
    settle();
    widen(other.base_, other.top());
    std::int64_t* to = limbs_.data() + static_cast<std::size_t>(other.base_ - base_) * size_;
    const std::size_t count = other.limbs_.size();
    for (std::size_t i = 0; i < count; ++i) to[i] += other.limbs_[i];
    weight_ += other.weight_;
    if (weight_ > max_weight_) carry();
}

void ExactSums::widen(int low, int high) {
    if (planes_ == 0) base_ = low;
    else if (low >= base_ && high <= top()) return;
    low = std::min(low, base_);
    high = std::max(high, top());
    std::vector<std::int64_t> wider(static_cast<std::size_t>(high - low) * size_);
    std::copy(limbs_.begin(), limbs_.end(), wider.data() + static_cast<std::size_t>(base_ - low) * size_);
    limbs_ = std::move(wider);
    base_ = low;
    planes_ = static_cast<std::size_t>(high - low);
}

void ExactSums::carry() {
    if (planes_ == 0) return;
    for (std::size_t k = 0; k + 1 < planes_; ++k) {
        std::int64_t *limb = limbs_.data() + k * size_, *next = limb + size_;
        for (std::size_t i = 0; i < size_; ++i) {
            next[i] += limb[i] >> 32;  // floor: arithmetic shift on every compiler, and by C++20
            limb[i] &= kPayload;
        }
    }
    weight_ = 1;
    const std::int64_t* last = limbs_.data() + (planes_ - 1) * size_;
    if (std::all_of(last, last + size_, [](std::int64_t l) { return -kHalf <= l && l < kHalf; })) return;
    widen(base_, top() + 1);
    carry();
}

void ExactSums::trim() {
    const auto plane = [&](std::size_t k) { return limbs_.data() + k * size_; };

    // The top plane goes where the plane below can hold the sign: top = 0 above a limb < 2^31, top = -1 above one >= 2^31.
    std::size_t high = planes_;
    for (; high >= 2; --high) {
        std::int64_t *below = plane(high - 2), *last = plane(high - 1);
        const auto joined = [&](std::size_t i) { return below[i] + last[i] * kLimb; };
        std::size_t fits = 0;
        while (fits < size_ && -kHalf <= joined(fits) && joined(fits) < kHalf) ++fits;
        if (fits < size_) break;
        for (std::size_t i = 0; i < size_; ++i) below[i] = joined(i);
    }
    std::size_t low = 0;
    while (low < high && std::all_of(plane(low), plane(low + 1), [](std::int64_t l) { return l == 0; })) ++low;
    if (low == 0 && high == planes_) return;

    limbs_ = std::vector<std::int64_t>(plane(low), plane(high));
    planes_ = high - low;
    base_ = planes_ == 0 ? 0 : base_ + static_cast<int>(low);
    weight_ = planes_ == 0 ? 0 : 1;
}

void ExactSums::canonicalise() {
    settle();
    carry();
    trim();
}

ExactSums ExactSums::restore(std::size_t size, int base, std::size_t planes, const std::int64_t* limbs) {
    ExactSums sums(size);
    const auto reject = [](const std::string& what) {
        throw StateError("ExactSums::restore: " + what + ": the saved sums are damaged");
    };
    if (planes == 0 || size == 0) {
        if (planes != 0 || base != 0)
            reject("base " + std::to_string(base) + " and " + std::to_string(planes) + " planes, expected 0 and 0");
        return sums;
    }
    if (base < kLowestPlane || base > kHighestPlane || planes > static_cast<std::size_t>(kHighestPlane - base + 1))
        reject("base " + std::to_string(base) + " with " + std::to_string(planes) + " planes, expected planes within " +
               std::to_string(kLowestPlane) + " .. " + std::to_string(kHighestPlane));
    for (std::size_t k = 0; k < planes; ++k) {
        const bool last = k + 1 == planes;
        const std::int64_t low = last ? -kHalf : 0, high = last ? kHalf : kLimb;
        for (std::size_t i = 0; i < size; ++i) {
            const std::int64_t limb = limbs[k * size + i];
            if (limb < low || limb >= high)
                reject("limb " + std::to_string(k) + " of sum " + std::to_string(i) + " is " + std::to_string(limb) +
                       ", expected " + std::to_string(low) + " .. " + std::to_string(high - 1));
        }
    }
    sums.limbs_.assign(limbs, limbs + planes * size);
    sums.base_ = base;
    sums.planes_ = planes;
    sums.weight_ = 1;
    sums.trim();
    if (sums.planes_ != planes) reject("the window holds a plane that no sum needs");
    return sums;
}

void ExactSums::round(double* out) const {
    if (!plain_.empty()) {
        const FpEnvironment guard;
        for (std::size_t i = 0; i < size_; ++i) out[i] = plain_[i] + 0.0;  // no -0
        return;
    }
    std::vector<std::uint32_t> digit(planes_ + 1);  // one more than planes: a limb of 62 bits carries 30
    // The digits of sign * (sum i); returns 0, or -1 if that is negative.
    const auto expand = [&](std::size_t i, std::int64_t sign) {
        std::int64_t rest = 0;
        for (std::size_t k = 0; k < digit.size(); ++k) {
            if (k < planes_) rest += sign * limbs_[k * size_ + i];
            digit[k] = static_cast<std::uint32_t>(rest);
            rest >>= 32;
        }
        return rest;
    };
    for (std::size_t i = 0; i < size_; ++i) {
        const bool negative = expand(i, 1) < 0;
        if (negative) expand(i, -1);
        const std::uint64_t bits = nearest(digit.data(), static_cast<int>(digit.size()), base_);
        const std::uint64_t signed_bits = bits | std::uint64_t{negative} << 63;
        std::memcpy(out + i, &signed_bits, sizeof signed_bits);
    }
}

}  // namespace nnqft

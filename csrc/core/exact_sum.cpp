#include "core/exact_sum.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "core/error.hpp"

namespace nnqft {
namespace {

constexpr std::int64_t kLimb = std::int64_t{1} << 32;  // one unit of the next plane
constexpr std::int64_t kPayload = kLimb - 1;
constexpr std::int64_t kHalf = kLimb / 2;
constexpr std::uint64_t kMantissa = (std::uint64_t{1} << 52) - 1;
constexpr std::uint64_t kInfinity = std::uint64_t{0x7ff} << 52;  // the bits of +infinity

// A finite double is m 2^e with |m| < 2^53 and -1074 <= e <= 971: planes -34 .. 32. 2^64 rows of them reach plane 34.
constexpr int kLowestPlane = -34;
constexpr int kHighestPlane = 36;
constexpr std::size_t kMaxPlanes = kHighestPlane - kLowestPlane + 1;

std::uint64_t bits_of(double x) noexcept {
    std::uint64_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

// The exponent field as a bit position: a double with this field is a multiple of 2^(position + 32 kLowestPlane).
// Subnormals (field 0) share the unit of field 1, 2^-1074.
int unit_position(std::uint64_t field) noexcept {
    return static_cast<int>(field - (field != 0)) - 1074 - 32 * kLowestPlane;
}

void prefetch(const std::int64_t* p) noexcept {
#if defined(__GNUC__)
    __builtin_prefetch(p, 1);
#else
    (void)p;
#endif
}

// What must be known of a row before it is added. Twice the bits order doubles by magnitude.
struct Range {
    std::uint64_t largest = 0;                   // twice the bits of the largest magnitude
    std::uint64_t smallest = ~std::uint64_t{0};  // twice those of the smallest that is not zero, less one
    bool finite() const noexcept { return largest < 2 * kInfinity; }
    bool zero() const noexcept { return largest == 0; }
    int low_plane() const noexcept { return unit_position((smallest + 1) >> 53) / 32 + kLowestPlane; }
    int high_plane() const noexcept { return unit_position(largest >> 53) / 32 + kLowestPlane + 3; }
};

Range scan(const double* values, std::size_t size) noexcept {
    Range range;
    for (std::size_t i = 0; i < size; ++i) {
        const std::uint64_t magnitude = bits_of(values[i]) << 1;
        range.largest = std::max(range.largest, magnitude);
        range.smallest = std::min(range.smallest, magnitude - 1);  // zero wraps to the top: never the smallest
    }
    return range;
}

// Doubles are integers below 2^53 times a power of two, hence at most 53 + 31 bits from the bottom of their plane: 3 limbs.
// Integer arithmetic only, so rounding mode and flush-to-zero do not matter; no branches, so it runs at one speed.
void scatter(const double* values, std::size_t size, int base, std::int64_t* limbs) noexcept {
    constexpr std::size_t kAhead = 64;  // entries; 7.6 -> 4.7 ns per value for 64 x 140k sums, which live in no cache
    const int origin = 32 * (base - kLowestPlane);
    for (std::size_t i = 0; i < size; ++i) {
        const std::uint64_t bits = bits_of(values[i]), field = bits >> 52 & 0x7ff;
        const std::int64_t magnitude = static_cast<std::int64_t>((bits & kMantissa) | std::uint64_t{field != 0} << 52);
        const std::int64_t sign = -static_cast<std::int64_t>(bits >> 63);
        const std::int64_t m = (magnitude ^ sign) - sign;
        // Only a zero can lie below the window: it may go anywhere.
        const unsigned position = static_cast<unsigned>(std::max(unit_position(field) - origin, 0));
        const unsigned shift = position % 32;
        const std::uint64_t low = static_cast<std::uint64_t>(m) << shift;
        std::int64_t* limb = limbs + position / 32 * size + i;
        prefetch(limb + kAhead);
        prefetch(limb + size + kAhead);
        prefetch(limb + 2 * size + kAhead);
        limb[0] += static_cast<std::int64_t>(low & kPayload);
        limb[size] += static_cast<std::int64_t>(low >> 32);
        limb[2 * size] += m >> 32 >> (32 - shift);  // two shifts: m >> 64 is undefined
    }
}

// Nearest double of  sum_k digit[k] 2^(32 (base + k)),  0 <= digit < 2^32, as the bits of its magnitude.
std::uint64_t nearest(const std::uint32_t* digit, int planes, int base) noexcept {
    int top = planes - 1;
    while (top >= 0 && digit[top] == 0) --top;
    if (top < 0) return 0;

    // Bits are counted from the bottom of the window. The unit of the result is bit `unit`: 53 bits, fewer for subnormals.
    int highest = 32 * top + 31;
    while (!(digit[highest / 32] >> highest % 32 & 1)) --highest;
    const int smallest_unit = -1074 - 32 * base;
    const int unit = std::max(highest - 52, smallest_unit);
    const auto bit = [&](int i) { return i < 0 ? 0u : digit[i / 32] >> i % 32 & 1; };

    std::uint64_t mantissa = 0;
    for (int i = highest; i >= unit; --i) mantissa = mantissa << 1 | bit(i);
    const int half = unit - 1;
    if (bit(half)) {
        bool above_half = false;
        for (int i = 0; i < half && !above_half; ++i) above_half = bit(i);
        mantissa += above_half || mantissa & 1;
    }
    // A mantissa of 2^53, and a subnormal that became normal, carry into the exponent field by themselves.
    return std::min((static_cast<std::uint64_t>(unit - smallest_unit) << 52) + mantissa, kInfinity);
}

}  // namespace

ExactSums::ExactSums(std::size_t size, std::uint32_t max_weight) : size_(size), max_weight_(max_weight) {
    if (size > PTRDIFF_MAX / (kMaxPlanes * sizeof(std::int64_t)))
        throw ArgumentError("ExactSums: " + std::to_string(size) + " sums do not fit into the address space");
    if (max_weight < 2 || max_weight > kMaxWeight)
        throw ArgumentError("ExactSums: max_weight is " + std::to_string(max_weight) + "; expected 2 to " +
                            std::to_string(kMaxWeight));
}

bool ExactSums::add(const double* values) {
    const Range range = scan(values, size_);
    if (!range.finite()) return false;
    if (range.zero()) return true;
    if (weight_ >= max_weight_) carry();
    widen(range.low_plane(), range.high_plane());
    scatter(values, size_, base_, limbs_.data());
    ++weight_;
    return true;
}

void ExactSums::merge(const ExactSums& other) {
    if (other.size_ != size_)
        throw ShapeError("ExactSums::merge: got " + std::to_string(other.size_) + " sums, expected " +
                         std::to_string(size_));
    if (other.planes_ == 0) return;
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

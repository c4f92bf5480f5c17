// Exact sums of doubles: any order, any split into partial sums and any merge give the same bytes.
//
// An entry is the integer  sum_k limb[k] * 2^(32 (base + k)),  k = 0 .. planes - 1,  in signed 64-bit limbs that carry 32
// payload bits each; base and planes (the window) are shared by all entries and grow at either end when a value needs it.
// Limbs lie plane by plane, limb k of entry i at data()[k * size + i], so adding a row of sums streams through memory.
// While every sum is a double, a row of doubles stands for the limbs: a third of the memory. So it is with many sums of
// float32 fields, which have few bits.
// About 1 ns per value in cache; the idea is the small superaccumulator of Neal (2015), arXiv:1505.05571, with a window.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/exact_kernels.hpp"

namespace nnqft {

class ExactSums {
public:
    // A row changes a limb by less than 2^32, and a carry leaves less than 2^32 in it: after 2^29 rows without a carry
    // every limb is below 2^61, and after a merge of two such sums below 2^62, so nothing overflows.
    static constexpr std::uint32_t kMaxWeight = std::uint32_t{1} << 29;

    // `size` sums, all zero. `max_weight` (2 .. kMaxWeight): rows between two carries; tests make it small.
    explicit ExactSums(std::size_t size, std::uint32_t max_weight = kMaxWeight);

    // Sums from what base(), planes() and data() said after canonicalise(). StateError if they cannot have said that.
    static ExactSums restore(std::size_t size, int base, std::size_t planes, const std::int64_t* limbs);

    // Adds values[i] to sum i, for all i. Returns false, and adds nothing, if any value is infinite or NaN.
    bool add(const double* values);

    // Adds sum i of `other` to sum i. ShapeError if the sizes differ.
    void merge(const ExactSums& other);

    // Makes the limbs a function of the sums alone: carried, the smallest window, base 0 where all sums are zero.
    void canonicalise();

    // Each sum as the nearest double, ties to even; overflow to +-infinity; a zero sum is +0.
    void round(double* out) const;

    std::size_t size() const noexcept { return size_; }
    // The limbs, after canonicalise().
    int base() const noexcept { return base_; }
    std::size_t planes() const noexcept { return planes_; }
    const std::int64_t* data() const noexcept { return limbs_.data(); }  // planes x size
    std::size_t bytes() const noexcept { return sizeof *this + plain_.capacity() * sizeof(double) + limbs_.capacity() * sizeof(std::int64_t); }

private:
    void add_limbs(const double* values, const ExactRange& range);
    void settle();                  // plain_ becomes limbs
    void widen(int low, int high);  // the window becomes the union with planes low .. high - 1
    void carry();                   // every limb into [0, 2^32), the top one into [-2^31, 2^31)
    void trim();                    // drops planes that carry() left redundant
    int top() const noexcept { return base_ + static_cast<int>(planes_); }

    ExactKernels kernels_;
    std::size_t size_;
    int base_ = 0;
    std::size_t planes_ = 0;
    std::uint32_t max_weight_;
    std::uint32_t weight_ = 0;  // every |limb| < weight_ * 2^32: rows since the last carry, plus one for the carry
    std::vector<std::int64_t> limbs_;
    std::vector<double> plain_;  // the sums, or empty; never beside limbs
};

}  // namespace nnqft

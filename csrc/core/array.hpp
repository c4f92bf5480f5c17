// An array of numbers without values at first: the threads that use the memory are the first to touch it. Large ones ask
// for huge pages.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace nnqft {

template <class T>
class Array {
public:
    Array() = default;
    explicit Array(std::size_t count) : size_(count) {
        if (count > (std::numeric_limits<std::size_t>::max() >> 1) / sizeof(T)) throw std::bad_alloc();
        const std::size_t align = count * sizeof(T) >= 2 * kHugePage ? kHugePage : kCacheLine;
        const std::size_t bytes = (count * sizeof(T) + align - 1) / align * align;
        if (bytes == 0) return;
        data_.reset(static_cast<T*>(std::aligned_alloc(align, bytes)));
        if (!data_) throw std::bad_alloc();
#if defined(__linux__)
        if (align == kHugePage) madvise(data_.get(), bytes, MADV_HUGEPAGE);  // a wish: refusal costs time alone
#endif
    }

    T* data() { return data_.get(); }
    const T* data() const { return data_.get(); }
    std::size_t size() const { return size_; }

private:
    static constexpr std::size_t kHugePage = std::size_t{1} << 21, kCacheLine = 64;
    struct Free {
        void operator()(T* p) const { std::free(p); }
    };
    std::unique_ptr<T[], Free> data_;
    std::size_t size_ = 0;
};

// Room for `count` numbers, the array's old ones or new ones.
template <class T>
T* room(Array<T>& array, std::size_t count) {
    if (array.size() < count) array = Array<T>(count);
    return array.data();
}

}  // namespace nnqft

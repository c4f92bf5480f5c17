// Kernels of convolutions in every instruction set against plain loops, and Hessian products of convolutional nets against differences of
// gradients.
#include <cmath>
#include <cstdint>
#include <vector>

#include "check.hpp"
#include "core/error.hpp"
#include "nets_tools.hpp"

using namespace nnqft;

namespace {

template <class T>
void check_kernels(const ConvKernels<T>& kernels) {
    const double eps = sizeof(T) == 4 ? 0x1p-23 : 0x1p-52;
    for (std::int64_t rows = 1; rows <= 5; ++rows)
        for (std::int64_t run : {16, 32, 48, 64}) {
            const std::int64_t pitch = run + 48, filters = 3, capacity = 16, n_windows = 20;
            const ConvWindow window = {rows, run, pitch, rows * run};
            std::vector<std::int32_t> begin, place, count = {0, 7, 16};  // an empty list, a broken group, a full one
            for (std::int64_t i = 0; i < n_windows; ++i) begin.push_back(static_cast<std::int32_t>(2 * i));
            for (std::int64_t i = 0; i < filters * capacity; ++i) place.push_back(static_cast<std::int32_t>((7 * i) % n_windows));
            const ConvPlaces places = {filters, capacity, count.data(), place.data(), begin.data()};
            const std::int64_t size = 2 * n_windows + rows * pitch;
            const auto a = numbers<T>(size, 0), b = numbers<T>(size, 5);
            const auto w = numbers<T>(filters * window.size, 3), v = numbers<T>(filters * window.size, 8);
            const auto x = numbers<T>(filters * capacity, 1), y = numbers<T>(filters * capacity, 2), bias = numbers<T>(filters, 4);
            for (int n : {1, 2}) {
                const ConvPair<T> dots[2] = {{w.data(), a.data()}, {v.data(), b.data()}}, sums[2] = {{x.data(), a.data()}, {y.data(), b.data()}};
                const T *const weights[2] = {w.data(), v.data()}, *const values[2] = {x.data(), y.data()};
                std::vector<T> out(x.size(), T(9)), total(w.size(), T(1)), image(a);
                kernels.dots(window, places, dots, n, bias.data(), out.data());
                kernels.sums(window, places, sums, n, total.data());
                kernels.scatter(window, places, weights, values, n, image.data());
                std::vector<double> want_out(x.size()), want_total(w.size(), 1.0), want_image(a.begin(), a.end());
                for (std::int64_t f = 0; f < filters; ++f)
                    for (std::int64_t i = 0; i < count[static_cast<std::size_t>(f)]; ++i) {
                        const auto k = static_cast<std::size_t>(f * capacity + i);
                        const std::int64_t at = begin[static_cast<std::size_t>(place[k])];
                        want_out[k] = static_cast<double>(bias[static_cast<std::size_t>(f)]);
                        for (std::int64_t r = 0; r < rows; ++r)
                            for (std::int64_t j = 0; j < run; ++j) {
                                const auto p = static_cast<std::size_t>(at + r * pitch + j);
                                const auto q = static_cast<std::size_t>(f * window.size + r * run + j);
                                want_out[k] += static_cast<double>(w[q]) * a[p] + (n == 2 ? static_cast<double>(v[q]) * b[p] : 0.0);
                                want_total[q] += static_cast<double>(x[k]) * a[p] + (n == 2 ? static_cast<double>(y[k]) * b[p] : 0.0);
                                want_image[p] += static_cast<double>(x[k]) * w[q] + (n == 2 ? static_cast<double>(y[k]) * v[q] : 0.0);
                            }
                    }
                double worst = 0.0;
                bool beyond = true;
                for (std::int64_t f = 0; f < filters; ++f)
                    for (std::int64_t i = 0; i < capacity; ++i) {
                        const auto k = static_cast<std::size_t>(f * capacity + i);
                        const std::int64_t used = count[static_cast<std::size_t>(f)];
                        if (i < used) worst = std::fmax(worst, std::fabs(static_cast<double>(out[k]) - want_out[k]));
                        else if (i >= (used + kPlaceGroup - 1) / kPlaceGroup * kPlaceGroup) beyond = beyond && out[k] == T(9);
                    }
                for (std::size_t q = 0; q < total.size(); ++q) worst = std::fmax(worst, std::fabs(static_cast<double>(total[q]) - want_total[q]));
                for (std::size_t p = 0; p < image.size(); ++p) worst = std::fmax(worst, std::fabs(static_cast<double>(image[p]) - want_image[p]));
                CHECK(worst < 8.0 * eps * static_cast<double>(rows * run));  // a rounding per term, of numbers of a few times sqrt(terms)
                CHECK(beyond);
            }
        }
}

NetLayer conv(std::int64_t channels, std::int64_t height, std::int64_t width, std::int64_t filters, std::int64_t kernel, Activation activation,
              bool bias = true) {
    NetLayer l;
    l.conv.channels = channels, l.conv.height = height, l.conv.width = width, l.conv.filters = filters, l.conv.kernel = kernel;
    l.activation = activation, l.bias = bias;
    return l;
}
NetLayer dense(std::int64_t in, std::int64_t out, Activation activation = Activation::identity) {
    NetLayer l;
    l.in = in, l.out = out, l.activation = activation, l.bias = true;
    return l;
}

void check_products(std::vector<NetLayer> layers) {
    Problem p(std::move(layers), 21, 0.5);
    check_differences(p, 1e-6);  // derivatives of a few thousand
}

}  // namespace

TEST(kernels_equal_plain_loops_in_every_instruction_set) {
    for (Isa isa : available_isas()) {
#if defined(NNQFT_X86)
        if (isa == Isa::avx512) check_kernels(avx512::conv_kernels_f32()), check_kernels(avx512::conv_kernels_f64());
        if (isa == Isa::avx2) check_kernels(avx2::conv_kernels_f32()), check_kernels(avx2::conv_kernels_f64());
#endif
        if (isa == Isa::scalar) check_kernels(scalar::conv_kernels_f32()), check_kernels(scalar::conv_kernels_f64());
    }
}

TEST(products_are_differences_of_gradients) {
    check_products({conv(2, 5, 4, 3, 3, Activation::tanh), dense(18, 2)});
    auto first = conv(2, 7, 8, 3, 3, Activation::swish), second = conv(3, 3, 4, 2, 2, Activation::sigmoid, false);
    first.conv.padding = 1, first.conv.max = {2, 2};
    second.conv.mean = {2, 3};
    check_products({first, second, dense(2, 4, Activation::erf), dense(4, 2)});
    auto strided = conv(3, 6, 6, 17, 5, Activation::tanh);  // more channels than lanes behind it
    strided.conv.stride = 2, strided.conv.padding = 2, strided.conv.max = {1, 3};
    strided.conv.max_before_activation = true;
    auto narrow = conv(17, 3, 1, 2, 1, Activation::softplus);
    narrow.conv.mean = {3, 1};
    check_products({strided, narrow, dense(2, 1)});
}

TEST(folded_products_equal_single_entries) {
    for (Activation activation : {Activation::relu, Activation::tanh}) {
        Problem p({conv(2, 4, 4, 3, 3, activation), dense(12, 5, Activation::relu), dense(5, 1)}, 21);
        CHECK(p.net.folded() == 1);
        check_blocks(p);
    }
}

TEST(convolutions_that_do_not_fit_are_refused) {
    const auto refused = [](std::vector<NetLayer> layers) {
        try {
            Network net(std::move(layers));
        } catch (const ShapeError&) {
            return true;
        }
        return false;
    };
    const auto good = conv(1, 4, 4, 2, 3, Activation::relu);
    CHECK(!refused({good, dense(8, 1)}));
    CHECK(refused({good}));
    CHECK(refused({good, dense(9, 1)}));
    CHECK(refused({dense(16, 16), good, dense(8, 1)}));
    CHECK(refused({good, good, dense(8, 1)}));
    auto bad = good;
    bad.conv.padding = 3;
    CHECK(refused({bad, dense(72, 1)}));
    bad = good;
    bad.skip = 1.0;
    CHECK(refused({bad, dense(8, 1)}));
    for (std::int64_t size : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1} << 21, std::int64_t{1} << 62}) {
        bad = good;
        bad.conv.filters = size;
        CHECK(refused({bad, dense(8, 1)}));
        bad = good;
        bad.conv.mean.height = size;
        CHECK(refused({bad, dense(8, 1)}));
        bad = good;
        bad.conv.width = size;
        CHECK(refused({bad, dense(8, 1)}));
    }
    CHECK(refused({conv(1 << 20, 1 << 20, 1 << 20, 1, 1, Activation::relu), dense(1, 1)}));
}

CHECK_MAIN()

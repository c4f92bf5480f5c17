// Python face of csrc/wick/all_multisets.hpp: arrays in, new arrays out; no formulas.
#include "bindings/bindings.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "wick/all_multisets.hpp"
#include "wick/multiset.hpp"

namespace py = pybind11;

using namespace nnqft;

namespace {

using Doubles = py::array_t<double, py::array::c_style>;

void poll_signals() {
    with_gil([] { return PyErr_CheckSignals() == 0; });
}

// A float64 array as contiguous memory, its own where it is so already.
Doubles contiguous(const py::array& array, py::ssize_t ndim, const char* name, const char* shape) {
    if (!py::isinstance<py::array_t<double>>(array) || array.ndim() != ndim) {
        throw ShapeError(std::string(name) + " has dtype " + py::str(array.dtype()).cast<std::string>() + " and shape " +
                         py::str(array.attr("shape")).cast<std::string>() + "; expected float64 of shape " + shape);
    }
    const bool aligned = reinterpret_cast<std::uintptr_t>(array.data()) % alignof(double) == 0;
    auto values = Doubles::ensure(aligned ? array : py::array(array.attr("copy")()));
    if (!values) throw py::error_already_set();
    return values;
}

bool all_finite(const double* values, std::int64_t count) {
    double zero = 0.0;
    for (std::int64_t i = 0; i < count; ++i) zero += 0.0 * values[i];  // 0 x inf and 0 x nan are nan
    return zero == 0.0;
}

// |K_ij - K_ji| within 1e-12 of the smaller of the two rows' largest entries.
bool symmetric(const double* K, std::int64_t m) {
    constexpr std::int64_t kTile = 64;
    bool exactly = true;
    for (std::int64_t i0 = 0; i0 < m && exactly; i0 += kTile) {
        for (std::int64_t j0 = i0; j0 < m; j0 += kTile) {
            for (std::int64_t i = i0; i < std::min(m, i0 + kTile); ++i) {
                for (std::int64_t j = std::max(i + 1, j0); j < std::min(m, j0 + kTile); ++j) exactly &= K[i * m + j] == K[j * m + i];
            }
        }
        if (m > 4096) poll_signals();
    }
    if (exactly) return true;
    std::vector<double> largest(static_cast<std::size_t>(m), 0.0);
    for (std::int64_t i = 0; i < m; ++i) {
        for (std::int64_t j = 0; j < m; ++j) largest[static_cast<std::size_t>(i)] = std::max(largest[static_cast<std::size_t>(i)], std::fabs(K[i * m + j]));
    }
    for (std::int64_t i = 0; i < m; ++i) {
        for (std::int64_t j = i + 1; j < m; ++j) {
            const double allowed = 1e-12 * std::min(largest[static_cast<std::size_t>(i)], largest[static_cast<std::size_t>(j)]);
            if (!(std::fabs(K[i * m + j] - K[j * m + i]) <= allowed)) return false;
        }
        if (m > 4096) poll_signals();
    }
    return true;
}

}  // namespace

void bind_wick_all(py::module_& m) {
    using py::arg;

    m.def(
        "wick_all",
        [](const py::array& K, int order, const py::object& mu, unsigned threads, std::int64_t most_bytes) -> py::object {
            const Doubles kernel = contiguous(K, 2, "K", "(m, m)");
            const std::int64_t points = kernel.shape(0);
            if (kernel.shape(1) != points) throw ShapeError("K has " + std::to_string(points) + " rows and " + std::to_string(kernel.shape(1)) + " columns");
            Doubles mean;
            if (!mu.is_none()) {
                mean = contiguous(mu.cast<py::array>(), 1, "mu", "(m,)");
                if (mean.shape(0) != points) throw ShapeError("mu has " + std::to_string(mean.shape(0)) + " entries, K is over " + std::to_string(points) + " points");
            }
            const double* const shift = mu.is_none() ? nullptr : mean.data();
            const std::int64_t bytes = all_multisets_bytes(points, order, shift != nullptr);
            if (bytes > most_bytes) {
                throw ArgumentError("order " + std::to_string(order) + " over " + std::to_string(points) + " points has " +
                                    std::to_string(multiset_count(points, order)) + " entries and takes " + std::to_string(bytes) +
                                    " bytes, more than the " + std::to_string(most_bytes) + " of this machine: use fewer points, or a list of index tuples");
            }
            py::array_t<double> out(static_cast<py::ssize_t>(multiset_count(points, order)));
            double* const to = out.mutable_data();
            const double* const from = kernel.data();
            bool sound;
            {
                const ReleaseGil release;
                const FpEnvironment guard;
                sound = all_finite(from, points * points) && (!shift || all_finite(shift, points)) && symmetric(from, points);
                if (sound) all_multisets(points, order, from, shift, to, threads, poll_signals);
            }
            return sound ? py::object(out) : py::object(py::none());
        },
        arg("K").noconvert(), arg("order"), arg("mu"), arg("threads"), arg("most_bytes"),
        "Gaussian n-point functions of all multisets, float64 (count,); None if K or mu is not finite or K not symmetric.");
}

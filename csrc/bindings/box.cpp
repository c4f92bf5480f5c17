// Python face of csrc/wick/box.hpp: arrays in, a new array out; no formulas.
#include "bindings/bindings.hpp"

#include <complex>
#include <limits>
#include <string>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "wick/box.hpp"

namespace py = pybind11;

using namespace nnqft;

namespace {

template <class T>
bool plain(const py::handle& object, py::ssize_t ndim, py::ssize_t n) {
    if (!py::isinstance<py::array_t<T>>(object)) return false;
    const auto array = py::reinterpret_borrow<py::array>(object);
    if (array.ndim() != ndim || !(array.flags() & py::array::c_style) || reinterpret_cast<std::uintptr_t>(array.data()) % alignof(T) != 0) return false;
    return array.shape(0) == n && array.shape(ndim - 1) == n;
}

template <class T>
py::object box(const py::array_t<T>& A, const py::object& mu, std::int64_t cutoff, bool norm) {
    const py::ssize_t n = A.ndim() > 0 ? A.shape(0) : 0;
    if (!plain<T>(A, 2, n) || !(mu.is_none() || plain<T>(mu, 1, n))) throw ShapeError("hafnian_box() takes C-contiguous A (n, n) and mu (n) of one dtype");
    if (cutoff < 1) throw ArgumentError("cutoff is " + std::to_string(cutoff) + ", expected at least 1");
    constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max() / static_cast<std::int64_t>(sizeof(T));
    std::int64_t count = 1;
    for (py::ssize_t i = 0; i < n && cutoff > 1; ++i) {
        if (count > kMost / cutoff) throw ArgumentError("more entries than memory has addresses: use a smaller cutoff");
        count *= cutoff;
    }
    py::array_t<T> out(static_cast<py::ssize_t>(count));
    const auto numbers = [](const py::handle& array) { return static_cast<const double*>(py::reinterpret_borrow<py::array>(array).data()); };
    const BoxProblem problem{n, cutoff, numbers(A), mu.is_none() ? nullptr : numbers(mu), sizeof(T) == sizeof(std::complex<double>), norm};
    auto* const to = reinterpret_cast<double*>(out.mutable_data());
    {
        const ReleaseGil release;
        const FpEnvironment guard;
        hafnian_box(problem, to, [] { with_gil([] { return PyErr_CheckSignals() == 0; }); });
    }
    return out;
}

}  // namespace

void bind_box(py::module_& m) {
    using py::arg;
    m.def("hafnian_box", &box<double>, arg("A").noconvert(), arg("mu"), arg("cutoff"), arg("norm"),
          "Hafnians of A with all repeats of its rows below the cutoff, flat; with mu, loop hafnians; over sqrt(prod k!) if norm.");
    m.def("hafnian_box", &box<std::complex<double>>, arg("A").noconvert(), arg("mu"), arg("cutoff"), arg("norm"));
}

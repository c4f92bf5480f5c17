// Python face of csrc/wick/all_multisets.hpp: arrays in, new arrays out; no formulas.
#include "bindings/bindings.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <type_traits>

#include "core/checks.hpp"
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

// K and the mean of one call, as contiguous memory.
struct Theory {
    Doubles K, mu;
    std::int64_t m;

    Theory(const py::array& kernel, const py::object& mean) : K(contiguous(kernel, 2, "K", "(m, m)")), m(K.shape(0)) {
        if (K.shape(1) != m) throw ShapeError("K has " + std::to_string(m) + " rows and " + std::to_string(K.shape(1)) + " columns");
        if (mean.is_none()) return;
        mu = contiguous(mean.cast<py::array>(), 1, "mu", "(m,)");
        if (mu.shape(0) != m) throw ShapeError("mu has " + std::to_string(mu.shape(0)) + " entries, K is over " + std::to_string(m) + " points");
        with_mean = true;
    }
    const double* mean() const { return with_mean ? mu.data() : nullptr; }

    bool with_mean = false;
};

// Needs no GIL.
void check(std::int64_t m, const double* K, const double* mu) {
    check_symmetric(K, m, 1, poll_signals);
    if (mu) check_finite("mu", mu, m);
}

void check_bytes(const char* what, std::int64_t m, int order, std::int64_t bytes, std::int64_t most) {
    if (bytes <= most) return;
    throw ArgumentError(std::string(what) + " of order " + std::to_string(order) + " over " + std::to_string(m) + " points has " +
                        std::to_string(multiset_count(m, order)) + " entries and takes " + std::to_string(bytes) + " bytes, more than the " +
                        std::to_string(most) + " of this machine: use fewer points, or a list of index tuples");
}

}  // namespace

void bind_wick_all(py::module_& m) {
    using py::arg;

    m.def(
        "wick_all",
        [](const py::array& K, int order, const py::object& mu, unsigned threads, std::int64_t most_bytes) {
            const Theory theory(K, mu);
            check_bytes("wick_all()", theory.m, order, all_multisets_bytes(theory.m, order, theory.with_mean), most_bytes);
            py::array_t<double> out(static_cast<py::ssize_t>(multiset_count(theory.m, order)));
            const double* const kernel = theory.K.data();
            const double* const mean = theory.mean();
            double* const to = out.mutable_data();
            {
                const ReleaseGil release;
                const FpEnvironment guard;
                check(theory.m, kernel, mean);
                all_multisets(theory.m, order, kernel, mean, to, threads, poll_signals);
            }
            return out;
        },
        arg("K").noconvert(), arg("order"), arg("mu"), arg("threads"), arg("most_bytes"),
        "Gaussian n-point functions of all multisets, float64 (count,).");
    m.def(
        "wick_all_theory",
        [](const py::array& K, int order, const py::object& mu, std::int64_t most_bytes) {
            const Theory theory(K, mu);
            check_bytes("wick_all()", theory.m, order, all_multisets_bytes(theory.m, order, theory.with_mean), most_bytes);
            const double* const kernel = theory.K.data();
            const double* const mean = theory.mean();
            MultisetTheory found;
            {
                const ReleaseGil release;
                const FpEnvironment guard;
                check(theory.m, kernel, mean);
                found = multiset_theory(theory.m, order, kernel, mean);
            }
            const auto array = [](const auto& values) -> py::object {
                using T = typename std::decay_t<decltype(values)>::value_type;
                return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
            };
            return py::make_tuple(array(found.K), theory.with_mean ? array(found.mu) : py::none(), found.exponents.empty() ? py::none() : array(found.exponents));
        },
        arg("K").noconvert(), arg("order"), arg("mu"), arg("most_bytes"), "What wick_all() runs on: (K (m m), mu or None, exponents or None).");
    m.def(
        "wick_all_vjp",
        [](const py::array& K, int order, const py::array& G_bar, const py::object& mu, std::int64_t most_bytes) {
            const Theory theory(K, mu);
            const std::int64_t count = multiset_count(theory.m, order);
            check_bytes("wick_all_vjp()", theory.m, order, all_multisets_vjp_bytes(theory.m, order, theory.with_mean), most_bytes);
            const Doubles cotangent = contiguous(G_bar, 1, "G_bar", "(count,)");
            if (cotangent.shape(0) != count) {
                throw ShapeError("G_bar has " + std::to_string(cotangent.shape(0)) + " entries; order " + std::to_string(order) + " over " +
                                 std::to_string(theory.m) + " points has " + std::to_string(count));
            }
            py::array_t<double> K_bar({theory.m, theory.m});
            py::array_t<double> mu_bar(static_cast<py::ssize_t>(theory.with_mean ? theory.m : 0));
            const double* const kernel = theory.K.data();
            const double* const mean = theory.mean();
            const double* const from = cotangent.data();
            double* const to_K = K_bar.mutable_data();
            double* const to_mu = mu_bar.mutable_data();
            {
                const ReleaseGil release;
                const FpEnvironment guard;
                check(theory.m, kernel, mean);
                all_multisets_vjp(theory.m, order, kernel, mean, from, to_K, to_mu, poll_signals);
            }
            return py::make_tuple(K_bar, theory.with_mean ? py::object(mu_bar) : py::object(py::none()));
        },
        arg("K").noconvert(), arg("order"), arg("G_bar").noconvert(), arg("mu"), arg("most_bytes"),
        "Derivatives of sum G_bar * wick_all, (K_bar (m, m), mu_bar (m,) or None).");
}

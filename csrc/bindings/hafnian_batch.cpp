// Python face of csrc/wick/small_batch.hpp: arrays in, new arrays out; no formulas.
#include "bindings/bindings.hpp"

#include <string>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "wick/small_batch.hpp"

namespace py = pybind11;

using namespace nnqft;

namespace {

void poll_signals() {
    with_gil([] { return PyErr_CheckSignals() == 0; });
}

std::string describe(const py::array& a) {
    return "dtype " + py::str(a.dtype()).cast<std::string>() + " and shape " + py::str(a.attr("shape")).cast<std::string>();
}

template <class T>
bool is_plain(const py::handle& object, py::ssize_t ndim) {
    if (!py::isinstance<py::array_t<T>>(object)) return false;
    const auto array = py::reinterpret_borrow<py::array>(object);
    return array.ndim() == ndim && (array.flags() & py::array::c_style) && reinterpret_cast<std::uintptr_t>(array.data()) % alignof(T) == 0;
}

// A C-contiguous aligned array of this kind, or ShapeError.
template <class T>
py::array plain(const py::handle& object, py::ssize_t ndim, const char* name, const char* expected) {
    if (is_plain<T>(object, ndim)) return py::reinterpret_borrow<py::array>(object);
    const bool array = py::isinstance<py::array>(object);
    throw ShapeError(std::string(name) + " has " +
                     (array ? describe(py::reinterpret_borrow<py::array>(object)) : "type " + py::str(py::type::of(object)).cast<std::string>()) +
                     "; expected a C-contiguous array, " + expected);
}

const double* doubles(const py::array& a) { return static_cast<const double*>(a.data()); }

// The arguments of both functions; the arrays outlive the call, whose arguments they are.
struct Arguments {
    bool indexed;
    IndexBatch tuples{};
    MatrixBatch matrices{};
    py::array K;

    Arguments(const py::object& K_, const py::object& index, const py::object& mu, bool packed) : indexed(!index.is_none()) {
        if (indexed) {
            K = plain<double>(K_, 2, "K", "float64 of shape (m, m)");
            if (K.shape(0) != K.shape(1)) throw ShapeError("K has " + describe(K) + "; expected float64 of shape (m, m)");
            const bool wide = is_plain<std::int64_t>(index, 2);
            const py::array rows = wide ? py::reinterpret_borrow<py::array>(index) : plain<std::int32_t>(index, 2, "index", "int32 or int64 of shape (batch, n)");
            tuples = {doubles(K), vector(mu, K.shape(0)), K.shape(0), rows.data(), wide, rows.shape(0), rows.shape(1)};
            return;
        }
        K = packed ? plain<double>(K_, 2, "K", "float64 of shape (batch, n (n-1) / 2)") : plain<double>(K_, 3, "K", "float64 of shape (batch, n, n)");
        py::ssize_t n = packed ? 0 : K.shape(1);
        while (packed && n * (n - 1) / 2 < K.shape(1)) ++n;
        const double* means = nullptr;
        if (!mu.is_none()) {
            const py::array m = plain<double>(mu, 2, "mu", "float64 of shape (batch, n)");
            if (packed && K.shape(1) == 0) n = m.shape(1);  // no pairs: 0 or 1 points
            if (m.shape(0) != K.shape(0) || m.shape(1) != n) throw ShapeError("mu has " + describe(m) + ", K has " + describe(K));
            means = doubles(m);
        }
        if (packed ? n * (n - 1) / 2 != K.shape(1) : K.shape(2) != n) throw ShapeError("K has " + describe(K) + ": that is no batch of matrices");
        matrices = {doubles(K), means, packed, K.shape(0), n};
    }

private:
    static const double* vector(const py::object& mu, py::ssize_t m) {
        if (mu.is_none()) return nullptr;
        const py::array array = plain<double>(mu, 1, "mu", "float64 of shape (m,)");
        if (array.shape(0) != m) throw ShapeError("mu has " + describe(array) + ", K has " + std::to_string(m) + " points");
        return doubles(array);
    }
};

BatchRun run_of(unsigned threads, double max_seconds) {
    if (threads > kMaxThreads) throw ArgumentError("threads is " + std::to_string(threads) + ", expected up to " + std::to_string(kMaxThreads));
    return {threads, max_seconds, poll_signals};
}

py::array_t<double> zeros_like(const py::array& array) {
    py::array_t<double> out(std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()));
    std::fill_n(out.mutable_data(), out.size(), 0.0);
    return out;
}

}  // namespace

void bind_hafnian_batch(py::module_& m) {
    using py::arg;
    m.def(
        "hafnian_batch",
        [](const py::object& K, const py::object& index, const py::object& mu, bool packed, unsigned threads, double max_seconds) {
            const Arguments in(K, index, mu, packed);
            const BatchRun run = run_of(threads, max_seconds);
            py::array_t<double> out(in.indexed ? in.tuples.count : in.matrices.count);
            double* to = out.mutable_data();
            {
                const ReleaseGil release;
                const FpEnvironment guard;
                if (in.indexed) index_hafnians(in.tuples, run, to);
                else matrix_hafnians(in.matrices, run, to);
            }
            return out;
        },
        arg("K"), arg("index"), arg("mu"), arg("packed"), arg("threads"), arg("max_seconds"),
        "Hafnians of index tuples (batch, n) over K (m, m), or with index None of K (batch, n, n), or packed (batch, n (n-1) / 2).");
    m.def(
        "hafnian_batch_vjp",
        [](const py::object& K, const py::object& index, const py::object& g, const py::object& mu, bool packed, unsigned threads, double max_seconds) {
            const Arguments in(K, index, mu, packed);
            const BatchRun run = run_of(threads, max_seconds);
            const py::array weights = plain<double>(g, 1, "g", "float64 of shape (batch,)");
            const std::int64_t count = in.indexed ? in.tuples.count : in.matrices.count;
            if (weights.shape(0) != count) throw ShapeError("g has " + describe(weights) + "; expected float64 of shape (" + std::to_string(count) + ",)");
            py::array_t<double> K_bar = zeros_like(in.K);
            const py::object mu_bar = mu.is_none() ? py::object(py::none()) : zeros_like(py::reinterpret_borrow<py::array>(mu));
            double* to = K_bar.mutable_data();
            double* mu_to = mu.is_none() ? nullptr : static_cast<double*>(py::reinterpret_borrow<py::array>(mu_bar).mutable_data());
            {
                const ReleaseGil release;
                const FpEnvironment guard;
                if (in.indexed) index_hafnians_vjp(in.tuples, doubles(weights), run, to, mu_to);
                else matrix_hafnians_vjp(in.matrices, doubles(weights), run, to, mu_to);
            }
            return py::make_tuple(K_bar, mu_bar);
        },
        arg("K"), arg("index"), arg("g"), arg("mu"), arg("packed"), arg("threads"), arg("max_seconds"),
        "(K_bar, mu_bar) of sum_b g_b haf_b, mu_bar None without mu.");
}

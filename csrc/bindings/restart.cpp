// Python face of csrc/lanczos/restart: the steps between restarts. What to keep, and when to stop, Python decides.
#include "bindings/bindings.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "core/blas.hpp"
#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/team.hpp"
#include "lanczos/restart.hpp"

namespace py = pybind11;

using namespace nnqft;

namespace {

void poll_signals() {
    with_gil([] { return PyErr_CheckSignals() == 0; });
}

// float operators under vectors in double, for residuals close to what float can tell.
class Widened : public Operator<double> {
public:
    explicit Widened(std::shared_ptr<Operator<float>> narrow) : narrow_(std::move(narrow)) {}
    std::int64_t size() const override { return narrow_->size(); }
    Layout layout() const override { return narrow_->layout(); }
    void apply(const double* x, double* y, int columns, Team& team) override {
        const std::size_t count = static_cast<std::size_t>(size()) * static_cast<std::size_t>(columns);
        if (x_.size() < count) x_.resize(count), y_.resize(count);
        for (std::size_t i = 0; i < count; ++i) x_[i] = static_cast<float>(x[i]);
        const std::lock_guard<std::recursive_mutex> lock(narrow_->busy);
        narrow_->apply(x_.data(), y_.data(), columns, team);
        for (std::size_t i = 0; i < count; ++i) y[i] = static_cast<double>(y_[i]);
    }

private:
    std::shared_ptr<Operator<float>> narrow_;
    std::vector<float> x_, y_;
};

// `with _core.BlasThreadsOff():`
struct Quiet {
    std::unique_ptr<BlasThreadsOff> off;
};

template <class T>
struct Search {
    ThickRestart<T> basis;
    std::shared_ptr<Operator<T>> op;
    std::atomic<bool> busy{false};
    Search(std::shared_ptr<Operator<T>> a, std::int64_t size, std::uint64_t seed) : basis(a->size(), size, seed), op(std::move(a)) {}
};

const double* matrix(const py::array& a, std::int64_t rows, std::int64_t columns, const char* name) {
    const bool fits = py::isinstance<py::array_t<double>>(a) && a.ndim() == 2 && a.shape(0) == rows && a.shape(1) == columns;
    if (!fits || !(a.flags() & py::array::f_style))
        throw ShapeError(std::string(name) + ": expected float64, Fortran order, shape (" + std::to_string(rows) + ", " + std::to_string(columns) + ")");
    return static_cast<const double*>(a.data());
}
const double* vector(const py::array& a, std::int64_t length, const char* name) {
    const bool good = py::isinstance<py::array_t<double>>(a) && a.ndim() == 1 && a.shape(0) == length && (a.flags() & py::array::c_style);
    if (!good) throw ShapeError(std::string(name) + ": expected float64, shape (" + std::to_string(length) + ",)");
    return static_cast<const double*>(a.data());
}

// body(basis, team) without the GIL, one thread at a time.
template <class T, class Body>
void work(const std::shared_ptr<Search<T>>& self, unsigned threads, const Body& body) {
    if (self->busy.exchange(true)) throw StateError("this search is under way in another thread, or in its own operator");
    struct Done {
        std::atomic<bool>& busy;
        ~Done() { busy = false; }
    } done{self->busy};
    const ReleaseGil release;
    const FpEnvironment guard;
    Team team(threads, poll_signals);
    body(self->basis, team);
}

// The basis for operators on double or float; of doubles for operators on float too.
template <class T>
void bind_search(py::module_& m, const char* name) {
    using py::arg;
    using Self = const std::shared_ptr<Search<T>>&;
    py::class_<Search<T>, std::shared_ptr<Search<T>>> made(m, name, "Basis of a restarted Lanczos search, and its projection.");
    const auto from = [](const std::shared_ptr<Operator<T>>& op, std::int64_t size, std::uint64_t seed) {
        return std::make_shared<Search<T>>(op, size, seed);
    };
    made.def(py::init(from), arg("operator"), arg("size"), arg("seed"));
    if constexpr (sizeof(T) == 8) {
        made.def(py::init([from](const std::shared_ptr<Operator<float>>& op, std::int64_t size, std::uint64_t seed) {
                     return from(std::make_shared<Widened>(op), size, seed);
                 }),
                 arg("operator"), arg("size"), arg("seed"));
    }
    made
        .def_property_readonly("used", [](Self self) { return self->basis.used(); })
        .def_property_readonly("beta", [](Self self) { return self->basis.beta(); })
        .def_property_readonly("norm", [](Self self) { return self->basis.norm(); })
        .def_property_readonly("skewness", [](Self self) { return self->basis.skewness(); })
        .def_property_readonly("exponent", [](Self self) { return self->basis.exponent(); })
        .def_property_readonly("products", [](Self self) { return self->basis.products(); })
        .def_property_readonly("T", [](Self self) {
            const std::int64_t k = self->basis.used(), size = self->basis.size();
            py::array_t<double> out({k, k});
            for (std::int64_t i = 0; i < k; ++i) std::copy_n(self->basis.projection() + i * size, k, out.mutable_data() + i * k);
            return out;
        }, "V^T A V, times 2^exponent.")
        .def("start", [](Self self, const py::object& v0, unsigned threads) {
            const double* v = v0.is_none() ? nullptr : vector(py::reinterpret_borrow<py::array>(v0), self->basis.n(), "v0");
            double top = 0.0;
            for (std::int64_t i = 0; v && i < self->basis.n(); ++i) top = std::abs(v[i]) <= top ? top : std::abs(v[i]);
            if (v && !(top > 0.0 && std::isfinite(top))) throw ArgumentError("v0 must be finite and not zero");
            work(self, threads, [&](ThickRestart<T>& basis, Team& team) { basis.start(v, team); });
        }, arg("v0"), arg("threads"))
        .def("extend", [](Self self, std::int64_t to, unsigned threads) {
            work(self, threads, [&](ThickRestart<T>& basis, Team& team) { basis.extend(*self->op, to, team); });
        }, arg("to"), arg("threads"), "Lanczos steps until the basis has `to` vectors.")
        .def("restart", [](Self self, const py::array& S, const py::array& theta, bool fresh, unsigned threads) {
            const std::int64_t keep = S.ndim() == 2 ? S.shape(1) : -1;
            const double *rotation = matrix(S, self->basis.used(), keep, "S"), *values = vector(theta, keep, "theta");
            work(self, threads, [&](ThickRestart<T>& basis, Team& team) { basis.restart(rotation, values, keep, fresh, team); });
        }, arg("S"), arg("theta"), arg("fresh"), arg("threads"), "V <- V S, T <- diag(theta).")
        .def("combine", [](Self self, const py::array& S, unsigned threads) {
            const std::int64_t count = S.ndim() == 2 ? S.shape(1) : -1;
            const double* rotation = matrix(S, self->basis.used(), count, "S");
            check_size({static_cast<std::uint64_t>(self->basis.n()), static_cast<std::uint64_t>(count)});
            py::array_t<double, py::array::f_style> out({self->basis.n(), count});
            double* const to = out.mutable_data();
            work(self, threads, [&](ThickRestart<T>& basis, Team& team) { basis.combine(rotation, count, to, team); });
            return out;
        }, arg("S"), arg("threads"), "V S.")
        .def("residuals", [](Self self, const py::array& V, const py::array& w, unsigned threads) {
            const std::int64_t count = V.ndim() == 2 ? V.shape(1) : -1;
            const double *x = matrix(V, self->basis.n(), count, "V"), *values = vector(w, count, "w");
            py::array_t<double> out(count);
            double* const to = out.mutable_data();
            work(self, threads, [&](ThickRestart<T>& basis, Team& team) { basis.residuals(*self->op, x, values, count, to, team); });
            return out;
        }, arg("V"), arg("w"), arg("threads"), "|2^exponent A v - w v| of each column.");
}

}  // namespace

void bind_restart(py::module_& m) {
    py::class_<Quiet, std::shared_ptr<Quiet>>(m, "BlasThreadsOff", "Context in which scipy's BLAS and LAPACK stay on the calling thread.")
        .def(py::init<>())
        .def("__enter__", [](const std::shared_ptr<Quiet>& self) { self->off = std::make_unique<BlasThreadsOff>(); })
        .def("__exit__", [](const std::shared_ptr<Quiet>& self, const py::args&) { self->off.reset(); });
    bind_search<double>(m, "ThickRestart64");
    bind_search<float>(m, "ThickRestart32");
}

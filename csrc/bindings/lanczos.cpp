// Python face of csrc/lanczos: operators, and the state of a run. The Python modules choose and explain; here lie the last guards.
#include "bindings/bindings.hpp"

#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/team.hpp"
#include "lanczos/lanczos.hpp"
#include "lanczos/operators.hpp"

namespace py = pybind11;

using namespace nnqft;

namespace {

void poll_signals() {
    with_gil([] { return PyErr_CheckSignals() == 0; });
}

// Under ReleaseGil: body(), which may use pybind11, with the GIL; its Python exceptions leave as such.
template <class Body>
void in_python(const Body& body) {
    with_gil([&] {
        try {
            body();
        } catch (py::error_already_set& error) {
            error.restore();
            return false;
        } catch (const std::exception& error) {
            PyErr_SetString(PyExc_RuntimeError, error.what());
            return false;
        }
        return true;
    });
}

std::string describe(const py::array& a) {
    return "dtype " + py::str(a.dtype()).cast<std::string>() + " and shape " + py::str(a.attr("shape")).cast<std::string>();
}

// A C-contiguous aligned array of this kind, or ShapeError.
template <class T>
py::array_t<T> plain(const py::handle& object, py::ssize_t ndim, const char* name) {
    if (py::isinstance<py::array_t<T>>(object)) {
        const auto array = py::reinterpret_borrow<py::array_t<T>>(object);
        if (array.ndim() == ndim && (array.flags() & py::array::c_style) && reinterpret_cast<std::uintptr_t>(array.data()) % alignof(T) == 0) return array;
    }
    throw ShapeError(std::string(name) + ": expected a C-contiguous array, dtype " + py::str(py::dtype::of<T>()).cast<std::string>() + " with " +
                     std::to_string(ndim) + " axes; got " +
                     (py::isinstance<py::array>(object) ? describe(py::reinterpret_borrow<py::array>(object)) : "another object"));
}

template <class T>
struct HeldDense : DenseOperator<T> {
    py::array array;
    HeldDense(py::array a, std::int64_t n, const T* data, std::int64_t stride) : DenseOperator<T>(n, data, stride), array(std::move(a)) {}
};

template <class T>
std::shared_ptr<HeldDense<T>> make_dense(const py::array& a) {
    if (!py::isinstance<py::array_t<T>>(a) || a.ndim() != 2 || a.shape(0) != a.shape(1)) throw ShapeError("A has " + describe(a) + "; expected a square matrix");
    const auto item = static_cast<py::ssize_t>(sizeof(T));
    const bool by_columns = a.strides(0) == item && a.strides(1) != item;  // A = A^T: either order will do
    const py::ssize_t inner = by_columns ? a.strides(0) : a.strides(1), outer = by_columns ? a.strides(1) : a.strides(0);
    if (a.shape(0) > 1 && (inner != item || outer < item * a.shape(0) || outer % item != 0))
        throw ShapeError("A has the strides of no plain matrix: call np.ascontiguousarray(A)");
    if (reinterpret_cast<std::uintptr_t>(a.data()) % alignof(T) != 0) throw ShapeError("A is not aligned: call np.array(A)");
    return std::make_shared<HeldDense<T>>(a, a.shape(0), static_cast<const T*>(a.data()), a.shape(0) > 1 ? outer / item : 1);
}

template <class T, class Index>
struct HeldCsr : CsrOperator<T, Index> {
    py::array start, column, value;
    HeldCsr(py::array_t<Index> s, py::array_t<Index> c, py::array_t<T> v)
        : CsrOperator<T, Index>(s.size() - 1, v.size(), s.data(), c.data(), v.data()), start(std::move(s)), column(std::move(c)), value(std::move(v)) {}
};

template <class T, class Index>
std::shared_ptr<Operator<T>> make_csr(const py::object& start, const py::object& column, const py::object& value) {
    const auto s = plain<Index>(start, 1, "indptr"), c = plain<Index>(column, 1, "indices");
    const auto v = plain<T>(value, 1, "data");
    if (s.size() < 2 || c.size() < v.size()) throw ShapeError("indptr, indices and data do not make a matrix: their lengths are " + std::to_string(s.size()) +
                                                              ", " + std::to_string(c.size()) + ", " + std::to_string(v.size()));
    return std::make_shared<HeldCsr<T, Index>>(s, c, v);
}

// matmat(X) -> Y in Python, both C-contiguous (n, columns) of this dtype. X is a copy: the function may keep it.
template <class T>
class PythonOperator : public Operator<T> {
public:
    PythonOperator(std::int64_t n, py::object matmat, double epsilon) : n_(n), matmat_(std::move(matmat)), epsilon_(epsilon) {}
    ~PythonOperator() override {
        const py::gil_scoped_acquire gil;
        matmat_ = py::object();
    }
    std::int64_t size() const override { return n_; }
    double epsilon() const override { return std::max(epsilon_, Operator<T>::epsilon()); }
    void apply(const T* X, T* Y, int columns, Team&) override {
        in_python([&] {
            py::array_t<T> x({static_cast<py::ssize_t>(n_), static_cast<py::ssize_t>(columns)});
            std::copy_n(X, n_ * columns, x.mutable_data());
            const auto y = py::object(matmat_(x));
            if (!py::isinstance<py::array_t<T>>(y)) throw py::type_error("matmat() returned something else than an array of the operator's dtype");
            const auto array = py::reinterpret_borrow<py::array_t<T>>(y);
            if (array.ndim() != 2 || array.shape(0) != n_ || array.shape(1) != columns || !(array.flags() & py::array::c_style))
                throw py::type_error("matmat() returned an array of another shape");
            std::copy_n(array.data(), n_ * columns, Y);
        });
    }

private:
    std::int64_t n_;
    py::object matmat_;
    double epsilon_;
};

Reorth reorth_of(const std::string& name) {
    if (name == "none") return Reorth::none;
    if (name == "full") return Reorth::full;
    if (name == "partial") return Reorth::partial;
    throw ArgumentError("reorth is '" + name + "'; expected 'full', 'partial' or 'none'");
}
StartLaw law_of(const std::string& name) {
    if (name == "rademacher") return StartLaw::rademacher;
    if (name == "gaussian") return StartLaw::gaussian;
    if (name == "sphere") return StartLaw::sphere;
    throw ArgumentError("distribution is '" + name + "'; expected 'rademacher', 'gaussian' or 'sphere'");
}

// A state, and the mark that keeps two Python threads from changing it at a time.
template <class T>
struct State {
    Lanczos<T> lanczos;
    std::atomic<bool> busy{false};

    State(std::int64_t n, const std::string& reorth, bool basis, bool restart) : lanczos(n, reorth_of(reorth), basis, restart) {}

    struct Use {
        State& state;
        explicit Use(State& s) : state(s) {
            if (s.busy.exchange(true)) throw StateError("this Lanczos state is advancing already: wait for it, or use another state");
        }
        ~Use() { state.busy = false; }
    };
};

template <class T>
void settle(Lanczos<T>& lanczos, unsigned threads) {
    const ReleaseGil release;
    const FpEnvironment guard;
    Team team(threads, poll_signals);
    lanczos.settle(team);
}

template <class T>
using Self = const std::shared_ptr<State<T>>&;

template <class T>
py::array_t<double> columns_of(const Lanczos<T>& lanczos, const std::vector<double> Tridiagonal::*member) {
    std::int64_t most = 0;
    for (std::int64_t i = 0; i < lanczos.probes(); ++i) most = std::max(most, lanczos.probe(i).steps());
    py::array_t<double> out({static_cast<py::ssize_t>(lanczos.probes()), static_cast<py::ssize_t>(most)});
    std::fill_n(out.mutable_data(), out.size(), 0.0);
    for (std::int64_t i = 0; i < lanczos.probes(); ++i) {
        const std::vector<double>& from = lanczos.probe(i).*member;
        std::copy(from.begin(), from.end(), out.mutable_data() + i * most);
    }
    return out;
}
template <class T, class V, class Get>
py::array_t<V> per_probe(const Lanczos<T>& lanczos, const Get& get) {
    py::array_t<V> out(static_cast<py::ssize_t>(lanczos.probes()));
    for (std::int64_t i = 0; i < lanczos.probes(); ++i) out.mutable_data()[i] = static_cast<V>(get(lanczos.probe(i)));
    return out;
}

template <class T>
void bind_kind(py::module_& m, const std::string& bits) {
    using py::arg;
    using Base = Operator<T>;
    using Shared = std::shared_ptr<Base>;
    py::class_<Base, Shared>(m, ("Operator" + bits).c_str(), "A symmetric operator in C++.")
        .def_property_readonly("size", [](const Shared& self) { return self->size(); })
        .def(
            "matmat",
            [](const Shared& self, const py::object& x, unsigned threads) {
                const auto X = plain<T>(x, 2, "X");
                const py::ssize_t n = X.shape(0), p = X.shape(1);
                if (n != self->size()) throw ShapeError("X has " + std::to_string(n) + " rows, the operator " + std::to_string(self->size()));
                py::array_t<T> out({n, p});
                const T* from = X.data();
                T* to = out.mutable_data();
                const ReleaseGil release;
                const FpEnvironment guard;
                const std::lock_guard<std::recursive_mutex> lock(self->busy);
                Team team(threads, poll_signals);
                if (self->apply_many(from, to, p, team)) return out;
                std::vector<T> in(static_cast<std::size_t>(n * std::min<py::ssize_t>(p, kMaxColumns))), result(in.size());
                for (py::ssize_t begin = 0; begin < p; begin += kMaxColumns) {
                    const py::ssize_t P = std::min<py::ssize_t>(kMaxColumns, p - begin);
                    const bool rows = self->layout() == Layout::rows;
                    const auto at = [&](py::ssize_t i, py::ssize_t c) { return static_cast<std::size_t>(rows ? i * P + c : c * n + i); };
                    for (py::ssize_t i = 0; i < n; ++i)
                        for (py::ssize_t c = 0; c < P; ++c) in[at(i, c)] = from[i * p + begin + c];
                    self->apply(in.data(), result.data(), static_cast<int>(P), team);
                    for (py::ssize_t i = 0; i < n; ++i)
                        for (py::ssize_t c = 0; c < P; ++c) to[i * p + begin + c] = result[at(i, c)];
                }
                return out;
            },
            arg("X"), arg("threads"), "A X for X of shape (n, columns).");
    py::class_<HeldDense<T>, Base, std::shared_ptr<HeldDense<T>>>(m, ("Dense" + bits).c_str())
        .def(
            "asymmetry",
            [](const std::shared_ptr<HeldDense<T>>& self, unsigned threads) {
                double difference = 0.0, largest = 0.0;
                {
                    const ReleaseGil release;
                    Team team(threads, poll_signals);
                    self->asymmetry(team, &difference, &largest);
                }
                return py::make_tuple(difference, largest);
            },
            arg("threads"), "(max |A_ij - A_ji|, max |A_ij|).");
    m.def(("dense" + bits).c_str(), &make_dense<T>, arg("A"), "The symmetric matrix A (its upper triangle), not copied.");
    m.def(("csr" + bits).c_str(), [](const py::object& start, const py::object& column, const py::object& value) -> Shared {
        return py::isinstance<py::array_t<std::int64_t>>(column) ? make_csr<T, std::int64_t>(start, column, value) : make_csr<T, std::int32_t>(start, column, value);
    }, arg("indptr"), arg("indices"), arg("data"), "A CSR matrix, not copied.");
    m.def(("python" + bits).c_str(), [](std::int64_t n, const py::object& matmat, double epsilon) -> Shared {
        return std::make_shared<PythonOperator<T>>(n, matmat, epsilon);
    }, arg("n"), arg("matmat"), arg("epsilon") = 0.0, "An operator by a function of (n, columns) arrays.");

    using S = State<T>;
    py::class_<S, std::shared_ptr<S>>(m, ("Lanczos" + bits).c_str(), "State of a Lanczos run.")
        .def(py::init<std::int64_t, const std::string&, bool, bool>(), arg("n"), arg("reorth"), arg("basis"), arg("restart") = false)
        .def_property_readonly("size", [](Self<T> self) { return self->lanczos.size(); })
        .def_property_readonly("probes", [](Self<T> self) { return self->lanczos.probes(); })
        .def_property_readonly("alpha", [](Self<T> self) { return columns_of(self->lanczos, &Tridiagonal::alpha); })
        .def_property_readonly("beta", [](Self<T> self) { return columns_of(self->lanczos, &Tridiagonal::beta); })
        .def_property_readonly("steps", [](Self<T> self) { return per_probe<T, std::int64_t>(self->lanczos, [](const Tridiagonal& t) { return t.steps(); }); })
        .def_property_readonly("breakdown", [](Self<T> self) { return per_probe<T, bool>(self->lanczos, [](const Tridiagonal& t) { return t.breakdown; }); })
        .def_property_readonly("restarts", [](Self<T> self) { return per_probe<T, std::int64_t>(self->lanczos, [](const Tridiagonal& t) { return t.restarts; }); })
        .def_property_readonly("norm", [](Self<T> self) { return per_probe<T, double>(self->lanczos, [](const Tridiagonal& t) { return t.norm; }); })
        .def_property_readonly("norm2", [](Self<T> self) { return per_probe<T, double>(self->lanczos, [](const Tridiagonal& t) { return t.norm2; }); })
        .def(
            "add",
            [](Self<T> self, const py::object& v) {
                const auto V = plain<T>(v, 2, "v0");
                if (V.shape(1) != self->lanczos.size()) throw ShapeError("v0 has " + std::to_string(V.shape(1)) + " columns, the operator size " + std::to_string(self->lanczos.size()));
                const typename S::Use use(*self);
                const ReleaseGil release;
                const FpEnvironment guard;
                self->lanczos.add(V.shape(0), V.data());
            },
            arg("v0"))
        .def(
            "draw",
            [](Self<T> self, std::int64_t count, const std::string& law, std::uint64_t seed) {
                const StartLaw start = law_of(law);
                const typename S::Use use(*self);
                const ReleaseGil release;
                const FpEnvironment guard;
                self->lanczos.draw(count, start, seed);
            },
            arg("count"), arg("distribution"), arg("seed"))
        .def(
            "advance",
            [](Self<T> self, const Shared& A, std::int64_t steps, unsigned threads, const py::object& after) {
                const typename S::Use use(*self);
                PyObject* callback = after.is_none() ? nullptr : after.ptr();
                const ReleaseGil release;
                const FpEnvironment guard;
                Team team(threads, poll_signals);
                self->lanczos.advance(*A, steps, team, callback == nullptr ? std::function<bool(std::int64_t)>() : [&](std::int64_t step) {
                    bool stop = false;
                    with_gil([&] {
                        PyObject* result = PyObject_CallFunction(callback, "L", static_cast<long long>(step));
                        const int truth = result ? PyObject_IsTrue(result) : -1;
                        Py_XDECREF(result);
                        stop = truth == 1;
                        return truth >= 0;
                    });
                    return stop;
                });
            },
            arg("operator"), arg("steps"), arg("threads"), arg("after") = py::none(), "Every probe to `steps` steps; after(step) stops by returning True.")
        .def(
            "basis",
            [](Self<T> self, unsigned threads) {
                const typename S::Use use(*self);
                settle(self->lanczos, threads);
                const Lanczos<T>& l = self->lanczos;
                std::int64_t most = 0;
                for (std::int64_t i = 0; i < l.probes(); ++i) most = std::max(most, l.probe(i).steps());
                check_size({static_cast<std::uint64_t>(l.probes()), static_cast<std::uint64_t>(most), static_cast<std::uint64_t>(l.size())});
                py::array_t<T> out({static_cast<py::ssize_t>(l.probes()), static_cast<py::ssize_t>(most), static_cast<py::ssize_t>(l.size())});
                std::fill_n(out.mutable_data(), out.size(), T(0));
                for (std::int64_t i = 0; i < l.probes(); ++i)
                    for (std::int64_t j = 0; j < l.probe(i).steps(); ++j) l.basis(i, j, out.mutable_data() + (i * most + j) * l.size());
                return out;
            },
            arg("threads"))
        .def("residual", [](Self<T> self, unsigned threads) {
            const typename S::Use use(*self);
            settle(self->lanczos, threads);
            const Lanczos<T>& l = self->lanczos;
            py::array_t<T> out({static_cast<py::ssize_t>(l.probes()), static_cast<py::ssize_t>(l.size())});
            for (std::int64_t i = 0; i < l.probes(); ++i) l.residual(i, out.mutable_data() + i * l.size());
            return out;
        }, arg("threads"))
        .def_static("bytes", [](std::int64_t n, std::int64_t probes, std::int64_t steps, const std::string& reorth, bool basis) {
            return Lanczos<T>::bytes(n, probes, steps, reorth_of(reorth), basis);
        }, arg("n"), arg("probes"), arg("steps"), arg("reorth"), arg("basis"), "Bytes of the vectors of a run.");
}

}  // namespace

void bind_lanczos(py::module_& m) {
    bind_kind<double>(m, "64");
    bind_kind<float>(m, "32");
    m.def(
        "lanczos_start",
        [](const std::string& law, std::uint64_t seed, std::uint64_t probe, std::int64_t n) {
            if (n < 0) throw ShapeError("n is negative");
            check_size({static_cast<std::uint64_t>(n)});
            py::array_t<double> out(static_cast<py::ssize_t>(n));
            draw_start(law_of(law), seed, probe, n, out.mutable_data());
            return out;
        },
        py::arg("distribution"), py::arg("seed"), py::arg("probe"), py::arg("n"), "The start vector of one probe.");
}

// Python face of csrc/wick/hafnian: single matrices. The fast path says None to whatever is not plain; the rest explains.
#include "bindings/bindings.hpp"

#include <cmath>
#include <string>
#include <vector>

#include "core/checks.hpp"
#include "core/error.hpp"
#include "core/isa.hpp"
#include "core/parallel.hpp"
#include "wick/hafnian.hpp"

namespace py = pybind11;

using namespace nnqft;

namespace {

constexpr double kFastWork = 2e6;  // multiply-adds: below a millisecond, so that the GIL may stay

const Isa& isa() {
    static const Isa choice = resolve_isa("");
    return choice;
}

// A C-contiguous aligned array of native doubles or complex doubles.
template <class T>
bool plain(const py::handle& object) {
    using Array = py::array_t<T>;
    if (!py::isinstance<Array>(object)) return false;
    const auto array = py::reinterpret_borrow<py::array>(object);
    return (array.flags() & py::array::c_style) && reinterpret_cast<std::uintptr_t>(array.data()) % alignof(double) == 0;
}

bool finite(const double* x, std::int64_t count) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < count; ++i) sum += x[i] - x[i];
    return sum == 0.0;
}

struct Arguments {
    HafnianProblem problem{};
    std::vector<std::int32_t> repeats;
    bool plain_values = false;  // symmetric and finite
};

// False unless K (m, m), mu (m) and repeats (m) are what the kernels read as it lies in memory.
bool read(const py::handle& K, const py::handle& mu, const py::handle& repeats, Arguments& out) {
    const bool real = plain<double>(K);
    if (!real && !plain<std::complex<double>>(K)) return false;
    const auto matrix = py::reinterpret_borrow<py::array>(K);
    if (matrix.ndim() != 2 || matrix.shape(0) != matrix.shape(1)) return false;
    HafnianProblem& p = out.problem;
    p.points = matrix.shape(0);
    p.complex = !real;
    p.K = static_cast<const double*>(matrix.data());
    const int parts = real ? 1 : 2;
    out.plain_values = is_symmetric(p.K, p.points, parts);
    if (!mu.is_none()) {
        if (!(real ? plain<double>(mu) : plain<std::complex<double>>(mu))) return false;
        const auto vector = py::reinterpret_borrow<py::array>(mu);
        if (vector.ndim() != 1 || vector.shape(0) != p.points) return false;
        p.mu = static_cast<const double*>(vector.data());
        out.plain_values = out.plain_values && finite(p.mu, p.points * parts);
    }
    if (!repeats.is_none()) {
        if (!py::isinstance<py::array_t<std::int64_t>>(repeats) || !plain<std::int64_t>(repeats)) return false;
        const auto counts = py::reinterpret_borrow<py::array_t<std::int64_t>>(repeats);
        if (counts.ndim() != 1 || counts.shape(0) != p.points) return false;
        for (py::ssize_t i = 0; i < counts.size(); ++i) {
            const std::int64_t r = counts.data()[i];
            if (r < 0 || r > kMaxRepeats) return false;
            out.repeats.push_back(static_cast<std::int32_t>(r));
        }
        p.repeats = out.repeats.data();
    }
    return true;
}

py::object number(const HafnianProblem& problem, std::complex<double> value) {
    return problem.complex ? py::object(py::cast(value)) : py::object(py::float_(value.real()));
}

// Signals and progress, from the thread that called.
HafnianPoll python_poll(const py::object& progress) {
    return [callback = progress.is_none() ? nullptr : progress.ptr()](double share) {
        with_gil([=] {
            if (PyErr_CheckSignals() != 0) return false;
            if (callback == nullptr) return true;
            PyObject* result = PyObject_CallFunction(callback, "d", share);
            Py_XDECREF(result);
            return result != nullptr;
        });
        return true;
    };
}

template <class T>
py::tuple derivative(const Arguments& in, unsigned threads, const HafnianPoll& poll) {
    const auto m = static_cast<py::ssize_t>(in.problem.points);
    py::array_t<T> K_bar({m, m}), mu_bar(in.problem.mu ? m : 0);
    auto* K_to = reinterpret_cast<double*>(K_bar.mutable_data());
    auto* mu_to = in.problem.mu ? reinterpret_cast<double*>(mu_bar.mutable_data()) : nullptr;
    bool finished;
    {
        const ReleaseGil release;
        const FpEnvironment guard;
        finished = hafnian_derivative(in.problem, isa(), threads, poll, K_to, mu_to);
    }
    if (!finished) throw StateError("the process is ending: the derivatives were not computed");
    return py::make_tuple(K_bar, in.problem.mu ? py::object(mu_bar) : py::object(py::none()));
}

Arguments checked(const py::object& K, const py::object& mu, const py::object& repeats) {
    Arguments in;
    if (!read(K, mu, repeats, in)) throw ShapeError("hafnian() takes C-contiguous K (m, m), mu (m) of one dtype, float64 or complex128, and int64 repeats (m)");
    return in;
}

}  // namespace

void bind_hafnian(py::module_& m) {
    using py::arg;
    m.def(
        "hafnian_fast",
        [](const py::object& K, const py::object& mu, const py::object& repeats) -> py::object {
            const FpEnvironment guard;
            Arguments in;
            if (!read(K, mu, repeats, in) || !in.plain_values || in.problem.points > 64) return py::none();
            const HafnianResult result = hafnian(in.problem, isa(), 1, {}, kFastWork);
            if (!result.finished || !std::isfinite(result.value.real()) || !std::isfinite(result.value.imag())) return py::none();
            return number(in.problem, result.value);
        },
        arg("K"), arg("mu") = py::none(), arg("repeats") = py::none(), "haf(K, mu; repeats), or None where the arguments need a look or the work time.");
    m.def(
        "hafnian_work",
        [](const py::object& K, const py::object& mu, const py::object& repeats, bool derivatives) {
            const Arguments in = checked(K, mu, repeats);
            const HafnianWork work = hafnian_work(in.problem, derivatives);
            return py::make_tuple(work.method, work.multiply_adds, hafnian_seconds(work, isa()), work.bytes);
        },
        arg("K"), arg("mu"), arg("repeats"), arg("derivatives") = false, "(method, multiply-adds, seconds on one thread, bytes per thread).");
    m.def(
        "hafnian",
        [](const py::object& K, const py::object& mu, const py::object& repeats, unsigned threads, const py::object& progress) -> py::object {
            const Arguments in = checked(K, mu, repeats);
            const HafnianPoll poll = python_poll(progress);
            HafnianResult result;
            {
                const ReleaseGil release;
                const FpEnvironment guard;
                result = hafnian(in.problem, isa(), threads, poll);
            }
            if (!result.finished) throw StateError("the process is ending: the hafnian was not computed");
            return number(in.problem, result.value);
        },
        arg("K"), arg("mu"), arg("repeats"), arg("threads"), arg("progress") = py::none(), "haf(K, mu; repeats).");
    m.def(
        "hafnian_with",
        [](const py::object& K, const py::object& mu, const py::object& repeats, const py::function& sum) -> py::object {
            const Arguments in = checked(K, mu, repeats);
            const FpEnvironment guard;
            const HafnianResult result = hafnian(in.problem, SignSum([&](const SievePlan& plan, SieveNumbers numbers, const std::vector<double>& input,
                                                                 std::vector<double>& total) {
                const char* const kind = numbers == SieveNumbers::real ? "real" : numbers == SieveNumbers::complex ? "complex" : "integer";
                const py::array_t<double> values(static_cast<py::ssize_t>(input.size()), input.data());
                const py::tuple shape = py::make_tuple(plan.level[0].vertices, plan.level[0].squares, plan.mean, plan.levels);
                const auto found = sum(shape, kind, values).cast<py::array_t<double, py::array::c_style>>();
                if (found.size() != (numbers == SieveNumbers::complex ? 2 : 1)) throw ShapeError("the sum over signs must be one number");
                total.assign(found.data(), found.data() + found.size());
                return true;
            }));
            return number(in.problem, result.value);
        },
        arg("K"), arg("mu"), arg("repeats"), arg("sum"),
        "haf(K, mu; repeats) by the sieve, its sum over signs by sum((vertices, squares, mean, levels), 'real' | 'complex' | 'integer', numbers) -> array (1 or 2).");
    m.def(
        "hafnian_with_multisets",
        [](const py::object& K, const py::object& mu, const py::object& repeats, const py::function& sum) -> py::object {
            const Arguments in = checked(K, mu, repeats);
            const FpEnvironment guard;
            const HafnianResult result = hafnian(in.problem, MultisetSum([&](const MultisetRecursion& r, std::complex<double>& value) {
                const auto array = [](const auto& x) { return py::array(static_cast<py::ssize_t>(x.size()), x.data()); };
                value = sum(r.complex, r.mean, array(r.K), array(r.mu), array(r.repeats)).cast<std::complex<double>>();
                return true;
            }));
            return number(in.problem, result.value);
        },
        arg("K"), arg("mu"), arg("repeats"), arg("sum"),
        "haf(K, mu; repeats) by the recursion over sub-multisets, by sum(complex, mean, K (m m), mu (m), repeats (m)) -> number.");
    m.def(
        "hafnian_derivative",
        [](const py::object& K, const py::object& mu, const py::object& repeats, unsigned threads, const py::object& progress) {
            const Arguments in = checked(K, mu, repeats);
            const HafnianPoll poll = python_poll(progress);
            return in.problem.complex ? derivative<std::complex<double>>(in, threads, poll) : derivative<double>(in, threads, poll);
        },
        arg("K"), arg("mu"), arg("repeats"), arg("threads"), arg("progress") = py::none(), "(d haf / d K, d haf / d mu or None).");
}

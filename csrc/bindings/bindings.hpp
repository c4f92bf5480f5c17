// What the binding files share: each adds its family to the one extension module.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <initializer_list>
#include <memory>
#include <utility>

void bind_core(pybind11::module_& m);
void bind_ensemble(pybind11::module_& m);
void bind_wick(pybind11::module_& m);
void bind_moments(pybind11::module_& m);
void bind_moment_blocks(pybind11::module_& m);
void bind_wick_all(pybind11::module_& m);
void bind_hafnian(pybind11::module_& m);
void bind_hafnian_batch(pybind11::module_& m);
void bind_box(pybind11::module_& m);
void bind_blas(pybind11::module_& m);
void bind_lanczos(pybind11::module_& m);
void bind_restart(pybind11::module_& m);
void bind_nets(pybind11::module_& m);

// ArgumentError if an array of these lengths has more elements than memory has addresses.
void check_size(std::initializer_list<std::uint64_t> lengths);

// Stops this thread for ever, for a process that is ending.
[[noreturn]] void hang();

// body(), which asks for the GIL. CPython before 3.14 ends daemon threads that ask while the interpreter shuts down, by
// pthread_exit: its unwinding, which in glibc looks like an exception of no type, would abort in the first destructor and
// drop references without the GIL. From 3.14 on such threads hang until the process is gone, and so they do here.
template <class Body>
void survive_exit(const Body& body) {
    try {
        body();
    } catch (const std::exception&) {
        throw;
    } catch (...) {
        hang();
    }
}

// Lets other Python threads run for as long as it lives.
class ReleaseGil {
public:
    ReleaseGil() : state_(PyEval_SaveThread()) {}
    ~ReleaseGil() {
        survive_exit([this] { PyEval_RestoreThread(state_); });
    }
    ReleaseGil(const ReleaseGil&) = delete;
    ReleaseGil& operator=(const ReleaseGil&) = delete;

private:
    PyThreadState* state_;
};

// Under ReleaseGil: body() with the GIL. body() speaks Python's C API and returns false with an error set, which leaves as
// an exception; it holds no C++ object whose destructor needs the GIL.
template <class Body>
void with_gil(const Body& body) {
    std::exception_ptr error;
    survive_exit([&] {
        const PyGILState_STATE state = PyGILState_Ensure();
        if (!body()) error = std::make_exception_ptr(pybind11::error_already_set());
        PyGILState_Release(state);
    });
    if (error) std::rethrow_exception(error);
}

// T as Python holds it, made by make_bound(). `T.__new__(T)` gives a Python object with no T behind it; at its first use
// pybind11 asks this operator new for memory and would take what lies there for a T.
template <class T>
struct Bound : T {
    using T::T;
    explicit Bound(T&& t) : T(std::move(t)) {}
    static void* operator new(std::size_t) { throw pybind11::type_error("this object was never initialised: call its class"); }
};
template <class T, class... Arguments>
std::unique_ptr<Bound<T>> make_bound(Arguments&&... arguments) {
    return std::unique_ptr<Bound<T>>(::new Bound<T>(std::forward<Arguments>(arguments)...));
}

// Hands scipy's BLAS to csrc/core/blas.
#include "bindings/bindings.hpp"

#include <string>

#include "core/blas.hpp"
#include "core/error.hpp"

namespace py = pybind11;
using namespace nnqft;

namespace {

// The function in capsule `name` of cython_blas.__pyx_capi__, whose capsules are named after their C types: one that does
// not begin with `type` has another calling convention (64-bit integers, say), and calling it would corrupt memory.
template <class F>
void take(const py::dict& api, const char* name, const std::string& type, F*& function) {
    const py::object capsule = api[name];
    const char* found = PyCapsule_GetName(capsule.ptr());
    if (!found) throw py::error_already_set();
    if (std::string(found).compare(0, type.size(), type) != 0)
        throw StateError(std::string("scipy.linalg.cython_blas.") + name + " has the type " + found + "; expected " + type + " ...): install scipy from PyPI or conda-forge");
    function = reinterpret_cast<F*>(PyCapsule_GetPointer(capsule.ptr(), found));
    if (!function) throw py::error_already_set();
}

template <class T>
BlasFunctions<T> functions(const py::dict& api, const std::string& letter) {
    BlasFunctions<T> f{};
    take(api, (letter + "gemm").c_str(), "void (char *, char *, int *, int *, int *, ", f.gemm);
    take(api, (letter + "gemv").c_str(), "void (char *, int *, int *, ", f.gemv);
    take(api, (letter + "symv").c_str(), "void (char *, int *, ", f.symv);
    return f;
}

}  // namespace

void bind_blas(py::module_& m) {
    m.def(
        "use_blas",
        [](const py::dict& api, std::uintptr_t set_threads, std::uintptr_t get_threads) {
            use_blas(functions<double>(api, "d"), functions<float>(api, "s"), reinterpret_cast<void (*)(int)>(set_threads),
                     reinterpret_cast<int (*)()>(get_threads));
        },
        py::arg("api"), py::arg("set_threads"), py::arg("get_threads"),
        "Dense products by the functions of cython_blas.__pyx_capi__; addresses of its thread switch and count, or 0 and 0.");
    m.def("blas_threads_known", &blas_threads_known, "Whether the BLAS in use tells its number of threads and lets it be set.");
    m.def("blas_is_external", &blas_is_external, "False while dense products are the plain loops of csrc/core/blas.cpp.");
}

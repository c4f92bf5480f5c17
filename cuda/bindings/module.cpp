// nnqft._cuda: pointers, sizes and streams as integers. Memory and streams belong to the caller (CuPy); no call waits
// for the device. Importing it needs no driver and starts nothing.
#include "cuda/bindings/bindings.hpp"

namespace py = pybind11;

namespace {

void translate(std::exception_ptr p) {
    const auto raise = [](const char* name, const std::exception& e) {
        py::set_error(py::module_::import("nnqft.errors").attr(name), e.what());
    };
    try {
        if (p) std::rethrow_exception(p);
    } catch (const nnqft::DeviceError& e) {
        raise("DeviceError", e);
    } catch (const nnqft::ShapeError& e) {
        raise("ShapeError", e);
    } catch (const nnqft::StateError& e) {
        raise("StateError", e);
    } catch (const nnqft::ArgumentError& e) {
        raise("ArgumentError", e);
    }
}

}  // namespace

PYBIND11_MODULE(_cuda, m, py::mod_gil_not_used()) {
    m.doc() = "Device kernels of nnqft. Private: call the modules of the package.";
    py::register_local_exception_translator(&translate);

    m.attr("flags") = NNQFT_CUDA_FLAGS;
    m.attr("architectures") = NNQFT_CUDA_ARCHITECTURES;
#if defined(NNQFT_EMULATED)
    m.attr("emulated") = true;  // the kernels run on the CPU, for tests
#else
    m.attr("emulated") = false;
#endif
    bind_core(m);
    bind_ensemble(m);
    bind_wick(m);
    bind_lanczos(m);
}

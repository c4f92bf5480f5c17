#include "bindings/bindings.hpp"

#include <chrono>
#include <thread>

#include "core/error.hpp"
#include "core/parallel.hpp"

namespace py = pybind11;

namespace {

py::object error_class(const char* name) { return py::module_::import("nnqft.errors").attr(name); }

void translate(std::exception_ptr p) {
    try {
        if (p) std::rethrow_exception(p);
    } catch (const nnqft::ShapeError& e) {
        py::set_error(error_class("ShapeError"), e.what());
    } catch (const nnqft::ArgumentError& e) {
        py::set_error(error_class("ArgumentError"), e.what());
    } catch (const nnqft::StateError& e) {
        py::set_error(error_class("StateError"), e.what());
    } catch (const nnqft::DeviceError& e) {
        py::set_error(error_class("DeviceError"), e.what());
    } catch (const nnqft::Error& e) {
        py::set_error(error_class("NNQFTError"), e.what());
    }
}

}  // namespace

void check_size(std::initializer_list<std::uint64_t> lengths) {
    double count = 1.0;
    for (std::uint64_t n : lengths) count *= static_cast<double>(n);
    if (count > 0x1p58) throw nnqft::ArgumentError("the array asked for is too large for the address space");
}

void hang() {
    nnqft::stop_everything(std::chrono::milliseconds(0));
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
    m.doc() = "Compiled kernels of nnqft. Private: call the modules of the package.";
    m.attr("__version__") = NNQFT_VERSION;
    py::register_exception_translator(&translate);
    bind_core(m);
    bind_ensemble(m);
    bind_wick(m);
    bind_moments(m);
    bind_moment_blocks(m);
    bind_wick_all(m);
    bind_hafnian(m);
    bind_hafnian_batch(m);
    bind_box(m);
    bind_blas(m);
    bind_lanczos(m);
    bind_restart(m);
    bind_nets(m);
}

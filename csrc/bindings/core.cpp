// Random numbers by address, activations, instruction sets, threads.
#include "bindings/bindings.hpp"

#include <pybind11/stl.h>

#include "core/error.hpp"
#include "core/isa.hpp"
#include "core/parallel.hpp"
#include "ensemble/ensemble.hpp"

namespace py = pybind11;
using namespace nnqft;

namespace {

void check_address(std::uint32_t tensor, std::uint64_t first, std::uint64_t nets, std::uint64_t rows, std::uint64_t columns) {
    const std::uint64_t limit = std::uint64_t{1} << 32;
    if (tensor >= (1u << 16) || first > kMaxNets || nets > kMaxNets - first || rows > 4 * limit || columns > limit)
        throw ArgumentError("address out of range: tensor < 2^16, net < 2^48, row < 2^34, column < 2^32");
    check_size({nets, rows, columns});
}

template <class T, class Fill>
py::array_t<T> fill(std::uint32_t tensor, std::uint64_t first, std::uint64_t nets, std::uint64_t rows, std::uint64_t columns, Fill&& fill) {
    check_address(tensor, first, nets, rows, columns);
    py::array_t<T> out({static_cast<py::ssize_t>(nets), static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(columns)});
    if (out.size() == 0) return out;  // 2^48 times nothing takes time, too
    T* data = out.mutable_data();
    const ReleaseGil release;
    const FpEnvironment guard;
    fill(data);
    return out;
}

template <class Real>
py::tuple activate(const EnsembleKernels<Real>& kernels, int kind, const std::vector<double>& params, const py::array_t<Real, py::array::c_style>& x,
                   bool derivatives) {
    if (params.size() > static_cast<std::size_t>(kMaxActivationParams)) throw ArgumentError("at most 16 activation parameters");
    check_activation(static_cast<Activation>(kind), static_cast<int>(params.size()));
    const std::vector<py::ssize_t> shape(x.shape(), x.shape() + x.ndim());
    py::array_t<Real> y(shape), dy(shape), d2y(shape);
    Real *py0 = y.mutable_data(), *py1 = derivatives ? dy.mutable_data() : nullptr, *py2 = derivatives ? d2y.mutable_data() : nullptr;
    {
        const ReleaseGil release;
        const FpEnvironment guard;
        kernels.activate(static_cast<Activation>(kind), params.data(), static_cast<int>(params.size()), x.data(), x.size(), py0, py1, py2);
    }
    if (derivatives) return py::make_tuple(y, dy, d2y);
    return py::make_tuple(y);
}

}  // namespace

void bind_core(py::module_& m) {
    m.def("isa", [] { return std::string(isa_name(resolve_isa(""))); }, "Instruction set in use.");
    m.def("isas", [] {
        std::vector<std::string> names;
        for (Isa isa : available_isas()) names.emplace_back(isa_name(isa));
        return names;
    }, "Instruction sets that this CPU and build have.");
    m.def("default_threads", &default_threads);
    m.def("stop_everything", [] {
        const ReleaseGil release;
        return stop_everything();
    }, "Stop every run and wait for its threads (at exit).");

    m.def("philox_words", [](std::uint64_t seed, std::uint32_t tensor, std::uint64_t first, std::uint64_t nets, std::uint64_t rows,
                             std::uint64_t columns, const std::string& isa) {
        const auto kernels = float32_kernels(resolve_isa(isa));
        return fill<std::uint32_t>(tensor, first, nets, rows, columns, [&](std::uint32_t* out) { kernels.words(seed, tensor, first, nets, rows, columns, out); });
    }, py::arg("seed"), py::arg("tensor"), py::arg("first_net"), py::arg("n_nets"), py::arg("rows"), py::arg("columns"), py::arg("isa") = "",
       "Random words at addresses (net, row, column), shape (n_nets, rows, columns).");
    m.def("normals", [](std::uint64_t seed, std::uint32_t tensor, std::uint64_t first, std::uint64_t nets, std::uint64_t rows,
                        std::uint64_t columns, float sigma, const std::string& isa) {
        const auto kernels = float32_kernels(resolve_isa(isa));
        return fill<float>(tensor, first, nets, rows, columns, [&](float* out) { kernels.normals(seed, tensor, first, nets, rows, columns, sigma, out); });
    }, py::arg("seed"), py::arg("tensor"), py::arg("first_net"), py::arg("n_nets"), py::arg("rows"), py::arg("columns"), py::arg("sigma") = 1.0f,
       py::arg("isa") = "", "Normals at addresses (net, row, column), shape (n_nets, rows, columns).");

    m.def("activate", [](int kind, const std::vector<double>& params, const py::array_t<float, py::array::c_style>& x, bool derivatives, const std::string& isa) {
        return activate<float>(float32_kernels(resolve_isa(isa)), kind, params, x, derivatives);
    }, py::arg("kind"), py::arg("params"), py::arg("x").noconvert(), py::arg("derivatives") = false, py::arg("isa") = "");
    m.def("activate", [](int kind, const std::vector<double>& params, const py::array_t<double, py::array::c_style>& x, bool derivatives, const std::string&) {
        return activate<double>(ensemble_kernels_float64(), kind, params, x, derivatives);
    }, py::arg("kind"), py::arg("params"), py::arg("x").noconvert(), py::arg("derivatives") = false, py::arg("isa") = "",
       "(y,) or (y, dy, d2y) of an activation, float32 or float64.");
}

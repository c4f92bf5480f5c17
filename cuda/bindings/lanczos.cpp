// Lanczos, sparse products, passes of nets and Hessians on a device. Objects hold addresses; whoever made them keeps the memory.
#include <pybind11/stl.h>

#include <cstddef>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "cuda/bindings/bindings.hpp"
#include "cuda/lanczos/csr.hpp"
#include "cuda/lanczos/lanczos.hpp"
#include "cuda/nets/fold.hpp"
#include "cuda/nets/hessian.hpp"
#include "cuda/nets/passes.hpp"

namespace py = pybind11;
using namespace nnqft;

namespace {

using Address = std::uintptr_t;
using Release = py::call_guard<py::gil_scoped_release>;

template <class T>
T* optional_pointer(Address address) {
    return device_pointer<T>(address, true, "an array");
}
template <class T>
T* pointer(Address address, const char* name) {
    return device_pointer<T>(address, false, name);
}

// What a run multiplies by without Python between its steps.
template <class T>
class DeviceOperator {
public:
    virtual ~DeviceOperator() = default;
    virtual cudaError_t apply(std::int64_t vectors, const T* X, T* Y, cudaStream_t stream) const = 0;
};

template <class T, class I>
class Csr : public DeviceOperator<T> {
public:
    Csr(const cuda::CsrMatrix<T, I>& A, double mean) : A_(A), lanes_(cuda::csr_lanes(mean)) {}
    cudaError_t apply(std::int64_t vectors, const T* X, T* Y, cudaStream_t stream) const override { return cuda::csr_apply(A_, lanes_, vectors, X, Y, stream); }

private:
    cuda::CsrMatrix<T, I> A_;
    int lanes_;
};

template <class T>
class HessianOperator : public DeviceOperator<T> {
public:
    HessianOperator(std::shared_ptr<const cuda::NetHessian<T>> hessian, cuda::LayerMask layers, std::int64_t together, T* workspace)
        : hessian_(std::move(hessian)), layers_(std::move(layers)), together_(together), workspace_(workspace) {}
    cudaError_t apply(std::int64_t vectors, const T* X, T* Y, cudaStream_t stream) const override {
        return hessian_->apply(X, Y, vectors, layers_, layers_, together_, workspace_, stream);
    }

private:
    std::shared_ptr<const cuda::NetHessian<T>> hessian_;
    cuda::LayerMask layers_;
    std::int64_t together_;
    T* workspace_;
};

cuda::Reorth reorth_of(const std::string& name) {
    if (name == "none") return cuda::Reorth::none;
    if (name == "full") return cuda::Reorth::full;
    if (name == "partial") return cuda::Reorth::partial;
    throw ArgumentError("unknown reorth " + name);
}
cuda::StartLaw law_of(const std::string& name) {
    if (name == "rademacher") return cuda::StartLaw::rademacher;
    if (name == "gaussian") return cuda::StartLaw::gaussian;
    if (name == "sphere") return cuda::StartLaw::sphere;
    throw ArgumentError("unknown distribution " + name);
}

template <class T>
void bind_run(py::module_& m, const char* bits) {
    using Run = cuda::LanczosRun<T>;
    using py::arg;
    const std::string suffix = bits;
    py::class_<DeviceOperator<T>, std::shared_ptr<DeviceOperator<T>>>(m, ("DeviceOperator" + suffix).c_str())
        .def("apply", [](const DeviceOperator<T>& A, int device, std::int64_t vectors, Address X, Address Y, Address stream) {
            cuda::use_device(device);
            cuda::check(A.apply(vectors, pointer<T>(X, "X"), pointer<T>(Y, "Y"), stream_of(stream)), "the product");
        }, arg("device"), arg("vectors"), arg("X"), arg("Y"), arg("stream"), Release());
    m.def(("csr" + suffix).c_str(), [](std::int64_t n, std::int64_t entries, bool wide, Address start, Address column, Address value) -> std::shared_ptr<DeviceOperator<T>> {
        const double mean = static_cast<double>(entries) / static_cast<double>(n);
        const bool empty = entries == 0;
        const T* const numbers = device_pointer<const T>(value, empty, "data");
        if (wide) return std::make_shared<Csr<T, std::int64_t>>(cuda::CsrMatrix<T, std::int64_t>{n, pointer<const std::int64_t>(start, "indptr"), device_pointer<const std::int64_t>(column, empty, "indices"), numbers}, mean);
        return std::make_shared<Csr<T, std::int32_t>>(cuda::CsrMatrix<T, std::int32_t>{n, pointer<const std::int32_t>(start, "indptr"), device_pointer<const std::int32_t>(column, empty, "indices"), numbers}, mean);
    }, arg("n"), arg("entries"), arg("wide"), arg("indptr"), arg("indices"), arg("data"));

    py::class_<Run>(m, ("LanczosRun" + suffix).c_str(), "Probes in lockstep: addresses of a run's memory on a device.")
        .def(py::init([](std::int64_t n, std::int64_t probes, std::int64_t capacity, const std::string& reorth, double epsilon, Address q, Address previous,
                         Address w, Address Q, Address alpha, Address beta, Address omega, Address probe, Address control, Address workspace) {
            if (!cuda::lanczos_fits(n, probes)) throw ArgumentError(std::to_string(probes) + " probes of size " + std::to_string(n) + " do not fit a grid");
            Run run;
            run.n = n;
            run.probes = probes;
            run.capacity = capacity;
            run.reorth = reorth_of(reorth);
            run.epsilon = epsilon;
            run.q = pointer<T>(q, "q");
            run.previous = pointer<T>(previous, "previous");
            run.w = pointer<T>(w, "w");
            run.Q = optional_pointer<T>(Q);
            if (run.reorth != cuda::Reorth::none && !run.Q) throw ArgumentError("reorthogonalisation needs the basis");
            run.alpha = optional_pointer<double>(alpha);
            run.beta = optional_pointer<double>(beta);
            run.omega = optional_pointer<double>(omega);
            run.probe = pointer<cuda::Probe>(probe, "probe");
            run.control = pointer<cuda::Control>(control, "control");
            run.workspace = pointer<double>(workspace, "workspace");
            return run;
        }), arg("n"), arg("probes"), arg("capacity"), arg("reorth"), arg("epsilon"), arg("q"), arg("previous"), arg("w"), arg("Q"), arg("alpha"), arg("beta"),
             arg("omega"), arg("probe"), arg("control"), arg("workspace"))
        .def("draw", [](const Run& run, int device, const std::string& law, std::uint64_t seed, std::uint64_t first, Address stream) {
            cuda::use_device(device);
            cuda::check(cuda::lanczos_draw(run, law_of(law), seed, first, stream_of(stream)), "lanczos_draw");
        }, arg("device"), arg("distribution"), arg("seed"), arg("first"), arg("stream"), Release(), "Start vectors into q.")
        .def("start", [](const Run& run, int device, bool drawn, Address stream) {
            cuda::use_device(device);
            cuda::check(cuda::lanczos_start(run, drawn, stream_of(stream)), "lanczos_start");
        }, arg("device"), arg("drawn"), arg("stream"), Release(), "q becomes a unit vector.")
        .def("step", [](const Run& run, int device, bool first, Address stream) {
            cuda::use_device(device);
            cuda::check(cuda::lanczos_step(run, first, stream_of(stream)), "lanczos_step");
        }, arg("device"), arg("first"), arg("stream"), Release(), "One step, once w = A q.")
        .def("advance", [](const Run& run, int device, const DeviceOperator<T>& A, std::int64_t steps, bool first, Address stream) {
            cuda::use_device(device);
            for (std::int64_t i = 0; i < steps; ++i) {
                cuda::check(A.apply(run.probes, run.q, run.w, stream_of(stream)), "the product");
                cuda::check(cuda::lanczos_step(run, first && i == 0, stream_of(stream)), "lanczos_step");
            }
        }, arg("device"), arg("operator"), arg("steps"), arg("first"), arg("stream"), Release(), "Products and steps.")
        .def("clear", [](const Run& run, int device, Address stream) {
            cuda::use_device(device);
            cuda::check(cuda::lanczos_clear(run, stream_of(stream)), "lanczos_clear");
        }, arg("device"), arg("stream"), Release(), "After a halt.")
        .def_static("workspace_size", [](std::int64_t n, std::int64_t probes, std::int64_t capacity, const std::string& reorth) {
            return cuda::lanczos_workspace_size(n, probes, capacity, reorth_of(reorth));
        }, arg("n"), arg("probes"), arg("capacity"), arg("reorth"), "In float64 numbers.");
}

// in, out, bias, activation, its parameters, amplitude, skip, normaliser, offset
using LayerTuple = std::tuple<std::int64_t, std::int64_t, bool, int, std::vector<double>, std::vector<double>, double, double, double>;

Network network_of(const std::vector<LayerTuple>& tuples) {
    std::vector<NetLayer> layers;
    for (const auto& [in, out, bias, activation, params, amplitude, skip, normaliser, offset] : tuples)
        layers.push_back({in, out, bias, static_cast<Activation>(activation), params, amplitude, skip, normaliser, offset});
    return Network(std::move(layers));
}

// One row per layer: first rows of its input, gate, curve and delta in the activities, and its range of parameters.
std::vector<std::vector<std::int64_t>> places_of(const Network& net) {
    std::vector<std::vector<std::int64_t>> places;
    for (int l = 0; l < net.depth(); ++l) {
        const LayerPlace& p = net.place(l);
        places.push_back({p.input, p.gate, p.curve, p.delta, p.begin, p.end});
    }
    return places;
}

void bind_net(py::module_& m) {
    using py::arg;
    py::class_<Network>(m, "DeviceNet", "Layers of a net, and its passes in float64.")
        .def(py::init([](const std::vector<LayerTuple>& layers) { return network_of(layers); }), arg("layers"))
        .def_property_readonly("rows", &Network::rows, "Numbers that are kept of one sample.")
        .def_property_readonly("places", &places_of)
        .def("check", [](const Network& net, std::int64_t samples) { cuda::check_limits(net, samples); }, arg("samples"))
        .def("forward", [](const Network& net, int device, std::int64_t samples, Address theta, Address amplitudes, Address activities, Address outputs,
                           Address workspace, int multiprocessors, Address stream) {
            cuda::use_device(device);
            cuda::check(cuda::net_forward(net, pointer<const double>(theta, "theta"), optional_pointer<const double>(amplitudes),
                                          {pointer<double>(activities, "activities"), samples}, pointer<double>(outputs, "outputs"),
                                          pointer<double>(workspace, "workspace"), multiprocessors, stream_of(stream)), "net_forward");
        }, arg("device"), arg("samples"), arg("theta"), arg("amplitudes"), arg("activities"), arg("outputs"), arg("workspace"), arg("multiprocessors"),
             arg("stream"), Release())
        .def("backward", [](const Network& net, int device, std::int64_t samples, Address theta, Address activities, Address workspace, int multiprocessors,
                            Address stream) {
            cuda::use_device(device);
            cuda::check(cuda::net_backward(net, pointer<const double>(theta, "theta"), {pointer<double>(activities, "activities"), samples},
                                           pointer<double>(workspace, "workspace"), multiprocessors, stream_of(stream)), "net_backward");
        }, arg("device"), arg("samples"), arg("theta"), arg("activities"), arg("workspace"), arg("multiprocessors"), arg("stream"), Release())
        .def("gradient", [](const Network& net, int device, std::int64_t samples, Address activities, Address out, Address workspace, int multiprocessors,
                            Address stream) {
            cuda::use_device(device);
            cuda::check(cuda::net_gradient(net, {pointer<double>(activities, "activities"), samples}, pointer<double>(out, "out"),
                                           pointer<double>(workspace, "workspace"), multiprocessors, stream_of(stream)), "net_gradient");
        }, arg("device"), arg("samples"), arg("activities"), arg("out"), arg("workspace"), arg("multiprocessors"), arg("stream"), Release())
        .def("fold", [](const Network& net, int device, std::int64_t samples, Address theta, Address activities, Address constant, Address workspace,
                        int multiprocessors, Address stream) {
            cuda::use_device(device);
            cuda::check(cuda::net_fold(net, pointer<const double>(theta, "theta"), {pointer<double>(activities, "activities"), samples},
                                       optional_pointer<double>(constant), pointer<double>(workspace, "workspace"), multiprocessors, stream_of(stream)), "net_fold");
        }, arg("device"), arg("samples"), arg("theta"), arg("activities"), arg("constant"), arg("workspace"), arg("multiprocessors"), arg("stream"), Release())
        .def_property_readonly("folded_size", [](const Network& net) {
            return net.folded() < 0 ? 0 : net.place(net.folded()).end - net.place(net.folded()).begin;
        }, "Numbers of what fold() sums over samples; 0: the net does not fold.")
        .def("fold_workspace_size", &cuda::net_fold_workspace_size, arg("samples"), "In float64 numbers.")
        .def("backward_workspace_size", &cuda::net_backward_workspace_size, arg("samples"), "In float64 numbers.")
        .def("gradient_workspace_size", [](const Network& net, std::int64_t samples) { return net.size() * cuda::net_slabs(net.size(), samples); },
             arg("samples"), "In float64 numbers.");
    m.def("narrow", [](int device, std::int64_t count, Address from, Address to, Address stream) {
        cuda::use_device(device);
        cuda::check(cuda::narrow(count, device_pointer<const double>(from, count == 0, "from"), device_pointer<float>(to, count == 0, "to"), stream_of(stream)), "narrow");
    }, arg("device"), arg("count"), arg("source"), arg("out"), arg("stream"), Release(), "float64 rounded to float32.");
}

template <class T>
void bind_hessian(py::module_& m, const char* name) {
    using Hessian = cuda::NetHessian<T>;
    using Mask = std::vector<bool>;
    using py::arg;
    const auto mask = [](const Mask& layers) { return cuda::LayerMask(layers.begin(), layers.end()); };
    py::class_<Hessian, std::shared_ptr<Hessian>>(m, name, "Products with the Hessian of a net's risk.")
        .def(py::init([](const Network& net, std::int64_t samples, bool diagonal, bool rank_one, double sign, bool matrix, bool gauss_newton, double decay,
                         Address theta, Address cache, Address constant, int multiprocessors) {
            if (constant == 0 && net.folded() >= 0 && !gauss_newton) throw ArgumentError("constant is a null pointer");
            cuda::LossParts loss;
            loss.diagonal = diagonal;
            loss.rank_one = rank_one;
            loss.sign = sign;
            loss.matrix = matrix;
            return std::make_shared<Hessian>(net, samples, loss, gauss_newton, decay, pointer<const T>(theta, "theta"),
                                             device_pointer<const T>(cache, samples == 0, "cache"), optional_pointer<const T>(constant), multiprocessors);
        }), arg("net"), arg("samples"), arg("diagonal"), arg("rank_one"), arg("sign"), arg("matrix"), arg("gauss_newton"), arg("decay"), arg("theta"),
             arg("cache"), arg("constant"), arg("multiprocessors"))
        .def("apply", [mask](const Hessian& h, int device, Address X, Address Y, std::int64_t vectors, const Mask& rows, const Mask& columns,
                             std::int64_t together, Address workspace, Address stream) {
            cuda::use_device(device);
            cuda::check(h.apply(device_pointer<const T>(X, vectors == 0, "X"), device_pointer<T>(Y, vectors == 0, "Y"), vectors, mask(rows), mask(columns),
                                together, pointer<T>(workspace, "workspace"), stream_of(stream)), "the product with a Hessian");
        }, arg("device"), arg("X"), arg("Y"), arg("vectors"), arg("rows"), arg("columns"), arg("together"), arg("workspace"), arg("stream"), Release())
        .def("workspace_size", [mask](const Hessian& h, std::int64_t together, const Mask& rows) { return h.workspace_size(together, mask(rows)); },
             arg("together"), arg("rows"), "In numbers of the vectors' type.")
        .def("native", [mask](const std::shared_ptr<Hessian>& h, const Mask& layers, std::int64_t together, Address workspace) -> std::shared_ptr<DeviceOperator<T>> {
            return std::make_shared<HessianOperator<T>>(h, mask(layers), together, pointer<T>(workspace, "workspace"));
        }, arg("layers"), arg("together"), arg("workspace"), "The block on these layers, for runs without Python.");
}

}  // namespace

void bind_lanczos(py::module_& m) {
    bind_run<double>(m, "64");
    bind_run<float>(m, "32");
    // Where Python finds what it reads back.
    const auto field = [](const char* name, std::size_t offset, const char* type) { return py::make_tuple(name, offset, type); };
    m.attr("lanczos_probe") = py::make_tuple(sizeof(cuda::Probe), field("norm2", offsetof(cuda::Probe, norm2), "f8"), field("steps", offsetof(cuda::Probe, steps), "i4"),
                                             field("breakdown", offsetof(cuda::Probe, breakdown), "i4"), field("bad", offsetof(cuda::Probe, bad), "i4"));
    m.attr("lanczos_control") = py::make_tuple(sizeof(cuda::Control), field("step", offsetof(cuda::Control, step), "i4"), field("halted", offsetof(cuda::Control, halted), "i4"));
    bind_net(m);
    bind_hessian<float>(m, "DeviceHessian32");
    bind_hessian<double>(m, "DeviceHessian64");
}

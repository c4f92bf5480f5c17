// Python face of csrc/nets: a net's outputs, gradients, and products with its Hessians.
#include "bindings/bindings.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/team.hpp"
#include "lanczos/operator.hpp"
#include "nets/hessian.hpp"
#include "nets/jacobian.hpp"

namespace py = pybind11;
using namespace nnqft;

namespace {

constexpr double kFlopsForThreads = 5e7;  // .3 ms; threads cost some 50 us to start

// in, out, bias, activation, its parameters, amplitude, skip, normaliser, offset; the numbers of a ConvShape in their order, or none
using LayerTuple = std::tuple<std::int64_t, std::int64_t, bool, int, std::vector<double>, std::vector<double>, double, double, double,
                              std::vector<std::int64_t>>;

ConvShape conv_of(const std::vector<std::int64_t>& n) {
    if (n.empty()) return {};
    if (n.size() != 12 || n[4] < 1) throw ArgumentError("a convolution is described by 12 numbers, the fifth its kernel");
    return {n[0], n[1], n[2], n[3], n[4], n[5], n[6], {n[7], n[8]}, {n[9], n[10]}, n[11] != 0};
}

Network network_of(const std::vector<LayerTuple>& tuples) {
    std::vector<NetLayer> layers;
    for (const auto& [in, out, bias, activation, params, amplitude, skip, normaliser, offset, conv] : tuples) {
        if (activation < 0 || activation > static_cast<int>(Activation::polynomial)) throw ArgumentError("unknown activation");
        if (params.size() > kMaxActivationParams) throw ArgumentError("too many parameters of an activation");
        const auto kind = static_cast<Activation>(activation);
        if (params.empty() && (kind == Activation::leaky_relu || kind == Activation::polynomial))
            throw ArgumentError("this activation has parameters");
        layers.push_back({in, out, bias, kind, params, amplitude, skip, normaliser, offset, conv_of(conv)});
    }
    return Network(std::move(layers));
}

std::string describe(const py::array& a) {
    return "dtype " + py::str(a.dtype()).cast<std::string>() + " and shape " + py::str(a.attr("shape")).cast<std::string>();
}

// The numbers of a C-contiguous aligned array of T with this shape.
template <class T>
const T* numbers(const py::array& a, std::initializer_list<std::int64_t> shape, const char* name) {
    bool fits = py::isinstance<py::array_t<T, py::array::c_style>>(a) && reinterpret_cast<std::uintptr_t>(a.data()) % alignof(T) == 0 &&
                a.ndim() == static_cast<py::ssize_t>(shape.size());
    py::ssize_t axis = 0;
    std::string wanted;
    for (std::int64_t n : shape) {
        fits = fits && a.shape(axis++) == n;
        wanted += std::to_string(n) + ", ";
    }
    if (!fits)
        throw ShapeError(std::string(name) + " has " + describe(a) + "; expected contiguous " + py::str(py::dtype::of<T>()).cast<std::string>() +
                         " of shape (" + wanted + ")");
    return static_cast<const T*>(a.data());
}
const double* optional_numbers(const std::optional<py::array>& a, std::initializer_list<std::int64_t> shape, const char* name) {
    return a ? numbers<double>(*a, shape, name) : nullptr;
}

void python_poll() {
    with_gil([] { return PyErr_CheckSignals() == 0; });
}

template <class Body>
void with_team(unsigned threads, double flops, const Body& body) {
    const ReleaseGil release;
    const FpEnvironment guard;
    Team team(flops < kFlopsForThreads ? 1u : std::max(1u, threads), python_poll);
    body(team);
}

Samples samples_of(const Network& net, const py::array& x) {
    const std::int64_t count = x.ndim() == 2 ? x.shape(0) : 0;
    return {numbers<double>(x, {count, net.dim_in()}, "X"), count};
}

LayerMask mask_of(const Network& net, const std::vector<bool>& layers) {
    if (!layers.empty() && layers.size() != net.layers().size()) throw ShapeError("one flag per layer is needed");
    return LayerMask(layers.begin(), layers.end());
}

// The block on some layers, for whole runs of Lanczos without Python.
template <class T>
class HessianOperator : public Operator<T> {
public:
    HessianOperator(std::shared_ptr<const NetHessian<T>> hessian, LayerMask layers) : hessian_(std::move(hessian)), layers_(std::move(layers)) {}
    std::int64_t size() const override { return hessian_->size(layers_); }
    Layout layout() const override { return Layout::columns; }
    void apply(const T* X, T* Y, int columns, Team& team) override { hessian_->apply(X, Y, columns, layers_, layers_, team); }

private:
    std::shared_ptr<const NetHessian<T>> hessian_;
    LayerMask layers_;
};

template <class T>
void bind_hessian(py::module_& m, const char* name) {
    using Hessian = Bound<NetHessian<T>>;
    py::class_<Hessian, std::shared_ptr<Hessian>>(m, name, "Products with the Hessian of a net's risk.")
        .def(py::init([](const Bound<Network>& net, const py::array& theta, const py::array& x, const std::optional<py::array>& first,
                         const std::optional<py::array>& diagonal, const std::optional<py::array>& rank_one, double sign,
                         const std::optional<py::array>& matrix, bool gauss_newton, double decay, unsigned threads) {
            const Samples samples = samples_of(net, x);
            const std::int64_t n = samples.count, dim = net.dim_out();
            const double* const parameters = numbers<double>(theta, {net.size()}, "theta");
            if (!first && !gauss_newton) throw ArgumentError("the residual part takes first derivatives of the loss");
            const LossDerivatives loss = {optional_numbers(first, {n, dim}, "first"), optional_numbers(diagonal, {n, dim}, "diagonal"),
                                          optional_numbers(rank_one, {n, dim}, "rank_one"), sign, optional_numbers(matrix, {n, dim, dim}, "matrix")};
            std::shared_ptr<Hessian> made;
            with_team(threads, 12.0 * static_cast<double>(n) * net.products(), [&](Team& team) {
                made = make_bound<NetHessian<T>>(static_cast<const Network&>(net), parameters, samples, loss, gauss_newton, decay, team);
            });
            return made;
        }), py::arg("net"), py::arg("theta"), py::arg("X"), py::arg("first"), py::arg("diagonal"), py::arg("rank_one"), py::arg("sign"),
             py::arg("matrix"), py::arg("gauss_newton"), py::arg("decay"), py::arg("threads"))
        .def("apply", [](const Hessian& h, const py::array& vectors, const std::vector<bool>& rows, const std::vector<bool>& columns,
                         unsigned threads) {
            const LayerMask row_mask = mask_of(h.net(), rows), column_mask = mask_of(h.net(), columns);
            const std::int64_t n = vectors.ndim() == 2 ? vectors.shape(0) : 0, size = h.size(row_mask);
            const T* const from = numbers<T>(vectors, {n, h.size(column_mask)}, "V");
            check_size({static_cast<std::uint64_t>(n), static_cast<std::uint64_t>(size)});
            py::array_t<T> out({n, size});
            T* const to = out.mutable_data();
            with_team(threads, h.flops() * static_cast<double>(n), [&](Team& team) { h.apply(from, to, n, row_mask, column_mask, team); });
            return out;
        }, py::arg("V"), py::arg("rows"), py::arg("columns"), py::arg("threads"), "One product per row of V.")
        .def("native", [](const std::shared_ptr<Hessian>& h, const std::vector<bool>& layers) -> std::shared_ptr<Operator<T>> {
            return std::make_shared<HessianOperator<T>>(h, mask_of(h->net(), layers));
        }, py::arg("layers"), "The block on these layers, as an operator in C++.")
        .def("entries", [](const Hessian& h, const py::array& rows, const py::array& columns, bool per_sample, std::int64_t n_samples,
                           unsigned threads) {
            const std::int64_t n = rows.ndim() == 1 ? rows.shape(0) : 0, size = h.net().size();
            const auto *i = numbers<std::int64_t>(rows, {n}, "rows"), *j = numbers<std::int64_t>(columns, {n}, "columns");
            for (std::int64_t m = 0; m < n; ++m)
                if (i[m] < 0 || i[m] >= size || j[m] < 0 || j[m] >= size || (m > 0 && j[m] < j[m - 1]))
                    throw ArgumentError("indices out of range or order");
            if (n_samples != h.count()) throw ShapeError("another number of samples");
            check_size({static_cast<std::uint64_t>(n), static_cast<std::uint64_t>(per_sample ? n_samples : 1)});
            py::array_t<double> out(per_sample ? n_samples * n : n);
            double* const to = out.mutable_data();
            with_team(threads, 1e18, [&](Team& team) { h.entries(i, j, n, per_sample, to, team); });
            return out;
        }, py::arg("rows"), py::arg("columns"), py::arg("per_sample"), py::arg("n_samples"), py::arg("threads"), "Columns ascending.");
}

template <class T>
void bind_jacobian(py::module_& m, const char* name) {
    using Jacobian = Bound<NetJacobian<T>>;
    // One product per row of `vectors`, each `in` numbers, with rows of `size`.
    const auto products = [](const Jacobian& j, const py::array& vectors, std::int64_t in, std::int64_t size, unsigned threads, const auto& body) {
        const std::int64_t n = vectors.ndim() == 2 ? vectors.shape(0) : 0;
        const T* const from = numbers<T>(vectors, {n, in}, "V");
        check_size({static_cast<std::uint64_t>(n), static_cast<std::uint64_t>(size)});
        py::array_t<T> out({n, size});
        T* const to = out.mutable_data();
        with_team(threads, j.flops() * static_cast<double>(n), [&](Team& team) { body(from, to, n, team); });
        return out;
    };
    py::class_<Jacobian, std::shared_ptr<Jacobian>>(m, name, "Products with the Jacobians of a net's outputs and activities.")
        .def(py::init([](const Bound<Network>& net, const py::array& theta, const py::array& x, unsigned threads) {
            const Samples samples = samples_of(net, x);
            const double* const parameters = numbers<double>(theta, {net.size()}, "theta");
            std::shared_ptr<Jacobian> made;
            with_team(threads, 2.0 * static_cast<double>(samples.count) * net.products(), [&](Team& team) {
                made = make_bound<NetJacobian<T>>(static_cast<const Network&>(net), parameters, samples, team);
            });
            return made;
        }), py::arg("net"), py::arg("theta"), py::arg("X"), py::arg("threads"))
        .def("by_parameters", [products](const Jacobian& j, const py::array& vectors, const std::vector<bool>& layers, bool transposed, unsigned threads) {
            const LayerMask mask = mask_of(j.net(), layers);
            const std::int64_t outputs = j.count() * j.net().dim_out(), parameters = size_of(j.net(), mask);
            return products(j, vectors, transposed ? outputs : parameters, transposed ? parameters : outputs, threads,
                            [&](const T* from, T* to, std::int64_t n, Team& team) {
                                if (transposed) j.apply_transposed(from, to, n, mask, team);
                                else j.apply(from, to, n, mask, team);
                            });
        }, py::arg("V"), py::arg("layers"), py::arg("transposed"), py::arg("threads"), "J v, or J^T v, for each row v of V.")
        .def("by_activities", [products](const Jacobian& j, const py::array& vectors, int start, int stop, bool transposed, unsigned threads) {
            if (start < 0 || stop <= start || stop > j.net().depth()) throw ArgumentError("layers out of range or order");
            const std::int64_t below = j.count() * j.net().width(start), above = j.count() * j.net().width(stop);
            return products(j, vectors, transposed ? above : below, transposed ? below : above, threads,
                            [&](const T* from, T* to, std::int64_t n, Team& team) { j.chain(from, to, n, start, stop, transposed, team); });
        }, py::arg("V"), py::arg("start"), py::arg("stop"), py::arg("transposed"), py::arg("threads"), "From h_start to h_stop, or back.");
}

}  // namespace

void bind_nets(py::module_& m) {
    py::class_<Bound<Network>>(m, "NetStructure", "Layers of a net, without its parameters.")
        .def(py::init([](const std::vector<LayerTuple>& layers) { return make_bound<Network>(network_of(layers)); }), py::arg("layers"))
        .def_property_readonly("size", &Network::size)
        .def_property_readonly("ranges", [](const Bound<Network>& net) {
            std::vector<std::pair<std::int64_t, std::int64_t>> ranges;
            for (int l = 0; l < net.depth(); ++l) ranges.emplace_back(net.place(l).begin, net.place(l).end);
            return ranges;
        });
    m.def("net_outputs", [](const Bound<Network>& net, const py::array& theta, const py::array& x, unsigned threads) {
        const Samples samples = samples_of(net, x);
        const double* const parameters = numbers<double>(theta, {net.size()}, "theta");
        py::array_t<double> out({samples.count, net.dim_out()});
        double* const to = out.mutable_data();
        const double flops = 2.0 * static_cast<double>(samples.count) * net.products();
        with_team(threads, flops, [&](Team& team) { net_outputs(net, parameters, samples, to, team); });
        return out;
    }, py::arg("net"), py::arg("theta"), py::arg("X"), py::arg("threads"));
    m.def("net_gradient", [](const Bound<Network>& net, const py::array& theta, const py::array& x, const py::array& first, unsigned threads) {
        const Samples samples = samples_of(net, x);
        const double* const parameters = numbers<double>(theta, {net.size()}, "theta");
        const double* const deltas = numbers<double>(first, {samples.count, net.dim_out()}, "first");
        py::array_t<double> out(net.size());
        double* const to = out.mutable_data();
        const double flops = 6.0 * static_cast<double>(samples.count) * net.products();
        with_team(threads, flops, [&](Team& team) { net_gradient(net, parameters, samples, deltas, to, team); });
        return out;
    }, py::arg("net"), py::arg("theta"), py::arg("X"), py::arg("first"), py::arg("threads"));
    bind_hessian<float>(m, "NetHessianF32");
    bind_hessian<double>(m, "NetHessianF64");
    bind_jacobian<float>(m, "NetJacobianF32");
    bind_jacobian<double>(m, "NetJacobianF64");
}

// Ensembles, moment programs, accumulators.
#include "bindings/bindings.hpp"

#include <pybind11/stl.h>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "ensemble/ensemble.hpp"

namespace py = pybind11;
using namespace nnqft;

namespace {

using Doubles = py::array_t<double, py::array::c_style>;

std::vector<double> to_vector(const py::handle& x) {
    const auto a = py::cast<Doubles>(x);
    return {a.data(), a.data() + a.size()};
}

template <class Enum>
Enum pick(const std::string& name, std::initializer_list<std::pair<const char*, Enum>> names) {
    for (const auto& [known, value] : names)
        if (name == known) return value;
    throw ArgumentError("unknown name '" + name + "'");
}

TensorLaw law_from(const py::dict& d, std::vector<double>& values) {
    TensorLaw law;
    law.law = pick<Law>(py::cast<std::string>(d["law"]), {{"zero", Law::zero}, {"normal", Law::normal}, {"uniform", Law::uniform}, {"sign", Law::sign},
                                                          {"student_t", Law::student_t}, {"ball", Law::ball}, {"array", Law::array}});
    law.scale = py::cast<double>(d["scale"]);
    law.nu = py::cast<double>(d["nu"]);
    if (law.law == Law::array) {
        values = to_vector(d["values"]);
        law.array_start = py::cast<std::uint64_t>(d["start"]);
        law.array_nets = py::cast<std::uint64_t>(d["nets"]);
    }
    return law;
}

Ensemble::Description describe(const py::list& layers, const Doubles& points, int dim_out, std::uint64_t seed, const std::string& sampler,
                               const std::string& estimator, double field_scale, bool float64, const std::string& isa, const py::object& amplitude) {
    Ensemble::Description d;
    d.field_scale = field_scale;
    if (points.ndim() != 2) throw ShapeError("points must have shape (n_points, dim_in)");
    d.n_points = static_cast<int>(points.shape(0));
    d.dim_in = static_cast<int>(points.shape(1));
    d.points = to_vector(points);
    d.dim_out = dim_out;
    d.seed = seed;
    d.sampler = pick<Sampler>(sampler, {{"weights", Sampler::weights}, {"layer", Sampler::layer}});
    d.estimator = pick<Estimator>(estimator, {{"direct", Estimator::direct}, {"gram", Estimator::gram}, {"neuron", Estimator::neuron}});
    d.float64 = float64;
    d.isa = isa;
    d.arrays.resize(2 * layers.size());
    for (std::size_t l = 0; l < layers.size(); ++l) {
        const auto entry = py::cast<py::dict>(layers[l]);
        Layer layer;
        layer.fan_in = py::cast<int>(entry["fan_in"]);
        layer.fan_out = py::cast<int>(entry["fan_out"]);
        layer.weight = law_from(py::cast<py::dict>(entry["weight"]), d.arrays[2 * l]);
        layer.bias = law_from(py::cast<py::dict>(entry["bias"]), d.arrays[2 * l + 1]);
        layer.activation = static_cast<Activation>(py::cast<int>(entry["activation"]));
        const auto params = py::cast<std::vector<double>>(entry["params"]);
        if (params.size() > static_cast<std::size_t>(kMaxActivationParams)) throw ArgumentError("at most 16 activation parameters");
        layer.n_params = static_cast<int>(params.size());
        std::copy(params.begin(), params.end(), layer.params);
        layer.normalised = py::cast<bool>(entry["normalised"]);
        layer.gain = py::cast<double>(entry["gain"]);
        layer.weight_variance = py::cast<double>(entry["weight_variance"]);
        layer.bias_variance = py::cast<double>(entry["bias_variance"]);
        d.layers.push_back(layer);
    }
    if (!amplitude.is_none()) {
        const auto pair = py::cast<py::tuple>(amplitude);
        d.amplitude = to_vector(pair[0]);
        d.amplitude_max = py::cast<double>(pair[1]);
    }
    return d;
}

// Signals and progress, from the thread that started the run.
Poll python_poll(const py::object& progress) {
    return [&progress](std::uint64_t done) {
        const py::gil_scoped_acquire gil;
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();
        if (!progress.is_none()) progress(done);
        return true;
    };
}

py::array_t<std::uint64_t> interval_array(const std::vector<std::pair<std::uint64_t, std::uint64_t>>& intervals) {
    py::array_t<std::uint64_t> out({static_cast<py::ssize_t>(intervals.size()), py::ssize_t{2}});
    auto* data = out.mutable_data();
    for (const auto& [start, stop] : intervals) *data++ = start, *data++ = stop;
    return out;
}

void bind_accumulator(py::module_& m) {
    py::class_<Accumulator>(m, "Accumulator", "Exact block sums of a run, in 64 replicas, and the nets they cover.")
        .def(py::init([](std::int64_t n_sums, std::uint64_t block) {
            if (n_sums < 1 || block < 1) throw ArgumentError("an accumulator needs at least one moment and one net per block");
            return std::make_unique<Accumulator>(n_sums, block);
        }), py::arg("n_sums"), py::arg("block"))
        .def_property_readonly("n_sums", &Accumulator::n_sums)
        .def_property_readonly("block", &Accumulator::block)
        .def_property_readonly("n_nets", &Accumulator::n_nets)
        .def_property_readonly("nbytes", &Accumulator::bytes)
        .def_property_readonly("bad_blocks", &Accumulator::bad_blocks)
        .def_property_readonly("first_bad", &Accumulator::first_bad)
        .def("merge", &Accumulator::merge, py::call_guard<py::gil_scoped_release>())
        .def("covered", [](const Accumulator& a) { return interval_array(a.covered()); })
        .def("missing", [](const Accumulator& a, std::uint64_t first, std::uint64_t last) { return interval_array(a.missing(first, last)); })
        .def("total", [](const Accumulator& a) {
            py::array_t<double> sums(a.n_sums());
            double* data = sums.mutable_data();
            py::gil_scoped_release release;
            a.total(data);
            return sums;
        })
        .def("replica_sums", [](const Accumulator& a) {
            py::array_t<double> sums({py::ssize_t{kReplicas}, static_cast<py::ssize_t>(a.n_sums())});
            py::array_t<std::uint64_t> nets(kReplicas), blocks(kReplicas);
            auto *s = sums.mutable_data();
            auto *n = nets.mutable_data(), *b = blocks.mutable_data();
            {
                py::gil_scoped_release release;
                a.replica_sums(s, n, b);
            }
            return py::make_tuple(sums, nets, blocks);
        }, "(sums (64, n_sums), nets (64,), blocks (64,)).")
        .def("state", [](Accumulator& a) {
            py::list limbs;
            py::array_t<std::int64_t> bases(kReplicas);
            for (int r = 0; r < kReplicas; ++r) {
                const ExactSums& sums = a.canonical_replica(r);
                py::array_t<std::int64_t> planes({static_cast<py::ssize_t>(sums.planes()), static_cast<py::ssize_t>(sums.size())});
                std::copy(sums.data(), sums.data() + sums.planes() * sums.size(), planes.mutable_data());
                bases.mutable_at(r) = sums.base();
                limbs.append(planes);
            }
            py::array_t<std::uint64_t> nets(kReplicas), blocks(kReplicas);
            std::vector<double> unused(static_cast<std::size_t>(kReplicas * a.n_sums()));
            a.replica_sums(unused.data(), nets.mutable_data(), blocks.mutable_data());
            return py::make_tuple(limbs, bases, nets, blocks, interval_array(a.covered()), py::make_tuple(a.bad_blocks(), a.first_bad()));
        }, "Canonical state: equal results give equal bytes.")
        .def("restore", [](Accumulator& a, const py::list& limbs, const std::vector<std::int64_t>& bases, const std::vector<std::uint64_t>& nets,
                           const std::vector<std::uint64_t>& blocks, const std::vector<std::pair<std::uint64_t, std::uint64_t>>& covered,
                           std::uint64_t bad_blocks, std::uint64_t first_bad) {
            if (limbs.size() != kReplicas || bases.size() != kReplicas || nets.size() != kReplicas || blocks.size() != kReplicas)
                throw StateError("a stored accumulator must have 64 replicas");
            for (int r = 0; r < kReplicas; ++r) {
                const auto index = static_cast<std::size_t>(r);
                const auto planes = py::cast<py::array_t<std::int64_t, py::array::c_style>>(limbs[index]);
                if (planes.ndim() != 2 || planes.shape(1) != a.n_sums()) throw StateError("stored sums have another number of moments");
                if (bases[index] < -64 || bases[index] > 64) throw StateError("stored sums have an impossible exponent");
                a.restore_replica(r, ExactSums::restore(static_cast<std::size_t>(a.n_sums()), static_cast<int>(bases[index]),
                                                        static_cast<std::size_t>(planes.shape(0)), planes.data()), nets[index], blocks[index]);
            }
            a.restore_cover(covered, bad_blocks, first_bad);
        });
}

}  // namespace

void bind_ensemble(py::module_& m) {
    m.def("block_size", &block_size, py::arg("n_nets"), py::arg("n_sums"));
    m.def("accumulator_bytes", &Accumulator::expected_bytes, py::arg("n_sums"));
    m.attr("MAX_NETS") = kMaxNets;
    bind_accumulator(m);

    py::class_<Program>(m, "Program", "Which products of fields are summed.")
        .def_readonly("n_fields", &Program::n_fields)
        .def_readonly("n_sums", &Program::n_sums)
        .def_readonly("n_slots", &Program::n_slots)
        .def_readonly("orders", &Program::orders)
        .def_readonly("offsets", &Program::offsets);
    m.def("dense_program", [](int n_fields, const std::vector<int>& orders) {
        if (n_fields < 1) throw ArgumentError("at least one field is needed");
        for (int n : orders)
            if (n != 1 && n != 2 && n != 3 && n != 4 && n != 6 && n != 8) throw ArgumentError("orders are 1, 2, 3, 4, 6, 8");
        return dense_program(n_fields, orders);
    }, py::arg("n_fields"), py::arg("orders"));
    m.def("listed_program", [](int n_fields, const std::vector<int>& orders, const std::vector<py::array_t<std::int32_t, py::array::c_style>>& lists, int stride) {
        if (lists.size() != orders.size()) throw ShapeError("one list per order is expected");
        std::vector<std::vector<std::int32_t>> rows;
        for (std::size_t q = 0; q < lists.size(); ++q) {
            if (lists[q].ndim() != 2 || lists[q].shape(1) != orders[q]) throw ShapeError("a list must have shape (count, order)");
            rows.emplace_back(lists[q].data(), lists[q].data() + lists[q].size());
        }
        return listed_program(n_fields, orders, rows, stride);
    }, py::arg("n_fields"), py::arg("orders"), py::arg("lists"), py::arg("stride"));

    py::class_<Ensemble>(m, "Ensemble", "An ensemble bound to its inputs.")
        .def(py::init([](const py::list& layers, const Doubles& points, int dim_out, std::uint64_t seed, const std::string& sampler, const std::string& estimator,
                         double field_scale, bool float64, const std::string& isa, const py::object& amplitude) {
            return std::make_unique<Ensemble>(describe(layers, points, dim_out, seed, sampler, estimator, field_scale, float64, isa, amplitude));
        }), py::kw_only(), py::arg("layers"), py::arg("points"), py::arg("dim_out"), py::arg("seed"), py::arg("sampler"), py::arg("estimator"),
            py::arg("field_scale"), py::arg("float64"), py::arg("isa"), py::arg("amplitude") = py::none())
        .def_property_readonly("first_rank", &Ensemble::first_rank)
        .def_property_readonly("isa", [](const Ensemble& e) { return std::string(isa_name(e.isa())); })
        .def("run", [](const Ensemble& e, const Program& program, std::uint64_t first, std::uint64_t last, unsigned threads, Accumulator& into, const py::object& progress) {
            const Poll poll = python_poll(progress);
            py::gil_scoped_release release;
            return e.run(program, first, last, threads, into, poll);
        }, py::arg("program"), py::arg("first"), py::arg("last"), py::arg("threads"), py::arg("into"), py::arg("progress") = py::none())
        .def("outputs", [](const Ensemble& e, std::uint64_t first, std::uint64_t last, unsigned threads, const py::object& progress) {
            if (last < first || last > kMaxNets) throw ArgumentError("nets must lie in [0, 2^48)");
            const std::vector<py::ssize_t> shape{static_cast<py::ssize_t>(last - first), e.spec().n_points, e.spec().dim_out};
            py::array out = e.float64() ? py::array(py::array_t<double>(shape)) : py::array(py::array_t<float>(shape));
            void* data = out.mutable_data();
            const Poll poll = python_poll(progress);
            py::gil_scoped_release release;
            e.outputs(first, last, threads, data, poll);
            return out;
        }, py::arg("first"), py::arg("last"), py::arg("threads"), py::arg("progress") = py::none())
        .def("draw_tensor", [](const Ensemble& e, std::uint64_t net, int layer, bool bias) {
            const EnsembleSpec& spec = e.spec();
            if (layer < 0 || layer > spec.n_hidden) throw ArgumentError("no such layer");
            const Layer& l = spec.layers[layer];
            const bool output = layer == spec.n_hidden && !bias;
            py::array_t<double> out({static_cast<py::ssize_t>(output ? l.fan_in : l.fan_out), static_cast<py::ssize_t>(bias ? 1 : (output ? l.fan_out : l.fan_in))});
            double* data = out.mutable_data();
            py::gil_scoped_release release;
            const FpEnvironment guard;
            e.draw_tensor(net, layer, bias, data);
            return out;
        }, py::arg("net"), py::arg("layer"), py::arg("bias"));
}

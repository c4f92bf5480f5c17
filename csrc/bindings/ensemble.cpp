// Ensembles, moment programs, accumulators.
#include "bindings/bindings.hpp"

#include <pybind11/stl.h>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "ensemble/ensemble.hpp"

namespace py = pybind11;
using namespace nnqft;

namespace {

using BoundAccumulator = Bound<Accumulator>;
using BoundEnsemble = Bound<Ensemble>;
using BoundProgram = Bound<Program>;
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
    return [callback = progress.is_none() ? nullptr : progress.ptr()](std::uint64_t done) {
        with_gil([&] {
            if (PyErr_CheckSignals() != 0) return false;
            if (callback == nullptr) return true;
            PyObject* const result = PyObject_CallFunction(callback, "K", static_cast<unsigned long long>(done));
            Py_XDECREF(result);
            return result != nullptr;
        });
        return true;
    };
}

template <class T>
py::array_t<T> to_array(const std::vector<T>& values) {
    return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

py::array_t<std::uint64_t> interval_array(const Intervals& intervals) {
    py::array_t<std::uint64_t> out({static_cast<py::ssize_t>(intervals.size()), py::ssize_t{2}});
    auto* data = out.mutable_data();
    for (const auto& [start, stop] : intervals) *data++ = start, *data++ = stop;
    return out;
}

// A pointer into a C++ object for `_cuda`, which lives in another module. The capsule keeps the Python object alive.
py::object capsule(const void* pointer, const char* name, const py::object& owner) {
    PyObject* const made = PyCapsule_New(const_cast<void*>(pointer), name, [](PyObject* self) { Py_XDECREF(static_cast<PyObject*>(PyCapsule_GetContext(self))); });
    if (made == nullptr) throw py::error_already_set();
    PyCapsule_SetContext(made, owner.inc_ref().ptr());
    return py::reinterpret_steal<py::object>(made);
}

void bind_accumulator(py::module_& m) {
    py::class_<BoundAccumulator>(m, "Accumulator", "Exact block sums of a run, in 64 replicas, and the nets they cover.")
        .def(py::init([](std::int64_t n_sums, std::uint64_t block) { return make_bound<Accumulator>(n_sums, block); }), py::arg("n_sums"), py::arg("block"))
        .def_property_readonly("n_sums", &Accumulator::n_sums)
        .def_property_readonly("block", &Accumulator::block)
        .def_property_readonly("n_nets", &Accumulator::n_nets)
        .def_property_readonly("nbytes", &Accumulator::bytes)
        .def_property_readonly("bad_blocks", &Accumulator::bad_blocks)
        .def_property_readonly("first_bad", &Accumulator::first_bad)
        .def("add_rows", [](BoundAccumulator& a, std::uint64_t first, std::uint64_t last, const Doubles& rows, unsigned threads) {
            const std::uint64_t blocks = last > first ? (last - first + a.block() - 1) / a.block() : 0;
            if (rows.ndim() != 2 || static_cast<std::uint64_t>(rows.shape(0)) != blocks || rows.shape(1) != a.n_sums())
                throw ShapeError("rows must have shape (blocks, n_sums) = (" + std::to_string(blocks) + ", " + std::to_string(a.n_sums()) + ")");
            const double* data = rows.data();
            const ReleaseGil release;
            a.add_rows(first, last, data, threads);
        }, py::arg("first"), py::arg("last"), py::arg("rows").noconvert(), py::arg("threads"), "Sums of whole blocks, one row each; rows for nets counted already are dropped.")
        .def("merge", [](BoundAccumulator& a, const BoundAccumulator& other) {
            const ReleaseGil release;
            a.merge(other);
        })
        .def("covered", [](const BoundAccumulator& a) { return interval_array(a.covered()); })
        .def("missing", [](const BoundAccumulator& a, std::uint64_t first, std::uint64_t last) { return interval_array(a.missing(first, last)); })
        .def("total", [](const BoundAccumulator& a) {
            py::array_t<double> sums(a.n_sums());
            double* data = sums.mutable_data();
            const ReleaseGil release;
            a.total(data);
            return sums;
        })
        .def("replica_sums", [](const BoundAccumulator& a) {
            py::array_t<double> sums({py::ssize_t{kReplicas}, static_cast<py::ssize_t>(a.n_sums())});
            py::array_t<std::uint64_t> nets(kReplicas), blocks(kReplicas);
            auto *s = sums.mutable_data();
            auto *n = nets.mutable_data(), *b = blocks.mutable_data();
            {
                const ReleaseGil release;
                a.replica_sums(s, n, b);
            }
            return py::make_tuple(sums, nets, blocks);
        }, "(sums (64, n_sums), nets (64,), blocks (64,)).")
        .def("state", [](const BoundAccumulator& a) {
            Accumulator::State state;
            {
                const ReleaseGil release;
                state = a.state();
            }
            py::list limbs;
            std::vector<std::int64_t> bases;
            for (ExactSums& sums : state.replicas) {
                py::array_t<std::int64_t> planes({static_cast<py::ssize_t>(sums.planes()), static_cast<py::ssize_t>(sums.size())});
                std::copy(sums.data(), sums.data() + sums.planes() * sums.size(), planes.mutable_data());
                bases.push_back(sums.base());
                limbs.append(planes);
                sums = ExactSums(0);  // one copy at a time
            }
            return py::make_tuple(limbs, to_array(bases), to_array(state.nets), to_array(state.blocks), interval_array(state.covered),
                                  py::make_tuple(state.bad_blocks, state.first_bad));
        }, "Canonical state: equal results give equal bytes.")
        .def("restore", [](BoundAccumulator& a, const py::list& limbs, const std::vector<std::int64_t>& bases, const std::vector<std::uint64_t>& nets,
                           const std::vector<std::uint64_t>& blocks, const Intervals& covered, std::uint64_t bad_blocks, std::uint64_t first_bad) {
            if (limbs.size() != bases.size()) throw StateError("stored sums and exponents differ in number");
            Accumulator::State state{{}, nets, blocks, covered, bad_blocks, first_bad};
            for (std::size_t r = 0; r < bases.size(); ++r) {
                const auto planes = py::cast<py::array_t<std::int64_t, py::array::c_style>>(limbs[r]);
                if (planes.ndim() != 2 || planes.shape(1) != a.n_sums()) throw StateError("stored sums have another number of moments");
                if (bases[r] < -64 || bases[r] > 64) throw StateError("stored sums have an impossible exponent");
                state.replicas.push_back(ExactSums::restore(static_cast<std::size_t>(a.n_sums()), static_cast<int>(bases[r]),
                                                            static_cast<std::size_t>(planes.shape(0)), planes.data()));
            }
            a.restore(std::move(state));
        });
}

}  // namespace

void bind_ensemble(py::module_& m) {
    m.def("block_size", &block_size, py::arg("n_nets"), py::arg("n_sums"));
    m.def("accumulator_bytes", &Accumulator::expected_bytes, py::arg("n_sums"));
    m.attr("MAX_NETS") = kMaxNets;
    bind_accumulator(m);

    py::class_<BoundProgram>(m, "Program", "Which products of fields are summed.")
        .def_readonly("n_fields", &Program::n_fields)
        .def_readonly("n_sums", &Program::n_sums)
        .def_readonly("n_slots", &Program::n_slots)
        .def_property_readonly("capsule", [](const py::object& self) {
            const Program& program = py::cast<const BoundProgram&>(self);
            return capsule(&program, "nnqft.Program", self);
        })
        .def_readonly("orders", &Program::orders)
        .def_readonly("offsets", &Program::offsets);
    m.def("dense_program", [](int n_fields, const std::vector<int>& orders) {
        return make_bound<Program>(dense_program(n_fields, orders));
    }, py::arg("n_fields"), py::arg("orders"));
    m.def("listed_program", [](int n_fields, const std::vector<int>& orders, const std::vector<py::array_t<std::int32_t, py::array::c_style>>& lists, int stride) {
        std::vector<std::vector<std::int32_t>> rows;
        for (std::size_t q = 0; q < lists.size(); ++q) {
            if (q >= orders.size() || lists[q].ndim() != 2 || lists[q].shape(1) != orders[q]) throw ShapeError("a list must have shape (count, order)");
            rows.emplace_back(lists[q].data(), lists[q].data() + lists[q].size());
        }
        return make_bound<Program>(listed_program(n_fields, orders, rows, stride));
    }, py::arg("n_fields"), py::arg("orders"), py::arg("lists"), py::arg("stride"));

    py::class_<BoundEnsemble>(m, "Ensemble", "An ensemble bound to its inputs.")
        .def(py::init([](const py::list& layers, const Doubles& points, int dim_out, std::uint64_t seed, const std::string& sampler, const std::string& estimator,
                         double field_scale, bool float64, const std::string& isa, const py::object& amplitude) {
            auto description = describe(layers, points, dim_out, seed, sampler, estimator, field_scale, float64, isa, amplitude);
            const ReleaseGil release;
            return make_bound<Ensemble>(std::move(description));
        }), py::kw_only(), py::arg("layers"), py::arg("points"), py::arg("dim_out"), py::arg("seed"), py::arg("sampler"), py::arg("estimator"),
            py::arg("field_scale"), py::arg("float64"), py::arg("isa"), py::arg("amplitude") = py::none())
        .def_property_readonly("capsule", [](const py::object& self) {
            return capsule(&py::cast<const BoundEnsemble&>(self).spec(), "nnqft.EnsembleSpec", self);
        })
        .def_property_readonly("float64", &Ensemble::float64)
        .def_property_readonly("shape", [](const BoundEnsemble& e) { return py::make_tuple(e.spec().n_points, e.spec().dim_out); }, "(n_points, dim_out) of a net's fields.")
        .def("check_run", [](const BoundEnsemble& e, const BoundProgram& program, std::uint64_t first, std::uint64_t last, const BoundAccumulator& into) {
            e.check_run(program, first, last, into);
        }, py::arg("program"), py::arg("first"), py::arg("last"), py::arg("into"))
        .def_property_readonly("first_rank", &Ensemble::first_rank)
        .def_property_readonly("isa", [](const BoundEnsemble& e) { return std::string(isa_name(e.isa())); })
        .def("run", [](const BoundEnsemble& e, const BoundProgram& program, std::uint64_t first, std::uint64_t last, unsigned threads, BoundAccumulator& into, const py::object& progress) {
            const Poll poll = python_poll(progress);
            const ReleaseGil release;
            return e.run(program, first, last, threads, into, poll);
        }, py::arg("program"), py::arg("first"), py::arg("last"), py::arg("threads"), py::arg("into"), py::arg("progress") = py::none())
        .def("outputs", [](const BoundEnsemble& e, std::uint64_t first, std::uint64_t last, unsigned threads, const py::object& progress) {
            if (last < first || last > kMaxNets) throw ArgumentError("nets must lie in [0, 2^48)");
            const auto n_points = static_cast<std::uint64_t>(e.spec().n_points), dim_out = static_cast<std::uint64_t>(e.spec().dim_out);
            check_size({last - first, n_points, dim_out});
            const std::vector<std::uint64_t> shape{last - first, n_points, dim_out};
            py::array out = e.float64() ? py::array(py::array_t<double>(shape)) : py::array(py::array_t<float>(shape));
            void* data = out.mutable_data();
            const Poll poll = python_poll(progress);
            const ReleaseGil release;
            if (!e.outputs(first, last, threads, data, poll)) throw StateError("the process is ending: the networks were not computed");
            return out;
        }, py::arg("first"), py::arg("last"), py::arg("threads"), py::arg("progress") = py::none())
        .def("draw_tensor", [](const BoundEnsemble& e, std::uint64_t net, int layer, bool bias) {
            const EnsembleSpec& spec = e.spec();
            if (layer < 0 || layer > spec.n_hidden) throw ArgumentError("no such layer");
            const Layer& l = spec.layers[layer];
            const bool output = layer == spec.n_hidden && !bias;
            py::array_t<double> out({static_cast<py::ssize_t>(output ? l.fan_in : l.fan_out), static_cast<py::ssize_t>(bias ? 1 : (output ? l.fan_out : l.fan_in))});
            double* data = out.mutable_data();
            const ReleaseGil release;
            const FpEnvironment guard;
            e.draw_tensor(net, layer, bias, data);
            return out;
        }, py::arg("net"), py::arg("layer"), py::arg("bias"));
}

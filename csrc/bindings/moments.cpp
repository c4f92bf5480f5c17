// Moment tensors: sums over samples, and accumulators of them.
#include "bindings/bindings.hpp"

#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/exact_sum.hpp"
#include "core/parallel.hpp"
#include "wick/moment_accumulator.hpp"
#include "wick/moments.hpp"

namespace py = pybind11;
using namespace nnqft;

namespace {

std::string describe(const py::array& a) {
    return "dtype " + py::str(a.dtype()).cast<std::string>() + " and shape " + py::str(a.attr("shape")).cast<std::string>();
}

MomentSamples samples_of(const py::array& F, const py::object& weights) {
    const bool float32 = py::isinstance<py::array_t<float>>(F);
    if (F.ndim() != 2 || !(float32 || py::isinstance<py::array_t<double>>(F)))
        throw ShapeError("F has " + describe(F) + "; expected float64 or float32 of shape (samples, fields)");
    MomentSamples s;
    s.rows = {static_cast<const unsigned char*>(F.data()), F.strides(0), F.strides(1), float32};
    s.count = F.shape(0);
    if (weights.is_none()) return s;
    if (!py::isinstance<py::array_t<double>>(weights)) throw ShapeError("weights must be a float64 array of shape (samples,)");
    const auto w = py::reinterpret_borrow<py::array>(weights);
    if (w.ndim() != 1 || w.shape(0) != F.shape(0))
        throw ShapeError("weights has " + describe(w) + "; expected float64 of shape (" + std::to_string(F.shape(0)) + ",), one per row of F");
    s.weights = {static_cast<const unsigned char*>(w.data()), w.strides(0), 0, false};
    return s;
}

// Signals and progress, from the thread that called.
MomentPoll python_poll(const py::object& progress) {
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

std::pair<py::array_t<double>, std::int64_t> moment_sums_of(const py::array& F, const std::vector<int>& orders, const py::object& weights,
                                                            unsigned threads, const py::object& progress) {
    const MomentSamples samples = samples_of(F, weights);
    const std::int64_t m = F.shape(1), count = MomentPlan::count_sums(m, orders);
    check_moment_memory(m, orders, threads, 8 * sizeof(double));
    py::array_t<double> out(static_cast<py::ssize_t>(count));
    double* to = out.mutable_data();
    const MomentPoll poll = python_poll(progress);
    std::int64_t first_bad = -1;
    {
        const ReleaseGil release;
        first_bad = moment_sums(samples, m, orders, threads, to, poll);
    }
    return {out, first_bad};
}

using BoundMoments = Bound<MomentAccumulator>;

template <class T>
py::array_t<T> to_array(const std::vector<T>& values) {
    return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

using Sums = py::array_t<double, py::array::c_style>;
using Rows = py::array_t<std::int64_t, py::array::c_style>;

void check_sums(const Sums& sums, const Rows& bad, std::int64_t n_sums) {
    if (sums.ndim() != 2 || sums.shape(1) != n_sums || bad.ndim() != 1 || bad.shape(0) != sums.shape(0))
        throw ShapeError("block sums have " + describe(sums) + " and " + describe(bad) + "; expected (blocks, " + std::to_string(n_sums) + ") and (blocks,)");
}

// Block sums added exactly: moment_sums() for sums that were found elsewhere.
class ExactTotal {
public:
    explicit ExactTotal(std::size_t n_sums) : sums_(n_sums) {}
    // The first row that cannot be added, for a bad sample or an overflow, or -1; then nothing more is added.
    std::int64_t add(const double* sums, const std::int64_t* bad, std::int64_t blocks) {
        for (std::int64_t b = 0; b < blocks; ++b)
            if (bad[b] >= 0 || !sums_.add(sums + static_cast<std::size_t>(b) * sums_.size())) return b;
        return -1;
    }
    void round(double* out) const { sums_.round(out); }
    std::size_t size() const { return sums_.size(); }

private:
    ExactSums sums_;
};

void check_fields(const BoundMoments& a, const py::array& F) {
    if (F.ndim() == 2 && F.shape(1) != a.m())
        throw ShapeError("F has " + describe(F) + "; this accumulator takes " + std::to_string(a.m()) + " fields per row");
}

py::tuple state_of(const BoundMoments& a) {
    MomentAccumulator::State state;
    {
        const ReleaseGil release;
        state = a.state();
    }
    py::list limbs;
    std::vector<std::int64_t> bases;
    for (ExactSums& sums : state.sums) {
        py::array_t<std::int64_t> planes({static_cast<py::ssize_t>(sums.planes()), static_cast<py::ssize_t>(sums.size())});
        std::copy(sums.data(), sums.data() + sums.planes() * sums.size(), planes.mutable_data());
        bases.push_back(sums.base());
        limbs.append(planes);
        sums = ExactSums(0);  // one copy at a time
    }
    return py::make_tuple(state.next_block, limbs, to_array(bases), to_array(state.samples), to_array(state.waiting),
                          py::make_tuple(state.bad.blocks, state.bad.first));
}

void restore(BoundMoments& a, std::uint64_t next_block, const py::list& limbs, const std::vector<std::int64_t>& bases,
             std::vector<std::uint64_t> samples, std::vector<double> waiting, std::uint64_t bad_blocks, std::uint64_t first_bad) {
    if (limbs.size() != bases.size()) throw StateError("stored sums and exponents differ in number");
    MomentAccumulator::State state{next_block, {}, std::move(samples), std::move(waiting), {bad_blocks, first_bad}};
    for (std::size_t g = 0; g < bases.size(); ++g) {
        const auto planes = py::cast<py::array_t<std::int64_t, py::array::c_style>>(limbs[g]);
        if (planes.ndim() != 2 || planes.shape(1) != a.n_sums()) throw StateError("stored sums have another number of moments");
        if (bases[g] < -64 || bases[g] > 64) throw StateError("stored sums have an impossible exponent");
        state.sums.push_back(ExactSums::restore(static_cast<std::size_t>(a.n_sums()), static_cast<int>(bases[g]),
                                                static_cast<std::size_t>(planes.shape(0)), planes.data()));
    }
    a.restore(std::move(state));
}

}  // namespace

void bind_moments(py::module_& m) {
    py::class_<BoundMoments>(m, "MomentAccumulator", "Exact block sums of moment tensors of a stream, in 64 replicas.")
        .def(py::init([](std::int64_t n_fields, const std::vector<int>& orders, std::int64_t block, std::uint64_t start) {
            return make_bound<MomentAccumulator>(n_fields, orders, block, start);
        }), py::arg("m"), py::arg("orders"), py::arg("block"), py::arg("start"))
        .def_property_readonly("m", &MomentAccumulator::m)
        .def_property_readonly("n_sums", &MomentAccumulator::n_sums)
        .def_property_readonly("block", &MomentAccumulator::block)
        .def_property_readonly("n_samples", &MomentAccumulator::n_samples)
        .def_property_readonly("n_waiting", &MomentAccumulator::n_waiting)
        .def_property_readonly("nbytes", &MomentAccumulator::bytes)
        .def("push_sums", [](BoundMoments& a, const Sums& sums, const Rows& bad) {
            check_sums(sums, bad, a.n_sums());
            const ReleaseGil release;
            a.push_sums(sums.data(), bad.data(), sums.shape(0));
        }, py::arg("sums").noconvert(), py::arg("bad").noconvert(), "Whole blocks: sums (blocks, n_sums), and the first bad sample of each or -1 (blocks).")
        .def("push", [](BoundMoments& a, const py::array& F, const py::object& weights, unsigned threads, const py::object& progress) {
            check_fields(a, F);
            const MomentSamples samples = samples_of(F, weights);
            const MomentPoll poll = python_poll(progress);
            const ReleaseGil release;
            a.push(samples, threads, poll);
        }, py::arg("F").noconvert(), py::arg("weights"), py::arg("threads"), py::arg("progress"))
        .def("merge", [](BoundMoments& a, const BoundMoments& other) {
            const ReleaseGil release;
            a.merge(other);
        }, py::arg("other"))
        .def("replica_sums", [](const BoundMoments& a) {
            constexpr auto kGroups = static_cast<py::ssize_t>(MomentAccumulator::kGroups);
            py::array_t<double> sums({kGroups, static_cast<py::ssize_t>(a.n_sums())});
            py::array_t<std::uint64_t> samples(kGroups);
            MomentAccumulator::Bad bad;
            {
                auto* s = sums.mutable_data();
                auto* n = samples.mutable_data();
                const ReleaseGil release;
                bad = a.replica_sums(s, n);
            }
            return py::make_tuple(sums, samples, bad.blocks, bad.first);
        }, "(sums (64, n_sums), samples (64,), blocks that are not finite, first sample of such a block).")
        .def("means", [](const BoundMoments& a, std::uint64_t min_groups) {
            py::array_t<double> mean(static_cast<py::ssize_t>(a.n_sums())), error(static_cast<py::ssize_t>(a.n_sums()));
            MomentAccumulator::Means means;
            {
                double *to = mean.mutable_data(), *errors = error.mutable_data();
                const ReleaseGil release;
                const FpEnvironment guard;
                means = a.means(min_groups, to, errors);
            }
            return py::make_tuple(mean, error, means.samples, means.groups, means.weighted, means.bad.blocks, means.bad.first);
        }, py::arg("min_groups"), "(means, standard errors, samples, groups with samples, weighted, bad blocks, first bad sample).")
        .def("state", &state_of, "Canonical state: equal results give equal bytes.")
        .def("restore", &restore, py::arg("next_block"), py::arg("limbs"), py::arg("bases"), py::arg("samples"), py::arg("waiting"),
             py::arg("bad_blocks"), py::arg("first_bad"));

    py::class_<Bound<ExactTotal>>(m, "ExactTotal", "Exact sums of block sums.")
        .def(py::init([](std::size_t n_sums) { return make_bound<ExactTotal>(n_sums); }), py::arg("n_sums"))
        .def("add", [](Bound<ExactTotal>& total, const Sums& sums, const Rows& bad) {
            check_sums(sums, bad, static_cast<std::int64_t>(total.size()));
            return total.add(sums.data(), bad.data(), sums.shape(0));
        }, py::arg("sums").noconvert(), py::arg("bad").noconvert(), "The first block that cannot be added, or -1.")
        .def("round", [](const Bound<ExactTotal>& total) {
            py::array_t<double> out(static_cast<py::ssize_t>(total.size()));
            total.round(out.mutable_data());
            return out;
        });

    m.def("moment_count", &MomentPlan::count_sums, py::arg("m"), py::arg("orders"), "Sum of C(m+n-1, n) over the orders n.");
    m.def("all_moment_sums", &moment_sums_of, py::arg("F").noconvert(), py::arg("orders"), py::arg("weights"), py::arg("threads"), py::arg("progress"),
          "(sums of the orders one after the other, first row that made them all NaN or -1).");
    m.def("moment_sums", [](const py::array& F, int order, const py::object& weights, unsigned threads) {
        return moment_sums_of(F, {order}, weights, threads, py::none()).first;
    }, py::arg("F").noconvert(), py::arg("order"), py::arg("weights") = py::none(), py::kw_only(), py::arg("threads") = 1,
       "sum_r w_r F_ri1 .. F_rin over the rows, packed float64; order 0 is the sum of the weights. All NaN if some row or sum is not finite.");
}

// Ensembles on a device. A plan is a capsule; `_core` hands over ensembles and moment programs as capsules, too.
#include "cuda/bindings/bindings.hpp"

#include <memory>

#include "cuda/ensemble/ensemble.hpp"
#include "ensemble/program.hpp"

namespace py = pybind11;
using namespace nnqft;
using cuda::EnsemblePlan;

namespace {

constexpr const char* kPlan = "nnqft.EnsemblePlan";
constexpr std::uint64_t kNets = std::uint64_t{1} << 48;

template <class T>
const T& unpack(const py::object& capsule, const char* name) {
    const void* const pointer = PyCapsule_GetPointer(capsule.ptr(), name);
    if (pointer == nullptr) throw py::error_already_set();
    return *static_cast<const T*>(pointer);
}
const EnsemblePlan& plan_of(const py::object& capsule) { return unpack<EnsemblePlan>(capsule, kPlan); }

py::object make_plan(const py::object& ensemble, const py::object& program, bool float64, std::uint64_t block, std::size_t budget) {
    const EnsembleSpec& spec = unpack<EnsembleSpec>(ensemble, "nnqft.EnsembleSpec");
    MomentProgram view;
    if (!program.is_none()) view = unpack<Program>(program, "nnqft.Program").view();
    auto plan = std::make_unique<EnsemblePlan>(spec, float64, program.is_none() ? nullptr : &view, block, budget);
    PyObject* const made = PyCapsule_New(plan.get(), kPlan, [](PyObject* self) { delete static_cast<EnsemblePlan*>(PyCapsule_GetPointer(self, kPlan)); });
    if (made == nullptr) throw py::error_already_set();
    plan.release();
    return py::reinterpret_steal<py::object>(made);
}

void check_nets(std::uint64_t first, std::uint64_t count) {
    if (count > kNets || first > kNets - count) throw ArgumentError("nets must lie in [0, 2^48)");
}

}  // namespace

void bind_ensemble(py::module_& m) {
    m.def("ensemble_plan", &make_plan, py::arg("ensemble"), py::arg("program"), py::arg("float64"), py::arg("block"), py::arg("budget"),
          "From the capsules of a _core.Ensemble and a _core.Program (None: outputs only); budget: bytes of scratch to aim at.");
    m.def("ensemble_constants", [](const py::object& capsule) {
        const EnsemblePlan& plan = plan_of(capsule);
        std::string bytes(plan.constants().total, '\0');
        {
            const py::gil_scoped_release release;
            plan.write_constants(reinterpret_cast<std::byte*>(bytes.data()));
        }
        return py::bytes(bytes);
    }, py::arg("plan"), "What a call reads, to be uploaded once.");
    m.def("ensemble_work", [](const py::object& plan) { return plan_of(plan).work_per_net(); }, py::arg("plan"), "Instructions per net, roughly.");
    m.def("ensemble_scratch", [](const py::object& plan, std::uint64_t n_nets, bool sums) {
        check_nets(0, n_nets);
        return (sums ? plan_of(plan).block_scratch(n_nets) : plan_of(plan).output_scratch(n_nets)).total;
    }, py::arg("plan"), py::arg("n_nets"), py::arg("sums"), "Bytes of workspace for block sums (or outputs) of up to n_nets nets.");

    m.def("ensemble_block_sums", [](int device, const py::object& capsule, std::uint64_t first, std::uint64_t count, std::uintptr_t constants, std::uintptr_t sums,
                                    std::uintptr_t workspace, std::uintptr_t stream) {
        const EnsemblePlan& plan = plan_of(capsule);
        check_nets(first, count);
        if (plan.units().n_sums == 0) throw ArgumentError("a plan without a moment program has no block sums");
        if (first % plan.block() != 0) throw ArgumentError("net " + std::to_string(first) + " does not begin a block of " + std::to_string(plan.block()));
        auto* const out = device_pointer<double>(sums, count == 0, "sums");
        const void* const given = device_pointer<std::byte>(constants, count == 0, "constants");
        void* const scratch = device_pointer<std::byte>(workspace, count == 0 || plan.block_scratch(count).total == 0, "workspace");
        const py::gil_scoped_release release;
        cuda::use_device(device);
        cuda::check(cuda::block_sums(plan, first, count, given, out, scratch, stream_of(stream)), "ensemble_block_sums");
    }, py::arg("device"), py::arg("plan"), py::arg("first"), py::arg("count"), py::arg("constants"), py::arg("sums"), py::arg("workspace"), py::arg("stream"));

    m.def("ensemble_outputs", [](int device, const py::object& capsule, std::uint64_t first, std::uint64_t count, std::uintptr_t constants, std::uintptr_t out,
                                 std::uintptr_t workspace, std::uintptr_t stream) {
        const EnsemblePlan& plan = plan_of(capsule);
        check_nets(first, count);
        void* const fields = plan.float64() ? static_cast<void*>(device_pointer<double>(out, count == 0, "out")) : device_pointer<float>(out, count == 0, "out");
        const void* const given = device_pointer<std::byte>(constants, count == 0, "constants");
        void* const scratch = device_pointer<std::byte>(workspace, count == 0, "workspace");
        const py::gil_scoped_release release;
        cuda::use_device(device);
        cuda::check(cuda::outputs(plan, first, count, given, fields, scratch, stream_of(stream)), "ensemble_outputs");
    }, py::arg("device"), py::arg("plan"), py::arg("first"), py::arg("count"), py::arg("constants"), py::arg("out"), py::arg("workspace"), py::arg("stream"));
}

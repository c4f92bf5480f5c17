// Wick contractions on a device.
#include "cuda/bindings/bindings.hpp"

#include <memory>

#include "cuda/wick/hafnian_sieve.hpp"
#include "cuda/wick/small_batch.hpp"

namespace py = pybind11;
using namespace nnqft;

namespace {

SieveNumbers numbers_of(const std::string& name) {
    if (name == "real") return SieveNumbers::real;
    if (name == "complex") return SieveNumbers::complex;
    if (name == "integer") return SieveNumbers::integer;
    throw ArgumentError("numbers is '" + name + "'; expected real, complex or integer");
}

std::size_t shared_memory(int device) {
    int bytes = 0;
    cuda::check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "cudaDeviceGetAttribute");
    return static_cast<std::size_t>(bytes);
}

// What both kinds of batches have in common.
struct Batch {
    int device, n;
    std::int64_t count;

    Batch(int device, int n, std::int64_t count, bool mean) : device(device), n(n), count(count) {
        if (n < 1 || n > 12 || (n % 2 && !mean)) throw ArgumentError("n is " + std::to_string(n) + "; expected 1 to 12, and even without a mean");
        if (count < 0) throw ArgumentError("count is " + std::to_string(count));
        cuda::use_device(device);
    }
    const std::uint32_t* terms(std::uintptr_t address) const { return device_pointer<std::uint32_t>(address, n <= 8 || count == 0, "terms"); }
};

// As Python holds it. `SieveWalk.__new__(SieveWalk)` gives an object with nothing behind it; at its first use pybind11 asks this operator new
// for memory and would take what lies there for a walk.
struct BoundWalk : cuda::SieveWalk {
    using cuda::SieveWalk::SieveWalk;
    static void* operator new(std::size_t) { throw py::type_error("this object was never initialised: call its class"); }
};

}  // namespace

void bind_wick(py::module_& m) {
    using Release = py::call_guard<py::gil_scoped_release>;
    using py::arg;

    py::class_<BoundWalk>(m, "SieveWalk", "A sum over the signs of a hafnian's sieve, in steps.")
        .def(py::init([](int device, int vertices, int squares, bool mean, int levels, const std::string& numbers) {
            return std::unique_ptr<BoundWalk>(
                ::new BoundWalk(cuda::SieveShape{vertices, squares, mean, levels}, numbers_of(numbers), shared_memory(device)));
        }), arg("device"), arg("vertices"), arg("squares"), arg("mean"), arg("levels"), arg("numbers"))
        .def_property_readonly("tasks", [](const BoundWalk& walk) {
            const auto& tasks = walk.tables().tasks;
            return py::bytes(reinterpret_cast<const char*>(tasks.data()), tasks.size() * sizeof(cuda::SieveTask));
        }, "What advance() expects at `tasks`.")
        .def_property_readonly("workspace_size", &cuda::SieveWalk::workspace_size, "Bytes.")
        .def_property_readonly("sums_size", [](const BoundWalk& walk) { return walk.n_sums() * walk.element(); }, "Doubles.")
        .def_property_readonly("input_size", [](const BoundWalk& walk) { return walk.inputs() * walk.element(); }, "Doubles.")
        .def_property_readonly("multiply_adds", &cuda::SieveWalk::multiply_adds)
        .def_property_readonly("done", &cuda::SieveWalk::done, "Multiply-adds that were launched.")
        .def_property_readonly("finished", &cuda::SieveWalk::finished)
        .def("advance", [](BoundWalk& walk, int device, double multiply_adds, std::uintptr_t tasks, std::uintptr_t input, std::uintptr_t workspace,
                           std::uintptr_t sums, std::uintptr_t stream) {
            const cuda::SieveMemory memory{device_pointer<cuda::SieveTask>(tasks, walk.tables().tasks.empty(), "tasks"),
                                           device_pointer<double>(workspace, false, "workspace"), device_pointer<double>(sums, false, "sums")};
            const auto* const numbers = device_pointer<double>(input, walk.inputs() == 0, "input");
            cuda::use_device(device);
            cuda::check(walk.advance(memory, numbers, multiply_adds, stream_of(stream)), "SieveWalk.advance");
        }, arg("device"), arg("multiply_adds"), arg("tasks"), arg("input"), arg("workspace"), arg("sums"), arg("stream"), Release(),
           "Launches about so much work.")
        .def("fold", [](const BoundWalk& walk, std::uintptr_t sums) { walk.fold(device_pointer<double>(sums, false, "sums")); }, arg("sums"),
             "The sums, copied to this address of the host, become one: the first number.");

    m.def("small_terms", [](int n, bool mean) {
        const auto terms = cuda::small_table(n, mean).terms;
        return py::bytes(reinterpret_cast<const char*>(terms.data()), terms.size() * sizeof(std::uint32_t));
    }, arg("n"), arg("mean"), "What the two functions below expect at `terms`; nothing up to 8 points.");
    m.def("wide_workspace_size", &cuda::wide_workspace_size, arg("n"));

    m.def("tuple_hafnians", [](int device, int n, std::int64_t count, std::int32_t points, bool wide, bool window_holds, std::uintptr_t K, std::uintptr_t mu,
                               std::uintptr_t index, std::uintptr_t terms, std::uintptr_t status, std::uintptr_t out, std::uintptr_t stream) {
        const Batch batch(device, n, count, mu != 0);
        if (points < 1 && count > 0) throw ArgumentError("tuples of no points");
        const void* const tuples = wide ? static_cast<void*>(device_pointer<std::int64_t>(index, count == 0, "index"))
                                        : static_cast<void*>(device_pointer<std::int32_t>(index, count == 0, "index"));
        cuda::check(cuda::tuple_hafnians(n, {device_pointer<double>(K, points == 0, "K"), device_pointer<double>(mu, true, "mu"), points, tuples, wide, count},
                                         window_holds, batch.terms(terms), device_pointer<cuda::BatchStatus>(status, false, "status"),
                                         device_pointer<double>(out, count == 0, "out"), stream_of(stream)), "tuple_hafnians");
    }, arg("device"), arg("n"), arg("count"), arg("points"), arg("wide"), arg("window_holds"), arg("K"), arg("mu"), arg("index"), arg("terms"), arg("status"),
       arg("out"), arg("stream"), Release());
    m.def("matrix_hafnians", [](int device, int n, std::int64_t count, bool packed, std::uintptr_t K, std::uintptr_t mu, std::uintptr_t terms,
                                std::uintptr_t status, std::uintptr_t out, std::uintptr_t stream) {
        const Batch batch(device, n, count, mu != 0);
        cuda::check(cuda::matrix_hafnians(n, {device_pointer<double>(K, count == 0 || n == 1, "K"), device_pointer<double>(mu, true, "mu"), packed, count},
                                          batch.terms(terms), device_pointer<cuda::BatchStatus>(status, false, "status"),
                                          device_pointer<double>(out, count == 0, "out"), stream_of(stream)), "matrix_hafnians");
    }, arg("device"), arg("n"), arg("count"), arg("packed"), arg("K"), arg("mu"), arg("terms"), arg("status"), arg("out"), arg("stream"), Release());
    m.def("wide_tuple_hafnians", [](int device, int n, std::int64_t count, std::int32_t points, bool wide, std::uintptr_t K, std::uintptr_t mu,
                                    std::uintptr_t index, std::uintptr_t out, std::uintptr_t workspace, std::uintptr_t stream) {
        const Batch batch(device, n, count, mu != 0);
        if (points < 1 && count > 0) throw ArgumentError("tuples of no points");
        cuda::check(cuda::wide_tuple_hafnians(n, {device_pointer<double>(K, points == 0, "K"), device_pointer<double>(mu, true, "mu"), points,
                                                  device_pointer<std::int32_t>(index, count == 0, "index"), wide, count},
                                              device_pointer<double>(out, count == 0, "out"), device_pointer<double>(workspace, false, "workspace"),
                                              stream_of(stream)), "wide_tuple_hafnians");
    }, arg("device"), arg("n"), arg("count"), arg("points"), arg("wide"), arg("K"), arg("mu"), arg("index"), arg("out"), arg("workspace"), arg("stream"), Release());
    m.def("wide_matrix_hafnians", [](int device, int n, std::int64_t count, bool packed, std::uintptr_t K, std::uintptr_t mu, std::uintptr_t out,
                                     std::uintptr_t workspace, std::uintptr_t stream) {
        const Batch batch(device, n, count, mu != 0);
        cuda::check(cuda::wide_matrix_hafnians(n, {device_pointer<double>(K, count == 0 || n == 1, "K"), device_pointer<double>(mu, true, "mu"), packed, count},
                                               device_pointer<double>(out, count == 0, "out"), device_pointer<double>(workspace, false, "workspace"),
                                               stream_of(stream)), "wide_matrix_hafnians");
    }, arg("device"), arg("n"), arg("count"), arg("packed"), arg("K"), arg("mu"), arg("out"), arg("workspace"), arg("stream"), Release());
}

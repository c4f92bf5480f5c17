// Wick contractions on a device.
#include "cuda/bindings/bindings.hpp"

#include <pybind11/stl.h>

#include <memory>
#include <vector>

#include "cuda/wick/all_multisets.hpp"
#include "cuda/wick/hafnian_multisets.hpp"
#include "cuda/wick/hafnian_sieve.hpp"
#include "cuda/wick/moments.hpp"
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

template <class T>
py::bytes bytes_of(const std::vector<T>& values) {
    return py::bytes(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

struct BoundTables : cuda::MomentTables {
    using cuda::MomentTables::MomentTables;
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

    py::class_<BoundTables>(m, "MomentTables", "Which products moment tensors are sums of, in what tiles.")
        .def(py::init([](std::int64_t m, const std::vector<int>& orders, bool weighted) {
            return std::unique_ptr<BoundTables>(::new BoundTables(m, orders, weighted));
        }), arg("m"), arg("orders"), arg("weighted"))
        .def_property_readonly("n_sums", [](const BoundTables& t) { return t.n_sums; })
        .def_property_readonly("halves", [](const BoundTables& t) { return bytes_of(t.halves); })
        .def_property_readonly("cells", [](const BoundTables& t) { return bytes_of(t.cells); })
        .def_property_readonly("groups", [](const BoundTables& t) { return bytes_of(t.groups); });
    m.def("moment_workspace_size", &cuda::moment_workspace_size, arg("m"), arg("count"), arg("block"));
    m.def("moment_blocks", [](int device, std::int64_t m, const BoundTables& tables, std::int64_t count, std::int64_t block, bool float32, std::uintptr_t rows,
                              std::int64_t row_step, std::int64_t column_step, std::uintptr_t weights, std::int64_t weight_step, std::uintptr_t halves,
                              std::uintptr_t cells, std::uintptr_t groups, std::uintptr_t workspace, std::uintptr_t sums, std::uintptr_t bad, std::uintptr_t stream) {
        if (block < 1 || count < 0 || (count + block - 1) / block > (std::int64_t{1} << 31) - 1 || (block + 255) / 256 > 65535)
            throw ArgumentError(std::to_string(count) + " samples in blocks of " + std::to_string(block) + " are no launch");
        const std::int64_t element = float32 ? sizeof(float) : sizeof(double);
        if (row_step % element != 0 || column_step % element != 0 || weight_step % static_cast<std::int64_t>(sizeof(double)) != 0)
            throw ArgumentError("a stride of " + std::to_string(row_step) + ", " + std::to_string(column_step) + " or, of weights, " + std::to_string(weight_step) +
                                " bytes is no multiple of the element size: pass a copy");  // a device faults there
        const cuda::DeviceSamples samples{float32 ? reinterpret_cast<unsigned char*>(device_pointer<float>(rows, count == 0, "rows"))
                                                  : reinterpret_cast<unsigned char*>(device_pointer<double>(rows, count == 0, "rows")),
                                          row_step, column_step, count, float32, reinterpret_cast<unsigned char*>(device_pointer<double>(weights, true, "weights")),
                                          weight_step};
        const cuda::MomentMemory memory{device_pointer<cuda::MomentHalf>(halves, tables.halves.empty(), "halves"),
                                        device_pointer<cuda::MomentCell>(cells, tables.cells.empty(), "cells"),
                                        device_pointer<cuda::MomentGroup>(groups, tables.groups.empty(), "groups"),
                                        device_pointer<std::int32_t>(workspace, count == 0, "workspace")};
        const std::size_t shared = shared_memory(device);
        const cuda::MomentCut cut = cuda::moment_cut(m, tables.most_halves, shared);
        if (cut.samples == 0)
            throw ArgumentError("moments of " + std::to_string(m) + " fields do not fit into the " + std::to_string(shared) + " bytes of shared memory of the device");
        cuda::use_device(device);
        cuda::check(cuda::moment_blocks(m, tables, samples, block, memory, cut, device_pointer<double>(sums, count == 0, "sums"),
                                        device_pointer<long long>(bad, count == 0, "bad"), stream_of(stream)), "moment_blocks");
    }, arg("device"), arg("m"), arg("tables"), arg("count"), arg("block"), arg("float32"), arg("rows"), arg("row_step"), arg("column_step"), arg("weights"),
       arg("weight_step"), arg("halves"), arg("cells"), arg("groups"), arg("workspace"), arg("sums"), arg("bad"), arg("stream"), Release());

    m.def("multiset_counts", [](std::int64_t m, int order) {
        if (m < 1 || m > (1 << 20) || order < 1 || order > 64) throw ArgumentError("no table of C(x+k-1, k) for x <= " + std::to_string(m));
        return bytes_of(cuda::multiset_counts(m, order));
    }, arg("m"), arg("order"));
    m.def("all_multisets", [](int device, std::int64_t m, int order, std::int64_t first, std::int64_t last, std::uintptr_t K, std::uintptr_t mu,
                              std::uintptr_t counts, std::uintptr_t below, std::uintptr_t second, std::uintptr_t exponents, std::uintptr_t out, std::uintptr_t stream) {
        if (m < 1 || order < 1 || order > 64 || (order % 2 && mu == 0)) throw ArgumentError("order is " + std::to_string(order) + "; expected 1 to 64, and even without a mean");
        const cuda::MultisetTheory theory{m, device_pointer<double>(K, false, "K"), device_pointer<double>(mu, true, "mu"),
                                          device_pointer<std::int64_t>(counts, false, "counts"), device_pointer<double>(below, order < 3 || mu == 0, "below"),
                                          device_pointer<double>(second, order < 4, "second")};
        cuda::use_device(device);
        cuda::check(cuda::all_multisets(order, theory, first, last, device_pointer<std::int32_t>(exponents, true, "exponents"),
                                        device_pointer<double>(out, first >= last, "out"), stream_of(stream)), "all_multisets");
    }, arg("device"), arg("m"), arg("order"), arg("first"), arg("last"), arg("K"), arg("mu"), arg("counts"), arg("below"), arg("second"), arg("exponents"),
       arg("out"), arg("stream"), Release());

    m.def("recursion_size", [](const std::vector<std::int32_t>& repeats) { return cuda::RecursionShape(repeats).stride[0]; }, arg("repeats"),
          "Numbers in the table of hafnian_multisets().");
    m.def("hafnian_multisets", [](int device, const std::vector<std::int32_t>& repeats, bool complex, bool mean, std::uintptr_t K, std::uintptr_t mu,
                                  std::uintptr_t table, std::uintptr_t stream) {
        const cuda::RecursionShape shape(repeats);
        cuda::use_device(device);
        cuda::check(cuda::hafnian_multisets(shape, complex, mean, device_pointer<double>(K, false, "K"), device_pointer<double>(mu, false, "mu"),
                                            device_pointer<double>(table, false, "table"), stream_of(stream)), "hafnian_multisets");
    }, arg("device"), arg("repeats"), arg("complex"), arg("mean"), arg("K"), arg("mu"), arg("table"), arg("stream"), Release(),
       "haf of all sub-multisets; the last number of the table is that of the whole.");
}

// Sums of products over blocks of consecutive samples: what the error bars of connected functions are made from.
#include "bindings/bindings.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "wick/moments.hpp"

namespace py = pybind11;
using namespace nnqft;

namespace {

py::array_t<double> moment_block_sums(const py::array& F, const std::vector<int>& orders, std::int64_t block, unsigned threads) {
    const bool float32 = py::isinstance<py::array_t<float>>(F);
    if (F.ndim() != 2 || !(float32 || py::isinstance<py::array_t<double>>(F)))
        throw ShapeError("F must be a matrix (samples, fields) of float32 or float64");
    if (orders.empty() || threads < 1 || threads > kMaxThreads) throw ArgumentError("moment_block_sums() takes one order or more and 1 to 4096 threads");
    if (block < 1) throw ArgumentError("block is " + std::to_string(block) + ", expected 1 or more samples");
    MomentSamples samples;
    samples.rows = {static_cast<const unsigned char*>(F.data()), F.strides(0), F.strides(1), float32};
    samples.count = F.shape(0);
    const std::int64_t m = F.shape(1), n_sums = MomentPlan::count_sums(m, orders);
    const std::int64_t n_blocks = samples.count / block + (samples.count % block != 0);
    check_moment_memory(m, orders, threads, 8.0 * static_cast<double>(n_blocks));
    check_size({static_cast<std::uint64_t>(n_blocks), static_cast<std::uint64_t>(n_sums), sizeof(double)});
    py::array_t<double> out({static_cast<py::ssize_t>(n_blocks), static_cast<py::ssize_t>(n_sums)});
    if (n_blocks == 0) return out;
    double* sums = out.mutable_data();
    const ReleaseGil release;
    std::vector<std::int64_t> bad(static_cast<std::size_t>(n_blocks), -1);
    const auto poll = [](std::uint64_t) {
        with_gil([] { return PyErr_CheckSignals() == 0; });
        return true;
    };
    if (!MomentBlocks(m, orders).run(samples, block, threads, sums, bad.data(), poll)) throw StateError("the process is ending: the moments were not computed");
    for (std::int64_t b = 0; b < n_blocks; ++b) {
        if (bad[static_cast<std::size_t>(b)] >= 0) std::fill(sums + b * n_sums, sums + (b + 1) * n_sums, std::numeric_limits<double>::quiet_NaN());
    }
    return out;
}

}  // namespace

void bind_moment_blocks(py::module_& m) {
    m.def("moment_block_sums", &moment_block_sums, py::arg("F").noconvert(), py::arg("orders"), py::arg("block"), py::arg("threads"),
          "Sums over blocks of `block` rows (the last may be shorter), (blocks, sums of the orders one after the other); NaN for a block\n"
          "with a value that is not finite.");
}

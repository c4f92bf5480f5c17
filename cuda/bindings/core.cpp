// Devices, and random numbers by address.
#include "cuda/bindings/bindings.hpp"
#include "cuda/core/random.hpp"

namespace py = pybind11;
using namespace nnqft;

namespace {

// Devices that can be used, and in `reason`, if there is none, why.
int count_devices(std::string& reason) {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status == cudaSuccess) {
        if (count == 0) reason = "cudaErrorNoDevice: no CUDA-capable device is detected";
        return count;
    }
    reason = cuda::describe(status);
    cudaGetLastError();
    return 0;
}

int version(cudaError_t (*query)(int*), const char* call) {
    int number = 0;
    cuda::check(query(&number), call);
    return number;
}

py::dict device_properties(int device) {
    cudaDeviceProp p;
    {
        py::gil_scoped_release release;
        cuda::check(cudaGetDeviceProperties(&p, device), "cudaGetDeviceProperties");
    }
    py::dict d;
    d["name"] = p.name;
    d["compute_capability"] = py::make_tuple(p.major, p.minor);
    d["multiprocessors"] = p.multiProcessorCount;
    d["memory"] = p.totalGlobalMem;
    return d;
}

}  // namespace

void bind_core(py::module_& m) {
    using Release = py::call_guard<py::gil_scoped_release>;

    m.def("runtime_version", [] { return version(&cudaRuntimeGetVersion, "cudaRuntimeGetVersion"); }, "Such as 13000 for CUDA 13.0.");
    m.def("driver_version", [] { return version(&cudaDriverGetVersion, "cudaDriverGetVersion"); }, "0 without a driver.");
    m.def("device_count", [] { std::string reason; return count_devices(reason); }, Release());
    m.def("no_device_reason", [] { std::string reason; count_devices(reason); return reason; }, Release(),
          "Name and text of the CUDA error that hides the devices; empty if there is a device.");
    m.def("device_properties", &device_properties, py::arg("device"));

    m.def("philox_words", [](int device, std::uint64_t seed, std::uint32_t tensor, std::uint64_t first_net, std::uint64_t n_nets,
                             std::uint64_t rows, std::uint64_t columns, std::uintptr_t out, std::uintptr_t stream) {
        auto* const words = device_pointer<std::uint32_t>(out, !(n_nets && rows && columns), "out");
        cuda::use_device(device);
        cuda::check(cuda::philox_words(seed, tensor, first_net, n_nets, rows, columns, words, stream_of(stream)), "philox_words");
    }, py::arg("device"), py::arg("seed"), py::arg("tensor"), py::arg("first_net"), py::arg("n_nets"), py::arg("rows"), py::arg("columns"),
       py::arg("out"), py::arg("stream"), Release());

    m.def("normals", [](int device, std::uint64_t seed, std::uint32_t tensor, std::uint64_t first_net, std::uint64_t n_nets,
                        std::uint64_t rows, std::uint64_t columns, float sigma, std::uintptr_t out, std::uintptr_t stream) {
        auto* const values = device_pointer<float>(out, !(n_nets && rows && columns), "out");
        cuda::use_device(device);
        cuda::check(cuda::normals(seed, tensor, first_net, n_nets, rows, columns, sigma, values, stream_of(stream)), "normals");
    }, py::arg("device"), py::arg("seed"), py::arg("tensor"), py::arg("first_net"), py::arg("n_nets"), py::arg("rows"), py::arg("columns"),
       py::arg("sigma"), py::arg("out"), py::arg("stream"), Release());
}

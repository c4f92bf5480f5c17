// Lanczos and Hessians on a device.
#include "cuda/bindings/bindings.hpp"

void bind_lanczos(pybind11::module_&) {}

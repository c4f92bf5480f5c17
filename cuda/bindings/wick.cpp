// Wick contractions on a device.
#include "cuda/bindings/bindings.hpp"

void bind_wick(pybind11::module_&) {}

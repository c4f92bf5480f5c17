// Ensembles on a device.
#include "cuda/bindings/bindings.hpp"

void bind_ensemble(pybind11::module_&) {}

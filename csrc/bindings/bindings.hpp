// What the binding files share: each adds its family to the one extension module.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

void bind_core(pybind11::module_& m);
void bind_ensemble(pybind11::module_& m);
void bind_wick(pybind11::module_& m);

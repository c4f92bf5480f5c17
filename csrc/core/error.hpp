// Errors that the library throws. The bindings map each to the Python class of the same name.
#pragma once

#include <stdexcept>

namespace nnqft {

struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};
struct ShapeError : Error {
    using Error::Error;
};
struct ArgumentError : Error {
    using Error::Error;
};
struct StateError : Error {
    using Error::Error;
};
struct DeviceError : Error {
    using Error::Error;
};

}  // namespace nnqft

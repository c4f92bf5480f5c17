// Gauss quadrature: n nodes, exact for every polynomial of degree 2n - 1. Cost O(n^2): about 3 ms for n = 512.
#pragma once

#include <cstddef>

namespace nnqft {

// integral_{-1}^{1} f(x) dx  ~  sum_i weights[i] f(nodes[i]),  nodes ascending, n >= 1.
// Errors up to n = 512, eps = 2^-52: nodes eps / 2 absolute, weights 40 eps relative.
void gauss_legendre(std::size_t n, double* nodes, double* weights);

// E f(z), z ~ N(0, 1)  ~  sum_i weights[i] f(nodes[i]),  nodes ascending, n >= 1, sum_i weights[i] = 1.
// Errors up to n = 512: nodes 3 eps relative, weights (30 + 2 z^2) eps relative, for a node's own rounding moves its weight
// by z^2 eps / 2. The outermost weights are below the smallest double, hence 0, from n = 389.
void gauss_hermite(std::size_t n, double* nodes, double* weights);

}  // namespace nnqft

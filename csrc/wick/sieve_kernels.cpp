// Sums over subtrees of sieve.hpp, depth first: eight subtrees in the lanes, both children of a node written in one pass.

#include "wick/sieve_tree.hpp"

namespace nnqft {
namespace {

template <class E>
bool subtree(const SievePlan& plan, const double* input, const double* lane_signs, int top, const double* path, int depth, double* workspace,
             double* out, const SieveStop& stop) {
    Tree<E> tree(plan, workspace, stop);
    for (int lane = 0; lane < kSieveLanes; lane += VD::width) {
        tree.plant(input);
        for (int l = 0; l < top; ++l) tree.step(l, VD::load(lane_signs + l * kSieveLanes + lane));
        for (int l = 0; l < depth; ++l) tree.step(top + l, VD(path[l]));
        const E sum = tree.value(top + depth, 0);
        if (tree.stopped()) return false;
        double lanes[E::size];
        sum.store(lanes);
        for (int part = 0; part < E::size / VD::width; ++part)
            memcpy(out + part * kSieveLanes + lane, lanes + part * VD::width, VD::width * sizeof(double));
    }
    return true;
}

}  // namespace

namespace NNQFT_UNIT {
SieveSubtree sieve_subtree(SieveNumbers numbers) {
    return numbers == SieveNumbers::real ? subtree<Re> : numbers == SieveNumbers::complex ? subtree<Co> : subtree<In>;
}
}  // namespace NNQFT_UNIT

}  // namespace nnqft

// Values and derivatives of the recursion of small_plan.hpp, for elements of type T with T(double), * and madd.
//
// Twice: as straight-line code for vectors (2.6 times as fast as loops at n = 12, 3.8 times at n = 8), and as loops over the plan
// where little code matters more. Both do the same operations in the same order.
#pragma once

#include <utility>

#include "core/hd.hpp"
#include "wick/small_plan.hpp"

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-but-set-parameter"  // GCC says so of packs that are empty: one or two points have no nodes
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#endif

namespace nnqft {
namespace {

template <int Count>
using Numbers = std::make_integer_sequence<int, Count>;

// ---------------------------------------------------------------- straight-line code; in(slot) reads an input, node[k] is node k

template <int N, bool Mean, class T, class In>
NNQFT_HD T slot_value(const In& in, const T* node, int slot) {
    constexpr int kInputs = SmallPlan<N, Mean>::kInputs;
    return slot == SmallPlan<N, Mean>::kOne ? T(1.0) : slot < kInputs ? in(slot) : node[slot - kInputs];
}

template <int N, bool Mean, int Node>
constexpr const auto* kTermsOf = kSmallPlan<N, Mean>.term + kSmallPlan<N, Mean>.first[Node];
template <int N, bool Mean, int Node>
using TermNumbers = Numbers<kSmallPlan<N, Mean>.first[Node + 1] - kSmallPlan<N, Mean>.first[Node]>;

// As numbers of their own, since device code has the constants of the host, but not its arrays.
template <int N, bool Mean, int Node, int I>
constexpr int kFactor = kTermsOf<N, Mean, Node>[I].factor;
template <int N, bool Mean, int Node, int I>
constexpr int kRest = kTermsOf<N, Mean, Node>[I].rest;

template <int N, bool Mean, int Node, class T, class In, int... I>
NNQFT_HD T node_value(const In& in, const T* node, std::integer_sequence<int, 0, I...>) {
    T sum = in(kFactor<N, Mean, Node, 0>) * slot_value<N, Mean>(in, node, kRest<N, Mean, Node, 0>);
    ((sum = madd(in(kFactor<N, Mean, Node, I>), slot_value<N, Mean>(in, node, kRest<N, Mean, Node, I>), sum)), ...);
    return sum;
}

template <int N, bool Mean, class T, class In, int... Node>
NNQFT_HD void forward(const In& in, T* node, std::integer_sequence<int, Node...>) {
    ((node[Node] = node_value<N, Mean, Node>(in, node, TermNumbers<N, Mean, Node>{})), ...);
}

template <int N, bool Mean, class T, class In>
NNQFT_HD T straight_value(const In& in) {
    constexpr int kNodes = kSmallPlan<N, Mean>.nodes;
    T node[kNodes + 1];
    forward<N, Mean>(in, node, Numbers<kNodes>{});
    constexpr int kRoot = kSmallPlan<N, Mean>.root;
    return slot_value<N, Mean>(in, node, kRoot);
}

// bar[slot] = d haf / d value of that slot; d(factor rest) = rest d(factor) + factor d(rest).
template <int N, bool Mean, int Node, class T, class In, int... I>
NNQFT_HD void back_node(const In& in, const T* node, T* bar, std::integer_sequence<int, I...>) {
    constexpr const auto* term = kTermsOf<N, Mean, Node>;
    const T whole = bar[SmallPlan<N, Mean>::kInputs + Node];
    ((bar[term[I].factor] = madd(slot_value<N, Mean>(in, node, term[I].rest), whole, bar[term[I].factor]),
      bar[term[I].rest] = madd(in(term[I].factor), whole, bar[term[I].rest])),
     ...);
}

template <int N, bool Mean, class T, class In, int... Back>
NNQFT_HD void backward(const In& in, const T* node, T* bar, std::integer_sequence<int, Back...>) {
    constexpr int kLast = kSmallPlan<N, Mean>.nodes - 1;
    (back_node<N, Mean, kLast - Back>(in, node, bar, TermNumbers<N, Mean, kLast - Back>{}), ...);
}

// Loops would keep the arrays in memory.
template <class T, int... I>
NNQFT_HD void clear(T* to, std::integer_sequence<int, I...>) {
    ((to[I] = T(0.0)), ...);
}
template <class T, int... I>
NNQFT_HD void copy(const T* from, T* to, std::integer_sequence<int, I...>) {
    ((to[I] = from[I]), ...);
}

template <int N, bool Mean, class T, class In>
NNQFT_HD void straight_derivative(const In& in, T* in_bar) {
    constexpr int kNodes = kSmallPlan<N, Mean>.nodes, kInputs = SmallPlan<N, Mean>::kInputs;
    T node[kNodes + 1], bars[1 + kInputs + kNodes], *bar = bars + 1;
    forward<N, Mean>(in, node, Numbers<kNodes>{});
    clear(bars, Numbers<1 + kInputs + kNodes>{});
    bar[kSmallPlan<N, Mean>.root] = T(1.0);
    backward<N, Mean>(in, node, bar, Numbers<kNodes>{});
    copy(bar, in_bar, Numbers<kInputs>{});
}

#if defined(__CUDACC__)
#define NNQFT_UNROLL_12
#else
#define NNQFT_UNROLL_12 _Pragma("GCC unroll 12")
#endif

// ---------------------------------------------------------------- loops; value[-1] is haf of nothing, inputs and nodes follow

// A plan without what the loops have no use for, as every object file holds it.
template <int N, bool Mean>
struct LoopPlan {
    using Term = typename SmallPlan<N, Mean>::Term;
    static constexpr int kInputs = SmallPlan<N, Mean>::kInputs, kNodes = kSmallPlan<N, Mean>.nodes, kRoot = kSmallPlan<N, Mean>.root;
    static constexpr int kSlots = kInputs + kNodes, kTerms = kSmallPlan<N, Mean>.first[kNodes];
    Term term[kTerms + 1] = {};

    constexpr LoopPlan() {
        for (int t = 0; t < kTerms; ++t) term[t] = kSmallPlan<N, Mean>.term[t];
    }
    // A subset of this size has as many terms; then: the nodes of this size.
    static constexpr int terms(int size) { return Mean ? size : size - 1; }
    static constexpr int nodes(int size) { return kSmallPlan<N, Mean>.up_to_size[size] - kSmallPlan<N, Mean>.up_to_size[size - 1]; }
};
template <int N, bool Mean>
inline constexpr LoopPlan<N, Mean> kLoopPlan{};

// `count` nodes of Terms terms each, into value[next], value[next + 1] ..
template <int Terms, class T, class Term>
void loop_nodes(const Term*& term, int count, T* value, int& next) {
    for (; count > 0; --count, term += Terms) {
        T sum = value[term[0].factor] * value[term[0].rest];
NNQFT_UNROLL_12
        for (int t = 1; t < Terms; ++t) sum = madd(value[term[t].factor], value[term[t].rest], sum);
        value[next++] = sum;
    }
}

template <int Terms, class T, class Term>
void loop_back_nodes(const Term*& term, int count, const T* value, T* bar, int& next) {
    for (; count > 0; --count) {
        const T whole = bar[--next];
        term -= Terms;
NNQFT_UNROLL_12
        for (int t = 0; t < Terms; ++t) {
            bar[term[t].factor] = madd(value[term[t].rest], whole, bar[term[t].factor]);
            bar[term[t].rest] = madd(value[term[t].factor], whole, bar[term[t].rest]);
        }
    }
}

template <int N, bool Mean, class T, int... Size>
void loop_values(T* value, std::integer_sequence<int, Size...>) {
    using Plan = LoopPlan<N, Mean>;
    const auto* term = kLoopPlan<N, Mean>.term;
    int next = Plan::kInputs;
    value[-1] = T(1.0);
    (loop_nodes<Plan::terms(Size + 2)>(term, Plan::nodes(Size + 2), value, next), ...);
}

template <int N, bool Mean, class T, int... Size>
void loop_derivatives(const T* value, T* bar, std::integer_sequence<int, Size...>) {
    using Plan = LoopPlan<N, Mean>;
    const auto* term = kLoopPlan<N, Mean>.term + Plan::kTerms;
    int next = Plan::kSlots;
    for (int slot = -1; slot < Plan::kSlots; ++slot) bar[slot] = T(0.0);
    bar[Plan::kRoot] = T(1.0);
    (loop_back_nodes<Plan::terms(N - Size)>(term, Plan::nodes(N - Size), value, bar, next), ...);
}

template <int N, bool Mean, class T, class In>
T loop_value(const In& in) {
    using Plan = LoopPlan<N, Mean>;
    T slots[Plan::kSlots + 1];
    for (int i = 0; i < Plan::kInputs; ++i) slots[i + 1] = in(i);
    loop_values<N, Mean>(slots + 1, Numbers<N - 1>{});
    return slots[Plan::kRoot + 1];
}

template <int N, bool Mean, class T, class In>
void loop_derivative(const In& in, T* in_bar) {
    using Plan = LoopPlan<N, Mean>;
    T slots[Plan::kSlots + 1], bar[Plan::kSlots + 1];
    for (int i = 0; i < Plan::kInputs; ++i) slots[i + 1] = in(i);
    loop_values<N, Mean>(slots + 1, Numbers<N - 1>{});
    loop_derivatives<N, Mean>(slots + 1, bar + 1, Numbers<N - 1>{});
    for (int i = 0; i < Plan::kInputs; ++i) in_bar[i] = bar[i + 1];
}

}  // namespace
}  // namespace nnqft

#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

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

// ---------------------------------------------------------------- straight-line code; in(slot) reads an input

template <int Count>
using Numbers = std::make_integer_sequence<int, Count>;

template <int N, bool Mean, int Slot, class T, class In>
NNQFT_HD T slot_value(const In& in, const T* node) {
    constexpr int kInputs = SmallPlan<N, Mean>::kInputs;
    if constexpr (Slot == SmallPlan<N, Mean>::kOne) return T(1.0);
    else if constexpr (Slot < kInputs) return in(Slot);
    else return node[Slot - kInputs];
}

template <int N, bool Mean, int Place, class T, class In>
NNQFT_HD T add_term(const In& in, const T* node, T sum) {
    constexpr auto kTerm = kSmallPlan<N, Mean>.term[Place];
    return madd(in(kTerm.factor), slot_value<N, Mean, kTerm.rest>(in, node), sum);
}

template <int N, bool Mean, int Node, class T, class In, int... I>
NNQFT_HD T node_value(const In& in, const T* node, std::integer_sequence<int, I...>) {
    constexpr int kFirst = kSmallPlan<N, Mean>.first[Node];
    constexpr auto kTerm = kSmallPlan<N, Mean>.term[kFirst];
    T sum = in(kTerm.factor) * slot_value<N, Mean, kTerm.rest>(in, node);
    ((sum = add_term<N, Mean, kFirst + 1 + I>(in, node, sum)), ...);
    return sum;
}

template <int N, bool Mean, int Node>
constexpr int kTermsOf = kSmallPlan<N, Mean>.first[Node + 1] - kSmallPlan<N, Mean>.first[Node];

template <int N, bool Mean, class T, class In, int... Node>
NNQFT_HD void forward(const In& in, T* node, std::integer_sequence<int, Node...>) {
    ((node[Node] = node_value<N, Mean, Node>(in, node, Numbers<kTermsOf<N, Mean, Node> - 1>{})), ...);
}

template <int N, bool Mean, class T, class In>
NNQFT_HD T straight_value(const In& in) {
    constexpr int kNodes = kSmallPlan<N, Mean>.nodes;
    T node[kNodes + 1];
    forward<N, Mean>(in, node, Numbers<kNodes>{});
    return slot_value<N, Mean, kSmallPlan<N, Mean>.root>(in, node);
}

// d(factor rest) = rest d(factor) + factor d(rest), times the derivative by the sum that the term belongs to.
template <int N, bool Mean, int Place, class T, class In>
NNQFT_HD void back_term(const In& in, const T* node, T bar, T* in_bar, T* node_bar) {
    constexpr int kInputs = SmallPlan<N, Mean>::kInputs;
    constexpr auto kTerm = kSmallPlan<N, Mean>.term[Place];
    in_bar[kTerm.factor] = madd(slot_value<N, Mean, kTerm.rest>(in, node), bar, in_bar[kTerm.factor]);
    if constexpr (kTerm.rest >= kInputs) {
        node_bar[kTerm.rest - kInputs] = madd(in(kTerm.factor), bar, node_bar[kTerm.rest - kInputs]);
    } else if constexpr (kTerm.rest >= 0) {
        in_bar[kTerm.rest] = madd(in(kTerm.factor), bar, in_bar[kTerm.rest]);
    }
}

template <int N, bool Mean, int Node, class T, class In, int... I>
NNQFT_HD void back_node(const In& in, const T* node, T* in_bar, T* node_bar, std::integer_sequence<int, I...>) {
    (back_term<N, Mean, kSmallPlan<N, Mean>.first[Node] + I>(in, node, node_bar[Node], in_bar, node_bar), ...);
}

template <int N, bool Mean, class T, class In, int... Back>
NNQFT_HD void backward(const In& in, const T* node, T* in_bar, T* node_bar, std::integer_sequence<int, Back...>) {
    constexpr int kLast = kSmallPlan<N, Mean>.nodes - 1;
    (back_node<N, Mean, kLast - Back>(in, node, in_bar, node_bar, Numbers<kTermsOf<N, Mean, kLast - Back>>{}), ...);
}

// in_bar[slot] = d haf / d input, in reverse mode.
template <int N, bool Mean, class T, class In>
NNQFT_HD void straight_derivative(const In& in, T* in_bar) {
    constexpr int kNodes = kSmallPlan<N, Mean>.nodes, kInputs = SmallPlan<N, Mean>::kInputs, kRoot = kSmallPlan<N, Mean>.root;
    T node[kNodes + 1], node_bar[kNodes + 1];
    for (T& bar : node_bar) bar = T(0.0);
    for (int i = 0; i < kInputs; ++i) in_bar[i] = T(0.0);
    (kRoot < kInputs ? in_bar[kRoot] : node_bar[kNodes - 1]) = T(1.0);
    forward<N, Mean>(in, node, Numbers<kNodes>{});
    backward<N, Mean>(in, node, in_bar, node_bar, Numbers<kNodes>{});
}

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
#pragma GCC unroll 12
        for (int t = 1; t < Terms; ++t) sum = madd(value[term[t].factor], value[term[t].rest], sum);
        value[next++] = sum;
    }
}

template <int Terms, class T, class Term>
void loop_back_nodes(const Term*& term, int count, const T* value, T* bar, int& next) {
    for (; count > 0; --count) {
        const T whole = bar[--next];
        term -= Terms;
#pragma GCC unroll 12
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

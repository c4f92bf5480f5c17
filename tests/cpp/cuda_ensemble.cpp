// Ensembles as a device computes them, emulated, against the CPU's kernels: the same bits. Shapes are small and odd.
#include "cuda/ensemble/ensemble.hpp"
#include "cuda/ensemble/moments.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <new>
#include <vector>

#include "check.hpp"
#include "emulation.hpp"
#include "ensemble/workspace.hpp"
#include "ensemble_tools.hpp"

using namespace nnqft;

namespace {

using cuda::EnsemblePlan;
using emulation::Order;

constexpr std::size_t kBudget = std::size_t{1} << 24;

// What the caller owns.
struct Device {
    std::vector<std::byte> constants, workspace;
    Device(const EnsemblePlan& plan, std::size_t scratch) : constants(plan.constants().total), workspace(scratch, std::byte{0xff}) {
        plan.write_constants(constants.data());
    }
};

template <class Real>
std::vector<Real> device_outputs(const EnsemblePlan& plan, std::uint64_t first, std::uint64_t count) {
    Device device(plan, plan.output_scratch(count).total);
    std::vector<Real> out(count * static_cast<std::uint64_t>(plan.spec().n_points * plan.spec().dim_out));
    CHECK(cuda::outputs(plan, first, count, device.constants.data(), out.data(), device.workspace.data(), nullptr) == cudaSuccess);
    return out;
}

Doubles device_sums(const EnsemblePlan& plan, std::uint64_t first, std::uint64_t count) {
    Device device(plan, plan.block_scratch(count).total);
    const std::uint64_t blocks = (count + plan.block() - 1) / plan.block();
    Doubles sums(blocks * static_cast<std::uint64_t>(plan.units().n_sums), -1.0);
    CHECK(cuda::block_sums(plan, first, count, device.constants.data(), sums.data(), device.workspace.data(), nullptr) == cudaSuccess);
    return sums;
}

template <class Real>
const EnsembleKernels<Real> kernels_of(const Ensemble& e) {
    if constexpr (sizeof(Real) == sizeof(float)) return float32_kernels(e.isa());
    else return ensemble_kernels_float64();
}

// A row of sums per block, from the CPU's kernels.
template <class Real>
Doubles cpu_sums(const Ensemble& e, const Program& program, std::uint64_t block, std::uint64_t first, std::uint64_t count) {
    const MomentProgram view = program.view();
    Real* const workspace = static_cast<Real*>(::operator new(workspace_layout(e.spec(), view.n_slots).total * sizeof(Real), std::align_val_t{64}));
    const std::size_t width = static_cast<std::size_t>(view.n_sums);
    Doubles rows((count + block - 1) / block * width, 0.0);
    for (std::uint64_t n = 0; n < count; n += block)
        kernels_of<Real>(e).block_sums(e.spec(), view, first + n, static_cast<std::uint32_t>(std::min(block, count - n)), workspace,
                                       rows.data() + n / block * width, Stop{});
    ::operator delete(workspace, std::align_val_t{64});
    return rows;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

Isa fastest() { return available_isas().back(); }

template <class Real>
void check_outputs(const Ensemble& e, std::uint64_t first, std::uint64_t count) {
    std::vector<Real> want(count * static_cast<std::uint64_t>(e.spec().n_points * e.spec().dim_out));
    CHECK(e.outputs(first, first + count, 1, want.data(), go_on));
    for (const std::size_t budget : {kBudget, std::size_t{20000}, std::size_t{1}})
        CHECK(same_bits(device_outputs<Real>(EnsemblePlan(e.spec(), e.float64(), nullptr, 16, budget), first, count), want));
}

bool has_layer_law(const Description& d) {
    for (const Layer& layer : d.layers)
        if (layer.weight.law != Law::normal || layer.bias.law != Law::normal) return false;
    return d.amplitude.empty();
}

}  // namespace

TEST(outputs_of_every_network_are_those_of_the_cpu) {
    for (Description d : networks())
        for (const Sampler sampler : {Sampler::weights, Sampler::layer}) {
            if (sampler == Sampler::layer && !has_layer_law(d)) continue;
            d.sampler = sampler;
            // 2^32 and the last net lie on the way.
            for (const std::uint64_t first : {std::uint64_t{30}, (std::uint64_t{1} << 32) - 3, (std::uint64_t{1} << 48) - 7}) {
                check_outputs<float>(bound(d, fastest()), first, 7);
                check_outputs<double>(bound(d, Isa::scalar, true), first, 7);
            }
        }
}

TEST(many_points_are_cut_into_chunks) {
    for (const int m : {5, 8, 9, 16, 17, 33, 65})
        for (const Sampler sampler : {Sampler::weights, Sampler::layer}) {
            Description d = network({3, 9, 6, 2}, m, Activation::tanh);
            d.sampler = sampler;
            check_outputs<float>(bound(d, fastest()), 15, 18);
        }
}

TEST(block_sums_of_every_network_are_those_of_the_cpu) {
    const std::vector<int> orders{1, 2, 4};
    for (Description d : networks())
        for (const Estimator estimator : {Estimator::direct, Estimator::gram, Estimator::neuron})
            for (const Sampler sampler : {Sampler::weights, Sampler::layer}) {
                if (estimator == Estimator::neuron && d.layers.size() != 2) continue;
                if (sampler == Sampler::layer && !has_layer_law(d)) continue;
                if (d.dim_out * d.n_points > 12 || d.n_points > 5) continue;
                d.estimator = estimator;
                d.sampler = sampler;
                d.field_scale = 0.5;
                const Ensemble e = bound(d, fastest()), wide = bound(d, Isa::scalar, true);
                const Program program = dense_program(static_cast<int>(field_count(e.spec())), orders);
                const MomentProgram view = program.view();
                CHECK(same_bits(device_sums(EnsemblePlan(e.spec(), false, &view, 32, kBudget), 32, 73), cpu_sums<float>(e, program, 32, 32, 73)));
                CHECK(same_bits(device_sums(EnsemblePlan(wide.spec(), true, &view, 32, kBudget), 32, 73), cpu_sums<double>(wide, program, 32, 32, 73)));
            }
}

// Blocks of less and of more than one sub-block, parts of blocks, several waves.
TEST(waves_and_pieces_change_no_bit) {
    struct Shape {
        Estimator estimator;
        std::uint64_t block, count;
    };
    const Shape shapes[] = {{Estimator::direct, 16, 50},   {Estimator::direct, 48, 200},  {Estimator::direct, 256, 700}, {Estimator::direct, 272, 600},
                            {Estimator::direct, 4096, 999}, {Estimator::gram, 528, 1000}, {Estimator::neuron, 16, 33},   {Estimator::neuron, 48, 100}};
    for (const std::vector<int>& sizes : {std::vector<int>{1, 21, 1}, std::vector<int>{5, 19, 1}})
        for (const Shape& shape : shapes) {
            Description d = network(sizes, 3, Activation::erf);
            d.estimator = shape.estimator;
            const Ensemble e = bound(d, fastest());
            const Program program = dense_program(static_cast<int>(field_count(e.spec())), {2, 3});
            const MomentProgram view = program.view();
            const Doubles want = cpu_sums<float>(e, program, shape.block, 3 * shape.block, shape.count);
            for (const std::size_t budget : {kBudget, std::size_t{40000}, std::size_t{1}})
                CHECK(same_bits(device_sums(EnsemblePlan(e.spec(), false, &view, shape.block, budget), 3 * shape.block, shape.count), want));
        }
}

TEST(the_shallow_kernels_and_the_layers_agree) {
    for (const int dim_in : {1, 2, 3, 4})
        for (const Activation activation : {Activation::erf, Activation::relu, Activation::softplus})
            for (const Estimator estimator : {Estimator::direct, Estimator::neuron})
                for (const bool gauss : {false, true}) {
                    if (gauss && activation != Activation::softplus) continue;
                    Description d = gauss ? gauss_network({dim_in, 7, 1}) : network({dim_in, 7, 1}, 3, activation);
                    d.estimator = estimator;
                    if (dim_in == 2) d.layers[0].bias.law = Law::zero;
                    if (dim_in == 3) d.layers[0].gain = 1.5;
                    const Ensemble e = bound(d, fastest());
                    const Program program = dense_program(3, {1, 2});
                    const MomentProgram view = program.view();
                    EnsemblePlan plan(e.spec(), false, &view, 16, kBudget);
                    const Doubles sums = device_sums(plan, 16, 21);
                    CHECK(same_bits(sums, cpu_sums<float>(e, program, 16, 16, 21)));
                    plan.forbid_shallow();
                    CHECK(same_bits(sums, device_sums(plan, 16, 21)));
                }
}

TEST(programs_that_fit_into_shared_memory_and_those_that_do_not_give_the_same_sums) {
    // 14 fields: 105 pairs and 119 slots, 121 KiB.
    for (const int m : {13, 14}) {
        const Ensemble e = bound(network({2, 3, 1}, m, Activation::erf), fastest());
        const Program program = dense_program(m, {2, 4});
        const MomentProgram view = program.view();
        CHECK(cuda::slots_are_staged<float>(view.n_slots) == (m == 13 && view.n_slots * 260 * 4 <= 96 * 1024));
        CHECK(same_bits(device_sums(EnsemblePlan(e.spec(), false, &view, 16, kBudget), 0, 40), cpu_sums<float>(e, program, 16, 0, 40)));
    }
}

TEST(no_order_of_the_threads_changes_a_bit) {
    Description d = network({2, 9, 8, 1}, 5, Activation::erf);
    d.sampler = Sampler::layer;
    d.estimator = Estimator::gram;
    const Ensemble e = bound(d, fastest());
    const Program program = dense_program(15, {1, 2, 3});
    const MomentProgram view = program.view();
    const EnsemblePlan plan(e.spec(), false, &view, 32, kBudget);
    const Doubles want = cpu_sums<float>(e, program, 32, 0, 70);
    for (const Order order : {Order::forward, Order::reverse, Order::shuffled}) {
        emulation::set_order(order, 9);
        CHECK(same_bits(device_sums(plan, 0, 70), want));
    }
    emulation::set_order(Order::forward);
}

// Every sum comes from exactly one unit, and every stored product after what it is made of.
TEST(units_cover_the_sums_of_a_program_once) {
    for (const int n_fields : {1, 2, 3, 6, 11, 17})
        for (const std::vector<int>& orders : {std::vector<int>{2}, std::vector<int>{1, 2, 3}, std::vector<int>{2, 4}, std::vector<int>{2, 4, 6}, std::vector<int>{8}}) {
            if (orders.back() == 8 && n_fields > 6) continue;
            const Program program = dense_program(n_fields, orders);
            const cuda::MomentUnits units = cuda::moment_units(program.view());
            std::vector<bool> made(static_cast<std::size_t>(program.n_slots), false);
            std::fill_n(made.begin(), n_fields, true);
            std::int32_t p = 0;
            for (const std::int32_t end : units.level_ends) {
                for (std::int32_t i = p; i < end; ++i) {
                    const auto& product = units.products[static_cast<std::size_t>(i)];
                    CHECK(made[static_cast<std::size_t>(product.a)] && made[static_cast<std::size_t>(product.b)]);
                }
                for (; p < end; ++p) made[static_cast<std::size_t>(units.products[static_cast<std::size_t>(p)].store)] = true;
            }
            std::vector<int> times(static_cast<std::size_t>(program.n_sums), 0);
            for (const auto& unit : units.units)
                for (int r = 0; r < (unit.kind == cuda::UnitKind::tile ? 4 : 1); ++r)
                    for (int c = 0; c < unit.count && unit.sum[r] >= 0; ++c) ++times[static_cast<std::size_t>(unit.sum[r] + c)];
            CHECK(times == std::vector<int>(times.size(), 1));
        }
}

TEST(plans_refuse_what_does_not_fit) {
    const Ensemble e(network({1, 4, 1}, 2, Activation::erf));
    const Program program = dense_program(2, {2}), other = dense_program(3, {2});
    const MomentProgram view = program.view(), wrong = other.view();
    CHECK_THROWS(ArgumentError, "no multiple of 16", EnsemblePlan(e.spec(), false, &view, 24, kBudget));
    CHECK_THROWS(ShapeError, "not for this ensemble's fields", EnsemblePlan(e.spec(), false, &wrong, 16, kBudget));
    CHECK_THROWS(ArgumentError, "without a moment program", EnsemblePlan(e.spec(), false, nullptr, 16, kBudget).block_scratch(16));
}

CHECK_MAIN()

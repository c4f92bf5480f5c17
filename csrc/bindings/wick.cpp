// Python face of csrc/wick: multi-indices, pairings, partition sums. Arrays in, new arrays out; no formulas.
#include "bindings/bindings.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "wick/multiset.hpp"
#include "wick/partition_sums.hpp"

namespace py = pybind11;

using namespace nnqft;

namespace {

std::string describe(const py::array& a) {
    return "dtype " + py::str(a.dtype()).cast<std::string>() + " and shape " +
           py::str(a.attr("shape")).cast<std::string>();
}

using WideArray = py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>;

// Signed integers of any width as int64, which loses nothing.
WideArray widen(const py::array& array, py::ssize_t ndim, const std::string& name, const char* shape) {
    if (array.dtype().kind() != 'i' || array.ndim() != ndim) {
        throw ShapeError(name + " has " + describe(array) + "; expected signed integers of shape " + shape);
    }
    auto wide = WideArray::ensure(array);
    if (!wide) throw py::error_already_set();
    return wide;
}

// Multi-indices as rows of an int32 or int64 array; the values are range-checked by IndexSet.
struct IndexRows {
    std::vector<Index> values;
    std::int64_t count = 0;
    int order = 0;
};

IndexRows index_rows(const py::handle& object, const std::string& name) {
    if (!py::isinstance<py::array>(object)) {
        throw ShapeError(name + " must be an integer array of shape (count, order), got " +
                         py::str(py::type::of(object)).cast<std::string>());
    }
    const auto array = py::reinterpret_borrow<py::array>(object);
    const WideArray wide = widen(array, 2, name, "(count, order)");
    IndexRows rows;
    rows.count = wide.shape(0);
    rows.order = static_cast<int>(wide.shape(1));
    rows.values.reserve(static_cast<std::size_t>(wide.size()));
    for (py::ssize_t i = 0; i < wide.size(); ++i) {
        const std::int64_t value = wide.data()[i];
        const auto narrow = static_cast<Index>(value);
        if (narrow != value) throw ArgumentError(name + " holds the value " + std::to_string(value));
        rows.values.push_back(narrow);
    }
    return rows;
}

IndexSet listed(const py::handle& object, std::int64_t m, int order, const std::string& name) {
    const IndexRows rows = index_rows(object, name);
    if (rows.order != order) {
        throw ShapeError(name + " has " + std::to_string(rows.order) + " columns; order " + std::to_string(order) +
                         " needs as many");
    }
    return IndexSet::listed(m, order, rows.values.data(), rows.count);
}

IndexSet index_set(const py::object& index, std::int64_t m, int order, const std::string& name) {
    return index.is_none() ? IndexSet::dense(m, order) : listed(index, m, order, name);
}

py::array_t<Index> rows_of(const IndexSet& set) {
    py::array_t<Index> out({static_cast<py::ssize_t>(set.size()), static_cast<py::ssize_t>(set.order())});
    Index* data = out.mutable_data();
    {
        const ReleaseGil release;
        set.rows(0, set.size(), data);
    }
    return out;
}

// A float64 array whose trailing axes are contiguous, as rows with a stride; axis 0 is the batch.
Rows<const double> batch_rows(const py::handle& object, const std::vector<std::int64_t>& trailing,
                              const std::string& name) {
    std::string expected = "(batch";
    for (const std::int64_t n : trailing) expected += ", " + std::to_string(n);
    expected += ")";
    if (!py::isinstance<py::array>(object)) {
        throw ShapeError(name + " must be a float64 array of shape " + expected + ", got " +
                         py::str(py::type::of(object)).cast<std::string>());
    }
    const auto array = py::reinterpret_borrow<py::array>(object);
    bool fits = py::isinstance<py::array_t<double>>(array) &&
                array.ndim() == static_cast<py::ssize_t>(trailing.size()) + 1;
    for (std::size_t k = 0; fits && k < trailing.size(); ++k) {
        fits = array.shape(static_cast<py::ssize_t>(k) + 1) == trailing[k];
    }
    if (!fits) throw ShapeError(name + " has " + describe(array) + "; expected float64 of shape " + expected);
    constexpr py::ssize_t kItem = sizeof(double);
    py::ssize_t step = kItem;
    bool contiguous =
        array.strides(0) % kItem == 0 && reinterpret_cast<std::uintptr_t>(array.data()) % alignof(double) == 0;
    for (py::ssize_t k = array.ndim() - 1; k > 0; --k) {
        contiguous = contiguous && (array.shape(k) <= 1 || array.strides(k) == step);
        step *= array.shape(k);
    }
    if (!contiguous && array.size() > 0) {
        throw ShapeError(name + " is not contiguous along its last axes: pass np.ascontiguousarray(" + name + ")");
    }
    return {static_cast<const double*>(array.data()), array.strides(0) / kItem};
}

py::array_t<double> empty_rows(std::int64_t batch, std::int64_t count) {
    return py::array_t<double>({static_cast<py::ssize_t>(batch), static_cast<py::ssize_t>(count)});
}

Rows<double> writable(py::array_t<double>& array) { return {array.mutable_data(), array.shape(1)}; }

// Lets Ctrl-C through while the GIL is released.
void poll_signals() {
    with_gil([] { return PyErr_CheckSignals() == 0; });
}

std::int64_t field_count(std::int64_t m_points, int d_out) {
    if (m_points < 1 || d_out < 1 || m_points > kMaxValues / d_out) {
        throw ArgumentError("m_points=" + std::to_string(m_points) + " and d_out=" + std::to_string(d_out) +
                            " must be positive, with at most " + std::to_string(kMaxValues) + " fields");
    }
    return m_points * d_out;
}

using Recursion = decltype(&cumulants_from_moments);

py::list partition_sums(Recursion recursion, Blocks blocks, const py::sequence& tensors, std::int64_t m,
                        const py::object& index) {
    const std::size_t n = tensors.size();
    if (n == 0) throw ShapeError("no tensors were passed: expected one per order, lowest order first");
    if (!index.is_none() && (!py::isinstance<py::sequence>(index) || py::len(index) != n)) {
        throw ShapeError("index must be None or a sequence with one array per order, " + std::to_string(n) + " here");
    }
    std::vector<IndexSet> sets;
    std::vector<Rows<const double>> in;
    std::vector<py::array_t<double>> arrays;
    std::vector<Rows<double>> out;
    py::ssize_t batch = 0;
    for (std::size_t k = 0; k < n; ++k) {
        const int order = static_cast<int>(k + 1) * static_cast<int>(blocks);
        const std::string name = "tensor of order " + std::to_string(order);
        const py::object list = index.is_none() ? py::object(py::none()) : py::object(index[py::int_(k)]);
        sets.push_back(index_set(list, m, order, "index of the " + name));
        const py::object tensor = tensors[k];
        in.push_back(batch_rows(tensor, {sets.back().size()}, name));
        const py::ssize_t rows = py::reinterpret_borrow<py::array>(tensor).shape(0);
        if (k == 0) batch = rows;
        if (rows != batch) {
            throw ShapeError(name + " has a batch of " + std::to_string(rows) + " rows, the first tensor has " +
                             std::to_string(batch));
        }
        arrays.push_back(empty_rows(batch, sets.back().size()));
        out.push_back(writable(arrays.back()));
    }
    {
        const ReleaseGil release;
        const FpEnvironment guard;
        recursion(blocks, sets, batch, in, out, poll_signals);
    }
    py::list result;
    for (auto& array : arrays) result.append(array);
    return result;
}

py::dict closure_rows(Blocks blocks, const py::sequence& lists, std::int64_t m) {
    std::vector<IndexSet> sets;
    for (std::size_t k = 0; k < lists.size(); ++k) {
        const py::object list = lists[k];
        const IndexRows rows = index_rows(list, "list " + std::to_string(k));
        sets.push_back(IndexSet::listed(m, rows.order, rows.values.data(), rows.count));
    }
    std::vector<IndexSet> closed;
    {
        const ReleaseGil release;
        closed = closure(blocks, sets);
    }
    py::dict result;
    for (const IndexSet& set : closed) result[py::int_(set.order())] = rows_of(set);
    return result;
}

}  // namespace

void bind_wick(py::module_& m) {
    using py::arg;

    m.def("multiset_count", &multiset_count, arg("m"), arg("order"), "C(m+order-1, order); raises beyond 64 bits.");
    m.def(
        "multiset_index", [](std::int64_t m, int order) { return rows_of(IndexSet::dense(m, order)); }, arg("m"),
        arg("order"), "All sorted multi-indices in lexicographic order, int32 (count, order).");
    m.def(
        "multiset_ranks",
        [](const py::array& index, std::int64_t m) {
            const IndexRows rows = index_rows(index, "index");
            const IndexSet all = IndexSet::dense(m, rows.order);
            py::array_t<std::int64_t> out(static_cast<py::ssize_t>(rows.count));
            std::int64_t* to = out.mutable_data();
            {
                const ReleaseGil release;
                for (std::int64_t e = 0; e < rows.count; ++e) {
                    const Index* row = rows.values.data() + e * rows.order;
                    all.check_row(row, e);
                    to[e] = all.rank(row);
                }
            }
            return out;
        },
        arg("index").noconvert(), arg("m"), "Lexicographic rank of every sorted row, int64 (count,).");
    m.def(
        "multiset_unrank",
        [](const py::array& ranks, std::int64_t m, int order) {
            const WideArray wide = widen(ranks, 1, "ranks", "(count,)");
            const IndexSet all = IndexSet::dense(m, order);
            py::array_t<Index> out({wide.size(), static_cast<py::ssize_t>(order)});
            for (py::ssize_t e = 0; e < wide.size(); ++e) {
                const std::int64_t rank = wide.data()[e];
                if (rank < 0 || rank >= all.size()) {
                    throw ArgumentError("rank " + std::to_string(rank) + " is outside 0.." +
                                        std::to_string(all.size() - 1));
                }
                all.unrank(rank, out.mutable_data() + e * order);
            }
            return out;
        },
        arg("ranks").noconvert(), arg("m"), arg("order"), "Inverse of multiset_ranks, int32 (count, order).");
    m.def(
        "canonical_index",
        [](const py::array& index, std::int64_t m) {
            IndexRows rows = index_rows(index, "index");
            const IndexSet all = IndexSet::dense(m, rows.order);
            std::vector<std::int64_t> ranks;
            for (std::int64_t e = 0; e < rows.count; ++e) {
                Index* row = rows.values.data() + e * rows.order;
                std::sort(row, row + rows.order);
                all.check_row(row, e);
                ranks.push_back(all.rank(row));
            }
            return rows_of(IndexSet::from_ranks(m, rows.order, std::move(ranks)));
        },
        arg("index").noconvert(), arg("m"), "Rows sorted within, then among each other, without duplicates.");
    m.def(
        "pairings",
        [](int n) {
            std::vector<Index> rows;
            {
                const ReleaseGil release;
                rows = pairings(n);
            }
            const py::ssize_t count = n > 0 ? static_cast<py::ssize_t>(rows.size()) / n : 1;
            py::array_t<Index> out({count, static_cast<py::ssize_t>(n / 2), static_cast<py::ssize_t>(2)});
            std::copy(rows.begin(), rows.end(), out.mutable_data());
            return out;
        },
        arg("n"), "All perfect matchings of n legs, int32 ((n-1)!!, n/2, 2).");

    m.def(
        "pairing_sums",
        [](const py::array& K, int order, const py::object& index) {
            check_even_order(order, "pairing_sums()");
            if (K.ndim() != 3 || K.shape(1) != K.shape(2)) {
                throw ShapeError("K has " + describe(K) + "; expected float64 of shape (batch, m, m)");
            }
            const std::int64_t points = K.shape(1);
            const Rows<const double> in = batch_rows(K, {points, points}, "K");
            const IndexSet set = index_set(index, points, order, "index");
            py::array_t<double> out = empty_rows(K.shape(0), set.size());
            const Rows<double> to = writable(out);
            const std::int64_t batch = out.shape(0);
            {
                const ReleaseGil release;
                const FpEnvironment guard;
                pairing_sums(set, batch, in, to, poll_signals);
            }
            return out;
        },
        arg("K").noconvert(), arg("order"), arg("index") = py::none(),
        "Gaussian correlators: K (batch, m, m), upper triangle read -> (batch, count).");

    m.def(
        "even_cumulants",
        [](const py::sequence& moments, std::int64_t m, const py::object& index) {
            return partition_sums(&cumulants_from_moments, Blocks::kEven, moments, m, index);
        },
        arg("moments"), arg("m"), arg("index") = py::none(),
        "Joint cumulants of an even theory from moments of order 2, 4, .., each (batch, count).");
    m.def(
        "moments_from_cumulants",
        [](const py::sequence& cumulants, std::int64_t m, const py::object& index) {
            return partition_sums(&moments_from_cumulants, Blocks::kEven, cumulants, m, index);
        },
        arg("cumulants"), arg("m"), arg("index") = py::none(), "Inverse of even_cumulants.");
    m.def(
        "vector_cumulants",
        [](const py::sequence& moments, std::int64_t m, const py::object& index) {
            return partition_sums(&cumulants_from_moments, Blocks::kAll, moments, m, index);
        },
        arg("moments"), arg("m"), arg("index") = py::none(),
        "Joint cumulants of any vector variable from raw moments of order 1, 2, .., each (batch, count).");
    m.def(
        "vector_moments",
        [](const py::sequence& cumulants, std::int64_t m, const py::object& index) {
            return partition_sums(&moments_from_cumulants, Blocks::kAll, cumulants, m, index);
        },
        arg("cumulants"), arg("m"), arg("index") = py::none(), "Inverse of vector_cumulants.");

    m.def(
        "gram_correlators",
        [](const py::array& moments, std::int64_t m_points, int d_out, int order, const py::object& fields,
           const py::object& pairs) {
            check_even_order(order, "gram_correlators()");
            const IndexSet field_set = index_set(fields, field_count(m_points, d_out), order, "fields");
            const IndexSet pair_set = index_set(pairs, multiset_count(m_points, 2), order / 2, "pairs");
            const Rows<const double> in = batch_rows(moments, {pair_set.size()}, "moments");
            py::array_t<double> out = empty_rows(moments.shape(0), field_set.size());
            const Rows<double> to = writable(out);
            const std::int64_t batch = out.shape(0);
            {
                const ReleaseGil release;
                const FpEnvironment guard;
                gram_correlators(field_set, d_out, pair_set, batch, in, to, poll_signals);
            }
            return out;
        },
        arg("moments").noconvert(), arg("m_points"), arg("d_out"), arg("order"), arg("fields") = py::none(),
        arg("pairs") = py::none(),
        "n-point functions from moments (or cumulants) of the pair variables, (batch, count) -> (batch, count).");

    m.def(
        "even_closure", [](const py::sequence& lists, std::int64_t m) { return closure_rows(Blocks::kEven, lists, m); },
        arg("lists"), arg("m"), "{order: rows} with all sub-multi-indices of even size.");
    m.def(
        "closure", [](const py::sequence& lists, std::int64_t m) { return closure_rows(Blocks::kAll, lists, m); },
        arg("lists"), arg("m"), "{order: rows} with all sub-multi-indices.");
    m.def(
        "gram_closure",
        [](const py::array& fields, std::int64_t m_points, int d_out) {
            const IndexRows rows = index_rows(fields, "fields");
            const std::int64_t n = field_count(m_points, d_out);
            return rows_of(gram_closure(IndexSet::listed(n, rows.order, rows.values.data(), rows.count), d_out));
        },
        arg("fields").noconvert(), arg("m_points"), arg("d_out"),
        "Multi-indices over pair variables that gram_correlators needs for these fields.");
}

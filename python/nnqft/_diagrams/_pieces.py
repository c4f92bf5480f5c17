"""Sums over nodes of the connected pieces of diagrams, each computed once and looked up for every multi-index."""

from collections import Counter
from collections.abc import Mapping
from math import comb, prod

import numpy as np

from .. import _core
from ..errors import ArgumentError, ShapeError
from ._contract import affordable, contract

_MODERATE = 30  # exponents of propagators that need no scaling
_PANEL = 2**20  # doubles in one panel of products, 8 MiB
_MOST_LEGS = 8  # of a moment tensor


def checked(array, shape, name):
    """A finite float64 or complex128 array of this shape; None in `shape` is any length."""
    array = np.asarray(array)
    expected = ", ".join("any" if n is None else str(n) for n in shape)
    if array.ndim != len(shape) or any(n not in (None, k) for n, k in zip(shape, array.shape, strict=True)):
        raise ShapeError(f"{name} has shape {array.shape}; expected ({expected})")
    if array.dtype not in (np.float64, np.complex128):
        raise ShapeError(f"{name} has dtype {array.dtype}; expected float64 or complex128")
    if not np.isfinite(array).all():
        raise ArgumentError(f"{name} has {np.count_nonzero(~np.isfinite(array))} entries that are not finite")
    return array


def scaled(values, exponent):
    """values * 2 ** exponent, rounded once."""
    if np.iscomplexobj(values):
        return np.ldexp(values.real, exponent) + 1j * np.ldexp(values.imag, exponent)
    return np.ldexp(values, exponent)


class Propagators:
    """Propagators by fields, among external points (xx), between these and nodes (xy), and among nodes (yy)."""

    def __init__(self, K_xx, K_xy, K_yy, weights, fields):
        self.m = self.n_nodes = None
        self.fields = sorted(fields)
        self.weights = None if weights is None else checked(weights, (None,), "weights")
        if weights is not None:
            self.n_nodes = len(self.weights)
        self.tables = {}
        for name, given in (("K_xx", K_xx), ("K_xy", K_xy), ("K_yy", K_yy)):
            self.tables[name] = self._read(name, given)
        if self.m is None:
            raise ArgumentError("K_xx or K_xy must say how many external points there are")
        if self.m == 0:
            raise ShapeError("there are no external points: K_xx has shape (0, 0)")
        self.exponent = self._rescale()

    def _rescale(self):
        """Divide extreme propagators by 2 ** exponent, so that their products neither overflow nor vanish."""
        arrays = [a for table in self.tables.values() for a in (table.values() if isinstance(table, dict) else [table])]
        largest = max((np.abs(a).max(initial=0.0) for a in arrays if a is not None), default=0.0)
        exponent = int(np.clip(np.frexp(largest)[1], -1000, 1000)) if largest else 0
        if abs(exponent) <= _MODERATE:
            return 0
        factor = 2.0**-exponent
        for name, table in self.tables.items():
            if table is not None:
                several = isinstance(table, dict)
                self.tables[name] = {k: a * factor for k, a in table.items()} if several else table * factor
        return exponent

    def _read(self, name, given):
        if given is None:
            return None
        if not isinstance(given, Mapping):
            if len(self.fields) > 1:
                raise ArgumentError(
                    f"{name} is one array, but the fields are {', '.join(self.fields)}: pass a mapping "
                    f"{{({self.fields[0]!r}, {self.fields[-1]!r}): array, ..}}"
                )
            return self._array(name, given, None)
        for key in given:
            if not (isinstance(key, tuple) and len(key) == 2):
                raise ArgumentError(f"{name} maps pairs of fields to arrays, got the key {key!r}")
        return {key: self._array(f"{name}[{key}]", array, key) for key, array in given.items()}

    def _array(self, name, given, key):
        if name.startswith("K_xx"):
            array = checked(given, (self.m, self.m), name)
            self.m = len(array)
            square = True
        elif name.startswith("K_xy"):
            array = checked(given, (self.m, self.n_nodes), name)
            self.m, self.n_nodes = array.shape
            return array
        else:
            square = np.ndim(given) == 2
            array = checked(given, (self.n_nodes,) * (1 + square), name)
            self.n_nodes = len(array)
        if square and len(set(array.shape)) > 1:
            raise ShapeError(f"{name} has shape {array.shape}; expected a square matrix")
        if square and (key is None or key[0] == key[1]):
            check_symmetric(array, name)
        return array

    def get(self, name, a, b):
        """<a b>, the first field along the first axis."""
        table = self.tables[name]
        if table is None:
            raise ArgumentError(f"a line needs {name}: pass it")
        if not isinstance(table, dict):
            return table
        if (a, b) in table:
            return table[a, b]
        if name != "K_xy" and (b, a) in table:
            return table[b, a].T
        raise ArgumentError(f"{name} has no entry for ({a!r}, {b!r})")

    def diagonal(self, a, b):
        """<a(y) b(y)> at every node."""
        array = self.get("K_yy", a, b)
        return array if array.ndim == 1 else np.diagonal(array)

    def between_nodes(self, a, b):
        """<a(y) b(y')>, shape (P, P)."""
        array = self.get("K_yy", a, b)
        if array.ndim != 2:
            raise ArgumentError("K_yy holds the diagonal alone, but a line joins different vertices: pass it as (P, P)")
        return array


def check_symmetric(K, name):
    """|K_ij - K_ji| may reach 1e-12 of the smaller of the two rows' largest entries."""
    step = max(1, _PANEL // max(1, len(K)))
    panels = [slice(k, k + step) for k in range(0, len(K), step)]
    scale = np.concatenate([np.abs(K[rows]).max(axis=1) for rows in panels]) if panels else np.zeros(0)
    for rows in panels:
        gap = np.abs(K[rows] - K[:, rows].T)
        if np.any(gap > 1e-12 * np.minimum.outer(scale[rows], scale)):
            i, j = np.unravel_index(np.argmax(gap), gap.shape)
            i += rows.start
            raise ArgumentError(f"{name} is not symmetric: [{i}, {j}] = {K[i, j]} but [{j}, {i}] = {K[j, i]}")


class Pieces:
    """Pieces of diagrams: `add` them all, then ask for each `value` over the rows of multi-indices.

    A piece is (key, groups): everything its table depends on, and the external legs at each of its nodes. Tables run
    over the distinct sub-tuples of points that occur at a node, so that pieces with other external legs share them.
    """

    def __init__(self, propagators, couplings, rows, max_work):
        self.propagators, self.couplings, self.rows, self.max_work = propagators, couplings, rows, max_work
        self.wanted = {}  # fields at a node -> the tuples of external legs that hang there
        self.pools, self.factors, self.tables = {}, {}, {}

    def add(self, diagram, names):
        """Describe the piece of `diagram` whose nodes are `names`."""
        edges = [edge for edge in diagram.edges if edge.a in names]
        if all(name[0] == "x" for name in names):
            ((a, b, _, _, legs),) = edges
            return None, (legs[0].field, legs[1].field, int(a[1:]), int(b[1:]))
        vertices = {name: diagram.vertices[int(name[1:])] for name in names if name[0] == "y"}
        node = merged_points(vertices, edges)
        groups, loops, lines = {}, {}, Counter()
        for a, b, n, kind, (leg_a, leg_b) in edges:
            if kind == "delta":
                continue
            if len(leg_a.points) > 1 or len(leg_b.points) > 1:
                raise ArgumentError(
                    f"only delta lines join fields of several points: {leg_a} and {leg_b} are not joined so"
                )
            ends = [(a, leg_a), (b, leg_b)]
            if a[0] == "x" or b[0] == "x":
                (x, leg_x), (y, leg_y) = ends if a[0] == "x" else ends[::-1]
                groups.setdefault(node[y, leg_y.points[0]], []).append((leg_x.field, leg_y.field, int(x[1:])))
                continue
            p, q = node[a, leg_a.points[0]], node[b, leg_b.points[0]]
            if kind == "causal" and np.any(self.propagators.diagonal(leg_a.field, leg_b.field)):
                raise ArgumentError(
                    f"the causal K_yy[{leg_a.field!r}, {leg_b.field!r}] does not vanish on its diagonal: theta(0) = 0"
                )
            if p == q:
                loops.setdefault(p, Counter())[leg_a.field, leg_b.field] += n
            else:
                lines[p, q, leg_a.field, leg_b.field] += n
        local = {name: g for name, g in vertices.items() if isinstance(self.couplings[g], np.ndarray)}
        described = []
        for p in dict.fromkeys(node.values()):
            legs = sorted(groups.get(p, ()))
            fields = tuple(leg[:2] for leg in legs)
            self.wanted.setdefault(fields, set()).add(tuple(leg[2] for leg in legs))
            coupled = tuple(sorted(local[name] for name, point in node if node[name, point] == p and name in local))
            described.append(
                (fields, tuple(sorted(loops.get(p, {}).items())), coupled, p, tuple(leg[2] for leg in legs))
            )
        described.sort()
        place = {p: k for k, (*_, p, _) in enumerate(described)}
        joined = tuple(sorted((place[p], place[q], a, b, n) for (p, q, a, b), n in lines.items()))
        return (tuple(d[:3] for d in described), joined), tuple((d[0], d[4]) for d in described)

    def value(self, piece):
        """The piece at every row of multi-indices."""
        key, groups = piece
        if key is None:
            a, b, i, j = groups
            return self.propagators.get("K_xx", a, b)[self.rows[:, i], self.rows[:, j]]
        if key not in self.tables:
            self.tables[key] = self._table(*key)
        return self.tables[key][tuple(self._pool(fields)[1][legs] for fields, legs in groups if fields)]

    def _pool(self, fields):
        """Distinct sub-tuples of points for external legs with these fields, and where each choice of legs finds its own.

        Legs that see the same propagator are sorted among themselves.
        """
        if fields not in self.pools:
            choices = sorted(self.wanted[fields])
            blocks = [[k for k, f in enumerate(fields) if f == field] for field in dict.fromkeys(fields)]
            tuples = np.concatenate([self.rows[:, legs] for legs in choices])
            for block in blocks:
                tuples[:, block] = np.sort(tuples[:, block], axis=1)
            pool, inverse = distinct(tuples, self.propagators.m)
            inverse = inverse.reshape(len(choices), len(self.rows))
            self.pools[fields] = pool, dict(zip(choices, inverse, strict=True))
        return self.pools[fields]

    def _table(self, nodes, lines):
        weights = self.propagators.weights
        if weights is None:
            raise ArgumentError("vertices are integrated over nodes: pass weights")
        terms = []
        for p, (fields, loops, coupled) in enumerate(nodes):
            w = weights
            for (a, b), n in loops:
                w = w * self.propagators.diagonal(a, b) ** n
            for vertex in coupled:
                w = w * self.couplings[vertex]
            if len(nodes) == 1:
                return self._vertex_tensor(fields, w) if fields else w.sum()
            terms.append((w, (p,)))
            if fields:
                terms.append((self._factor(fields), (p + len(nodes), p)))
        for p, q, a, b, n in lines:
            terms.append((self.propagators.between_nodes(a, b) ** n, (p, q)))
        output = [p + len(nodes) for p, (fields, *_) in enumerate(nodes) if fields]
        return contract(terms, range(len(nodes)), output, self.max_work)

    def _factor(self, fields):
        """prod K(x_i, y) for every sub-tuple of the pool, shape (pool, P)."""
        if fields not in self.factors:
            pool = self._pool(fields)[0]
            affordable(0, len(pool) * self.propagators.n_nodes, self.max_work)
            self.factors[fields] = self._products(fields, pool)
        return self.factors[fields]

    def _products(self, fields, tuples, nodes=slice(None)):
        ones = np.ones((len(tuples), len(self.propagators.weights[nodes])))
        return prod(
            (self.propagators.get("K_xy", a, b)[tuples[:, k], nodes] for k, (a, b) in enumerate(fields)), start=ones
        )

    def _vertex_tensor(self, fields, weights):
        """sum_y w_y prod K(x_i, y) for every sub-tuple of the pool: a moment tensor over nodes.

        Where the pool holds all multi-indices, C(m+n-1, n) products per node, none twice. Else each sub-tuple is cut into
        halves, and the sum is one matrix product of the products over distinct halves.
        """
        pool, n = self._pool(fields)[0], len(fields)
        K = self.propagators.get("K_xy", *fields[0])
        real = not np.iscomplexobj(K) and not np.iscomplexobj(weights)
        if real and len(set(fields)) == 1 and n <= _MOST_LEGS and len(pool) == comb(len(K) + n - 1, n):
            affordable(len(pool) * len(weights), len(pool), self.max_work)
            return _core.moment_sums(K.T, n, weights, threads=_core.default_threads())
        (left, i), (right, j) = (distinct(part, self.propagators.m) for part in (pool[:, : n // 2], pool[:, n // 2 :]))
        affordable(len(left) * len(right) * len(weights), len(left) * len(right), self.max_work)
        table, step = 0.0, max(1, _PANEL // (len(left) + len(right) + 1))
        for first in range(0, max(1, len(weights)), step):
            panel = slice(first, first + step)
            weighted = self._products(fields[: n // 2], left, panel) * weights[panel]
            table = table + weighted @ self._products(fields[n // 2 :], right, panel).T
        return table[i, j]


def distinct(tuples, m):
    """Distinct rows of integers in [0, m), and the place of every row among them."""
    width = tuples.shape[1]
    if m**width >= 2**63:
        pool, inverse = np.unique(tuples, axis=0, return_inverse=True)
        return pool, inverse.ravel()
    digits = m ** np.arange(width - 1, -1, -1, dtype=np.int64)
    _, first, inverse = np.unique(tuples @ digits, return_index=True, return_inverse=True)
    return tuples[first], inverse


def merged_points(vertices, edges):
    """{(vertex, point): its representative}, points that delta lines join being one."""
    parent = {}

    def root(p):
        while p in parent:
            p = parent[p]
        return p

    for a, b, n, kind, (leg_a, leg_b) in edges:
        if kind != "delta":
            continue
        if a[0] == "x" or b[0] == "x":
            raise ArgumentError("a delta line joins an external point to a vertex: that diagram has no value on nodes")
        for s, t in zip(leg_a.points, leg_b.points, strict=True):
            p, q = root((a, s)), root((b, t))
            if p == q or n > 1:
                raise ArgumentError("delta lines close a loop: the diagram contains delta(0)")
            parent[p] = q
    return {
        (name, point): root((name, point)) for name, legs in vertices.items() for leg in legs for point in leg.points
    }

"""`diagrams`: the classes of contractions of external points and vertices, with their counts and properties."""

import operator
from collections import Counter
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from ..errors import ArgumentError
from . import _graph
from ._enumerate import Canonical, contraction_classes, pairings_of
from ._theory import Leg, theory


class Edge(NamedTuple):
    """A line of a diagram, as often as `multiplicity` says.

    `a` and `b` name external points "x0", "x1", .. and vertices "y0", "y1", ..; `legs` are the fields at the two ends;
    `kind` is that of the propagator. Directed and causal lines run from b to a: a is the later end.
    """

    a: str
    b: str
    multiplicity: int
    kind: str
    legs: tuple[Leg, Leg]


@dataclass(frozen=True, repr=False)
class Diagram:
    """A class of contractions: all pairings of the legs that differ by a relabelling of vertices and their legs.

    Parameters
    ----------
    external : tuple of Leg
        Fields at the external points x0, x1, ..
    vertices : tuple of tuple of Leg
        Fields at the vertices y0, y1, ..
    edges : tuple of Edge
        Lines, each pair of slots once.
    pairings : int
        Number of pairings of all L legs in this class: its share of the (L-1)!!.
    symmetry_factor : int
        S: with couplings g/d! (in general 1/|symmetry of the vertex|) and the 1/V! of the exponential series the
        diagram's weight is 1/S. S = |group| / pairings, the group permuting equal vertices and equivalent legs.
    connected : bool
        One piece that holds every external point. Without external points: False.
    vacuum : bool
        Some piece holds no external point.
    self_energy : bool
        Exactly two lines join some connected set of vertices to the rest: the diagram contains a correction of a
        two-point function, on an external or an internal line. A loop at a vertex alone is none.
    one_particle_irreducible : bool
        Connected, and without its external lines still in one piece when any one line is cut.
    n_loops : int
        Independent closed loops, lines - nodes + pieces.
    index_loops : int
        Sums over an index that runs from 1 to N: the diagram carries N ** index_loops.
    deltas : tuple of str
        Open external index letters that lines join: ("ab", "cd") is delta_ab delta_cd; "1a" fixes a.
    components : tuple of tuple of str
        Pieces, by the names of their nodes.
    topology : str
        Text of the diagram without labels of external points: equal for diagrams that differ by these alone.
    labellings : int
        How many diagrams share that topology: 3 for the bubble of f^4 with four external points.
    text : str
        The same as `str(diagram)`.

    Notes
    -----
    `str(diagram)` is the product of propagators that it stands for: "x0-y0 x1-y0 y0-y0" is K(x0,y0) K(x1,y0) K(y0,y0),
    "x0-y0 x1-y1 y0-y1^3" a sunset. With several fields every end is named, and arrows point to the later end.

    Examples
    --------
    >>> tadpole = diagrams(2, [4])[0]
    >>> tadpole
    Diagram(x0-y0 x1-y0 y0-y0: pairings=12, symmetry_factor=2)
    >>> tadpole.self_energy, tadpole.n_loops, tadpole.components
    (True, 1, (('x0', 'x1', 'y0'),))
    """

    external: tuple
    vertices: tuple
    edges: tuple
    pairings: int
    symmetry_factor: int
    connected: bool
    vacuum: bool
    self_energy: bool
    one_particle_irreducible: bool
    n_loops: int
    index_loops: int
    deltas: tuple
    components: tuple
    topology: str
    labellings: int
    text: str

    @property
    def n_ext(self):
        """Number of external points."""
        return len(self.external)

    @property
    def order(self):
        """Number of vertices."""
        return len(self.vertices)

    def __str__(self):
        return self.text

    def __repr__(self):
        return f"Diagram({self.text}: pairings={self.pairings}, symmetry_factor={self.symmetry_factor})"

    def adjacency(self):
        """Lines between nodes, int array (n_ext + order,)*2, external points first; loops on the diagonal, each once.

        Examples
        --------
        >>> diagrams(2, [4])[0].adjacency().tolist()
        [[0, 0, 1], [0, 0, 1], [1, 1, 1]]
        """
        M = np.zeros((self.n_ext + self.order,) * 2, dtype=np.int64)
        for edge in self.edges:
            a, b = (int(node[1:]) + self.n_ext * (node[0] == "y") for node in (edge.a, edge.b))
            M[a, b] += edge.multiplicity
            M[b, a] = M[a, b]
        return M

    def to_dict(self):
        """Plain `dict` of numbers, strings and lists, ready for JSON."""
        state = {f.name: getattr(self, f.name) for f in fields(self)}
        state["external"] = [str(leg) for leg in self.external]
        state["vertices"] = [[str(leg) for leg in legs] for legs in self.vertices]
        state["edges"] = [
            {"a": e.a, "b": e.b, "multiplicity": e.multiplicity, "kind": e.kind, "legs": [str(leg) for leg in e.legs]}
            for e in self.edges
        ]
        state["components"] = [list(piece) for piece in self.components]
        return state | {"deltas": list(self.deltas)}

    def draw(self, ax=None):
        """Draw it: `nnqft.plot.diagram(self, ax=ax)`, which see."""
        from .. import plot

        return plot.diagram(self, ax=ax)


def diagrams(n_ext, vertices, *, propagators=None, limit=100_000):
    """All diagrams of n external points and the given vertices.

    Every way to pair all legs is one contraction; contractions that differ by a permutation of equal vertices, or of
    equivalent legs of a vertex, are one diagram. External points are labelled.

    Parameters
    ----------
    n_ext : int or sequence of str
        Number of external points; with several fields, their names, such as ["h", "h~"].
    vertices : sequence of int or of tuples of str
        One entry per vertex: its number of legs, [4, 6] for f^4 and f^6; or its fields, [("phi", "phi", "sigma")].
        Fields may carry indices and points, ("z_i(t)", "z_i(u)", "h_j(t)", "h_j(u)"): see Notes.
    propagators : mapping (str, str) -> {"plain", "directed", "causal", "delta"}, optional
        Pairs of fields that may contract. Default: every field with itself, plain. A causal line G_ab(t, s) vanishes
        unless t > s, theta(0) = 0: diagrams in which causal lines close a loop are left out, loops at one point
        included. A delta line makes the points of its ends one.
    limit : int
        Largest number of diagrams, against requests that would not end.

    Returns
    -------
    list of Diagram
        Connected and largest first, with vacuum pieces last; empty if the number of legs is odd. Without indices and
        restrictions their `.pairings` add up to (L-1)!!, L = n_ext + sum of degrees, exactly (Python integers).

    Raises
    ------
    ArgumentError
        If a leg, vertex or propagator is malformed, there are more than 100 legs, the symmetry group is larger
        than 50000, or there are more than `limit` diagrams.

    Notes
    -----
    A leg is `name`, `name_ij` or `name_ij(t,u)`. Index letters repeated in a vertex, or among the external legs, are
    summed from 1 to N; a line makes the indices of its ends equal, place by place; a digit is one fixed component, and
    a letter that occurs on a single external leg stays open. Points in parentheses are integrated one by one; a field
    without them sits at the vertex's own point. Vertices are equal if they are written with the same letters.

    Cost: one matrix of multiplicities per class (not one pairing): third-order f^4 with six external points, 2255
    classes of 34459425 pairings, takes 0.3 s. Checked against Halverson et al., arXiv:2008.08601, whose first-order
    counts 24, 360, 360, 720, 5400 are sums over classes (docs/diagrams.md).

    Examples
    --------
    >>> for d in diagrams(4, [4])[:2]:
    ...     print(d, d.pairings, d.symmetry_factor, d.connected)
    x0-y0 x1-y0 x2-y0 x3-y0 24 1 True
    x0-x1 x2-y0 x3-y0 y0-y0 12 2 False
    >>> sum(d.pairings for d in diagrams(4, [4]))                                   # 7!!
    105
    >>> [(d.index_loops, d.pairings) for d in diagrams(["phi_1"] * 2, [("phi_i", "phi_i", "phi_j", "phi_j")])[:2]]
    [(0, 8), (1, 4)]
    """
    setup = theory(n_ext, vertices, propagators)
    if not hasattr(limit, "__index__") or operator.index(limit) < 1:
        raise ArgumentError(f"limit must be a positive number of diagrams, got {limit!r}")
    build = _Builder(setup)
    found = []
    for matrix, orbit in contraction_classes(setup, operator.index(limit)):
        diagram = build(matrix, orbit)
        if diagram is not None:
            found.append((_rank(diagram), diagram.topology, (-matrix.astype(int)).ravel().tolist(), diagram))
    return [diagram for *_, diagram in sorted(found, key=operator.itemgetter(0, 1, 2))]


def _rank(d):
    return d.vacuum, len(d.components), d.self_energy, -d.pairings


class _Builder:
    """Diagrams of one theory from their matrices."""

    def __init__(self, setup):
        self.setup = setup
        n_ext, slots = len(setup.external), setup.slots
        self.names = [f"x{i}" for i in range(n_ext)] + [f"y{v}" for v in range(len(setup.vertices))]
        show = (lambda leg: "") if setup.is_scalar else (lambda leg: f".{leg}")
        self.ends = [self.names[node] + show(leg) for node, leg, _ in slots]
        self.fields = [leg.field for _, leg, _ in slots]
        # External slots merge by field: what remains is the diagram without labels of external points.
        merged = ["x" + show(Leg(leg.field)) if node < n_ext else s for s, (node, leg, _) in enumerate(slots)]
        rows = list(dict.fromkeys(merged))
        self.outer = [k for k, row in enumerate(rows) if isinstance(row, str)]
        self.merge = np.zeros((len(rows), len(slots)), dtype=np.int64)
        self.merge[[rows.index(key) for key in merged], range(len(slots))] = 1
        self.merged_ends = [row if isinstance(row, str) else self.ends[row] for row in rows]
        self.merged_fields = [self.fields[merged.index(row)] for row in rows]
        nodes = np.array([-1 if isinstance(row, str) else slots[row][0] for row in rows])
        place = np.array([rows.index(key) for key in merged], dtype=np.intp)
        group = place[setup.symmetry[:, [merged.index(row) for row in rows]]]
        self.canonical = Canonical(group, nodes[:, np.newaxis] == nodes)
        self.counts = (self.merge @ [count for _, _, count in slots]).tolist()
        self.cache = {}

    def __call__(self, A, orbit):
        setup, n_ext = self.setup, len(self.setup.external)
        indices = self._indices(A)
        if indices is None:
            return None
        M = [[0] * len(self.names) for _ in self.names]
        edges = []
        for s, t in np.argwhere(np.triu(A)).tolist():
            edges.append(self._edge(s, t, int(A[s, t])))
            a, b = setup.slots[s][0], setup.slots[t][0]
            M[a][b] += edges[-1].multiplicity
            M[b][a] = M[a][b]
        pieces = _graph.components(M)
        vacuum = any(piece[0] >= n_ext for piece in pieces)
        connected = len(pieces) == 1 and not vacuum
        pairings = orbit * pairings_of([count for _, _, count in setup.slots], A)
        index_loops, deltas = indices
        topology, together = self._topology(A)
        labellings = together // pairings
        return Diagram(
            external=setup.external, vertices=setup.vertices, edges=tuple(edges), pairings=pairings,
            symmetry_factor=setup.order // pairings, connected=connected, vacuum=vacuum,
            self_energy=_graph.has_insertion(M, n_ext),
            one_particle_irreducible=connected and _graph.is_irreducible(M, n_ext), n_loops=_graph.n_loops(M),
            index_loops=index_loops, deltas=deltas,
            components=tuple(tuple(self.names[node] for node in piece) for piece in pieces),
            topology=topology, labellings=labellings, text=self._text(A, self.ends, self.fields),
        )  # fmt: skip

    def _edge(self, s, t, multiplicity):
        (a, leg_a, _), (b, leg_b, _) = self.setup.slots[s], self.setup.slots[t]
        kind, forward = self.setup.kind(leg_a.field, leg_b.field)
        if forward:
            return Edge(self.names[a], self.names[b], multiplicity, kind, (leg_a, leg_b))
        return Edge(self.names[b], self.names[a], multiplicity, kind, (leg_b, leg_a))

    def _indices(self, A):
        """Index loops and joined open letters; None if lines join two different fixed components."""
        setup, n_ext = self.setup, len(self.setup.external)
        parent = {}

        def root(i):
            while i in parent:
                i = parent[i]
            return i

        def name(node, letter):
            return letter if letter.isdigit() else (max(node - n_ext, -1), letter)  # external letters share one scope

        for s, t in np.argwhere(np.triu(A)).tolist():
            (a, leg_a, _), (b, leg_b, _) = setup.slots[s], setup.slots[t]
            for i, j in zip(leg_a.indices, leg_b.indices, strict=True):
                i, j = root(name(a, i)), root(name(b, j))
                if i != j:
                    parent[i] = j
        groups = {}
        for node, leg, _ in setup.slots:
            for letter in leg.indices:
                groups.setdefault(root(name(node, letter)), set()).add(name(node, letter))
        seen = Counter(letter for leg in setup.external for letter in leg.indices if not letter.isdigit())
        deltas, loops = [], 0
        for members in groups.values():
            fixed = [member for member in members if isinstance(member, str)]
            if len(fixed) > 1:
                return None
            opened = [letter for scope, letter in members - set(fixed) if scope == -1 and seen[letter] == 1]
            loops += not (fixed or opened)
            if opened:
                deltas.append("".join(sorted(fixed + opened)))
        return loops, tuple(sorted(deltas))

    def _topology(self, A):
        """Text without labels of external points, and the number of pairings of all diagrams that share it."""
        merged = self.merge @ A @ self.merge.T
        merged[self.outer, self.outer] //= 2  # a pair of external points was counted from both ends
        merged = merged.astype(np.uint8)
        raw = merged.tobytes()
        if raw not in self.cache:
            key, images = self.canonical(merged)
            text = self._text(np.frombuffer(key, np.uint8).reshape(merged.shape), self.merged_ends, self.merged_fields)
            self.cache[raw] = text, images * pairings_of(self.counts, merged)
        return self.cache[raw]

    def _text(self, A, ends, names):
        """Product of lines, "x0-y0 y0-y1^3": directed ones as "later<-earlier", deltas as "a=b"."""
        words = []
        for s, t in np.argwhere(np.triu(A)).tolist():
            kind, forward = self.setup.kind(names[s], names[t])
            mark = {"plain": "-", "delta": "="}.get(kind, "<-" if forward else "->")
            power = f"^{A[s, t]}" if A[s, t] > 1 else ""
            words.append(f"{ends[s]}{mark}{ends[t]}{power}")
        return " ".join(words)

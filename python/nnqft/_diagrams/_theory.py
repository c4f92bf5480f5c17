"""Legs, vertices and propagators of a theory, and its symmetry group.

A leg is written `field`, `field_ij` or `field_ij(t,u)`: a name, one character per index, and the points it sits at.

    "phi"        a field at the vertex's own point
    "phi_i"      a vector field; within a vertex, equal letters are one index, summed from 1 to N
    "phi_1"      a digit is one fixed component
    "z_i(t)"     a field at the vertex's point t: vertices may have several points, each integrated
    "W(t,u)"     a bilocal field
"""

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import factorial, prod
from typing import NamedTuple

import numpy as np

from ..errors import ArgumentError

KINDS = ("plain", "directed", "causal", "delta")
SCALAR = "f"

_MAX_LEGS = 100  # multiplicities are bytes
_MAX_GROUP = 50_000
_LEG = re.compile(r"([^\W\d_][^\W_]*[~*']*)(?:_([a-zA-Z0-9]+))?(?:\(([^()]*)\))?")


class Leg(NamedTuple):
    """One leg of a vertex, or an external field: name, index letters, and points ("" is the vertex's own point).

    Examples
    --------
    >>> Leg("z", ("i",), ("t",))
    z_i(t)
    """

    field: str
    indices: tuple = ()
    points: tuple = ("",)

    def __str__(self):
        indices = "_" + "".join(self.indices) if self.indices else ""
        return f"{self.field}{indices}" + (f"({','.join(self.points)})" if self.points != ("",) else "")

    __repr__ = __str__


def parse_leg(text):
    """`Leg` of a string such as "z_i(t)"."""
    match = _LEG.fullmatch(text.replace(" ", "")) if isinstance(text, str) else None
    points = ("",) if match is None or match[3] is None else tuple(match[3].split(","))
    if match is None or (match[3] is not None and not all(points)):
        raise ArgumentError(f'{text!r} is no leg: write "phi", "phi_i" or "phi_i(t)": name, index letters, points')
    return Leg(match[1], tuple(match[2] or ()), points)


def show(vertex):
    """A vertex as the caller writes it."""
    return len(vertex) if set(vertex) == {Leg(SCALAR)} else tuple(str(leg) for leg in vertex)


@dataclass(frozen=True)
class Theory:
    """External legs, vertices, allowed propagators, and what follows from them.

    Legs of a vertex that are equal to the letter are interchangeable and make one *slot*. A contraction class is a
    symmetric matrix of multiplicities over slots, up to the group that permutes equal vertices and, within a vertex,
    renames its dummy indices and points where that maps the vertex to itself.
    """

    external: tuple
    vertices: tuple
    propagators: tuple  # ((field, field), kind)

    @cached_property
    def kinds(self):
        """(field, field) -> kind, in the order in which the propagator was given."""
        return dict(self.propagators)

    def kind(self, a, b):
        """Kind of the line between fields a and b and whether it runs b -> a (the table's order), or None."""
        if (a, b) in self.kinds:
            return self.kinds[a, b], True
        if (b, a) in self.kinds:
            return self.kinds[b, a], False
        return None

    @cached_property
    def slots(self):
        """(node, leg, count): node i < n_ext is external, n_ext + v is vertex v."""
        nodes = [(leg,) for leg in self.external] + list(self.vertices)
        return [(node, leg, n) for node, legs in enumerate(nodes) for leg, n in Counter(legs).items()]

    @cached_property
    def slots_at(self):
        """Slots of every node."""
        nodes = [[] for _ in range(len(self.external) + len(self.vertices))]
        for s, (node, _, _) in enumerate(self.slots):
            nodes[node].append(s)
        return nodes

    @cached_property
    def symmetry(self):
        """Slot permutations of the group, shape (order, slots); the identity comes first."""
        n_ext = len(self.external)
        same = [[v for v, legs in enumerate(self.vertices) if legs == kind] for kind in dict.fromkeys(self.vertices)]
        renamings = [vertex_symmetry(legs) for legs in self.vertices]
        order = prod(factorial(len(block)) for block in same) * prod(len(r) for r in renamings)
        if order > _MAX_GROUP:
            raise ArgumentError(
                f"{len(self.vertices)} vertices with a symmetry group of order {order}; at most {_MAX_GROUP} is feasible"
            )
        rows = []
        for images in itertools.product(*(itertools.permutations(block) for block in same)):
            to = {v: w for block, image in zip(same, images, strict=True) for v, w in zip(block, image, strict=True)}
            for choice in itertools.product(*renamings):
                row = list(range(n_ext))
                for v in range(len(self.vertices)):
                    target = self.slots_at[n_ext + to[v]]
                    row += [target[k] for k in choice[v]]
                rows.append(row)
        return np.array(rows, dtype=np.intp)

    @cached_property
    def order(self):
        """Order of the group of legs: slot permutations times permutations within slots."""
        return len(self.symmetry) * prod(factorial(n) for _, _, n in self.slots)

    @cached_property
    def is_scalar(self):
        """One field, without indices or points: text needs no names of legs."""
        return len({leg[0] for _, leg, _ in self.slots}) < 2 and all(leg[1:] == ((), ("",)) for _, leg, _ in self.slots)


def vertex_symmetry(legs):
    """Permutations of the slots of a vertex that renaming its index letters and points brings about."""
    slots = list(Counter(legs).items())
    letters = sorted({i for leg in legs for i in leg.indices if not i.isdigit()})
    points = sorted({p for leg in legs for p in leg.points})
    renamings = factorial(len(letters)) * factorial(len(points))
    if renamings > _MAX_GROUP:
        raise ArgumentError(f"a vertex with {len(letters)} index letters and {len(points)} points is too large")
    found = {}
    for i, p in itertools.product(itertools.permutations(letters), itertools.permutations(points)):
        index, point = dict(zip(letters, i, strict=True)), dict(zip(points, p, strict=True))
        image = [
            (Leg(f, tuple(index.get(j, j) for j in idx), tuple(point[q] for q in pts)), n) for (f, idx, pts), n in slots
        ]
        if all(slot in slots for slot in image):
            found[tuple(slots.index(slot) for slot in image)] = None
    return list(found)


def theory(n_ext, vertices, propagators):
    """The `Theory` that the arguments of `diagrams` describe."""
    if isinstance(vertices, str | Mapping) or not isinstance(vertices, Sequence):
        raise ArgumentError(f"vertices must be a list such as [4, 6] or [('phi', 'phi', 'sigma')], got {vertices!r}")
    parsed = tuple(parse_vertex(v) for v in vertices)
    if isinstance(n_ext, Sequence) and not isinstance(n_ext, str):
        external = tuple(parse_leg(text) for text in n_ext)
    elif hasattr(n_ext, "__index__") and not isinstance(n_ext, bool):
        if not 0 <= int(n_ext) <= _MAX_LEGS:
            raise ArgumentError(f"n_ext must lie between 0 and {_MAX_LEGS}, got {n_ext}")
        names = {leg for legs in parsed for leg in legs} or {Leg(SCALAR)}
        if len(names) > 1 or next(iter(names))[1:] != ((), ("",)):
            raise ArgumentError(f'with several fields name the external legs, as in n_ext=["{min(names).field}"]')
        external = tuple(names) * int(n_ext)
    else:
        raise ArgumentError(f'n_ext must be a number of legs or a list of fields such as ["h", "h"], got {n_ext!r}')
    if any(leg.points != ("",) for leg in external):
        raise ArgumentError("external legs have one point each: leave the parentheses out")
    legs = [*external, *itertools.chain.from_iterable(parsed)]
    if len(legs) > _MAX_LEGS:
        raise ArgumentError(f"{len(legs)} legs are too many: at most {_MAX_LEGS}")
    result = Theory(external, parsed, _propagators(propagators, {leg.field for leg in legs}))
    _check_indices(result, legs)
    return result


def parse_vertex(spec):
    """Legs of a vertex given as a number of legs or a tuple of names; sorted, so that equal vertices compare equal."""
    if hasattr(spec, "__index__") and not isinstance(spec, bool):
        if not 1 <= int(spec) <= _MAX_LEGS:
            raise ArgumentError(f"a vertex has 1 to {_MAX_LEGS} legs, got {spec}")
        return (Leg(SCALAR),) * int(spec)
    if isinstance(spec, str) or not isinstance(spec, Sequence) or not spec:
        raise ArgumentError(
            f'a vertex is a number of legs or a tuple such as ("phi_i", "phi_i", "sigma"), got {spec!r}'
        )
    return tuple(sorted(parse_leg(text) for text in spec))


def _propagators(table, fields):
    if table is None:
        return tuple(((f, f), "plain") for f in sorted(fields))
    if not isinstance(table, Mapping):
        raise ArgumentError('propagators must map pairs of fields to a kind, as in {("h", "z"): "causal"}')
    for pair, kind in table.items():
        if not (isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(f, str) for f in pair)):
            raise ArgumentError(f"a propagator joins two field names, got {pair!r}")
        if kind not in KINDS:
            raise ArgumentError(f"the propagator {pair} is {kind!r}; expected one of {', '.join(KINDS)}")
        if pair[0] == pair[1] and kind in ("directed", "causal"):
            raise ArgumentError(f"the propagator {pair} of a field with itself has no direction: make it plain")
        if pair[0] != pair[1] and pair[::-1] in table:
            raise ArgumentError(f"the propagator of {pair[0]} and {pair[1]} is given twice")
        if any(parse_leg(f) != Leg(f) for f in pair):
            raise ArgumentError(f"propagators name fields without indices and points, got {pair}")
    return tuple(table.items())


def _check_indices(result, legs):
    """Lines carry every index of one end to the same place of the other; delta lines carry points as well."""
    shapes = {}
    for leg in legs:
        shape = shapes.setdefault(leg.field, (len(leg.indices), len(leg.points)))
        if shape != (len(leg.indices), len(leg.points)):
            raise ArgumentError(f"the field {leg.field} is written with different numbers of indices or points")
    for (a, b), kind in result.propagators:
        if a in shapes and b in shapes:
            if shapes[a][0] != shapes[b][0]:
                raise ArgumentError(f"{a} has {shapes[a][0]} indices and {b} has {shapes[b][0]}: no line joins them")
            if kind == "delta" and shapes[a][1] != shapes[b][1]:
                raise ArgumentError(f"{a} has {shapes[a][1]} points and {b} has {shapes[b][1]}: no delta joins them")

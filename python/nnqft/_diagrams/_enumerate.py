"""All contraction classes of a theory: multigraphs with prescribed degrees, up to its symmetry group.

A class is a matrix A of multiplicities over slots (A_ss counts pairs within a slot). Of the pairings of the legs,

    prod_s d_s! / (prod_s 2^A_ss A_ss!  prod_{s<t} A_st!)   x   (number of different images of A under the group)

belong to it. Representative: the image that the contraction finds first.
"""

from math import factorial

import numpy as np

from ..errors import ArgumentError
from ._theory import vertex_symmetry

# Contractions tried per class wanted: far above what any theory without dead ends needs.
_STEPS = 200


def contraction_classes(theory, limit):
    """[(representative matrix, size of its orbit)], uint8."""
    classes, seen, found = set(), set(), []
    nodes = np.array([node for node, _, _ in theory.slots])
    canonical = Canonical(theory.symmetry, nodes[:, np.newaxis] == nodes)

    def keep(matrix):
        A = np.array(matrix, dtype=np.uint8).reshape(len(nodes), len(nodes))
        raw = A.tobytes()
        if raw in seen:
            return
        seen.add(raw)
        key, orbit = canonical(A)
        if key not in classes:
            classes.add(key)
            found.append((A, orbit))
        if len(classes) > limit:
            raise ArgumentError(f"there are more than {limit} classes: ask for fewer legs, or pass a larger limit=")

    _Contraction(theory, keep, limit * _STEPS).run()
    return found


class Canonical:
    """Canonical form of symmetric matrices under a group of permutations, shape (order, n).

    Among all images the one is taken that is largest: first in its colours, then in its entries, both
    lexicographically. Colours are numbers that follow a row when rows are permuted (each is hashed with its neighbours'
    four times); they leave few images to be compared, and equal colours for different rows only cost time.
    """

    def __init__(self, group, mates):
        self.group = group
        self.mates = mates.astype(np.uint64)
        self.columns = [column.copy() for column in group.T if column.min() < column.max()]
        self.start = group.min(axis=0).astype(np.uint64) + np.uint64(1)  # one number for every orbit of rows

    def __call__(self, matrix):
        """Canonical form, as bytes, and the number of different images."""
        n, group = len(matrix), self.group
        if len(group) == 1:
            return matrix.tobytes(), 1
        if len(group) > 24:
            colours, left = self._colours(matrix), np.arange(len(group))
            for column in self.columns:
                at = colours[column[left]]
                left = left[at == at.max()]
                if len(left) == 1:
                    break
            group = group[left]
        images = matrix[group[:, :, np.newaxis], group[:, np.newaxis, :]].reshape(len(group), -1)
        images = np.ascontiguousarray(images).view(f"V{n * n}").ravel().tolist()
        best = max(images)
        return best, len(self.group) // images.count(best)

    def _colours(self, matrix):
        A = matrix.astype(np.uint64)
        c = self.start
        for odd in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93):
            c = (c ^ (c >> np.uint64(29))) * np.uint64(odd)
            c = c ^ (c >> np.uint64(32))
            c = c + A @ (c * c) + np.uint64(3) * A.diagonal() * c + self.mates @ (c * c * c)
        return c


def pairings_of(counts, matrix):
    """Number of pairings of slots of so many legs that make exactly this matrix."""
    count = 1
    for s, d in enumerate(counts):
        count *= factorial(d)
        loops = int(matrix[s, s])
        count //= 2**loops * factorial(loops)
        for t in range(s):
            count //= factorial(int(matrix[s, t]))
    return count


class _Contraction:
    """Depth-first contraction, one leg at a time.

    Vertices are taken up in the order in which lines reach them. Of equal vertices not yet reached only the first is
    tried, and of its slots one from each orbit of the vertex's own symmetry; partners of the legs of one slot do not
    decrease. What is left of double counting the caller removes.
    """

    def __init__(self, theory, keep, max_steps):
        self.theory, self.keep, self.steps = theory, keep, max_steps
        self.slots = theory.slots
        self.left = [count for _, _, count in self.slots]
        self.matrix = [[0] * len(self.slots) for _ in self.slots]
        n_ext = len(theory.external)
        self.order = [s for node in range(n_ext) for s in theory.slots_at[node]]
        self.waiting = list(range(len(theory.vertices)))
        self.entrances = [_entrances(theory, v) for v in range(len(theory.vertices))]
        self.lines = [[theory.kind(a.field, b.field) for _, b, _ in self.slots] for _, a, _ in self.slots]
        self.points = [[(node, p) for p in leg.points] for node, leg, _ in self.slots]
        self.arcs, self.merges = [], []
        self.fields = {}
        for _, leg, count in self.slots:
            self.fields[leg.field] = self.fields.get(leg.field, 0) + count
        self.partners = {a: [b for b in self.fields if theory.kind(a, b)] for a in self.fields}

    def run(self):
        if self._can_finish():
            self._extend(0, 0)

    def _can_finish(self):
        """A field that cannot pair with itself needs as many partners as it has legs."""
        return sum(self.fields.values()) % 2 == 0 and all(
            n <= sum(self.fields[b] for b in self.partners[a]) for a, n in self.fields.items() if a not in self.partners[a]
        ) and all(self.partners[a] or n == 0 for a, n in self.fields.items())  # fmt: skip

    def _extend(self, position, first):
        """Contract the first slot in order that has legs left, with partners from position `first` on."""
        order, left = self.order, self.left
        while position < len(order) and not left[order[position]]:
            position, first = position + 1, 0
        if position == len(order):
            if self.waiting:
                self._reach(self.waiting[0], lambda: self._extend(position, 0))
            else:
                self.keep(self.matrix)
            return
        s = order[position]
        for j in range(max(position, first), len(order)):
            t = order[j]
            if left[t] > (s == t):
                self._contract(s, t, position, j)
        for v in self._next_vertices():
            for t in self.entrances[v]:
                if self.lines[s][t]:
                    self._reach(v, lambda t=t: self._contract(s, t, position, order.index(t)))

    def _next_vertices(self):
        """The first waiting vertex of every kind."""
        return list({self.theory.vertices[v]: v for v in reversed(self.waiting)}.values())

    def _reach(self, v, then):
        slots = self.theory.slots_at[len(self.theory.external) + v]
        at = self.waiting.index(v)
        del self.waiting[at]
        self.order.extend(slots)
        then()
        del self.order[-len(slots) :]
        self.waiting.insert(at, v)

    def _contract(self, s, t, position, j):
        line = self.lines[s][t]
        if line is None:
            return
        self.steps -= 1
        if self.steps < 0:
            raise ArgumentError("too many contractions to try: ask for fewer legs, or pass a larger limit=")
        kind, forward = line
        marks = self.arcs, self.merges
        lengths = len(self.arcs), len(self.merges)
        if kind == "causal":  # from the earlier point (second field of the table) to the later one
            later, earlier = (s, t) if forward else (t, s)
            self.arcs += [(a, b) for a in self.points[earlier] for b in self.points[later]]
        elif kind == "delta":
            self.merges += zip(self.points[s], self.points[t], strict=True)
        a, b = self.slots[s][1].field, self.slots[t][1].field
        for field in (a, b):
            self.fields[field] -= 1
        if (kind not in ("causal", "delta") or not has_cycle(self.arcs, self.merges)) and self._can_finish():
            self.left[s] -= 1
            self.left[t] -= 1
            self.matrix[s][t] += 1
            self.matrix[t][s] = self.matrix[s][t]
            self._extend(position, j)
            self.matrix[s][t] -= 1
            self.matrix[t][s] = self.matrix[s][t]
            self.left[s] += 1
            self.left[t] += 1
        for field in (a, b):
            self.fields[field] += 1
        for items, length in zip(marks, lengths, strict=True):
            del items[length:]


def _entrances(theory, vertex):
    """One slot from each orbit of a vertex's slots under its own symmetry."""
    slots = theory.slots_at[len(theory.external) + vertex]
    images = vertex_symmetry(theory.vertices[vertex])
    return [slots[k] for k in range(len(slots)) if k == min(image[k] for image in images)]


def has_cycle(arcs, merges):
    """Whether causal arcs (earlier, later) close a loop, points that a delta identifies being one."""
    if not arcs:
        return False
    parent = {}

    def root(p):
        while p in parent:
            p = parent[p]
        return p

    for a, b in merges:
        a, b = root(a), root(b)
        if a != b:
            parent[a] = b
    later = {}
    for a, b in arcs:
        later.setdefault(root(a), set()).add(root(b))
    while later:  # take away points without causes, layer by layer
        caused = set().union(*later.values())
        free = [p for p in later if p not in caused]
        if not free:
            return True
        for p in free:
            del later[p]
    return False

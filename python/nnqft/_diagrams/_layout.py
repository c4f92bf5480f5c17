"""Where the nodes of a diagram go and how its lines bend: plain geometry, one line being about one unit long.

Every connected piece is laid out by stress majorisation (Gansner, Koren and North, Graph Drawing 2004: distances in the
plane close to distances in the graph), starting with the external points in two columns and turned to keep them left and
right; pieces are stacked.
"""

import itertools
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

_STARTS, _STEPS, _POLISH = 10, 100, 1500
_GAP = 0.6  # between stacked pieces
_CIRCLE = 0.26  # radius of a loop at a vertex
_QUARTER = 0.5522847498  # cubic Bezier approximation of a quarter of the unit circle


@dataclass
class Layout:
    """Node -> position; lines as (chain of cubic Bezier curves (3 k + 1, 2), `Edge`, its two nodes); links within vertices."""

    nodes: dict
    lines: list = field(default_factory=list)
    links: list = field(default_factory=list)

    def points(self):
        """Everything that must be in the picture, shape (n, 2)."""
        curves = [bezier(curve, t) for curve, *_ in self.lines for t in np.linspace(0, 1, 13)]
        return np.array([*self.nodes.values(), *curves]).reshape(-1, 2)

    def outward(self, node):
        """Unit vector away from the lines that end at a node: where its label goes."""
        away = -sum((v for v, _ in self._tangents(node)), np.zeros(2))
        return away / np.hypot(*away) if np.hypot(*away) > 0.1 else np.array([0.0, 1.0])

    def directions(self, node):
        """(angle, neighbour) of everything that leaves a node, by increasing angle."""
        at = self.nodes[node]
        found = list(self._tangents(node))
        found += [
            (self.nodes[q if p == node else p] - at, q if p == node else p) for p, q in self.links if node in (p, q)
        ]
        return sorted((float(np.mod(np.arctan2(v[1], v[0]), 2 * np.pi)), neighbour) for v, neighbour in found)

    def _tangents(self, node):
        for curve, _, (a, b) in self.lines:
            for end, neighbour, v in ((a, b, curve[1] - curve[0]), (b, a, curve[-2] - curve[-1])):
                if end == node:
                    yield v / np.hypot(*v), neighbour


def strands(edges):
    """(edge, its nodes, multiplicity), once for every pair of points that a line joins: ("x0", "") or (vertex, point)."""
    for edge in edges:
        for p, q in zip(edge.legs[0].points, edge.legs[1].points, strict=False):
            yield edge, ((edge.a, p), (edge.b, q)), edge.multiplicity


def bezier(curve, t):
    """Point of a chain of cubic curves at 0 <= t <= 1."""
    pieces = len(curve) // 3
    k = min(int(t * pieces), pieces - 1)
    t, (a, b, c, d) = t * pieces - k, curve[3 * k : 3 * k + 4]
    return (1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t**2 * (1 - t) * c + t**3 * d


def layout(diagram):
    """`Layout` of a diagram, the same each time."""
    nodes, links = [(f"x{i}", "") for i in range(diagram.n_ext)], []
    for v, legs in enumerate(diagram.vertices):
        points = sorted({(f"y{v}", p) for leg in legs for p in leg.points})
        nodes += points
        links += itertools.pairwise(points)
    joined = Counter()
    for _, ends, n in strands(diagram.edges):
        joined[tuple(sorted(ends))] += n
    whole, top = Layout({}), 0.0
    for piece in diagram.components:
        members = [node for node in nodes if node[0] in piece]
        inside = {pair: n for pair, n in joined.items() if pair[0] in members}
        positions = _turned(members, _embedded(members, inside, [link for link in links if link[0] in members]))
        part = Layout(dict(zip(members, positions, strict=True)), links=[link for link in links if link[0] in members])
        edges = [edge for edge in diagram.edges if edge.a in piece]
        _add_lines(part, edges, inside)
        _add_loops(part, edges, inside)
        extent = part.points()
        shift = np.array([-(extent[:, 0].min() + extent[:, 0].max()) / 2, top - extent[:, 1].max()])
        top -= np.ptp(extent[:, 1]) + _GAP
        whole.nodes |= {node: p + shift for node, p in part.nodes.items()}
        whole.lines += [(curve + shift, *rest) for curve, *rest in part.lines]
        whole.links += part.links
    return whole


def _embedded(members, joined, links):
    """Positions (n, 2) whose distances approach those in the graph, with few crossings."""
    n = len(members)
    at = {node: k for k, node in enumerate(members)}
    D = np.full((n, n), np.inf)
    np.fill_diagonal(D, 0.0)
    segments = [(at[a], at[b]) for a, b in [*joined, *links] if a != b]
    for (a, b), m in joined.items():
        if a != b:
            D[at[a], at[b]] = D[at[b], at[a]] = 0.9 if "x" in (a[0][0], b[0][0]) else 1.0 + 0.25 * (m > 1)
    for a, b in links:
        D[at[a], at[b]] = D[at[b], at[a]] = 0.7
    for k in range(n):
        D = np.minimum(D, D[:, k : k + 1] + D[k])
    W = np.divide(1.0, D**2, out=np.zeros_like(D), where=D > 0)
    inverse = np.linalg.pinv(np.diag(W.sum(1)) - W)

    def distances(X):
        return np.hypot(*(X[:, None] - X[None]).transpose(2, 0, 1))

    def majorised(X, steps):
        for _ in range(steps):
            distance = distances(X)
            B = -np.divide(W * D, distance, out=np.zeros_like(D), where=distance > 1e-9)
            np.fill_diagonal(B, 0.0)
            np.fill_diagonal(B, -B.sum(1))
            X = inverse @ (B @ X)
        return X

    rng = np.random.default_rng(0)
    tries = [
        majorised(_columns(members) + rng.normal(scale=0.05 + 0.1 * k, size=(n, 2)), _STEPS) for k in range(_STARTS)
    ]
    cost = [
        np.sum(W * (distances(X) - D) ** 2) + 2.0 * _crossings(X, segments) + 0.02 * k for k, X in enumerate(tries)
    ]  # fmt: skip
    return majorised(tries[int(np.argmin(np.round(cost, 6)))], _POLISH)


def _columns(members):
    """External points in two columns, label by label downwards; vertices in the middle."""
    external = [k for k, (name, _) in enumerate(members) if name[0] == "x"]
    X = np.zeros((len(members), 2))
    left = (len(external) + 1) // 2
    for rank, k in enumerate(external):
        right = rank >= left
        rows = len(external) - left if right else left
        X[k] = [1.0 if right else -1.0, 0.6 * ((rows - 1) / 2 - (rank - left if right else rank))]
    return X


def _turned(members, X):
    """Rotated or reflected so that external points lie as in `_columns`; without any, along the x axis."""
    X = X - X.mean(axis=0)
    wanted = _columns(members)
    if not wanted.any():
        wanted[:, 0] = np.arange(len(X)) - (len(X) - 1) / 2
    U, _, V = np.linalg.svd(X.T @ wanted)  # orthogonal Procrustes problem
    X = X @ (U @ V)
    return X * [1.0, 0.0] if np.ptp(X[:, 1]) < 0.15 else X


def _crossings(X, segments):
    def side(a, b, c):
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    count = 0
    for k, (a, b) in enumerate(segments):
        for c, d in segments[:k]:
            if len({a, b, c, d}) == 4:
                A, B, C, E = X[a], X[b], X[c], X[d]
                count += side(A, B, C) * side(A, B, E) < 0 and side(C, E, A) * side(C, E, B) < 0
    return count


def _add_lines(part, edges, joined):
    """Lines between different nodes: parallel ones bent apart, others around nodes in their way."""
    vertices = [p for node, p in part.nodes.items() if node[0][0] == "y"]
    middle = np.mean(vertices, axis=0) if vertices else np.zeros(2)
    drawn = Counter()
    for edge, ends, n in strands(edges):
        pair = tuple(sorted(ends))
        if pair[0] == pair[1]:
            continue
        a, b = (part.nodes[end] for end in ends)
        along = b - a
        across = np.array([-along[1], along[0]]) * (1 if pair == ends else -1)
        total = joined[pair] + (pair in part.links)
        spacing = {1: 0.0, 2: 0.6, 3: 0.46}.get(total, 0.34) * (0.7 if len(vertices) > 2 else 1.0)
        # Sides of a polygon bend outwards only: within it parallel lines would cross those of other sides.
        side = np.dot(across, (a + b) / 2 - middle) / np.dot(across, across)
        shift = np.sign(side) * 0.45 * (total - 1) * spacing if abs(side) > 0.15 and _closes(pair, joined) else 0.0
        for _ in range(n):
            bend = (drawn[pair] - (total - 1) / 2) * spacing + shift
            if total == 1 and any(_near(p, a, b) for node, p in part.nodes.items() if node not in pair):
                bend = 0.4
            drawn[pair] += 1
            inset = 0.33 - 0.2 * min(abs(bend), 1.0)
            out = bend * 4 / 3 * across
            part.lines.append((np.array([a, a + inset * along + out, b - inset * along + out, b]), edge, ends))


def _closes(pair, joined):
    """Whether another path joins the ends of a line."""
    reached, front = {pair[0]}, [pair[0]]
    while front:
        node = front.pop()
        new = {q if p == node else p for p, q in joined if node in (p, q) and (p, q) != pair} - reached
        reached |= new
        front += new
    return pair[1] in reached


def _near(point, a, b):
    along = b - a
    t = np.clip(np.dot(point - a, along) / np.dot(along, along), 0, 1)
    return np.hypot(*(a + t * along - point)) < 0.2


def _add_loops(part, edges, joined):
    """Loops at one point, in the widest gaps between the other lines: circles where there is room, else petals."""
    loops = [(edge, ends, n) for edge, ends, n in strands(edges) if ends[0] == ends[1]]
    for node in dict.fromkeys(ends[0] for _, ends, _ in loops):
        gaps = iter(_gaps(part.directions(node), joined[node, node]))
        for edge, ends, n in loops:
            for angle, opening in itertools.islice(gaps, n if ends[0] == node else 0):
                turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
                part.lines.append((part.nodes[node] + _loop(opening) @ turn, edge, ends))


def _loop(opening):
    """A closed curve from the origin along the positive x axis."""
    if opening > 2.9:
        q = _QUARTER
        circle = [
            (-1, 0),
            (-1, q),
            (-q, 1),
            (0, 1),
            (q, 1),
            (1, q),
            (1, 0),
            (1, -q),
            (q, -1),
            (0, -1),
            (-q, -1),
            (-1, -q),
            (-1, 0),
        ]
        return _CIRCLE * (np.array(circle) + [1.0, 0.0])
    half = 0.3 * opening
    arm = 3.0 * _CIRCLE * np.array([np.cos(half), np.sin(half)])
    return np.array([(0.0, 0.0), arm, arm * [1, -1], (0.0, 0.0)])


def _gaps(taken, count):
    """(direction, opening) for `count` loops, spread over the gaps between the directions taken; upward ones first."""
    if not taken:
        first = np.pi / 2 if count != 2 else 0.0
        return [(first + 2 * np.pi * k / count, 2 * np.pi / count) for k in range(count)]
    angles = [angle for angle, _ in taken]
    widths = np.diff([*angles, angles[0] + 2 * np.pi])
    middle = np.array(angles) + widths / 2
    neighbours = [node for _, node in taken]
    # Between two parallel lines a loop would sit inside their bubble.
    enclosed = [
        a == b and len(taken) > 1 and w < np.pi
        for a, b, w in zip(neighbours, [*neighbours[1:], neighbours[0]], widths, strict=True)
    ]
    score = np.where(enclosed, 0.2, 1.0) * widths + 0.4 * np.sin(middle)
    chosen = Counter()
    for _ in range(count):
        chosen[int(np.argmax([round(s / (1 + chosen[k]), 6) for k, s in enumerate(score)]))] += 1
    return [(angles[k] + widths[k] * (j + 0.5) / n, widths[k] / n) for k, n in chosen.items() for j in range(n)]

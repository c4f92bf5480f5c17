"""Properties of a small multigraph: components, loops, insertions, bridges.

Nodes 0 .. n_ext-1 are external points with one line each, the rest vertices; M[a][b] counts lines, M[a][a] loops.
"""


def components(M):
    """Lists of nodes, each sorted, in the order of their first node."""
    left, found = set(range(len(M))), []
    while left:
        reached, front = set(), [min(left)]
        while front:
            a = front.pop()
            reached.add(a)
            front += [b for b in left - reached if M[a][b] and b not in front]
        left -= reached
        found.append(sorted(reached))
    return found


def is_connected(M, nodes):
    """Whether lines among `nodes` join them all."""
    nodes = list(nodes)
    return len(components([[M[a][b] for b in nodes] for a in nodes])) == 1


def has_insertion(M, n_ext):
    """Whether exactly two lines join some connected set of vertices to the rest: a correction of a two-point function."""
    n = len(M)
    for chosen in range(1, 1 << (n - n_ext)):
        inside = [n_ext + v for v in range(n - n_ext) if chosen >> v & 1]
        boundary = sum(M[a][b] for a in inside for b in range(n) if b not in inside)
        if boundary == 2 and is_connected(M, inside):
            return True
    return False


def is_irreducible(M, n_ext):
    """Whether the diagram without its external lines stays in one piece when any one line is cut."""
    vertices = range(n_ext, len(M))
    if not vertices or not is_connected(M, vertices):
        return False
    for a in vertices:
        for b in range(a + 1, len(M)):
            if M[a][b] == 1:
                cut = [list(row) for row in M]
                cut[a][b] = cut[b][a] = 0
                if not is_connected(cut, vertices):
                    return False
    return True


def n_loops(M):
    """Independent closed loops: lines - nodes + components."""
    lines = sum(M[a][b] for a in range(len(M)) for b in range(a + 1))
    return lines - len(M) + len(components(M))

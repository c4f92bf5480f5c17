"""Sums over nodes of products of tensors, one node at a time, each step a batched matrix product.

A term is (array, labels): one label per axis. Labels to be summed are eliminated in the order that costs least.
"""

from math import prod

from ..errors import ArgumentError

_MAX_ENTRIES = 2**28  # 2 GiB of doubles


def contract(terms, summed, output, max_work):
    """Sum of the product of `terms` over the labels in `summed`; axes of the result as in `output`."""
    sizes = {label: n for array, labels in terms for label, n in zip(labels, array.shape, strict=True)}
    order = _elimination_order([set(labels) for _, labels in terms], set(summed), sizes, max_work)
    terms = list(terms)
    for label in order:
        touching = [term for term in terms if label in term[1]]
        terms = [term for term in terms if label not in term[1]]
        terms.append(_sum_out(touching, label))
    array, labels = terms[0]
    for term in terms[1:]:
        array, labels = _product((array, labels), term)
    return array.transpose([labels.index(label) for label in output])


def _elimination_order(groups, left, sizes, max_work):
    """Cheapest label first; the whole plan is checked against `max_work` before anything is done."""
    order, work = [], 0

    def joined(label):
        return set().union(*(g for g in groups if label in g))

    while left:
        label = min(sorted(left), key=lambda x: prod(sizes[k] for k in joined(x)))
        union = joined(label)
        work += prod(sizes[k] for k in union)
        affordable(work, prod(sizes[k] for k in union - {label}), max_work)
        groups = [g for g in groups if label not in g] + [union - {label}]
        left = left - {label}
        order.append(label)
    return order


def affordable(work, entries, max_work):
    """ArgumentError if a sum over nodes takes too many multiply-adds, or its result too many entries."""
    if work > max_work:
        raise ArgumentError(
            f"a sum over nodes takes {work:.1e} multiply-adds, about {work / 1e10:.0f} s on one core: take fewer nodes or "
            f"index rows, or pass max_work={work:.1e} to insist"
        )
    if entries > _MAX_ENTRIES:
        raise ArgumentError(
            f"a sum over nodes has {entries} entries, {8 * entries / 2**30:.0f} GiB: take fewer nodes or index rows"
        )


def _sum_out(terms, label):
    """Sum over one label of the product of the terms that carry it."""
    terms = _absorb(terms)
    while len(terms) > 2:
        terms.sort(key=lambda term: term[0].size)
        terms[:2] = [_product(terms[0], terms[1])]
        terms = _absorb(terms)
    if len(terms) == 1:
        array, labels = terms[0]
        return array.sum(axis=labels.index(label)), tuple(k for k in labels if k != label)
    (x, a), (y, b) = terms
    batch = [k for k in a if k in b and k != label]
    rows, columns = [k for k in a if k not in b], [k for k in b if k not in a]
    shape = [x.shape[a.index(k)] for k in batch + rows] + [y.shape[b.index(k)] for k in columns]
    split = [prod(shape[: len(batch)]), prod(shape[len(batch) : len(batch) + len(rows)]), x.shape[a.index(label)]]
    x = x.transpose([a.index(k) for k in [*batch, *rows, label]]).reshape(split)
    y = y.transpose([b.index(k) for k in [*batch, label, *columns]]).reshape(split[0], split[2], -1)
    return (x @ y).reshape(shape), tuple(batch + rows + columns)


def _absorb(terms):
    """Multiply every term whose labels another term has, too, into that one."""
    kept = []
    for term in sorted(terms, key=lambda term: -len(term[1])):
        for k, other in enumerate(kept):
            if set(term[1]) <= set(other[1]):
                kept[k] = _product(other, term)
                break
        else:
            kept.append(term)
    return kept


def _product(x, y):
    """Pointwise product over shared labels, outer over the rest."""
    (array, a), (other, b) = x, y
    labels = a + tuple(k for k in b if k not in a)
    affordable(0, array.size * prod(n for k, n in zip(b, other.shape, strict=True) if k not in a), 0)
    other = other.transpose(sorted(range(len(b)), key=lambda k: labels.index(b[k])))
    shape = [other.shape[sorted(b, key=labels.index).index(k)] if k in b else 1 for k in labels]
    return array.reshape(array.shape + (1,) * (len(labels) - len(a))) * other.reshape(shape), labels

"""Kernels that are homogeneous of degree one (relu without bias): integrals over a box from its surface.

A function of degree D has   int_{[-L, L]^d} f = L^(d + D) / (d + D)  int over the surface of [-1, 1]^d of f:
y = t u with u on a face has d^d y = t^(d - 1) dt dS, since u . normal = 1 on every face.
"""

import numpy as np

from ._cubature import Boxes, graded_boxes
from ._legs import Legs

__all__ = ["on_surface", "surface_boxes", "unit_legs"]


def unit_legs(legs):
    """Legs of the unit vectors x_i / |x_i| (0 for 0), and |x_i|."""
    largest = np.abs(legs.x).max(axis=1)
    scaled = legs.x / np.where(largest > 0, largest, 1.0)[:, None]
    length = np.linalg.norm(scaled, axis=1)
    return Legs(legs.net, scaled / np.where(length > 0, length, 1.0)[:, None]), largest * length


def surface_boxes(x):
    """Faces of [-1, 1]^d, cut towards the rays through +-x_i, on which the kernel of relu is not smooth.

    The tag is the face, 2 axis + (1 if the coordinate is positive).
    """
    dim, parts = x.shape[1], []
    for axis in range(dim):
        meets = x[x[:, axis] != 0]
        ray = np.delete(meets, axis, axis=1) / meets[:, [axis]]
        face = graded_boxes(np.full(dim - 1, -1.0), np.ones(dim - 1), ray[(np.abs(ray) <= 1).all(axis=1)], 0.25)
        for sign, boxes in enumerate((Boxes(-face.upper, -face.lower, face.tag), face)):
            parts.append(boxes._replace(tag=np.full(len(face.tag), 2 * axis + sign)))
    return Boxes(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def on_surface(nodes, face):
    """Points (N, d) of the surface of [-1, 1]^d at nodes (N, d - 1) of the faces."""
    y = np.empty((len(nodes), nodes.shape[1] + 1))
    axis = face[:, None] // 2
    rest = np.arange(nodes.shape[1])
    np.put_along_axis(y, rest + (rest >= axis), nodes, axis=1)
    np.put_along_axis(y, axis, 2.0 * (face[:, None] % 2) - 1, axis=1)
    return y

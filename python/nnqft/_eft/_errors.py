"""Errors of vectors of numbers that remember where they came from, to first order.

A vector of n numbers carries, for each source of noise (the networks of one run), deviations D of shape (rows, n); besides,
independent standard errors s of its entries and bounds b of their quadrature errors:

    Cov = sum over sources D^T D + diag(s^2) + diag(b^2).

A linear map J takes D to D J^T and b to |J| b: bounds add up as if all errors had the worst sign. Deviations of one
source add before they are squared, so that numbers measured on the same networks are correlated as they should be.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["Errors"]


@dataclass(frozen=True, eq=False)
class Errors:
    """Deviations by source, independent standard errors and bounds of `len(own)` numbers."""

    parts: dict
    own: np.ndarray
    bound: np.ndarray

    @classmethod
    def of(cls, own, *, parts=None, bound=None):
        own = np.asarray(own, dtype=np.float64)
        return cls(parts or {}, own, np.zeros_like(own) if bound is None else bound)

    @classmethod
    def shared(cls, stderr):
        """Error of one number that several others will be made of."""
        return cls.of([0.0], parts={object(): np.array([[stderr]], dtype=np.float64)})

    def scale(self, factor):
        """Errors of the numbers times `factor`, entry by entry."""
        parts = {source: rows * factor for source, rows in self.parts.items()}
        return Errors(parts, self.own * abs(factor), self.bound * abs(factor))

    def over(self, divisor):
        """Errors of the numbers divided by `divisor`, entry by entry, which may be as small or large as float64 goes."""
        parts = {source: rows / divisor for source, rows in self.parts.items()}
        return Errors(parts, self.own / abs(divisor), self.bound / abs(divisor))

    def with_bound(self, bound):
        """The same with a bound of the numbers' quadrature errors added."""
        return self + Errors.of(np.zeros(len(self.own)), bound=bound)

    def through(self, J):
        """Errors of J @ numbers."""
        parts = {source: rows @ J.T for source, rows in self.parts.items()}
        if np.any(self.own):  # what was independent is so no more: a triangular factor of its covariance
            parts[object()] = np.linalg.qr((J * self.own).T, mode="r")
        return Errors(parts, np.zeros(len(J)), abs(J) @ self.bound)

    def __add__(self, other):
        parts = {s: self.parts.get(s, 0.0) + other.parts.get(s, 0.0) for s in {**self.parts, **other.parts}}
        return Errors(parts, np.hypot(self.own, other.own), self.bound + other.bound)

    def variance(self):
        """Diagonal of the covariance."""
        return sum((np.einsum("ri,ri->i", rows, rows) for rows in self.parts.values()), self.own**2 + self.bound**2)

    def stderr(self):
        """Standard errors; nan where they are unknown."""
        rows = np.vstack([*self.parts.values(), self.own, self.bound])
        largest = abs(rows).max(axis=0)
        largest = np.where(
            (largest > 0) & (largest < np.inf), largest, 1.0
        )  # squares of small errors would underflow to 0, "exact"
        return largest * np.sqrt(np.einsum("ri,ri->i", rows / largest, rows / largest))

    def covariance(self):
        """The covariance matrix; inf where a square overflows."""
        with np.errstate(over="ignore", invalid="ignore"):
            return sum((rows.T @ rows for rows in self.parts.values()), np.diag(self.own**2 + self.bound**2))

"""Feynman diagrams: which contractions there are (`diagrams`), and what they are worth (`evaluate_diagrams`)."""

from ._classes import Diagram, Edge, diagrams
from ._evaluate import evaluate_diagrams
from ._theory import Leg

__all__ = ["Diagram", "Edge", "Leg", "diagrams", "evaluate_diagrams"]

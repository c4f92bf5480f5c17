"""What a rerun of a paper says: `Report`, and the pieces it is written with."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..tensor import Estimate

__all__ = ["Report", "markdown_table", "number"]


@dataclass(frozen=True, repr=False)
class Report:
    """Results of one experiment, as they lie in its folder.

    Attributes
    ----------
    name : str
        The experiment.
    outdir : Path
    metadata : dict
        Version, settings, instruction set, threads and times: all that may differ between machines.
    tables : dict, name -> list of rows (dict)
        Numbers; the same on every machine up to rounding of the analysis.
    figures : dict, name -> Path
    text : str
        The report in Markdown.

    Examples
    --------
    >>> Report("demo", Path("out"), {}, {"slopes": [{"slope": -1.0}]}, {}, "").tables["slopes"][0]["slope"]
    -1.0
    """

    name: str
    outdir: Path
    metadata: dict
    tables: dict
    figures: dict
    text: str

    @property
    def path(self):
        """The report in Markdown; `report.json` lies beside it."""
        return self.outdir / "report.md"

    def to_dict(self):
        """Metadata, tables and the figures' names, in JSON's types; numbers that are not finite become None."""
        figures = {name: Path(path).relative_to(self.outdir).as_posix() for name, path in self.figures.items()}
        return _plain({"experiment": self.name, "metadata": self.metadata, "tables": self.tables, "figures": figures})

    def save(self, folder):
        """Write report.json and report.md through an open `Folder`."""
        folder.write("report.json", json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")
        folder.write("report.md", self.text)

    @classmethod
    def load(cls, outdir):
        """Read what a finished run left in its folder."""
        outdir = Path(outdir)
        state = json.loads((outdir / "report.json").read_text())
        figures = {name: outdir / path for name, path in state["figures"].items()}
        text = (outdir / "report.md").read_text()
        return cls(state["experiment"], outdir, state["metadata"], state["tables"], figures, text)

    def __repr__(self):
        return (
            f"Report({self.name!r}, tables={list(self.tables)}, figures={list(self.figures)}, path={str(self.path)!r})"
        )


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def number(value, stderr=None, digits=3):
    """A number for a table: `0.1234(5)` with its error, otherwise `digits` significant digits.

    Examples
    --------
    >>> number(0.12341, 0.0005), number(1.5e7), number(float("nan"))
    ('0.1234(5)', '1.5e+07', '-')
    """
    if value is None or not math.isfinite(value):
        return "-"
    if stderr is None or not math.isfinite(stderr):
        return f"{value:.{digits}g}"
    return repr(Estimate(value, stderr))


def markdown_table(heads, rows):
    """A Markdown table of text cells.

    Examples
    --------
    >>> print(markdown_table(["N", "slope"], [["2", "-1"]]))
    | N | slope |
    |---|---|
    | 2 | -1 |
    """
    row = lambda cells: "| " + " | ".join(map(str, cells)) + " |"
    return "\n".join([row(heads), "|" + "---|" * len(heads), *map(row, rows)])

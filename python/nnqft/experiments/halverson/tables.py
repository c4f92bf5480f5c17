"""The study's tables: lists of rows (dict), the same numbers on every machine."""

import numpy as np
from scipy.stats import t as student

from .analysis import series
from .cases import ESTIMATORS
from .fits import expansion, power_law

__all__ = ["CLAIMS", "build", "rates"]

CLAIMS = {"m4": -1, "m6": -1, "g4": -1, "g6": -2}  # exponents of the width; m_6 = A / N + B / N^2
FAMILY_ERROR = 1e-3  # chance that one correct kernel table holds a pull beyond its bound
PRECISION = 0.01  # of the connected 4-point function, where estimators are compared


def build(measured, scale):
    """All tables of the report, dict name -> rows, from the list of all `analyse`d samples."""
    return {
        "correlators": _correlators(measured),
        "slopes": _slopes(measured, scale),
        "expansions": _expansions(measured, scale),
        "constants": _constants(measured, scale),
        "kernels": _kernels(measured, scale),
        "estimators": _estimators(measured, scale),
    }


def _correlators(measured):
    """Every quantity of every net, dimension, width and estimator.

    value: mean over unique tuples of |.|; aligned: mean of sign(exact) times the quantity, and its pull; spread_ratio:
    measured over exact standard deviation of an experiment at the first input; tail: see `Measured`.
    """
    return [
        {"net": p.case.net, "dim_in": p.case.dim_in, "width": p.width, "estimator": p.estimator, "quantity": p.quantity,
         "value": p.value, "stderr": p.value_stderr, "exact": p.exact_value, "background": p.background,
         "aligned": p.aligned, "aligned_stderr": p.aligned_stderr,
         "pull": (p.aligned - p.exact_value) / p.aligned_stderr, "spread_ratio": p.spread / p.exact_spread,
         "tail": p.tail, "nets_for_unit_signal": p.one_net.nets_for_unit_signal, "verdict": p.verdict}
        for sample in measured for p in sample.values()
    ]  # fmt: skip


def _curves(measured, scale, quantities):
    for case in scale.cases:
        for estimator in ESTIMATORS:
            for quantity in quantities:
                curve = series(measured, case, estimator, quantity)
                yield {"net": case.net, "dim_in": case.dim_in, "estimator": estimator, "quantity": quantity}, curve


def _slopes(measured, scale):
    """Power laws through the points in reach (`Measured.in_reach`); `exact_slope` is the same fit to the exact curve.

    Rows of estimator "exact" hold the slope of the exact curve over all widths with equal relative weights: the result
    where sampling has none.
    """
    rows = []
    for row, curve in _curves(measured, scale, CLAIMS):
        use = curve.in_reach
        n, error = curve.widths[use], curve.stderr[use]
        row |= {"claim": CLAIMS[row["quantity"]], "widths": n.tolist()}
        fit = power_law(n, curve.value[use], error)
        if fit is not None:
            truth = power_law(n, curve.exact[use], error)
            slope, stderr, exact = (float(a[0]) for a in (fit.values, fit.stderr, truth.values))
            row |= {"slope": slope, "stderr": stderr, "exact_slope": exact, "pull": (slope - exact) / stderr}
            row |= {"chi2": fit.chi2, "dof": fit.dof, "p_value": fit.p_value}
        rows.append(row)
        if row["estimator"] == "gram" and len(curve.widths) > 1:
            exact = float(power_law(curve.widths, curve.exact, curve.exact).values[0])
            slope = {"slope": exact, "stderr": 0.0, "exact_slope": exact}
            none = {"pull": None, "chi2": None, "dof": 0, "p_value": None}
            rows.append(row | {"estimator": "exact", "widths": curve.widths.tolist()} | slope | none)
    return rows


def _expansions(measured, scale):
    """m_6 = A / N + B / N^2 through the points in reach, and the same fit to the exact curve."""
    rows = []
    for row, curve in _curves(measured, scale, ("m6",)):
        use = curve.in_reach
        fit = expansion(curve.widths[use], curve.value[use], curve.stderr[use])
        if fit is not None:
            truth = expansion(curve.widths[use], curve.exact[use], curve.stderr[use])
            for k, name in enumerate("AB"):
                value, stderr, exact = (float(a[k]) for a in (fit.values, fit.stderr, truth.values))
                row |= {name: value, f"{name}_stderr": stderr, f"{name}_exact": exact}
            row |= {"chi2": fit.chi2, "dof": fit.dof}
            rows.append(row)
    return rows


def _constants(measured, scale):
    """N mean |m_4|, which does not depend on the width: weighted mean over all widths without a heavy tail."""
    rows = []
    for row, curve in _curves(measured, scale, ("m4",)):
        del row["quantity"]
        points = [p for p in curve.points if p.verdict != "heavy tail"]
        row |= {"exact": float(curve.widths[0] * curve.exact[0]), "n_widths": len(points)}
        if points:
            value, error = (
                np.array([p.width * getattr(p, name) for p in points]) for name in ("aligned", "aligned_stderr")
            )
            weight = error**-2 / (error**-2).sum()
            mean, stderr = float(weight @ value), float((error**-2).sum() ** -0.5)
            row |= {"value": mean, "stderr": stderr, "pull": (mean - row["exact"]) / stderr}
        rows.append(row)
    return rows


def _kernels(measured, scale):
    """Measured 2-point functions against the closed form: every tuple at every width, in standard errors.

    The bound is that of Student's t with n_experiments - 1 degrees of freedom at a chance of 0.1 % for all pulls of a
    row together (Bonferroni: tuples are correlated, so it is generous).
    """
    rows = []
    for row, curve in _curves(measured, scale, ("m2",)):
        del row["quantity"]
        points = [p for p in curve.points if p.verdict != "heavy tail"]
        row |= {"widths": [p.width for p in points], "n_pulls": sum(len(p.mean) for p in points)}
        if points:
            pulls = [abs(p.mean / p.stderr).max() for p in points]
            bound = float(student.isf(FAMILY_ERROR / 2 / row["n_pulls"], points[0].n_experiments - 1))
            worst = int(np.argmax(pulls))
            row |= {"largest_pull": float(pulls[worst]), "at_width": points[worst].width, "bound": bound}
            row |= {"agrees": bool(max(pulls) < bound), "largest_stderr": float(max(p.stderr.max() for p in points))}
        rows.append(row)
    return rows


def _estimators(measured, scale):
    """Networks for 1 % on the connected 4-point function (mean over tuples), by measured and by exact variance.

    Exact: at the first input alone, which for several inputs is the size of the answer and not the answer.
    """
    rows = []
    for case in scale.cases:
        direct, gram = (series(measured, case, estimator, "g4").points for estimator in ESTIMATORS)
        for pair in zip(direct, gram):
            row = {"net": case.net, "dim_in": case.dim_in, "width": pair[0].width}
            for p in pair:
                noise = p.aligned_stderr / (PRECISION * p.exact_value)
                row[p.estimator] = None if p.verdict == "heavy tail" else noise**2 * p.n_nets * p.n_experiments
                row[p.estimator + "_exact"] = p.one_net.nets_for_unit_signal / PRECISION**2
            row["ratio"] = row["direct"] / row["gram"] if row["direct"] and row["gram"] else None
            rows.append(row)
    return rows


def rates(samples, table):
    """Networks per second, and the time for what the table `estimators` says; differs between machines."""
    needed = {(row["net"], row["dim_in"], row["width"], name): row[name] for row in table for name in ESTIMATORS}
    rows = []
    for s in samples:
        rate = len(s.moments) * s.n_nets / s.seconds
        n = needed[s.case.net, s.case.dim_in, s.width, s.estimator]
        row = {"net": s.case.net, "dim_in": s.case.dim_in, "width": s.width, "estimator": s.estimator}
        row |= {"seconds": s.seconds, "nets_per_second": rate, "seconds_for_1_percent": None if n is None else n / rate}
        rows.append(row)
    return rows

"""The second half of the report in Markdown: what the correlators say about the action."""

from math import isfinite

from .._report import markdown_table, number
from .couplings import SETTINGS

__all__ = ["write_couplings"]


def write_couplings(study):
    """The text from "# Which action?" on, from a `Couplings`."""
    t = study.tables
    parts = [
        _head(),
        _against_width(t["couplings"]),
        _table5(t["table5"]),
        _spread(t["table5_spread"]),
        _six_point(t["six_point"]),
        _sextic(t["sextic"]),
        _rg(t["rg"]),
        _conjecture(t["conjecture"]),
        _natural(t["naturalness"]),
        _edgeworth(t["edgeworth"]),
    ]
    return "\n\n".join(parts)


def _figure(name, caption):
    return f"![{caption}](figures/{name}.png)\n\n*{caption}*"


def _cutoff(value):
    return "none" if not isfinite(value) else f"{value:g}"


def _head():
    return """# Which action?

    S = S_GP + int_[-Lambda, Lambda]^d [lambda f^4 + kappa f^6] d^d y

Legs are K_W = K - sigma_b^2; no 1/4!, 1/6!. Signs are those of the action, where positive kurtosis means lambda < 0, except
in the two tables of fits, which list positive coefficients as Table 5 does. Numbers without an error are exact."""


def _against_width(rows):
    cells = [
        [r["net"], r["dim_in"], r["width"], _cutoff(r["cutoff"]), number(r["value"], r["stderr"]) + (" (t)" if r["net"] == "gauss" else ""),
         number(r["exact"], digits=5), number(r["width"] * r["exact"], digits=5), number(r["pull"], digits=2)]
        for r in rows
    ]  # fmt: skip
    heads = ["net", "d", "N", "cutoff", "lambda, measured (gram)", "exact", "N lambda", "pull"]
    return f"""## lambda against width and input

lambda_m = -G_c^(4) / (24 I_4), averaged over the unique tuples that a local vertex connects, at the inputs of the correlator
experiments. It falls as 1/N, exactly: G_c^(4) does, and I_4 does not know the width.

{markdown_table(heads, cells)}

{_figure("couplings_width", "lambda against the width: measured points, exact lines; crosses: heavy tails")}

Tuple by tuple, lambda_m is constant at the inputs of Table 5, which are so close to each other that all tuples measure one
number (Gauss, erf) or are so by homogeneity (ReLU: f(x) = x f(1)). At inputs of order one it is not:

{_figure("couplings_inputs", "lambda_m of every tuple of inputs")}"""


def _numbers(values, known=None):
    if not values:
        return "-"
    marks = ["" if known is None or k else " (?)" for k in (known or [True] * len(values))]
    return ", ".join(number(v) + m for v, m in zip(values, marks))


def _table5(rows):
    cells = [
        [r["net"], r["model"], _numbers(r["paper"]), _numbers(r["least_squares"], r["identified"]), _numbers(r["min_norm"]),
         f"{r['rank']} of {len(r['terms'])}" if r["terms"] else "-", number(r["condition"], digits=2) if r["terms"] else "-",
         f"{number(r['paper_mape'])}, {number(r['paper_mse'])}", f"{number(r['mape'])}, {number(r['mse'])}", r["explained_by"]]
        for r in rows
    ]  # fmt: skip
    heads = ["net", "model", "printed", "least squares", "least norm", "rank", "condition", "printed MAPE %, MSE",
             "least squares: MAPE %, MSE", "what explains the printed numbers"]  # fmt: skip
    sizes = ", ".join(f"{net} {s.width}" for net, s in SETTINGS.items())
    return f"""## Table 5

Fits of G_c^(4) = lambda_0 24 int K^4 + lambda_2 24 int y^2 K^4 + lambda_NL 8 sum_3 [int K K] [int K K] at x = c (.2, ..., 1.2),
c = 1 for ReLU and .01 else; tested at x / sqrt 2. Widths: {sizes}. (?): **not identified**, the data know only
combinations of these coefficients. Rank: directions that differ by more than 1e-3 of the largest, which is what a million
steps of gradient descent move along. Losses of exact data measure the model alone; the printed ones also hold sampling noise.

{markdown_table(heads, cells)}

M2 and M3 of Gauss-net and ReLU-net are no measurements of two or three couplings: they are the points of least norm on a
line or plane of equally good fits. All of these inputs show one random variable, so a small MAPE on them says nothing."""


def _spread(rows):
    cells = [
        [r["net"], r["model"], r["inputs"], _numbers(r["least_squares"], r["identified"]), number(r["condition"], digits=2), number(r["mape"])]
        for r in rows if r["terms"]
    ]  # fmt: skip
    return f"""## The same fits at spread inputs

x = +-.2, +-.6, +-1 (tested at x / sqrt 2), widths as above, cos-net 1000. Here the coefficients are known, and the models are known to
be wrong: MAPE is for data without errors. (ReLU in one dimension is exactly one vertex for each sign of x, plus a non-local
term between the signs: its local terms cannot be told apart at any inputs.)

{markdown_table(["net", "model", "distinct inputs", "least squares", "condition", "MAPE % (test)"], cells)}"""


def _six_point(rows):
    cells = [
        [r["net"], r["width"], number(r["free"], digits=6), number(r["with_g4"], digits=6), number(r["connected"], digits=6),
         f"{number(r['with_lambda'], digits=6)} ({number(r['with_lambda_spread'], digits=1)})",
         number(r.get("measured"), r.get("measured_stderr")),
         f"{number(r['with_lambda_and_kappa'], digits=6)} ({number(r['with_lambda_and_kappa_spread'], digits=1)})"]
        for r in rows
    ]  # fmt: skip
    heads = ["net", "N", "free", "with G_c^(4) itself", "connected", "with one lambda (spread)", "the same, measured lambda",
             "with lambda and kappa (spread)"]  # fmt: skip
    return f"""## Predicting the six-point function

Shares of the exact G^(6), mean over unique 6-tuples at the inputs of the correlator experiments. For one hidden layer
"with G_c^(4) itself" is an identity, G^(6) - G_c^(6): the prediction tests one thing, that lambda is one number. It is for
Gauss-net and ReLU-net at these inputs; for erf-net at inputs of order one it is not.

{markdown_table(heads, cells)}

{_figure("six_point", "predicted over exact 6-point function, tuple by tuple, order by order in 1/width")}"""


def _sextic(rows):
    cells = [
        [r["net"], r["width"], _cutoff(r["cutoff"]), number(r["lambda"], digits=5), number(r["kappa"], digits=5),
         number(r["kappa_without_tree"], digits=5), number(r["kappa_spread"], digits=2), number(r["kappa_over_lambda"], digits=4),
         number(r["kappa_over_lambda2"], digits=4)]
        for r in rows
    ]  # fmt: skip
    heads = ["net", "N", "cutoff", "lambda", "kappa", "kappa without tree", "spread of kappa", "kappa / lambda", "kappa / lambda^2"]
    return f"""## kappa

From G_c^(6) = -720 kappa I_6 + (24 lambda)^2 T at the inputs of Table 5. kappa and lambda^2 are both of order 1/N^2, so the
tree T of two quartic vertices, which the paper leaves out, belongs here; without it kappa has another value and for
two of three nets another sign. kappa / lambda falls as 1/N; kappa / lambda^2 is a constant of the net.

{markdown_table(heads, cells)}"""


def _rg(rows):
    cells = [
        [r["net"], r["dim_in"], "lambda" if r["order"] == 4 else "kappa", f"{r['cutoff']:g}", number(r["exponent"] + 0.0, digits=7),
         f"{number(r['smallest'] + 0.0, digits=5)} .. {number(r['largest'] + 0.0, digits=5)}", r["limit"]]
        for r in rows
    ]  # fmt: skip
    return f"""## Running couplings

Correlators do not know the cutoff, so beta(g) / g = -dlog I_n / dlog Lambda. ReLU's kernel is homogeneous: -(d + n), at every
cutoff and for every tuple. Saturating activations tend to -d, as 1/Lambda; a Gaussian kernel to 0.

{markdown_table(["net", "d", "coupling", "cutoff", "beta / g, mean", "range over tuples", "limit"], cells)}

{_figure("rg", "running quartic couplings and their exponents, d = 1; hollow: negative")}"""


def _conjecture(rows):
    shifts = sorted({r["shift"] for r in rows})
    nets = list(dict.fromkeys(r["net"] for r in rows))
    at = {(r["net"], r["shift"]): r["ratio"] for r in rows}
    cells = [[f"{s:g}", *(number(at[net, s], digits=6) for net in nets)] for s in shifts]
    return f"""## The conjecture: couplings are constant if K is translation invariant

Gauss-net and cos-net have the same kernel exp(-(x - y)^2 / 2), hence the same I_4. lambda_m of (0, 0, 1/2, 1/2), all moved by
s, over its value at s = 0:

{markdown_table(["s", *nets], cells)}

Gauss-net refutes it; at the paper's inputs (|x| < .012) one cannot see that. What makes couplings invariant is the
invariance of the whole law, as in cos-net, and not that of its kernel.

{_figure("conjecture", "lambda of one tuple, moved: Gauss-net and cos-net, whose kernels are the same")}"""


def _natural(rows):
    parameters = list(dict.fromkeys(r["parameter"] for r in rows))
    cells = []
    for name in parameters:
        some = [r for r in rows if r["parameter"] == name]
        for r in some[:: max(1, (len(some) - 1) // 4)]:
            coupling, breaking = (number(r[key] if abs(r[key]) > 1e-18 else 0.0, digits=4) for key in ("coupling", "breaking"))
            cells.append([name, f"{r['value']:g}", coupling, breaking, f"{r['restored_at']:g}", r["symmetry"]])
    heads = ["parameter", "value", "lambda", "part that breaks the symmetry", "restored at", "symmetry"]
    return f"""## Technical naturalness

A small coupling is natural if a symmetry appears where it vanishes. Three roads, cos-net of width 100, exact: the width; the
kurtosis E v^4 of the output weights, whose value 3 restores rotations of the outputs; and the spread of the phases,
which restores translations. Where E v^4 = 2, lambda vanishes too, but for one tuple only, and no symmetry protects it.

{markdown_table(heads, cells)}

{_figure("naturalness", "lambda (solid) and its part that breaks a symmetry (dashed) on three roads")}"""


def _edgeworth(rows):
    cells = [
        [r["net"], r["width"], ("Gaussian", "to 1/N", "to 1/N^2")[r["order"]], f"{r['n_nets']:,}", f"{r['chi2']:.1f} / {r['dof']}", number(r["p_value"], digits=2)]
        for r in rows
    ]  # fmt: skip
    return f"""## The density itself: Edgeworth series against histograms

Distribution of f(1) over networks, 50 bins, those that expect 25 or more.

{markdown_table(["net", "N", "density", "networks", "chi^2 / dof", "p"], cells)}

{_figure("edgeworth", "density over the Gaussian: networks (points), Edgeworth series to 1/N (red) and 1/N^2 (blue)")}"""

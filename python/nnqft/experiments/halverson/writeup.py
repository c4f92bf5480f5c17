"""The report in Markdown."""

from .._report import markdown_table, number
from .analysis import HEAVY_TAIL, LEAST_SIGNAL, series
from .cases import ESTIMATORS, LAWS
from .noise import QUANTITIES
from .tables import CLAIMS

__all__ = ["write_up"]

_MARKS = {"measured": "", "background": " (b)", "heavy tail": " (t)"}
_NAMES = {"m2": "m_2", "m4": "m_4", "m6": "m_6", "g4": "g_4", "g6": "g_6"}


def write_up(measured, tables, metadata, scale, action):
    """The text of report.md; `action` is its second half."""
    parts = [
        _head(metadata, scale),
        _reading(scale),
        _correlators(measured, scale),
        _slopes(tables),
        _constants(tables),
        _kernels(tables),
        _heavy_tails(measured, scale),
        _estimators(tables, metadata),
        action,
        _time(metadata, scale),
    ]
    return "\n\n".join(parts) + "\n"


def _figure(name, caption):
    return f"![{caption}](figures/{name}.png)\n\n*{caption}*"


def _head(metadata, scale):
    return f"""# Neural networks and quantum field theory, rerun

Rerun of Halverson, Maiti and Stoner, *Neural networks and quantum field theory*
(arXiv:2008.08601): scale `{scale.name}`, seed {metadata["seed"]}, nnqft {metadata["version"]}.
{scale.n_experiments} experiments of {scale.n_nets:,} drawn networks, {scale.total:,} in all, for every net, input
dimension, width and estimator; every weight is drawn. Each experiment has its own seed, and both estimators see the
same networks. Every number below also stands in `report.json`; the moments of every experiment lie in `raw/`."""


def _reading(scale):
    return f"""## How to read it

- m_n = (G^(n) - G_GP^(n)) / G_GP^(n) and g_n = G_c^(n) / G_GP^(n), per unique tuple of inputs; values are means of |.|
  over tuples. **Noise makes |.| too large**: where a value is near the background it says nothing. `report.json` also
  has the mean of sign(exact) times the quantity (`aligned`), the same number without this bias; pulls use it.
- Error bars: one standard error, delete-one jackknife over the experiments. Background: mean over tuples of the
  standard deviation between experiments, the noise of one experiment of {scale.n_nets:,} networks.
- *direct* averages products of outputs, as the paper does. *gram* sums over the Gaussian output weights exactly and
  averages the hidden Gram matrix; its m_4 and m_6 put the kernel K for the 2-point function, an identity for one hidden
  layer, so that its m_4 and g_4 are one number.
- Exact values: cumulants of one neuron, in closed form or by quadrature. They are lines in the figures, never points.
- (b): not above the background, or below {LEAST_SIGNAL:g} standard errors.
- (t): **heavy tail, not trustworthy**. By the exact kurtosis of one network's contribution, {scale.total:,} networks do
  not know their own error bar to {HEAVY_TAIL:.0%}. The sample then mostly misses the rare networks that make the mean,
  and comes out too small with too small an error. Crosses in the figures; no fits."""


def _cell(point):
    return number(point.value, point.value_stderr) + _MARKS[point.verdict]


def _correlators(measured, scale):
    parts = ["## Correlators against width"]
    columns = [("direct", q) for q in QUANTITIES] + [("gram", "m4"), ("gram", "m6"), ("gram", "g6")]
    for net in LAWS:
        caption = f"{net}-net: m_n by products of outputs (top), connected 4- and 6-point functions by both estimators"
        parts.append(_figure(f"correlators_{net}", caption + "; m_2 = 0 exactly"))
        for case in (c for c in scale.cases if c.net == net):
            curves = [series(measured, case, estimator, q) for estimator, q in columns]
            exact = [series(measured, case, "gram", q) for q in ("m4", "m6", "g6")]
            heads = ["N", *(f"{_NAMES[q]} {estimator}" for estimator, q in columns)]
            heads += [f"{_NAMES[c.quantity]} exact" for c in exact]
            rows = [
                [width, *(_cell(c.points[i]) for c in curves), *(number(c.exact[i], digits=5) for c in exact)]
                for i, width in enumerate(curves[0].widths)
            ]
            parts.append(f"### {case.title}\n\n" + markdown_table(heads, rows))
    return "\n\n".join(parts)


def _slopes(tables):
    shown = [r for r in tables["slopes"] if (r["estimator"], r["quantity"]) != ("gram", "m4")]  # gram: m_4 = g_4
    fitted = [r for r in shown if "slope" in r and r["estimator"] != "exact"]
    known = {(r["net"], r["dim_in"], r["quantity"]) for r in fitted}
    exact = [r for r in shown if r["estimator"] == "exact" and (r["net"], r["dim_in"], r["quantity"]) not in known]
    rows = []
    for r in fitted + exact:
        slope = number(r["slope"], r["stderr"] or None, digits=4)
        range_used = f"{r['widths'][0]}..{r['widths'][-1]} ({len(r['widths'])})"
        rows.append([r["net"], r["dim_in"], r["estimator"], _NAMES[r["quantity"]], r["claim"], range_used, slope,
                     number(r["exact_slope"], digits=4), number(r["pull"], digits=2), _chi2(r)])  # fmt: skip
    heads = ["net", "d", "estimator", "quantity", "claimed", "widths used", "slope", "exact, same points", "pull",
             "chi^2 / dof"]  # fmt: skip
    missing = {}
    for r in shown:
        if "slope" not in r:
            missing.setdefault(f"{r['net']} {_NAMES[r['quantity']]} {r['estimator']}", []).append(str(r["dim_in"]))
    missing = "; ".join(f"{name} (d = {', '.join(dims)})" for name, dims in missing.items()) or "none"
    expansions = [
        [r["net"], r["dim_in"], r["estimator"], number(r["A"], r["A_stderr"]), number(r["A_exact"], digits=5),
         number(r["B"], r["B_stderr"]), number(r["B_exact"], digits=5), _chi2(r)]
        for r in tables["expansions"]
    ]  # fmt: skip
    claims = ", ".join(f"{_NAMES[q]} ~ N^{k}" for q, k in CLAIMS.items())
    return f"""## Slopes

Weighted fits of mean |.| ~ N^slope through the widths without a heavy tail whose *exact* value is above the background
(if measured values chose them, points near the background would flatten the slope). Claimed: m_2 = 0, {claims}.
All but m_6 are identities at every width, so these fits test the sampling. m_6 = A/N + B/N^2 is steeper than 1/N at
small widths, as its exact curve is: a precise measurement gives the power law a large chi^2 and the expansion a
good one. Rows "exact" stand where no sampled point can be used: the slope of the exact curve over all widths.

{markdown_table(heads, rows)}

No fit of sampled points (fewer than two can be used): {missing}.

m_6 = A/N + B/N^2:

{markdown_table(["net", "d", "estimator", "A", "A exact", "B", "B exact", "chi^2 / dof"], expansions)}"""


def _chi2(row):
    return f"{row['chi2']:.1f} / {row['dof']}" if row["dof"] else "-"


def _constants(tables):
    rows = [
        [r["net"], r["dim_in"], r["estimator"], number(r.get("value"), r.get("stderr")), number(r["exact"], digits=6),
         number(r.get("pull"), digits=2), r["n_widths"]]
        for r in tables["constants"]
    ]  # fmt: skip
    return f"""## N mean |m_4|

A constant of the net and its inputs. Weighted mean over the widths without a heavy tail.

{markdown_table(["net", "d", "estimator", "measured", "exact", "pull", "widths"], rows)}

{_figure("constants", "mean |m_4| by gram over its exact value")}"""


def _kernels(tables):
    verdicts = {True: "yes", False: "NO", None: "heavy tails only"}
    rows = [
        [r["net"], r["dim_in"], r["estimator"], r["n_pulls"], number(r.get("largest_pull")), r.get("at_width", "-"),
         number(r.get("bound")), verdicts[r.get("agrees")]]
        for r in tables["kernels"]
    ]  # fmt: skip
    return f"""## Kernels: m_2 = 0

The 2-point function is the infinite-width kernel at every width. Bound: 0.1 % for the largest of all pulls of a row
(Student's t, Bonferroni).

{markdown_table(["net", "d", "estimator", "pulls", "largest", "at N", "bound", "agrees"], rows)}

{_figure("kernels", "measured 2-point functions minus the closed-form kernel, in standard errors, every tuple")}"""


def _heavy_tails(measured, scale):
    case = next(c for c in scale.cases if c.net == "gauss")
    curves = [series(measured, case, estimator, q) for q in ("g4", "g6") for estimator in ESTIMATORS]
    rows = []
    for i, width in enumerate(scale.widths):
        for p in (c.points[i] for c in curves):
            needed = p.one_net.nets_for_unit_signal
            rows.append([width, _NAMES[p.quantity], p.estimator, number(p.exact_value, digits=5),
                         number(p.value) + _MARKS[p.verdict], number((scale.total / needed) ** 0.5, digits=2),
                         number(p.spread / p.exact_spread, digits=2), number(needed, digits=2)])  # fmt: skip
    heads = ["N", "quantity", "estimator", "exact", "sampled", "exact signal / noise of this study",
             "spread / exact spread", "networks for signal / noise = 1"]  # fmt: skip
    return f"""## Where sampling fails: Gauss-net at sigma_b = 1

One neuron's moments grow like E h^n = exp(n^2 s^2 / 2 - n s^2) with s^2 > sigma_b^2: the 4-point function has moderate
noise, but its error bar needs E h^16, and the 6-point function is made by networks that no sample of this size has.
Exact moments tell: below, the networks that an estimator needs for signal / noise = 1, and the measured spread of the
experiments over the exact one. Where that ratio is far below 1 the sample has not seen the tail, and its mean and its
error bar are both too small. **For this net the exact curves are the result**; the sampled points are shown as what
they are.

### {case.title}

{markdown_table(heads, rows)}

{_figure("noise", f"measured spread of experiments over the exact one at the first input, d = {case.dim_in}")}"""


def _estimators(tables, metadata):
    seconds = {
        (r["net"], r["dim_in"], r["width"], r["estimator"]): r["seconds_for_1_percent"] for r in metadata["rates"]
    }
    dim = min(r["dim_in"] for r in tables["estimators"])
    rows = []
    for r in (r for r in tables["estimators"] if r["dim_in"] == dim):
        values = [r["direct"], r["gram"], r["ratio"], r["direct_exact"], r["gram_exact"]]
        values += [seconds[r["net"], dim, r["width"], estimator] for estimator in ESTIMATORS]
        rows.append([r["net"], r["width"], *(number(value, digits=2) for value in values)])
    heads = ["net", "N", "direct", "gram", "direct / gram", "direct, exact, 1 input", "gram, exact, 1 input"]
    heads += ["direct, s", "gram, s"]
    noise = (2 / (metadata["scale"]["n_experiments"] - 1)) ** 0.5
    return f"""## Estimators: networks for 1 % on the connected 4-point function

From the measured variance of the mean over tuples (known to {noise:.0%}), from exact moments at the first input, and
the time at the rates of this run. d = {dim}; other dimensions stand in `report.json`.

{markdown_table(heads, rows)}

{_figure("estimators", f"networks for 1 % on the connected 4-point function, d = {dim}")}"""


def _time(metadata, scale):
    rows = [[name, f"{value:.1f}"] for name, value in metadata["seconds"].items()]
    budget = f" Budget of this scale on two cores: {scale.budget:.0f} s." if scale.budget else ""
    return f"""## Time

{metadata["threads"]} thread(s), {metadata["isa"]}, device {metadata["device"]}; sampling times are those of the calls
that made the stored parts.{budget}

{markdown_table(["part", "wall seconds"], rows)}"""

"""Tables 1 to 5 in the shape of the paper, as LaTeX for a column of 247 pt; the full tables are those of ``tables``.

Each function returns a ``table`` environment with caption and the label ``tab:paper-<number>``. Needed packages: booktabs and,
for Table 1, amssymb. Measured values stand beside the published ones, each under the FPR that it has.
"""

from collections.abc import Sequence

import pandas as pd

from fasnb.lab.tables import latex_text
from fasnb.metrics.pad import fpr_name
from fasnb.paper.published import TABLE1, TABLE2, TABLE4, TABLE5, ZHANG_TEST

_STAND_IN = "stand-in for "


def table1() -> str:
    """Table 1, Section 3: the six attacks."""
    marks = TABLE1[["eyes", "nose", "mouth"]].map(lambda cut: r"\checkmark" if cut else "")
    rows = TABLE1.assign(**marks)[["attack", "surface", "eyes", "nose", "mouth", "split"]]
    lines = [[str(cell) for cell in row] for row in rows.to_numpy().tolist()]
    head = ["", "Surface", "Eyes", "Nose", "Mouth", "Split"]
    return _environment(1, "rlcccl", head, lines, "The six print attacks; a mark says that the region is cut out.")


def table2() -> str:
    """Table 2, Section 4.2: what the members' backbones learned first."""
    lines = [[latex_text(str(cell)) for cell in row] for row in TABLE2.to_numpy().tolist()]
    head = ["", "Backbone", "Dataset", "Task"]
    return _environment(2, "llll", head, lines, "Pre-training of the four members of the ensemble.")


def table3(measured: pd.DataFrame, fpr: float, where: str) -> str:
    """Table 3: method, initialisation, fold, published and measured TPR.

    Args:
        measured: columns ``method``, ``initialization``, ``fold``, ``published``, ``measured`` (percent).
        fpr: at which the measured values stand.
        where: what they were measured on, in a few words.
    """
    stand_ins = measured["initialization"].fillna("").str.startswith(_STAND_IN).any()
    names = measured["initialization"].fillna("").str.removeprefix(_STAND_IN)
    rows = measured.assign(initialization=names)[["method", "initialization", "fold", "published", "measured"]]
    lines = [["Zhang et al.", "", "", rf"{ZHANG_TEST:.2f}\rlap{{*}}", "--"]]
    for method, initialization, fold, *rates in rows.itertuples(index=False):
        words = (_short(method), initialization, str(fold).replace("-fold", ""))
        lines.append([*map(latex_text, words), *(_percent(rate) for rate in rates)])
    head = ["Method", "Initialization", "Fold", _power(1e-4), _power(fpr)]
    caption = rf"TPR (\%) at FPR = {_power(1e-4)} as published, and at {_power(fpr)} measured on {latex_text(where)}. "
    caption += "Folds by subject or by attack. *on the test set."
    caption += " The measured rows start from stand-ins of the named data." if stand_ins else ""
    return _environment(3, "lllrr", head, lines, caption, r"& & & paper & here \\")


def table4(measured: pd.DataFrame | None, fpr: float, where: str) -> str:
    """Table 4: TPR of the teams on validation and test, as published; below them the members and ensemble of this study.

    Args:
        measured: columns ``method``, ``valid`` and ``test`` (percent), or None where there is no labelled test set.
    """
    lines = [[team, *(f"{rate:.4f}" for rate in rates)] for team, *rates in TABLE4.itertuples(index=False)]
    caption = rf"TPR (\%) at FPR = {_power(1e-4)} on validation and test, as published"
    if measured is not None:
        rows = measured[["method", "valid", "test"]].itertuples(index=False)
        mine = [[f"here: {latex_text(method)}", *(_percent(rate) for rate in rates)] for method, *rates in rows]
        lines += [[r"\midrule"], *mine]
        caption += f", and below at {_power(fpr)} measured on {latex_text(where)} (mean scores of all folds and seeds)"
    return _environment(4, "lrr", ["", "Valid", "Test"], lines, f"{caption}.")


def table5(measured: pd.DataFrame, fprs: Sequence[float], where: str) -> str:
    """Table 5: published and measured TPR of each modality, a column an FPR.

    Args:
        measured: columns ``modality``, ``FPR`` (text), ``measured`` (percent).
    """
    wide = measured.pivot(index="modality", columns="FPR", values="measured")
    published = [column for column in TABLE5 if isinstance(column, float)]
    lines = []
    for row in TABLE5.itertuples(index=False):
        here = [wide.get(fpr_name(fpr), pd.Series(dtype=float)).get(row.modality) for fpr in fprs]
        lines.append([row.modality, *(_percent(rate) for rate in [*row[2:], *here])])
    head = ["", *map(_power, published), *map(_power, fprs)]
    last = 1 + len(published)
    over = (
        rf"& \multicolumn{{{len(published)}}}{{c}}{{published, FPR}} & \multicolumn{{{len(fprs)}}}{{c}}{{here, FPR}} \\"
    )
    over += rf" \cmidrule(lr){{2-{last}}} \cmidrule(lr){{{last + 1}-{last + len(fprs)}}}"
    caption = rf"TPR (\%) by modality, as published and measured on {latex_text(where)}."
    return _environment(5, "l" + "r" * (len(head) - 1), head, lines, caption, over)


def figure(number: int, caption: str, share: float = 1.0) -> str:
    """A ``figure`` environment around ``figure<number>.pdf``, at most ``share`` of the column's width."""
    lines = [r"\begin{figure}", r"\centering"]
    lines += [rf"\includegraphics[width={share:g}\columnwidth]{{figure{number}.pdf}}"]
    return "\n".join([*lines, rf"\caption{{{caption}}}", rf"\label{{fig:paper-{number}}}", r"\end{figure}", ""])


def _environment(
    number: int, columns: str, head: Sequence[str], lines: Sequence[Sequence[str]], caption: str, over: str = ""
) -> str:
    """A table of booktabs; a line of one cell that is a command stands as it is."""
    body = [row[0] if row[0].startswith("\\") and len(row) == 1 else f"{' & '.join(row)} \\\\" for row in lines]
    # the space between columns gives way to the column's width, the letters do not
    parts = [r"\begin{table}", rf"\caption{{{caption}}}", rf"\label{{tab:paper-{number}}}", r"\centering\footnotesize"]
    parts += [r"\setlength{\tabcolsep}{3pt}", rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}", r"\toprule", over]
    parts += [f"{' & '.join(head)} \\\\", r"\midrule", *body, r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join([*filter(None, parts), ""])


def _short(method: str) -> str:
    return method.replace(" with ", ", ")


def _percent(rate) -> str:
    return "--" if rate is None or pd.isna(rate) else f"{rate:.2f}"


def _power(fpr: float) -> str:
    mantissa, exponent = fpr_name(fpr).split("e")
    return f"$10^{{{exponent}}}$" if mantissa == "1" else rf"${mantissa}\cdot10^{{{exponent}}}$"

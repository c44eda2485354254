"""Is one method better than another? Errors of methods in several worlds, ratios of errors, verdicts on claims.

A *world* has people, prints, frames and first weights of its own, and every method is trained in each. So the
differences between two methods, one a world, hold all luck there is, and their spread is all that a verdict needs: a
paired t test, of the logarithms of the errors. How often verdicts err: ``benchmarks/verdicts.py``.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from fasnb.metrics import pad
from fasnb.metrics.ensembles import facts, matrix

MARGIN = 1.5  # errors whose ratio lies between its inverse and itself count as equal
COLUMNS = ("claim", "section", "ratio", "low", "high", "worlds", "p", "Wilcoxon p", "detectable", "room")


def errors(table: pd.DataFrame) -> pd.DataFrame:
    """``pad.mean_error`` of every method and seed of a scores table with one score a frame for each of them.

    Returns one row a method and seed: ``seed`` (-1 where there is none), ``experiment``, ``error`` in (0, 1], and
    ``least``, the smallest error that counts: half a bona fide frame, so that a perfect score has a logarithm.
    """
    wide = matrix(table.assign(seed=table["seed"].fillna(-1)), ["seed", "experiment"])
    labels = facts(table)["label"].to_numpy(dtype=int)
    least = 0.5 / labels.sum()
    rows = [(*name, max(pad.mean_error(labels, score), least), least) for name, score in wide.items()]
    return pd.DataFrame(rows, columns=["seed", "experiment", "error", "least"])


def ratios(claims: Sequence[tuple], errors: pd.DataFrame) -> pd.DataFrame:
    """By how much the first method of a claim errs less than the second, in each world.

    ``claims`` are (claim, section, pairs of methods); of several pairs the least favourable one counts, in each world
    by itself. ``errors`` has one row a ``world`` and ``experiment``, several where a method has several seeds (their
    geometric mean counts).

    Returns one row a claim and world where all its methods are: ``claim``, ``section``, ``world``, ``ratio`` (the error
    of the second over that of the first: above 1 speaks for the claim), ``room`` (the same if the first were perfect).
    """
    logs = (
        np.log(errors.set_index(["world", "experiment"])[["error", "least"]]).groupby(level=[0, 1], sort=False).mean()
    )
    error, least = (logs[name].unstack("experiment") for name in ("error", "least"))
    columns, found = ["claim", "section", "world", "ratio", "room"], []
    for claim, section, pairs in claims:
        if {name for pair in pairs for name in pair} <= {*error}:
            gains = [pd.DataFrame({"ratio": error[b] - error[a], "room": error[b] - least[a]}) for a, b in pairs]
            worst = pd.concat(gains).groupby(level="world", sort=False).min(skipna=False).dropna()
            found.append(np.exp(worst).reset_index().assign(claim=claim, section=section))
    return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame(columns=columns)


def judge(claims: Sequence[tuple], errors: pd.DataFrame, verdicts: bool = True) -> pd.DataFrame:
    """What the errors in several worlds say of claims; arguments as of ``ratios``.

    Returns one row a claim: ``claim``, ``section``; ``ratio``, the geometric mean over ``worlds`` (their number), with
    its 95% limits ``low`` and ``high`` by Student's t; ``p`` against a ratio of 1, two-sided, and Wilcoxon's beside it;
    ``detectable``, the ratio that so many worlds show in four of five cases at the strictest level of Holm's
    correction; ``room``, the ratio if the first were perfect; and, unless they are not wanted, ``verdict``: shown or
    opposite (the ratio differs from 1 after Holm's correction over all ``claims``), equivalent (the 90% limits lie
    within ``MARGIN``, and there is more room than that), undecided; of one world there is a ratio and no verdict, and
    of none "not measured".
    """
    found, rows = ratios(claims, errors).groupby("claim"), []
    for claim, section, _ in claims:
        there = claim in found.groups
        logs = np.log(found.get_group(claim)[["ratio", "room"]].to_numpy(dtype=float)) if there else np.empty((0, 2))
        rows.append((claim, section, *_summary(logs, 0.05 / len(claims))))
    table = pd.DataFrame(rows, columns=[*COLUMNS, "equivalent"])
    adjusted = pd.Series(holm(table["p"].to_dict()))
    decided = np.where(table["ratio"] > 1, "shown", "opposite")
    cases = [table["worlds"] == 0, table["worlds"] == 1, adjusted < 0.05, table["equivalent"].astype(bool)]
    verdict = np.select(cases, ["not measured", "one world", decided, "equivalent"], "undecided")
    return table[list(COLUMNS)].assign(**{"verdict": verdict} if verdicts else {})


def _summary(logs: np.ndarray, level: float) -> tuple:
    """The numbers of ``judge`` from log ratios and log rooms (worlds, 2), and whether the 90% limits are narrow."""
    n, t = len(logs), stats.t(max(len(logs) - 1, 1))
    mean, room = logs.mean(axis=0) if n else (np.nan, np.nan)
    if n < 2:
        return np.exp(mean), np.nan, np.nan, n, np.nan, np.nan, np.nan, np.exp(room), False
    error, gains = logs[:, 0].std(ddof=1) / n**0.5, logs[:, 0]
    low, high = mean + t.ppf([0.025, 0.975]) * error
    p = float(2 * t.sf(abs(mean) / error)) if error else float(mean == 0)
    wilcoxon = float(stats.wilcoxon(gains).pvalue) if gains.any() else 1.0
    detectable = (t.isf(level / 2) + t.isf(0.2)) * error
    narrow = abs(mean) + t.isf(0.05) * error < np.log(MARGIN) < room
    return *np.exp([mean, low, high]), n, p, wilcoxon, np.exp(detectable), np.exp(room), narrow


def holm(p: Mapping[int, float]) -> dict[int, float]:
    """Holm's adjusted p values (claim -> p): below alpha for any true null hypothesis with probability alpha at most.

    A p that is NaN, of a claim that was not tested, stays NaN and does not count.
    """
    order = sorted((claim for claim in p if not np.isnan(p[claim])), key=p.__getitem__)
    adjusted, largest = dict.fromkeys(p, np.nan), 0.0
    for rank, claim in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p[claim]))
        adjusted[claim] = largest
    return adjusted


def beside_published(measured: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Rows of a published table (column ``experiment``) with the measured columns beside where there are any."""
    return published.merge(measured.drop(columns="FPR"), on="experiment", how="left")


def thresholds(table: pd.DataFrame, fpr: float) -> dict[str, float]:
    """Each method's threshold (column ``experiment``) for ``fpr``."""
    labels = facts(table)["label"].to_numpy(dtype=int)
    return {name: float(pad.threshold_at_fpr(labels, score, fpr)) for name, score in matrix(table).items()}


def errors_by_attack(table: pd.DataFrame, fpr: float) -> pd.DataFrame:
    """APCER in percent of each attack type, where known, and BPCER; one row a method, at its threshold for ``fpr``."""
    wide, frames, rows = matrix(table), facts(table), []
    labels = frames["label"].to_numpy(dtype=int)
    known = frames["attack"][labels == 0].notna().all()
    for name, threshold in thresholds(table, fpr).items():
        by_attack = pad.apcer_by_attack(labels, wide[name], threshold, frames["attack"]) if known else {}
        row = {"experiment": name, "BPCER %": 100 * pad.bpcer(labels, wide[name], threshold)}
        rows.append(row | {f"APCER % attack {attack}": 100 * rate for attack, rate in by_attack.items()})
    return pd.DataFrame(rows)

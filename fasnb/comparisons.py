"""From scores to rows of a table: measured values with intervals, beside the published ones, and paired differences.

Rates are in percent here, as the paper prints them.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from fasnb import metrics
from fasnb.scores import average, facts, matrix
from fasnb.study import Finding


def measure(table: pd.DataFrame, fprs: Sequence[float], by: Sequence[str] = ("experiment",), replicates: int = 1000):
    """TPR@FPR in percent of every method of a scores table, with 95% intervals.

    Args:
        table: scores table; one score a frame for each combination of the columns ``by``, which name a method.
        fprs: target FPRs in [0, 1].

    Returns:
        One row a method and FPR: the columns ``by``, ``FPR``, ``measured``, ``low``, ``high`` (bootstrap; subjects where
        known, else frames), ``exact low``, ``exact high`` (Clopper-Pearson, threshold fixed) and ``false positives``.
    """
    wide, frames = matrix(table, list(by)), facts(table)
    labels, values = frames["label"].to_numpy(dtype=int), wide.to_numpy().T
    rows = []
    for fpr in fprs:
        drawn = metrics.bootstrap(labels, values, fpr, groups(frames), replicates)
        for name, score, replicate in zip(wide.columns, values, drawn, strict=True):
            accepted = score >= metrics.threshold_at_fpr(labels, score, fpr)
            passed = int(accepted[labels == 1].sum())
            exact = metrics.clopper_pearson(passed, int(labels.sum()))
            rates = (passed / labels.sum(), *metrics.interval(replicate), *exact)
            names = name if isinstance(name, tuple) else (name,)
            rows.append((*names, fpr, *(100 * float(rate) for rate in rates), int(accepted[labels == 0].sum())))
    limits = ["measured", "low", "high", "exact low", "exact high", "false positives"]
    return pd.DataFrame(rows, columns=[*by, "FPR", *limits]).astype({"false positives": "Int64"})


def groups(frames: pd.DataFrame) -> pd.Series | None:
    """The subjects to resample, or None where they are unknown and frames are resampled."""
    return None if frames["subject"].isna().any() else frames["subject"]


def beside_published(measured: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Rows of a published table (column ``experiment``) with the measured columns beside; missing where not measured."""
    return published.merge(measured.drop(columns="FPR"), on="experiment", how="left")


def compare_all(
    table: pd.DataFrame, fpr: float, pairs: Sequence[tuple[str, str]] | None = None, replicates: int = 1000
):
    """Paired differences of methods (column ``experiment``) in TPR@FPR, in points, with 95% intervals.

    Args:
        pairs: (a, b) for a - b; by default all pairs in order of appearance.

    Returns:
        ``a``, ``b``, ``difference``, ``low``, ``high``, ``clear`` (the interval does not hold zero).
    """
    wide, frames = matrix(table), facts(table)
    labels = frames["label"].to_numpy(dtype=int)
    values = metrics.bootstrap(labels, wide.to_numpy().T, fpr, groups(frames), replicates)
    drawn = dict(zip(wide, values, strict=True))
    tpr = {name: metrics.tpr_at_fpr(labels, wide[name], fpr) for name in wide}
    rows = []
    for a, b in pairs or combinations(table["experiment"].unique(), 2):
        limits = metrics.interval(drawn[a] - drawn[b])
        clear = limits[0] > 0 or limits[1] < 0
        rows.append((a, b, *(100 * x for x in (tpr[a] - tpr[b], *limits)), clear))
    return pd.DataFrame(rows, columns=["a", "b", "difference", "low", "high", "clear"])


def errors_by_attack(table: pd.DataFrame, fpr: float) -> pd.DataFrame:
    """APCER in percent of each attack type, and BPCER, at each method's own threshold for ``fpr``.

    Returns:
        One row a method (column ``experiment``); the attack columns are absent where attack types are unknown.
    """
    wide, frames = matrix(table), facts(table)
    labels = frames["label"].to_numpy(dtype=int)
    rows = []
    for name in wide:
        threshold = metrics.threshold_at_fpr(labels, wide[name], fpr)
        row = {"experiment": name, "BPCER %": 100 * metrics.bpcer(labels, wide[name], threshold)}
        if frames["attack"].notna().all():
            by_attack = metrics.apcer_by_attack(labels, wide[name], threshold, frames["attack"])
            row |= {f"APCER % attack {attack}": 100 * rate for attack, rate in by_attack.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def thresholds(table: pd.DataFrame, fpr: float) -> dict[str, float]:
    """Each method's threshold for ``fpr``."""
    labels = facts(table)["label"].to_numpy(dtype=int)
    return {name: float(metrics.threshold_at_fpr(labels, score, fpr)) for name, score in matrix(table).items()}


def seed_spread(measured: pd.DataFrame) -> pd.DataFrame:
    """Spread between seeds of one method beside the spread between methods, in points of TPR.

    Args:
        measured: rows of ``measure`` by experiment and seed.

    Returns:
        One row a method with two seeds or more, and a last row ``between methods`` over the methods' means.
    """
    by = measured.groupby("experiment")["measured"].agg(["size", "mean", "min", "max"])
    rows = [(name, int(r["size"]), r["mean"], r["max"] - r["min"]) for name, r in by.iterrows() if r["size"] > 1]
    means = by["mean"]
    rows.append(("between methods", len(means), float(means.mean()), float(np.ptp(means))))
    return pd.DataFrame(rows, columns=["method", "values", "mean", "range"])


def valid_to_test(valid: pd.DataFrame, test: pd.DataFrame, fpr: float, replicates: int = 1000) -> pd.DataFrame:
    """TPR in percent on validation and test, and on test with the validation's threshold (Section 5.8, Table 4).

    Args:
        valid, test: scores tables of the same networks, one score a frame and network.

    Returns:
        One row a method and one for the ensemble: ``valid``, ``test``, ``low``, ``high`` (test), and with the threshold
        of validation ``carried TPR`` and ``carried FPR``.
    """
    rows = []
    for mean in (average, lambda table: average(table, over=["fold", "seed", "experiment"])):
        a, b = mean(valid), mean(test)
        labels = facts(b)["label"].to_numpy(dtype=int)
        on_valid, on_test = (measure(table, [fpr], replicates=replicates).set_index("experiment") for table in (a, b))
        for name, threshold in thresholds(a, fpr).items():
            score = matrix(b)[name]
            carried = 1 - metrics.bpcer(labels, score, threshold), metrics.apcer(labels, score, threshold)
            limits = on_test.loc[name, ["measured", "low", "high"]]
            rows.append((name, on_valid.loc[name, "measured"], *limits, *(100 * rate for rate in carried)))
    return pd.DataFrame(rows, columns=["method", "valid", "test", "low", "high", "carried TPR", "carried FPR"])


def judge(models: pd.DataFrame, findings: Sequence[Finding], fpr: float, replicates: int = 1000) -> pd.DataFrame:
    """What a study's scores say of the paper's claims.

    Each claim says that one method has the higher TPR@FPR. The two are compared on the same frames, once for each seed
    that both have. The difference is the mean over these seeds, its 95% interval a paired bootstrap of that mean.

    Args:
        models: scores table with one score a frame, experiment and seed.

    Returns:
        One row a claim: ``claim``, ``section``, ``difference``, ``low``, ``high`` (points), ``seeds`` (how many of them
        are positive) and ``verdict``: shown (interval above zero and no seed below), opposite (interval below zero and
        no seed above), not shown, or not measured.
    """
    wide, frames = matrix(models, ["experiment", "seed"]), facts(models)
    labels = frames["label"].to_numpy(dtype=int)
    drawn = metrics.bootstrap(labels, wide.to_numpy().T, fpr, groups(frames), replicates)
    drawn = dict(zip(wide.columns, drawn, strict=True))
    tpr = {name: metrics.tpr_at_fpr(labels, wide[name], fpr) for name in wide}
    rows = []
    for finding in findings:
        seeds = [seed for name, seed in wide if name == finding.better and (finding.worse, seed) in tpr]
        if not seeds:
            rows.append((finding.claim, finding.section, np.nan, np.nan, np.nan, "–", "not measured"))
            continue
        pairs = [((finding.better, seed), (finding.worse, seed)) for seed in seeds]
        each = [tpr[a] - tpr[b] for a, b in pairs]
        low, high = metrics.interval(np.mean([drawn[a] - drawn[b] for a, b in pairs], axis=0))
        shown, opposite = low > 0 and min(each) >= 0, high < 0 and max(each) <= 0
        verdict = "shown" if shown else "opposite" if opposite else "not shown"
        positive = f"{sum(value > 0 for value in each)} of {len(each)}"
        points = (100 * float(value) for value in (np.mean(each), low, high))
        rows.append((finding.claim, finding.section, *points, positive, verdict))
    return pd.DataFrame(rows, columns=["claim", "section", "difference", "low", "high", "seeds", "verdict"])


def pooled_for(members: pd.DataFrame, rival: str) -> pd.DataFrame:
    """The ensemble of all members, labelled with the first seed of ``rival``, so that ``judge`` can compare the two."""
    seed = members.loc[members["experiment"] == rival, "seed"].min()
    return average(members, over=["fold", "seed", "experiment"]).assign(seed=seed)


def choices_of_members(table: pd.DataFrame, size: int, fpr: float) -> pd.Series:
    """TPR@FPR in percent of the mean score of every choice of ``size`` networks of a scores table."""
    wide, labels = matrix(table, ["experiment", "fold", "seed"]), facts(table)["label"].to_numpy(dtype=int)
    choices = [list(choice) for choice in combinations(wide.columns, size)]
    return pd.Series(
        [100 * metrics.tpr_at_fpr(labels, wide[choice].mean(axis=1), fpr) for choice in choices], name="TPR %"
    )


def rescued(table: pd.DataFrame, fpr: float) -> pd.DataFrame:
    """Share in percent of the bona fide frames that the row's method refuses and the column's accepts."""
    wide = matrix(table)
    bona_fide = facts(table)["label"].to_numpy(dtype=int) == 1
    accepted = (wide >= pd.Series(thresholds(table, fpr)))[bona_fide]
    rows = [
        {"refused by": row, "frames": int((~accepted[row]).sum())}
        | {name: 100 * accepted[name][~accepted[row]].mean() for name in wide}
        for row in wide
    ]
    return pd.DataFrame(rows)

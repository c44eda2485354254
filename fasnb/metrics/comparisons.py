"""Is one method better than another? Differences that carry the luck of training, verdicts on claims, rows of tables.

All methods are judged on the same frames, so the bootstrap draws these together. Seed 7 of one network has nothing in
common with seed 7 of another, so means over seeds are compared. How often verdicts err: ``benchmarks/verdicts.py``.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import t as student

from fasnb.metrics import pad
from fasnb.metrics.ensembles import facts, matrix
from fasnb.metrics.uncertainty import Method, methods_of


def luck_of(methods: Sequence[Method]) -> tuple[float, float]:
    """How much the seed alone moves a TPR: its variance over TPR x (1 - TPR), and the degrees of freedom of that.

    Two or three seeds of one method tell too little, so all methods of a report share one number. Networks near 100%
    have less room to differ, hence the proportion, the variance of a binomial; the degrees of freedom are weighted
    likewise (Satterthwaite). 0 and infinity where no method has two seeds.
    """
    several = [method for method in methods if method.single and len(method.tpr) > 1]
    free = np.array([len(method.tpr) - 1 for method in several], dtype=float)
    room = np.array([method.mean * (1 - method.mean) for method in several])
    if not (free * room).sum():
        return 0.0, np.inf
    squares = sum(((method.tpr - method.mean) ** 2).sum() for method in several)
    return float(squares / (free * room).sum()), float((free * room).sum() ** 2 / (free * room**2).sum())


def difference(a: Method, b: Method, luck: tuple[float, float], units: int) -> tuple[float, float, float, float]:
    """a - b in TPR, its 95% limits, all in [-1, 1], and its two-sided p value against no difference.

    A random-effects model adds two variances: what other seeds move the difference by, from ``luck_of`` at the methods'
    common TPR, and what other subjects (or frames; ``units`` of them) do, from the paired bootstrap with the seeds as
    they are. That each seed errs on frames of its own is in the first already, so it is taken out of the second. Limits
    and p are Student's with the seeds' degrees of freedom. An ensemble of all seeds is taken to be moved as much as the
    mean of as many seeds of one member, independently of what it is compared with, which overstates its variance.
    Limits are NaN where nothing varies, as between methods at 100%; p where one has one seed, or none of all has two.
    """
    value, common = a.mean - b.mean, (a.mean + b.mean) / 2
    dispersion, df = luck
    of_seeds = dispersion * common * (1 - common) * (1 / a.seeds + 1 / b.seeds)
    of_frames = np.nanvar(a.drawn.mean(axis=0) - b.drawn.mean(axis=0), ddof=1) - _own_errors(a) - _own_errors(b)
    deviation = (max(float(of_frames), 0.0) + of_seeds) ** 0.5
    seeded, df = np.isfinite(df) and min(a.seeds, b.seeds) > 1, min(df, units - 1)
    if deviation == 0:
        return value, np.nan, np.nan, float(value == 0) if seeded else np.nan
    half = student.ppf(0.975, df) * deviation
    p = float(2 * student.sf(abs(value) / deviation, df)) if seeded else np.nan
    return value, max(value - half, -1.0), min(value + half, 1.0), p


def _own_errors(method: Method) -> float:
    """Variance of the mean over seeds that comes of frames on which each seed errs alone; 0 where there is one TPR."""
    k = len(method.tpr)
    return float(np.nanvar(method.drawn - method.drawn.mean(axis=0), axis=1, ddof=1).sum() / max(k - 1, 1) / k)


def pairs(table: pd.DataFrame, wanted: Sequence[tuple[str, str]], fpr: float, replicates: int = 1000) -> pd.DataFrame:
    """Differences of methods (column ``experiment``) in TPR@FPR, in points, with 95% limits; see ``difference``.

    The scores table has one score a frame, experiment and seed; the seed is missing for an ensemble of all seeds. All
    its methods tell how far another seed moves a TPR. ``wanted`` are (better, worse): the first less the second.

    Returns one row a pair: ``better``, ``worse``, ``difference``, ``low``, ``high``, ``p``, missing where a method has
    one seed and not corrected for the number of pairs, and ``seeds`` of both.
    """
    methods, subjects = methods_of(table, [fpr], replicates=replicates), facts(table)["subject"]
    units = len(subjects) if subjects.isna().any() else subjects.nunique()
    luck, rows = luck_of(list(methods.values())), []
    for names in wanted:
        a, b = (methods[fpr, name] for name in names)
        *points, p = difference(a, b, luck, units)
        seeds = " and ".join(str(method.seeds) if method.single else "all" for method in (a, b))
        rows.append((*names, *(100 * value for value in points), p, seeds))
    return pd.DataFrame(rows, columns=["better", "worse", "difference", "low", "high", "p", "seeds"])


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


def judge(claims: Sequence[tuple], table: pd.DataFrame, fpr: float, replicates: int = 1000) -> pd.DataFrame:
    """What a study's scores say of the paper's claims, which share Holm's correction: give all of a report at once.

    The first of each pair of a claim must have the higher TPR@FPR. The claim holds when every difference is positive
    (p: the largest of theirs), and fails as soon as one is negative (p: their number times the smallest of those).

    Returns one row a claim: ``claim``, ``section``, ``verdict``, the columns of ``pairs`` of the pair that speaks least
    for it, and ``adjusted p``. The verdict is shown or opposite (adjusted p below 0.05), undecided (else, and wherever
    a method has one seed) or not measured (a method is not in the table).
    """
    there, rows, p = set(table["experiment"]), [], {}
    tested = [wanted for _, _, wanted in claims if {name for pair in wanted for name in pair} <= there]
    found = pairs(table, [pair for wanted in tested for pair in wanted], fpr, replicates)
    parts_of = iter(found.to_dict("records"))
    for i, (claim, section, wanted) in enumerate(claims):
        rows.append({"claim": claim, "section": section, "verdict": "not measured"})
        if wanted in tested:
            parts = [next(parts_of) for _ in wanted]
            rows[i] |= min(parts, key=lambda part: part["difference"])
            against = [part["p"] for part in parts if part["difference"] < 0]
            p[i] = min(1.0, len(parts) * min(against)) if against else max(part["p"] for part in parts)
            p[i] = np.nan if any(np.isnan(part["p"]) for part in parts) else p[i]
    for i, adjusted in holm(p).items():
        decided = "shown" if rows[i]["difference"] > 0 else "opposite"
        rows[i] |= {"adjusted p": adjusted, "verdict": decided if adjusted < 0.05 else "undecided"}
    return pd.DataFrame(rows, columns=["claim", "section", "verdict", *found, "adjusted p"])


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

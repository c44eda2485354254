"""How sure a metric is: limits for a system and for a method.

A *system* is one network, or one ensemble, at the threshold that was found: its TPR and FPR have exact limits. A
*method* is what trains such systems: its TPR@FPR, threshold set anew, has limits by a bootstrap of subjects. Notebook
00 explains them. How often they hold the truth: ``benchmarks/coverage.py``.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import repeat

import numpy as np
import pandas as pd
from scipy.stats import beta

from fasnb.metrics import pad
from fasnb.metrics.ensembles import facts, matrix
from fasnb.metrics.pad import checked_scores, fpr_name

FPRS = (1e-2, 1e-3, 1e-4)
TAIL = 0.025  # outside each limit
RARE = 0.05  # a design effect is estimated where at least this share of frames is accepted and this share refused
CLIPS = {(2994, 6614): 300}  # (bona fide, attack) frames -> attack clips of CASIA-SURF's validation set
CELLS = 4_000_000  # replicates are drawn in chunks of at most this many counts of frames, 16 MB


def exact(k: float, n: float) -> tuple[float, float]:
    """Clopper and Pearson's 95% limits of a proportion k / n, both in [0, 1]; NaN where k > n.

    Counts need not be whole: an effective number of frames is not (Korn and Graubard, Survey Methodology 1998).
    """
    low = 0.0 if k == 0 else beta.ppf(TAIL, k, n - k + 1)
    high = 1.0 if k == n else beta.ppf(1 - TAIL, k + 1, n - k)
    return float(low), float(high)


def attacks_needed(fpr: float) -> int | None:
    """Independent attack frames that a lower limit of TPR@FPR takes whatever the scores' distribution.

    It is the least n with (1 - fpr)^n <= 0.025: below it, even the highest attack score may lie under the threshold
    that an FPR of ``fpr`` has in truth. None at FPR 0, for which no number is enough.
    """
    if fpr == 0:
        return None
    return 1 if fpr == 1 else math.ceil(math.log(TAIL) / math.log1p(-fpr))


def subject_codes(groups, labels: np.ndarray) -> np.ndarray | None:
    """Subjects (n,) as whole numbers from 0 on; None, so that frames are the unit, where some are unknown."""
    codes = pd.factorize(pd.Series(None if groups is None else list(groups), index=range(labels.size), dtype=object))[0]
    return None if (codes < 0).any() else codes


def design_effect(scores: np.ndarray, threshold: float, subjects: np.ndarray) -> float:
    """Variance of the share of frames accepted, frames of a subject being alike, over that of independent frames.

    Frames (n,) of one class count as n / design effect independent ones. It is at least 1, and at most what it is where
    all frames of a subject (n,) are accepted or refused together. Few errors tell nothing of it: where less than
    ``RARE`` of the frames is accepted or refused, it is that of the nearest threshold at which ``RARE`` is, and where
    even there all are accepted (ties), the highest possible.
    """
    n, sizes = scores.size, np.bincount(subjects)
    people, highest = np.count_nonzero(sizes), float((sizes.astype(float) ** 2).sum() / n)
    few, at = math.ceil(RARE * n), np.sort(scores)
    threshold = min(max(threshold, at[min(few, n - 1)]), at[n - few])
    accepted = scores >= threshold
    share = accepted.mean()
    if share in (0, 1) or people < 2:
        return highest
    sums = np.bincount(subjects, accepted - share)
    variance = people / (people - 1) * float(sums @ sums) / n**2
    return min(max(variance / (share * (1 - share) / n), 1.0), highest)


def bootstrap(labels, scores, fpr, groups=None, replicates: int = 1000, seed: int = 0) -> np.ndarray:
    """TPR@FPR of bootstrap replicates; the same draw of frames for all methods, so differences are paired.

    Whole subjects are drawn with replacement, because the frames of one subject resemble each other; where they are
    unknown, frames within each class. Each replicate sets its own threshold. ``scores`` are (n,), or (m, n) for m
    methods; ``fpr`` is a target in [0, 1], or a sequence of k; ``groups`` (n,) are subjects.

    Returns ([k,] [m,] replicates); NaN where a replicate drew one class only.
    """
    labels, scores = checked_scores(labels, scores, several=True)
    subjects, rng = subject_codes(groups, labels), np.random.default_rng(seed)
    rows, fprs = np.atleast_2d(scores), np.atleast_1d(fpr)
    values, step = np.empty((len(fprs), len(rows), replicates)), max(1, CELLS // labels.size)
    for start in range(0, replicates, step):
        drawn = _draw(labels, subjects, min(step, replicates - start), rng)
        for i, row in enumerate(rows):
            values[:, i, start : start + step] = _tpr_of_draws(drawn, labels, row, fprs)
    return values.reshape(np.shape(fpr) + scores.shape[:-1] + (replicates,))


def _draw(labels: np.ndarray, subjects: np.ndarray | None, replicates: int, rng) -> np.ndarray:
    """How often each frame is drawn, (n, replicates): with its subject, or alone among the frames of its class."""
    drawn = np.empty((labels.size, replicates), dtype=np.int32)
    for pool in [labels, ~labels] if subjects is None else [np.full(labels.size, True)]:
        units = np.arange(np.count_nonzero(pool)) if subjects is None else subjects
        count = int(units.max()) + 1
        chosen = rng.integers(count, size=(replicates, count)) * replicates + np.arange(replicates)[:, None]
        drawn[pool] = np.bincount(chosen.ravel(), minlength=count * replicates).reshape(count, replicates)[units]
    return drawn


def _tpr_of_draws(drawn: np.ndarray, labels: np.ndarray, scores: np.ndarray, fprs: np.ndarray) -> np.ndarray:
    """TPR@FPR (k, replicates) of one method, from how often each frame is drawn (n, replicates).

    Frames are counted from the highest score down. The first attack frame that is one too many sets the threshold, and
    the bona fide frames strictly above it are accepted.
    """
    order = np.argsort(-scores, kind="stable")
    bona_fide, attack = order[labels[order]], order[~labels[order]]
    accepted = np.zeros((bona_fide.size + 1, drawn.shape[1]), dtype=np.int32)
    np.cumsum(drawn[bona_fide], axis=0, out=accepted[1:])  # accepted[j]: of the first j bona fide frames
    counted = np.cumsum(drawn[attack], axis=0, dtype=np.int32)
    above = np.append(np.searchsorted(-scores[bona_fide], -scores[attack], side="left"), bona_fide.size)
    allowed = [pad.allowed_attacks(fpr, np.maximum(counted[-1], 1)).astype(np.int32) for fpr in fprs]
    place = np.stack([above[np.count_nonzero(counted <= most, axis=0)] for most in allowed])
    with np.errstate(invalid="ignore"):
        rates = np.take_along_axis(accepted, place, axis=0) / accepted[-1]
    return np.where(counted[-1] > 0, rates, np.nan)


def interval(replicates: np.ndarray) -> tuple[float, float]:
    """95% percentile interval of bootstrap replicates; those that drew one class only (NaN) are left out."""
    if np.isnan(replicates).all():
        raise ValueError("no replicate drew both classes: there is no interval; give more subjects or replicates")
    return tuple(np.nanquantile(replicates, [TAIL, 1 - TAIL]).tolist())


@dataclass(frozen=True)
class OperatingPoint:
    """TPR@FPR, its threshold, and how sure each is; all rates in [0, 1]. Of all limits each leaves out 2.5%."""

    fpr: float
    tpr: float
    threshold: float  # -inf where every frame may be accepted
    tpr_low: float  # of the system: exact limits of its TPR on the effective number of bona fide frames
    tpr_high: float
    fpr_high: float  # and upper limit of its true FPR on that of attack frames
    fpr_high_clips: float | None  # the same with clips as units; None where subjects are known or clips are not
    method_low: float | None  # of the method: bootstrap interval; None where the data do not resolve ``fpr``
    method_high: float
    attacks_needed: int | None  # independent attack frames that a lower limit takes; None where no number is enough
    effective_bona_fide: float  # frames divided by the design effect of subjects, where these are known
    effective_attack: float  # the same of attack frames
    false_positives: int
    apcer_by_attack: dict[int | str, float] | None  # None where types are unknown
    apcer_max: float | None


def operating_point(labels, scores, fpr: float, drawn, groups=None, attacks=None) -> OperatingPoint:
    """What is known of one system and its method at a target FPR; ``drawn`` are its replicates of ``bootstrap``.

    The limit of the FPR allows for a threshold that was set on these very frames: it stands above all but k attack
    scores, and the share of all attacks above the (k + 1)-th highest of n is distributed as Beta(k + 1, n - k), whose
    quantile Clopper and Pearson's limit is. The other arguments are those of ``evaluate``.
    """
    labels, scores = checked_scores(labels, scores)
    subjects, threshold = subject_codes(groups, labels), pad.threshold_at_fpr(labels, scores, fpr)
    accepted, worth = scores >= threshold, []
    for of in (labels, ~labels):  # effective numbers of accepted frames and of frames
        effect = 1.0 if subjects is None else design_effect(scores[of], threshold, subjects[of])
        worth.append((np.count_nonzero(accepted[of]) / effect, np.count_nonzero(of) / effect))
    (bona_fide, attack), needed, (low, high) = worth, attacks_needed(fpr), interval(drawn)
    clips = CLIPS.get((int(labels.sum()), int((~labels).sum()))) if subjects is None else None
    by_attack = None if attacks is None else pad.apcer_by_attack(labels, scores, threshold, attacks)
    return OperatingPoint(
        float(fpr),
        float(accepted[labels].mean()),
        float(threshold),
        *exact(*bona_fide),
        fpr_high=exact(*attack)[1],
        fpr_high_clips=exact(accepted[~labels].mean() * clips, clips)[1] if clips else None,
        method_low=low if needed is not None and attack[1] >= needed else None,
        method_high=high,
        attacks_needed=needed,
        effective_bona_fide=float(bona_fide[1]),
        effective_attack=float(attack[1]),
        false_positives=int(accepted[~labels].sum()),
        apcer_by_attack=by_attack,
        apcer_max=None if by_attack is None else max(by_attack.values()),
    )


@dataclass(frozen=True)
class Report:
    """What ``evaluate`` found for one method on one set of frames; rates in [0, 1]."""

    n_bona_fide: int
    n_attack: int
    n_subjects: int | None
    points: tuple[OperatingPoint, ...]
    auc: float
    eer: float
    acer_at_eer: float
    apcer_max_at_eer: float | None  # the worst attack type's APCER, which ``acer_at_eer`` is made from
    notes: tuple[str, ...]

    def as_dict(self) -> dict:
        """Plain values as ``fasnb evaluate --json`` has them; a threshold that accepts every frame is None."""
        found = asdict(self)
        found["tpr_at_fpr"] = found.pop("points")
        for point in found["tpr_at_fpr"]:
            point["threshold"] = point["threshold"] if math.isfinite(point["threshold"]) else None
        return found

    def table(self) -> pd.DataFrame:
        """One row a target FPR: TPR with limits of system and method and ``worst APCER``, in percent; ``FPR up to``, in
        [0, 1]; ``attacks needed`` for a lower limit of the method; ``false positives``; ``threshold``."""
        rows = []
        for p in self.points:
            row = {"FPR": fpr_name(p.fpr), "measured": 100 * p.tpr}
            row |= {"system low": 100 * p.tpr_low, "system high": 100 * p.tpr_high, "FPR up to": p.fpr_high}
            row |= {"low": np.nan if p.method_low is None else 100 * p.method_low, "high": 100 * p.method_high}
            row |= {} if p.apcer_max is None else {"worst APCER": 100 * p.apcer_max}
            row |= {"attacks needed": p.attacks_needed, "false positives": p.false_positives}
            rows.append(row | {"threshold": p.threshold})
        return pd.DataFrame(rows).astype({"attacks needed": "Int64"})


def evaluate(labels, scores, fprs=FPRS, attacks=None, groups=None, replicates: int = 1000) -> Report:
    """The whole report for one method: TPR@FPR with limits, AUC, EER, errors per attack where known, notes.

    ``fprs`` lie in [0, 1]. Attack types and subjects (n,) are None, or have missing values, where they are unknown.
    """
    labels, scores = checked_scores(labels, scores)
    attacks = None if attacks is None or pd.isna(pd.Series(attacks).to_numpy()[~labels]).any() else attacks
    drawn = zip(fprs, bootstrap(labels, scores, list(fprs), groups, replicates), strict=True)
    points = tuple(operating_point(labels, scores, fpr, row, groups, attacks) for fpr, row in drawn)
    at_eer, subjects = pad.eer_threshold(labels, scores), subject_codes(groups, labels)
    worst = None if attacks is None else max(pad.apcer_by_attack(labels, scores, at_eer, attacks).values())
    counts = int(labels.sum()), int((~labels).sum()), None if subjects is None else int(subjects.max()) + 1
    areas = pad.auc(labels, scores), pad.eer(labels, scores), pad.acer(labels, scores, at_eer, attacks)
    return Report(*counts, points, *areas, worst, tuple(_notes(points, *counts[1:], areas[0])))


def _notes(points: Sequence[OperatingPoint], attack: int, people: int | None, area: float) -> list[str]:
    """What a reader of the limits must know: sentences on units, and on what the data do not resolve."""
    unknown, few = "subjects unknown: the unit is the frame, so all intervals are too narrow", "fewer than 10 subjects"
    notes = [unknown] if people is None else [f"{few}: no interval can be trusted"] if people < 10 else []
    notes += [f"AUC {area:.3f} < 0.5: scores look reversed; take 1 - score, or --bona-fide-label 0"] * (area < 0.5)
    for point in points:
        at = f"FPR = {fpr_name(point.fpr)}"
        if point.fpr * attack < 1:
            notes.append(f"{at} is finer than 1 / {attack:,} attack frames: no attack frame may pass")
        if point.method_low is None:
            takes = "no number is enough" if point.attacks_needed is None else f"it takes {point.attacks_needed:,}"
            worth = f"which count as {point.effective_attack:,.0f} independent ones"
            notes.append(f"{at}: no lower limit for the method from {attack:,} attack frames, {worth}; {takes}")
        if point.fpr_high_clips is not None:
            notes.append(f"{at}: FPR up to {fpr_name(point.fpr_high_clips, 2)} with attack clips as units, not frames")
    return notes


def measure(table: pd.DataFrame, fprs, by=("experiment",), replicates: int = 1000) -> pd.DataFrame:
    """TPR@FPR in percent of every method of a scores table, with 95% limits of the method.

    The table has one score a frame for each seed of a method, which the columns ``by`` name. Returns one row a method
    and FPR: ``by``, ``FPR``; ``seeds``, unless in ``by``, missing for an ensemble of all seeds; ``measured``, the mean
    over seeds; ``low``, missing where the data do not resolve the FPR; ``high``.
    """
    wide, frames = matrix(table.assign(seed=table["seed"].fillna(-1)), list(dict.fromkeys([*by, "seed"]))), facts(table)
    labels, scores, groups, rows = frames["label"].to_numpy(dtype=int), wide.to_numpy().T, frames["subject"], []
    methods = wide.columns.to_frame(index=False).groupby(list(by), sort=False)
    for fpr, drawn in zip(fprs, bootstrap(labels, scores, list(fprs), groups, replicates), strict=True):
        points = [operating_point(labels, *one, groups) for one in zip(scores, repeat(fpr), drawn)]
        for name, seeds in methods:
            of_method = [points[i] for i in seeds.index]
            low, high = interval(drawn[seeds.index].mean(axis=0))
            low = low if all(point.method_low is not None for point in of_method) else np.nan
            count = len(seeds) if seeds["seed"].min() >= 0 else pd.NA
            tpr = np.mean([point.tpr for point in of_method])
            rows.append((*name, fpr, count, 100 * tpr, 100 * low, 100 * high))
    found = pd.DataFrame(rows, columns=[*by, "FPR", "seeds" if "seed" not in by else "of", "measured", "low", "high"])
    return found.drop(columns="of") if "seed" in by else found.astype({"seeds": "Int64"})

"""How sure a metric is: exact limits, the bootstrap of subjects or frames, paired differences, and the whole report."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from fasnb.metrics.pad import (
    acer,
    allowed_attacks,
    apcer_by_attack,
    auc,
    checked_scores,
    eer,
    eer_threshold,
    fpr_name,
    threshold_at_fpr,
    tpr_at_fpr,
)

FPRS = (1e-2, 1e-3, 1e-4)

FEW_GROUPS = 10

_CELLS = 4_000_000  # replicates are drawn in chunks of at most this many frame weights, 32 MB at 8 bytes


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact confidence limits of a proportion, each tail (1 - confidence) / 2; both in [0, 1].

    Raises:
        ValueError: counts that are none, or a confidence outside (0, 1).
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} successes in {trials} trials; need 0 <= successes <= trials and trials >= 1")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence!r}; it must lie in (0, 1), such as 0.95")
    low, high = binomtest(successes, trials).proportion_ci(confidence, method="exact")
    return float(low), float(high)


def bootstrap(labels, scores, fpr: float, groups=None, replicates: int = 1000, seed: int = 0) -> np.ndarray:
    """TPR@FPR of bootstrap replicates; the same draw of frames for all methods, so differences are paired.

    With ``groups`` (subjects) whole groups are drawn with replacement, because the frames of one subject resemble each
    other. Without, frames are drawn within each class. In both cases each replicate sets its own threshold.

    Where the target allows only a few attack frames, the threshold is one of the highest attack scores, and a bootstrap
    of such an extreme is known to be rough; read the exact limits of ``evaluate`` beside it.

    Args:
        labels: (n,).
        scores: (n,), or (m, n) for m methods scored on the same frames.
        fpr: target in [0, 1].
        groups: (n,) group of each frame, or None.

    Returns:
        float64 (replicates,), or (m, replicates). A replicate that drew one class only is NaN.
    """
    labels, scores = checked_scores(labels, scores, several=True)
    if replicates < 1:
        raise ValueError(f"replicates is {replicates}; it must be at least 1")
    methods = [_Ranked(labels, row) for row in np.atleast_2d(scores)]
    rng = np.random.default_rng(seed)
    values = np.empty((len(methods), replicates))
    step = max(1, _CELLS // labels.size)
    for start in range(0, replicates, step):
        stop = min(start + step, replicates)
        bona_fide, attack = _weights(labels, groups, stop - start, rng)
        for row, method in zip(values, methods, strict=True):
            row[start:stop] = method.tpr(bona_fide, attack, fpr)
    return values[0] if scores.ndim == 1 else values


class _Ranked:
    """One method's frames in order of score, for weighted TPR@FPR of many replicates at once."""

    def __init__(self, labels: np.ndarray, scores: np.ndarray):
        attacks, bona_fide = scores[~labels], scores[labels]
        self.attack_order = np.argsort(-attacks, kind="stable")
        self.bona_fide_order = np.argsort(-bona_fide, kind="stable")
        # bona fide frames strictly above the i-th highest attack frame; all of them once no attack frame is refused
        above = np.searchsorted(-bona_fide[self.bona_fide_order], -attacks[self.attack_order], side="left")
        self.above = np.append(above, bona_fide.size)

    def tpr(self, bona_fide: np.ndarray, attack: np.ndarray, fpr: float) -> np.ndarray:
        """Weights (replicates, n_bona_fide) and (replicates, n_attack) -> TPR@FPR (replicates,)."""
        total = attack.sum(1)
        allowed = allowed_attacks(fpr, np.maximum(total, 1))
        rank = self._first_refused(attack, allowed)
        counted = np.zeros((len(bona_fide), bona_fide.shape[1] + 1))
        np.cumsum(bona_fide[:, self.bona_fide_order], axis=1, out=counted[:, 1:])
        accepted = counted[np.arange(len(rank)), self.above[rank]]
        with np.errstate(invalid="ignore"):
            return np.where(total > 0, accepted / counted[:, -1], np.nan)

    def _first_refused(self, attack: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """Rank of the first attack frame at which more than ``allowed`` are counted. Mostly among the highest few."""
        head = int(2 * allowed.max() + 64)
        while True:
            counted = np.cumsum(attack[:, self.attack_order[:head]], axis=1)
            if head >= attack.shape[1] or (counted[:, -1] > allowed).all():
                return (counted <= allowed[:, None]).sum(1)
            head *= 4


def _weights(labels: np.ndarray, groups, replicates: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """How often each frame is drawn: (replicates, n_bona_fide) and (replicates, n_attack)."""
    if groups is None:
        counts = labels.sum(), (~labels).sum()
        return tuple(_drawn(n, replicates, rng) for n in counts)
    groups = np.asarray(groups, dtype=object)
    if pd.isna(groups).any():
        raise ValueError(f"the group is missing for {int(pd.isna(groups).sum()):,} frames; give all groups or none")
    codes, names = pd.factorize(groups)
    if codes.size != labels.size:
        raise ValueError(f"{codes.size:,} groups for {labels.size:,} frames; give one group a frame")
    drawn = _drawn(len(names), replicates, rng)
    return drawn[:, codes[labels]], drawn[:, codes[~labels]]


def _drawn(n: int, replicates: int, rng) -> np.ndarray:
    """Counts of n draws with replacement out of n, for each replicate: (replicates, n)."""
    draws = rng.integers(n, size=(replicates, n)) + n * np.arange(replicates)[:, None]
    return np.bincount(draws.ravel(), minlength=replicates * n).reshape(replicates, n)


def interval(replicates: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap replicates; those that drew one class only (NaN) are left out."""
    tail = 50 * (1 - confidence)
    if np.isnan(replicates).all():
        raise ValueError(
            "every replicate drew one class only, so there is no interval; give more subjects or replicates"
        )
    low, high = np.nanpercentile(replicates, [tail, 100 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """TPR@FPR of method a minus method b on the same frames, with its paired bootstrap interval."""

    fpr: float
    difference: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """True where the interval does not hold zero."""
        return self.low > 0 or self.high < 0


def compare(labels, a, b, fpr: float, groups=None, replicates: int = 1000, seed: int = 0) -> Difference:
    """Paired difference of two methods, a - b, in TPR@FPR; scores (n,) each, on the same frames."""
    first, second = bootstrap(labels, np.stack([a, b]), fpr, groups, replicates, seed)
    difference = tpr_at_fpr(labels, a, fpr) - tpr_at_fpr(labels, b, fpr)
    return Difference(fpr, difference, *interval(first - second))


@dataclass(frozen=True)
class OperatingPoint:
    """TPR@FPR with its threshold and limits. All rates in [0, 1]."""

    fpr: float
    tpr: float
    low: float
    high: float
    """95% bootstrap interval of the TPR, threshold drawn anew in each replicate."""
    exact_low: float
    exact_high: float
    """95% Clopper-Pearson limits of the TPR, threshold held fixed and frames taken as independent."""
    threshold: float
    false_positives: int
    fpr_high: float
    """95% Clopper-Pearson upper limit (two-sided) of the true FPR at this threshold."""
    apcer_by_attack: dict[int, float] | None


@dataclass(frozen=True)
class Report:
    """What ``evaluate`` found for one method on one set of frames."""

    n_bona_fide: int
    n_attack: int
    n_groups: int | None
    replicates: int
    auc: float
    eer: float
    acer_at_eer: float
    points: tuple[OperatingPoint, ...]
    notes: tuple[str, ...] = field(default=())

    def table(self) -> pd.DataFrame:
        """One row a target FPR, in percent."""
        return pd.DataFrame(
            {
                "FPR": [fpr_name(p.fpr) for p in self.points],
                "TPR %": [100 * p.tpr for p in self.points],
                "95% low": [100 * p.low for p in self.points],
                "95% high": [100 * p.high for p in self.points],
                "exact low": [100 * p.exact_low for p in self.points],
                "exact high": [100 * p.exact_high for p in self.points],
                "false positives": [p.false_positives for p in self.points],
                "threshold": [p.threshold for p in self.points],
            }
        )


def evaluate(
    labels, scores, fprs: Sequence[float] = FPRS, attacks=None, groups=None, replicates: int = 1000, seed: int = 0
) -> Report:
    """The whole report for one method: TPR@FPR with intervals, AUC, EER, errors per attack where known, notes.

    Args:
        labels, scores: (n,).
        fprs: target FPRs in [0, 1].
        attacks: (n,) attack ids, or None or with missing values where unknown (then no error per attack).
        groups: (n,) subjects, or None or with missing values where unknown (then frames are resampled).

    Raises:
        ValueError: NaN scores, a label outside 0 and 1, one class only, an FPR outside [0, 1].
    """
    checked, values = checked_scores(labels, scores)
    attacks, groups = (None if given is None else np.asarray(given, dtype=object) for given in (attacks, groups))
    for what, given in (("attack types", attacks), ("subjects", groups)):
        if given is not None and given.shape != checked.shape:
            raise ValueError(f"{given.shape} {what} do not match {checked.shape} labels; give one a frame")
    known = attacks is not None and not pd.isna(attacks[~checked]).any()
    grouped = groups is not None and not pd.isna(groups).any()
    n_attack = int((~checked).sum())
    notes = [] if grouped else ["subjects unknown: frames were resampled, so the intervals are too narrow"]
    if grouped and pd.Series(groups).nunique() < FEW_GROUPS:
        notes.append(f"fewer than {FEW_GROUPS} subjects: the bootstrap intervals cannot be trusted")
    points = []
    for fpr in fprs:
        drawn = bootstrap(labels, values, fpr, groups if grouped else None, replicates, seed)
        if np.isnan(drawn).any():
            share = f"{100 * np.isnan(drawn).mean():.0f}%"
            notes.append(f"FPR = {fpr_name(fpr)}: {share} of the replicates drew subjects of one class only, left out")
        points.append(_operating_point(checked, values, fpr, drawn, attacks if known else None))
        if fpr * n_attack < 1:
            notes.append(
                f"FPR = {fpr_name(fpr)} is finer than 1 / {n_attack:,} attack frames: no attack frame may pass, and "
                f"the threshold is one frame's score; the true FPR may be as high as {points[-1].fpr_high:.1e}"
            )
    return Report(
        n_bona_fide=int(checked.sum()),
        n_attack=n_attack,
        n_groups=pd.Series(groups).nunique() if grouped else None,
        replicates=replicates,
        auc=auc(labels, values),
        eer=eer(labels, values),
        acer_at_eer=acer(labels, values, eer_threshold(labels, values), attacks if known else None),
        points=tuple(points),
        notes=tuple(notes),
    )


def _operating_point(labels, scores, fpr, drawn, attacks) -> OperatingPoint:
    threshold = threshold_at_fpr(labels, scores, fpr)
    accepted = scores >= threshold
    true_positives, false_positives = int(accepted[labels].sum()), int(accepted[~labels].sum())
    low, high = interval(drawn)
    exact_low, exact_high = clopper_pearson(true_positives, int(labels.sum()))
    return OperatingPoint(
        fpr=fpr,
        tpr=true_positives / int(labels.sum()),
        low=low,
        high=high,
        exact_low=exact_low,
        exact_high=exact_high,
        threshold=float(threshold),
        false_positives=false_positives,
        fpr_high=clopper_pearson(false_positives, int((~labels).sum()))[1],
        apcer_by_attack=None if attacks is None else apcer_by_attack(labels, scores, threshold, attacks),
    )

"""Presentation attack detection metrics and their uncertainty.

Scores are P(bona fide) or anything that grows with it; labels are 1 (bona fide) and 0 (attack). A frame is accepted
when ``score >= threshold``. FPR = APCER over all attack frames, FNR = BPCER, TPR = 1 - BPCER.

The metric of the paper (Section 3.2) is TPR at a fixed FPR: the largest share of bona fide frames accepted by a
threshold at which the share of accepted attack frames is at most the target. Ties count against the system and the ROC
curve is not interpolated, so the answer equals scikit-learn's ``roc_curve(drop_intermediate=False)`` filtered at
``fpr <= target``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import beta
from sklearn.metrics import roc_auc_score, roc_curve

FPRS = (1e-2, 1e-3, 1e-4)
FEW_GROUPS = 10
_CELLS = 4_000_000  # replicates are drawn in chunks of at most this many frame weights, 32 MB at 8 bytes


def fpr_name(fpr: float) -> str:
    """1e-4 rather than 0.0001."""
    mantissa, exponent = f"{fpr:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}" if fpr else "0"


def _checked(labels, scores, several: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Labels as bool (n,), scores as float64 (n,), or (m, n) where ``several``; refuses what no metric is defined for."""
    labels, scores = np.asarray(labels), np.asarray(scores)
    if scores.dtype == object:
        scores = np.where(pd.isna(scores), np.nan, scores)
    try:
        scores = scores.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"scores of type {scores.dtype} are no numbers") from None
    if labels.ndim != 1 or scores.ndim not in ((1, 2) if several else (1,)) or scores.shape[-1:] != labels.shape:
        raise ValueError(f"{labels.shape} labels do not match {scores.shape} scores; give one label a frame")
    if pd.isna(labels).any():
        raise ValueError(f"{int(pd.isna(labels).sum()):,} labels are missing; metrics need the label of every frame")
    strange = ~np.isin(labels, (0, 1))
    if strange.any():
        raise ValueError(f"label {labels[strange][0]} is neither 0 (attack) nor 1 (bona fide)")
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).sum()):,} scores are NaN; correct the network or the scores file")
    labels = labels.astype(bool)
    if labels.all() or not labels.any():
        missing = "attack" if labels.size and labels.all() else "bona fide"
        raise ValueError(f"{labels.size:,} frames and none of them {missing}; metrics need both classes")
    endless = np.isposinf(scores[..., ~labels])
    if endless.any():
        raise ValueError(
            f"{int(endless.sum()):,} scores of attack frames are infinite, so that no threshold refuses them; give finite ones"
        )
    return labels, scores


def _accepted(scores: np.ndarray, threshold: float) -> np.ndarray:
    if np.isnan(threshold):
        raise ValueError("the threshold is NaN; give a number")
    return scores >= threshold


def allowed_attacks(fpr, attacks):
    """Largest count of accepted attack frames with count / attacks <= fpr; exact where fpr * attacks is a whole.

    Both may be arrays.
    """
    if np.asarray(fpr).dtype.kind not in "iuf" or not np.all((np.asarray(fpr) >= 0) & (np.asarray(fpr) <= 1)):
        raise ValueError(f"fpr is {fpr!r}; it must lie in [0, 1]")
    count = np.floor(fpr * np.asarray(attacks, dtype=np.float64))
    count = np.where((count + 1) / attacks <= fpr, count + 1, count)
    return np.where(count / attacks > fpr, count - 1, count).astype(np.int64)


def threshold_at_fpr(labels, scores, fpr: float) -> np.float64:
    """The lowest threshold at which at most ``floor(fpr * n_attack)`` attack frames are accepted.

    It lies just above the highest attack score that must be refused, so frames tied with that score are refused too.
    ``-inf`` where all attack frames may pass.
    """
    labels, scores = _checked(labels, scores)
    attacks = np.sort(scores[~labels])[::-1]
    allowed = allowed_attacks(fpr, attacks.size)
    return np.float64(-np.inf) if allowed >= attacks.size else np.nextafter(attacks[allowed], np.inf)


def tpr_at_fpr(labels, scores, fpr: float) -> float:
    """TPR@FPR of Section 3.2, in [0, 1]. With fewer than 1 / fpr attack frames no attack frame may pass."""
    labels, scores = _checked(labels, scores)
    return float(np.mean(scores[labels] >= threshold_at_fpr(labels, scores, fpr)))


def apcer(labels, scores, threshold: float) -> float:
    """Attack presentation classification error rate over all attack frames (= FPR), in [0, 1]."""
    labels, scores = _checked(labels, scores)
    return float(np.mean(_accepted(scores[~labels], threshold)))


def apcer_by_attack(labels, scores, threshold: float, attacks) -> dict[int, float]:
    """APCER of each attack type. ISO/IEC 30107-3 judges a system by the largest of them."""
    labels, scores = _checked(labels, scores)
    attacks = np.asarray(attacks, dtype=object)
    if attacks.shape != labels.shape:
        raise ValueError(f"{attacks.shape} attack types do not match {labels.shape} labels; give one a frame")
    kinds = pd.to_numeric(pd.Series(attacks[~labels]), errors="coerce")
    if kinds.isna().any():
        raise ValueError(f"the attack type is missing or no number for {int(kinds.isna().sum()):,} attack frames")
    strange = kinds[(kinds < 1) | (kinds % 1 != 0)]
    if len(strange):
        raise ValueError(f"attack type {strange.iloc[0]:g} of an attack frame is no whole number from 1 on")
    accepted = pd.Series(_accepted(scores[~labels], threshold)).groupby(np.asarray(kinds, dtype=int)).mean()
    return {int(kind): float(rate) for kind, rate in accepted.items()}


def bpcer(labels, scores, threshold: float) -> float:
    """Bona fide presentation classification error rate (= FNR), in [0, 1]."""
    labels, scores = _checked(labels, scores)
    return 1.0 - float(np.mean(_accepted(scores[labels], threshold)))


def acer(labels, scores, threshold: float, attacks=None) -> float:
    """Average of APCER and BPCER. With attack types APCER is the worst type's, as ISO/IEC 30107-3 defines it."""
    if attacks is None:
        return (apcer(labels, scores, threshold) + bpcer(labels, scores, threshold)) / 2
    worst = max(apcer_by_attack(labels, scores, threshold, attacks).values())
    return (worst + bpcer(labels, scores, threshold)) / 2


def hter(labels, scores, threshold: float) -> float:
    """Half total error rate: (FPR + FNR) / 2 at a threshold that was set on another split."""
    return acer(labels, scores, threshold)


def eer_threshold(labels, scores) -> float:
    """The observed score at which APCER and BPCER are nearest to each other."""
    fpr, tpr, thresholds = roc(labels, scores)
    return float(thresholds[np.argmin(np.abs(fpr - (1 - tpr)))])


def eer(labels, scores) -> float:
    """Equal error rate: the mean of APCER and BPCER where they are nearest; no interpolation."""
    fpr, tpr, _ = roc(labels, scores)
    nearest = np.argmin(np.abs(fpr - (1 - tpr)))
    return float((fpr[nearest] + 1 - tpr[nearest]) / 2)


def auc(labels, scores) -> float:
    """Area under the ROC curve: P(bona fide score > attack score), ties count one half."""
    labels, scores = _checked(labels, scores)
    return float(roc_auc_score(labels, np.where(np.isinf(scores), np.copysign(np.finfo(float).max, scores), scores)))


def roc(labels, scores) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """FPR, TPR and thresholds of every distinct score, from no frame accepted (threshold inf) to all."""
    labels, scores = _checked(labels, scores)
    _, ranks = np.unique(scores, return_inverse=True)  # ranks, so that infinite scores are ordered too
    fpr, tpr, at = roc_curve(labels, ranks, drop_intermediate=False)
    return fpr, tpr, np.concatenate([[np.inf], np.unique(scores)[at[1:].astype(int)]])


def det(labels, scores) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """APCER, BPCER and thresholds: the detection error trade-off, from no frame accepted to all."""
    fpr, tpr, thresholds = roc(labels, scores)
    return fpr, 1 - tpr, thresholds


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact confidence limits of a proportion, each tail (1 - confidence) / 2; both in [0, 1]."""
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} successes in {trials} trials; need 0 <= successes <= trials and trials >= 1")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence!r}; it must lie in (0, 1), such as 0.95")
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else beta.ppf(tail, successes, trials - successes + 1)
    high = 1.0 if successes == trials else beta.ppf(1 - tail, successes + 1, trials - successes)
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
    labels, scores = _checked(labels, scores, several=True)
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
        percent = 100
        return pd.DataFrame(
            {
                "FPR": [fpr_name(p.fpr) for p in self.points],
                "TPR %": [p.tpr * percent for p in self.points],
                "95% low": [p.low * percent for p in self.points],
                "95% high": [p.high * percent for p in self.points],
                "exact low": [p.exact_low * percent for p in self.points],
                "exact high": [p.exact_high * percent for p in self.points],
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
    checked, values = _checked(labels, scores)
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
                f"FPR = {fpr_name(fpr)} is finer than 1 / {n_attack:,} attack frames: no attack frame may pass, and the "
                f"threshold is one frame's score; the true FPR may be as high as {points[-1].fpr_high:.1e}"
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

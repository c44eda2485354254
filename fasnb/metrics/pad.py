"""Presentation attack detection metrics.

Scores are P(bona fide) or anything that grows with it; labels are 1 (bona fide) and 0 (attack). A frame is accepted
when ``score >= threshold``. FPR = APCER over all attack frames, FNR = BPCER, TPR = 1 - BPCER.

The metric of the paper (Section 3.2) is TPR at a fixed FPR: the largest share of bona fide frames accepted by a
threshold at which the share of accepted attack frames is at most the target. Ties count against the system and the ROC
curve is not interpolated, so the answer equals scikit-learn's ``roc_curve(drop_intermediate=False)`` filtered at
``fpr <= target``.
"""

import numpy as np
import pandas as pd


def fpr_name(fpr: float) -> str:
    """1e-4 rather than 0.0001."""
    mantissa, exponent = f"{fpr:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}" if fpr else "0"


def checked_scores(labels, scores, several: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores as arrays, checked for what no metric is defined for; every metric begins with it.

    Args:
        labels: (n,), 1 bona fide and 0 attack.
        scores: (n,), or (m, n) for m methods where ``several``; missing values count as NaN.

    Returns:
        Labels as bool (n,), True for bona fide, and scores as float64.

    Raises:
        ValueError: shapes that do not match, labels that are missing or neither 0 nor 1, one class only, scores that
            are no numbers or NaN, or an attack score of infinity, which no threshold could refuse.
    """
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
            f"{int(endless.sum()):,} scores of attack frames are infinite, so that no threshold refuses them; "
            "give finite ones"
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


def threshold_at_fpr(labels, scores, fpr: float, attacks=None) -> np.float64:
    """The lowest threshold at which at most ``floor(fpr * n_attack)`` attack frames are accepted.

    It lies just above the highest attack score that must be refused, so frames tied with that score are refused too.
    ``-inf`` where all attack frames may pass. With ``attacks`` (n,), the attack types, the target is asked of each type:
    the largest APCER of a type is at most ``fpr``.
    """
    labels, scores = checked_scores(labels, scores)
    kinds = np.zeros(int((~labels).sum()), dtype=int) if attacks is None else attack_types(labels, attacks)
    return max(_threshold(scores[~labels][kinds == kind], fpr) for kind in np.unique(kinds))


def _threshold(attacks: np.ndarray, fpr: float) -> np.float64:
    allowed = int(allowed_attacks(fpr, attacks.size))
    if allowed >= attacks.size:
        return np.float64(-np.inf)
    place = attacks.size - 1 - allowed
    return np.nextafter(np.partition(attacks, place)[place], np.inf)


def tpr_at_fpr(labels, scores, fpr: float, attacks=None) -> float:
    """TPR@FPR of Section 3.2, in [0, 1]. With fewer than 1 / fpr attack frames no attack frame may pass.

    With ``attacks`` the target is asked of each attack type: 1 - TPR is then BPCER at a fixed APCER, such as BPCER20.
    """
    labels, scores = checked_scores(labels, scores)
    return float(np.mean(scores[labels] >= threshold_at_fpr(labels, scores, fpr, attacks)))


def apcer(labels, scores, threshold: float) -> float:
    """Attack presentation classification error rate over all attack frames (= FPR), in [0, 1]."""
    labels, scores = checked_scores(labels, scores)
    return float(np.mean(_accepted(scores[~labels], threshold)))


def attack_types(labels: np.ndarray, attacks) -> np.ndarray:
    """Attack types of the attack frames as whole numbers.

    Raises:
        ValueError: a type that is missing for an attack frame, or no whole number from 1 on.
    """
    attacks = np.asarray(attacks, dtype=object) if np.asarray(attacks).dtype.kind not in "iuf" else np.asarray(attacks)
    if attacks.shape != labels.shape:
        raise ValueError(f"{attacks.shape} attack types do not match {labels.shape} labels; give one a frame")
    kinds = pd.to_numeric(pd.Series(attacks[~labels]), errors="coerce")
    if kinds.isna().any():
        raise ValueError(f"the attack type is missing or no number for {int(kinds.isna().sum()):,} attack frames")
    strange = kinds[(kinds < 1) | (kinds % 1 != 0)]
    if len(strange):
        raise ValueError(f"attack type {strange.iloc[0]:g} of an attack frame is no whole number from 1 on")
    return kinds.to_numpy(dtype=int)


def apcer_by_attack(labels, scores, threshold: float, attacks) -> dict[int, float]:
    """APCER of each attack type. ISO/IEC 30107-3 judges a system by the largest of them."""
    labels, scores = checked_scores(labels, scores)
    kinds = attack_types(labels, attacks)
    accepted = pd.Series(_accepted(scores[~labels], threshold)).groupby(kinds).mean()
    return {int(kind): float(rate) for kind, rate in accepted.items()}


def bpcer(labels, scores, threshold: float) -> float:
    """Bona fide presentation classification error rate (= FNR), in [0, 1]."""
    labels, scores = checked_scores(labels, scores)
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
    from sklearn.metrics import roc_auc_score  # here, because few processes need it, and it takes half a second

    labels, scores = checked_scores(labels, scores)
    return float(roc_auc_score(labels, np.where(np.isinf(scores), np.copysign(np.finfo(float).max, scores), scores)))


def roc(labels, scores) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """FPR, TPR and thresholds of every distinct score, from no frame accepted (threshold inf) to all."""
    from sklearn.metrics import roc_curve

    labels, scores = checked_scores(labels, scores)
    _, ranks = np.unique(scores, return_inverse=True)  # ranks, so that infinite scores are ordered too
    fpr, tpr, at = roc_curve(labels, ranks, drop_intermediate=False)
    return fpr, tpr, np.concatenate([[np.inf], np.unique(scores)[at[1:].astype(int)]])


def det(labels, scores) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """APCER, BPCER and thresholds: the detection error trade-off, from no frame accepted to all."""
    fpr, tpr, thresholds = roc(labels, scores)
    return fpr, 1 - tpr, thresholds

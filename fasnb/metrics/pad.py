"""Presentation attack detection metrics: labels (n,) are 1 (bona fide) or 0 (attack), scores (n,) rise with P(1).

A frame is accepted when ``score >= threshold``. FPR = APCER over all attack frames, FNR = BPCER, TPR = 1 - BPCER; rates
lie in [0, 1]. The metric of the paper (Section 3.2) is TPR at a fixed FPR: the largest share of bona fide frames that a
threshold accepts at which the share of accepted attack frames is at most the target. Ties count against the system and
the curve is not interpolated: as scikit-learn's ``roc_curve(drop_intermediate=False)`` filtered at ``fpr <= target``.
"""

import numpy as np
import pandas as pd


def fpr_name(fpr: float, digits: int = 3) -> str:
    """1e-4 rather than 0.0001, in at most so many digits."""
    mantissa, exponent = f"{fpr:.{digits - 1}e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}" if fpr else "0"


def checked_scores(labels, scores, several: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Labels as bool (n,), True for bona fide, and scores as float64 (n,), or (m, n) of m methods where ``several``.

    Every metric begins with it. ValueError where none is defined: shapes that do not match, labels that are missing or
    neither 0 nor 1, one class only, scores that are missing, or an attack score of infinity, which nothing refuses.
    """
    labels, scores = np.asarray(labels), np.where(pd.isna(scores), np.nan, scores).astype(np.float64)
    if scores.ndim > 1 + several or scores.shape[-1:] != labels.shape:
        raise ValueError(f"{labels.shape} labels do not match {scores.shape} scores; give one label a frame")
    strange = ~pd.Series(labels).isin([0, 1]).to_numpy()
    if strange.any():
        raise ValueError(f"label {labels[strange][0]} is neither 0 (attack) nor 1 (bona fide)")
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).sum()):,} scores are NaN; correct the network or the scores file")
    labels = labels.astype(bool)
    if labels.all() or not labels.any():
        what = "attack" if labels.any() else "bona fide"
        raise ValueError(f"{labels.size:,} frames and none of them {what}; metrics need both classes")
    if np.isposinf(scores[..., ~labels]).any():
        raise ValueError("the score of an attack frame is infinite, so that no threshold refuses it")
    return labels, scores


def allowed_attacks(fpr, attacks):
    """Largest count with count / attacks <= fpr, exact where fpr * attacks is a whole number; both may be arrays."""
    if np.asarray(fpr).dtype.kind not in "iuf" or not np.all((np.asarray(fpr) >= 0) & (np.asarray(fpr) <= 1)):
        raise ValueError(f"fpr is {fpr!r}; it must lie in [0, 1]")
    count = np.floor(fpr * np.asarray(attacks, dtype=np.float64))
    count = np.where((count + 1) / attacks <= fpr, count + 1, count)
    return np.where(count / attacks > fpr, count - 1, count).astype(np.int64)


def threshold_at_fpr(labels, scores, fpr: float) -> np.float64:
    """The lowest threshold at which at most ``allowed_attacks(fpr, n_attack)`` attack frames are accepted.

    It lies just above the highest attack score that must be refused, so ties are refused; ``-inf`` where all may pass.
    """
    labels, scores = checked_scores(labels, scores)
    attack = np.sort(scores[~labels])
    refused = attack.size - int(allowed_attacks(fpr, attack.size))
    return np.nextafter(attack[refused - 1], np.inf) if refused else np.float64(-np.inf)


def tpr_at_fpr(labels, scores, fpr: float) -> float:
    """TPR@FPR of Section 3.2. With fewer than 1 / fpr attack frames no attack frame may pass."""
    labels, scores = checked_scores(labels, scores)
    return float(np.mean(scores[labels] >= threshold_at_fpr(labels, scores, fpr)))


def apcer_by_attack(labels, scores, threshold: float, attacks=None) -> dict[int | str, float]:
    """APCER of each attack type (n,), whole numbers from 1 on or words; all are 1 where ``attacks`` is None.

    ISO/IEC 30107-3 judges a system by the largest of them. The types of bona fide frames are not looked at.
    """
    labels, scores = checked_scores(labels, scores)
    if np.isnan(threshold):
        raise ValueError("the threshold is NaN; give a number")
    given = pd.Series(pd.Series(np.ones(labels.size) if attacks is None else attacks).to_numpy()[~labels])
    kinds = pd.to_numeric(given, errors="coerce").to_numpy()
    if given.isna().any() or not (np.isnan(kinds) | (kinds >= 1) & (kinds % 1 == 0)).all():
        raise ValueError("the attack type of an attack frame is missing or no whole number from 1 on, and no word")
    kinds = given.astype(str).to_numpy() if np.isnan(kinds).any() else kinds.astype(int)
    return {kind: float(np.mean(scores[~labels][kinds == kind] >= threshold)) for kind in np.unique(kinds).tolist()}


def apcer(labels, scores, threshold: float) -> float:
    """Attack presentation classification error rate over all attack frames (= FPR)."""
    return apcer_by_attack(labels, scores, threshold)[1]  # without types all are of type 1


def bpcer(labels, scores, threshold: float) -> float:
    """Bona fide presentation classification error rate (= FNR)."""
    labels, scores = checked_scores(labels, scores)
    return 1.0 - float(np.mean(scores[labels] >= threshold))


def acer(labels, scores, threshold: float, attacks=None) -> float:
    """Average of APCER and BPCER; APCER is the worst type's, as in ISO/IEC 30107-3. Without types it is HTER."""
    worst = max(apcer_by_attack(labels, scores, threshold, attacks).values())
    return (worst + bpcer(labels, scores, threshold)) / 2


def roc(labels, scores) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """FPR, TPR and thresholds of every distinct score, from no frame accepted (threshold inf) to all."""
    from sklearn.metrics import roc_curve  # here, because few processes need it, and it takes half a second

    labels, scores = checked_scores(labels, scores)
    values, ranks = np.unique(scores, return_inverse=True)  # ranks, so that infinite scores are ordered too
    fpr, tpr, at = roc_curve(labels, ranks, drop_intermediate=False)
    return fpr, tpr, np.concatenate([[np.inf], values[at[1:].astype(int)]])


def det(labels, scores) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """APCER, BPCER and thresholds: the detection error trade-off, from no frame accepted to all."""
    fpr, tpr, thresholds = roc(labels, scores)
    return fpr, 1 - tpr, thresholds


def auc(labels, scores) -> float:
    """Area under the ROC curve: P(bona fide score > attack score), ties count one half."""
    from sklearn.metrics import roc_auc_score

    labels, scores = checked_scores(labels, scores)
    return float(roc_auc_score(labels, np.unique(scores, return_inverse=True)[1]))


def mean_error(labels, scores, fpr: float = 1e-2) -> float:
    """Mean BPCER over all FPRs from 0 to ``fpr``: one minus the partial area under the ROC curve as a share of ``fpr``.

    It hangs on all attack frames that come near, where TPR@FPR hangs on the one that sets the threshold.
    """
    from sklearn.metrics import roc_auc_score

    labels, scores = checked_scores(labels, scores)
    standardised = roc_auc_score(labels, np.unique(scores, return_inverse=True)[1], max_fpr=fpr)  # chance is 1/2
    by_chance = fpr * fpr / 2
    return 1.0 - ((2 * float(standardised) - 1) * (fpr - by_chance) + by_chance) / fpr


def eer_threshold(labels, scores) -> float:
    """The observed score at which APCER and BPCER are nearest to each other; of several such scores the highest."""
    apcers, bpcers, thresholds = det(labels, scores)
    gaps = np.round(np.abs(apcers - bpcers), 12)  # so that what is equal is equal in floats too
    return float(thresholds[np.argmin(gaps)])


def eer(labels, scores) -> float:
    """Equal error rate: the mean of APCER and BPCER at ``eer_threshold``; no interpolation."""
    return acer(labels, scores, eer_threshold(labels, scores))

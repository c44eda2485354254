"""How sure a metric is: limits for a system and for a method, paired differences, and the whole report.

What each number answers and how far it can be trusted: notebook 00, "How a network is judged".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import beta

from fasnb.metrics.pad import (
    acer,
    allowed_attacks,
    apcer_by_attack,
    attack_types,
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

CONFIDENCE = 0.95

RARE = 0.05
"""A design effect is estimated where at least this share of frames is accepted and this share refused."""

CLIPS = {(2994, 6614): (100, 300)}
"""(bona fide, attack) frames -> clips they come from: CASIA-SURF's validation set, 100 subjects with a bona fide clip and
three attack clips each."""

_CELLS = 4_000_000  # replicates are drawn in chunks of at most this many frame weights, 32 MB at 8 bytes


def clopper_pearson(successes: float, trials: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Exact confidence limits of a proportion, each tail (1 - confidence) / 2; both in [0, 1].

    Counts need not be whole: an effective number of frames is not (Korn and Graubard, Survey Methodology 1998).

    Raises:
        ValueError: counts that are none, or a confidence outside (0, 1).
    """
    if not 0 <= successes <= trials or trials <= 0:
        raise ValueError(f"{successes} successes in {trials} trials; need 0 <= successes <= trials and trials > 0")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence!r}; it must lie in (0, 1), such as 0.95")
    tail, failures = (1 - confidence) / 2, trials - successes
    low = 0.0 if successes == 0 else beta.ppf(tail, successes, failures + 1)
    high = 1.0 if failures == 0 else beta.ppf(1 - tail, successes + 1, failures)
    return float(low), float(high)


def attacks_needed(fpr: float, confidence: float = CONFIDENCE) -> int | None:
    """Independent attack frames that a lower limit of TPR@FPR takes whatever the scores' distribution.

    It is the least n with (1 - fpr)^n <= (1 - confidence) / 2: below it, even the highest attack score may lie under the
    threshold that an FPR of ``fpr`` has in truth. None at FPR 0, for which no number is enough.
    """
    if fpr in (0, 1):
        return None if fpr == 0 else 1
    return math.ceil(math.log((1 - confidence) / 2) / math.log1p(-fpr))


def design_effect(scores: np.ndarray, threshold: float, groups: np.ndarray) -> float:
    """Variance of the share of frames accepted, frames of a subject being alike, over that of independent frames.

    Frames count as n / design effect independent ones. It is at least 1, and at most what it is where a subject's frames
    are all accepted or all refused together. Few errors tell nothing of it, none at all cannot, so where less than ``RARE``
    of the frames is accepted or refused, it is that of the nearest threshold at which ``RARE`` is; where even there all
    are accepted (ties), it is the highest possible.

    Args:
        scores: (n,) of one class.
        groups: (n,) subjects as whole numbers from 0 on.
    """
    n, sizes = scores.size, np.bincount(groups)
    subjects = np.count_nonzero(sizes)
    highest = float((sizes.astype(float) ** 2).sum() / n)
    few = math.ceil(RARE * n)
    if few < n:
        at = np.partition(scores, [few, n - few])
        threshold = min(max(threshold, at[few]), at[n - few])
    accepted = scores >= threshold
    share = accepted.mean()
    if share in (0, 1) or subjects < 2:
        return highest
    sums = np.bincount(groups, accepted - share)
    variance = subjects / (subjects - 1) * float(sums @ sums) / n**2
    return min(max(variance / (share * (1 - share) / n), 1.0), highest)


@dataclass(frozen=True)
class System:
    """What is known of one system: one network, or one ensemble, at the threshold that was found. Rates in [0, 1]."""

    tpr_low: float
    tpr_high: float
    """95% Clopper-Pearson limits of the TPR on the effective number of bona fide frames."""
    fpr_high: float
    """97.5% upper limit of the true FPR at this threshold on the effective number of attack frames; where the target is
    asked of each attack type, the largest limit of a type."""
    fpr_high_clips: float | None
    """The same where a clip is the unit; None where subjects are known or the data set's clips are not (``CLIPS``)."""
    effective_bona_fide: float
    effective_attack: float
    """Frames divided by the design effect of subjects; the number of frames where subjects are unknown. Where the target
    is asked of each attack type, the least of a type."""


def system(labels, scores, threshold: float, groups=None, attacks=None) -> System:
    """Limits of TPR and FPR at a threshold set on these very frames.

    The FPR's limit allows for that: the threshold stands above all but k attack scores, and the share of all attacks above
    the (k + 1)-th highest of n has the distribution Beta(k + 1, n - k), whose quantile Clopper and Pearson's limit is.

    Args:
        labels, scores: (n,).
        groups: (n,) subjects, or None where unknown.
        attacks: (n,) attack types where the target FPR is asked of each type, else None.
    """
    labels, scores = checked_scores(labels, scores)
    codes = None if groups is None else _codes(groups, labels.size)
    clips = CLIPS.get((int(labels.sum()), int((~labels).sum()))) if groups is None else None

    def effective(of: np.ndarray) -> tuple[float, float]:
        """Effective numbers of accepted frames and of frames."""
        effect = 1.0 if codes is None else design_effect(scores[of], threshold, codes[of])
        return np.count_nonzero(scores[of] >= threshold) / effect, of.size / effect

    accepted, bona_fide = effective(np.flatnonzero(labels))
    low, high = clopper_pearson(accepted, bona_fide)
    attack = np.flatnonzero(~labels)
    kinds = np.zeros(attack.size, dtype=int) if attacks is None else attack_types(labels, attacks)
    of_kinds = [effective(attack[kinds == kind]) for kind in np.unique(kinds)]
    share = np.mean(scores[attack] >= threshold)
    return System(
        tpr_low=low,
        tpr_high=high,
        fpr_high=max(clopper_pearson(*counts)[1] for counts in of_kinds),
        fpr_high_clips=clopper_pearson(share * clips[1], clips[1])[1] if clips and attacks is None else None,
        effective_bona_fide=float(bona_fide),
        effective_attack=float(min(number for _, number in of_kinds)),
    )


def _codes(groups, size: int) -> np.ndarray:
    """Groups as whole numbers from 0 on, in order of appearance."""
    groups = np.asarray(groups) if isinstance(groups, np.ndarray) else pd.Series(groups)
    missing = int(pd.isna(groups).sum())
    if missing:
        raise ValueError(f"the group is missing for {missing:,} frames; give all groups or none")
    if len(groups) != size:
        raise ValueError(f"{len(groups):,} groups for {size:,} frames; give one group a frame")
    return pd.factorize(groups)[0]


def bootstrap(labels, scores, fpr, groups=None, replicates: int = 1000, seed: int = 0, attacks=None) -> np.ndarray:
    """TPR@FPR of bootstrap replicates; the same draw of frames for all methods, so differences are paired.

    With ``groups`` (subjects) whole groups are drawn with replacement, because the frames of one subject resemble each
    other. Without, frames are drawn within each class. In both cases each replicate sets its own threshold.

    Args:
        labels: (n,).
        scores: (n,), or (m, n) for m methods scored on the same frames.
        fpr: target in [0, 1], or a sequence of k targets, all answered from the same draws.
        groups: (n,) group of each frame, or None.
        attacks: (n,) attack types where the target is asked of each type (``threshold_at_fpr``), else None.

    Returns:
        float64 (replicates,), with m before it for several methods and k before that for several targets. A replicate
        that drew one class only is NaN.
    """
    labels, scores = checked_scores(labels, scores, several=True)
    if replicates < 1:
        raise ValueError(f"replicates is {replicates}; it must be at least 1")
    codes = None if groups is None else _codes(groups, labels.size)
    kinds = None if attacks is None else attack_types(labels, attacks)
    methods = [_Ranked(labels, row, codes, kinds) for row in np.atleast_2d(scores)]
    rng, fprs = np.random.default_rng(seed), np.atleast_1d(fpr)
    values = np.empty((len(fprs), len(methods), replicates))
    step = max(1, _CELLS // labels.size)
    for start in range(0, replicates, step):
        drawn = _weights(labels, codes, min(step, replicates - start), rng)
        for target, rows in zip(fprs, values, strict=True):
            for method, row in zip(methods, rows, strict=True):
                row[start : start + step] = method.tpr(*drawn, target)
    values = values[:, 0] if scores.ndim == 1 else values
    return values[0] if np.ndim(fpr) == 0 else values


class _Ranked:
    """One method's frames in order of score, for TPR@FPR of many replicates at once.

    A replicate is how often each unit was drawn: each group, or each frame of a class where there are none.
    """

    def __init__(self, labels: np.ndarray, scores: np.ndarray, codes: np.ndarray | None, kinds: np.ndarray | None):
        attacks, bona_fide = scores[~labels], scores[labels]
        units = np.arange(bona_fide.size) if codes is None else codes[labels]
        of_attack = np.arange(attacks.size) if codes is None else codes[~labels]
        order = np.argsort(-bona_fide, kind="stable")
        self.units, highest = units[order], -bona_fide[order]
        self.size = np.bincount(self.units)  # bona fide frames of each unit
        self.attacks = []  # of each attack type, or of all: units from the highest score down, frames of each unit, above
        for kind in [None] if kinds is None else np.unique(kinds):
            of_kind = np.arange(attacks.size) if kind is None else np.flatnonzero(kinds == kind)
            of_kind = of_kind[np.argsort(-attacks[of_kind], kind="stable")]
            # bona fide frames strictly above the i-th highest attack frame; all once no attack frame is refused
            above = np.append(np.searchsorted(highest, -attacks[of_kind], side="left"), bona_fide.size)
            self.attacks.append((of_attack[of_kind], np.bincount(of_attack[of_kind]), above))

    def tpr(self, bona_fide: np.ndarray, attack: np.ndarray, fpr: float) -> np.ndarray:
        """How often each unit was drawn, (replicates, units), for either class -> TPR@FPR (replicates,)."""
        totals = [attack[:, : sizes.size] @ sizes for _, sizes, _ in self.attacks]
        accepted_frames = np.min(
            [
                above[_first_refused(attack, units, allowed_attacks(fpr, np.maximum(total, 1)))]
                for (units, _, above), total in zip(self.attacks, totals, strict=True)
            ],
            axis=0,
        )
        accepted, counts, counted = np.empty(len(bona_fide)), np.zeros(self.size.size), 0
        drawn = bona_fide[:, : self.size.size].astype(float)
        for i in np.argsort(accepted_frames):  # so that each frame is counted to its unit once
            counts += np.bincount(self.units[counted : accepted_frames[i]], minlength=counts.size)
            counted = accepted_frames[i]
            accepted[i] = drawn[i] @ counts
        with np.errstate(invalid="ignore"):
            return np.where(np.sum(totals, axis=0) > 0, accepted / (drawn @ self.size), np.nan)


def _first_refused(attack: np.ndarray, units: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Rank of the first attack frame at which more than ``allowed`` are counted. Mostly among the highest few."""
    head = int(2 * allowed.max() + 64)
    while True:
        counted = np.cumsum(attack[:, units[:head]], axis=1)
        if head >= units.size or (counted[:, -1] > allowed).all():
            return (counted <= allowed[:, None]).sum(1)
        head *= 4


def _weights(labels: np.ndarray, codes: np.ndarray | None, replicates: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """How often each unit is drawn, (replicates, units), for bona fide and attack frames: both the same with groups."""
    if codes is None:
        return draws(int(labels.sum()), replicates, rng), draws(int((~labels).sum()), replicates, rng)
    drawn = draws(int(codes.max()) + 1, replicates, rng)
    return drawn, drawn


def draws(n: int, replicates: int, rng) -> np.ndarray:
    """Counts of n draws with replacement out of n, for each replicate: (replicates, n)."""
    draws = rng.integers(n, size=(replicates, n)) + n * np.arange(replicates)[:, None]
    return np.bincount(draws.ravel(), minlength=replicates * n).reshape(replicates, n)


def interval(replicates: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Percentile interval of bootstrap replicates; those that drew one class only (NaN) are left out."""
    tail = 50 * (1 - confidence)
    if np.isnan(replicates).all():
        raise ValueError(
            "every replicate drew one class only, so there is no interval; give more subjects or replicates"
        )
    low, high = np.nanpercentile(replicates, [tail, 100 - tail])
    return float(low), float(high)


def compare(labels, a, b, fpr: float, groups=None, replicates: int = 1000, seed: int = 0) -> tuple[float, float, float]:
    """Difference of two methods, a - b, in TPR@FPR, and its paired 95% bootstrap limits; scores (n,) each, same frames."""
    first, second = bootstrap(labels, np.stack([a, b]), fpr, groups, replicates, seed)
    return tpr_at_fpr(labels, a, fpr) - tpr_at_fpr(labels, b, fpr), *interval(first - second)


@dataclass(frozen=True)
class OperatingPoint:
    """TPR@FPR, its threshold, and how sure each is; see notebook 00, "How a network is judged". All rates in [0, 1]."""

    fpr: float
    tpr: float
    threshold: float
    tpr_low: float
    tpr_high: float
    fpr_high: float
    fpr_high_clips: float | None
    """Of this system: see ``System``."""
    method_low: float | None
    method_high: float
    """Of this method: 95% bootstrap interval, threshold set anew; no lower limit where the data do not resolve ``fpr``."""
    attacks_needed: int | None
    """Independent attack frames that a lower limit takes (of each type, where asked of each); None where no number is enough."""
    effective_bona_fide: float
    effective_attack: float
    false_positives: int
    apcer_by_attack: dict[int, float] | None
    apcer_max: float | None


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
    apcer_max_at_eer: float | None
    """The worst attack type's APCER, which ``acer_at_eer`` is made from; None where types are unknown."""
    points: tuple[OperatingPoint, ...]
    notes: tuple[str, ...] = field(default=())

    def table(self) -> pd.DataFrame:
        """One row a target FPR. TPR, its limits and APCER in percent; FPRs as text."""
        rows = []
        for p in self.points:
            row = {"FPR": fpr_name(p.fpr), "TPR %": 100 * p.tpr}
            row |= {"system low": 100 * p.tpr_low, "system high": 100 * p.tpr_high, "FPR up to": bound_name(p.fpr_high)}
            row |= {} if p.fpr_high_clips is None else {"of clips": bound_name(p.fpr_high_clips)}
            row |= {"method low": np.nan if p.method_low is None else 100 * p.method_low}
            row |= {"method high": 100 * p.method_high, "attacks needed": p.attacks_needed}
            row |= {} if p.apcer_max is None else {"worst APCER %": 100 * p.apcer_max}
            rows.append(row | {"false positives": p.false_positives, "threshold": p.threshold})
        return pd.DataFrame(rows).astype({"attacks needed": "Int64"})


def bound_name(fpr: float) -> str:
    """An upper limit of an FPR in two digits: 5.6e-4."""
    return fpr_name(float(f"{fpr:.1e}"))


def evaluate(
    labels,
    scores,
    fprs: Sequence[float] = FPRS,
    attacks=None,
    groups=None,
    replicates: int = 1000,
    seed: int = 0,
    per_attack: bool = False,
) -> Report:
    """The whole report for one method: TPR@FPR with limits, AUC, EER, errors per attack where known, notes.

    Args:
        labels, scores: (n,).
        fprs: target FPRs in [0, 1].
        attacks: (n,) attack ids, or None or with missing values where unknown (then no error per attack).
        groups: (n,) subjects, or None or with missing values where unknown (then the frame is the unit).
        per_attack: ask the target of each attack type instead of all attack frames together.

    Raises:
        ValueError: NaN scores, a label outside 0 and 1, one class only, an FPR outside [0, 1], ``per_attack`` where attack
            types are unknown.
    """
    labels, values = checked_scores(labels, scores)
    attacks, groups = (None if given is None else pd.Series(given).to_numpy() for given in (attacks, groups))
    for what, given in (("attack types", attacks), ("subjects", groups)):
        if given is not None and given.shape != labels.shape:
            raise ValueError(f"{given.shape} {what} do not match {labels.shape} labels; give one a frame")
    attacks = None if attacks is None or pd.isna(attacks[~labels]).any() else attacks
    if per_attack and attacks is None:
        raise ValueError("the FPR cannot be asked of each attack type: the types are unknown (column attack)")
    groups = None if groups is None or pd.isna(groups).any() else _codes(groups, labels.size)
    asked = attacks if per_attack else None
    drawn = bootstrap(labels, values, list(fprs), groups, replicates, seed, asked)
    points = [_point(labels, values, *one, attacks, groups, asked) for one in zip(fprs, drawn, strict=True)]
    at_eer = eer_threshold(labels, values)
    by_attack = None if attacks is None else apcer_by_attack(labels, values, at_eer, attacks)
    return Report(
        n_bona_fide=int(labels.sum()),
        n_attack=int((~labels).sum()),
        n_groups=None if groups is None else int(groups.max()) + 1,
        replicates=replicates,
        auc=auc(labels, values),
        eer=eer(labels, values),
        acer_at_eer=acer(labels, values, at_eer, attacks),
        apcer_max_at_eer=None if by_attack is None else max(by_attack.values()),
        points=tuple(points),
        notes=tuple(_notes(labels, groups, points, drawn, per_attack)),
    )


def _point(labels, scores, fpr, drawn, attacks, groups, asked) -> OperatingPoint:
    """``attacks``: the types where known; ``asked``: the same where the target is asked of each, else None."""
    threshold = threshold_at_fpr(labels, scores, fpr, asked)
    of_system, accepted = system(labels, scores, threshold, groups, asked), scores >= threshold
    low, high = interval(drawn)
    by_attack = None if attacks is None else apcer_by_attack(labels, scores, threshold, attacks)
    enough = resolved(fpr, of_system.effective_attack)
    return OperatingPoint(
        fpr=float(fpr),
        tpr=float(accepted[labels].mean()),
        threshold=float(threshold),
        method_low=low if enough else None,
        method_high=high,
        attacks_needed=attacks_needed(fpr),
        false_positives=int(accepted[~labels].sum()),
        apcer_by_attack=by_attack,
        apcer_max=None if by_attack is None else max(by_attack.values()),
        **vars(of_system),
    )


def resolved(fpr: float, effective_attack: float) -> bool:
    """Whether so many attack frames resolve the target, so that a lower limit of TPR@FPR can be given.

    Attack frames of subjects count by their effective number (``System``), because frames that are alike say as little of
    the tail of the attack scores as fewer that are not. This is the one place where that is decided.
    """
    needed = attacks_needed(fpr)
    return needed is not None and effective_attack >= needed


def _notes(labels, groups, points: Sequence[OperatingPoint], drawn: np.ndarray, per_attack: bool) -> list[str]:
    n_attack = int((~labels).sum())
    notes = [] if groups is not None else ["subjects unknown: the unit is the frame, so all intervals are too narrow"]
    if groups is not None and groups.max() + 1 < FEW_GROUPS:
        notes.append(f"fewer than {FEW_GROUPS} subjects: no interval can be trusted")
    for point, of_point in zip(points, drawn, strict=True):
        at = f"FPR = {fpr_name(point.fpr)}"
        if np.isnan(of_point).any():
            share = f"{100 * np.isnan(of_point).mean():.0f}%"
            notes.append(f"{at}: {share} of the replicates drew subjects of one class only, left out")
        if point.fpr * n_attack < 1:
            notes.append(f"{at} is finer than 1 / {n_attack:,} attack frames: no attack frame may pass")
        if point.method_low is None:
            count = "the rarest type's attack frames" if per_attack else f"{n_attack:,} attack frames"
            if groups is not None or per_attack:
                count += f", which count as {point.effective_attack:,.0f} independent ones"
            takes = "no number is enough" if point.attacks_needed is None else f"it takes {point.attacks_needed:,}"
            notes.append(f"{at}: no lower limit for the method from {count}; {takes}")
    if any(point.fpr_high_clips is not None for point in points):
        clips = CLIPS[int(labels.sum()), n_attack]
        notes.append(
            f"of clips: the bound on the FPR with the {clips[1]:,} attack clips of this data set as units instead of frames"
        )
    return notes

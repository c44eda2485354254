"""How sure a metric is: limits for a system and for a method.

A *system* is one network, or one ensemble, at the threshold that was found: its TPR and FPR have exact limits. A
*method* is what trains such systems: its TPR@FPR, threshold set anew, has limits by a bootstrap of subjects. Notebook
00, "How a network is judged", explains them. How often they hold the truth: ``benchmarks/coverage.py``.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy.stats import beta

from fasnb.metrics import pad
from fasnb.metrics.ensembles import facts, matrix
from fasnb.metrics.pad import checked_scores, fpr_name
from fasnb.paper.experiments import MEMBERS

FPRS = (1e-2, 1e-3, 1e-4)
CONFIDENCE = 0.95
RARE = 0.05  # a design effect is estimated where at least this share of frames is accepted and this share refused
CLIPS = {(2994, 6614): 300}  # (bona fide, attack) frames -> attack clips of CASIA-SURF's validation set
CELLS = 4_000_000  # replicates are drawn in chunks of at most this many counts of frames, 16 MB


def exact(k: float, n: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Clopper and Pearson's limits of a proportion k / n, each tail (1 - confidence) / 2; both in [0, 1].

    Counts need not be whole: an effective number of frames is not (Korn and Graubard, Survey Methodology 1998).
    """
    if not 0 <= k <= n or n <= 0 or not 0 < confidence < 1:
        raise ValueError(f"{k} of {n} with confidence {confidence!r}; need 0 <= k <= n > 0 and 0 < confidence < 1")
    tail = (1 - confidence) / 2
    low = 0.0 if k == 0 else beta.ppf(tail, k, n - k + 1)
    high = 1.0 if k == n else beta.ppf(1 - tail, k + 1, n - k)
    return float(low), float(high)


def attacks_needed(fpr: float) -> int | None:
    """Independent attack frames that a lower limit of TPR@FPR takes whatever the scores' distribution.

    It is the least n with (1 - fpr)^n <= 0.025: below it, even the highest attack score may lie under the threshold
    that an FPR of ``fpr`` has in truth. None at FPR 0, for which no number is enough.
    """
    if fpr in (0, 1):
        return None if fpr == 0 else 1
    return math.ceil(math.log((1 - CONFIDENCE) / 2) / math.log1p(-fpr))


def subject_codes(groups, labels: np.ndarray) -> np.ndarray | None:
    """Subjects (n,) as whole numbers from 0 on; None, so that frames are the unit, where some are unknown."""
    codes = pd.factorize(pd.Series(groups if groups is not None else [None] * labels.size))[0]
    if len(codes) != labels.size:
        raise ValueError(f"{len(codes)} subjects do not match {labels.size} labels; give one a frame")
    return None if (codes < 0).any() else codes


def design_effect(scores: np.ndarray, threshold: float, subjects: np.ndarray) -> float:
    """Variance of the share of frames accepted, frames of a subject being alike, over that of independent frames.

    Frames (n,) of one class count as n / design effect independent ones. It is at least 1, and at most what it is where
    a subject's frames are all accepted or all refused together. Few errors tell nothing of it, so where less than
    ``RARE`` of the frames is accepted or refused, it is that of the nearest threshold at which ``RARE`` is; where even
    there all are accepted (ties), it is the highest possible. ``subjects`` (n,) are whole numbers from 0 on.
    """
    n, sizes = scores.size, np.bincount(subjects)
    people = np.count_nonzero(sizes)
    highest = float((sizes.astype(float) ** 2).sum() / n)
    few = math.ceil(RARE * n)
    if few < n:
        at = np.partition(scores, [few, n - few])
        threshold = min(max(threshold, at[few]), at[n - few])
    accepted = scores >= threshold
    share = accepted.mean()
    if share in (0, 1) or people < 2:
        return highest
    sums = np.bincount(subjects, accepted - share)
    variance = people / (people - 1) * float(sums @ sums) / n**2
    return min(max(variance / (share * (1 - share) / n), 1.0), highest)


def bootstrap(labels, scores, fpr, groups=None, replicates: int = 1000, seed: int = 0, attacks=None) -> np.ndarray:
    """TPR@FPR of bootstrap replicates; the same draw of frames for all methods, so differences are paired.

    Whole subjects are drawn with replacement, because the frames of one subject resemble each other; where they are
    unknown, frames within each class. Each replicate sets its own threshold.

    Args:
        scores: (n,), or (m, n) for m methods scored on the same frames.
        fpr: target in [0, 1], or a sequence of k targets.
        groups, attacks: (n,) subjects; attack types where the target is asked of each type.

    Returns:
        (replicates,), with m before it for several methods and k before that for several targets. A replicate that drew
        one class only is NaN.
    """
    labels, scores = checked_scores(labels, scores, several=True)
    if replicates < 1:
        raise ValueError(f"replicates is {replicates}; it must be at least 1")
    subjects, kinds = subject_codes(groups, labels), pad.attack_types(labels, attacks)
    rng, rows, fprs = np.random.default_rng(seed), np.atleast_2d(scores), np.atleast_1d(fpr)
    values, step = np.empty((len(fprs), len(rows), replicates)), max(1, CELLS // labels.size)
    for start in range(0, replicates, step):
        drawn = _draw(labels, subjects, min(step, replicates - start), rng)
        for i, row in enumerate(rows):
            values[:, i, start : start + step] = _tpr_of_draws(drawn, kinds, row, fprs)
    return values.reshape(np.shape(fpr) + scores.shape[:-1] + (replicates,))


def _draw(labels: np.ndarray, subjects: np.ndarray | None, replicates: int, rng) -> np.ndarray:
    """How often each frame is drawn, (n, replicates): with its subject, or for itself among the frames of its class."""
    drawn = np.empty((labels.size, replicates), dtype=np.int32)
    for pool in [labels, ~labels] if subjects is None else [np.full(labels.size, True)]:
        units = np.arange(np.count_nonzero(pool)) if subjects is None else subjects
        count = int(units.max()) + 1
        chosen = rng.integers(count, size=(replicates, count)) * replicates + np.arange(replicates)[:, None]
        drawn[pool] = np.bincount(chosen.ravel(), minlength=count * replicates).reshape(count, replicates)[units]
    return drawn


def _tpr_of_draws(drawn: np.ndarray, kinds: np.ndarray, scores: np.ndarray, fprs: np.ndarray) -> np.ndarray:
    """TPR@FPR (k, replicates) of one method, from how often each frame is drawn (n, replicates).

    Frames are counted from the highest score down. The first attack frame that is one too many sets the threshold, and
    the bona fide frames strictly above it are accepted. ``kinds`` (n,) are attack types, 0 for bona fide frames.
    """
    order = np.argsort(-scores, kind="stable")
    bona_fide = order[kinds[order] == 0]
    accepted = np.zeros((bona_fide.size + 1, drawn.shape[1]), dtype=np.int32)
    np.cumsum(drawn[bona_fide], axis=0, out=accepted[1:])  # accepted[j]: of the first j bona fide frames
    place = np.full((len(fprs), drawn.shape[1]), bona_fide.size)
    for kind in np.unique(kinds[kinds > 0]):
        attack = order[kinds[order] == kind]
        counted = np.cumsum(drawn[attack], axis=0, dtype=np.int32)
        above = np.append(np.searchsorted(-scores[bona_fide], -scores[attack], side="left"), bona_fide.size)
        for row, fpr in zip(place, fprs, strict=True):
            allowed = pad.allowed_attacks(fpr, np.maximum(counted[-1], 1)).astype(np.int32)
            np.minimum(row, above[np.count_nonzero(counted <= allowed, axis=0)], out=row)
    with np.errstate(invalid="ignore"):
        rates = np.take_along_axis(accepted, place, axis=0) / accepted[-1]
    return np.where(drawn[kinds > 0].any(axis=0), rates, np.nan)


def interval(replicates: np.ndarray) -> tuple[float, float]:
    """95% percentile interval of bootstrap replicates; those that drew one class only (NaN) are left out."""
    if np.isnan(replicates).all():
        raise ValueError("every replicate drew one class only: there is no interval; give more subjects or replicates")
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(replicates, [tail, 100 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class OperatingPoint:
    """TPR@FPR, its threshold, and how sure each is; all rates in [0, 1]. Of all limits each leaves out 2.5%."""

    fpr: float
    tpr: float
    threshold: float  # -inf where every frame may be accepted
    tpr_low: float  # of the system: exact limits of its TPR on the effective number of bona fide frames
    tpr_high: float
    fpr_high: float  # and upper limit of its true FPR on that of attack frames; the largest of a type, where asked
    fpr_high_clips: float | None  # the same with clips as units; None where subjects are known or clips are not
    method_low: float | None  # of the method: bootstrap interval; None where the data do not resolve ``fpr``
    method_high: float
    attacks_needed: int | None  # independent attack frames that a lower limit takes; None where no number is enough
    effective_bona_fide: float  # frames divided by the design effect of subjects, where these are known
    effective_attack: float  # the same of attack frames; the least of a type, where asked of each
    false_positives: int
    apcer_by_attack: dict[int, float] | None  # None where types are unknown
    apcer_max: float | None


def operating_point(labels, scores, fpr: float, drawn, groups=None, attacks=None, per_attack=False) -> OperatingPoint:
    """What is known of one system and its method at a target FPR; ``drawn`` are its replicates of ``bootstrap``.

    The limit of the FPR allows for a threshold that was set on these very frames: it stands above all but k attack
    scores, and the share of all attacks above the (k + 1)-th highest of n is distributed as Beta(k + 1, n - k), whose
    quantile Clopper and Pearson's limit is. The arguments are those of ``evaluate``.
    """
    labels, scores = checked_scores(labels, scores)
    subjects, asked = subject_codes(groups, labels), attacks if per_attack else None
    threshold, kinds = pad.threshold_at_fpr(labels, scores, fpr, asked), pad.attack_types(labels, asked)
    accepted, worth = scores >= threshold, {}
    for kind in np.unique(kinds):  # effective numbers of accepted frames and of frames; kind 0 is bona fide
        of = kinds == kind
        effect = 1.0 if subjects is None else design_effect(scores[of], threshold, subjects[of])
        worth[kind] = np.count_nonzero(accepted[of]) / effect, np.count_nonzero(of) / effect
    (low, high), (tpr_low, tpr_high), bona_fide = interval(drawn), exact(*worth[0]), worth.pop(0)[1]
    clips = CLIPS.get((int(labels.sum()), int((~labels).sum()))) if subjects is None and asked is None else None
    of_clips = exact(accepted[~labels].mean() * clips, clips)[1] if clips else None
    by_attack = None if attacks is None else pad.apcer_by_attack(labels, scores, threshold, attacks)
    attack = float(min(number for _, number in worth.values()))
    enough = attack >= (attacks_needed(fpr) or np.inf)
    found = {"fpr": float(fpr), "tpr": float(accepted[labels].mean()), "threshold": float(threshold)}
    found |= {"tpr_low": tpr_low, "tpr_high": tpr_high, "fpr_high": max(exact(*counts)[1] for counts in worth.values())}
    found |= {"fpr_high_clips": of_clips, "method_low": low if enough else None, "method_high": high}
    found |= {
        "attacks_needed": attacks_needed(fpr),
        "effective_bona_fide": float(bona_fide),
        "effective_attack": attack,
    }
    found |= {"false_positives": int(accepted[~labels].sum()), "apcer_by_attack": by_attack}
    return OperatingPoint(**found, apcer_max=None if by_attack is None else max(by_attack.values()))


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
        """One row a target FPR: the columns of ``measure``, ``worst APCER`` in percent, false positives, threshold."""
        rows = [{"FPR": fpr_name(p.fpr)} | _row([p], p.method_low, p.method_high) for p in self.points]
        for row, p in zip(rows, self.points, strict=True):
            row |= {} if p.apcer_max is None else {"worst APCER": 100 * p.apcer_max}
            row |= {"false positives": p.false_positives, "threshold": p.threshold}
        return pd.DataFrame(rows).astype({"attacks needed": "Int64"})


def evaluate(labels, scores, fprs=FPRS, attacks=None, groups=None, replicates=1000, seed=0, per_attack=False) -> Report:
    """The whole report for one method: TPR@FPR with limits, AUC, EER, errors per attack where known, notes.

    Args:
        fprs: target FPRs in [0, 1].
        attacks, groups: (n,) attack types and subjects; None, or with missing values, where unknown.
        per_attack: ask the target of each attack type instead of all attack frames together; ValueError without types.
    """
    labels, scores = checked_scores(labels, scores)
    attacks = None if attacks is None or pd.isna(pd.Series(attacks).to_numpy()[~labels]).any() else attacks
    if per_attack and attacks is None:
        raise ValueError("the FPR cannot be asked of each attack type: the types are unknown (column attack)")
    drawn = bootstrap(labels, scores, list(fprs), groups, replicates, seed, attacks if per_attack else None)
    known = (groups, attacks, per_attack)
    points = [operating_point(labels, scores, fpr, row, *known) for fpr, row in zip(fprs, drawn, strict=True)]
    at_eer, subjects = pad.eer_threshold(labels, scores), subject_codes(groups, labels)
    by_attack = {} if attacks is None else pad.apcer_by_attack(labels, scores, at_eer, attacks)
    counts = int(labels.sum()), int((~labels).sum()), None if subjects is None else int(subjects.max()) + 1
    areas = pad.auc(labels, scores), pad.eer(labels, scores), pad.acer(labels, scores, at_eer, attacks)
    notes = tuple(_notes(points, drawn, counts[2], counts[1]))
    return Report(*counts, tuple(points), *areas, max(by_attack.values(), default=None), notes)


def _notes(points: Sequence[OperatingPoint], drawn: np.ndarray, people: int | None, attack: int) -> list[str]:
    """What a reader of the limits must know: sentences on units, and on what the data do not resolve."""
    few = "fewer than 10 subjects: no interval can be trusted"
    few = "subjects unknown: the unit is the frame, so all intervals are too narrow" if people is None else few
    notes = [] if people is not None and people >= 10 else [few]
    for point, of_point in zip(points, drawn, strict=True):
        at, lost = f"FPR = {fpr_name(point.fpr)}", np.isnan(of_point).mean()
        if lost:
            notes.append(f"{at}: {100 * lost:.0f}% of the replicates drew subjects of one class only, left out")
        if point.fpr * attack < 1:
            notes.append(f"{at} is finer than 1 / {attack:,} attack frames: no attack frame may pass")
        if point.method_low is None:
            takes = "no number is enough" if point.attacks_needed is None else f"it takes {point.attacks_needed:,}"
            worth = f"which count as {point.effective_attack:,.0f} independent ones"
            notes.append(f"{at}: no lower limit for the method from {attack:,} attack frames, {worth}; {takes}")
    if points[0].fpr_high_clips is not None:
        notes.append("of clips: the bound on the FPR with this data set's attack clips as units instead of frames")
    return notes


@dataclass(frozen=True)
class Method:
    """The k seeds of one method at one FPR: TPRs in [0, 1] and bootstrap replicates, from the same draws for all."""

    tpr: np.ndarray  # (k,)
    drawn: np.ndarray  # (k, replicates)
    seeds: int  # k; of an ensemble of all seeds, which has one TPR, those of the member that has the fewest
    single: bool = True  # False for such an ensemble
    points: Sequence[OperatingPoint] = ()

    @property
    def mean(self) -> float:
        return float(self.tpr.mean())


def methods_of(table: pd.DataFrame, fprs, by=("experiment",), replicates: int = 1000) -> dict[tuple, Method]:
    """(FPR, values of ``by``) -> its seeds; the arguments are those of ``measure``."""
    names, found = list(dict.fromkeys([*by, "seed"])), {}
    wide, frames = matrix(table.assign(seed=table["seed"].fillna(-1)), names), facts(table)
    labels, scores, groups = frames["label"].to_numpy(dtype=int), wide.to_numpy().T, frames["subject"]
    for fpr, of_fpr in zip(fprs, bootstrap(labels, scores, list(fprs), groups, replicates), strict=True):
        for name, score, drawn in zip(wide.columns, scores, of_fpr, strict=True):
            point, single = operating_point(labels, score, fpr, drawn, groups), name[names.index("seed")] >= 0
            found.setdefault((fpr, *name[: len(by)]), []).append((point, drawn, single))
    counts = table.groupby("experiment")["seed"].nunique()  # 0 for an ensemble
    fewest = min([counts[name] for name in MEMBERS if counts.get(name)] or counts[counts > 0].to_list() or [1])
    for name, of_name in found.items():
        points, drawn, single = zip(*of_name, strict=True)
        tpr, seeds = np.array([point.tpr for point in points]), len(points) if single[0] else int(fewest)
        found[name] = Method(tpr, np.stack(drawn), seeds, single[0], points)
    return found


def _row(points: Sequence[OperatingPoint], low: float | None, high: float) -> dict:
    """Columns of ``measure``: mean TPR of the seeds, limits of the system where there is one, limits of the method."""
    one, row = points[0], {"measured": 100 * float(np.mean([point.tpr for point in points]))}
    limits = {"system low": 100 * one.tpr_low, "system high": 100 * one.tpr_high, "FPR up to": one.fpr_high}
    limits |= {} if one.fpr_high_clips is None else {"FPR up to, clips": one.fpr_high_clips}
    row |= limits if len(points) == 1 else dict.fromkeys(limits, np.nan)
    return row | {"low": np.nan if low is None else 100 * low, "high": 100 * high, "attacks needed": one.attacks_needed}


def measure(table: pd.DataFrame, fprs, by=("experiment",), replicates: int = 1000) -> pd.DataFrame:
    """TPR@FPR in percent of every method of a scores table, with 95% limits.

    The table has one score a frame for each seed of a method, which the columns ``by`` name. Where a method has several
    seeds, its TPR is the mean over them, and so is each bootstrap replicate.

    Returns:
        One row a method and FPR: ``by``, ``FPR``; ``seeds``, unless in ``by``, missing for an ensemble of all seeds;
        ``measured``; of this system, where there is one: ``system low``, ``system high`` and ``FPR up to``, in [0, 1],
        and with clips as units where these are known; of the method: ``low``, missing where the data do not resolve
        the FPR, and ``high``; ``attacks needed`` for a lower limit, whether there are as many or not.
    """
    rows = []
    for (fpr, *name), method in methods_of(table, fprs, by, replicates).items():
        low, high = interval(method.drawn.mean(axis=0))
        enough = all(point.method_low is not None for point in method.points)
        row = dict(zip(by, name, strict=True)) | {"FPR": fpr}
        row |= {} if "seed" in by else {"seeds": method.seeds if method.single else pd.NA}
        rows.append(row | _row(method.points, low if enough else None, high))
    counts = {"attacks needed": "Int64"} | ({} if "seed" in by else {"seeds": "Int64"})
    return pd.DataFrame(rows).astype(counts)

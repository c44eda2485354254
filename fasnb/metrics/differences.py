"""Is one method better than another? Differences that carry the luck of training, their p values, and Holm's correction.

A method's TPR moves with the frames it is judged on and with the seed it was trained with. The frames are the same for all
methods, so the bootstrap draws them together; seeds are not: seed 7 of one network has nothing in common with seed 7 of
another, so the means over all seeds of each are compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student


@dataclass(frozen=True)
class Method:
    """TPRs of a method's seeds at one FPR, in [0, 1], and the bootstrap replicates of each.

    ``single`` is False for an ensemble of all seeds: it has one TPR, and ``seeds`` is the number of seeds it averages.
    """

    tpr: np.ndarray  # (k,)
    drawn: np.ndarray  # (k, replicates); the same draws for all methods
    seeds: int
    single: bool = True

    @property
    def mean(self) -> float:
        return float(self.tpr.mean())


@dataclass(frozen=True)
class Luck:
    """How much the seed alone moves the TPR: variance = ``dispersion`` x TPR x (1 - TPR), known with ``df`` degrees of
    freedom. NaN and 0 where no method has two seeds.
    """

    dispersion: float
    df: float


@dataclass(frozen=True)
class Difference:
    """Difference of two methods in TPR, in [-1, 1], its 95% limits and two-sided p value against no difference.

    Limits stay in [-1, 1], as the value does. They are NaN where nothing varies, as between two methods at 100%: no draw of these frames can say how far that holds.
    ``seeded`` is False where a method has one seed, or no method has two: then the p value cannot be trusted.
    """

    value: float
    low: float
    high: float
    p: float
    seeded: bool


def luck_of(methods: Sequence[Method]) -> Luck:
    """The variance between seeds, pooled over the methods of one report.

    Two or three seeds of one method tell too little, so all methods share one number. Networks near 100% have less room
    to differ than those at 50%; in proportion to TPR x (1 - TPR), the variance of a binomial, they are alike: over the 15
    methods of the profile ``small``, from 4 to 96% TPR, the deviation is 0.07 times its root, without a trend. Binomial
    models call this overdispersion.

    The degrees of freedom are weighted likewise (Satterthwaite): methods at 100% say nothing.
    """
    several = [method for method in methods if method.single and len(method.tpr) > 1]
    free = np.array([len(method.tpr) - 1 for method in several], dtype=float)
    room = np.array([method.mean * (1 - method.mean) for method in several])
    if not (free * room).sum():
        return Luck(np.nan, 0)
    squares = sum(((method.tpr - method.mean) ** 2).sum() for method in several)
    return Luck(float(squares / (free * room).sum()), float((free * room).sum() ** 2 / (free * room**2).sum()))


def difference(a: Method, b: Method, luck: Luck, units: int, confidence: float = 0.95) -> Difference:
    """a - b, with Student limits whose variance holds frames and seeds.

    The variance is that of a random-effects model, the sum of two parts: what other seeds would move the difference by, from
    ``luck_of``, at the methods' common TPR, as in the usual test of two proportions; and what other subjects (or frames)
    would, from the paired bootstrap with the seeds as they are. That each seed errs on frames of its own makes seeds differ
    and is in the first part already, so it is taken out of the second. The degrees of freedom are those of the seeds, fewer
    than the sum has: Satterthwaite's for the sum are many where a few seeds agree by luck, and the error rate rose to 7%.

    An ensemble of all seeds is one TPR and shows no spread. It is taken to be moved as much as the mean of as many seeds of
    one member, and independently of what it is compared with. Both overstate its variance: it averages several members,
    and shares networks with them.

    Over the 12 claims of simulated reports without true differences it errs in 0 to 3.5% where seeds move methods as
    ``luck_of`` supposes, and in 5.8% where they move one at 98% as far as one at 60% (``benchmarks/README.md``).

    Two other ways were simulated and left. A hierarchical bootstrap, of seeds and of subjects,
    gives (k - 1)/k of the variance of k seeds, half of it with two, and its percentiles know no degrees of freedom: where
    seeds differ it calls equal methods different in far more than 5% of the studies. The sum of both parts in full errs
    less than needed, and shows fewer true differences.

    Args:
        units: how many subjects, or frames where these are unknown, the bootstrap drew from.
    """
    value = a.mean - b.mean
    drawn = a.drawn.mean(axis=0) - b.drawn.mean(axis=0)
    known = np.isfinite(luck.dispersion)
    common = (a.mean + b.mean) / 2
    of_seeds = luck.dispersion * common * (1 - common) * (1 / a.seeds + 1 / b.seeds) if known else 0.0
    own = sum(_own_errors(method) for method in (a, b)) if known else 0.0
    of_frames = max(float(np.nanvar(drawn, ddof=1)) - own, 0.0)
    variance = of_frames + of_seeds
    seeded = bool(known and min(a.seeds, b.seeds) > 1)
    if variance == 0:
        return Difference(value, np.nan, np.nan, float(value == 0), seeded)
    df = min(luck.df, units - 1) if known else units - 1
    half = student.ppf((1 + confidence) / 2, df) * variance**0.5
    p = 2 * student.sf(abs(value) / variance**0.5, df)
    return Difference(value, max(value - half, -1.0), min(value + half, 1.0), float(p), seeded)


def _own_errors(method: Method) -> float:
    """Variance of the mean over seeds that comes of frames on which each seed errs alone; 0 where there is one TPR."""
    k = len(method.tpr)
    if k == 1:
        return 0.0
    return float(np.nanvar(method.drawn - method.drawn.mean(axis=0), axis=1, ddof=1).sum() / (k - 1) / k)


@dataclass(frozen=True)
class Decision:
    """What several differences say of one claim that needs all of them to be positive."""

    least: int  # index of the smallest difference
    favour: bool  # all are positive
    p: float


def decide(differences: Sequence[Difference]) -> Decision:
    """The claim holds when every difference is positive (p: the largest of theirs) and fails as soon as one is negative.

    Any of n parts may speak against it by luck, so p is n times the smallest of the negative ones. A claim of one
    difference has that difference's p.
    """
    least = min(range(len(differences)), key=lambda i: differences[i].value)
    against = [part.p for part in differences if part.value < 0]
    if against:
        return Decision(least, False, min(1.0, len(differences) * min(against)))
    return Decision(least, all(part.value > 0 for part in differences), max(part.p for part in differences))


def holm(p: Mapping[int, float]) -> dict[int, float]:
    """Holm's adjusted p values: below alpha for any true null hypothesis of the family with probability alpha at most.

    Args:
        p: claim -> p value; NaN where there is none, which stays NaN and does not count.
    """
    order = sorted((claim for claim in p if not np.isnan(p[claim])), key=p.__getitem__)
    adjusted, largest = dict.fromkeys(p, np.nan), 0.0
    for rank, claim in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p[claim]))
        adjusted[claim] = largest
    return adjusted

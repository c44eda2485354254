"""Averaging networks: which combinations, in which order, and what each member adds (Sections 5.7 and 5.8)."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from fasnb.metrics.pad import allowed_attacks, threshold_at_fpr, tpr_at_fpr
from fasnb.metrics.provenance import carried
from fasnb.metrics.scores import NETWORK
from fasnb.metrics.uncertainty import compare


def all_combinations(scores: pd.DataFrame, labels, fpr: float) -> pd.DataFrame:
    """TPR@FPR in percent of the mean score of each of the 2^m - 1 subsets of m methods (columns of ``scores``)."""
    rows = []
    for size in range(1, scores.shape[1] + 1):
        for members in combinations(scores.columns, size):
            tpr = tpr_at_fpr(labels, scores[list(members)].mean(axis=1), fpr)
            rows.append(("+".join(map(str, members)), size, 100 * tpr))
    return carried(pd.DataFrame(rows, columns=["methods", "size", "TPR %"]), scores, [fpr])


def greedy(scores: pd.DataFrame, labels, fpr: float) -> pd.DataFrame:
    """Forward selection: start with the best network, then add the one whose mean with the chosen is best.

    Ties in TPR@FPR, common near 100%, go to the larger gap between the threshold and the lowest bona fide scores.

    Args:
        scores: (n, networks).

    Returns:
        One row a step: ``networks`` (how many), ``added`` (column name), ``TPR %``.
    """
    labels = np.asarray(labels).astype(bool)
    values, left = scores.to_numpy(), list(range(scores.shape[1]))
    total, rows = np.zeros(len(scores)), []
    while left:
        step = len(rows) + 1
        best = max(left, key=lambda i: _tpr_then_gap(labels, (total + values[:, i]) / step, fpr))
        left.remove(best)
        total += values[:, best]
        rows.append((step, scores.columns[best], 100 * tpr_at_fpr(labels, total / step, fpr)))
    return carried(pd.DataFrame(rows, columns=["networks", "added", "TPR %"]), scores, [fpr])


def _tpr_then_gap(labels: np.ndarray, score: np.ndarray, fpr: float) -> tuple[float, float]:
    threshold = threshold_at_fpr(labels, score, fpr)
    return float(np.mean(score[labels] >= threshold)), float(np.percentile(score[labels], 1) - threshold)


def growth(scores: pd.DataFrame, labels, fpr: float, orders: int = 50, seed: int = 0) -> pd.DataFrame:
    """TPR@FPR in percent of the mean of 1, 2, ... networks taken in random orders.

    Returns:
        ``networks``, ``median``, ``low`` and ``high`` (5th and 95th percentile over the orders).
    """
    rng = np.random.default_rng(seed)
    values, labels = scores.to_numpy(), np.asarray(labels)
    tpr = np.empty((orders, scores.shape[1]))
    for row in tpr:
        means = values[:, rng.permutation(scores.shape[1])].cumsum(axis=1) / np.arange(1, scores.shape[1] + 1)
        row[:] = [100 * tpr_at_fpr(labels, mean, fpr) for mean in means.T]
    low, median, high = np.percentile(tpr, [5, 50, 95], axis=0)
    table = pd.DataFrame({"networks": np.arange(1, tpr.shape[1] + 1), "median": median, "low": low, "high": high})
    return carried(table, scores, [fpr])


def leave_one_out(scores: pd.DataFrame, labels, fpr: float, groups=None, replicates: int = 1000) -> pd.DataFrame:
    """What each method adds: the ensemble of all against the ensemble without it, in points, paired.

    Returns:
        ``without``, ``TPR %`` of the rest, ``loss`` (all minus rest), ``low``, ``high`` (95% paired bootstrap). Where no
        attack frame may pass the limits are missing: draws of frames hold no higher attack score than the highest one.
    """
    everything, rows = scores.mean(axis=1), []
    none_may_pass = allowed_attacks(fpr, int((np.asarray(labels) == 0).sum())) == 0
    for name in scores:
        rest = scores.drop(columns=name).mean(axis=1)
        loss = compare(labels, everything, rest, fpr, groups, 2 if none_may_pass else replicates)
        loss = (loss[0], np.nan, np.nan) if none_may_pass else loss
        rows.append((name, 100 * tpr_at_fpr(labels, rest, fpr), *(100 * x for x in loss)))
    return carried(pd.DataFrame(rows, columns=["without", "TPR %", "loss", "low", "high"]), scores, [fpr], replicates)


def disagreement(scores: pd.DataFrame) -> pd.Series:
    """Standard deviation of a frame's scores over the methods (columns), highest first (Section 5.9)."""
    return scores.std(axis=1, ddof=0).sort_values(ascending=False, kind="stable").rename("standard deviation")


def most_disagreed(scores: pd.DataFrame, facts: pd.DataFrame, count: int) -> pd.DataFrame:
    """The ``count`` attack and ``count`` bona fide frames with the highest standard deviation, described, with rank."""
    deviation = disagreement(scores)
    rank = pd.Series(range(1, len(deviation) + 1), index=deviation.index)
    label = facts["label"].reindex(deviation.index)
    chosen = [sample for value in (0, 1) for sample in deviation.index[label == value][:count]]
    table = describe_frames(chosen, scores, facts)
    table.insert(2, "rank", rank[chosen].to_numpy())
    table.insert(3, "standard deviation", deviation[chosen].to_numpy())
    return table


def saturated(table: pd.DataFrame) -> pd.DataFrame:
    """Networks whose highest score is shared by attack and bona fide frames, so that no threshold separates them.

    Args:
        table: scores table with one score a frame and network.
    """
    top = table["score"] == table.groupby(list(NETWORK))["score"].transform("max")
    counts = (
        table[top].groupby(list(NETWORK))["label"].agg(frames="size", attacks=lambda label: int((label == 0).sum()))
    )
    return counts[(counts["attacks"] > 0) & (counts["attacks"] < counts["frames"])].reset_index()


def nearest_threshold(score: pd.Series, labels: pd.Series, fpr: float, count: int) -> Sequence[str]:
    """The ``count`` bona fide and ``count`` attack frames whose score is nearest to the threshold (Section 5.9)."""
    threshold = threshold_at_fpr(labels, score, fpr)
    distance = (score - threshold).abs()
    return [
        sample
        for label in (0, 1)
        for sample in distance[labels.reindex(distance.index) == label].nsmallest(count).index
    ]


def describe_frames(samples: Sequence[str], scores: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """The given frames with class, attack and subject where known, and the score of each method (columns)."""
    chosen = facts.loc[list(samples)]
    table = pd.DataFrame({"frame": list(samples), "class": np.where(chosen["label"] == 1, "bona fide", "attack")})
    for name in ("attack", "subject"):
        if chosen[name].notna().any():
            table[name] = chosen[name].to_numpy()
    return carried(table.join(scores.loc[list(samples)].reset_index(drop=True)), scores)


def lone_errors(scores: pd.DataFrame, labels: pd.Series, thresholds: dict[str, float]) -> pd.DataFrame:
    """Errors of each method at its threshold; those it makes alone; frames it alone gets right.

    Args:
        scores: (n, methods).
        labels: (n,) with the index of ``scores``.
        thresholds: method -> threshold.
    """
    accepted = scores >= pd.Series(thresholds)
    wrong = accepted.ne(labels.reindex(scores.index) == 1, axis=0)
    total = wrong.sum(axis=1)
    table = pd.DataFrame(
        {
            "method": list(scores),
            "bona fide refused": [int((wrong[name] & ~accepted[name]).sum()) for name in scores],
            "attacks accepted": [int((wrong[name] & accepted[name]).sum()) for name in scores],
            "wrong alone": [int((wrong[name] & (total == 1)).sum()) for name in scores],
            "right alone": [int((~wrong[name] & (total == scores.shape[1] - 1)).sum()) for name in scores],
        }
    )
    return carried(table, scores)


def outvoted(scores: pd.DataFrame, labels: pd.Series, helper: str, limit: float = 0.5) -> pd.DataFrame:
    """Does one method help where most of the others are wrong (Section 5.9)? Wrong and right at a score of ``limit``.

    Args:
        scores: (n, methods).
        labels: (n,) with the index of ``scores``.
        helper: one of the methods.

    Returns:
        One row a class: ``class``, ``frames``, ``mean score of`` the helper and of the others, ``others mostly wrong``
        (frames on which more than half of the others, but not all, are wrong) and ``helper right`` (on those).
    """
    accepted, rows = scores > limit, []
    others = [name for name in scores if name != helper]
    for label, name in ((0, "attack"), (1, "bona fide")):
        of_class = labels.reindex(scores.index) == label
        wrong = (accepted[others] != bool(label))[of_class].mean(axis=1)
        hard = (wrong > 0.5) & (wrong < 1)
        right = accepted.loc[hard.index[hard], helper] == bool(label)
        means = scores.loc[of_class, helper].mean(), scores.loc[of_class, others].mean(axis=None)
        rows.append((name, int(of_class.sum()), *means, int(hard.sum()), int(right.sum())))
    columns = ["class", "frames", f"mean score of {helper}", "mean score of the others", "others mostly wrong"]
    return carried(pd.DataFrame(rows, columns=[*columns, f"{helper} right on these"]), scores)

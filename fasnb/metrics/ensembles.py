"""Averaging scores of networks, and what each member adds (Sections 4.1 to 4.3, 5.7 and 5.8).

All functions take scores tables (``fasnb.data.scores``): one row a frame and network.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations, product

import numpy as np
import pandas as pd

from fasnb.data.scores import NETWORK, SCORE_COLUMNS, SCORE_TYPES
from fasnb.metrics.pad import threshold_at_fpr, tpr_at_fpr


class IncompleteError(ValueError):
    """A mean was asked for, but networks or frames are missing; the message lists them."""


def facts(scores: pd.DataFrame) -> pd.DataFrame:
    """What is known of each frame (index ``sample``): label, attack, subject, in the order of ``matrix``."""
    return scores.drop_duplicates("sample").set_index("sample")[["label", "attack", "subject"]]


def matrix(scores: pd.DataFrame, columns: str | Sequence[str] = "experiment") -> pd.DataFrame:
    """Scores side by side: one row a frame (index ``sample``), one column a method, both in the order of the table.

    ``columns`` tell the methods apart; with several names the result's columns are tuples. ValueError where a method
    scored a frame twice, IncompleteError where one did not.
    """
    names = [columns] if isinstance(columns, str) else list(columns)
    wide = scores.pivot(index="sample", columns=names if len(names) > 1 else names[0], values="score")
    order = scores[names].drop_duplicates().itertuples(index=False, name=None)
    wide = wide[[name if len(name) > 1 else name[0] for name in order]]
    if wide.isna().any(axis=None):
        raise IncompleteError(f"{int(wide.isna().any(axis=1).sum()):,} frames lack the score of some method")
    return wide.reindex(scores["sample"].unique())


def first_seed(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of each experiment's first seed: the paper's rows of Table 3."""
    return scores[scores["seed"] == scores.groupby("experiment")["seed"].transform("min")]


def _expected(scores: pd.DataFrame, from_one: bool = True) -> list[tuple[str, int, int]]:
    """Each fold of an experiment, ``from_one`` or those that there are, with each of its seeds."""
    wanted = []
    for experiment, part in scores[list(NETWORK)].drop_duplicates().groupby("experiment", sort=False):
        folds = part["fold"].unique()
        folds = range(1, max(folds) + 1) if from_one and part["fold"].notna().all() else folds
        wanted += product([experiment], folds, part["seed"].unique())
    return wanted


def check_complete(scores: pd.DataFrame, expected: Iterable[tuple[str, int, int]] | None = None) -> None:
    """Refuse a table that lacks a network or a score, or in which networks scored different frames.

    ``expected`` are the (experiment, fold, seed) of all networks; by default each experiment's folds, from 1 to the
    highest that it has in the table, with each of its seeds. That its last fold is missing does not show then.
    IncompleteError lists what is missing; ValueError where a frame has two labels, attack types or subjects.
    """
    expected = set(_expected(scores) if expected is None else expected)
    found = set(scores[list(NETWORK)].drop_duplicates().itertuples(index=False, name=None))
    missing = [f"{e} fold {fold} seed {seed}" for e, fold, seed in sorted(expected - found)]
    if missing:
        raise IncompleteError(f"{len(missing)} of {len(expected)} networks are missing: {'; '.join(missing)}")
    lost = scores.loc[scores["score"].isna(), "sample"]
    if len(lost):
        raise IncompleteError(f"{len(lost):,} scores are missing (NaN), the first of {lost.iloc[0]}")
    for name in ("label", "attack", "subject"):
        values = scores[["sample", name]].drop_duplicates()["sample"]
        if values.duplicated().any():
            raise ValueError(f"{values[values.duplicated()].iloc[0]} has more than one {name}; score one set of frames")
    frames = scores["sample"].nunique()
    counts = scores.groupby(list(NETWORK), observed=True, dropna=False)["sample"].agg(["size", "nunique"])
    uneven = counts.loc[(counts != frames).any(axis=1), "size"]
    if len(uneven):
        listed = "; ".join(f"{e} fold {fold} seed {seed}: {n:,}" for (e, fold, seed), n in uneven.items())
        raise IncompleteError(f"networks scored different frames; of {frames:,} frames: {listed}")


def average(scores: pd.DataFrame, over: Sequence[str] = NETWORK[1:], expected=None) -> pd.DataFrame:
    """Mean score of each frame over folds, then seeds, then experiments, as far as ``over`` names them.

    The order matters where experiments have different numbers of seeds (Sections 4.1, 4.2, 4.3). The default gives one
    score an experiment; ``over=("fold", "seed", "experiment")`` gives the ensemble. ``check_complete`` is called first;
    where the mean is not over folds, each seed of an experiment needs by default the folds that the experiment has.

    Returns:
        A scores table; averaged columns are missing, an averaged experiment is called ``ensemble``.
    """
    strange = set(over) - set(NETWORK)
    if strange:
        raise ValueError(f"cannot average over {sorted(strange)}; choose out of fold, seed, experiment")
    check_complete(scores, _expected(scores, "fold" in over) if expected is None else expected)
    keys = ["sample", *NETWORK]
    mean = scores[[*keys, "score"]]
    for name in ("fold", "seed", "experiment"):
        if name in over:
            keys.remove(name)
            mean = mean.groupby(keys, observed=True, sort=False, dropna=False)["score"].mean().reset_index()
    table = facts(scores).reset_index().merge(mean, on="sample", how="right")
    for name in over:
        table[name] = "ensemble" if name == "experiment" else pd.NA
    return table[list(SCORE_COLUMNS)].astype(SCORE_TYPES)


def subsets(scores: pd.DataFrame, fpr: float, by: str | Sequence[str] = "experiment") -> pd.DataFrame:
    """TPR@FPR of the mean score of each of the 2^m - 1 subsets of m members; one score a frame and member ``by``.

    Returns:
        One row a subset, small ones first: ``members`` (a tuple), ``methods`` (their names, joined by +), ``size``,
        ``TPR %`` and ``refused``, the bona fide frames below the threshold.
    """
    wide, labels, rows = matrix(scores, by), facts(scores)["label"].to_numpy(dtype=int), []
    for members in (chosen for size in range(wide.shape[1]) for chosen in combinations(wide, size + 1)):
        mean = wide[list(members)].mean(axis=1).to_numpy()
        accepted = mean[labels == 1] >= threshold_at_fpr(labels, mean, fpr)
        tpr, refused = 100 * float(accepted.mean()), int((~accepted).sum())
        rows.append((members, "+".join(map(str, members)), len(members), tpr, refused))
    return pd.DataFrame(rows, columns=["members", "methods", "size", "TPR %", "refused"])


def growth(scores: pd.DataFrame, fpr: float, orders: int = 50, seed: int = 0) -> pd.DataFrame:
    """TPR@FPR in percent of the mean of 1, 2, ... networks taken in random orders.

    Returns:
        ``networks`` (how many), ``median``, ``low`` and ``high`` (5th and 95th percentile over the orders).
    """
    values, labels = matrix(scores, NETWORK).to_numpy(), facts(scores)["label"].to_numpy(dtype=int)
    rng, counts = np.random.default_rng(seed), np.arange(1, values.shape[1] + 1)
    tpr = np.empty((orders, counts.size))
    for row in tpr:
        means = values[:, rng.permutation(counts.size)].cumsum(axis=1) / counts
        row[:] = [100 * tpr_at_fpr(labels, mean, fpr) for mean in means.T]
    low, median, high = np.percentile(tpr, [5, 50, 95], axis=0)
    return pd.DataFrame({"networks": counts, "median": median, "low": low, "high": high})

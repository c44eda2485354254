"""Averaging scores of networks (Sections 4.1 to 4.3): functions of scores tables, one row a frame and network."""

from collections.abc import Iterable, Sequence
from itertools import product

import pandas as pd

from fasnb.data.scores import NETWORK, SCORE_COLUMNS, completed


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
    columns = columns if isinstance(columns, str) else list(columns)
    wide = scores.pivot(index="sample", columns=columns, values="score")
    if wide.isna().any(axis=None):
        raise IncompleteError(f"{int(wide.isna().any(axis=1).sum()):,} frames lack the score of some method")
    return wide.loc[scores["sample"].unique(), list(scores.set_index(columns).index.unique())]


def first_seed(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of each experiment's first seed: the paper's rows of Table 3."""
    return scores[scores["seed"] == scores.groupby("experiment")["seed"].transform("min")]


def check_complete(scores: pd.DataFrame, expected: Iterable[tuple[str, int, int]] | None = None) -> None:
    """Refuse a table that lacks a network or a score, or in which networks scored different frames.

    ``expected`` are the (experiment, fold, seed) of all networks; by default each experiment's folds, from 1 to the
    highest that it has, with each of its seeds. IncompleteError lists what is missing; ValueError where a frame has two
    labels, attack types or subjects.
    """
    networks, wanted = scores[list(NETWORK)].drop_duplicates(), set(expected or ())
    for experiment, part in networks.groupby("experiment", sort=False) if expected is None else ():
        folds = range(1, part["fold"].max() + 1) if part["fold"].notna().all() else part["fold"].unique()
        wanted |= set(product([experiment], folds, part["seed"].unique()))
    missing = sorted(wanted - set(networks.itertuples(index=False, name=None)))
    if missing:
        listed = "; ".join(f"{e} fold {fold} seed {seed}" for e, fold, seed in missing)
        raise IncompleteError(f"{len(missing)} of {len(wanted)} networks are missing: {listed}")
    lost = scores.loc[scores["score"].isna(), "sample"]
    if len(lost):
        raise IncompleteError(f"{len(lost):,} scores are missing (NaN), the first of {lost.iloc[0]}")
    for name in ("label", "attack", "subject"):
        values = scores[["sample", name]].drop_duplicates()["sample"]
        if values.duplicated().any():
            raise ValueError(f"{values[values.duplicated()].iloc[0]} has more than one {name}; name frames, not clips")
    frames = scores["sample"].nunique()
    counts = scores.groupby(list(NETWORK), observed=True, dropna=False)["sample"].agg(["size", "nunique"])
    uneven = counts.loc[(counts != frames).any(axis=1), "size"]
    if len(uneven):
        listed = "; ".join(f"{e} fold {fold} seed {seed}: {n:,}" for (e, fold, seed), n in uneven.items())
        raise IncompleteError(f"networks scored different frames; of {frames:,} frames: {listed}")


def average(scores: pd.DataFrame, over: Sequence[str] = NETWORK[1:], expected=None) -> pd.DataFrame:
    """Mean score of each frame over folds, then seeds, then experiments, as far as ``over`` names them.

    The order matters where experiments have different numbers of seeds (Sections 4.1, 4.2, 4.3). The default gives one
    score an experiment; ``over=("fold", "seed", "experiment")`` gives the ensemble; other names are a ValueError.
    ``check_complete`` is called first. In the scores table that is returned, averaged columns are missing, and an
    averaged experiment is called ``ensemble``. Columns that the table lacks are ``completed``.
    """
    scores = completed(scores)
    check_complete(scores, expected)
    keys = ["sample", *NETWORK]
    mean = scores[[*keys, "score"]]
    for name in sorted(over, key=["fold", "seed", "experiment"].index):
        keys.remove(name)
        mean = mean.groupby(keys, observed=True, sort=False, dropna=False)["score"].mean().reset_index()
    table = facts(scores).reset_index().merge(mean, on="sample", how="right")
    for name in over:
        table[name] = "ensemble" if name == "experiment" else pd.NA
    return completed(table[list(SCORE_COLUMNS)])

"""Sentences that say how the tables of a chapter read in this very run; each holds whatever the numbers are."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from fasnb.lab.tables import NAMES
from fasnb.metrics.pad import allowed_attacks, fpr_name
from fasnb.metrics.sentences import listed
from fasnb.paper.published import TABLE2


def of_folds(wide: pd.DataFrame, first: str, second: str, names: tuple[str, str]) -> str:
    """Whether all folds agree which of two methods is better.

    Args:
        wide: one row a fold, TPR in percent of the methods in the columns ``first`` and ``second``.
        names: of both, as people read them.
    """
    gain = wide[second] - wide[first]
    up, down, same = int((gain > 0).sum()), int((gain < 0).sum()), int((gain == 0).sum())
    told = f"{names[1]} is above {names[0]} in {up} of {len(gain)} folds and below in {down}"
    told += f", equal in {same}" if same else ""
    told += f"; the difference runs from {gain.min():+.2f} to {gain.max():+.2f} points"
    if up and down:
        return f"{told}. The folds disagree, so the step is smaller than the luck of which attack was held out."
    return f"{told}. No fold contradicts another, but {len(gain)} folds of one seed are too few to rest on that."


def of_cells(by_cell: pd.DataFrame) -> str:
    """What the mean of two models does with the frames that both, one or none of them refuses.

    Args:
        by_cell: a row for each case that occurs: its name (``A refuses, B accepts``), frames, and how many of these the
            mean refuses.
    """
    cell, frames, refused = (by_cell.iloc[:, i] for i in range(3))
    times = cell.str.count("refuses")
    told = []
    for count, which in ((1, "one model refuses"), (2, "both refuse")):
        of_kind = times == count
        every, kept = int(frames[of_kind].sum()), int(refused[of_kind].sum())
        told.append(
            f"of {every} that {which} the mean accepts {every - kept}" if every else f"there is none that {which}"
        )
    lost, accepted = int(refused[times == 0].sum()), int(frames[times == 0].sum())
    told.append(f"of {accepted:,} that both accept it refuses {lost}")
    return f"Bona fide frames: {'; '.join(told)}."


def of_borders(borders: Mapping[str, float]) -> str:
    """Where the threshold of a mean lies beside those of the two models it is of; its key is ``mean``."""
    first, second = (name for name in borders if name != "mean")
    mean, both = borders["mean"], (borders[first], borders[second])
    where = "below both" if mean < min(both) else "above both" if mean > max(both) else "between both"
    return f"Thresholds: {first} {both[0]:.4f}, {second} {both[1]:.4f}, of their mean score {mean:.4f}: {where}."


def of_worst(ranks: Mapping[str, int], allowed: int) -> str:
    """What the frame that sets one model's threshold is in the other's order.

    Args:
        ranks: a model -> place of its frame among the other's attack frames, from the top.
        allowed: attack frames that may pass.
    """
    told = []
    for model, rank in ranks.items():
        if rank > allowed + 1:
            told.append(f"the frame of {model} stands lower in the other's order, so the mean tends to put it lower")
        else:
            told.append(f"the frame of {model} is as high in the other's order, so the mean leaves it high")
    return f"Here {'; '.join(told)}."


def of_spread(spread: pd.DataFrame) -> str:
    """Whether seeds differ as much as methods; ``spread`` as of ``fasnb.metrics.comparisons.seed_spread``."""
    value = spread.set_index("method")["standard deviation"]
    methods = value["between methods, first seeds"]
    if "between seeds, pooled" not in value or np.isnan(methods):
        return (
            "One seed of each method, or one method: nothing tells the luck of a seed from the merit of a method here."
        )
    seeds = value["between seeds, pooled"]
    told = f"Standard deviation between seeds {seeds:.2f} points, between methods {methods:.2f}"
    if seeds >= methods:
        return f"{told}: seeds differ as much as methods, so one run of each cannot rank them."
    if methods < 2 * seeds:
        return (
            f"{told}; this one holds the luck of seeds too and is little larger, so one run of each hardly ranks them."
        )
    return f"{told}: methods differ far more than seeds; which of them, the table of differences says."


def of_test_frames(labels: pd.Series | np.ndarray, fpr: float) -> str:
    """What a set of frames can say of a target FPR, frame by frame."""
    labels = np.asarray(labels, dtype=int)
    attacks, bona_fide = int((labels == 0).sum()), int((labels == 1).sum())
    allowed = int(allowed_attacks(fpr, attacks))
    told = f"Of {attacks:,} test attack frames {allowed} may pass at FPR = {fpr_name(fpr)}; one frame is {100 / attacks:.2g}%"
    told += f" of them, and one bona fide frame {100 / bona_fide:.2g} points of TPR."
    return told if allowed else f"{told} This set does not resolve the FPR: none may pass, and one is too many."


def of_camera_gains(gains: pd.Series, pair: pd.DataFrame, fpr: float) -> str:
    """All cameras less one alone: the difference at every FPR, and how sure it is at the headline.

    Args:
        gains: FPR as text -> difference in points.
        pair: the row of ``fasnb.metrics.comparisons.compare_all`` that has this difference at ``fpr``.
    """
    told = ", ".join(f"{gain:+.2f} points at FPR = {at}" for at, gain in gains.items())
    said = f"All three cameras less depth alone: {told}; depth alone is higher at {(gains < 0).sum()} of {len(gains)}."
    low, high = pair[["low", "high"]].iloc[0] if len(pair) else (np.nan, np.nan)
    if np.isnan(low):
        return said
    holds = "holds zero, so neither order is settled" if low <= 0 <= high else "does not hold zero"
    return f"{said}\nAt FPR = {fpr_name(fpr)} its interval, [{low:.2f}, {high:.2f}], {holds}."


def of_ranks(ranks: pd.DataFrame) -> str:
    """Of which class the most disagreed frames are; ``ranks`` has the columns ``class`` and ``rank``."""
    each = [
        f"{name} {listed(f'{rank:,}' for rank in part['rank'])}" for name, part in ranks.groupby("class", sort=False)
    ]
    first = ranks.loc[ranks["rank"].idxmin(), "class"]
    return f"Ranks among all frames: {'; '.join(each)}. The most disagreed frame of all is of the class {first}."


def of_likest(correlation: pd.DataFrame) -> str:
    """Which two members are most alike, and what Table 2 says that they share; ``correlation`` is square."""
    values = correlation.to_numpy(dtype=float, copy=True)
    values[np.tril_indices(len(values))] = -np.inf
    if len(values) < 2:
        return "One model only: there is no pair."
    row, column = np.unravel_index(values.argmax(), values.shape)
    pair = [correlation.index[row], correlation.columns[column]]
    rows = TABLE2.set_index("experiment").loc[pair]
    common = [f"the {what}" for what in ("backbone", "task") if rows[what].nunique() == 1]
    shared = listed(common) if common else "neither the backbone nor the task"
    return f"Most alike are {listed(pair)}, with a correlation of {values[row, column]:.3f}; by Table 2 they share {shared}."


def of_tables(rows: pd.DataFrame, cameras: pd.DataFrame, fpr: float) -> str:
    """Tables 3 and 5 in a sentence each: what was measured, and in brackets what was published; only rows that were measured.

    Args:
        rows: Table 3, as of ``fasnb.metrics.comparisons.beside_published`` at ``fpr``.
        cameras: Table 5, as of ``fasnb.metrics.comparisons.by_modality`` at all FPRs.
    """

    def told(part: pd.DataFrame, names: pd.Series) -> str:
        measured = part["measured"].notna()
        each = zip(names[measured], part["measured"][measured], part["published"][measured], strict=True)
        return "; ".join(f"{name} {here:.2f} ({there:.2f})" for name, here, there in each)

    at = f"TPR (%) at FPR = {fpr_name(fpr)}"
    of_rows = told(rows, rows["experiment"].map(lambda name: NAMES.get(name, name)))
    said = [f"{at}, mean over seeds, in brackets as published for real data at FPR = 1e-4, first seeds: {of_rows}."]
    at_fpr = cameras[cameras["FPR"] == fpr_name(fpr)]
    if at_fpr["measured"].notna().sum() > 1:
        said.append(
            f"One camera and all three, {at}, in brackets as published at this FPR: {told(at_fpr, at_fpr['modality'])}."
        )
    return "\n".join(said)

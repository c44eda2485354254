"""The authors' released scores, as the same scores table that our own networks give."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from fasnb.data.frames import read_list
from fasnb.metrics.scores import NETWORK, check_complete, score_table
from fasnb.metrics.snapshots import CROPS

RELEASED_EXPERIMENTS = {"exp1_2stage": "A", "exp2": "D", "exp3b": "B", "exp3c": "C"}
"""Folder name in the authors' repository, less its seed -> row of Table 3."""

RELEASED_NETWORKS = tuple(
    (experiment, fold, seed)
    for experiment, seeds in (("A", 1), ("B", 2), ("C", 2), ("D", 2))
    for seed in range(1, seeds + 1)
    for fold in (1, 2, 3)
)
"""(row of Table 3, fold, seed) of the 21 networks whose scores the authors released."""

RELEASED_EPOCHS = (31, 50)
"""Epochs after which the authors kept the networks; the paper's rows come from 31."""

_RELEASED_FOLDER = re.compile(r"(?P<experiment>.+)_seed(?P<seed>\d+)")


def read_released(root: str | Path, epoch: int = 31, crop: str = "mean") -> pd.DataFrame:
    """The scores of the authors' networks on the CASIA-SURF validation set, from a clone of their repository.

    ``experiment`` is the row of Table 3 (A, B, C, D) where the folder is one of ``RELEASED_EXPERIMENTS``, else the
    folder's name less its seed. Subjects and attacks are not published for these frames.

    Args:
        root: the clone.
        epoch: which snapshot of the networks; ``RELEASED_EPOCHS`` are released, and the paper's rows come from 31.
        crop: "mean" of the centre crop and its mirror image, which gives the paper's rows, or "crop0", the centre crop
            alone, which the paper's text describes (Section 5.2).

    Raises:
        FileNotFoundError: the clone has no list or no scores of this epoch.
        ValueError: an unknown crop, or a file that does not hold one pair of scores for each of the frames.
    """
    if crop not in CROPS:
        raise ValueError(f"crop is {crop!r}; it must be one of {', '.join(CROPS)}")
    root = Path(root)
    frames = released_frames(root)
    tables = []
    for folder in sorted((root / "data" / "opts").glob("*_seed*")):
        name = _RELEASED_FOLDER.fullmatch(folder.name)
        for path in sorted(folder.glob(f"fold[123]/tta_epoch{epoch}_val_score.txt")) if name else ():
            experiment = RELEASED_EXPERIMENTS.get(name["experiment"], name["experiment"])
            fold = int(path.parent.name.removeprefix("fold"))
            score = _released_file(path, len(frames), crop)
            tables.append(score_table(frames, score, experiment, fold, int(name["seed"])))
    if not tables:
        files = (root / "data" / "opts").glob("*/fold*/tta_epoch*_val_score.txt")
        epochs = sorted({int(re.search(r"epoch(\d+)_", path.name)[1]) for path in files})
        there = f"epochs {', '.join(map(str, epochs))} are there" if epochs else "no scores are there"
        raise FileNotFoundError(f"{root / 'data' / 'opts'} has no scores of epoch {epoch}; {there}")
    return pd.concat(tables, ignore_index=True).sort_values(list(NETWORK), kind="stable", ignore_index=True)


def read_snapshots(root: str | Path) -> pd.DataFrame:
    """All that was released as one table: a scores table with the columns ``epoch`` and ``crop`` besides.

    Every epoch of ``RELEASED_EPOCHS`` with every crop of ``read_released``, the one of the paper's rows first; of rows A
    to D alone.

    Raises:
        FileNotFoundError, ValueError: as ``read_released``.
        IncompleteError: one of ``RELEASED_NETWORKS`` is missing at one of the epochs.
    """
    parts = []
    for epoch in RELEASED_EPOCHS:
        for crop in CROPS:
            table = read_released(root, epoch, crop)
            table = table[table["experiment"].isin(RELEASED_EXPERIMENTS.values())]
            check_complete(table, RELEASED_NETWORKS)
            parts.append(table.assign(epoch=epoch, crop=crop))
    return pd.concat(parts, ignore_index=True)


def released_frames(root: str | Path) -> pd.DataFrame:
    """The labelled frame table of the validation set, ``data/lists/phase1_list.txt`` of the authors' repository."""
    path = Path(root) / "data" / "lists" / "phase1_list.txt"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there; {root} is no clone of github.com/AlexanderParkin/ChaLearn_liveness_challenge"
        )
    frames = read_list(path)
    if frames["label"].isna().any():
        raise ValueError(f"{path} has no labels; it must have the columns rgb,depth,ir,label; clone the file anew")
    return frames


def released_name(experiment: str, seed: int) -> str:
    """The experiment folder's name in the authors' repository."""
    folder = next((name for name, row in RELEASED_EXPERIMENTS.items() if row == experiment), experiment)
    return f"{folder}_seed{seed}"


def _released_file(path: Path, frames: int, crop: str) -> np.ndarray:
    try:
        table = pd.read_csv(path, dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as scores ({error}); clone the file anew") from None
    if list(table.columns) != ["crop0", "crop0_hflip"] or len(table) != frames:
        raise ValueError(
            f"{path} must hold {frames:,} pairs crop0,crop0_hflip; found {len(table):,} rows of "
            f"{','.join(table.columns)}; clone the file anew"
        )
    wrong = ~((table >= 0) & (table <= 1)).all(axis=1)
    if wrong.any():
        raise ValueError(
            f"{path}, line {wrong.idxmax() + 2}: no probability in [0, 1] ({wrong.sum()} such lines); clone anew"
        )
    return (table.mean(axis=1) if crop == "mean" else table[crop]).to_numpy()

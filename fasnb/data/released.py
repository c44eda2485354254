"""The authors' released scores, as the same scores table that our own networks give."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from fasnb.data.frames import read_list
from fasnb.metrics.scores import NETWORK, score_table

RELEASED_EXPERIMENTS = {"exp1_2stage": "A", "exp2": "D", "exp3b": "B", "exp3c": "C"}
"""Folder name in the authors' repository, less its seed -> row of Table 3."""

RELEASED_NETWORKS = tuple(
    (experiment, fold, seed)
    for experiment, seeds in (("A", 1), ("B", 2), ("C", 2), ("D", 2))
    for seed in range(1, seeds + 1)
    for fold in (1, 2, 3)
)
"""(row of Table 3, fold, seed) of the 21 networks whose scores the authors released."""

_RELEASED_FOLDER = re.compile(r"(?P<experiment>.+)_seed(?P<seed>\d+)")


def read_released(root: str | Path, epoch: int = 31) -> pd.DataFrame:
    """The scores of the authors' networks on the CASIA-SURF validation set, from a clone of their repository.

    Each score is the mean of the centre crop and its mirror image. ``experiment`` is the row of Table 3 (A, B, C, D)
    where the folder is one of ``RELEASED_EXPERIMENTS``, else the folder's name less its seed. Subjects and attacks are
    not published for these frames.

    Args:
        root: the clone.
        epoch: which snapshot of the networks; 31 and 50 are released, and the paper's rows come from 31.

    Raises:
        FileNotFoundError: the clone has no list or no scores of this epoch.
        ValueError: a file does not hold one pair of scores for each of the frames.
    """
    root = Path(root)
    frames = released_frames(root)
    tables = []
    for folder in sorted((root / "data" / "opts").glob("*_seed*")):
        name = _RELEASED_FOLDER.fullmatch(folder.name)
        for path in sorted(folder.glob(f"fold[123]/tta_epoch{epoch}_val_score.txt")) if name else ():
            experiment = RELEASED_EXPERIMENTS.get(name["experiment"], name["experiment"])
            fold = int(path.parent.name.removeprefix("fold"))
            score = _released_file(path, len(frames))
            tables.append(score_table(frames, score, experiment, fold, int(name["seed"])))
    if not tables:
        files = (root / "data" / "opts").glob("*/fold*/tta_epoch*_val_score.txt")
        epochs = sorted({int(re.search(r"epoch(\d+)_", path.name)[1]) for path in files})
        there = f"epochs {', '.join(map(str, epochs))} are there" if epochs else "no scores are there"
        raise FileNotFoundError(f"{root / 'data' / 'opts'} has no scores of epoch {epoch}; {there}")
    return pd.concat(tables, ignore_index=True).sort_values(list(NETWORK), kind="stable", ignore_index=True)


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


def _released_file(path: Path, frames: int) -> np.ndarray:
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
    return table.mean(axis=1).to_numpy()

"""What the authors released: scores of their 21 networks, as the table that our own networks give; submission files."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from fasnb.data.frames import read_list
from fasnb.data.scores import NETWORK, score_table
from fasnb.tools.files import write_text

RELEASED_EXPERIMENTS = {"exp1_2stage": "A", "exp2": "D", "exp3b": "B", "exp3c": "C"}
"""Folder name in the authors' repository, less its seed -> row of Table 3."""

_SEEDS = {"A": (1,), "B": (1, 2), "C": (1, 2), "D": (1, 2)}
RELEASED_NETWORKS = tuple((row, fold, seed) for row, seeds in _SEEDS.items() for seed in seeds for fold in (1, 2, 3))
"""(row of Table 3, fold, seed) of the 21 networks whose scores the authors released."""

_CROPS = ("mean", "crop0")


def read_released(root: str | Path, epoch: int = 31, crop: str = "mean") -> pd.DataFrame:
    """The scores of the authors' networks on the CASIA-SURF validation set, from a clone of their repository.

    ``experiment`` is the row of Table 3 (A, B, C, D) where the folder is one of ``RELEASED_EXPERIMENTS``, else the
    folder's name less its seed. Subjects and attacks are not published for these frames. ``epoch`` is 31 or 50;
    ``crop`` is "mean", of the centre crop and its mirror image as in the paper's rows, or "crop0", the former alone.
    FileNotFoundError where the clone has no list or no such scores, ValueError for a file without a pair for each frame.
    """
    if crop not in _CROPS:
        raise ValueError(f"crop is {crop!r}; it must be one of {', '.join(_CROPS)}")
    frames = released_frames(root)
    tables = []
    for path in sorted(Path(root).glob(f"data/opts/*_seed[0-9]/fold[123]/tta_epoch{epoch}_val_score.txt")):
        name, seed = path.parts[-3].rsplit("_seed", 1)
        experiment, fold = RELEASED_EXPERIMENTS.get(name, name), int(path.parts[-2][-1])
        tables.append(score_table(frames, _score_file(path, len(frames), crop), experiment, fold, int(seed)))
    if not tables:
        raise FileNotFoundError(f"{root}/data/opts has no scores of epoch {epoch}; 31 and 50 are released")
    return pd.concat(tables, ignore_index=True).sort_values(list(NETWORK), kind="stable", ignore_index=True)


def read_snapshots(root: str | Path) -> pd.DataFrame:
    """All that was released of rows A to D as one table: a scores table with ``epoch`` and ``crop`` besides.

    Raises as ``read_released``, and ValueError where one of ``RELEASED_NETWORKS`` is missing at an epoch.
    """
    parts = []
    for epoch, crop in product((31, 50), _CROPS):
        table = read_released(root, epoch, crop)
        table = table[table["experiment"].isin(RELEASED_EXPERIMENTS.values())]
        missing = set(RELEASED_NETWORKS) - set(table[list(NETWORK)].itertuples(index=False, name=None))
        if missing:
            raise ValueError(f"{len(missing)} of 21 networks are missing at epoch {epoch}: {sorted(missing)}")
        parts.append(table.assign(epoch=epoch, crop=crop))
    return pd.concat(parts, ignore_index=True)


def released_frames(root: str | Path) -> pd.DataFrame:
    """The frame table of the validation set, from a clone of the authors' repository; else FileNotFoundError."""
    path = Path(root) / "data" / "lists" / "phase1_list.txt"
    if not path.is_file():
        theirs = "github.com/AlexanderParkin/ChaLearn_liveness_challenge"
        raise FileNotFoundError(f"{path} is not there; {root} is no clone of {theirs}")
    return read_list(path)


def write_submission(frames: pd.DataFrame, scores: pd.DataFrame, path: str | Path) -> Path:
    """Write the challenge's submission file: one line ``color depth ir score`` a frame, six decimals, no header.

    ``frames`` is in the order of the organisers' public list, ``scores`` has one score for each of them. Raises
    ValueError where a frame has no score or more than one, or a score is no probability.
    """
    values = frames[["sample"]].merge(scores[["sample", "score"]], "left")["score"]
    if len(values) != len(frames) or not values.between(0, 1).all():
        what = "one probability in [0, 1] for each frame of the list; some lack one or have several"
        raise ValueError(f"a submission needs {what}")
    paths = frames["rgb"] + " " + frames["depth"] + " " + frames["ir"]
    return write_text(path, "".join(f"{names} {value:.6f}\n" for names, value in zip(paths, values, strict=True)))


def _score_file(path: Path, frames: int, crop: str) -> np.ndarray:
    """P(bona fide) of each frame, float64 (frames,)."""
    try:
        table = pd.read_csv(path, dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as scores ({error}); clone the file anew") from None
    whole = list(table.columns) == ["crop0", "crop0_hflip"] and len(table) == frames
    if not whole or not ((table >= 0) & (table <= 1)).all(axis=None):
        raise ValueError(f"{path} must hold {frames:,} pairs crop0,crop0_hflip in [0, 1]; clone the file anew")
    return (table.mean(axis=1) if crop == "mean" else table[crop]).to_numpy()

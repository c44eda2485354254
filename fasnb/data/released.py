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

_SEEDS = {"A": 1, "B": 2, "C": 2, "D": 2}
RELEASED_NETWORKS = tuple(
    (name, fold, seed + 1) for name, n in _SEEDS.items() for seed in range(n) for fold in (1, 2, 3)
)
"""(row of Table 3, fold, seed) of the 21 networks whose scores the authors released."""

RELEASED_EPOCHS = (31, 50)  # after which the authors kept the networks; the paper's rows come from 31

RELEASED_CROPS = ("mean", "crop0")  # of the centre crop and its mirror image, as the paper's rows; the former alone

CALIBRATION_THRESHOLD = 0.932107
"""The authors' threshold, chosen on the validation set for the lowest ACER; scores below it are pressed to [0, 0.5)."""


def read_released(root: str | Path, epoch: int = 31, crop: str = "mean") -> pd.DataFrame:
    """The scores of the authors' networks on the CASIA-SURF validation set, from a clone of their repository.

    ``experiment`` is the row of Table 3 (A, B, C, D) where the folder is one of ``RELEASED_EXPERIMENTS``, else the
    folder's name less its seed. Subjects and attacks are not published for these frames. ``epoch`` is one of
    ``RELEASED_EPOCHS``, ``crop`` one of ``RELEASED_CROPS``.

    Raises:
        FileNotFoundError: the clone has no list or no scores of this epoch.
        ValueError: an unknown crop, or a file that does not hold one pair of scores for each of the frames.
    """
    if crop not in RELEASED_CROPS:
        raise ValueError(f"crop is {crop!r}; it must be one of {', '.join(RELEASED_CROPS)}")
    frames = released_frames(root)
    tables = []
    for path in sorted(Path(root).glob(f"data/opts/*_seed*/fold[123]/tta_epoch{epoch}_val_score.txt")):
        name, seed = path.parts[-3].rsplit("_seed", 1)
        score = _score_file(path, len(frames), crop)
        tables.append(
            score_table(frames, score, RELEASED_EXPERIMENTS.get(name, name), int(path.parts[-2][-1]), int(seed))
        )
    if not tables:
        raise FileNotFoundError(f"{root}/data/opts has no scores of epoch {epoch}; 31 and 50 are released")
    return pd.concat(tables, ignore_index=True).sort_values(list(NETWORK), kind="stable", ignore_index=True)


def read_snapshots(root: str | Path) -> pd.DataFrame:
    """All that was released of rows A to D as one table: a scores table with ``epoch`` and ``crop`` besides.

    Raises:
        FileNotFoundError, ValueError: as ``read_released``, or one of ``RELEASED_NETWORKS`` is missing at an epoch.
    """
    parts = []
    for epoch, crop in product(RELEASED_EPOCHS, RELEASED_CROPS):
        table = read_released(root, epoch, crop)
        table = table[table["experiment"].isin(RELEASED_EXPERIMENTS.values())]
        missing = set(RELEASED_NETWORKS) - set(table[list(NETWORK)].itertuples(index=False, name=None))
        if missing:
            raise ValueError(f"{len(missing)} of 21 networks are missing at epoch {epoch}: {sorted(missing)}")
        parts.append(table.assign(epoch=epoch, crop=crop))
    return pd.concat(parts, ignore_index=True)


def released_frames(root: str | Path) -> pd.DataFrame:
    """The frame table of the validation set, ``data/lists/phase1_list.txt`` of the authors' repository.

    Raises:
        FileNotFoundError: the folder is no clone of it.
    """
    path = Path(root) / "data" / "lists" / "phase1_list.txt"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there; {root} is no clone of github.com/AlexanderParkin/ChaLearn_liveness_challenge"
        )
    return read_list(path)


def released_name(experiment: str, seed: int) -> str:
    """The experiment folder's name in the authors' repository."""
    folder = next((name for name, row in RELEASED_EXPERIMENTS.items() if row == experiment), experiment)
    return f"{folder}_seed{seed}"


def write_submission(
    frames: pd.DataFrame, scores: pd.DataFrame, path: str | Path, calibrate: float | None = None
) -> Path:
    """Write the challenge's submission file: one line ``color depth ir score`` a frame, six decimals, no header.

    Args:
        frames: in the order of the organisers' public list.
        scores: a scores table with one score for each of the frames.
        calibrate: a threshold in [0.5, 1), such as ``CALIBRATION_THRESHOLD``: scores below it are mapped linearly onto
            [0, 0.5), as the authors did, so that 0.5 separates accepted from refused frames.

    Raises:
        ValueError: a frame has no score or more than one, or a score or ``calibrate`` is out of range.
    """
    values = frames[["sample"]].merge(scores[["sample", "score"]], "left")["score"].to_numpy()
    if len(values) != len(frames) or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            "a submission needs one probability in [0, 1] for each frame of the list; some lack one or have several"
        )
    if calibrate is not None:
        if not 0.5 <= calibrate < 1:
            raise ValueError(f"calibrate is {calibrate!r}; it must lie in [0.5, 1) to keep the order of the frames")
        pressed = np.minimum(values / calibrate * 0.5, 0.499999)  # six decimals must not round a refused frame to 0.5
        values = np.where(values < calibrate, pressed, values)
    paths = frames["rgb"] + " " + frames["depth"] + " " + frames["ir"]
    lines = [f"{names} {value:.6f}\n" for names, value in zip(paths, values, strict=True)]
    return write_text(path, "".join(lines))


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

"""What the authors released: scores of their 21 networks, as the table that our own networks give; submission files."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from fasnb.data.frames import read_list
from fasnb.data.scores import NETWORK, score_table
from fasnb.tools.files import write_text

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

RELEASED_CROPS = ("mean", "crop0")
"""Mean of the centre crop and its mirror image, which gives the paper's rows, and the centre crop alone (Section 5.2)."""

CALIBRATION_THRESHOLD = 0.932107
"""The authors' threshold, chosen on the validation set for the lowest ACER; scores below it are pressed to [0, 0.5)."""

_FOLDER = re.compile(r"(?P<experiment>.+)_seed(?P<seed>\d+)")


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
        name = _FOLDER.fullmatch(path.parts[-3])
        experiment = RELEASED_EXPERIMENTS.get(name["experiment"], name["experiment"])
        score = _score_file(path, len(frames), crop)
        tables.append(score_table(frames, score, experiment, int(path.parts[-2][-1]), int(name["seed"])))
    if not tables:
        raise FileNotFoundError(f"{root}/data/opts has no scores of epoch {epoch}; 31 and 50 are released")
    return pd.concat(tables, ignore_index=True).sort_values(list(NETWORK), kind="stable", ignore_index=True)


def read_snapshots(root: str | Path) -> pd.DataFrame:
    """All that was released of rows A to D as one table: a scores table with the columns ``epoch`` and ``crop`` besides.

    Raises:
        FileNotFoundError, ValueError: as ``read_released``, or one of ``RELEASED_NETWORKS`` is missing at an epoch.
    """
    parts = []
    for epoch in RELEASED_EPOCHS:
        for crop in RELEASED_CROPS:
            table = read_released(root, epoch, crop)
            table = table[table["experiment"].isin(RELEASED_EXPERIMENTS.values())]
            missing = set(RELEASED_NETWORKS) - set(table[list(NETWORK)].itertuples(index=False, name=None))
            if missing:
                listed = "; ".join(f"{name} fold {fold} seed {seed}" for name, fold, seed in sorted(missing))
                raise ValueError(f"{len(missing)} of 21 networks are missing at epoch {epoch}: {listed}")
            parts.append(table.assign(epoch=epoch, crop=crop))
    return pd.concat(parts, ignore_index=True)


def released_frames(root: str | Path) -> pd.DataFrame:
    """The labelled frame table of the validation set, ``data/lists/phase1_list.txt`` of the authors' repository.

    Raises:
        FileNotFoundError: the folder is no clone of it. ValueError: the list has no labels.
    """
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
    score = scores.set_index("sample")["score"]
    if score.index.has_duplicates or not frames["sample"].isin(score.index).all():
        raise ValueError("a submission needs one score for each frame of the list; frames lack one, or have several")
    values = score.reindex(frames["sample"]).to_numpy()
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("a submission needs probabilities in [0, 1]; some scores are not")
    if calibrate is not None:
        if not 0.5 <= calibrate < 1:
            raise ValueError(
                f"calibrate is {calibrate!r}; it must lie in [0.5, 1), else refused frames pass accepted ones"
            )
        pressed = np.minimum(values / calibrate * 0.5, 0.499999)  # six decimals must not round a refused frame to 0.5
        values = np.where(values < calibrate, pressed, values)
    paths = frames[["rgb", "depth", "ir"]].itertuples(index=False)
    lines = [f"{rgb} {depth} {ir} {value:.6f}\n" for (rgb, depth, ir), value in zip(paths, values, strict=True)]
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

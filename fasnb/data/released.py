"""Scores that others released, the authors and the third team, as the table that our own networks give; submissions."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from fasnb.data.frames import frame_table, read_list
from fasnb.data.scores import NETWORK, score_table
from fasnb.paper.published import KNOWN
from fasnb.tools.files import write_text

RELEASED_EXPERIMENTS = {"exp1_2stage": "A", "exp2": "D", "exp3b": "B", "exp3c": "C"}
"""Folder name in the authors' repository, less its seed -> row of Table 3."""

_SEEDS = {"A": (1,), "B": (1, 2), "C": (1, 2), "D": (1, 2)}
RELEASED_NETWORKS = tuple((row, fold, seed) for row, seeds in _SEEDS.items() for seed in seeds for fold in (1, 2, 3))
"""(row of Table 3, fold, seed) of the 21 networks whose scores the authors released."""

_CROPS = ("mean", "crop0")


def read_released(root: str | Path, epoch: int = 31, crop: str = "mean", split: str = "valid") -> pd.DataFrame:
    """The scores of the authors' networks on CASIA-SURF's validation or test set, from a clone of their repository.

    ``experiment`` is the row of Table 3 (A, B, C, D) where the folder is one of ``RELEASED_EXPERIMENTS``, else the
    folder's name less its seed. Subjects and attacks are not published for these frames. ``epoch`` is 31 or 50;
    ``crop`` is "mean", of the centre crop and its mirror image as in the paper's rows, or "crop0", the former alone.
    ``split`` is valid or test, released at epoch 31 alone, of which not even the frames' names are published.
    FileNotFoundError where the clone has no list or no such scores, ValueError for a file without a pair for each frame.
    """
    if crop not in _CROPS:
        raise ValueError(f"crop is {crop!r}; it must be one of {', '.join(_CROPS)}")
    frames, tables, written = released_frames(root, split), [], {"valid": "val", "test": "test"}[split]
    for path in sorted(Path(root).glob(f"data/opts/*_seed[0-9]/fold[123]/tta_epoch{epoch}_{written}_score.txt")):
        name, seed = path.parts[-3].rsplit("_seed", 1)
        experiment, fold = RELEASED_EXPERIMENTS.get(name, name), int(path.parts[-2][-1])
        tables.append(score_table(frames, _score_file(path, len(frames), crop), experiment, fold, int(seed)))
    if not tables:
        there = "31 and 50 are released; of test 31 alone"
        raise FileNotFoundError(f"{root}/data/opts has no {split} scores of epoch {epoch}; {there}")
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


def read_third_team(root: str | Path, frames: pd.DataFrame) -> pd.DataFrame:
    """The scores of the third team's depth networks on the validation set, from a clone of its repository.

    ``frames`` are the authors' ``released_frames``: labels are found by a frame's name. ``experiment`` is the network and
    its epoch as the file's name has them; fold and seed are missing. FileNotFoundError where there is no submission,
    ValueError for one that is damaged or does not score each of the frames once.
    """
    tables = []
    for path in sorted(Path(root).glob("submission/*_*_*_submission.txt")):
        *_, network, epoch, _ = path.stem.split("_")
        tables.append(score_table(frames, _submission(path, frames), f"{network}, epoch {epoch}", pd.NA, pd.NA))
    if not tables:
        raise FileNotFoundError(f"{root} has no submission/*_submission.txt; check out commit 0b8462aa there")
    return pd.concat(tables, ignore_index=True)


def released_frames(root: str | Path, split: str = "valid") -> pd.DataFrame:
    """The validation set's frame table, from a clone, else FileNotFoundError; of test, numbered frames without labels."""
    if split == "test":
        return frame_table(sample=[f"test frame {i}" for i in range(KNOWN[split]["frames"])], split=split)
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


def _read(path: Path, **how) -> pd.DataFrame:
    try:
        return pd.read_csv(path, **how)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as scores ({str(error).strip()}); clone the repository anew") from None


def _score_file(path: Path, frames: int, crop: str) -> np.ndarray:
    """P(bona fide) of each frame, float64 (frames,)."""
    table = _read(path, dtype=np.float64)
    whole = list(table.columns) == ["crop0", "crop0_hflip"] and len(table) == frames
    if not whole or not ((table >= 0) & (table <= 1)).all(axis=None):
        raise ValueError(f"{path} must hold {frames:,} pairs crop0,crop0_hflip in [0, 1]; clone the repository anew")
    return (table.mean(axis=1) if crop == "mean" else table[crop]).to_numpy()


def _submission(path: Path, frames: pd.DataFrame) -> pd.Series:
    """P(bona fide) of each frame, float64 (frames,), from lines ``color depth ir score``."""
    table = _read(path, sep=" ", header=None, dtype={3: np.float64})
    if table.shape[1] != 4 or not table[3].between(0, 1).all():
        raise ValueError(f"{path} must hold lines color depth ir score, in [0, 1]; clone the repository anew")
    often = table[0].value_counts().reindex(frames["sample"], fill_value=0)  # 0: missing, 2: doubled
    if len(table) != len(often) or (often != 1).any():
        frame = often.index[often != 1][:1].to_list() or table[0][~table[0].isin(often.index)].to_list()
        what = f"{path} does not score each of the {len(often):,} frames of the list once, see {frame[0]}"
        raise ValueError(f"{what}; clone the repository anew")
    return table.set_index(0)[3][frames["sample"]]

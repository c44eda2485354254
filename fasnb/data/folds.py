"""Folds: which training frames each network does not see (Sections 4.1, 5.3, 5.4).

A fold assignment is one Series ``fold``, indexed as the frame table: the fold, from 1, that holds the frame out.
Network k is trained on the frames with fold != k.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from fasnb.data.frames import ListError, read_list


def subject_folds(frames: pd.DataFrame, seed: int, folds: int = 5) -> pd.Series:
    """Subject k-fold of Section 5.3: every subject's frames are held out together, by one fold.

    Raises:
        ValueError: fewer subjects than folds, or a frame whose subject is unknown.
    """
    _require_known(frames, "subject")
    subjects = np.sort(frames["subject"].unique().astype(str))
    if len(subjects) < folds:
        raise ValueError(f"{folds} folds need at least {folds} subjects, found {len(subjects)}")
    shuffled = np.random.default_rng(seed).permutation(subjects)
    fold_of = {subject: place % folds + 1 for place, subject in enumerate(shuffled)}
    return frames["subject"].map(fold_of).astype("int64").rename("fold")


def attack_folds(frames: pd.DataFrame, seed: int) -> pd.Series:
    """Attack folds of Sections 4.1 and 5.4: each holds out one train attack and a third of the subjects' bona fide.

    Fold 1, 2, 3 holds out the lowest, middle, highest attack present (4, 5, 6 in CASIA-SURF); the bona fide frames are
    dealt out by subject, at random by ``seed``.

    Raises:
        ValueError: other than three attacks, fewer than three subjects with bona fide frames, or an attack or subject
            that is unknown.
    """
    _require_known(frames, "attack")
    attacks = sorted(set(map(int, frames["attack"])) - {0})
    if len(attacks) != 3:
        raise ValueError(f"attack folds need three attacks in the training frames, found {attacks}")
    fold = frames["attack"].map({attack: k for k, attack in enumerate(attacks, 1)})
    bona_fide = frames["attack"] == 0
    fold[bona_fide] = subject_folds(frames[bona_fide], seed, 3)
    return fold.astype("int64").rename("fold")


def read_attack_folds(root: str | Path) -> tuple[pd.DataFrame, pd.Series]:
    """The authors' own attack folds, ``data/lists/folds_by_fakes/fold{1,2,3}`` in a clone of their repository.

    Returns:
        The frame table of all training frames and the fold that holds each out.

    Raises:
        FileNotFoundError: a list is not there.
        ListError: a train list is not the complement of its fold's held-out list.
    """
    folder = Path(root) / "data" / "lists" / "folds_by_fakes"
    held = [read_list(folder / f"fold{k}" / "val_list_orgl.txt").assign(fold=k) for k in (1, 2, 3)]
    frames = pd.concat(held, ignore_index=True)
    for k in (1, 2, 3):
        path = folder / f"fold{k}" / "train_list.txt"
        differing = set(read_list(path)["sample"]) ^ set(frames.loc[frames["fold"] != k, "sample"])
        if differing or frames["sample"].duplicated().any():
            message = f"{path}: {len(differing):,} frames differ from what the folds hold out; clone the lists anew"
            raise ListError(message)
    return frames.drop(columns="fold"), frames["fold"]


def _require_known(frames: pd.DataFrame, column: str) -> None:
    missing = int(frames[column].isna().sum())
    if missing:
        raise ValueError(f"folds need the {column} of every training frame; it is missing for {missing:,} frames")

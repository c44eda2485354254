"""Folds: which training frames each network does not see (Sections 4.1, 5.3, 5.4).

A fold assignment is one Series ``fold``, indexed as the frame table: the fold, from 1, that holds the frame out.
Network k is trained on the frames with fold != k.
"""

import numpy as np
import pandas as pd


def subject_folds(frames: pd.DataFrame, seed: int, folds: int = 5) -> pd.Series:
    """Subject k-fold of Section 5.3: every subject's frames are held out together, by one fold.

    Raises ValueError for fewer subjects than folds, or a frame whose subject is unknown.
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
    dealt out by subject, at random by ``seed``. Raises ValueError for other than three attacks, fewer than three
    subjects, or an unknown attack or subject.
    """
    _require_known(frames, "attack")
    attacks = sorted(set(map(int, frames["attack"])) - {0})
    if len(attacks) != 3:
        raise ValueError(f"attack folds need three attacks in the training frames, found {attacks}")
    fold = frames["attack"].map({attack: k for k, attack in enumerate(attacks, 1)})
    bona_fide = frames["attack"] == 0
    fold[bona_fide] = subject_folds(frames[bona_fide], seed, 3)
    return fold.astype("int64").rename("fold")


def _require_known(frames: pd.DataFrame, column: str) -> None:
    missing = int(frames[column].isna().sum())
    if missing:
        raise ValueError(f"folds need the {column} of every training frame; it is missing for {missing:,} frames")

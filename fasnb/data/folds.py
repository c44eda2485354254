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
    if missing := int(frames["subject"].isna().sum()):
        what = f"folds need the subject of every training frame; it is missing for {missing:,} frames"
        raise ValueError(f"{what}; give the list a column subject")
    subjects = np.sort(frames["subject"].unique().astype(str))
    if len(subjects) < folds:
        raise ValueError(f"{folds} folds need at least {folds} subjects to train on, found {len(subjects)}")
    shuffled = np.random.default_rng(seed).permutation(subjects)
    fold_of = {subject: place % folds + 1 for place, subject in enumerate(shuffled)}
    return frames["subject"].map(fold_of).astype("int64").rename("fold")


def attack_folds(frames: pd.DataFrame, seed: int) -> pd.Series:
    """Attack folds of Sections 4.1 and 5.4: each holds out a third of the attack types and of the subjects' bona fide.

    Types are dealt out in their order: fold 1, 2, 3 holds out attack 4, 5, 6 of CASIA-SURF. The bona fide frames are
    dealt out by subject, at random by ``seed``. Raises ValueError for fewer than three types, an unknown type or subject,
    and fewer than three subjects.
    """
    attacks = frames["attack"].where(frames["label"] == 0)
    kinds = sorted(attacks.dropna().unique())
    if len(kinds) < 3 or attacks[frames["label"] == 0].isna().any():
        raise ValueError(f"attack folds need the type of every attack, and three types; found {kinds}")
    fold = attacks.map({kind: place % 3 + 1 for place, kind in enumerate(kinds)}).astype("Int64")
    bona_fide = frames["label"] == 1
    fold[bona_fide] = subject_folds(frames[bona_fide], seed, 3)
    return fold.astype("int64").rename("fold")


def divided(frames: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Frames with a split each: the list's, or, where it has none, half of the people train, a quarter valid and test.

    Raises ValueError where it has some, where subjects are unknown or in several, or train or valid lacks labels or a class.
    """
    if frames["split"].isna().all():
        if unknown := frames["subject"].isna().sum():
            raise ValueError(f"{unknown:,} frames have no subject, by which they are divided; or give the list a split")
        people = np.random.default_rng(seed).permutation(np.sort(frames["subject"].unique().astype(str)))
        part = {who: ("train", "valid", "train", "test")[place % 4] for place, who in enumerate(people)}
        frames = frames.assign(split=frames["subject"].map(part).astype("string"))
    if frames["split"].isna().any():
        raise ValueError(f"{frames['split'].isna().sum():,} frames of the list have no split; give all one, or none")
    if (several := frames.groupby("subject")["split"].nunique() > 1).any():
        raise ValueError(f"{several.sum():,} people are in several splits, such as {several.idxmax()}; give each one")
    for split in ("train", "valid"):
        classes = frames.loc[frames["split"] == split, "label"]
        if classes.nunique() < 2 or classes.isna().any():
            raise ValueError(f"{split} is empty, or has unlabelled frames or one class; add labels, people or a split")
    return frames

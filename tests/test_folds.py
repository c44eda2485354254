"""Folds of subjects and of attacks, the authors' own among them."""

import pandas as pd
import pytest

from fasnb.data.folds import attack_folds, read_attack_folds, subject_folds
from fasnb.data.frames import frame_table

FACTS_HELD_OUT = {1: [6518, 2826], 2: [6942, 3044], 3: [6864, 3072]}


def test_authors_attack_folds(released):
    frames, fold = read_attack_folds(released)
    assert (len(frames), frames["subject"].nunique(), set(frames["split"])) == (29266, 300, {"train"})
    assert frames["attack"].value_counts().to_dict() == {0: 8942, 4: 6518, 5: 6942, 6: 6864}
    assert dict(pd.crosstab(frames["label"], fold).to_dict("list")) == FACTS_HELD_OUT
    assert fold[frames["label"] == 1].groupby(frames["subject"]).nunique().max() == 1


def test_attack_folds_hold_out_one_attack_and_a_third_of_the_subjects(released):
    frames, _ = read_attack_folds(released)
    fold = attack_folds(frames, seed=7)
    for k, attack in ((1, 4), (2, 5), (3, 6)):
        held = frames[fold == k]
        assert set(held["attack"]) == {0, attack}
        trained, kept = frames[(fold != k) & (frames["label"] == 1)], held[held["label"] == 1]
        assert not set(trained["subject"]) & set(kept["subject"])
        assert kept["subject"].nunique() == 100
    assert fold.equals(attack_folds(frames, seed=7))
    assert not fold.equals(attack_folds(frames, seed=8))


def test_subject_folds_keep_a_subject_together(released):
    frames, _ = read_attack_folds(released)
    fold = subject_folds(frames, seed=7)
    assert fold.groupby(frames["subject"]).nunique().max() == 1
    assert frames.groupby(fold)["subject"].nunique().to_dict() == dict.fromkeys(range(1, 6), 60)


def test_folds_refuse_what_is_unknown_or_too_few():
    frames = frame_table(sample=[f"{number}-color.jpg" for number in range(10)], attack=[0, 4] * 5)
    with pytest.raises(ValueError, match="subject of every training frame; it is missing for 10"):
        subject_folds(frames, seed=0)
    with pytest.raises(ValueError, match=r"three attacks in the training frames, found \[4\]"):
        attack_folds(frames, seed=0)

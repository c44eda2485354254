"""Folds of subjects and of attacks."""

import pandas as pd
import pytest

from fasnb.data.folds import attack_folds, subject_folds
from fasnb.data.frames import frame_table, read_list


@pytest.fixture(scope="module")
def frames(released):
    """The challenge's training frames, from the lists of the authors' attack folds."""
    lists = [released / f"data/lists/folds_by_fakes/fold{k}/val_list_orgl.txt" for k in (1, 2, 3)]
    return pd.concat(map(read_list, lists), ignore_index=True)


def test_all_training_frames_are_in_the_authors_lists(frames):
    assert (len(frames), frames["subject"].nunique(), set(frames["split"])) == (29266, 300, {"train"})
    assert frames["attack"].value_counts().to_dict() == {0: 8942, 4: 6518, 5: 6942, 6: 6864}


def test_attack_folds_hold_out_one_attack_and_a_third_of_the_subjects(frames):
    fold = attack_folds(frames, seed=7)
    for k, attack in ((1, 4), (2, 5), (3, 6)):
        held = frames[fold == k]
        assert set(held["attack"]) == {0, attack}
        trained, kept = frames[(fold != k) & (frames["label"] == 1)], held[held["label"] == 1]
        assert not set(trained["subject"]) & set(kept["subject"])
        assert kept["subject"].nunique() == 100
    assert fold.equals(attack_folds(frames, seed=7))
    assert not fold.equals(attack_folds(frames, seed=8))


def test_subject_folds_keep_a_subject_together(frames):
    fold = subject_folds(frames, seed=7)
    assert fold.groupby(frames["subject"]).nunique().max() == 1
    assert frames.groupby(fold)["subject"].nunique().to_dict() == dict.fromkeys(range(1, 6), 60)


def test_folds_refuse_what_is_unknown_or_too_few():
    frames = frame_table(sample=[f"{number}-color.jpg" for number in range(10)], attack=[0, 4] * 5)
    with pytest.raises(ValueError, match="subject of every training frame; it is missing for 10"):
        subject_folds(frames, seed=0)
    with pytest.raises(ValueError, match="3 folds need at least 3 subjects to train on, found 2"):
        subject_folds(frames.assign(subject=["anna", "ben"] * 5), 0, 3)
    with pytest.raises(ValueError, match="the type of every attack, and three types"):
        attack_folds(frames.assign(subject="anna", label=[1, 0] * 5), seed=0)

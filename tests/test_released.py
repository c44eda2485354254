"""The paper's own rows from the released scores, by plain means and sorting; damaged clones; submission files."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest

from fasnb.data.frames import frame_table, read_list
from fasnb.data.released import (
    RELEASED_NETWORKS,
    read_released,
    read_snapshots,
    read_third_team,
    released_frames,
    write_submission,
)
from fasnb.data.scores import NETWORK
from fasnb.paper.published import TABLE5


@pytest.fixture(scope="module")
def networks(released):
    return read_released(released)


def printed(rows, fpr=1e-4):
    """TPR in percent, to the paper's two digits, of scores averaged over folds, then seeds, then experiments."""
    keys = ["sample", "label", *NETWORK]
    for last in ("fold", "seed", "experiment"):
        keys.remove(last)
        rows = rows.groupby(keys, sort=False)["score"].mean().reset_index()
    attacks = np.sort(rows["score"][rows["label"] == 0])[::-1]
    threshold = attacks[int(fpr * len(attacks))]  # the highest attack that may not pass
    return round(100 * (rows["score"][rows["label"] == 1] > threshold).mean(), 2)


def rows_of(table):
    """TPR of every experiment and seed, and of the ensemble of all."""
    found = {f"{name}{seed}": printed(rows) for (name, seed), rows in table.groupby(["experiment", "seed"])}
    return found | {"ensemble": printed(table)}


def test_table_5_to_the_printed_digit(networks):
    last = TABLE5.set_index("experiment").loc["A"]
    one = networks[networks["experiment"] == "A"]
    assert [printed(one, fpr) for fpr in (1e-2, 1e-3, 1e-4)] == [last[fpr] for fpr in (1e-2, 1e-3, 1e-4)]


def test_every_network_at_every_snapshot(released):
    """The numbers of the release that were computed apart from this project."""
    table = read_snapshots(released)
    assert len(table) == 4 * 21 * 9608 and len(RELEASED_NETWORKS) == 21
    found = {key: rows_of(rows) for key, rows in table.groupby(["epoch", "crop"])}
    names = ["A1", "B1", "B2", "C1", "C2", "D1", "D2", "ensemble"]
    assert [found[31, "mean"][name] for name in names] == [99.87, 99.63, 99.27, 99.33, 99.83, 98.70, 99.63, 100.0]
    assert [found[50, "mean"][name] for name in names] == [97.06, 100.0, 100.0, 99.50, 99.63, 97.36, 98.53, 99.63]
    assert [found[31, "crop0"][name] for name in ("A1", "B1", "C1", "D1")] == [99.67, 99.80, 99.63, 99.23]


def test_the_crop_chooses_the_column(released, networks):
    path = released / "data/opts/exp3b_seed2/fold3"
    columns, test = (pd.read_csv(path / f"tta_epoch31_{split}_score.txt") for split in ("val", "test"))
    tables = (read_released(released, crop="crop0"), columns["crop0"]), (networks, columns.mean(axis=1))
    for table, score in (*tables, (read_released(released, split="test"), test.mean(axis=1))):
        one = table.query("experiment == 'B' and fold == 3 and seed == 2")
        assert one["score"].to_list() == score.to_list() and len(table) == 21 * len(score)
    assert table["label"].isna().all()  # of the test frames
    with pytest.raises(ValueError, match="crop is 'crop1'; it must be one of mean, crop0"):
        read_released(released, crop="crop1")


@pytest.fixture
def clone(released, tmp_path):
    """The list and one network's scores, at epoch 31."""
    for name in ("lists/phase1_list.txt", "opts/exp2_seed1/fold1/tta_epoch31_val_score.txt"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(released / "data" / name, tmp_path / "data" / name)
    return tmp_path


def test_a_part_of_the_networks_is_read_as_it_is(clone, networks, tmp_path_factory):
    found = read_released(clone)
    same = networks.query("experiment == 'D' and fold == 1 and seed == 1")
    assert found["score"].to_list() == same["score"].to_list() and set(found["experiment"]) == {"D"}
    with pytest.raises(FileNotFoundError, match="no valid scores of epoch 30; 31 and 50 are released"):
        read_released(clone, epoch=30)
    with pytest.raises(ValueError, match="20 of 21 networks are missing at epoch 31: .*A.*, 1, 1"):
        read_snapshots(clone)
    with pytest.raises(FileNotFoundError, match=r"no submission/\*_submission.txt; check out commit 0b8462aa"):
        read_third_team(clone, released_frames(clone))
    with pytest.raises(FileNotFoundError, match="is no clone of"):
        read_released(tmp_path_factory.mktemp("nothing"))


@pytest.mark.parametrize("edit", [lambda lines: lines[:99], lambda lines: [*lines[:5], "17,0.5", *lines[6:]]])
def test_a_score_file_that_was_cut_or_changed_is_refused(clone, edit):
    path = clone / "data/opts/exp2_seed1/fold1/tta_epoch31_val_score.txt"
    path.write_text("".join(f"{line}\n" for line in edit(path.read_text().splitlines())))
    with pytest.raises(ValueError, match="must hold 9,608 pairs crop0,crop0_hflip in"):
        read_released(clone)


def test_the_third_teams_networks_are_read_by_frame(third_team, released):
    frames = released_frames(released)
    table = read_third_team(third_team, frames.sample(frac=1, random_state=0))
    (path,) = (third_team / "submission").glob("*_FeatherNet54_41_submission.txt")
    one = table[table["experiment"] == "FeatherNet54, epoch 41"].set_index("sample").loc[frames["sample"]]
    assert one["score"].to_list() == pd.read_csv(path, sep=" ", header=None)[3].to_list()
    assert one["label"].to_list() == frames["label"].to_list() and len(table) == 10 * 9608


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda lines: lines[:5] + lines[6:],
            "each of the 9,608 frames of the list once, see Val/0000/000005-color.jpg",
        ),
        (lambda lines: [*lines, lines[7]], "each of the 9,608 frames of the list once, see Val/0000/000007-color.jpg"),
        (lambda lines: [*lines, "Val/x-color.jpg d i 0.5"], "frames of the list once, see Val/x-color.jpg"),
        (lambda lines: [*lines[:5], lines[5] + "e9", *lines[6:]], "must hold lines color depth ir score"),
        (lambda lines: [*lines[:5], lines[5] + " 1", *lines[6:]], "cannot be read as scores"),
    ],
)
def test_a_damaged_submission_is_named_in_one_sentence(third_team, released, tmp_path, edit, message):
    source = next((third_team / "submission").glob("*_FeatherNet54_41_submission.txt"))
    (tmp_path / "submission").mkdir()
    (tmp_path / "submission" / source.name).write_text("\n".join(edit(source.read_text().splitlines())))
    with pytest.raises(ValueError, match=re.escape(source.name) + f".* {message}.*clone the repository anew$"):
        read_third_team(tmp_path, released_frames(released))


def scored(values):
    names = [f"{i}-color.jpg" for i in range(len(values))]
    return frame_table(sample=names, rgb=names, depth=names, ir=names).assign(score=values)


def test_submission_in_the_challenge_format(reference, networks, tmp_path):
    frames = read_list(reference / "official/val_public_list.txt")
    mean = networks.groupby("sample")["score"].mean().reset_index()
    lines = write_submission(frames, mean, tmp_path / "s.txt").read_text().splitlines()
    listed = (reference / "official/val_public_list.txt").read_text().splitlines()
    assert [line.rsplit(" ", 1)[0] for line in lines] == [line.strip() for line in listed]
    found = [float(line.rsplit(" ", 1)[1]) for line in lines]
    assert found == pytest.approx(mean.set_index("sample")["score"][frames["sample"]].to_list(), abs=5e-7)


@pytest.mark.parametrize(("values", "what"), [([-5.0, 0.5, 1], r"in \[0, 1\]"), ([0.5, 0.5], "lack one")])
def test_submissions_that_would_mislead_are_refused(tmp_path, values, what):
    with pytest.raises(ValueError, match=what):
        write_submission(scored([0.5] * 3), scored(values), tmp_path / "s.txt")
    assert not (tmp_path / "s.txt").exists()

"""The paper's own rows from the released scores, and what chapters say of these and of another team's, by plain means
and sorting; damaged clones; submission files."""

import re
import shutil
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY, listed
from scipy.stats import binomtest, fisher_exact, mannwhitneyu, spearmanr

from fasnb.data import read_list, read_released, read_snapshots, released_frames, write_submission
from fasnb.data.released import RELEASED_NETWORKS, read_third_team
from fasnb.data.scores import NETWORK
from fasnb.metrics import matrix
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


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda lines: lines[:5] + lines[6:], "each of the 9,608 frames of the list once, see Val/0000/000005-c"),
        (lambda lines: [*lines, lines[7]], "each of the 9,608 frames of the list once, see Val/0000/000007-color.jpg"),
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


def test_a_submission_has_the_challenges_format_and_one_that_would_mislead_is_refused(reference, networks, tmp_path):
    frames = read_list(reference / "official/val_public_list.txt")
    mean = networks.groupby("sample")["score"].mean().reset_index()
    lines = write_submission(frames, mean, tmp_path / "s.txt").read_text().splitlines()
    names, found = zip(*(line.rsplit(" ", 1) for line in lines), strict=True)
    given = (reference / "official/val_public_list.txt").read_text().splitlines()
    assert list(names) == [line.strip() for line in given]
    assert list(map(float, found)) == pytest.approx(
        mean.set_index("sample")["score"][frames["sample"]].to_list(), abs=5e-7
    )

    for values, what in (([-5.0, 0.5, 1], r"in \[0, 1\]"), ([0.5, 0.5], "lack one")):
        with pytest.raises(ValueError, match=what):
            write_submission(listed(3), listed(len(values)).assign(score=values), tmp_path / "misleading.txt")
    assert not (tmp_path / "misleading.txt").exists()


@pytest.fixture(scope="module")
def labels(released):
    return released_frames(released)["label"].to_numpy(dtype=int)


@pytest.fixture(scope="module")
def side_by_side(networks, released):
    """(epoch, split) -> (frames, 21), columns (row of Table 3, seed, fold)."""
    others = {
        (epoch, split): read_released(released, epoch, split=split) for epoch, split in ((50, "valid"), (31, "test"))
    }
    tables = {(31, "valid"): networks} | others
    return {of: matrix(table, ["experiment", "seed", "fold"]).sort_index(axis=1) for of, table in tables.items()}


@pytest.fixture(scope="module")
def depth(third_team, released):
    frames = released_frames(released)
    table = read_third_team(third_team, frames.sample(frac=1, random_state=0))  # each is found by its name
    return matrix(table).loc[frames["sample"]].to_numpy()


def systems(scores):
    """Five systems' scores, all seeds averaged: A to D, and the mean of these."""
    members = scores.T.groupby(level=[0, 1]).mean().groupby(level=0).mean().to_numpy()
    return [*members, members.mean(axis=0)]


def refused(labels, score):
    """Bona fide frames that do not exceed the highest attack: at FPR = 1e-4 no attack frame may pass."""
    return int((score[labels == 1] <= score[labels == 0].max()).sum())


def threes(labels, scores):
    return [refused(labels, scores[:, list(of)].mean(axis=1)) for of in combinations(range(scores.shape[1]), 3)]


def test_the_table_of_results_shows_what_the_files_give(labels, side_by_side, depth):
    text = (REPOSITORY / "results" / "README.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.count("|") == 5][2:]
    for column, epoch in ((2, 31), (3, 50)):
        scores = side_by_side[epoch, "valid"]
        shown = [*(scores[row, 1].mean(axis=1) for row in "ABCD"), systems(scores)[-1], scores.mean(axis=1)]
        counts = [refused(labels, np.asarray(score)) for score in shown]
        assert [row[column] for row in rows[:6]] == [f"{100 * (1 - n / 2994):.2f} ({n})" for n in counts]
    assert [row[1] for row in rows[:5]] == [row[2].split(" ")[0] for row in rows[:5]]  # the published ones
    for row, counts in zip(rows[6:8], ([refused(labels, one) for one in depth.T], threes(labels, depth)), strict=True):
        assert row[2] == f"({min(counts)} to {max(counts)})"
    assert rows[8][2] == "100.00 (0)" and refused(labels, depth.mean(axis=1)) == 0 and len(rows) == 9


def test_depth_networks_of_another_team_on_the_same_frames(labels, side_by_side, depth):
    scores = side_by_side[31, "valid"]
    ten, own = ([refused(labels, one) for one in team.T] for team in (depth, scores.to_numpy()))
    assert sorted(ten) == [8, 17, 20, 29, 41, 72, 82, 87, 182, 869] and np.median(ten) == 56.5
    assert (min(own), np.median(own), max(own), round(mannwhitneyu(ten, own).pvalue, 2)) == (2, 32, 2994, 0.53)
    three = threes(labels, depth)
    assert np.percentile(three, [25, 50, 75]).tolist() == [1, 1, 3] and three.count(0) == 28
    winner, of_ten = systems(scores)[-1], depth.mean(axis=1)
    both = [(s[labels == 0].max(), s[labels == 1].min()) for s in (winner, of_ten, (winner + of_ten) / 2)]
    assert np.round(both, 4).tolist() == [[0.9281, 0.9321], [0.5196, 0.5770], [0.5901, 0.7877]]
    assert [int((s[labels == 0] > 0.5).sum()) for s in (winner, of_ten)] == [161, 1]
    alike = [spearmanr(winner[labels == kind], of_ten[labels == kind]).statistic for kind in (1, 0)]
    assert np.round(alike, 2).tolist() == [0.02, 0.36]
    wrong, distance = ((depth.T > 0.5) != (labels == 1)).any(axis=0), np.abs(winner - both[0][0])
    for kind, expected in ((0, (9, 2.7, "1e-08")), (1, (2, 0.6, "1e-02"))):
        near, rest = np.split(wrong[labels == kind][np.argsort(distance[labels == kind], kind="stable")], [25])
        p = fisher_exact([[near.sum(), (~near).sum()], [rest.sum(), (~rest).sum()]]).pvalue
        assert (near.sum(), round(100 * rest.mean(), 1), f"{p:.0e}") == expected


def test_bounds_of_the_test_column_without_labels(labels, side_by_side):
    """99.8739% of 17,458 bona fide frames are 17,436; FPR = 1e-4 lets 4 of 40,252 attacks pass."""
    assert int(1e6 * 17436 / 17458) == 998739 and int(1e-4 * 40252) == 4
    tested, limits = (
        systems(side_by_side[31, "test"]),
        [s[labels == 0].max() for s in systems(side_by_side[31, "valid"])],
    )
    highest = np.sort(tested[-1])[::-1]
    assert 0.9201 <= highest[17439] <= highest[17435] <= 0.9241 < limits[-1] and round(limits[-1], 5) == 0.92813
    *members, ensemble = (score > limit for score, limit in zip(tested, limits, strict=True))
    assert [17458 - one.sum() for one in (*members, ensemble)] == [103, 123, 74, 34, 25]
    apart = [(int((ensemble & ~one).sum()), int((one & ~ensemble).sum())) for one in members]
    worst = [max(binomtest(a - k, a - k + b).pvalue for k in range(5)) for a, b in apart]
    assert max(worst[:3]) < 3e-9 and round(worst[3], 2) == 0.56

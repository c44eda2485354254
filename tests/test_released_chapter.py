"""The table in results/README.md, and what is said of two teams' scores and of the test frames, recomputed by sorting and plain means."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest, fisher_exact, mannwhitneyu, spearmanr

from fasnb.data.released import read_released, read_third_team, released_frames
from fasnb.metrics import matrix


@pytest.fixture(scope="module")
def labels(released):
    return released_frames(released)["label"].to_numpy(dtype=int)


@pytest.fixture(scope="module")
def networks(released):
    """(epoch, split) -> (frames, 21), columns (row of Table 3, seed, fold)."""
    tables = {(e, s): read_released(released, e, split=s) for e, s in ((31, "valid"), (50, "valid"), (31, "test"))}
    return {of: matrix(table, ["experiment", "seed", "fold"]).sort_index(axis=1) for of, table in tables.items()}


@pytest.fixture(scope="module")
def depth(third_team, released):
    return matrix(read_third_team(third_team, released_frames(released))).to_numpy()


def systems(scores):
    """Five systems' scores, all seeds averaged: A to D, and the mean of these."""
    members = scores.T.groupby(level=[0, 1]).mean().groupby(level=0).mean().to_numpy()
    return [*members, members.mean(axis=0)]


def refused(labels, score):
    """Bona fide frames that do not exceed the highest attack: at FPR = 1e-4 no attack frame may pass."""
    return int((score[labels == 1] <= score[labels == 0].max()).sum())


def threes(labels, scores):
    return [refused(labels, scores[:, list(of)].mean(axis=1)) for of in combinations(range(scores.shape[1]), 3)]


def test_the_table_of_results_shows_what_the_files_give(labels, networks, depth):
    text = (Path(__file__).resolve().parent.parent / "results" / "README.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.count("|") == 5][2:]
    for column, epoch in ((2, 31), (3, 50)):
        scores = networks[epoch, "valid"]
        shown = [*(scores[row, 1].mean(axis=1) for row in "ABCD"), systems(scores)[-1], scores.mean(axis=1)]
        counts = [refused(labels, np.asarray(score)) for score in shown]
        assert [row[column] for row in rows[:6]] == [f"{100 * (1 - n / 2994):.2f} ({n})" for n in counts]
    assert [row[1] for row in rows[:5]] == [row[2].split(" ")[0] for row in rows[:5]]  # the published ones
    for row, counts in zip(rows[6:8], ([refused(labels, one) for one in depth.T], threes(labels, depth)), strict=True):
        assert row[2] == f"({min(counts)} to {max(counts)})"
    assert rows[8][2] == "100.00 (0)" and refused(labels, depth.mean(axis=1)) == 0 and len(rows) == 9


def test_depth_networks_of_another_team_on_the_same_frames(labels, networks, depth):
    scores = networks[31, "valid"]
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


def test_bounds_of_the_test_column_without_labels(labels, networks):
    """99.8739% of 17,458 bona fide frames are 17,436; FPR = 1e-4 lets 4 of 40,252 attacks pass."""
    assert int(1e6 * 17436 / 17458) == 998739 and int(1e-4 * 40252) == 4
    tested, limits = systems(networks[31, "test"]), [s[labels == 0].max() for s in systems(networks[31, "valid"])]
    highest = np.sort(tested[-1])[::-1]
    assert 0.9201 <= highest[17439] <= highest[17435] <= 0.9241 < limits[-1] and round(limits[-1], 5) == 0.92813
    *members, ensemble = (score > limit for score, limit in zip(tested, limits, strict=True))
    assert [17458 - one.sum() for one in (*members, ensemble)] == [103, 123, 74, 34, 25]
    apart = [(int((ensemble & ~one).sum()), int((one & ~ensemble).sum())) for one in members]
    worst = [max(binomtest(a - k, a - k + b).pvalue for k in range(5)) for a, b in apart]
    assert max(worst[:3]) < 3e-9 and round(worst[3], 2) == 0.56

"""Sentences about the tables of a run hold for whatever numbers they are made of."""

import numpy as np
import pandas as pd
import pytest

from fasnb.lab import readings


@pytest.mark.parametrize(
    ("gains", "said"),
    [((1.0, -2.0, 0.0), "The folds disagree"), ((1.0, 2.0, 3.0), "No fold contradicts another")],
)
def test_folds_agree_or_not(gains, said):
    wide = pd.DataFrame({"fold": [1, 2, 3], "old": [90.0] * 3, "new": 90.0 + np.array(gains)})
    told = readings.of_folds(wide, "old", "new", ("the old", "the new"))
    assert said in told and f"above the old in {sum(gain > 0 for gain in gains)} of 3 folds" in told


def test_cells_count_what_the_mean_rescues_and_loses():
    cell = ["A accepts, B accepts", "A accepts, B refuses", "A refuses, B accepts", "A refuses, B refuses"]
    told = readings.of_cells(pd.DataFrame({"cell": cell, "frames": [90, 4, 5, 1], "refused": [2, 1, 0, 0]}))
    assert (
        "of 9 that one model refuses the mean accepts 8" in told and "of 1 that both refuse the mean accepts 1" in told
    )
    assert "of 90 that both accept it refuses 2" in told
    told = readings.of_cells(pd.DataFrame({"cell": cell[:1], "frames": [90], "refused": [0]}))
    assert told.count("there is none") == 2


@pytest.mark.parametrize(("mean", "where"), [(0.1, "below both"), (0.4, "between both"), (0.9, "above both")])
def test_the_mean_has_a_threshold_of_its_own(mean, where):
    assert readings.of_borders({"A": 0.3, "B": 0.5, "mean": mean}).endswith(f"{where}.")


def test_the_worst_frame_of_one_may_be_the_worst_of_both():
    told = readings.of_worst({"A": 5, "B": 1040}, allowed=6)
    assert "the frame of A is as high" in told and "the frame of B stands lower" in told


def test_seeds_are_held_against_methods():
    def table(seeds, methods):
        rows = {"between seeds, pooled": seeds, "between methods, first seeds": methods}
        return pd.DataFrame({"method": list(rows), "standard deviation": rows.values()})

    assert "cannot rank them" in readings.of_spread(table(0.41, 0.10))
    assert "methods differ far more" in readings.of_spread(table(0.10, 0.41))
    assert "hardly ranks them" in readings.of_spread(table(0.46, 0.51))
    assert readings.of_spread(table(0.1, 0.4).iloc[1:]).startswith("One seed")


def test_a_small_test_set_does_not_resolve_a_strict_fpr():
    labels = np.repeat([1, 0], [363, 837])
    assert readings.of_test_frames(labels, 1e-3).endswith("one is too many.") and "0.12%" in readings.of_test_frames(
        labels, 1e-3
    )
    assert "8 may pass" in readings.of_test_frames(labels, 1e-2)


def test_a_difference_is_said_with_its_interval():
    gains = pd.Series({"1e-2": 0.1, "1e-3": -0.7})
    pair = pd.DataFrame({"low": [-3.2], "high": [1.7]})
    told = readings.of_camera_gains(gains, pair, 1e-3)
    assert "higher at 1 of 2" in told and "neither order is settled" in told
    assert "does not hold zero" in readings.of_camera_gains(gains, -pair.abs(), 1e-3)
    assert "interval" not in readings.of_camera_gains(gains, pair.iloc[:0], 1e-3)


def test_the_likest_pair_and_what_it_shares():
    square = pd.DataFrame(0.8, index=list("ABCD"), columns=list("ABCD"))
    square.loc["B", "C"] = 0.95
    assert (
        "B and C, with a correlation of 0.950; by Table 2 they share the backbone and the task"
        in readings.of_likest(square)
    )
    square.loc["B", "D"] = 0.99
    assert "neither" in readings.of_likest(square)


def test_ranks_name_the_class_of_the_first():
    ranks = pd.DataFrame({"class": ["attack", "attack", "bona fide"], "rank": [4, 5, 1]})
    assert readings.of_ranks(ranks).endswith("is of the class bona fide.")


def test_tables_are_told_by_what_was_measured():
    rows = pd.DataFrame({"experiment": ["zhang", "A"], "published": [60.54, 99.87], "measured": [np.nan, 99.1]})
    cameras = pd.DataFrame({"modality": ["RGB", "RGB", "RGB+IR+Depth"], "FPR": ["1e-2", "1e-3", "1e-3"]})
    cameras = cameras.assign(published=[71.74, 22.34, 100.0], measured=[40.0, 21.98, 99.1])
    told = readings.of_tables(rows, cameras, 1e-3).splitlines()
    assert told[0].endswith("for real data at FPR = 1e-4, first seeds: A: resnet-34, faces, MLFA 99.10 (99.87).")
    assert told[1].endswith("RGB 21.98 (22.34); RGB+IR+Depth 99.10 (100.00).")
    assert len(readings.of_tables(rows, cameras.head(1), 1e-3).splitlines()) == 1

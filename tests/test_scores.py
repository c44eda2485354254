"""The paper's own rows from the released scores; averaging; submission files."""

import shutil
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from fasnb import metrics
from fasnb.data.frames import frame_table, read_list
from fasnb.metrics import scores
from fasnb.paper.experiments import MEMBERS
from fasnb.paper.published import TABLE3, TABLE5


@pytest.fixture(scope="module")
def networks(released):
    return scores.read_released(released)


def printed(table, fpr=1e-4):
    return round(100 * metrics.tpr_at_fpr(table["label"], table["score"], fpr), 2)


def test_table_3_to_the_printed_digit(networks):
    models = scores.first_seed(scores.average(networks, over=["fold"]))
    rows = {name: printed(model) for name, model in models.groupby("experiment")}
    rows["ensemble"] = printed(scores.average(networks, over=["fold", "seed", "experiment"]))
    published = TABLE3.set_index("experiment")["published"]
    assert rows == {name: published[name] for name in (*MEMBERS, "ensemble")}


def test_last_row_of_table_5_to_the_printed_digit(networks):
    models = scores.first_seed(scores.average(networks, over=["fold"]))
    published = TABLE5.set_index("experiment").loc["A"]
    assert [printed(models[models["experiment"] == "A"], fpr) for fpr in (1e-2, 1e-3, 1e-4)] == [
        published[fpr] for fpr in (1e-2, 1e-3, 1e-4)
    ]


def test_second_seeds(networks):
    models = scores.average(networks, over=["fold"])
    second = {name: printed(model) for name, model in models[models["seed"] == 2].groupby("experiment")}
    assert second == {"B": 99.27, "C": 99.83, "D": 99.63}  # FACTS of the release; A has one seed


def test_other_epochs_are_named(released):
    with pytest.raises(FileNotFoundError, match="no scores of epoch 30; epochs 31 are there"):
        scores.read_released(released, epoch=30)


def test_a_folder_that_is_no_clone(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no clone of"):
        scores.read_released(tmp_path)


def test_a_cut_score_file_is_refused(released, tmp_path):
    (tmp_path / "data/lists").mkdir(parents=True)
    (tmp_path / "data/lists/phase1_list.txt").write_bytes((released / "data/lists/phase1_list.txt").read_bytes())
    folder = tmp_path / "data/opts/exp2_seed1/fold1"
    folder.mkdir(parents=True)
    whole = (released / "data/opts/exp2_seed1/fold1/tta_epoch31_val_score.txt").read_text()
    (folder / "tta_epoch31_val_score.txt").write_text(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="must hold 9,608 pairs"):
        scores.read_released(tmp_path)


def table(values, experiment="A", fold=1, seed=7):
    names = [f"{i}-color.jpg" for i in range(len(values))]
    frames = frame_table(sample=names, rgb=names, depth=names, ir=names, label=[i % 2 for i in range(len(values))])
    return scores.score_table(frames, values, experiment, fold, seed)


def test_the_order_of_averaging_matters_with_uneven_seeds():
    parts = [
        table([0.0, 0.0], "X", 1, 1),
        table([0.3, 0.6], "X", 2, 1),
        table([1.0, 1.0], "Y", 1, 1),
        table([0.0, 0.0], "Y", 1, 2),
    ]
    mean = scores.average(pd.concat(parts), over=["fold", "seed", "experiment"])
    assert mean["score"].to_list() == pytest.approx([(0.15 + 0.5) / 2, (0.3 + 0.5) / 2])
    assert mean["experiment"].to_list() == ["ensemble"] * 2 and mean["fold"].isna().all()


def test_an_incomplete_set_is_not_averaged():
    parts = [table([0, 1], "X", 1, 1), table([0, 1], "X", 2, 1), table([0, 1], "X", 1, 2)]
    with pytest.raises(scores.IncompleteError, match="1 of 4 networks are missing: X fold 2 seed 2"):
        scores.average(pd.concat(parts))
    with pytest.raises(scores.IncompleteError, match="2 of 3 networks are missing: X fold 2 seed 1; X fold 3 seed 1"):
        scores.average(parts[0], expected=[("X", k, 1) for k in (1, 2, 3)])


def test_networks_that_scored_different_frames_are_not_averaged():
    with pytest.raises(scores.IncompleteError, match="X fold 2 seed 7: 2"):
        scores.average(pd.concat([table([0, 1, 0.5], experiment="X", fold=1), table([0, 1], experiment="X", fold=2)]))


@pytest.mark.parametrize("over", [["fold"], ["fold", "seed"], ["fold", "seed", "experiment"]], ids=str)
@pytest.mark.parametrize("lost", [("A", 2), ("B", 3), (None, 1)], ids=str)
def test_a_fold_that_is_missing_everywhere_is_missed(networks, over, lost):
    experiment, fold = lost
    drop = (networks["fold"] == fold) & ((networks["experiment"] == experiment) | (experiment is None))
    with pytest.raises(scores.IncompleteError, match=f"networks are missing: .*fold {fold} seed"):
        scores.average(networks[~drop], over=over)


def test_staged_means_notice_a_missing_frame(networks):
    of_folds = scores.average(networks, over=["fold"])
    with pytest.raises(scores.IncompleteError, match="networks scored different frames"):
        scores.average(of_folds.drop(index=3), over=["seed"])


def test_missing_scores_and_contradicting_labels_are_not_averaged(networks):
    broken = networks.copy()
    broken.loc[5, "score"] = float("nan")
    with pytest.raises(scores.IncompleteError, match="1 scores are missing"):
        scores.average(broken)
    broken = networks.copy()
    broken.loc[5, "label"] = 1 - broken.loc[5, "label"]
    with pytest.raises(ValueError, match="has more than one label"):
        scores.average(broken)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("label,score\n0,1,0.9\n1,0,0.1\n", "cannot be read"),
        ("label,score,score\n0,1,0.9\n", "has the column score twice"),
        ("label,score\n1,2020-01-01\n", "score '2020-01-01' is not a number"),
    ],
)
def test_tables_that_are_no_scores_are_refused(tmp_path, text, what):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(ValueError, match=what):
        scores.read_scores(tmp_path / "s.csv")


def test_numbers_in_any_form_are_read(tmp_path):
    (tmp_path / "s.csv").write_text("label,score\n1,123456789012345678901234567890\n0,1\n")
    assert scores.read_scores(tmp_path / "s.csv")["score"].to_list() == pytest.approx([1.2345678901234568e29, 1])
    pd.DataFrame({"label": ["1", "0"], "score": [Decimal("0.5"), Decimal("0.25")]}).to_parquet(tmp_path / "s.parquet")
    found = scores.read_scores(tmp_path / "s.parquet")
    assert found["label"].to_list() == [1, 0] and found["score"].to_list() == [0.5, 0.25]
    pd.DataFrame({"label": [1], "score": [pd.Timestamp("2020-01-01")]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="is not a number"):
        scores.read_scores(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("values", "calibrate", "what"),
    [
        ([0.1, 0.6], 0.3, "calibrate is 0.3"),
        ([-5.0, 0.5], None, "1 scores are no probability"),
        ([0.5, np.inf], None, "1"),
    ],
)
def test_submissions_that_would_mislead_are_refused(tmp_path, values, calibrate, what):
    scored = table([0.5, 0.5]).assign(score=values)
    names = list(scored["sample"])
    frames = frame_table(sample=names, rgb=names, depth=names, ir=names)
    with pytest.raises(ValueError, match=what):
        scores.write_submission(frames, scored, tmp_path / "s.txt", calibrate)
    assert not (tmp_path / "s.txt").exists()


def test_scores_survive_parquet(tmp_path):
    written = table([0.1, 1 - 1e-15])
    scores.write_scores(written, tmp_path / "s.parquet")
    assert scores.read_scores(tmp_path / "s.parquet")["score"].to_list() == written["score"].to_list()


def test_submission_in_the_challenge_format(reference, networks, tmp_path):
    frames = read_list(reference / "official/val_public_list.txt")
    ensemble = scores.average(networks, over=["fold", "seed", "experiment"])
    lines = scores.write_submission(frames, ensemble, tmp_path / "s.txt").read_text().splitlines()
    listed = (reference / "official/val_public_list.txt").read_text().splitlines()
    assert [line.rsplit(" ", 1)[0] for line in lines] == [line.strip() for line in listed]
    assert [float(line.rsplit(" ", 1)[1]) for line in lines] == pytest.approx(ensemble["score"].to_list(), abs=5e-7)


def test_calibration_moves_the_threshold_to_one_half(tmp_path):
    values = [0.932107, 0.9321069, 0.4660535, 0.0, 1.0]
    written = table(values)
    frames = frame_table(sample=written["sample"], rgb=written["sample"], depth=written["sample"], ir=written["sample"])
    path = scores.write_submission(frames, written, tmp_path / "s.txt", calibrate=scores.CALIBRATION_THRESHOLD)
    assert [line.split()[3] for line in path.read_text().splitlines()] == [
        "0.932107",
        "0.499999",
        "0.250000",
        "0.000000",
        "1.000000",
    ]


def test_a_submission_needs_every_frame(tmp_path):
    written = table([0.1, 0.2])
    frames = frame_table(sample=["other.jpg"], rgb=["other.jpg"], depth=["other.jpg"], ir=["other.jpg"])
    with pytest.raises(scores.IncompleteError, match=r"1 frames lack one, see other\.jpg"):
        scores.write_submission(frames, written, tmp_path / "s.txt")
    assert not (tmp_path / "s.txt").exists()


def test_released_scores_outside_0_and_1_are_refused(released, tmp_path):
    shutil.copytree(released, tmp_path / "clone")
    path = tmp_path / "clone/data/opts/exp2_seed1/fold1/tta_epoch31_val_score.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:5], "17,0.5", *lines[6:]]) + "\n")
    with pytest.raises(ValueError, match=r"line 6: no probability in \[0, 1\] \(1 such lines\)"):
        scores.read_released(tmp_path / "clone")


def test_common_seeds_compare_equal_numbers_of_networks():
    parts = [table([0, 1], "A", 1, 1), table([0, 1], "B", 1, 1), table([0, 1], "B", 1, 2)]
    common = scores.common_seeds(pd.concat(parts))
    assert scores.networks(common) == [("A", 1, 1), ("B", 1, 1)]

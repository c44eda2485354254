"""The scores table: averaging, what is incomplete, and files."""

from decimal import Decimal

import pandas as pd
import pytest

from fasnb.data.frames import frame_table
from fasnb.metrics import scores


def table(values, experiment="A", fold=1, seed=7):
    names = [f"{i}-color.jpg" for i in range(len(values))]
    frames = frame_table(sample=names, rgb=names, depth=names, ir=names, label=[i % 2 for i in range(len(values))])
    return scores.score_table(frames, values, experiment, fold, seed)


@pytest.fixture
def networks():
    """Experiment A with one seed, B with two, three folds each."""
    seeds = [("A", 1), ("B", 1), ("B", 2)]
    return pd.concat(
        [table([0.1 * fold, 0.8, 0.3, 0.6], name, fold, seed) for name, seed in seeds for fold in (1, 2, 3)],
        ignore_index=True,
    )


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


OVER = [["fold"], ["fold", "seed"], ["fold", "seed", "experiment"]]


@pytest.mark.parametrize("over", OVER, ids=str)
@pytest.mark.parametrize("lost", [("A", 2), (None, 1)], ids=str)
def test_a_fold_that_is_missing_everywhere_is_missed(networks, over, lost):
    experiment, fold = lost
    drop = (networks["fold"] == fold) & ((networks["experiment"] == experiment) | (experiment is None))
    with pytest.raises(scores.IncompleteError, match=f"networks are missing: .*fold {fold} seed"):
        scores.average(networks[~drop], over=over)


@pytest.mark.parametrize("over", OVER, ids=str)
def test_a_last_fold_that_is_missing_everywhere_is_missed_where_it_is_expected(networks, over):
    without = networks[(networks["experiment"] != "B") | (networks["fold"] != 3)]
    scores.average(without, over=over)
    with pytest.raises(scores.IncompleteError, match="2 of 9 networks are missing: B fold 3 seed 1; B fold 3 seed 2"):
        scores.average(without, over=over, expected=scores.networks(networks))


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


def test_scores_survive_parquet(tmp_path):
    written = table([0.1, 1 - 1e-15])
    scores.write_scores(written, tmp_path / "s.parquet")
    assert scores.read_scores(tmp_path / "s.parquet")["score"].to_list() == written["score"].to_list()

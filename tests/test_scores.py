"""The scores table and its files, well made and not."""

import numpy as np
import pandas as pd
import pytest
from conftest import flip, listed

from fasnb.data import scores


def table(values):
    return scores.score_table(listed(len(values)), values, "A", fold=1, seed=7)


def test_a_network_gives_one_finite_score_for_each_frame():
    for values, message in (([0.5], "1,.* scores for 2 frames"), ([0.5, np.nan], "for 2 frames, 1 of them NaN")):
        with pytest.raises(ValueError, match=f"A fold 1 seed 7: .*{message}"):
            scores.score_table(listed(2), values, "A", 1, 7)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_scores_survive_a_file(tmp_path, ending):
    written = table([0.1, 1 - 1e-15])
    scores.write_scores(written, tmp_path / f"s.{ending}")
    found = scores.read_scores(tmp_path / f"s.{ending}")
    assert found["score"].to_list() == written["score"].to_list() and found["label"].dtype == "int64"
    pd.testing.assert_frame_equal(found.astype(scores.SCORE_TYPES), written)
    with pytest.raises(ValueError, match="must be .csv or .parquet"):
        scores.write_scores(written, tmp_path / "s.txt")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("label,score\n0,1,0.9\n1,0,0.1\n", "does not have the 2 fields"), ("label,score,score\n0,1,0.9\n", "names a column twice"),
        ("label,score\n1,2020-01-01\n", "line 2: '2020-01-01' is not a number"), ("label,score\n", "no rows"), ("", "is empty"),
        ("label,fake\n1,0.5\n", "has no column score; found label, fake"), ("label,score\n2,0.1\n1,0.2\n", "line 2: '2' is no label"),
        ("a.jpg 0.3\nb.jpg 1e-5\n", "has no column label; .*fasnb evaluate --frames LIST"), ("1 0\n0 1\n", "begin with a line of"),
    ],
)  # fmt: skip
def test_tables_that_are_no_scores_are_refused(tmp_path, text, what):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(ValueError, match=what) as error:
        scores.read_scores(tmp_path / "s.csv")
    assert str(tmp_path / "s.csv") in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["Label, Score\n1, 0.91\n0, 0.12\n", "sep=;\nlabel;liveness\nreal;0,91\nfake;0,12", "0-color.jpg 0.91\n1-color.jpg 0.12",
     "# net\n\nscore\tis_live\n91%\tTrue\n12 %\tFalse", "label,prob_fake,prob_real\n1.0,0.09,0.91\n-1.0,0.88,0.12",
     "a-color.jpg a-depth.jpg a-ir.jpg 0.91 1\nb-color.jpg b-depth.jpg b-ir.jpg 0.12 0\n"],
)  # fmt: skip
def test_tables_of_others_are_read(tmp_path, text):
    (tmp_path / "s.txt").write_bytes(text.encode("utf-16"))
    frames = table([0, 0]).assign(label=[1, 0], rgb="") if text[0] == "0" else None
    found = scores.read_scores(tmp_path / "s.txt", frames=frames)
    assert found["label"].to_list() == [1, 0] and found["score"].to_list() == [0.91, 0.12]


@pytest.mark.parametrize(
    ("label", "score"),
    [(["1", "0"], np.array([0.5, 0.25], np.float32)), ([True, False], ["0.5", "0.25"]),
     (pd.array([1, 0], "Int8"), pd.array([0.5, 0.25], "Float32"))],
)  # fmt: skip
def test_numbers_in_any_form_are_read_and_dates_refused(tmp_path, label, score):
    pd.DataFrame({"label": label, "score": score}).to_parquet(tmp_path / "s.parquet")
    found = scores.read_scores(tmp_path / "s.parquet")
    assert found["label"].to_list() == [1, 0] and found["score"].to_list() == [0.5, 0.25]
    pd.DataFrame({"label": label, "score": [pd.Timestamp("2020-01-01")] * 2}).to_parquet(tmp_path / "s.parquet")
    with pytest.raises(ValueError, match=r"s\.parquet"):
        scores.read_scores(tmp_path / "s.parquet")


def test_a_damaged_parquet_is_one_sentence(tmp_path):
    good = tmp_path / "s.parquet"
    scores.write_scores(table(np.linspace(0, 1, 100)), good)
    expected, refused = scores.read_scores(good), 0
    for bit in np.random.default_rng(0).integers(32, 8 * good.stat().st_size, 150):
        flip(good, bit)
        try:
            found = scores.read_scores(good)
        except ValueError as error:
            refused += str(good) in str(error)
        else:  # a bit that no value hangs on
            assert found["score"].equals(expected["score"]) and found["label"].equals(expected["label"])
        flip(good, bit)
    assert refused > 50

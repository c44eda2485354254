"""Lists in the three published formats, and broken ones; folds of what was read; tables of scores and their files."""

import re

import numpy as np
import pandas as pd
import pytest
from conftest import flip, listed

from fasnb.data import scores
from fasnb.data.folds import attack_folds, subject_folds
from fasnb.data.frames import FRAME_COLUMNS, ListError, frame_table, read_list


def write(tmp_path, text, name="list.txt"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_the_authors_list_and_the_organisers_public_list_name_the_same_frames(reference, released):
    lists = released / "data/lists/phase1_list.txt", reference / "official/val_public_list.txt"
    frames, public = map(read_list, lists)
    assert tuple(frames.columns) == FRAME_COLUMNS and set(frames["split"]) == {"valid"}
    assert frames["label"].value_counts().to_dict() == {0: 6614, 1: 2994}
    assert frames["subject"].isna().all() and frames["attack"].isna().all() and public["label"].isna().all()
    names = ["sample", "rgb", "depth", "ir"]
    assert public[names].equals(frames[names])


def test_owners_list_has_its_labels_turned_round(reference):
    path = reference / "owner/CASIA_SURF@p1_image_dev.txt"
    frames = read_list(path)
    assert frames["label"].value_counts().to_dict() == {0: 6614, 1: 2994}
    assert frames["attack"].value_counts().to_dict() == {0: 2994, 1: 2243, 2: 2118, 3: 2253}
    assert frames["subject"].nunique() == 100
    assert frames["depth"][0] == frames["rgb"][0].replace("/color/", "/depth/")
    with pytest.raises(ListError, match="bona fide is 1 by the list, pass bona_fide_label=0"):
        read_list(path, bona_fide_label=1)


GOOD = "a-color.jpg a-depth.jpg a-ir.jpg 1\nb-color.jpg b-depth.jpg b-ir.jpg 0\n"
CSV = "rgb,depth,ir,label\na,b,c,1\n"
CAPTURE = "x/{}_part/s/{}.rssdk/color/1.jpg"


@pytest.mark.parametrize(
    ("text", "line", "what", "count"),
    [
        ("a a-depth a-ir 1\n\nb b-depth 0\n", 3, "have the 4 fields", 1), (CSV + "d,,f,0\n", 3, "in the column depth", 1),
        (GOOD + "c-color.jpg c-depth.jpg c-ir.jpg 2\nd-color.jpg d-depth.jpg d-ir.jpg 2\n", 3, "'2' is no label", 2),
        (GOOD + GOOD, 3, "'a-color.jpg' is a duplicate sample", 2),
        (GOOD + "../c-color.jpg c-depth.jpg c-ir.jpg 1\n", 3, "leaves the data root", 1),
        (GOOD + "C:\\c-color.jpg c-depth.jpg c-ir.jpg 1\n", 3, "leaves the data root", 1),
        (GOOD.encode() + b"c\x81-color.jpg c-depth.jpg c-ir.jpg 1\n", 3, "has bytes that are not text", 1),
        (GOOD + "c-color.jpg c-ir.jpg c-depth.jpg 1\n", 3, "'c-ir.jpg' stands in the place of depth", 1),
        ("v/color/1.jpg 1\nv/rgb/2.jpg 1\nv/3.jpg 0\n", 2, "name all in lines", 2),
        (f"{CAPTURE.format('real', 'real')} 0\n{CAPTURE.format('fake', '01_e_s')} 0\n", 2, "contradicts its folder", 1),
    ],
)  # fmt: skip
def test_broken_lists_are_refused_whole(tmp_path, text, line, what, count):
    path = write(tmp_path, text)
    with pytest.raises(ListError, match=re.escape(what)) as error:
        read_list(path)
    assert f"{path}, line {line}:" in str(error.value) and f"({count} bad line" in str(error.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [("\n \n", "is empty"), ("rgb,depth,ir,label\n", "no rows"), ("my data/1 1\n", "paths have blanks; begin with")],
)
def test_what_is_no_list_is_refused(tmp_path, text, what):
    with pytest.raises(ListError, match=what):
        read_list(write(tmp_path, text))
    for name in (tmp_path, tmp_path / "gone.txt"):
        with pytest.raises(FileNotFoundError, match=re.escape(f"{name} does not exist or is a folder")):
            read_list(name)


def test_a_table_is_read_by_its_names_however_it_is_written(tmp_path):
    plain = "rgb,depth,ir,label,subject,attack,age\né/rgb/1,é/d/1,é/NIR/1,1,anna,,30\nb c/2,depth_color/2,i/2,0,ben,print,31\n"
    frames, rows, told = read_list(write(tmp_path, plain)), plain.splitlines(), []
    assert frames["attack"].to_list() == [pd.NA, "print"] and frames["subject"].to_list() == ["anna", "ben"]
    for same in (
        "\n".join(";".join(row.split(",")[::-1]) for row in rows).replace("rgb\n", " Colour \n").encode("utf-16"),
        "\n".join(",".join(f'"{field}"' for field in row.split(",")) for row in rows),
        "\ufeff" + plain.replace("\n", "\r\r\n").replace(",", "\t"),
        plain.replace("/", "\\").replace(",", ", ").encode("cp1252"),
        "# mine\n" + plain.replace("label", "Bona-Fide").replace("1,a", "1.0,a").replace("print", "PRINT "),
        plain.replace(",1,anna,", ",bona fide,anna,none").replace(",0,ben", ",Spoof,ben"),
    ):
        pd.testing.assert_frame_equal(read_list(write(tmp_path, same), say=told.append), frames)
    assert len(told) == 6 and all("attack of 2; subjects: 2; attack types: print" in line for line in told)


@pytest.mark.parametrize(("header", "between"), [("", " "), ("rgb,depth,ir,label\n", ",")])
def test_reversed_labels_of_three_images_are_taken_only_on_request(tmp_path, header, between):
    """The format says 1 = bona fide, the folders say 0."""
    folders = "real_part/s/real fake_part/fake_val_part/s/04_en_b fake_part/s/09_zz fake_part/x/y".split()
    parts = ("color", "depth", "ir")
    rows = [[*(f"Training/{f}.rssdk/{m}/1.jpg" for m in parts), v] for f, v in zip(folders, "0111", strict=True)]
    path = write(tmp_path, header + "".join(between.join(row) + "\n" for row in rows))
    with pytest.raises(ListError, match=r"line [12]: .* bona fide is 1 by .* pass bona_fide_label=0 .*3 bad lines"):
        read_list(path)
    frames = read_list(path, bona_fide_label=0)
    assert frames["label"].to_list() == [1, 0, 0, 0] and frames["attack"].to_list() == [0, 4, pd.NA, pd.NA]
    assert frames["subject"].to_list() == ["s", "s", "s", pd.NA] and set(frames["split"]) == {"train"}


def test_label_convention_has_no_silent_default(tmp_path):
    path = write(tmp_path, "a-color.jpg 1\nb-color.jpg 0\n")
    with pytest.raises(ListError, match="bona_fide_label"):
        read_list(path)
    assert read_list(path, bona_fide_label=1)["label"].to_list() == [1, 0]
    turned = read_list(path, bona_fide_label=0, split="test")
    assert turned["label"].to_list() == [0, 1] and set(turned["split"]) == {"test"}
    assert turned["depth"].to_list() == ["a-depth.jpg", "b-depth.jpg"]


def test_absolute_paths_are_taken_below_a_root_however_it_is_written(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    names = " ".join(f"{tmp_path}//Val/0000/./000000-{m}.jpg" for m in ("color", "depth", "ir"))
    path = write(tmp_path, names + " 1\n")
    monkeypatch.chdir(tmp_path / "here")
    for root in ("..", tmp_path, f"{tmp_path}/here/.."):
        assert read_list(path, root)["sample"].tolist() == ["Val/0000/000000-color.jpg"]


@pytest.fixture(scope="module")
def frames(released):
    """The challenge's training frames, from the lists of the authors' attack folds."""
    lists = [released / f"data/lists/folds_by_fakes/fold{k}/val_list_orgl.txt" for k in (1, 2, 3)]
    return pd.concat(map(read_list, lists), ignore_index=True)


def test_folds_of_the_authors_lists_keep_a_subject_together_or_hold_out_one_attack_and_a_third_of_subjects(frames):
    assert (len(frames), frames["subject"].nunique(), set(frames["split"])) == (29266, 300, {"train"})
    assert frames["attack"].value_counts().to_dict() == {0: 8942, 4: 6518, 5: 6942, 6: 6864}
    fold = subject_folds(frames, seed=7)
    assert fold.groupby(frames["subject"]).nunique().max() == 1
    assert frames.groupby(fold)["subject"].nunique().to_dict() == dict.fromkeys(range(1, 6), 60)
    fold = attack_folds(frames, seed=7)
    for k, attack in ((1, 4), (2, 5), (3, 6)):
        held = frames[fold == k]
        assert set(held["attack"]) == {0, attack}
        trained, kept = frames[(fold != k) & (frames["label"] == 1)], held[held["label"] == 1]
        assert not set(trained["subject"]) & set(kept["subject"])
        assert kept["subject"].nunique() == 100
    assert fold.equals(attack_folds(frames, seed=7))
    assert not fold.equals(attack_folds(frames, seed=8))


def test_folds_refuse_what_is_unknown_or_too_few():
    frames = frame_table(sample=[f"{number}-color.jpg" for number in range(10)], attack=[0, 4] * 5)
    with pytest.raises(ValueError, match="subject of every training frame; it is missing for 10"):
        subject_folds(frames, seed=0)
    with pytest.raises(ValueError, match="3 folds need at least 3 subjects to train on, found 2"):
        subject_folds(frames.assign(subject=["anna", "ben"] * 5), 0, 3)
    with pytest.raises(ValueError, match="the type of every attack, and three types"):
        attack_folds(frames.assign(subject="anna", label=[1, 0] * 5), seed=0)


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

"""Reading lists in the three published formats, and refusing broken ones."""

import re

import pandas as pd
import pytest

from fasnb.data.frames import FRAME_COLUMNS, ListError, read_list


def write(tmp_path, text, name="list.txt"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_authors_validation_list(released):
    frames = read_list(released / "data/lists/phase1_list.txt")
    assert tuple(frames.columns) == FRAME_COLUMNS
    assert (len(frames), int((frames["label"] == 1).sum()), int((frames["label"] == 0).sum())) == (9608, 2994, 6614)
    assert frames["subject"].isna().all() and frames["attack"].isna().all()
    assert set(frames["split"]) == {"valid"}


def test_organisers_public_list_names_the_same_frames(reference, released):
    public = read_list(reference / "official/val_public_list.txt")
    private = read_list(released / "data/lists/phase1_list.txt")
    assert public["label"].isna().all()
    assert public[["sample", "rgb", "depth", "ir"]].equals(private[["sample", "rgb", "depth", "ir"]])


def test_owners_list_has_its_labels_turned_round(reference):
    frames = read_list(reference / "owner/CASIA_SURF@p1_image_dev.txt")
    assert frames["label"].value_counts().to_dict() == {0: 6614, 1: 2994}
    assert frames["attack"].value_counts().to_dict() == {0: 2994, 1: 2243, 2: 2118, 3: 2253}
    assert frames["subject"].nunique() == 100
    first = frames.iloc[0]
    assert first["depth"] == first["rgb"].replace("/color/", "/depth/")


def test_absolute_paths_below_the_root_become_relative(tmp_path):
    path = write(tmp_path, f"{tmp_path}/a-color.jpg {tmp_path}/a-depth.jpg ./a-ir.jpg 1\n")
    assert read_list(path, root=tmp_path).loc[0, ["rgb", "depth", "ir"]].to_list() == [
        "a-color.jpg",
        "a-depth.jpg",
        "a-ir.jpg",
    ]


GOOD = "a-color.jpg a-depth.jpg a-ir.jpg 1\nb-color.jpg b-depth.jpg b-ir.jpg 0\n"


CAPTURE = "Training/fake_part/s/{}.rssdk/color/1.jpg"


@pytest.mark.parametrize(
    ("text", "line", "what", "count"),
    [
        (GOOD + "c-color.jpg c-depth.jpg c-ir.jpg\n", 3, "missing field", 1),
        (GOOD + "c-color.jpg c-depth.jpg c-ir.jpg 2\n" * 2, 3, "label '2'", 2),
        (GOOD + "c-color.jpg c-depth.jpg c-ir.jpg real\n", 3, "label 'real'", 1),
        (GOOD + GOOD, 3, "duplicate sample 'a-color.jpg', first in line 1", 2),
        (GOOD + "../c-color.jpg c-depth.jpg c-ir.jpg 1\n", 3, "leaves the data root", 1),
        (GOOD + "c-color.jpg x/../../c-depth.jpg c-ir.jpg 1\n", 3, "leaves the data root", 1),
        (GOOD + "/etc/passwd c-depth.jpg c-ir.jpg 1\n", 3, "leaves the data root", 1),
        (GOOD + "c-color.jpg,c-depth.jpg,c-ir.jpg,1\n", 3, "mixed list formats", 1),
        (GOOD.encode() + b"c\xff-color.jpg c-depth.jpg c-ir.jpg 1\n", 3, "byte 0xff is not text", 1),
        (GOOD.encode() + b"c\x00-color.jpg c-depth.jpg c-ir.jpg 1\n", 3, "byte 0x00 is not text", 1),
        (GOOD + "c-color.jpg c\\depth.jpg c-ir.jpg 1\n", 3, "has a backslash", 1),
        (GOOD + "c-color.jpg c-ir.jpg c-depth.jpg 1\n", 3, "'c-ir.jpg' stands in the place of depth", 1),
        (GOOD + "v/color/1.jpg v/color/1.jpg v/color/1.jpg 1\n", 3, "'v/color/1.jpg' stands in the place of depth", 1),
        (GOOD + "1.jpg 2.jpg 2.jpg 1\n3.jpg 4.jpg 3.jpg 1\n", 3, "'2.jpg' stands there twice", 2),
        ("v/color/1.jpg 1\nv/rgb/2.jpg 1\nv/3.jpg 0\n", 2, "name the three files", 2),
        ('rgb,depth,ir,label\na,b,c,1\n"d,e,f,0\n', 3, "quoted field", 1),
        (f"{CAPTURE.format('01_e_s')} 1\n{CAPTURE.format('09_zz')} 1\n", 2, "'09_zz' below fake_part", 1),
        ("rgb,depth,ir,label\na,b,c,1\nd,e,f\n", 3, "missing field", 1),
        ("rgb,depth,ir,label\na,b,c,1\nd,,f,0\n", 3, "missing field", 1),
        ("rgb,depth,ir,label\na,b,c,1\nd e f 0\n", 3, "mixed list formats", 1),
        (
            "x/real_part/s/real.rssdk/color/1.jpg 0\nx/fake_part/s/01_e_s.rssdk/color/1.jpg 0\n",
            2,
            "contradicts the folder",
            1,
        ),
    ],
)
def test_broken_lists_are_refused_whole(tmp_path, text, line, what, count):
    path = write(tmp_path, text)
    with pytest.raises(ListError, match=re.escape(what)) as error:
        read_list(path)
    assert f"{path}, line {line}:" in str(error.value) and f"({count} bad line" in str(error.value)


def test_quoted_csv_is_the_same_list(tmp_path):
    plain = "rgb,depth,ir,label\na-color.jpg,a-depth.jpg,a-ir.jpg,1\nb c-color.jpg,b c-depth.jpg,b c-ir.jpg,0\n"
    quoted = "\n".join(",".join(f'"{field}"' for field in line.split(",")) for line in plain.splitlines())
    frames = read_list(write(tmp_path, quoted))
    assert frames["sample"].to_list() == ["a-color.jpg", "b c-color.jpg"]
    pd.testing.assert_frame_equal(frames, read_list(write(tmp_path, plain)))


def test_a_folder_and_a_missing_list_are_told_apart(tmp_path):
    with pytest.raises(ListError, match=re.escape(f"{tmp_path} is a folder; name the list file")):
        read_list(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"gone\.txt: there is no such list"):
        read_list(tmp_path / "gone.txt")


def test_unknown_attacks_stay_missing_outside_training(tmp_path):
    text = "".join(f"{CAPTURE.format(kind)} 1\n" for kind in ("01_e_s", "09_zz"))
    frames = read_list(write(tmp_path, text.replace("Training", "Val")))
    assert frames["attack"].isna().to_list() == [False, True]


@pytest.mark.parametrize(("header", "between"), [("", " "), ("rgb,depth,ir,label\n", ",")])
def test_reversed_labels_of_three_images_are_taken_only_on_request(tmp_path, header, between):
    """The format says 1 = bona fide, the folders say 0."""
    folders = {"real_part/s/real": "0", "fake_part/s/04_en_b": "1"}
    rows = [[*(f"Training/{f}.rssdk/{m}/1.jpg" for m in ("color", "depth", "ir")), v] for f, v in folders.items()]
    path = write(tmp_path, header + "".join(between.join(row) + "\n" for row in rows))
    with pytest.raises(
        ListError, match=r"line \d: the labels are reversed, 0 where .* real_part \(2 lines .*pass bona_fide_label=0"
    ):
        read_list(path)
    frames = read_list(path, bona_fide_label=0)
    assert frames["label"].to_list() == [1, 0] and frames["attack"].to_list() == [0, 4]


@pytest.mark.parametrize("text", ["", "\n \n", "rgb,depth,ir,label\n"])
def test_empty_lists_are_refused(tmp_path, text):
    path = write(tmp_path, text)
    with pytest.raises(ListError, match=re.escape(str(path))):
        read_list(path)


def test_unknown_format_is_refused(tmp_path):
    with pytest.raises(ListError, match="not a known list format"):
        read_list(write(tmp_path, "one\n"))


def test_label_convention_has_no_silent_default(tmp_path):
    path = write(tmp_path, "a-color.jpg 1\nb-color.jpg 0\n")
    with pytest.raises(ListError, match="bona_fide_label"):
        read_list(path)
    assert read_list(path, bona_fide_label=1)["label"].to_list() == [1, 0]
    turned = read_list(path, bona_fide_label=0)
    assert turned["label"].to_list() == [0, 1]
    assert turned["depth"].to_list() == ["a-depth.jpg", "b-depth.jpg"]


def test_label_argument_may_not_contradict_the_folders(reference):
    with pytest.raises(ListError, match="contradicts the folders"):
        read_list(reference / "owner/CASIA_SURF@p1_image_dev.txt", bona_fide_label=1)


def test_absolute_paths_are_taken_below_a_root_however_it_is_written(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    names = " ".join(f"{tmp_path}//Val/0000/000000-{m}.jpg" for m in ("color", "depth", "ir"))
    path = write(tmp_path, names + " 1\n")
    monkeypatch.chdir(tmp_path / "here")
    for root in ("..", tmp_path, f"{tmp_path}/here/.."):
        assert read_list(path, root)["sample"].tolist() == ["Val/0000/000000-color.jpg"]


def test_blanks_after_commas_and_empty_lines(tmp_path):
    path = write(tmp_path, "rgb, depth, ir, label\na-color.jpg, a-depth.jpg, a-ir.jpg, 1\n")
    assert read_list(path)[["rgb", "depth", "ir"]].iloc[0].tolist() == ["a-color.jpg", "a-depth.jpg", "a-ir.jpg"]
    path = write(tmp_path, "a-color.jpg a-depth.jpg a-ir.jpg 1\n\nb-color.jpg b-depth.jpg b-ir.jpg 0\n")
    with pytest.raises(ListError, match="line 2: an empty line"):
        read_list(path)

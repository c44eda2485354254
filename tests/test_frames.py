"""Reading lists in the three published formats, and refusing broken ones."""

import re

import pandas as pd
import pytest

from fasnb.data.frames import FRAME_COLUMNS, ListError, read_list


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

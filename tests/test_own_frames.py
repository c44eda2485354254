"""Frames of one's own: files of every kind, lists of one camera or two, and the whole way from a folder to a threshold."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import refused, said
from PIL import Image

from fasnb.command.main import main
from fasnb.data import attack_folds, read_list
from fasnb.data.folds import divided
from fasnb.data.frames import cameras_of, frame_table
from fasnb.data.pictures import MissingRange, decode, scales_of
from fasnb.data.survey import offset
from fasnb.lab import open_study
from fasnb.paper.profile import load
from fasnb.training.plan import plan
from synthsurf.dataset import SynthSurf
from synthsurf.sensors import BLACK_AT, GREY_PER_MM, WHITE_AT

pytestmark = pytest.mark.usefixtures("cache")


def saved(tmp_path, values, name="a.png", **options):
    image = values if isinstance(values, Image.Image) else Image.fromarray(np.asarray(values))
    image.save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize(("ending", "kind"), [("png", np.uint16), ("tiff", np.uint16), ("tiff", np.int32)])
def test_sixteen_bits_follow_the_rule_of_the_stand_ins_camera(tmp_path, ending, kind):
    mm = np.array([[0, 250, 300, 301, 440, 650], [999, 1000, 1001, 4000, 9, 500]], kind)
    path = saved(tmp_path, mm, f"a.{ending}")
    picture = decode(path, "depth", scales_of(f"{WHITE_AT:g}:{BLACK_AT:g}"))
    there = np.where(mm == 0, 0, ((BLACK_AT - mm.astype(float)) * GREY_PER_MM).round().clip(0, 255))
    assert picture.image.mode == "L" and picture.kind.endswith("16-bit grey")
    np.testing.assert_array_equal(np.asarray(picture.image), there)
    infrared = decode(path, "ir", scales_of(ir_range="100:1100")).image
    assert np.asarray(infrared)[0].tolist() == [0, 38, 51, 51, 87, 140]


def test_sixteen_bits_without_a_range_are_refused_with_the_option_to_give(tmp_path):
    path = saved(tmp_path, np.full((4, 4), 500, np.uint16))
    for camera, option in (("depth", "--depth-mm NEAR:FAR"), ("ir", "--ir-range LOW:HIGH")):
        with pytest.raises(MissingRange, match=f"a.png has 16 bits.*{option}"):
            decode(path, camera, {})
    with pytest.raises(ValueError, match=r"mode I;16; save it as an 8-bit colour image"):
        decode(path, "rgb", {})
    for wrong in ("300-1000", "1000:300", "300:300", "-3:5", "a:b", "300:1000mm"):
        with pytest.raises(ValueError, match="is no range, the smaller number first"):
            scales_of(wrong)


def test_pictures_are_upright_and_of_one_mode(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    image, exif = Image.fromarray(pixels), Image.Exif()
    exif[0x0112] = 6  # shown upright it is turned by 90 degrees
    turned = image.transpose(Image.Transpose.ROTATE_90)
    grey, seen = image.convert("L"), image.copy()
    seen.putalpha(Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)))
    few = image.quantize(16)
    for name, given, wanted, kind in (
        ("turned.png", turned, image, "8-bit colour, turned by EXIF"),
        ("alpha.png", seen, image, "colour, alpha dropped"),
        ("palette.png", few, few.convert("RGB"), "palette, expanded"),
        ("grey.png", grey, grey.convert("RGB"), "8-bit grey"),
    ):
        path = saved(tmp_path, given, name, **({"exif": exif} if given is turned else {}))
        picture = decode(path, "rgb", {})
        np.testing.assert_array_equal(np.asarray(picture.image), np.asarray(wanted))
        assert kind in picture.kind
    np.testing.assert_array_equal(np.asarray(decode(tmp_path / "grey.png", "ir", {}).image), np.asarray(grey))
    saved(tmp_path, image.convert("CMYK"), "cmyk.jpg")
    with pytest.raises(ValueError, match="JPEG of mode CMYK; save it as an 8-bit colour image"):
        decode(tmp_path / "cmyk.jpg", "rgb", {})
    with pytest.raises(ValueError, match="is coloured; depth and infrared must be grey; store what the camera"):
        decode(tmp_path / "alpha.png", "depth", {})


def test_the_offset_of_two_cameras_is_found():
    frame = SynthSurf("train", 1, 1, size=64).read([0])[0].astype(float)
    assert offset(frame[0], frame[4]) == 0
    assert offset(frame[0], np.roll(frame[3], (6, -8), (0, 1))) == pytest.approx(100 * 10 / 64)


@pytest.mark.parametrize(
    ("header", "row", "cameras"),
    [
        ("Depth Image;label", "t/a.png;1", ["depth"]),
        ("colour,depth,live", "a/color/1.png,b.png,1", ["rgb", "depth"]),
        ("rgb,depth,ir,label", "a-color.png,,b.png,1", ["rgb", "ir"]),
        ("file;label", "photo.png;live", ["rgb"]),
        ("path,label", "x/color/1.jpg,live", ["rgb", "depth", "ir"]),  # the siblings of CASIA-SURF's owner
    ],
)
def test_a_list_may_have_one_camera_or_two(tmp_path, header, row, cameras):
    (tmp_path / "list.csv").write_text(f"{header}\n{row}\n")
    frames = read_list(tmp_path / "list.csv")
    assert cameras_of(frames) == cameras and frames["sample"][0] == frames[cameras[0]][0] and frames["label"][0] == 1


def test_attack_types_in_words_are_dealt_to_three_folds():
    kinds = ["mask", "print", "screen", "wig", None]
    frames = frame_table(sample=[str(i) for i in range(60)], label=[0, 0, 0, 0, 1] * 12, attack=kinds * 12,
                         subject=[f"{i // 5}" for i in range(60)])  # fmt: skip
    fold = attack_folds(frames, 0)
    held = fold[frames["label"] == 0].groupby(frames["attack"]).unique()
    assert held.map(len).eq(1).all() and {*held.map(lambda found: found[0])} == {1, 2, 3}
    with pytest.raises(ValueError, match="the type of every attack"):
        attack_folds(frames.assign(attack=frames["attack"].replace("wig", None)), 0)


def test_people_are_divided_where_the_list_divides_no_frames():
    people = [f"p{i // 4}" for i in range(80)]
    frames = frame_table(sample=[str(i) for i in range(80)], label=[0, 1] * 40, subject=people)
    parts = divided(frames, 0).groupby("split")["subject"].unique()
    assert {name: len(people) for name, people in parts.items()} == {"train": 10, "valid": 5, "test": 5}
    assert len({*parts["train"], *parts["valid"], *parts["test"]}) == 20
    for wrong, why in (
        (frames.assign(subject=None), "80 frames have no subject, by which they are divided"),
        (frames.assign(split=["train"] * 40 + [None] * 40), "40 frames of the list have no split"),
        (frames.assign(split="train"), "valid is empty, or has unlabelled frames or one class"),
    ):
        with pytest.raises(ValueError, match=why):
            divided(wrong, 0)


SMALL = "width=0.0625 resize=32 crop=32 epochs=2 schedule_epochs=2 replicates=20 pretrain_identities=10 workers=1"
SMALL += " pretrain_captures=6 pretrain_epochs=1 pretrain_batch_size=24 fprs=[0.1] headline_fpr=0.1"
SMALL += " depth_mm=300:1000 ir_range=0:4000"
RANGES = ["--depth-mm", "300:1000", "--ir-range", "0:4000"]


def own_folder(root, people=12, cameras=("Colour", "Depth Image", "infrared")):
    """A folder as somebody else makes it: names, bits, sizes, words and a list that nobody has seen here."""
    source, words = SynthSurf("train", people, 2, size=48, seed=3), {4: "paper mask", 5: "photo flat", 6: "Photo bent"}
    rows = []
    for frame, pixels in zip(source.frames.itertuples(), source.read(np.arange(len(source.frames))), strict=True):
        place = f"Müller & Söhne/{frame.subject}/{frame.Index} "
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        mm = np.where(pixels[3] > 0, BLACK_AT - pixels[3] / GREY_PER_MM, 0).round().astype(np.uint16)
        images = [pixels[:3].transpose(1, 2, 0).copy(), mm, 16 * pixels[4].astype(np.uint16)]
        names = [f"{place}{name}" for name in ("Farbe.jpg", "Tiefe.png", "IR.png")]
        for image, name, side in zip(images, names, (64, 40, 36), strict=True):
            Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST).save(root / name)
        row = dict(zip(("Colour", "Depth Image", "infrared"), names, strict=True))
        row |= {"Person": frame.subject, "Live": ("spoof", "real")[frame.label], "PAI": words.get(frame.attack, "")}
        rows.append({name: row[name] for name in (*cameras, "Person", "Live", "PAI")})
    pd.DataFrame(rows).to_csv(root / "meine Liste.csv", sep=";", index=False, encoding="cp1252")
    return root / "meine Liste.csv"


def test_a_folder_of_somebody_elses_goes_through_check_training_scores_and_threshold(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")  # a run changes it for its kernels
    listed, out = own_folder(tmp_path / "Unsere Kameras"), tmp_path / "out"
    settings = [part for value in SMALL.split() for part in ("--set", value)]
    said(capsys, "run", "--profile", "frames", "--set", f"frames_list={listed}", *settings, "--out", out)
    assert (out / "report.html").read_text(encoding="utf-8").count('class="explorer"') == 1
    carried = pd.read_csv(out / "tables" / "11-carried.csv")
    assert carried["people"].to_list() == ["valid", "test"] and carried["threshold"].nunique() == 1
    assert {"paper mask", "photo flat", "photo bent"} <= {*pd.read_csv(out / "tables" / "11-attacks.csv")}
    network, files = next((out / "runs").glob("A-1-7-*")) / "network.pt", ["--frames", listed, "--root", listed.parent]
    told = said(capsys, "data", "check", *files, *RANGES, "--checkpoint", network)
    assert "depth: 96 files PNG, 16-bit grey, 40x40" in told and "beside the network's" in told
    assert "cameras differ in size in 96 frames" in told and "warning" not in told
    said(capsys, "score", "--checkpoint", network, *files, *RANGES, "--out", tmp_path / "s.csv")
    given = ["--threshold", carried["threshold"][0], "--replicates", 20, "--json"]
    found = json.loads(said(capsys, "evaluate", tmp_path / "s.csv", *given))
    assert set(found["at_threshold"]["apcer_by_attack"]) == {"paper mask", "photo flat", "photo bent"}


def test_cameras_that_are_missing_leave_the_network_with_those_that_are_there(tmp_path, capsys):
    listed = own_folder(tmp_path, 8, ("Colour", "Depth Image"))
    settings = dict(value.split("=") for value in SMALL.split()) | {"frames_list": str(listed)}
    made = plan(load("frames", settings), tmp_path / "out")
    assert {network.experiment for network in made.networks} == {"A", "A-rgb", "A-depth"}
    assert made.of("A")[0].architecture.modalities == ("rgb", "depth", "depth")
    assert made.left_out["A-ir"] == "the frames have no camera ir"
    assert made.sources["train"].read([0])[0, 4].max() == 0
    study, _, _ = open_study("frames", settings, tmp_path / "out")
    network = made.of("A-depth")[0]
    assert len(study.scores("A-depth")) and network.weights().is_file()
    pd.read_csv(listed, sep=";", encoding="cp1252").drop(columns="Depth Image").to_csv(tmp_path / "rgb.csv")
    given = ["--checkpoint", network.weights(), "--frames", tmp_path / "rgb.csv", "--root", tmp_path]
    assert "looks at depth; the list has no pictures of depth" in refused(capsys, "score", *given)


def test_what_a_check_finds_is_told(tmp_path, capsys):
    listed = own_folder(tmp_path, 3)
    given = ["data", "check", "--frames", str(listed), "--root", str(tmp_path)]
    error = refused(capsys, *given, *RANGES[2:])
    assert "has 16 bits: say what of them is black and white, --depth-mm NEAR:FAR" in error
    names = pd.read_csv(listed, sep=";", encoding="cp1252")
    Image.fromarray(np.zeros((40, 40), np.uint16)).save(tmp_path / names["Depth Image"][0])
    Image.new("RGB", (64, 48), "white").save(tmp_path / names["Colour"][1])
    Image.effect_noise((40, 40), 90).convert("P").save(tmp_path / names["Depth Image"][2])
    (tmp_path / names["infrared"][3]).unlink()
    assert main([*given, *RANGES]) == 2
    told = capsys.readouterr()
    assert "1 frames show no face in depth" in told.out and "1 frames show no face in rgb" in told.out
    assert "cameras differ in size in 23 frames" in told.out and "3 IR.png is missing" in told.out
    assert "cannot train on these: 3 folds need at least 3 subjects" in told.out and "1 problems" in told.err

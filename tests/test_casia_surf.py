"""The CASIA-SURF reader on real files: a synthetic set written in the challenge's layout, then damaged in every way."""

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fasnb.data.casia_surf import CasiaSurf, counts, find, write
from fasnb.data.frames import FRAME_COLUMNS, read_list
from fasnb.data.survey import survey
from synthsurf.dataset import SynthSurf

SPLITS = {"train": SynthSurf("train", 3, frames_per_video=2, size=32), "valid": SynthSurf("valid", 2, 2, size=32)}
SPLITS["test"] = SynthSurf("test", 2, frames_per_video=1, size=32)


pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("surf")
    for source in SPLITS.values():
        write(source, root)
    return root


@pytest.fixture
def copy(written, tmp_path):
    shutil.copytree(written, tmp_path / "surf")
    return tmp_path / "surf"


def source_of(root, split="valid", size=24):
    return CasiaSurf(find(root).frames([split]), root, size)


def test_round_trip_gives_the_generated_frame_table(written):
    frames = find(written).frames()
    generated = pd.concat([source.frames for source in SPLITS.values()], ignore_index=True)
    unknown = generated["split"] != "train"  # the challenge's names tell subject and attack of training frames only
    generated.loc[unknown, ["subject", "attack"]] = pd.NA
    pd.testing.assert_frame_equal(frames, generated[list(FRAME_COLUMNS)], check_dtype=False)


def test_lists_and_files_are_in_the_organisers_format(written, reference):
    official = (reference / "official" / "val_public_list.txt").read_bytes().split(b"\n")
    public = (written / "phase1" / "val_public_list.txt").read_bytes().split(b"\n")
    assert public[0] == official[0]  # with the blank that ends the line
    assert (written / "phase1" / "train_list.txt").read_text().splitlines()[0].split(" ")[3] in ("0", "1")
    assert (written / "phase2" / "test_private_list.txt").exists()
    for row in find(written).frames(["train"]).itertuples():
        images = [Image.open(written / "phase1" / name) for name in (row.rgb, row.depth, row.ir)]
        assert [(image.format, image.mode) for image in images] == [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "L")]
        assert [image.size for image in images] == [(32, 32), (16, 16), (16, 16)]


def test_decoding_equals_the_authors_steps_in_pil(written):
    source = source_of(written, "train")
    frame, pixels = source.frames.iloc[1], source.read([1])[0]
    colour = Image.open(written / "phase1" / frame.rgb)
    depth = Image.open(written / "phase1" / frame.depth).resize(colour.size, Image.Resampling.BICUBIC)
    small = [np.asarray(image.resize((24, 24), Image.Resampling.BILINEAR)) for image in (colour, depth)]
    np.testing.assert_array_equal(pixels[:4], [*small[0].transpose(2, 0, 1), small[1]])


@pytest.mark.parametrize("name", ["phase1/val_public_list.txt", "phase1/Val/0000/000000-color.jpg"])
def test_what_is_there_is_never_written_over(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text("real")
    with pytest.raises(ValueError, match="holds a valid set already"):
        write(SPLITS["valid"], tmp_path)
    assert [path.read_text() for path in tmp_path.rglob("*.*")] == ["real"]


def test_names_of_every_split_lead_to_files_from_the_root_and_from_its_phase(written):
    """The lists write Training, Val and Testing alike; only the first two lie in phase1."""
    for root, splits in ((written, ["train", "valid", "test"]), (written / "phase1", ["train", "valid"])):
        frames = find(root).frames(splits)
        source = CasiaSurf(frames, root, 24)
        assert all(source.path(row, name).is_file() for row in range(len(frames)) for name in ("rgb", "depth", "ir"))
    with pytest.raises(FileNotFoundError, match="lacks the test split: the list test_private_list.txt or"):
        find(written / "phase1").frames()
    with pytest.raises(FileNotFoundError, match="no CASIA-SURF data at .* data/README.md"):
        find(written / "phase2" / "Testing")


@pytest.mark.parametrize("owners_images", [False, True])
def test_the_list_that_fits_the_files_is_taken(copy, owners_images):
    """The owner's list beside the challenge's public one, with the images of either."""
    phase, name = copy / "phase1", "CASIA_SURF@p1_image_dev.txt"
    (phase / "val_private_list.txt").unlink()
    owners = "CASIA_SURF/Data/Val/real_part/S1/real.rssdk/color/0015.jpg"
    (phase / name).write_text(f"{owners} 0\n")
    if owners_images:
        (copy / owners).parent.mkdir(parents=True)
        shutil.move(phase / "Val/0000/000000-color.jpg", copy / owners)
        shutil.rmtree(phase / "Val")
    assert find(copy).lists["valid"].name == (name if owners_images else "val_public_list.txt")


def test_the_authors_names_find_the_same_files(copy, tmp_path):
    """Their lists write train/Training/... and *_resized.jpg, which nobody has who did not run their script."""
    frames = find(copy).frames(["train"])
    header, rows = "rgb,depth,ir,label", []
    for row in frames.itertuples():
        resized = [name.replace(".jpg", "_resized.jpg") for name in (row.depth, row.ir)]
        rows.append(",".join([f"train/{name}" for name in (row.rgb, *resized)] + [str(row.label)]))
    (tmp_path / "train_list.txt").write_text("\n".join([header, *rows]))
    theirs = CasiaSurf(read_list(tmp_path / "train_list.txt"), copy, 24)
    np.testing.assert_array_equal(theirs.read([0, 5]), source_of(copy, "train").read([0, 5]))
    Image.new("L", (40, 40), 200).save(copy / "phase1" / frames.depth[0].replace(".jpg", "_resized.jpg"))
    assert theirs.path(0, "depth").name.endswith("_resized.jpg")


def test_all_damage_is_reported_together_and_named_when_read(copy):
    val, noise = copy / "phase1" / "Val" / "0000", np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    (val / "000000-color.jpg").write_bytes((val / "000000-color.jpg").read_bytes()[:-200])
    (val / "000001-depth.jpg").unlink()
    Image.open(val / "000002-color.jpg").convert("CMYK").save(val / "000002-color.jpg")
    Image.fromarray(np.full((20, 20), 9000, np.uint16)).save(val / "000003-color.jpg", "PNG")
    (val / "000004-depth.jpg").write_bytes(b"")
    (val / "000005-ir.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")  # for Ghostscript
    Image.fromarray(noise).save(val / "000006-depth.jpg")
    words = ["cut off", "missing", "mode CMYK", "I;16", "unreadable", "no image of", "coloured"]
    _, problems = survey(CasiaSurf(find(copy).frames(["valid"]), copy, 24), workers=2)
    for row, (word, problem) in enumerate(zip(words, problems, strict=True)):
        assert f"00000{row}" in problem and word in problem
        with pytest.raises(ValueError, match=f"00000{row}.*{word}"):
            source_of(copy).read([row])


def test_grey_files_saved_in_colour_are_one_channel(copy):
    before = source_of(copy).read([0])
    path = copy / "phase1" / "Val" / "0000" / "000000-depth.jpg"
    Image.open(path).convert("RGB").save(path, quality=100)
    assert np.abs(before.astype(int) - source_of(copy).read([0])).max() <= 2


def test_fingerprint_follows_files_and_labels_but_neither_place_nor_time(copy, tmp_path):
    first, path = source_of(copy).fingerprint, copy / "phase1/Val/0000/000000-ir.jpg"
    shutil.copytree(copy, tmp_path / "elsewhere", copy_function=shutil.copyfile)  # and so of another time
    assert source_of(tmp_path / "elsewhere").fingerprint == first
    other = find(copy).frames(["valid"])
    other.loc[0, "label"] = 1 - other.loc[0, "label"]
    assert CasiaSurf(other, copy, 24).fingerprint != first
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)  # as long as before
    changed = source_of(copy).fingerprint
    path.unlink()
    assert len({first, changed, source_of(copy).fingerprint}) == 3


def test_counts_stand_beside_those_of_the_challenge(written, reference, tmp_path):
    """The owner's list of the whole validation split, without a file; then a small set."""
    frames = read_list(reference / "owner" / "CASIA_SURF@p1_image_dev.txt")
    table, problems = counts(frames), survey(CasiaSurf(frames, tmp_path), workers=1)[1]
    assert table["found"].equals(table["challenge"].astype("Int64")) and set(table["split"]) == {"valid"}
    assert len(problems) == 9608 and problems[0].endswith("color/0015.jpg is missing")
    frames = find(written).frames()
    found = counts(frames).set_index(["split", "of"])["found"]
    assert not survey(CasiaSurf(frames, written, 24), workers=1)[1]
    assert found["train", "subjects"] == 3 and found["valid", "frames"] == 16
    assert found[["valid", "test"]].isna().sum() == 5  # the challenge names neither subjects nor attacks there

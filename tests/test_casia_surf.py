"""The CASIA-SURF reader on real files: a synthetic set written in the challenge's layout, then damaged in every way."""

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fasnb.data.casia_check import check
from fasnb.data.casia_surf import CasiaSurf, find
from fasnb.data.casia_write import write
from fasnb.data.frames import FRAME_COLUMNS, read_list
from fasnb.synthsurf.dataset import SynthSurf

SPLITS = {"train": SynthSurf("train", 3, frames_per_video=2, size=32), "valid": SynthSurf("valid", 2, 2, size=32)}
SPLITS["test"] = SynthSurf("test", 2, frames_per_video=1, size=32)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("surf")
    for source in SPLITS.values():
        write(source, root, workers=1, progress=False)
    return root


@pytest.fixture
def copy(written, tmp_path):
    shutil.copytree(written, tmp_path / "surf")
    return tmp_path / "surf"


def source_of(root, split="valid", size=24):
    return CasiaSurf(find(root).frames([split]), root, size)


def problems(root, split="valid"):
    report = check(find(root).frames([split]), root, workers=1, progress=False)
    return sorted(zip(report.problems["kind"], report.problems["sample"], strict=True)), str(report)


def test_round_trip_gives_the_generated_frame_table(written):
    frames = find(written).frames()
    generated = pd.concat([source.frames for source in SPLITS.values()], ignore_index=True)
    unknown = generated["split"] != "train"  # the challenge's names tell subject and attack of training frames only
    generated.loc[unknown, ["subject", "attack"]] = pd.NA
    pd.testing.assert_frame_equal(frames, generated[list(FRAME_COLUMNS)], check_dtype=False)


def test_lists_have_the_organisers_format(written, reference):
    official = (reference / "official" / "val_public_list.txt").read_bytes().split(b"\n")
    public = (written / "phase1" / "val_public_list.txt").read_bytes().split(b"\n")
    assert public[0] == official[0]  # with the blank that ends the line
    assert read_list(written / "phase1" / "val_public_list.txt")["label"].isna().all()
    assert (written / "phase1" / "train_list.txt").read_text().splitlines()[0].split(" ")[3] in ("0", "1")
    assert (written / "phase2" / "test_private_list.txt").exists()


def test_files_are_grey_and_colour_jpegs_of_different_sizes(written):
    frames = find(written).frames(["train"])
    sizes = set()
    for row in frames.itertuples():
        images = [Image.open(written / "phase1" / name) for name in (row.rgb, row.depth, row.ir)]
        assert [(image.format, image.mode) for image in images] == [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "L")]
        assert images[1].size == images[2].size and 1.8 < images[0].width / images[1].width < 2.2
        sizes.add(images[0].size)
    assert len(sizes) > 3


def test_pixels_survive_the_round_trip(written):
    """JPEG and halved depth cost detail, not content: correlation over all pixels of each channel."""
    source = SPLITS["valid"]
    original, read = source.read(range(len(source))), source_of(written, size=32).read(range(len(source)))
    for channel in range(5):
        assert np.corrcoef(original[:, channel].ravel(), read[:, channel].ravel())[0, 1] > 0.9


def test_decoding_equals_the_authors_steps_in_pil(written):
    source = source_of(written, "train")
    frame, pixels = source.frames.iloc[1], source.read([1])[0]
    colour = Image.open(written / "phase1" / frame.rgb)
    depth = Image.open(written / "phase1" / frame.depth).resize(colour.size, Image.Resampling.BICUBIC)
    expected = np.asarray(depth.resize((24, 24), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(pixels[3], expected)
    expected = np.asarray(colour.resize((24, 24), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    np.testing.assert_array_equal(pixels[:3], expected)


def test_writing_again_keeps_finished_files_and_refuses_another_set(copy):
    source, folder = SPLITS["valid"], copy / "phase1/Val/0000"
    victim, kept = folder / "000001-ir.jpg", folder / "000000-ir.jpg"
    before, stamp = victim.read_bytes(), kept.stat().st_mtime_ns
    victim.unlink()
    write(source, copy, workers=1, progress=False)
    assert victim.read_bytes() == before and kept.stat().st_mtime_ns == stamp
    with pytest.raises(ValueError, match="holds another valid set"):
        write(SynthSurf("valid", 2, 2, size=32, seed=1), copy, workers=1, progress=False)


@pytest.mark.parametrize("below", ["", "phase1"])
def test_found_from_the_root_and_from_its_phase(written, below):
    frames = find(written / below).frames(["train", "valid"])
    source = CasiaSurf(frames, written / below, 24)
    assert source.path(0, "rgb").is_file() and source.read([0, len(frames) - 1]).shape == (2, 5, 24, 24)


def test_three_splits_in_one_table_lie_in_two_phases(written):
    """The lists write Training, Val and Testing alike; only the first two lie in phase1."""
    frames = find(written).frames()
    source = CasiaSurf(frames, written, 24)
    for split, phase in (("train", "phase1"), ("valid", "phase1"), ("test", "phase2")):
        row = int((frames["split"] == split).argmax())
        assert source.path(row, "ir") == written / phase / frames["ir"][row] and source.path(row, "ir").is_file()
    report = check(frames, written, workers=1, progress=False)
    assert report.ok and report.frames == sum(map(len, SPLITS.values()))


@pytest.mark.parametrize("owners_images", [False, True])
def test_the_list_that_fits_the_files_is_taken(copy, owners_images):
    """The owner's list beside the challenge's public one, with the images of either."""
    phase = copy / "phase1"
    (phase / "val_private_list.txt").unlink()
    owners = "CASIA_SURF/Data/Val/real_part/S1/real.rssdk/color/0015.jpg"
    (phase / "CASIA_SURF@p1_image_dev.txt").write_text(f"{owners} 0\n")
    if owners_images:
        shutil.rmtree(phase / "Val")
        (copy / owners).parent.mkdir(parents=True)
        shutil.copy(next((phase / "Training").rglob("color/*.jpg")), copy / owners)
    name = "CASIA_SURF@p1_image_dev.txt" if owners_images else "val_public_list.txt"
    assert find(copy).lists["valid"].name == name


@pytest.mark.parametrize("text", ["", '{"train": ', "3", "\x00"])
def test_a_damaged_note_is_one_sentence(copy, text):
    (copy / "made_from.json").write_text(text)
    with pytest.raises(ValueError, match=r"made_from\.json is damaged.*delete the folder or choose another"):
        write(SPLITS["valid"], copy, workers=1, progress=False)
    assert (copy / "made_from.json").read_text() == text


def test_swapped_and_repeated_modalities_of_a_table_are_mismatched(written):
    frames = find(written).frames(["valid"]).head(3)
    frames.loc[0, ["depth", "ir"]] = frames.loc[0, ["ir", "depth"]].to_numpy()
    frames.loc[2, ["depth", "ir"]] = frames.loc[2, "rgb"]
    report = check(frames, written, workers=1, progress=False)
    wrong = report.problems[report.problems["kind"] == "mismatched"]
    assert wrong["sample"].to_list() == [frames["rgb"][0], frames["rgb"][2]]
    assert "000000-ir.jpg' stands in the place of depth" in str(report)


def test_what_is_missing_is_said(written, tmp_path):
    with pytest.raises(FileNotFoundError, match="no CASIA-SURF data at .* data/README.md"):
        find(tmp_path)
    with pytest.raises(FileNotFoundError, match="lacks the list test_private_list.txt"):
        find(written / "phase1").frames()


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


def test_names_that_leave_the_root_are_refused(written):
    frames = find(written).frames(["valid"])
    frames.loc[0, "ir"] = "Val/../../secret.jpg"
    with pytest.raises(ValueError, match="leaves the data root"):
        CasiaSurf(frames, written)


def test_a_sound_set_has_no_problems(written):
    found, text = problems(written)
    assert found == [] and "no problems" in text


def damage(root):
    """One frame of each kind of damage; returns the kinds by frame number."""
    val = root / "phase1" / "Val" / "0000"
    colour = val / "000000-color.jpg"
    colour.write_bytes(colour.read_bytes()[:-200])
    (val / "000001-depth.jpg").unlink()
    Image.open(val / "000002-ir.jpg").resize((11, 29)).save(val / "000002-ir.jpg")
    Image.open(val / "000003-color.jpg").convert("L").save(val / "000003-color.jpg")
    Image.fromarray(np.full((20, 20), 9000, np.uint16)).save(val / "depth.png")
    (val / "depth.png").rename(val / "000004-depth.jpg")
    (val / "000005-ir.jpg").unlink()
    (val / "000005-ir.jpg").mkdir()  # cannot be read, whoever asks
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).save(val / "000006-depth.jpg")
    Image.open(val / "000006-ir.jpg").resize((16, 16)).save(val / "000006-ir.jpg")
    return ["unreadable", "missing", "size", "mode", "mode", "unreadable", "mode"]


def test_all_damage_is_reported_together(copy):
    frames = find(copy).frames(["valid"])
    frames.loc[7, "depth"] = frames.loc[8, "depth"]
    kinds = [*damage(copy), "mismatched"]
    report = check(frames, copy, workers=2, progress=False)
    numbers = report.problems["sample"].str.extract(r"(\d+)-color")[0].astype(int)
    found = set(zip(numbers, report.problems["kind"], strict=True))
    found -= {(7, "size")}  # a mismatched depth may have another size too
    assert found == set(enumerate(kinds)) and not report.ok
    text = str(report)
    assert "000000-color.jpg is unreadable" in text and "I;16" in text and "16 frames, " in text


def test_reading_a_damaged_frame_names_file_and_reason(copy):
    damage(copy)
    for row, words in enumerate(["cut off", "missing", "not equal", "mode L", "I;16", "folder"]):
        with pytest.raises(ValueError, match=f"00000{row}.*{words}"):
            source_of(copy).read([row])


def test_grey_files_saved_in_colour_are_one_channel(copy):
    for path in (copy / "phase1" / "Val" / "0000").glob("*-depth.jpg"):
        Image.open(path).convert("RGB").save(path, quality=95)
    assert source_of(copy).channels == {"rgb": 3, "depth": 1, "ir": 1}


def test_colour_coded_depth_keeps_three_channels(copy):
    for path in (copy / "phase1" / "Val" / "0000").glob("*-depth.jpg"):
        grey = Image.open(path)
        Image.merge("RGB", [grey, grey.point(lambda v: 255 - v), grey]).save(path)
    source = source_of(copy)
    assert source.channels == {"rgb": 3, "depth": 3, "ir": 1} and source.read([0]).shape == (1, 7, 24, 24)


def test_fingerprint_follows_files_and_labels_but_not_the_place(written, copy, tmp_path):
    first = source_of(copy).fingerprint
    shutil.copytree(copy, tmp_path / "elsewhere", copy_function=shutil.copyfile)  # and so of another time
    assert source_of(tmp_path / "elsewhere").fingerprint == first
    other = find(copy).frames(["valid"])
    other.loc[0, "label"] = 1 - other.loc[0, "label"]
    assert CasiaSurf(other, copy, 24).fingerprint != first
    Image.open(copy / "phase1/Val/0000/000000-ir.jpg").save(copy / "phase1/Val/0000/000000-ir.jpg", quality=50)
    assert source_of(copy).fingerprint != first


def test_fingerprint_reads_a_file_again_only_where_its_stamp_changed(written, copy, tmp_path):
    def fingerprint():
        return CasiaSurf(find(copy).frames(["valid"]), copy, 24, tmp_path / "h.parquet").fingerprint

    first, path = fingerprint(), copy / "phase1/Val/0000/000000-ir.jpg"
    assert fingerprint() == first == source_of(copy).fingerprint
    path.touch()
    assert fingerprint() == first
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)  # as long as before
    assert fingerprint() == source_of(copy).fingerprint != first
    path.unlink()
    assert fingerprint() == source_of(copy).fingerprint != first
    (tmp_path / "h.parquet").write_text("damaged")
    assert fingerprint() == source_of(copy).fingerprint


def test_counts_of_the_full_challenge(written, reference, tmp_path):
    """The authors' list of the whole validation split against the known numbers; and one frame short of it."""
    frames = read_list(reference / "released" / "data" / "lists" / "phase1_list.txt", split="valid")
    counts = check(frames, tmp_path, workers=1, progress=False).counts.set_index("what")  # no file is there, all count
    assert list(counts["found"]) == list(counts["expected"]) == [9608, 2994, 6614]
    few = find(written).frames(["valid"])
    report = check(few, written, complete=True, workers=1, progress=False)
    assert "valid: 16 frames instead of 9,608" in str(report)


@pytest.mark.parametrize("name", ["phase1/val_public_list.txt", "phase1/Val/0000/000000-color.jpg"])
def test_data_that_were_not_made_here_are_never_written_over(tmp_path, name):
    real = tmp_path / name
    real.parent.mkdir(parents=True)
    real.write_text("real")
    with pytest.raises(ValueError, match="was not made by this command and would be mixed up"):
        write(SynthSurf("valid", 2, 2, size=24), tmp_path, workers=1, progress=False)
    assert real.read_text() == "real" and not (tmp_path / "phase1/val_private_list.txt").exists()


def test_two_names_of_one_file_are_refused(copy):
    frames = find(copy).frames(["valid"])
    again = frames.head(1).copy()
    for column in ("sample", "rgb", "depth", "ir"):
        again[column] = "valid/" + again[column]
    with pytest.raises(
        ValueError, match=r"'valid/Val/0000/000000-color\.jpg' names a colour file that another row names"
    ):
        CasiaSurf(pd.concat([frames, again]), copy, 24)


def test_the_check_tells_of_files_on_no_list_and_of_a_part_of_the_challenge(copy):
    frames = find(copy).frames(["valid"])
    report = check(frames.iloc[1:], copy, workers=1, progress=False)
    assert report.ok and "3 image files are on no list, the first phase1/Val/0000/000000-color.jpg" in str(report)
    assert "valid is not the full challenge, which has 9,608 frames" in str(report)
    assert not check(frames, copy, workers=1, progress=False).unlisted

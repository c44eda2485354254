"""The store: the same bytes whatever happens on the way, no damage unnoticed, and nothing that is there is replaced."""

import os
import pickle
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import begun, flip

from fasnb.data import store
from fasnb.tools.files import Damaged
from synthsurf.dataset import SynthSurf

VALID = SynthSurf("valid", 4, frames_per_video=40, size=24)  # 640 frames: three chunks

BUILD = "import sys, test_store as t; t.store.build_store(t.{}('valid', 4, 40, 24), sys.argv[1], 1, progress=False)"


def contents(folder: Path) -> dict[str, bytes]:
    """Of the three files; a kill may leave a temporary one beside them, whose name begins with a dot."""
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return store.build_store(VALID, tmp_path_factory.mktemp("store") / "valid", workers=1, progress=False)


def test_a_store_holds_the_source_and_reads_it_by_the_index(built):
    np.testing.assert_array_equal(built.read(range(640)), VALID.read(range(640)))
    pd.testing.assert_frame_equal(built.frames, VALID.frames, check_dtype=False)
    assert (built.fingerprint, built.size, built.channels, len(built)) == (
        VALID.fingerprint, 24, {"rgb": 3, "depth": 1, "ir": 1}, 640)  # fmt: skip
    np.testing.assert_array_equal(np.load(built.folder / "images.npy", mmap_mode="r")[639], VALID.read([639])[0])
    index = [639, 0, 7, 7, 300]
    images = pickle.loads(pickle.dumps(built)).read(index)
    assert images.dtype == torch.uint8
    np.testing.assert_array_equal(images, VALID.read(range(640))[index])
    assert built.read(np.array([], dtype=int)).shape == (0, 5, 24, 24)
    for wrong in ([640], [-1]):
        with pytest.raises(ValueError, match="frames 0 to 639"):
            built.read(wrong)


def test_processes_give_the_same_bytes_two_builds_at_once_too_and_a_later_one_only_opens(built, tmp_path):
    both = [begun(BUILD.format("SynthSurf"), tmp_path / "valid") for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0] and contents(tmp_path / "valid") == contents(built.folder)
    shutil.rmtree(tmp_path / "valid")
    store.build_store(VALID, tmp_path / "valid", workers=2, progress=False)
    assert contents(tmp_path / "valid") == contents(built.folder)
    stamp = (tmp_path / "valid" / "images.npy").stat().st_mtime_ns
    store.build_store(VALID, tmp_path / "valid", workers=2, progress=False)
    assert (tmp_path / "valid" / "images.npy").stat().st_mtime_ns == stamp
    assert {path.name for path in tmp_path.iterdir()} <= {"valid", "valid.lock"}


class Slow(SynthSurf):
    """Takes its time, or says of some frames that they are broken."""

    broken = ()

    def read(self, indices):
        time.sleep(0.5)
        found = [index for index in indices if index in self.broken]
        if found:
            raise ValueError(f"frame {found[0]:03d} is cut off")
        return super().read(indices)


def test_killed_and_built_again_gives_the_same_bytes(built, tmp_path):
    killed = begun(BUILD.format("Slow"), tmp_path / "valid")
    while killed.poll() is None and not (tmp_path / "valid.partial" / "images.npy").exists():
        time.sleep(0.01)
    time.sleep(np.random.default_rng().uniform(0, 0.8))
    killed.kill()
    assert killed.wait() == -signal.SIGKILL and not (tmp_path / "valid").exists()
    store.build_store(VALID, tmp_path / "valid", workers=1, progress=False)
    assert contents(tmp_path / "valid") == contents(built.folder)
    assert {path.name for path in tmp_path.iterdir()} == {"valid", "valid.lock"}


def test_broken_frames_are_listed_together(tmp_path):
    source = Slow("valid", 2, frames_per_video=4, size=24)
    source.broken = range(20, 32)
    with pytest.raises(ValueError, match="12 of 32 frames cannot be read.*the first 10: frame 020 is cut") as error:
        store.build_store(source, tmp_path / "store", workers=1, progress=False)
    assert str(error.value).count("is cut off") == 10 and not (tmp_path / "store").exists()


def test_another_source_and_what_is_no_store_are_refused_and_kept(built, tmp_path):
    shutil.copytree(built.folder, tmp_path / "first")
    (tmp_path / "thesis.txt").write_text("years of work")
    other = SynthSurf("valid", 4, frames_per_video=40, size=24, seed=1)
    for folder in (tmp_path / "first", tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises((ValueError, OSError), match="holds the store of another source|is no finished store"):
            store.build_store(other, folder, workers=1, progress=False)
    assert contents(tmp_path / "first") == contents(built.folder)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("name", ["images.npy", "frames.parquet", "store.json"])
def test_a_flipped_bit_anywhere_is_noticed(built, tmp_path, name):
    path = shutil.copytree(built.folder, tmp_path / "valid") / name
    for place in (3, 100, 300_000, -1):
        flip(path, bit := 8 * (place % path.stat().st_size) + 2)
        with pytest.raises(Damaged, match="remove the folder"):
            store.Store(tmp_path / "valid").check()
        flip(path, bit)
    store.Store(tmp_path / "valid").check()


def test_damage_is_noticed_by_the_first_read_of_its_chunk_alone(built, tmp_path):
    shutil.copytree(built.folder, tmp_path / "valid")
    flip(tmp_path / "valid" / "images.npy", -1)
    damaged = store.Store(tmp_path / "valid")
    assert torch.equal(damaged.read([0, 300]), built.read([0, 300]))
    with pytest.raises(Damaged, match="is damaged, images.npy: of frames 512 to 639; remove the folder"):
        damaged.read([512])
    os.truncate(tmp_path / "valid" / "images.npy", 1000)
    with pytest.raises(Damaged, match="cut off; remove the folder"):
        store.build_store(VALID, tmp_path / "valid", workers=1, progress=False)

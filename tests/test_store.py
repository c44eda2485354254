"""The store: the same bytes whatever happens on the way, and nothing that is there already is ever replaced."""

import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import fasnb
from fasnb.data import store
from fasnb.data.casia_surf import CasiaSurf, find
from fasnb.data.casia_write import write
from fasnb.synthsurf.dataset import SynthSurf

VALID = SynthSurf("valid", 4, frames_per_video=40, size=24)  # 640 frames: three chunks

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(fasnb.__file__).parent.parent), "OMP_NUM_THREADS": "1"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return store.build(VALID, tmp_path_factory.mktemp("store") / "valid", workers=1, progress=False)


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory):
    root = tmp_path_factory.mktemp("surf")
    write(SynthSurf("valid", 4, frames_per_video=2, size=24), root, workers=1, progress=False)
    return root


@pytest.fixture
def copy(jpegs, tmp_path):
    shutil.copytree(jpegs, tmp_path / "surf")
    return tmp_path / "surf"


def reader(root):
    return CasiaSurf(find(root).frames(["valid"]), root, 20)


def test_a_store_holds_the_source(built):
    np.testing.assert_array_equal(built.images, VALID.read(range(len(VALID))))
    pd.testing.assert_frame_equal(built.frames, VALID.frames, check_dtype=False)
    assert (built.fingerprint, built.size, built.channels, len(built)) == (
        VALID.fingerprint, 24, {"rgb": 3, "depth": 1, "ir": 1}, 640)  # fmt: skip
    assert not built.images.flags.writeable


def test_reading_follows_the_index(built):
    index = [639, 0, 7, 7, 300]
    images = pickle.loads(pickle.dumps(built)).read(index)
    assert images.dtype == torch.uint8
    np.testing.assert_array_equal(images, built.images[index])
    assert built.read(np.array([], dtype=int)).shape == (0, 5, 24, 24)
    for wrong in ([640], [-1]):
        with pytest.raises(ValueError, match="frames 0 to 639"):
            built.read(wrong)


def test_processes_give_the_same_bytes_and_a_second_build_only_opens(built, tmp_path):
    store.build(VALID, tmp_path / "valid", workers=2, progress=False)
    assert contents(tmp_path / "valid") == contents(built.folder)
    stamp = (tmp_path / "valid" / "images.npy").stat().st_mtime_ns
    store.build(VALID, tmp_path / "valid", workers=2, progress=False)
    assert (tmp_path / "valid" / "images.npy").stat().st_mtime_ns == stamp
    assert sorted(path.name for path in tmp_path.iterdir()) in (["valid"], ["valid", "valid.lock"])


SLOW_BUILD = """
import sys, time
from fasnb.data import store
from fasnb.synthsurf.dataset import SynthSurf

class Slow(SynthSurf):
    def read(self, indices):
        time.sleep(0.1)
        return super().read(indices)

if __name__ == "__main__":
    store.CHUNK = 32
    store.build(Slow("valid", 4, frames_per_video=40, size=24), sys.argv[1], workers=int(sys.argv[2]), progress=False)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_a_random_moment_and_resumed_gives_the_same_bytes(tmp_path, monkeypatch, workers):
    (tmp_path / "build.py").write_text(SLOW_BUILD)
    folder, unfinished = tmp_path / "killed", tmp_path / "killed.partial"
    build = subprocess.Popen([sys.executable, tmp_path / "build.py", folder, str(workers)], env=ENVIRONMENT)
    record = unfinished / "finished"
    while build.poll() is None and not (record.exists() and record.stat().st_size):
        time.sleep(0.01)
    time.sleep(np.random.default_rng().uniform(0, 0.4))
    build.send_signal(signal.SIGKILL)
    assert build.wait() == -signal.SIGKILL and not folder.exists(), "the build was over before the kill; slow it down"
    with open(record, "a") as file:
        file.write("1")  # a line torn by the kill
    kept = (unfinished / "images.npy").stat().st_ino

    monkeypatch.setattr(store, "CHUNK", 32)
    store.build(VALID, folder, workers=1, progress=False)
    store.build(VALID, tmp_path / "undisturbed", workers=1, progress=False)
    assert contents(folder) == contents(tmp_path / "undisturbed")
    assert (folder / "images.npy").stat().st_ino == kept  # went on, not anew


def test_finished_chunks_are_not_decoded_again(tmp_path):
    class Stops(SynthSurf):
        def read(self, indices):
            asked.extend(indices)
            if 400 in indices and len(asked) < 640:
                raise KeyboardInterrupt
            return super().read(indices)

    asked: list[int] = []
    source = Stops("valid", 4, frames_per_video=40, size=24)
    with pytest.raises(KeyboardInterrupt):
        store.build(source, tmp_path / "valid", workers=1, progress=False)
    asked[:] = [0] * 640
    store.build(source, tmp_path / "valid", workers=1, progress=False)
    assert asked[640:] == list(range(256, 640))


def test_changed_inputs_are_another_store_and_replace_none(copy, tmp_path):
    first = store.build(reader(copy), tmp_path / "first", workers=1, progress=False)
    earlier = contents(first.folder)
    path = copy / "phase1/Val/0000/000003-ir.jpg"
    Image.open(path).point(lambda value: 255 - value).save(path)
    with pytest.raises(ValueError, match="first holds something other than the store of this source; choose another"):
        store.build(reader(copy), first.folder, workers=1, progress=False)
    assert contents(first.folder) == earlier
    second = store.build(reader(copy), tmp_path / "second", workers=1, progress=False)
    changed = np.flatnonzero((first.images != second.images).any(axis=(1, 2, 3)))
    assert changed.tolist() == [3] and not (first.images[3, :4] != second.images[3, :4]).any()


def test_broken_frames_are_listed_together(copy, tmp_path):
    for number in range(3, 15):
        path = copy / f"phase1/Val/0000/{number:06d}-color.jpg"
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match="12 of 32 frames cannot be read.*the first 10: ") as error:
        store.build(reader(copy), tmp_path / "store", workers=2, progress=False)
    assert str(error.value).count("color.jpg") == 10 and "000003-color.jpg is unreadable" in str(error.value)
    assert not (tmp_path / "store").exists()


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for folder in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(ValueError, match="holds something other than the store of this source"):
            store.build(VALID, folder, workers=1, progress=False)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    with pytest.raises(FileNotFoundError, match="build it first"):
        store.Store.open(tmp_path)


def test_an_empty_folder_is_taken(built, tmp_path):
    assert contents(store.build(VALID, tmp_path, workers=1, progress=False).folder) == contents(built.folder)


def test_a_store_cut_short_is_refused(built, tmp_path):
    shutil.copytree(built.folder, tmp_path / "valid")
    os.truncate(tmp_path / "valid" / "images.npy", 1000)
    for again in (store.Store.open, lambda folder: store.build(VALID, folder, workers=1, progress=False)):
        with pytest.raises(ValueError, match="is damaged, its files do not fit together; remove the folder"):
            again(tmp_path / "valid")


NO_ROOM = "no room for .*bigger .*: it needs 3,276,928 bytes and .* are free"


def test_a_file_limit_is_a_clear_error(tmp_path):
    """A quota: files may not grow past 1 MB in this process, while the store needs 3.3 MB."""
    bigger = SynthSurf("valid", 4, frames_per_video=40, size=32)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(OSError, match=NO_ROOM):
            store.build(bigger, tmp_path / "bigger", workers=1, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "bigger").exists() and not (tmp_path / "bigger.partial").exists()


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_a_clear_error_and_another_store_stays(built, small_disk):
    store.build(VALID, small_disk / "valid", workers=1, progress=False)  # 1.8 of 3 MB
    bigger = SynthSurf("valid", 4, frames_per_video=40, size=32)
    with pytest.raises(OSError, match=NO_ROOM):
        store.build(bigger, small_disk / "bigger", workers=2, progress=False)
    assert contents(small_disk / "valid") == contents(built.folder) and not (small_disk / "bigger.partial").exists()


def test_two_processes_build_one_store(built, tmp_path):
    command = [sys.executable, "-c", (
        "import sys; from fasnb.data import store; from fasnb.synthsurf.dataset import SynthSurf;"
        "store.build(SynthSurf('valid', 4, frames_per_video=40, size=24), sys.argv[1], workers=1, progress=False)"
    ), str(tmp_path / "valid")]  # fmt: skip
    both = [subprocess.Popen(command, env=ENVIRONMENT) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert contents(tmp_path / "valid") == contents(built.folder)


def test_a_neighbour_of_the_same_name_is_not_touched(tmp_path):
    precious = tmp_path / "store.partial" / "precious.txt"
    precious.parent.mkdir()
    precious.write_text("mine")
    with pytest.raises(ValueError, match=r"holds precious\.txt; move it"):
        store.build(SynthSurf("valid", 2, 2, size=24), tmp_path / "store", workers=1, progress=False)
    assert precious.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "content"), [("frames.parquet", b"xx"), ("store.json", b"\xff"), ("store.json", b'{"format": 1}')]
)
def test_a_damaged_store_is_one_sentence(tmp_path, name, content):
    store.build(SynthSurf("valid", 2, 2, size=24), tmp_path / "store", workers=1, progress=False)
    (tmp_path / "store" / name).write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match="is damaged.*; remove the folder"):
        store.Store.open(tmp_path / "store")

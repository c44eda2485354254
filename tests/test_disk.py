"""Full disks and folders that cannot be written: one sentence that names the file, and afterwards the study goes on."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_runs import planned, stores  # noqa: F401
from test_training import TINY, equal

from fasnb.command.main import main
from fasnb.command.notebooks import execute
from fasnb.model.network import build
from fasnb.model.weights import save_network
from fasnb.tools import files
from fasnb.tools.files import replace_file, sweep, temporary_folder, write_text
from fasnb.tools.places import spare_home
from fasnb.training.runs import run_or_load, state_of


@pytest.fixture
def small_disk(tmp_path):
    """A disk of four megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def leave(disk: Path, free: int) -> None:
    """Fill the disk but for so many bytes."""
    (disk / "ballast").unlink(missing_ok=True)
    (disk / "ballast").write_bytes(bytes(max(0, shutil.disk_usage(disk).free - free)))


def test_whatever_there_is_no_room_for_is_named_and_the_run_goes_on(stores, small_disk, tmp_path):  # noqa: F811
    network, missing = planned(stores, small_disk), set()
    for free in range(0, 2**22, 2**18):
        leave(small_disk, free)
        try:
            run = run_or_load(network, device="cpu")
            break
        except OSError as error:
            assert "no room for" in str(error) and "bytes" in str(error) and "free some" in str(error)
            missing.add(Path(str(error).split(" (")[0].removeprefix("no room for ")).name)
        assert state_of(network) != "done" and not [
            p for p in small_disk.rglob(".*") if files.TEMPORARY.fullmatch(p.name)
        ]
    assert "state.pt" in missing
    whole = run_or_load(planned(stores, tmp_path / "whole"), device="cpu")
    assert equal(run.network().state_dict(), whole.network().state_dict())
    assert run.scores("valid").equals(whole.scores("valid"))


def test_what_a_file_takes_is_said(small_disk):
    write_text(small_disk / "a.csv", "before")
    leave(small_disk, 0)
    with pytest.raises(OSError, match=r"no room for .*a\.csv \(.*\): it needs 100,000 bytes and 0 bytes are free"):
        write_text(small_disk / "a.csv", "x" * 100_000)
    with pytest.raises(OSError, match=r"no room for .*b\.png \(.*\): it needs more than the 0 bytes that are free"):
        replace_file(small_disk / "b.png", lambda to: to.write_bytes(bytes(100_000)))
    with pytest.raises(
        OSError, match=r"no room for .*checkpoint\.pt \(.*\): it needs [0-9,]+ bytes and 0 bytes are free"
    ):
        save_network(build(TINY), small_disk / "checkpoint.pt")
    assert (small_disk / "a.csv").read_text() == "before" and {p.name for p in small_disk.iterdir()} == {
        "a.csv",
        "ballast",
    }


def test_a_notebook_on_a_full_disk_is_one_sentence(small_disk, released):
    leave(small_disk, 0)
    given = {"profile": "released", "settings": {"released_root": str(released)}, "out": str(small_disk)}
    with pytest.raises((OSError, RuntimeError), match="no room for"):
        execute("09_released", given, small_disk)


def test_results_that_cannot_be_written_are_named(small_disk, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("FASNB_CACHE", str(tmp_path / "cache"))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        assert main(["run", "--profile", "smoke", "--only", "01", "--out", str(small_disk / "smoke")]) == 2
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "cannot be written (Read-only file system)" in error and str(small_disk) in error


def test_a_home_that_cannot_be_written_is_spared(small_disk, monkeypatch):
    monkeypatch.setenv("HOME", str(small_disk))
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    spare_home()
    assert "MPLCONFIGDIR" not in os.environ
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        spare_home()
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert os.environ["MPLCONFIGDIR"].endswith("cache/matplotlib")
    monkeypatch.delenv("MPLCONFIGDIR")


def test_temporary_folders_have_short_names_and_those_of_the_dead_are_swept(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 110)
    long.mkdir()
    monkeypatch.setattr(files.tempfile, "tempdir", str(long))
    with temporary_folder() as folder:
        assert len(str(folder)) < 90 and not str(folder).startswith(str(long))
    assert not folder.exists()

    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(files, "LONGEST", 10_000)
    monkeypatch.setattr(files, "SHORT", str(tmp_path))
    script = (
        "import sys, time, tempfile; from pathlib import Path; from fasnb.tools import files\n"
        "files.LONGEST = 10_000; tempfile.tempdir = sys.argv[1]\n"
        "with files.temporary_folder() as folder:\n"
        "    files.replace_file(Path(sys.argv[1]) / 'a.csv', lambda to: (to.write_text('half'), print(flush=True), time.sleep(999)))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    child.stdout.readline()
    (tmp_path / "fasnb-new").mkdir()
    (tmp_path / "fasnb-old").mkdir()
    os.utime(tmp_path / "fasnb-old", (0, 0))
    (tmp_path / ".mine-notes.csv").write_text("keep")
    sweep(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert len([name for name in left if name.startswith("fasnb-")]) == 2, "the living one's, and one that is new"
    assert any(name.startswith(".a-") for name in left)
    child.kill()
    child.wait()
    time.sleep(0.1)
    sweep(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"fasnb-new", "x" * 110, ".mine-notes.csv"}

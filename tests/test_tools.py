"""Files written whole, seals, processes, and what a machine has."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from conftest import begun, flip

from fasnb.tools import machine
from fasnb.tools.files import Damaged, file_sha256, replace_file, seal, sealed, whole, write_text
from fasnb.tools.machine import parallel


def test_a_failed_write_leaves_the_earlier_file_and_nothing_beside_it(tmp_path):
    path = replace_file(tmp_path / "new" / "a.txt", lambda to: to.write_text("whole"))

    def fails(to):
        to.write_text("ha")
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        replace_file(path, fails)
    assert [(each.name, each.read_text()) for each in path.parent.iterdir()] == [("a.txt", "whole")]


@pytest.fixture
def done(tmp_path):
    """A folder that is done."""
    write_text(tmp_path / "scores.csv", "label,score\n1,0.5\n")
    seal(tmp_path, {"seconds": 1.5, "name": "é"}, ["scores.csv"])
    return tmp_path


def test_what_was_sealed_is_read_back_and_takes_more_files(done):
    content, digest = sealed(done), file_sha256(done / "scores.csv")
    assert content == {"seconds": 1.5, "name": "é", "sha256": {"scores.csv": digest}}
    assert whole(done, "scores.csv") == done / "scores.csv"
    write_text(done / "more.csv", "x")
    seal(done, content, ["more.csv"])
    assert set(sealed(done)["sha256"]) == {"scores.csv", "more.csv"} and whole(done, "scores.csv")
    assert json.loads((done / "done.json").read_text())["sha256"]["scores.csv"] == digest


def test_every_flipped_bit_is_named_with_what_to_remove_and_so_is_what_was_not_sealed(done):
    for name in ("done.json", "scores.csv"):
        for bit in range(0, 8 * (done / name).stat().st_size, 7):
            flip(done / name, bit)
            with pytest.raises(Damaged, match=rf"{name} is not what was written; remove the folder"):
                whole(done, "scores.csv")
            flip(done / name, bit)
    write_text(done / "other.csv", "x")
    with pytest.raises(Damaged, match=r"other\.csv"):
        whole(done, "other.csv")
    (done / "scores.csv").unlink()
    with pytest.raises(FileNotFoundError):
        whole(done, "scores.csv")
    with pytest.raises(FileNotFoundError):
        sealed(done / "nowhere")


def squared(number):
    return number**2, torch.get_num_threads(), os.getpid()


def die(name):
    os.kill(os.getpid(), getattr(signal, name))


def note_and_sleep(path):
    write_text(path, str(os.getpid()))
    time.sleep(100)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_is_done_on_one_thread(workers):
    results = list(parallel(squared, range(6), workers))
    assert sorted(number for number, _, _ in results) == [0, 1, 4, 9, 16, 25]
    assert {threads for _, threads, _ in results} == {1}
    assert ({process for _, _, process in results} == {os.getpid()}) == (workers == 1)


@pytest.mark.parametrize(("name", "message"), [("SIGKILL", "SIGKILL, most often"), ("SIGSEGV", "SIGSEGV, a fault")])
def test_a_worker_that_dies_is_reported_with_its_signal(name, message):
    with pytest.raises(RuntimeError, match=message):
        list(parallel(die, [name] * 2, 2))
    assert len(list(parallel(squared, range(2), 2))) == 2  # new processes take their place


def test_workers_end_with_a_killed_parent(tmp_path):
    code = "import sys, test_tools as t; list(t.parallel(t.note_and_sleep, [sys.argv[1] + n for n in 'ab'], 2))"
    running = begun(code, tmp_path / "pid-")
    while running.poll() is None and sum(note.stat().st_size > 0 for note in tmp_path.glob("pid-?")) < 2:
        time.sleep(0.1)
    running.kill()
    workers, started = [note.read_text() for note in tmp_path.glob("pid-?")], time.monotonic()
    while any(path.read_bytes() for pid in workers if (path := Path(f"/proc/{pid}/cmdline")).exists()):  # no zombies
        assert time.monotonic() - started < 30
        time.sleep(0.1)


def test_places_are_found_from_below_the_repository_and_only_devices_that_are_there(tmp_path, monkeypatch):
    for name in ("notebooks", "fasnb/paper", "deep/er"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    monkeypatch.delenv("FASNB_CACHE", raising=False)
    assert machine.home() == tmp_path and machine.cache() == tmp_path / "data" / "cache"
    monkeypatch.setenv("FASNB_THIRD_TEAM", str(tmp_path / "deep"))
    with pytest.raises(machine.MissingData, match=r"deep \(submission\); clone github\.com/SoftwareGift/.* 0b8462aa"):
        machine.third_team_root()
    monkeypatch.chdir(tmp_path.parent)  # outside of a repository it is that of the package
    assert (machine.home() / "fasnb" / "tools").is_dir()
    assert machine.choose_device("cpu").type == "cpu"
    with pytest.raises(ValueError, match="is not on this machine; choose cpu or auto"):
        machine.choose_device(f"cuda:{torch.cuda.device_count()}")

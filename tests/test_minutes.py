"""``--minutes``: work ends before the limit, by an exit status of its own, and the next call goes on from what it left."""

import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from test_runs import planned, stores  # noqa: F401
from test_training import RECIPE, equal

from fasnb.command.main import main
from fasnb.tools import workers
from fasnb.tools.workers import OutOfTime, execute, time_limit
from fasnb.training import loop
from fasnb.training.runs import RunError, run_many, run_or_load, state_of


def noted(folder: Path, task: int, device: str) -> int:
    """One more line in the task's file, a second of work; a ValueError of its own from task 13."""
    with open(folder / str(task), "a") as file:
        file.write("begun\n")
    if task == 13:
        raise ValueError("task 13 fails for a reason of its own")
    time.sleep(1)
    return task


def test_a_training_out_of_time_saves_its_state_and_goes_on_to_the_same_bits(stores, tmp_path, monkeypatch):  # noqa: F811
    recipe = replace(RECIPE, epochs=4, schedule_epochs=4)
    whole = run_or_load(planned(stores, tmp_path / "whole", recipe=recipe), device="cpu")
    network, looked = planned(stores, tmp_path / "stopped", recipe=recipe), []
    with monkeypatch.context() as patch:
        patch.setattr(loop, "time_is_up", lambda: looked.append(0) or len(looked) > 5)
        patch.setattr(loop, "require_time", lambda: workers._break_off())
        with pytest.raises(OutOfTime):
            run_many([network], workers=1, device="cpu", progress=False)
    assert state_of(network) == "partial" and (network.folder / "state.pt").is_file() and len(looked) == 6
    run = run_or_load(network, device="cpu")
    assert equal(run.network().state_dict(), whole.network().state_dict())
    assert run.scores("valid").equals(whole.scores("valid"))


@pytest.mark.parametrize("processes", [1, 2])
def test_tasks_that_were_not_begun_wait_for_the_next_call(tmp_path, monkeypatch, processes):
    monkeypatch.setenv(workers.STOP_AT, str(time.time() - 1))
    with pytest.raises(OutOfTime, match="run the same command to go on"):
        list(execute(partial(noted, tmp_path), [1, 2, 3], ["cpu"] * processes, 1))
    assert not list(tmp_path.iterdir())
    monkeypatch.delenv(workers.STOP_AT)
    assert sorted(execute(partial(noted, tmp_path), [1, 2], ["cpu"] * processes, 1)) == [1, 2]


def test_what_does_not_look_at_the_time_is_broken_off():
    began = time.monotonic()
    with pytest.raises(OutOfTime), time_limit(0.01):
        while True:
            time.sleep(5)
    assert time.monotonic() - began < 5 and workers.STOP_AT not in os.environ
    with time_limit(None):
        assert not workers.time_is_up()


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "1e9"])
def test_a_limit_that_is_none_is_refused(capsys, minutes):
    assert main(["run", "--profile", "smoke", "--minutes", minutes]) == 2
    assert "are no time limit" in capsys.readouterr().err


def test_a_study_out_of_time_says_so_by_its_own_status(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("FASNB_CACHE", str(tmp_path / "cache"))
    status = main(["run", "--profile", "smoke", "--only", "01", "--out", str(tmp_path / "out"), "--minutes", "0.001"])
    assert status == 3 and capsys.readouterr().err.strip().splitlines()[-1].endswith("run the same command to go on")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_task_that_fails_for_a_reason_of_its_own_is_told_once(tmp_path, processes):
    with pytest.raises(ValueError, match="^task 13 fails for a reason of its own$"):
        list(execute(partial(noted, tmp_path), [13, 1, 2, 3, 4], ["cpu"] * processes, 1))
    assert (tmp_path / "13").read_text() == "begun\n" and not (tmp_path / "4").exists()


def test_a_network_that_fails_is_named_once(stores, tmp_path):  # noqa: F811
    missing = planned(stores, tmp_path, 8, initialisation="f" * 64, backbone=tmp_path / "nowhere.pt")
    with pytest.raises(RunError) as error:
        run_many([missing, planned(stores, tmp_path, 9)], workers=1, device="cpu", progress=False)
    assert str(error.value).count("A fold 1 seed 8") == 1

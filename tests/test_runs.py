"""Runs on disk: done once, resumed after a kill, shared by processes, never mistaken for done."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from test_training import RECIPE, TINY, Stripes, equal

from fasnb import metrics
from fasnb.data import store
from fasnb.metrics.scores import SCORE_COLUMNS, IncompleteError
from fasnb.model.backbones import Backbone
from fasnb.model.weights import save_backbone
from fasnb.tools.files import file_sha256, write_text
from fasnb.training import fit as training
from fasnb.training import runs
from fasnb.training.runs import RunError, Task, finished, list_runs, load_runs, run_folder, run_many, run_or_load
from fasnb.training.specification import Specification, specify

FILES = {"config.json", "environment.json", "history.csv", "scores-valid.parquet", "checkpoint.pt", "result.json"}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    store.build(Stripes(96), folder / "train", workers=1, progress=False)
    store.build(Stripes(40, "valid"), folder / "valid", workers=1, progress=False)
    store.build(Stripes(24, "test"), folder / "test", workers=1, progress=False)
    return {split: str(folder / split) for split in ("train", "valid", "test")}


def task_of(stores, seed=7, fold=1, recipe=RECIPE, architecture=TINY, initialisation="random", **others) -> Task:
    train = store.Store.open(stores["train"])
    index = np.flatnonzero(np.arange(96) % 3 != fold - 1)
    chosen = specify("A", fold, seed, architecture, recipe, train, index, initialisation=initialisation)
    return Task(chosen, stores, index, **{"fprs": (0.1, 0.05)} | others)


def child(action: str, task: Task, results: Path, *more) -> subprocess.Popen:
    """A process that does one of the functions below, with the package and this file at hand."""
    path = results / f"{action}.pickle"
    results.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps(task))
    here = Path(__file__).parent
    places = os.pathsep.join([str(here.parent), str(here)])
    command = f"import test_runs; test_runs.{action}({str(path)!r}, {str(results)!r}, *{more!r})"
    return subprocess.Popen(
        [sys.executable, "-c", command],
        env=os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def train_and_be_killed(task: str, results: str, epoch: int, batch: int, checkpoint_seconds: float) -> None:
    """Train; SIGKILL comes when ``batch`` of ``epoch`` is drawn."""
    ordinary = training.batches

    def deadly(*given, **options):
        for number, drawn in enumerate(ordinary(*given, **options)):
            if (options["epoch"], number) == (epoch, batch):
                os.kill(os.getpid(), signal.SIGKILL)
            yield drawn

    training.batches = deadly
    torch.set_num_threads(1)
    run_or_load(pickle.loads(Path(task).read_bytes()), results, device="cpu", checkpoint_seconds=checkpoint_seconds)


def train_at_once(task: str, results: str, me: int) -> None:
    """Wait for the other process, then run; say whether this one trained and whether it waited."""
    ordinary, did = runs.fit, {"trained": False, "waited": False}

    def fit(*given, **options):
        did["trained"] = True
        return ordinary(*given, **options)

    runs.fit = fit
    torch.set_num_threads(1)
    (Path(results) / f"ready-{me}").touch()
    while not (Path(results) / f"ready-{1 - me}").exists():
        time.sleep(0.005)
    waited = []
    run = run_or_load(pickle.loads(Path(task).read_bytes()), results, device="cpu", log=waited.append)
    did["waited"] = bool(waited)
    print(json.dumps(did | {"scores": list(run.scores("valid")["score"])}))


def test_a_run_is_trained_once_and_loaded_after(stores, tmp_path):
    task = task_of(stores)
    assert not finished(task, tmp_path)
    run = run_or_load(replace(task, held_out=np.arange(0, 96, 3)), tmp_path, device="cpu")
    assert finished(task, tmp_path) and not finished(replace(task, splits=("valid", "test")), tmp_path)
    assert {path.name for path in run.folder.iterdir()} - {"run.lock"} == FILES
    assert run.folder == tmp_path / "runs" / task.specification.name
    config = Specification.from_json((run.folder / "config.json").read_text())
    assert config == task.specification and config.key == task.specification.key

    table, result = run.scores("valid"), json.loads((run.folder / "result.json").read_text())
    assert tuple(table.columns) == SCORE_COLUMNS and len(table) == 40
    assert set(zip(table["experiment"], table["fold"], table["seed"], strict=True)) == {("A", 1, 7)}
    assert result["splits"]["valid"]["tpr_at_fpr"] == {
        f"{fpr:g}": metrics.tpr_at_fpr(table["label"], table["score"], fpr) for fpr in (0.1, 0.05)
    }
    assert len(run.history()) == 2 and np.isfinite(run.history().to_numpy()).all()
    network = run.network()
    valid = store.Store.open(stores["valid"])
    assert np.array_equal(table["score"], training.score(network, valid, np.arange(40), RECIPE, device="cpu"))

    times = {path: path.stat().st_mtime_ns for path in run.folder.iterdir()}
    again = run_or_load(task, tmp_path, device="cpu")
    assert again.result == result and times == {path: path.stat().st_mtime_ns for path in run.folder.iterdir()}


@pytest.mark.parametrize("checkpoint_seconds", [0.0, 300.0], ids=["saved within the epoch", "saved after the epoch"])
def test_killed_within_an_epoch_the_run_goes_on_to_the_same_bits(stores, tmp_path, checkpoint_seconds):
    recipe = replace(RECIPE, flip=0.5, rotation=20.0)
    zhang = replace(TINY, fusion="zhang", mlfa=False)  # its dropout draws random numbers too
    task = task_of(stores, recipe=recipe, architecture=zhang)
    undisturbed = run_or_load(task, tmp_path / "undisturbed", device="cpu")

    process = child("train_and_be_killed", task, tmp_path / "killed", 1, 2, checkpoint_seconds)
    process.communicate(timeout=100)
    assert process.returncode == -signal.SIGKILL
    folder = run_folder(tmp_path / "killed", task.specification)
    assert torch.load(folder / "state.pt", weights_only=True)["step"] == (6 if checkpoint_seconds == 0 else 4)
    with pytest.raises(IncompleteError):
        load_runs(tmp_path / "killed", [task.specification], "valid")
    assert list_runs(tmp_path / "killed")["state"].tolist() == ["partial"]

    (folder / ".state-0123abcd.pt").write_bytes(b"half")
    resumed = run_or_load(task, tmp_path / "killed", device="cpu")
    assert equal(resumed.network().state_dict(), undisturbed.network().state_dict())
    assert resumed.scores("valid").equals(undisturbed.scores("valid"))
    assert resumed.history()["loss"].equals(undisturbed.history()["loss"])
    assert {path.name for path in folder.iterdir()} - {"run.lock"} == FILES


def test_two_processes_on_one_specification_train_it_once(stores, tmp_path):
    task = task_of(stores, recipe=replace(RECIPE, epochs=50, schedule_epochs=50))
    processes = [child("train_at_once", task, tmp_path, me) for me in (0, 1)]
    one, other = (json.loads(process.communicate(timeout=100)[0]) for process in processes)
    assert {one["trained"], other["trained"]} == {True, False}
    assert one["waited"] == other["trained"] and other["waited"] == one["trained"]
    assert one["scores"] == other["scores"]


def test_missing_runs_are_all_named(stores, tmp_path):
    tasks = [task_of(stores, seed, fold) for seed in (7, 704) for fold in (1, 2)]
    run_or_load(tasks[1], tmp_path, device="cpu")
    specifications = [task.specification for task in tasks]
    with pytest.raises(IncompleteError, match="3 of 4 .*: A fold 1 seed 7; A fold 1 seed 704; A fold 2 seed 704"):
        load_runs(tmp_path, specifications, "valid")
    with pytest.raises(IncompleteError, match="1 of 1 networks have no scores on test"):
        load_runs(tmp_path, specifications[1:2], "test")
    assert load_runs(tmp_path, specifications[1:2], "valid")["fold"].eq(2).all()


def test_many_runs_in_processes_come_back_in_order(stores, tmp_path):
    tasks = [task_of(stores, seed) for seed in (704, 7)]
    lines = []
    trained = run_many(tasks, tmp_path, workers=2, threads=1, device="cpu", progress=lines.append)
    assert [run.specification.seed for run in trained] == [704, 7]
    assert len(lines) == 2 and lines[1].startswith("[2/2] A fold 1 seed ") and "TPR@5e-2" in lines[1]
    assert "left" in lines[0] and "left" not in lines[1]
    alone = run_or_load(tasks[0], tmp_path / "alone", device="cpu")
    assert alone.scores("valid").equals(trained[0].scores("valid")), "a worker gives other bits than this process"
    table = list_runs(tmp_path)
    assert table["state"].tolist() == ["done", "done"] and set(table["seed"]) == {7, 704}
    assert (table["metric"] == "TPR@5e-2").all() and table["value"].between(0, 1).all() and (table["seconds"] > 0).all()

    lines.clear()
    again = run_many(tasks, tmp_path, workers=2, device="cpu", progress=lines.append)
    assert lines == ["2 of 2 networks are done already"] and [r.folder for r in again] == [r.folder for r in trained]


def of_backbone(stores, path):
    return task_of(stores, 8, initialisation=file_sha256(path), backbone=str(path))


def test_a_backbone_that_was_replaced_is_refused(stores, tmp_path):
    for number in range(2):
        torch.manual_seed(number)
        made = Backbone("resnet18", 0.0625, (1, 1, 1, 1), small_images=True)
        save_backbone(made, tmp_path / f"{number}.pt")
    task = of_backbone(stores, tmp_path / "0.pt")
    (tmp_path / "1.pt").replace(tmp_path / "0.pt")
    with pytest.raises(ValueError, match=r"0\.pt is not the backbone of the specification"):
        run_or_load(task, tmp_path, device="cpu")


def test_a_backbone_of_ones_own_pretraining_may_be_named_by_its_file(stores, tmp_path):
    made = Backbone("resnet18", 0.0625, (1, 1, 1, 1), small_images=True)
    save_backbone(made, tmp_path / "own.pt", key="k" * 64)  # as fasnb pretrain writes it, laid under data/weights
    assert run_or_load(of_backbone(stores, tmp_path / "own.pt"), tmp_path, device="cpu").has_weights


def test_a_specification_alone_loads_a_finished_run(stores, tmp_path):
    task = task_of(stores)
    with pytest.raises(IncompleteError, match="A fold 1 seed 7 is not done in .*give a Task"):
        run_or_load(task.specification, tmp_path)
    made = run_or_load(task, tmp_path, device="cpu")
    assert run_or_load(task.specification, tmp_path) == made
    with pytest.raises(IncompleteError, match="no network is asked for"):
        load_runs(tmp_path, [], "valid")


def test_a_damaged_run_is_listed_as_such(stores, tmp_path):
    run = run_or_load(task_of(stores), tmp_path, device="cpu")
    (run.folder / "config.json").write_text("{")
    assert list_runs(tmp_path)["state"].tolist() == ["damaged"]


@pytest.mark.parametrize("writes", ["scores-valid.parquet", "checkpoint.pt", "result.json"])
def test_weights_made_anew_and_earlier_scores_are_never_mixed(stores, tmp_path, monkeypatch, writes):
    task = task_of(stores)
    folder = run_or_load(task, tmp_path, device="cpu").folder
    (folder / "checkpoint.pt").unlink()
    replaced = os.replace

    def die(temporary, path):
        if Path(path).name == writes:
            raise KeyboardInterrupt
        replaced(temporary, path)

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        run_or_load(task, tmp_path, device="cpu", weights=True)
    monkeypatch.setattr(os, "replace", replaced)
    assert finished(task, tmp_path, weights=True) is None
    again = run_or_load(task, tmp_path, device="cpu", weights=True)
    valid = store.Store.open(stores["valid"])
    scored = training.score(again.network(), valid, np.arange(40), RECIPE, device="cpu")
    assert np.array_equal(again.scores("valid")["score"], scored) and not (folder / "state.pt").exists()


def test_a_failing_run_stops_the_study_and_is_named(stores, tmp_path):
    backbone = Backbone("resnet18", 0.0625, (1, 1, 1, 1), small_images=True)
    with torch.no_grad():
        backbone.stem.conv.weight[0, 0, 0, 0] = torch.nan
    save_backbone(backbone, tmp_path / "backbone.pt")
    broken = of_backbone(stores, tmp_path / "backbone.pt")
    tasks = [task_of(stores, 7), broken, task_of(stores, 9)]
    with pytest.raises(RunError, match="^A fold 1 seed 8: .* not finite .stem.conv.weight"):
        run_many(tasks, tmp_path, workers=1, device="cpu", progress=False)
    states = list_runs(tmp_path).set_index("seed")["state"].to_dict()
    assert states == {7: "done", 8: "partial"}


def test_a_failing_run_in_a_process_stops_the_others(stores, tmp_path):
    endless = task_of(stores, 7, recipe=replace(RECIPE, epochs=50_000, schedule_epochs=50_000))
    missing = task_of(stores, 8, initialisation="f" * 64, backbone=str(tmp_path / "nowhere.pt"))
    with pytest.raises(RunError, match="^A fold 1 seed 8: .*nowhere.pt"):
        run_many([endless, missing], tmp_path, workers=2, device="cpu", progress=False)
    assert "done" not in set(list_runs(tmp_path)["state"])


def test_a_run_at_work_is_listed_as_running(stores, tmp_path):
    task = task_of(stores)
    folder = run_folder(tmp_path, task.specification)
    write_text(folder / "config.json", task.specification.to_json())
    with FileLock(folder / "run.lock"):
        assert list_runs(tmp_path)["state"].tolist() == ["running"]
    assert list_runs(tmp_path)["state"].tolist() == ["partial"]
    assert list_runs(tmp_path / "nothing").empty


def test_scores_without_checkpoint_and_data_are_enough(stores, tmp_path):
    task = task_of(stores)
    run = run_or_load(task, tmp_path, device="cpu")
    (run.folder / "checkpoint.pt").unlink()
    elsewhere = replace(task, stores={split: str(tmp_path / split) for split in stores})
    assert run_or_load(elsewhere, tmp_path).scores("valid").equals(run.scores("valid"))
    assert len(run_many([elsewhere], tmp_path, progress=False)) == 1
    with pytest.raises(ValueError, match="no checkpoint.pt .* remove the folder"):
        run_or_load(replace(task, splits=("valid", "test")), tmp_path)
    assert len(load_runs(tmp_path, [task.specification], "valid")) == 40


def test_new_and_changed_splits_are_scored_without_training(stores, tmp_path):
    task = task_of(stores)
    run = run_or_load(task, tmp_path, device="cpu")
    trained = (run.folder / "checkpoint.pt").stat().st_mtime_ns
    longer = store.build(Stripes(44, "valid"), tmp_path / "longer", workers=1, progress=False)
    wider = replace(task, stores=stores | {"valid": str(longer.folder)}, splits=("valid", "test"))
    run = run_or_load(wider, tmp_path, device="cpu")
    assert (len(run.scores("valid")), len(run.scores("test"))) == (44, 24)
    assert (run.folder / "checkpoint.pt").stat().st_mtime_ns == trained

    other = task_of(stores, seed=8)
    run_or_load(other, tmp_path, device="cpu")
    with pytest.raises(IncompleteError, match="scored on different data"):
        load_runs(tmp_path, [task.specification, other.specification], "valid")


def test_splits_without_labels_are_scored_and_not_measured(stores, tmp_path):
    public = Stripes(20, "test")
    public.frames["label"] = pd.array([pd.NA] * 20, dtype="Int8")
    store.build(public, tmp_path / "public", workers=1, progress=False)
    task = task_of(stores | {"test": str(tmp_path / "public")}, splits=("test",))
    run = run_or_load(task, tmp_path, device="cpu")
    assert run.scores("test")["score"].between(0, 1).all() and "auc" not in run.result["splits"]["test"]


def test_a_folder_that_holds_something_else_is_refused(stores, tmp_path):
    task = task_of(stores)
    folder = run_folder(tmp_path, task.specification)
    write_text(folder / "result.json", json.dumps({"key": "0" * 64, "splits": {}}))
    with pytest.raises(ValueError, match="holds the run of another specification"):
        run_or_load(task, tmp_path, device="cpu")
    write_text(folder / "result.json", '{"key": ')
    with pytest.raises(ValueError, match="result.json is damaged"):
        run_or_load(task, tmp_path, device="cpu")
    with pytest.raises(ValueError, match="A fold 1 seed 7: no store is given for split 'dev'"):
        replace(task, splits=("valid", "dev"))
    with pytest.raises(ValueError, match="device 'cuda:99' is not on this machine"):
        run_or_load(task_of(stores, seed=8), tmp_path, device="cuda:99")
    with pytest.raises(ValueError, match="no frames of split 'test'"):
        run_or_load(task_of(stores | {"test": stores["valid"]}, seed=8, splits=("test",)), tmp_path, device="cpu")


def test_scores_without_weights_are_loaded_or_trained_again_on_request(stores, tmp_path):
    task = task_of(stores)
    run = run_or_load(task, tmp_path, device="cpu")
    kept = run.scores("valid")["score"].tolist()
    (run.folder / "checkpoint.pt").unlink()
    assert finished(task, tmp_path) and not finished(task, tmp_path, weights=True)
    assert not run_or_load(task, tmp_path, device="cpu").has_weights
    again = run_or_load(task, tmp_path, device="cpu", weights=True)
    assert again.has_weights and again.scores("valid")["score"].tolist() == kept


def test_a_script_without_a_guard_is_told_so_however_large_its_data(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from functools import partial\nfrom fasnb.workers import parallel_map\n"
        "list(parallel_map(partial(max, list(range(200_000))), [1, 2], workers=2))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=100)
    assert done.returncode != 0 and "if __name__ == '__main__'" in done.stderr

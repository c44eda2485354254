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
from fasnb.tools.seals import read_result, write_sealed
from fasnb.training import fit as training
from fasnb.training import runs
from fasnb.training.archive import Published, load_facts, load_history, load_scores, write_published
from fasnb.training.inference import score
from fasnb.training.plan import PlannedNetwork
from fasnb.training.runs import RunError, facts_of, finished, run_many, run_or_load, state_of
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
    return {split: folder / split for split in ("train", "valid", "test")}


def planned(stores, out, seed=7, fold=1, recipe=RECIPE, architecture=TINY, initialisation="random", **others):
    """A network to train on the stores, its run below ``out``."""
    train = store.Store.open(stores["train"])
    index = np.flatnonzero(np.arange(96) % 3 != fold - 1)
    chosen = specify("A", fold, seed, architecture, recipe, train, index, initialisation=initialisation)
    data = {split: store.Store.open(folder).fingerprint for split, folder in stores.items()}
    return PlannedNetwork(chosen, out / "runs" / chosen.name, stores, data, index, **{"fprs": (0.1, 0.05)} | others)


NOTHING = Published(Path("nowhere"))


def child(action: str, network: PlannedNetwork, results: Path, *more) -> subprocess.Popen:
    """A process that does one of the functions below, with the package and this file at hand."""
    path = results / f"{action}.pickle"
    results.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps(network))
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
    run_or_load(pickle.loads(Path(task).read_bytes()), device="cpu", checkpoint_seconds=checkpoint_seconds)


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
    run = run_or_load(pickle.loads(Path(task).read_bytes()), device="cpu", log=waited.append)
    did["waited"] = bool(waited)
    print(json.dumps(did | {"scores": list(run.scores("valid")["score"])}))


def test_a_run_is_trained_once_and_loaded_after(stores, tmp_path):
    network = planned(stores, tmp_path)
    assert not finished(network) and state_of(network) == "missing"
    run = run_or_load(replace(network, held_out=np.arange(0, 96, 3)), device="cpu")
    assert finished(network) and not finished(replace(network, splits=("valid", "test")))
    assert {path.name for path in run.folder.iterdir()} - {"run.lock"} == FILES
    assert run.folder == tmp_path / "runs" / network.specification.name
    config = Specification.from_json((run.folder / "config.json").read_text())
    assert config == network.specification and config.key == network.specification.key

    table, result = run.scores("valid"), read_result(run.folder)
    assert tuple(table.columns) == SCORE_COLUMNS and len(table) == 40
    assert set(zip(table["experiment"], table["fold"], table["seed"], strict=True)) == {("A", 1, 7)}
    assert result["splits"]["valid"]["tpr_at_fpr"] == {
        f"{fpr:g}": metrics.tpr_at_fpr(table["label"], table["score"], fpr) for fpr in (0.1, 0.05)
    }
    assert len(run.history()) == 2 and np.isfinite(run.history().to_numpy()).all()
    valid = store.Store.open(stores["valid"])
    assert np.array_equal(table["score"], score(run.network(), valid, np.arange(40), RECIPE, device="cpu"))

    times = {path: path.stat().st_mtime_ns for path in run.folder.iterdir()}
    again = run_or_load(network, device="cpu")
    assert again.result == result and times == {path: path.stat().st_mtime_ns for path in run.folder.iterdir()}


@pytest.mark.parametrize("checkpoint_seconds", [0.0, 300.0], ids=["saved within the epoch", "saved after the epoch"])
def test_killed_within_an_epoch_the_run_goes_on_to_the_same_bits(stores, tmp_path, checkpoint_seconds):
    recipe = replace(RECIPE, flip=0.5, rotation=20.0)
    zhang = replace(TINY, fusion="zhang", mlfa=False)  # its dropout draws random numbers too
    undisturbed = run_or_load(planned(stores, tmp_path / "whole", recipe=recipe, architecture=zhang), device="cpu")

    network = planned(stores, tmp_path / "killed", recipe=recipe, architecture=zhang)
    process = child("train_and_be_killed", network, tmp_path / "killed", 1, 2, checkpoint_seconds)
    process.communicate(timeout=100)
    assert process.returncode == -signal.SIGKILL
    folder = network.folder
    assert torch.load(folder / "state.pt", weights_only=True)["step"] == (6 if checkpoint_seconds == 0 else 4)
    with pytest.raises(IncompleteError):
        load_scores([network], "valid", NOTHING)
    assert state_of(network) == "partial"

    (folder / ".state-0123abcd.pt").write_bytes(b"half")
    resumed = run_or_load(network, device="cpu")
    assert equal(resumed.network().state_dict(), undisturbed.network().state_dict())
    assert resumed.scores("valid").equals(undisturbed.scores("valid"))
    assert resumed.history()["loss"].equals(undisturbed.history()["loss"])
    assert {path.name for path in folder.iterdir()} - {"run.lock"} == FILES


def test_two_processes_on_one_network_train_it_once(stores, tmp_path):
    network = planned(stores, tmp_path, recipe=replace(RECIPE, epochs=50, schedule_epochs=50))
    processes = [child("train_at_once", network, tmp_path, me) for me in (0, 1)]
    one, other = (json.loads(process.communicate(timeout=100)[0]) for process in processes)
    assert {one["trained"], other["trained"]} == {True, False}
    assert one["waited"] == other["trained"] and other["waited"] == one["trained"]
    assert one["scores"] == other["scores"]


def test_missing_runs_are_all_named(stores, tmp_path):
    networks = [planned(stores, tmp_path, seed, fold) for seed in (7, 704) for fold in (1, 2)]
    run_or_load(networks[1], device="cpu")
    with pytest.raises(IncompleteError, match="3 of 4 .*: A fold 1 seed 7; A fold 1 seed 704; A fold 2 seed 704"):
        load_scores(networks, "valid", NOTHING)
    with pytest.raises(IncompleteError, match="1 of 1 networks have no scores on test"):
        load_scores(networks[1:2], "test", NOTHING)
    with pytest.raises(IncompleteError, match="no network is asked for"):
        load_scores([], "valid", NOTHING)
    assert load_scores(networks[1:2], "valid", NOTHING)["fold"].eq(2).all()


def test_many_runs_in_processes_come_back_in_order(stores, tmp_path):
    networks = [planned(stores, tmp_path, seed) for seed in (704, 7)]
    lines = []
    trained = run_many(networks, workers=2, threads=1, device="cpu", progress=lines.append)
    assert [run.specification.seed for run in trained] == [704, 7]
    assert len(lines) == 2 and lines[1].startswith("[2/2] A fold 1 seed ") and "TPR@5e-2" in lines[1]
    alone = run_or_load(planned(stores, tmp_path / "alone", 704), device="cpu")
    assert alone.scores("valid").equals(trained[0].scores("valid")), "a worker gives other bits than this process"
    assert [state_of(network) for network in networks] == ["done", "done"]

    lines.clear()
    again = run_many(networks, workers=2, device="cpu", progress=lines.append)
    assert lines == ["2 of 2 networks are done already"] and [r.folder for r in again] == [r.folder for r in trained]


def of_backbone(stores, out, path):
    return planned(stores, out, 8, initialisation=file_sha256(path), backbone=path)


def test_a_backbone_that_was_replaced_is_refused(stores, tmp_path):
    for number in range(2):
        torch.manual_seed(number)
        made = Backbone("resnet18", 0.0625, (1, 1, 1, 1), small_images=True)
        save_backbone(made, tmp_path / f"{number}.pt")
    network = of_backbone(stores, tmp_path, tmp_path / "0.pt")
    (tmp_path / "1.pt").replace(tmp_path / "0.pt")
    with pytest.raises(ValueError, match=r"0\.pt is not the backbone of the specification"):
        run_or_load(network, device="cpu")


def test_a_backbone_of_ones_own_pretraining_may_be_named_by_its_file(stores, tmp_path):
    made = Backbone("resnet18", 0.0625, (1, 1, 1, 1), small_images=True)
    save_backbone(made, tmp_path / "own.pt", key="k" * 64)  # as fasnb pretrain writes it, laid under data/weights
    assert finished(of_backbone(stores, tmp_path, tmp_path / "own.pt")) is None
    assert run_or_load(of_backbone(stores, tmp_path, tmp_path / "own.pt"), device="cpu").network()


def test_a_failing_run_stops_the_study_and_is_named(stores, tmp_path):
    backbone = Backbone("resnet18", 0.0625, (1, 1, 1, 1), small_images=True)
    with torch.no_grad():
        backbone.stem.conv.weight[0, 0, 0, 0] = torch.nan
    save_backbone(backbone, tmp_path / "backbone.pt")
    broken = of_backbone(stores, tmp_path, tmp_path / "backbone.pt")
    networks = [planned(stores, tmp_path, 7), broken, planned(stores, tmp_path, 9)]
    with pytest.raises(RunError, match="^A fold 1 seed 8: .* not finite .stem.conv.weight"):
        run_many(networks, workers=1, device="cpu", progress=False)
    assert [state_of(network) for network in networks] == ["done", "partial", "missing"]


def test_a_failing_run_in_a_process_stops_the_others(stores, tmp_path):
    endless = planned(stores, tmp_path, 7, recipe=replace(RECIPE, epochs=50_000, schedule_epochs=50_000))
    missing = planned(stores, tmp_path, 8, initialisation="f" * 64, backbone=tmp_path / "nowhere.pt")
    with pytest.raises(RunError, match="^A fold 1 seed 8: .*nowhere.pt"):
        run_many([endless, missing], workers=2, device="cpu", progress=False)
    assert "done" not in {state_of(endless), state_of(missing)}


def test_a_run_at_work_is_running_and_a_damaged_one_damaged(stores, tmp_path):
    network = planned(stores, tmp_path)
    write_text(network.folder / "config.json", network.specification.to_json())
    with FileLock(network.folder / "run.lock"):
        assert state_of(network) == "running"
    assert state_of(network) == "partial"
    write_text(network.folder / "result.json", "{")
    assert state_of(network) == "damaged"


def test_scores_without_checkpoint_and_data_are_enough(stores, tmp_path):
    network = planned(stores, tmp_path)
    run = run_or_load(network, device="cpu")
    (run.folder / "checkpoint.pt").unlink()
    elsewhere = replace(network, stores={split: tmp_path / split for split in stores})
    assert run_or_load(elsewhere).scores("valid").equals(run.scores("valid"))
    assert len(run_many([elsewhere], progress=False)) == 1
    with pytest.raises(ValueError, match="no checkpoint.pt .* remove the folder"):
        run_or_load(replace(network, splits=("valid", "test")))
    assert len(load_scores([network], "valid", NOTHING)) == 40


def test_new_and_changed_splits_are_scored_without_training(stores, tmp_path):
    network = planned(stores, tmp_path)
    run = run_or_load(network, device="cpu")
    trained = (run.folder / "checkpoint.pt").stat().st_mtime_ns
    longer = store.build(Stripes(44, "valid"), tmp_path / "longer", workers=1, progress=False)
    wider = planned(stores | {"valid": longer.folder}, tmp_path, splits=("valid", "test"))
    assert finished(network) and not finished(wider)
    run = run_or_load(wider, device="cpu")
    assert (len(run.scores("valid")), len(run.scores("test"))) == (44, 24)
    assert (run.folder / "checkpoint.pt").stat().st_mtime_ns == trained
    with pytest.raises(IncompleteError, match="no scores on valid"):  # they are of other frames now
        load_scores([network], "valid", NOTHING)


def test_splits_without_labels_are_scored_and_not_measured(stores, tmp_path):
    public = Stripes(20, "test")
    public.frames["label"] = pd.array([pd.NA] * 20, dtype="Int8")
    store.build(public, tmp_path / "public", workers=1, progress=False)
    run = run_or_load(planned(stores | {"test": tmp_path / "public"}, tmp_path, splits=("test",)), device="cpu")
    assert run.scores("test")["score"].between(0, 1).all() and "auc" not in run.result["splits"]["test"]


def test_a_folder_that_holds_something_else_is_refused(stores, tmp_path):
    network = planned(stores, tmp_path)
    write_sealed(network.folder / "result.json", {"key": "0" * 64, "splits": {}})
    with pytest.raises(ValueError, match="holds the run of another specification"):
        run_or_load(network, device="cpu")
    write_text(network.folder / "result.json", '{"key": ')
    with pytest.raises(ValueError, match="result.json is damaged"):
        run_or_load(network, device="cpu")
    with pytest.raises(ValueError, match="A fold 1 seed 7: no store is given for split 'dev'"):
        replace(network, splits=("valid", "dev"))
    with pytest.raises(ValueError, match="device 'cuda:99' is not on this machine"):
        run_or_load(planned(stores, tmp_path, seed=8), device="cuda:99")
    swapped = planned(stores | {"test": stores["valid"]}, tmp_path, seed=8, splits=("test",))
    with pytest.raises(ValueError, match="no frames of split 'test'"):
        run_or_load(swapped, device="cpu")


def test_published_scores_are_those_of_the_runs_and_need_no_run(stores, tmp_path):
    networks = [planned(stores, tmp_path, seed, splits=("valid", "test")) for seed in (7, 704)]
    with pytest.raises(IncompleteError, match="2 of 2 networks are not finished"):
        write_published(networks, [], tmp_path / "published")
    runs_made = [run_or_load(network, device="cpu") for network in networks]
    write_published(networks, [], tmp_path / "published")
    published = Published(tmp_path / "published")
    elsewhere = [planned(stores, tmp_path / "clone", seed, splits=("valid", "test")) for seed in (7, 704)]
    for split in ("valid", "test"):
        mine = pd.concat([run.scores(split) for run in runs_made], ignore_index=True)
        assert load_scores(elsewhere, split, published).equals(mine)
    assert load_history(elsewhere[1], published).equals(runs_made[1].history())
    facts = load_facts(elsewhere, published)
    assert facts["run"].tolist() == [run.folder.name for run in runs_made]
    assert facts["valid TPR@1e-1"].tolist() == [facts_of(run)["valid TPR@1e-1"] for run in runs_made]
    assert Specification.from_json(facts["specification"][0]) == networks[0].specification


def test_published_scores_of_other_frames_or_networks_do_not_count(stores, tmp_path):
    network = planned(stores, tmp_path)
    run_or_load(network, device="cpu")
    write_published([network], [], tmp_path / "published")
    published = Published(tmp_path / "published")
    other_frames = replace(network, folder=tmp_path / "clone", data=network.data | {"valid": "0" * 64})
    assert published.holds(network) and not published.holds(other_frames)
    assert not published.holds(planned(stores, tmp_path, seed=8)) and not NOTHING.holds(network)


def test_a_script_without_a_guard_is_told_so_however_large_its_data(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from functools import partial\nfrom fasnb.tools.workers import parallel_map\n"
        "list(parallel_map(partial(max, list(range(200_000))), [1, 2], workers=2))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=100)
    assert done.returncode != 0 and "if __name__ == '__main__'" in done.stderr

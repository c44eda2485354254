"""Networks on disk: done once, resumed after a kill, shared by processes, never mistaken for done, published."""

import json
import os
import pickle
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import begun
from test_training import RECIPE, STAGES, ZHANG, Stripes, equal, frames_of, one_thread, striped  # noqa: F401

from fasnb.data.scores import SCORE_COLUMNS
from fasnb.model.backbones import Stages
from fasnb.model.weights import load_network
from fasnb.tools.files import sealed
from fasnb.tools.machine import OutOfTime, time_limit
from fasnb.training import archive
from fasnb.training import fit as training
from fasnb.training import run as runs
from fasnb.training.archive import MissingScores, Published, is_done, load_facts, load_history, load_scores
from fasnb.training.plan import Network
from fasnb.training.pretraining import Pretraining
from fasnb.training.run import ensure, train
from fasnb.training.scoring import score
from synthsurf import source_tasks


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    return {split: frames_of(Stripes(count, split), folder) for split, count in (("valid", 40), ("test", 24))}


@pytest.fixture
def made(splits, tmp_path_factory):
    """Makes a network to train and score on validation; one fixture for all keeps the stores in one place."""
    folder = splits["valid"].folder.parent
    rows = np.flatnonzero(np.arange(96) % 3)
    valid = {"splits": {"valid": splits["valid"]}}
    return lambda out, seed=7, **more: striped(folder, rows, seed=seed, out=out, **valid | more)


def files(network) -> set[str]:
    return {path.name for path in network.folder.iterdir()} - {runs.LOCK}


def train_and_be_killed(task: str) -> None:
    """Train; SIGKILL comes when the third batch of the second epoch is drawn."""
    ordinary = training.batches

    def deadly(*given, **options):
        for number, drawn in enumerate(ordinary(*given, **options)):
            if (options["epoch"], number) == (1, 2):
                os.kill(os.getpid(), signal.SIGKILL)
            yield drawn

    training.batches = deadly
    torch.set_num_threads(1)
    ensure(pickle.loads(Path(task).read_bytes()), "cpu")


def test_a_network_is_trained_once_and_loaded_after(made, tmp_path):
    network = made(tmp_path, watched=np.arange(0, 96, 3))
    assert not is_done(network)
    ensure(network, "cpu")
    scored = archive.score_file(network, "valid")
    assert is_done(network)
    assert files(network) == {"config.json", "history.csv", "network.pt", scored, "done.json"}
    assert network.folder == tmp_path / "runs" / f"A-1-7-{network.key[:8]}"
    config = json.loads((network.folder / "config.json").read_text())
    assert {name: config[name] for name in network.as_dict()} == json.loads(json.dumps(network.as_dict()))
    table = load_scores([network], "valid")
    assert tuple(table.columns) == SCORE_COLUMNS and len(table) == 40
    assert set(zip(table["experiment"], table["fold"], table["seed"], strict=True)) == {("A", 1, 7)}
    module, store = load_network(network.weights()), network.splits["valid"].open()
    assert np.array_equal(table["score"], score(module, store, np.arange(40), RECIPE, device="cpu"))
    history, [facts] = load_history(network), load_facts([network]).to_dict("records")
    assert (facts["frames"], facts["epochs"], facts["seconds"]) == (64, 2, history["seconds"].sum())
    made_at = network.weights().stat().st_mtime_ns
    ensure(network, "cpu")
    assert made_at == network.weights().stat().st_mtime_ns


def test_killed_within_an_epoch_the_training_goes_on_to_the_same_bits(made, tmp_path):
    recipe = replace(RECIPE, flip=0.5, rotation=20.0)
    whole, network = (made(tmp_path / name, recipe=recipe, architecture=ZHANG) for name in ("whole", "killed"))
    ensure(whole, "cpu")
    (tmp_path / "task").write_bytes(pickle.dumps(network))
    process = begun("import sys, test_runs; test_runs.train_and_be_killed(sys.argv[1])", tmp_path / "task")
    assert process.wait(100) == -signal.SIGKILL and not is_done(network)
    assert len(torch.load(network.folder / "state.pt", weights_only=True)["history"]) == 1
    (network.folder / ".state-0123abcd.pt").write_bytes(b"half")
    ensure(network, "cpu")
    assert equal(load_network(network.weights()), load_network(whole.weights()))
    assert load_scores([network], "valid").equals(load_scores([whole], "valid"))
    assert load_history(network)["loss"].equals(load_history(whole)["loss"])
    assert files(network) == files(whole)


def test_two_at_once_on_one_network_train_it_once(made, tmp_path, monkeypatch, capsys):
    network, ordinary, trained = made(tmp_path), runs.fit, []
    monkeypatch.setattr(runs, "fit", lambda *given: trained.append(given) or ordinary(*given))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ensure, [network] * 2, ["cpu"] * 2))
    assert len(trained) == 1 and is_done(network) and "another process works on it" in capsys.readouterr().out


def test_networks_in_processes_have_the_bits_of_one_in_this_process(made, tmp_path):
    networks, alone, lines = [made(tmp_path, seed) for seed in (704, 7)], made(tmp_path / "alone", 704), []
    assert set(train(networks, workers=2, device="cpu", say=lines.append)) == {"frames", "networks"}
    assert len(lines) == 2 and lines[1].startswith("[2/2] A fold 1 seed ") and "loss 0." in lines[1]
    ensure(alone, "cpu")
    assert load_scores(networks[:1], "valid").equals(load_scores([alone], "valid"))
    assert train(networks, device="cpu", say=lines.append) == {} and len(lines) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_network_or_the_end_of_the_time_stops_the_study(made, tmp_path, workers):
    broken = made(tmp_path, 8, recipe=replace(RECIPE, batch_size=65))
    endless = made(tmp_path, 7, recipe=replace(RECIPE, epochs=50_000, schedule_epochs=50_000))
    with pytest.raises(RuntimeError, match="^A fold 1 seed 8: batch_size 65"):
        train([broken, endless], workers=workers, device="cpu")
    with pytest.raises(OutOfTime), time_limit(0.02):
        train([endless, replace(endless, seed=9)], workers=workers, device="cpu")
    assert not is_done(endless) and not is_done(broken)


def test_one_flipped_bit_is_noticed_in_every_file(made, tmp_path):
    network = made(tmp_path)
    ensure(network, "cpu")
    readers = {"done.json": is_done, "history.csv": load_history, "network.pt": lambda n: n.weights()}
    readers[archive.score_file(network, "valid")] = lambda n: load_scores([n], "valid")
    for name, read in readers.items():
        path, content = network.folder / name, (network.folder / name).read_bytes()
        path.write_bytes(content[:99] + bytes([content[99] ^ 4]) + content[100:])
        with pytest.raises(ValueError, match=f"{name} is not what was written; remove the folder"):
            read(network)
        path.write_bytes(content)


def test_new_and_changed_splits_are_scored_without_training_labelled_or_not(made, tmp_path, splits):
    network, public = made(tmp_path), Stripes(20, "test")
    ensure(network, "cpu")
    trained = network.weights().stat().st_mtime_ns
    public.frames["label"] = pd.array([pd.NA] * 20, dtype="Int8")
    longer = {"valid": frames_of(Stripes(44, "valid"), tmp_path), "test": frames_of(public, tmp_path)}
    wider = replace(network, splits=longer)
    assert is_done(network) and not is_done(wider)
    ensure(wider, "cpu")
    assert [len(load_scores([wider], split)) for split in ("valid", "test")] == [44, 20]
    assert load_scores([wider], "test")["label"].isna().all()
    assert len(load_scores([network], "valid")) == 40 and wider.weights().stat().st_mtime_ns == trained


def test_published_scores_are_those_of_the_networks_and_need_none(made, tmp_path, splits):
    task = Pretraining(epochs=1, batch_size=8, held_out=0), source_tasks.faces(4, 4, 28)
    start = Network("face", 0, 0, Stages(*STAGES), *task, out=tmp_path)
    ensure(start, "cpu")
    networks = [made(tmp_path, seed, splits=splits, start=start) for seed in (7, 704)]
    with pytest.raises(MissingScores, match="2 of 2 networks .* on valid: A fold 1 seed 7; A fold 1 seed 704"):
        load_scores(networks, "valid")
    ensure(networks[0], "cpu")
    with pytest.raises(MissingScores, match="networks have no scores on valid: A fold 1 seed 704"):
        archive.write_published(networks, tmp_path / "published")
    ensure(networks[1], "cpu")
    archive.write_published(networks, tmp_path / "published")
    away = replace(start, out=tmp_path / "clone")
    elsewhere = [replace(network, out=tmp_path / "clone", start=away) for network in networks]
    archive.write_published(elsewhere, tmp_path / "again", Published(tmp_path / "published"))
    published = Published(tmp_path / "again")
    for split in ("valid", "test"):
        assert load_scores(elsewhere, split, published).equals(load_scores(networks, split))
    for there, here in ((elsewhere[1], networks[1]), (away, start)):  # its accuracy too, of which there is none
        assert load_history(there, published).equals(load_history(here))
    ours, theirs = load_facts(networks), load_facts(elsewhere, published)
    pd.testing.assert_frame_equal(theirs[ours.columns], ours)
    assert not published.holds(made(tmp_path, 8)) and not Published(tmp_path / "nowhere").holds(networks[0])
    assert not published.holds(replace(elsewhere[0], splits={"valid": splits["test"]}))
    assert set(sealed(tmp_path / "published")["sha256"]) == {"scores.parquet", "runs.csv", "history.csv"}

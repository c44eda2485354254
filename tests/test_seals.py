"""Every byte read back is checked: whatever bit flips, the file is named and nothing else is used or made in its place."""

import os
import shutil

import numpy as np
import pytest
import torch
from test_runs import planned, stores  # noqa: F401
from test_training import TINY, Stripes

from fasnb.data import store
from fasnb.metrics import scores
from fasnb.model import weights
from fasnb.model.network import build
from fasnb.tools.seals import (
    Damaged,
    check_sums,
    read_result,
    read_sealed,
    whole,
    write_result,
    write_sealed,
    write_sums,
)
from fasnb.training.runs import facts_of, load_run, run_or_load, state_of


def flip(path, place: int, bit: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1 << bit
    path.write_bytes(raw)


def flips(path, count: int, seed: int = 0):
    """Flips one bit after another, each mended before the next; ``count`` of them, or every bit of a small file."""
    whole_bytes = path.read_bytes()
    bits = 8 * len(whole_bytes)
    chosen = range(bits) if bits <= count else np.random.default_rng(seed).choice(bits, count, replace=False)
    for number in chosen:
        flip(path, int(number) // 8, int(number) % 8)
        yield number
        path.write_bytes(whole_bytes)


def test_every_bit_of_a_sealed_file_counts(tmp_path):
    path = write_sealed(
        tmp_path / "a.json", {"key": "k", "rate": 1e-05, "none": None, "deep": {"list": [1, 2.5, True]}}
    )
    for _ in flips(path, 10_000):
        with pytest.raises(Damaged, match="a.json is damaged.*; remove it"):
            read_sealed(path, "remove it")
    assert read_sealed(path, "")["deep"] == {"list": [1, 2.5, True]}
    for text in ("", "[]", "5", '{"a": 1}', "[" * 100_000, '{"seal": 1}'):
        path.write_text(text)
        with pytest.raises(Damaged):
            read_sealed(path, "remove it")


def test_a_finished_folder_knows_its_files(tmp_path):
    (tmp_path / "a.csv").write_text("x\n1\n")
    write_result(tmp_path, {"made": "now"}, ["a.csv"])
    assert whole(tmp_path, "a.csv") == tmp_path / "a.csv" and read_result(tmp_path)["made"] == "now"
    for _ in flips(tmp_path / "a.csv", 1000):
        with pytest.raises(Damaged, match=r"a\.csv is damaged: .*; remove the folder"):
            whole(tmp_path, "a.csv")
    with pytest.raises(Damaged):
        (tmp_path / "b.csv").write_text("not noted")
        whole(tmp_path, "b.csv")


def test_sums_name_what_differs_and_pass_over_what_was_edited_later(tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(name)
    check_sums(tmp_path)  # nothing is noted yet
    sums = write_sums(tmp_path, [tmp_path / "a.csv", tmp_path / "b.csv"])
    check_sums(tmp_path)
    for _ in flips(sums, 10_000):
        with pytest.raises(Damaged):
            check_sums(tmp_path)
    stamp = sums.stat().st_mtime_ns
    (tmp_path / "b.csv").write_text("other")
    os.utime(tmp_path / "b.csv", ns=(stamp - 1, stamp - 1))
    with pytest.raises(Damaged, match=r"b\.csv is damaged"):
        check_sums(tmp_path, edited=True)
    os.utime(tmp_path / "b.csv", ns=(stamp + 1, stamp + 1))
    check_sums(tmp_path, edited=True)
    check_sums(tmp_path, ["a.csv"])
    with pytest.raises(Damaged, match=r"b\.csv is damaged"):
        check_sums(tmp_path)


def test_a_flipped_bit_in_a_weights_file_gives_no_other_weights(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "net.pt"
    weights.save_network(build(TINY), path, key="k")
    state = weights.load_network(path).state_dict()
    named = 0
    for _ in flips(path, 80):
        try:
            found = weights.load_network(path).state_dict()
        except (weights.WeightsError, ValueError) as error:
            named += str(path) in str(error)
        else:  # in a byte of the archive that holds nothing
            assert all(torch.equal(found[key], value) for key, value in state.items())
            named += 1
    assert named == 80


def test_a_weights_file_of_ours_without_a_seal_is_refused(tmp_path):
    torch.save({"architecture": {}, "state_dict": {}}, tmp_path / "old.pt")
    with pytest.raises(weights.WeightsError, match="it is damaged, or was written by an earlier version"):
        weights.load_network(tmp_path / "old.pt")


@pytest.mark.parametrize("name", ["images.npy", "checksums", "frames.parquet", "store.json"])
def test_a_flipped_bit_in_a_store_is_named(tmp_path, name):
    folder = tmp_path / "store"
    store.build(Stripes(40, "valid"), folder, workers=1, progress=False)
    for _ in flips(folder / name, 30):
        with pytest.raises(Damaged, match=f"{name} is damaged.*remove the folder|is damaged.*remove the folder"):
            store.build(Stripes(40, "valid"), folder, workers=1, progress=False).check()
    store.Store.open(folder).check()


def test_a_frame_is_compared_when_it_is_first_read(tmp_path):
    made = store.build(Stripes(40, "valid"), tmp_path / "store", workers=1, progress=False)
    size = (tmp_path / "store" / "images.npy").stat().st_size
    flip(tmp_path / "store" / "images.npy", size - 1, 3)
    assert len(made.read(range(39))) == 39
    with pytest.raises(Damaged, match=r"images\.npy is damaged: frame 39; remove the folder"):
        made.read([5, 39])


@pytest.fixture(scope="module")
def run(stores, tmp_path_factory):  # noqa: F811
    network = planned(stores, tmp_path_factory.mktemp("results"))
    return network, run_or_load(network, device="cpu")


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("result.json", lambda run: None),
        ("scores-valid.parquet", lambda run: run.scores("valid")),
        ("history.csv", lambda run: run.history()),
        ("environment.json", facts_of),
        ("checkpoint.pt", lambda run: run.network()),
        ("config.json", lambda run: run.file("config.json")),
    ],
)
def test_a_flipped_bit_in_a_run_is_named_and_nothing_is_trained_again(run, name, use):
    network, made = run
    for _ in flips(made.folder / name, 20):
        assert state_of(network) == "damaged"
        with pytest.raises(Damaged, match=f"{name} is damaged.*; remove the folder"):
            use(load_run(network))
        if name == "result.json":
            with pytest.raises(Damaged):
                run_or_load(network, device="cpu")
    assert state_of(network) == "done"


def test_parquet_pages_carry_checksums(run, tmp_path):
    network, made = run
    path = tmp_path / "scores.parquet"
    shutil.copyfile(made.folder / "scores-valid.parquet", path)
    before, silent = scores.read_scores(path), 0
    for _ in flips(path, 200):
        try:
            silent += not scores.read_scores(path).equals(before)
        except ValueError as error:
            assert str(path) in str(error)
    assert silent <= 2, "pages are checked; names in the footer are not"

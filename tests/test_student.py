"""The student: its size, what it learns from its teachers, and that it changes nothing of the paper's networks."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY
from test_training import RECIPE, TINY, Stripes, frames_of, one_thread, striped  # noqa: F401

from fasnb.command.demo import TOY, demo
from fasnb.command.results import write_student
from fasnb.lab.session import Study
from fasnb.model import EarlyFusion, build, describe
from fasnb.model.weights import load_network
from fasnb.paper import profile as profiles
from fasnb.tools.files import Damaged, seal
from fasnb.training.archive import load_scores
from fasnb.training.fit import fit, soft_targets
from fasnb.training.plan import plan
from fasnb.training.run import train
from fasnb.training.scoring import score


@pytest.fixture
def taught(tmp_path):
    """A student of two teachers, on stripes; none is trained."""
    valid = {"valid": frames_of(Stripes(40, "valid"), tmp_path)}
    given = {"recipe": replace(RECIPE, mirror=False), "splits": valid, "out": tmp_path / "out"}
    teachers = tuple(replace(striped(tmp_path, seed=seed, **given), fold=seed) for seed in (1, 2))
    it = striped(tmp_path, architecture=EarlyFusion(channels=(8, 16), strides=(2, 2)), teachers=teachers, **given)
    return replace(it, experiment="student", fold=0)


def test_the_student_keeps_within_what_real_time_allows():
    for pixels, parameters, multiply_adds in ((112, 100_000, 8_000_000), (64, 50_000, 3_000_000)):
        total = describe(EarlyFusion(), pixels).iloc[-1]
        assert total["parameters"] <= parameters and total["multiply_adds"] <= multiply_adds


def test_a_student_sees_all_three_cameras_and_its_twin_one():
    images = torch.rand(3, 2, 3, 32, 32)
    for modalities in (("rgb", "depth", "ir"), ("depth",) * 3):
        network = build(EarlyFusion(modalities)).eval()
        for camera, name in enumerate(("rgb", "depth", "ir")):
            other = images.clone()
            other[camera] = 0
            assert torch.equal(network(*images), network(*other)) == (name not in modalities)


def test_no_published_network_gets_another_key(tmp_path):
    names, path = ["experiment", "fold", "seed"], REPOSITORY / "results" / "published" / "tiny" / "runs.csv"
    now = {(n.experiment, n.fold, n.seed): n.key for n in plan(profiles.load("tiny"), tmp_path).networks}
    before = pd.read_csv(path).set_index(names)["key"]
    assert len(before) >= 52 and {name: now[name] for name in before.index} == before.to_dict()


def test_teachers_are_trained_first_and_their_mean_score_is_what_a_student_learns(taught):
    assert {"networks", "students"} <= set(train([taught], workers=2, say=str))
    store, rows = taught.frames.open(), taught.frames.rows
    said = [score(load_network(it.weights()), store, rows, it.recipe, device="cpu") for it in taught.teachers]
    targets = soft_targets(taught, "cpu")
    np.testing.assert_allclose(targets[:, 1], np.mean(said, axis=0), atol=1e-7)
    np.testing.assert_allclose(targets.sum(dim=1), 1, atol=1e-6)
    assert len(load_scores([taught], "valid")) == 40 and train([taught], say=str) == {}


def test_a_student_follows_its_teachers_and_not_the_labels(taught, monkeypatch):
    """Teachers that take attacks for bona fide make a student that does."""
    label = taught.frames.open().frames["label"].to_numpy(dtype=float)
    wrong = torch.tensor(np.stack([label, 1 - label], axis=1), dtype=torch.float32)
    monkeypatch.setattr("fasnb.training.fit.soft_targets", lambda network, device: wrong)
    recipe = replace(taught.recipe, epochs=8, schedule_epochs=8, flip=0.0)  # mirrored, both kinds are alike
    module, _ = fit(replace(taught, recipe=recipe, architecture=TINY), "cpu")
    found = score(module, taught.frames.open(), taught.frames.rows, taught.recipe, device="cpu")
    assert np.corrcoef(found, label)[0, 1] < -0.5


def test_the_published_student_judges_three_frames_and_says_what_it_is(smoke, tmp_path):
    write_student(Study("smoke", out=smoke), tmp_path)
    seal(tmp_path, {}, [TOY])
    assert (tmp_path / TOY).stat().st_size < 500_000
    said = demo(tmp_path, picture=tmp_path / "demo.png")
    lines = said.splitlines()
    assert [line.split("  ")[0] for line in lines[:3]] == ["living face", "flat print", "bent print"]
    assert all(line.endswith(("accepted", "refused")) for line in lines[:3]) and "trained on drawings" in said
    assert (tmp_path / "demo.png").stat().st_size > 10_000 and demo(tmp_path, picture=tmp_path / "demo.png") == said
    (tmp_path / TOY).write_bytes((tmp_path / TOY).read_bytes()[:-1] + b"?")
    with pytest.raises(Damaged, match=TOY):
        demo(tmp_path)

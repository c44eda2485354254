"""Scoring one's own frames: which recipe and names a checkpoint takes, and what beside it is refused."""

import dataclasses
import json

import pytest
import torch

from fasnb import casia_surf, weights
from fasnb.networks import Architecture, build
from fasnb.recipe import RELEASED, Recipe
from fasnb.scoring import open_checkpoint, score_frames
from fasnb.specification import Specification
from fasnb.synthetic import SynthSurf

TINY = Architecture("resnet18", "se", False, width=0.125, blocks=(1, 1, 1, 1), small_images=True)
SPECIFICATION = Specification("B", 2, 7, TINY, Recipe(resize=24, crop=20), data="0", frames="0")


@pytest.fixture
def own(tmp_path):
    """The checkpoint of a run folder."""
    weights.save_network(build(TINY), tmp_path / "run" / "checkpoint.pt")
    (tmp_path / "run" / "config.json").write_text(SPECIFICATION.to_json())
    return tmp_path / "run" / "checkpoint.pt"


def test_own_frames_are_scored_under_the_names_of_the_run(own, tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "00_data.ipynb").touch()  # makes this folder the home of data/cache
    monkeypatch.chdir(tmp_path)
    casia_surf.write(SynthSurf("valid", 1, 1, size=32), tmp_path / "surf", workers=1, progress=False)
    frames = casia_surf.find(tmp_path / "surf").frames(["valid"])
    checkpoint = open_checkpoint(own)
    assert checkpoint.recipe == SPECIFICATION.recipe
    scores = score_frames(checkpoint, frames, tmp_path / "surf", device="cpu")
    assert scores["sample"].equals(frames["sample"]) and scores["score"].between(0, 1).all()
    assert scores[["experiment", "fold", "seed"]].drop_duplicates().to_numpy().tolist() == [["B", 2, 7]]


def test_a_checkpoint_of_the_authors_ignores_what_lies_beside_it(own):
    released = weights.to_released(build(weights.RELEASED["face_resnet34"]))
    constant = {part: {k: v.new_ones(()).expand(v.shape) for k, v in state.items()} for part, state in released.items()}
    torch.save(constant, own.with_name("exp2_fold1.pth"))  # small: each tensor stores one number
    checkpoint = open_checkpoint(own.with_name("exp2_fold1.pth"))
    assert checkpoint.network.architecture == weights.RELEASED["face_resnet34"]
    assert (checkpoint.recipe, checkpoint.experiment, checkpoint.fold, checkpoint.seed) == (
        RELEASED,
        "exp2_fold1",
        0,
        0,
    )


OTHER = dataclasses.replace(SPECIFICATION, architecture=dataclasses.replace(TINY, mlfa=True)).to_json()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (SPECIFICATION.to_json()[:-9], "cannot be read"),
        ("[]", "cannot be read"),
        ("{}", "cannot be read"),
        (json.dumps(json.loads(SPECIFICATION.to_json()) | {"fold": "x"}), "cannot be read"),
        (OTHER, "is of another network .*mlfa=True"),
    ],
)
def test_a_config_that_is_not_the_networks_is_refused(own, text, what):
    (own.parent / "config.json").write_text(text)
    with pytest.raises(ValueError, match=rf"config\.json {what}.*lay the config\.json of the checkpoint's run beside"):
        open_checkpoint(own)


def test_an_own_checkpoint_needs_its_config(own):
    (own.parent / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json is not there; lay the config\.json"):
        open_checkpoint(own)

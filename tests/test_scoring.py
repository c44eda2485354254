"""Scoring one's own frames: which recipe and names a checkpoint takes, and what beside it is refused."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit

from fasnb.command.serve import TOLERANCE, Scorer, mixed, open_checkpoint, score_frames
from fasnb.data import casia_surf, casia_write, store
from fasnb.model import weights
from fasnb.model.network import Architecture, build
from fasnb.paper.recipe import RELEASED, Recipe
from fasnb.synthsurf.dataset import SynthSurf
from fasnb.tools.precision import has_bfloat16
from fasnb.training.specification import Specification

TINY = Architecture("resnet18", "se", False, width=0.125, blocks=(1, 1, 1, 1), small_images=True)
SPECIFICATION = Specification("B", 2, 7, TINY, Recipe(resize=24, crop=20), data="0", frames="0")


@pytest.fixture
def own(tmp_path):
    """The checkpoint of a run folder."""
    weights.save_network(build(TINY), tmp_path / "run" / "checkpoint.pt")
    (tmp_path / "run" / "config.json").write_text(SPECIFICATION.to_json())
    return tmp_path / "run" / "checkpoint.pt"


@pytest.fixture
def surf(tmp_path, monkeypatch):
    """A small data set in a folder that is the home of data/cache."""
    for name in ("notebooks/00_data.ipynb", "fasnb/paper/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    casia_write.write(SynthSurf("valid", 1, 1, size=32), tmp_path / "surf", workers=1, progress=False)
    return tmp_path / "surf"


def test_own_frames_are_scored_under_the_names_of_the_run(own, surf):
    frames = casia_surf.find(surf).frames(["valid"])
    checkpoint = open_checkpoint(own)
    assert checkpoint.recipe == SPECIFICATION.recipe
    scores, again = score_frames(checkpoint, frames, surf, device="cpu")
    assert again == 0
    assert scores["sample"].equals(frames["sample"]) and scores["score"].between(0, 1).all()
    assert scores[["experiment", "fold", "seed"]].drop_duplicates().to_numpy().tolist() == [["B", 2, 7]]


def test_a_checkpoint_of_the_authors_ignores_what_lies_beside_it(own, reference):
    layout = json.loads((reference / "state_dicts.json").read_text())["resnet34_mlfa_released"]
    counter, one = torch.zeros((), dtype=torch.long), torch.ones(())  # small: each tensor stores one number
    model = {
        k: counter if k.endswith("num_batches_tracked") else one.expand(shape) for k, (_, *shape) in layout.items()
    }
    head = {"weight": one.expand(2, 512), "bias": one.expand(2)}
    path = own.with_name("exp2_fold1.pth")
    torch.save({"model_state_dict": model, "classifier_state_dict": head}, path)
    checkpoint = open_checkpoint(path)
    assert checkpoint.network.architecture == weights.RELEASED["face_resnet34"]
    named = (checkpoint.recipe, checkpoint.experiment, checkpoint.fold, checkpoint.seed)
    assert named == (RELEASED, "exp2_fold1", 0, 0)


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


# ---------------------------------------------------------------------------------------------------------------------
# Fast scores
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """A store of 150 frames, which is no whole number of batches."""
    source = SynthSurf("valid", 5, frames=150, size=24)
    return store.build(source, tmp_path_factory.mktemp("stores") / "valid", workers=1, progress=False)


@pytest.fixture(scope="module")
def network(frames):
    """A network whose scores of these frames spread over (0, 1), where bfloat16 is far off."""
    torch.manual_seed(0)
    network = build(TINY).eval()
    margins = Scorer(network, RECIPE, "cpu").margins(frames, np.arange(len(frames)), "fp32")[0]
    with torch.no_grad():
        network.head.weight.mul_(4 / margins.std())
        network.head.bias.copy_(torch.tensor([4 * margins.mean() / margins.std(), 0.0]))
    return network


RECIPE = Recipe(resize=24, crop=20, mirror=True)
RANDOM = np.random.default_rng(0)
USUAL = RANDOM.normal(0, 8, 5000) + RANDOM.normal(0, 0.5, (2, 5000))  # margins of a centre crop and its mirror image


def scores_of_noisy(noise: np.ndarray) -> tuple[np.ndarray, int]:
    """Scores by ``mixed`` where bfloat16 would be off by ``noise`` (2, 5000), and how many frames it scored again."""
    return mixed(lambda rows, precision: (USUAL + (precision == "bf16") * noise)[:, rows], USUAL.shape[1])


@pytest.mark.parametrize("scale", [0.003, 0.03, 0.3])
def test_mixed_scores_again_what_low_precision_may_move_and_little_else(scale):
    noise = np.random.default_rng(1).normal(0, scale, USUAL.shape)
    true, low = expit(USUAL).mean(axis=0), expit(USUAL + noise).mean(axis=0)
    found, again = scores_of_noisy(noise)
    assert np.abs(found - true).max() <= TOLERANCE
    moved = np.count_nonzero(np.abs(low - true) > TOLERANCE)
    nearest = np.maximum(np.abs(USUAL) - 12 * scale, 0)
    conceivable = (6 * scale * expit(nearest) * expit(-nearest)).mean(axis=0) > TOLERANCE
    assert moved <= again <= 64 + np.count_nonzero(conceivable)


@pytest.mark.parametrize(
    "error",
    [
        lambda noise: noise + 0.5,
        lambda noise: noise * np.where(np.abs(USUAL) < 4, 5, 1),
        lambda noise: noise * np.where(np.abs(USUAL) < 4, 1, 5),
    ],
    ids=["an error that all frames share", "noisier in doubt", "noisier where sure"],
)
def test_mixed_learns_what_the_error_of_low_precision_is_like(error):
    found, again = scores_of_noisy(error(np.random.default_rng(2).normal(0, 0.01, USUAL.shape)))
    assert np.abs(found - expit(USUAL).mean(axis=0)).max() <= TOLERANCE
    assert again < USUAL.shape[1] / 2


def test_mixed_takes_exact_hardware_at_its_word():
    found, again = scores_of_noisy(np.zeros(USUAL.shape))
    assert again == 64
    np.testing.assert_array_equal(found, expit(USUAL).mean(axis=0))


@pytest.mark.skipif(not has_bfloat16("cpu"), reason="this CPU has no bfloat16")
def test_mixed_scores_of_a_network_are_those_of_float32(network, frames):
    scorer = Scorer(network, RECIPE, "cpu")
    exact, _ = scorer.scores(frames)
    low, _ = scorer.scores(frames, "bf16")
    found, again = scorer.scores(frames, "mixed")
    assert np.abs(low - exact).max() > TOLERANCE >= np.abs(found - exact).max()
    assert 64 < again <= len(frames)


def test_the_scorer_keeps_the_stem_of_its_copy_in_float32(network):
    keys, images = list(network.state_dict()), torch.randn(2, 3, 20, 20)
    scorer = Scorer(network, RECIPE, "cpu")
    assert list(network.state_dict()) == keys
    with torch.inference_mode():
        exact = network.branches[1].stem(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.testing.assert_close(scorer.network.branches[1].stem(images), exact)  # of the same type
            assert network.branches[1].stem(images).dtype == torch.bfloat16


def test_a_compiled_network_gives_the_same_scores(network, frames):
    exact, _ = Scorer(network, RECIPE, "cpu").scores(frames)
    scorer = Scorer(network, RECIPE, "cpu", compile=True)
    np.testing.assert_allclose(scorer.scores(frames)[0], exact, rtol=0, atol=1e-5)
    assert np.abs(scorer.scores(frames, "mixed")[0] - exact).max() <= TOLERANCE


def test_an_unknown_precision_is_refused(network, frames):
    with pytest.raises(ValueError, match="precision 'fp16' is unknown; choose one of fp32, bf16, mixed"):
        Scorer(network, RECIPE, "cpu").scores(frames, "fp16")


def test_without_a_compiler_one_sentence_says_so(own, surf, tmp_path):
    files = ["--checkpoint", own, "--frames", surf / "phase1" / "val_private_list.txt", "--root", surf / "phase1"]
    command = [sys.executable, "-m", "fasnb", "score", *files, "--device", "cpu", "--out", "scores.csv"]
    absent = {"CXX": "absent", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    absent["PYTHONPATH"] = str(Path(__file__).parent.parent)  # the folder here is named like the package
    run = subprocess.run([*command, "--compile"], capture_output=True, text=True, env=os.environ | absent, check=False)
    assert run.returncode != 0
    assert run.stderr.strip().splitlines()[-1].count("install a C++ compiler, or score without compiling") == 1
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "scores.csv").exists()

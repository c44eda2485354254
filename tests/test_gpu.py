"""Gradients, training, pre-training and scores on a GPU beside the CPU's; FASNB_TEST_DEVICE=cpu needs none."""

import copy
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_gradients import LIMITS, kinds, largest_error, smooth
from test_training import RECIPE, TINY, striped
from torch.nn import functional

from fasnb.data.augment import evaluation
from fasnb.model.backbones import Stages
from fasnb.model.network import build
from fasnb.training.archive import load_scores
from fasnb.training.fit import fit
from fasnb.training.plan import Network
from fasnb.training.pretraining import Pretraining
from fasnb.training.run import train
from fasnb.training.scoring import score
from synthsurf import source_tasks

DEVICE = os.environ.get("FASNB_TEST_DEVICE", "cuda")

pytestmark = pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("stores")


def wide(folder, precision="fp32", **others) -> Network:
    recipe = replace(RECIPE, learning_rate=1e-3)
    return striped(folder, recipe=recipe, architecture=replace(TINY, width=0.5), precision=precision, **others)


@pytest.fixture(scope="module")
def of_cpu(folder):
    return fit(wide(folder), "cpu")


@pytest.mark.parametrize(("architecture", "crop", "_"), kinds("gpu"))
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_are_those_of_float64(architecture, crop, _, precision, monkeypatch):
    monkeypatch.setattr(torch, "relu", functional.softplus)
    torch.manual_seed(0)
    images = [torch.randn(32, 3, crop, crop) for _ in range(3)]
    name, error = largest_error(smooth(build(architecture)), images, precision, DEVICE)
    assert error < LIMITS[precision], f"the gradient of {name} is off by {error:.1e}"


@pytest.mark.parametrize(("precision", "near"), [("fp32", 0.01), ("bf16", 0.05)])
def test_a_training_has_the_losses_of_the_cpu(folder, of_cpu, precision, near):
    _, history = fit(wide(folder, precision), DEVICE)
    assert np.abs(history["loss"] - of_cpu[1]["loss"]).max() < near


@pytest.mark.parametrize(("precision", "near"), [("fp32", 1e-5), ("bf16", 0.03)])
def test_scores_are_those_of_float64(folder, of_cpu, precision, near):
    store, rows, model = wide(folder).frames.open(), np.arange(96), copy.deepcopy(of_cpu[0]).double()
    views = [evaluation(store.read(rows), RECIPE, model.architecture.normalisation, view) for view in (False, True)]
    with torch.inference_mode():
        exact = sum(model(*[x.double() for x in view]).softmax(dim=1)[:, 1] for view in views).numpy() / 2
    found = score(of_cpu[0], store, rows, RECIPE, device=DEVICE, precision=precision)
    assert found.dtype == np.float64 and np.abs(found - exact).max() < near


def test_two_networks_share_the_device_in_processes(folder, tmp_path):
    pictures = source_tasks.faces(4, 8, 28)
    stages, recipe = Stages("resnet18", 0.5, TINY.blocks, True), Pretraining(epochs=2, batch_size=8)
    start = Network("face", 0, 0, stages, recipe, pictures, out=tmp_path)
    splits = {"valid": wide(folder).frames}
    networks = [wide(folder, "bf16", seed=seed, start=start, splits=splits, out=tmp_path) for seed in (7, 8)]
    assert set(train(networks, workers=2, device=DEVICE)) >= {"pre-training", "networks"}
    assert load_scores(networks, "valid")["score"].between(0, 1).all()

"""Training, pre-training and scoring on a GPU beside float32 on the CPU; FASNB_TEST_DEVICE=cpu goes through them without one."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_training import RECIPE, TINY, Stripes

from fasnb.data import store
from fasnb.model.backbones import Stages
from fasnb.synthsurf import source_tasks
from fasnb.training.fit import fit
from fasnb.training.inference import score
from fasnb.training.pretraining import Pretraining, pretrain
from fasnb.training.specification import specify

DEVICE = os.environ.get("FASNB_TEST_DEVICE", "cuda")

pytestmark = pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a CUDA device")

WIDE = replace(TINY, width=0.5)


@pytest.fixture(scope="module")
def stripes(tmp_path_factory):
    return store.build(Stripes(), tmp_path_factory.mktemp("stores") / "train", workers=1, progress=False)


def trained(stripes, device: str, precision: str, **options):
    index, recipe = np.arange(96), replace(RECIPE, learning_rate=1e-3)
    specification = specify("A", 1, 7, WIDE, recipe, stripes, index, precision=precision)
    return fit(specification, stripes, index, device=device, **options)


@pytest.fixture(scope="module")
def of_cpu(stripes):
    return trained(stripes, "cpu", "fp32")


@pytest.mark.parametrize("precision, near", [("fp32", 0.01), ("bf16", 0.05)])
def test_a_training_has_the_losses_of_the_cpu(stripes, of_cpu, precision, near):
    _, history = trained(stripes, DEVICE, precision)
    assert np.abs(history["loss"] - of_cpu[1]["loss"]).max() < near


def test_a_compiled_training_has_the_losses_of_the_cpu(stripes, of_cpu):
    if DEVICE == "cpu":
        pytest.skip("compiling for a CPU takes minutes and is not what a GPU does")
    _, history = trained(stripes, DEVICE, "fp32", compile=True)
    assert np.abs(history["loss"] - of_cpu[1]["loss"]).max() < 0.01


@pytest.mark.parametrize("precision, near", [("fp32", 1e-5), ("bf16", 0.03)])
def test_scores_are_those_of_the_cpu(stripes, of_cpu, precision, near):
    index = np.arange(96)
    exact = score(of_cpu[0], stripes, index, RECIPE, device="cpu")
    found = score(of_cpu[0], stripes, index, RECIPE, device=DEVICE, precision=precision)
    of_cpu[0].to("cpu")
    assert found.dtype == np.float64 and np.abs(found - exact).max() < near


def test_a_pretraining_runs_and_is_finite():
    images = source_tasks.faces(4, 8, 32, 1, "A")
    task = Pretraining(Stages("resnet18", 0.125, (1, 1, 1, 1), True), "identity", "softmax", epochs=2, batch_size=8)
    made = pretrain(task, images, DEVICE)
    assert np.isfinite(made.history["loss"]).all()

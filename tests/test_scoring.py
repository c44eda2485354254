"""Scores of trained networks: what they are, and that folding, mirroring and precision keep them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit
from test_training import RECIPE, SIZE, TINY, Stripes, folder, frames_of, one_thread, trained  # noqa: F401

from fasnb.model.backbones import BACKBONES
from fasnb.model.network import build
from fasnb.training.scoring import folded, meaningful, score

ROWS = np.arange(96)
PLAIN = replace(RECIPE, mirror=False)


@pytest.fixture
def stripes(folder):  # noqa: F811
    return frames_of(Stripes(), folder).open()


def test_score_is_the_softmax_of_the_logits(trained, stripes):  # noqa: F811
    module = trained[1]
    scores = score(module, stripes, ROWS, PLAIN, device="cpu", batch_size=40)
    norm, edge, crop = TINY.normalisation, (SIZE - RECIPE.crop) // 2, RECIPE.crop
    mean, std = (torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in (norm.mean, norm.std))
    pixels = stripes.read(ROWS).double()[..., edge : edge + crop, edge : edge + crop] / 255
    images = [((part.expand(-1, 3, -1, -1) - mean) / std).float() for part in pixels.split((3, 1, 1), dim=1)]
    with torch.no_grad():
        expected = torch.softmax(module(*images).double(), dim=1)[:, 1].numpy()
    assert scores.dtype == np.float64 and np.allclose(scores, expected, atol=1e-5)


def test_mirror_score_is_the_mean_of_two_passes(trained, stripes, tmp_path):  # noqa: F811
    module, mirrored = trained[1], frames_of(Stripes(mirrored=True), tmp_path).open()
    plain = score(module, stripes, ROWS, PLAIN, device="cpu")
    flipped = score(module, mirrored, ROWS, PLAIN, device="cpu")
    assert np.abs(plain - flipped).max() > 0.1
    both = score(module, stripes, ROWS, RECIPE, device="cpu")
    assert RECIPE.mirror and np.allclose(both, (plain + flipped) / 2, atol=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_batch_norms_folded_into_convolutions_change_nothing_but_rounding(backbone):
    torch.manual_seed(0)
    network = build(replace(TINY, backbone=backbone))
    images = torch.randn(3, 16, 3, 28, 28)
    for _ in range(3):
        network(*images)  # running statistics
    whole = folded(network)
    norms = [sum(isinstance(module, torch.nn.BatchNorm2d) for module in n.modules()) for n in (network, whole)]
    assert norms[1] < norms[0] and network.training
    torch.testing.assert_close(whole(*images), network.eval()(*images), rtol=1e-5, atol=1e-5)


def test_low_scores_do_not_run_into_each_other(trained, stripes):  # noqa: F811
    """In single precision all these attacks would score 0.0, and no threshold could tell them apart."""
    module, attacks = trained[1], ROWS[::2]
    sure = build(TINY)
    sure.load_state_dict(module.state_dict())
    with torch.no_grad():
        for parameter in sure.head.parameters():
            parameter *= 200
    scores, before = (score(each, stripes, attacks, PLAIN, device="cpu") for each in (sure, module))
    assert (scores.astype(np.float32) == 0).sum() > 10
    assert len(np.unique(scores)) == len(attacks) and (np.argsort(scores) == np.argsort(before)).all()


def test_a_score_that_is_not_finite_names_the_frame(stripes):
    broken = build(TINY)
    with torch.no_grad():
        broken.head.bias[1] = math.nan
    with pytest.raises(FloatingPointError, match="train/0005.png"):
        score(broken, stripes, ROWS[5:], RECIPE, device="cpu")


def test_scores_keep_their_order_and_the_digits_that_float32_gives():
    margins = np.sort(np.random.default_rng(0).normal(0, 12, 20_000))
    scores = expit(margins)
    kept, smaller = meaningful(scores), np.minimum(scores, 1 - scores)
    assert (np.diff(kept) >= 0).all() and (np.abs(kept - scores) <= 2.0**-18 * smaller).all()
    assert len(np.unique(kept)) > 0.99 * len(np.unique(scores))
    np.testing.assert_array_equal(meaningful(kept), kept)
    np.testing.assert_array_equal(meaningful(np.array([0.0, 0.5, 1.0])), [0.0, 0.5, 1.0])

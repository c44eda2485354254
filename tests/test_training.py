"""Training on real stores of small striped images, and what the scores of trained networks are."""

import hashlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import flip, listed
from scipy.special import expit

from fasnb import metrics
from fasnb.model.backbones import BACKBONES
from fasnb.model.network import Architecture, build
from fasnb.paper.recipe import RELEASED, Recipe
from fasnb.training import fit as training
from fasnb.training.fit import fit, learning_rate, stage
from fasnb.training.plan import Frames, Network
from fasnb.training.scoring import folded, meaningful, score

SIZE = 32
TINY = Architecture("resnet18", "concat", True, width=0.0625, blocks=(1, 1, 1, 1), small_images=True)
ZHANG = replace(TINY, fusion="zhang", mlfa=False)  # its dropout draws random numbers too
STAGES = TINY.stages.backbone, TINY.width, TINY.blocks, TINY.small_images
RECIPE = Recipe("concat", epochs=2, schedule_epochs=2, batch_size=16, learning_rate=3e-3, resize=SIZE, crop=28)
RECIPE = replace(RECIPE, random_crop=True, mirror=True)
PLAIN = replace(RECIPE, mirror=False)
ROWS = np.arange(96)


class Stripes:
    """A source: bona fide frames are brighter on the left in depth and infrared, attacks on the right; all noisy."""

    size, channels = SIZE, {"rgb": 3, "depth": 1, "ir": 1}

    def __init__(self, count: int = 96, split: str = "train", mirrored: bool = False):
        self.mirrored = mirrored
        paths = [f"{split}/{number:04d}.png" for number in range(count)]
        subjects, attack = [f"s{number // 8}" for number in range(count)], 4 - 4 * (np.arange(count) % 2)
        self.frames = listed(paths, subject=subjects, attack=attack, split=split)
        self.fingerprint = hashlib.sha256(f"{count} {split} {mirrored}".encode()).hexdigest()

    def read(self, indices) -> np.ndarray:
        images = []
        for number in indices:
            random = np.random.default_rng(int(number) + 1000 * (self.frames["split"][0] != "train"))
            image = random.normal(110, 40, (5, SIZE, SIZE))
            half = slice(0, SIZE // 2) if number % 2 else slice(SIZE // 2, SIZE)
            image[3:, :, half] += 30
            images.append(np.clip(image, 0, 255).astype(np.uint8))
        images = np.stack(images)
        return np.ascontiguousarray(images[..., ::-1]) if self.mirrored else images


def frames_of(source, folder: Path, rows=None) -> Frames:
    """Frames of a source, by default all; the store below ``folder`` is built when it is first opened."""
    rows = np.arange(len(source.frames)) if rows is None else np.asarray(rows)
    return Frames(folder / f"store-{source.fingerprint[:8]}", source.fingerprint, rows, source)


def striped(folder: Path, rows=None, recipe=RECIPE, architecture=TINY, seed=7, **others) -> Network:
    """A network to train on stripes."""
    return Network("A", 1, seed, architecture, recipe, frames_of(Stripes(), folder, rows), **others)


def equal(one, other) -> bool:
    """Whether two modules have the same weights."""
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("stores")


@pytest.fixture
def stripes(folder):
    return frames_of(Stripes(), folder).open()


@pytest.fixture(scope="module")
def trained(folder):
    recipe = replace(RECIPE, epochs=3, schedule_epochs=3, flip=0.0)
    network = striped(folder, np.arange(64), recipe, watched=np.arange(64, 96))
    return network, *fit(network, "cpu")


def test_learning_rate_is_torchs_and_starts_anew_in_the_second_stage_of_weaker_augmentation():
    recipe, steps = replace(RELEASED, epochs=50, warmup=0.04, second_epochs=2), 5
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=recipe.learning_rate)
    rise = torch.optim.lr_scheduler.LinearLR(optimiser, start_factor=1 / 11, total_iters=10)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 50 * steps - 10)
    both = torch.optim.lr_scheduler.SequentialLR(optimiser, [rise, cosine], milestones=[10])
    for step in range(250):
        assert learning_rate(recipe, step, steps) == pytest.approx(both.get_last_lr()[0], rel=1e-9)
        optimiser.step()
        both.step()
    assert learning_rate(recipe, 250, steps) == recipe.learning_rate
    assert learning_rate(recipe, 251, steps) == pytest.approx(recipe.learning_rate * (1 + math.cos(math.pi / 250)) / 2)
    recipe = replace(RELEASED, second_epochs=20, second_rotation=30.0, second_scale_low=0.5, second_jitter=0.25)
    assert stage(recipe, 30) == recipe
    second = stage(recipe, 31)
    assert (second.rotation, second.scale_low, second.jitter) == (30.0, 0.5, 0.25)
    assert replace(second, rotation=45.0, scale_low=0.2, jitter=0.5) == recipe


def test_training_learns_and_tells_its_history(trained):
    network, module, history = trained
    assert list(history["epoch"]) == [1, 2, 3] and np.isfinite(history.to_numpy()).all()
    assert history["loss"].iloc[-1] < history["loss"].iloc[0] and history["valid_auc"].iloc[-1] > 0.9
    store = network.frames.open()
    label = store.frames["label"].to_numpy(int)[64:]
    scores = score(module, store, network.watched, replace(network.recipe, mirror=False), device="cpu")
    cross_entropy = -np.log(np.where(label == 1, scores, 1 - scores)).mean()
    assert history["valid_auc"].iloc[-1] == pytest.approx(metrics.auc(label, scores))
    assert history["valid_loss"].iloc[-1] == pytest.approx(cross_entropy, rel=1e-4)


def test_seed_determines_the_network_and_nothing_else_does(folder):
    torch.manual_seed(1)
    first, _ = fit(striped(folder), "cpu")
    following = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(following, torch.rand(3)), "training changed the caller's random state"
    again, history = fit(striped(folder, watched=np.arange(10)), "cpu")
    other, _ = fit(striped(folder, seed=8), "cpu")
    assert equal(first, again) and "valid_auc" in history
    assert not equal(first, other)


@pytest.mark.parametrize("architecture", [TINY, ZHANG])
def test_untrained_classifier_stays_as_it_was_drawn(folder, architecture):
    recipe = replace(RECIPE, epochs=1, train_classifier=False, weight_decay=0.1)
    module, _ = fit(striped(folder, recipe=recipe, architecture=architecture), "cpu")
    torch.manual_seed(7)
    drawn = build(architecture)
    moved, before = module.state_dict(), drawn.state_dict()
    still = [name for name in moved if torch.equal(moved[name], before[name])]
    assert len(still) == 2 and all(name.startswith("head") for name in still)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": range(15)}, "batch_size 16 is above the number of training frames"),
        ({"rows": range(1, 96, 2)}, "training and watched frames must be labelled"),
        ({"watched": np.arange(0, 96, 2)}, "some bona fide and some attack"),
        ({"recipe": replace(RECIPE, epochs=3)}, "outlast schedule_epochs 2"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_sentence(folder, changes, message):
    with pytest.raises(ValueError, match=message):
        fit(striped(folder, **changes), "cpu")


def test_a_loss_that_is_not_finite_names_network_epoch_and_batch(folder, tmp_path, monkeypatch):
    ordinary = training.batches

    def poisoned(*given, epoch, **options):
        for number, (rgb, depth, ir, label) in enumerate(ordinary(*given, epoch=epoch, **options)):
            yield (rgb * math.nan if (epoch, number) == (1, 3) else rgb), depth, ir, label

    monkeypatch.setattr(training, "batches", poisoned)
    with pytest.raises(FloatingPointError, match="epoch 2, batch 4 of 6 is not finite"):
        fit(striped(folder), "cpu", tmp_path / "state.pt")
    monkeypatch.setattr(training, "batches", ordinary)
    resumed, _ = fit(striped(folder), "cpu", tmp_path / "state.pt")
    assert equal(resumed, fit(striped(folder), "cpu")[0]), "the saved state was spoilt by the bad batch"


def test_a_damaged_state_is_refused(folder, tmp_path):
    state = tmp_path / "state.pt"
    fit(striped(folder), "cpu", state)
    flip(state, 4 * state.stat().st_size)
    with pytest.raises(ValueError, match="state.pt"):
        fit(striped(folder), "cpu", state)


def test_score_is_the_softmax_of_the_logits(trained, stripes):
    module = trained[1]
    scores = score(module, stripes, ROWS, PLAIN, device="cpu", batch_size=40)
    norm, edge, crop = TINY.normalisation, (SIZE - RECIPE.crop) // 2, RECIPE.crop
    mean, std = (torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in (norm.mean, norm.std))
    pixels = stripes.read(ROWS).double()[..., edge : edge + crop, edge : edge + crop] / 255
    images = [((part.expand(-1, 3, -1, -1) - mean) / std).float() for part in pixels.split((3, 1, 1), dim=1)]
    with torch.no_grad():
        expected = torch.softmax(module(*images).double(), dim=1)[:, 1].numpy()
    assert scores.dtype == np.float64 and np.allclose(scores, expected, atol=1e-5)


def test_mirror_score_is_the_mean_of_two_passes(trained, stripes, tmp_path):
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


def test_low_scores_do_not_run_into_each_other(trained, stripes):
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

"""Training on real stores of small striped images."""

import hashlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fasnb import metrics
from fasnb.data.frames import frame_table
from fasnb.model.network import Architecture, build
from fasnb.paper.recipe import RELEASED, Recipe
from fasnb.training import fit as training
from fasnb.training.fit import Loop, fit, learning_rate, stage
from fasnb.training.plan import Frames, Network
from fasnb.training.scoring import score

SIZE = 32
TINY = Architecture("resnet18", "concat", True, width=0.0625, blocks=(1, 1, 1, 1), small_images=True)
ZHANG = replace(TINY, fusion="zhang", mlfa=False)  # its dropout draws random numbers too
STAGES = TINY.stages.backbone, TINY.width, TINY.blocks, TINY.small_images
RECIPE = Recipe("concat", epochs=2, schedule_epochs=2, batch_size=16, learning_rate=3e-3, resize=SIZE, crop=28)
RECIPE = replace(RECIPE, random_crop=True, mirror=True)


class Stripes:
    """A source: bona fide frames are brighter on the left in depth and infrared, attacks on the right; all noisy."""

    size, channels = SIZE, {"rgb": 3, "depth": 1, "ir": 1}

    def __init__(self, count: int = 96, split: str = "train", mirrored: bool = False):
        self.mirrored = mirrored
        paths = [f"{split}/{number:04d}.png" for number in range(count)]
        label, subjects = np.arange(count) % 2, [f"s{number // 8}" for number in range(count)]
        known = {"label": label, "subject": subjects, "attack": 4 * (1 - label), "split": split}
        self.frames = frame_table(sample=paths, rgb=paths, depth=paths, ir=paths, **known)
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


@pytest.fixture(scope="module")
def trained(folder):
    recipe = replace(RECIPE, epochs=3, schedule_epochs=3, flip=0.0)
    network = striped(folder, np.arange(64), recipe, watched=np.arange(64, 96))
    return network, *fit(network, "cpu")


# The schedule


def test_learning_rate_is_torchs_and_starts_anew_in_the_second_stage():
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


def test_second_stage_has_the_weaker_augmentation():
    recipe = replace(RELEASED, second_epochs=20, second_rotation=30.0, second_scale_low=0.5, second_jitter=0.25)
    assert stage(recipe, 30) == recipe
    second = stage(recipe, 31)
    assert (second.rotation, second.scale_low, second.jitter) == (30.0, 0.5, 0.25)
    assert replace(second, rotation=45.0, scale_low=0.2, jitter=0.5) == recipe


# Training


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


def test_a_gradient_that_is_not_finite_stops_before_the_step():
    module = torch.nn.Linear(1, 1)
    before = module.weight.clone()
    loop = Loop({"module": module}, 3, lambda step: 0.1)
    with pytest.raises(FloatingPointError, match="gradient of epoch 1, batch 1 of 3 is not finite"):
        loop.run_epoch((0 * module.weight).sqrt().sum() for _ in range(3))
    assert torch.equal(module.weight, before)


def test_a_damaged_state_is_refused(folder, tmp_path):
    state = tmp_path / "state.pt"
    fit(striped(folder), "cpu", state)
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    with pytest.raises(ValueError, match="state.pt"):
        fit(striped(folder), "cpu", state)

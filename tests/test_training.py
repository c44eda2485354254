"""Training and scoring on real stores of small striped images."""

import hashlib
import math
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit

from fasnb import metrics
from fasnb.data import store
from fasnb.data.frames import frame_table
from fasnb.model.backbones import BACKBONES
from fasnb.model.network import Architecture, build
from fasnb.paper.recipe import PAPER, RELEASED, Recipe
from fasnb.training.fit import fit, last_linear, learning_rate, stage
from fasnb.training.inference import folded, meaningful, score, score_many
from fasnb.training.loop import Loop
from fasnb.training.specification import Specification, specify

SIZE = 32
TINY = Architecture("resnet18", "concat", True, width=0.0625, blocks=(1, 1, 1, 1), small_images=True)
RECIPE = Recipe(
    fusion="concat",
    epochs=2,
    schedule_epochs=2,
    batch_size=16,
    learning_rate=3e-3,
    resize=SIZE,
    crop=28,
    random_crop=True,
    mirror=True,
)


class Stripes:
    """A source: bona fide frames are brighter on the left in depth and infrared, attacks on the right; all noisy."""

    size, channels = SIZE, {"rgb": 3, "depth": 1, "ir": 1}

    def __init__(self, count: int = 96, split: str = "train", mirrored: bool = False):
        self.mirrored = mirrored
        paths = [f"{split}/{number:04d}.png" for number in range(count)]
        label = np.arange(count) % 2
        subjects = [f"s{number // 8}" for number in range(count)]
        images = {"rgb": paths, "depth": paths, "ir": paths}
        self.frames = frame_table(
            sample=paths, **images, label=label, subject=subjects, attack=4 * (1 - label), split=split
        )
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


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def stripes(tmp_path_factory):
    return store.build(Stripes(), tmp_path_factory.mktemp("stores") / "train", workers=1, progress=False)


@pytest.fixture(scope="module")
def index():
    return np.arange(96)


def specification(data, rows, recipe=RECIPE, architecture=TINY, seed=7, **others) -> Specification:
    return specify("A", 1, seed, architecture, recipe, data, rows, **others)


@pytest.fixture(scope="module")
def trained(stripes, index):
    recipe = replace(RECIPE, epochs=3, schedule_epochs=3, flip=0.0)
    network, history = fit(
        specification(stripes, index[:64], recipe), stripes, index[:64], valid=(stripes, index[64:]), device="cpu"
    )
    return network, history, recipe


def weights_of(network) -> dict:
    return {name: value.clone() for name, value in network.state_dict().items()}


def equal(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# Specifications


def test_equal_values_are_one_specification(stripes, index):
    whole = replace(RECIPE, learning_rate=1, flip=1)
    floats = replace(RECIPE, learning_rate=1.0, flip=1.0)
    one = specification(stripes, index, whole)
    other = specify("A", np.int64(1), np.int64(7), TINY, floats, stripes, list(index))
    assert one.key == other.key and one.name == other.name == f"A-fold1-seed7-{one.key[:8]}"
    rebuilt = Specification.from_json(one.to_json())
    assert rebuilt.key == one.key and rebuilt == specification(stripes, index, floats)


def test_every_changed_value_is_another_specification(stripes, index):
    base = specification(stripes, index)
    keys = {base.key}
    for field in fields(Recipe):
        now = getattr(RECIPE, field.name)
        value = f"{now}!" if isinstance(now, str) else not now if isinstance(now, bool) else now + 1
        keys.add(replace_unchecked(base, "recipe", replace_unchecked(RECIPE, field.name, value)).key)
    keys.add(replace(base, architecture=replace(TINY, mlfa=False)).key)
    keys.add(replace(base, precision="bf16").key)
    keys.add(replace(base, initialisation="a" * 64).key)
    keys.add(replace(base, fold=2).key)
    keys.add(specification(stripes, index[:-1]).key)
    keys.add(specification(stripes, index[::-1]).key)
    assert len(keys) == len(fields(Recipe)) + 7


def replace_unchecked(whole, name: str, value):
    """A copy that differs in one field, also where a recipe or specification would find the value impossible."""
    copy = replace(whole)
    object.__setattr__(copy, name, value)
    return copy


def test_unknown_fields_and_names_are_refused(stripes, index):
    text = specification(stripes, index).to_json()
    with pytest.raises(ValueError, match="Recipe field 'leaning_rate' is unknown"):
        Specification.from_json(text.replace('"learning_rate"', '"leaning_rate"'))
    with pytest.raises(ValueError, match="Specification.*seed"):
        Specification.from_json(text.replace('  "seed": 7,\n', ""))
    with pytest.raises(ValueError, match="experiment '../A'"):
        specify("../A", 1, 7, TINY, RECIPE, stripes, index)
    with pytest.raises(ValueError, match="precision 'fp16'"):
        specification(stripes, index, precision="fp16")


# The schedule


@pytest.mark.parametrize("recipe", [PAPER, RELEASED])
def test_learning_rate_is_torchs_cosine(recipe):
    steps = 5
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=recipe.learning_rate)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.schedule_epochs * steps)
    for step in range(recipe.epochs * steps):
        assert learning_rate(recipe, step, steps) == pytest.approx(cosine.get_last_lr()[0], rel=1e-9, abs=1e-15)
        optimiser.step()
        cosine.step()


def test_learning_rate_warms_up_and_starts_anew_in_the_second_stage():
    recipe, steps = replace(RELEASED, epochs=8, warmup=0.25, second_epochs=2), 5
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=recipe.learning_rate)
    rise = torch.optim.lr_scheduler.LinearLR(optimiser, start_factor=1 / 11, total_iters=10)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 50 * steps - 10)
    both = torch.optim.lr_scheduler.SequentialLR(optimiser, [rise, cosine], milestones=[10])
    for step in range(40):
        assert learning_rate(recipe, step, steps) == pytest.approx(both.get_last_lr()[0], rel=1e-9)
        optimiser.step()
        both.step()
    assert learning_rate(recipe, 40, steps) == recipe.learning_rate
    assert learning_rate(recipe, 41, steps) == pytest.approx(recipe.learning_rate * (1 + math.cos(math.pi / 250)) / 2)


def test_second_stage_has_the_weaker_augmentation():
    recipe = replace(RELEASED, second_epochs=20, second_rotation=30.0, second_scale_low=0.5, second_jitter=0.25)
    assert stage(recipe, 30) == recipe
    second = stage(recipe, 31)
    assert (second.rotation, second.scale_low, second.jitter) == (30.0, 0.5, 0.25)
    assert replace(second, rotation=45.0, scale_low=0.2, jitter=0.5) == recipe


# Training


def test_training_learns_and_tells_its_history(trained, stripes, index):
    network, history, recipe = trained
    assert list(history["epoch"]) == [1, 2, 3] and np.isfinite(history.to_numpy()).all()
    assert history["loss"].iloc[-1] < history["loss"].iloc[0] and history["valid_auc"].iloc[-1] > 0.9
    label = stripes.frames["label"].to_numpy(int)[64:]
    scores = score(network, stripes, index[64:], recipe, device="cpu", mirror=False)
    last = history.iloc[-1]
    assert last["valid_auc"] == pytest.approx(metrics.auc(label, scores))
    assert last["valid_tpr_0.01"] == metrics.tpr_at_fpr(label, scores, 0.01)
    cross_entropy = -np.log(np.where(label == 1, scores, 1 - scores)).mean()
    assert last["valid_loss"] == pytest.approx(cross_entropy, rel=1e-6)


def test_seed_determines_the_network_and_nothing_else_does(stripes, index):
    torch.manual_seed(1)
    first, _ = fit(specification(stripes, index), stripes, index, device="cpu")
    following = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(following, torch.rand(3)), "training changed the caller's random state"
    watched = {"valid": (stripes, index[:20]), "valid_limit": 10}
    again, history = fit(specification(stripes, index), stripes, index, device="cpu", **watched)
    other, _ = fit(specification(stripes, index, seed=8), stripes, index, device="cpu")
    assert equal(weights_of(first), weights_of(again)) and "valid_auc" in history
    assert not equal(weights_of(first), weights_of(other))


@pytest.mark.parametrize("fusion", ["concat", "zhang"])
def test_untrained_classifier_stays_as_it_was_drawn(stripes, index, fusion):
    architecture = replace(TINY, fusion=fusion, mlfa=fusion == "concat")
    recipe = replace(RECIPE, epochs=1, train_classifier=False, weight_decay=0.1)
    network, _ = fit(specification(stripes, index, recipe, architecture), stripes, index, device="cpu")
    torch.manual_seed(7)
    drawn = build(architecture)
    head, start = last_linear(network), last_linear(drawn)
    assert torch.equal(head.weight, start.weight) and torch.equal(head.bias, start.bias)
    moved, before = network.state_dict(), drawn.state_dict()
    still = [name for name in moved if torch.equal(moved[name], before[name])]
    assert len(still) == 2 and all(name.startswith("head") for name in still)


def test_second_stage_trains_on(stripes, index):
    recipe = replace(RECIPE, epochs=1, second_epochs=1, second_rotation=10.0)
    network, history = fit(specification(stripes, index, recipe), stripes, index, device="cpu")
    alone, _ = fit(specification(stripes, index, replace(recipe, second_epochs=0)), stripes, index, device="cpu")
    assert len(history) == 2 and not equal(weights_of(network), weights_of(alone))


def test_training_starts_from_a_backbone(stripes, index):
    from fasnb.model.backbones import Backbone

    backbone = Backbone("resnet18", 0.0625, (1, 1, 1, 1), small_images=True)
    recipe = replace(RECIPE, epochs=1, learning_rate=1e-12)
    chosen = specification(stripes, index, recipe, initialisation="f" * 64)
    network, _ = fit(chosen, stripes, index, backbone=backbone.state_dict(), device="cpu")
    for branch in network.branches:
        assert torch.allclose(branch.stem.conv.weight, backbone.stem.conv.weight, atol=1e-9)
    with pytest.raises(ValueError, match="the backbone is not given"):
        fit(chosen, stripes, index, device="cpu")


def test_what_cannot_be_trained_is_refused_in_one_sentence(stripes, index):
    def attempt(rows=index, recipe=RECIPE, **options):
        return fit(specification(stripes, rows, recipe), stripes, rows, device="cpu", **options)

    with pytest.raises(ValueError, match="A fold 1 seed 7: the fold has no training frames"):
        attempt(index[:0])
    with pytest.raises(ValueError, match="batch_size 16 exceeds the 15 training frames"):
        attempt(index[:15])
    with pytest.raises(ValueError, match="has 48 frames, all of them bona fide"):
        attempt(index[1::2])
    with pytest.raises(ValueError, match="the validation set has 48 frames, all of them attack"):
        attempt(valid=(stripes, index[::2]))
    with pytest.raises(ValueError, match="outlast schedule_epochs 2"):
        attempt(recipe=replace(RECIPE, epochs=3))
    with pytest.raises(ValueError, match="not those of the specification"):
        fit(specification(stripes, index), stripes, index[:90], device="cpu")


@pytest.mark.parametrize("rows", [np.arange(96) % 2 == 0, [0, 1, 1, 2], [0, 96], [-1, 3], [0.0, 1.0]], ids=str)
def test_rows_that_are_no_rows_are_refused(stripes, rows):
    chosen = specification(stripes, [0, 1, 2, 3])
    with pytest.raises(ValueError, match="A fold 1 seed 7: train_index .*(give the numbers|each row once)"):
        fit(chosen, stripes, rows, device="cpu")


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 1.5), ("batch_size", 8.0), ("train_classifier", "false"), ("mirror", 1), ("learning_rate", "0.1")],
)
def test_a_recipe_refuses_values_of_another_type(name, value):
    with pytest.raises(ValueError, match=rf"recipe: {name} = .*; it must be of type"):
        Recipe(**{name: value})


def test_recipe_and_architecture_name_the_same_fusion(stripes, index):
    with pytest.raises(ValueError, match="the recipe's fusion is 'se' and the architecture's 'concat'"):
        specification(stripes, index, replace(RECIPE, fusion="se"))


def test_missing_labels_are_refused(tmp_path):
    source = Stripes(40)
    source.frames.loc[3, "label"] = pd.NA
    unlabelled = store.build(source, tmp_path / "unlabelled", workers=1, progress=False)
    with pytest.raises(ValueError, match="1 frames without a label"):
        fit(specification(unlabelled, np.arange(40)), unlabelled, np.arange(40), device="cpu")


def test_a_loss_that_is_not_finite_names_run_epoch_and_batch(stripes, index, tmp_path, monkeypatch):
    from fasnb.training import fit as training

    ordinary = training.batches

    def poisoned(*given, epoch, **options):
        for number, (rgb, depth, ir, label) in enumerate(ordinary(*given, epoch=epoch, **options)):
            yield (rgb * math.nan if (epoch, number) == (1, 3) else rgb), depth, ir, label

    monkeypatch.setattr(training, "batches", poisoned)
    with pytest.raises(FloatingPointError, match="A fold 1 seed 7: the loss of epoch 2, batch 4 of 6 is not finite"):
        fit(specification(stripes, index), stripes, index, folder=tmp_path, device="cpu", checkpoint_seconds=0)
    monkeypatch.setattr(training, "batches", ordinary)
    resumed, _ = fit(specification(stripes, index), stripes, index, folder=tmp_path, device="cpu")
    undisturbed, _ = fit(specification(stripes, index), stripes, index, device="cpu")
    assert equal(weights_of(resumed), weights_of(undisturbed)), "the saved state was spoilt by the bad batch"


def test_a_gradient_that_is_not_finite_stops_before_the_step():
    module = torch.nn.Linear(1, 1)
    before = module.weight.clone()
    loop = Loop({"module": module}, 3, lambda step: 0.1, title="a training", key="")
    with pytest.raises(FloatingPointError, match="^a training: the gradient of epoch 1, batch 1 of 3 is not finite"):
        loop.run_epoch((0 * module.weight).sqrt().sum() for _ in range(3))
    assert torch.equal(module.weight, before) and loop.step == 0


def test_state_of_another_specification_or_a_torn_one_is_refused(stripes, index, tmp_path):
    fit(specification(stripes, index), stripes, index, folder=tmp_path, device="cpu")
    with pytest.raises(ValueError, match="state of another training; remove it"):
        fit(specification(stripes, index, seed=8), stripes, index, folder=tmp_path, device="cpu")
    state = tmp_path / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(ValueError, match="state.pt"):
        fit(specification(stripes, index), stripes, index, folder=tmp_path, device="cpu")


# Scoring


def test_score_is_the_softmax_of_the_logits(trained, stripes, index):
    network, _, recipe = trained
    scores = score(network, stripes, index, recipe, device="cpu", mirror=False, batch_size=40)
    pixels = torch.from_numpy(np.array(stripes.images)).double() / 255
    norm, edge = TINY.normalisation, (SIZE - recipe.crop) // 2
    mean, std = (torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in (norm.mean, norm.std))
    crops = pixels[..., edge : edge + recipe.crop, edge : edge + recipe.crop]
    images = [(part.expand(-1, 3, -1, -1) - mean) / std for part in crops.split((3, 1, 1), dim=1)]
    with torch.no_grad():
        expected = torch.softmax(network(*(image.float() for image in images)).double(), dim=1)[:, 1].numpy()
    assert scores.dtype == np.float64 and np.allclose(scores, expected, atol=1e-6)


def test_mirror_score_is_the_mean_of_two_passes(trained, stripes, index, tmp_path):
    network, _, recipe = trained
    mirrored = store.build(Stripes(mirrored=True), tmp_path / "mirrored", workers=1, progress=False)
    plain = score(network, stripes, index, recipe, device="cpu", mirror=False)
    flipped = score(network, mirrored, index, recipe, device="cpu", mirror=False)
    assert np.abs(plain - flipped).max() > 0.1
    both = score(network, stripes, index, recipe, device="cpu")
    assert recipe.mirror and np.allclose(both, (plain + flipped) / 2, atol=1e-7)


def test_many_networks_over_one_pass_score_as_each_alone(trained, stripes, index):
    torch.manual_seed(0)
    others = [trained[0], build(replace(TINY, modalities=("depth",) * 3)), build(replace(TINY, backbone="ir50"))]
    together = score_many(others, stripes, index, RECIPE, device="cpu")
    alone = [score(network, stripes, index, RECIPE, device="cpu") for network in others]
    assert together.shape == (3, 96) and np.allclose(together, alone, atol=1e-7)


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


def test_low_scores_do_not_run_into_each_other(trained, stripes, index):
    """In single precision all these attacks would score 0.0, and no threshold could tell them apart."""
    network, _, recipe = trained
    sure = build(TINY)
    sure.load_state_dict(network.state_dict())
    with torch.no_grad():
        for parameter in sure.head.parameters():
            parameter *= 200
    attacks = index[::2]
    scores = score(sure, stripes, attacks, recipe, device="cpu", mirror=False)
    before = score(network, stripes, attacks, recipe, device="cpu", mirror=False)
    assert (scores.astype(np.float32) == 0).sum() > 10
    assert len(np.unique(scores)) == len(attacks) and (np.argsort(scores) == np.argsort(before)).all()


def test_bfloat16_scores_are_near_and_distinct(trained, stripes, index):
    network, _, recipe = trained
    exact = score(network, stripes, index, recipe, device="cpu")
    rounded = score(network, stripes, index, recipe, device="cpu", precision="bf16")
    assert np.abs(exact - rounded).max() < 0.02 and len(np.unique(rounded)) == len(np.unique(exact))


def test_a_score_that_is_not_finite_names_the_frame(stripes, index):
    broken = build(TINY)
    with torch.no_grad():
        broken.head.bias[1] = math.nan
    with pytest.raises(FloatingPointError, match="train/0005.png"):
        score(broken, stripes, index[5:], RECIPE, device="cpu")


def test_scores_keep_their_order_and_the_digits_that_float32_gives():
    margins = np.sort(np.random.default_rng(0).normal(0, 12, 20_000))
    scores = expit(margins)
    kept = meaningful(scores)
    smaller = np.minimum(scores, 1 - scores)
    assert (np.diff(kept) >= 0).all() and (np.abs(kept - scores) <= 2.0**-18 * smaller).all()
    assert len(np.unique(kept)) > 0.99 * len(np.unique(scores))
    np.testing.assert_array_equal(meaningful(kept), kept)
    np.testing.assert_array_equal(meaningful(np.array([0.0, 0.5, 1.0])), [0.0, 0.5, 1.0])

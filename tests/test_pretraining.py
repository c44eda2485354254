"""Source tasks: heads against their formulas, training on synthetic and real layouts, the way into a network."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from fasnb.data.image_folder import gender_folder, identity_folder
from fasnb.model import weights
from fasnb.model.network import Architecture, Stages, build
from fasnb.synthsurf import source_tasks
from fasnb.training import pretraining
from fasnb.training.heads import ArcFaceHead, SoftmaxHead
from fasnb.training.loop import Loop
from fasnb.training.pretraining import Pretraining, pretrain

TINY = Stages("resnet18", width=0.125, blocks=(1, 1, 1, 1), small_images=True)


class Colours:
    """A source that is easy to learn: the class is the brightest channel."""

    fingerprint = "colours"
    classes = 3

    def __init__(self, count=192, size=16):
        draw = np.random.default_rng(0)
        self.labels = np.arange(count) % 3
        self.pixels = draw.integers(0, 120, (count, 3, size, size)).astype(np.uint8)
        self.pixels[np.arange(count), self.labels] += 60
        self.reads = 0

    def read(self, indices):
        self.reads += 1
        return self.pixels[np.asarray(indices)]


# Heads against loops over the formulas


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def angles(head, x):
    w, x = head.weight.detach().numpy(), x.numpy()
    cosine = (x @ w.T) / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(w, axis=1)
    return np.arccos(cosine)


@pytest.fixture
def batch():
    """Features that cover all angles to their class vector, from 0 to pi."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(64, 2, generator=generator).double(), torch.randint(0, 5, (64,), generator=generator)


@pytest.mark.parametrize("margin", [0.0, 0.3, 0.5])
def test_arcface_is_its_formula(batch, margin):
    x, labels = batch
    head = ArcFaceHead(2, 5, margin, scale=30.0).double()
    theta = angles(head, x)
    expected, past_pi = np.cos(theta), 0
    for i, label in enumerate(labels.tolist()):
        t = theta[i, label]
        past_pi += t + margin > math.pi
        expected[i, label] = math.cos(t + margin) if t + margin <= math.pi else math.cos(t) - margin * math.sin(margin)
    np.testing.assert_allclose(head(x, labels).detach().numpy(), 30.0 * expected, atol=1e-6)
    assert past_pi > 0 or margin == 0.0


@pytest.mark.parametrize("head", [SoftmaxHead(2, 5), ArcFaceHead(2, 5)])
def test_gradients_stay_finite_on_top_of_a_class_vector(head):
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    if isinstance(head, ArcFaceHead):
        with torch.no_grad():
            head.weight[0] = torch.tensor([2.0, 0.0])
    torch.nn.functional.cross_entropy(head(x, torch.tensor([0, 0, 1])), torch.tensor([0, 0, 1])).backward()
    assert all(value.grad.isfinite().all() for value in (x, *head.parameters()))


def test_arcface_leaves_its_margin_out_without_labels(batch):
    x, _ = batch
    head = ArcFaceHead(2, 5, scale=10.0).double()
    np.testing.assert_allclose(head(x).detach().numpy(), 10 * np.cos(angles(head, x)), atol=1e-6)


# Training


@pytest.mark.parametrize("head", ["softmax", "arcface"])
def test_every_head_learns_and_generalises(head):
    result = pretrain(Pretraining(TINY, head=head, epochs=6, batch_size=16), Colours())
    assert result.history.loss.iloc[-1] < result.history.loss.iloc[0]
    assert result.history.accuracy.iloc[-1] > 0.8
    assert list(result.history.epoch) == [1, 2, 3, 4, 5, 6]


def test_synthetic_faces_are_learned_above_chance():
    """40 identities, chance 2.5%; a tenth of the captures is held out."""
    faces = source_tasks.faces(40, 20, size=32)
    result = pretrain(Pretraining(TINY, epochs=8, batch_size=32, learning_rate=5e-3), faces)
    assert result.source == faces.fingerprint
    assert result.history.accuracy.iloc[-1] > 0.15


def test_backbone_file_initialises_a_network_and_repeats_byte_for_byte(tmp_path):
    specification = Pretraining(TINY, epochs=2, batch_size=16, seed=5)
    before = torch.random.get_rng_state()
    for name in ("a.pt", "b.pt"):
        pretrain(specification, Colours()).save(tmp_path / name)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    network = build(Architecture("resnet18", "se", True, width=0.125, blocks=(1, 1, 1, 1), small_images=True))
    weights.initialise(network, tmp_path / "a.pt")
    saved = torch.load(tmp_path / "a.pt", weights_only=True)["state_dict"]
    assert torch.equal(network.branches[1].stage2[0].bn1.running_mean, saved["stage2.0.bn1.running_mean"])
    assert weights.read(tmp_path / "a.pt")["about"]["source"] == "colours"
    other = pretrain(Pretraining(TINY, epochs=2, batch_size=16, seed=6), Colours()).backbone
    assert not torch.equal(other.stem.conv.weight, saved["stem.conv.weight"])


@pytest.mark.parametrize("head", ["softmax", "arcface"])
def test_a_stopped_pretraining_goes_on_to_the_same_bytes(tmp_path, head):
    specification = Pretraining(TINY, head=head, epochs=4, batch_size=32)
    pretrain(specification, Colours()).save(tmp_path / "whole.pt")

    class Stopped(Exception):
        pass

    def stop_after_two(row):
        if row["epoch"] == 2:
            raise Stopped

    with pytest.raises(Stopped):
        pretrain(specification, Colours(), progress=stop_after_two, state=tmp_path / "state.pt")
    rows = []
    pretrain(specification, Colours(), progress=rows.append, state=tmp_path / "state.pt").save(tmp_path / "resumed.pt")
    assert [row["epoch"] for row in rows] == [3, 4]
    assert (tmp_path / "resumed.pt").read_bytes() == (tmp_path / "whole.pt").read_bytes()
    with pytest.raises(ValueError, match=r"state\.pt is the state of another training; remove it"):
        pretrain(Pretraining(TINY, head=head, epochs=5, batch_size=32), Colours(), state=tmp_path / "state.pt")


def test_a_pretraining_stopped_within_an_epoch_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    specification = Pretraining(TINY, epochs=2, batch_size=32)
    whole = pretrain(specification, Colours())

    class Stopped(Colours):
        def read(self, indices):
            if self.reads == 10:  # one to measure, then 5 batches and 1 held-out chunk an epoch, each read ahead
                raise InterruptedError
            return super().read(indices)

    monkeypatch.setattr(pretraining, "HELD_IN_MEMORY", 0)
    monkeypatch.setattr(pretraining, "Loop", partial(Loop, checkpoint_seconds=0))
    with pytest.raises(InterruptedError):
        pretrain(specification, Stopped(), state=tmp_path / "state.pt")
    assert 5 < weights.read(tmp_path / "state.pt")["step"] < 10
    resumed = pretrain(specification, Colours(), state=tmp_path / "state.pt")
    assert resumed.history.drop(columns="seconds").equals(whole.history.drop(columns="seconds"))
    for a, b in zip(resumed.backbone.parameters(), whole.backbone.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_backbone_file_says_which_pretraining_it_is_of(tmp_path):
    made = pretrain(Pretraining(TINY, epochs=1, batch_size=32), Colours())
    made.save(tmp_path / "backbone.pt")
    named = {weights.file_sha256(tmp_path / "backbone.pt"), made.specification.key("colours")}
    assert set(weights.identities(tmp_path / "backbone.pt")) == named
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pt")
    assert weights.identities(tmp_path / "other.pt") == (weights.file_sha256(tmp_path / "other.pt"),)


def test_broken_images_are_listed_together_before_training(identities):
    identity_folder(identities).check(progress=False)
    for name in ("001.jpg", "002.jpg"):
        (identities / "0000045" / name).write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"2 of \d+ images cannot be used, the first: .*001\.jpg.*002\.jpg"):
        identity_folder(identities).check(progress=False)


def test_images_read_batch_by_batch_give_the_same_backbone(monkeypatch):
    specification = Pretraining(TINY, epochs=2, batch_size=16)
    held, streamed = Colours(), Colours()
    first = pretrain(specification, held)
    monkeypatch.setattr(pretraining, "HELD_IN_MEMORY", 0)
    second = pretrain(specification, streamed)
    assert streamed.reads > held.reads
    for a, b in zip(first.backbone.parameters(), second.backbone.parameters(), strict=True):
        assert torch.equal(a, b)


def test_held_out_images_are_a_share_of_every_class_and_never_trained_on():
    labels = np.repeat([0, 1, 2, 3], [40, 20, 10, 1])
    train, held_out = pretraining._split(labels, Pretraining(TINY, held_out=0.2))
    assert sorted([*train, *held_out]) == list(range(71))
    assert np.bincount(labels[held_out], minlength=4).tolist() == [8, 4, 2, 0]


# Folders of real images


def write_image(path, colour, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def identities(tmp_path):
    for name, colour in (("0000045", (250, 10, 10)), ("0000099", (10, 250, 10)), ("0000107", (10, 10, 250))):
        for number in range(8):
            write_image(tmp_path / "webface" / name / f"{number:03}.jpg", tuple(c - number for c in colour))
    (tmp_path / "webface" / "list.txt").write_text("not an image")
    return tmp_path / "webface"


def test_identity_folder_in_the_layout_of_casia_webface(identities):
    source = identity_folder(identities, size=24)
    assert source.classes == 3
    assert source.names == ("0000045", "0000099", "0000107")
    assert source.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    images = source.read([0, 8, 16])
    assert images.shape == (3, 3, 24, 24)
    assert images.dtype == np.uint8
    assert images.mean(axis=(2, 3)).argmax(axis=1).tolist() == [0, 1, 2]
    result = pretrain(Pretraining(TINY, head="arcface", epochs=2, batch_size=8, held_out=0.25), source)
    assert np.isfinite(result.history.loss).all()


def test_fingerprint_follows_files_and_size(identities):
    first = identity_folder(identities, size=24).fingerprint
    assert identity_folder(identities, size=24).fingerprint == first
    assert identity_folder(identities, size=32).fingerprint != first
    write_image(identities / "0000045" / "new.jpg", (1, 2, 3))
    assert identity_folder(identities, size=24).fingerprint != first


def test_gender_folder_in_the_layout_of_afad_lite(tmp_path):
    for age in ("18", "39"):
        for gender, colour in (("111", (200, 60, 60)), ("112", (60, 60, 200))):
            for number in range(4):
                write_image(tmp_path / age / gender / f"{number}-0.jpg", colour)
    source = gender_folder(tmp_path, size=24)
    assert source.names == ("male", "female")
    assert source.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1] * 2
    assert source.read([0])[0, 0].mean() > source.read([0])[0, 2].mean()
    result = pretrain(Pretraining(TINY, task="gender", epochs=3, batch_size=4, held_out=0.25), source)
    assert result.history.accuracy.notna().all()
    with pytest.raises(ValueError, match=r"2 of 2 classes have no images \(18, 39\); the layout must be identity/"):
        identity_folder(tmp_path)


def test_wrong_folders_are_named(tmp_path, identities):
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        identity_folder(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"2 of 2 classes have no images \(male, female\); the layout must be age/111"):
        gender_folder(identities)
    (tmp_path / "one").mkdir()
    write_image(tmp_path / "one" / "0000045" / "001.jpg", (1, 2, 3))
    with pytest.raises(ValueError, match="one: fewer than two classes; the layout must be identity/"):
        identity_folder(tmp_path / "one")
    (identities / "0000300").mkdir()
    with pytest.raises(ValueError, match=r"1 of 4 classes have no images \(0000300\)"):
        identity_folder(identities)
    (identities / "0000300" / "x.jpg").write_bytes(b"\xff\xd8 broken")
    with pytest.raises(ValueError, match=r"x\.jpg: it cannot be read as an image"):
        pretrain(Pretraining(TINY, batch_size=4), identity_folder(identities, size=24))


# Wrong values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task": "age"}, "task 'age' is unknown"),
        ({"head": "cosface"}, "head 'cosface' is unknown"),
        ({"task": "gender", "head": "arcface"}, "takes 'softmax'"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"held_out": 1.0}, "held_out"),
        ({"head": "arcface", "margin": 4}, r"margin 4 is impossible; it must lie in \[0, 3\) radians"),
        ({"precision": "fp16"}, "choose fp32 or bf16"),
    ],
)
def test_values_without_sense_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Pretraining(TINY, **values)


def test_sources_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="batch_size 500 is above the"):
        pretrain(Pretraining(TINY, batch_size=500), Colours())
    with pytest.raises(ValueError, match="needs two classes, and the source has 3"):
        pretrain(Pretraining(TINY, task="gender"), Colours())
    wrong = Colours()
    wrong.classes = 2
    with pytest.raises(ValueError, match=r"labels of the source must be 0 \.\. 1"):
        pretrain(Pretraining(TINY), wrong)


def test_a_loss_that_is_not_finite_stops_with_epoch_and_batch():
    with pytest.raises(
        FloatingPointError,
        match=r"^pre-training of resnet18 for identity: the (loss|gradient) of epoch \d, batch \d+ of \d+ is",
    ):
        pretrain(Pretraining(TINY, batch_size=16, epochs=4, learning_rate=1e30, warmup=0.0), Colours())

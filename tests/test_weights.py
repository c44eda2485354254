"""Weights: golden outputs of the authors' code, initialisation as they did it, and files that must be refused."""

import json
import os
import pickle
import re
import zlib

import numpy as np
import pytest
import torch
import torchvision

from fasnb.model import weights
from fasnb.model.backbones import Backbone
from fasnb.model.network import Architecture, build
from fasnb.model.weights import WeightsError

GOLDEN = ("resnet34_mlfa_released", "ir50_mlfa_released")
TINY = {"width": 0.125, "blocks": (1, 1, 1, 1), "small_images": True}


# The deterministic weights and images of the reference files


def golden_value(part, key, kind, shape):
    if key.endswith("num_batches_tracked"):
        return torch.zeros((), dtype=torch.long)
    draw = np.random.default_rng(zlib.crc32(f"fasnb-golden/{part}/{key}".encode()))
    n = draw.standard_normal(shape).astype(np.float32)
    if key.endswith("running_var"):
        n = 1 + 0.1 * np.abs(n)
    elif key.endswith(("running_mean", "bias")):
        n = 0.1 * n
    elif kind == "batchnorm":
        n = 1 + 0.1 * n
    elif kind == "prelu":
        n = 0.25 + 0.05 * n
    else:
        n = n / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(n.astype(np.float32))


def golden_state(reference, name):
    layout = json.loads((reference / "state_dicts.json").read_text())[name]
    return {key: golden_value("model", key, kind, shape) for key, (kind, *shape) in layout.items()}


def golden_images():
    """Three modalities, each (2, 3, 112, 112); batch element b takes images 3b, 3b + 1, 3b + 2."""
    y, x = np.mgrid[0:112, 0:112] / 112

    def image(i):
        return [np.sin((i + 1) * 3.1 * x + c * 2.3 * y) + np.cos(c * 5.7 * x * y * (i + 1)) for c in (1, 2, 3)]

    return [torch.tensor(np.array([image(m), image(3 + m)]), dtype=torch.float32) for m in range(3)]


@pytest.fixture(scope="module", params=GOLDEN)
def golden(request, reference):
    """Expected outputs and a checkpoint in the authors' format."""
    head = {"weight": ("linear", [2, 512]), "bias": ("linear", [2])}
    checkpoint = {
        "model_state_dict": golden_state(reference, request.param),
        "classifier_state_dict": {key: golden_value("classifier", key, *value) for key, value in head.items()},
    }
    return json.loads((reference / "golden.json").read_text())[request.param], checkpoint


def assert_golden(network, expected):
    images, norm = golden_images(), np.array(expected["embedding_norm"])[:, None]
    assert not network.training
    with torch.no_grad():
        embedding, logits = network.embed(*images).numpy(), network(*images)
    for ours, theirs in (
        (np.linalg.norm(embedding, axis=1)[:, None], norm),
        (embedding[:, :8], expected["embedding_first8"]),
        (logits.numpy(), expected["logits"]),
    ):
        assert np.abs((ours - np.array(theirs)) / norm).max() < 1e-4
    np.testing.assert_allclose(logits.softmax(1)[:, 1].numpy(), expected["prob_real"], atol=1e-4)


def test_golden_outputs_from_the_authors_file_and_from_ours(golden, tmp_path):
    expected, checkpoint = golden
    distributed = {
        part: {f"module.{key}": value for key, value in state.items()} for part, state in checkpoint.items()
    } | {"epoch": 31}
    torch.save(distributed, tmp_path / "released.pt")
    network = weights.load_released(tmp_path / "released.pt")
    assert_golden(network, expected)
    assert (
        sum(value.numel() for key, value in network.named_parameters() if not key.startswith("head."))
        == (expected["parameters"])
    )

    weights.save_network(network.to(memory_format=torch.channels_last), tmp_path / "ours.pt")
    assert_golden(weights.load_network(tmp_path / "ours.pt"), expected)


def test_released_weights_are_copies(reference):
    state = golden_state(reference, GOLDEN[0])
    head = {"weight": torch.zeros(2, 512), "bias": torch.zeros(2)}
    network = weights.load_released({"model_state_dict": state, "classifier_state_dict": head})
    with torch.no_grad():
        network.head.weight.fill_(1.0)
        network.aggregation[0].reduce.bias.fill_(1.0)
    assert not head["weight"].any()
    assert not (state["agg_layer1.conv1.bias"] == 1).any()
    assert all(parameter.requires_grad for parameter in network.parameters())


# Initialisation


def published_layout(reference, name):
    layout = json.loads((reference / "state_dicts.json").read_text())[name]
    generator = torch.Generator().manual_seed(3)
    return {
        key: torch.randn(shape, generator=generator) if shape else torch.zeros((), dtype=torch.long)
        for key, (_, *shape) in layout.items()
    }


@pytest.mark.parametrize(
    ("backbone", "layout", "released"),
    [
        ("face_resnet34", "face_resnet34_backbone", "resnet34_mlfa_released"),
        ("ir50", "face_ir50_backbone", "ir50_mlfa_released"),
    ],
)
def test_face_backbones_go_where_the_authors_put_them(reference, backbone, layout, released):
    """Against the authors' own names, which the two reference layouts share but for IR-50's flat numbering."""
    source = published_layout(reference, layout)
    offsets, tripled = {"1": 0, "2": 3, "3": 7, "4": 21}, []

    def theirs(key, shape):
        key_there = re.sub(r"^(rgb|depth|ir)_backbone\.", "", key)
        key_there = re.sub(r"^agg_layer(\d)\.agg_layer", lambda m: f"layer{int(m[1]) + 1}", key_there)
        if backbone == "ir50":
            key_there = re.sub(r"^layer(\d)\.(\d+)", lambda m: f"body.{offsets[m[1]] + int(m[2])}", key_there)
        value = source[key_there]
        if list(value.shape) != shape:
            tripled.append(key)
            value = torch.cat([value] * 3, dim=1 if value.dim() == 4 else 0)
        return value

    model = {
        key: torch.zeros(shape) if re.match(r"agg_layer\d\.conv1\.", key) else theirs(key, shape)
        for key, (_, *shape) in json.loads((reference / "state_dicts.json").read_text())[released].items()
    }
    head = {"weight": torch.zeros(2, 512), "bias": torch.zeros(2)}
    expected = weights.load_released({"model_state_dict": model, "classifier_state_dict": head}).state_dict()
    first = ["layer4.0.weight"]
    if backbone == "ir50":
        norm = [f"layer4.0.res_layer.0.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
        first = ["layer4.0.shortcut_layer.0.weight", *norm, "layer4.0.res_layer.1.weight"]
    assert tripled == first

    network = build(Architecture(backbone, "concat", True))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    weights.initialise(network, source)
    new = ("head.", "aggregation.0.reduce.", "aggregation.1.reduce.", "aggregation.2.reduce.")
    for key, value in network.state_dict().items():
        assert torch.equal(value, (before if key.startswith(new) else expected)[key]), key


def test_imagenet_file_initialises_all_but_the_new_parts(tmp_path):
    """The resnets' shortcut in the shared stage is repeated too; SE blocks and head stay as they were."""
    theirs = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(theirs, tmp_path / "resnet18.pth")
    network = build(Architecture("resnet18", "se", False))
    head, squeeze = network.head.weight.clone(), network.fusion.excitations[1].fc1.weight.clone()
    weights.initialise(network, tmp_path / "resnet18.pth")
    assert torch.equal(network.branches[1].stage3[1].conv2.weight, theirs["layer3.1.conv2.weight"])
    assert torch.equal(
        network.shared.stage4[0].downsample[0].weight, theirs["layer4.0.downsample.0.weight"].tile(1, 3, 1, 1)
    )
    assert torch.equal(network.shared.stage4[1].conv1.weight, theirs["layer4.1.conv1.weight"])
    assert torch.equal(network.head.weight, head)
    assert torch.equal(network.fusion.excitations[1].fc1.weight, squeeze)


def test_baseline_of_zhang_repeats_its_shared_stage_three():
    backbone = Backbone("resnet18", **TINY)
    network = weights.initialise(build(Architecture("resnet18", "zhang", False, **TINY)), backbone)
    source = backbone.stage3[0].conv1.weight
    assert torch.equal(network.shared.stage3[0].conv1.weight, torch.cat([source] * 3, dim=1))
    assert torch.equal(network.shared.stage4[0].conv1.weight, backbone.stage4[0].conv1.weight)


def test_own_backbone_file_initialises_networks_of_its_kind_alone(tmp_path):
    backbone = Backbone("ir50", **TINY)
    weights.save_backbone(backbone, tmp_path / "face.pt", task="identity", epochs=8)
    network = weights.initialise(build(Architecture("ir50", "se", True, **TINY)), tmp_path / "face.pt")
    for branch in network.branches:
        assert all(torch.equal(value, backbone.state_dict()[key]) for key, value in branch.state_dict().items())
    other = build(Architecture("ir50", "se", True, **TINY | {"small_images": False}))
    for source in (backbone, tmp_path / "face.pt"):  # of the same shapes, with strides in other places
        with pytest.raises(WeightsError, match=r"small_images=True\), the network takes .*small_images=False\)"):
            weights.initialise(other, source)


def test_old_files_without_batch_counters_are_taken():
    state = {k: v for k, v in torchvision.models.resnet18().state_dict().items() if "num_batches_tracked" not in k}
    network = weights.initialise(build(Architecture("resnet18", "se", False)), state)
    assert torch.equal(network.branches[0].stem.conv.weight, state["conv1.weight"])


# Wrong input: one sentence with the name and the remedy, and nothing changed


def test_another_architecture_is_told_apart_with_counts_and_first_keys():
    network = build(Architecture("resnet34", "se", False))
    before = network.state_dict()["branches.0.stem.conv.weight"].clone()
    with pytest.raises(WeightsError) as error:
        weights.initialise(network, torchvision.models.resnet50().state_dict())
    message = str(error.value)
    assert "backbone: its weights do not fit the backbone resnet34 at width 1: " in message
    assert re.search(r"\d+ extra \(layer1\.0\.bn3\.bias, ", message)
    assert "layer1.0.conv1.weight (64, 64, 1, 1) instead of (64, 64, 3, 3)" in message
    assert message.endswith(", ...); take weights made for it")
    assert torch.equal(network.state_dict()["branches.0.stem.conv.weight"], before)


def test_missing_extra_and_wrong_shapes_of_a_checkpoint(tmp_path):
    network = build(Architecture("resnet18", "se", False, **TINY))
    weights.save_network(network, tmp_path / "net.pt")
    content = weights.read(tmp_path / "net.pt")
    state = content["state_dict"]
    state["surplus"] = state.pop("head.bias")
    state["head.weight"] = torch.zeros(3, 64)
    weights.write(content, tmp_path / "net.pt")
    with pytest.raises(WeightsError) as error:
        weights.load_network(tmp_path / "net.pt")
    for part in ("net.pt", "1 missing (head.bias)", "1 extra (surplus)", "head.weight (3, 64) instead of (2, 64)"):
        assert part in str(error.value)


@pytest.mark.parametrize("keep", [100, 5000, -50])
def test_truncated_file(tmp_path, keep):
    weights.save_backbone(Backbone("resnet18", **TINY), tmp_path / "face.pt")
    data = (tmp_path / "face.pt").read_bytes()
    (tmp_path / "face.pt").write_bytes(data[:keep])
    with pytest.raises(WeightsError, match=r"face\.pt: it cannot be read .*truncated"):
        weights.initialise(build(Architecture("resnet18", "se", False, **TINY)), tmp_path / "face.pt")


class _Attack:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("archive", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, archive):
    target = tmp_path / "executed"
    content = {"model_state_dict": {"rgb_backbone.conv1.weight": _Attack(target)}, "classifier_state_dict": {}}
    if archive:
        torch.save(content, tmp_path / "evil.pt")
    else:
        (tmp_path / "evil.pt").write_bytes(pickle.dumps(content, protocol=2))
    for load in (weights.load_released, weights.load_network):
        with pytest.raises(WeightsError, match=r"evil\.pt: it is not a plain weights file and was not opened"):
            load(tmp_path / "evil.pt")
    assert not target.exists()


def test_missing_files_and_foreign_content(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.pt: there is no such weights file"):
        weights.load_released(tmp_path / "gone.pt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=r"other\.pt: it has no model_state_dict"):
        weights.load_released(tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="belong to neither released network"):
        weights.load_released({"model_state_dict": {"x": torch.zeros(1)}, "classifier_state_dict": {}})
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(WeightsError, match=r"tensor\.pt: it holds a Tensor, not a dictionary"):
        weights.load_network(tmp_path / "tensor.pt")


TENSORS = {"rgb_backbone.conv1.weight": torch.zeros(1)}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({"model_state_dict": 3, "classifier_state_dict": {}}, "its model_state_dict is a int, not a dictionary"),
        ({"model_state_dict": {7: torch.zeros(1)}, "classifier_state_dict": {}}, "its model_state_dict has 1 entries"),
        ({"model_state_dict": TENSORS, "classifier_state_dict": [1, 2]}, "its classifier_state_dict is a list"),
        ({"model_state_dict": TENSORS | {"x": "y"}, "classifier_state_dict": {}}, "first 'x'"),
        ({"architecture": {"backbone": "resnet18"}, "state_dict": 3}, "its state_dict is a int"),
        ({"architecture": {"backbone": "resnet18"}, "state_dict": {b"k": torch.zeros(1)}}, "first b'k'"),
        ({"architecture": 3, "state_dict": {}}, "its architecture is unknown"),
    ],
)
def test_malformed_checkpoints_are_refused(tmp_path, content, what):
    weights.write(content, tmp_path / "bad.pt")
    with pytest.raises(WeightsError, match=rf"bad\.pt: .*{re.escape(what)}.*; take a"):
        weights.load_network(tmp_path / "bad.pt")


@pytest.mark.parametrize("state", [3, {7: torch.zeros(1)}])
def test_malformed_backbones_are_refused(tmp_path, state):
    weights.write({"backbone": {"backbone": "resnet18"}, "state_dict": state}, tmp_path / "bad.pt")
    network = build(Architecture("resnet18", "se", False, **TINY))
    with pytest.raises(WeightsError, match=r"bad\.pt: it has \d entries .*; take a"):
        weights.initialise(network, tmp_path / "bad.pt")


@pytest.mark.parametrize("text", ["", "epoch,loss\n1,0.5\n"])
def test_a_text_file_is_no_pytorch_file(tmp_path, text):
    (tmp_path / "log.pt").write_text(text)
    with pytest.raises(WeightsError, match=r"log\.pt: it is no PyTorch file; take"):
        weights.load_network(tmp_path / "log.pt")


def test_failed_save_keeps_the_old_file(tmp_path):
    path = tmp_path / "face.pt"
    weights.save_backbone(Backbone("resnet18", **TINY), path)
    before = path.read_bytes()
    with pytest.raises(Exception, match=r"pickle|lambda"):
        weights.save_backbone(Backbone("resnet18", **TINY), path, about=lambda: None)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["face.pt"]

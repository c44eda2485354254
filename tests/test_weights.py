"""Weights: golden outputs of the authors' code, initialisation as they did it, and files that must be refused."""

import json
import os
import re
import zlib

import numpy as np
import pytest
import torch
import torchvision

from fasnb.command.checkpoint import score_frames
from fasnb.data import casia_surf, read_list
from fasnb.model import weights
from fasnb.model.backbones import Backbone
from fasnb.model.network import Architecture, build
from fasnb.model.weights import WeightsError
from synthsurf.dataset import SynthSurf

HEAD = {"weight": [2, 512], "bias": [2]}
TINY = {"width": 0.125, "blocks": (1, 1, 1, 1), "small_images": True}


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


def layout_of(reference, name):
    """Key -> [module kind, shape...] of a published state dict."""
    return json.loads((reference / "state_dicts.json").read_text())[name]


def golden_images():
    """Three modalities, each (2, 3, 112, 112); batch element b takes images 3b, 3b + 1, 3b + 2."""
    y, x = np.mgrid[0:112, 0:112] / 112

    def image(i):
        return [np.sin((i + 1) * 3.1 * x + c * 2.3 * y) + np.cos(c * 5.7 * x * y * (i + 1)) for c in (1, 2, 3)]

    return [torch.tensor(np.array([image(m), image(3 + m)]), dtype=torch.float32) for m in range(3)]


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


@pytest.mark.parametrize("name", ["resnet34_mlfa_released", "ir50_mlfa_released"])
def test_golden_outputs_from_the_authors_file_and_from_ours(reference, cache, tmp_path, name):
    expected = json.loads((reference / "golden.json").read_text())[name]
    model = {k: golden_value("model", k, kind, shape) for k, (kind, *shape) in layout_of(reference, name).items()}
    head = {key: golden_value("classifier", key, "linear", shape) for key, shape in HEAD.items()}
    distributed = {f"module.{key}": value for key, value in model.items()}
    torch.save({"model_state_dict": distributed, "classifier_state_dict": head, "epoch": 31}, tmp_path / "released.pt")
    network = weights.load_released(tmp_path / "released.pt")
    assert_golden(network, expected)
    parameters = [value for key, value in network.named_parameters() if not key.startswith("head.")]
    assert sum(value.numel() for value in parameters) == expected["parameters"]
    assert all(value.requires_grad for value in parameters)
    weights.save_network(network.to(memory_format=torch.channels_last), tmp_path / "ours.pt")
    assert_golden(weights.load_network(tmp_path / "ours.pt"), expected)
    casia_surf.write(SynthSurf("valid", 1, 1, size=32), tmp_path)
    listed = casia_surf.find(tmp_path).lists["valid"]
    table = score_frames(tmp_path / "released.pt", read_list(listed)[:2], listed.parent, "cpu", "fp32")
    assert table[["experiment", "fold", "seed"]].to_numpy().tolist() == 2 * [["released", 0, 0]]


@pytest.mark.parametrize(("backbone", "name"), [("face_resnet34", "resnet34"), ("ir50", "ir50")])
def test_face_backbones_go_where_the_authors_put_them(reference, backbone, name):
    """Against the authors' own names, which the two reference layouts share but for IR-50's flat numbering."""
    source = {key: torch.randn(shape) for key, (_, *shape) in layout_of(reference, f"face_{name}_backbone").items()}
    offsets = {"1": 0, "2": 3, "3": 7, "4": 21}

    def theirs(key, shape):
        key_there = re.sub(r"^(rgb|depth|ir)_backbone\.", "", key)
        key_there = re.sub(r"^agg_layer(\d)\.agg_layer", lambda m: f"layer{int(m[1]) + 1}", key_there)
        if backbone == "ir50":
            key_there = re.sub(r"^layer(\d)\.(\d+)", lambda m: f"body.{offsets[m[1]] + int(m[2])}", key_there)
        value = source[key_there]
        return value if list(value.shape) == shape else torch.cat([value] * 3, dim=1 if value.dim() == 4 else 0)

    model = {
        key: torch.zeros(shape) if re.match(r"agg_layer\d\.conv1\.", key) else theirs(key, shape)
        for key, (_, *shape) in layout_of(reference, f"{name}_mlfa_released").items()
    }
    head = {key: torch.zeros(shape) for key, shape in HEAD.items()}
    expected = weights.load_released({"model_state_dict": model, "classifier_state_dict": head}).state_dict()
    network = build(Architecture(backbone, "concat", True))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    weights.initialise(network, source)
    new = ("head.", "aggregation.0.reduce.", "aggregation.1.reduce.", "aggregation.2.reduce.")
    for key, value in network.state_dict().items():
        assert torch.equal(value, (before if key.startswith(new) else expected)[key]), key


def test_imagenet_file_initialises_all_but_the_new_parts(tmp_path):
    """An old file without batch counters. The resnets' shortcut in the shared stage is repeated too."""
    theirs = {k: v for k, v in torchvision.models.resnet18().state_dict().items() if "num_batches_tracked" not in k}
    torch.save(theirs, tmp_path / "resnet18.pth", _use_new_zipfile_serialization=False)
    network = build(Architecture("resnet18", "se", False))
    head, squeeze = network.head.weight.clone(), network.fusion.excitations[1].fc1.weight.clone()
    weights.initialise(network, tmp_path / "resnet18.pth")
    shortcut = theirs["layer4.0.downsample.0.weight"].tile(1, 3, 1, 1)
    assert torch.equal(network.branches[1].stage3[1].conv2.weight, theirs["layer3.1.conv2.weight"])
    assert torch.equal(network.shared.stage4[0].downsample[0].weight, shortcut)
    assert torch.equal(network.shared.stage4[1].conv1.weight, theirs["layer4.1.conv1.weight"])
    assert torch.equal(network.head.weight, head) and torch.equal(network.fusion.excitations[1].fc1.weight, squeeze)


def test_zhangs_shared_stage_repeats_its_inputs_and_aggregation_starts_at_random_where_asked():
    backbone, ours = Backbone("resnet18", **TINY), build(Architecture("resnet18", "se", True, **TINY))
    zhang = weights.initialise(build(Architecture("resnet18", "zhang", False, **TINY)), backbone)
    assert torch.equal(zhang.shared.stage3[0].conv1.weight, backbone.stage3[0].conv1.weight.tile(1, 3, 1, 1))
    assert torch.equal(zhang.shared.stage4[0].conv1.weight, backbone.stage4[0].conv1.weight)
    before = ours.aggregation[0].stage[0].conv1.weight.clone()
    weights.initialise(ours, backbone, aggregation=False)
    assert torch.equal(ours.aggregation[0].stage[0].conv1.weight, before)
    assert torch.equal(ours.branches[0].stage2[0].conv1.weight, backbone.stage2[0].conv1.weight)


def test_own_backbone_file_initialises_networks_of_its_kind_alone(tmp_path):
    backbone = Backbone("ir50", **TINY)
    weights.save_network(backbone, tmp_path / "face.pt", task="identity", epochs=8)
    network = weights.initialise(build(Architecture("ir50", "se", True, **TINY)), tmp_path / "face.pt")
    for branch in network.branches:
        assert all(torch.equal(value, backbone.state_dict()[key]) for key, value in branch.state_dict().items())
    other = build(Architecture("ir50", "se", True, **TINY | {"small_images": False}))
    before = other.branches[0].stem.conv.weight.clone()
    for source in (backbone, tmp_path / "face.pt"):  # of the same shapes, with strides in other places
        with pytest.raises(WeightsError, match=r"small_images': True}, the network takes .*small_images=False\)"):
            weights.initialise(other, source)
    assert torch.equal(other.branches[0].stem.conv.weight, before)


def small_network():
    return build(Architecture("resnet18", "se", False, **TINY))


def test_missing_extra_and_wrong_shapes_of_a_checkpoint(tmp_path):
    weights.save_network(small_network(), tmp_path / "net.pt")
    content = weights.read(tmp_path / "net.pt")
    state = content["state_dict"]
    state["surplus"] = state.pop("head.bias")
    state["head.weight"] = torch.zeros(3, 64)
    state["branches.0.stem.norm.weight"][0] = torch.nan
    weights.write(content, tmp_path / "net.pt")
    with pytest.raises(WeightsError) as error:
        weights.load_network(tmp_path / "net.pt")
    for part in ("net.pt", "1 missing (head.bias)", "1 extra (surplus)", "head.weight (3, 64) instead of (2, 64)"):
        assert part in str(error.value)
    assert "1 not finite (branches.0.stem.norm.weight)" in str(error.value)


def test_a_flipped_bit_is_noticed(tmp_path):
    weights.save_network(Backbone("resnet18", **TINY), tmp_path / "face.pt")
    data = bytearray((tmp_path / "face.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "face.pt").write_bytes(data)
    with pytest.raises(WeightsError, match=r"face\.pt: it cannot be read .*truncated"):
        weights.initialise(small_network(), tmp_path / "face.pt")


class _Attack:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = {"model_state_dict": {"rgb_backbone.conv1.weight": _Attack()}, "classifier_state_dict": {}}
    torch.save(content, "evil.pt")
    for load in (weights.load_released, weights.load_network):
        with pytest.raises(WeightsError, match=r"evil\.pt: it is not a plain weights file and was not opened"):
            load(tmp_path / "evil.pt")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "it is no PyTorch file"),
        (torch.zeros(3), "it holds a Tensor, not a dictionary"),
        ({"a": torch.zeros(1)}, "it holds no network of ours or of the authors"),
        ({"model_state_dict": {}}, "it has no model_state_dict and classifier_state_dict"),
        ({"model_state_dict": {"x": torch.zeros(1)}, "classifier_state_dict": {}}, "1 extra (x)"),
        ({"architecture": {"backbone": "resnet18"}, "state_dict": 3}, "its state_dict is not a dictionary of names"),
        ({"architecture": {"backbone": "vgg"}, "state_dict": {}}, "its architecture is unknown (backbone 'vgg'"),
    ],
)
def test_malformed_checkpoints_are_refused(tmp_path, content, what):
    torch.save(content, tmp_path / "bad.pt")
    if isinstance(content, bytes):
        (tmp_path / "bad.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=rf"bad\.pt: .*{re.escape(what)}.*; take "):
        weights.load_network(tmp_path / "bad.pt")
    with pytest.raises(WeightsError, match=r"bad\.pt: .*; take "):
        weights.initialise(small_network(), tmp_path / "bad.pt")
    with pytest.raises(FileNotFoundError, match=r"gone\.pt: there is no such weights file"):
        weights.load_network(tmp_path / "gone.pt")

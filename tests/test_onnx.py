"""Networks as ONNX: what ONNX Runtime says of frames is what PyTorch says of them. Skipped without the extra onnx."""

from dataclasses import asdict, replace
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import refused, said
from test_training import RECIPE, TINY, ZHANG, one_thread  # noqa: F401

from fasnb.command import onnx_file
from fasnb.command.checkpoint import score_frames
from fasnb.data import casia_surf, read_list
from fasnb.data.augment import evaluation
from fasnb.metrics import average
from fasnb.model import Architecture, EarlyFusion, build, save_network
from synthsurf.dataset import SynthSurf

needs_onnx = pytest.mark.skipif(not (find_spec("onnx") and find_spec("onnxruntime")), reason="without the extra onnx")
IR = Architecture("ir50", "se", True, ("depth", "rgb", "ir"), 0.0625, (1, 1, 1, 1), True)
NETWORKS = {("A", 1, 7): TINY, ("A", 2, 7): ZHANG, ("A", 1, 704): TINY, ("B", 1, 7): IR}  # experiment, fold, seed
NETWORKS |= {("student", 0, 7): EarlyFusion(), ("student-depth", 0, 7): EarlyFusion(("depth",) * 3)}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A list of image files of another size than the networks take, and a checkpoint of each network, whose running
    statistics and head spread the scores of such frames over (0, 1)."""
    source, folder = SynthSurf("valid", 2, 2, size=48), tmp_path_factory.mktemp("onnx")
    casia_surf.write(source, folder / "surf")
    frames = torch.from_numpy(source.read(range(16)))
    for name, architecture in NETWORKS.items():
        torch.manual_seed(len(str(architecture)))
        network = build(architecture)
        for part in network.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.momentum = 1.0
        with torch.no_grad():
            images = evaluation(frames, RECIPE, architecture.normalisation)
            network(*images)
            margin = network.eval()(*images) @ torch.tensor([-1.0, 1.0])
            *_, last = (part for part in network.head.modules() if isinstance(part, torch.nn.Linear))
            last.weight *= 2 / margin.std()
            last.bias[:] = torch.stack([margin.mean() * 2 / margin.std(), torch.tensor(0.0)])
        about = dict(zip(("experiment", "fold", "seed"), name, strict=True)) | {"recipe": asdict(RECIPE)}
        save_network(network, folder / f"{'-'.join(map(str, name))}.pt", **about)
    return casia_surf.find(folder / "surf").lists["valid"], {n: folder / f"{n[0]}-{n[1]}-{n[2]}.pt" for n in NETWORKS}


@needs_onnx
def test_exported_networks_score_files_as_their_checkpoints_do_and_a_set_as_their_mean(files, cache, tmp_path, capsys):
    """The mean is over folds, then seeds, then experiments; here its order matters."""
    listed, checkpoints = files
    frames, graph, out, tables = read_list(listed, listed.parent), tmp_path / "a.onnx", tmp_path / "scores.csv", {}
    for name, checkpoint in checkpoints.items():
        tables[name] = wanted = score_frames(checkpoint, frames, listed.parent, "cpu", "fp32")
        said(capsys, "export", checkpoint, "--onnx", graph)
        said(capsys, "score", "--onnx", graph, "--frames", listed, "--root", listed.parent, "--out", out)
        found, same = pd.read_csv(out), ["sample", "label", "experiment", "fold", "seed"]
        assert found["score"].nunique() > 8, "nothing is compared where scores do not differ"
        np.testing.assert_allclose(found["score"], wanted["score"], rtol=1e-5, atol=1e-6)  # they have 18 binary digits
        assert found[same].to_numpy().tolist() == wanted[same].to_numpy().tolist()
    four = list(NETWORKS)[:4]
    wanted = average(pd.concat([tables[name] for name in four]), ["fold", "seed", "experiment"], expected=four)
    about, apart = onnx_file.export([checkpoints[name] for name in four], graph)
    found = onnx_file.score_onnx(graph, frames, listed.parent, batch=3)  # the last batch is another size
    np.testing.assert_allclose(found["score"], wanted["score"], rtol=1e-5, atol=1e-6)
    assert set(found["experiment"]) == {"ensemble"} and apart < 1e-6
    assert [each["share"] for each in about["networks"]] == [0.125, 0.125, 0.25, 0.5]


@needs_onnx
def test_what_cannot_be_exported_or_scored_is_refused_in_a_sentence(files, tmp_path, capsys):
    listed, checkpoints = files
    text, other, one = tmp_path / "text.onnx", tmp_path / "other.pt", checkpoints["A", 1, 7]
    text.write_text("frames, scores")
    recipe = asdict(replace(RECIPE, resize=40))
    save_network(build(TINY).eval(), other, experiment="A", fold=3, seed=7, recipe=recipe)
    onnx_file.write_graph(torch.nn.Flatten(), 32, tmp_path / "foreign.onnx", {})
    given = ["--frames", listed, "--root", listed.parent, "--out", tmp_path / "none.csv"]
    for arguments, why in (
        (["score", "--onnx", tmp_path / "lost.onnx", *given], "lost.onnx does not exist; fasnb export writes"),
        (["score", "--onnx", text, *given], "text.onnx cannot be read as ONNX"),
        (["score", "--onnx", tmp_path / "foreign.onnx", *given], "foreign.onnx does not say how its images"),
        (["score", "--onnx", text, "--checkpoint", one, *given], "give --checkpoint FILE or --onnx FILE"),
        (["export", one, one, "--onnx", tmp_path / "no.onnx"], "a network twice"),
        (["export", one, other, "--onnx", tmp_path / "no.onnx"], "networks for images of [32, 40] pixels"),
    ):
        assert why in refused(capsys, *arguments)
    assert not (tmp_path / "no.onnx").exists() and not (tmp_path / "none.csv").exists()


def test_without_the_extra_the_command_says_how_to_get_it(files, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)  # as if it were not installed
    error = refused(capsys, "export", files[1]["student", 0, 7], "--onnx", tmp_path / "no.onnx")
    assert "this needs the package onnx: pip install 'fasnb[onnx]'" in error
    assert not (tmp_path / "no.onnx").exists()

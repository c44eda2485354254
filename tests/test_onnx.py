"""Networks as ONNX: what ONNX Runtime says of frames is what PyTorch says of them. Skipped without the extra onnx."""

from dataclasses import asdict, replace
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import torch
from test_training import RECIPE, TINY, ZHANG, one_thread  # noqa: F401

from fasnb.command import onnx_file
from fasnb.command.checkpoint import score_frames
from fasnb.command.main import main
from fasnb.data import casia_surf, read_list
from fasnb.data.augment import evaluation
from fasnb.metrics import average
from fasnb.model import Architecture, EarlyFusion, build, save_network
from synthsurf.dataset import SynthSurf

needs_onnx = pytest.mark.skipif(not (find_spec("onnx") and find_spec("onnxruntime")), reason="without the extra onnx")
IR = Architecture("ir50", "se", True, ("depth", "rgb", "ir"), 0.0625, (1, 1, 1, 1), True)
NETWORKS = {  # experiment, fold, seed -> architecture
    ("A", 1, 7): TINY,
    ("A", 2, 7): ZHANG,
    ("A", 1, 704): TINY,
    ("B", 1, 7): IR,
    ("student", 0, 7): EarlyFusion(),
    ("student-depth", 0, 7): EarlyFusion(("depth",) * 3),
}


@pytest.fixture(scope="module")
def frames():
    return torch.from_numpy(SynthSurf("valid", 2, 2, size=RECIPE.resize).read(range(16)))


@pytest.fixture
def checkpoints(tmp_path, frames):
    """Networks, one file each, whose running statistics and heads spread the scores of frames over (0, 1)."""
    paths = {}
    for name, architecture in NETWORKS.items():
        torch.manual_seed(sum(map(ord, str(name))))
        network = build(architecture)
        for part in network.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.momentum = 1.0
        with torch.no_grad():
            images = evaluation(frames, RECIPE, architecture.normalisation)
            network(*images)
            *_, last = (part for part in network.eval().head.modules() if isinstance(part, torch.nn.Linear))
            margin = network(*images) @ torch.tensor([-1.0, 1.0])
            last.weight *= 2 / margin.std()
            last.bias[:] = torch.stack([margin.mean() * 2 / margin.std(), torch.tensor(0.0)])
        about = dict(zip(("experiment", "fold", "seed"), name, strict=True)) | {"recipe": asdict(RECIPE)}
        paths[name] = tmp_path / f"{'-'.join(map(str, name))}.pt"
        save_network(network, paths[name], **about)
    return paths


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """A list of image files, at another size than the networks take."""
    monkeypatch.setenv("FASNB_CACHE", str(tmp_path / "cache"))
    casia_surf.write(SynthSurf("valid", 2, 2, size=48), tmp_path / "surf")
    return casia_surf.find(tmp_path / "surf").lists["valid"]


def command(*arguments) -> int:
    return main([str(each) for each in arguments])


@needs_onnx
@pytest.mark.parametrize("name", NETWORKS, ids=str)
def test_an_exported_network_scores_files_as_its_checkpoint_does(name, checkpoints, listed, tmp_path, capsys):
    graph, out = tmp_path / "one.onnx", tmp_path / "scores.csv"
    assert command("export", checkpoints[name], "--onnx", graph) == 0
    assert "scores at most" in capsys.readouterr().out
    assert command("score", "--onnx", graph, "--frames", listed, "--root", listed.parent, "--out", out) == 0
    found = pd.read_csv(out)
    wanted = score_frames(checkpoints[name], read_list(listed, listed.parent), listed.parent, "cpu", "fp32")
    assert found["score"].nunique() > 4  # they differ from frame to frame, or nothing is compared
    np.testing.assert_allclose(found["score"], wanted["score"], rtol=1e-5, atol=1e-6)  # they have 18 binary digits
    same = ["sample", "label", "experiment", "fold", "seed"]
    assert found[same].to_numpy().tolist() == wanted[same].to_numpy().tolist()


@needs_onnx
def test_an_exported_set_is_the_mean_over_folds_then_seeds_then_experiments(checkpoints, listed, tmp_path):
    names = [("A", 1, 7), ("A", 2, 7), ("A", 1, 704), ("B", 1, 7)]  # so that the order of the means matters
    frames = read_list(listed, listed.parent)
    parts = [score_frames(checkpoints[name], frames, listed.parent, "cpu", "fp32") for name in names]
    wanted = average(pd.concat(parts), ["fold", "seed", "experiment"], expected=names)
    graph = tmp_path / "four.onnx"
    about, apart = onnx_file.export([checkpoints[name] for name in names], graph)
    found = onnx_file.score_onnx(graph, frames, listed.parent, batch=3)  # the last batch is another size
    np.testing.assert_allclose(found["score"], wanted["score"], rtol=1e-5, atol=1e-6)
    assert set(found["experiment"]) == {"ensemble"} and apart < 1e-6
    assert [each["share"] for each in about["networks"]] == [0.125, 0.125, 0.25, 0.5]


@needs_onnx
def test_what_is_no_exported_file_is_refused_in_a_sentence(checkpoints, listed, tmp_path, capsys):
    import onnx

    graph, foreign, text = (tmp_path / name for name in ("one.onnx", "foreign.onnx", "text.onnx"))
    command("export", checkpoints["student", 0, 7], "--onnx", graph)
    model = onnx.load(graph)
    del model.metadata_props[:]
    onnx.save(model, foreign)
    text.write_text("frames, scores")
    other = tmp_path / "other.pt"
    about = {"experiment": "A", "fold": 3, "seed": 7, "recipe": asdict(replace(RECIPE, resize=40))}
    save_network(build(TINY).eval(), other, **about)
    one = checkpoints["A", 1, 7]
    given = ["--frames", listed, "--root", listed.parent, "--out", tmp_path / "none.csv"]
    for arguments, said in (
        (["score", "--onnx", tmp_path / "lost.onnx", *given], "lost.onnx does not exist; fasnb export writes"),
        (["score", "--onnx", text, *given], "text.onnx cannot be read as ONNX"),
        (["score", "--onnx", foreign, *given], "foreign.onnx does not say how its images are prepared"),
        (["score", "--onnx", graph, "--checkpoint", one, *given], "give --checkpoint FILE or --onnx FILE"),
        (["score", *given], "give --checkpoint FILE or --onnx FILE"),
        (["export", one, one, "--onnx", tmp_path / "no.onnx"], "a network twice"),
        (["export", one, other, "--onnx", tmp_path / "no.onnx"], "networks for images of [32, 40] pixels"),
    ):
        assert command(*arguments) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("fasnb: ") and said in error
    assert not (tmp_path / "no.onnx").exists() and not (tmp_path / "none.csv").exists()


def test_without_the_extra_the_command_says_how_to_get_it(checkpoints, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)  # as if it were not installed
    assert command("export", checkpoints["student", 0, 7], "--onnx", tmp_path / "no.onnx") == 2
    assert "this needs the package onnx: pip install 'fasnb[onnx]'" in capsys.readouterr().err
    assert not (tmp_path / "no.onnx").exists()

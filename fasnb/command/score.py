"""One trained network, one's own frames: scores, and an ONNX file."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from fasnb.data.casia_surf import CasiaSurf
from fasnb.data.scores import score_table
from fasnb.data.store import build
from fasnb.model.network import ThreeBranchNetwork
from fasnb.model.weights import load_network, read
from fasnb.paper.recipe import RELEASED, Recipe
from fasnb.tools.files import replace_file
from fasnb.tools.machine import cache
from fasnb.training.scoring import score


class Checkpoint(NamedTuple):
    """A network ready to score, the recipe that says how its images are prepared, and which network it is."""

    network: ThreeBranchNetwork
    recipe: Recipe
    experiment: str
    fold: int
    seed: int


def open_checkpoint(path: Path) -> Checkpoint:
    """A trained network from its file.

    Args:
        path: ``network.pt`` in a run folder, whose ``config.json`` holds recipe, experiment, fold and seed, or a
            checkpoint of the authors, which takes the released recipe and the file's name, fold 0, seed 0.

    Raises:
        FileNotFoundError: the checkpoint or its ``config.json`` is not there.
        ValueError: the file is neither of the two, or ``config.json`` is damaged or another network's.
    """
    network, content = load_network(path), read(path)
    if "model_state_dict" in content:
        return Checkpoint(network, RELEASED, path.stem, fold=0, seed=0)
    config, advice = path.with_name("config.json"), f"lay the config.json of the run beside {path.name}"
    if not config.is_file():
        raise FileNotFoundError(f"{config} is not there; {advice}")
    try:
        known = json.loads(config.read_text(encoding="utf-8"))
        plain = {name: value for name, value in known.items() if name not in ("key", "environment")}
        recipe = Recipe(**plain["recipe"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{config} cannot be read; {advice}") from None
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    if hashlib.sha256(text.encode()).hexdigest() != content["about"].get("key"):
        raise ValueError(f"{config} is damaged, or of another run than {path.name}; {advice}")
    return Checkpoint(network, recipe, plain["experiment"], plain["fold"], plain["seed"])


def score_frames(
    checkpoint: Checkpoint, frames: pd.DataFrame, root: Path, device: str = "auto", precision: str = "fp32"
) -> pd.DataFrame:
    """The scores table of one network on the files of a frame table, which are decoded once into ``data/cache``.

    Args:
        precision: "fp32": exact; "bf16": faster on hardware that has it, scores off by some thousandths, more where the
            network is unsure. The order of scores close to 0 or to 1, on which TPR at a low FPR may hang, is exact in
            "fp32" alone.
    """
    source = CasiaSurf(frames, root, checkpoint.recipe.resize)
    store = build(source, cache() / f"frames-{source.fingerprint[:16]}")
    rows, how = np.arange(len(frames)), {"device": device, "precision": precision}
    scores = score(checkpoint.network, store, rows, checkpoint.recipe, **how)
    return score_table(frames, scores, *checkpoint[2:])


class _Probability(nn.Module):
    """rgb, depth, ir, each (N, 3, crop, crop), normalised -> P(bona fide) (N,)."""

    def __init__(self, network: ThreeBranchNetwork):
        super().__init__()
        self.network = network

    def forward(self, rgb, depth, ir):
        return self.network(rgb, depth, ir).softmax(dim=1)[:, 1]


def export_onnx(network: ThreeBranchNetwork, recipe: Recipe, path: Path) -> Path:
    """Write the network as ONNX: inputs ``rgb``, ``depth``, ``ir`` float32 (N, 3, crop, crop), normalised as trained;
    output ``score`` (N,), P(bona fide). The metadata hold crop, mean and standard deviation.

    Raises:
        ValueError: the packages for ONNX are not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError:
        raise ValueError("--onnx needs the packages onnx and onnxscript: pip install 'fasnb[onnx]'") from None
    image = torch.zeros(2, 3, recipe.crop, recipe.crop)
    program = torch.onnx.export(
        _Probability(network).eval(),
        (image, image.clone(), image.clone()),
        input_names=["rgb", "depth", "ir"],
        output_names=["score"],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},) * 3,
        dynamo=True,
        verbose=False,
    )
    model, normalisation = program.model_proto, network.architecture.normalisation
    about = {"crop": recipe.crop, "resize": recipe.resize, "mean": normalisation.mean, "std": normalisation.std}
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in about.items()})
    return replace_file(path, lambda to: onnx.save(model, str(to)))

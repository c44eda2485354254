"""One trained network, one's own frames: scores, a submission file, an ONNX file."""

import json
from pathlib import Path

import pandas as pd
import torch

from fasnb import store
from fasnb.casia_surf import CasiaSurf
from fasnb.files import replace_file
from fasnb.networks import ThreeBranchNetwork
from fasnb.recipe import RELEASED, Recipe
from fasnb.scores import score_table
from fasnb.session import home
from fasnb.specification import Specification
from fasnb.training import score
from fasnb.weights import WeightsError, load_network, load_released
from fasnb.workers import choose_device


def open_checkpoint(path: Path) -> tuple[ThreeBranchNetwork, Recipe]:
    """A network ready to score and the recipe that says how its images are prepared.

    Args:
        path: ``checkpoint.pt`` in a run folder, whose ``config.json`` holds the recipe, or a checkpoint of the authors.

    Raises:
        FileNotFoundError, WeightsError: the file is not there, or neither of the two.
    """
    config = path.parent / "config.json"
    if config.is_file():
        return load_network(path), Specification.from_json(config.read_text(encoding="utf-8")).recipe
    try:
        return load_released(path), RELEASED
    except WeightsError as error:
        raise WeightsError(f"{error}; a checkpoint of our own needs its run's config.json beside it") from None


def score_frames(
    network: ThreeBranchNetwork, recipe: Recipe, frames: pd.DataFrame, root: Path, name: str, device: str = "auto"
) -> pd.DataFrame:
    """The scores table of one network on the files of a frame table, decoded once into ``data/cache``."""
    source = CasiaSurf(frames, root, recipe.resize)
    built = store.build(source, home() / "data" / "cache" / f"frames-{source.fingerprint[:16]}")
    score_of = score(network, built, range(len(frames)), recipe, device=choose_device(device))
    return score_table(frames, score_of, experiment=name, fold=0, seed=0)


class _Probability(torch.nn.Module):
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
        raise ValueError(
            "--onnx needs the packages onnx and onnxscript; install them: pip install 'fasnb[onnx]'"
        ) from None
    image = torch.zeros(2, 3, recipe.crop, recipe.crop)
    batch = torch.export.Dim("batch", min=1)
    program = torch.onnx.export(
        _Probability(network).eval(),
        (image, image.clone(), image.clone()),
        input_names=["rgb", "depth", "ir"],
        output_names=["score"],
        dynamic_shapes=({0: batch},) * 3,
        dynamo=True,
        verbose=False,
    )
    model = program.model_proto
    normalisation = network.architecture.normalisation
    about = {"crop": recipe.crop, "resize": recipe.resize, "mean": normalisation.mean, "std": normalisation.std}
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in about.items()})
    return replace_file(path, lambda to: onnx.save(model, str(to)))

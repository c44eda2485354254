"""One trained network, one's own frames: scores, a submission file, an ONNX file."""

import json
from dataclasses import dataclass
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
from fasnb.weights import is_released, load_network
from fasnb.workers import choose_device


@dataclass(frozen=True)
class Checkpoint:
    """A network ready to score, the recipe that says how its images are prepared, and which network it is."""

    network: ThreeBranchNetwork
    recipe: Recipe
    experiment: str
    fold: int
    seed: int


def open_checkpoint(path: Path) -> Checkpoint:
    """A trained network from its file.

    Args:
        path: ``checkpoint.pt`` in a run folder, whose ``config.json`` holds recipe, experiment, fold and seed, or a
            checkpoint of the authors, which takes the released recipe and the file's name, fold 0, seed 0.

    Raises:
        FileNotFoundError: the checkpoint or its ``config.json`` is not there.
        ValueError: the file is neither of the two, or ``config.json`` is damaged or another network's.
    """
    network = load_network(path)
    if is_released(path):
        return Checkpoint(network, RELEASED, path.stem, fold=0, seed=0)
    config = path.parent / "config.json"
    if not config.is_file():
        raise FileNotFoundError(
            f"{config} is not there; lay the config.json of the checkpoint's run beside {path.name}"
        )
    try:
        found = Specification.from_json(config.read_text(encoding="utf-8"))
        checkpoint = Checkpoint(network, found.recipe, found.experiment, int(found.fold), int(found.seed))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{config} cannot be read ({error}); lay the config.json of the checkpoint's run beside {path.name}"
        ) from None
    if found.architecture != network.architecture:
        raise ValueError(
            f"{config} is of another network ({found.architecture}) than {path.name} ({network.architecture}); lay the "
            "config.json of the checkpoint's run beside it"
        )
    return checkpoint


def score_frames(
    checkpoint: Checkpoint, frames: pd.DataFrame, root: Path, device: str = "auto", precision: str = "fp32"
) -> pd.DataFrame:
    """The scores table of one network on the files of a frame table, decoded once into ``data/cache``.

    Args:
        precision: "fp32", or "bf16": twice as fast on hardware that has it, scores off by up to some hundredths.
    """
    cache = home() / "data" / "cache"
    source = CasiaSurf(frames, root, checkpoint.recipe.resize, cache / "hashes-frames.parquet")
    built = store.build(source, cache / f"frames-{source.fingerprint[:16]}")
    device = choose_device(device)
    score_of = score(
        checkpoint.network, built, range(len(frames)), checkpoint.recipe, device=device, precision=precision
    )
    return score_table(frames, score_of, checkpoint.experiment, checkpoint.fold, checkpoint.seed)


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

"""Networks as one ONNX file that any runtime can execute: preparation of images, networks, mean of their scores.

The graph takes ``frames``, uint8 (N, 5, S, S): red, green, blue, depth, IR, as large as the recipe's ``resize``,
and gives ``score``, float32 (N,): P(bona fide). Scores closer to 1 than 6e-8 become 1. What it was made from is JSON
in the file's metadata under ``fasnb``.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from torch import Tensor, nn

from fasnb.command.checkpoint import decoded, trained
from fasnb.data.casia_surf import CasiaSurf
from fasnb.data.scores import NETWORK, score_table
from fasnb.model.student import TAKEN, Student
from fasnb.paper.experiments import MODALITIES
from fasnb.paper.recipe import Recipe
from fasnb.tools.files import replace_file
from fasnb.tools.machine import commit_name
from fasnb.training.scoring import folded, margins, meaningful

OPSET = 17
LIMIT = 1e-5  # largest difference from PyTorch's scores that an exported file may have
CHANNELS = CasiaSurf.channels


class Scorer(nn.Module):
    """Networks, each with its recipe: stored bytes to the weighted mean of their P(bona fide), float32."""

    def __init__(self, networks: Sequence[tuple[nn.Module, Recipe]], shares: Sequence[float] = (1.0,)):
        super().__init__()
        self.networks = nn.ModuleList(folded(network) for network, _ in networks)
        self.recipes, self.shares = [recipe for _, recipe in networks], [float(share) for share in shares]

    def forward(self, frames: Tensor) -> Tensor:
        """Frames, uint8 (N, 5, S, S) -> scores (N,)."""
        every = zip(self.networks, self.recipes, self.shares, strict=True)
        return sum(share * _probability(network, recipe, frames) for network, recipe, share in every)


def _probability(network: nn.Module, recipe: Recipe, frames: Tensor) -> Tensor:
    """What ``fasnb.training.scoring.score`` does, as tensor operations alone."""
    it, edge = network.architecture, round((recipe.resize - recipe.crop) / 2)
    takes = zip(it.modalities, TAKEN if isinstance(network, Student) else (3, 3, 3), strict=True)
    channels = dict(sorted(takes, key=lambda pair: pair[1]))  # camera -> channels of it: the larger number stays
    norm = it.normalisation
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (norm.mean, norm.std))
    scale, shift = (1 / (255 * std)).float(), (-mean / std).float()
    crops, scores = frames[..., edge : edge + recipe.crop, edge : edge + recipe.crop].float(), []
    for view in (crops, crops.flip(-1)) if recipe.mirror else (crops,):
        cameras = zip(MODALITIES, view.split(tuple(CHANNELS.values()), dim=1), strict=True)
        counted = [(image, channels.get(name, 1)) for name, image in cameras]
        logits = network(*(image * scale[:count] + shift[:count] for image, count in counted))
        scores.append(torch.sigmoid(logits[:, 1] - logits[:, 0]))
    return sum(scores) / len(scores)


def export(checkpoints: Sequence[Path], path: Path) -> tuple[dict, float]:
    """Write the graph of one checkpoint, or of the mean of several: over folds, then seeds, then experiments.

    Returns what the file says of itself, and the largest ``difference`` of its scores from PyTorch's. Raises
    ValueError where networks take images of different sizes or ranges or one is named twice, RuntimeError where a package is
    missing or the difference is above ``LIMIT``; the file is then not written.
    """
    known = [trained(checkpoint) for checkpoint in checkpoints]
    names = pd.DataFrame([[about[name] for name in NETWORK] for *_, about in known], columns=list(NETWORK))
    sizes, scales = sorted({recipe.resize for _, recipe, _ in known}), [each.get("scales", {}) for *_, each in known]
    if len(sizes) > 1 or names.duplicated().any() or any(each != scales[0] for each in scales):
        wrong = f"networks for images of {sizes} pixels" if len(sizes) > 1 else "a network twice, or of other ranges"
        raise ValueError(f"{path} is not written: given are {wrong}; give each network of one study once")
    of, seeds = names.groupby("experiment"), names.groupby(["experiment", "seed"])
    shares = 1 / (of.ngroups * of["seed"].transform("nunique") * seeds["fold"].transform("size"))
    about = {"experiment": names["experiment"][0] if of.ngroups == 1 else "ensemble", "pixels": sizes[0]}
    about |= {name: int(names[name][0]) if names[name].nunique() == 1 else 0 for name in ("fold", "seed")}
    about |= {"channels": CHANNELS, "scales": scales[0], "commit": commit_name(), "networks": []}
    about["cameras"] = sorted({name for network, *_ in known for name in network.architecture.modalities})
    for (network, recipe, each), share in zip(known, shares, strict=True):
        said = {"key": each.get("key", ""), "source": each.get("source", "not recorded"), "share": share}
        said |= {"architecture": asdict(network.architecture), "recipe": asdict(recipe)}
        about["networks"].append({name: each[name] for name in NETWORK} | said)
    graph = Scorer(networks := [each[:2] for each in known], shares)
    if (gigabytes := 4e-9 * sum(weight.numel() for weight in graph.parameters())) > 2:
        raise ValueError(f"{path} is not written: of {gigabytes:.1f} GB, where ONNX has 2 at most; give fewer networks")
    apart = []

    def write(to: Path) -> None:
        write_graph(graph, sizes[0], to, about)
        apart.append(difference(to, networks, shares))
        if not apart[0] <= LIMIT:
            raise RuntimeError(f"{path} is not written: its scores are up to {apart[0]:.1g} from PyTorch's")

    replace_file(path, write)
    return about, apart[0]


def write_graph(graph: nn.Module, pixels: int, path: Path, about: dict) -> None:
    """Write a module that takes ``frames`` of so many pixels as ONNX, any number of frames at once, with metadata."""
    onnx, frames = _package("onnx"), torch.zeros(2, sum(CHANNELS.values()), pixels, pixels, dtype=torch.uint8)
    names = {"input_names": ["frames"], "output_names": ["score"], "opset_version": OPSET}
    names["dynamic_axes"] = {"frames": {0: "frames"}, "score": {0: "frames"}}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter that needs no further package is called old
        torch.onnx.export(graph.eval(), (frames,), path, dynamo=False, **names)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"fasnb": json.dumps(about)})
    onnx.save(model, path)


def difference(path: Path, networks: Sequence[tuple], shares: Sequence[float]) -> float:
    """The largest difference of an ONNX file's scores from the mean of networks, each with its recipe, in PyTorch.

    Compared on frames of noise, black and white ones, and those in which one channel alone is white.
    """
    pixels = networks[0][1].resize
    frames = torch.randint(256, (32, 5, pixels, pixels), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    frames[:7] = 0
    frames[0], frames[range(1, 6), range(5)] = 255, 255
    store = SimpleNamespace(read=lambda rows: frames[rows])
    said = [expit(margins(folded(n), store, np.arange(32), it, device="cpu")).mean(axis=0) for n, it in networks]
    found = opened(path).run(None, {"frames": frames.numpy()})[0]
    return float(np.abs(found - np.asarray(shares) @ np.array(said)).max())


def opened(path: Path, threads: int = 0):
    """An ONNX Runtime session of a file on so many cores, 0: all. FileNotFoundError, ValueError where it is none."""
    runtime = _package("onnxruntime")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; fasnb export writes such a file")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime has a dozen kinds
        raise ValueError(f"{path} cannot be read as ONNX: {str(error)[:200]}") from None


def score_onnx(path: Path, frames: pd.DataFrame, root: Path, scales=None, batch: int = 64) -> pd.DataFrame:
    """The scores table of an exported file on the files of a frame table. Raises as ``opened`` and ``decoded``."""
    session = opened(path)
    about = json.loads(session.get_modelmeta().custom_metadata_map.get("fasnb", "{}"))
    if not about:
        raise ValueError(f"{path} does not say how its images are prepared; take a file that fasnb export wrote")
    store, found = decoded(path, about, about["cameras"], frames, root, about["pixels"], scales), []
    for rows in np.split(np.arange(len(frames)), range(batch, len(frames), batch)):
        found.append(session.run(None, {"frames": store.read(rows).numpy()})[0])
    scores = meaningful(np.concatenate(found).astype(np.float64))
    return score_table(frames, scores, *(about[name] for name in NETWORK))


def _package(name: str):
    try:
        return import_module(name)
    except ImportError:
        raise RuntimeError(f"this needs the package {name}: pip install 'fasnb[onnx]'") from None

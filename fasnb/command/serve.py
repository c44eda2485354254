"""One trained network, one's own frames: scores, exact or fast, and an ONNX file."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from torch import Tensor, nn

from fasnb.data import store
from fasnb.data.casia_surf import CasiaSurf
from fasnb.metrics.scores import score_table
from fasnb.model.network import ThreeBranchNetwork
from fasnb.model.weights import load_network, read
from fasnb.paper.recipe import RELEASED, Recipe
from fasnb.tools.files import replace_file
from fasnb.tools.places import cache
from fasnb.tools.workers import choose_device
from fasnb.training.inference import margins
from fasnb.training.specification import PRECISIONS, Specification

TOLERANCE = 2e-3  # largest difference to float32 that "mixed" aims at
DEVIATIONS = 4.0  # of bfloat16's error, which "mixed" allows for
SAMPLE = 64  # frames scored both ways at least, to learn how far bfloat16 is off
CPU_BATCH, GPU_BATCH = 32, 256  # frames at once; on two CPU cores 64 were slower than 32, the other is not measured


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
    network, content = load_network(path), read(path)
    if "model_state_dict" in content:
        return Checkpoint(network, RELEASED, path.stem, fold=0, seed=0)
    config = path.parent / "config.json"
    if not config.is_file():
        raise FileNotFoundError(
            f"{config} is not there; lay the config.json of the checkpoint's run beside {path.name}"
        )
    try:
        found = Specification.from_json(config.read_text(encoding="utf-8"))
        checkpoint = Checkpoint(network, found.recipe, found.experiment, int(found.fold), int(found.seed))
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{config} cannot be read ({error}); lay the config.json of the checkpoint's run beside {path.name}"
        ) from None
    known = content["about"].get("key")
    if found.architecture != network.architecture:
        raise ValueError(
            f"{config} is of another network ({found.architecture}) than {path.name} ({network.architecture}); lay the "
            "config.json of the checkpoint's run beside it"
        )
    if known not in (None, found.key):
        raise ValueError(
            f"{config} is damaged, or of another run than {path.name}; lay the config.json of the checkpoint's run beside it"
        )
    return checkpoint


class _Exact(nn.Module):
    """A part of a network, in float32 (N, C, H, W) -> (N, C', H', W'), that autocast leaves alone."""

    def __init__(self, part: nn.Module):
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.part(x)


class Scorer:
    """A network that scores the frames of stores: exact, or fast.

    Args:
        network: it is copied, and left as it is.
        device: see ``choose_device``; the copy lives there.
        compile: torch.compile the copy: costs up to a minute at the first batch of each precision, then every batch
            is faster. On a CPU it needs a C++ compiler.
    """

    def __init__(self, network: ThreeBranchNetwork, recipe: Recipe, device: str = "auto", compile: bool = False):
        self.device, self.recipe, self.compile = choose_device(device), recipe, compile
        self.batch = CPU_BATCH if self.device.type == "cpu" else GPU_BATCH
        self.network = copy.deepcopy(network).to(self.device, memory_format=torch.channels_last).eval()
        # the stem is less than a hundredth of the work, but its rounding, which a sum over so few inputs does not
        # average out, is the largest part of the error of bfloat16 scores
        for branch in self.network.branches:
            branch.stem = _Exact(branch.stem)
        if compile:
            torch.compiler.reset()  # else the ninth network in one process would silently not be compiled
            options = {"freezing": self.device.type == "cpu"}  # the weights become constants, batch norms part of them
            self.network.embed = torch.compile(self.network.embed, dynamic=False, options=options)

    def scores(self, frames: store.Store, precision: str = "fp32") -> tuple[np.ndarray, int]:
        """P(bona fide) of every frame of a store, float64 (n,), and how many frames "mixed" scored again.

        ``precision`` is "fp32": exact; "bf16": about twice as fast on hardware that has it, scores off by some
        thousandths, more where the network is unsure; or "mixed": bfloat16, and again in float32 the frames whose
        score bfloat16 may move by more than ``TOLERANCE``. The order of scores close to 0 or to 1, on which TPR at a
        low FPR may hang, is exact in "fp32" alone. Raises ValueError if the precision is unknown or the network cannot
        be compiled here, and FloatingPointError if a score is not finite.
        """
        if precision == "mixed":
            return mixed(lambda rows, each: self.margins(frames, rows, each), len(frames))
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r} is unknown; choose one of {', '.join(PRECISIONS)}, mixed")
        return expit(self.margins(frames, np.arange(len(frames)), precision)).mean(axis=0), 0

    def margins(self, frames: store.Store, rows: np.ndarray, precision: str) -> np.ndarray:
        """Logit of bona fide minus logit of attack, float64 (views, len(rows)), see ``training.inference.margins``."""
        # whole batches, because torch.compile would start anew for a batch of another size
        filled = np.resize(rows, -(-len(rows) // self.batch) * self.batch) if self.compile else rows
        options = {"device": self.device, "batch_size": self.batch, "mirror": self.recipe.mirror}
        try:
            found = margins([self.network], frames, filled, self.recipe, precision=precision, **options)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise ValueError(
                f"the network cannot be compiled here ({str(error).strip().splitlines()[0]}); install a C++ compiler, "
                "or score without compiling"
            ) from error
        return found[:, 0, : len(rows)]


def mixed(margins_of: Callable[[np.ndarray, str], np.ndarray], count: int) -> tuple[np.ndarray, int]:
    """Scores of frames 0 to ``count`` - 1, within ``TOLERANCE`` of float32, and how many were scored again.

    ``margins_of(rows, precision)`` gives margins (views, len(rows)). bfloat16 moves a margin m by some e, and so the
    score p = 1 / (1 + exp(-m)) by about p (1 - p) e: by next to nothing where the network is sure. The frames that it
    is least sure of are scored again; they tell the mean of e, which is taken off the other frames, and its deviation,
    ``DEVIATIONS`` times which is allowed for: while that leaves frames in doubt, they are scored again as well.
    """
    fast = margins_of(np.arange(count), "bf16")
    exact, again = fast.copy(), np.zeros(count, dtype=bool)
    doubtful = np.sort(np.argsort(np.abs(fast).min(axis=0), kind="stable")[:SAMPLE])
    shift = 0.0
    while len(doubtful):
        exact[:, doubtful] = margins_of(doubtful, "fp32")
        again[doubtful] = True
        error = (fast - exact)[:, again]
        shift, allowed = error.mean(), DEVIATIONS * error.std()
        least_sure = np.maximum(np.abs(fast - shift) - allowed, 0.0)
        moved = (expit(least_sure) * expit(-least_sure) * allowed).mean(axis=0)
        doubtful = np.flatnonzero((moved > TOLERANCE) & ~again)
    return expit(np.where(again, exact, fast - shift)).mean(axis=0), int(again.sum())


def score_frames(
    checkpoint: Checkpoint,
    frames: pd.DataFrame,
    root: Path,
    device: str = "auto",
    precision: str = "fp32",
    compile: bool = False,
) -> tuple[pd.DataFrame, int]:
    """The scores table of one network on the files of a frame table, decoded once into ``data/cache``, and how many
    frames were scored again; options: see ``Scorer`` and ``Scorer.scores``.
    """
    source = CasiaSurf(frames, root, checkpoint.recipe.resize, cache() / "hashes-frames.parquet")
    scorer = Scorer(checkpoint.network, checkpoint.recipe, device, compile)
    built = store.build(source, cache() / f"frames-{source.fingerprint[:16]}")
    score_of, again = scorer.scores(built, precision)
    return score_table(frames, score_of, checkpoint.experiment, checkpoint.fold, checkpoint.seed), again


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

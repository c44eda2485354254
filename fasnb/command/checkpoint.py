"""Trained networks and one's own frames: scores."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from fasnb.data.casia_surf import CasiaSurf
from fasnb.data.scores import NETWORK, score_table
from fasnb.data.store import Store, build_store
from fasnb.model.weights import load_network, read
from fasnb.paper.recipe import RELEASED, Recipe
from fasnb.tools.machine import cache
from fasnb.training.scoring import score


def trained(checkpoint: Path) -> tuple:
    """Network, recipe and what else is known (a dict with experiment, fold and seed) of a checkpoint.

    It is ``network.pt`` of a run, or of the authors, which takes the released recipe and the file's name. Raises
    FileNotFoundError, or ValueError with what is wrong.
    """
    network, content = load_network(checkpoint), read(checkpoint)
    about = content.get("about")
    if "model_state_dict" in content:  # of the authors
        about = {"recipe": asdict(RELEASED), "experiment": checkpoint.stem, "fold": 0, "seed": 0}
        about["source"] = "CASIA-SURF, by the authors"
    try:
        recipe, _ = Recipe(**about["recipe"]), [about[name] for name in NETWORK]
    except (ValueError, LookupError, TypeError):
        raise ValueError(f"{checkpoint} does not say how its images are prepared; take network.pt of a run") from None
    return network, recipe, about


def decoded(checkpoint: Path, about: dict, cameras, frames: pd.DataFrame, root: Path, size: int, scales=None) -> Store:
    """The store of a frame table's files at ``size`` pixels, decoded once into ``data/cache``.

    ``scales``, as of ``CasiaSurf``, are by default those that ``about`` says of the training; others are refused, and so
    are frames without one of the ``cameras``, by ValueError.
    """
    known, given = {name: tuple(pair) for name, pair in about.get("scales", {}).items()}, dict(scales or {})
    if given and known and given != known:
        pairs = ", ".join(f"{name} {min(pair):g}:{max(pair):g}" for name, pair in known.items())
        raise ValueError(f"{checkpoint} was trained with the ranges {pairs}; give these, or none")
    source = CasiaSurf(frames, root, size, given or known)
    if lacking := {*cameras} - {*source.cameras}:
        needed = ", ".join(dict.fromkeys(cameras))
        raise ValueError(f"{checkpoint} looks at {needed}; the list has no pictures of {', '.join(sorted(lacking))}")
    return build_store(source, cache() / f"frames-{source.fingerprint[:16]}")


def score_frames(checkpoint: Path, frames: pd.DataFrame, root: Path, device: str, precision: str, scales=None):
    """The scores table of one network, see ``trained`` and ``decoded``, on the files of a frame table.

    In "bf16" scores are off by some thousandths, more where the network is unsure; the order of scores close to 0 or to 1,
    on which TPR at a low FPR may hang, is exact in "fp32" alone. Raises as ``trained`` and ``decoded``.
    """
    network, recipe, about = trained(checkpoint)
    store = decoded(checkpoint, about, network.architecture.modalities, frames, root, recipe.resize, scales)
    scores = score(network, store, np.arange(len(frames)), recipe, device=device, precision=precision)
    return score_table(frames, scores, *(about[name] for name in NETWORK))

"""One trained network and one's own frames: scores."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from fasnb.data.casia_surf import CasiaSurf
from fasnb.data.scores import score_table
from fasnb.data.store import build
from fasnb.model.network import ThreeBranchNetwork
from fasnb.model.weights import load_network, read
from fasnb.paper.recipe import RELEASED, Recipe
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
    """A trained network: ``network.pt`` of a run, beside its ``config.json``, or a checkpoint of the authors.

    Theirs takes the released recipe and the file's name, fold 0, seed 0. Raises FileNotFoundError where a file is missing,
    ValueError where one is damaged or another network's.
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


def score_frames(given: Checkpoint, frames: pd.DataFrame, root: Path, device: str, precision: str) -> pd.DataFrame:
    """The scores table of one network on the files of a frame table, which are decoded once into ``data/cache``.

    In "bf16" scores are off by some thousandths, more where the network is unsure; the order of scores close to 0 or to 1,
    on which TPR at a low FPR may hang, is exact in "fp32" alone.
    """
    source = CasiaSurf(frames, root, given.recipe.resize)
    store = build(source, cache() / f"frames-{source.fingerprint[:16]}")
    rows = np.arange(len(frames))
    scores = score(given.network, store, rows, given.recipe, device=device, precision=precision)
    return score_table(frames, scores, *given[2:])

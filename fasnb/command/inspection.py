"""``fasnb data check --frames``: what a list holds, what its files are, and how its frames look beside those of a network."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from fasnb.data.casia_surf import CasiaSurf
from fasnb.data.store import Store
from fasnb.data.survey import beside, measured, suspicious, survey
from fasnb.tools.machine import cache
from synthsurf.dataset import SynthSurf

PIXELS = 64  # height and width of the frames that are compared
COMPARED = 600  # frames of the reference, at most


def report(frames: pd.DataFrame, root: Path, scales: Mapping, checkpoint: Path | None) -> tuple[list[str], list[str]]:
    """Texts and tables about the frames of a table, and a sentence for each frame that cannot be read.

    They are held beside the frames that ``checkpoint``, network.pt in its run, was trained on, else the stand-in's.
    Raises FileNotFoundError where these are not in the cache.
    """
    reference, of = reference_of(checkpoint)
    source = CasiaSurf(frames, root, PIXELS, scales)
    table, problems = survey(source)
    lines = [_text(_counted(frames)), *_across_splits(frames)]
    if table.empty:
        return lines, problems
    files = [_files(table, name) for name in source.cameras]
    lines += [_text(pd.concat(files)), *_sizes(table, source.cameras)]
    lines += [f"levels (median), beside {of} (1st to 99th percentile), and percent of frames outside of it:"]
    lines += [_text(beside(table, reference))]
    pairs = [name for name in table if "-" in name]
    if pairs:
        told = ", ".join(f"{name} {table[name].median():.1f}" for name in pairs)
        lines += [f"cameras on one another, by their edges, median offset in percent of the width: {told}"]
    for what, rows in suspicious(table).items():
        first = source.frames["sample"][table["row"][rows].iloc[0]]
        lines += [f"warning: {rows.sum():,} frames {what}; the first is {first}"]
    return lines, problems


def reference_of(checkpoint: Path | None) -> tuple[pd.DataFrame, str]:
    """The measures of training frames, and a name for them: of a network's, or of the stand-in's."""
    if checkpoint is None:
        source = SynthSurf("train", 40, frames=COMPARED // 2, size=PIXELS)
        return measured(source, np.arange(COMPARED // 2)), "the stand-in's training frames"
    try:
        fingerprint = json.loads((checkpoint.parent / "config.json").read_text(encoding="utf-8"))["frames"]
        store = Store(cache() / f"train-{fingerprint[:16]}")
    except (OSError, ValueError, KeyError):
        what = f"the frames that {checkpoint} was trained on are not here"
        raise FileNotFoundError(f"{what}; name network.pt in its run, or leave --checkpoint out") from None
    rows = np.unique(np.linspace(0, len(store) - 1, COMPARED).astype(int))
    return measured(store, rows), "the network's training frames"


def _text(table: pd.DataFrame) -> str:
    return table.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.1f}") + "\n"


def _counted(frames: pd.DataFrame) -> pd.DataFrame:
    """Frames and subjects of each split, class and attack type."""
    named = {"class": frames["label"].map({1: "bona fide", 0: "attack"}), "split": frames["split"]}
    named |= {"attack": frames["attack"].astype("string").where(frames["label"] != 1)}
    by = frames.assign(**{name: column.fillna("-") for name, column in named.items()})
    by = by.groupby(["split", "class", "attack"])["subject"]
    return by.agg(frames="size", subjects="nunique").reset_index()


def _across_splits(frames: pd.DataFrame) -> list[str]:
    """What to know of people and splits."""
    if frames["split"].isna().all():
        return ["no split: fasnb run divides the people, half to train, a quarter each to valid and test"]
    met = frames.groupby("subject")["split"].nunique()
    several = met.index[met > 1]
    return [f"warning: {len(several):,} people are in several splits, such as {several[0]}"] if len(several) else []


def _files(table: pd.DataFrame, camera: str) -> pd.DataFrame:
    """How many files of a camera are of which kind and size."""
    counts = table.groupby([f"{camera} kind", f"{camera} size"]).size().reset_index()
    return counts.set_axis(["kind", "pixels", "files"], axis=1).assign(camera=camera)[
        ["camera", "kind", "pixels", "files"]
    ]


def _sizes(table: pd.DataFrame, cameras: list[str]) -> list[str]:
    """What happens to frames whose pictures have unequal sizes."""
    sides = {name: table[f"{name} size"].str.split("x", expand=True).astype(int) for name in cameras}
    first, *others = sides.values()
    unequal = sum((first != other).any(axis=1) for other in others)
    if not np.any(unequal):
        return []
    shape, shapes = first[1] / first[0], [other[1] / other[0] for other in others]
    stretched = sum((np.abs(each / shape - 1) > 0.02).astype(int) for each in shapes)
    lines = [f"sizes differ in {np.count_nonzero(unequal):,} frames: all become {cameras[0]}'s, as the authors did"]
    if np.any(stretched):
        lines += [f"warning: in {np.count_nonzero(stretched):,} frames shapes differ too: pictures are stretched"]
    return lines

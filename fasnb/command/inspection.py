"""``fasnb data check --frames``: what a list holds, what its files are, how its frames look beside a network's."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from fasnb.data.casia_surf import CasiaSurf
from fasnb.data.folds import divided, subject_folds
from fasnb.data.reader import summary
from fasnb.data.store import Source, Store
from fasnb.data.survey import beside, measured, survey
from fasnb.tools.machine import cache
from synthsurf.dataset import SynthSurf

PIXELS, COMPARED = 64, 300  # of the stand-in: height and width; how many frames of a reference
# no face: a spread below, or a percentage of black above; too large an offset between cameras, in percent of the width
FLAT, EMPTY, MOVED = 3.0, 90.0, 5.0


def report(frames: pd.DataFrame, root: Path, scales: Mapping, checkpoint: Path | None) -> tuple[list[str], list[str]]:
    """Sentences and tables about the frames of a table, and a sentence for each frame that cannot be read.

    They are held beside the frames that ``checkpoint``, network.pt in its run, was trained on, else the stand-in's.
    Raises FileNotFoundError where these are not in the cache.
    """
    reference, of = _reference(checkpoint)
    source = CasiaSurf(frames, root, reference.size, scales)
    table, problems = survey(source)
    try:
        parts = divided(frames, 0)
        lines = [f"{split}: {summary(part)}" for split, part in parts.groupby("split", sort=False)]
        subject_folds(parts[parts["split"] == "train"], 0, 3)
    except ValueError as error:
        lines = [f"warning: fasnb run --profile frames cannot train on these: {error}"]
    if table.empty:
        return lines, problems
    for name in source.cameras:
        lines += [f"{name}: {count:,} files {kind}" for kind, count in table[f"{name} file"].value_counts().items()]
    if unequal := table["unequal"].sum():
        lines += [f"cameras differ in size in {unequal:,} frames: all are resized to the first's, as the authors did"]
    rows = np.unique(np.linspace(0, len(reference.frames) - 1, COMPARED).astype(int))
    levels, wrong = beside(table, measured(reference, rows)), {}
    lines += [f"\nlevels (median) beside {of} (1st to 99th percentile), and percent of frames outside of it"]
    lines += [levels.to_string(index=False, float_format="{:.1f}".format)]
    for name in source.cameras:
        if levels.loc[levels["camera"] == name, "outside"].max() > 90:
            lines += [f"warning: nearly all of {name} lies outside: is it bright where near, and the range right?"]
        lost = (table[f"{name} spread"] < FLAT) | (table[f"{name} black"] > EMPTY)
        wrong[f"show no face in {name}: it is flat or empty there"] = lost
    for pair in [name for name in table if "-" in name]:
        lines += [f"{pair}: moved by {table[pair].median():.1f}% of the width (median), as edges tell"]
        wrong[f"have {pair} moved by more than {MOVED:g}%"] = table[pair] > MOVED
    for what, which in wrong.items():
        first = table["sample"][which].head(1)
        lines += [f"warning: {which.sum():,} frames {what}; the first is {name}" for name in first]
    return lines, problems


def _reference(checkpoint: Path | None) -> tuple[Source, str]:
    """Training frames, and whose they are."""
    if checkpoint is None:
        return SynthSurf("train", 40, frames=COMPARED, size=PIXELS), "the stand-in's"
    try:
        fingerprint = json.loads((checkpoint.parent / "config.json").read_text(encoding="utf-8"))["frames"]
        return Store(cache() / f"train-{fingerprint[:16]}"), "the network's"
    except (OSError, ValueError, KeyError):
        what = f"the frames that {checkpoint} was trained on are not here"
        raise FileNotFoundError(f"{what}; name network.pt in its run, or leave --checkpoint out") from None

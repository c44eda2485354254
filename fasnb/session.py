"""What a notebook works with: one profile, its scores from whichever source, and where tables and figures go."""

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from fasnb import profiles, scores
from fasnb.figures import use_style
from fasnb.files import replace_file, write_text
from fasnb.profiles import Profile
from fasnb.study import EXPERIMENTS
from fasnb.tables import styled, write_table

SOURCES = {
    "synthetic": "SynthSURF, a synthetic stand-in for CASIA-SURF",
    "casia-surf": "CASIA-SURF, networks trained by this study",
    "released": "the authors' released scores on CASIA-SURF",
}


class MissingData(FileNotFoundError):
    """The profile's source is not on this machine; the message says what to obtain and where to lay it."""


def home() -> Path:
    """The repository: the nearest folder at or above the working directory that holds ``notebooks`` and ``fasnb``."""
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / "notebooks").is_dir() and (p / "fasnb").is_dir()), here)


def released_root(profile: Profile | None = None) -> Path:
    """Where the authors' repository is: the profile's value, else ``FASNB_RELEASED``, else ``data/released``.

    Raises:
        MissingData: it is at none of these places.
    """
    given = (profile and profile.released_root) or os.environ.get("FASNB_RELEASED")
    root = home() / (given or Path("data") / "released")
    if not (root / "data" / "lists" / "phase1_list.txt").is_file():
        raise MissingData(
            f"the authors' released scores are not at {given or 'data/released'}; clone "
            "github.com/AlexanderParkin/ChaLearn_liveness_challenge and lay it at data/released, set FASNB_RELEASED to "
            "the clone, or pass --set released_root=PATH"
        )
    return root


def best_device(wanted: str = "auto") -> str:
    """``cuda`` where there is a GPU, else ``cpu``; a wanted GPU that is not there is refused."""
    import torch  # takes seconds to import, and scores alone need no network

    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("device = 'cuda', but PyTorch finds no CUDA GPU here; use --set device=cpu")
    return wanted if wanted != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


class Session:
    """One profile, opened.

    Args:
        profile: a profile's name, see ``fasnb.profiles``.
        settings: changed values, key -> value.
        out: results folder; by default ``results/<profile>`` in the repository.
    """

    def __init__(self, profile: str, settings: Mapping[str, Any] | None = None, out: str | Path | None = None):
        self.profile = profiles.load(profile, settings)
        self.out = Path(out) if out else home() / "results" / self.profile.name
        self.keep_files = os.environ.get("FASNB_KEEP_FILES") == "1"  # a check re-runs notebooks and must not write
        use_style()

    def __repr__(self) -> str:
        return f"profile {self.profile.name}: {SOURCES[self.profile.source]}"

    @cached_property
    def released(self) -> pd.DataFrame:
        """The released scores of all networks."""
        return scores.read_released(released_root(self.profile), self.profile.released_epoch)

    def scores(self, *experiments: str, split: str = "valid") -> pd.DataFrame:
        """Scores table of all folds and seeds of the experiments; networks that are not there are trained first.

        Raises:
            scores.IncompleteError: the released source lacks an experiment.
        """
        unknown = [name for name in experiments if name not in EXPERIMENTS]
        if unknown:
            raise ValueError(f"no experiment {unknown[0]!r}; there are {', '.join(EXPERIMENTS)}")
        if self.profile.source == "released":
            missing = [name for name in experiments if not self.serves(name, split)]
            if missing:
                raise scores.IncompleteError(f"no {split} scores were released for {', '.join(missing)}")
            return self.released[self.released["experiment"].isin(experiments)].reset_index(drop=True)
        raise NotImplementedError

    def serves(self, experiment: str, split: str = "valid") -> bool:
        """Whether this source has, or can make, the labelled scores of an experiment on a split."""
        if self.profile.source == "released":
            return split == "valid" and experiment in set(self.released["experiment"])
        return True

    def caption(self, text: str, table: pd.DataFrame | None = None, interval: str = "") -> str:
        """A caption that says what the numbers come from: source, profile, seeds, frames, kind of interval."""
        parts = [f"Source: {SOURCES[self.profile.source]}", f"profile {self.profile.name}"]
        if table is not None:
            seeds = sorted(table["seed"].dropna().unique())
            parts += [f"seeds {', '.join(map(str, seeds))}"] if seeds else []
            frames = scores.facts(table)
            live = int((frames["label"] == 1).sum())
            parts += [f"{len(frames):,} frames ({live:,} bona fide, {len(frames) - live:,} attack)"]
            unit = "frames" if frames["subject"].isna().any() else f"{frames['subject'].nunique():,} subjects"
            interval = interval or f"95% intervals: bootstrap of {unit}, {self.profile.replicates:,} replicates"
        parts += [interval] if interval else []
        return f"{text.rstrip('.')}. {'; '.join(parts)}."

    def table(self, table: pd.DataFrame, name: str, caption: str, digits: int = 2) -> Styler:
        """Write a table as CSV, Markdown and LaTeX below ``tables`` and give it back for display."""
        if not self.keep_files:
            write_table(table, self.out / "tables", name, caption, digits)
        return styled(table, name, caption, digits)

    def figure(self, fig: Figure, name: str, caption: str) -> None:
        """Write a figure as PNG and PDF below ``figures``, with its caption beside it, and show it."""
        if not self.keep_files:
            for suffix, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None, "Producer": None})):
                path = self.out / "figures" / f"{name}.{suffix}"
                replace_file(path, lambda to, metadata=metadata: fig.savefig(to, metadata=metadata))
            write_text(self.out / "figures" / f"{name}.txt", caption + "\n")
        plt.show()
        display(Markdown(f"*{caption}*"))

    def show_frames(self, frames: pd.DataFrame, name: str, caption: str) -> None:
        """Show frames (column ``frame``: samples) as pictures of the three modalities, where images are at hand."""
        display(Markdown("The images of these frames are not on this machine, so only their paths are shown."))

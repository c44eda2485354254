"""What a notebook works with: one profile, its scores from whichever source, and where tables and figures go."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display
from ipywidgets import IntSlider, interact
from matplotlib.figure import Figure

from fasnb.data import augment
from fasnb.data.casia_surf import CasiaSurf
from fasnb.data.shortcut import frame_statistics
from fasnb.lab.figures import frame_grid, use_style
from fasnb.lab.tables import Shown, write_table
from fasnb.metrics import scores
from fasnb.metrics.comparisons import valid_to_test
from fasnb.metrics.ensembles import describe_frames, disagreement
from fasnb.metrics.pad import fpr_name
from fasnb.paper import profile as profiles
from fasnb.paper.experiments import EXPERIMENTS, MEMBERS, MODALITIES
from fasnb.paper.published import TABLE1, TABLE3
from fasnb.paper.recipe import Normalisation, Recipe
from fasnb.synthsurf.dataset import SynthSurf
from fasnb.tools.files import replace_file, write_text
from fasnb.tools.places import MissingData, home, released_root
from fasnb.training.runs import finished, load_runs
from fasnb.training.workshop import SOURCE_TASKS, Workshop, make

SOURCES = {
    "synthetic": "SynthSURF, a synthetic stand-in for CASIA-SURF",
    "casia-surf": "CASIA-SURF, networks trained by this study",
    "released": "the authors' released scores on CASIA-SURF",
}


class Session:
    """One profile, opened.

    Args:
        profile: a profile's name, see ``fasnb.profiles``.
        settings: changed values, key -> value.
        out: results folder; by default ``results/<profile>`` in the repository.
    """

    def __init__(self, profile: str, settings: Mapping[str, Any] | None = None, out: str | Path | None = None):
        self.profile = profiles.load(profile, settings)
        self.out = home() / (out or Path("results") / self.profile.name)
        self.read_only = (
            os.environ.get("FASNB_READ_ONLY") == "1"
        )  # a check re-runs notebooks on the scores that are there
        use_style()

    def __repr__(self) -> str:
        return f"profile {self.profile.name}: {SOURCES[self.profile.source]}"

    @cached_property
    def released(self) -> pd.DataFrame:
        """The released scores of all networks."""
        return scores.read_released(released_root(self.profile), self.profile.released_epoch)

    @cached_property
    def workshop(self) -> Workshop:
        """Data, backbones and tasks of a source whose networks are trained here."""
        profile, authors = self.profile, None
        with suppress(MissingData):
            authors = released_root(profile)
        data = home() / (profile.data_root or Path("data") / "casia-surf")
        weights = home() / (profile.weights_root or Path("data") / "weights")
        return Workshop(profile, home() / "data" / "cache", self.out, data, weights, authors)

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
            chosen = self.released[self.released["experiment"].isin(experiments)].reset_index(drop=True)
            scores.check_complete(chosen, [n for n in scores.RELEASED_NETWORKS if n[0] in experiments])
            return chosen
        tasks = self.workshop.tasks(experiments)
        if not self.read_only:
            make(self.workshop, tasks)
        return load_runs(self.out, [task.specification for task in tasks], split)

    @cached_property
    def table3(self) -> pd.DataFrame:
        """Table 3 as published; on the synthetic source its initialisations are named as the stand-ins they are here."""
        if self.profile.source != "synthetic":
            return TABLE3
        named = TABLE3["initialization"].map(lambda name: f"stand-in for {name}" if name else "")
        return TABLE3.assign(initialization=named)

    def table4(self, networks: pd.DataFrame, name: str) -> Shown | None:
        """Table 4 for the members of the ensemble, each the mean score of its folds and seeds, written as ``name``.

        None, and a sentence, where this source has no labelled test scores.

        Args:
            networks: validation scores of the members, all folds and seeds.
        """
        members, fpr = [str(name) for name in networks["experiment"].unique()], self.profile.headline_fpr
        if not all(self.serves(member, "test") for member in members):
            print("This source has no labelled test scores, so Table 4 is shown as published alone.")
            return None
        tested = self.scores(*members, split="test")
        valid = f"{networks['sample'].nunique():,} validation frames and on the following test frames"
        what = f"Table 4 for our members, means of folds and seeds: TPR (%) at FPR = {fpr_name(fpr)} on {valid}"
        table = valid_to_test(networks, tested, fpr, self.profile.replicates)
        return self.table(table, name, self.caption(what, tested))

    def histories(self, *experiments: str) -> dict[str, pd.DataFrame]:
        """``<experiment> fold <k> seed <s>`` -> training history, of networks that are there."""
        specifications = [task.specification for task in self.workshop.tasks(experiments)]
        folders = {spec.title: self.out / "runs" / spec.name for spec in specifications}
        return {title: pd.read_csv(folder / "history.csv") for title, folder in folders.items()}

    def pretraining_histories(self, *experiments: str) -> dict[str, pd.DataFrame]:
        """Of the synthetic source's experiments that are pre-trained: what on and which backbone -> history.

        The column ``chance`` is the accuracy of guessing.
        """
        histories = {}
        for experiment in (EXPERIMENTS[name] for name in experiments):
            if experiment.initialisation == "random":
                continue
            history = pd.read_csv(self.workshop.backbone_folder(experiment) / "history.csv")
            classes = self.workshop.source_task(experiment.initialisation).classes
            task = SOURCE_TASKS[experiment.initialisation].kind
            title = f"{experiment.initialisation}: {task}, {classes} classes, {experiment.backbone}"
            histories[title] = history.assign(chance=1 / classes)
        return histories

    def serves(self, experiment: str, split: str = "valid") -> bool:
        """Whether this source has, or can make, the labelled scores of an experiment on a split."""
        if self.profile.source == "released":
            return split == "valid" and experiment in set(self.released["experiment"])
        try:
            self.workshop.initialisation(EXPERIMENTS[experiment])
        except FileNotFoundError:
            return False
        return self.workshop.labelled(split)

    def served(self, *experiments: str) -> list[str]:
        """The experiments that this source serves on validation; says in a sentence which ones it does not.

        Raises:
            MissingData: it serves none of them.
        """
        found = [name for name in experiments if self.serves(name)]
        missing = [name for name in experiments if name not in found]
        if missing and self.profile.source == "released":
            why = "no scores of theirs were released"
        elif missing and not self.workshop.labelled("valid"):
            why = "the validation frames have no labels here"
        else:
            why = "their backbone weights are not here (data/README.md)"
        if missing:
            print(f"Left out: {', '.join(missing)}; {why}.")
        if not found:
            raise MissingData(f"none of {', '.join(experiments)} can be shown: {why}")
        return found

    def frames(self, split: str) -> pd.DataFrame:
        """The frame table of a split."""
        return self.workshop.source(split).frames

    def images(self, samples: Sequence[str], split: str = "valid") -> np.ndarray | None:
        """Images of some frames as a store holds them, uint8 (n, C, size, size), or None where they are not here."""
        if self.profile.source == "released":
            root = home() / (self.profile.data_root or Path("data") / "casia-surf")
            frames = scores.released_frames(released_root(self.profile)).set_index("sample", drop=False)
            source = CasiaSurf(frames.loc[list(samples)], root)
            there = [source.path(row, name).is_file() for row in range(len(samples)) for name in MODALITIES]
            return source.read(range(len(samples))) if all(there) else None
        source = self.workshop.source(split)
        row = dict(zip(source.frames["sample"], range(len(source.frames)), strict=True))
        return source.read([row[sample] for sample in samples])

    def pick(self, subjects: int = 3, seed: int = 0) -> tuple[pd.DataFrame, list[str], str]:
        """Frames for Figure 1: ``subjects`` frames of bona fide and of each attack, from a split that names attacks.

        Returns:
            Their rows of the frame table, kind by kind; a label for each kind; the split.
        """
        split = next((name for name in ("valid", "train") if self.frames(name)["attack"].notna().all()), "train")
        frames = self.frames(split).sample(frac=1, random_state=seed)
        kinds = sorted(frames["attack"].unique())
        chosen = [frames[frames["attack"] == kind].drop_duplicates("subject").head(subjects) for kind in kinds]
        return pd.concat(chosen), ["bona fide" if kind == 0 else f"attack {kind}" for kind in kinds], split

    def attack_examples(self) -> tuple[np.ndarray, list[str]] | None:
        """One subject bona fide and with all six attacks (Table 1), each twice the profile's size; synthetic only."""
        if self.profile.source != "synthetic":
            return None
        source = SynthSurf(
            "valid", 4, 1, size=2 * self.workshop.size, preset=self.profile.preset, seed=self.profile.data_seed
        )
        names = ["bona fide"] + [f"{row.attack}: {row.surface},\n" + "+".join(r for r in ("eyes", "nose", "mouth") if getattr(row, r))
                                 for row in TABLE1.itertuples()]  # fmt: skip
        return np.stack([source.example(kind, subject=1)["frame"] for kind in range(7)]), names

    def split_table(self) -> pd.DataFrame:
        """Frames, subjects, bona fide and attack frames, and frames of each attack where known; one row a split."""
        rows = []
        for split in self.workshop.splits:
            frames = self.frames(split)
            counts = {"bona fide": (frames["label"] == 1).sum(), "attack": (frames["label"] == 0).sum()}
            counts |= {f"attack {kind}": (frames["attack"] == kind).sum() for kind in range(1, 7)}
            counts |= {"subjects": frames["subject"].nunique()}
            column = {"subjects": "subject", "bona fide": "label", "attack": "label"}
            known = {what: frames[column.get(what, "attack")].notna().any() for what in counts}
            found = {what: int(count) if known[what] else pd.NA for what, count in counts.items()}
            rows.append({"split": split, "frames": len(frames), "subjects": found.pop("subjects")} | found)
        return pd.DataFrame(rows)

    def statistics(self, split: str, per_kind: int | None = None) -> pd.DataFrame:
        """Simple numbers of the frames of a split, see ``fasnb.statistics``, with sample, label, attack, subject and split.

        Args:
            per_kind: only the first so many frames of each attack; by default all frames.
        """
        source = self.workshop.source(split)
        frames = source.frames
        if per_kind is not None:
            frames = frames.groupby("attack", dropna=False).head(per_kind)
        parts = [frames.index[i : i + 256] for i in range(0, len(frames), 256)]
        numbers = pd.concat([frame_statistics(source.read(part), source.channels) for part in parts], ignore_index=True)
        return numbers.join(frames[["sample", "label", "attack", "subject", "split"]].reset_index(drop=True))

    def batch_views(self, recipes: Mapping[str, Recipe], count: int = 3) -> list[tuple[str, np.ndarray]]:
        """One train frame as stored, as the test sees it, and in training views of each recipe: (label, (3, 3, H, W))."""
        source = self.workshop.source("train")
        image = torch.from_numpy(source.read([0]))
        size, plain = source.size, Normalisation((0.0,) * 3, (1.0,) * 3)
        crop = max(1, round(size * 112 / 125))
        sized = {name: replace(recipe, resize=size, crop=crop) for name, recipe in recipes.items()}
        whole = replace(next(iter(sized.values())), crop=size)
        views = [("stored", augment.evaluation(image, whole, plain))]
        views += [("test", augment.evaluation(image, next(iter(sized.values())), plain))]
        for name, recipe in sized.items():
            draws = torch.Generator().manual_seed(1)
            views += [(name, augment.training(image, recipe, plain, draws)) for _ in range(count)]
        return [(name, np.stack([part[0].numpy() for part in parts])) for name, parts in views]

    def costs(self, experiments: Sequence[str]) -> pd.DataFrame:
        """What one network of each experiment cost: mean seconds, frames per second, device; empty where not trained here."""
        columns = ["experiment", "networks", "train frames", "epochs", "seconds", "frames per second", "device"]
        if self.profile.source == "released":
            return pd.DataFrame(columns=columns)
        rows = []
        for name in experiments:
            runs = [finished(task, self.out) for task in self.workshop.tasks([name])]
            training = pd.DataFrame([run.result["training"] for run in runs])
            means = training[["frames", "epochs", "seconds", "frames_per_second"]].mean()
            rows.append(
                (name, len(runs), int(means["frames"]), int(means["epochs"]), *means.iloc[2:], runs[0].result["device"])
            )
        return pd.DataFrame(rows, columns=columns)

    @property
    def channels(self) -> dict[str, int]:
        """Modality -> channels of the stored images."""
        return (
            {"rgb": 3, "depth": 1, "ir": 1}
            if self.profile.source == "released"
            else self.workshop.source("valid").channels
        )

    def caption(
        self, text: str, table: pd.DataFrame | None = None, interval: str = "", seeds: Sequence[int] | None = None
    ) -> str:
        """A caption that says what the numbers come from: source, profile, seeds, frames, kind of interval.

        Args:
            table: scores, or frames, that the numbers are of.
            interval: what is said of intervals where it is not the bootstrap of ``table``.
            seeds: of the networks; by default those of ``table``.
        """
        parts = [f"Source: {SOURCES[self.profile.source]}", f"profile {self.profile.name}"]
        if seeds is None:
            seeds = [] if table is None or "seed" not in table else sorted(table["seed"].dropna().unique())
        if len(seeds):
            named = " (7 and 704 in the authors' options)" if self.profile.source == "released" else ""
            parts += [f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}{named}"]
        if table is not None:
            frames = scores.facts(table)
            live, fake = (int((frames["label"] == label).sum()) for label in (1, 0))
            parts += [f"{len(frames):,} frames ({live:,} bona fide, {fake:,} attack)"]
            unit = "frames" if frames["subject"].isna().any() else f"{frames['subject'].nunique():,} subjects"
            interval = interval or f"95% intervals: bootstrap of {unit}, {self.profile.replicates:,} replicates"
        parts += [interval] if interval else []
        return f"{text.rstrip('.')}. {'; '.join(parts)}."

    def table(self, table: pd.DataFrame, name: str, caption: str, digits: int = 2) -> Shown:
        """Write a table as CSV, Markdown and LaTeX below ``tables`` and give it back for display."""
        if not self.read_only:
            write_table(table, self.out / "tables", name, caption, digits)
        return Shown(table, name, caption, digits)

    def figure(self, fig: Figure, name: str, caption: str) -> None:
        """Write a figure as PNG and PDF below ``figures``, with its caption beside it, and show it."""
        if not self.read_only:
            for suffix, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None, "Producer": None})):
                path = self.out / "figures" / f"{name}.{suffix}"
                replace_file(path, lambda to, metadata=metadata: fig.savefig(to, metadata=metadata))
            write_text(self.out / "figures" / f"{name}.txt", caption + "\n")
        plt.show()
        display(Markdown(f"*{caption}*"))

    def show_frames(self, frames: pd.DataFrame, name: str, caption: str, split: str = "valid") -> None:
        """Show frames (columns ``frame``, ``class`` and scores) as pictures, where images are at hand."""
        images = self.images(list(frames["frame"]), split)
        if images is None:
            display(Markdown("The images of these frames are not on this machine, so only their paths are shown."))
            return
        scored = [column for column in frames if column in (*MEMBERS, "ensemble")]
        rows = [
            f"{row['class']}"
            + (f" {row['attack']}" if row.get("attack") else "")
            + (f", rank {row['rank']}" if "rank" in row else "")
            + "\n"
            + "\n".join(
                "  ".join(f"{m[:3]} {row[m]:.2f}" for m in pair)
                for pair in (scored[:2], scored[2:4], scored[4:])
                if pair
            )
            for _, row in frames.iterrows()
        ]
        self.figure(frame_grid(images, rows, self.channels), name, caption)

    def explore(self, methods: pd.DataFrame, facts: pd.DataFrame) -> None:
        """A slider over the frames in order of disagreement (JupyterLab): pictures, class and each method's score.

        Args:
            methods: (n, methods) scores of validation frames, index ``sample``.
            facts: label, attack and subject of each, see ``fasnb.scores.facts``.
        """
        ranked = disagreement(methods)

        def show(rank: int) -> None:
            frame = describe_frames([ranked.index[rank - 1]], methods, facts)
            display(Markdown(f"rank {rank}, standard deviation {ranked.iloc[rank - 1]:.3f}"), frame)
            images = self.images(frame["frame"])
            if images is not None:
                display(frame_grid(images, [""], self.channels))
                plt.close()

        interact(show, rank=IntSlider(1, min=1, max=len(ranked), continuous_update=False))

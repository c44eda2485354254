"""Frames as a notebook looks at them: which there are, their pictures and simple numbers, and what training sees."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from fasnb.data import augment
from fasnb.data.shortcut import frame_statistics
from fasnb.data.store import Source
from fasnb.lab.session import Session
from fasnb.paper.experiments import MEMBERS
from fasnb.paper.recipe import Normalisation, Recipe
from fasnb.training.archive import load_facts, load_history


def split_table(sources: Mapping[str, Source]) -> pd.DataFrame:
    """Frames, subjects, bona fide and attack frames, and frames of each attack where known; one row a split."""
    rows = []
    for split, source in sources.items():
        frames = source.frames
        counts = {"bona fide": (frames["label"] == 1).sum(), "attack": (frames["label"] == 0).sum()}
        counts |= {f"attack {kind}": (frames["attack"] == kind).sum() for kind in range(1, 7)}
        counts |= {"subjects": frames["subject"].nunique()}
        column = {"subjects": "subject", "bona fide": "label", "attack": "label"}
        known = {what: frames[column.get(what, "attack")].notna().any() for what in counts}
        found = {what: int(count) if known[what] else pd.NA for what, count in counts.items()}
        rows.append({"split": split, "frames": len(frames), "subjects": found.pop("subjects")} | found)
    return pd.DataFrame(rows)


def of_each_kind(frames: pd.DataFrame, subjects: int = 3, seed: int = 0) -> tuple[pd.DataFrame, list[str]]:
    """Frames of bona fide and of each attack, kind by kind and of as many people each, and a label for each kind (Figure 1).

    Args:
        subjects: people of each kind; where a kind has fewer, as many as it has.

    Raises:
        ValueError: less than one.
    """
    if subjects < 1:
        raise ValueError(f"subjects is {subjects}; show at least 1")
    frames = frames.sample(frac=1, random_state=seed)
    kinds = sorted(frames["attack"].unique())
    people = [frames[frames["attack"] == kind].drop_duplicates("subject") for kind in kinds]
    count = min(subjects, *map(len, people))
    return pd.concat([part.head(count) for part in people]), ["bona fide" if k == 0 else f"attack {k}" for k in kinds]


def statistics(source: Source, per_kind: int | None = None) -> pd.DataFrame:
    """Simple numbers of frames, see ``fasnb.data.shortcut``, with sample, label, attack, subject and split.

    Args:
        per_kind: only the first so many frames of each attack; by default all frames.
    """
    frames = source.frames
    if per_kind is not None:
        frames = frames.groupby("attack", dropna=False).head(per_kind)
    parts = [frames.index[i : i + 256] for i in range(0, len(frames), 256)]
    numbers = pd.concat([frame_statistics(source.read(part), source.channels) for part in parts], ignore_index=True)
    return numbers.join(frames[["sample", "label", "attack", "subject", "split"]].reset_index(drop=True))


def batch_views(source: Source, recipes: Mapping[str, Recipe], count: int = 3) -> list[tuple[str, np.ndarray]]:
    """One frame as stored, as the test sees it, and in training views of each recipe: (label, (3, 3, H, W))."""
    image = torch.from_numpy(source.read([0]))
    size, plain = source.size, Normalisation((0.0,) * 3, (1.0,) * 3)
    crop = max(1, round(size * 112 / 125))
    sized = {name: replace(recipe, resize=size, crop=crop) for name, recipe in recipes.items()}
    first = next(iter(sized.values()))
    views = [("stored", augment.evaluation(image, replace(first, crop=size), plain))]
    views += [("test", augment.evaluation(image, first, plain))]
    for name, recipe in sized.items():
        draws = torch.Generator().manual_seed(1)
        views += [(name, augment.training(image, recipe, plain, draws)) for _ in range(count)]
    return [(name, np.stack([part[0].numpy() for part in parts])) for name, parts in views]


def histories(study: Session, *experiments: str) -> dict[str, pd.DataFrame]:
    """``<experiment> fold <k> seed <s>`` -> training history, one row an epoch."""
    return {n.specification.title: load_history(n, study.published) for n in study.plan.of(*experiments)}


def pretraining(study: Session, *experiments: str) -> dict[str, pd.DataFrame]:
    """What a backbone learned and which it is -> its history; ``chance`` is the accuracy of guessing.

    Of the experiments that start from a backbone which was pre-trained here; the others are left out.
    """
    backbones = [study.plan.backbones[name] for name in experiments if name in study.plan.backbones]
    return {b.title: load_history(b, study.published).assign(chance=1 / b.source.classes) for b in backbones}


def costs(study: Session, *experiments: str) -> pd.DataFrame:
    """What one network of each experiment cost: means over its networks."""
    facts = load_facts(study.plan.of(*experiments), study.published)
    means = {"frames": "train frames", "epochs": "epochs", "seconds": "seconds"}
    means |= {"frames_per_second": "frames per second"}
    by = facts.groupby("experiment", sort=False)
    table = by[list(means)].mean().rename(columns=means).astype({"train frames": int, "epochs": int})
    table.insert(0, "networks", by.size())
    return table.assign(device=by["device"].first()).reset_index()


def captions_of(frames: pd.DataFrame) -> list[str]:
    """Two lines for each described frame: class, attack and rank where known; every method's score."""
    scored = [column for column in frames if column in (*MEMBERS, "ensemble")]
    labels = []
    for _, row in frames.iterrows():
        title = f"{row['class']} {row['attack']}" if row.get("attack") else row["class"]
        title += f", rank {row['rank']}" if "rank" in row else ""
        labels.append(f"{title}\n{'  '.join(f'{name} {row[name]:.2f}' for name in scored)}")
    return labels

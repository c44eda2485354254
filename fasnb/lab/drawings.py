"""Drawings of the chapters: what one mechanism does, on a handful of frames, people or weights."""

from collections.abc import Mapping, Sequence
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from fasnb.lab.figures import plain
from fasnb.lab.palette import CAMERA_NAMES, CLASS_COLOURS, COLUMN, MODALITY_COLOURS, PAGE
from fasnb.paper.experiments import MODALITIES

HIGHLIGHT = "#DDAA33"
FOLD_COLOURS = ("#88CCEE", "#44AA99", "#DDCC77", "#CC6677", "#AA4499")


def score_line(labels: np.ndarray, scores: np.ndarray) -> Figure:
    """Scores as dots on a line, bona fide above and attack below, each with its value.

    Args:
        labels: (n,), 1 bona fide and 0 attack; ``scores``: (n,), in [0, 1].
    """
    fig, ax = plt.subplots(figsize=(PAGE, 1.3))
    for label, name, side in ((1, "bona fide", 1), (0, "attack", -1)):
        chosen = np.sort(scores[labels == label])
        ax.plot(chosen, np.full(len(chosen), 0.25 * side), "o", color=CLASS_COLOURS[name], ms=6)
        for i, score in enumerate(chosen):
            offset = 9 if i % 2 else 18  # two heights, so that near scores do not touch
            ax.annotate(f"{score:.2f}", (score, 0.25 * side), (0, side * offset), textcoords="offset points",
                        ha="center", va="center", fontsize=6)  # fmt: skip
        ax.text(-0.03, 0.25 * side, name, ha="right", va="center", color=CLASS_COLOURS[name])
    ax.axhline(0, color="0.7", lw=0.6)
    ax.set(xlim=(-0.02, 1.02), ylim=(-1, 1), yticks=[], xlabel="score: P(bona fide)")
    ax.spines["left"].set_visible(False)
    return fig


def fold_map(frames: pd.DataFrame, folds: Mapping[str, pd.Series]) -> Figure:
    """Who is held out by which fold: one panel a way of folding, one row a kind of frame, one column a person.

    Args:
        frames: the frame table, with ``subject`` and ``attack`` of every frame.
        folds: title -> fold of each frame, from 1, see ``fasnb.data.folds``.
    """
    fig, axes = plt.subplots(len(folds), 1, figsize=(PAGE, 1.25 * len(folds) + 0.5), sharex=True)
    most = max(int(fold.max()) for fold in folds.values())
    first = next(iter(folds.values()))
    people = frames.assign(fold=first).groupby("subject")["fold"].min().sort_values(kind="stable").index
    for ax, (title, fold) in zip(np.atleast_1d(axes), folds.items(), strict=True):
        held = frames.assign(fold=fold).pivot_table(index="attack", columns="subject", values="fold")[people]
        colours = ListedColormap(FOLD_COLOURS[:most])
        ax.pcolormesh(held.to_numpy(float), cmap=colours, vmin=0.5, vmax=most + 0.5, edgecolor="w", lw=0.3)
        names = ["bona fide" if kind == 0 else f"attack {kind}" for kind in held.index]
        ax.set(yticks=np.arange(len(names)) + 0.5, yticklabels=names, title=title, xticks=[])
        ax.invert_yaxis()
    np.atleast_1d(axes)[-1].set_xlabel(f"{len(people)} training people, one column each")
    marks = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in FOLD_COLOURS[:most]]
    fig.legend(
        marks, [f"fold {k}" for k in range(1, most + 1)], title="held out by", frameon=False, loc="outside right"
    )
    return fig


def factors(table: pd.DataFrame) -> Figure:
    """Factors that SE fusion gives the cameras, living faces beside prints.

    Args:
        table: columns ``camera`` (of ``MODALITIES``), ``class`` (bona fide or attack) and ``factor`` (mean over the channels of a
            frame, in (0, 1)), one row a frame and camera.
    """
    fig, ax = plt.subplots(figsize=(COLUMN * 1.3, 2.0))
    for i, camera in enumerate(MODALITIES):  # noqa: B007, the query reads it
        for side, name in ((-0.18, "bona fide"), (0.18, "attack")):
            values = table.query("camera == @camera and `class` == @name")["factor"].to_numpy()
            spread = np.random.default_rng(0).uniform(-0.12, 0.12, len(values))
            ax.plot(i + side + spread, values, ".", ms=2, color=CLASS_COLOURS[name], alpha=0.4)
            ax.plot([i + side - 0.14, i + side + 0.14], [np.mean(values)] * 2, color="k", lw=1.2)
    for name in CLASS_COLOURS:
        ax.plot([], [], "o", ms=4, color=CLASS_COLOURS[name], label=name)
    ax.set(
        xticks=range(3),
        xticklabels=[CAMERA_NAMES[camera] for camera in MODALITIES],
        ylabel="SE factor, mean of channels",
    )
    for text, camera in zip(ax.get_xticklabels(), MODALITIES, strict=True):
        text.set_color(MODALITY_COLOURS[camera])
    ax.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return fig


def filters(rows: Mapping[str, np.ndarray], count: int = 8) -> Figure:
    """The first filters of a first layer as pictures, one row a network; all rows share one scale.

    Args:
        rows: label -> weights (filters, 3, height, width).
    """
    count = min(count, *(len(weights) for weights in rows.values()))
    top = max(float(np.abs(weights[:count]).max()) for weights in rows.values())
    fig, axes = plt.subplots(len(rows), count, figsize=(PAGE * 0.8, 0.85 * len(rows)), squeeze=False)
    for line, (label, weights) in zip(axes, rows.items(), strict=True):
        for ax, weight in zip(line, weights[:count], strict=True):
            plain(ax).imshow(0.5 + weight.transpose(1, 2, 0) / (2 * top))
        line[0].set_ylabel(label, rotation=0, ha="right", va="center")
    return fig


def neighbours(
    images: np.ndarray, people: np.ndarray, queries: Sequence[int], near: Mapping[str, np.ndarray]
) -> Figure:
    """Query pictures, one a row, and their nearest neighbours as each network sees them; the same person is framed.

    Args:
        images: uint8 (n, 3, H, W); ``people``: (n,), who is on each.
        queries: numbers of images.
        near: network -> (n, k) numbers of the images that lie nearest to each.
    """
    count = next(iter(near.values())).shape[1]
    columns = 1 + count * len(near)
    fig, axes = plt.subplots(len(queries), columns, figsize=(PAGE, PAGE / columns * len(queries) + 0.35), squeeze=False)
    for line, query in zip(axes, queries, strict=True):
        plain(line[0]).imshow(images[query].transpose(1, 2, 0))
        for ax, number in zip(line[1:], np.concatenate([found[query] for found in near.values()]), strict=True):
            plain(ax).imshow(images[number].transpose(1, 2, 0))
            for spine in ax.spines.values():
                spine.set(visible=people[number] == people[query], lw=3, color=HIGHLIGHT)
    axes[0, 0].set_title("query", fontsize=7)
    for ax, (name, k) in zip(axes[0, 1:], product(near, range(1, count + 1)), strict=True):
        ax.set_title(f"{name},\nneighbour {k}", fontsize=7)
    return fig

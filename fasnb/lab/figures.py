"""The figures that show numbers and frames; the palettes are in ``palette``, drawings of networks in ``diagrams``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerBase
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from fasnb.lab.palette import (
    ATTACK_COLOURS,
    CLASS_COLOURS,
    COLUMN,
    GREY,
    INK,
    INTERVAL,
    MEASURED,
    PAGE,
    PUBLISHED,
    label_of,
    log_ticks,
    method_colour,
    stretched_percent,
)
from fasnb.lab.pictures import TITLES, picture
from fasnb.metrics.pad import det
from fasnb.metrics.snapshots import snapshot_name

_MARKERS = "os^vP*X"  # one a seed

LEAST = 1e-5
"""Scores nearer to 0 or 1 are drawn there where the axis is one of log-odds."""


def drawn(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """The figure says what the table it is drawn from is made of, see ``fasnb.metrics.provenance``."""

    @wraps(draw)
    def with_provenance(table, *args, **options) -> Figure:
        fig = draw(table, *args, **options)
        fig.provenance = dict(getattr(table, "attrs", {}))
        return fig

    return with_provenance


def _spread(table: pd.DataFrame) -> np.ndarray:
    """Length of each interval below and above the measured value, (2, n); none on a side whose limit is missing."""
    spread = np.array([table["measured"] - table["low"], table["high"] - table["measured"]], dtype=float)
    return np.clip(np.nan_to_num(spread), 0, None)


@drawn
def intervals(table: pd.DataFrame, published: str | None = "published", label: str = "TPR (%)") -> Figure:
    """Measured values (dots) with intervals beside the published ones (open diamonds), one row a method.

    The axis is one of log-odds, on which 99, 99.9 and 100 percent lie as far apart as the errors behind them; 0 and 100 are
    drawn half a frame away from what they are.

    Args:
        table: columns ``method``, ``measured``, ``low``, ``high`` (percent) and, if named, the published value. Where
            ``low`` is missing, the bar begins at the measured value and the legend says so.
    """
    width = PAGE if table["method"].str.len().max() > 30 else PAGE * 0.75  # long names leave little for the axis
    fig, ax = plt.subplots(figsize=(width, 0.75 + 0.24 * len(table)))
    y, ends = np.arange(len(table))[::-1], 0.5 / table.attrs.get("bona fide", 1000)
    at = {
        name: np.clip(table[name] / 100, ends, 1 - ends)
        for name in ("measured", "low", "high", published)
        if name in table
    }
    ax.errorbar(at["measured"], y, xerr=_spread(pd.DataFrame(at)), ms=4, ls="none", **MEASURED, **INTERVAL)
    marks = {}
    if table["low"].notna().any():
        marks[_Arms(2)] = "measured, 95% interval"
    if (table["low"].isna() & table["measured"].notna()).any():
        marks[_Arms(1)] = "measured, upper limit only"
    if published in table:
        mark = ax.plot(at[published], y, ms=4, **PUBLISHED)[0]
        marks[mark] = "published: real data, FPR = 1e-4"
    ax.set(xscale="logit", yticks=y, yticklabels=table["method"], xlabel=f"{label}, stretched towards 0 and 100")
    shown = pd.concat(list(at.values())).dropna()
    ax.set(ylim=(-0.6, len(table) - 0.4), xlim=(_further(shown.min(), -0.25), _further(shown.max(), 0.25)))
    stretched_percent(ax.xaxis, ends)
    ax.grid(axis="x", lw=0.4, alpha=0.5)
    options = {"loc": "outside upper center", "ncols": 2, "frameon": False, "columnspacing": 1.2}
    fig.legend(list(marks), list(marks.values()), handler_map={_Arms: _ArmsHandler()}, **options)
    return fig


def _further(share: float, log_odds: float) -> float:
    """A share in (0, 1) moved by some log-odds."""
    return float(1 / (1 + (1 - share) / share * np.exp(-log_odds)))


@dataclass(frozen=True)
class _Arms:
    """A mark of the legend: a dot with one arm to the right, or with two."""

    count: int


class _ArmsHandler(HandlerBase):
    """Draws ``_Arms``."""

    def create_artists(self, legend, arms, x, y, width, height, fontsize, transform):
        middle, across = x + width / 2, y + height / 2
        ends = [x + width] if arms.count == 1 else [x, x + width]
        line = Line2D([*ends, middle], [across] * (len(ends) + 1), color=INK, lw=INTERVAL["elinewidth"])
        caps = Line2D(ends, [across] * len(ends), color=INK, marker="|", ms=5, ls="none")
        dot = Line2D([middle], [across], ms=4, ls="none", **MEASURED)
        for part in (line, caps, dot):
            part.set_transform(transform)
        return [line, caps, dot]


@drawn
def histograms(scores: pd.DataFrame, labels: np.ndarray, thresholds: Mapping[str, float]) -> Figure:
    """Score histograms of each method, both classes, count on a log axis, scores as log-odds: most lie near 0 and 1.

    Args:
        scores: (n, methods), columns named after the methods, P(bona fide) in [0, 1].
        labels: (n,).
        thresholds: method -> threshold, drawn as a line.
    """
    fig, axes = plt.subplots(1, scores.shape[1], figsize=(PAGE, 1.9), sharey=True)
    bins = 1 / (1 + np.exp(-np.linspace(*np.log([LEAST / (1 - LEAST), (1 - LEAST) / LEAST]), 41)))
    for ax, name in zip(np.atleast_1d(axes), scores, strict=True):
        for label, cls in ((0, "attack"), (1, "bona fide")):
            ax.hist(
                scores[name][labels == label].clip(bins[0], bins[-1]),
                bins,
                histtype="stepfilled",
                alpha=0.55,
                color=CLASS_COLOURS[cls],
                label=cls,
            )
        ax.axvline(np.clip(thresholds[name], bins[0], bins[-1]), color=INK, lw=0.8, ls="--")
        ax.set(title=label_of(name), xlabel="score", xscale="logit", yscale="log", xlim=(bins[0], bins[-1]))
        _score_ticks(ax.xaxis, [1e-4, 0.5, 0.9999])
        log_ticks(ax.yaxis)
    np.atleast_1d(axes)[0].set_ylabel("frames")
    handles, names = np.atleast_1d(axes)[0].get_legend_handles_labels()
    fig.legend(handles, names, frameon=False, loc="outside upper center", ncols=2)
    return fig


@drawn
def roc_det(scores: pd.DataFrame, labels: np.ndarray, fprs: Sequence[float]) -> Figure:
    """ROC and DET on a log axis, down to 1 / n_attack, below which the data say nothing.

    Args:
        scores: (n, methods), columns named after the methods.
        labels: (n,).
        fprs: target FPRs, marked by vertical lines.
    """
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 2.5))
    n_attack, n_bona_fide = int((labels == 0).sum()), int((labels == 1).sum())
    left = 10 ** np.floor(np.log10(min(min(fprs), 1 / n_attack))) / 2
    lowest = 100.0
    for i, name in enumerate(scores):
        fpr, fnr, _ = det(labels, scores[name])
        best = np.append(fpr[1:] > fpr[:-1], True)  # of the thresholds with one FPR, the one that refuses fewest
        # drawn from half a frame on, so that "no attack frame accepted" is visible on a log axis
        x, y = np.maximum(fpr[best], 0.5 / n_attack), np.maximum(fnr[best], 0.5 / n_bona_fide)
        for ax, rate in zip(axes, (1 - fnr[best], y), strict=True):
            ax.step(
                np.insert(x, 0, left),
                np.insert(100 * rate, 0, 100 * rate[0]),
                where="post",
                color=method_colour(name, i),
            )
        lowest = min(lowest, 100 * (1 - fnr[best][0]))
    for ax in axes:
        for fpr in fprs:
            ax.axvline(fpr, color="0.6", lw=0.6, ls=":")
        ax.axvspan(left, 1 / n_attack, color="0.93", lw=0)
        ax.set(xscale="log", xlim=(left, 1), xlabel="FPR = APCER over all attacks")
    axes[0].set(
        ylabel="TPR (%)", ylim=(max(0, lowest - 0.08 * (100 - lowest) - 0.05), 100 + 0.04 * (100 - lowest) + 0.02)
    )
    axes[1].set(ylabel="BPCER (%)", yscale="log")
    log_ticks(axes[0].xaxis, axes[1].xaxis, axes[1].yaxis)
    for i, name in enumerate(scores):
        axes[0].plot([], [], color=method_colour(name, i), label=label_of(name))
    fig.legend(frameon=False, loc="outside upper center", ncols=scores.shape[1])
    axes[0].set_title(f"grey: finer than 1 / {n_attack:,} attack frames", fontsize=6, color="0.35", loc="left")
    return fig


@drawn
def two_models(scores: pd.DataFrame, labels: np.ndarray, thresholds: Mapping[str, float]) -> Figure:
    """The scores of two models against each other, and where each of them, and their mean, draws the border.

    Args:
        scores: (n, 2), P(bona fide).
        labels: (n,).
        thresholds: of both models and of ``mean``.
    """
    fig, ax = plt.subplots(figsize=(COLUMN * 1.35, COLUMN * 1.35))
    low, high = LEAST, 1 - LEAST
    (x, y), labels = np.clip(scores.to_numpy().T, low, high), np.asarray(labels)
    for label, name in ((1, "bona fide"), (0, "attack")):
        place = {"ms": 2.5, "alpha": 0.5, "mew": 0, "rasterized": True, "color": CLASS_COLOURS[name]}
        ax.plot(x[labels == label], y[labels == label], "os"[1 - label], label=name, **place)
    even = 1 / (1 + np.exp(-np.linspace(-11.5, 11.5, 400)))
    across = np.sort(np.concatenate([even, 2 * thresholds["mean"] - even]))  # fine towards both axes
    border = 2 * thresholds["mean"] - across
    first, second = scores.columns
    line = {"color": INK, "lw": 1.0}
    ax.axvline(np.clip(thresholds[first], low, high), ls=":", label=f"threshold of {label_of(first)}", **line)
    ax.axhline(np.clip(thresholds[second], low, high), ls="--", label=f"threshold of {label_of(second)}", **line)
    inside = (np.minimum(across, border) > low) & (np.maximum(across, border) < high)
    ax.plot(across[inside], border[inside], label="threshold of their mean", **line)
    ax.set(xscale="logit", yscale="logit", xlim=(low, high), ylim=(low, high))
    ax.set(xlabel=f"score of {label_of(first)}", ylabel=f"score of {label_of(second)}")
    for axis in (ax.xaxis, ax.yaxis):
        _score_ticks(axis, [1e-4, 1e-2, 0.5, 0.99, 0.9999])
    fig.legend(loc="outside upper center", ncols=2, frameon=False, columnspacing=1.0)
    return fig


def _score_ticks(axis, places: Sequence[float]) -> None:
    """Ticks of an axis that has scores as log-odds."""
    axis.set_major_locator(plt.FixedLocator(places))
    axis.set_major_formatter(plt.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(plt.NullLocator())


@drawn
def growth(table: pd.DataFrame, label: str) -> Figure:
    """How a value grows with the number of averaged networks: median and range over random orders, and greedy.

    Args:
        table: columns ``networks``, ``median``, ``low``, ``high`` and optionally ``greedy`` (percent).
    """
    fig, ax = plt.subplots(figsize=(COLUMN * 1.3, 2.3))
    band = "90% of the orders"
    ax.fill_between(table["networks"], table["low"], table["high"], color=INK, alpha=0.15, lw=0, label=band)
    ax.plot(table["networks"], table["median"], color=INK, label="random order, median")
    if "greedy" in table:
        ax.plot(table["networks"], table["greedy"], color=GREY, ls="--", label="greedy order")
    fig.legend(loc="outside upper center", ncols=3, frameon=False, columnspacing=1.0, handlelength=1.6)
    ax.set(xlabel="networks averaged", ylabel=label)
    ax.xaxis.get_major_locator().set_params(integer=True)
    return fig


@drawn
def seed_spread(table: pd.DataFrame, label: str) -> Figure:
    """One mark a seed for each method: the spread between seeds against the spread between methods.

    Args:
        table: columns ``experiment``, ``seed``, ``measured``, ``low``, ``high`` (percent).
    """
    fig, ax = plt.subplots(figsize=(COLUMN * 1.3, 2.2))
    methods, seeds = (list(dict.fromkeys(table[column])) for column in ("experiment", "seed"))
    for i, name in enumerate(methods):
        rows = table[table["experiment"] == name]
        x = i + np.linspace(-0.15, 0.15, len(rows)) * (len(rows) > 1)
        for at, row, spread in zip(x, rows.itertuples(), _spread(rows).T, strict=True):
            mark = {"fmt": _MARKERS[seeds.index(row.seed) % len(_MARKERS)], "color": method_colour(name, i)}
            ax.errorbar(at, row.measured, yerr=spread[:, None], ms=4.5, **mark, **INTERVAL)
    for seed, marker in zip(seeds, _MARKERS, strict=False):
        ax.plot([], [], marker, ms=4.5, color=GREY, label=f"seed {seed:g}")
    names = [label_of(name).replace(", ", ",\n") for name in methods]
    ax.set(xticks=range(len(methods)), xticklabels=names, ylabel=label, xlim=(-0.5, len(methods) - 0.5))
    fig.legend(loc="outside upper center", ncols=4, frameon=False, columnspacing=1.0, handletextpad=0.2)
    return fig


@drawn
def frame_scores(table: pd.DataFrame, methods: Sequence[str], threshold: Mapping[str, float] | None = None) -> Figure:
    """Scores of several networks for a few frames: one row a frame, one dot a network.

    Args:
        table: columns ``frame``, ``class`` and one column a method, P(bona fide) in [0, 1].
        threshold: method -> threshold, drawn as a tick in the method's colour.
    """
    fig, ax = plt.subplots(figsize=(PAGE * 0.75, 0.6 + 0.22 * len(table)))
    y = np.arange(len(table))[::-1]
    methods = list(methods)
    ax.hlines(y, table[methods].min(axis=1), table[methods].max(axis=1), color="0.8", lw=1)
    for i, name in enumerate(methods):
        beside = 0.12 * ((len(methods) - 1) / 2 - i)  # so that equal scores do not hide each other
        ax.plot(table[name], y + beside, "o", ms=4, color=method_colour(name, i), label=label_of(name))
        if threshold:
            ax.axvline(threshold[name], ymin=0, ymax=0.03, color=method_colour(name, i), lw=2)
    ax.set(yticks=y, xlabel="score", xlim=(-0.02, 1.02), ylim=(-0.6, len(table) - 0.4))
    ax.set_yticklabels([f"{frame} ({cls})" for frame, cls in zip(table["frame"], table["class"], strict=True)])
    for text, cls in zip(ax.get_yticklabels(), table["class"], strict=True):
        text.set_color(CLASS_COLOURS[cls])
    fig.legend(frameon=False, ncols=len(methods), loc="outside upper center")
    return fig


def frame_grid(
    images: np.ndarray, rows: Sequence[str], channels: Mapping[str, int], across: int = 1, cell: float = 1.0
) -> Figure:
    """Frames as pictures of their three modalities: one row a frame, or ``across`` frames side by side in a row.

    Args:
        images: uint8 (n, C, size, size) in a store's channel order; n = len(rows) * across.
        rows: label of each row.
        channels: modality -> number of channels, in order. Depth is stretched, see ``pictures.stretched``.
        cell: inches a picture, at most.
    """
    columns = len(channels) * across
    left = 0.15 + 0.062 * max(
        len(line) for label in rows for line in label.splitlines()
    )  # inches, for the longest label
    cell = min(cell, (PAGE - left) / columns)
    size = (cell * columns + left, cell * len(rows) + 0.34)
    fig, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False, layout="none")
    fig.subplots_adjust(left=left / size[0], right=1, bottom=0, top=1 - 0.32 / size[1], wspace=0.03, hspace=0.03)
    for i, image in enumerate(images):
        for j, name in enumerate(channels):
            ax = plain(axes[i // across, i % across * len(channels) + j])
            ax.imshow(picture(image, name, channels), cmap="gray", vmin=0, vmax=255)
            if i < across:
                ax.set_title(TITLES[name], fontsize=7, pad=2)
    for ax, label in zip(axes[:, 0], rows, strict=True):
        ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=7)
    return fig


def frame_columns(images: np.ndarray, labels: Sequence[str], channels: Mapping[str, int]) -> Figure:
    """Frames in two columns, the first half of them to the left: the pictures of the three cameras, the frame's label above.

    Args:
        images: uint8 (n, C, size, size) in a store's channel order.
        labels: two lines for each.
        channels: modality -> number of channels, in order. Depth is stretched, see ``pictures.stretched``.
    """
    half, cameras, gap = (len(images) + 1) // 2, len(channels), 0.12
    cell = (PAGE - gap) / (2 * cameras)
    line, below = cell + 0.36, 0.3  # inches
    size = (PAGE, half * line + below)
    fig = plt.figure(figsize=size, layout="none")
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        row, column = number % half, number // half
        bottom = 1 - ((row + 1) * line) / size[1]
        for j, name in enumerate(channels):
            left = (column * (cameras * cell + gap) + j * cell) / size[0]
            ax = plain(fig.add_axes((left, bottom, 0.98 * cell / size[0], cell / size[1])))
            ax.imshow(picture(image, name, channels), cmap="gray", vmin=0, vmax=255)
            if j == 0:
                ax.set_title(label, fontsize=7, pad=2, loc="left")
            if row == half - 1 or number == len(images) - 1:
                ax.set_xlabel(TITLES[name].replace("\n", " "), fontsize=7, labelpad=3)
    return fig


def views(batches: Sequence[tuple[str, np.ndarray]]) -> Figure:
    """One frame on its way into a network: one row of three images for each step.

    Args:
        batches: (label, array (3, 3, H, W): rgb, depth, ir in [0, 1]). Depth is stretched, see ``pictures.stretched``.
    """
    fig, axes = plt.subplots(3, len(batches), figsize=(0.85 * len(batches) + 0.4, 2.9), squeeze=False)
    for j, (label, triple) in enumerate(batches):
        bytes_of = (255 * np.clip(triple, 0, 1)).round().astype(np.uint8)
        channels = {"rgb": 3, "depth": 1, "ir": 1}
        image = np.concatenate([part[:count] for part, count in zip(bytes_of, channels.values(), strict=True)])
        for i, name in enumerate(channels):
            plain(axes[i, j]).imshow(picture(image, name, channels), cmap="gray", vmin=0, vmax=255)
            if j == 0:
                axes[i, j].set_ylabel(TITLES[name])
        axes[0, j].set_title(label, fontsize=7)
    return fig


@drawn
def by_attack(table: pd.DataFrame, columns: Mapping[str, str]) -> Figure:
    """Distribution of frame statistics for bona fide frames and each attack.

    Args:
        table: columns ``attack`` (0 = bona fide) and those named.
        columns: name -> title with unit.
    """
    kinds = sorted(table["attack"].unique())
    palette = {kind: ATTACK_COLOURS.get(kind, CLASS_COLOURS["bona fide"]) for kind in kinds}
    fig, axes = plt.subplots(1, len(columns), figsize=(PAGE, 1.9))
    for ax, (name, title) in zip(axes, columns.items(), strict=True):
        sns.boxplot(
            table, x="attack", y=name, hue="attack", palette=palette, legend=False, ax=ax, fliersize=0, linewidth=0.6
        )
        ax.set_xticks(range(len(kinds)), ["bona\nfide" if kind == 0 else str(kind) for kind in kinds])
        ax.set(title=title, xlabel="", ylabel="")
    fig.supxlabel("attack", fontsize=8)
    return fig


@drawn
def heatmap(table: pd.DataFrame, label: str, fmt: str = ".0f") -> Figure:
    """A square of numbers, one row and one column a method; the range of colours is that of the values off the diagonal.

    Args:
        table: index and columns are methods.
    """
    fig, ax = plt.subplots(figsize=(COLUMN * 1.1, 0.5 + 0.42 * len(table)))
    values = table.to_numpy(dtype=float)
    beside = values[~np.eye(len(values), dtype=bool)] if values.shape[0] == values.shape[1] > 1 else values
    low, high = np.nanmin(beside), np.nanmax(beside)
    options = {"vmin": low, "vmax": max(high, low + 1e-6), "cmap": "cividis", "annot_kws": {"fontsize": 7}}
    table = table.rename(index=label_of, columns=label_of)
    sns.heatmap(table.astype(float), annot=True, fmt=fmt, ax=ax, linewidths=0.5, cbar_kws={"label": label}, **options)
    ax.set(xlabel=table.columns.name or "", ylabel=table.index.name or "")
    ax.tick_params(axis="y", rotation=0)
    return fig


def learning_curves(histories: Mapping[str, pd.DataFrame], column: str, label: str, log: bool = False) -> Figure:
    """A column of training histories against the epoch: of each method the median network, and a band from the lowest to
    the highest of all its folds and seeds.

    Args:
        histories: ``<method>`` or ``<method> fold ...`` -> history with the columns ``epoch``, ``column`` and, where there is
            a value that guessing gives, ``chance``, which is dotted.
    """
    by: dict[str, list[pd.DataFrame]] = {}
    for name, history in histories.items():
        by.setdefault(name.split(" fold ")[0], []).append(history)
    fig, ax = plt.subplots(figsize=(PAGE * 0.8, max(2.2, 0.22 * len(by) + 0.6)))
    ends = []
    for i, (method, parts) in enumerate(by.items()):
        colour = method_colour(method, i)
        wide = pd.concat([part.set_index("epoch")[column] for part in parts], axis=1)
        middle = wide.median(axis=1)
        ax.fill_between(wide.index, wide.min(axis=1), wide.max(axis=1), color=colour, alpha=0.2, lw=0)
        ax.plot(middle.index, middle, color=colour, lw=1.4)
        for chance in {part["chance"].iloc[0] for part in parts if "chance" in part}:
            ax.axhline(chance, color=colour, lw=0.8, ls=":")
        count = f" ({len(parts)})" if len(parts) > 1 else ""
        ends.append((float(middle.iloc[-1]), label_of(method) + count, colour))
    ax.set(xlabel="epoch", ylabel=label, yscale="log" if log else "linear")
    if log:
        log_ticks(ax.yaxis)
    ax.margins(x=0)
    ax.xaxis.get_major_locator().set_params(integer=True)
    _name_at_the_right(ax, ends)
    seeds = {int(name.rpartition(" seed ")[2]) for name in histories if " seed " in name}
    fig.provenance = {"seeds": tuple(sorted(seeds))} if seeds else {}
    return fig


def _name_at_the_right(ax: Axes, ends: Sequence[tuple[float, str, str]], step: float = 0.095) -> None:
    """Names of lines beside the axes, each as near to its line's end as they do without touching each other.

    Args:
        ends: of each line its last value (without one it gets no name), its name and its colour.
        step: least distance of two names, as a share of the axes' height.
    """
    ax.autoscale_view()
    to_axes = ax.transData + ax.transAxes.inverted()
    x = ax.get_xlim()[1]
    known = ((value, name, colour) for value, name, colour in ends if np.isfinite(value))
    ends = sorted((to_axes.transform((x, value))[1], name, colour) for value, name, colour in known)
    places: list[float] = []
    for height, _, _ in ends:
        places.append(max(height, places[-1] + step) if places else height)
    over = max(0.0, places[-1] - 1.0) if places else 0.0
    for at, (height, name, colour) in zip(places, ends, strict=True):
        line = {"arrowstyle": "-", "lw": 0.6, "color": colour, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)}
        ax.annotate(name, (1.0, height), (1.04, at - over), xycoords="axes fraction", va="center", fontsize=7,
                    arrowprops=line)  # fmt: skip


@drawn
def modality_bars(table: pd.DataFrame, fprs: Sequence[str]) -> Figure:
    """Table 5 as bars: one group an FPR, one bar a modality, 95% intervals (upward alone where the data give no lower
    limit); open diamonds are published values.

    Args:
        table: columns ``modality``, ``experiment``, ``FPR`` (text), ``measured``, ``low``, ``high``, ``published``.
    """
    fig, ax = plt.subplots(figsize=(PAGE * 0.85, 2.6))
    names = list(dict.fromkeys(table["modality"]))
    for i, name in enumerate(names):
        rows = table[table["modality"] == name].set_index("FPR").reindex(fprs)
        x = np.arange(len(fprs)) + (i - (len(names) - 1) / 2) * 0.2
        ax.bar(x, rows["measured"], 0.18, color=method_colour(name), label=name)
        _, caps, arms = ax.errorbar(x, rows["measured"], yerr=_spread(rows), fmt="none", ecolor=INK, **INTERVAL)
        for part in (*caps, *arms):  # dark on light, and with a light edge on what is dark
            part.set_path_effects([withStroke(linewidth=2.6, foreground="w")])
        ax.plot(x, rows["published"], ms=4, **PUBLISHED)
    ax.plot([], [], ms=4, label="published: real data, same FPR", **PUBLISHED)
    limits = "95% interval, upward alone: no lower limit" if table["low"].isna().any() else "95% interval"
    ax.plot([], [], "|", color=INK, ms=9, label=limits)
    ax.set(xticks=range(len(fprs)), xticklabels=[f"FPR = {fpr}" for fpr in fprs], ylabel="TPR (%)", ylim=(0, 105))
    fig.legend(frameon=False, ncols=3, loc="outside upper center", columnspacing=1.2)
    return fig


def plain(ax: Axes) -> Axes:
    """An axes for an image: no ticks, no frame."""
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


@drawn
def against_people(table: pd.DataFrame) -> Figure:
    """TPR against the share of the training people, one line a set of cameras.

    Args:
        table: columns ``cameras``, ``share of people`` (in (0, 1]), ``measured``, ``low``, ``high`` (percent).
    """
    fig, ax = plt.subplots(figsize=(COLUMN * 1.3, 2.3))
    for i, (cameras, rows) in enumerate(table.groupby("cameras", sort=False)):
        rows = rows.sort_values("share of people")
        beside = 2 * i - 1  # so that intervals do not hide each other
        ax.errorbar(100 * rows["share of people"] + beside, rows["measured"], yerr=_spread(rows), fmt="o-", ms=4,
                    color=method_colour(cameras), label=cameras, **INTERVAL)  # fmt: skip
    ax.set(xlabel="share of the training people (%)", ylabel="TPR (%)", xlim=(0, 105), ylim=(0, 105))
    fig.legend(frameon=False, ncols=2, loc="outside upper center")
    ax.set_xticks(sorted(100 * table["share of people"].unique()))
    return fig


@drawn
def snapshot_misses(counts: pd.DataFrame, choices: pd.DataFrame, published: Mapping[str, float]) -> Figure:
    """Refused bona fide frames of every model and of the ensemble, one column a snapshot, published values as bars.

    Args:
        counts: as of ``fasnb.metrics.snapshots.refused``.
        choices: ``epoch``, ``crop``, ``fewest``, ``most``: frames that an ensemble of one seed for each member refuses.
        published: experiment -> TPR in percent, that of its first seed.
    """
    frames = counts.attrs["bona fide"]
    goals = {name: round((100 - tpr) * frames / 100) for name, tpr in published.items()}
    shown = counts[counts["seed"].notna() | (counts["experiment"] == "ensemble")]
    names = _rows_of_models(shown)
    y = -np.arange(len(names)) - 0.5 * (np.arange(len(names)) > len(names) - 3)  # a gap above the ensembles

    snapshots = list(shown.groupby(["epoch", "crop"], sort=False))
    fig, axes = plt.subplots(1, len(snapshots), figsize=(PAGE, 3.1), sharex=True, sharey=True)
    for ax, (snapshot, part) in zip(axes, snapshots, strict=True):
        first = ~part["experiment"].duplicated()
        for row, at, marked in zip(part.itertuples(), [*y[:-2], y[-1]], first, strict=True):
            goal = goals[row.experiment] if marked else None
            whole = f" = {100 * (1 - row.refused / frames):.2f}%" if row.experiment == "ensemble" else ""
            _missed(ax, at, row.refused, goal, method_colour(row.experiment), whole)
        few, most = choices.set_index(["epoch", "crop"]).loc[snapshot, ["fewest", "most"]]
        ax.plot([few, most], [y[-2]] * 2, color="k", lw=6, solid_capstyle="butt")
        ax.annotate(f"{few} to {most}", (most, y[-2]), (6, 0), textcoords="offset points", va="center", fontsize=7)
        ax.axhline(y[-2] + 0.75, color="0.8", lw=0.6)
        ax.set_title(snapshot_name(*snapshot).replace(", ", "\n"))
        ax.grid(axis="x", lw=0.4, alpha=0.5)
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
    rates = range(0, 1 + int(100 * shown["refused"].max() / frames), 2 if shown["refused"].max() > 0.02 * frames else 1)
    axes[0].set(yticks=y, yticklabels=names, xlim=(-14, 1.3 * shown["refused"].max()), ylim=(y[-1] - 0.6, 0.6))
    axes[0].set_xticks(
        [rate * frames / 100 for rate in rates], [f"{rate * frames / 100:.0f}\n{100 - rate}%" for rate in rates]
    )
    axes[0].get_yticklabels()[-1].set_fontweight("bold")
    for ax in axes:
        ax.tick_params(axis="x", labelsize=7)
    fig.supxlabel(f"bona fide frames refused, of {frames:,}, and the TPR that this is", fontsize=8)
    marks = [axes[0].plot([], [], "o", ms=5, color="0.3")[0], axes[0].plot([], [], "k|", ms=9, mew=1.2)[0]]
    fig.legend(marks, ["from the released scores", "published"], frameon=False, loc="outside upper center", ncols=2)
    return fig


def _rows_of_models(shown: pd.DataFrame) -> list[str]:
    """Labels of the rows of ``snapshot_misses``: every model, then the ensemble in its two forms."""
    models = shown.dropna(subset="seed").drop_duplicates(["experiment", "seed"])
    single = models.groupby("experiment")["seed"].transform("size") == 1
    names = models["experiment"].where(single, models["experiment"] + ", seed " + models["seed"].astype(str))
    return [*names, "ensemble, one seed each", "ensemble, all seeds"]


def _missed(ax: Axes, y: float, count: int, published: int | None, colour: str, rate: str) -> None:
    """One row of ``snapshot_misses``: a dot, the way to it from the published value, and its number on the other side."""
    if published is not None:
        ax.plot([published, count], [y, y], color="0.6", lw=0.8, zorder=1)
        ax.plot(published, y, "k|", ms=11, mew=1.2, zorder=2)
    ax.plot(count, y, "o", ms=4.5, color=colour, zorder=3)
    left = published is not None and count < published
    place = {"xytext": (-5 if left else 6, 0), "ha": "right" if left else "left", "va": "center"}
    place |= {"fontweight": "bold" if rate else "normal", "bbox": {"fc": "w", "ec": "none", "pad": 0.4}, "zorder": 2}
    ax.annotate(f"{count}{rate}", (count, y), textcoords="offset points", fontsize=7, **place)

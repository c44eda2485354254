"""Every figure, in one style: the paper's column width, colour-blind safe, the same colour for the same thing."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fasnb.lab.pictures import picture
from fasnb.metrics.pad import det
from fasnb.metrics.snapshots import snapshot_name
from fasnb.paper.experiments import EXPERIMENTS, MEMBERS

COLUMN = 3.25  # inches, one column of the paper
PAGE = 6.875  # inches, both columns

_BLUE, _ORANGE, _GREEN, _RED, _PURPLE, _BROWN = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#7F5539"
MODALITY_COLOURS = {"rgb": _RED, "ir": _PURPLE, "depth": _BLUE, "all": "#000000"}
METHOD_COLOURS = {"A": _BLUE, "B": _ORANGE, "C": _GREEN, "D": _PURPLE, "ensemble": "#000000"}
METHOD_COLOURS |= {"RGB": _RED, "IR": _PURPLE, "Depth": _BLUE, "RGB+IR+Depth": "#000000"}
METHOD_COLOURS |= {"zhang": _BROWN, "resnet34-subject": _GREEN, "resnet34-attack": _ORANGE, "resnet34-imagenet": _RED}
METHOD_COLOURS |= {"face34-random": "0.45", "face34-generic": _ORANGE, "face34-gender": _PURPLE, "resnet34-face": _BLUE}
METHOD_COLOURS |= {"imagenet": _RED, "generic": _ORANGE, "gender": _PURPLE, "face": _BLUE}  # source tasks
CLASS_COLOURS = {"bona fide": _GREEN, "attack": _RED}
ATTACK_COLOURS = {1: "#56B4E9", 2: _BLUE, 3: _ORANGE, 4: _RED, 5: _PURPLE, 6: _BROWN}
INTERVAL = {"elinewidth": 1.0, "capsize": 2, "capthick": 1.0}

STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "figure.dpi": 110,  # as notebooks and report hold them; files have the finer one
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
    "figure.constrained_layout.use": True,
    "text.parse_math": False,  # names come from data: a dollar sign is a dollar sign
}


def drawn(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """The figure says what the table it is drawn from is made of, see ``fasnb.metrics.provenance``."""

    @wraps(draw)
    def with_provenance(table, *args, **options) -> Figure:
        fig = draw(table, *args, **options)
        fig.provenance = dict(getattr(table, "attrs", {}))
        return fig

    return with_provenance


def use_style() -> None:
    """Make ``STYLE`` the default of all figures of this process."""
    plt.rcParams.update(STYLE)


def method_colour(name: str, position: int = 0) -> str:
    """Colour of a method, or of one of its networks: its own where it has one, else one by position."""
    return METHOD_COLOURS.get(
        name.split(" ")[0].rstrip(":"), (_BLUE, _ORANGE, _GREEN, _RED, _PURPLE, _BROWN)[position % 6]
    )


def label_of(name: str) -> str:
    """The name of a method that people read: the paper's letter, or the experiment's title."""
    return name if name in MEMBERS or name not in EXPERIMENTS else EXPERIMENTS[name].title


def _spread(table: pd.DataFrame) -> np.ndarray:
    """Length of each interval below and above the measured value, (2, n); none on a side whose limit is missing."""
    spread = np.array([table["measured"] - table["low"], table["high"] - table["measured"]], dtype=float)
    return np.clip(np.nan_to_num(spread), 0, None)


@drawn
def intervals(table: pd.DataFrame, published: str | None = "published", label: str = "TPR (%)") -> Figure:
    """Measured values with intervals beside the published ones, one row a method.

    Args:
        table: columns ``method``, ``measured``, ``low``, ``high`` (percent) and, if named, the published value. Where
            ``low`` is missing, the bar begins at the measured value and the legend says so.
    """
    width = PAGE if table["method"].str.len().max() > 30 else PAGE * 0.75  # long names leave little for the axis
    fig, ax = plt.subplots(figsize=(width, 0.55 + 0.24 * len(table)))
    y = np.arange(len(table))[::-1]
    name = "measured, upper limit only" if table["low"].isna().any() else "measured, 95% interval"
    ax.errorbar(table["measured"], y, xerr=_spread(table), fmt="o", ms=4, color=_BLUE, label=name, **INTERVAL)
    if published in table:
        ax.plot(table[published], y, "D", ms=4, mfc="none", color=_RED, label="published: real data, FPR = 1e-4")
    ax.set(yticks=y, yticklabels=table["method"], xlabel=label, ylim=(-0.6, len(table) - 0.4))
    ax.grid(axis="x", lw=0.4, alpha=0.5)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    return fig


@drawn
def histograms(scores: pd.DataFrame, labels: np.ndarray, thresholds: Mapping[str, float]) -> Figure:
    """Score histograms of each method, both classes, count on a log axis.

    Args:
        scores: (n, methods), columns named after the methods, P(bona fide) in [0, 1].
        labels: (n,).
        thresholds: method -> threshold, drawn as a line.
    """
    fig, axes = plt.subplots(1, scores.shape[1], figsize=(PAGE, 1.9), sharey=True)
    bins = np.linspace(0, 1, 41)
    for ax, name in zip(np.atleast_1d(axes), scores, strict=True):
        for label, cls in ((0, "attack"), (1, "bona fide")):
            ax.hist(
                scores[name][labels == label],
                bins,
                histtype="stepfilled",
                alpha=0.55,
                color=CLASS_COLOURS[cls],
                label=cls,
            )
        ax.axvline(thresholds[name], color="k", lw=0.8, ls="--")
        ax.set(title=name, xlabel="score", yscale="log", xlim=(0, 1))
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
    for i, name in enumerate(scores):
        axes[0].plot([], [], color=method_colour(name, i), label=label_of(name))
    fig.legend(frameon=False, loc="outside upper center", ncols=scores.shape[1])
    axes[0].set_title(f"grey: finer than 1 / {n_attack:,} attack frames", fontsize=6, color="0.35", loc="left")
    return fig


@drawn
def growth(table: pd.DataFrame, label: str) -> Figure:
    """How a value grows with the number of averaged networks: median and range over random orders, and greedy.

    Args:
        table: columns ``networks``, ``median``, ``low``, ``high`` and optionally ``greedy`` (percent).
    """
    fig, ax = plt.subplots(figsize=(COLUMN * 1.2, 2.1))
    ax.fill_between(table["networks"], table["low"], table["high"], color=_BLUE, alpha=0.2, lw=0)
    ax.plot(table["networks"], table["median"], color=_BLUE)
    ends = [("random order: median, 90% range", "median", _BLUE)]
    if "greedy" in table:
        ax.plot(table["networks"], table["greedy"], color=_ORANGE)
        ends.append(("greedy", "greedy", _ORANGE))
    for text, name, colour in ends:
        at = len(table) - 1 if name == "greedy" else len(table) // 3
        place = {"ha": "right", "va": "bottom"} if name == "greedy" else {"va": "top"}
        offset = (0, 2) if name == "greedy" else (4, -4)
        ax.annotate(text, (table["networks"][at], table[name][at]), offset, textcoords="offset points", color=colour,
                    fontsize=7, **place)  # fmt: skip
    ax.set(xlabel="networks averaged", ylabel=label)
    ax.xaxis.get_major_locator().set_params(integer=True)
    return fig


@drawn
def seed_spread(table: pd.DataFrame, label: str) -> Figure:
    """One dot a seed (its number beside it) for each method: the spread between seeds against the spread between methods.

    Args:
        table: columns ``experiment``, ``seed``, ``measured``, ``low``, ``high`` (percent).
    """
    fig, ax = plt.subplots(figsize=(COLUMN * 1.3, 2.0))
    methods = list(dict.fromkeys(table["experiment"]))
    for i, name in enumerate(methods):
        rows = table[table["experiment"] == name]
        x = i + np.linspace(-0.15, 0.15, len(rows)) * (len(rows) > 1)
        spread = _spread(rows)
        ax.errorbar(x, rows["measured"], yerr=spread, fmt="o", ms=4, color=method_colour(name, i), **INTERVAL)
        for at, (value, seed) in zip(x, rows[["measured", "seed"]].to_numpy(), strict=True):
            ax.annotate(f"{seed:g}", (at, value), (4, 2), textcoords="offset points", fontsize=6)
    ax.set(xticks=range(len(methods)), xticklabels=methods, ylabel=label, xlim=(-0.5, len(methods) - 0.3))
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
        ax.plot(table[name], y + beside, "o", ms=4, color=method_colour(name, i), label=name)
        if threshold:
            ax.axvline(threshold[name], ymin=0, ymax=0.03, color=method_colour(name, i), lw=2)
    ax.set(yticks=y, xlabel="score", xlim=(-0.02, 1.02), ylim=(-0.6, len(table) - 0.4))
    ax.set_yticklabels([f"{frame} ({cls})" for frame, cls in zip(table["frame"], table["class"], strict=True)])
    for text, cls in zip(ax.get_yticklabels(), table["class"], strict=True):
        text.set_color(CLASS_COLOURS[cls])
    ax.legend(frameon=False, ncols=len(methods), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return fig


def frame_grid(
    images: np.ndarray, rows: Sequence[str], channels: Mapping[str, int], across: int = 1, cell: float = 0.62
) -> Figure:
    """Frames as pictures of their three modalities: one row a frame, or ``across`` frames side by side in a row.

    Args:
        images: uint8 (n, C, size, size) in a store's channel order; n = len(rows) * across.
        rows: label of each row.
        channels: modality -> number of channels, in order. Depth is stretched, see ``pictures.stretched``.
        cell: inches a picture, at most.
    """
    columns = len(channels) * across
    cell = min(cell, PAGE * 0.92 / columns)
    size = (cell * columns + 1.25, cell * len(rows) + 0.2)
    fig, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False, layout="none")
    fig.subplots_adjust(left=1.2 / size[0], right=1, bottom=0, top=1 - 0.18 / size[1], wspace=0.03, hspace=0.03)
    for i, image in enumerate(images):
        for j, name in enumerate(channels):
            ax = plain(axes[i // across, i % across * len(channels) + j])
            ax.imshow(picture(image, name, channels), cmap="gray", vmin=0, vmax=255)
            if i < across:
                ax.set_title({"rgb": "RGB", "depth": "depth", "ir": "IR"}[name], fontsize=7, pad=2)
    for ax, label in zip(axes[:, 0], rows, strict=True):
        ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=7)
    return fig


def views(batches: Sequence[tuple[str, np.ndarray]]) -> Figure:
    """One frame on its way into a network: one row of three images for each step.

    Args:
        batches: (label, array (3, 3, H, W): rgb, depth, ir in [0, 1]).
    """
    fig, axes = plt.subplots(3, len(batches), figsize=(0.85 * len(batches) + 0.4, 2.9), squeeze=False)
    for j, (label, triple) in enumerate(batches):
        for i, (name, image) in enumerate(zip(("RGB", "depth", "IR"), triple, strict=True)):
            plain(axes[i, j]).imshow(np.clip(image, 0, 1).transpose(1, 2, 0))
            if j == 0:
                axes[i, j].set_ylabel(name)
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
    """A square of numbers in [0, 100] or [0, 1], one row and one column a method.

    Args:
        table: index and columns are methods.
    """
    top = 100 if table.max(axis=None) > 1 else 1
    fig, ax = plt.subplots(figsize=(COLUMN * 1.1, 0.5 + 0.42 * len(table)))
    options = {"vmin": 0, "vmax": top, "cmap": "cividis", "annot_kws": {"fontsize": 7}, "cbar_kws": {"label": label}}
    table = table.rename(index=label_of, columns=label_of)
    sns.heatmap(table.astype(float), annot=True, fmt=fmt, ax=ax, linewidths=0.5, **options)
    ax.set(xlabel=table.columns.name or "", ylabel=table.index.name or "")
    ax.tick_params(axis="y", rotation=0)
    return fig


def learning_curves(histories: Mapping[str, pd.DataFrame], column: str, label: str, log: bool = False) -> Figure:
    """A column of training histories against the epoch; one line a network, one colour a method.

    Args:
        histories: ``<method>`` or ``<method> fold ...`` -> history with the columns ``epoch``, ``column`` and, where there is
            a value that guessing gives, ``chance``, which is dotted.
    """
    fig, ax = plt.subplots(figsize=(PAGE * 0.75, 2.1))
    methods = list(dict.fromkeys(name.split(" fold ")[0] for name in histories))
    for name, history in histories.items():
        method = name.split(" fold ")[0]
        colour = method_colour(method, methods.index(method))
        if "chance" in history:
            ax.axhline(history["chance"].iloc[0], color=colour, lw=0.8, ls=":")
        ax.plot(history["epoch"], history[column], color=colour, lw=0.9, alpha=0.8, label=label_of(method))
    seeds = {int(name.rpartition(" seed ")[2]) for name in histories if " seed " in name}
    fig.provenance = {"seeds": tuple(sorted(seeds))} if seeds else {}
    handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    fig.legend(handles.values(), handles.keys(), frameon=False, loc="outside right upper")
    ax.set(xlabel="epoch", ylabel=label, yscale="log" if log else "linear")
    ax.xaxis.get_major_locator().set_params(integer=True)
    return fig


@drawn
def modality_bars(table: pd.DataFrame, fprs: Sequence[str]) -> Figure:
    """Table 5 as bars: one group an FPR, one bar a modality, 95% intervals; open diamonds are published values.

    Args:
        table: columns ``modality``, ``experiment``, ``FPR`` (text), ``measured``, ``low``, ``high``, ``published``.
    """
    fig, ax = plt.subplots(figsize=(PAGE * 0.85, 2.4))
    names = list(dict.fromkeys(table["modality"]))
    colours = [MODALITY_COLOURS[{"RGB": "rgb", "IR": "ir", "Depth": "depth"}.get(name, "all")] for name in names]
    for i, (name, colour) in enumerate(zip(names, colours, strict=True)):
        rows = table[table["modality"] == name].set_index("FPR").reindex(fprs)
        x = np.arange(len(fprs)) + (i - (len(names) - 1) / 2) * 0.2
        ax.bar(x, rows["measured"], 0.18, color=colour, label=name, alpha=0.85)
        spread = _spread(rows)
        ax.errorbar(x, rows["measured"], yerr=spread, fmt="none", ecolor="0.5", **INTERVAL)
        ax.plot(x, rows["published"], "D", ms=4, mfc="w", mec=colour, lw=0)
    ax.plot([], [], "D", ms=4, mfc="w", mec="0.3", lw=0, label="published: real data, same FPR")
    ax.set(xticks=range(len(fprs)), xticklabels=[f"FPR = {fpr}" for fpr in fprs], ylabel="TPR (%)", ylim=(0, 105))
    ax.legend(frameon=False, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0), columnspacing=1.2)
    return fig


def architecture(network, size: int = 112) -> Figure:
    """Figure 2, drawn from the network: its parts, their output shapes, and what feeds what.

    Args:
        network: a ``ThreeBranchNetwork``.
        size: height and width of its images in pixels.
    """
    from fasnb.model.parts import describe

    shapes = dict(describe(network.architecture, size)[["part", "output"]].itertuples(index=False))
    fig, ax = plt.subplots(figsize=(PAGE, 3.3))
    ax.set(xlim=(-0.8, 12.2), ylim=(-3.5, 3.4))
    plain(ax)

    def box(x, y, text, part, colour):
        shape = "x".join(map(str, shapes[part])) if part in shapes else ""
        lines = text.count("\n")
        height = 0.76 + 0.3 * lines
        place = {"xy": (x - 0.6, y - height / 2), "width": 1.2, "height": height}
        ax.add_patch(plt.Rectangle(**place, fc="w", zorder=1))  # hides the arrows that pass behind
        ax.add_patch(plt.Rectangle(**place, fc=colour, ec="0.3", lw=0.6, alpha=0.35, zorder=1))
        ax.text(x, y + 0.1 * bool(shape), text, ha="center", va="center", fontsize=6.5, linespacing=1.1)
        if shape:
            ax.text(x, y - 0.22 - 0.17 * lines, shape, ha="center", va="center", fontsize=5, color="0.25")

    def arrow(start, end, bend=0.0):
        style = f"arc3,rad={bend}"
        arrows = {"arrowstyle": "-|>", "lw": 0.6, "color": "0.4", "connectionstyle": style, "mutation_scale": 6}
        ax.annotate("", end, start, arrowprops=arrows, zorder=0)

    last, deep = network.architecture.fused_after, [name for name, _ in network.shared.named_children()]
    for i, (y, modality) in enumerate(zip((2.4, 1.2, 0.0), network.architecture.modalities, strict=True)):
        ax.text(-0.75, y, {"rgb": "RGB", "depth": "depth", "ir": "IR"}[modality], va="center", fontsize=8)
        for j, name in enumerate(["stem", *(f"stage{n}" for n in range(1, last + 1))]):
            box(0.75 + 1.5 * j, y, name, f"branch {i + 1} ({modality}) {name}", MODALITY_COLOURS[modality])
            if j:
                arrow((1.5 * j - 0.15, y), (1.5 * j + 0.15, y))
        arrow((1.35 + 1.5 * last, y), (1.65 + 1.5 * last, 1.2 + (y - 1.2) * 0.2))
    x = 2.25 + 1.5 * last
    box(x, 1.2, "SE fusion" if network.architecture.fusion != "concat" else "concatenation", "fusion", "0.6")
    for name in deep:
        arrow((x + 0.6, 1.2), (x + 0.9, 1.2))
        x += 1.5
        box(x, 1.2, name, f"shared {name}", "0.6")
    end = max(x + 1.5, 9.9)
    arrow((x + 0.6, 1.2), (end - 0.6, 1.2))
    box(end, 1.2, "GAP +" if network.aggregation else "GAP", "", "0.85")
    box(end + 1.5, 1.2, "head", "head", "0.85")
    arrow((end + 0.6, 1.2), (end + 0.9, 1.2))
    for level in range(1, len(network.aggregation) + 1):
        at = 0.75 + 1.5 * level
        box(at + 1.5, -2.4, f"agg {level}\nstage{level + 1}", f"aggregation {level}", _ORANGE)
        for y in (2.4, 1.2, 0.0):
            arrow((at + 0.2, y - 0.38), (at + 1.3, -1.87), 0.08)
        if level > 1:
            arrow((at + 0.6, -2.4), (at + 0.9, -2.4))
    if network.aggregation:
        arrow((0.75 + 1.5 * 4 + 0.6, -2.4), (end, 0.8), 0.25)
        ax.text(end - 0.1, -1.2, "GAP", fontsize=6.5, ha="right")
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
    fig, ax = plt.subplots(figsize=(COLUMN * 1.3, 2.1))
    for cameras, rows in table.groupby("cameras", sort=False):
        rows = rows.sort_values("share of people")
        colour = MODALITY_COLOURS.get(cameras.lower(), MODALITY_COLOURS["all"])
        spread = np.clip([rows["measured"] - rows["low"], rows["high"] - rows["measured"]], 0, None)
        share = 100 * rows["share of people"]
        beside = 1 if colour == MODALITY_COLOURS["all"] else -1  # so that intervals do not hide each other
        ax.errorbar(
            share + beside, rows["measured"], yerr=spread, fmt="o-", ms=4, color=colour, label=cameras, **INTERVAL
        )
    ax.set(xlabel="share of the training people (%)", ylabel="TPR (%)", xlim=(0, 105), ylim=(0, 105))
    ax.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
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
    fig, axes = plt.subplots(1, len(snapshots), figsize=(PAGE, 2.9), sharex=True, sharey=True)
    for ax, (snapshot, part) in zip(axes, snapshots, strict=True):
        first = ~part["experiment"].duplicated()
        for row, at, marked in zip(part.itertuples(), [*y[:-2], y[-1]], first, strict=True):
            goal = goals[row.experiment] if marked else None
            whole = f" = {100 * (1 - row.refused / frames):.2f}%" if row.experiment == "ensemble" else ""
            _missed(ax, at, row.refused, goal, method_colour(row.experiment), whole)
        few, most = choices.set_index(["epoch", "crop"]).loc[snapshot, ["fewest", "most"]]
        ax.plot([few, most], [y[-2]] * 2, color="k", lw=4, solid_capstyle="round")
        ax.annotate(f"{few} to {most}", (most, y[-2]), (6, 0), textcoords="offset points", va="center", fontsize=7)
        ax.axhline(y[-2] + 0.75, color="0.8", lw=0.6)
        ax.set_title(snapshot_name(*snapshot).replace(", ", "\n"))
        ax.grid(axis="x", lw=0.4, alpha=0.5)
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
    rates = range(0, 1 + int(100 * shown["refused"].max() / frames))
    axes[0].set(yticks=y, yticklabels=names, xlim=(-14, 1.3 * shown["refused"].max()), ylim=(y[-1] - 0.6, 0.6))
    axes[0].set_xticks(
        [rate * frames / 100 for rate in rates], [f"{rate * frames / 100:.0f}\n{100 - rate}%" for rate in rates]
    )
    axes[0].get_yticklabels()[-1].set_fontweight("bold")
    for ax in axes:
        ax.tick_params(axis="x", labelsize=6)
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

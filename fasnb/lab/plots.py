"""What several notebooks draw, in one style: worlds, curves, pictures of frames.

Class, camera and network have a palette each, no two of which share a colour. The colours (Paul Tol's, ColorBrewer's
PRGn) stay apart for colour-blind readers.
"""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from fasnb.data import augment
from fasnb.data.store import Source
from fasnb.metrics.comparisons import MARGIN, judge, ratios
from fasnb.metrics.pad import det
from fasnb.paper.experiments import EXPERIMENTS, MEMBERS
from fasnb.paper.published import OTHER, PRIMARY
from fasnb.paper.recipe import Normalisation, Recipe

COLUMN, PAGE = 3.25, 6.875  # inches: one column of the paper, and both
INK, GREY = "#222222", "#777777"
CLASS_COLOURS = {"bona fide": "#1B7837", "attack": "#762A83"}  # attacks of Table 1 have shades of the latter
ATTACK_COLOURS = {1: "#E7D4E8", 2: "#C2A5CF", 3: "#AF8DC3", 4: "#9970AB", 5: "#762A83", 6: "#40004B"}
_RGB, _DEPTH, _IR = "#DDAA33", "#004488", "#994455"
MODALITY_COLOURS = {"rgb": _RGB, "depth": _DEPTH, "ir": _IR, "all": INK}
CAMERA_NAMES = {"rgb": "RGB", "depth": "depth", "ir": "IR", "all": "all three"}
_CYAN, _ORANGE, _BROWN, _PINK = "#33BBEE", "#EE7733", "#7F5539", "#EE99AA"
NETWORK_COLOURS = {"A": _CYAN, "B": _ORANGE, "C": _BROWN, "D": _PINK, "ensemble": INK}
NETWORK_COLOURS |= {
    "A-longer": _ORANGE,
    "resnet34-thirds": _PINK,
    "zhang": _BROWN,
    "resnet34-subject": _ORANGE,
    "resnet34-attack": GREY,
    "resnet34-imagenet": _PINK,
}
NETWORK_COLOURS |= {"resnet34-face": _CYAN, "face34-random": GREY, "face34-generic": _ORANGE}
NETWORK_COLOURS |= {"A-rgb": _RGB, "A-ir": _IR, "A-depth": _DEPTH, "RGB": _RGB, "IR": _IR, "Depth": _DEPTH}
NETWORK_COLOURS |= {"RGB+IR+Depth": INK, "all": INK}


def use_style() -> None:
    """Make the style the default of all figures of this process."""
    plt.rcParams.update(dict.fromkeys(["font.size", "axes.titlesize", "axes.labelsize"], 8))
    plt.rcParams.update(dict.fromkeys(["legend.fontsize", "xtick.labelsize", "ytick.labelsize"], 7))
    plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True})
    plt.rcParams.update({"axes.linewidth": 0.6, "lines.linewidth": 1.2, "pdf.fonttype": 42})
    plt.rcParams.update({"figure.dpi": 110, "savefig.dpi": 125})  # in notebooks and report, and of files
    plt.rcParams["text.parse_math"] = False  # names come from data: a dollar sign is a dollar sign


def label_of(name: str) -> str:
    """The name that people read: a member's letter, any other experiment's title."""
    return name if name in MEMBERS or name not in EXPERIMENTS else EXPERIMENTS[name].title


def method_colour(name: str, position: int = 0) -> str:
    """Colour of a method, of one of its networks or of cameras: its own where it has one, else one by position."""
    others = (_CYAN, _ORANGE, _BROWN, _PINK, GREY)
    return NETWORK_COLOURS.get(name.split(" ")[0], others[position % len(others)])


def plain(ax: Axes) -> Axes:
    """The axes for an image: no ticks, no frame."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def log_ticks(*axes) -> None:
    """Powers of ten as 0.01, 1, 100 on each ``Axis``, whose limits are set; more within a factor of ten."""
    for axis in axes:
        low, high = sorted(axis.get_view_interval())
        axis.set_major_formatter("{x:,g}")  # matplotlib's own would show its markup, as text.parse_math is off
        axis.set_minor_formatter("{x:,g}" if high < 10 * low else NullFormatter())


def worlds(study, *sections: str, others: bool = False) -> Figure:
    """Ratios of errors of the claims of some sections: a dot a world, mean and 95% interval, this world's as a diamond.

    The worlds are those published of the study's population, where it has one, else the study's own. Between the
    dashed lines errors count as equal. On the right stand the mean ratio and, of several worlds, the verdict.
    """
    claims = OTHER if others else PRIMARY
    errors = study.errors if study.population is None else study.population
    each, summary = ratios(claims, errors), judge(claims, errors, verdicts=not others)  # Holm counts all of them
    shown = (summary["worlds"] > 0) & (summary["section"].isin(sections) | (not sections))
    summary = summary[shown].reset_index(drop=True)
    here = judge(claims, study.errors).set_index("claim")["ratio"]
    fig, ax = plt.subplots(figsize=(5.4, 1.2 + 0.4 * len(summary)))  # narrow: it is read on phones too
    for row in summary.itertuples():
        y = len(summary) - 1 - row.Index
        dots = each.loc[each["claim"] == row.claim, "ratio"]
        ax.plot(dots, [y] * len(dots), "o", ms=3.5, color=GREY, alpha=0.6, mew=0, label="a world")
        if row.worlds > 1:
            mean = {"color": INK, "lw": 1.2, "ms": 9, "mew": 1.6, "markevery": [1], "label": "mean, 95% interval"}
            ax.plot([row.low, row.ratio, row.high], [y] * 3, "-|", **mean)
        if study.population is not None and np.isfinite(here[row.claim]):
            ax.plot(here[row.claim], y, "D", ms=5, color=_CYAN, mec=INK, mew=0.6, label="this world")
    if summary.empty:
        ax.text(0.5, 0.5, "networks of this study are missing", transform=ax.transAxes, ha="center")
    ax.axvline(1, color=INK, lw=0.8)
    for margin in (1 / MARGIN, MARGIN):
        ax.axvline(margin, color=GREY, lw=0.6, ls="--", label=f"a factor of {MARGIN:g}")
    ax.set(xscale="log", ylim=(-0.6, len(summary) - 0.4))
    ax.set_yticks(range(len(summary)), [textwrap.fill(claim, 29) for claim in summary["claim"][::-1]])
    said = [f"{row.ratio:.2f} {getattr(row, 'verdict', '')}" for row in summary[::-1].itertuples()]
    right = ax.secondary_yaxis("right")
    right.set_yticks(range(len(summary)), said)
    right.tick_params(length=0, labelsize=9)
    ax.tick_params(labelsize=9)
    right.spines["right"].set_visible(False)
    ax.set_xlabel("← against the claim     ratio of errors     for it →", fontsize=9)
    ticks = [tick for tick in (0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100) if ax.get_xlim()[0] <= tick <= ax.get_xlim()[1]]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    handles = dict(zip(*ax.get_legend_handles_labels()[::-1], strict=True))
    fig.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return fig


def roc_det(scores: pd.DataFrame, labels: np.ndarray, fprs: Sequence[float]) -> Figure:
    """ROC and DET on a log axis, down to 1 / n_attack (grey), below which the data say nothing.

    Scores (n, methods) have columns named after the methods, labels are (n,); vertical lines mark the target FPRs.
    """
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 2.5))
    attacks = int((np.asarray(labels) == 0).sum())
    left = 10 ** np.floor(np.log10(min(min(fprs), 1 / attacks))) / 2
    for i, name in enumerate(scores):
        fpr, fnr, _ = det(labels, scores[name])
        best = np.append(fpr[1:] > fpr[:-1], True)  # of the thresholds with one FPR, the one that refuses fewest
        # drawn from half a frame on, so that "no attack frame accepted" is visible on a log axis
        x, fnr = np.insert(np.maximum(fpr[best], 0.5 / attacks), 0, left), np.insert(fnr[best], 0, fnr[best][0])
        colour = method_colour(name, i)
        axes[0].step(x, 100 * (1 - fnr), where="post", color=colour, label=label_of(name))
        axes[1].step(x, np.where(fnr > 0, 100 * fnr, np.nan), where="post", color=colour)
        if (fnr == 0).any() and (fnr > 0).any():  # the curve ends here: zero is not on a log axis
            axes[1].plot(x[fnr == 0][0], 100 * fnr[fnr > 0][-1], "v", ms=4, color=colour)
    for ax in axes:
        ax.vlines(fprs, 0, 1, transform=ax.get_xaxis_transform(), color="0.6", lw=0.6, ls=":")
        ax.axvspan(left, 1 / attacks, color="0.93", lw=0)
        ax.set(xscale="log", xlim=(left, 1), xlabel="FPR = APCER over all attacks")
    axes[0].set(ylabel="TPR (%)")
    if not any(np.isfinite(line.get_ydata()).any() for line in axes[1].lines):  # no method refuses any at any FPR
        axes[1].set_ylim(0.1, 100)
    axes[1].set(ylabel="BPCER (%)", yscale="log")
    log_ticks(axes[0].xaxis, axes[1].xaxis, axes[1].yaxis)
    fig.legend(frameon=False, loc="outside upper center", ncols=scores.shape[1])
    axes[0].set_title(f"grey: finer than 1 / {attacks:,} attack frames", fontsize=6, color="0.35", loc="left")
    return fig


def learning_curves(histories: Mapping[str, pd.DataFrame], column: str, label: str, log: bool = False) -> Figure:
    """A column of training histories against the epoch: the median network of each method, and a band over all of them.

    Histories, by ``<method>`` or ``<method> fold ...``, have the columns ``epoch``, ``column`` and, where guessing
    gives a value, ``chance``, which is dotted; ``label`` is that of the vertical axis.
    """
    methods: dict[str, list[pd.DataFrame]] = {}
    for name, history in histories.items():
        methods.setdefault(name.split(" fold ")[0], []).append(history.set_index("epoch"))
    (fig, ax), ends = plt.subplots(figsize=(PAGE * 0.8, max(2.2, 0.22 * len(methods) + 0.6))), []
    for i, (method, parts) in enumerate(methods.items()):
        colour, wide = method_colour(method, i), pd.concat([part[column] for part in parts], axis=1)
        ax.fill_between(wide.index, wide.min(axis=1), wide.max(axis=1), color=colour, alpha=0.2, lw=0)
        name = label_of(method) + f" ({len(parts)})" * (len(parts) > 1)
        ends += ax.plot(wide.median(axis=1), ".-", ms=3, color=colour, label=name)
        for chance in {part["chance"].iloc[0] for part in parts if "chance" in part}:
            ax.axhline(chance, color=colour, lw=0.8, ls=":")
    ax.set(xlabel="epoch", ylabel=label, yscale="log" if log else "linear")
    if log:
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # losses seldom span two powers of ten
        log_ticks(ax.yaxis)
    ax.margins(x=0)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ends.sort(key=lambda line: -line.get_ydata()[-1])  # names stand in the order in which the lines end
    fig.legend(handles=ends, loc="outside right center", frameon=False)
    return fig


def by_attack(table: pd.DataFrame, columns: Mapping[str, str]) -> Figure:
    """Distribution of frame statistics by ``attack`` of a table (0 = bona fide); columns: name -> title with unit."""
    kinds = sorted(table["attack"].unique())
    palette = {kind: ATTACK_COLOURS.get(kind, CLASS_COLOURS["bona fide"]) for kind in kinds}
    fig, axes = plt.subplots(1, len(columns), figsize=(PAGE, 1.9), squeeze=False)
    for ax, (name, title) in zip(axes[0], columns.items(), strict=True):
        style = {"legend": False, "fliersize": 0, "linewidth": 0.6}
        sns.boxplot(table, x="attack", y=name, hue="attack", palette=palette, ax=ax, **style)
        ax.set_xticks(range(len(kinds)), ["bona\nfide" if kind == 0 else str(kind) for kind in kinds])
        ax.set(title=title, xlabel="", ylabel="")
    fig.supxlabel("attack", fontsize=8)
    return fig


def picture(image: np.ndarray, name: str, channels: Mapping[str, int]) -> np.ndarray:
    """What one camera (rgb, depth, ir) sees of a frame: uint8 (H, W, 3) or (H, W), to be shown from 0 to 255.

    The image is uint8 (C, H, W) in the order of ``channels``, modality -> number of channels. Depth is red where the face
    has none.
    """
    parts = dict(zip(channels, np.split(image, np.cumsum(list(channels.values()))[:-1]), strict=True))
    part = parts[name]
    if name != "depth":
        return part.transpose(1, 2, 0) if len(part) == 3 else part[0]
    hole = (part[0] == 0) & (parts["rgb"].any(0) | parts["ir"].any(0))
    return np.where(hole[..., None], np.array((204, 51, 17), np.uint8), part[0][..., None])


def larger_images(source: Source, samples: Sequence[str], size: int = 224) -> np.ndarray | None:
    """Images of frames, uint8 (n, C, H, W), of this size where the source draws them; None where it has none."""
    source = source.at_size(size) if hasattr(source, "at_size") else source  # the stand-in draws them anew
    try:
        return source.read(pd.Series(range(len(source.frames)), source.frames["sample"])[list(samples)].to_numpy())
    except (OSError, ValueError):  # they are not on this machine
        return None


def frame_columns(images: Sequence, labels: Sequence[str], channels: Mapping[str, int], columns: int = 2) -> Figure:
    """Frames in columns, filled one after the other: the pictures of the three cameras, a label above each frame.

    Images and channels are as of ``picture``; the labels have all as many lines, at most two.
    """
    there = [name for name in channels if any(picture(image, name, channels).any() for image in images)]
    down, cameras, gap = -(-len(images) // columns), len(there), 0.12
    cell = (PAGE - gap * (columns - 1)) / (columns * cameras)
    line = cell + 0.08 + 0.14 * (1 + labels[0].count("\n"))
    size = (PAGE, down * line + 0.3)  # inches
    fig = plt.figure(figsize=size, layout="none")
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        column, row = divmod(number, down)
        bottom = 1 - ((row + 1) * line) / size[1]
        for j, name in enumerate(there):
            left = (column * (cameras * cell + gap) + j * cell) / size[0]
            ax = plain(fig.add_axes((left, bottom, 0.98 * cell / size[0], cell / size[1])))
            ax.imshow(picture(image, name, channels), cmap="gray", vmin=0, vmax=255)
            if j == 0:
                ax.set_title(label, fontsize=7, pad=2, loc="left")
            if row == down - 1 or number == len(images) - 1:
                ax.set_xlabel(CAMERA_NAMES[name], fontsize=7, labelpad=3)
    return fig


def views(source: Source, recipes: Mapping[str, Recipe], count: int = 3) -> Figure:
    """The first frame of a source as stored, as the test sees it, and in ``count`` training views of each recipe.

    Recipes have labels; their crops are taken in proportion to the paper's, 112 of 125 pixels.
    """
    image, size, as_it_is = torch.from_numpy(source.read([0])), source.size, Normalisation((0.0,) * 3, (1.0,) * 3)
    sized = {name: r.with_(resize=size, crop=max(1, round(size * 112 / 125))) for name, r in recipes.items()}
    first = next(iter(sized.values()))
    batches = [("stored", augment.evaluation(image, first.with_(crop=size), as_it_is))]
    batches += [("test", augment.evaluation(image, first, as_it_is))]
    for name, recipe in sized.items():
        draws = torch.Generator().manual_seed(1)
        batches += [(name, augment.training(image, recipe, as_it_is, draws)) for _ in range(count)]
    images = []
    for _, cameras in batches:
        parts = zip(cameras, source.channels.values(), strict=True)
        images.append(np.concatenate([(255 * part[0, :n].clip(0, 1)).round().byte().numpy() for part, n in parts]))
    return frame_columns(images, [label for label, _ in batches], source.channels, columns=3)

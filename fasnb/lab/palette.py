"""One style for all figures. Class, camera and network have a palette each, no two of which share a colour, and none of
them is used for "measured" and "published", which are told apart by shape: a filled dot and an open diamond.

The colours are Paul Tol's (high-contrast, vibrant) and ColorBrewer's PRGn, which stay apart for colour-blind readers.
"""

import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from fasnb.paper.experiments import EXPERIMENTS, MEMBERS

COLUMN = 3.25  # inches, one column of the paper
PAGE = 6.875  # inches, both columns

INK, GREY = "#222222", "#777777"

CLASS_COLOURS = {"bona fide": "#1B7837", "attack": "#762A83"}
ATTACK_COLOURS = {1: "#E7D4E8", 2: "#C2A5CF", 3: "#AF8DC3", 4: "#9970AB", 5: "#762A83", 6: "#40004B"}
"""Attacks have the shades of their class, in the order of Table 1."""

MODALITY_COLOURS = {"rgb": "#DDAA33", "depth": "#004488", "ir": "#994455", "all": INK}
CAMERA_NAMES = {"rgb": "RGB", "depth": "depth", "ir": "IR", "all": "all three"}

_CYAN, _ORANGE, _BROWN, _PINK = "#33BBEE", "#EE7733", "#7F5539", "#EE99AA"
NETWORK_COLOURS = {"A": _CYAN, "B": _ORANGE, "C": _BROWN, "D": _PINK, "ensemble": INK}
NETWORK_COLOURS |= {"zhang": _BROWN, "resnet34-subject": _ORANGE, "resnet34-attack": GREY, "resnet34-imagenet": _PINK}
NETWORK_COLOURS |= {"resnet34-face": _CYAN, "face34-random": GREY, "face34-generic": _ORANGE, "face34-gender": _PINK}
NETWORK_COLOURS |= {"imagenet": _PINK, "generic": _ORANGE, "gender": _BROWN, "face": _CYAN, "asian": GREY}
NETWORK_COLOURS |= {"msceleb": "#BBBBBB"}  # by source task, like the networks that start from it

SOURCE_NAMES = {"imagenet": "objects, for resnet-34", "generic": "objects, for the face network"}
SOURCE_NAMES |= {"gender": "gender, for the face network", "face": "faces, for the face network"}
SOURCE_NAMES |= {"msceleb": "faces, for resnet-50", "asian": "other faces, for resnet-50"}
"""What a backbone was pre-trained on -> the name that people read."""

MEASURED = {"marker": "o", "color": INK}
PUBLISHED = {"marker": "D", "mfc": "w", "mec": GREY, "ls": "none"}
INTERVAL = {"elinewidth": 1.0, "capsize": 2, "capthick": 1.0}

_CAMERAS = {"RGB": "rgb", "IR": "ir", "Depth": "depth", "RGB+IR+Depth": "all"}
_CAMERAS |= {"A-rgb": "rgb", "A-ir": "ir", "A-depth": "depth", "all three": "all"}
_OTHERS = (_CYAN, _ORANGE, _BROWN, _PINK, GREY)

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
    "savefig.dpi": 125,
    "pdf.fonttype": 42,
    "figure.constrained_layout.use": True,
    "text.parse_math": False,  # names come from data: a dollar sign is a dollar sign
}


def use_style() -> None:
    """Make ``STYLE`` the default of all figures of this process."""
    plt.rcParams.update(STYLE)


def method_colour(name: str, position: int = 0) -> str:
    """Colour of a method, of one of its networks or of a camera: its own where it has one, else one by position."""
    if camera := _CAMERAS.get(name):
        return MODALITY_COLOURS[camera]
    return NETWORK_COLOURS.get(name.split(" ")[0].rstrip(":"), _OTHERS[position % len(_OTHERS)])


def label_of(name: str) -> str:
    """The name that people read: of a method the paper's letter or the experiment's title, of a backbone what it learned."""
    source, colon, rest = name.partition(": ")
    if colon and source in SOURCE_NAMES:
        classes = next((part for part in rest.split(", ") if part.endswith(" classes")), "")
        return ", ".join(filter(None, [SOURCE_NAMES[source], classes]))
    return name if name in MEMBERS or name not in EXPERIMENTS else EXPERIMENTS[name].title


def log_ticks(*axes) -> None:
    """Powers of ten as 0.01, 1, 100: with ``text.parse_math`` off, Matplotlib's own labels would show their markup.

    An axis within a factor of ten, which may hold no power of ten at all, has some of its other ticks labelled too: all
    where it spans less than a factor of three, else those of 2, 3 and 5, which have room.

    Args:
        axes: an ``Axis`` each, such as ``ax.xaxis``.
    """
    for axis in axes:
        axis.set_major_formatter(FuncFormatter(lambda value, _: _power(value)))
        axis.set_minor_formatter(
            FuncFormatter(lambda value, _, axis=axis: _power(value) if _has_room(axis, value) else "")
        )


def _power(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 1e-2 else f"{value:.0e}".replace("e-0", "e-")


def _has_room(axis, value: float) -> bool:
    low, high = sorted(axis.get_view_interval())
    if not 0 < low or high >= 10 * low:
        return False
    return high < 3 * low or f"{value:.0e}"[0] in "235"


def stretched_percent(axis, ends: float) -> None:
    """Ticks of an axis that has percent as log-odds: 1, 10, 50, 90, 99, 99.9 and so on.

    Args:
        axis: of scale ``logit`` in shares, such as ``ax.xaxis``, with its limits set.
        ends: the least share that is drawn; a tick at either end stands for 0 and 100.
    """
    low, high = axis.get_view_interval()
    tails = [1e-4, 1e-3, 1e-2, 0.1]
    if high * (1 - low) < 100 * low * (1 - high):  # less than a factor of 100 in the odds: room for more
        tails += [5e-4, 3e-3, 5e-3, 0.03, 0.05]
    inner = sorted({*tails, 0.3, 0.5, 0.7, *(1 - tail for tail in tails)})
    inner = [share for share in inner if 2 * ends < share < 1 - 2 * ends]
    axis.set_major_locator(FixedLocator([ends, *inner, 1 - ends]))
    axis.set_major_formatter(FuncFormatter(lambda share, _: _percent(share, ends)))
    axis.set_minor_locator(NullLocator())


def _percent(share: float, ends: float) -> str:
    return "0" if share <= ends else "100" if share >= 1 - ends else f"{100 * share:.6g}"

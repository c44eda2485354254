"""Figure 2: the network as a drawing, made of the parts and shapes of the network itself."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Polygon

from fasnb.lab.palette import CAMERA_NAMES, COLUMN, GREY, INK, MODALITY_COLOURS
from fasnb.model.network import ThreeBranchNetwork
from fasnb.model.parts import describe

_ROWS = (2.30, 1.90, 1.50)  # heights of the three branches, in inches like all places here
_MAIN, _CONCAT, _REDUCE, _AGGREGATE = 1.90, 1.12, 0.84, 0.48
_BOX, _HIGH, _STEP = 0.25, 0.20, 0.42  # a stage's width and height, and the way from one stage to the next
_FIRST = 0.69  # middle of stage 1

SYMBOLS = "⊕ concatenation, + addition, GAP: global average pooling"


def architecture(network: ThreeBranchNetwork, size: int = 112, width: float = COLUMN) -> Figure:
    """Figure 2 of a network: three branches, one bus a level, SE fusion, aggregation blocks, and output shapes.

    Args:
        network: what is drawn; also one without aggregation, with other fusion, or with one camera in all branches.
        size: height and width of its images in pixels.
        width: of the figure, in inches; everything grows with it.
    """
    shapes = dict(describe(network.architecture, size)[["part", "output"]].itertuples(index=False))
    low = 0.25 if network.aggregation else 1.25
    scale = width / COLUMN
    fig, ax = plt.subplots(figsize=(width, (2.55 - low) * scale), layout="none")
    fig.subplots_adjust(left=0, right=1, bottom=0, top=1)
    ax.set(xlim=(0, COLUMN), ylim=(low, 2.55))
    ax.axis("off")
    canvas = _Canvas(ax, scale)
    buses = _branches(canvas, network, shapes)
    embedding = _main_path(canvas, network, shapes, buses[network.architecture.fused_after - 1])
    if network.aggregation:
        _aggregation(canvas, network, shapes, buses, embedding)
    return fig


class _Canvas:
    """What a drawing is made of: boxes, circles, lines and words."""

    def __init__(self, ax: Axes, scale: float):
        self.ax, self.scale = ax, scale

    def box(self, x: float, y: float, text: str, colour: str = "#dddddd", wide: float = _BOX, high: float = _HIGH):
        shape = FancyBboxPatch((x - wide / 2, y - high / 2), wide, high, boxstyle="round,pad=0,rounding_size=0.025")
        shape.set(fc=colour, ec=INK, lw=0.5 * self.scale, zorder=2)
        self.ax.add_patch(shape)
        dark = sum(plt.matplotlib.colors.to_rgb(colour)) < 1.5
        self.words(x, y, text, 5.2, "w" if dark else INK)

    def area(self, corners: list[tuple[float, float]], colour: str):
        """A light ground behind what belongs together."""
        self.ax.add_patch(Polygon(corners, fc=colour, ec="none", zorder=0))

    def circle(self, x: float, y: float, text: str):
        self.ax.add_patch(Circle((x, y), 0.055, fc="w", ec=INK, lw=0.5 * self.scale, zorder=2))
        arms = [(x - 0.055, x + 0.055, y, y), (x, x, y - 0.055, y + 0.055)]
        for x1, x2, y1, y2 in arms if text == "⊕" else [(x - 0.03, x + 0.03, y, y), (x, x, y - 0.03, y + 0.03)]:
            self.ax.plot([x1, x2], [y1, y2], color=INK, lw=0.6 * self.scale, zorder=3)

    def line(self, *places: tuple[float, float], arrow: bool = True, lw: float = 0.6, colour: str = INK):
        xs, ys = zip(*places, strict=True)
        self.ax.plot(xs, ys, color=colour, lw=lw * self.scale, zorder=1, solid_capstyle="butt")
        if arrow:
            head = {"arrowstyle": "-|>,head_length=0.25,head_width=0.13", "color": colour, "lw": lw * self.scale}
            head |= {"shrinkA": 0, "shrinkB": 0, "mutation_scale": 6 * self.scale}
            self.ax.annotate("", places[-1], places[-2], arrowprops=head, zorder=1)

    def words(self, x: float, y: float, text: str, size: float = 5.0, colour: str = INK, **place):
        place = {"ha": "center", "va": "center", "linespacing": 1.05} | place
        self.ax.text(x, y, text, fontsize=size * self.scale, color=colour, zorder=4, **place)


def _shape(shapes: dict, part: str) -> str:
    return "×".join(map(str, shapes[part]))


def _branches(canvas: _Canvas, network: ThreeBranchNetwork, shapes: dict) -> list[float]:
    """The three rows; the height of none is crossed by what leaves the others. Places of the buses, one a level."""
    architecture = network.architecture
    places = [_FIRST + _STEP * level for level in range(architecture.fused_after)]
    for branch, (y, camera) in enumerate(zip(_ROWS, architecture.modalities, strict=True), 1):
        colour = MODALITY_COLOURS[camera]
        canvas.words(0.02, y, CAMERA_NAMES[camera], 5.2, ha="left")
        canvas.box(0.40, y, "stem", colour, wide=0.21)
        canvas.line((0.262, y), (0.295, y), arrow=False)
        canvas.line((0.505, y), (places[0] - _BOX / 2, y))
        for level, x in enumerate(places, 1):
            canvas.box(x, y, f"res{level}", colour)
            if level > 1:
                canvas.line((x - _STEP + _BOX / 2, y), (x - _BOX / 2, y))
            if branch == len(_ROWS):
                name = f"branch {branch} ({camera}) stage{level}"
                canvas.words(x, y - 0.155, _shape(shapes, name), 4.0, GREY)
    buses = [x + _STEP / 2 - 0.02 for x in places]
    for x in buses if network.aggregation else []:
        canvas.line((x, _ROWS[0]), (x, _CONCAT + 0.055), lw=1.2)
        for y in _ROWS:
            canvas.ax.plot(x, y, "o", ms=2.2 * canvas.scale, color=INK, zorder=3)
    return buses


def _main_path(canvas: _Canvas, network: ThreeBranchNetwork, shapes: dict, x: float) -> float:
    """From the last level of the branches to the head; returns where the embedding's addition, or the pooling, stands."""
    squeezed, start = network.architecture.fusion != "concat", x - _STEP / 2 + 0.02 + _BOX / 2
    after, join = x + 0.17, x + 0.35
    for y in _ROWS:
        if squeezed:
            canvas.line((start, y), (after - 0.08, y))
            canvas.box(after, y, "SE", wide=0.16)
        end = (join, _MAIN + (0.055 if y > _MAIN else -0.055)) if y != _MAIN else (join - 0.055, _MAIN)
        corner = [] if y == _MAIN else [(join, y)]
        canvas.line((after + 0.08 if squeezed else start, y), *corner, end)
    canvas.circle(join, _MAIN, "⊕")
    canvas.words(join + 0.03, (_ROWS[0] + _MAIN) / 2 + 0.03, _shape(shapes, "fusion"), 4.0, GREY, ha="left")
    at, before = join + 0.23, join + 0.055
    for name, _ in network.shared.named_children():
        canvas.line((before, _MAIN), (at - _BOX / 2, _MAIN))
        canvas.box(at, _MAIN, name.replace("stage", "res"))
        canvas.words(at, _MAIN - 0.155, _shape(shapes, f"shared {name}"), 4.0, GREY)
        at, before = at + 0.32, at + _BOX / 2
    canvas.line((before, _MAIN), (at - 0.13, _MAIN))
    canvas.box(at - 0.02, _MAIN, "GAP", wide=0.22)
    plus = at + 0.19
    head = COLUMN - 0.13
    canvas.line((at + 0.09, _MAIN), (head - 0.11, _MAIN))
    if network.aggregation:
        canvas.circle(plus, _MAIN, "+")
    canvas.box(head, _MAIN, "head", wide=0.22)
    canvas.words(head, _MAIN - 0.155, "2 logits", 4.0, GREY)
    return plus


def _ground(x: float, first: bool) -> list[tuple[float, float]]:
    """Corners of the ground of one aggregation block whose bus stands at ``x``: what its concatenation to its stage cover."""
    left, right, high, step, low = x - 0.12, x + 0.35, _CONCAT + 0.075, _REDUCE - 0.105, _AGGREGATE - 0.11
    below = left if first else x - 0.068  # where the block before ends
    return [
        (left, high),
        (x + 0.12, high),
        (x + 0.12, step),
        (right, step),
        (right, low),
        (below, low),
        (below, step),
        (left, step),
    ]


def _aggregation(canvas: _Canvas, network: ThreeBranchNetwork, shapes: dict, buses: list[float], plus: float) -> None:
    """The lower path: at each level concatenation, 1x1 convolution, addition of the block before, and a further stage."""
    for level, x in enumerate(buses, 1):
        canvas.area(_ground(x, first=level == 1), ("#E2E2E2", "#F1F1F1")[level % 2])
        canvas.circle(x, _CONCAT, "⊕")
        canvas.line((x, _CONCAT - 0.055), (x, _REDUCE + 0.085))
        canvas.box(x, _REDUCE, "1×1\nReLU", "w", wide=0.21, high=0.17)
        stage, wide = x + _STEP / 2 + 0.005, 0.25
        if level == 1:
            canvas.line((x, _REDUCE - 0.085), (x, _AGGREGATE), (stage - wide / 2, _AGGREGATE))
        else:
            canvas.line((x, _REDUCE - 0.085), (x, _AGGREGATE + 0.055))
            canvas.circle(x, _AGGREGATE, "+")
            canvas.line((x + 0.055, _AGGREGATE), (stage - wide / 2, _AGGREGATE))
        canvas.box(stage, _AGGREGATE, f"res{level + 1}", "w", wide)
        canvas.words(stage, _AGGREGATE + 0.15, f"agg{level}", 5.2)
        canvas.words(stage, _AGGREGATE - 0.155, _shape(shapes, f"aggregation {level}"), 4.0, GREY)
        if level < len(buses):
            canvas.line((stage + wide / 2, _AGGREGATE), (buses[level] - 0.055, _AGGREGATE))
    pool = stage + 0.42
    canvas.line((stage + wide / 2, _AGGREGATE), (pool - 0.11, _AGGREGATE))
    canvas.box(pool, _AGGREGATE, "GAP", wide=0.22)
    canvas.line((pool + 0.11, _AGGREGATE), (plus, _AGGREGATE), (plus, _MAIN - 0.055))

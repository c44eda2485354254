"""The explorer of scores: histogram, counts, scatter and frames that follow one threshold; what it shows is explorer.js.

The same data and the same ES module serve a notebook with a kernel (through anywidget) and a page without one. Where no
front end shows widgets, as under papermill, a figure stands in its place.
"""

import base64
import gzip
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path

import anywidget
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import traitlets
from IPython import get_ipython
from matplotlib.figure import Figure
from PIL import Image

from fasnb.data.store import Source
from fasnb.lab.figures import CLASS_COLOURS, PAGE, label_of
from fasnb.lab.palette import log_ticks
from fasnb.lab.pictures import TITLES, picture
from fasnb.metrics.ensembles import disagreement
from fasnb.metrics.pad import allowed_attacks, checked_scores, fpr_name, threshold_at_fpr
from fasnb.metrics.provenance import provenance
from fasnb.metrics.scores import average, facts, matrix, networks
from fasnb.paper.published import TABLE1
from fasnb.tools.files import write_text

SCRIPT, STYLE = (Path(__file__).with_name(f"explorer.{ending}") for ending in ("js", "css"))
LIVE_PIXELS, PAGE_PIXELS = 112, 64  # height and width of a camera's picture in a notebook, and in a page
PAGE_PICTURES = 240  # frames whose pictures a page holds


class Explorer(anywidget.AnyWidget):
    """Scores of networks to look into: ``Explorer(scores)`` as the last line of a cell shows it.

    One can choose among every experiment (mean of its folds and seeds, as the ensemble counts it), the ensemble of them
    where there are several, and every single network. Frames are counted as ``fasnb.metrics.pad`` counts them.

    Args:
        scores: scores table with labels, one row a frame and network.
        source: where the frames' pictures come from; None shows none. Its ``sample`` names are those of the scores.
        fprs: target FPRs to choose from, in [0, 1].
        fpr: the one that sets the thresholds at first; by default the smallest.

    Attributes:
        picked: numbers of the frames selected in the scatter, rows of ``table``.
        table: one row a frame, index ``sample``: label, attack, subject, disagreement and every method's score.

    Raises:
        ValueError: labels that are missing or of one class, scores that are no numbers, an FPR outside [0, 1].
        IncompleteError: networks or frames are missing, see ``fasnb.metrics.scores.average``.
    """

    _esm, _css = SCRIPT, STYLE
    data = traitlets.Bytes().tag(sync=True)
    picked = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(
        self,
        scores: pd.DataFrame,
        source: Source | None = None,
        fprs: Sequence[float] = (1e-2, 1e-3, 1e-4),
        fpr: float | None = None,
    ):
        if not len(fprs):
            raise ValueError("fprs is empty; give at least one target FPR in [0, 1]")
        self.fpr = min(fprs) if fpr is None else fpr
        self.fprs, self.source = sorted({*fprs, self.fpr}, reverse=True), source
        self.provenance = provenance(scores, [self.fpr])
        self.methods, self.singles = methods_of(scores)
        known, columns = facts(scores), self.methods.join(self.singles)
        checked_scores(known["label"], columns.to_numpy().T, several=True)
        for target in self.fprs:
            allowed_attacks(target, len(known))  # refuses what is no FPR
        compared = self.methods.drop(columns="ensemble", errors="ignore")
        deviation = disagreement(compared if compared.shape[1] > 1 or self.singles.empty else self.singles)
        self.table = known.assign(disagreement=deviation).join(columns)
        row_of = {} if source is None else dict(zip(source.frames["sample"], range(len(source.frames)), strict=True))
        self._rows = [row_of.get(sample) for sample in self.table.index]
        super().__init__(data=self.packed())
        self.on_msg(self._answer)

    @property
    def selection(self) -> pd.DataFrame:
        """The rows of ``table`` that are selected in the scatter."""
        return self.table.iloc[list(self.picked)]

    def open(self) -> None:
        """Open the way to the front end, if there is one that shows widgets (ipywidgets calls this)."""
        if is_live():
            super().open()

    def _repr_mimebundle_(self, **options) -> dict:
        """The widget where it is live, and the figure for every reader that shows no widgets."""
        file = io.BytesIO()
        fig = self.figure()
        fig.savefig(file, format="png", metadata={"Software": None})
        plt.close(fig)
        shown = {"text/plain": f"Explorer of {len(self.table):,} frames; live in JupyterLab and in report.html"}
        shown |= {"image/png": base64.b64encode(file.getvalue()).decode()}
        if is_live():
            self.open()
            view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
            shown |= {"application/vnd.jupyter.widget-view+json": view}
        return shown

    def packed(self, shown: Sequence[int] = (), singles: bool = True) -> bytes:
        """Everything that explorer.js needs; with the pictures of some frames (rows of ``table``) for a page."""
        found = zip(shown, self.pictures(shown, PAGE_PIXELS), strict=True)
        pictures = {frame: webp for frame, webp in found if webp}
        at_hand = bool(pictures) if len(shown) else any(row is not None for row in self._rows)
        columns = {name: "method" for name in self.methods}
        columns |= {name: "network" for name in self.singles if singles}
        subjects = pd.Categorical(self.table["subject"].astype(object))
        attacks = self.table["attack"].fillna(-1).to_numpy("int8")
        header = {
            "methods": [{"name": name, "title": label_of(name), "kind": kind} for name, kind in columns.items()],
            "chosen": self.methods.shape[1] - 1,
            "fprs": [[fpr, fpr_name(fpr)] for fpr in self.fprs],
            "fpr": self.fpr,
            "samples": [str(sample) for sample in self.table.index],
            "subjects": [str(subject) for subject in subjects.categories],
            "attacks": {int(kind): attack_name(kind) for kind in np.unique(attacks[attacks > 0])},
            "colours": CLASS_COLOURS,
            "images": at_hand,
            "cameras": [TITLES.get(name, name) for name in self.source.channels] if at_hand else [],
        }
        parts = {
            "label": self.table["label"].to_numpy("int8").tobytes(),
            "attack": attacks.tobytes(),
            "subject": subjects.codes.astype("<i4").tobytes(),
            "deviation": in_planes(self.table["disagreement"]),
            "scores": in_planes(self.table[list(columns)].to_numpy().T),
        }
        parts |= pictures
        starts = np.cumsum([0, *map(len, parts.values())])
        places = {name: [int(start), len(part)] for start, (name, part) in zip(starts, parts.items(), strict=False)}
        header |= {name: place for name, place in places.items() if isinstance(name, str)}
        header["pictures"] = [[int(name), *place] for name, place in places.items() if not isinstance(name, str)]
        text = json.dumps(header).encode()
        return b"".join([len(text).to_bytes(4, "little"), text, *parts.values()])

    def pictures(self, frames: Sequence[int], pixels: int) -> list[bytes]:
        """The cameras of each frame side by side, as WebP, depth stretched for the eye; empty where it cannot be read on this machine."""
        rows = [self._rows[frame] for frame in frames]
        try:
            return [self._webp(image, pixels) for image in np.asarray(self.source.read(rows))]
        except (OSError, ValueError, TypeError, AttributeError):  # no source, or a frame that cannot be read
            return [b""] if len(rows) == 1 else [self.pictures([frame], pixels)[0] for frame in frames]

    def _webp(self, image: np.ndarray, pixels: int) -> bytes:
        parts = [picture(image, name, self.source.channels) for name in self.source.channels]
        side = Image.fromarray(np.hstack([part if part.ndim == 3 else np.dstack([part] * 3) for part in parts]))
        if image.shape[1] > pixels:
            side = side.resize((pixels * len(parts), pixels), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        side.save(file, "WEBP", quality=75)
        return file.getvalue()

    def _answer(self, _, message: dict, buffers) -> None:
        """Send the pictures that the front end asks for."""
        if message.get("kind") == "pictures":
            frames = [int(frame) for frame in message["frames"] if 0 <= int(frame) < len(self.table)]
            self.send({"kind": "pictures", "frames": frames}, self.pictures(frames, LIVE_PIXELS))

    def telling(self, count: int = PAGE_PICTURES) -> list[int]:
        """Rows of ``table`` whose pictures a page should hold: most disagreed, and nearest to a threshold, in turns."""
        label, orders = self.table["label"], []
        for name in self.methods:
            distance = (self.table[name] - threshold_at_fpr(label, self.table[name], self.fpr)).abs().to_numpy()
            orders.append(np.argsort(distance, kind="stable"))
        spread = -self.table["disagreement"].to_numpy()
        orders += [np.argsort(np.where(keep, spread, 0), kind="stable") for keep in (True, label == 0, label == 1)]
        turns = np.stack([order[:count] for order in orders], axis=1).ravel()
        return [int(frame) for frame in dict.fromkeys(turns.tolist())][:count]

    def write_page(self, path: Path, singles: bool = True) -> Path:
        """A page of its own with the explorer, which asks nothing of any kernel or network.

        ``singles``: with every single network; without them it takes half of the space and less.
        """
        packed = self.packed(self.telling(PAGE_PICTURES if singles else PAGE_PICTURES // 2), singles)
        packed = base64.b64encode(gzip.compress(packed, 9, mtime=0)).decode()
        style = STYLE.read_text(encoding="utf-8")
        script = SCRIPT.read_text(encoding="utf-8").replace("</script", r"<\/script")
        return write_text(
            path, PAGE_TEXT.replace("@data@", packed).replace("@style@", style).replace("@script@", script)
        )

    def figure(self) -> Figure:
        """What stands for the explorer where nothing can be moved: its two views at the first threshold."""
        name = self.methods.columns[-1]
        score, label = self.table[name], self.table["label"]
        fig, (top, below) = plt.subplots(2, 1, figsize=(PAGE * 0.75, 3.6), sharex=True)
        for value, cls, marker in ((1, "bona fide", "s"), (0, "attack", "+")):
            style = {"color": CLASS_COLOURS[cls], "label": cls}
            part = self.table[label == value]
            shape = {"histtype": "stepfilled", "alpha": 0.7} if value else {"histtype": "step"}  # areas, and an outline
            top.hist(part[name], np.linspace(min(0, score.min()), max(1, score.max()), 81), **shape, **style)
            below.scatter(part[name], part["disagreement"], 8, marker=marker, linewidths=0.6, rasterized=True, **style)
        for ax in (top, below):
            ax.axvline(threshold_at_fpr(label, score, self.fpr), color="k", lw=0.8, ls="--")
        top.set(yscale="log", ylabel="frames")
        log_ticks(top.yaxis)
        below.set(xlabel=f"score of {label_of(name)}", ylabel="disagreement")
        top.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        return fig


def is_live() -> bool:
    """Whether the running cell was sent by a front end that shows widgets.

    JupyterLab names the cell in the request; papermill, nbconvert and other programs that execute notebooks do not.
    """
    kernel = getattr(get_ipython(), "kernel", None)
    return kernel is not None and "cellId" in kernel.get_parent("shell").get("metadata", {})


def methods_of(scores: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores side by side, (n, methods) and (n, networks): the experiments and their ensemble; the single networks.

    An experiment of one network is no second time among the networks.
    """
    means, found = matrix(average(scores)), networks(scores)
    if means.shape[1] > 1:
        whole = average(scores, over=("fold", "seed", "experiment")).set_index("sample")["score"]
        means = means.assign(ensemble=whole.reindex(means.index))
    several = {name for name in means if sum(experiment == name for experiment, _, _ in found) > 1}
    table = scores[scores["experiment"].isin(several)]
    parts = {
        " ".join([label_of(e), *(f"{what} {n}" for what, n in (("fold", fold), ("seed", seed)) if pd.notna(n))]): part
        for (e, fold, seed), part in table.groupby(["experiment", "fold", "seed"], sort=False, dropna=False)
    }
    single = {name: part.set_index("sample")["score"].reindex(means.index) for name, part in parts.items()}
    return means.rename_axis(columns=None), pd.DataFrame(single, index=means.index)


def attack_name(kind: int) -> str:
    """What Table 1 says of an attack, such as "attack 3: flat, eyes and nose cut"; its number where it says nothing."""
    for row in TABLE1[TABLE1["attack"] == kind].itertuples():
        cut = [region for region in ("eyes", "nose", "mouth") if getattr(row, region)]
        return f"attack {kind}: {row.surface}, {' and '.join([', '.join(cut[:-1]), cut[-1]] if cut[1:] else cut)} cut"
    return f"attack {kind}"


def in_planes(values) -> bytes:
    """Doubles with all first bytes together, then all second ones, and so on, which compress to about half."""
    return np.ascontiguousarray(values, dtype="<f8").view("u1").reshape(-1, 8).T.tobytes()


def frame(path: Path, title: str) -> str:
    """HTML of a frame that holds a page of ``Explorer.write_page`` whole, apart from the document around it."""
    page = html.escape(path.read_text(encoding="utf-8"))
    about = f'class="explorer" title="{html.escape(title)}" sandbox="allow-scripts allow-downloads"'
    return f'<iframe {about} srcdoc="{page}"></iframe>'


PAGE_TEXT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:">
<title>Explorer</title><style>
body { margin: 0; background: #fff; }
@style@</style></head><body><main></main>
<script type="text/plain" id="packed">@data@</script>
<script type="module">
@script@
startPage(document.querySelector("main"), document.querySelector("#packed").textContent);
</script></body></html>
"""

"""The explorer of scores: histogram, counts, scatter and frames that follow one threshold. What it shows is
explorer.js, for a notebook with a kernel (through anywidget) as for a page without one."""

import base64
import gzip
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import anywidget
import numpy as np
import pandas as pd
import traitlets
from IPython import get_ipython
from PIL import Image

from fasnb.data.scores import completed
from fasnb.data.store import Source
from fasnb.lab.plots import CAMERA_NAMES, CLASS_COLOURS, label_of, picture
from fasnb.metrics.ensembles import average, facts, matrix
from fasnb.metrics.pad import fpr_name, threshold_at_fpr
from fasnb.paper.published import TABLE1
from fasnb.tools.files import write_text

SCRIPT, STYLE, PAGE = (Path(__file__).with_name(f"explorer.{ending}") for ending in ("js", "css", "html"))
LIVE_PIXELS, PAGE_PIXELS = 112, 64  # height and width of a camera's picture in a notebook, and in a page
PAGE_PICTURES = 160  # frames whose pictures a page holds


class Walk(NamedTuple):
    """A guided walk of an explorer: a button that sets every control and says in one sentence what to look at."""

    title: str
    look: str
    frames: Sequence[str] = ()  # samples that are selected
    controls: Mapping[str, str] = {}  # by their data-testid in explorer.js, the others as at the beginning


class Explorer(anywidget.AnyWidget):
    """Scores of networks to look into: ``show(Explorer(scores), name, sentence)``.

    One can choose among every experiment (mean of its folds and seeds, as the ensemble counts it), the ensemble of them
    where there are several, and every single network. Frames are counted as ``fasnb.metrics.pad`` counts them.
    IncompleteError where networks or frames are missing, ValueError where labels, scores or an FPR cannot be counted.

    Args:
        scores: scores table with labels, one row a frame and network.
        source: where the frames' pictures come from; None shows none. Its ``sample`` names are those of the scores.
        fprs, fpr: target FPRs to choose from, in [0, 1]; the one to begin with, by default the smallest.
        walks: ``Walk``s to choose from; a link whose title is that of one begins it. ValueError for unknown values.
    """

    _esm, _css = SCRIPT, STYLE
    data = traitlets.Bytes().tag(sync=True)
    picked = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self, scores, source: Source | None = None, fprs=(1e-2, 1e-3, 1e-4), fpr=None, walks=()):
        self.fpr = min(fprs) if fpr is None else fpr
        self.fprs, self.source = sorted({*fprs, self.fpr}, reverse=True), source
        self.methods, self.singles = methods_of(scores := completed(scores))
        known, columns = facts(scores), self.methods.join(self.singles)
        at = {name: [threshold_at_fpr(known["label"], columns[name], fpr) for fpr in self.fprs] for name in columns}
        self.thresholds = pd.DataFrame(at, index=self.fprs)
        members = self.methods.drop(columns="ensemble", errors="ignore")
        disagreed = members if members.shape[1] > 1 or self.singles.empty else self.singles
        self.table = known.assign(disagreement=disagreed.std(axis=1, ddof=0)).join(columns)
        row_of = {} if source is None else dict(zip(source.frames["sample"], range(len(source.frames)), strict=True))
        self._rows = [row_of.get(sample) for sample in self.table.index]
        listed = pd.DataFrame() if source is None else source.frames
        self.cameras = [c for c in getattr(source, "channels", ()) if c not in listed or listed[c].notna().any()]
        self.walks = [self._prepared(walk) for walk in walks]
        super().__init__(data=self.packed())
        self.on_msg(self._answer)

    def _prepared(self, walk: Walk) -> dict:
        """A walk as explorer.js takes it: its frames are rows of the table."""
        named = [walk.controls[one] for one in ("method", "against") if one in walk.controls]
        if lost := {*named} - {*self.methods} or {*walk.frames} - {*self.table.index}:
            raise ValueError(f"the walk {walk.title!r} names {min(lost)!r}, which this explorer does not have")
        rows = self.table.index.get_indexer(list(walk.frames)).tolist()
        return walk._asdict() | {"frames": rows, "controls": dict(walk.controls)}

    @property
    def selection(self) -> pd.DataFrame:
        """The rows of ``table`` that are selected in the scatter."""
        return self.table.iloc[list(self.picked)]

    def open(self) -> None:
        """Open the way to the front end, if there is one that shows widgets (ipywidgets calls this)."""
        if is_live():
            super().open()

    def _repr_mimebundle_(self, **options):
        """The widget where it is live, and a sentence for every reader that shows no widgets."""
        told = f"Explorer of {len(self.table):,} frames; live in JupyterLab and in report.html"
        return super()._repr_mimebundle_(**options) if is_live() else {"text/plain": told}

    def packed(self, shown: Sequence[int] = (), singles: bool = True) -> bytes:
        """What explorer.js needs: length of a header (4 bytes), header (JSON), scores and disagreement (doubles).

        The pictures of frames ``shown`` (rows of ``table``) go with it, for a page without a kernel; ``singles`` says
        whether every single network does, which takes most of the bytes.
        """
        columns, known = (self.thresholds if singles else self.methods).columns, self.table
        thresholds = self.thresholds[columns].astype(object)
        words = sorted(known["attack"].dropna().unique()) if known["attack"].dtype == "string" else []
        attacks = known["attack"].map(lambda kind: words.index(kind) + 1 if words else kind, na_action="ignore")
        attacks, scores = attacks.fillna(-1).astype(int), known[columns].to_numpy()
        subject, subjects = pd.factorize(known["subject"], sort=True)
        at_hand = any(self.picture_of(frame, PAGE_PIXELS) for frame in self.telling()[:3])
        header = {
            "methods": [{"name": name, "title": label_of(name)} for name in columns],
            "compared": list(range(self.methods.shape[1] if self.methods.shape[1] > 1 else len(columns))),
            "chosen": self.methods.shape[1] - 1,
            "fprs": [[fpr, fpr_name(fpr)] for fpr in self.fprs],
            "fpr": self.fpr,
            "thresholds": thresholds.where(thresholds > -np.inf, None).to_numpy().tolist(),
            "ends": [min(0.0, scores.min()), max(1.0, scores.max())],
            "mostDeviation": max(known["disagreement"].max(), 1e-12),
            "samples": [str(sample) for sample in known.index],
            "label": known["label"].tolist(),
            "attack": attacks.tolist(),
            "attacks": dict(enumerate(words, 1)) or {k: attack_name(k) for k in sorted(set(attacks)) if k > 0},
            "subject": subject.tolist(),
            "subjects": [str(name) for name in subjects],
            "colours": CLASS_COLOURS,
            "images": at_hand,
            "walks": self.walks,
            "cameras": [CAMERA_NAMES.get(name, name) for name in self.cameras] if at_hand else [],
            "pictures": [(frame, self.picture_of(frame, PAGE_PIXELS)) for frame in shown],
        }
        text = json.dumps(header).encode()
        doubles = np.vstack([scores.T, known["disagreement"]]).astype("<f8").tobytes()
        return len(text).to_bytes(4, "little") + text + doubles

    def picture_of(self, frame: int, pixels: int) -> str:
        """The cameras of a frame (row of ``table``) side by side: WebP in base64, empty where it cannot be read."""
        try:
            image = np.asarray(self.source.read([self._rows[frame]]))[0]
        except (OSError, ValueError, TypeError, AttributeError):  # no source, or a frame that is not on this machine
            return ""
        parts = [picture(image, name, self.source.channels) for name in self.cameras]
        side = Image.fromarray(np.hstack([part if part.ndim == 3 else np.dstack([part] * 3) for part in parts]))
        side.thumbnail((pixels * len(parts), pixels), Image.Resampling.LANCZOS)
        side.save(file := io.BytesIO(), "WEBP", quality=75)
        return base64.b64encode(file.getvalue()).decode()

    def _answer(self, _, message: dict, buffers) -> None:
        """Send the pictures that the front end asks for; it sends no other message."""
        pictures = [(frame, self.picture_of(frame, LIVE_PIXELS)) for frame in message["frames"]]
        self.send({"kind": "pictures", "pictures": pictures})

    def telling(self) -> list[int]:
        """Rows of ``table`` whose pictures a page holds: of walks; then the most disagreed, the worst, and the nearest to
        a threshold, in turns."""
        score, label = self.table[self.methods.columns[-1]], self.table["label"]
        keys = [-self.table["disagreement"], -score.where(label == 0, -np.inf), score.where(label == 1, np.inf)]
        keys += [(self.table[name] - self.thresholds.loc[self.fpr, name]).abs() for name in self.methods]
        turns = np.stack([np.argsort(key.to_numpy(), kind="stable")[:PAGE_PICTURES] for key in keys], axis=1)
        chosen = [row for walk in self.walks for row in walk["frames"]]
        return list(dict.fromkeys([*chosen, *turns.ravel().tolist()]))[:PAGE_PICTURES]

    def write_page(self, path: Path) -> Path:
        """A page of its own with the explorer of the methods, which asks nothing of any kernel or network."""
        packed = gzip.compress(self.packed(self.telling(), singles=False), 9, mtime=0)
        page = PAGE.read_text(encoding="utf-8").replace("@data@", base64.b64encode(packed).decode())
        page = page.replace("@style@", STYLE.read_text(encoding="utf-8"))
        return write_text(path, page.replace("@script@", SCRIPT.read_text(encoding="utf-8")))


def is_live() -> bool:
    """Whether the running cell was sent by a front end that shows widgets. JupyterLab names the cell, papermill not."""
    kernel = getattr(get_ipython(), "kernel", None)
    return kernel is not None and "cellId" in kernel.get_parent("shell").get("metadata", {})


def methods_of(scores: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of the experiments and their ensemble, (n, methods), and of single networks, where there are several."""
    means = matrix(average(scores)).rename_axis(columns=None)
    if means.shape[1] > 1:
        means["ensemble"] = average(scores, ("fold", "seed", "experiment")).set_index("sample")["score"]
    single = {}
    for experiment, table in scores.groupby("experiment", sort=False):
        parts = list(table.groupby(["fold", "seed"], sort=False, dropna=False))
        for (fold, seed), part in parts if len(parts) > 1 else ():
            known = [f"{what} {number}" for what, number in (("fold", fold), ("seed", seed)) if pd.notna(number)]
            single[" ".join([label_of(experiment), *known])] = part.set_index("sample")["score"]
    return means, pd.DataFrame(single, index=means.index)


def attack_name(kind: int) -> str:
    """What Table 1 says of an attack, such as "attack 3: flat; cut: eyes, nose"; its number where it says nothing."""
    for row in TABLE1[TABLE1["attack"] == kind].itertuples():
        cut = ", ".join(region for region in ("eyes", "nose", "mouth") if getattr(row, region))
        return f"attack {kind}: {row.surface}; cut: {cut}"
    return f"attack {kind}"


def frame(path: Path, title: str) -> str:
    """HTML of a frame that holds a page of ``Explorer.write_page`` whole, apart from the document around it."""
    page = html.escape(path.read_text(encoding="utf-8"))
    about = f'class="explorer" title="{html.escape(title)}" sandbox="allow-scripts allow-downloads"'
    return f'<iframe {about} srcdoc="{page}"></iframe>'

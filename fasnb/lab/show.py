"""Show a table, a figure or an explorer: find what it is made of, say so in its caption, write its files, display it."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine

from fasnb.lab.explorer import Explorer
from fasnb.lab.tables import Caption, Shown, dropped_empty, markdown_text, write_table
from fasnb.metrics.provenance import provenance
from fasnb.paper.profile import Profile
from fasnb.tools.files import replace_file, write_text

SOURCES = {
    "synthetic": "SynthSURF, a synthetic stand-in for CASIA-SURF",
    "casia-surf": "CASIA-SURF, networks trained by this study",
    "released": "the authors' released scores on CASIA-SURF",
}


class Show:
    """``show(table_or_figure, "05-table3", "one sentence")`` in the notebooks of one study.

    Args:
        profile: the study's.
        out: its results folder; tables and figures are written below it. None writes nothing.
    """

    def __init__(self, profile: Profile, out: Path | None):
        self.profile, self.out = profile, out

    def __call__(
        self,
        what: pd.DataFrame | Figure | Explorer,
        name: str,
        sentence: str,
        of: pd.DataFrame | None = None,
        digits: int = 2,
    ) -> None:
        """Write and display.

        Args:
            name: of the files, below ``tables`` or ``figures``.
            sentence: what is to be seen; ``{fpr}`` in it becomes the FPR that the numbers stand at.
            of: the scores or frames that the numbers are of, where ``what`` does not say so itself
                (``fasnb.metrics.provenance``).
            digits: decimals of a table's cells.
        """
        known = dict(getattr(what, "provenance", None) or getattr(what, "attrs", {}))
        known |= {} if of is None else provenance(of)
        columns = list(dropped_empty(what)) if isinstance(what, pd.DataFrame) else []
        if isinstance(what, pd.DataFrame) and {"low", "high"} <= set(what) - set(columns):
            known.pop("limits", None)
        caption = self.caption(sentence, known, columns)
        if isinstance(what, Figure):
            self._figure(what, name, caption)
            return
        if isinstance(what, Explorer):
            self._explorer(what, name, caption)
            return
        if self.out is not None:
            write_table(what, self.out / "tables", name, caption, digits)
        display(Shown(what, name, caption, digits))

    def caption(self, sentence: str, known: dict, columns: Sequence[str] = ()) -> str:
        """The sentence, and where the numbers come from: source, profile, seeds, frames, and what kinds of limits they have.

        Args:
            known: as of ``fasnb.metrics.provenance``.
            columns: those that are shown.
        """
        sentence = sentence.replace("{fpr}", known.get("fpr", "")).rstrip(".")
        if "published" in known:
            return f"{sentence}. Source: {known['published']}."
        parts = [f"Source: {SOURCES[self.profile.source]}", f"profile {self.profile.name}"]
        seeds = known.get("seeds", ())
        if len(seeds):
            named = " (7 and 704 in the authors' options)" if self.profile.source == "released" else ""
            parts += [f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}{named}"]
        if "frames" in known:
            counts = f"{known['bona fide']:,} bona fide, {known['attack']:,} attack"
            parts += [f"{known['frames']:,} frames ({counts})"]
            parts += kinds_of_limits(known, columns) or ["no interval"]
        return f"{sentence}. {'; '.join(parts)}."

    def _figure(self, fig: Figure, name: str, caption: str) -> None:
        """PNG and PDF, the caption beside them in a text file."""
        fig.draw_without_rendering()
        # it is laid out now; PNG, PDF and page would each do it again, and after a first file also where there was no engine
        laid_out = fig.get_layout_engine() is None
        fig.set_layout_engine(PlaceHolderLayoutEngine(True, True) if laid_out else "none")
        if self.out is not None:
            for suffix, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None, "Producer": None})):
                path = self.out / "figures" / f"{name}.{suffix}"
                replace_file(path, lambda to, metadata=metadata: fig.savefig(to, metadata=metadata))
            write_text(self.out / "figures" / f"{name}.txt", caption + "\n")
        plt.show()
        display(Caption(caption))

    def _explorer(self, explorer: Explorer, name: str, caption: str) -> None:
        """The page that the report holds in the place of the output, whose metadata name it; and the explorer itself.

        A second page without single networks, half as large, is for the report that the repository shows.
        """
        page = {}
        if self.out is not None:
            explorer.write_page(self.out / "explorer" / f"{name}.html")
            explorer.write_page(self.out / "explorer" / f"{name}.methods.html", singles=False)
            page = {"fasnb": {"page": f"explorer/{name}.html"}}
        display(explorer, metadata=page)
        display(Caption(caption))


def say(text: str) -> None:
    """Display what a study says: one line as a paragraph, several as a list, with nothing of it read as markup."""
    lines = [markdown_text(line) for line in text.splitlines()]
    display(Markdown(lines[0] if len(lines) == 1 else "\n".join(f"- {line}" for line in lines)))


def kinds_of_limits(known: dict, columns: Sequence[str]) -> list[str]:
    """What the limits are: those that the table says it has, and those that its columns name; a text for each kind."""
    unit = "frames" if known.get("subjects") is None else f"{known['subjects']:,} subjects"
    drawn = f"bootstrap of {unit}, {known.get('replicates', 0):,} replicates"
    of_columns = {
        "bootstrap": f"95% intervals: {drawn}",
        "seeds": f"95% intervals: Student's, of the variance between seeds and that of a {drawn}",
        "exact": "95% intervals: exact (Clopper-Pearson), of independent frames",
    }
    kinds = []
    if "limits" in known:
        kinds.append(of_columns[known["limits"]])
    if "system low" in columns:
        counted = "frames" if known.get("subjects") is None else "the effective number of frames"
        kinds.append(
            f"limits of this system: exact (Clopper-Pearson) on {counted}, 95% for the TPR, 97.5% for the FPR; none where several "
            "seeds are several systems"
        )
    if "FPR up to, clips" in columns:
        kinds.append("clips: every attack video, not every frame, as one independent unit")
    return kinds

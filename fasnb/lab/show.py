"""Show a table or a figure: find what it is made of, say so in its caption, write its files, display it."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from fasnb.lab.tables import Shown, markdown_text, write_table
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
        self, what: pd.DataFrame | Figure, name: str, sentence: str, of: pd.DataFrame | None = None, digits: int = 2
    ) -> None:
        """Write and display.

        Args:
            name: of the files, below ``tables`` or ``figures``.
            sentence: what is to be seen; ``{fpr}`` in it becomes the FPR that the numbers stand at.
            of: the scores or frames that the numbers are of, where ``what`` does not say so itself
                (``fasnb.metrics.provenance``).
            digits: decimals of a table's cells.
        """
        known = getattr(what, "provenance", None) or dict(getattr(what, "attrs", {}))
        caption = self.caption(sentence, known if of is None else known | provenance(of))
        if isinstance(what, Figure):
            self._figure(what, name, caption)
            return
        if self.out is not None:
            write_table(what, self.out / "tables", name, caption, digits)
        display(Shown(what, name, caption, digits))

    def caption(self, sentence: str, known: dict) -> str:
        """The sentence, and where the numbers come from: source, profile, seeds, frames, kind of interval."""
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
        if "replicates" in known:
            unit = "frames" if known.get("subjects") is None else f"{known['subjects']:,} subjects"
            parts += [f"95% intervals: bootstrap of {unit}, {known['replicates']:,} replicates"]
        elif "frames" in known and "exact" not in known:
            parts += ["no interval"]
        return f"{sentence}. {'; '.join(parts)}."

    def _figure(self, fig: Figure, name: str, caption: str) -> None:
        """PNG and PDF, the caption beside them in a text file."""
        fig.draw_without_rendering()
        fig.set_layout_engine("none")  # it is laid out now; PNG, PDF and page would each do it again
        if self.out is not None:
            for suffix, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None, "Producer": None})):
                path = self.out / "figures" / f"{name}.{suffix}"
                replace_file(path, lambda to, metadata=metadata: fig.savefig(to, metadata=metadata))
            write_text(self.out / "figures" / f"{name}.txt", caption + "\n")
        plt.show()
        display(Markdown(f"*{markdown_text(caption)}*"))

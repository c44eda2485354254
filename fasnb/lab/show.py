"""Show a table, a figure or an explorer: write its files, display it, with a caption that says what it is made of.

Names of frames, subjects and methods come from data: nothing of them is read as HTML, Markdown or LaTeX.
"""

import html
import re
from functools import partial
from numbers import Integral, Real
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine

from fasnb.lab.explorer import Explorer
from fasnb.lab.plots import label_of
from fasnb.metrics.pad import fpr_name
from fasnb.paper.profile import Profile
from fasnb.tools.files import replace_file, write_text

SOURCES = {
    "synthetic": "SynthSURF, a synthetic stand-in for CASIA-SURF",
    "casia-surf": "CASIA-SURF, networks trained by this study",
    "released": "the authors' released scores on CASIA-SURF",
    "frames": "frames of one's own, networks trained by this study",
}
# what stands in small grey print below each figure
MARKS = {"synthetic": "SynthSURF", "casia-surf": "CASIA-SURF", "released": "released scores", "frames": "own frames"}
DASH = "–"
_NAMED_COLUMNS = ("experiment", "better", "worse", "refused by")
_LATEX = {special: f"\\{special}" for special in "&%$#_{}"} | {DASH: "--", "\\": r"\textbackslash{}"}
_LATEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"}


class Show:
    """``show(what, name, sentence)`` in notebooks of a study with this profile; writes files below ``out``, if any."""

    def __init__(self, profile: Profile, out: Path | None):
        self.profile, self.out = profile, out

    def __call__(self, what, name: str, sentence: str, of: pd.DataFrame | str | None = None, digits: int = 2) -> None:
        """Write the files of ``what``, a table (DataFrame), Figure or Explorer, and display it.

        A table becomes ``tables/<name>.csv`` (all digits), ``.md`` and ``.tex``; a figure ``figures/<name>.png``,
        ``.pdf`` and its caption ``.txt``; an explorer the page ``explorer/<name>.html`` of the report.

        Args:
            name: of the files, such as "05-table3".
            sentence: what is to be seen, one sentence; ``{fpr}`` in it becomes the profile's headline FPR.
            of: the scores table or frame table that the numbers are of, for the caption; or another source, as a text.
            digits: decimals of a table's cells.
        """
        sentence = sentence.replace("{fpr}", fpr_name(self.profile.headline_fpr)).rstrip(".") + "."
        origin = f"Source: {of}." if isinstance(of, str) else self._origin(of)
        caption, body, text = f"{sentence} {origin}", "", ""
        if isinstance(what, Figure):
            self._figure(what, name, caption, of if isinstance(of, str) else MARKS[self.profile.source])
        elif isinstance(what, Explorer):
            page = f"explorer/{name}.html"  # which the report holds in the place of the output
            if self.out is not None:
                what.write_page(self.out / page)
            display(what, metadata={"fasnb": {"page": page}} if self.out else {})
        else:
            cells = readable(what, digits)
            body, text = html_table(cells), markdown(cells) + "\n"
            self._write("tables", f"{name}.csv", what.to_csv(index=False))
            self._write("tables", f"{name}.md", f"{text}{markdown_text(caption)}\n")
            self._write("tables", f"{name}.tex", latex(cells, name, caption))
        folded = f"<summary>where these numbers come from</summary>{html.escape(origin)}"
        page = f'<p class="caption"><em>{html.escape(sentence)}</em></p>\n{body}'
        page += f'<details class="origin" style="font-size:85%;color:#555">{folded}</details>'
        about = {"fasnb": {"figure": name}} if isinstance(what, Figure) else {}  # to be found beside its picture
        display({"text/html": page, "text/plain": text + markdown_text(caption)}, raw=True, metadata=about)

    def _write(self, folder: str, name: str, text: str) -> None:
        if self.out is not None:
            write_text(self.out / folder / name, text)

    def _origin(self, of: pd.DataFrame | None) -> str:
        """Source, profile, seeds, and the number of frames of each class."""
        parts = [f"Source: {SOURCES[self.profile.source]}", f"profile {self.profile.name}"]
        if of is not None:
            seeds = sorted(of["seed"].dropna().unique()) if "seed" in of else []
            parts += [f"seeds {', '.join(map(str, seeds))}"] if seeds else []
            label = of.drop_duplicates("sample")["label"]
            parts += [f"{len(label):,} frames ({(label == 1).sum():,} bona fide, {(label == 0).sum():,} attack)"]
        return "; ".join(parts) + "."

    def _figure(self, fig: Figure, name: str, caption: str, mark: str) -> None:
        # below what is drawn; the page and the files are cut around it
        fig.text(1, -0.02 / fig.get_figheight(), mark, fontsize=5.5, color="0.5", ha="right", va="top")
        fig.draw_without_rendering()
        # it is laid out now; PNG, PDF and page would each do it again
        laid_out = fig.get_layout_engine() is None
        fig.set_layout_engine(PlaceHolderLayoutEngine(True, True) if laid_out else "none")
        for suffix, none in (("png", ["Software"]), ("pdf", ["CreationDate", "Producer"])) if self.out else ():
            save = partial(fig.savefig, metadata=dict.fromkeys(none), bbox_inches="tight", pad_inches=0.05)
            replace_file(self.out / "figures" / f"{name}.{suffix}", save)
        self._write("figures", f"{name}.txt", caption + "\n")
        plt.show()


def readable(table: pd.DataFrame, digits: int = 2) -> pd.DataFrame:
    """A table's cells and column names as people read them, all text; columns without any value are left out.

    Floats have ``digits`` decimals, missing values a dash, experiments their names; an FPR is written 1e-4. The limits
    ``low`` and ``high`` stand in brackets behind the number that they are of, ``measured`` or ``ratio``.
    """
    cells = {name: [_text(value, str(name), digits) for value in table[name]] for name in table}
    number = next((name for name in ("measured", "ratio") if name in cells), None)
    if number and {"low", "high"} <= set(cells):
        limits = zip(cells[number], cells.pop("low"), cells.pop("high"), strict=True)
        cells[number] = [at if low == high == DASH else f"{at} [{low}, {high}]" for at, low, high in limits]
    kept = {name: texts for name, texts in cells.items() if not len(table) or table[name].notna().any()}
    return pd.DataFrame(kept, dtype=object).rename(columns=lambda name: label_of(str(name)).replace("_", "-"))


def _text(value, column: str, digits: int) -> str:
    if pd.isna(value):
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if column == "seed":  # a name, not a quantity
        return f"{value:g}" if isinstance(value, Real) else str(value)
    if isinstance(value, Integral):
        return f"{value:,}"
    if isinstance(value, Real):
        return fpr_name(value) if column.startswith("FPR") and 0 < value < 1 else f"{value:,.{digits}f}"
    return label_of(str(value)) if column in _NAMED_COLUMNS else str(value)


def _sides(cells: pd.DataFrame) -> list[str]:
    """Words to the left, numbers to the right: a side for each column."""
    words = [cells.iloc[:, k].str.contains("[A-Za-z]{2}").any() for k in range(cells.shape[1])]
    return ["left" if k == 0 or word else "right" for k, word in enumerate(words)]


def html_table(cells: pd.DataFrame) -> str:
    """The cells of ``readable`` in HTML, each with its style, as JupyterLab takes style sheets out of notebooks."""
    sides, rows = _sides(cells), []
    for values in [cells.columns, *cells.to_numpy()]:
        tag, pairs = "td" if rows else "th", zip(sides, map(html.escape, values), strict=True)
        row = "".join(f'<{tag} style="text-align:{side}">{text}</{tag}>' for side, text in pairs)
        rows.append(f"<tr>{row}</tr>")
    rows[0] = f"<thead>{rows[0]}</thead>\n<tbody>"
    return '<table class="dataframe">' + "\n".join([*rows, "</tbody></table>"])


def markdown(cells: pd.DataFrame) -> str:
    """The cells of ``readable`` as a table in Markdown."""
    rows = [[markdown_text(cell) for cell in row] for row in [list(cells.columns), *cells.to_numpy().tolist()]]
    head, *lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + " --- |" * cells.shape[1], *lines, ""])


def latex(cells: pd.DataFrame, name: str, caption: str) -> str:
    """The cells of ``readable`` as a table in LaTeX (booktabs), with caption and the label ``tab:<name>``."""
    escaped = cells.map(latex_text).rename(columns=latex_text)
    options = {"column_format": "".join(side[0] for side in _sides(cells)), "label": f"tab:{name}"}
    return escaped.to_latex(index=False, escape=False, caption=latex_text(caption), **options)


def markdown_text(text: str) -> str:
    """Text for one line of Markdown, nothing of it read as markup or HTML."""
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def latex_text(text: str) -> str:
    """Text for LaTeX, its special characters escaped and what LaTeX cannot print left out."""
    return "".join(_LATEX.get(character, character) for character in text if character.isprintable())

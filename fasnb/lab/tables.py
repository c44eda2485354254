"""Tables as people read them: cells as text, human names, and everything that comes from data escaped."""

import html
import re
from numbers import Integral
from pathlib import Path

import pandas as pd
from pandas.api.types import is_numeric_dtype

from fasnb.metrics.uncertainty import bound_name
from fasnb.paper.experiments import EXPERIMENTS, MEMBERS
from fasnb.tools.files import write_text
from fasnb.tools.text import no_formula, plain

NAMES = {name: experiment.title for name, experiment in EXPERIMENTS.items()} | {"ensemble": "ensemble"}
"""Identifier of an experiment -> the name that people read."""

DASH = "–"
LONG = 60  # characters of a cell; a column with longer ones is wrapped

_FPR_COLUMNS = ("FPR up to", "FPR up to, clips")
_COLUMN_TITLES = {"a": "method", "b": "compared with", "multiply_adds": "multiply-adds"}
_METHOD_LIMITS = {"low": "method low", "high": "method high"}  # beside those of the system
_NAMED_COLUMNS = ("experiment", "a", "b", "refused by")
_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX |= {special: f"\\{special}" for special in "&%$#_{}"} | {"<": r"\textless{}", ">": r"\textgreater{}"}
_MARKDOWN = re.compile(r"([\\`*_\[\]|])")


def dropped_empty(table: pd.DataFrame) -> pd.DataFrame:
    """The table without the columns that hold nothing but missing values and dashes; a table without rows stays as it is.

    Of two limits both stay where one is known: an upper limit alone says that there is no lower one.
    """
    empty = table.astype(object).map(lambda value: pd.isna(value) or value == DASH).all()
    if {"low", "high"} <= set(table) and table.columns.is_unique:
        empty[["low", "high"]] = empty[["low", "high"]].all()
    return table.loc[:, ~empty.to_numpy(dtype=bool)] if len(table) else table


def shown(table: pd.DataFrame, digits: int = 2) -> pd.DataFrame:
    """The table's cells and column names as text: floats with ``digits`` decimals, missing values as a dash, experiments
    by their human names. Columns without any value are left out.
    """

    def text(value) -> str:
        if pd.isna(value):
            return DASH
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, float):
            return f"{value:,.{digits}f}"
        return f"{value:,}" if isinstance(value, Integral) else plain(value)

    cells = dropped_empty(table).reset_index(drop=True).astype(object)
    if len(cells) > 1 and "attacks needed" in cells and cells["attacks needed"].nunique() == 1:
        cells = cells.drop(columns="attacks needed")  # one FPR: the same in every row, and notebook 00 says how many
    for column in _FPR_COLUMNS:
        if column in cells:  # decimals would hide them
            cells[column] = [
                bound_name(value) if isinstance(value, float) and value > 0 else value for value in cells[column]
            ]
    if "seed" in cells:  # a name, not a quantity
        cells["seed"] = cells["seed"].map(lambda seed: seed if pd.isna(seed) else str(seed))
    for column in _NAMED_COLUMNS:
        if column in cells:
            cells[column] = cells[column].map(lambda name: NAMES.get(name, name))
    titles = NAMES | _COLUMN_TITLES | (_METHOD_LIMITS if "FPR up to" in cells else {})
    return cells.map(text).rename(columns=lambda name: name if name in MEMBERS else plain(titles.get(name, name)))


def latex_text(text: str) -> str:
    """Text for LaTeX, its special characters escaped."""
    return "".join(_LATEX.get(character, character) for character in plain(text))


def markdown_text(text: str) -> str:
    """Text for one line of Markdown, nothing of it read as markup or HTML."""
    return _MARKDOWN.sub(r"\\\1", html.escape(plain(" ".join(text.split())), quote=False))


def parts_of(caption: str) -> tuple[str, str]:
    """A caption's sentence, which stands beside what it describes, and where the numbers come from, which is folded."""
    sentence, _, origin = caption.partition(". Source: ")
    return sentence.rstrip(".") + ".", f"Source: {origin}" if origin else ""


def folded(origin: str) -> str:
    """Where numbers come from, as HTML that opens when it is clicked."""
    made = f"<summary>where these numbers come from</summary>{html.escape(origin)}"
    return f'<details class="origin" style="font-size:85%;color:#555">{made}</details>' if origin else ""


class Caption:
    """A figure's caption as a notebook's output: the sentence, and below it, folded, where its numbers come from."""

    def __init__(self, text: str):
        self.text = text

    def _repr_html_(self) -> str:
        sentence, origin = parts_of(self.text)
        return f"<p><em>{unbroken(sentence)}</em></p>{folded(origin)}"

    def __repr__(self) -> str:
        return self.text


class Shown:
    """A table as a notebook's output: HTML where it is drawn, Markdown where it is text; the same each time.

    Styles stand in the cells, because JupyterLab takes style sheets out of notebooks that it did not execute itself.
    """

    def __init__(self, table: pd.DataFrame, name: str, caption: str, digits: int = 2):
        sentence, origin = parts_of(plain(caption))
        cells = shown(table, digits)
        styles = [_style(cells.iloc[:, number], first=number == 0) for number in range(cells.shape[1])]

        def row(values, tag: str) -> str:
            escaped = (html.escape(value, quote=False) for value in values)
            each = (f"<{tag}{style}>{value}</{tag}>" for style, value in zip(styles, escaped, strict=True))
            return f"<tr>{''.join(each)}</tr>"

        body = "\n".join(row(values, "td") for values in cells.to_numpy())
        self._html = (
            f'<p class="caption"><em>{unbroken(sentence)}</em></p>\n<table class="dataframe" id="T_{html.escape(name)}">\n'
            f"<thead>{row(cells.columns, 'th')}</thead>\n<tbody>\n{body}\n</tbody></table>{folded(origin)}"
        )
        self._markdown = markdown(table, caption, digits)

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._markdown


def unbroken(sentence: str) -> str:
    """A sentence as HTML in which no line ends within ``FPR = 1e-4``."""
    return re.sub(r"FPR = [\d.e-]*\d", r'<span style="white-space:nowrap">\g<0></span>', html.escape(sentence))


def _style(cells: pd.Series, first: bool) -> str:
    """The ``style`` of a column's cells: words to the left, numbers to the right, long texts wrapped."""
    if not first and not cells.map(_is_words).any():
        return ' style="text-align:right"'
    long = cells.str.len().max() > LONG
    return f' style="text-align:left{";white-space:normal;min-width:" + ("14em" if first else "18em") if long else ""}"'


def _is_words(cell: str) -> bool:
    return bool(re.search("[A-Za-z]{2}", cell))


def markdown(table: pd.DataFrame, caption: str, digits: int = 2) -> str:
    """The table in Markdown, caption below."""
    cells = shown(table, digits)
    rows = [[markdown_text(cell) for cell in row] for row in [list(cells.columns), *cells.to_numpy().tolist()]]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * cells.shape[1], *lines[1:], "", markdown_text(caption), ""])


def latex(table: pd.DataFrame, name: str, caption: str, digits: int = 2) -> str:
    """The table as LaTeX (booktabs), with caption and the label ``tab:<name>``."""
    cells = shown(table, digits).map(latex_text).rename(columns=latex_text)
    return cells.to_latex(index=False, escape=False, caption=latex_text(caption), label=f"tab:{name}")


def write_table(table: pd.DataFrame, folder: Path, name: str, caption: str, digits: int = 2) -> None:
    """Write ``name``.csv (every digit, identifiers, no formulas of spreadsheets), .md and .tex (as people read them)."""
    texts = {column: no_formula(table[column]) for column, kind in table.dtypes.items() if not is_numeric_dtype(kind)}
    write_text(folder / f"{name}.csv", table.assign(**texts).to_csv(index=False))
    write_text(folder / f"{name}.md", markdown(table, caption, digits))
    write_text(folder / f"{name}.tex", latex(table, name, caption, digits))

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

NAMES = {name: experiment.title for name, experiment in EXPERIMENTS.items()} | {"ensemble": "mean of all members"}
"""Identifier of an experiment -> the name that people read."""

_FPR_COLUMNS = ("FPR up to", "FPR up to, clips")
_NAMED_COLUMNS = ("experiment", "a", "b", "refused by")
_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX |= {special: f"\\{special}" for special in "&%$#_{}"} | {"<": r"\textless{}", ">": r"\textgreater{}"}
_MARKDOWN = re.compile(r"([\\`*_\[\]|])")


def shown(table: pd.DataFrame, digits: int = 2) -> pd.DataFrame:
    """The table's cells and column names as text: floats with ``digits`` decimals, missing values as a dash, experiments
    by their human names.
    """

    def text(value) -> str:
        if pd.isna(value):
            return "–"
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, float):
            return f"{value:,.{digits}f}"
        return f"{value:,}" if isinstance(value, Integral) else plain(value)

    cells = table.reset_index(drop=True).astype(object)
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
    return cells.map(text).rename(columns=lambda name: name if name in MEMBERS else plain(NAMES.get(name, name)))


def latex_text(text: str) -> str:
    """Text for LaTeX, its special characters escaped."""
    return "".join(_LATEX.get(character, character) for character in plain(text))


def markdown_text(text: str) -> str:
    """Text for one line of Markdown, nothing of it read as markup or HTML."""
    return _MARKDOWN.sub(r"\\\1", html.escape(plain(" ".join(text.split())), quote=False))


class Shown:
    """A table as a notebook's output: HTML where it is drawn, Markdown where it is text; the same each time."""

    def __init__(self, table: pd.DataFrame, name: str, caption: str, digits: int = 2):
        style = shown(table, digits).style.hide(axis="index").set_caption(html.escape(plain(caption))).set_uuid(name)
        style = style.format(escape="html").format_index(escape="html", axis="columns")
        self._html = style.set_table_attributes('class="dataframe"').to_html()
        self._markdown = markdown(table, caption, digits)

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._markdown


def markdown(table: pd.DataFrame, caption: str, digits: int = 2) -> str:
    """The table in Markdown, caption below."""
    cells = shown(table, digits)
    rows = [[markdown_text(cell) for cell in row] for row in [list(cells.columns), *cells.to_numpy().tolist()]]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * table.shape[1], *lines[1:], "", markdown_text(caption), ""])


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

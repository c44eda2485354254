"""Tables as a notebook shows them and as files: CSV at full precision, Markdown and LaTeX as shown."""

from numbers import Integral
from pathlib import Path

import pandas as pd

from fasnb.tools.files import write_text


def shown(table: pd.DataFrame, digits: int = 2) -> pd.DataFrame:
    """The table's cells as text: floats with ``digits`` decimals, missing values as a dash."""

    def text(value) -> str:
        if pd.isna(value):
            return "–"
        if isinstance(value, bool):
            return "yes" if value else "no"
        return (
            f"{value:,.{digits}f}"
            if isinstance(value, float)
            else f"{value:,}"
            if isinstance(value, Integral)
            else str(value)
        )

    cells = table.astype(object)
    if "seed" in cells:  # a name, not a quantity
        cells["seed"] = cells["seed"].map(lambda seed: seed if pd.isna(seed) else str(seed))
    return cells.map(text)


class Shown:
    """A table as a notebook's output: HTML where it is drawn, Markdown where it is text; the same each time."""

    def __init__(self, table: pd.DataFrame, name: str, caption: str, digits: int = 2):
        cells = shown(table.reset_index(drop=True), digits)
        style = cells.style.hide(axis="index").set_caption(caption).set_uuid(name)
        self._html = style.set_table_attributes('class="dataframe"').to_html()
        self._markdown = markdown(table, caption, digits)

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._markdown


def markdown(table: pd.DataFrame, caption: str, digits: int = 2) -> str:
    """The table in Markdown, caption below."""
    rows = [[str(name) for name in table.columns], *shown(table, digits).to_numpy().tolist()]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * table.shape[1], *lines[1:], "", caption, ""])


def write_table(table: pd.DataFrame, folder: Path, name: str, caption: str, digits: int = 2) -> None:
    """Write ``name``.csv, .md and .tex."""
    write_text(folder / f"{name}.csv", table.to_csv(index=False))
    write_text(folder / f"{name}.md", markdown(table, caption, digits))
    cells = shown(table, digits).rename(columns=str)
    latex = cells.to_latex(index=False, escape=True, caption=caption, label=f"tab:{name}")
    write_text(folder / f"{name}.tex", latex)

"""What a paper and a reader take from the study: LaTeX in a column, Figure 2, palettes, the report's formulas, README's links."""

import json
import re
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest
import torch
from matplotlib.patches import FancyBboxPatch

from fasnb.command.manuscript import compile_page, write_manuscript
from fasnb.command.report import with_mathml
from fasnb.lab import diagrams, figures, palette, typeset
from fasnb.lab.session import Session
from fasnb.model import Architecture, build
from fasnb.paper import TABLE5, table3

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def study(tmp_path):
    """A results folder with the tables and one figure that a paper takes."""
    for folder in ("tables", "figures"):
        (tmp_path / folder).mkdir()
    table3("synthetic").assign(measured=99.99).to_csv(tmp_path / "tables" / "08-table3.csv", index=False)
    rows = [(name, fpr, 99.99) for name in TABLE5["modality"] for fpr in ("1e-1", "1e-2")]
    pd.DataFrame(rows, columns=["modality", "FPR", "measured"]).to_csv(
        tmp_path / "tables" / "08-table5.csv", index=False
    )
    method = ["A", "B", "C", "D", "ensemble"]
    pd.DataFrame({"method": method, "valid": 100.0, "test": 99.99}).to_csv(
        tmp_path / "tables" / "08-table4.csv", index=False
    )
    fig, _ = plt.subplots(figsize=(3, 6))
    for end in ("png", "pdf"):
        fig.savefig(tmp_path / "figures" / f"07-figure3.{end}")
    (tmp_path / "figures" / "07-figure3.txt").write_text(
        "Figure 3: frames at 50% & more_or less. Source: here; n = 3.\n"
    )
    plt.close(fig)
    return Session("smoke", out=tmp_path)


def test_the_tables_of_a_paper_stand_with_both_numbers(study):
    folder = write_manuscript(study)
    names = {path.name for path in folder.iterdir()}
    assert names == {*(f"table{n}.tex" for n in range(1, 6)), "figure3.tex", "figure3.pdf", "page.tex"}
    text = (folder / "table3.tex").read_text()
    assert r"A. resnet-34, MLFA & CASIA-WebFace & attack 3 & 99.87 & 99.99 \\" in text and "stand-in" in text
    assert r"Depth & 100.00 & 99.77 & 98.40 & 99.99 & 99.99 \\" in (folder / "table5.tex").read_text()
    figure = (folder / "figure3.tex").read_text()
    assert r"\caption{Frames at 50\% \& more\_or less.}" in figure and figure.startswith(
        "% figures/07-figure3.pdf. Source: here"
    )


def test_the_tables_fit_a_column_and_the_page_compiles(study):
    if shutil.which("pdflatex") is None:
        pytest.skip("no LaTeX on this machine")
    page = compile_page(write_manuscript(study))
    log = page.with_suffix(".log").read_text(errors="replace")
    assert "Overfull" not in log and "1 page" in log


def test_without_a_study_only_published_tables_are_written(tmp_path):
    folder = write_manuscript(Session("smoke", out=tmp_path))
    assert {path.name for path in folder.iterdir()} == {"table1.tex", "table2.tex", "table4.tex", "page.tex"}


def test_a_missing_value_is_a_dash_and_a_power_a_power():
    row = pd.DataFrame([("x with y", "", "attack 3-fold", 50.0, None)], columns=["method", "initialization", "fold", "published", "measured"])  # fmt: skip
    text = typeset.table3(row, 2e-3, "a_b")
    assert r"x, y &  & attack 3 & 50.00 & -- \\" in text and r"$2\cdot10^{-3}$" in text and r"a\_b" in text


@pytest.mark.parametrize(("fusion", "mlfa", "squeezed"), [("se", True, 3), ("concat", True, 0), ("zhang", False, 3)])
def test_figure_2_has_a_bus_a_level_and_every_operation(fusion, mlfa, squeezed):
    backbone = "resnet18" if fusion == "zhang" else "face_resnet34"
    with torch.device("meta"):
        network = build(Architecture(backbone, fusion=fusion, mlfa=mlfa))
    fig = diagrams.architecture(network)
    words = [text.get_text() for text in fig.axes[0].texts]
    buses = [line for line in fig.axes[0].lines if line.get_linewidth() == 1.2]
    assert len(buses) == words.count("1×1\nReLU") == (3 if mlfa else 0) and words.count("SE") == squeezed
    assert words.count("GAP") == (2 if mlfa else 1) and {"RGB", "depth", "IR", "head"} <= set(words)
    assert fig.get_size_inches()[0] == palette.COLUMN
    boxes = [patch.get_extents() for patch in fig.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i]), "two boxes overlap"
    plt.close(fig)


def test_no_two_palettes_share_a_colour():
    of = [palette.CLASS_COLOURS, palette.MODALITY_COLOURS, palette.NETWORK_COLOURS]
    bright = [{c for c in colours.values() if c not in (palette.INK, palette.GREY)} for colours in of]
    assert not (bright[0] & bright[1] or bright[0] & bright[2] or bright[1] & bright[2])
    used = {palette.MEASURED["color"], palette.PUBLISHED["mec"]}
    assert not used & set.union(*bright)


def test_curves_are_named_at_their_ends_and_powers_of_ten_are_plain():
    palette.use_style()
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [1.0, 0.1, 0.001]})
    names = [f"{method} fold {fold} seed 7" for method in ("A", "zhang") for fold in (1, 2, 3)]
    fig = figures.learning_curves(dict.fromkeys(names, history), "loss", "cross-entropy", log=True)
    fig.canvas.draw()
    ax = fig.axes[0]
    assert len(ax.lines) == 2 and {text.get_text() for text in ax.texts} == {"A (3)", "resnet-18, Zhang et al. (3)"}
    assert not any("$" in label.get_text() for label in ax.get_yticklabels())
    heights = sorted(text.xyann[1] for text in ax.texts)
    assert heights[1] - heights[0] > 0.09, "names on top of each other"
    plt.close(fig)


def test_formulas_become_mathml_and_code_and_prices_stay():
    text = with_mathml("so $x_1$ and\n\n$$\\frac{a}{b}$$\n\nbut `$x$`, and a price of 5$ or 6$")
    assert text.count("<math") == 2 and 'display="block"' in text and "`$x$`" in text and text.endswith("5$ or 6$")


# What the repository shows

README = (REPOSITORY / "README.md").read_text()


def test_every_link_of_readme_leads_somewhere():
    links = [link for link in re.findall(r'(?:\]\(|src=")([^)"#][^)"]*)', README) if "://" not in link]
    assert len(links) > 25 and not [link for link in links if not (REPOSITORY / link).exists()]


def test_the_minutes_of_readme_are_near_what_the_chapters_take():
    """A reader takes 65 to 130 words a minute, code and figures included."""
    rows = re.findall(r"^\| (\d\d_\w+) \|.*\| (\d+) \|", README, re.MULTILINE)
    assert [name for name, _ in rows] == [path.stem for path in sorted((REPOSITORY / "notebooks").glob("*.ipynb"))]
    for name, minutes in rows:
        cells = nbformat.read(REPOSITORY / "notebooks" / f"{name}.ipynb", 4).cells
        words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
        assert words / 130 <= int(minutes) <= words / 65, name


def test_codecheck_names_the_maker_of_every_published_table_and_figure():
    from fasnb.command.origins import sha256

    entries = _manifest(REPOSITORY / "codecheck.yml")
    published = REPOSITORY / "results" / "published"
    files = {str(p.relative_to(REPOSITORY)) for p in published.glob("*/tables/*.csv")}
    files |= {str(p.relative_to(REPOSITORY)) for p in published.glob("*/figures/*.png")}
    assert {entry["file"] for entry in entries} == files and len(entries) == len(files)
    notebooks = {}
    for entry in entries:
        assert entry["sha256"] == sha256(REPOSITORY / entry["file"]), entry["file"]
        executed = REPOSITORY / Path(entry["file"]).parent.parent / entry["notebook"]
        if not executed.parent.is_dir():  # a report that is published without its notebooks
            executed = REPOSITORY / entry["notebook"]
        cells = notebooks.setdefault(executed, nbformat.read(executed, 4).cells)
        assert any(entry["cell"] in (cell.id, *cell.metadata.get("tags", ())) for cell in cells), entry
        profile = Path(entry["file"]).parts[2]
        assert entry["command"] == f"fasnb run --profile {profile} --only {executed.name[:2]}"


def _manifest(path: Path) -> list[dict]:
    """The files of codecheck.yml; every value is a JSON string on a line of its own."""
    text = path.read_text(encoding="utf-8").partition("manifest:\n")[2]
    entries = [dict(re.findall(r"(\w+): (\".*\")$", part, re.MULTILINE)) for part in text.split("  - ")[1:]]
    return [{key: json.loads(value) for key, value in entry.items()} for entry in entries]


def test_citation_names_the_paper():
    text = (REPOSITORY / "CITATION.cff").read_text()
    assert (
        "cff-version: 1.2.0" in text
        and "Recognizing Multi-Modal Face Spoofing" in text
        and "family-names: Parkin" in text
    )

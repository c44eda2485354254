"""What a paper takes from a study: Tables 1 to 5 and Figures 1 to 4 in ``paper/``, and one page with all of them."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from PIL import Image

from fasnb.lab import typeset
from fasnb.lab.session import Session
from fasnb.lab.tables import latex_text, parts_of
from fasnb.tools.files import replace_file, temporary_folder, write_text

FIGURES = {1: "00-figure1", 2: "04-figure2", 3: "07-figure3", 4: "07-figure4"}
"""Number in the paper -> name of the study's figure."""

_WHERE = {
    "synthetic": "the synthetic stand-in",
    "casia-surf": "CASIA-SURF",
    "released": "the released scores",
}

_PAGE = r"""\documentclass[10pt,twocolumn]{article}
\usepackage[letterpaper,margin=0.75in,top=0.5in,bottom=0.5in,columnsep=11.9pt]{geometry} % columns of 247 pt
\usepackage{booktabs,amssymb,graphicx}
\usepackage[font=footnotesize,skip=2pt]{caption}
\makeatletter % everything in its order, on as few pages as it takes
\def\inplace#1{\par\vspace{4pt plus 1fill}\noindent\begin{minipage}{\columnwidth}\def\@captype{#1}}
\renewenvironment{table}[1][]{\inplace{table}}{\end{minipage}}
\renewenvironment{figure}[1][]{\inplace{figure}}{\end{minipage}}
\makeatother
\pagestyle{empty}
\begin{document}
"""


def write_manuscript(session: Session) -> Path:
    """Write ``paper/`` of a finished study: what it has of the tables (.tex) and figures (.pdf, .tex), and ``page.tex``.

    Returns:
        The folder.
    """
    folder, profile = session.out / "paper", session.profile
    where = f"{_WHERE[profile.source]} (profile {profile.name})"
    fpr = profile.headline_fpr
    makers: dict[int, Callable[[], str | None]] = {
        1: typeset.table1,
        2: typeset.table2,
        3: lambda: _of(session, "08-table3", lambda table: typeset.table3(table, fpr, where)),
        4: lambda: _of(session, "08-table4", lambda table: typeset.table4(table, fpr, where)) or typeset.table4(None, fpr, where),
        5: lambda: _of(session, "08-table5", lambda table: typeset.table5(table, profile.fprs, where)),
    }  # fmt: skip
    names = []
    for number, make in makers.items():
        if text := make():
            names.append(f"table{number}")
            write_text(folder / f"{names[-1]}.tex", text)
    names += [f"figure{number}" for number, name in FIGURES.items() if _take_figure(session, number, name)]
    inputs = "".join(f"\\input{{{name}}}\n" for name in names)
    write_text(folder / "page.tex", _PAGE + inputs + "\\end{document}\n")
    return folder


def _of(session: Session, name: str, make: Callable[[pd.DataFrame], str]) -> str | None:
    """LaTeX of a table that the study wrote, headed by where its numbers come from; None where it did not write it."""
    path = session.out / "tables" / f"{name}.csv"
    if not path.is_file():
        return None
    told = path.with_suffix(".md")
    origin = parts_of(told.read_text(encoding="utf-8").strip().splitlines()[-1])[1] if told.is_file() else ""
    table = pd.read_csv(path, dtype={"FPR": str})  # 1e-2, as people read it
    return f"% tables/{name}.csv. {origin}\n{make(table)}"


def _take_figure(session: Session, number: int, name: str) -> bool:
    """Copy a figure of the study with its caption; False where the study has none."""
    source, folder = session.out / "figures" / f"{name}.pdf", session.out / "paper"
    if not source.is_file():
        return False
    replace_file(folder / f"figure{number}.pdf", lambda to: shutil.copyfile(source, to))
    sentence, origin = parts_of(source.with_suffix(".txt").read_text(encoding="utf-8").strip())
    sentence = sentence.removeprefix(f"Figure {number}: ").removeprefix(f"Figure {number}, ")
    sentence = latex_text(sentence[:1].upper() + sentence[1:]).replace("⊕", r"$\oplus$")
    share = min(1.0, 0.6 / _tallness(source.with_suffix(".png")))  # a tall figure leaves room for others on the page
    write_text(
        folder / f"figure{number}.tex", f"% figures/{name}.pdf. {origin}\n{typeset.figure(number, sentence, share)}"
    )
    return True


def _tallness(picture: Path) -> float:
    """Height of a picture, as a share of its width."""
    with Image.open(picture) as image:
        return image.height / image.width


def compile_page(folder: Path) -> Path | None:
    """Compile ``page.tex`` to ``page.pdf`` beside it; None where there is no pdflatex.

    Raises:
        RuntimeError: pdflatex refuses it; the message has its first complaint.
    """
    latex = shutil.which("pdflatex")
    if latex is None:
        return None
    with temporary_folder() as build:
        options = ["-halt-on-error", "-interaction=nonstopmode", f"-output-directory={build}", "page.tex"]
        done = subprocess.run(
            [latex, *options], cwd=folder, capture_output=True, text=True, errors="replace", timeout=120
        )
        if done.returncode:
            complaint = next((line for line in done.stdout.splitlines() if line.startswith("!")), "pdflatex failed")
            raise RuntimeError(f"{folder / 'page.tex'} does not compile: {complaint}")
        replace_file(folder / "page.pdf", lambda to: shutil.copyfile(build / "page.pdf", to))
        replace_file(folder / "page.log", lambda to: shutil.copyfile(build / "page.log", to))
    return folder / "page.pdf"

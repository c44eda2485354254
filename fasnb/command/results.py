"""Publish a study in the repository, hold one's own against the published one, and lay it out as the paper's page."""

import io
import re
import shutil
import subprocess
import tempfile
from base64 import b64decode, b64encode
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
from PIL import Image

from fasnb.command.report import LOSSLESS
from fasnb.lab.session import Study
from fasnb.metrics.ensembles import average
from fasnb.metrics.pad import fpr_name, tpr_at_fpr
from fasnb.paper import profile as profiles
from fasnb.paper.experiments import EXPERIMENTS
from fasnb.tools.files import DONE, seal, sealed, whole, write_text
from fasnb.tools.machine import commit_name, home
from fasnb.training.archive import is_done, load_scores, write_published

SPREADS = 4.0  # deviations of one number between seeds; a difference of two numbers spreads over sqrt(2) of them
SHOWN_ALONE = re.compile(r"table\d|figure\d|00-attacks")  # figures published as files; others stand in notebooks
KEYS = ["experiment", "fold", "seed"]


def shown_files(out: Path) -> list[str]:
    """What people look at in a results folder: the report, notebooks, tables and figures; paths from the folder."""
    found = [path for name in ("notebooks", "tables", "figures") for path in sorted((out / name).glob("[!.]*"))]
    return ["report.html", *(path.relative_to(out).as_posix() for path in found)]


def publish(study: Study) -> Path:
    """Copy what the repository shows of a finished study to ``results/published/<profile>``.

    That is the report, the executed notebooks, tables as CSV, the paper's figures as PNG, and one table each of scores,
    of runs and of histories. What was published before is replaced whole, at the end.

    Raises:
        ValueError: the study is not whole, or was not made by the present commit.
        Damaged: something of it is not what was written.
    """
    _require_whole(study.out)
    target = home() / "results" / "published" / study.profile.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as folder:
        made = Path(folder) / "made"
        _gather(study, made)
        seal(made, {}, (path.relative_to(made).as_posix() for path in made.rglob("*.*") if path.name != DONE))
        if target.exists():
            target.rename(Path(folder) / "before")
        made.rename(target)
    return target


def _require_whole(out: Path) -> None:
    if not (out / "report.html").is_file():
        raise ValueError(f"{out} has no report.html; finish the study first with fasnb run")
    for name in sealed(out)["sha256"]:
        whole(out, name)
    commit = commit_name()
    for path in sorted((out / "notebooks").glob("*.ipynb")):
        made = nbformat.read(path, as_version=4).metadata.get("fasnb", {}).get("commit")  # None: the notebook failed
        if made != commit or " " in commit:
            raise ValueError(f"{path} was made by commit {made}, here is {commit}; commit, then run the study")


def _gather(study: Study, made: Path) -> None:
    for folder, pattern in (("notebooks", "*.ipynb"), ("tables", "*.csv"), ("figures", "*.png")):
        (made / folder).mkdir(parents=True)
        for path in sorted((study.out / folder).glob(pattern)):
            if folder != "figures" or SHOWN_ALONE.search(path.name):
                shutil.copyfile(path, made / folder / path.name)
    shutil.copyfile(study.out / "report.html", made / "report.html")
    for path in (made / "notebooks").iterdir():
        notebook = nbformat.read(path, as_version=4)
        for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
            png = b64decode(output.get("data", {}).get("image/png", ""))
            if len(png) > LOSSLESS:
                Image.open(io.BytesIO(png)).convert("RGB").save(jpeg := io.BytesIO(), "JPEG", quality=80, optimize=True)
                output.data["image/jpeg"] = b64encode(jpeg.getvalue()).decode()
                del output.data["image/png"]
        nbformat.write(notebook, path)
    if study.plan.networks:
        write_published(study.plan.networks, made)


def compare(folder: Path) -> pd.DataFrame:
    """Every TPR of one's own study beside the published one.

    A number is *equal* where both print the same hundredth of a percent, *within* where they differ by no more than
    ``SPREADS`` deviations between seeds of such a number times sqrt(2), else *outside*. Other processors give other last
    bits, which training amplifies to about the spread of seeds; what is equal on all machines says results/README.md.

    Args:
        folder: results folder of a profile that the repository publishes.

    Returns:
        One row a number: ``what`` (network, or mean of folds), ``experiment``, ``fold``, ``seed``, ``FPR``, ``published``,
        ``here`` (percent), ``spread`` (the largest difference that counts as within) and ``verdict``.

    Raises:
        ValueError: the folder is no results folder of a published profile, or none of its networks is finished.
    """
    name = re.sub(r"-[0-9a-f]{8}$", "", Path(folder).resolve().name)
    if name not in profiles.names():
        raise ValueError(f"{folder} does not carry the name of a profile ({', '.join(profiles.names())})")
    study = Study(name, out=Path(folder).resolve())
    networks = [n for n in study.plan.networks if is_done(n) and study.published.holds(n)]
    if not networks:
        raise ValueError(f"{folder} has nothing to compare: no network that is finished there and published")
    here = load_scores(networks, "valid")
    there = pd.concat([study.published.scores(network, "valid") for network in networks], ignore_index=True)
    both = here[KEYS].drop_duplicates()
    folds = both.groupby(["experiment", "seed"])["fold"].transform("size")
    whole = both[folds == both["experiment"].map(lambda name: EXPERIMENTS[name].fold_count)]
    means = [average(table.merge(whole, on=KEYS), over=["fold"]) for table in (here, there)]
    parts = [("network", here, there)] + ([("mean of folds", *means)] if len(whole) else [])
    return pd.concat([_compared(*part, fpr) for part in parts for fpr in study.profile.fprs], ignore_index=True)


def _compared(what: str, here: pd.DataFrame, there: pd.DataFrame, fpr: float) -> pd.DataFrame:
    both = pd.DataFrame({"published": _tprs(there, fpr), "here": _tprs(here, fpr)}).reset_index()
    deviation = np.sqrt(both.groupby(["experiment", "fold"])["published"].var().mean())  # NaN where all have one seed
    both["spread"] = SPREADS * np.sqrt(2) * deviation
    difference = (both["here"] - both["published"]).abs()
    verdicts = [difference.round(2) == 0, difference <= both["spread"]]
    both["verdict"] = np.select(verdicts, ["equal", "within"], "outside")
    both.insert(0, "what", what)
    both.insert(4, "FPR", fpr_name(fpr))
    return both


def _tprs(table: pd.DataFrame, fpr: float) -> pd.Series:
    parts = table.assign(fold=table["fold"].fillna(0)).groupby(KEYS)
    return pd.Series({n: 100 * tpr_at_fpr(part["label"], part["score"], fpr) for n, part in parts}).rename_axis(KEYS)


_PAGE = r"""\documentclass[10pt,twocolumn]{article}
\usepackage[letterpaper,margin=0.75in,top=0.5in,bottom=0.5in,columnsep=11.9pt]{geometry} %% columns of 247 pt
\usepackage{booktabs,graphicx}
\usepackage[font=footnotesize,skip=2pt]{caption}
\makeatletter %% everything in its order, on as few pages as it takes
\def\inplace#1{\par\vspace{4pt plus 1fill}\noindent\begin{minipage}{\columnwidth}\centering\footnotesize\def\@captype{#1}}
\renewenvironment{table}[1][]{\inplace{table}}{\end{minipage}}
\renewenvironment{figure}[1][]{\inplace{figure}}{\end{minipage}}
\makeatother
\setlength{\tabcolsep}{3pt}
\pagestyle{empty}
\begin{document}
%s\end{document}
"""

_FIGURE = r"""\begin{figure}
\includegraphics[width=\columnwidth,height=0.3\textheight,keepaspectratio]{%s.pdf}
\caption{%s}
\end{figure}
"""


def write_paper(out: Path) -> tuple[Path, Path | None]:
    """Write ``paper/`` of a finished study: what it has of Tables 1 to 5 (.tex) and Figures 1 to 4 (.pdf), ``page.tex``.

    Of several tables of one number that of the last chapter is taken.

    Returns:
        The folder, and ``page.pdf`` where there is a pdflatex.

    Raises:
        FileNotFoundError: the study has no tables.
        RuntimeError: pdflatex refuses the page; the message has its first complaint.
    """
    from fasnb.lab.show import latex_text

    folder, body = out / "paper", ""
    tables = {number: sorted((out / "tables").glob(f"*-table{number}.tex")) for number in range(1, 6)}
    if not any(tables.values()):
        raise FileNotFoundError(f"{out} has no tables; run the study first with fasnb run")
    for number, found in tables.items():
        if found:
            write_text(folder / f"table{number}.tex", _in_column(found[-1].read_text(encoding="utf-8")))
            body += f"\\setcounter{{table}}{{{number - 1}}}\\input{{table{number}}}\n"
    for path in sorted((out / "figures").glob("*-figure[1-4].pdf"), key=lambda path: path.stem[-1]):
        name, caption = path.stem[-7:], path.with_suffix(".txt").read_text(encoding="utf-8").strip()
        shutil.copyfile(path, folder / f"{name}.pdf")
        body += f"\\setcounter{{figure}}{{{int(name[-1]) - 1}}}" + _FIGURE % (name, latex_text(caption))
    write_text(folder / "page.tex", _PAGE % body)
    return folder, _compile(folder / "page.tex")


def _in_column(table: str) -> str:
    """A table that is wider than a column is drawn smaller."""
    fit = r"\resizebox{\ifdim\width>\columnwidth\columnwidth\else\width\fi}{!}{\begin{tabular}"
    return table.replace(r"\begin{tabular}", fit).replace(r"\end{tabular}", r"\end{tabular}}")


def _compile(page: Path) -> Path | None:
    """``page.pdf`` beside the page; None where there is no pdflatex."""
    if shutil.which("pdflatex") is None:
        return None
    options = ["-halt-on-error", "-interaction=nonstopmode", page.name]
    how = {"cwd": page.parent, "capture_output": True, "text": True, "errors": "replace", "timeout": 120}
    done = subprocess.run(["pdflatex", *options], **how)
    if done.returncode:
        complaint = next((line for line in done.stdout.splitlines() if line.startswith("!")), "pdflatex failed")
        raise RuntimeError(f"{page} does not compile: {complaint}")
    return page.with_suffix(".pdf")

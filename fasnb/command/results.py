"""Publish a study in the repository, hold one's own against the published one, and lay it out as the paper's page."""

import re
import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
from jinja2 import Template
from PIL import Image

from fasnb.command.demo import TOY
from fasnb.data.scores import NETWORK
from fasnb.lab.session import Study
from fasnb.lab.show import SOURCES, latex_text
from fasnb.metrics.comparisons import errors
from fasnb.metrics.ensembles import average
from fasnb.metrics.pad import fpr_name, threshold_at_fpr, tpr_at_fpr
from fasnb.model.weights import read, write
from fasnb.paper import profile as profiles
from fasnb.paper.experiments import EXPERIMENTS
from fasnb.tools.files import DONE, file_sha256, replace_file, seal, sealed, whole, write_text
from fasnb.tools.machine import commit_name, home
from fasnb.training.archive import PUBLISHED_FILES, is_done, load_scores, write_published

SHOWN_ALONE = re.compile(r"table\d|figure2|00-cameras|03-real|08-|claims")  # as files; others stand in notebooks
LARGE = 100_000  # bytes of a figure's PDF; pictures of frames take more, plots less
SPREADS = 2.0  # deviations between worlds; on the same frames a number moves less


def publish(study: Study) -> Path:
    """Copy what the repository shows of a finished study to ``results/published/<profile>``, in one step at the end.

    That is the executed notebooks, tables as CSV, the paper's figures as PNG, ``paper.pdf`` where there is LaTeX, and
    one table each of scores, of runs and of histories, and a student; of a study of several worlds the tables of its
    claims and, where all of them have been judged, the errors of every world. The report goes to ``docs/<profile>.html``
    and is sealed with the rest. Raises ValueError where the study was not made by the present commit or something that was
    published before would be lost, such as ``paper.pdf`` without LaTeX; Damaged where something is not what was written.
    """
    if not (study.out / "report.html").is_file():
        raise ValueError(f"{study.out} has no report.html; finish the study first with fasnb run")
    files = [whole(study.out, name) for name in sealed(study.out)["sha256"]]
    for path in (path for path in files if path.suffix == ".ipynb"):
        made, commit = nbformat.read(path, as_version=4).metadata.get("fasnb", {}).get("commit"), commit_name()
        if made != commit or " " in commit:  # made is None where the notebook failed
            raise ValueError(f"{path} was made by commit {made}, here is {commit}; commit, then run the study")
    target = home() / "results" / "published" / study.profile.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as folder:
        made = Path(folder) / "made"
        several = study.profile.worlds > 1
        always, named = ((), ".csv") if several else ((".ipynb", ".csv"), ".png")
        for path in files:
            if path.suffix in always or path.suffix == named and SHOWN_ALONE.search(path.name):
                to = made / path.relative_to(study.out)
                to.parent.mkdir(parents=True, exist_ok=True)
                _copy(path, to)
        if several and study.errors["world"].nunique() == study.profile.worlds:
            replace_file(made / "worlds.csv", partial(study.errors.to_csv, index=False))
        elif not several:
            page = write_paper(study)
            if page.suffix == ".pdf":
                shutil.copyfile(page, made / "paper.pdf")
            if study.plan.networks:
                write_published(study.plan.networks, made, study.published)
                write_student(study, made)
        files = [path.relative_to(made).as_posix() for path in made.rglob("*.*") if path.name != DONE]
        # of several worlds an archive may have brought scores, which are not published
        there = {path.relative_to(target).as_posix() for path in target.rglob("*.*")}
        if lost := there - {DONE, *files, *(PUBLISHED_FILES if several else ())}:
            raise ValueError(f"{min(lost)} of {target} would be lost; finish the study, with LaTeX, or remove it")
        shown = _to_docs(study.out / "report.html", target.name)
        seal(made, {"sha256": {f"../../../docs/{shown.name}": file_sha256(shown)}}, files)  # as seen from the folder
        if target.exists():
            target.rename(Path(folder) / "before")
        made.rename(target)
    return target


def _copy(path: Path, to: Path) -> None:
    if path.suffix == ".png":  # a third of the bytes, and the same to the eye
        Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(to, optimize=True)
    else:
        shutil.copyfile(path, to)


def _to_docs(report: Path, name: str) -> Path:
    """Copy a report to ``docs``, which a web server can show; its links lead to the published notebooks."""
    (home() / "docs").mkdir(exist_ok=True)
    there = f'href="../results/published/{name}/notebooks/'
    return write_text(home() / "docs" / f"{name}.html", report.read_text("utf-8").replace('href="notebooks/', there))


def write_student(study: Study, folder: Path) -> None:
    """Write ``student.pt``, the first student of a study of drawings, with its threshold for the headline FPR.

    What real data taught stays with whoever has the data, and weights are not always where scores are.
    """
    network = study.plan.of("student")[0] if study.serves("student") else None
    if study.profile.source != "synthetic" or network is None or not is_done(network):
        return
    scores, content = load_scores([network], "valid"), read(network.weights())
    fpr, about = study.profile.headline_fpr, content["about"] | {"profile": study.profile.name}
    about |= {"threshold": float(threshold_at_fpr(scores["label"], scores["score"], fpr)), "fpr": fpr}
    write(content | {"about": about}, folder / TOY)


def compare(folder: Path) -> pd.DataFrame:
    """One's own study beside the published one: every TPR, and the error of every method.

    Other processors give other last bits, which training amplifies; results/README.md says what is equal everywhere and
    how far the rest was seen to move. A number is *equal* where both print the same hundredth of a percent. An error that
    is not is *within* where it has moved by less than ``SPREADS`` deviations of its logarithm between the published
    worlds, else *outside*; a TPR of few frames has no such yardstick, and *differs*.

    Returns:
        One row a number: ``what`` (TPR of a network, of a mean of folds, or error of a method), ``experiment``, ``fold``,
        ``seed``, ``FPR``, ``published``, ``here`` (percent) and ``verdict``. ValueError where the folder is no results
        folder of a published profile, or none of its networks is finished.
    """
    name = re.sub(r"-[0-9a-f]{8}$", "", Path(folder).resolve().name)
    if name not in profiles.names():
        raise ValueError(f"{folder} does not carry the name of a profile ({', '.join(profiles.names())})")
    study = Study(name, out=Path(folder).resolve())
    networks = [n for n in study.plan.networks if is_done(n) and study.published.holds(n)]
    if not networks:
        raise ValueError(f"{folder} has nothing to compare: no network that is finished there and published")
    tables = load_scores(networks, "valid"), pd.concat([study.published.scores(n, "valid") for n in networks])
    rows = tables[0][list(NETWORK)].drop_duplicates()
    folds = rows.groupby(["experiment", "seed"])["fold"].transform("size")
    complete = rows[folds == rows["experiment"].map(lambda name: len(EXPERIMENTS[name].fold_numbers))]
    means = [average(table.merge(complete, on=list(NETWORK)), over=["fold"]) for table in tables if len(complete)]
    parts = [("TPR of a network", tables)] + [("TPR of a mean of folds", means)] * bool(means)
    found = [_tprs(what, *both, fpr) for what, both in parts for fpr in study.profile.fprs]
    return pd.concat([*found, _errors(study, *means)] if means else found, ignore_index=True)


def _tprs(what: str, here: pd.DataFrame, there: pd.DataFrame, fpr: float) -> pd.DataFrame:
    def tprs(table: pd.DataFrame) -> pd.Series:
        parts = table.assign(fold=table["fold"].fillna(0)).groupby(list(NETWORK))[["label", "score"]]
        return parts.apply(lambda part: 100 * tpr_at_fpr(part["label"], part["score"], fpr))

    both = pd.DataFrame({"FPR": fpr_name(fpr), "published": tprs(there), "here": tprs(here)}).reset_index()
    equal = (both["here"] - both["published"]).abs().round(2) == 0
    return both.assign(what=what, verdict=np.where(equal, "equal", "differs"))[["what", *both, "verdict"]]


def _errors(study: Study, here: pd.DataFrame, there: pd.DataFrame) -> pd.DataFrame:
    both = errors(there)[["experiment", "seed"]].assign(what="error of a method", fold=pd.NA, FPR="0 to 1e-2")
    both["published"], both["here"] = (100 * errors(table)["error"] for table in (there, here))
    moved = np.log(both["here"] / both["published"]).abs()
    worlds = pd.DataFrame({"experiment": [], "error": []}) if study.population is None else study.population
    spread = np.log(worlds["error"].astype(float)).groupby(worlds["experiment"]).std()
    equal = (both["here"] - both["published"]).abs().round(2) == 0
    within = moved <= SPREADS * both["experiment"].map(spread)
    return both.assign(verdict=np.select([equal, within], ["equal", "within"], "outside"))


# a table wider than the page is drawn smaller
_FIT = r"\resizebox{\ifdim\width>\columnwidth\columnwidth\else\width\fi}{!}{\begin{tabular}"


def write_paper(study: Study) -> Path:
    """Write ``paper/`` of a finished study: what it has of Tables 1 to 5 (.tex) and Figures 1 to 4 (.pdf), and a page of all.

    Of several tables of one number that of the last chapter is taken; for Figure 3 without pictures its scores stand in.
    The page holds figures of frames as JPEG, and says what is not there. Returns ``page.pdf``, or ``page.tex`` where there
    is no pdflatex. FileNotFoundError where the study has no tables, RuntimeError where pdflatex refuses the page.
    """
    out, folder = study.out, study.out / "paper"
    tables = {int(path.stem[-1]): path for path in sorted((out / "tables").glob("*-table[1-5].tex"))}
    paths = sorted((out / "figures").glob("*-figure[1-4]*.pdf"))  # figure3-scores before figure3, which takes its place
    figures = {int(re.search(r"figure(\d)", path.stem)[1]): path for path in paths}
    if not tables:
        raise FileNotFoundError(f"{out} has no tables; run the study first with fasnb run")
    for number, path in tables.items():
        text = path.read_text(encoding="utf-8").replace(r"\begin{tabular}", _FIT)
        write_text(folder / f"table{number}.tex", text.replace(r"\end{tabular}", r"\end{tabular}}"))
    drawn = [(number, *_drawn(path, folder / f"figure{number}.pdf")) for number, path in sorted(figures.items())]
    missing = [f"Table {number}" for number in range(1, 6) if number not in tables]
    missing += [f"Figure {number}" for number in range(1, 5) if number not in figures]
    marks = {"block_start_string": "<%", "block_end_string": "%>", "comment_start_string": "<#", "trim_blocks": True}
    template = Path(__file__).with_name("page.tex.j2").read_text(encoding="utf-8")
    page = Template(template, variable_start_string="<<", variable_end_string=">>", **marks)
    about = {"name": latex_text(study.profile.name), "source": study.profile.source, "sources": SOURCES}
    text = page.render(tables=sorted(tables), figures=drawn, missing=missing, **about)
    return compiled(write_text(folder / "page.tex", text))


def _drawn(path: Path, to: Path) -> tuple[str, str]:
    """Name of the file that shows a figure on the page, and its caption; the figure itself is copied."""
    shutil.copyfile(path, to)
    if path.stat().st_size > LARGE:  # of frames
        picture = Image.open(path.with_suffix(".png")).convert("RGB")
        picture.save(to := to.with_suffix(".jpg"), quality=75, optimize=True)
    return to.name, latex_text(path.with_suffix(".txt").read_text(encoding="utf-8").strip())


def compiled(page: Path) -> Path:
    """``page.pdf`` beside ``page.tex``; the page itself where there is no pdflatex. RuntimeError with its first complaint."""
    if shutil.which("pdflatex") is None:
        return page
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", page.name]
    done = subprocess.run(command, cwd=page.parent, capture_output=True, text=True, errors="replace", timeout=120)
    if done.returncode:
        complaint = next((line for line in done.stdout.splitlines() if line.startswith("!")), "pdflatex failed")
        raise RuntimeError(f"{page} does not compile: {complaint}")
    return page.with_suffix(".pdf")

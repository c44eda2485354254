"""Publish results in the repository, and hold one's own against the published ones, number by number."""

import io
import os
import re
import shutil
from base64 import b64decode, b64encode
from html import escape, unescape
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
from PIL import Image

from fasnb.command.origins import origins, write_codecheck
from fasnb.command.report import LOSSLESS
from fasnb.lab.session import Session
from fasnb.metrics.pad import fpr_name, tpr_at_fpr
from fasnb.metrics.scores import NETWORK, average
from fasnb.paper import profile as profiles
from fasnb.paper.experiments import EXPERIMENTS
from fasnb.tools.environment import commit_name
from fasnb.tools.files import explained, write_text
from fasnb.tools.places import home
from fasnb.tools.seals import check_sums, write_sums
from fasnb.training.archive import load_scores, write_published
from fasnb.training.runs import finished

SPREADS = 4.0  # deviations of one number between seeds; a difference of two numbers spreads over sqrt(2) of them

SHOWN_ALONE = re.compile(r"table\d|figure\d|00-attacks|09-snapshots")
"""Names of figures that are published as files: the paper's, and those of README. All others stand in their notebook."""

BRIEFLY = re.compile(r"08-|06-worlds")
"""Names of tables that are published as files where a report is published without its notebooks."""


def publish(profile: str, out: Path | None = None, briefly: bool = False) -> Path:
    """Copy what the repository shows of a finished study to ``results/published/<profile>``.

    That is the report, the executed notebooks, tables as CSV, the paper's figures as PNG and one table of scores, of runs and of
    histories; ``briefly`` only the report, without its explorer, and the tables of its last chapter and of its worlds. What was published
    before is replaced whole, at the end; then ``codecheck.yml`` is written anew.

    Raises:
        ValueError: the study is not whole, or was not made by the present commit.
        Damaged: something of it is not what was written.
    """
    session = Session(profile, out=out)
    _require_whole(session.out)
    makers = origins(session.out)
    check_sums(session.out)
    target = home() / "results" / "published" / session.profile.name
    made, before = (target.with_name(f".{target.name}.{what}") for what in ("new", "old"))
    if before.exists() and not target.exists():  # killed between the two renames below
        os.rename(before, target)
    for folder in (made, before):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        with explained(target):
            (_gather_briefly if briefly else _gather)(session, made)
            write_sums(made, (path for path in made.rglob("*") if path.is_file()))
        if target.exists():
            os.rename(target, before)
        os.rename(made, target)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    shutil.rmtree(before, ignore_errors=True)
    write_codecheck(home(), session.profile.name, makers)
    return target


def _gather_briefly(session: Session, made: Path) -> None:
    (made / "tables").mkdir(parents=True)
    for path in sorted((session.out / "tables").glob("*.csv")):
        if BRIEFLY.search(path.name):
            shutil.copyfile(path, made / "tables" / path.name)
    instead = {
        r'<iframe class="explorer"[^>]*></iframe>': r"<p>The explorer is in the report that <code>fasnb run</code> writes.</p>",
        r'<a href="notebooks/(\w+\.ipynb)">executed\s+notebook': r'<a href="../../../notebooks/\1">notebook',
    }
    report = (session.out / "report.html").read_text(encoding="utf-8")
    for what, other in instead.items():
        report = re.sub(what, other, report)
    write_text(made / "report.html", report)


def _gather(session: Session, made: Path) -> None:
    for folder, pattern in (("notebooks", "*.ipynb"), ("tables", "*.csv"), ("figures", "*.png")):
        (made / folder).mkdir(parents=True)
        for path in sorted((session.out / folder).glob(pattern)):
            shutil.copyfile(path, made / folder / path.name)
    for path in (made / "figures").iterdir():
        if not SHOWN_ALONE.search(path.name):
            path.unlink()
            continue
        path.write_bytes(_fewer_colours(path.read_bytes()))
    for path in (made / "notebooks").iterdir():
        notebook = nbformat.read(path, as_version=4)
        for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
            if picture := output.get("data", {}).pop("image/png", None):
                kind, small = _smaller(b64decode(picture))
                output.data[kind] = b64encode(small).decode()
        nbformat.write(notebook, path)
    report = (session.out / "report.html").read_text(encoding="utf-8")
    for path in sorted((session.out / "explorer").glob("*.methods.html")):
        whole = path.with_name(path.name.replace(".methods", "")).read_text(encoding="utf-8")
        light = f'srcdoc="{escape(path.read_text(encoding="utf-8"))}"'
        report = re.sub(
            r'srcdoc="([^"]*)"', lambda at, new=light, old=whole: new if unescape(at[1]) == old else at[0], report
        )
    write_text(made / "report.html", report)
    if session.plan.networks:
        write_published(session.plan.networks, session.plan.backbones.values(), made)


def _fewer_colours(png: bytes) -> bytes:
    """A picture in 128 colours: less than half the size, and hardly a difference to be seen."""
    with Image.open(io.BytesIO(png)) as image:
        small, file = image.convert("RGB").quantize(128), io.BytesIO()
    small.save(file, "PNG", optimize=True)
    return file.getvalue()


def _smaller(png: bytes) -> tuple[str, bytes]:
    """A picture for a notebook, and its kind: pictures of frames as JPEG, plots in few colours."""
    few = _fewer_colours(png)
    if len(few) <= LOSSLESS:
        return "image/png", few
    with Image.open(io.BytesIO(png)) as image:
        file = io.BytesIO()
        image.convert("RGB").save(file, "JPEG", quality=75, optimize=True)
    return "image/jpeg", file.getvalue()


def _require_whole(source: Path) -> None:
    if not (source / "report.html").is_file():
        raise ValueError(f"{source} has no report.html; finish the study first with fasnb run")
    commit = commit_name()
    for path in sorted((source / "notebooks").glob("*.ipynb")):
        if path.name.endswith(".failed.ipynb"):
            raise ValueError(f"{path} is a notebook that failed; run the study again")
        made = nbformat.read(path, as_version=4).metadata.get("fasnb", {}).get("commit")
        if made != commit or " " in commit:
            raise ValueError(
                f"{path} was made by commit {made}, the repository is at {commit}; commit, then run the study"
            )


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
        ValueError: the folder is no results folder of a published profile.
    """
    name = re.sub(r"-[0-9a-f]{8}$", "", Path(folder).resolve().name)
    if name not in profiles.names():
        raise ValueError(f"{folder} does not carry the name of a profile ({', '.join(profiles.names())})")
    session = Session(name, out=Path(folder).resolve())
    if session.profile.source == "released":
        raise ValueError(
            "the released source has no networks of ours to compare; its tables come from the authors' scores"
        )
    if not len(session.published.runs):
        raise ValueError(f"results/published has no scores of profile {name}; compare with one that is published")
    keys = ["experiment", "fold", "seed"]
    published = session.published.runs.reset_index()[keys].apply(tuple, axis=1)
    networks = [n for n in session.plan.networks if finished(n) is not None]
    known = set(published)
    networks = [n for n in networks if tuple(getattr(n.specification, key) for key in keys) in known]
    if not networks:
        raise ValueError(f"{folder} has no finished network that is published; run the study first")
    here = load_scores(networks, "valid", session.published)
    there = pd.concat([session.published.of(n, "valid") for n in networks], ignore_index=True)
    whole = _with_all_folds(here)
    return pd.concat(
        [
            _compared("network", here, there, session.profile.fprs),
            _compared("mean of folds", *(average(t[_chosen(t, whole)], over=["fold"]) for t in (here, there)), session.profile.fprs),
        ],
        ignore_index=True,
    )  # fmt: skip


def _with_all_folds(table: pd.DataFrame) -> set[tuple[str, int]]:
    counts = table.groupby(["experiment", "seed"])["fold"].nunique()
    return {(e, seed) for (e, seed), n in counts.items() if n == EXPERIMENTS[e].fold_count}


def _chosen(table: pd.DataFrame, wanted: set[tuple[str, int]]) -> pd.Series:
    return table[["experiment", "seed"]].apply(tuple, axis=1).isin(wanted)


def _compared(what: str, here: pd.DataFrame, there: pd.DataFrame, fprs) -> pd.DataFrame:
    parts = []
    for fpr in fprs:
        both = pd.DataFrame({"published": _tprs(there, fpr), "here": _tprs(here, fpr)}).reset_index()
        both["spread"] = SPREADS * np.sqrt(2) * _seed_deviation(both)
        difference = (both["here"] - both["published"]).abs()
        verdicts = [difference.round(2) == 0, difference <= both["spread"]]
        both["verdict"] = np.select(verdicts, ["equal", "within"], "outside")
        both.insert(0, "what", what)
        both.insert(4, "FPR", fpr_name(fpr))
        parts.append(both)
    return pd.concat(parts, ignore_index=True)


def _tprs(table: pd.DataFrame, fpr: float) -> pd.Series:
    by = table.assign(fold=table["fold"].fillna(0)).groupby(list(NETWORK))
    return pd.Series({name: 100 * tpr_at_fpr(part["label"], part["score"], fpr) for name, part in by}).rename_axis(
        NETWORK
    )


def _seed_deviation(both: pd.DataFrame) -> float:
    """Deviation between seeds of such a number, pooled over methods and folds; NaN where all have one seed."""
    by = both.groupby(["experiment", "fold"])["published"]
    return float(np.sqrt(by.var().mean()))


def verdicts(table: pd.DataFrame) -> str:
    """How many numbers are equal, within the spread and outside, in one sentence."""
    counts = table["verdict"].value_counts()
    said = ", ".join(f"{counts.get(verdict, 0):,} {verdict}" for verdict in ("equal", "within", "outside"))
    return f"{len(table):,} numbers: {said} the spread of seeds and machines"

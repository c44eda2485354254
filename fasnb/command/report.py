"""One self-contained HTML page of all executed notebooks: prose, lessons, tables, figures and explorer."""

import io
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import nbformat
import pandas as pd
from jinja2 import Environment
from latex2mathml.converter import convert
from markupsafe import Markup
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from nbconvert.preprocessors import TagRemovePreprocessor
from PIL import Image
from pygments.formatters import HtmlFormatter

from fasnb.lab.chapters import NOTEBOOKS
from fasnb.lab.explorer import frame
from fasnb.lab.session import Session
from fasnb.lab.show import SOURCES
from fasnb.tools.environment import commit_name, environment, peak_memory
from fasnb.tools.files import write_text
from fasnb.tools.text import plain
from fasnb.tools.workers import choose_device
from fasnb.training.runs import finished

SCOPE = {
    "synthetic": "Every frame is drawn by a renderer, and the backbones were pre-trained on images of the same renderer. So this "
    "page shows how each claim of the paper is tested, and says nothing about the real numbers.",
    "casia-surf": "The networks were trained by this study on the data set of the paper.",
    "released": "These are the scores that the authors' own networks gave on the real validation set, so this page is evidence "
    "about the paper's claims as far as scores without images carry.",
}
"""Source -> what a page made from it can tell."""

LOSSLESS = 40_000  # bytes of a picture; plots stay below, pictures of frames do not

VERDICTS = ("shown", "opposite", "undecided", "not measured")

_FORMULA = re.compile(
    r"(?P<code>```.*?```|`[^`]*`)|\$\$(?P<block>.+?)\$\$|(?<![\\$\w])\$(?P<line>[^\s$](?:[^$]*?[^\s$])?)\$(?!\w)",
    re.DOTALL,
)


def write_report(session: Session, seconds: float, spent: Mapping[str, float]) -> Path:
    """Write ``report.html`` from the executed notebooks in the session's results folder.

    Args:
        seconds: since the start of the whole study, which the page compares with the budget.
        spent: the seconds of its parts.
    """
    notebooks = {name: session.out / "notebooks" / f"{name}.ipynb" for name in NOTEBOOKS}
    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    exporter.register_preprocessor(TagRemovePreprocessor(remove_input_tags={"plumbing"}), enabled=True)
    there = {name: nbformat.read(path, as_version=4) for name, path in notebooks.items() if path.is_file()}
    chapters = [_chapter(name, notebook, session.out, exporter) for name, notebook in there.items()]
    verdict, claims = _outcome(session)
    template = resources.files("fasnb.command").joinpath("report.html.j2").read_text(encoding="utf-8")
    page = (
        Environment(autoescape=True)
        .from_string(template)
        .render(
            name=plain(session.profile.name),
            source=SOURCES[session.profile.source],
            chapters=chapters,
            scope=SCOPE[session.profile.source],
            findings=[said for chapter in chapters for said in _findings(chapter, there[chapter["name"]])],
            verdict=verdict,
            claims=claims,
            style=HtmlFormatter().get_style_defs(".highlight"),
            facts=_facts(session, chapters, seconds, spent),
        )
    )
    return write_text(session.out / "report.html", page)


def _chapter(name: str, notebook, out: Path, exporter: HTMLExporter) -> dict:
    """One notebook as a section; an output that names a page of an explorer becomes that page in a frame.

    Of the code only the cells tagged ``lesson`` are shown: they are what the chapter teaches. What is of use in the notebook
    alone, how to change its parameters and the exercises, is left out.
    """
    heads = [cell.source.split("\n")[0] for cell in notebook.cells]
    end = next((number for number, head in enumerate(heads) if head == "## Exercises"), len(heads))
    notebook.cells = [cell for cell, head in zip(notebook.cells[:end], heads, strict=False) if head != "## Parameters"]
    for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
        if page := output.get("metadata", {}).get("fasnb", {}).get("page"):
            output.data = {"text/html": frame(out / page, notebook.cells[0].source.splitlines()[0].lstrip("# "))}
        elif picture := output.get("data", {}).get("image/png"):
            output.data = {"text/html": _picture(b64decode(picture))}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = with_mathml(cell.source)
        elif "lesson" not in cell.metadata.get("tags", ()):
            cell.metadata["tags"] = [*cell.metadata.get("tags", ()), "plumbing"]
    body, _ = exporter.from_notebook_node(notebook)
    made = notebook.metadata.get("fasnb", {})
    settings = made.get("parameters", {}).get("settings") or {}
    return {
        "name": name,
        "title": notebook.cells[0].source.splitlines()[0].lstrip("# "),
        "question": _question(notebook.cells[0].source),
        "body": Markup(body),  # nbconvert's page; what comes from data was escaped when it was shown
        "commit": made.get("commit"),
        "changed": plain(", ".join(f"{key} = {value}" for key, value in settings.items())) or "none",
        "seconds": made.get("seconds") or 0,
        "memory": made.get("memory"),
    }


def _picture(png: bytes) -> str:
    """A picture as browsers take it in half the bytes and less: WebP, without loss where that is small enough."""
    with Image.open(io.BytesIO(png)) as image:
        file, (width, height) = io.BytesIO(), image.size
        image.save(file, "WEBP", lossless=True)
        if file.tell() > LOSSLESS:
            file = io.BytesIO()
            image.save(file, "WEBP", quality=70, method=6)
    data = b64encode(file.getvalue()).decode()
    return (
        f'<img src="data:image/webp;base64,{data}" width="{width}" height="{height}" alt="figure, described below it">'
    )


def with_mathml(text: str) -> str:
    """A Markdown text with its formulas ($...$, $$...$$) as MathML, which browsers draw without a script; code is left alone."""

    def formula(found: re.Match) -> str:
        if found["code"]:
            return found[0]
        shown = found["block"] is not None
        return convert((found["block"] or found["line"]).strip(), display="block" if shown else "inline")

    return _FORMULA.sub(formula, text)


def _question(text: str) -> str:
    """The question of a chapter's first cell, in one line."""
    found = re.search(r"\*\*Question\.\*\*(.*?)(?:\n\s*\n|\Z)", text, re.DOTALL)
    return " ".join(found[1].split()) if found else ""


def _outcome(session: Session) -> tuple[str, list[tuple[str, list[str]]]]:
    """How many claims reach a verdict, in a sentence; and verdict -> the claims that have it. Both are empty where notebook
    08 was not executed."""
    path = session.out / "tables" / "08-findings.csv"
    if not path.is_file():
        return "", []
    table = pd.read_csv(path)
    found = [(verdict, table["claim"][table["verdict"] == verdict].tolist()) for verdict in VERDICTS]
    reached = sum(len(claims) for _, claims in found[:2])  # shown and opposite
    sentence = f"{reached or 'None'} of {len(table)} claims reach{'es' * (reached < 2)} a verdict"
    for verdict, claims in found[:2]:
        sentence += f"; {verdict}: {'; '.join(claims)}" if claims else ""
    alone = int(table["reason"].str.contains(r"\bone seed of", na=False).sum())
    if alone:
        sentence += f"; {alone} cannot, because a method in them has one seed and the luck of another is not known"
    return f"{sentence}.", [(verdict, claims) for verdict, claims in found if claims]


def _findings(chapter: dict, notebook) -> list[tuple[str, Markup]]:
    """Chapter and sentence, for each that a cell tagged ``finding`` displays: what the page's head says."""
    texts = [
        output["data"].get("text/markdown", "")
        for cell in notebook.cells
        if "finding" in cell.metadata.get("tags", ())
        for output in cell.get("outputs", ())
        if "data" in output
    ]
    return [
        (chapter["name"], Markup(markdown2html(line.removeprefix("- "))))
        for text in texts
        for line in text.splitlines()
    ]


def _facts(session: Session, chapters: list[dict], seconds: float, spent: Mapping[str, float]) -> list[tuple[str, str]]:
    """What the page was made with."""
    profile, made = session.profile, environment(choose_device(session.profile.device))
    runs = [run for run in map(finished, session.plan.networks) if run is not None]
    minutes = sum(run.result["training"]["seconds"] for run in runs) / 60
    trained = f"{len(runs)} trained here, {minutes:,.1f} minutes of training in sum" if runs else "none trained here"
    parts = ", ".join(f"{part} {duration:,.0f} s" for part, duration in spent.items())
    hidden = {"title", "budget_minutes", "budget_machine"}
    if profile.source == "released":
        hidden |= set(profile.as_dict()) - {"name", "source", "released_epoch", "fprs", "headline_fpr", "replicates"}
    values = {k: v for k, v in profile.as_dict().items() if k not in hidden and v not in ("", {}, None)}
    return [
        ("profile", plain(f"{profile.name}: {profile.title}")),
        ("source", SOURCES[profile.source]),
        ("changed values", "; ".join(sorted({chapter["changed"] for chapter in chapters}))),
        ("commit", commit_name()),
        ("packages", ", ".join(f"{k} {v}" for k, v in made["packages"].items())),
        ("machine", f"{made['device']}, {os.cpu_count()} logical cores"),
        ("notebooks", f"{len(chapters)} executed, {sum(chapter['seconds'] for chapter in chapters):,.0f} s in sum"),
        ("networks", trained),
        ("this run", f"{seconds / 60:,.1f} minutes from start to report ({parts}); what was there before was loaded"),
        ("memory", _memory([run.result["training"] for run in runs], chapters)),
        ("budget", f"{profile.budget_minutes:g} minutes for everything on {profile.budget_machine}"),
        ("all values", plain(", ".join(f"{k} = {v}" for k, v in values.items()))),
    ]


def _memory(trainings: list[dict], chapters: list[dict]) -> str:
    """Peak memory of the processes that made the page, as far as it is known."""

    def largest(made: list[dict]) -> int | None:
        return max(filter(None, (each.get("memory") for each in made)), default=None)

    peaks = {"the main process": peak_memory(), "the largest process that trained a network": largest(trainings)}
    peaks |= {"the largest notebook": largest(chapters)}
    return ", ".join(f"{peak / 1e9:.1f} GB in {where}" for where, peak in peaks.items() if peak) or "unknown here"

"""One self-contained HTML page of all executed notebooks: prose, tables and figures, code left out."""

import os
from importlib import resources
from pathlib import Path

import nbformat
from jinja2 import Environment
from markupsafe import Markup
from nbconvert import HTMLExporter

from fasnb.lab.chapters import NOTEBOOKS
from fasnb.lab.session import Session
from fasnb.lab.show import SOURCES
from fasnb.tools.environment import commit_name, environment, peak_memory
from fasnb.tools.files import write_text
from fasnb.tools.text import plain
from fasnb.tools.workers import choose_device
from fasnb.training.runs import finished


def write_report(session: Session, seconds: float) -> Path:
    """Write ``report.html`` from the executed notebooks in the session's results folder.

    Args:
        seconds: since the start of the whole study, which the page compares with the budget.
    """
    notebooks = {name: session.out / "notebooks" / f"{name}.ipynb" for name in NOTEBOOKS}
    chapters = [_chapter(name, nbformat.read(path, as_version=4)) for name, path in notebooks.items() if path.is_file()]
    template = resources.files("fasnb.command").joinpath("report.html.j2").read_text(encoding="utf-8")
    page = (
        Environment(autoescape=True)
        .from_string(template)
        .render(
            name=plain(session.profile.name),
            source=SOURCES[session.profile.source],
            chapters=chapters,
            facts=_facts(session, chapters, seconds),
        )
    )
    return write_text(session.out / "report.html", page)


def _chapter(name: str, notebook) -> dict:
    hidden = dict.fromkeys(("exclude_input", "exclude_input_prompt", "exclude_output_prompt"), True)
    body, _ = HTMLExporter(template_name="basic", **hidden).from_notebook_node(notebook)
    made = notebook.metadata.get("fasnb", {})
    settings = made.get("parameters", {}).get("settings") or {}
    return {
        "name": name,
        "title": notebook.cells[0].source.splitlines()[0].lstrip("# "),
        "body": Markup(body),  # nbconvert's page; what comes from data was escaped when it was shown
        "commit": made.get("commit"),
        "changed": plain(", ".join(f"{key} = {value}" for key, value in settings.items())) or "none",
        "seconds": made.get("seconds") or 0,
        "memory": made.get("memory"),
    }


def _facts(session: Session, chapters: list[dict], seconds: float) -> list[tuple[str, str]]:
    """What the page was made with: the first thing a reader should know."""
    profile, made = session.profile, environment(choose_device(session.profile.device))
    runs = [run for run in map(finished, session.plan.networks) if run is not None]
    minutes = sum(run.result["training"]["seconds"] for run in runs) / 60
    trained = f"{len(runs)} trained here, {minutes:,.1f} minutes of training in sum" if runs else "none trained here"
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
        ("notebooks", f"{len(chapters)} executed in {sum(chapter['seconds'] for chapter in chapters):,.0f} s"),
        ("networks", trained),
        ("this run", f"{seconds / 60:,.1f} minutes from start to report; what was there before was loaded"),
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

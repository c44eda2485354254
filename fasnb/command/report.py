"""One self-contained HTML page of all executed notebooks: prose, lessons, tables, figures and explorer."""

import io
import re
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

import nbformat
import pandas as pd
from nbformat import NotebookNode
from PIL import Image

from fasnb.lab.explorer import frame
from fasnb.lab.session import NOTEBOOKS, Study
from fasnb.lab.show import DASH, SOURCES, readable
from fasnb.metrics.pad import fpr_name
from fasnb.paper.profile import PLACES
from fasnb.tools.files import write_text
from fasnb.tools.machine import choose_device, environment
from fasnb.training.archive import is_done, load_facts

PICTURES = ("00-cameras", "09-snapshots")  # figures for the first page; the first that a study has

_FORMULA = re.compile(
    r"(?P<code>```.*?```|`[^`]*`)|\$\$(?P<block>.+?)\$\$|(?<![\\$\w])\$(?P<line>[^\s$](?:[^$]*?[^\s$])?)\$(?!\w)",
    re.DOTALL,
)


def write_report(study: Study, seconds: float, spent: Mapping[str, float]) -> Path:
    """Write ``report.html`` from the executed notebooks in the study's results folder.

    ``seconds`` are those since the start of the whole run, ``spent`` those of its parts.
    """
    from jinja2 import Environment
    from pygments.formatters import HtmlFormatter

    paths = [study.out / "notebooks" / f"{name}.ipynb" for name in NOTEBOOKS]
    chapters = [_chapter(path.stem, nbformat.read(path, as_version=4), study.out) for path in paths if path.is_file()]
    made = {"chapters": chapters, "claims": _claims(study.out / "tables"), "facts": _facts(study, seconds, spent)}
    made |= {"picture": _picture(study.out / "figures"), "beside": _beside(study.out / "tables")}
    made |= {"fpr": fpr_name(study.profile.headline_fpr), "real_faces": study.profile.real_faces}
    template = Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8")
    page = Environment(autoescape=True).from_string(template)
    style = HtmlFormatter().get_style_defs(".highlight")
    made |= {"linked": study.profile.worlds == 1}  # of several worlds the notebooks are not published
    text = page.render(name=study.profile.name, source=study.profile.source, shown=SOURCES, style=style, **made)
    return write_text(study.out / "report.html", text)


def _chapter(name: str, notebook: NotebookNode, out: Path) -> dict:
    """One notebook as a section of the page, and what is said of it."""
    from markupsafe import Markup
    from nbconvert import HTMLExporter
    from nbconvert.preprocessors import TagRemovePreprocessor

    first, made = notebook.cells[0].source, notebook.metadata.get("fasnb", {})
    question = re.search(r"\*\*Question\.\*\*(.*?)(?:\n\s*\n|\Z)", first, re.DOTALL)
    changed = made.get("parameters", {}).get("settings") or {}
    _prepare(notebook, out)
    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    exporter.register_preprocessor(TagRemovePreprocessor(remove_input_tags={"plumbing"}), enabled=True)
    return {
        "name": name,
        "title": first.splitlines()[0].lstrip("# "),
        "question": " ".join(question[1].split()) if question else "",
        "body": Markup(exporter.from_notebook_node(notebook)[0]),  # what comes from data was escaped when it was shown
        "commit": made.get("commit"),
        "changed": ", ".join(f"{key} = {value}" for key, value in changed.items()) or "none",
    }


def _prepare(notebook: NotebookNode, out: Path) -> None:
    """Leave what the page shows; an output that names a page of an explorer becomes that page in a frame.

    Of the code only the cells tagged ``lesson`` are shown: they are what the chapter teaches. What is of use in the
    notebook alone, how to change its parameters and the exercises, is left out.
    """
    heads = [cell.source.split("\n")[0] for cell in notebook.cells]
    end = heads.index("## Exercises") if "## Exercises" in heads else len(heads)
    notebook.cells = [notebook.cells[n] for n in range(end) if heads[n] != "## Parameters"]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = with_mathml(cell.source)
            continue
        if "lesson" not in cell.metadata.get("tags", ()):
            cell.metadata["tags"] = ["plumbing"]
        for output in cell.outputs:
            for kind in {"image/png", "image/jpeg"} & {*output.get("data", ())}:
                output.metadata[kind] = {"alt": "figure, described below it"}
            if page := output.get("metadata", {}).get("fasnb", {}).get("page"):
                output.data = {"text/html": frame(out / page, heads[0].lstrip("# "))}


def with_mathml(text: str) -> str:
    """A Markdown text with its formulas ($...$, $$...$$) as MathML, which browsers draw without a script; code is kept."""
    from latex2mathml.converter import convert

    def formula(found: re.Match) -> str:
        if found["code"]:
            return found[0]
        shown = found["block"] is not None
        return convert((found["block"] or found["line"]).strip(), display="block" if shown else "inline")

    return _FORMULA.sub(formula, text)


def _claims(tables: Path) -> list[dict]:
    """The primary claims, from the last chapter's table, with what the published worlds say; empty without it."""
    path = tables / "08-findings.csv"
    table = pd.read_csv(path, dtype={"section": "string"}) if path.is_file() else pd.DataFrame()
    return table.assign(**{"in all worlds": table.get("in all worlds")}).astype(object).to_dict("records")


def _picture(figures: Path) -> dict | None:
    """The picture of the first page: its bytes in base64, and its caption; None where no chapter has drawn one."""
    for path in (figures / f"{name}.png" for name in PICTURES):
        if path.is_file():
            Image.open(path).convert("RGB").save(file := io.BytesIO(), "webp", quality=85)
            told = path.with_suffix(".txt").read_text(encoding="utf-8").strip()
            return {"webp": b64encode(file.getvalue()).decode(), "told": told}
    return None


def _beside(tables: Path) -> dict[int, list[dict]]:
    """Rows of Tables 3 and 5, published beside measured, as texts: ``name`` and the columns that there are."""
    found = {}
    for number in (3, 5):
        path = tables / f"08-table{number}.csv"
        rows = readable(pd.read_csv(path, dtype={"FPR": float})).to_dict("records") if path.is_file() else []
        for row in rows:
            row.setdefault("measured", DASH)
            parts = [row.get(part, DASH) for part in ("method", "initialization", "fold", "modality", "FPR")]
            named = ", ".join(part for part in parts if part not in (DASH, "attack 3-fold"))
            row["name"] = named.replace("stand-in for ", "")  # the page says so once
        found |= {number: rows} if rows else {}
    return found


def _facts(study: Study, seconds: float, spent: Mapping[str, float]) -> dict[str, str]:
    """What the page was made with; where data lie is no part of it."""
    profile, made = study.profile, environment(choose_device(study.profile.device))
    here = [network for network in study.plan.networks if is_done(network)]
    trained = load_facts(here)["seconds"].sum() / 60 if here else 0
    parts = ", ".join(f"{part} {duration:,.0f} s" for part, duration in spent.items())
    values = {k: v for k, v in profile.as_dict().items() if k not in ("title", *PLACES) and v not in ("", {}, None)}
    return {
        "profile": f"{profile.name}: {profile.title}",
        "commit": made["commit"],
        "machine": f"{made['device']}; {', '.join(f'{name} {version}' for name, version in made['packages'].items())}",
        "networks": f"{len(here)} trained here, {trained:,.1f} minutes of training in sum",
        "this run": f"{seconds / 60:,.1f} minutes ({parts}); what was there before was loaded",
        "budget": f"{profile.budget_minutes:g} minutes for everything on {profile.budget_machine}",
        "all values": ", ".join(f"{key} = {value}" for key, value in values.items()),
    }

"""Executing the notebooks with papermill, and one self-contained HTML page of what they show."""

import html
import os
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError

from fasnb.lab.chapters import NOTEBOOKS
from fasnb.lab.session import SOURCES
from fasnb.paper.profile import Profile, ProfileError
from fasnb.tools.environment import environment
from fasnb.tools.files import replace_file, write_text
from fasnb.tools.places import home
from fasnb.tools.workers import choose_device
from fasnb.training.runs import list_runs

CELL_TIMEOUT = 7 * 24 * 3600  # seconds; a cell may train networks, but a hung kernel should not block for ever


class NotebookError(RuntimeError):
    """A notebook stopped; the message names the notebook, the cell and the reason."""


def chosen_notebooks(profile: Profile, only: Sequence[str] = ()) -> list[str]:
    """Names of the notebooks to execute, in order: those that serve the profile's source, or those of ``only``.

    Args:
        only: beginnings of names, such as ``03`` or ``06_modalities``.

    Raises:
        ProfileError: a beginning names no notebook, or one that does not serve this source.
    """
    serving = [name for name, notebook in NOTEBOOKS.items() if profile.source in notebook.sources]
    for beginning in only:
        matching = [name for name in NOTEBOOKS if name.startswith(beginning)]
        if not matching:
            raise ProfileError(f"no notebook begins with {beginning!r}; there are {', '.join(NOTEBOOKS)}")
        if not set(matching) & set(serving):
            raise ProfileError(f"{matching[0]} does not serve the {profile.source} source")
    return [name for name in serving if not only or any(name.startswith(beginning) for beginning in only)]


def _kernel_in(folder: str) -> type[AsyncKernelManager]:
    """A kernel that is reached over files in a folder, not TCP ports: no two studies on one machine can meet."""
    where = {} if os.name == "nt" else {"transport": "ipc", "ip": f"{folder}/kernel"}
    return type("LocalKernel", (AsyncKernelManager,), where)


def execute(name: str, parameters: dict, out: Path) -> float:
    """Execute one notebook and keep the executed copy as ``out/notebooks/<name>.ipynb``.

    Returns:
        Seconds it took.

    Raises:
        NotebookError: a cell failed, timed out or killed the kernel. The broken copy is kept beside as
            ``<name>.failed.ipynb``; an earlier whole copy stays as it was.
    """
    folder = out / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    failed = folder / f"{name}.failed.ipynb"
    source = home() / "notebooks" / f"{name}.ipynb"
    _check_parameters(source, parameters)
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="fasnb-") as sockets:
            papermill.execute_notebook(
                str(source),
                str(failed),
                parameters=parameters,
                kernel_name="python3",
                kernel_manager_class=_kernel_in(sockets),
                cwd=str(home()),
                progress_bar=False,
                log_output=False,
                execution_timeout=CELL_TIMEOUT,
                iopub_timeout=60,
                start_timeout=120,
                coalesce_streams=True,
            )
    except PapermillExecutionError as error:
        where = f"cell {error.exec_count}" if error.exec_count else "a cell"
        raise NotebookError(f"{name}, {where}: {error.ename}: {_plain(error.evalue)}; see {_shown(failed)}") from None
    except (CellTimeoutError, DeadKernelError) as error:
        raise NotebookError(f"{name}: {type(error).__name__}: {_plain(str(error))}; see {_shown(failed)}") from None
    seconds = time.monotonic() - started
    notebook = nbformat.read(failed, as_version=4)
    _forget_machine(notebook, name, seconds)
    replace_file(folder / f"{name}.ipynb", lambda to: nbformat.write(notebook, to))
    failed.unlink()
    return seconds


def _check_parameters(source: Path, parameters: dict) -> None:
    """papermill only warns of a parameter that no cell uses; refuse it."""
    notebook = nbformat.read(source, as_version=4)
    tagged = "\n".join(c.source for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    unknown = [key for key in parameters if not re.search(rf"^{re.escape(key)}\b", tagged, re.MULTILINE)]
    if unknown:
        raise ProfileError(f"{source.name} has no parameter {unknown[0]!r}")


def _forget_machine(notebook, name: str, seconds: float) -> None:
    """Drop what papermill notes of this machine and moment; keep what says how the copy was made.

    Where data and weights lie is no part of that: a reader of the copy has them elsewhere.
    """
    parameters = dict(notebook.metadata.pop("papermill", {}).get("parameters", {}))
    parameters["settings"] = {k: v for k, v in parameters["settings"].items() if not k.endswith("_root")}
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "injected-parameters" in cell.metadata.get("tags", ()):
            cell.source = "\n".join(["# Parameters", *(f"{key} = {value!r}" for key, value in parameters.items())])
    made = {"notebook": name, "parameters": parameters, "seconds": round(seconds, 1)}
    notebook.metadata["fasnb"] = made | {"commit": _commit()}


def _commit() -> str:
    made = environment("cpu")
    if not made["commit"]:
        return "not in a repository"
    return made["commit"] + (" with uncommitted changes" if made["dirty"] else "")


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text or "").strip()


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(home()))
    except ValueError:
        return str(path)


def run_notebooks(
    name: str,
    profile: Profile,
    settings: dict,
    names: Sequence[str],
    out: Path,
    done: Callable[[str, float], None],
    started: float | None = None,
) -> None:
    """Execute notebooks in order, stop at the first failure, and write the report.

    Args:
        name: what the profile was loaded by, a name or the path of a file; handed to each notebook.
        profile: the profile itself.
        settings: the changed values, handed to each notebook.
        done: called with the name and seconds of each finished notebook.
        started: ``time.monotonic()`` at the start of the whole study, which the report compares with the budget.
    """
    started = started or time.monotonic()
    name = _shown(Path(name)) if name.endswith(".toml") else name
    for notebook in names:
        parameters = {"profile": name, "settings": settings, "out": _shown(out)}
        done(notebook, execute(notebook, parameters, out))
    write_report(profile, settings, out, time.monotonic() - started)


def write_report(profile: Profile, settings: dict, out: Path, seconds: float) -> Path:
    """One HTML page of all executed notebooks in ``out``: prose, tables and figures, code left out."""
    chapters = []
    for name in NOTEBOOKS:
        path = out / "notebooks" / f"{name}.ipynb"
        if path.is_file():
            chapters.append((name, nbformat.read(path, as_version=4)))
    body = "\n".join(_chapter(name, notebook) for name, notebook in chapters)
    links = "".join(f'<li><a href="#{name}">{html.escape(_title(nb))}</a></li>' for name, nb in chapters)
    rows = _facts(profile, settings, chapters, out, seconds)
    facts = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in rows)
    source = html.escape(SOURCES[profile.source])
    page = _PAGE.format(title=f"fasnb: {profile.name}", source=source, links=links, facts=facts, body=body)
    return write_text(out / "report.html", page)


def _made(notebook, key: str):
    """What ``execute`` noted of an executed copy."""
    return notebook.metadata.get("fasnb", {}).get(key) or {}


def _changed(notebook) -> str:
    settings = _made(notebook, "parameters").get("settings") or {}
    return ", ".join(f"{key} = {value}" for key, value in settings.items()) or "none"


def _memory() -> str:
    """Peak resident memory of this run's processes; ``ru_maxrss`` is in KiB on Linux, in bytes on macOS."""
    unit = 1 if sys.platform == "darwin" else 1024
    own, other = (
        resource.getrusage(who).ru_maxrss * unit / 1e9 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return f"{own:.1f} GB at most in the main process, {other:.1f} GB in the largest of its workers and kernels"


def _title(notebook) -> str:
    return notebook.cells[0].source.splitlines()[0].lstrip("# ")


def _facts(profile: Profile, settings: dict, chapters, out: Path, seconds: float) -> list[tuple[str, str]]:
    """What the page was made with: the first thing a reader should know."""
    made = environment(choose_device(profile.device))
    executed = sum(_made(notebook, "seconds") or 0 for _, notebook in chapters)
    runs = list_runs(out)
    trained = (
        f"{len(runs)} networks, {runs['seconds'].sum() / 60:,.1f} minutes of training in sum" if len(runs) else "none"
    )
    hidden = {"title", "budget_minutes", "budget_machine"}
    if profile.source == "released":
        hidden |= set(profile.as_dict()) - {"name", "source", "released_epoch", "fprs", "headline_fpr", "replicates"}
    changed = {k: v for k, v in profile.as_dict().items() if k not in hidden}
    facts = [
        ("profile", f"{profile.name}: {profile.title}"),
        ("source", SOURCES[profile.source]),
        ("changed values", "; ".join(sorted({_changed(notebook) for _, notebook in chapters}))),
        ("commit", _commit()),
        ("packages", ", ".join(f"{k} {v}" for k, v in made["packages"].items())),
        ("machine", f"{made['device']}, {os.cpu_count()} logical cores"),
        ("notebooks", f"{len(chapters)} executed in {executed:,.0f} s"),
        ("networks", trained),
        ("this run", f"{seconds / 60:,.1f} minutes from start to report; what was there before was loaded"),
        ("memory", _memory()),
        ("budget", f"{profile.budget_minutes:g} minutes for everything on {profile.budget_machine}"),
    ]
    return facts + [("all values", ", ".join(f"{k} = {v}" for k, v in changed.items() if v not in ("", {}, None)))]


def _chapter(name: str, notebook) -> str:
    hidden = dict.fromkeys(("exclude_input", "exclude_input_prompt", "exclude_output_prompt"), True)
    exporter = HTMLExporter(template_name="basic", **hidden)
    body, _ = exporter.from_notebook_node(notebook)
    about = f"commit {_made(notebook, 'commit')}, changed values: {html.escape(_changed(notebook))}"
    link = f'<p class="source"><a href="notebooks/{name}.ipynb">executed notebook {name}.ipynb</a>, {about}</p>'
    return f'<section id="{name}">{body}{link}</section>'


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
h1, h2, h3 {{ line-height: 1.25; margin: 2.2em 0 .6em; }} section > div:first-child h1 {{ border-top: 2px solid #ddd; padding-top: 1em; }}
.anchor-link, .jp-InputPrompt, .jp-OutputPrompt, .prompt {{ display: none; }}
table {{ border-collapse: collapse; font-size: .78rem; margin: 1em 0; display: block; overflow-x: auto; }}
caption {{ display: block; width: max-content; max-width: min(58rem, 92vw); white-space: normal; text-align: left; color: #444; padding: .3em 0; }}
th, td {{ padding: .25em .55em; border-bottom: 1px solid #e4e4e4; text-align: right; vertical-align: top; white-space: nowrap; }}
thead th {{ border-bottom: 1.5px solid #888; white-space: normal; vertical-align: bottom; }}
td:first-child, th:first-child {{ text-align: left; }} td:first-child {{ white-space: normal; min-width: 5em; }}
table.facts td {{ text-align: left; white-space: normal; word-break: break-word; }} table.facts th {{ text-align: left; }}
img {{ max-width: 100%; height: auto; }} pre {{ white-space: pre-wrap; color: #444; font-size: .8rem; }}
em {{ color: #444; }} .source {{ font-size: .85rem; }}
</style></head><body>
<h1>{title}</h1><p>{source}.</p>
<table class="facts">{facts}</table>
<ol>{links}</ol>
{body}
</body></html>
"""

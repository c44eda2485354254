"""``fasnb run``: from a profile to its report. Networks are trained, and notebooks executed with papermill.

Of each notebook a copy is kept that says how it was made and nothing of this machine.
"""

import io
import re
import tempfile
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from PIL import Image
from tqdm import tqdm

from fasnb.command.report import write_report
from fasnb.lab.session import JUDGED, NOTEBOOKS, Study
from fasnb.paper.experiments import EXPERIMENTS, REAL_FACES_EXPERIMENTS
from fasnb.paper.profile import PLACES, Profile, ProfileError
from fasnb.tools.files import replace_file, seal
from fasnb.tools.machine import OutOfTime, commit_name, cores, home, released_root, third_team_root
from fasnb.training.run import train

AT_ONCE = 4  # notebooks, where there are as many cores: each kernel takes up to a gigabyte
CELL_TIMEOUT = 7 * 24 * 3600  # seconds; a cell may train networks, but a hung kernel should not block for ever
FOLDED = re.compile(r"\s*<details>.*?</details>\s*", re.DOTALL)  # answers, in the text of notebooks
LARGE = 54_000  # bytes of a picture in base64; plots stay below, pictures of frames do not
# tags of cells that are for some sources alone, and of those for machines with or without the third team's scores
TAGS = {"synthetic", "casia-surf", "released"}, {"third-team", "no-third-team"}


class NotebookError(RuntimeError):
    """A notebook stopped; the message names the notebook, the cell and the reason."""


def run(profile: str, settings: Mapping, out: Path | None, only: Sequence[str] = (), from_scores=False) -> None:
    """Train what is missing, execute the notebooks and write ``report.html``; can be stopped and run again.

    The first three arguments are as of ``fasnb.lab.open_study``; ``only`` has beginnings of the names of notebooks, by
    default all that serve the source. ``from_scores`` takes networks whose scores are published as they are.
    """
    started, study = time.monotonic(), Study(profile, settings, out)
    names = chosen_notebooks(study.profile, only)
    budget = f"{study.profile.budget_minutes:g} min on {study.profile.budget_machine}"
    print(f"{study}; {len(names)} notebooks; budget {budget}", flush=True)
    spent = _train(study, names, from_scores)
    given, trained = _parameters(study, profile, settings, out), time.monotonic()
    with tqdm(total=len(names), desc="notebooks", unit="notebook") as bar:
        for name, seconds in execute_all(names, tags_of(study.profile), given, study.out):
            bar.write(f"{name}: {seconds:.0f} s")
            bar.update()
    spent["notebooks"] = time.monotonic() - trained
    path = write_report(study, time.monotonic() - started, spent)
    shown = [file for folder in ("notebooks", "tables", "figures") for file in (study.out / folder).glob("[!.]*")]
    seal(study.out, {}, (file.relative_to(study.out).as_posix() for file in (path, *sorted(shown))))
    print("time: " + ", ".join(f"{part} {seconds:.0f} s" for part, seconds in spent.items()))
    print(f"report: {shown_path(path)}")


def write_student_copies(profile: str, settings: Mapping[str, Any], out: Path | None, folder: Path) -> list[Path]:
    """Write a profile's notebooks to a folder, as a class gets them: without folded answers; the paths of the copies.

    The first three arguments are as of ``run`` and filled in; cells of other sources are left out, and in a copy
    ``check.solution`` refers to the teacher. Raises FileExistsError where a copy is there already, and writes none.
    """
    study, opened = Study(profile, settings, out), "study, show, check = open_study(profile, settings, out)"
    closed = f'{opened}\ncheck.solution = lambda name: print("Ask your teacher.")'
    paths = {name: folder / f"{name}.ipynb" for name in chosen_notebooks(study.profile)}
    if there := [path for path in paths.values() if path.exists()]:
        raise FileExistsError(f"{there[0]} is there already, and somebody may have worked in it; name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in paths.items():
        notebook = _chapter(name, tags_of(study.profile), _parameters(study, profile, settings, out))
        for cell in notebook.cells:
            cell.source = FOLDED.sub("\n\n", cell.source).strip() if cell.cell_type == "markdown" else cell.source
            cell.source = cell.source.replace(opened, closed)
            cell.metadata = {"tags": ["parameters"]} if "parameters" in cell.metadata.get("tags", ()) else {}
        notebook.cells = [cell for cell in notebook.cells if cell.source]
        replace_file(path, partial(nbformat.write, notebook))
    return list(paths.values())


def _train(study: Study, names: Sequence[str], from_scores: bool) -> dict[str, float]:
    """Train the networks that notebooks need, the ensemble's first; seconds of each part."""
    wanted = dict.fromkeys(e for name in names for e in NOTEBOOKS[name].experiments)
    if study.profile.source == "released":
        released_root(study.profile.released_root)  # raises where the scores are missing, before any notebook
        return {}
    served = study.served(*wanted) if wanted else []
    networks = study.plan.of(*sorted(served, key=lambda name: not EXPERIMENTS[name].member))
    first, count = study.profile.world, study.profile.worlds
    compared = JUDGED * ("08_report" in names) + REAL_FACES_EXPERIMENTS * ("03_initialization" in names)
    compared = [name for name in compared if study.serves(name)]
    for world in map(study.in_world, range(first + 1, first + count if compared else 0)):
        networks += world.plan.of(*compared)
    held = [from_scores and study.published.holds(network) for network in networks]
    return train([n for n, there in zip(networks, held, strict=True) if not there], **study.profile.execution)


def chosen_notebooks(profile: Profile, only: Sequence[str] = ()) -> list[str]:
    """Names of the notebooks that serve the profile's source, or of those that begin as ``only`` says, such as ``03``.

    Raises ProfileError where a beginning names none of them.
    """
    serving = [name for name, notebook in NOTEBOOKS.items() if profile.source in notebook.sources]
    for beginning in only:
        if not any(name.startswith(beginning) for name in serving):
            raise ProfileError(f"{beginning!r} begins no notebook of the {profile.source} source: {', '.join(serving)}")
    return [name for name in serving if not only or name.startswith(tuple(only))]


def tags_of(profile: Profile) -> set[str]:
    """Of each kind of ``TAGS`` the one that is so here: cells with another one of that kind are left out."""
    try:
        third_team_root(profile.third_team_root)
    except FileNotFoundError:
        return {profile.source, "no-third-team"}
    return {profile.source, "third-team"}


def shown_path(path: Path) -> str:
    """The path as people and executed notebooks see it: below the repository where it lies there."""
    return str(path.relative_to(home()) if path.is_relative_to(home()) else path)


def execute_all(names: Sequence[str], here: set[str], parameters: dict, out: Path) -> Iterator[tuple[str, float]]:
    """Execute notebooks, a core each, for none needs what another writes: (name, seconds) as they finish.

    Where one fails, or the loop over them is left, those at work are waited for and the others are not begun.
    """
    with ThreadPoolExecutor(min(cores(), AT_ONCE)) as pool:
        running = {pool.submit(execute, name, here, parameters, out): name for name in names}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def execute(name: str, here: set[str], parameters: dict, out: Path) -> float:
    """Execute one notebook, without the cells of other sources; the copy is ``out/notebooks/<name>.ipynb``.

    ``here`` is as of ``tags_of``; ``parameters`` are values of the notebook's parameters cell. Returns the seconds it
    took. Raises NotebookError where a cell failed, timed out, killed the kernel or left no picture of a figure: the broken
    copy is kept beside as ``<name>.failed.ipynb``, an earlier whole copy stays as it was.
    """
    folder, started = out / "notebooks", time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    failed = folder / f"{name}.failed.ipynb"
    notebook = _run(name, _chapter(name, here, parameters), failed)
    for cell in notebook.cells:
        outputs = cell.get("outputs", ())
        figures = [f for output in outputs if (f := output.get("metadata", {}).get("fasnb", {}).get("figure"))]
        if len(figures) > sum("image/png" in output.get("data", ()) for output in outputs):
            raise NotebookError(f"{name}: {figures[0]} left no picture; let matplotlib draw inline in the notebook")
    # where data lie is another place for whoever reads the copy
    kept = parameters | {"settings": {k: v for k, v in parameters["settings"].items() if k not in PLACES}}
    _fill_in(notebook, kept)
    for node in (notebook, *notebook.cells):  # what papermill notes of this machine and moment
        node.metadata.pop("papermill", None)
        node.metadata.pop("execution", None)
        for output in node.get("outputs", ()):
            _make_smaller(output)
    seconds = round(time.monotonic() - started, 1)
    notebook.metadata["fasnb"] = {"notebook": name, "parameters": kept, "seconds": seconds, "commit": commit_name()}
    replace_file(folder / f"{name}.ipynb", lambda to: nbformat.write(notebook, to))
    failed.unlink()
    return seconds


def _chapter(name: str, here: set[str], parameters: dict) -> NotebookNode:
    """A notebook without the cells of other sources, its parameters filled in; arguments as of ``execute``."""
    notebook = nbformat.read(home() / "notebooks" / f"{name}.ipynb", as_version=4)
    tagged = [(cell, {*cell.metadata.get("tags", ())}) for cell in notebook.cells]
    notebook.cells = [cell for cell, tags in tagged if all(here & tags & kind for kind in TAGS if tags & kind)]
    _fill_in(notebook, parameters)
    return notebook


def _run(name: str, notebook: NotebookNode, failed: Path) -> NotebookNode:
    """The notebook with the outputs of all its cells; while it runs it is written to ``failed``."""
    import papermill
    from jupyter_client import AsyncKernelManager
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    how = {"kernel_name": "python3", "progress_bar": False, "coalesce_streams": True, "cwd": home()}
    how |= {"execution_timeout": CELL_TIMEOUT, "iopub_timeout": 60, "start_timeout": 120}
    try:
        with tempfile.TemporaryDirectory(prefix="fasnb-") as folder:

            class LocalKernel(AsyncKernelManager):  # over files, not TCP ports: no two studies on one machine can meet
                transport, ip, connection_file = "ipc", f"{folder}/kernel", f"{folder}/kernel.json"

            return papermill.execute_notebook(notebook, failed, kernel_manager_class=LocalKernel, **how)
    except PapermillExecutionError as error:
        if error.ename == OutOfTime.__name__:
            raise OutOfTime(error.evalue) from None
        where, reason = f", cell {error.exec_count}", f"{error.ename}: {error.evalue}"
    except (CellTimeoutError, DeadKernelError) as error:
        where, reason = "", f"{type(error).__name__}: {error}"
    reason = re.sub(r"\x1b\[[0-9;]*m", "", reason).strip()
    raise NotebookError(f"{name}{where}: {reason}; see {shown_path(failed)}")


def _make_smaller(output: NotebookNode) -> None:
    """Large pictures, which are of frames, become JPEGs, all others get a palette: repository and report hold them."""
    if png := output.get("data", {}).pop("image/png", None):
        image = Image.open(io.BytesIO(b64decode(png))).convert("RGB")
        kind = "jpeg" if len(png) > LARGE else "png"
        image = image if kind == "jpeg" else image.quantize(dither=Image.Dither.NONE)
        image.save(file := io.BytesIO(), kind, quality=70, optimize=True)
        output.data[f"image/{kind}"] = b64encode(file.getvalue()).decode()


def _parameters(study: Study, profile: str, settings: Mapping[str, Any], out: Path | None) -> dict:
    """Values of every notebook's parameters cell; arguments as of ``run``."""
    given = {"profile": shown_path(Path(profile)) if profile.endswith(".toml") else profile, "settings": dict(settings)}
    return given | {"out": shown_path(study.out) if out else None}


def _fill_in(notebook: NotebookNode, parameters: dict) -> None:
    """Write values into the parameters cell, one a line, whose comments stay. ProfileError where it lacks one."""
    cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    for name, value in parameters.items():
        line = f"{name} = {value!r}"
        cell.source, count = re.subn(rf"(?m)^{name} = .*?(?=  #|$)", lambda _, line=line: line, cell.source)
        if not count:
            raise ProfileError(f"the parameters cell has no line {name} = ...")

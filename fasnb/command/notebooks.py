"""Execute notebooks with papermill, and keep of each a copy that says how it was made and nothing of this machine."""

import ast
import os
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from fasnb.lab.chapters import NOTEBOOKS
from fasnb.paper.profile import PLACES, Profile, ProfileError
from fasnb.tools.environment import commit_name, peak_memory
from fasnb.tools.files import explained, replace_file, temporary_folder
from fasnb.tools.places import home
from fasnb.tools.workers import OutOfTime, cores, require_time

AT_ONCE = 4  # notebooks, where there are as many cores: each kernel takes up to a gigabyte
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


def shown_path(path: Path) -> str:
    """The path as people and executed notebooks see it: below the repository where it lies there."""
    try:
        return str(path.relative_to(home()))
    except ValueError:
        return str(path)


def execute_all(names: Sequence[str], parameters: dict, out: Path) -> Iterator[tuple[str, float]]:
    """Execute notebooks, a core each, for none needs what another writes: (name, seconds) as they finish.

    Where one fails, or the loop over them is left, those at work are waited for and the others are not begun.
    """
    with ThreadPoolExecutor(min(cores(), AT_ONCE)) as pool:
        running = {pool.submit(execute, name, parameters, out): name for name in names}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def execute(name: str, parameters: dict, out: Path) -> float:
    """Execute one notebook and keep the executed copy as ``out/notebooks/<name>.ipynb``.

    Returns:
        Seconds it took.

    Raises:
        NotebookError: a cell failed, timed out or killed the kernel. The broken copy is kept beside as
            ``<name>.failed.ipynb``; an earlier whole copy stays as it was.
    """
    require_time()
    folder = out / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    failed = folder / f"{name}.failed.ipynb"
    source = home() / "notebooks" / f"{name}.ipynb"
    _check_parameters(source, parameters)
    started, peaks = time.monotonic(), []
    try:
        with explained(failed), temporary_folder() as sockets:
            papermill.execute_notebook(
                str(source),
                str(failed),
                parameters=parameters,
                kernel_name="python3",
                kernel_manager_class=_kernel_in(sockets, peaks),
                cwd=str(home()),
                progress_bar=False,
                log_output=False,
                execution_timeout=CELL_TIMEOUT,
                iopub_timeout=60,
                start_timeout=120,
                coalesce_streams=True,
            )
    except PapermillExecutionError as error:
        if error.ename == OutOfTime.__name__:
            raise OutOfTime(error.evalue) from None
        where = f"cell {error.exec_count}" if error.exec_count else "a cell"
        reason = f"{error.ename}: {_plain(error.evalue)}"
        raise NotebookError(f"{name}, {where}: {reason}; see {shown_path(failed)}") from None
    except (CellTimeoutError, DeadKernelError) as error:
        reason = f"{type(error).__name__}: {_plain(str(error))}"
        raise NotebookError(f"{name}: {reason}; see {shown_path(failed)}") from None
    seconds = time.monotonic() - started
    notebook = nbformat.read(failed, as_version=4)
    _forget_machine(notebook, name, seconds)
    notebook.metadata["fasnb"] |= {"memory": max(filter(None, peaks), default=None)}
    replace_file(folder / f"{name}.ipynb", lambda to: nbformat.write(notebook, to))
    failed.unlink()
    return seconds


def _kernel_in(folder: Path, peaks: list[int | None]) -> type[AsyncKernelManager]:
    """A kernel that is reached over files in a folder, not TCP ports, so that no two studies on one machine can meet.

    What IPython writes beside its work goes there too, not into the home, which need not be writable.
    ``peaks`` takes its peak memory in bytes before it ends.
    """

    async def shutdown_kernel(self, *given, **options) -> None:
        peaks.append(peak_memory(getattr(self.provisioner, "pid", None) or "gone"))
        await AsyncKernelManager.shutdown_kernel(self, *given, **options)

    where = {} if os.name == "nt" else {"transport": "ipc", "ip": f"{folder}/kernel"}

    def start_kernel(self, **how):
        return AsyncKernelManager.start_kernel(self, env=os.environ | {"IPYTHONDIR": f"{folder}/ipython"}, **how)

    mine = {
        "connection_file": f"{folder}/kernel.json",
        "start_kernel": start_kernel,
        "shutdown_kernel": shutdown_kernel,
    }
    return type("LocalKernel", (AsyncKernelManager,), where | mine)


def _check_parameters(source: Path, parameters: dict) -> None:
    """papermill only warns of a parameter that no cell uses; refuse it."""
    notebook = nbformat.read(source, as_version=4)
    tagged = "\n".join(c.source for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    unknown = [key for key in parameters if not re.search(rf"^{re.escape(key)}\b", tagged, re.MULTILINE)]
    if unknown:
        raise ProfileError(f"{source.name} has no parameter {unknown[0]!r}")


def _forget_machine(notebook, name: str, seconds: float) -> None:
    """Drop what papermill notes of this machine and moment; keep what says how the copy was made.

    Where data and weights lie is no part of that: a reader of the copy has them elsewhere. What was run with stands in the
    notebook's own parameters cell and no longer in a second one behind it, which would overrule what a reader changes there.
    """
    parameters = dict(notebook.metadata.pop("papermill", {}).get("parameters", {}))
    parameters["settings"] = {k: v for k, v in parameters["settings"].items() if k not in PLACES}
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source = _with_values(cell.source, parameters)
    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", ())]
    made = {"notebook": name, "parameters": parameters, "seconds": round(seconds, 1), "commit": commit_name()}
    notebook.metadata["fasnb"] = made


def _with_values(source: str, parameters: dict) -> str:
    """The code of a parameters cell with other values; its comments stay."""
    lines = source.encode().splitlines()  # the parser counts bytes
    for statement in reversed(ast.parse(source).body):
        name, value = statement.targets[0].id, statement.value
        if name in parameters and parameters[name] != ast.literal_eval(value):
            first, last = value.lineno - 1, value.end_lineno - 1
            before, after = lines[first][: value.col_offset], lines[last][value.end_col_offset :]
            lines[first : last + 1] = [before + repr(parameters[name]).encode() + after]
    return b"\n".join(lines).decode()


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text or "").strip()

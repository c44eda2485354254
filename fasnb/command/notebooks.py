"""Execute notebooks with papermill, and keep of each a copy that says how it was made and nothing of this machine."""

import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from fasnb.lab.session import NOTEBOOKS
from fasnb.paper.profile import PLACES, Profile, ProfileError
from fasnb.tools.files import replace_file
from fasnb.tools.machine import OutOfTime, commit_name, cores, home, require_time

AT_ONCE = 4  # notebooks, where there are as many cores: each kernel takes up to a gigabyte
CELL_TIMEOUT = 7 * 24 * 3600  # seconds; a cell may train networks, but a hung kernel should not block for ever
SOURCES = {"synthetic", "casia-surf", "released"}  # tags of cells that are for some sources alone


class NotebookError(RuntimeError):
    """A notebook stopped; the message names the notebook, the cell and the reason."""


def chosen_notebooks(profile: Profile, only: Sequence[str] = ()) -> list[str]:
    """Names of the notebooks that serve the profile's source, or of those that begin as ``only`` says, such as ``03``.

    Raises ProfileError where a beginning names none of them.
    """
    serving = [name for name, notebook in NOTEBOOKS.items() if profile.source in notebook.sources]
    for beginning in only:
        if not any(name.startswith(beginning) for name in serving):
            raise ProfileError(f"{beginning!r} begins no notebook of the {profile.source} source: {', '.join(serving)}")
    return [name for name in serving if not only or name.startswith(tuple(only))]


def shown_path(path: Path) -> str:
    """The path as people and executed notebooks see it: below the repository where it lies there."""
    return str(path.relative_to(home()) if path.is_relative_to(home()) else path)


def execute_all(names: Sequence[str], source: str, parameters: dict, out: Path) -> Iterator[tuple[str, float]]:
    """Execute notebooks, a core each, for none needs what another writes: (name, seconds) as they finish.

    Where one fails, or the loop over them is left, those at work are waited for and the others are not begun.
    """
    with ThreadPoolExecutor(min(cores(), AT_ONCE)) as pool:
        running = {pool.submit(execute, name, source, parameters, out): name for name in names}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def execute(name: str, source: str, parameters: dict, out: Path) -> float:
    """Execute one notebook, without the cells of other sources; the copy is ``out/notebooks/<name>.ipynb``.

    ``source`` is synthetic, casia-surf or released; ``parameters`` are values of the notebook's parameters cell. Returns the
    seconds it took. Raises OutOfTime, and NotebookError where a cell failed, timed out or killed the kernel: the broken copy
    is kept beside as ``<name>.failed.ipynb``, an earlier whole copy stays as it was.
    """
    require_time()
    folder, started = out / "notebooks", time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    failed = folder / f"{name}.failed.ipynb"
    notebook = nbformat.read(home() / "notebooks" / f"{name}.ipynb", as_version=4)
    notebook.cells = [cell for cell in notebook.cells if source in (_tags(cell) & SOURCES or SOURCES)]
    _fill_in(notebook, parameters)
    notebook = _run(name, notebook, failed)
    # where data lie is another place for whoever reads the copy
    kept = parameters | {"settings": {k: v for k, v in parameters["settings"].items() if k not in PLACES}}
    _fill_in(notebook, kept)
    for node in (notebook, *notebook.cells):  # what papermill notes of this machine and moment
        node.metadata.pop("papermill", None)
        node.metadata.pop("execution", None)
    seconds = time.monotonic() - started
    made = {"notebook": name, "parameters": kept, "seconds": round(seconds, 1), "commit": commit_name()}
    notebook.metadata["fasnb"] = made
    replace_file(folder / f"{name}.ipynb", lambda to: nbformat.write(notebook, to))
    failed.unlink()
    return seconds


def _run(name: str, notebook: NotebookNode, failed: Path) -> NotebookNode:
    """The notebook with the outputs of all its cells; while it runs it is written to ``failed``."""
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    how = {"kernel_name": "python3", "progress_bar": False, "coalesce_streams": True}
    how |= {"execution_timeout": CELL_TIMEOUT, "iopub_timeout": 60, "start_timeout": 120}
    try:
        with tempfile.TemporaryDirectory(prefix="fasnb-") as sockets:
            return papermill.execute_notebook(notebook, failed, kernel_manager_class=_kernel(sockets), **how)
    except PapermillExecutionError as error:
        if error.ename == OutOfTime.__name__:
            raise OutOfTime(error.evalue) from None
        where, reason = f", cell {error.exec_count}", f"{error.ename}: {error.evalue}"
    except (CellTimeoutError, DeadKernelError) as error:
        where, reason = "", f"{type(error).__name__}: {error}"
    reason = re.sub(r"\x1b\[[0-9;]*m", "", reason).strip()
    raise NotebookError(f"{name}{where}: {reason}; see {shown_path(failed)}")


def _kernel(folder: str) -> type:
    """A kernel that is reached over files in a folder, not TCP ports, so that no two studies on one machine can meet.

    It draws into the notebook, whatever the caller's MPLBACKEND, and keeps no history in the user's home.
    """
    from jupyter_client import AsyncKernelManager

    mine = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "IPYTHONDIR": f"{folder}/ipython"}

    class LocalKernel(AsyncKernelManager):
        transport, ip, connection_file = "ipc", f"{folder}/kernel", f"{folder}/kernel.json"

        async def start_kernel(self, **how):
            await super().start_kernel(**how | {"env": os.environ | mine, "cwd": str(home())})

    return LocalKernel


def _tags(cell: NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", ()))


def _fill_in(notebook: NotebookNode, parameters: dict) -> None:
    """Write values into the parameters cell, one a line, whose comments stay. ProfileError where it lacks one."""
    cell = next(cell for cell in notebook.cells if "parameters" in _tags(cell))
    for name, value in parameters.items():
        line = f"{name} = {value!r}"
        cell.source, count = re.subn(rf"(?m)^{name} = .*?(?=  #|$)", lambda _, line=line: line, cell.source)
        if not count:
            raise ProfileError(f"the parameters cell has no line {name} = ...")

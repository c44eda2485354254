"""``fasnb run``: from a profile to its report, with the progress of the whole study."""

import errno
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fasnb.command.notebooks import chosen_notebooks, execute, shown_path
from fasnb.command.report import write_report
from fasnb.lab.chapters import NOTEBOOKS
from fasnb.lab.session import Session
from fasnb.paper.experiments import EXPERIMENTS
from fasnb.tools.files import explained, sweep
from fasnb.tools.places import cache, home, released_root
from fasnb.tools.seals import check_sums, write_sums
from fasnb.tools.workers import choose_device, require_time
from fasnb.training.make import make


def run(
    profile: str,
    settings: Mapping[str, Any],
    only: Sequence[str] = (),
    out: Path | None = None,
    from_scores: bool = False,
) -> Path:
    """Train what is missing, execute the notebooks and write ``report.html``; can be stopped and run again.

    Args:
        out: results folder; by default as of ``fasnb.lab.open_study``.
        from_scores: take networks whose scores are published as they are; otherwise they are trained here.

    Returns:
        Path of the report.

    Raises:
        Damaged: a notebook, table, figure or report of an earlier run is not what was written.
        OutOfTime: see ``fasnb.tools.workers.time_limit``.
    """
    started = time.monotonic()
    session = Session(profile, settings, out)
    sweep(session.out, cache())
    check_sums(session.out, edited=True)
    names = chosen_notebooks(session.profile, only)
    budget = f"{session.profile.budget_minutes:g} min on {session.profile.budget_machine}"
    print(f"{session}; {len(names)} notebooks; budget {budget}", flush=True)
    if session.profile.source == "released":
        released_root(session.profile.released_root)
    _require_writable(session.out)
    if session.profile.source != "released":
        _train(session, names, from_scores)
    given = {"profile": shown_path(Path(profile)) if profile.endswith(".toml") else profile, "settings": dict(settings)}
    given |= {"out": out and shown_path(session.out)}
    with tqdm(total=len(names), desc="notebooks", unit="notebook") as bar:
        for name in names:
            require_time()
            bar.write(f"{name}: {execute(name, given, session.out):.0f} s")
            bar.update()
    path = write_report(session, time.monotonic() - started)
    write_sums(session.out, shown_files(session.out))
    print(f"report: {shown_path(path)}")
    return path


def _require_writable(folder: Path) -> None:
    """Say at the start, not after the first training, that the results cannot be written."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def shown_files(out: Path) -> list[Path]:
    """What people look at in a results folder: notebooks, tables, figures and the report."""
    folders = [out / name for name in ("notebooks", "tables", "figures")]
    return [out / "report.html", *(path for folder in folders for path in folder.glob("[!.]*") if path.is_file())]


def _train(session: Session, names: Sequence[str], from_scores: bool) -> None:
    wanted = dict.fromkeys(e for name in names for e in NOTEBOOKS[name].experiments)
    if session.profile.executor == "local":
        choose_device(session.profile.device)
    if wanted:
        # the ensemble first: what a time limit should leave whole
        served = sorted(session.served(*wanted), key=lambda name: not EXPERIMENTS[name].member)
        networks = session.plan.of(*served)
        published = session.published if from_scores else None
        make(session.plan, networks, session.profile.execution, published, home() / "results" / session.profile.name)

"""``fasnb run``: from a profile to its report, with the progress of the whole study."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fasnb.command.report import chosen_notebooks, run_notebooks
from fasnb.lab.chapters import NOTEBOOKS
from fasnb.lab.session import Session
from fasnb.tools.places import released_root
from fasnb.tools.workers import choose_device
from fasnb.training.workshop import make


def run(
    profile: str,
    settings: Mapping[str, Any],
    only: Sequence[str] = (),
    out: Path | None = None,
    from_scores: bool = False,
) -> Path:
    """Train what is missing, execute the notebooks and write ``report.html``; can be stopped and run again.

    Args:
        from_scores: take runs of which only the scores were kept, as in a fresh clone, as they are; otherwise networks
            without weights are trained again.

    Returns:
        Path of the report.
    """
    started = time.monotonic()
    session = Session(profile, settings, out)
    names = chosen_notebooks(session.profile, only)
    budget = f"{session.profile.budget_minutes:g} min on {session.profile.budget_machine}"
    print(f"{session}; {len(names)} notebooks; budget {budget}", flush=True)
    if session.profile.source == "released":
        released_root(session.profile)
    else:
        wanted = dict.fromkeys(e for name in names for e in NOTEBOOKS[name].experiments)
        if session.profile.executor == "local":
            choose_device(session.profile.device)
        if wanted:
            make(session.workshop, session.workshop.tasks(session.served(*wanted)), weights=not from_scores)
    with tqdm(total=len(names), desc="notebooks", unit="notebook") as bar:

        def done(name: str, seconds: float) -> None:
            bar.write(f"{name}: {seconds:.0f} s")
            bar.update()

        run_notebooks(profile, session.profile, dict(settings), names, session.out, done, started)
    print(f"report: {session.out / 'report.html'}")
    return session.out / "report.html"

"""``fasnb run``: from a profile to its report."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fasnb.command.notebooks import chosen_notebooks, execute_all, shown_path
from fasnb.command.report import write_report
from fasnb.command.results import shown_files
from fasnb.lab.session import NOTEBOOKS, Study
from fasnb.paper.experiments import EXPERIMENTS
from fasnb.tools.files import seal
from fasnb.tools.machine import released_root
from fasnb.training.run import train


def run(
    profile: str, settings: Mapping[str, Any], out: Path | None, only: Sequence[str] = (), from_scores=False
) -> None:
    """Train what is missing, execute the notebooks and write ``report.html``; can be stopped and run again.

    Args:
        out: results folder; None as of ``fasnb.lab.open_study``.
        only: beginnings of the names of notebooks; by default all that serve the source.
        from_scores: take networks whose scores are published as they are; otherwise they are trained here.
    """
    started, study = time.monotonic(), Study(profile, settings, out)
    names = chosen_notebooks(study.profile, only)
    budget = f"{study.profile.budget_minutes:g} min on {study.profile.budget_machine}"
    print(f"{study}; {len(names)} notebooks; budget {budget}", flush=True)
    spent = _train(study, names, from_scores)
    given = {"profile": shown_path(Path(profile)) if profile.endswith(".toml") else profile, "settings": dict(settings)}
    given |= {"out": shown_path(study.out) if out else None}
    trained = time.monotonic()
    with tqdm(total=len(names), desc="notebooks", unit="notebook") as bar:
        for name, seconds in execute_all(names, study.profile.source, given, study.out):
            bar.write(f"{name}: {seconds:.0f} s")
            bar.update()
    spent["notebooks"] = time.monotonic() - trained
    path = write_report(study, time.monotonic() - started, spent)
    seal(study.out, {}, shown_files(study.out))
    print("time: " + ", ".join(f"{part} {seconds:.0f} s" for part, seconds in spent.items()))
    print(f"report: {shown_path(path)}")


def _train(study: Study, names: Sequence[str], from_scores: bool) -> dict[str, float]:
    """Train the networks that notebooks need, the ensemble's first; seconds of each part."""
    wanted = dict.fromkeys(e for name in names for e in NOTEBOOKS[name].experiments)
    if study.profile.source == "released":
        released_root(study.profile.released_root)  # raises where the scores are missing, before any notebook
        return {}
    if not wanted:
        return {}
    networks = study.plan.of(*sorted(study.served(*wanted), key=lambda name: not EXPERIMENTS[name].member))
    held = [from_scores and study.published.holds(network) for network in networks]
    return train([n for n, there in zip(networks, held, strict=True) if not there], **study.profile.execution)

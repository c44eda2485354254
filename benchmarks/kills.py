"""SIGKILL at random moments of a study: does it end as if nothing had happened, and is nothing left behind?

    python benchmarks/kills.py --out DIR --kills 50 --minutes 60

One study (profile smoke, the notebooks of ``--only``) is run and published undisturbed, then again and again in clones of
the repository, each killed with all its processes in several random moments: each moment lies a random time after the study
entered a phase that is drawn at random (stores, pre-training, training, scoring, notebooks, report, publishing). Results, what is
published, cache and TMPDIR of every study are then compared with the undisturbed ones: the names of all files, the bytes of
stores, backbones, scores and tables, the tensors of checkpoints. Prints the kills of each phase and every difference.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import torch

from fasnb.tools.files import is_locked

PHASES = {  # name -> files below the study's folder, of which a first one says that the phase has begun
    "start": (),
    "stores": ("cache/*.partial/finished",),
    "pre-training": ("results/backbones/*/backbone.lock",),
    "training": ("results/runs/*/state.pt",),
    "scoring": ("results/runs/*/checkpoint.pt",),
    "notebooks": ("results/notebooks/*",),
    "report": ("results/report.html", "results/notebooks/[!.]*[!d].ipynb"),
    "publishing": ("clone/results/published/.smoke.new",),
}
EQUAL = {".parquet", ".npy", ".csv", ".pt", ".json", ".yml", ""}
TIMES = ("history.csv", "result.json", "sums.csv", "environment.json")  # hold seconds
REPOSITORY = Path(__file__).resolve().parent.parent


def start(phase: str, only: list[str], folder: Path) -> subprocess.Popen:
    """A process that runs the study, or publishes what it has made."""
    places = {name: folder / name for name in ("clone", "results", "cache", "tmp")}
    if not places["clone"].exists():
        places["tmp"].mkdir(parents=True)
        subprocess.run(["git", "clone", "--quiet", REPOSITORY, places["clone"]], check=True)
    run = ["run", "--only", *only] if phase != "publishing" else ["publish", "--tables-only"]
    command = [sys.executable, "-m", "fasnb", *run, "--profile", "smoke", "--out", str(places["results"])]
    environment = {"FASNB_CACHE": places["cache"], "TMPDIR": places["tmp"], "PYTHONPATH": places["clone"]}
    environment = os.environ | {name: str(path) for name, path in environment.items()}
    with open(folder / "log.txt", "a") as log:
        return subprocess.Popen(
            command, cwd=places["clone"], env=environment, stdout=log, stderr=log, start_new_session=True
        )


def descendants(pid: int) -> list[int]:
    """All processes below one: kernels have sessions of their own, which a signal to the group would not reach."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True).stdout
    children: dict[int, list[int]] = {}
    for line in listed.splitlines():
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found, todo = found + below, todo + below
    return found


def kill(study: subprocess.Popen) -> None:
    for pid in (study.pid, *descendants(study.pid)):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    study.wait()


def wait_for(phase: str, folder: Path, study: subprocess.Popen, begun: float) -> bool:
    """Whether the phase has begun in this process's time, and the study still runs."""
    while study.poll() is None:
        there = (path for pattern in PHASES[phase] for path in folder.glob(pattern))
        held = phase == "pre-training"  # its file may be there from before the last kill
        if not PHASES[phase] or any(is_locked(path) if held else _changed(path) > begun for path in there):
            return True
        time.sleep(0.02)
    return False


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def differences(folder: Path, whole: Path) -> list[str]:
    def listed(of: Path) -> set[str]:
        places = (of / "results", of / "cache", of / "tmp", of / "clone" / "results")
        paths = [path for place in places for path in place.rglob("*")] + [of / "clone" / "codecheck.yml"]
        names = {path.relative_to(of).as_posix() for path in paths if path.is_file()}
        return {name for name in names if "torchinductor" not in name and "/matplotlib" not in name}

    names, expected = listed(folder), listed(whole)
    found = [f"left behind: {name}" for name in sorted(names - expected)]
    found += [f"missing: {name}" for name in sorted(expected - names)]
    for name in sorted(names & expected):
        path = Path(name)
        if (
            path.suffix in EQUAL
            and path.name not in TIMES
            and "costs" not in name
            and not _same(folder / name, whole / name)
        ):
            found.append(f"differs: {name}")
    return found


def _same(one: Path, other: Path) -> bool:
    if one.suffix != ".pt":
        return one.read_bytes() == other.read_bytes()
    states = [torch.load(path, weights_only=True)["state_dict"] for path in (one, other)]
    return all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--per-study", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=["03"])
    parser.add_argument("--minutes", type=float, default=60, help="begin no study after so long")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    began, draw, counts, found = time.monotonic(), random.Random(args.seed), Counter(), []
    whole = args.out.absolute() / "whole"
    for phase in ("start", "publishing"):
        assert start(phase, args.only, whole).wait() == 0, f"the undisturbed study failed, see {whole}/log.txt"
    print(f"seed {args.seed}; undisturbed: {time.monotonic() - began:.0f} s", flush=True)
    number = 0
    while counts.total() < args.kills and time.monotonic() - began < 60 * args.minutes:
        folder = args.out.absolute() / f"study-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        phases, news = sorted(draw.choices(list(PHASES), k=args.per_study), key=list(PHASES).index), []
        running = [phase for phase in phases if phase != "publishing"]
        for killed, last in ((running, "start"), (phases[len(running) :], "publishing")):
            for phase in killed:
                begun, study = time.time(), start(phase, args.only, folder)
                if wait_for(phase, folder, study, begun):
                    time.sleep(draw.uniform(0, 0.2 if phase == "publishing" else 2))
                if study.poll() is None:
                    kill(study)
                    counts[phase] += 1
            if status := start(last, args.only, folder).wait():
                news.append(f"{last}: exit {status}")
        news += differences(folder, whole)
        found += [f"study {number}: {what}" for what in news]
        print(f"study {number}: killed in {', '.join(phases)}; {'; '.join(news) or 'equal, nothing left'}", flush=True)
        if not news:
            shutil.rmtree(folder)
        number += 1
    print(f"{counts.total()} kills in {number} studies ({dict(counts)}): {len(found)} differences")


if __name__ == "__main__":
    main()

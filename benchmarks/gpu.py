"""One command for a machine with a GPU: its tests, the benchmarks, then as much of the study as the time allows.

    python benchmarks/gpu.py [--device cuda] [--profile gpu] [--minutes 12] [--batch 256] [--out results/gpu]

In this order: the tests that need CUDA, which hold trainings and scores against float32 on the CPU; training steps and
scoring of the full-width networks beside the plain way (train.py, score.py); ``fasnb run`` with the time that is left,
the ensemble's networks first. At the end one table. What is said is kept in ``OUT/gpu.txt``. The archive ``OUT.tar``
holds the study without weights and pictures, at most 16 MiB: unpack it in ``results/`` of another machine, and the same
``fasnb run`` goes on from there.

Small sizes go through every step without a GPU: ``--device cpu --profile smoke --batch 4 --rounds 1 --minutes 10``.
"""

import argparse
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pandas as pd
import score
import torch
import train

from fasnb.model.weights import RELEASED_ARCHITECTURES
from fasnb.paper import profile as profiles
from fasnb.tools.files import replace_file
from fasnb.tools.machine import home

LIMIT = 16 * 2**20  # bytes of the archive
LEFT_OUT = (
    "network.pt",
    "state.pt",
    ".lock",
    ".png",
    ".pdf",
)  # ends of names; of the study itself nothing else is large
LAST = ("notebooks", "explorer", "report.html")  # taken only where there is room


class Log:
    """What is said, on the screen and in a file."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path

    def __call__(self, text: str) -> None:
        print(text, flush=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{text}\n")

    def run(self, name: str, *command: str, **environment: str) -> dict:
        """Run Python with these arguments, say all that it says; one row of the last table."""
        self(f"\n== {name}: python {' '.join(command)}")
        started, options = time.monotonic(), {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        given = os.environ | environment
        process = subprocess.Popen([sys.executable, *command], cwd=home(), env=given, **options)
        for line in process.stdout:
            self(line.rstrip("\n"))
        status = {0: "done", 3: "out of time, the same command goes on"}.get(process.wait(), "FAILED")
        return {"step": name, "status": status, "seconds": round(time.monotonic() - started)}


def benchmarks(options: argparse.Namespace, log: Log) -> list[dict]:
    """Rows of training and scoring of the full-width networks."""
    device, rows = torch.device(options.device), []
    log(f"\n== benchmarks: {train.machine(device)}")
    for name in RELEASED_ARCHITECTURES:
        started = time.monotonic()
        rows.append(train.compare(name, options.batch, options.rounds, device))
        rows += score.compare(name, options.batch, options.rounds, device)
        log(f"{name}: {time.monotonic() - started:.0f} s")
    if device.type == "cuda":
        torch.cuda.empty_cache()  # the study needs it
    return rows


def archive(out: Path) -> Path:
    """``<out>.tar`` of a results folder, below ``LIMIT``."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and not path.name.endswith(LEFT_OUT)]
    files.sort(key=lambda path: path.relative_to(out).parts[0] in LAST)

    def write(path: Path) -> None:
        with tarfile.open(path, "w") as tar:
            for file in files:
                if tar.offset + file.stat().st_size + 10_240 < LIMIT:
                    tar.add(file, Path(out.name) / file.relative_to(out))

    return replace_file(out.with_name(f"{out.name}.tar"), write)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--profile", default="gpu", choices=profiles.names())
    parser.add_argument("--minutes", type=float, default=12, help="for everything")
    parser.add_argument("--batch", type=int, default=256, help="frames of a step in the benchmarks")
    parser.add_argument("--rounds", type=int, default=5, help="timed steps of a benchmark")
    parser.add_argument("--out", type=Path, help="results folder; default results/<profile>")
    options = parser.parse_args()
    started, out = time.monotonic(), (options.out or home() / "results" / options.profile).absolute()
    log = Log(out / "gpu.txt")
    tests = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_gpu.py")
    steps = [log.run("tests", *tests, FASNB_TEST_DEVICE=options.device)]
    rows = benchmarks(options, log)
    left = max(1.0, options.minutes - (time.monotonic() - started) / 60)
    study = ("--profile", options.profile, "--set", f"device={options.device}", "--out", str(out))
    steps.append(log.run("study", "-m", "fasnb", "run", *study, "--minutes", f"{left:.1f}"))
    done, begun = (len(list(out.glob(f"runs/*/{name}"))) for name in ("done.json", "config.json"))
    log(f"\n{pd.DataFrame(rows).to_string(index=False, na_rep='')}\n\n{pd.DataFrame(steps).to_string(index=False)}")
    log(f"networks done: {done} of {begun} begun")
    made = archive(out)
    log(f"archive: {made}, {made.stat().st_size / 2**20:.1f} MiB")
    return int(any(step["status"] == "FAILED" for step in steps))


if __name__ == "__main__":
    sys.exit(main())

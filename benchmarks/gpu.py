"""One command for a machine with a GPU: its tests, the benchmarks, then as much of the study as the time allows.

    python benchmarks/gpu.py [--device cuda] [--profile gpu] [--minutes 12] [--batch 256] [--rounds 5]

In this order: the tests that need CUDA, which hold gradients and scores against float64 on the CPU; training steps and
scoring of the full-width networks beside the plain way (train.py, score.py); ``fasnb run`` with the time that is left,
first the frames and backbones of all worlds, then their networks. At the end one table, and ``results/<profile>.tar``,
at most 16 MiB: scores and histories of all networks that are done, what is said here, tables, report and notebooks.
Unpack it in ``results/`` of another machine; ``fasnb run --profile <profile> --from-scores`` takes the scores as they
are, trains what is not among them and makes report and figures, and ``fasnb publish`` publishes. Keep the archive.

Small sizes go through every step without a GPU: ``--device cpu --profile smoke --batch 4 --rounds 1``.
"""

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

import pandas as pd
import score
import torch
import train

from fasnb.lab.session import Study
from fasnb.model.weights import RELEASED_ARCHITECTURES
from fasnb.paper import profile as profiles
from fasnb.tools.files import replace_file
from fasnb.tools.machine import home
from fasnb.training.archive import is_done, write_published

LIMIT = 16 * 2**20  # bytes of the archive
# of a study; its figures are made anew from scores
KEPT = ("gpu.txt", "tables", "report.html", "notebooks", "explorer")


class Log:
    """What is said, on the screen and in a file; and the most memory of the GPU that was in use."""

    def __init__(self, path: Path, device: str):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self.path, self.peak = path, 0
        if device == "cuda":
            threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            free, total = torch.cuda.mem_get_info()
            self.peak = max(self.peak, total - free)
            time.sleep(0.5)

    def __call__(self, text: str) -> None:
        print(text, flush=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{text}\n")

    def row(self, step: str, started: float, status: str = "done") -> dict:
        """A row of the last table for a step that has ended."""
        peak, self.peak = self.peak, 0
        row = {"step": step, "status": status, "seconds": round(time.monotonic() - started)}
        return row | ({"peak memory, GiB": round(peak / 2**30, 1)} if peak else {})

    def run(self, name: str, *command: str, **environment: str) -> dict:
        """Run Python with these arguments and say all that it says; its row of the last table."""
        self(f"\n== {name}: python {' '.join(command)}")
        started, options = time.monotonic(), {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        process = subprocess.Popen([sys.executable, *command], cwd=home(), env=os.environ | environment, **options)
        for line in process.stdout:
            self(line.rstrip("\n"))
        known = {0: "done"} | ({3: "out of time, the same command goes on"} if name == "study" else {})
        return self.row(name, started, known.get(process.wait(), "FAILED"))


def benchmarks(options: argparse.Namespace, log: Log) -> list[dict]:
    """Rows of training and scoring of the full-width networks."""
    device, rows, started = torch.device(options.device), [], time.monotonic()
    log(f"\n== benchmarks: {train.machine(device)}")
    try:
        for name in RELEASED_ARCHITECTURES:
            rows.append(train.compare(name, options.batch, options.rounds, device))
            rows += score.compare(name, options.batch, options.rounds, device)
            log(f"{name}: after {time.monotonic() - started:.0f} s")
        status = "done"
    except RuntimeError as error:  # such as a smaller card's memory; the study needs less
        log(str(error))
        status = "FAILED"
    if device.type == "cuda":
        torch.cuda.empty_cache()  # for the study
    return [log.row("benchmarks", started, status), *rows]


def archive(study: Study) -> Path:
    """``results/<profile>.tar``: all done networks in the form of published results, and what ``KEPT`` names, as room is."""
    first, count, published = study.profile.world, study.profile.worlds, study.published
    every = [n for world in map(study.in_world, range(first, first + count)) for n in world.plan.networks]
    done = [network for network in every if is_done(network) or published.holds(network)]
    print(f"of {len(every)} networks {len(done)} are done, and in the archive")

    def write(path: Path) -> None:
        with tempfile.TemporaryDirectory() as folder, tarfile.open(path, "w") as tar:
            if done:
                write_published(done, Path(folder), published)
            for file in sorted(Path(folder).iterdir()):
                tar.add(file, Path("published") / study.profile.name / file.name)
            for name in KEPT:
                files = [study.out / name, *(study.out / name).glob("*")]
                size = sum(file.stat().st_size + 1024 for file in files if file.exists())
                if files[0].exists() and tar.offset + size + 10_240 < LIMIT:
                    tar.add(files[0], Path(study.out.name) / name)

    return replace_file(study.out.with_name(f"{study.out.name}.tar"), write)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--profile", default="gpu", choices=profiles.names())
    parser.add_argument("--minutes", type=float, default=12, help="for everything")
    parser.add_argument("--batch", type=int, default=256, help="frames of a step in the benchmarks")
    parser.add_argument("--rounds", type=int, default=5, help="timed steps of a benchmark")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; small sizes go through every step with --device cpu, see --help")
    started, study = time.monotonic(), Study(options.profile, {"device": options.device})
    log = Log(study.out / "gpu.txt", options.device)
    tests = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_gpu.py")
    rows = [log.run("tests", *tests, FASNB_TEST_DEVICE=options.device), *benchmarks(options, log)]
    left = options.minutes - (time.monotonic() - started) / 60
    command = ("run", "--profile", options.profile, "--set", f"device={options.device}", "--minutes", f"{left:.1f}")
    if left > 0.1:
        rows.append(log.run("study", "-m", "fasnb", *command, "--from-scores"))
    log(f"\n{pd.DataFrame(rows).to_string(index=False, na_rep='')}")
    made = archive(study)
    print(f"archive: {made}, {made.stat().st_size / 2**20:.1f} MiB")
    return int(any(row.get("status") == "FAILED" for row in rows))


if __name__ == "__main__":
    sys.exit(main())

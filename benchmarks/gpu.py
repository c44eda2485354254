"""One command for a machine with a GPU: its tests, the benchmarks, then as much of the study as the time allows.

    python benchmarks/gpu.py [--device cuda] [--profile gpu] [--minutes 120] [--batch 256] [--out results/gpu]

In this order: the tests that need CUDA, which hold batches, pictures, trainings and scores against float32 on the CPU; the
training step (train.py: frames/s, share of the card's bfloat16 peak, loss of the first step beside the CPU's) and scoring
(score.py: frames/s, differences to the CPU's scores) of the released networks beside the plain way; batches from the store
(feed.py); then ``fasnb run`` with the time that is left, the ensemble's networks first. What is printed is kept in
``OUT/gpu.txt``. The archive ``OUT.tar`` holds what is done of the study without the weights of finished networks: unpack
it in ``results/`` of another machine, and the same ``fasnb run`` goes on from there.

Without a GPU small sizes go through every step: ``--device cpu --profile smoke --batch 4 --rounds 1 --frames 128 --minutes 10``.
"""

import argparse
import os
import subprocess
import sys
import tarfile
import time
from functools import partial
from itertools import chain
from pathlib import Path

from fasnb.paper import profile as profiles
from fasnb.tools.files import replace_file
from fasnb.tools.places import home

HERE = Path(__file__).resolve().parent
TESTS = [f"tests/test_{name}.py" for name in ("gpu", "augment", "synthetic")]
LEFT_OUT = ("checkpoint.pt", ".lock")


def steps(options: argparse.Namespace) -> dict[str, list[str]]:
    """Name -> command, of all before the study."""
    sizes = ["--device", options.device, "--batch", str(options.batch), "--rounds", str(options.rounds)]
    train = [str(HERE / "train.py"), *sizes]
    compiled = {"training step, compiled": [*train, "--compile"]} if options.device == "cuda" else {}  # slow on a CPU
    return {
        "tests": ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "gpu or cuda", *TESTS],
        "training step": train,
        **compiled,
        "scoring": [str(HERE / "score.py"), *sizes],
        "batches": [str(HERE / "feed.py"), *sizes[:2], *sizes[4:], "--frames", str(options.frames)],
    }


def said(name: str, command: list[str], log: Path, device: str) -> int:
    """Run one command with Python, print what it says and keep it in ``log``; its exit status."""
    given = os.environ | {"FASNB_TEST_DEVICE": device}
    with open(log, "a", encoding="utf-8") as file:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        process = subprocess.Popen([sys.executable, *command], cwd=home(), env=given, **pipes)
        for line in chain([f"\n== {name}: python {' '.join(command)}\n"], process.stdout):
            print(line, end="", flush=True)
            file.write(line)
    return process.wait()


def archive(out: Path) -> Path:
    """``<out>.tar`` of a results folder."""

    def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        name = Path(entry.name).name
        return None if name.endswith(LEFT_OUT) or name.startswith(".") else entry

    def write(path: Path) -> None:
        with tarfile.open(path, "w") as tar:
            tar.add(out, out.name, filter=kept)

    return replace_file(out.with_name(f"{out.name}.tar"), write)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--profile", default="gpu", choices=profiles.names())
    parser.add_argument("--minutes", type=float, default=120, help="for everything; default 120")
    parser.add_argument("--batch", type=int, default=256, help="frames of a step in the benchmarks")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=1024, help="of the benchmark of batches")
    parser.add_argument("--only", nargs="*", metavar="STEP", help="of the steps before the study, those that begin so")
    parser.add_argument("--out", type=Path, help="results folder; default results/<profile>")
    options = parser.parse_args()
    started, out = time.monotonic(), (options.out or home() / "results" / options.profile).absolute()
    out.mkdir(parents=True, exist_ok=True)
    run = partial(said, log=out / "gpu.txt", device=options.device)
    chosen = tuple(options.only) if options.only is not None else ("",)
    status = {name: run(name, each) for name, each in steps(options).items() if name.startswith(chosen)}
    left = max(1.0, options.minutes - (time.monotonic() - started) / 60)
    study = ["--profile", options.profile, "--set", f"device={options.device}", "--out", str(out)]
    status["study"] = run("study", ["-m", "fasnb", "run", *study, "--minutes", f"{left:.1f}"])
    made = archive(out)
    print(f"\narchive: {made}, {made.stat().st_size / 2**20:,.0f} MiB")
    print(", ".join(f"{name}: {'done' if code == 0 else f'exit status {code}'}" for name, code in status.items()))
    if status["study"] == 3:
        print("the study is not whole: the same command goes on")
    return max(0 if (name, code) == ("study", 3) else code for name, code in status.items())


if __name__ == "__main__":
    sys.exit(main())

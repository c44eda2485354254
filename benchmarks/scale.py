"""Peak memory and time of each step from store to the report's explorer, as the frames grow to the number of CASIA-SURF.

    python benchmarks/scale.py [--frames 30000 120000 492000] [--size 8] [--steps build batches ...] [--replicates 1000]

Random pictures, five channels of ``--size`` pixels, 1,000 subjects, a third of the frames bona fide; three networks whose
scores overlap. Every step runs in a process of its own, whose peak is the kernel's VmHWM, of its workers too. What a
step holds before it begins (Python, PyTorch, pandas) is measured by the step ``start``. The last column is what each
further frame takes, between the first and the last number.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from fasnb import metrics
from fasnb.command.main import main as fasnb
from fasnb.data import augment, store
from fasnb.data.frames import frame_table
from fasnb.lab.explorer import Explorer
from fasnb.metrics import comparisons, scores
from fasnb.paper.recipe import RECIPES, Normalisation
from fasnb.tools.environment import peak_memory

SUBJECTS, NETWORKS = 1000, 3


class RandomFrames:
    """A source whose pictures cost nothing to make; each process that reads notes its peak memory in ``notes``."""

    def __init__(self, count: int, size: int, notes: Path) -> None:
        self.size, self.channels, self.fingerprint = size, {"rgb": 3, "depth": 1, "ir": 1}, f"random {count} {size}"
        number = np.arange(count)
        names = [f"Training/{i // 1000:04d}/{i:06d}" for i in number]
        label = (number % 3 == 0).astype(np.int8)
        paths = {modality: [f"{name}-{modality}.jpg" for name in names] for modality in self.channels}
        facts = {
            "label": label,
            "subject": (number % SUBJECTS).astype(str),
            "attack": np.where(label, 0, 1 + number % 6),
        }
        self.frames, self.notes = frame_table(sample=names, **paths, **facts, split="valid"), notes

    def read(self, indices) -> np.ndarray:
        drawn = np.random.default_rng(int(indices[0])).integers(
            0, 256, (len(indices), 5, self.size, self.size), dtype=np.uint8
        )
        (self.notes / str(peak_memory())).touch()
        return drawn


def build(folder: Path, count: int, size: int, _) -> None:
    notes = folder / "notes"
    notes.mkdir()
    store.build(RandomFrames(count, size, notes), folder / "store", progress=False)


def batches(folder: Path, count: int, size: int, _) -> None:
    """One epoch as in training, then one pass as in scoring."""
    built, norm = store.Store.open(folder / "store"), Normalisation((0.5,) * 3, (0.2,) * 3)
    changes = {"resize": size, "crop": size, "batch_size": 128}
    recipe = RECIPES["paper"].__class__(**(vars(RECIPES["paper"]) | changes))
    for augmented in (True, False):
        given = {"shuffle": augmented, "augment": augmented}
        for _ in augment.batches(built, np.arange(count), recipe, norm, seed=0, epoch=0, device="cpu", **given):
            pass


def tables(folder: Path, *_) -> None:
    """Three networks' scores tables written, read and averaged."""
    frames = store.Store.open(folder / "store").frames
    label, subject = frames["label"].to_numpy(dtype=float), frames["subject"].to_numpy(dtype=int)
    for fold in range(1, NETWORKS + 1):
        random = np.random.default_rng(fold)
        margin = 3 * label + random.normal(size=len(frames)) + random.normal(0, 0.5, SUBJECTS)[subject]
        table = scores.score_table(frames, 1 / (1 + np.exp(-margin)), "A", fold, 7)
        scores.write_scores(table, folder / f"scores-{fold}.parquet")
    every = [scores.read_scores(folder / f"scores-{fold}.parquet") for fold in range(1, NETWORKS + 1)]
    mean = scores.average(pd.concat(every, ignore_index=True), over=["fold"])
    scores.write_scores(mean, folder / "mean.parquet")
    mean.drop(columns="subject").to_csv(folder / "unknown.csv", index=False)


def evaluation(folder: Path, _, __, replicates: int) -> None:
    table = scores.read_scores(folder / "mean.parquet")
    given = table["label"], table["score"], metrics.FPRS, table["attack"], table["subject"]
    metrics.evaluate(*given, replicates=replicates)


def comparison(folder: Path, _, __, replicates: int) -> None:
    """The rows of a table of three methods, as the notebooks make them."""
    every = [scores.read_scores(folder / f"scores-{k}.parquet").assign(experiment=m) for k, m in enumerate("ABC", 1)]
    comparisons.measure(pd.concat(every, ignore_index=True), metrics.FPRS, replicates=replicates)


def explorer(folder: Path, *_) -> None:
    """The page that the report holds: three methods and their ensemble."""
    every = [
        scores.read_scores(folder / f"scores-{k}.parquet").assign(experiment=m, fold=1) for k, m in enumerate("ABC", 1)
    ]
    Explorer(pd.concat(every, ignore_index=True)).write_page(folder / "explorer.html")


def command(folder: Path, _, __, replicates: int) -> None:
    fasnb(["evaluate", str(folder / "mean.parquet"), "--replicates", str(replicates)])


def unknown(folder: Path, _, __, replicates: int) -> None:
    fasnb(["evaluate", str(folder / "unknown.csv"), "--replicates", str(replicates)])


STEPS = {
    "start": (lambda *_: None, "imports alone"),
    "build": (build, "store built"),
    "batches": (batches, "an epoch of batches of 128, augmented, and one for scoring"),
    "tables": (tables, "scores tables of three networks written, read, averaged"),
    "evaluation": (evaluation, "metrics with limits, subjects known"),
    "comparison": (comparison, "rows of a table of three methods"),
    "explorer": (explorer, "explorer of three methods, as the report holds it"),
    "command": (command, "`fasnb evaluate` of a parquet file, subjects known"),
    "unknown": (unknown, "`fasnb evaluate` of a CSV file, subjects unknown"),
}


def one(step: str, folder: Path, count: int, size: int, replicates: int) -> dict:
    """Seconds and peak memory of one step, in this process."""
    started = time.perf_counter()
    STEPS[step][0](folder, count, size, replicates)
    found = {"seconds": time.perf_counter() - started, "peak": peak_memory()}
    if step == "build":
        found["workers"] = max(int(path.name) for path in (folder / "notes").iterdir())
    return found


def in_process(step: str, *given) -> dict:
    ask = [sys.executable, __file__, "--one", step, *map(str, given)]
    done = subprocess.run(ask, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[30_000, 120_000, 492_000])
    parser.add_argument("--size", type=int, default=8, help="height and width of the pictures")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="keep the data here; by default in a temporary folder")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)  # one step, in the process that in_process() starts
    options = parser.parse_args()
    if options.one:
        step, folder, *numbers = options.one
        print(json.dumps(one(step, Path(folder), *map(int, numbers))))
        return
    found = {step: [] for step in options.steps}
    with tempfile.TemporaryDirectory() as temporary:
        for count in options.frames:
            folder = (options.folder or Path(temporary)) / str(count)
            folder.mkdir(parents=True, exist_ok=True)
            for step in options.steps:
                found[step].append(in_process(step, folder, count, options.size, options.replicates))
                print(f"{count:,} frames, {step}: {found[step][-1]}", file=sys.stderr, flush=True)
            if options.folder is None:
                shutil.rmtree(folder)
    tell(found, options.frames)


def tell(found: dict[str, list[dict]], counts: list[int]) -> None:
    """The table, in MiB and seconds, as Markdown."""
    header = ["step", *(f"{count:,} frames" for count in counts), "bytes a frame"]
    print(f"| {' | '.join(header)} |\n|{' --- |' * len(header)}")
    for step, runs in found.items():
        for kind in ("peak", "workers"):
            if kind in runs[0]:
                cells = [f"{run[kind] / 2**20:,.0f} MiB, {run['seconds']:.1f} s" for run in runs]
                slope = (runs[-1][kind] - runs[0][kind]) / max(1, counts[-1] - counts[0])
                name = STEPS[step][1] if kind == "peak" else "the largest of its workers"
                print(f"| {name} | {' | '.join(cells)} | {slope:,.0f} |")


if __name__ == "__main__":
    main()

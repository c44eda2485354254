"""How far `fasnb plan --time` is off: networks of three sizes trained and scored, beside the time told before.

    python benchmarks/cost.py [--sizes small middle large] [--experiments zhang resnet34-subject A B]

Frames, pixels and widths differ between the sizes. At each size the first fold of every experiment is trained from random
weights, watched and scored, on one thread; the time that it takes is told from a few steps of A at the same size (as the
command does), and from those of A at the first size. Processor time, so that what else runs on the machine counts little.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from fasnb.data import store
from fasnb.lab.session import Session
from fasnb.training.cost import measure, work_of
from fasnb.training.fit import fit
from fasnb.training.inference import score

SIZES = {
    "small": {"train_frames": 240, "valid_frames": 240, "epochs": 4, "width": 0.0625, "resize": 32, "crop": 32},
    "middle": {"train_frames": 480, "valid_frames": 960, "epochs": 3, "width": 0.125, "resize": 48, "crop": 48},
    "large": {"train_frames": 192, "valid_frames": 192, "epochs": 1, "width": 0.25, "resize": 112, "crop": 112},
}
COMMON = {"batch_size": 32, "schedule_epochs": 4, "train_subjects": 12, "valid_subjects": 12, "precision": "fp32"}


def seconds_of(network, stores: dict[str, store.Store]) -> float:
    """Processor time of a training and its scoring."""
    specification = replace(network.specification, initialisation="random")
    started, train = time.process_time(), stores["train"]
    model, _ = fit(specification, train, network.train_index, valid=(train, network.held_out), device="cpu")
    score(model, stores["valid"], np.arange(len(stores["valid"])), specification.recipe, device="cpu")
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--experiments", nargs="+", default=["zhang", "resnet34-subject", "A", "B"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, first = [], None
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes:
            plan = Session("tiny", COMMON | SIZES[size], Path(folder)).plan
            sources = {split: plan.sources[split] for split in ("train", "valid")}
            stores = {k: store.build(v, Path(folder) / f"{k}-{size}", 1, progress=False) for k, v in sources.items()}
            rates = measure(plan.of("A")[0])
            first = first or rates
            for experiment in options.experiments:
                network = replace(plan.of(experiment)[0], splits=("valid",))
                work = work_of(network, plan)
                row = {"size": size, "network": experiment, "measured, s": seconds_of(network, stores)}
                rows.append(row | {"told": work.seconds(rates), "told from the first size": work.seconds(first)})
                print(rows[-1], file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    sums = table.groupby("size", sort=False).sum(numeric_only=True).assign(network="all").reset_index()
    table = pd.concat([table, sums], ignore_index=True)[list(table)]
    for told in ("told", "told from the first size"):
        table[f"{told}, error %"] = 100 * (table[told] / table["measured, s"] - 1)
    print(f"| {' | '.join(table)} |\n|{' --- |' * table.shape[1]}")
    for row in table.itertuples(index=False):
        print(f"| {' | '.join(f'{cell:.1f}' if isinstance(cell, float) else cell for cell in row)} |")


if __name__ == "__main__":
    main()

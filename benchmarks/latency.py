"""How long one frame takes on one core: ONNX Runtime, fp32, batch 1, from stored bytes to a score.

    python benchmarks/latency.py [--calls 500]

Network A at full size (112 pixels) beside the student at 112 and at 64 pixels. They take turns of five calls, the first
of which finds the caches full of another network, as the 99th percentile shows. Times are processor time of the one
thread, which other work of the machine hardly lengthens. Weights are random, which changes no time. Needs the extra
onnx.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from fasnb.command.onnx_file import Scorer, opened, write_graph
from fasnb.model import Architecture, EarlyFusion, build, describe
from fasnb.paper import PAPER
from fasnb.tools.machine import environment

NETWORKS = {  # name -> architecture, pixels of the crop and of the stored frame
    "A": (Architecture("face_resnet34"), 112, 125),
    "student": (EarlyFusion(), 112, 125),
    "student, small": (EarlyFusion(), 64, 72),
}


def measured(calls: int) -> pd.DataFrame:
    """One row a network: median and 99th percentile in milliseconds."""
    sessions, rows, draw = {}, [], np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for name, (architecture, crop, stored) in NETWORKS.items():
            torch.manual_seed(0)
            graph = Scorer([(build(architecture).eval(), PAPER.with_(resize=stored, crop=crop))])
            write_graph(graph, stored, Path(folder) / f"{name}.onnx", {})
            sessions[name] = opened(Path(folder) / f"{name}.onnx", threads=1)
            total = describe(architecture, crop).iloc[-1]
            rows.append([name, crop, total["parameters"] / 1e6, total["multiply_adds"] / 1e6])
    frames = {name: draw.integers(256, size=(1, 5, it[2], it[2]), dtype=np.uint8) for name, it in NETWORKS.items()}
    seconds = {name: [] for name in NETWORKS}
    for name in [name for name in sessions for _ in range(5)] * (calls // 5 + 2):
        started = time.thread_time()
        sessions[name].run(None, {"frames": frames[name]})
        seconds[name].append(1000 * (time.thread_time() - started))
    columns = ["network", "pixels", "million parameters", "million multiply-adds"]
    table = pd.DataFrame(rows, columns=columns)
    table["median, ms"] = [np.median(seconds[name][10:]) for name in NETWORKS]
    table["99th percentile, ms"] = [np.quantile(seconds[name][10:], 0.99) for name in NETWORKS]
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=500, help="of each network")
    given = parser.parse_args()
    print(f"{environment('cpu')['device']}, one core, {given.calls} calls of each network in turn")
    print(measured(given.calls).to_string(index=False, float_format=lambda value: f"{value:.3f}"))

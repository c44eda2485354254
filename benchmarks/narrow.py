"""How fast the narrow networks of profile tiny train and score on one core, beside PyTorch's own layers.

    python benchmarks/narrow.py [--rounds 9] [--experiments A B zhang]
    GLIBC_TUNABLES=... python benchmarks/narrow.py           # with the memory of worker processes, see tools/workers.py

48 x 48 pixels, width 0.125, steps of 64 frames in float32. Plain: channels-last and fused Adam like ours, PyTorch's own
PReLU and batch norm; scored as trained. Ours: the package's layers; scored with batch norms folded. Both sides take steps
in turn; of each the shortest time counts, in processor seconds of this process, so that other work on the machine
matters less.
"""

import argparse
import copy
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from train import machine, plain_network

from fasnb.model.network import build
from fasnb.paper import profile as profiles
from fasnb.paper.experiments import EXPERIMENTS
from fasnb.training.inference import folded
from fasnb.training.plan import architecture_of

BATCH, SIZE = 64, 48


def stepper(network: nn.Module, frames: list[Tensor]) -> Callable[[], None]:
    """One training step."""
    optimiser = torch.optim.Adam(network.parameters(), 1e-3, fused=True)
    labels = torch.arange(BATCH) % 2

    def step() -> None:
        optimiser.zero_grad()
        functional.cross_entropy(network(*frames), labels).backward()
        optimiser.step()

    return step


def scorer(network: nn.Module, frames: list[Tensor]) -> Callable[[], None]:
    @torch.inference_mode()
    def score() -> None:
        network(*frames)

    return score


def rates(sides: list[Callable[[], None]], rounds: int) -> list[float]:
    """Frames a second of each side, by its shortest time."""
    best = [float("inf")] * len(sides)
    for number in range(rounds + 2):
        for k, side in enumerate(sides):
            begin = time.process_time()
            side()
            if number >= 2:
                best[k] = min(best[k], time.process_time() - begin)
    return [BATCH / seconds for seconds in best]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--experiments", nargs="+", choices=EXPERIMENTS, default=["A", "B", "resnet34-attack", "zhang"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine(torch.device("cpu")))
    profile = profiles.load("tiny")
    frames = [torch.randn(BATCH, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last) for _ in range(3)]
    for name in options.experiments:
        torch.manual_seed(0)
        ours = build(architecture_of(profile, EXPERIMENTS[name])).to(memory_format=torch.channels_last)
        plain = plain_network(ours)
        trained = rates([stepper(network, frames) for network in (plain, copy.deepcopy(ours))], options.rounds)
        scored = rates([scorer(network, frames) for network in (plain.eval(), folded(ours))], options.rounds)
        for what, (before, after) in (("train", trained), ("score", scored)):
            print(f"{name:16s} {what}: {before:6.0f} and {after:6.0f} frames/s, {after / before:.2f} times", flush=True)


if __name__ == "__main__":
    main()

"""How fast a training step is, beside the plain step on the same machine.

    python benchmarks/train.py [--batch 32] [--rounds 3] [--networks face_resnet34 ir50] [--device cuda]

The released networks (MLFA, plain concatenation) at 112 x 112 pixels. Plain: float32, contiguous, PyTorch's own layers
and Adam as they come. Ours: channels-last, bfloat16 autocast, fused Adam, as ``fasnb.training`` does. Both take steps
in turn in one process; the ratio is that of the medians. The losses of the first step, from equal weights, say how far
bfloat16 is from float32.
"""

import argparse
import copy
import os
import statistics
import time
from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from fasnb.model.network import ThreeBranchNetwork, build
from fasnb.model.parts import multiply_adds
from fasnb.model.weights import RELEASED_ARCHITECTURES
from fasnb.tools.machine import arithmetic, autocast, environment, has_bfloat16

SIZE = 112
# multiply and add counted apart, without sparsity, of the SXM cards where there are several (NVIDIA's data sheets)
BF16_PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12}


def take_turns(sides: dict[str, Callable[[], Tensor]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of the steps of each side: two to warm up, then ``rounds`` timed ones in turn."""
    seconds = {name: [] for name in sides}
    for number in range(rounds + 2):
        for name, step in sides.items():
            started = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number >= 2:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def row_of(step: str, network: str, seconds: dict[str, list[float]], batch: int, work: float, device) -> dict:
    """What is told of both sides. ``work``: multiply-adds of a frame."""
    rates = {name: batch / statistics.median(each) for name, each in seconds.items()}
    ratios = sorted(plain / ours for plain, ours in zip(seconds["plain"], seconds["ours"], strict=True))
    row = {"step": step, "network": network, "batch": batch}
    row |= {"plain, frames/s": round(rates["plain"], 1), "ours, frames/s": round(rates["ours"], 1)}
    row |= {"ratio": f"{rates['ours'] / rates['plain']:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"}
    row["TFLOP/s"] = round(2 * work * rates["ours"] / 1e12, 2)
    peak = next((value for card, value in BF16_PEAK.items() if card in environment(device)["device"]), None)
    return row | ({"of the bf16 peak": f"{2 * work * rates['ours'] / peak:.1%}"} if peak else {})


def plain_network(network: ThreeBranchNetwork) -> ThreeBranchNetwork:
    """A copy with PyTorch's own PReLU and batch norm."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            for kind in (nn.PReLU, nn.BatchNorm2d):
                if isinstance(child, kind):
                    own = kind(len(child.weight)).to(child.weight.device)
                    own.load_state_dict(child.state_dict())
                    setattr(module, name, own)
    return network


def images(batch: int, device: torch.device, memory_format=torch.contiguous_format) -> list[Tensor]:
    """Three smooth random pictures a frame, of varying brightness and contrast, with a little noise."""
    generator, found = torch.Generator().manual_seed(1), []
    for _ in range(3):
        coarse = torch.randn(batch, 3, 6, 6, generator=generator)
        bright, contrast = torch.rand(2, batch, 1, 1, 1, generator=generator)
        smooth = functional.interpolate(coarse, (SIZE, SIZE), mode="bicubic")
        noise = 0.1 * torch.randn(smooth.shape, generator=generator)
        found.append(smooth * (0.5 + contrast) + 2 * bright - 1 + noise)
    return [x.to(device).contiguous(memory_format=memory_format) for x in found]


def stepper(network, frames: list[Tensor], precision: str, **adam) -> Callable[[], Tensor]:
    """A function that takes one training step and returns its loss."""
    device, labels = frames[0].device, torch.arange(len(frames[0]), device=frames[0].device) % 2
    optimiser = torch.optim.Adam(network.parameters(), 2e-5, **adam)

    def step() -> Tensor:
        with arithmetic(precision):  # of the backward pass too
            with autocast(device, precision == "bf16"):
                embedding = network.embed(*frames)
            loss = functional.cross_entropy(network.head(embedding.float()), labels)
            optimiser.zero_grad()
            loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def compare(name: str, batch: int, rounds: int, device: torch.device) -> dict:
    """The row of one network."""
    torch.manual_seed(0)
    network = build(RELEASED_ARCHITECTURES[name]).to(device)
    frames, last = images(batch, device), images(batch, device, torch.channels_last)
    plain = plain_network(network)
    network = network.to(memory_format=torch.channels_last)
    sides = {"plain": stepper(plain, frames, "fp32"), "ours": stepper(network, last, "bf16", fused=True)}
    losses = {f"first loss, {side}": round(float(step()), 4) for side, step in sides.items()}
    work = 3 * multiply_adds(RELEASED_ARCHITECTURES[name], SIZE)  # the backward pass costs twice the forward one
    return row_of("training", name, take_turns(sides, rounds, device), batch, work, device) | losses


def arguments(text: str) -> argparse.Namespace:
    """Those of both benchmarks."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", nargs="+", choices=RELEASED_ARCHITECTURES, default=list(RELEASED_ARCHITECTURES))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", type=torch.device)
    return parser.parse_args()


def machine(device: torch.device) -> str:
    """Where it is measured."""
    hardware = "has" if has_bfloat16(device) else "lacks"
    threads, load = torch.get_num_threads(), os.getloadavg()[0]
    return f"{environment(device)['device']}, {threads} threads, {hardware} bfloat16, torch {torch.__version__}, load {load:.1f}"


def main() -> None:
    options = arguments(__doc__)
    print(machine(options.device))
    rows = [compare(name, options.batch, options.rounds, options.device) for name in options.networks]
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()

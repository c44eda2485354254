"""How fast a training step is, beside the plain step on the same machine.

    python benchmarks/train.py [--batch 32] [--rounds 3] [--backbones face_resnet34 ir50] [--device cuda] [--compile]

The released networks (MLFA, plain concatenation) at 112 x 112 pixels. Plain: float32, contiguous, PyTorch's own layers
and Adam as they come. Ours: channels-last, bfloat16 autocast, our PReLU, fused Adam; ``--compile`` adds torch.compile,
which pays on a GPU and takes minutes on a CPU. Both sides take steps in turn in one process; the ratio is that of the
medians. The peak memory of a side is what the process, or the GPU, needed beyond what it held before the step. The
losses of the first step, from equal weights, say how far bfloat16 is from float32; on CUDA also from the CPU.
"""

import argparse
import copy
import ctypes
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from fasnb.model.network import Architecture, ThreeBranchNetwork, build
from fasnb.model.parts import describe
from fasnb.model.weights import RELEASED
from fasnb.tools.precision import autocast, has_bfloat16

SIZE = 112
TARGET = 2.5
# multiply and add counted apart, without sparsity, of the SXM cards where there are several, as NVIDIA's data sheets say
DENSE_BF16_PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12}


@dataclass
class Side:
    """One way of taking a step: a function, the frames it takes, its times in seconds, its peak memory in bytes."""

    step: Callable[[], Tensor]
    frames: int
    seconds: list[float] = field(default_factory=list)
    peak: int = 0

    @property
    def rate(self) -> float:
        """Frames per second, by the median of the times."""
        return self.frames / statistics.median(self.seconds)


def take_turns(sides: dict[str, Side], rounds: int, device: torch.device) -> None:
    """One step each to warm up, one for the peak memory, then ``rounds`` timed ones in turn."""
    for side in sides.values():
        side.step()
        held = _start_peak(device)
        side.step()
        side.peak = _peak(device) - held
    for _ in range(rounds):
        for side in sides.values():
            begin = time.perf_counter()
            side.step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            side.seconds.append(time.perf_counter() - begin)


def _start_peak(device: torch.device) -> int:
    """Forget the peak so far; bytes held now."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    if platform.system() != "Linux":
        return 0
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # sets the peak of the resident memory back to its present value
    return _resident("VmRSS")


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    return _resident("VmHWM") if platform.system() == "Linux" else 0


def _resident(field: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))


def report(name: str, sides: dict[str, Side], operations: float, device: torch.device) -> None:
    """One line: frames per second of both sides, ratio with its range, peak memory; on CUDA the share of the peak."""
    plain, ours = sides["plain"], sides["ours"]
    pairs = zip(plain.seconds, ours.seconds, strict=True)
    ratios = sorted(before / after * ours.frames / plain.frames for before, after in pairs)
    print(
        f"{name:14s} plain {plain.rate:8.1f}, ours {ours.rate:8.1f} frames/s, ratio {ours.rate / plain.rate:.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f}; target {TARGET}), peak memory plain {plain.peak / 2**20:.0f}, "
        f"ours {ours.peak / 2**20:.0f} MiB",
        flush=True,
    )
    if device.type == "cuda":
        card = torch.cuda.get_device_name(device)
        peak = next((value for key, value in DENSE_BF16_PEAK.items() if key in card), None)
        rate = 2 * operations * ours.rate
        share = f", {100 * rate / peak:.1f}% of the bf16 peak" if peak else ""
        print(f"{'':14s} {rate / 1e12:.1f} TFLOP/s on {card}{share}")


def machine(device: torch.device) -> str:
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return (
        f"{where}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, bfloat16 in hardware: "
        f"{'yes' if has_bfloat16(device) else 'no'}, torch {torch.__version__}, load before {os.getloadavg()[0]:.1f}"
    )


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
    """Three smooth random pictures per frame, of varying brightness and contrast, with a little noise."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for _ in range(3):
        coarse = torch.randn(batch, 3, 6, 6, generator=generator)
        bright, contrast = torch.rand(2, batch, 1, 1, 1, generator=generator)
        smooth = functional.interpolate(coarse, (SIZE, SIZE), mode="bicubic")
        noise = 0.1 * torch.randn(smooth.shape, generator=generator)
        found.append(smooth * (0.5 + contrast) + 2 * bright - 1 + noise)
    return [x.to(device).contiguous(memory_format=memory_format) for x in found]


def stepper(network, frames: list[Tensor], optimiser, low_precision: bool, embed=None) -> Callable[[], Tensor]:
    device, labels = frames[0].device, torch.arange(len(frames[0]), device=frames[0].device) % 2
    embed = embed or network.embed

    def step() -> Tensor:
        with autocast(device, low_precision):
            embedding = embed(*frames)
        loss = functional.cross_entropy(network.head(embedding.float()), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def compare(architecture: Architecture, options: argparse.Namespace) -> None:
    device = torch.device(options.device)
    torch.manual_seed(0)
    network = build(architecture).to(device)
    plain, reference = plain_network(network), copy.deepcopy(network)
    network = network.to(memory_format=torch.channels_last)
    embed = torch.compile(network.embed) if options.compile else network.embed
    frames, last = images(options.batch, device), images(options.batch, device, torch.channels_last)
    sides = {
        "plain": Side(stepper(plain, frames, torch.optim.Adam(plain.parameters(), 2e-5), False), options.batch),
        "ours": Side(
            stepper(network, last, torch.optim.Adam(network.parameters(), 2e-5, fused=True), True, embed), options.batch
        ),
    }
    losses = first_losses(reference, options.batch, device)
    take_turns(sides, options.rounds, device)
    operations = 3 * describe(architecture, SIZE).multiply_adds.iloc[-1]  # backward costs twice the forward pass
    report(architecture.backbone, sides, operations, device)
    print(f"{'':14s} loss of the first step: " + ", ".join(f"{key} {value:.6f}" for key, value in losses.items()))


def first_losses(network: ThreeBranchNetwork, batch: int, device: torch.device) -> dict[str, float]:
    """From equal weights and frames: float32 and bfloat16 here, and float32 on the CPU if here is not the CPU."""
    found = {}
    ways = [("float32", device, False), ("bfloat16", device, True)]
    ways += [("float32 on the CPU", torch.device("cpu"), False)] if device.type != "cpu" else []
    for name, where, low in ways:
        copied = copy.deepcopy(network).to(where)
        found[name] = float(stepper(copied, images(batch, where), torch.optim.SGD(copied.parameters(), 0.0), low)())
    return found


def arguments(text: str, flag: str, meaning: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backbones", nargs="+", choices=RELEASED, default=list(RELEASED))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(flag, action="store_true", help=meaning)
    return parser.parse_args()


def main() -> None:
    options = arguments(__doc__, "--compile", "torch.compile our side")
    print(machine(torch.device(options.device)))
    for name in options.backbones:
        compare(RELEASED[name], options)


if __name__ == "__main__":
    main()

"""How fast a batch is scored, beside the plain way on the same machine, and how far the scores are from float32.

    python benchmarks/score.py [--batch 32] [--rounds 3] [--networks face_resnet34 ir50] [--device cuda]

The released networks (MLFA, plain concatenation) at 112 x 112 pixels. Plain: float32, contiguous. Ours: channels-last,
batch norms folded into convolutions, the head in double precision, in float32 (as the study scores) and with bfloat16
autocast (``fasnb score --precision bf16``). The weights are random: running statistics come from the frames, and the
head is scaled so that the margins (difference of the two logits) have mean 0 and deviation 3, which spreads the scores
over (0, 1), where a difference shows. Differences are to float32 on the CPU.
"""

import copy
from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn
from train import SIZE, arguments, images, machine, row_of, take_turns

from fasnb.model.network import ThreeBranchNetwork, build
from fasnb.model.parts import multiply_adds
from fasnb.model.weights import RELEASED_ARCHITECTURES
from fasnb.tools.machine import arithmetic, autocast
from fasnb.training.scoring import folded

SPREAD = 3.0  # deviation of the margins


@torch.no_grad()
def calibrated(network: ThreeBranchNetwork, frames: list[Tensor]) -> ThreeBranchNetwork:
    """The network with running statistics and a head that spread the scores of these frames over (0, 1)."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    network(*frames)
    network.eval()
    embedding = network.embed(*frames)
    margin = network.head(embedding) @ torch.tensor([-1.0, 1.0])
    network.head.weight.mul_(SPREAD / margin.std())
    network.head.bias.zero_()
    network.head.bias[1] = -(embedding @ (network.head.weight[1] - network.head.weight[0])).mean()
    return network


@torch.inference_mode()
def probability(network, head: nn.Module, frames: list[Tensor], precision: str) -> Tensor:
    """P(bona fide) of a batch."""
    with arithmetic(precision), autocast(frames[0].device, precision == "bf16"):
        embedding = network.embed(*frames)
    return head(embedding.to(head.weight.dtype)).softmax(dim=1)[:, 1]


def compare(name: str, batch: int, rounds: int, device: torch.device) -> list[dict]:
    """The rows of one network, in float32 and in bfloat16."""
    torch.manual_seed(0)
    cpu = images(batch, torch.device("cpu"))
    reference = calibrated(build(RELEASED_ARCHITECTURES[name]), cpu)
    truth = probability(reference, copy.deepcopy(reference.head).double(), cpu, "fp32")
    plain = copy.deepcopy(reference).to(device)
    ours = folded(reference).to(device, memory_format=torch.channels_last)
    head, frames, last = (
        copy.deepcopy(plain.head).double(),
        images(batch, device),
        images(batch, device, torch.channels_last),
    )
    rows = []
    for precision in ("fp32", "bf16"):
        sides = {"plain": partial(probability, plain, plain.head, frames, "fp32")}
        sides["ours"] = partial(probability, ours, head, last, precision)
        seconds = take_turns(sides, rounds, device)
        row = row_of(
            f"scoring, {precision}", name, seconds, batch, multiply_adds(RELEASED_ARCHITECTURES[name], SIZE), device
        )
        rows.append(row | {"largest difference": f"{float((sides['ours']().cpu() - truth).abs().max()):.1e}"})
    return rows


def main() -> None:
    options = arguments(__doc__)
    print(machine(options.device))
    rows = [row for name in options.networks for row in compare(name, options.batch, options.rounds, options.device)]
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()

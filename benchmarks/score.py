"""How fast frames are scored, beside the plain way on the same machine, and how far the scores are from float32.

    python benchmarks/score.py [--batch 32] [--rounds 3] [--backbones face_resnet34 ir50] [--device cuda] [--compile]

The released networks (MLFA, plain concatenation) at 112 x 112 pixels. Plain: float32, contiguous. Ours: channels-last,
the head in double precision, once in float32 as the study scores and once with bfloat16 autocast. Both sides take turns
in one process; the ratio is that of the medians. The networks have random weights; their running statistics come from the frames, and their heads are scaled so
that the margins (difference of the two logits) have mean 0 and standard deviation 3 over them, which spreads the scores
over (0, 1), where a difference shows. On CUDA the differences are to float32 on the CPU.
"""

import copy
from functools import partial

import torch
from torch import Tensor, nn
from train import SIZE, Side, arguments, images, machine, report, take_turns

from fasnb.networks import Architecture, ThreeBranchNetwork, autocast, build, describe
from fasnb.weights import RELEASED

TARGET_DIFFERENCE = 2e-3
SPREAD = 3.0


@torch.no_grad()
def calibrate(network: ThreeBranchNetwork, frames: list[Tensor]) -> ThreeBranchNetwork:
    """Running statistics of the frames, and a head that spreads their scores."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # plain average
    network.train()
    network(*frames)
    network.eval()
    embedding = network.embed(*frames)
    margin = network.head(embedding) @ torch.tensor([-1.0, 1.0])
    network.head.weight.mul_(SPREAD / margin.std())
    network.head.bias.zero_()
    network.head.bias[1] = -(embedding @ (network.head.weight[1] - network.head.weight[0])).mean()
    return network


def compare(architecture: Architecture, options) -> None:
    device = torch.device(options.device)
    torch.manual_seed(0)
    reference = calibrate(build(architecture), images(options.batch, torch.device("cpu")))
    plain, network = copy.deepcopy(reference).to(device), copy.deepcopy(reference).to(device)
    network = network.to(memory_format=torch.channels_last)
    embed = torch.compile(network.embed) if options.compile else network.embed
    head = copy.deepcopy(network.head).double()
    frames, last = images(options.batch, device), images(options.batch, device, torch.channels_last)
    with torch.inference_mode():
        exact = reference(*images(options.batch, torch.device("cpu"))).double().softmax(dim=1)[:, 1]

    @torch.inference_mode()
    def plainly() -> Tensor:
        return plain(*frames).softmax(dim=1)[:, 1]

    @torch.inference_mode()
    def ours(low_precision: bool) -> Tensor:
        with autocast(device, low_precision):
            embedding = embed(*last)
        return head(embedding.double()).softmax(dim=1)[:, 1]

    print(f"{architecture.backbone}, scores from {float(exact.min()):.3f} to {float(exact.max()):.3f}")
    for precision in ("fp32", "bf16"):
        sides = {"plain": Side(plainly, []), "ours": Side(partial(ours, precision == "bf16"), [])}
        take_turns(sides, options.rounds, device)
        report(precision, sides, options.batch, describe(architecture, SIZE).multiply_adds.iloc[-1], device)
        difference = (sides["ours"].step().cpu().double() - exact).abs()
        within = 100 * float((difference <= TARGET_DIFFERENCE).double().mean())
        print(
            f"{'':14s} differences to float32 on the CPU: largest {float(difference.max()):.1e}, mean "
            f"{float(difference.mean()):.1e}, {within:.0f}% of the frames within {TARGET_DIFFERENCE}"
        )


def main() -> None:
    options = arguments(__doc__)
    print(machine(torch.device(options.device)))
    for name in options.backbones:
        compare(RELEASED[name], options)


if __name__ == "__main__":
    main()

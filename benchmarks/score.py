"""How fast frames are scored, beside the plain way on the same machine, and how far the scores are from float32.

    python benchmarks/score.py [--batch 32] [--rounds 3] [--backbones face_resnet34 ir50] [--device cuda] [--trained]

The released networks (MLFA, plain concatenation) at 112 x 112 pixels. Plain: float32, contiguous. Ours: channels-last,
the head in double precision, in float32 and with bfloat16 autocast, each as it is and compiled (``fasnb score
--compile``). Both sides take turns in one process; the ratio is that of the medians. Compiling is not timed: it takes
some tens of seconds, once. On CUDA the differences are to float32 on the CPU.

Without ``--trained`` a step is one batch, and the weights are random: running statistics come from the frames, and the
head is scaled so that the margins (difference of the two logits) have mean 0 and standard deviation 3 over them, which
spreads the scores over (0, 1), where a difference shows: the hardest case for bfloat16.

With ``--trained`` the networks are first trained for 3 epochs on 1,200 frames of SynthSURF (on two cores 7 minutes the
resnet-34, 15 the IR-50; kept in data/cache/benchmark), and our step is the whole of ``fasnb score --precision mixed
--compile`` on 1,024 frames of other people and other attacks: bfloat16, and float32 for the frames in doubt.
"""

import copy
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from train import SIZE, Side, arguments, images, machine, report, take_turns

from fasnb import metrics
from fasnb.command.serve import TOLERANCE, Scorer
from fasnb.data import store
from fasnb.data.augment import evaluation
from fasnb.model.network import Architecture, ThreeBranchNetwork, build
from fasnb.model.parts import describe
from fasnb.model.weights import RELEASED, load_network, save_network
from fasnb.paper.recipe import RELEASED as RELEASED_RECIPE
from fasnb.synthsurf.dataset import SynthSurf
from fasnb.tools.places import home
from fasnb.tools.precision import autocast, exact
from fasnb.training.fit import fit
from fasnb.training.specification import specify

SPREAD = 3.0
TRAIN_FRAMES, SCORED_FRAMES, SUBJECTS, SEED = 1200, 1024, 60, 5
RECIPE = replace(  # the released recipe with rates at which a network without pre-trained weights learns quickly
    RELEASED_RECIPE, epochs=3, schedule_epochs=3, warmup=0.1, batch_size=32, learning_rate=3e-4, train_classifier=True,
    aggregation_start="random", rotation=0.0, scale_low=0.6, mirror=False,
)  # fmt: skip


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


@torch.inference_mode()
def probability(embed, head: nn.Module, frames: list[Tensor], precision: str) -> Tensor:
    with exact(precision), autocast(frames[0].device, precision == "bf16"):
        embedding = embed(*frames)
    return head(embedding.to(head.weight.dtype)).softmax(dim=1)[:, 1]


def compare_steps(architecture: Architecture, options) -> None:
    device, operations = torch.device(options.device), describe(architecture, SIZE).multiply_adds.iloc[-1]
    torch.manual_seed(0)
    reference = calibrate(build(architecture), images(options.batch, torch.device("cpu")))
    truth = probability(
        reference.embed, copy.deepcopy(reference.head).double(), images(options.batch, torch.device("cpu")), "fp32"
    )
    print(f"{architecture.backbone}, random weights, scores from {float(truth.min()):.3f} to {float(truth.max()):.3f}")
    plain = copy.deepcopy(reference).to(device)
    head = copy.deepcopy(plain.head).double()
    frames, last = images(options.batch, device), images(options.batch, device, torch.channels_last)
    for compiled in (False, True):
        network = Scorer(reference, RECIPE, device, compiled).network
        for precision in ("fp32", "bf16"):
            sides = {
                "plain": Side(partial(probability, plain.embed, plain.head, frames, "fp32"), options.batch),
                "ours": Side(partial(probability, network.embed, head, last, precision), options.batch),
            }
            take_turns(sides, options.rounds, device)
            report(f"{precision}{' compiled' * compiled}", sides, operations, device)
            tell_differences(sides["ours"].step().cpu().numpy(), truth.numpy())


def compare_whole(architecture: Architecture, options) -> None:
    device, operations = torch.device(options.device), describe(architecture, SIZE).multiply_adds.iloc[-1]
    folder = home() / "data" / "cache" / "benchmark"
    frames = store.build(surf("valid", SCORED_FRAMES), folder / "valid")
    reference = trained(architecture, folder, options.device)
    truth, _ = Scorer(reference, RECIPE, "cpu").scores(frames)
    label = frames.frames["label"].to_numpy(dtype=int)
    print(
        f"{architecture.backbone}, trained for {RECIPE.epochs} epochs, AUC on the scored frames "
        f"{metrics.auc(label, truth):.4f}, {100 * np.mean((truth > 0.01) & (truth < 0.99)):.0f}% of them score "
        "between 0.01 and 0.99"
    )
    plain, scorer = copy.deepcopy(reference).to(device), Scorer(reference, RECIPE, device, compile=True)

    def plainly() -> Tensor:
        batch = frames.read(np.arange(scorer.batch)).to(device)
        norm, channels = architecture.normalisation, tuple(frames.channels.values())
        views = [x.contiguous() for x in evaluation(batch, RECIPE, norm, False, channels=channels)]
        return probability(plain.embed, plain.head, views, "fp32")

    results = []
    sides = {
        "plain": Side(plainly, scorer.batch),
        "ours": Side(lambda: results.append(scorer.scores(frames, "mixed")), len(frames)),
    }
    take_turns(sides, options.rounds, device)
    report("mixed compiled", sides, operations, device)
    found, again = results[-1]
    tell_differences(found, truth)
    print(f"{'':14s} {again} of {len(frames)} frames scored again in float32")


def tell_differences(found: np.ndarray, truth: np.ndarray) -> None:
    difference = np.abs(found - truth)
    print(
        f"{'':14s} differences to float32 on the CPU: largest {difference.max():.1e}, mean {difference.mean():.1e}, "
        f"{100 * np.mean(difference <= TOLERANCE):.1f}% of the frames within {TOLERANCE:g}",
        flush=True,
    )


def surf(split: str, frames: int) -> SynthSurf:
    return SynthSurf(split, subjects=SUBJECTS, frames=frames, size=RECIPE.resize, seed=SEED)


def trained(architecture: Architecture, folder: Path, device: str) -> ThreeBranchNetwork:
    """The network after a short training in bfloat16, from ``folder`` if it was trained before.

    A process of its own trains it: the memory that a training leaves to its process would spare the plain way, which
    takes the most, the page faults that it otherwise has.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return load_network(pool.submit(_train_once, architecture, folder, device).result())


def _train_once(architecture: Architecture, folder: Path, device: str) -> Path:
    frames = store.build(surf("train", TRAIN_FRAMES), folder / "train")
    rows = np.arange(len(frames))
    specification = specify(architecture.backbone, 0, 1, architecture, RECIPE, frames, rows, precision="bf16")
    path = folder / specification.name / "checkpoint.pt"
    if not path.is_file():
        print(f"training {architecture.backbone} for {RECIPE.epochs} epochs", flush=True)
        save_network(fit(specification, frames, rows, device=device)[0], path)
    return path


def main() -> None:
    options = arguments(__doc__, "--trained", "trained networks and whole scoring, instead of random ones and a batch")
    print(machine(torch.device(options.device)))
    for name in options.backbones:
        (compare_whole if options.trained else compare_steps)(RELEASED[name], options)


if __name__ == "__main__":
    main()

"""How long a plan takes on a machine, told from a few steps of one of its networks.

Time is taken to grow with multiply-adds: of a network's frame as often as frames are trained on (three times, because the
backward pass costs twice the forward one) and scored. How well that holds is in benchmarks/README.md.
"""

import math
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import cache

import torch
from torch.nn import functional

from fasnb.data.augment import evaluation, training
from fasnb.model.backbones import Backbone
from fasnb.model.network import Architecture, build
from fasnb.model.parts import describe, trace
from fasnb.tools.precision import autocast, exact
from fasnb.tools.workers import cores, devices_for
from fasnb.training.fit import image_type, watch_limit
from fasnb.training.plan import Plan, PlannedBackbone, PlannedNetwork

ENOUGH = 1.0  # seconds of timed steps


@dataclass(frozen=True)
class Work:
    """Multiply-adds of all passes of a training, and of scoring."""

    training: float = 0.0
    scoring: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.training + other.training, self.scoring + other.scoring)

    def seconds(self, rates: "Work") -> float:
        """At so many multiply-adds a second."""
        return self.training / rates.training + self.scoring / rates.scoring


def work_of(network: PlannedNetwork, plan: Plan) -> Work:
    """Of one network: trained, watched after each epoch, and scored."""
    it = network.specification
    each, epochs = multiply_adds(network), it.recipe.epochs + it.recipe.second_epochs
    watched = (
        0 if network.held_out is None else epochs * min(len(network.held_out), watch_limit(len(network.train_index)))
    )
    views = (1 + it.recipe.mirror) * sum(len(plan.sources[split].frames) for split in network.splits)
    return Work(3 * each * len(network.train_index) * epochs, each * (watched + views))


def multiply_adds(network: PlannedNetwork) -> int:
    """Of one frame."""
    it = network.specification
    return _multiply_adds(it.architecture, it.recipe.crop)


@cache
def _multiply_adds(architecture: Architecture, crop: int) -> int:
    return int(describe(architecture, crop).multiply_adds.iloc[-1])


def work_of_backbone(backbone: PlannedBackbone) -> Work:
    """Of a pre-training, its head left out."""
    it, images = backbone.specification, backbone.source
    with torch.device("meta"):
        whole, image = Backbone(*astuple(it.stages)).eval(), torch.empty(1, 3, images.size, images.size)
    return Work(3 * it.epochs * len(images.labels) * sum(trace(whole, image)[1].values()))


def work_of_plan(plan: Plan) -> Work:
    """Of all networks and backbones of a study."""
    backbones = {backbone.folder: backbone for backbone in plan.backbones.values()}.values()
    return sum([work_of(n, plan) for n in plan.networks] + [work_of_backbone(b) for b in backbones], Work())


def measure(network: PlannedNetwork, device: str = "cpu") -> Work:
    """Multiply-adds a second of a network's training steps, and of its scoring, on random pictures.

    On a CPU with the present number of threads, in processor time of all threads divided by it: what else runs on the
    machine does not count.
    """
    it, torch_device = network.specification, torch.device(device)
    recipe, norm = it.recipe, it.architecture.normalisation
    images = torch.randint(0, 256, (recipe.batch_size, 5, recipe.resize, recipe.resize), dtype=torch.uint8)
    images, labels = images.to(torch_device), torch.arange(len(images), device=torch_device) % 2
    model = build(it.architecture).to(torch_device, memory_format=torch.channels_last)
    optimiser, generator = torch.optim.Adam(model.parameters(), fused=True), torch.Generator()

    def train() -> None:
        views = training(images, recipe, norm, generator, dtype=image_type(torch_device, it.precision))
        with autocast(torch_device, it.precision == "bf16"):
            embedding = model.embed(*views)
        optimiser.zero_grad()
        functional.cross_entropy(model.head(embedding.float()), labels).backward()
        optimiser.step()

    @torch.inference_mode()
    def score() -> None:
        model.embed(*evaluation(images, recipe, norm))

    each = multiply_adds(network) * len(images)
    with exact(it.precision):
        of_training = 3 * each / _seconds(train, torch_device)
    model.eval()
    with exact("fp32"):
        return Work(of_training, each / _seconds(score, torch_device))


def _seconds(step: Callable[[], None], device: torch.device) -> float:
    """Of one step, after one that warms up."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time() / torch.get_num_threads()

    step()
    started, count = now(), 0
    while now() - started < ENOUGH:
        step()
        count += 1
    return (now() - started) / count


def told_of(plan: Plan, device: str | None, workers: int) -> str:
    """How long all networks and backbones of a plan take on this machine, in a sentence; one network is measured."""
    places, measured = devices_for(device, workers), max(plan.networks, key=lambda n: work_of(n, plan).training)
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, cores() // len(places)))
    try:
        seconds = work_of_plan(plan).seconds(measure(measured, places[0])) / len(places)
    finally:
        torch.set_num_threads(before)
    return (
        f"about {hours(seconds)} of pre-training, training and scoring on this machine, {len(places)} at once, where nothing "
        f"else runs; from a few steps of {measured}"
    )


def hours(seconds: float) -> str:
    """So long, in a unit that suits it."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

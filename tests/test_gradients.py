"""The gradient of every parameter against the same network in float64: no kernel may be wrong in silence."""

import copy
import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from fasnb.model.backbones import Backbone
from fasnb.model.network import build
from fasnb.paper.experiments import EXPERIMENTS
from fasnb.paper.profile import load
from fasnb.tools.machine import arithmetic, autocast
from fasnb.training.plan import architecture_of, precision_of

LIMITS = {"fp32": 1e-3, "bf16": 0.5}
LEAST = {"fp32": 1e-3, "bf16": 0.03}  # share of the largest gradient, below which one is held against that share


def kinds(*profiles):
    """(architecture, crop, precision) of what profiles train, each once; those of one camera have the same kernels."""
    found = {}
    for profile in map(load, profiles):
        for experiment in EXPERIMENTS.values():
            architecture = architecture_of(profile, experiment)
            trained = not experiment.switch or getattr(profile, experiment.switch)
            if trained and architecture.modalities == ("rgb", "depth", "ir"):
                found[architecture, profile.recipe_of(experiment).crop, precision_of(profile, experiment)] = None
    return list(found)


def smooth(module: nn.Module) -> nn.Module:
    """Without kinks: at those of a ReLU or a maximum, rounding alone moves a gradient by percents."""
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU | nn.PReLU):
            setattr(module, name, nn.Softplus())
        elif isinstance(child, nn.MaxPool2d):
            setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
        elif isinstance(child, nn.Dropout):
            setattr(module, name, nn.Identity())
        else:
            smooth(child)
    return module


def largest_error(module, images, precision="fp32", device="cpu") -> tuple[str, float]:
    """The parameter whose gradient on a device is furthest from float64's on the CPU: its name and how far, by the norm."""
    labels, exact = torch.arange(len(images[0])) % 2, copy.deepcopy(module).double()
    functional.cross_entropy(exact(*[x.double() for x in images]), labels).backward()
    module = module.to(device, memory_format=torch.channels_last)
    images = [x.to(device, memory_format=torch.channels_last) for x in images]
    with arithmetic(precision):  # of the backward pass too
        with autocast(device, precision == "bf16"):
            out = module(*images)
        functional.cross_entropy(out.float(), labels.to(device)).backward()
    true = {name: parameter.grad for name, parameter in exact.named_parameters()}
    least = LEAST[precision] * max(gradient.norm() for gradient in true.values())
    found = ((name, parameter.grad.cpu()) for name, parameter in module.named_parameters())
    return max(((n, float((g - true[n]).norm() / max(true[n].norm(), least))) for n, g in found), key=lambda it: it[1])


def check(size: str) -> None:
    """Print the errors of all networks, and of the backbones they start from; fail where one is above its limit."""
    if size == "narrow":
        torch.set_num_threads(1)
    torch.relu = functional.softplus  # as the aggregation blocks call it
    profiles, count = SIZES[size]
    for architecture, crop, precision in kinds(*profiles):
        torch.manual_seed(0)
        images, stages = [torch.randn(count, 3, crop, crop) for _ in range(3)], getattr(architecture, "stages", None)
        modules = [(build(architecture), images)]
        if stages is not None:  # the student has none
            modules += [(Backbone(stages.backbone, stages.width, stages.blocks, stages.small_images), images[:1])]
        for module, seen in modules:
            name, error = largest_error(smooth(module), seen, precision)
            print(f"{architecture} {precision} {len(seen)} images: {name} {error:.1e}", flush=True)
            assert error < LIMITS[precision], f"{architecture}: the gradient of {name} is off by {error:.1e}"


SIZES = {"narrow": (("smoke", "tiny", "small"), 32), "full": (("challenge",), 2)}


@pytest.mark.parametrize(("size", "isa"), [("narrow", ""), ("narrow", "AVX2"), ("full", "")])
def test_every_gradient_equals_float64s(size, isa):
    """In a process of its own, because a wrong kernel may end it; oneDNN takes AVX2's kernels on others too."""
    environment = os.environ | ({"ONEDNN_MAX_CPU_ISA": isa} if isa else {})
    command = [sys.executable, __file__, size]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{done.stdout[-500:]}{done.stderr[-1500:]} (exit status {done.returncode})"


if __name__ == "__main__":
    check(sys.argv[1])

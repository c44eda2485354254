"""The parts of a network: output shapes, parameters and multiply-adds. Nothing is computed: PyTorch's meta device."""

import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fasnb.model.network import Architecture, ThreeBranchNetwork, build
from fasnb.model.student import EarlyFusion, Student


def describe(architecture: Architecture | EarlyFusion, size: int = 112) -> pd.DataFrame:
    """Every part with its output shape, parameters and multiply-adds for one frame of ``size`` x ``size`` pixels.

    Columns: part (str), output (tuple without the batch), parameters (int), multiply_adds (int, of convolutions and
    linear layers); the last row is the total. Raises ValueError if ``size`` is too small for the architecture.
    """
    with torch.device("meta"):
        network = build(architecture).eval()
        images = [torch.empty(1, 3, size, size)] * 3
    shapes, parts = {}, _parts(network)
    for title, (_, part) in parts.items():
        part.register_forward_hook(lambda _part, _in, out, title=title: shapes.update({title: tuple(out.shape[1:])}))
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(*images)
    except RuntimeError as error:
        what = f"{architecture.backbone} cannot take images of {size} pixels"
        raise ValueError(
            f"{what}; take larger ones{'' if architecture.small_images else ' or small_images=True'}"
        ) from error
    counts, whole = counter.get_flop_counts(), type(network).__name__  # two operations a multiply-add
    rows = [
        (title, shapes[title], _parameters(part), sum(counts.get(f"{whole}.{name}", {}).values()) // 2)
        for title, (name, part) in parts.items()
    ]
    rows.append(("total", (2,), _parameters(network), counter.get_total_flops() // 2))
    return pd.DataFrame(rows, columns=["part", "output", "parameters", "multiply_adds"])


def multiply_adds(architecture: Architecture | EarlyFusion, size: int) -> int:
    """Multiply-adds of one frame of ``size`` x ``size`` pixels; raises ValueError as ``describe`` does."""
    return int(describe(architecture, size).multiply_adds.iloc[-1])


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _parts(network: ThreeBranchNetwork | Student) -> dict[str, tuple[str, nn.Module]]:
    """The rows of the table, title -> name and part: the children of branches and shared stages, all others whole."""
    if isinstance(network, Student):
        rows = {name: (f"trunk.{name}", part) for name, part in network.trunk.named_children()}
        return rows | {"head": ("head", network.head)}
    rows = {}
    for n, (branch, modality) in enumerate(zip(network.branches, network.architecture.modalities, strict=True)):
        children = branch.named_children()
        rows |= {f"branch {n + 1} ({modality}) {name}": (f"branches.{n}.{name}", part) for name, part in children}
    rows["fusion"] = "fusion", network.fusion
    rows |= {f"shared {name}": (f"shared.{name}", part) for name, part in network.shared.named_children()}
    rows |= {f"aggregation {n + 1}": (f"aggregation.{n}", part) for n, part in enumerate(network.aggregation)}
    return rows | {"head": ("head", network.head)}

"""The parts of a network: output shapes, parameters and multiply-adds. Nothing is computed: PyTorch's meta device."""

import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fasnb.model.network import Architecture, ThreeBranchNetwork, build


def describe(architecture: Architecture, size: int = 112) -> pd.DataFrame:
    """Every part with its output shape, parameters and multiply-adds for one frame of ``size`` x ``size`` pixels.

    Columns: part (str), output (tuple without the batch), parameters (int), multiply_adds (int, of convolutions and
    linear layers); the last row is the total. Raises ValueError if ``size`` is too small for the architecture.
    """
    with torch.device("meta"):
        network = build(architecture).eval()
        images = [torch.empty(1, 3, size, size)] * 3
    shapes, parts = {}, {_title(name, architecture): (name, part) for name, part in _parts(network)}
    for title, (_, part) in parts.items():
        part.register_forward_hook(lambda _part, _in, out, title=title: shapes.update({title: tuple(out.shape[1:])}))
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(*images)
    except RuntimeError as error:
        hint = "take larger images" if architecture.small_images else "take larger images or small_images=True"
        raise ValueError(f"{architecture.backbone} cannot take images of {size} pixels; {hint}") from error
    counts = counter.get_flop_counts()  # two operations a multiply-add
    rows = [
        (title, shapes[title], _parameters(part), sum(counts.get(f"ThreeBranchNetwork.{name}", {}).values()) // 2)
        for title, (name, part) in parts.items()
    ]
    rows.append(("total", (2,), _parameters(network), counter.get_total_flops() // 2))
    return pd.DataFrame(rows, columns=["part", "output", "parameters", "multiply_adds"])


def multiply_adds(architecture: Architecture, size: int) -> int:
    """Multiply-adds of one frame of ``size`` x ``size`` pixels; raises ValueError as ``describe`` does."""
    return int(describe(architecture, size).multiply_adds.iloc[-1])


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _parts(network: ThreeBranchNetwork) -> list[tuple[str, nn.Module]]:
    """The rows of the table: the children of branches and shared stages, and every other part whole."""
    rows = [(n, part) for n, part in network.named_modules() if n.startswith("branches") and n.count(".") == 2]
    rows += [("fusion", network.fusion)] + [(f"shared.{name}", part) for name, part in network.shared.named_children()]
    return rows + [(f"aggregation.{n}", part) for n, part in enumerate(network.aggregation)] + [("head", network.head)]


def _title(name: str, architecture: Architecture) -> str:
    """'branches.1.stage2' -> 'branch 2 (depth) stage2', 'aggregation.0' -> 'aggregation 1'."""
    pieces = name.split(".")
    if pieces[0] == "branches":
        return f"branch {int(pieces[1]) + 1} ({architecture.modalities[int(pieces[1])]}) {pieces[2]}"
    return f"aggregation {int(pieces[1]) + 1}" if pieces[0] == "aggregation" else name.replace(".", " ")

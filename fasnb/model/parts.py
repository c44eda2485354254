"""The parts of a network: their output shapes, parameters and multiply-adds."""

from collections.abc import Iterator

import pandas as pd
import torch
from torch import Tensor, nn

from fasnb.model.network import Architecture, ThreeBranchNetwork, build


def describe(architecture: Architecture, size: int = 112) -> pd.DataFrame:
    """Every part with its output shape, parameters and multiply-adds for one frame of ``size`` x ``size`` pixels.

    Columns: part (str), output (tuple without the batch), parameters (int), multiply_adds (int, of convolutions and
    linear layers); the last row is the total. Nothing is computed: the network lives on PyTorch's meta device.
    Raises ValueError if ``size`` is too small for the architecture.
    """
    with torch.device("meta"):
        network = build(architecture).eval()
        image = torch.empty(1, 3, size, size)
    try:
        shapes, counts = trace(network, image, image, image)
    except RuntimeError as error:
        hint = "take larger images" if architecture.small_images else "take larger images or small_images=True"
        raise ValueError(f"{architecture.backbone} cannot take images of {size} pixels; {hint}") from error
    rows = []
    for name, part in _parts(network):
        parameters = sum(p.numel() for p in part.parameters())
        operations = sum(n for key, n in counts.items() if key == name or key.startswith(f"{name}."))
        rows.append((_title(name, architecture), shapes[name][1:], parameters, operations))
    rows.append(("total", (2,), sum(row[2] for row in rows), sum(row[3] for row in rows)))
    return pd.DataFrame(rows, columns=["part", "output", "parameters", "multiply_adds"])


def trace(module: nn.Module, *inputs: Tensor) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Output shape of every submodule, and multiply-adds of every convolution and linear layer, by name."""
    shapes, counts, handles = {}, {}, []

    def watch(name: str, layer: nn.Module):
        def hook(_module, _inputs, output):
            if isinstance(output, Tensor):
                shapes[name] = tuple(output.shape)
            if isinstance(layer, nn.Conv2d):
                counts[name] = output[0].numel() * layer.weight[0].numel()
            elif isinstance(layer, nn.Linear):
                counts[name] = output[0].numel() * layer.in_features

        return layer.register_forward_hook(hook)

    try:
        handles = [watch(name, layer) for name, layer in module.named_modules() if name]
        with torch.no_grad():
            module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return shapes, counts


def _parts(network: ThreeBranchNetwork) -> Iterator[tuple[str, nn.Module]]:
    """The rows of the table: the children of branches and shared stages, and every other part whole."""
    for number, branch in enumerate(network.branches):
        yield from ((f"branches.{number}.{name}", part) for name, part in branch.named_children())
    yield "fusion", network.fusion
    yield from ((f"shared.{name}", part) for name, part in network.shared.named_children())
    yield from ((f"aggregation.{number}", part) for number, part in enumerate(network.aggregation))
    yield "head", network.head


def _title(name: str, architecture: Architecture) -> str:
    """'branches.1.stage2' -> 'branch 2 (depth) stage2', 'aggregation.0' -> 'aggregation 1'."""
    pieces = name.split(".")
    if pieces[0] == "branches":
        return f"branch {int(pieces[1]) + 1} ({architecture.modalities[int(pieces[1])]}) {pieces[2]}"
    return f"aggregation {int(pieces[1]) + 1}" if pieces[0] == "aggregation" else name.replace(".", " ")

"""The network of the paper: three branches, their fusion, multi-level feature aggregation, one head (Figure 2).

A reader with Figure 2 in hand finds its parts here from left to right: ``Branch`` (one modality's res1 to res3, in
``fasnb.backbones``), ``Fusion`` (the SE block), ``Aggregation`` (agg1 to agg3) and ``ThreeBranchNetwork``, whose
``embed`` is the figure.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from fasnb.backbones import (
    BACKBONES,
    Backbone,
    Branch,
    Normalisation,
    Plan,
    global_average_pool,
    initial_weights,
)

__all__ = [
    "BACKBONES",
    "FUSIONS",
    "MODALITIES",
    "Architecture",
    "Backbone",
    "Branch",
    "Normalisation",
    "Plan",
    "ThreeBranchNetwork",
    "autocast",
    "build",
    "describe",
    "exact",
    "has_bfloat16",
    "trace",
]

MODALITIES = ("rgb", "depth", "ir")
FUSIONS = ("se", "concat", "zhang")
SE_REDUCTION = 16


class Fusion(nn.Module):
    """Three feature maps -> one with three times the channels, each first re-weighted by its own SE block or not.

    Squeeze and excitation (Hu et al. 2018): global average pool, two 1x1 layers with reduction 16 (at least 4 hidden
    units, which matters only below full width), sigmoid, one factor per channel.
    """

    def __init__(self, channels: int, squeeze: bool):
        super().__init__()
        hidden = max(4, channels // SE_REDUCTION)
        self.excitations = nn.ModuleList(
            [SqueezeExcitation(channels, hidden) if squeeze else nn.Identity() for _ in MODALITIES]
        )

    def forward(self, features: list[Tensor]) -> Tensor:
        return torch.cat([excite(x) for excite, x in zip(self.excitations, features, strict=True)], dim=1)


class Aggregation(nn.Module):
    """Aggregation block ``level`` of the MLFA path: it joins the branches' outputs of one level with the block before.

    1x1 convolution from three branches' channels to one's, ReLU, plus the previous block's output, then a stage of
    the same shape as the backbone's stage ``level + 1``.
    """

    def __init__(self, plan: Plan, level: int):
        super().__init__()
        channels = plan.channels(level)
        self.reduce = nn.Conv2d(3 * channels, channels, 1)
        self.stage = plan.stage(level + 1)

    def forward(self, features: list[Tensor], previous: Tensor | None) -> Tensor:
        x = torch.relu(self.reduce(torch.cat(features, dim=1)))
        return self.stage(x if previous is None else x + previous)


@dataclass(frozen=True)
class Architecture:
    """Which network: everything that determines its parameters' names and shapes.

    fusion: "se" (paper), "concat" (released networks), or "zhang": the baseline of Zhang et al. 2019 with SE fusion
    after stage 2 (their res3), stages 3 and 4 shared, a head of two layers, no aggregation. modalities: what each
    branch sees, such as ("depth", "depth", "depth") for Table 5. width, blocks, small_images: see ``Plan``.
    Raises ValueError for values that make no network.
    """

    backbone: str = "resnet34"
    fusion: str = "se"
    mlfa: bool = True
    modalities: tuple[str, str, str] = MODALITIES
    width: float = 1.0
    blocks: tuple[int, int, int, int] | None = None
    small_images: bool = False

    def __post_init__(self):
        object.__setattr__(self, "modalities", tuple(self.modalities))
        object.__setattr__(self, "blocks", None if self.blocks is None else tuple(self.blocks))
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion {self.fusion!r} is unknown; choose one of {', '.join(FUSIONS)}")
        if type(self.mlfa) is not bool or type(self.small_images) is not bool:
            raise ValueError("mlfa and small_images must be true or false")
        if self.fusion == "zhang" and self.mlfa:
            raise ValueError("fusion 'zhang' is a baseline without aggregation; set mlfa to false")
        if len(self.modalities) != 3 or not set(self.modalities) <= set(MODALITIES):
            raise ValueError(f"modalities {self.modalities!r} must be three out of {', '.join(MODALITIES)}")
        _ = self.plan

    @property
    def plan(self) -> Plan:
        return Plan(self.backbone, self.width, self.blocks, self.small_images)

    @property
    def normalisation(self) -> Normalisation:
        return BACKBONES[self.backbone].normalisation

    @property
    def embedding_size(self) -> int:
        """Length of the embedding: 512 * width, for resnet50 (whose blocks widen four times) 2048 * width."""
        return self.plan.channels(4)

    @property
    def fused_after(self) -> int:
        """The stage after which the branches are fused; later stages of the main path are shared."""
        return 2 if self.fusion == "zhang" else 3


class ThreeBranchNetwork(nn.Module):
    """The network of Figure 2. Logits are (attack, bona fide): index 1 = bona fide."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        plan, last = architecture.plan, architecture.fused_after
        self.architecture = architecture
        self.branches = nn.ModuleList([Branch(plan, last) for _ in MODALITIES])
        self.fusion = Fusion(plan.channels(last), squeeze=architecture.fusion != "concat")
        stages = {f"stage{number}": plan.stage(number) for number in range(last + 2, 5)}
        first = {f"stage{last + 1}": plan.stage(last + 1, in_channels=3 * plan.channels(last))}
        self.shared = nn.Sequential(OrderedDict(first | stages))
        self.aggregation = nn.ModuleList([Aggregation(plan, level) for level in (1, 2, 3)] if architecture.mlfa else [])
        self.head = _head(architecture)
        self.apply(initial_weights)

    def embed(self, rgb: Tensor, depth: Tensor, ir: Tensor) -> Tensor:
        """Three images per frame, each (N, 3, H, W) -> embeddings (N, 512 * width), resnet50 (N, 2048 * width)."""
        images = {"rgb": rgb, "depth": depth, "ir": ir}
        seen = [images[modality] for modality in self.architecture.modalities]
        levels = [branch.levels(x) for branch, x in zip(self.branches, seen, strict=True)]
        embedding = global_average_pool(self.shared(self.fusion([outputs[-1] for outputs in levels])))
        if not self.aggregation:
            return embedding
        aggregated = None
        for level, block in enumerate(self.aggregation):
            aggregated = block([outputs[level] for outputs in levels], aggregated)
        return embedding + global_average_pool(aggregated)

    def forward(self, rgb: Tensor, depth: Tensor, ir: Tensor) -> Tensor:
        """Three images per frame, each (N, 3, H, W) -> logits (N, 2); softmax index 1 is P(bona fide)."""
        return self.head(self.embed(rgb, depth, ir))


def _head(architecture: Architecture) -> nn.Module:
    size = architecture.embedding_size
    if architecture.fusion != "zhang":
        return nn.Linear(size, 2)
    return nn.Sequential(nn.Dropout(0.5), nn.Linear(size, size // 2), nn.ReLU(inplace=True), nn.Linear(size // 2, 2))


def build(architecture: Architecture) -> ThreeBranchNetwork:
    """A network with random weights drawn from PyTorch's global generator, in training mode."""
    return ThreeBranchNetwork(architecture)


# ---------------------------------------------------------------------------------------------------------------------
# Precision, and the table of parts
# ---------------------------------------------------------------------------------------------------------------------


def autocast(device: str | torch.device, enabled: bool = True) -> torch.autocast:
    """bfloat16 autocast where ``device`` multiplies bfloat16 in hardware, otherwise a context that does nothing."""
    kind = torch.device(device).type
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=enabled and has_bfloat16(kind))


def exact(precision: str):
    """In "fp32" cuDNN may not round its inputs to TF32; in both it chooses the fastest algorithm for a fixed size."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=precision != "fp32")


def has_bfloat16(device: str | torch.device) -> bool:
    """Whether bfloat16 is faster than float32 there: CUDA from Ampere on, x86 CPUs with AVX512-BF16 or AMX."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX512" and _cpu_bfloat16()


def _cpu_bfloat16() -> bool:
    if not hasattr(torch.cpu, "get_capabilities"):  # older versions of torch
        return torch.cpu._is_avx512_bf16_supported()
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


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
    """'branches.1.stage2' -> 'depth stage2' (of branch 1), 'aggregation.0' -> 'aggregation 1'."""
    pieces = name.split(".")
    if pieces[0] == "branches":
        return f"branch {int(pieces[1]) + 1} ({architecture.modalities[int(pieces[1])]}) {pieces[2]}"
    return f"aggregation {int(pieces[1]) + 1}" if pieces[0] == "aggregation" else name.replace(".", " ")

"""The network of the paper: three branches, their fusion, multi-level feature aggregation (MLFA), one head (Figure 2).

::

    rgb ---- res1 - res2 - res3 ---+
    depth -- res1 - res2 - res3 ---+- SE fusion - res4 - pooling --+-- head
    ir ----- res1 - res2 - res3 ---+                               |
               |      |      |                                     |
              agg1 - agg2 - agg3 --------------------- pooling ----+

Its parts from left to right: ``Branch`` (one modality's res1 to res3, in ``fasnb.model.backbones``), ``Fusion`` (the
SE blocks), ``Aggregation`` (agg1 to agg3) and ``ThreeBranchNetwork``, whose ``embed`` is the figure up to the head.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fasnb.model.backbones import BACKBONES, Branch, Stages, global_average_pool, initial_weights
from fasnb.model.student import EarlyFusion, Student
from fasnb.paper.experiments import MODALITIES
from fasnb.paper.recipe import Normalisation

FUSIONS = ("se", "concat", "zhang")


class Fusion(nn.Module):
    """Three feature maps -> one with three times the channels, each first re-weighted by its own SE block or not.

    Squeeze and excitation (Hu et al. 2018): global average pool, two 1x1 layers with reduction 16 (at least 4 hidden
    units, which matters only below full width), sigmoid, one factor per channel.
    """

    def __init__(self, channels: int, squeeze: bool):
        super().__init__()
        from torchvision.ops import SqueezeExcitation  # takes a second that few processes need

        hidden = max(4, channels // 16)
        excitations = [SqueezeExcitation(channels, hidden) if squeeze else nn.Identity() for _ in MODALITIES]
        self.excitations = nn.ModuleList(excitations)

    def forward(self, features: list[Tensor]) -> Tensor:
        return torch.cat([excite(x) for excite, x in zip(self.excitations, features, strict=True)], dim=1)


class Aggregation(nn.Module):
    """Aggregation block ``level`` of the MLFA path: it joins the branches' outputs of one level with the block before.

    1x1 convolution from three branches' channels to one's, ReLU, plus the previous block's output, then a stage of
    the same shape as the backbone's stage ``level + 1``.
    """

    def __init__(self, stages: Stages, level: int):
        super().__init__()
        channels = stages.channels(level)
        self.reduce = nn.Conv2d(3 * channels, channels, 1)
        self.stage = stages.stage(level + 1)

    def forward(self, features: list[Tensor], previous: Tensor | None) -> Tensor:
        x = torch.relu(self.reduce(torch.cat(features, dim=1)))
        return self.stage(x if previous is None else x + previous)


@dataclass(frozen=True)
class Architecture:
    """Which network: everything that determines its parameters' names and shapes.

    fusion: "se" (paper), "concat" (released networks), or "zhang": the baseline of Zhang et al. 2019 with SE fusion
    after stage 2 (their res3), stages 3 and 4 shared, a head of two layers, no aggregation. modalities: what each
    branch sees, such as ("depth", "depth", "depth") for Table 5. width, blocks, small_images: see ``Stages``.
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
        _ = self.stages  # which refuses an unknown backbone, width or number of blocks

    @property
    def stages(self) -> Stages:
        return Stages(self.backbone, self.width, self.blocks, self.small_images)

    @property
    def normalisation(self) -> Normalisation:
        return BACKBONES[self.backbone].normalisation

    @property
    def embedding_size(self) -> int:
        """Length of the embedding: 512 * width, of dlib's network 256 * width."""
        return self.stages.channels(4)

    @property
    def fused_after(self) -> int:
        """The stage after which the branches are fused; later stages of the main path are shared."""
        return 2 if self.fusion == "zhang" else 3


class ThreeBranchNetwork(nn.Module):
    """The network of Figure 2. Logits are (attack, bona fide): index 1 = bona fide."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.architecture = architecture
        stages, last = architecture.stages, architecture.fused_after
        # the order of these lines is the order of the random draws, on which every trained network depends
        self.branches = nn.ModuleList([Branch(stages, last) for _ in MODALITIES])
        self.fusion = Fusion(stages.channels(last), squeeze=architecture.fusion != "concat")
        fused = {last + 1: 3 * stages.channels(last)}  # input channels of the first shared stage
        shared = {f"stage{number}": stages.stage(number, fused.get(number)) for number in range(last + 1, 5)}
        self.shared = nn.Sequential(OrderedDict(shared))
        levels = (1, 2, 3) if architecture.mlfa else ()
        self.aggregation = nn.ModuleList([Aggregation(stages, level) for level in levels])
        size = architecture.embedding_size
        if architecture.fusion == "zhang":
            layers = nn.Linear(size, size // 2), nn.ReLU(inplace=True), nn.Linear(size // 2, 2)
            self.head = nn.Sequential(nn.Dropout(0.5), *layers)
        else:
            self.head = nn.Linear(size, 2)
        self.apply(initial_weights)

    def embed(self, rgb: Tensor, depth: Tensor, ir: Tensor) -> Tensor:
        """Three images per frame, each (N, 3, H, W) -> embeddings (N, ``embedding_size``)."""
        images = {"rgb": rgb, "depth": depth, "ir": ir}
        seen = [images[modality] for modality in self.architecture.modalities]
        levels = [branch.levels(x) for branch, x in zip(self.branches, seen, strict=True)]
        fused = self.fusion([outputs[-1] for outputs in levels])
        embedding = global_average_pool(self.shared(fused))
        if not self.aggregation:
            return embedding
        aggregated = None
        for level, block in enumerate(self.aggregation):
            aggregated = block([outputs[level] for outputs in levels], aggregated)
        return embedding + global_average_pool(aggregated)

    def forward(self, rgb: Tensor, depth: Tensor, ir: Tensor) -> Tensor:
        """Three images per frame, each (N, 3, H, W) -> logits (N, 2); softmax index 1 is P(bona fide)."""
        return self.head(self.embed(rgb, depth, ir))


def build(architecture: Architecture | EarlyFusion) -> ThreeBranchNetwork | Student:
    """A network with random weights drawn from PyTorch's global generator, in training mode."""
    return Student(architecture) if isinstance(architecture, EarlyFusion) else ThreeBranchNetwork(architecture)

"""The student: one small network that sees all three cameras at once, for real time (the paper's future work).

Five 3x3 convolutions, each with batch norm and ReLU, global average pool, one linear layer. Colour, depth and IR are
five channels of one image (early fusion), so three cameras cost hardly more than one.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fasnb.model.backbones import HALF, global_average_pool, initial_weights
from fasnb.paper.experiments import MODALITIES
from fasnb.paper.recipe import Normalisation

TAKEN = (3, 1, 1)  # channels taken of the three images: depth and IR have three equal ones


@dataclass(frozen=True)
class EarlyFusion:
    """Which student: output channels and stride of each convolution, and what each of the three inputs sees.

    The same at every size of images; by default 0.05 million parameters. Raises ValueError for what makes no network.
    """

    modalities: tuple[str, str, str] = MODALITIES
    channels: tuple[int, ...] = (16, 16, 32, 48, 64)
    strides: tuple[int, ...] = (2, 2, 2, 2, 1)

    def __post_init__(self):
        for name in ("modalities", "channels", "strides"):  # a checkpoint has lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.modalities) != 3 or not set(self.modalities) <= set(MODALITIES):
            raise ValueError(f"modalities {self.modalities!r} must be three out of {', '.join(MODALITIES)}")
        if not self.channels or len(self.channels) != len(self.strides) or min(*self.channels, *self.strides) < 1:
            raise ValueError(f"channels {self.channels} and strides {self.strides} must be as many, each at least 1")

    @property
    def normalisation(self) -> Normalisation:
        return HALF


class Student(nn.Module):
    """The network of an ``EarlyFusion``. Logits are (attack, bona fide): index 1 = bona fide."""

    def __init__(self, architecture: EarlyFusion):
        super().__init__()
        self.architecture, layers = architecture, {}
        sizes = [sum(TAKEN), *architecture.channels]
        for n, stride in enumerate(architecture.strides, 1):
            conv = nn.Conv2d(sizes[n - 1], sizes[n], 3, stride, padding=1, bias=False)
            layers[f"conv{n}"] = nn.Sequential(conv, nn.BatchNorm2d(sizes[n]), nn.ReLU(inplace=True))
        self.trunk = nn.Sequential(OrderedDict(layers))
        self.head = nn.Linear(sizes[-1], 2)
        self.apply(initial_weights)

    def embed(self, rgb: Tensor, depth: Tensor, ir: Tensor) -> Tensor:
        """Three images per frame, each (N, 3, H, W) -> embeddings (N, last of ``channels``)."""
        images = {"rgb": rgb, "depth": depth, "ir": ir}
        seen = zip(self.architecture.modalities, TAKEN, strict=True)
        return global_average_pool(self.trunk(torch.cat([images[name][:, :count] for name, count in seen], dim=1)))

    def forward(self, rgb: Tensor, depth: Tensor, ir: Tensor) -> Tensor:
        """Three images per frame, each (N, 3, H, W) -> logits (N, 2); softmax index 1 is P(bona fide)."""
        return self.head(self.embed(rgb, depth, ir))

"""Source tasks: a backbone learns identities, gender or objects before it learns liveness (Section 4.2)."""

import math
from collections.abc import Iterator
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from fasnb.model.backbones import Backbone
from fasnb.paper.recipe import STRICT, Share
from fasnb.tools.machine import autocast


@dataclass(frozen=True, config=STRICT)
class Pretraining:
    """How one backbone is pre-trained. Pydantic refuses, by a ValueError, what cannot be."""

    epochs: Annotated[int, Field(ge=1)] = 12
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3  # Adam, cosine to zero over all steps
    warmup: Share = 0.05  # share of all steps over which the learning rate rises linearly from zero
    flip: Share = 0.5  # probability of mirroring a training picture
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.1  # share of every class kept for the accuracy


class PretrainingTask:
    """A backbone ``module`` and its head before labelled pictures, and what ``fasnb.training.fit.Loop`` takes.

    The pictures, ``network.frames``, have ``read(indices)`` (uint8 (n, 3, H, W)), ``labels`` (from 0) and ``classes``.
    """

    def __init__(self, network, device: torch.device):
        self.network, self.recipe, pictures, stages = network, network.recipe, network.frames, network.architecture
        labels = np.asarray(pictures.labels)
        self.train, self.held_out = split(labels, self.recipe.held_out, network.seed)
        self.steps = len(self.train) // self.recipe.batch_size
        torch.manual_seed(network.seed)
        self.module = Backbone(stages.backbone, stages.width, stages.blocks, stages.small_images)
        self.head = nn.Linear(self.module.embedding_size, int(pictures.classes)).to(device)
        self.module.to(device, memory_format=torch.channels_last)
        self.modules, self.adam, norm = {"backbone": self.module, "head": self.head}, {}, stages.spec.normalisation
        self.labels = torch.as_tensor(labels, dtype=torch.long).to(device)
        self.pictures = torch.from_numpy(pictures.read(np.arange(len(labels)))).to(device)
        self.mean, self.std = (255 * torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (norm.mean, norm.std))

    def rate(self, step: int) -> float:
        """Learning rate of a step, from 0: a linear rise over the warm-up, times a cosine to zero over all steps."""
        total, warmup = self.recipe.epochs * self.steps, self.recipe.warmup
        rise = min(1.0, (step + 1) / (warmup * total)) if warmup else 1.0
        return self.recipe.learning_rate * (rise * 0.5 * (1.0 + math.cos(math.pi * step / total)))

    def losses(self, epoch: int) -> Iterator[Tensor]:
        """The losses of the batches of an epoch (from 0)."""
        draw = np.random.default_rng([self.network.seed, epoch + 1])
        order = draw.permutation(self.train)[: self.steps * self.recipe.batch_size].reshape(self.steps, -1)
        mirrored = draw.random(order.shape) < self.recipe.flip
        for index, mirror in zip(order, mirrored, strict=True):
            pictures, labels = self.pictures[index], self.labels[index]
            pictures[mirror] = pictures[mirror].flip(3)
            yield functional.cross_entropy(self.head(self._features(pictures)), labels)

    @torch.no_grad()
    def watch(self) -> dict:
        """Accuracy: the share of held-out pictures that the head gives their label, NaN where none are held out."""
        self.module.eval()
        parts = np.split(self.held_out, range(256, len(self.held_out), 256))
        right = [(self.head(self._features(self.pictures[p])).argmax(dim=1) == self.labels[p]).sum() for p in parts]
        return {"accuracy": int(sum(right)) / len(self.held_out) if len(self.held_out) else math.nan}

    def _features(self, pictures: Tensor) -> Tensor:
        """Embeddings of pictures, float32 (n, features): the head always works in that."""
        pictures = ((pictures.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        with autocast(pictures.device, self.network.precision == "bf16"):
            return self.module(pictures).float()


def split(labels: np.ndarray, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers to train on and to hold out; every class gives the same share, but keeps one picture for training."""
    order = np.random.default_rng([seed, 0]).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # class by class, shuffled within
    sizes = np.bincount(labels)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    train = rank < np.repeat(np.maximum(np.round((1 - held_out) * sizes), 1), sizes)
    return np.sort(order[train]), np.sort(order[~train])

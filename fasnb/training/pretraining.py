"""Source tasks: a backbone learns identities, gender or objects before it learns liveness (paper, Section 4.2).

A source is any object with

* ``read(indices)``: images as uint8 (n, 3, H, W), R, G, B, all of one size;
* ``labels``: integers (N,), 0 .. ``classes`` - 1;
* ``classes``: number of classes;
* ``fingerprint``: a string that changes with images and labels.

``fasnb.synthsurf.source_tasks`` makes such sources, ``fasnb.data.image_folder`` reads real ones. ``pretrain`` returns a
backbone whose saved file ``fasnb.model.weights.initialise`` takes.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from fasnb.model.backbones import Backbone, Stages
from fasnb.model.weights import save_backbone
from fasnb.tools.precision import autocast, exact
from fasnb.training.heads import ArcFaceHead, SoftmaxHead
from fasnb.training.loop import Loop

PRETRAINING_VERSION = 1  # raise it when a change of the code changes a backbone

TASKS = ("identity", "gender", "generic")

HEADS = ("softmax", "arcface")

HELD_IN_MEMORY = 2**31  # bytes of pixels; a larger source is read again in every epoch


@dataclass(frozen=True)
class Pretraining:
    """Everything but the source that determines a pretrained backbone. Raises ValueError for values without sense."""

    stages: Stages
    task: str = "identity"
    head: str = "softmax"
    margin: float | None = None  # radians, of arcface; None: 0.5
    scale: float = 64.0  # of arcface's logits
    epochs: int = 12
    batch_size: int = 64
    learning_rate: float = 3e-3  # Adam, cosine to zero over all steps
    warmup: float = 0.05  # share of all steps over which the learning rate rises linearly from zero
    weight_decay: float = 0.0
    flip: float = 0.5  # probability of mirroring a training image
    held_out: float = 0.1  # share of every class kept for the accuracy
    seed: int = 0
    precision: str = "fp32"  # or "bf16": autocast where the hardware has it

    def __post_init__(self):
        if self.task not in TASKS:
            raise ValueError(f"task {self.task!r} is unknown; choose one of {', '.join(TASKS)}")
        if self.head not in HEADS:
            raise ValueError(f"head {self.head!r} is unknown; choose one of {', '.join(HEADS)}")
        if self.task != "identity" and self.head != "softmax":
            raise ValueError(f"head {self.head!r} is for identities; task {self.task!r} takes 'softmax'")
        if self.epochs < 1 or self.batch_size < 2 or not self.learning_rate > 0 or not self.scale > 0:
            raise ValueError("epochs must be at least 1, batch_size at least 2, learning_rate and scale above 0")
        if not (0 <= self.held_out < 1 and 0 <= self.flip <= 1 and 0 <= self.warmup < 1):
            raise ValueError("held_out and warmup must lie in [0, 1), flip in [0, 1]")
        if self.margin is not None and not 0 <= self.margin < 3:
            raise ValueError(f"margin {self.margin} is impossible; it must lie in [0, 3) radians")
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"precision {self.precision!r} is unknown; choose fp32 or bf16")

    def key(self, source: str) -> str:
        """SHA-256 of all that determines a backbone: this, the fingerprint of its source, and the code's version."""
        content = asdict(self) | {"source": source, "version": PRETRAINING_VERSION}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def make_head(self, features: int, classes: int) -> nn.Module:
        """The head: features (n, ``features``) -> logits (n, ``classes``)."""
        if self.head == "softmax":
            return SoftmaxHead(features, classes)
        return ArcFaceHead(features, classes, 0.5 if self.margin is None else self.margin, self.scale)


@dataclass(frozen=True)
class Pretrained:
    """A backbone in evaluation mode on the CPU and how it came about.

    history: one row per epoch with ``epoch``, ``loss`` (mean over the training batches), ``accuracy`` (share of the
    held-out images classified rightly, NaN if none are held out) and ``seconds`` (of training, without the accuracy).
    """

    backbone: Backbone
    history: pd.DataFrame
    specification: Pretraining
    source: str  # fingerprint

    def save(self, path: str | Path) -> None:
        """Write the file that ``fasnb.model.weights.initialise`` takes; equal trainings give equal files."""
        about = {"key": self.specification.key(self.source), "specification": asdict(self.specification)}
        history = self.history.drop(columns="seconds").to_dict("list")
        save_backbone(self.backbone, path, **about, source=self.source, history=history)


def pretrain(
    specification: Pretraining,
    source,
    device: str | torch.device = "cpu",
    progress: Callable[[dict], object] | None = None,
    state: str | Path | None = None,
) -> Pretrained:
    """Train a backbone with a head on ``source``; ``progress`` is called with every row of the history.

    The same specification, source and number of threads give the same weights on a CPU, also where a training that was
    stopped goes on from ``state``, the file in which it is saved after every epoch and every five minutes within one (None
    saves nothing). PyTorch's global generator is left as it was. Raises ValueError if the source or the state does not
    fit, FloatingPointError if a loss or gradient is not finite.
    """
    device, stages = torch.device(device), specification.stages
    labels = torch.as_tensor(np.asarray(source.labels), dtype=torch.long)
    train, held_out = _split(labels.numpy(), specification)
    _check(specification, source, labels, train)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(specification.seed)
        backbone = Backbone(stages.backbone, stages.width, stages.blocks, stages.small_images)
        head = specification.make_head(backbone.embedding_size, int(source.classes))
    backbone, head = backbone.to(device, memory_format=torch.channels_last), head.to(device)
    classifier = _Classifier(specification, backbone, head, _Images(source, device), labels.to(device))
    steps = len(train) // specification.batch_size
    loop = Loop(
        {"backbone": backbone, "head": head},
        steps,
        _rate(specification, specification.epochs * steps),
        title=f"pre-training of {stages.backbone} for {specification.task}",
        key=specification.key(source.fingerprint),
        path=state,
        weight_decay=specification.weight_decay,
    )
    with exact(specification.precision):
        while loop.epoch < specification.epochs:
            loop.run_epoch(classifier.losses(train, loop))
            loss, accuracy = float(loop.losses.cpu().mean()), classifier.accuracy(held_out)
            row = {"epoch": loop.epoch + 1, "loss": loss, "accuracy": accuracy, "seconds": loop.seconds}
            loop.finish_epoch(row)
            if progress is not None:
                progress(row)
    return Pretrained(backbone.cpu().eval(), pd.DataFrame(loop.history), specification, source.fingerprint)


class _Classifier:
    """Backbone and head before the images and labels of a source."""

    def __init__(self, specification: Pretraining, backbone: Backbone, head: nn.Module, images, labels: Tensor):
        self.specification, self.backbone, self.head = specification, backbone, head
        self.images, self.labels = images, labels
        normalisation = specification.stages.spec.normalisation
        self.mean, self.std = (
            255.0 * torch.tensor(values, device=labels.device).view(1, 3, 1, 1)
            for values in (normalisation.mean, normalisation.std)
        )

    def losses(self, train: np.ndarray, loop: Loop) -> Iterator[Tensor]:
        """The losses of the present epoch's batches that are not done; every epoch has its own order of ``train``."""
        draw = np.random.default_rng([self.specification.seed, loop.epoch + 1])
        order = draw.permutation(train)[: loop.steps * self.specification.batch_size].reshape(loop.steps, -1)
        mirrored = torch.from_numpy(draw.random(order.shape) < self.specification.flip).to(self.labels.device)
        order, mirrored = order[loop.done :], mirrored[loop.done :]
        for index, mirror, images in zip(order, mirrored, self.images.batches(order), strict=True):
            labels = self._labels_of(index)
            images = torch.where(mirror[:, None, None, None], images.flip(3), images)
            yield functional.cross_entropy(self.head(self._features(images), labels), labels)

    @torch.no_grad()
    def accuracy(self, index: np.ndarray) -> float:
        """Share of the images that the head gives their label, without any margin."""
        if not len(index):
            return float("nan")
        self.backbone.eval()
        chunks = [index[i : i + 256] for i in range(0, len(index), 256)]
        right = [
            (self.head(self._features(images)).argmax(dim=1) == self._labels_of(chunk)).sum()
            for chunk, images in zip(chunks, self.images.batches(chunks), strict=True)
        ]
        return int(torch.stack(right).sum()) / len(index)

    def _features(self, images: Tensor) -> Tensor:
        """uint8 (n, 3, H, W) -> float32 features (n, F); the head always works in float32."""
        images = ((images.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        with autocast(images.device, self.specification.precision == "bf16"):
            return self.backbone(images).float()

    def _labels_of(self, index: np.ndarray) -> Tensor:
        return self.labels[torch.from_numpy(index).to(self.labels.device)]


class _Images:
    """A source's images as uint8 tensors on the device: held there if they are few, otherwise read one batch ahead."""

    def __init__(self, source, device: torch.device):
        self.source, self.device, self.held = source, device, None
        count = len(source.labels)
        if count * source.read([0]).nbytes <= HELD_IN_MEMORY:
            parts = [source.read(np.arange(i, min(i + 512, count))) for i in range(0, count, 512)]
            self.held = torch.from_numpy(np.concatenate(parts)).to(device)

    def batches(self, order: Sequence[np.ndarray]) -> Iterator[Tensor]:
        if self.held is not None:
            yield from (self.held[torch.from_numpy(index).to(self.device)] for index in order)
            return
        if not len(order):
            return
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self.source.read, order[0])
            for following in [*order[1:], None]:
                images = ahead.result()
                if following is not None:
                    ahead = pool.submit(self.source.read, following)
                yield torch.from_numpy(images).to(self.device)


def _rate(specification: Pretraining, total: int) -> Callable[[int], float]:
    """Learning rate by step: linear rise over ``warmup`` of the ``total`` steps, cosine to zero over all."""

    def rate(step: int) -> float:
        rise = min(1.0, (step + 1) / (specification.warmup * total)) if specification.warmup else 1.0
        return specification.learning_rate * (rise * 0.5 * (1.0 + math.cos(math.pi * step / total)))

    return rate


def _split(labels: np.ndarray, specification: Pretraining) -> tuple[np.ndarray, np.ndarray]:
    """Indices to train on and to hold out; every class gives the same share, but keeps one image for training."""
    draw = np.random.default_rng([specification.seed, 0])
    order = draw.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # class by class, shuffled within
    sizes = np.bincount(labels) if len(labels) else np.zeros(0, int)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    keep = np.maximum(np.round((1 - specification.held_out) * sizes), 1)
    train = rank < np.repeat(keep, sizes)
    return np.sort(order[train]), np.sort(order[~train])


def _check(specification: Pretraining, source, labels: Tensor, train: np.ndarray) -> None:
    if not len(labels) or int(labels.min()) < 0 or int(labels.max()) >= source.classes:
        raise ValueError(f"the labels of the source must be 0 .. {source.classes - 1}, and there must be some")
    if specification.task == "gender" and source.classes != 2:
        raise ValueError(f"task 'gender' needs two classes, and the source has {source.classes}; take another task")
    if len(train) < specification.batch_size:
        raise ValueError(f"batch_size {specification.batch_size} is above the {len(train)} training images; lower it")

"""Train one network, or pre-train one backbone (Sections 4 and 5.1).

Images are drawn as a function of (seed, epoch, batch) and dropout as a function of (seed, step), so a training that was
killed goes on from its last finished epoch and, on a CPU with the same number of threads, ends with the same bits.
"""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from fasnb.data.augment import batches, evaluation
from fasnb.model.dlib_file import calibrate
from fasnb.model.network import ThreeBranchNetwork, build
from fasnb.model.student import Student
from fasnb.model.weights import initialise, load_network, read, write
from fasnb.paper.recipe import Recipe
from fasnb.tools.machine import arithmetic, autocast, choose_device
from fasnb.training.plan import Network
from fasnb.training.pretraining import PretrainingTask
from fasnb.training.scoring import folded, margins, score

MEASURED = 256  # training frames on which affine layers are measured


def fit(network: Network, device: str | None = None, state: Path | None = None):
    """Train a network from its first step, or from its saved state. PyTorch's random state is left as it was.

    Args:
        state: file in which the training is saved after every epoch. None: nowhere.

    Returns:
        The module after the last epoch, in evaluation mode, and the history (pd.DataFrame), one row an epoch: epoch
        (from 1), loss (mean cross-entropy), learning_rate (at its end), seconds and frames_per_second (of training
        alone), then valid_loss and valid_auc of the watched frames or, of a backbone, accuracy on held-out pictures.

    ValueError where frames, recipe or start do not fit, or the saved state is damaged; FloatingPointError where a loss or
    gradient is not finite, with epoch and batch.
    """
    device = choose_device(device)
    with torch.random.fork_rng([device] if device.type == "cuda" else []), arithmetic(network.precision):
        task = PretrainingTask(network, device) if network.is_backbone else LivenessTask(network, device)
        if not task.steps:
            raise ValueError(f"batch_size {network.recipe.batch_size} is above the number of training frames")
        loop = Loop(task.modules, task.steps, task.rate, state, **task.adam)
        for epoch in range(len(loop.history), network.epochs):
            row = {"epoch": epoch + 1} | loop.run_epoch(task.losses(epoch))
            row |= {"frames_per_second": task.steps * network.recipe.batch_size / row["seconds"]}
            loop.finish_epoch(row | task.watch())
    return task.module.eval(), pd.DataFrame(loop.history)


class LivenessTask:
    """Bona fide or attack: the network ``module`` before its frames, and what ``Loop`` takes."""

    def __init__(self, network: Network, device: torch.device):
        self.network, self.recipe, self.device = network, network.recipe, device
        self.store = network.frames.open()
        label = self.store.frames["label"]
        for rows in (network.frames.rows, network.watched):
            if rows is not None and (label.iloc[rows].isna().any() or label.iloc[rows].nunique() < 2):
                raise ValueError("training and watched frames must be labelled, some bona fide and some attack")
        if max(self.recipe.epochs, self.recipe.second_epochs) > self.recipe.schedule_epochs:
            raise ValueError(f"its epochs outlast schedule_epochs {self.recipe.schedule_epochs}; raise it")
        self.steps = len(network.frames) // self.recipe.batch_size
        self.module = initial_network(network).to(device, memory_format=torch.channels_last)
        if not self.recipe.train_classifier:
            [layer for layer in self.module.head.modules() if isinstance(layer, nn.Linear)][-1].requires_grad_(False)
        self.modules = {"network": self.module}
        self.rate = lambda step: learning_rate(self.recipe, step, self.steps)
        self.adam = {"betas": (self.recipe.beta1, self.recipe.beta2), "weight_decay": self.recipe.weight_decay}
        self.targets = soft_targets(network, device) if network.teachers else None

    def losses(self, epoch: int) -> Iterator[Tensor]:
        """The losses of the batches of an epoch (from 0)."""
        it, norm = self.network, self.module.architecture.normalisation
        options = {"seed": it.seed, "epoch": epoch, "device": self.device, "drop_last": True, "targets": self.targets}
        drawn = batches(self.store, it.frames.rows, stage(self.recipe, epoch), norm, **options)
        for step, (rgb, depth, ir, target) in enumerate(drawn, epoch * self.steps):
            torch.manual_seed(int(np.random.SeedSequence((it.seed, step)).generate_state(1)[0]))  # of dropout
            with autocast(self.device, it.precision == "bf16"):
                embedding = self.module.embed(rgb, depth, ir)
            yield functional.cross_entropy(self.module.head(embedding.float()), target)

    def watch(self) -> dict:
        """Loss and AUC on the watched frames, at the training's precision; nothing where none are watched."""
        rows = self.network.watched
        if rows is None:
            return {}
        from sklearn.metrics import roc_auc_score

        where, plain = {"device": self.device, "precision": self.network.precision}, replace(self.recipe, mirror=False)
        margin = margins(folded(self.module), self.store, rows, plain, **where)[0]
        label = self.store.frames["label"].iloc[rows].to_numpy(dtype=int)
        loss = np.logaddexp(0, np.where(label == 1, -margin, margin)).mean()
        return {"valid_loss": float(loss), "valid_auc": float(roc_auc_score(label, margin))}


_SAID = {}  # the last scores in ``soft_targets``: students of a world share teachers, and asking these takes longest


def soft_targets(network: Network, device: torch.device | str) -> Tensor:
    """Probabilities of (attack, bona fide) that a student learns of its frames, the ensemble's: float32 (n, 2).

    They are the mean over its teachers of what each says of the frame as it is tested. Raises as ``Network.weights``.
    """
    store, rows = network.frames.open(), network.frames.rows
    known = store.fingerprint, rows.tobytes(), *(it.key for it in network.teachers)
    if known not in _SAID:
        said = [score(load_network(it.weights()), store, rows, it.recipe, device=device) for it in network.teachers]
        _SAID.clear()
        _SAID[known] = np.mean(said, axis=0)
    return torch.tensor(np.stack([1 - _SAID[known], _SAID[known]], axis=1), dtype=torch.float32)


def initial_network(network: Network) -> ThreeBranchNetwork | Student:
    """A network before the first step: random weights by the seed, then those of its start (Section 5.5).

    Of dlib's network the batch norms are set by frames of the training set, see ``calibrate``.
    """
    torch.manual_seed(network.seed)
    model = build(network.architecture)
    if network.start is None:
        return model
    weights = network.start.weights() if isinstance(network.start, Network) else network.start
    aggregation = network.recipe.aggregation_start == "backbone"
    initialise(model, weights, aggregation)
    if weights.suffix == ".dat":
        store, rows = network.frames.open(), np.random.default_rng(network.seed).permutation(network.frames.rows)
        frames = store.read(np.sort(rows[:MEASURED]))
        calibrate(model, evaluation(frames, network.recipe, model.architecture.normalisation), aggregation)
    return model


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Learning rate of ``step`` (from 0): a linear rise over the warm-up, then a cosine that reaches 0 after
    ``recipe.schedule_epochs`` epochs. The second stage starts the cosine anew, as the authors' code does.
    """
    warmup, first = round(recipe.warmup * recipe.epochs * steps_per_epoch), recipe.epochs * steps_per_epoch
    if step >= first:
        step, warmup = step - first, 0
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    progress = (step - warmup) / (recipe.schedule_epochs * steps_per_epoch - warmup)
    return recipe.learning_rate * (1 + math.cos(math.pi * progress)) / 2


def stage(recipe: Recipe, epoch: int) -> Recipe:
    """The recipe that holds in ``epoch`` (from 0): the second stage has its own, weaker augmentation."""
    weaker = {"rotation": recipe.second_rotation, "scale_low": recipe.second_scale_low, "jitter": recipe.second_jitter}
    return recipe if epoch < recipe.epochs else replace(recipe, **weaker)


class Loop:
    """Modules (name -> module, on one device) in training by Adam, and how far they have come.

    An epoch has ``steps`` batches; ``rate`` gives a step, from 0 over all epochs, its learning rate. The state is saved
    in ``path`` after every epoch, and the loop goes on from what it finds there. Raises ValueError where it is damaged.
    """

    def __init__(self, modules, steps, rate, path=None, **adam):
        self.modules, self.steps, self.rate, self.path = modules, steps, rate, path
        self.parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(self.parameters, fused=True, **adam)
        self.stateful, self.history = modules | {"optimiser": self.optimiser}, []  # one row for each finished epoch
        if path is not None and path.is_file():
            state = read(path)
            for name, part in self.stateful.items():
                part.load_state_dict(state[name])
            self.history = state["history"]

    def run_epoch(self, losses: Iterable[Tensor]) -> dict[str, float]:
        """Train for an epoch on the losses of its batches; mean loss, last learning rate, seconds. Raises as ``fit``.

        Losses must be computed one by one as they are asked for: a step lies between any two.
        """
        for module in self.modules.values():
            module.train()
        started, seen = time.perf_counter(), []
        for step, loss in enumerate(losses, len(self.history) * self.steps):
            self.optimiser.zero_grad()
            loss.backward()
            norm = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
            seen.append(loss.detach() + 0 * norm)  # not finite where the gradient is not
            if loss.device.type == "cpu" or len(seen) == self.steps:  # a GPU would wait for every look
                self._require_finite(seen)
            for group in self.optimiser.param_groups:
                group["lr"] = self.rate(step)
            self.optimiser.step()
        mean = float(torch.stack(seen).double().mean())  # waits for the device
        return {"loss": mean, "learning_rate": self.rate(step), "seconds": time.perf_counter() - started}

    def finish_epoch(self, row: dict) -> None:
        """Append the epoch's row to the history, and save the state."""
        self.history.append(row)
        if self.path is not None:
            state = {name: part.state_dict() for name, part in self.stateful.items()}
            write(state | {"history": self.history}, self.path)

    def _require_finite(self, seen: list[Tensor]) -> None:
        good = torch.stack(seen).isfinite().tolist()
        if not all(good):
            where = f"epoch {len(self.history) + 1}, batch {good.index(False) + 1} of {self.steps}"
            advice = "lower the learning rate or look at the initial weights"
            raise FloatingPointError(f"the loss or gradient of {where} is not finite; {advice}")

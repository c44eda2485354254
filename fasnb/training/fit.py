"""Train one network, or pre-train one backbone (Sections 4 and 5.1).

Images are drawn as a function of (seed, epoch, batch) and dropout as a function of (seed, step), so a training that was
killed goes on from its last saved state and, on a CPU with the same number of threads, ends with the same bits.
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

from fasnb.data.augment import batches
from fasnb.model.network import ThreeBranchNetwork, build
from fasnb.model.weights import initialise, read, write
from fasnb.paper.recipe import Recipe
from fasnb.tools.machine import autocast, choose_device, exact, has_bfloat16, require_time, time_is_up
from fasnb.training.plan import Network
from fasnb.training.pretraining import PretrainingTask
from fasnb.training.scoring import folded, margins


def fit(network: Network, device: str | None = None, state: Path | None = None, save_seconds: float = 300.0):
    """Train a network from its first step, or from its saved state. PyTorch's random state is left as it was.

    Args:
        state: file in which the training is saved after every epoch and, within one, every ``save_seconds``. None: nowhere.

    Returns:
        The module after the last epoch, in evaluation mode, and the history (pd.DataFrame), one row an epoch: epoch (from 1),
        loss (mean cross-entropy), learning_rate (at its end), seconds and frames_per_second (of training alone), then
        valid_loss and valid_auc of the watched frames or, of a backbone, accuracy on held-out pictures.

    Raises:
        ValueError: frames, recipe, start or saved state do not fit.
        FloatingPointError: a loss or gradient is not finite; the message names network, epoch and batch.
        OutOfTime: see ``fasnb.tools.machine.time_limit``; the state is saved.
    """
    device = choose_device(device)
    with torch.random.fork_rng([device] if device.type == "cuda" else []), exact(network.precision):
        task = PretrainingTask(network, device) if network.is_backbone else LivenessTask(network, device)
        loop = Loop(task.modules, task.steps, task.rate, network.title, network.key, state, save_seconds, **task.adam)
        while loop.epoch < network.epochs:
            loop.run_epoch(task.losses(loop.epoch, loop.done))
            row = {"epoch": loop.epoch + 1, "loss": float(loop.losses.double().mean())}
            row |= {"learning_rate": task.rate(loop.step - 1), "seconds": loop.seconds}
            row |= {"frames_per_second": task.steps * network.recipe.batch_size / loop.seconds}
            loop.finish_epoch(row | task.watch())
    return task.module.eval(), pd.DataFrame(loop.history)


class LivenessTask:
    """Bona fide or attack: a network of Figure 2 before the frames that it is trained on.

    module: the network. modules, steps, rate, adam: as ``Loop`` takes them.
    """

    def __init__(self, network: Network, device: torch.device):
        self.network, self.recipe, self.device = network, network.recipe, device
        self.store = network.frames.open()
        _check(network, self.store.frames["label"])
        self.steps = len(network.frames) // self.recipe.batch_size
        self.module = initial_network(network).to(device, memory_format=torch.channels_last)
        if not self.recipe.train_classifier:
            [layer for layer in self.module.head.modules() if isinstance(layer, nn.Linear)][-1].requires_grad_(False)
        self.modules = {"network": self.module}
        self.rate = lambda step: learning_rate(self.recipe, step, self.steps)
        self.adam = {"betas": (self.recipe.beta1, self.recipe.beta2), "weight_decay": self.recipe.weight_decay}

    def losses(self, epoch: int, first: int) -> Iterator[Tensor]:
        """The losses of the batches of an epoch (from 0), from number ``first`` on."""
        it, low, norm = self.network, self.network.precision == "bf16", self.module.architecture.normalisation
        options = {"seed": it.seed, "epoch": epoch, "device": self.device, "drop_last": True, "first": first}
        if low and has_bfloat16(self.device):
            options["dtype"] = torch.bfloat16  # to which autocast would round the images anyway
        drawn = batches(self.store, it.frames.rows, stage(self.recipe, epoch), norm, **options)
        for step, (rgb, depth, ir, label) in enumerate(drawn, epoch * self.steps + first):
            torch.manual_seed(int(np.random.SeedSequence((it.seed, step)).generate_state(1)[0]))  # of dropout
            with autocast(self.device, low):
                embedding = self.module.embed(rgb, depth, ir)
            yield functional.cross_entropy(self.module.head(embedding.float()), label)

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


def _check(network: Network, labels: pd.Series) -> None:
    """Refuse what no training can be of."""
    recipe, count = network.recipe, len(network.frames)
    if not 2 <= recipe.batch_size <= count:
        raise ValueError(f"{network.title}: batch_size {recipe.batch_size} is not in 2 .. {count}, its training frames")
    if max(recipe.epochs, recipe.second_epochs) > recipe.schedule_epochs:
        raise ValueError(f"{network.title}: its epochs outlast schedule_epochs {recipe.schedule_epochs}; raise it")
    for what, rows in (("training", network.frames.rows), ("watched", network.watched)):
        if rows is not None and (labels.iloc[rows].isna().any() or labels.iloc[rows].nunique() < 2):
            raise ValueError(f"{network.title}: its {what} frames must be labelled, some bona fide and some attack")


def initial_network(network: Network) -> ThreeBranchNetwork:
    """A network before the first step: random weights by the seed, then those of its start (Section 5.5)."""
    torch.manual_seed(network.seed)
    model = build(network.architecture)
    if network.start is None:
        return model
    weights = network.start.weights() if isinstance(network.start, Network) else network.start
    return initialise(model, weights, aggregation=network.recipe.aggregation_start == "backbone")


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
    if epoch < recipe.epochs:
        return recipe
    weaker = {"rotation": recipe.second_rotation, "scale_low": recipe.second_scale_low, "jitter": recipe.second_jitter}
    return replace(recipe, **weaker)


class Loop:
    """Modules (name -> module, on one device) in training by Adam, and how far they have come.

    An epoch has ``steps`` batches; ``rate`` gives a step, from 0 over all epochs, its learning rate. The state is saved in ``path``
    after every epoch and, within one, every ``save_seconds``; the loop goes on from what it finds there. ``title`` begins its
    messages. Raises ValueError where the state is damaged or of another ``key``.
    """

    def __init__(self, modules, steps, rate, title="training", key="", path=None, save_seconds=300.0, **adam):
        self.modules, self.steps, self.rate, self.title, self.key = modules, steps, rate, title, key
        self.path, self.save_seconds = path, save_seconds
        self.parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
        self.device = self.parameters[0].device
        self.optimiser = torch.optim.Adam(self.parameters, fused=True, **adam)
        self.step, self.history, self.seconds = 0, [], 0.0  # batches over all epochs, rows, time of the present epoch
        self.losses = torch.zeros(steps, device=self.device)  # of the present epoch
        if path is not None and path.is_file():
            self._load()

    @property
    def epoch(self) -> int:
        """The present epoch, from 0: the number of those finished."""
        return len(self.history)

    @property
    def done(self) -> int:
        """How many batches of the present epoch are behind."""
        return self.step - self.epoch * self.steps

    def run_epoch(self, losses: Iterable[Tensor]) -> None:
        """Train to the end of the present epoch, on the losses of its batches not done. Raises as ``fit``.

        Losses must be computed one by one as they are asked for: a step lies between any two.
        """
        for module in self.modules.values():
            module.train()
        started, saved, before = time.perf_counter(), time.monotonic(), self.seconds
        for loss in losses:
            self._take_step(loss)
            self.seconds = before + time.perf_counter() - started
            if self.path is not None and (time.monotonic() - saved > self.save_seconds or time_is_up()):
                self._save()
                saved = time.monotonic()
                require_time()
        self._require_finite(self.done)  # waits for the device
        self.seconds = before + time.perf_counter() - started

    def finish_epoch(self, row: dict) -> None:
        """Append the epoch's row to the history, and save the state."""
        self.history.append(row)
        self.seconds = 0.0
        if self.path is not None:
            self._save()

    def _take_step(self, loss: Tensor) -> None:
        """The loss stays on the device; a CPU, where that costs nothing, looks at it before the step."""
        self.optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        self.losses[self.done] = loss.detach() + 0 * norm  # not finite where the gradient is not
        if self.device.type == "cpu":
            self._require_finite(self.done + 1)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(self.step)
        self.optimiser.step()
        self.step += 1

    def _require_finite(self, count: int) -> None:
        """Look at the first ``count`` batches of the epoch."""
        good = self.losses[:count].isfinite().tolist()
        if not all(good):
            where = f"epoch {self.epoch + 1}, batch {good.index(False) + 1} of {self.steps}"
            advice = "lower the learning rate or look at the initial weights"
            raise FloatingPointError(f"{self.title}: the loss or gradient of {where} is not finite; {advice}")

    def _save(self) -> None:
        self._require_finite(self.done)
        state = {name: getattr(self, name) for name in ("key", "step", "seconds", "history", "losses")}
        state |= {name: module.state_dict() for name, module in self.modules.items()}
        write(state | {"optimiser": self.optimiser.state_dict()}, self.path)

    def _load(self) -> None:
        state = read(self.path)
        if state.get("key") != self.key:
            raise ValueError(f"{self.path} is the state of another training; remove it or choose another place to save")
        for name, module in self.modules.items():
            module.load_state_dict(state[name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds, self.history = state["step"], state["seconds"], state["history"]
        self.losses = state["losses"].to(self.device)

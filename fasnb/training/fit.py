"""Train one network from one frozen specification, and score frames with trained networks (Sections 4, 5.1, 5.2).

Everything that determines the trained weights stands in ``Specification``; its key names the run. Images are drawn as
a function of (seed, epoch, batch) and dropout as a function of (seed, step), so a training that was killed goes on from
its last saved state and, on a CPU with the same number of threads, ends with the same bits.

The score of a frame is P(bona fide), kept in double precision from the embedding on: TPR at an FPR of 1e-4 depends on
the order of scores that single precision would round to the same 0.0 or 1.0.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from fasnb.data.augment import batches
from fasnb.data.store import Store
from fasnb.metrics.pad import auc, tpr_at_fpr
from fasnb.model.network import ThreeBranchNetwork, build
from fasnb.model.weights import initialise, read
from fasnb.paper.recipe import Recipe
from fasnb.tools.files import replace_file
from fasnb.tools.precision import autocast, exact, has_bfloat16
from fasnb.tools.workers import choose_device
from fasnb.training.inference import margins
from fasnb.training.specification import Specification, frames_hash

STATE_FILE = "state.pt"


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


def fit(
    specification: Specification,
    store: Store,
    train_index,
    *,
    backbone: str | Path | Mapping[str, Tensor] | None = None,
    valid: tuple[Store, Sequence[int]] | None = None,
    valid_limit: int = 2000,
    fprs: Sequence[float] = (1e-2,),
    folder: str | Path | None = None,
    device: str | None = None,
    compile: bool = False,
    checkpoint_seconds: float = 300.0,
    progress: Callable[[dict], object] | None = None,
) -> tuple[ThreeBranchNetwork, pd.DataFrame]:
    """Train one network.

    Args:
        train_index: rows of ``store`` to train on; ``specification.frames`` is their hash.
        backbone: file or state dict of the backbone to start from, see ``fasnb.weights.initialise``.
        valid: store and rows watched after every epoch, at most ``valid_limit`` of them, evenly spaced. They never
            choose a snapshot: the network after the last epoch is the result.
        fprs: FPRs of the watched TPR.
        folder: where the state is saved after every epoch, and within an epoch every ``checkpoint_seconds``; a training
            that finds one goes on from there. None saves nothing.
        compile: torch.compile the network: pays on a GPU over many steps, costs a minute or more at the start.
        progress: called after every epoch with its row of the history.

    Returns:
        The network, and the history with one row an epoch: epoch (from 1), loss (mean cross-entropy), learning_rate (at
        the epoch's end), seconds and frames_per_second (without validation), and, with ``valid``, valid_loss,
        valid_auc and valid_tpr_<fpr>.

    Raises:
        ValueError: frames, recipe or saved state that cannot be trained on or do not match the specification.
        FloatingPointError: a loss or gradient is not finite; the message names run, epoch and batch.
    """
    device = choose_device(device)
    index = _checked_frames(specification, store, train_index)
    watched = None if valid is None else _watched(specification, valid, valid_limit)
    path = None if folder is None else Path(folder) / STATE_FILE
    with _reproducible(device), exact(specification.precision):
        network = initial_network(specification, backbone)
        trainer = _Trainer(specification, store, index, network, device, compile)
        if path is not None and path.is_file():
            trainer.load(path)
        while trainer.epoch < specification.recipe.epochs + specification.recipe.second_epochs:
            row = trainer.run_epoch(path, checkpoint_seconds)
            if watched is not None:
                row |= _validate(network, *watched, specification, device, fprs)
            trainer.finish_epoch(row, path)
            if progress is not None:
                progress(row)
    return network.eval(), pd.DataFrame(trainer.history)


def initial_network(specification: Specification, backbone=None) -> ThreeBranchNetwork:
    """The network before the first step: random weights by the seed, then the backbone's where one is given."""
    if (backbone is None) != (specification.initialisation == "random"):
        raise ValueError(
            f"{specification.title}: initialisation is {specification.initialisation!r} and the backbone is "
            f"{'not given' if backbone is None else 'given'}; a backbone is given for all but 'random'"
        )
    torch.manual_seed(specification.seed)
    network = build(specification.architecture)
    if backbone is None:
        return network
    return initialise(network, backbone, aggregation=specification.recipe.aggregation_start == "backbone")


class _Trainer:
    """One network in training. ``step`` counts batches over all epochs; with it the rest of the state is saved."""

    def __init__(self, specification, store, index, network, device, compile):
        self.specification, self.recipe = specification, specification.recipe
        self.store, self.index, self.device = store, index, device
        self.network = network.to(device, memory_format=torch.channels_last)
        if compile:
            torch.compiler.reset()  # else the ninth kind of network in one process would silently not be compiled
        self.embed = torch.compile(network.embed) if compile else network.embed
        if not self.recipe.train_classifier:
            last_linear(network).requires_grad_(False)
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(
            self.parameters,
            lr=self.recipe.learning_rate,
            betas=(self.recipe.beta1, self.recipe.beta2),
            weight_decay=self.recipe.weight_decay,
            fused=True,
        )
        self.steps = len(index) // self.recipe.batch_size
        self.step, self.seconds, self.history = 0, 0.0, []
        self.losses, self.norms = torch.zeros(2, self.steps, device=device)

    @property
    def epoch(self) -> int:
        return len(self.history)

    def run_epoch(self, path: Path | None, checkpoint_seconds: float) -> dict:
        """Train to the end of the present epoch, from wherever in it the state stands."""
        self.network.train()
        started, saved, before = time.perf_counter(), time.monotonic(), self.seconds
        for batch in self._batches():
            self._train(*batch)
            self.seconds = before + time.perf_counter() - started
            if path is not None and time.monotonic() - saved > checkpoint_seconds:
                self.save(path)
                saved = time.monotonic()
        self._require_finite(self.steps)  # waits for the device
        self.seconds = before + time.perf_counter() - started
        return {
            "epoch": self.epoch + 1,
            "loss": float(self.losses.double().mean()),
            "learning_rate": learning_rate(self.recipe, self.step - 1, self.steps),
            "seconds": self.seconds,
            "frames_per_second": self.steps * self.recipe.batch_size / self.seconds,
        }

    def finish_epoch(self, row: dict, path: Path | None) -> None:
        self.history.append(row)
        self.seconds = 0.0
        if path is not None:
            self.save(path)

    def _batches(self):
        """The batches of the present epoch that are not done."""
        return batches(
            self.store,
            self.index,
            stage(self.recipe, self.epoch),
            self.network.architecture.normalisation,
            seed=self.specification.seed,
            epoch=self.epoch,
            device=self.device,
            dtype=image_type(self.device, self.specification.precision),
            drop_last=True,
            first=self.step - self.epoch * self.steps,
        )

    def _train(self, rgb: Tensor, depth: Tensor, ir: Tensor, label: Tensor) -> None:
        """One step. Loss and gradient norm stay on the device; a CPU, where that costs nothing, checks them at once."""
        position = self.step - self.epoch * self.steps
        torch.manual_seed(_seed_of_step(self.specification.seed, self.step))
        with autocast(self.device, self.specification.precision == "bf16"):
            embedding = self.embed(rgb, depth, ir)
        loss = functional.cross_entropy(self.network.head(embedding.float()), label)
        self.optimiser.zero_grad()
        loss.backward()
        self.losses[position] = loss.detach()
        self.norms[position] = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        if self.device.type == "cpu":
            self._require_finite(position + 1)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step, self.steps)
        self.optimiser.step()
        self.step += 1

    def _require_finite(self, done: int) -> None:
        """Look at the first ``done`` batches of the epoch."""
        good = (self.losses[:done].isfinite() & self.norms[:done].isfinite()).cpu()
        if good.all():
            return
        first = int(torch.argmin(good.to(torch.uint8)))
        what = "loss" if not self.losses[first].isfinite() else "gradient"
        raise FloatingPointError(
            f"{self.specification.title}: the {what} of epoch {self.epoch + 1}, batch {first + 1} of {self.steps} is "
            "not finite; lower the learning rate or look at the initial weights"
        )

    def save(self, path: Path) -> None:
        self._require_finite(self.step - self.epoch * self.steps)
        state = {name: getattr(self, name) for name in ("step", "seconds", "history", "losses", "norms")}
        state |= {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}
        state["key"] = self.specification.key
        replace_file(path, lambda temporary: torch.save(state, temporary))

    def load(self, path: Path) -> None:
        state = read(path)
        if state.get("key") != self.specification.key:
            raise ValueError(f"{path} is the state of another specification; remove it or choose another folder")
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds, self.history = state["step"], state["seconds"], state["history"]
        self.losses, self.norms = state["losses"].to(self.device), state["norms"].to(self.device)


def last_linear(network: ThreeBranchNetwork) -> nn.Linear:
    """The classifier: the last linear layer of the head."""
    return [module for module in network.head.modules() if isinstance(module, nn.Linear)][-1]


def image_type(device: str | torch.device, precision: str) -> torch.dtype:
    """What autocast would round the images to anyway."""
    return torch.bfloat16 if precision == "bf16" and has_bfloat16(device) else torch.float32


def _seed_of_step(seed: int, step: int) -> int:
    return int(np.random.SeedSequence((seed, step)).generate_state(1)[0])


def _reproducible(device: torch.device):
    """Give PyTorch's random state back as it was; training sets its own."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def _checked_frames(specification: Specification, store: Store, index) -> np.ndarray:
    index, recipe, title = np.asarray(index), specification.recipe, specification.title
    if index.ndim != 1 or (len(index) and index.dtype.kind not in "iu"):
        raise ValueError(
            f"{title}: train_index is {index.dtype} {index.shape}; give the numbers of the rows to train on"
        )
    index = index.astype(np.int64)
    if len(index) and not (0 <= index.min() <= index.max() < len(store) and len(np.unique(index)) == len(index)):
        raise ValueError(f"{title}: train_index must hold each row once, from 0 to {len(store) - 1}")
    if not len(index):
        raise ValueError(f"{title}: the fold has no training frames; check its split and fold")
    if recipe.batch_size > len(index):
        raise ValueError(f"{title}: batch_size {recipe.batch_size} exceeds the {len(index):,} training frames")
    if recipe.batch_size < 2:
        raise ValueError(f"{title}: batch_size is {recipe.batch_size}; batch normalisation needs at least 2")
    longest = max(recipe.epochs, recipe.second_epochs)
    if longest > recipe.schedule_epochs:
        raise ValueError(f"{title}: {longest} epochs outlast schedule_epochs {recipe.schedule_epochs}; raise it")
    _require_both_classes(f"{title}: the training set", store.frames["label"].iloc[index])
    if (store.fingerprint, frames_hash(store.frames, index)) != (specification.data, specification.frames):
        raise ValueError(f"{title}: store and training frames are not those of the specification; specify it anew")
    return index


def _require_both_classes(what: str, labels: pd.Series) -> None:
    if labels.isna().any():
        raise ValueError(f"{what} has {int(labels.isna().sum()):,} frames without a label; label all of them")
    if labels.nunique() < 2:
        kind = "" if labels.empty else f", all of them {'bona fide' if labels.iloc[0] else 'attack'}"
        raise ValueError(f"{what} has {len(labels):,} frames{kind}; it needs bona fide and attack frames")


def _watched(specification: Specification, valid, limit: int) -> tuple[Store, np.ndarray]:
    store, index = valid[0], np.asarray(valid[1])
    if len(index) > limit:
        index = index[np.linspace(0, len(index) - 1, limit).round().astype(int)]
    _require_both_classes(f"{specification.title}: the validation set", store.frames["label"].iloc[index])
    return store, index


def _validate(network, store, index, specification, device, fprs) -> dict:
    margin = margins([network], store, index, specification.recipe, device=device, precision=specification.precision)
    margin, label = margin[0, 0], store.frames["label"].iloc[index].to_numpy(dtype=int)
    row = {"valid_loss": float(np.logaddexp(0, np.where(label == 1, -margin, margin)).mean())}
    row["valid_auc"] = auc(label, margin)
    return row | {f"valid_tpr_{fpr:g}": tpr_at_fpr(label, margin, fpr) for fpr in fprs}

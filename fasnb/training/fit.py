"""Train one network from one frozen specification (Sections 4 and 5.1).

Everything that determines the trained weights stands in ``Specification``; its key names the run. Images are drawn as
a function of (seed, epoch, batch) and dropout as a function of (seed, step), so a training that was killed goes on from
its last saved state and, on a CPU with the same number of threads, ends with the same bits.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from fasnb.model.weights import initialise
from fasnb.paper.recipe import Recipe
from fasnb.tools.precision import autocast, exact, has_bfloat16
from fasnb.tools.workers import choose_device
from fasnb.training.inference import folded, margins
from fasnb.training.loop import Loop
from fasnb.training.specification import Specification, frames_hash

STATE_FILE = "state.pt"
FEW = 64  # held-out frames that are watched however few are trained on
WATCHED = 2000  # frames watched after an epoch, at most


def watch_limit(trained: int, most: int = WATCHED) -> int:
    """How many held-out frames at most are watched after an epoch of a training on so many frames."""
    return min(most, max(FEW, trained // 8))


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
    valid_limit: int = WATCHED,
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
        backbone: file or state dict of the backbone to start from, see ``fasnb.model.weights.initialise``.
        valid: store and rows watched after every epoch, drawn at random: at most ``valid_limit`` of them, and an eighth
            as many as are trained on (but 64), so that watching takes a twentieth of the time. They never choose a
            snapshot: the network after the last epoch is the result.
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
    device, recipe = choose_device(device), specification.recipe
    index = _checked_frames(specification, store, train_index)
    watched = None if valid is None else _watched(specification, valid, watch_limit(len(index), valid_limit))
    with _reproducible(device), exact(specification.precision):
        network = initial_network(specification, backbone).to(device, memory_format=torch.channels_last)
        if not recipe.train_classifier:
            last_linear(network).requires_grad_(False)
        if compile:
            torch.compiler.reset()  # else the ninth kind of network in one process would silently not be compiled
        embed = torch.compile(network.embed) if compile else network.embed
        steps = len(index) // recipe.batch_size
        loop = Loop(
            {"network": network},
            steps,
            lambda step: learning_rate(recipe, step, steps),
            title=specification.title,
            key=specification.key,
            path=None if folder is None else Path(folder) / STATE_FILE,
            checkpoint_seconds=checkpoint_seconds,
            betas=(recipe.beta1, recipe.beta2),
            weight_decay=recipe.weight_decay,
        )
        while loop.epoch < recipe.epochs + recipe.second_epochs:
            loop.run_epoch(_losses(specification, store, index, network, embed, loop))
            row = {
                "epoch": loop.epoch + 1,
                "loss": float(loop.losses.double().mean()),
                "learning_rate": loop.rate(loop.step - 1),
                "seconds": loop.seconds,
                "frames_per_second": steps * recipe.batch_size / loop.seconds,
            }
            if watched is not None:
                row |= _validate(network, *watched, specification, device, fprs)
            loop.finish_epoch(row)
            if progress is not None:
                progress(row)
    return network.eval(), pd.DataFrame(loop.history)


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


def _losses(
    specification: Specification, store: Store, index: np.ndarray, network, embed, loop: Loop
) -> Iterator[Tensor]:
    """The losses of the present epoch's batches that are not done. ``embed`` is the network's, compiled or not."""
    recipe, precision, device = specification.recipe, specification.precision, loop.device
    drawn = batches(
        store,
        index,
        stage(recipe, loop.epoch),
        network.architecture.normalisation,
        seed=specification.seed,
        epoch=loop.epoch,
        device=device,
        dtype=image_type(device, precision),
        drop_last=True,
        first=loop.done,
    )
    for rgb, depth, ir, label in drawn:
        torch.manual_seed(_seed_of_step(specification.seed, loop.step))
        with autocast(device, precision == "bf16"):
            embedding = embed(rgb, depth, ir)
        yield functional.cross_entropy(network.head(embedding.float()), label)


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
        index = np.sort(np.random.default_rng(0).permutation(index)[:limit])
    _require_both_classes(f"{specification.title}: the validation set", store.frames["label"].iloc[index])
    return store, index


def _validate(network, store, index, specification, device, fprs) -> dict:
    options = {"device": device, "precision": specification.precision}
    margin = margins([folded(network)], store, index, specification.recipe, **options)[0, 0]
    label = store.frames["label"].iloc[index].to_numpy(dtype=int)
    row = {"valid_loss": float(np.logaddexp(0, np.where(label == 1, -margin, margin)).mean())}
    row["valid_auc"] = auc(label, margin)
    return row | {f"valid_tpr_{fpr:g}": tpr_at_fpr(label, margin, fpr) for fpr in fprs}

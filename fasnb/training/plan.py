"""The plan: every network of a study, resolved once from its profile, and where its frames and first weights come from.

Training, scoring, loading, the report and ``fasnb runs`` read the plan and ask no profile.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from fasnb.data import casia_surf
from fasnb.data.folds import attack_folds, read_attack_folds, subject_folds
from fasnb.data.released import released_frames
from fasnb.data.store import Source
from fasnb.model.network import Architecture
from fasnb.paper.experiments import EXPERIMENTS, Experiment
from fasnb.paper.profile import Profile
from fasnb.synthsurf import source_tasks
from fasnb.synthsurf.dataset import SynthSurf
from fasnb.tools.files import file_sha256
from fasnb.tools.places import MissingData, home, released_root, workplace
from fasnb.training.pretraining import Pretraining
from fasnb.training.specification import Specification, frames_hash

SPLITS = ("train", "valid", "test")
SMALL_IMAGES = 64  # pixels; networks for smaller crops take the small stem
BF16_WIDTH = 0.5  # below this width bfloat16 does not pay on a CPU

WEIGHT_FILES = {
    "imagenet": "imagenet-resnet34.pth",
    "face": "casia-webface-resnet34.pth",
    "msceleb": "msceleb-ir50.pth",
    "asian": "asian-ir50.pth",
    "gender": "afad-lite-resnet34.pth",
}
"""Initialisation -> file below the weights folder, for the casia-surf source (Table 2)."""


@dataclass(frozen=True)
class StandIn:
    """What a backbone is pre-trained on, and with which head, in the place of an initialisation of Table 2."""

    kind: str  # identity, gender or generic, as in Pretraining
    head: str
    population: str = "A"
    seed: int = 0
    margin: float | None = None  # of arcface; its published 0.5 and 64 do not train on a few thousand images
    scale: float = 64.0


STAND_INS = {
    "imagenet": StandIn("generic", "softmax"),
    "generic": StandIn("generic", "softmax"),
    "face": StandIn("identity", "softmax"),
    "msceleb": StandIn("identity", "arcface", seed=1, margin=0.2, scale=16.0),
    "asian": StandIn("identity", "arcface", population="B", margin=0.2, scale=16.0),
    "gender": StandIn("gender", "softmax"),
}
"""Initialisation -> its stand-in on the synthetic source: other tasks, losses and people, as in Table 2."""


@dataclass(frozen=True, eq=False)
class PlannedBackbone:
    """One backbone that is pre-trained here, on the synthetic source."""

    specification: Pretraining
    source: source_tasks.SourceTask = field(repr=False)
    folder: Path
    title: str  # such as "face: identity, 200 classes, face_resnet34"

    @property
    def file(self) -> Path:
        return self.folder / "backbone.pt"


@dataclass(frozen=True, eq=False)
class PlannedNetwork:
    """One network to train and score: its specification, and where its frames and first weights lie. Picklable."""

    specification: Specification
    folder: Path  # of its run
    stores: Mapping[str, Path]  # split -> folder of the store with its frames; "train" is among them
    data: Mapping[str, str]  # split -> fingerprint of those frames
    train_index: np.ndarray = field(repr=False)  # rows of the training store
    held_out: np.ndarray | None = field(default=None, repr=False)  # rows of it watched after every epoch
    splits: tuple[str, ...] = ("valid",)  # scored once trained
    backbone: Path | None = None  # file whose weights are ``specification.initialisation``
    fprs: tuple[float, ...] = (1e-2,)
    headline_fpr: float | None = None  # of ``fprs``, at which progress is told; None: the finest

    def __post_init__(self):
        missing = sorted({"train", *self.splits} - set(self.stores))
        if missing:
            raise ValueError(f"{self.specification.title}: no store is given for split {missing[0]!r}")


@dataclass(frozen=True, eq=False)
class Plan:
    """All networks of a study."""

    networks: tuple[PlannedNetwork, ...]
    backbones: Mapping[str, PlannedBackbone]  # experiment -> the backbone it starts from, where one is pre-trained here
    left_out: Mapping[str, str]  # experiment -> why it cannot be trained here
    sources: Mapping[str, Source]  # split -> its frames
    folds: Mapping[str, pd.Series]  # kind, subject or attack -> the fold that holds out each training frame

    def of(self, *experiments: str) -> list[PlannedNetwork]:
        """The networks of some experiments, in their order.

        Raises:
            FileNotFoundError: one of them cannot be trained here; the message says what is missing.
        """
        for name in experiments:
            if name in self.left_out:
                raise FileNotFoundError(self.left_out[name])
        return [n for name in experiments for n in self.networks if n.specification.experiment == name]

    def labelled(self, split: str) -> bool:
        """Whether a split is there and all its frames have labels."""
        return labelled(self.sources, split)

    def table(self) -> pd.DataFrame:
        """One row a network, in the words of the profile and the paper."""
        rows = []
        for network in self.networks:
            it = network.specification
            values = {
                "experiment": it.experiment,
                "fold": it.fold,
                "seed": it.seed,
                "backbone": it.architecture.backbone,
            }
            values |= {"fusion": it.architecture.fusion, "mlfa": it.architecture.mlfa, "width": it.architecture.width}
            values |= {"modalities": "+".join(dict.fromkeys(it.architecture.modalities))}
            values |= {"epochs": it.recipe.epochs + it.recipe.second_epochs, "learning rate": it.recipe.learning_rate}
            values |= {
                "precision": it.precision,
                "starts from": network.backbone.parent.name if network.backbone else "random",
            }
            values |= {"train frames": len(network.train_index), "scores": " ".join(network.splits)}
            rows.append(values | {"run": network.folder.name})
        return pd.DataFrame(rows)


# ---------------------------------------------------------------------------------------------------------------------
# What a profile says of frames and networks
# ---------------------------------------------------------------------------------------------------------------------


def cache() -> Path:
    """Folder of stores and hashes, which can be deleted at any time."""
    return workplace() / "data" / "cache"


def crop_of(profile: Profile) -> int:
    """Height and width of what a network sees, in pixels."""
    return profile.recipe_of(EXPERIMENTS["A"]).crop


def sources_of(profile: Profile) -> dict[str, Source]:
    """Split -> its frames before they are decoded or rendered, train first; only the splits that are there.

    Of the released source that is validation alone, whose images may not be on this machine.

    Raises:
        FileNotFoundError: there are no frames; the message says what to lay where.
    """
    size = max(profile.recipe_of(experiment).resize for experiment in EXPERIMENTS.values())
    root = home() / (profile.data_root or Path("data") / "casia-surf")
    if profile.source == "synthetic":
        people = {split: getattr(profile, f"{split}_subjects") for split in SPLITS}
        frames = {split: getattr(profile, f"{split}_frames") for split in SPLITS}
        look = {"size": size, "difficulty": profile.difficulty, "seed": profile.data_seed}
        return {split: SynthSurf(split, people[split], frames=frames[split], **look) for split in SPLITS}
    if profile.source == "released":
        return {"valid": casia_surf.CasiaSurf(released_frames(released_root(profile.released_root)), root, size)}
    layout = casia_surf.find(root, _authors(profile))
    hashes = {split: cache() / f"hashes-{split}.parquet" for split in SPLITS}
    there = [split for split in SPLITS if split in layout.lists]
    return {split: casia_surf.CasiaSurf(layout.frames([split]), root, size, hashes[split]) for split in there}


def labelled(sources: Mapping[str, Source], split: str) -> bool:
    """Whether a split is there and all its frames have labels."""
    return split in sources and bool(sources[split].frames["label"].notna().all())


def _authors(profile: Profile) -> Path | None:
    """A clone of the authors' repository, whose validation labels and fold lists are used, or None."""
    try:
        return released_root(profile.released_root)
    except MissingData:
        return None


def fold_of(profile: Profile, kind: str, frames: pd.DataFrame) -> pd.Series:
    """The fold that holds out each training frame: kind "subject" or "attack".

    Raises:
        FileNotFoundError, ValueError: the authors' fold lists are wanted, and are not there or name other frames.
    """
    if kind == "subject":
        return subject_folds(frames, profile.fold_seed)
    if not profile.authors_folds:
        return attack_folds(frames, profile.fold_seed)
    authors = _authors(profile)
    if authors is None:
        raise FileNotFoundError("authors_folds needs the authors' repository; see data/README.md")
    listed, fold = read_attack_folds(authors)
    of_sample = dict(zip(listed["sample"].str.removeprefix("train/"), fold, strict=True))
    found = frames["sample"].str.removeprefix("train/").map(of_sample)
    if found.isna().any():
        raise ValueError(f"{int(found.isna().sum()):,} training frames are in none of the authors' fold lists")
    return found.astype("int64").rename("fold")


def architecture_of(profile: Profile, experiment: Experiment) -> Architecture:
    """The network of one experiment at the profile's size."""
    recipe = profile.recipe_of(experiment)
    width, blocks = profile.size_of(experiment)
    return Architecture(
        backbone=experiment.backbone,
        fusion="zhang" if experiment.baseline else recipe.fusion,
        mlfa=experiment.mlfa,
        modalities=experiment.modalities,
        width=width,
        blocks=(blocks,) * 4 if blocks else None,
        small_images=recipe.crop < SMALL_IMAGES,
    )


def precision_of(profile: Profile, experiment: Experiment) -> str:
    """fp32 or bf16, of an experiment's training."""
    if profile.precision != "auto":
        return profile.precision
    return "bf16" if profile.size_of(experiment)[0] >= BF16_WIDTH else "fp32"


def stand_in_images(profile: Profile, initialisation: str) -> source_tasks.SourceTask:
    """Labelled images of an initialisation's stand-in, as large as the networks' crops."""
    task = STAND_INS[initialisation]
    size, seed = crop_of(profile), 1000 * profile.data_seed + task.seed
    if task.kind == "generic":
        return source_tasks.generic(profile.pretrain_objects, size, seed)
    if task.kind == "gender":
        return source_tasks.gender(profile.pretrain_objects, 1, size, seed)
    return source_tasks.faces(profile.pretrain_identities, profile.pretrain_captures, size, seed, task.population)


# ---------------------------------------------------------------------------------------------------------------------
# Resolving
# ---------------------------------------------------------------------------------------------------------------------


def plan(profile: Profile, out: Path, sources: Mapping[str, Source] | None = None) -> Plan:
    """The plan of a profile. Nothing is trained, decoded or written, but image files are hashed for their names.

    Args:
        out: results folder; runs lie below ``runs``, backbones below ``backbones``.
        sources: those of ``sources_of``, where they are at hand.

    Raises:
        FileNotFoundError: there are no frames to train on.
    """
    if profile.source == "released":
        return Plan((), {}, {}, {}, {})
    return _Resolver(profile, out, sources or sources_of(profile)).plan()


class _Resolver:
    """What the rows of one plan share, each resolved once."""

    def __init__(self, profile: Profile, out: Path, sources: Mapping[str, Source]):
        self.profile, self.out, self.sources = profile, out, sources
        self.backbones, self.left_out, self.hashes = {}, {}, {}
        if "train" not in sources:
            raise FileNotFoundError("there are no training frames here; see data/README.md")

    @cached_property
    def stores(self) -> dict[str, Path]:
        return {split: cache() / f"{split}-{source.fingerprint[:16]}" for split, source in self.sources.items()}

    @cached_property
    def folds(self) -> dict[str, pd.Series]:
        frames = self.sources["train"].frames
        return {kind: fold_of(self.profile, kind, frames) for kind in ("subject", "attack")}

    @cached_property
    def tested(self) -> bool:
        return labelled(self.sources, "test")

    def plan(self) -> Plan:
        networks = []
        for experiment in EXPERIMENTS.values():
            if experiment.appendix and not self.profile.appendix:
                self.left_out[experiment.id] = "the profile has appendix = false"
                continue
            try:
                start = self._initialisation(experiment)
            except FileNotFoundError as error:
                self.left_out[experiment.id] = str(error)
            else:
                networks += self._networks(experiment, *start)
        return Plan(tuple(networks), self.backbones, self.left_out, self.sources, self.folds)

    def _networks(self, experiment: Experiment, identity: str, backbone: Path | None) -> Iterator[PlannedNetwork]:
        """One network for each seed and fold of an experiment that starts from these weights."""
        profile, fold, source = self.profile, self.folds[experiment.folds], self.sources["train"]
        network, recipe = architecture_of(profile, experiment), profile.recipe_of(experiment)
        start = {"initialisation": identity, "precision": precision_of(profile, experiment)}
        splits = ("valid", "test") if experiment.member and self.tested else ("valid",)
        of_splits = ("train", *splits)
        seen = source.frames["subject"].isin(self._people(experiment.people))
        stores = {split: self.stores[split] for split in of_splits}
        data = {split: self.sources[split].fingerprint for split in of_splits}
        for seed, k in product(profile.seeds_of(experiment), range(1, experiment.fold_count + 1)):
            index, held_out = np.flatnonzero((fold != k) & seen), np.flatnonzero(fold == k)
            frames = self._hash_of(experiment, k, index)
            chosen = Specification(experiment.id, k, seed, network, recipe, source.fingerprint, frames, **start)
            folder = self.out / "runs" / chosen.name
            watched = {"fprs": profile.fprs, "headline_fpr": profile.headline_fpr}
            yield PlannedNetwork(chosen, folder, stores, data, index, held_out, splits, backbone, **watched)

    def _people(self, share: float) -> np.ndarray:
        """That share of the training subjects; a smaller share is part of a larger one."""
        subjects = np.sort(self.sources["train"].frames["subject"].unique().astype(str))
        order = np.random.default_rng(self.profile.fold_seed).permutation(subjects)
        return order[: max(1, round(share * len(order)))]

    def _hash_of(self, experiment: Experiment, k: int, index: np.ndarray) -> str:
        key = experiment.folds, experiment.people, k
        if key not in self.hashes:
            self.hashes[key] = frames_hash(self.sources["train"].frames, index)
        return self.hashes[key]

    def _initialisation(self, experiment: Experiment) -> tuple[str, Path | None]:
        """What identifies an experiment's backbone weights, and their file; ("random", None) without."""
        if experiment.initialisation == "random":
            return "random", None
        if self.profile.source == "casia-surf":
            path = self._weights_file(experiment.initialisation)
            if path not in self.hashes:
                self.hashes[path] = file_sha256(path)
            return self.hashes[path], path
        task = STAND_INS[experiment.initialisation]
        specification = Pretraining(
            architecture_of(self.profile, experiment).stages,
            task=task.kind,
            head=task.head,
            margin=task.margin,
            scale=task.scale,
            epochs=self.profile.pretrain_epochs,
            batch_size=self.profile.pretrain_batch_size,
            learning_rate=self.profile.pretrain_learning_rate,
            precision=precision_of(self.profile, experiment),
        )
        images = stand_in_images(self.profile, experiment.initialisation)
        key = specification.key(images.fingerprint)
        folder = self.out / "backbones" / f"{experiment.initialisation}-{experiment.backbone}-{key[:8]}"
        title = f"{experiment.initialisation}: {task.kind}, {images.classes} classes, {experiment.backbone}"
        self.backbones[experiment.id] = PlannedBackbone(specification, images, folder, title)
        return key, folder / "backbone.pt"

    def _weights_file(self, initialisation: str) -> Path:
        """The backbone file of an initialisation, on the casia-surf source."""
        folder = home() / (self.profile.weights_root or Path("data") / "weights")
        name = WEIGHT_FILES.get(initialisation)
        path = folder / name if name else None
        if path is None or not path.is_file():
            what = f"{name} in {self.profile.weights_root or 'data/weights'}" if name else "a published backbone"
            raise FileNotFoundError(f"the initialisation {initialisation!r} needs {what}; see data/README.md")
        return path

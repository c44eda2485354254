"""From a profile to what must be made: data sources, stores, backbones, and one task for each network."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock

from fasnb.data import casia_surf, store
from fasnb.data.folds import attack_folds, read_attack_folds, subject_folds
from fasnb.model.network import Architecture
from fasnb.paper.experiments import EXPERIMENTS, Experiment
from fasnb.paper.profile import Profile
from fasnb.synthsurf import dataset as synthetic
from fasnb.synthsurf import source_tasks
from fasnb.tools.files import file_sha256, replace_file
from fasnb.tools.workers import devices_for, execute
from fasnb.training.fit import STATE_FILE
from fasnb.training.pretraining import Pretraining, pretrain
from fasnb.training.runs import Task, finished, run_many
from fasnb.training.specification import specify

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
class SourceTask:
    """A source task of the synthetic study: what a backbone is pre-trained on, and with which head."""

    kind: str  # identity, gender or generic, as in Pretraining
    head: str
    population: str = "A"
    seed: int = 0
    margin: float | None = None  # of arcface; its published 0.5 and 64 do not train on a few thousand images
    scale: float = 64.0


SOURCE_TASKS = {
    "imagenet": SourceTask("generic", "softmax"),
    "generic": SourceTask("generic", "softmax"),
    "face": SourceTask("identity", "softmax"),
    "msceleb": SourceTask("identity", "arcface", seed=1, margin=0.2, scale=16.0),
    "asian": SourceTask("identity", "arcface", population="B", margin=0.2, scale=16.0),
    "gender": SourceTask("gender", "softmax"),
}
"""Initialisation -> its stand-in on the synthetic source: other tasks, losses and people, as in Table 2."""


class Workshop:
    """What a profile's networks are made of, and where it lies.

    Args:
        profile: of the synthetic or casia-surf source; ValueError for the released one.
        cache: folder of stores, which can be deleted at any time.
        out: results folder of the profile.
        data_root, weights_root: folders of CASIA-SURF and of backbone weights (casia-surf).
        authors: a clone of the authors' repository, or None; its validation labels and fold lists are used.
    """

    def __init__(
        self,
        profile: Profile,
        cache: Path,
        out: Path,
        data_root: Path | None = None,
        weights_root: Path | None = None,
        authors: Path | None = None,
    ):
        if profile.source == "released":
            raise ValueError("the released source has scores only: there is nothing to train and there are no frames")
        self.profile, self.cache, self.out = profile, cache, out
        self.data_root, self.weights_root, self.authors = data_root, weights_root, authors
        self._sources: dict[str, store.Source] = {}

    # Data

    @cached_property
    def size(self) -> int:
        """Height and width of stored frames in pixels."""
        return max(self.profile.recipe_of(experiment).resize for experiment in EXPERIMENTS.values())

    @property
    def crop(self) -> int:
        """Height and width of what a network sees, in pixels."""
        return self.profile.recipe_of(EXPERIMENTS["A"]).crop

    @cached_property
    def _layout(self) -> casia_surf.Layout:
        return casia_surf.find(self.data_root, self.authors)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are there, train first."""
        if self.profile.source == "synthetic":
            return ("train", "valid", "test")
        return tuple(split for split in ("train", "valid", "test") if split in self._layout.lists)

    def source(self, split: str) -> store.Source:
        """The frames of a split, before they are decoded or rendered."""
        if split not in self._sources:
            self._sources[split] = self._make_source(split)
        return self._sources[split]

    def _make_source(self, split: str) -> store.Source:
        profile = self.profile
        if profile.source == "casia-surf":
            hashes = self.cache / f"hashes-{split}.parquet"
            return casia_surf.CasiaSurf(self._layout.frames([split]), self.data_root, self.size, hashes)
        subjects, frames = getattr(profile, f"{split}_subjects"), getattr(profile, f"{split}_frames")
        return synthetic.SynthSurf(
            split, subjects, frames=frames, size=self.size, preset=profile.preset, seed=profile.data_seed
        )

    def store_folder(self, split: str) -> Path:
        return self.cache / f"{split}-{self.source(split).fingerprint[:16]}"

    def labelled(self, split: str) -> bool:
        """Whether a split is there and all its frames have labels."""
        return split in self.splits and bool(self.source(split).frames["label"].notna().all())

    # Folds

    def fold(self, kind: str) -> pd.Series:
        """The fold that holds out each training frame: kind "subject" or "attack"."""
        frames = self.source("train").frames
        if kind == "subject":
            return subject_folds(frames, self.profile.fold_seed)
        if not self.profile.authors_folds:
            return attack_folds(frames, self.profile.fold_seed)
        if self.authors is None:
            raise FileNotFoundError("authors_folds needs the authors' repository; see data/README.md")
        listed, fold = read_attack_folds(self.authors)
        of_sample = dict(zip(listed["sample"].str.removeprefix("train/"), fold, strict=True))
        found = frames["sample"].str.removeprefix("train/").map(of_sample)
        if found.isna().any():
            raise ValueError(f"{int(found.isna().sum()):,} training frames are in none of the authors' fold lists")
        return found.astype("int64").rename("fold")

    # Backbones

    def pretraining(self, experiment: Experiment) -> Pretraining:
        """The pre-training that gives an experiment its initialisation, on the synthetic source."""
        profile, task = self.profile, SOURCE_TASKS[experiment.initialisation]
        return Pretraining(
            self.architecture(experiment).stages,
            task=task.kind,
            head=task.head,
            margin=task.margin,
            scale=task.scale,
            epochs=profile.pretrain_epochs,
            batch_size=profile.pretrain_batch_size,
            learning_rate=profile.pretrain_learning_rate,
            precision=self.precision(experiment),
        )

    def source_task(self, initialisation: str) -> source_tasks.SourceTask:
        """Labelled images of an initialisation's stand-in, as large as the networks' crops."""
        profile, task = self.profile, SOURCE_TASKS[initialisation]
        size, seed = self.crop, 1000 * profile.data_seed + task.seed
        if task.kind == "generic":
            return source_tasks.generic(profile.pretrain_objects, size, seed)
        if task.kind == "gender":
            return source_tasks.gender(profile.pretrain_objects, 1, size, seed)
        return source_tasks.faces(profile.pretrain_identities, profile.pretrain_captures, size, seed, task.population)

    def weights_file(self, initialisation: str) -> Path:
        """The backbone file of an initialisation, on the casia-surf source."""
        name = WEIGHT_FILES.get(initialisation)
        path = self.weights_root / name if name and self.weights_root else None
        if path is None or not path.is_file():
            what = f"{name} in {self.weights_root or 'data/weights'}" if name else "a published backbone"
            raise FileNotFoundError(f"the initialisation {initialisation!r} needs {what}; see data/README.md")
        return path

    def initialisation(self, experiment: Experiment) -> tuple[str, Path | None]:
        """What identifies an experiment's backbone weights, and their file; ("random", None) without."""
        if experiment.initialisation == "random":
            return "random", None
        if self.profile.source == "casia-surf":
            path = self.weights_file(experiment.initialisation)
            return file_sha256(path), path
        return self.backbone_key(experiment), self.backbone_folder(experiment) / "backbone.pt"

    def backbone_key(self, experiment: Experiment) -> str:
        """SHA-256 of all that determines a backbone pre-trained here, see ``Pretraining.key``."""
        return self.pretraining(experiment).key(self.source_task(experiment.initialisation).fingerprint)

    def backbone_folder(self, experiment: Experiment) -> Path:
        name = f"{experiment.initialisation}-{experiment.backbone}-{self.backbone_key(experiment)[:8]}"
        return self.out / "backbones" / name

    # Networks

    def architecture(self, experiment: Experiment) -> Architecture:
        recipe = self.profile.recipe_of(experiment)
        width, blocks = self.profile.size_of(experiment)
        return Architecture(
            backbone=experiment.backbone,
            fusion="zhang" if experiment.baseline else recipe.fusion,
            mlfa=experiment.mlfa,
            modalities=experiment.modalities,
            width=width,
            blocks=(blocks,) * 4 if blocks else None,
            small_images=recipe.crop < SMALL_IMAGES,
        )

    def precision(self, experiment: Experiment) -> str:
        if self.profile.precision != "auto":
            return self.profile.precision
        return "bf16" if self.profile.size_of(experiment)[0] >= BF16_WIDTH else "fp32"

    def tasks(self, experiments: Iterable[str]) -> list[Task]:
        """One task for each fold and seed of each experiment."""
        source = self.source("train")
        tested = self.labelled("test")
        tasks = []
        for experiment in (EXPERIMENTS[name] for name in experiments):
            fold, (identifier, backbone) = self.fold(experiment.folds), self.initialisation(experiment)
            splits = ("valid", "test") if experiment.member and tested else ("valid",)
            for seed in self.profile.seeds_of(experiment):
                for k in range(1, experiment.fold_count + 1):
                    index = np.flatnonzero(fold != k)
                    specification = specify(
                        experiment.id,
                        k,
                        seed,
                        self.architecture(experiment),
                        self.profile.recipe_of(experiment),
                        source,
                        index,
                        initialisation=identifier,
                        precision=self.precision(experiment),
                    )
                    tasks.append(
                        Task(
                            specification,
                            {split: str(self.store_folder(split)) for split in ("train", *splits)},
                            index,
                            held_out=np.flatnonzero(fold == k),
                            splits=splits,
                            backbone=backbone and str(backbone),
                            fprs=self.profile.fprs,
                        )
                    )
        return tasks


def make(
    workshop: Workshop, tasks: Sequence[Task], weights: bool = False, progress: bool | Callable[[str], object] = True
) -> None:
    """Train what is not trained yet, after building the stores and backbones it needs.

    Args:
        weights: train again what has scores but no checkpoint, as in a fresh clone.
        progress: a bar and lines, or a function that takes the lines.
    """
    pending = [task for task in tasks if not finished(task, workshop.out, weights)]
    if not pending:
        return
    for split in dict.fromkeys(split for task in pending for split in task.stores):
        store.build(workshop.source(split), workshop.store_folder(split), progress=progress is True)
    if workshop.profile.source == "synthetic":
        make_backbones(workshop, {task.specification.experiment for task in pending if task.backbone}, progress)
    profile, device = workshop.profile, workshop.profile.device
    where = {"workers": profile.workers, "device": device, "executor": profile.executor, "compile": profile.compile}
    run_many(tasks, workshop.out, weights=weights, progress=progress, **where)


def make_backbones(workshop: Workshop, experiments: Iterable[str], progress: bool | Callable[[str], object]) -> None:
    """Pre-train the backbones that experiments of the synthetic source start from, several at once on a CPU."""
    jobs = {}
    for experiment in (EXPERIMENTS[name] for name in sorted(experiments)):
        folder = workshop.backbone_folder(experiment)
        if not (folder / "backbone.pt").is_file():
            jobs[folder] = workshop.pretraining(experiment), workshop.source_task(experiment.initialisation), folder
    profile = workshop.profile
    devices = devices_for(profile.device, profile.workers, profile.executor)
    say = print if progress is True else progress or (lambda line: None)
    for name, accuracy, seconds in execute(_pretrain, list(jobs.values()), devices, 1, profile.executor):
        say(f"pre-trained {name}: held-out accuracy {accuracy:.3f} ({seconds:.0f} s)")


def _pretrain(job: tuple[Pretraining, source_tasks.SourceTask, Path], device: str) -> tuple[str, float, float]:
    specification, source, folder = job
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "backbone.lock"):
        if not (folder / "backbone.pt").is_file():
            made = pretrain(specification, source, device, state=folder / STATE_FILE)
            replace_file(folder / "history.csv", lambda to: made.history.to_csv(to, index=False))
            made.save(folder / "backbone.pt")
            (folder / STATE_FILE).unlink()
    history = pd.read_csv(folder / "history.csv")
    return folder.name, float(history["accuracy"].iloc[-1]), float(history["seconds"].sum())

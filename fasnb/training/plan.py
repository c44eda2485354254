"""The plan: every network of a study, resolved once from its profile.

A ``Network`` says all that determines one trained network, and where it lies; training, scoring and loading ask no
profile. A backbone that is pre-trained here (Section 4.2) is a ``Network`` too: its architecture are ``Stages``, its
recipe is a ``Pretraining``, its frames are labelled pictures, and the networks that start from it name it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from fasnb.data.casia_surf import CasiaSurf, find
from fasnb.data.folds import attack_folds, divided, subject_folds
from fasnb.data.frames import cameras_of, read_list
from fasnb.data.pictures import scales_of
from fasnb.data.released import released_frames
from fasnb.data.store import Source, Store, build_store
from fasnb.model.backbones import Stages
from fasnb.model.dlib_file import installed
from fasnb.model.network import Architecture
from fasnb.model.student import EarlyFusion
from fasnb.paper.experiments import EXPERIMENTS, MEMBERS, MODALITY_EXPERIMENTS, Experiment
from fasnb.paper.profile import Profile
from fasnb.paper.recipe import Recipe
from fasnb.tools.files import file_sha256, whole
from fasnb.tools.machine import MissingData, cache, home, released_root
from fasnb.training.pretraining import Pretraining
from synthsurf import source_tasks
from synthsurf.dataset import SynthSurf

VERSION = 3  # part of every key: raise it when a change of the code changes the weights of a network
NETWORK_FILE = "network.pt"
SPLITS = ("train", "valid", "test")
SMALL_IMAGES = 64  # pixels; networks for smaller crops take the small stem
BF16_WIDTH = 0.5  # below this width bfloat16 does not pay on a CPU
WATCHED, FEW = 2000, 64  # held-out frames watched after an epoch: at most, and however few are trained on
_sha256 = lru_cache(file_sha256)  # of a file of weights, once a plan

WEIGHT_FILES = {
    "imagenet": "imagenet-resnet34.pth",
    "face": "casia-webface-resnet34.pth",
    "msceleb": "msceleb-ir50.pth",
    "asian": "asian-ir50.pth",
    "gender": "afad-lite-resnet34.pth",
}
"""Initialisation -> file below the weights folder, for the casia-surf source (Table 2)."""

TRAINED_ON = {"synthetic": "drawings (SynthSURF)", "casia-surf": "CASIA-SURF", "frames": "frames of one's own"}

STAND_INS = {
    "imagenet": ("generic", {}),
    "generic": ("generic", {}),
    "gender": ("gender", {}),
    "face": ("faces", {}),
    "rendered": ("faces", {}),
    "msceleb": ("faces", {"seed": 1}),
    "asian": ("faces", {"population": "B"}),
}
"""Initialisation -> task and values of its pictures, on the synthetic source (as in Table 2)."""


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames ``rows`` (n,) of the store in ``folder``, which is built from a source of this fingerprint."""

    folder: Path
    fingerprint: str
    rows: np.ndarray
    source: Source | None = None  # None: the store is there
    scales: Mapping = field(default_factory=dict)  # of 16-bit files, as of ``fasnb.data.pictures``

    def __len__(self) -> int:
        return len(self.rows)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"source": None}  # its table of all frames would travel with every network

    def open(self) -> Store:
        """The store, built from the source where it is not there yet. FileNotFoundError where there is neither."""
        return Store(self.folder) if self.source is None else build_store(self.source, self.folder)


@dataclass(frozen=True, eq=False)
class Network:
    """One network to train and score. Picklable."""

    experiment: str  # a row of the paper's tables, or the initialisation that a backbone is for
    fold: int  # held out of the training frames; 0 where none is
    seed: int  # of first weights, order and augmentation of frames, and dropout
    architecture: Architecture | EarlyFusion | Stages
    recipe: Recipe | Pretraining
    frames: Frames | source_tasks.SourceTask  # trained on
    precision: str = "fp32"  # or "bf16": autocast where the hardware has it
    start: "Network | Path | None" = None  # whose weights it begins with; None: random ones
    splits: Mapping[str, Frames] = field(default_factory=dict)  # split -> frames to score
    watched: np.ndarray | None = None  # rows of the training store looked at after every epoch
    teachers: "tuple[Network, ...]" = ()  # whose mean score it learns; none: it learns the labels
    source: str = ""  # what kind of frames these are, for whoever meets the weights elsewhere
    out: Path = Path("results")

    @property
    def is_backbone(self) -> bool:
        return isinstance(self.architecture, Stages)

    @property
    def title(self) -> str:
        """Such as 'A fold 1 seed 7'; of a backbone 'face: 200 classes, face_resnet34'."""
        if self.is_backbone:
            return f"{self.experiment}: {self.frames.classes} classes, {self.architecture.backbone}"
        return f"{self.experiment} fold {self.fold} seed {self.seed}"

    @property
    def epochs(self) -> int:
        return self.recipe.epochs + getattr(self.recipe, "second_epochs", 0)

    def as_dict(self) -> dict:
        """All that determines the weights, as plain values of JSON types."""
        rows = np.asarray(getattr(self.frames, "rows", []), "<i8")
        values = {"experiment": self.experiment, "fold": int(self.fold), "seed": int(self.seed), "version": VERSION}
        values |= {"architecture": asdict(self.architecture), "recipe": asdict(self.recipe)}
        values |= {"frames": self.frames.fingerprint, "rows": hashlib.sha256(rows.tobytes()).hexdigest()}
        start = self.start.key if isinstance(self.start, Network) else self.start and _sha256(self.start)
        taught = {"teachers": [teacher.key for teacher in self.teachers]} if self.teachers else {}
        return values | {"precision": self.precision, "start": start or "random"} | taught

    @cached_property
    def key(self) -> str:
        """SHA-256 of the canonical JSON of ``as_dict``, 64 hexadecimal digits."""
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def folder(self) -> Path:
        return self.out / "runs" / f"{self.experiment}-{self.fold}-{self.seed}-{self.key[:8]}"

    def weights(self) -> Path:
        """The path of its trained weights. Raises FileNotFoundError, and Damaged where they are not whole."""
        return whole(self.folder, NETWORK_FILE)


def with_teachers(networks: Iterable[Network]) -> list[Network]:
    """Networks, each once, the teachers of each before it."""
    taught = [each for network in networks for each in (*network.teachers, network)]
    return list({network.key: network for network in taught}.values())


def backbones_of(networks: Iterable[Network]) -> list[Network]:
    """The backbones that networks start from and that are pre-trained here, each once."""
    starts = (network.start for network in networks if isinstance(network.start, Network))
    return list({start.key: start for start in starts}.values())


@dataclass(frozen=True, eq=False)
class Plan:
    """All networks of a study."""

    networks: list[Network]
    left_out: dict[str, str]  # experiment -> why it cannot be trained here
    sources: Mapping[str, Source]  # split -> its frames
    folds: Mapping[str, pd.Series]  # an experiment's ``folds`` -> the fold that holds out each training frame

    def of(self, *experiments: str) -> list[Network]:
        """The networks of some experiments, in their order. Raises MissingData where one cannot be trained here."""
        for name in experiments:
            if name in self.left_out:
                raise MissingData(self.left_out[name])
        return [network for name in experiments for network in self.networks if network.experiment == name]

    def labelled(self, split: str) -> bool:
        """Whether a split is there and all its frames have labels."""
        return split in self.sources and bool(self.sources[split].frames["label"].notna().all())

    def table(self) -> pd.DataFrame:
        """One row a network; what an experiment's network is made of tells ``fasnb networks``."""
        rows = []
        for it in self.networks:
            row = {name: getattr(it, name) for name in ("experiment", "fold", "seed", "precision", "epochs")}
            start = it.start.folder.name if isinstance(it.start, Network) else getattr(it.start, "name", "random")
            row |= {"starts from": start, "train frames": len(it.frames)}
            rows.append(row | {"scores": " ".join(it.splits), "run": it.folder.name})
        return pd.DataFrame(rows)


def plan(profile: Profile, out: Path, sources: Mapping[str, Source] | None = None) -> Plan:
    """The plan of a profile. Nothing is trained or decoded; image files are hashed, once, and the hash kept.

    Networks lie below ``out / "runs"``. ``sources`` are those of ``sources_of``, where they are at hand. Raises
    MissingData where there are no frames to train on.
    """
    if profile.source == "released":
        return Plan([], {}, {}, {})
    _sha256.cache_clear()
    sources = sources or sources_of(profile)
    if "train" not in sources:
        raise MissingData("there are no training frames here; see data/README.md")
    frames, seed = sources["train"].frames, profile.fold_seed
    folds = {"thirds": subject_folds(frames, seed, 3)}
    if profile.source == "frames":  # of few people, and perhaps of few attack types
        typed = frames.loc[frames["label"] == 0, "attack"]
        folds["attack"] = folds["thirds"] if typed.isna().any() or typed.nunique() < 3 else attack_folds(frames, seed)
    else:
        folds |= {"attack": attack_folds(frames, seed), "subject": subject_folds(frames, seed)}
    folds["none"] = pd.Series(-1, index=frames.index)  # held out by no network
    made = Plan([], {}, sources, folds)
    for experiment in EXPERIMENTS.values():
        try:
            made.networks.extend(_networks_of(profile, experiment, made, _start_of(profile, experiment, out), out))
        except MissingData as error:
            made.left_out[experiment.id] = str(error)
    return made


def _networks_of(profile: Profile, experiment: Experiment, made: Plan, start, out: Path) -> list[Network]:
    """One network for each seed and fold of an experiment."""
    source, fold = made.sources["train"], made.folds[experiment.folds]
    subjects = np.sort(source.frames["subject"].unique().astype(str))
    order = np.random.default_rng(profile.fold_seed).permutation(subjects)  # a smaller share is part of a larger one
    seen = source.frames["subject"].isin(order[: max(1, round(experiment.people * len(order)))])
    scored = ("valid", "test") if experiment.member and made.labelled("test") else ("valid",)
    splits = {split: _frames(split, made.sources[split]) for split in scored}
    shared = {"precision": precision_of(profile, experiment), "start": start, "splits": splits, "out": out}
    shared["source"] = TRAINED_ON[profile.source]
    shared["teachers"] = tuple(made.of(*MEMBERS)) if experiment.taught else ()
    architecture, recipe = architecture_of(profile, experiment), profile.recipe_of(experiment)
    architecture = replace(architecture, modalities=_seen(experiment.modalities, cameras_of(source.frames)))
    networks = []
    for seed, k in product(profile.seeds_of(experiment), experiment.fold_numbers):
        rows, watched = np.flatnonzero((fold != k) & seen), np.flatnonzero(fold == k)
        limit = min(WATCHED, max(FEW, len(rows) // 8))  # so that watching takes a twentieth of the time
        watched = np.sort(np.random.default_rng(0).permutation(watched)[:limit]) if len(watched) else None
        frames = _frames("train", source, rows)
        networks.append(Network(experiment.id, k, seed, architecture, recipe, frames, watched=watched, **shared))
    return networks


def _seen(modalities: tuple[str, str, str], there: list[str]) -> tuple[str, ...]:
    """What the three branches see of the cameras that are there: in the place of one that is not, the last that is."""
    if not {*modalities} & {*there}:
        raise MissingData(f"the frames have no camera {modalities[0]}")
    if len({*modalities}) == 1 == len(there):
        raise MissingData(f"the frames have {there[0]} alone, which A sees too")
    return tuple(name if name in there else there[-1] for name in modalities)


def _frames(split: str, source: Source, rows: np.ndarray | None = None) -> Frames:
    """Rows of a split, by default all; its store lies in the cache."""
    rows = np.arange(len(source.frames)) if rows is None else rows
    folder = cache() / f"{split}-{source.fingerprint[:16]}"
    return Frames(folder, source.fingerprint, rows, source, getattr(source, "scales", {}))


def _start_of(profile: Profile, experiment: Experiment, out: Path) -> Network | Path | None:
    """What the networks of an experiment start from. Raises MissingData where they cannot be trained here."""
    name = experiment.initialisation
    if profile.source == "frames" and experiment.id not in MODALITY_EXPERIMENTS:
        raise MissingData("of one's own frames A is trained alone, with all cameras and with each")
    if experiment.switch and not getattr(profile, experiment.switch):
        raise MissingData(f"the profile has {experiment.switch} = false")
    if name == "random":
        return None
    if name == "dlib":
        if profile.size_of(experiment) != (1.0, 0):
            raise MissingData(f"dlib's weights need {experiment.id}.width = 1.0 and {experiment.id}.blocks = 0")
        return installed()
    if profile.source == "casia-surf":
        folder = profile.weights_root or "data/weights"
        path = home() / folder / WEIGHT_FILES.get(name, f"{name}.pth")
        if not path.is_file():
            raise MissingData(f"the initialisation {name!r} needs {path.name} in {folder}; see data/README.md")
        return path
    task, pictures = STAND_INS[name]
    pictures = {"size": profile.recipe_of(experiment).crop} | pictures
    pictures["seed"] = 1000 * profile.world_seed + pictures.get("seed", 0)
    counts = (profile.pretrain_objects,)
    if task == "faces":
        counts = profile.pretrain_identities, profile.pretrain_captures
    values = {key: getattr(profile, f"pretrain_{key}") for key in ("epochs", "batch_size", "learning_rate")}
    stages, recipe = architecture_of(profile, experiment).stages, Pretraining(**values)
    frames = getattr(source_tasks, task)(*counts, **pictures)
    return Network(name, 0, 0, stages, recipe, frames, precision_of(profile, experiment), out=out)


def sources_of(profile: Profile) -> dict[str, Source]:
    """Split -> its frames before they are decoded or rendered, train first; only the splits that are there.

    Of the released source that is validation alone, whose images may not be on this machine. Raises FileNotFoundError
    where there are no frames; the message says what to lay where.
    """
    size = max(profile.recipe_of(experiment).resize for experiment in EXPERIMENTS.values())
    root = home() / (profile.data_root or "data/casia-surf")
    if profile.source == "synthetic":
        look = {"size": size, "difficulty": profile.difficulty, "seed": profile.world_seed}
        counts = {s: (getattr(profile, f"{s}_subjects"), getattr(profile, f"{s}_frames")) for s in SPLITS}
        return {s: SynthSurf(s, subjects, frames=frames, **look) for s, (subjects, frames) in counts.items()}
    if profile.source == "released":
        return {"valid": CasiaSurf(released_frames(released_root(profile.released_root)), root, size)}
    if profile.source == "frames":
        if not profile.frames_list:
            raise MissingData("no frames: pass --set frames_list=LIST --set data_root=DIR; data/OWN.md says how")
        listed = home() / profile.frames_list
        root = home() / profile.data_root if profile.data_root else listed.parent
        frames = divided(read_list(listed, root, bona_fide_label=profile.bona_fide_label), profile.fold_seed)
        parts, scales = frames.groupby("split"), scales_of(profile.depth_mm, profile.ir_range)
        return {s: CasiaSurf(parts.get_group(s), root, size, scales) for s in SPLITS if s in parts.groups}
    try:
        layout = find(root, released_root(profile.released_root))  # a clone of the authors' has labels of validation
    except MissingData:
        layout = find(root)
    return {s: CasiaSurf(layout.frames([s]), root, size) for s in SPLITS if s in layout.lists}


def architecture_of(profile: Profile, experiment: Experiment) -> Architecture | EarlyFusion:
    """The network of one experiment at the profile's size; a student has one size."""
    if experiment.backbone == "student":
        return EarlyFusion(experiment.modalities)
    recipe, (width, blocks) = profile.recipe_of(experiment), profile.size_of(experiment)
    fusion = "zhang" if experiment.baseline else recipe.fusion
    size = {"width": width, "blocks": (blocks,) * 4 if blocks else None, "small_images": recipe.crop < SMALL_IMAGES}
    return Architecture(experiment.backbone, fusion, experiment.mlfa, experiment.modalities, **size)


def precision_of(profile: Profile, experiment: Experiment) -> str:
    """fp32 or bf16, of an experiment's training."""
    wide = profile.size_of(experiment)[0] >= BF16_WIDTH and experiment.backbone != "student"
    fitting = "bf16" if wide else "fp32"
    return fitting if profile.precision == "auto" else profile.precision

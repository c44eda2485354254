"""Profiles: one complete set of values each, from ``profiles/*.toml``, validated and frozen.

Values can be changed by ``--set key=value`` or in a notebook's parameters cell. Keys are the fields of ``Profile`` and
of ``Recipe`` (for all networks), and ``<experiment>.<key>`` for a recipe field, width or blocks of one experiment.
"""

import difflib
import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from fasnb.paper.experiments import EXPERIMENTS, SEEDS, Experiment
from fasnb.paper.recipe import RECIPE_FIELDS, RECIPES, SECOND_STAGE, STRICT, Recipe, Share

EXECUTION = ("device", "workers", "executor")
PLACES = ("released_root", "third_team_root", "data_root", "weights_root", "frames_list")
SIZES = ("width", "blocks")
FOLDER = Path(__file__).with_name("profiles")

Natural = Annotated[int, Field(ge=0, le=10**9)]
Count = Annotated[int, Field(ge=1, le=10**7)]
Two = Annotated[int, Field(ge=2, le=10**7)]
SeedCount = Annotated[int, Field(ge=1, le=len(SEEDS))]


class ProfileError(ValueError):
    """A profile or a setting that cannot be used; the message names it and the nearest valid one."""

    def _render_traceback_(self) -> list[str]:  # what a notebook shows of it
        return [f"{type(self).__name__}: {self}"]


@dataclass(frozen=True, config=STRICT)
class Profile:
    """All values of one study. Two profiles with equal values give the same networks and tables."""

    name: str
    source: Literal["synthetic", "casia-surf", "released", "frames"] = "synthetic"  # where frames or scores come from
    title: str = ""  # one sentence: what this profile is for
    budget_minutes: Annotated[float, Field(ge=0)] = 10.0  # time stated for the whole study on budget_machine
    budget_machine: str = "two CPU cores"
    # places: clones of the authors' repository (and the snapshot of its scores) and the third team's, CASIA-SURF (of the
    # source frames: the folder that the list's paths are relative to), weights, the list of one's own frames
    released_root: str = ""
    released_epoch: Natural = 31
    third_team_root: str = ""
    data_root: str = ""
    weights_root: str = ""
    frames_list: str = ""
    # one's own frames: what is black and white in their 16-bit files, and which number means bona fide in their list
    depth_mm: str = ""  # "NEAR:FAR"
    ir_range: str = ""  # "LOW:HIGH"
    bona_fide_label: Literal[0, 1] | None = None
    # synthetic data; sizes in frames over all kinds
    difficulty: Share = 0.5  # of the renderer's poses, light and prints
    data_seed: Natural = 0  # of subjects and frames
    world: Annotated[int, Field(ge=0, le=999)] = 0  # the one that notebooks show: other people, frames, first weights
    worlds: Annotated[int, Field(ge=1, le=100)] = 1  # from it on, which claims are judged over
    population: str = ""  # the profile whose published worlds this one's single world is shown among
    train_subjects: Annotated[int, Field(ge=6, le=10**6)] = 300
    valid_subjects: Count = 100
    test_subjects: Count = 600
    train_frames: Annotated[int, Field(ge=24, le=10**7)] = 29266
    valid_frames: Annotated[int, Field(ge=8, le=10**7)] = 9608
    test_frames: Annotated[int, Field(ge=8, le=10**7)] = 57710
    # networks
    width: Annotated[float, Field(ge=1 / 32, le=4)] = 1.0  # multiplier of all channel counts
    blocks: Annotated[int, Field(ge=0, le=64)] = 0  # residual blocks per stage; 0 = the backbone's own
    recipe: Literal["paper", "released"] = "paper"  # values of the text, or of the released options
    seeds: SeedCount = 2  # of the ensemble's members A to D
    row_seeds: SeedCount = 1  # of the other experiments
    appendix: bool = False  # also the experiments of Sections 5.2 and 5.10
    real_faces: bool = False  # also A on dlib's network from several starts, one of them its own, see data/README.md
    fold_seed: Natural = 0  # of the random assignment of subjects to folds
    # source tasks of the initialisations (synthetic); objects are frames, also of the gender task
    pretrain_identities: Two = 300
    pretrain_captures: Two = 30
    pretrain_objects: Annotated[int, Field(ge=24, le=10**7)] = 9000
    pretrain_epochs: Count = 12
    pretrain_learning_rate: Annotated[float, Field(gt=0, le=10)] = 3e-3
    pretrain_batch_size: Two = 64
    # analysis
    fprs: Annotated[tuple[Share, ...], Field(min_length=1)] = (1e-2, 1e-3, 1e-4)
    headline_fpr: Share = 1e-4  # of Tables 3 and 4
    replicates: Annotated[int, Field(ge=10, le=10**6)] = 1000  # of the bootstrap
    # execution, on which no result depends but for rounding; precision of training is part of what names a network
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: Natural = 0  # networks trained at once, one thread each on a CPU; 0 = one per core or GPU
    executor: Literal["local", "ray"] = "local"  # ray needs the extra of that name
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    # changed values of the recipe for all networks, and of recipe and size for single experiments: <experiment>.<key>
    changes: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.headline_fpr not in self.fprs or len(set(self.fprs)) < len(self.fprs):
            raise ValueError(f"headline_fpr = {self.headline_fpr:g} is not one of fprs = {list(self.fprs)}, each once")
        for experiment in EXPERIMENTS.values():
            self.recipe_of(experiment)
            width, blocks = self.size_of(experiment)
            if (width, blocks) != (self.width, self.blocks):
                replace(self, changes={}, width=width, blocks=blocks)
        return self

    def recipe_of(self, experiment: Experiment) -> Recipe:
        """The resolved recipe of one experiment: recipe, then changes for all, then its own or its ``like``'s."""
        second = SECOND_STAGE if self.recipe == "released" and "A" in (experiment.id, experiment.like) else {}
        changed = {key: value for key, value in self._changed(experiment).items() if key not in SIZES}
        made = RECIPES[self.recipe].with_(**second | changed | dict(experiment.recipe))
        times = {n: max(1, round(experiment.longer * getattr(made, n))) for n in ("epochs", "schedule_epochs")}
        return made.with_(**times)

    def size_of(self, experiment: Experiment) -> tuple[float, int]:
        """Width multiplier and blocks per stage (0 = own) of one experiment's network."""
        changed = self._changed(experiment)
        return changed.get("width", self.width), changed.get("blocks", self.blocks)

    def seeds_of(self, experiment: Experiment) -> tuple[int, ...]:
        """The seeds with which one experiment is trained, in the profile's world."""
        return tuple(s + 10_000 * self.world for s in SEEDS[: self.seeds if experiment.member else self.row_seeds])

    @property
    def world_seed(self) -> int:
        """The renderer's seed in the profile's world."""
        return self.data_seed + 1000 * self.world

    def _changed(self, experiment: Experiment) -> dict[str, Any]:
        parts = [(*key.rpartition("."), value) for key, value in self.changes.items()]
        owners = ("", experiment.like, experiment.id)  # the last decides
        return {field: value for owner in owners for of, _, field, value in parts if of == owner}

    @property
    def execution(self) -> dict[str, Any]:
        """How the work is done; no result depends on it but for rounding."""
        return {name: getattr(self, name) for name in EXECUTION}

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as a TOML file would hold them."""
        values = asdict(self)
        return values | values.pop("changes")


_DEFAULTS = {f.name: f.default for kind in (Recipe, Profile) for f in fields(kind)}
_KEYS = [key for key in _DEFAULTS if key not in ("name", "changes")]


def names() -> list[str]:
    """Names of the profiles that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str, settings: Mapping[str, Any] | None = None) -> Profile:
    """Read a profile, one of ``names()`` or the path of a TOML file of one's own, and change single values.

    A string in ``settings`` is taken as written where the field is text, else read as a TOML value. Raises ProfileError
    for an unknown profile or key (the nearest valid one is named), a wrong type, an impossible value.
    """
    known = {"changes": {}}
    for key, value in (_read(name) | dict(settings or {})).items():
        experiment, dot, field = key.rpartition(".")
        if dot and experiment not in EXPERIMENTS:
            raise ProfileError(f"no experiment {experiment!r}{_nearest(experiment, EXPERIMENTS)}")
        valid = [*RECIPE_FIELDS, *SIZES] if dot else _KEYS
        if field not in valid:
            raise ProfileError(f"unknown key {key!r}{_nearest(field, valid)}")
        place = known["changes"] if dot or field in RECIPE_FIELDS else known
        place[key] = _value(value, _DEFAULTS[field])
    try:
        return Profile(name=Path(name).stem, **known)
    except ValidationError as error:
        raise ProfileError(f"profile {name}: {_sentence(error)}") from None


def results_name(name: str, settings: Mapping[str, Any] | None = None) -> str:
    """Name of the results folder: the profile's, followed by a hash where settings change what is computed."""
    texts = []
    for profile in (load(name), load(name, settings)):
        values = {
            key: value
            for key, value in profile.as_dict().items()
            if key not in (*EXECUTION, *PLACES, "world", "worlds")
        }
        texts.append(json.dumps(values, sort_keys=True))
    changed = f"-{hashlib.sha256(texts[1].encode()).hexdigest()[:8]}" if texts[0] != texts[1] else ""
    return Path(name).stem + changed


def _read(name: str) -> dict[str, Any]:
    """The values of a profile's file; those of single experiments as ``<experiment>.<key>``."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if path.stem in names() and path.resolve().parent != FOLDER.resolve():
        raise ProfileError(f"{name} has the name of a profile that comes with the package; rename it")
    if not path.is_file():
        raise ProfileError(f"no profile {name!r}{_nearest(name, names())} Or give a .toml file that is there")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        own = values.pop("experiments", {})
        return values | {f"{each}.{key}": value for each, pairs in own.items() for key, value in pairs.items()}
    except (ValueError, AttributeError) as error:  # AttributeError: experiments that are no tables
        raise ProfileError(f"{path} is not TOML, or its experiments are no tables: {error}") from None


def _value(value: Any, default: Any) -> Any:
    """A value as its field's type, where it was written as text or as a whole number and can be read as such."""
    with suppress(ValueError, OverflowError):
        if isinstance(value, str) and not isinstance(default, str):
            value = tomllib.loads(f"value = {value}")["value"]
        value = float(value) if isinstance(default, float) and type(value) is int else value
    return tuple(value) if isinstance(value, list) else value


def _nearest(key: str, valid: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(valid), n=1, cutoff=0.4)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(valid)}."


def _sentence(error: ValidationError) -> str:
    """The first of pydantic's complaints: key, value and its message."""
    first = error.errors()[0]
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, ValidationError):  # of a recipe, or of the size of one experiment
        return _sentence(inner)
    return f"{first['loc'][0]} = {first['input']!r}: {first['msg']}" if first["loc"] else str(inner)

"""Profiles: one complete set of values each, from ``profiles/*.toml``, validated and frozen.

Profiles differ in values only; the same code runs at every size. A value can also be changed by ``--set key=value`` or
in a notebook's parameters cell. Keys are the fields of ``Profile``, the fields of ``Recipe`` (for all networks), and
``<experiment>.<key>`` for a recipe field, ``width`` or ``blocks`` of one experiment, such as ``A.learning_rate``.
"""

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from fasnb.paper.experiments import EXPERIMENTS, RELEASED_SECOND_STAGE, SEEDS, Experiment
from fasnb.paper.recipe import RECIPE_FIELDS, RECIPES, STRICT, Recipe, Share

EXECUTION = ("device", "workers", "executor")
PLACES = ("released_root", "data_root", "weights_root")
SIZES = ("width", "blocks")

Seed = Annotated[int, Field(ge=0, le=10**9)]
Count = Annotated[int, Field(ge=1, le=10**7)]
SeedCount = Annotated[int, Field(ge=1, le=len(SEEDS))]
Width = Annotated[float, Field(ge=1 / 32, le=4)]
Blocks = Annotated[int, Field(ge=0, le=64)]


class ProfileError(ValueError):
    """A profile or a setting that cannot be used; the message names it and the nearest valid one."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of it: the sentence alone."""
        return [f"{type(self).__name__}: {self}"]


@dataclass(frozen=True, config=STRICT)
class Profile:
    """All values of one study. Two profiles with equal values give the same networks and tables."""

    name: str
    source: Literal["synthetic", "casia-surf", "released"] = "synthetic"  # where frames or scores come from
    title: str = ""  # one sentence: what this profile is for
    budget_minutes: Annotated[float, Field(ge=0)] = 10.0  # time stated for the whole study on budget_machine
    budget_machine: str = "two CPU cores"

    # released scores: clone of the authors' repository, snapshot
    released_root: str = ""
    released_epoch: Annotated[int, Field(ge=0, le=10**6)] = 31

    # real data: folders of CASIA-SURF and of the backbones' weights
    data_root: str = ""
    weights_root: str = ""

    # synthetic data; sizes in frames over all kinds
    difficulty: Share = 0.5  # of the renderer's poses, light and prints
    data_seed: Seed = 0  # of subjects and frames
    worlds: Annotated[int, Field(ge=1, le=100)] = 1  # renderer seeds over which the rows of Table 5 are repeated
    train_subjects: Annotated[int, Field(ge=6, le=10**6)] = 300
    valid_subjects: Count = 100
    test_subjects: Count = 600
    train_frames: Annotated[int, Field(ge=24, le=10**7)] = 29266
    valid_frames: Annotated[int, Field(ge=8, le=10**7)] = 9608
    test_frames: Annotated[int, Field(ge=8, le=10**7)] = 57710

    # networks
    width: Width = 1.0  # multiplier of all channel counts
    blocks: Blocks = 0  # residual blocks per stage; 0 = the backbone's own
    recipe: Literal["paper", "released"] = "paper"  # values of the text, or of the released options
    seeds: SeedCount = 2  # of the ensemble's members A to D
    row_seeds: SeedCount = 1  # of the other experiments
    appendix: bool = False  # also the experiments of Sections 5.2 and 5.10
    fold_seed: Seed = 0  # of the random assignment of subjects to folds
    authors_folds: bool = False  # attack folds of the authors' lists (casia-surf)

    # source tasks of the initialisations (synthetic); objects are frames, also of the gender task
    pretrain_identities: Annotated[int, Field(ge=2, le=10**6)] = 300
    pretrain_captures: Annotated[int, Field(ge=2, le=10**4)] = 30
    pretrain_objects: Annotated[int, Field(ge=24, le=10**7)] = 9000
    pretrain_epochs: Annotated[int, Field(ge=1, le=10**5)] = 12
    pretrain_learning_rate: Annotated[float, Field(gt=0, le=10)] = 3e-3
    pretrain_batch_size: Annotated[int, Field(ge=2, le=10**5)] = 64

    # analysis
    fprs: Annotated[tuple[Share, ...], Field(min_length=1)] = (1e-2, 1e-3, 1e-4)
    headline_fpr: Share = 1e-4  # of Tables 3 and 4
    replicates: Annotated[int, Field(ge=10, le=10**6)] = 1000  # of the bootstrap

    # execution; no result depends on these three but for rounding
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: Annotated[int, Field(ge=0, le=10**4)] = (
        0  # networks trained at once on CPU, one thread each; 0 = one per core
    )
    executor: Literal["local", "ray"] = "local"  # where networks are trained; ray needs the extra of that name
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # of training; part of what names a network

    # changed values of the recipe: for all networks, and for single experiments
    changes: dict[str, Any] = Field(default_factory=dict)
    experiments: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if len(set(self.fprs)) < len(self.fprs):
            raise ValueError(f"fprs = {list(self.fprs)} has a value twice")
        if self.headline_fpr not in self.fprs:
            raise ValueError(f"headline_fpr = {self.headline_fpr:g} is not one of fprs = {list(self.fprs)}")
        for experiment in EXPERIMENTS.values():
            self.recipe_of(experiment)
            width, blocks = self.size_of(experiment)
            if self.experiments:
                replace(self, experiments={}, width=width, blocks=blocks)
        return self

    def recipe_of(self, experiment: Experiment) -> Recipe:
        """The resolved recipe of one experiment: recipe, then changes for all, then its own or its ``like``'s."""
        values = dict(self.changes)
        if self.recipe == "released":
            values = RELEASED_SECOND_STAGE.get(experiment.like or experiment.id, {}) | values
        own = {key: value for key, value in self._own(experiment).items() if key not in SIZES}
        return replace(RECIPES[self.recipe], **(values | own | dict(experiment.recipe)))

    def size_of(self, experiment: Experiment) -> tuple[float, int]:
        """Width multiplier and blocks per stage (0 = own) of one experiment's network."""
        own = self._own(experiment)
        return own.get("width", self.width), own.get("blocks", self.blocks)

    def seeds_of(self, experiment: Experiment) -> tuple[int, ...]:
        """The seeds with which one experiment is trained."""
        return SEEDS[: self.seeds if experiment.member else self.row_seeds]

    def _own(self, experiment: Experiment) -> dict[str, Any]:
        return self.experiments.get(experiment.like, {}) | self.experiments.get(experiment.id, {})

    @property
    def execution(self) -> dict[str, Any]:
        """How the work is done; no result depends on it but for rounding."""
        return {name: getattr(self, name) for name in EXECUTION}

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as a TOML file would hold them."""
        values = asdict(self)
        return values | values.pop("changes")


_DEFAULTS = {f.name: f.default for kind in (Recipe, Profile) for f in fields(kind)}
_KEYS = [key for key in _DEFAULTS if key not in ("name", "changes", "experiments")]


def names() -> list[str]:
    """Names of the profiles that come with the package."""
    return sorted(p.name.removesuffix(".toml") for p in _folder().iterdir() if p.name.endswith(".toml"))


def load(name: str, settings: Mapping[str, Any] | None = None) -> Profile:
    """Read a profile and change single values.

    Args:
        name: one of ``names()``, or the path of a TOML file of one's own.
        settings: key -> value; a string is taken as written where the field is text, else read as a TOML value.

    Raises:
        ProfileError: unknown profile or key (the nearest valid one is named), wrong type, impossible value.
    """
    values = _read(name)
    try:
        own = {f"{e}.{key}": v for e, pairs in values.pop("experiments", {}).items() for key, v in pairs.items()}
    except AttributeError:
        raise ProfileError(f"profile {name}: experiments must be tables, such as [experiments.A]") from None
    known = {"changes": {}, "experiments": {}}
    for key, value in (values | own | dict(settings or {})).items():
        experiment, dot, field = key.rpartition(".")
        if dot and experiment not in EXPERIMENTS:
            raise ProfileError(f"no experiment {experiment!r}{_nearest(experiment, EXPERIMENTS)}")
        valid = [*RECIPE_FIELDS, *SIZES] if dot else _KEYS
        if field not in valid:
            raise ProfileError(f"unknown key {key!r}{_nearest(field, valid)}")
        value = _value(key, value, _DEFAULTS[field])
        if dot:
            known["experiments"].setdefault(experiment, {})[field] = value
        else:
            (known["changes"] if field in RECIPE_FIELDS else known)[field] = value
    try:
        return Profile(name=Path(name).stem, **known)
    except ValidationError as error:
        raise ProfileError(f"profile {name}: {_sentence(error)}") from None


def results_name(name: str, settings: Mapping[str, Any] | None = None) -> str:
    """Name of the results folder: the profile's, followed by a hash where settings change what is computed."""
    given, changed = load(name), load(name, settings)
    values, before = ({k: v for k, v in p.as_dict().items() if k not in EXECUTION + PLACES} for p in (changed, given))
    if values == before:
        return given.name
    return f"{given.name}-{hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]}"


def _folder():
    return resources.files("fasnb.paper").joinpath("profiles")


def _read(name: str) -> dict[str, Any]:
    """The values of a profile's file."""
    own = name.endswith(".toml")
    if own and Path(name).stem in names() and Path(name).resolve().parent != Path(str(_folder())).resolve():
        raise ProfileError(f"{name} has the name of a profile that comes with the package; rename it")
    path = Path(name) if own else _folder() / f"{name}.toml"
    if not path.is_file() or ("/" in name and not own):
        valid = names()
        raise ProfileError(
            f"no profile {name!r}{_nearest(name, valid)}; give the path of a .toml file or one of {', '.join(valid)}"
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # ValueError: not TOML, not text, or a number of thousands of digits
        raise ProfileError(f"{path} is not TOML: {error}") from None


def _value(key: str, value: Any, default: Any) -> Any:
    """A value as its field's type, where it was written as text or as a whole number."""
    try:
        if isinstance(value, str) and not isinstance(default, str):
            value = tomllib.loads(f"value = {value}")["value"]
        if isinstance(default, float) and type(value) is int:
            value = float(value)
    except (ValueError, RecursionError, OverflowError):
        raise ProfileError(f"{key} = {value!r} is not a value of the kind of {default!r}") from None
    return tuple(value) if isinstance(value, list) else value


def _nearest(key: str, valid: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(valid), n=1, cutoff=0.0)
    return f"; did you mean {near[0]!r}?" if near else ""


def _sentence(error: ValidationError) -> str:
    """The first of pydantic's complaints as one sentence, which names key, value and what is possible."""
    first = error.errors()[0]
    inner = first.get("ctx", {}).get("error")
    if inner is not None:  # of a validator of our own
        return _sentence(inner) if isinstance(inner, ValidationError) else str(inner)
    key = ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
    near = (
        _nearest(str(first["input"]), re.findall("'([^']+)'", first["msg"])) if first["type"] == "literal_error" else ""
    )
    return f"{key} = {first['input']!r}: {first['msg'].replace('Input', 'it')}{near}"

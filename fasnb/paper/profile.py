"""Profiles: one complete set of values each, from ``profiles/*.toml``, validated and frozen.

Profiles differ in values only; the same code runs at every size. A value can also be changed by ``--set key=value`` or
in a notebook's parameters cell. Keys are the fields of ``Profile``, the fields of ``Recipe`` (for all networks), and
``<experiment>.<key>`` for a recipe field, ``width`` or ``blocks`` of one experiment, such as ``A.learning_rate``.
"""

import difflib
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin

from fasnb.paper.experiments import EXPERIMENTS, RELEASED_SECOND_STAGE, SEEDS, Experiment
from fasnb.paper.recipe import RECIPE_FIELDS, RECIPES, Recipe

NETWORK_FIELDS = ("width", "blocks")
EXECUTION = ("device", "workers", "executor", "compile")
PLACES = ("released_root", "data_root", "weights_root")


class ProfileError(ValueError):
    """A profile or a setting that cannot be used; the message names it and the nearest valid one."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of it: the sentence alone."""
        return [f"{type(self).__name__}: {self}"]


def _number(default, low, high=float("inf"), help=""):
    return field(default=default, metadata={"low": low, "high": high, "help": help})


def _choice(default, *choices, help=""):
    return field(default=default, metadata={"choices": choices, "help": help})


@dataclass(frozen=True)
class Profile:
    """All values of one study. Frozen: two profiles with equal values give the same networks and tables."""

    name: str
    source: str = _choice("synthetic", "synthetic", "casia-surf", "released", help="where frames or scores come from")
    title: str = field(default="", metadata={"help": "one sentence: what this profile is for"})
    budget_minutes: float = _number(10.0, 0, help="time stated for the whole study on budget_machine")
    budget_machine: str = field(default="two CPU cores", metadata={"help": "machine of the stated budget"})

    # released scores
    released_root: str = field(default="", metadata={"help": "clone of the authors' repository"})
    released_epoch: int = _number(31, 0, help="snapshot of the released scores")

    # real data
    data_root: str = field(default="", metadata={"help": "folder of CASIA-SURF"})
    weights_root: str = field(default="", metadata={"help": "folder of backbone weights"})

    # synthetic data; sizes in frames over all kinds, images in pixels
    difficulty: float = _number(
        0.5, 0, 1, help="of the renderer's poses, light and prints; set by benchmarks/difficulty.py"
    )
    data_seed: int = _number(0, 0, help="seed of subjects and frames")
    worlds: int = _number(1, 1, help="renderer seeds over which the rows of Table 5 are repeated")
    train_subjects: int = _number(300, 6)
    valid_subjects: int = _number(100, 1)
    test_subjects: int = _number(600, 1)
    train_frames: int = _number(29266, 24)
    valid_frames: int = _number(9608, 8)
    test_frames: int = _number(57710, 8)

    # networks
    width: float = _number(1.0, 0.03125, 4.0, help="multiplier of all channel counts")
    blocks: int = _number(0, 0, 64, help="residual blocks per stage; 0 = the backbone's own")
    recipe: str = _choice("paper", "paper", "released", help="values of the text, or of the released options")
    seeds: int = _number(2, 1, len(SEEDS), help="seeds of the ensemble's members A to D")
    row_seeds: int = _number(1, 1, len(SEEDS), help="seeds of the other experiments")
    appendix: bool = field(default=False, metadata={"help": "also the experiments of Sections 5.2 and 5.10"})
    fold_seed: int = _number(0, 0, help="seed of the random assignment of subjects to folds")
    authors_folds: bool = field(default=False, metadata={"help": "attack folds of the authors' lists (casia-surf)"})

    # source tasks of the initialisations (synthetic)
    pretrain_identities: int = _number(300, 2)
    pretrain_captures: int = _number(30, 2)
    pretrain_objects: int = _number(9000, 24, help="frames of generic objects, and of the gender task")
    pretrain_epochs: int = _number(12, 1)
    pretrain_learning_rate: float = _number(3e-3, 1e-9, 10)
    pretrain_batch_size: int = _number(64, 2)

    # analysis
    fprs: tuple[float, ...] = field(default=(1e-2, 1e-3, 1e-4), metadata={"low": 0, "high": 1})
    headline_fpr: float = _number(1e-4, 0, 1, help="the FPR of Tables 3 and 4")
    replicates: int = _number(1000, 10, help="bootstrap replicates")

    # execution; no result depends on these four but for rounding
    device: str = _choice("auto", "auto", "cpu", "cuda")
    workers: int = _number(0, 0, help="networks trained at once on CPU, one thread each; 0 = one per core")
    executor: str = _choice(
        "local", "local", "ray", help="where networks are trained; ray needs the extra of that name"
    )
    compile: bool = field(default=False, metadata={"help": "torch.compile the networks; for long trainings on a GPU"})
    precision: str = _choice("auto", "auto", "fp32", "bf16", help="of training; part of what names a network")

    # changed values of the recipe: for all networks, and for single experiments
    changes: tuple[tuple[str, Any], ...] = ()
    experiments: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = ()

    def recipe_of(self, experiment: Experiment) -> Recipe:
        """The resolved recipe of one experiment: recipe, then changes for all, then its own or its ``like``'s."""
        values = dict(self.changes)
        if self.recipe == "released":
            values = RELEASED_SECOND_STAGE.get(experiment.like or experiment.id, {}) | values
        own = {key: value for key, value in self._own(experiment).items() if key not in NETWORK_FIELDS}
        return replace(RECIPES[self.recipe], **(values | own | dict(experiment.recipe)))

    def size_of(self, experiment: Experiment) -> tuple[float, int]:
        """Width multiplier and blocks per stage (0 = own) of one experiment's network."""
        own = self._own(experiment)
        return own.get("width", self.width), own.get("blocks", self.blocks)

    def seeds_of(self, experiment: Experiment) -> tuple[int, ...]:
        return SEEDS[: self.seeds if experiment.member else self.row_seeds]

    def _own(self, experiment: Experiment) -> dict[str, Any]:
        own = dict(self.experiments)
        return dict(own.get(experiment.like, ())) | dict(own.get(experiment.id, ()))

    @property
    def execution(self) -> dict[str, Any]:
        """How the work is done; no result depends on it but for rounding."""
        return {name: getattr(self, name) for name in EXECUTION}

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as a TOML file would hold them."""
        values = asdict(self)
        changes, own = values.pop("changes"), values.pop("experiments")
        return values | dict(changes) | {"experiments": {name: dict(pairs) for name, pairs in own}}


PROFILE_FIELDS = {f.name: f for f in fields(Profile) if f.name not in ("name", "changes", "experiments")}
_RECIPE_TYPES = {f.name: f.type for f in fields(Recipe)}


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
    path = Path(name) if name.endswith(".toml") else _folder() / f"{name}.toml"
    if name.endswith(".toml") and path.stem in names() and path.resolve().parent != Path(str(_folder())).resolve():
        raise ProfileError(
            f"{path} has the name of a profile that comes with the package, whose results it would mix up; rename it"
        )
    if not path.is_file() or ("/" in name and not name.endswith(".toml")):
        near = _nearest(name, names())
        raise ProfileError(f"no profile {name!r}{near}; give the path of a .toml file or one of {', '.join(names())}")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path} is not TOML: {error}") from None
    own = values.pop("experiments", {})
    if not isinstance(own, dict) or not all(isinstance(pairs, dict) for pairs in own.values()):
        raise ProfileError(f"{path}: experiments must be tables, such as [experiments.A]")
    for key, value in (settings or {}).items():
        experiment, dot, setting = key.partition(".")
        if dot:
            own = own | {experiment: own.get(experiment, {}) | {setting: value}}
        else:
            values[key] = value
    return _build(name.removesuffix(".toml").rpartition("/")[2], values, own)


def results_name(name: str, settings: Mapping[str, Any] | None = None) -> str:
    """Name of the results folder: the profile's, followed by a hash where settings change what is computed."""
    given, changed = load(name), load(name, settings)
    values, before = ({k: v for k, v in p.as_dict().items() if k not in EXECUTION + PLACES} for p in (changed, given))
    if values == before:
        return given.name
    return f"{given.name}-{hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]}"


def _folder():
    return resources.files("fasnb.paper").joinpath("profiles")


def _build(name: str, values: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]]) -> Profile:
    known, changes = {}, {}
    for key, value in values.items():
        if key in PROFILE_FIELDS:
            known[key] = _checked(key, value, PROFILE_FIELDS[key].type, PROFILE_FIELDS[key].metadata)
        elif key in RECIPE_FIELDS:
            changes[key] = _checked(key, value, _RECIPE_TYPES[key], {})
        else:
            raise ProfileError(f"profile {name}: unknown key {key!r}{_nearest(key, [*PROFILE_FIELDS, *RECIPE_FIELDS])}")
    profile = Profile(name, **known, changes=_pairs(changes), experiments=_experiments(name, own))
    if len(set(profile.fprs)) < len(profile.fprs):
        raise ProfileError(f"fprs = {list(profile.fprs)} has a value twice")
    if profile.headline_fpr not in profile.fprs:
        raise ProfileError(f"headline_fpr = {profile.headline_fpr:g} is not one of fprs = {list(profile.fprs)}")
    for experiment in EXPERIMENTS.values():
        try:
            profile.recipe_of(experiment)
        except ValueError as error:
            raise ProfileError(f"profile {name}: {error}") from None
    return profile


def _experiments(name: str, own: Mapping[str, Mapping[str, Any]]):
    checked = {}
    for experiment, pairs in own.items():
        if experiment not in EXPERIMENTS:
            raise ProfileError(f"profile {name}: no experiment {experiment!r}{_nearest(experiment, EXPERIMENTS)}")
        for key, value in pairs.items():
            if key in NETWORK_FIELDS:
                value = _checked(key, value, PROFILE_FIELDS[key].type, PROFILE_FIELDS[key].metadata)
            elif key in RECIPE_FIELDS:
                value = _checked(key, value, _RECIPE_TYPES[key], {})
            else:
                near = _nearest(key, [*RECIPE_FIELDS, *NETWORK_FIELDS])
                raise ProfileError(f"profile {name}: unknown key {experiment}.{key}{near}")
            checked.setdefault(experiment, {})[key] = value
    return _pairs({experiment: _pairs(pairs) for experiment, pairs in checked.items()})


def _pairs(mapping: Mapping) -> tuple:
    return tuple(sorted(mapping.items()))


def _nearest(key: str, valid) -> str:
    near = difflib.get_close_matches(key, list(valid), n=1, cutoff=0.0)
    return f"; did you mean {near[0]!r}?" if near else ""


def _checked(key: str, value: Any, kind: Any, metadata: Mapping[str, Any]) -> Any:
    """The value as the field's type, or a ProfileError that names key, value and what is possible."""
    if isinstance(value, str) and kind is not str:
        try:
            value = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            raise ProfileError(f"{key} = {value!r} is not {_named(kind)}") from None
    value = _cast(key, value, kind)
    parts = value if isinstance(value, tuple) else (value,)
    if get_origin(kind) is tuple and not parts:
        raise ProfileError(f"{key} is empty; give at least one value")
    for part in parts:
        if "choices" in metadata and part not in metadata["choices"]:
            choices = metadata["choices"]
            raise ProfileError(f"{key} = {part!r}; it must be one of {', '.join(choices)}{_nearest(part, choices)}")
        if "low" in metadata and not metadata["low"] <= part <= metadata.get("high", float("inf")):
            upper = f" and at most {metadata['high']:g}" if metadata.get("high", float("inf")) < float("inf") else ""
            raise ProfileError(f"{key} = {part!r}; it must be at least {metadata['low']:g}{upper}")
    return value


def _cast(key: str, value: Any, kind: Any) -> Any:
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise ProfileError(f"{key} = {value!r} is not {_named(kind)}")
        return tuple(_cast(key, part, get_args(kind)[0]) for part in value)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise ProfileError(f"{key} = {value!r} is not {_named(kind)}")
    return value


def _named(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return "a list of numbers"
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[kind]

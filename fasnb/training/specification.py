"""The specification of one trained network: all that determines its weights, and the hash that names its run."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Integral

import numpy as np
import pandas as pd

from fasnb.model.network import Architecture
from fasnb.paper.recipe import Recipe

TRAINING_VERSION = 1
"""Part of every key: raise it when a change of the code changes the weights that a specification gives."""

PRECISIONS = ("fp32", "bf16")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Specification:
    """Everything that determines one trained network. Make it with ``specify``."""

    experiment: str
    fold: int
    seed: int  # of the initial weights, the order and augmentation of frames, and dropout
    architecture: Architecture
    recipe: Recipe
    data: str  # fingerprint of the training source
    frames: str  # ``frames_hash`` of the training frames of this fold
    initialisation: str = "random"  # or what identifies the backbone's weights, such as their SHA-256
    precision: str = "fp32"  # or "bf16": autocast where the hardware has it
    version: int = TRAINING_VERSION

    def __post_init__(self):
        for name, kind in (("experiment", str), ("fold", Integral), ("seed", Integral), ("precision", str)):
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be of type {kind.__name__}")
        if not _NAME.fullmatch(self.experiment):
            raise ValueError(f"experiment {self.experiment!r} must be a name of letters, digits, '.', '_' and '-'")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision {self.precision!r} is unknown; choose one of {', '.join(PRECISIONS)}")
        if self.architecture.fusion not in (self.recipe.fusion, "zhang"):
            raise ValueError(
                f"the recipe's fusion is {self.recipe.fusion!r} and the architecture's {self.architecture.fusion!r}; "
                "give both the same"
            )
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it must be 0 or more")

    @property
    def key(self) -> str:
        """SHA-256 of the canonical JSON, 64 hexadecimal digits."""
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def name(self) -> str:
        """Folder name of the run."""
        return f"{self.experiment}-fold{self.fold}-seed{self.seed}-{self.key[:8]}"

    @property
    def title(self) -> str:
        return f"{self.experiment} fold {self.fold} seed {self.seed}"

    def as_dict(self) -> dict:
        """Plain values of JSON types, equal for equal specifications."""
        parts = {"architecture": _plain(self.architecture), "recipe": _plain(self.recipe)}
        return _plain(self) | parts | {"fold": int(self.fold), "seed": int(self.seed)}

    def to_json(self) -> str:
        return json.dumps(self.as_dict(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Specification":
        """Raises ValueError for an unknown or missing field, of the recipe and the architecture too."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"a specification is a dictionary, not a {type(values).__name__}")
        for name, part in (("architecture", Architecture), ("recipe", Recipe)):
            values[name] = _from_fields(part, values.get(name, {}))
        return _from_fields(cls, values)


def _plain(part) -> dict:
    """A whole number in a field of floats becomes a float, so that 1 and 1.0 are one specification."""
    values = ((field, getattr(part, field.name)) for field in fields(part))
    plain = {f.name: float(v) if isinstance(f.default, float) else v for f, v in values}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in plain.items()}


def _from_fields(part: type, values: Mapping):
    if not isinstance(values, Mapping):
        raise ValueError(f"{part.__name__} is a dictionary, not a {type(values).__name__}")
    known = [field.name for field in fields(part)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"{part.__name__} field {unknown[0]!r} is unknown; the fields are {', '.join(known)}")
    try:
        return part(**values)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"{part.__name__}: {error}") from None


def specify(
    experiment: str, fold: int, seed: int, architecture: Architecture, recipe: Recipe, source, train_index, **others
) -> Specification:
    """The specification of one training on the frames ``train_index`` of ``source`` (a store or what it is built from).

    ``others`` are ``initialisation`` and ``precision``.
    """
    frames = frames_hash(source.frames, train_index)
    return Specification(experiment, fold, seed, architecture, recipe, source.fingerprint, frames, **others)


def frames_hash(frames: pd.DataFrame, index) -> str:
    """SHA-256 over samples and labels in the order of ``index``: which frames a fold trains on."""
    chosen = frames.iloc[np.asarray(index, dtype=np.int64)]
    lines = [f"{sample} {label}\n" for sample, label in zip(chosen["sample"], chosen["label"], strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()

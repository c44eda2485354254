"""How one network is trained: every choice in which the paper's text and the released code differ is a field here.

``PAPER`` is what the text says (Sections 5.1 and 5.2), ``RELEASED`` what the options published with the code say.
"""

from dataclasses import fields, replace
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

Share = Annotated[float, Field(ge=0, le=1)]
Below1 = Annotated[float, Field(ge=0, lt=1)]
Area = Annotated[float, Field(gt=0, le=1)]
Degrees = Annotated[float, Field(ge=0, le=180)]
Size = Annotated[int, Field(ge=1, le=100_000)]

# whole numbers may stand for numbers, nothing else for anything; unknown names are refused
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, config=STRICT)
class Normalisation:
    """Mean and standard deviation per channel, of pixels scaled to [0, 1]; the same for all modalities."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """Values of one training. Lengths in pixels, angles in degrees. What cannot be is refused by a ValueError."""

    fusion: Literal["se", "concat"] = "se"  # after stage 3: squeeze-and-excitation per branch, or concatenation alone
    aggregation_start: Literal["random", "backbone"] = "random"  # of its stages: Section 5.6, or as released
    epochs: Size = 30
    schedule_epochs: Size = 30  # period of the cosine; training may stop before it ends
    warmup: Share = 0.0  # share of all steps over which the learning rate rises linearly from zero
    batch_size: Size = 128
    learning_rate: Annotated[float, Field(gt=0, le=100)] = 0.1
    beta1: Below1 = 0.9
    beta2: Below1 = 0.999
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.0
    train_classifier: bool = True  # False: the last linear layer keeps its random initial weights
    # training images: resize -> (rotate, random resized crop | random placement of the crop) -> flip -> colour
    resize: Size = 125
    crop: Size = 112
    random_crop: bool = False  # False: the centre crop; True: a crop at a random place (no change of scale)
    flip: Share = 0.5
    rotation: Degrees = 0.0  # drawn uniformly from [-rotation, rotation]
    scale_low: Area = 1.0  # random resized crop: share of the image's area, [scale_low, 1]; 1 = none
    jitter: Below1 = 0.0  # colour jitter of RGB: brightness, contrast, saturation +- jitter, hue +- jitter / 2
    jitter_probability: Share = 0.0
    grey_probability: Share = 0.0  # RGB replaced by its luminance
    # a second stage of training with its own, weaker augmentation (0 epochs = none); released model A has one
    second_epochs: Annotated[int, Field(ge=0, le=100_000)] = 0
    second_rotation: Degrees = 0.0
    second_scale_low: Area = 1.0
    second_jitter: Below1 = 0.0
    mirror: bool = False  # scoring: centre crop alone, or the mean with its mirror image

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.crop > self.resize:
            raise ValueError(f"crop = {self.crop} is larger than resize = {self.resize}")
        return self

    def with_(self, **changes) -> Self:
        """The recipe with other values, checked like all: ``recipe.with_(crop=100)``."""
        return replace(self, **changes)


PAPER = Recipe()
_OPTIMISER = {"epochs": 31, "schedule_epochs": 50, "learning_rate": 2e-5, "beta1": 0.5, "train_classifier": False}
_COLOUR = {"jitter": 0.5, "jitter_probability": 0.2, "grey_probability": 0.2}
_VIEWS = {"rotation": 45.0, "scale_low": 0.2, "mirror": True}
RELEASED = PAPER.with_(fusion="concat", aggregation_start="backbone", **_VIEWS, **_OPTIMISER, **_COLOUR)
# experiment A alone was trained on with weaker augmentation in the released options
SECOND_STAGE = {"second_epochs": 20, "second_rotation": 30.0, "second_scale_low": 0.5, "second_jitter": 0.25}

RECIPES = {"paper": PAPER, "released": RELEASED}
RECIPE_FIELDS = tuple(field.name for field in fields(Recipe))

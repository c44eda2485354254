"""How one network is trained: every choice in which the paper's text and the released code differ is a field here.

Two recipes, both first class. ``PAPER`` is what the text says (Sections 5.1 and 5.2). ``RELEASED`` is what the options
published with the authors' code say. Any single difference can be ablated with ``dataclasses.replace``.
"""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation per channel, of pixels scaled to [0, 1]; the same for all modalities."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Recipe:
    """Values of one training. Lengths in pixels, angles in degrees, probabilities in [0, 1]."""

    # fusion after stage 3: squeeze-and-excitation re-weighting per branch ("se") or plain concatenation ("concat")
    fusion: str = "se"
    # aggregation blocks start at random (Section 5.6), or with the backbone's stages 2 to 4 as in the released code
    aggregation_start: str = "random"

    # optimisation
    epochs: int = 30
    schedule_epochs: int = 30  # period of the cosine; training may stop before it ends
    warmup: float = 0.0  # share of all steps over which the learning rate rises linearly from zero
    batch_size: int = 128
    learning_rate: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    train_classifier: bool = True  # False: the last linear layer keeps its random initial weights

    # training images: resize -> (rotate, random resized crop | random placement of the crop) -> flip -> colour
    resize: int = 125
    crop: int = 112
    random_crop: bool = False  # False: the centre crop; True: a crop at a random place (no change of scale)
    flip: float = 0.5
    rotation: float = 0.0  # drawn uniformly from [-rotation, rotation]
    scale_low: float = 1.0  # random resized crop: share of the image's area, [scale_low, 1]; 1 = none
    jitter: float = 0.0  # colour jitter of RGB: brightness, contrast, saturation +- jitter, hue +- jitter / 2
    jitter_probability: float = 0.0
    grey_probability: float = 0.0  # RGB replaced by its luminance

    # a second stage of training with its own, weaker augmentation (0 epochs = none); released model A has one
    second_epochs: int = 0
    second_rotation: float = 0.0
    second_scale_low: float = 1.0
    second_jitter: float = 0.0

    # scoring: centre crop alone, or the mean with its mirror image
    mirror: bool = False

    def __post_init__(self):
        """Refuse values that no training could use. Whole numbers may stand for numbers, nothing else for anything."""
        for field in fields(self):
            value, kind = getattr(self, field.name), type(field.default)
            if kind is float and type(value) is int:
                object.__setattr__(self, field.name, float(value))
            elif type(value) is not kind:
                raise ValueError(f"recipe: {field.name} = {value!r}; it must be of type {kind.__name__}")
        shares = ("warmup", "flip", "jitter_probability", "grey_probability")
        possible = {name: (0.0, 1.0) for name in shares}
        possible |= {name: (1e-6, 1.0) for name in ("scale_low", "second_scale_low")}
        possible |= {name: (0.0, 0.999999) for name in ("beta1", "beta2", "jitter", "second_jitter")}
        possible |= {name: (0.0, 180.0) for name in ("rotation", "second_rotation")}
        possible |= {name: (1, 100_000) for name in ("epochs", "schedule_epochs", "batch_size", "resize", "crop")}
        possible |= {"learning_rate": (1e-12, 100.0), "weight_decay": (0.0, 10.0), "second_epochs": (0, 100_000)}
        for name, (low, high) in possible.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"recipe: {name} = {value!r}; it must lie in [{low:g}, {high:g}]")
        if self.aggregation_start not in ("random", "backbone"):
            raise ValueError(f"recipe: aggregation_start = {self.aggregation_start!r}; it must be random or backbone")
        if self.fusion not in ("se", "concat"):
            raise ValueError(f"recipe: fusion = {self.fusion!r}; it must be se or concat")
        if self.crop > self.resize:
            raise ValueError(f"recipe: crop = {self.crop} is larger than resize = {self.resize}")


PAPER = Recipe()

RELEASED = Recipe(
    fusion="concat",
    aggregation_start="backbone",
    epochs=31,
    schedule_epochs=50,
    learning_rate=2e-5,
    beta1=0.5,
    train_classifier=False,
    rotation=45.0,
    scale_low=0.2,
    jitter=0.5,
    jitter_probability=0.2,
    grey_probability=0.2,
    mirror=True,
)

RECIPES = {"paper": PAPER, "released": RELEASED}
RECIPE_FIELDS = tuple(field.name for field in fields(Recipe))

"""Source tasks for initialisation, from the renderer of SynthSURF: faces, a gender-like attribute, generic objects.

Their people, lights and noise come from other streams of random numbers than those of the data set and of each other.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from synthsurf import sensors
from synthsurf.draws import Draws, Rows
from synthsurf.faces import draw_identities, draw_pose, view_of
from synthsurf.rendering import Renderer, fingerprint_of, padded, require_positive
from synthsurf.scenes import Capture, crop_around, face_edge, portrait
from synthsurf.sensors import Crop, look

_LOOK = look(0.5)  # the same at every difficulty of the data set


class SourceTask(Renderer):
    """Labelled colour images to start networks from.

    Attributes:
        labels: int64 (N,), 0 .. classes - 1.
        classes: number of classes.
        size: height = width in pixels.
        fingerprint: hex sha256 over all that determines images and labels.
    """

    planes = 3

    def __init__(self, task: str, labels: np.ndarray, classes: int, size: int, seed: int, **spec):
        super().__init__(size, seed, spec.get("population", task))
        self.labels, self.classes, self.task, self.spec = labels, int(classes), task, spec
        self.fingerprint = fingerprint_of(task=task, images=len(labels), size=self.size, seed=self.seed, **spec)

    def __len__(self) -> int:
        return len(self.labels)


class _FaceTask(SourceTask):
    """Single captures of live faces, each in its own light; image i shows identity i // captures."""

    def _parameters(self, index: np.ndarray) -> Capture:
        identity, capture = padded(*np.divmod(index, self.spec["captures"]))
        trait = (2.0 * (identity % 2) - 1.0).float()[:, None, None] if self.task == "gender" else 0.0
        face = draw_identities(Draws(self._keys(0, identity)), self.spec.get("population", "all"), trait)
        draws = Draws(self._keys(1, identity, capture))
        pose, camera = draw_pose(draws, _LOOK), sensors.draw_camera(draws, draws, _LOOK)
        view = view_of(pose)
        crop = crop_around(face_edge(face, pose, view), pose)
        return Capture(face, pose, view, crop, camera, self._keys(2, identity, capture))

    def _render(self, parameters: Capture) -> Tensor:
        image, inside = portrait(parameters, self.size)
        frame = sensors.colour_frame(image, parameters.camera, Draws(parameters.keys), _LOOK)
        return frame.round_().clamp_(0.0, 255.0).mul_(inside[:, None]).to(torch.uint8)


@dataclass
class _Object(Rows):
    """A coloured shape before a smooth background. Shapes (n, 1, 1) unless stated."""

    shape: Tensor  # number in _SHAPES
    texture: Tensor  # number in _TEXTURES
    cos: Tensor
    sin: Tensor
    crop: Crop
    wave: Tensor  # wave number of stripes and checks
    colour: Tensor  # (n, 3, 1, 1)
    background: Tensor  # (n, 3, 1, 1)
    keys: Tensor  # (n, 2), of the pixels' noise


class _GenericTask(SourceTask):
    """Coloured shapes with textures on smooth backgrounds."""

    def _parameters(self, index: np.ndarray) -> _Object:
        image, label = padded(index, self.labels[index])
        draws, label = Draws(self._keys(0, image)), label[:, None, None]
        turn, zoom = draws.uniform(0.0, 2 * math.pi), 1.4 * draws.uniform(0.35, 0.8) * (1.0 / 1.38)
        return _Object(
            shape=label % len(_SHAPES),
            texture=label // len(_SHAPES),
            cos=turn.cos(),
            sin=turn.sin(),
            crop=Crop(zoom, zoom.clone(), -0.2 * draws.normal(), -0.2 * draws.normal()),
            wave=draws.uniform(8.0, 16.0),
            colour=draws.uniform(0.0, 1.0, 3),
            background=draws.uniform(0.0, 1.0, 3),
            keys=self._keys(1, image),
        )

    def _render(self, parameters: _Object) -> Tensor:
        it, noise = parameters, Draws(parameters.keys)
        x, y = sensors.pixel_grid(self.size, it.crop, it.cos, it.sin)
        rows, columns = x.shape[1:]
        cover = _chosen(_shapes(x, y), it.shape).mul_(-12.0).sigmoid_()[:, None]
        grain, blemish = noise.normal_maps(rows, columns)
        texture = _chosen(_textures(x, y, it.wave, grain), it.texture)[:, None]
        behind = sensors.smooth_pattern(noise, 6, rows, columns)[:, None] * 0.15 + it.background
        picture = behind.lerp(it.colour + 0.2 * texture, cover).add_(blemish[:, None], alpha=0.03)
        return picture.clamp_(0.0, 1.0).mul_(255.0).round_().to(torch.uint8)


_SHAPES = ("disc", "square", "triangle", "ring", "cross", "star")
_TEXTURES = ("plain", "stripes", "checks", "grain")


def _chosen(maps: list[Tensor], which: Tensor) -> Tensor:
    """Of each row, the map whose number is asked for."""
    return sum(m * (which == number).float() for number, m in enumerate(maps))


def _shapes(x: Tensor, y: Tensor) -> list[Tensor]:
    """Signed distances, about negative inside, of the shapes of unit size."""
    ax, ay, r = x.abs(), y.abs(), (x * x + y * y + 1e-6).sqrt()
    cosine2 = (x / r).square()
    five_fold = ((cosine2 * 16 - 20) * cosine2 + 5) * x / r  # cos(5 angle), Chebyshev
    upright, lying = torch.maximum(ax - 0.25, ay - 1), torch.maximum(ax - 1, ay - 0.25)
    return [
        r - 1,
        torch.maximum(ax, ay) - 0.85,
        torch.maximum(-y - 0.5, 0.87 * ax + 0.5 * y - 0.5),
        (r - 0.75).abs() - 0.25,
        torch.minimum(upright, lying),
        r - 0.65 - 0.3 * five_fold,
    ]


def _textures(x: Tensor, y: Tensor, wave: Tensor, grain: Tensor) -> list[Tensor]:
    along, across = (wave * x).sin_(), (wave * y).sin_()
    return [torch.zeros_like(x), along.sign(), (along * across).sign(), 1.5 * grain]


def faces(identities: int, captures: int, size: int = 64, seed: int = 0, population: str = "A") -> SourceTask:
    """Face recognition: which of ``identities`` people is it? ``captures`` images of each, in other poses and light.

    ``size`` is height and width in pixels; populations "A" and "B" differ in the distributions of skin, hair, eyes, nose
    and face width. Raises ValueError for a value that makes no sense.
    """
    require_positive(identities=identities, captures=captures)
    if population not in ("A", "B"):
        raise ValueError(f"population is {population!r}; it must be A or B")
    labels = np.arange(identities).repeat(captures)
    return _FaceTask("faces", labels, identities, size, seed, captures=captures, population=population)


def gender(identities: int, captures: int = 1, size: int = 64, seed: int = 0) -> SourceTask:
    """A gender-like binary attribute of faces (jaw, brows, lips, beard); odd identities have label 1.

    Arguments and errors as in ``faces``.
    """
    require_positive(identities=identities, captures=captures)
    labels = (np.arange(identities) % 2).repeat(captures)
    return _FaceTask("gender", labels, 2, size, seed, captures=captures)


def generic(images: int, size: int = 64, seed: int = 0) -> SourceTask:
    """Generic objects, a stand-in for ImageNet: 6 shapes x 4 textures = 24 classes, image i has label i mod 24.

    Arguments and errors as in ``faces``.
    """
    require_positive(images=images)
    classes = len(_SHAPES) * len(_TEXTURES)
    return _GenericTask("generic", np.arange(images) % classes, classes, size, seed)

"""From stored bytes to a network's input: whole batches cropped, rotated, coloured and normalised on their device.

All modalities of a frame share its geometric draw. What a frame gets depends on (seed, epoch, batch number) alone: the
numbers are drawn on the CPU, so that every device sees the same batches. Images are uint8 (B, 5, S, S), as in a store:
red, green, blue, depth, IR. Outputs are rgb, depth, ir, each float32 (B, 3, crop, crop), channels-last, as convolutions
like them; depth and IR fill three channels, each normalised with its own mean and standard deviation.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fasnb.data.store import Store
from fasnb.paper.recipe import Normalisation, Recipe

Batch = tuple[Tensor, Tensor, Tensor]  # rgb, depth, ir

ATTEMPTS = 10  # draws of a random resized crop before the whole frame is taken, as in torchvision
ASPECT = (3 / 4, 4 / 3)  # of a random resized crop, as in torchvision
ALIKE = 4  # frames that share one draw of colour jitter; 1, as in torchvision, takes three times as long


def evaluation(images: Tensor, recipe: Recipe, normalisation: Normalisation, mirror: bool = False) -> Batch:
    """The authors' preparation of test images: resize, centre crop, scale to [0, 1], normalise; mirrored if asked.

    Equal to torchvision's Resize, CenterCrop, ToTensor, Normalize on PIL images up to float32 rounding (1e-6 of the
    range) where the store has the recipe's size; a resize here may differ from PIL's by one grey level. Raises
    ValueError for images of another type or shape.
    """
    images = _resized(images, recipe.resize)
    edge = round((recipe.resize - recipe.crop) / 2)  # torchvision's rounding
    crops = images[..., edge : edge + recipe.crop, edge : edge + recipe.crop]
    return _normalised(crops.flip(-1) if mirror else crops, normalisation)


def training(images: Tensor, recipe: Recipe, normalisation: Normalisation, generator: torch.Generator) -> Batch:
    """One random view of every frame, as the recipe says, drawn from a generator on the CPU alone.

    Order as in the released options: rotation about the centre with black corners, resize, random resized crop, flip;
    then, on RGB, colour jitter and greyscale. Rotation, crop and flip are one bilinear resampling (torchvision on PIL
    does each by itself, the rotation by nearest neighbour, the crop with averaging where it reduces). Without rotation
    and change of scale nothing is resampled. Raises ValueError for images of another type or shape.
    """
    images = _resized(images, recipe.resize)
    boxes, angle, flip = draw_geometry(len(images), recipe.resize, recipe, generator)
    resample = recipe.rotation or recipe.scale_low < 1
    views = _resampled(images, boxes, angle, flip, recipe.crop) if resample else _sliced(images, boxes, flip)
    return _normalised(_coloured(views, recipe, generator), normalisation)


def batches(
    store: Store,
    index: Sequence[int] | np.ndarray,
    recipe: Recipe,
    normalisation: Normalisation,
    *,
    seed: int,
    epoch: int,
    device: torch.device | str,
    drop_last: bool = False,
    targets: Tensor | None = None,
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """One epoch of (rgb, depth, ir, label) to train on, in an order drawn from (seed, epoch); labels are int64 (B,), or
    the rows of ``targets`` (frames, ...) where they are given.

    The same seed and epoch give the same batches on every device and in every process. ``index`` has the numbers of the
    epoch's frames in the store; with ``drop_last`` a last batch that is not full is left out. Raises ValueError for a
    frame without a label, or images as in ``training``.
    """
    index, labels = np.asarray(index), store.frames["label"].iloc[index]
    if labels.isna().any():
        sample = store.frames["sample"].iloc[index[labels.isna().argmax()]]
        raise ValueError(f"{sample} has no label; train on frames whose list gives one")
    labels, device = torch.tensor(labels.to_numpy(dtype=np.int64)), torch.device(device)
    labels = labels if targets is None else targets
    parts = torch.randperm(len(index), generator=_generator(seed, epoch, 0)).split(recipe.batch_size)
    parts = [part for part in parts if len(part) == recipe.batch_size or not drop_last]
    for number, part in enumerate(parts, 1):
        images = store.read(index[part], pin=device.type == "cuda").to(device, non_blocking=True)
        views = training(images, recipe, normalisation, _generator(seed, epoch, number))
        yield *views, labels[part].to(device, non_blocking=True)


def _generator(seed: int, epoch: int, number: int) -> torch.Generator:
    state = np.random.SeedSequence([seed, epoch, number]).generate_state(2)
    return torch.Generator().manual_seed(int(state[0]) << 32 | int(state[1]))


def draw_geometry(count: int, size: int, recipe: Recipe, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (count, 4) as left, top, width, height in pixels of the frame, angles (count,) in degrees, flips (count,).

    A positive angle turns counter-clockwise. Boxes are whole pixels.
    """
    angle = (2 * torch.rand(count, generator=generator) - 1) * recipe.rotation
    if recipe.scale_low < 1:
        boxes = _random_boxes(count, size, recipe.scale_low, generator)
    else:
        edge = torch.full((count, 2), float(round((size - recipe.crop) / 2)))
        if recipe.random_crop:
            edge = torch.randint(size - recipe.crop + 1, (count, 2), generator=generator).float()
        boxes = torch.cat([edge, torch.full((count, 2), float(recipe.crop))], dim=1)
    return boxes, angle, torch.rand(count, generator=generator) < recipe.flip


def _random_boxes(count: int, size: int, scale_low: float, generator: torch.Generator) -> Tensor:
    """Boxes of torchvision's RandomResizedCrop for square frames: the first of ten draws that fits, or the whole."""
    area = size**2 * (scale_low + (1 - scale_low) * torch.rand(count, ATTEMPTS, generator=generator))
    low, high = (math.log(ratio) for ratio in ASPECT)
    ratio = torch.exp(low + (high - low) * torch.rand(count, ATTEMPTS, generator=generator))
    sides = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], dim=2).round()
    fits = ((sides > 0) & (sides <= size)).all(dim=2)
    sides = sides[torch.arange(count), fits.int().argmax(dim=1)].where(fits.any(dim=1, keepdim=True), float(size))
    place = (torch.rand(count, 2, generator=generator) * (size - sides + 1)).floor()
    return torch.cat([place, sides], dim=1)


def _resized(images: Tensor, size: int) -> Tensor:
    """Square images of that size; antialiased as PIL does it."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 5 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images are {images.dtype} {tuple(images.shape)}; expected uint8 (frames, 5, S, S)")
    if images.shape[-1] == size:
        return images
    resized = F.interpolate(images.float(), (size, size), mode="bilinear", align_corners=False, antialias=True)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def _sliced(images: Tensor, boxes: Tensor, flip: Tensor) -> Tensor:
    """Crops of the size of the view: no interpolation."""
    places = zip(images, boxes.int().tolist(), strict=True)
    views = torch.stack([image[:, y : y + height, x : x + width] for image, (x, y, width, height) in places])
    flip = flip.to(views.device)
    views[flip] = views[flip].flip(-1)
    return views


def _resampled(images: Tensor, boxes: Tensor, angle: Tensor, flip: Tensor, crop: int) -> Tensor:
    """Rotation, crop and flip as one map from each pixel of a view to a place in the frame, bilinear."""
    places = _places(boxes, angle, flip, images.shape[-1], crop).to(images.device, non_blocking=True)
    padding = "zeros" if angle.any() else "border"  # black corners; else the edge goes on, as in a plain resize
    views = images.new_empty((*images.shape[:2], crop, crop))
    for source, target, grid in zip(*map(_parts, (images, views, places)), strict=True):
        sampled = F.grid_sample(source.float(), grid, mode="bilinear", padding_mode=padding, align_corners=False)
        target.copy_(sampled.round_())
    return views


def _places(boxes: Tensor, angle: Tensor, flip: Tensor, size: int, crop: int) -> Tensor:
    """Where in its frame each pixel of a view lies: x and y, both from -1 to 1, (B, crop, crop, 2).

    The same as ``F.affine_grid``, in a tenth of its time: x hangs on the column and y on the row until they are turned.
    """
    pixel = (2 * torch.arange(crop) + 1) / crop - 1
    left, top, width, height = boxes.T[:, :, None] / size
    x = 2 * left + width - 1 + torch.where(flip[:, None], -width, width) * pixel
    y = 2 * top + height - 1 + height * pixel
    angle, x, y = torch.deg2rad(angle)[:, None, None], x[:, None, :], y[:, :, None]
    turned = [angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y]
    return torch.stack(turned, dim=1).permute(0, 2, 3, 1)


def _coloured(views: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """torchvision's colour jitter and greyscale of the first three channels, in place, for drawn frames."""
    if not recipe.jitter and not recipe.grey_probability:
        return views
    from torchvision.transforms.v2 import functional as V

    adjust = (V.adjust_brightness, V.adjust_contrast, V.adjust_saturation, V.adjust_hue)
    for rows in _drawn(views, recipe.jitter and recipe.jitter_probability, generator).split(ALIKE):
        change = recipe.jitter * (2 * torch.rand(4, generator=generator) - 1)
        factors = [*(1 + change[:3]).tolist(), change[3].item() / 2]  # hue: a share of the colour circle
        rgb = views[rows, :3] / 255
        for step in torch.randperm(4, generator=generator).tolist():
            rgb = adjust[step](rgb, factors[step])
        views[rows, :3] = (255 * rgb).round_().to(torch.uint8)
    rows = _drawn(views, recipe.grey_probability, generator)
    views[rows, :3] = V.rgb_to_grayscale(views[rows, :3].float(), num_output_channels=3).round().to(torch.uint8)
    return views


def _drawn(views: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Numbers of the frames to which something happens that has this probability."""
    return (torch.rand(len(views), generator=generator) < probability).nonzero()[:, 0].to(views.device)


def _normalised(views: Tensor, normalisation: Normalisation) -> Batch:
    """(x / 255 - mean) / std of every modality, three channels each."""
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (normalisation.mean, normalisation.std))
    scale, shift = (value.float().to(views.device) for value in (1 / (255 * std), -mean / std))
    outputs = []
    for images in views.split((3, 1, 1), dim=1):
        shape = (len(images), 3, *images.shape[2:])
        out = torch.empty(shape, device=images.device, memory_format=torch.channels_last)
        for source, target in zip(_parts(images), _parts(out), strict=True):
            target.copy_(torch.addcmul(shift, source.float(), scale))
        outputs.append(out)
    return tuple(outputs)


def _parts(batch: Tensor) -> tuple[Tensor, ...]:
    """A batch in pieces that stay in the processor's cache; whole on other devices."""
    return batch.split(8 * torch.get_num_threads() if batch.device.type == "cpu" else max(1, len(batch)))

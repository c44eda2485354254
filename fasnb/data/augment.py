"""From stored bytes to a network's input: whole batches cropped, rotated, coloured and normalised on their device.

All modalities of a frame share its geometric draw. What a frame gets depends on (seed, epoch, batch number) alone: the
numbers are drawn on the CPU, so that every device sees the same batches. Outputs are channels-last, as convolutions
like them; a modality of one channel fills three, each normalised with its own mean and standard deviation.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fasnb.data.store import Store
from fasnb.paper.recipe import Normalisation, Recipe

Batch = tuple[Tensor, Tensor, Tensor]  # rgb, depth, ir

CHANNELS = {5: (3, 1, 1), 9: (3, 3, 3)}  # of rgb, depth and IR, by their sum
ATTEMPTS = 10  # draws of a random resized crop before the whole frame is taken, as in torchvision
PART = 8  # frames resampled at once by each thread; more would not fit the processor's cache
ASPECT = (3 / 4, 4 / 3)  # of a random resized crop, as in torchvision
LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, torchvision's digits


def evaluation(
    images: Tensor,
    recipe: Recipe,
    normalisation: Normalisation,
    mirror: bool = False,
    *,
    channels: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """The authors' preparation of test images: resize, centre crop, scale to [0, 1], normalise.

    Equal to torchvision's Resize, CenterCrop, ToTensor, Normalize on PIL images up to float32 rounding (1e-6 of the
    range) where the store has the recipe's size; a resize here may differ from PIL's by one grey level.

    Args:
        images: uint8 (B, C, S, S), a store's channel order.
        mirror: flip left and right.
        channels: of rgb, depth and IR; by default 3, 1, 1 or 3, 3, 3, whichever has the sum C.
        dtype: of the results, float32 or bfloat16.

    Returns:
        rgb, depth, ir: each (B, 3, crop, crop), channels-last.

    Raises:
        ValueError: images of another type or shape.
    """
    images = _resized(images, recipe)
    edge = _centre(images.shape[-1], recipe.crop)
    crops = images[..., edge : edge + recipe.crop, edge : edge + recipe.crop]
    return _normalised(crops.flip(-1) if mirror else crops, normalisation, channels, dtype)


def training(
    images: Tensor,
    recipe: Recipe,
    normalisation: Normalisation,
    generator: torch.Generator,
    *,
    channels: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """One random view of every frame, as the recipe says.

    Order as in the released options: rotation about the centre with black corners, resize, random resized crop, flip;
    then, on RGB, colour jitter and greyscale. Rotation, crop and flip are one bilinear resampling (torchvision on PIL
    does each by itself, the rotation by nearest neighbour, the crop with averaging where it reduces). Without rotation
    and change of scale nothing is resampled.

    Args:
        images: uint8 (B, C, S, S), a store's channel order.
        generator: on the CPU; the only source of randomness.
        channels, dtype: as in ``evaluation``.

    Returns:
        rgb, depth, ir: each (B, 3, crop, crop), channels-last.

    Raises:
        ValueError: as ``evaluation``.
    """
    images = _resized(images, recipe)
    boxes, angle, flip = draw_geometry(len(images), images.shape[-1], recipe, generator)
    if recipe.rotation or recipe.scale_low < 1:
        views = _resampled(images, boxes, angle, flip, recipe.crop)
    else:
        views = _sliced(images, boxes, flip, recipe.crop)
    views = _coloured(views, recipe, generator)
    return _normalised(views, normalisation, channels, dtype)


def batches(
    store: Store,
    index: Sequence[int] | np.ndarray,
    recipe: Recipe,
    normalisation: Normalisation,
    *,
    seed: int,
    epoch: int,
    device: torch.device | str,
    dtype: torch.dtype | None = None,
    shuffle: bool = True,
    augment: bool = True,
    mirror: bool = False,
    batch_size: int | None = None,
    drop_last: bool = False,
    first: int = 0,
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """One epoch of (rgb, depth, ir, label), each image batch (B, 3, crop, crop), labels int64 (B,).

    For a GPU the next batch is read while this one is used. The same seed and epoch give the same batches on every
    device and in every process.

    Args:
        index: the frames of this epoch, numbers into the store.
        dtype: of the images; float32 if not given.
        shuffle: in an order drawn from (seed, epoch), otherwise in the order of ``index``.
        augment: as in ``training``; otherwise as in ``evaluation``, with ``mirror``.
        batch_size: frames per batch, by default the recipe's.
        drop_last: leave out a last batch that is not full.
        first: number of the batch to begin with, to go on within an epoch; those before cost nothing.

    Raises:
        ValueError: no frames, one that is not there, or one to train on without a label. Elsewhere missing labels are
            -1.
    """
    index, size = np.asarray(index, dtype=np.int64), batch_size or recipe.batch_size
    if not index.size or not 0 <= index.min() <= index.max() < len(store):
        raise ValueError(f"index must name frames from 0 to {len(store) - 1}, and at least one")
    labels = torch.from_numpy(store.frames["label"].fillna(-1).to_numpy(dtype=np.int64)[index])
    if augment and (labels < 0).any():
        sample = store.frames["sample"].iloc[index[int((labels < 0).nonzero()[0])]]
        raise ValueError(f"{sample} has no label; train on frames whose list gives one")
    order = torch.randperm(len(index), generator=_generator(seed, epoch, 0)) if shuffle else torch.arange(len(index))
    parts = [part for part in order.split(size) if len(part) == size or not drop_last][first:]

    def prepare(number: int, images: Tensor) -> Batch:
        options = {"channels": tuple(store.channels.values()), "dtype": dtype or torch.float32}
        if augment:
            return training(images, recipe, normalisation, _generator(seed, epoch, number + 1), **options)
        return evaluation(images, recipe, normalisation, mirror, **options)

    def run() -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        wanted = [index[part.numpy()] for part in parts]
        # on a CPU a reading thread would only push aside the threads that compute
        ahead = _read_ahead(store, wanted) if torch.device(device).type != "cpu" else map(store.read, wanted)
        for number, (part, images) in enumerate(zip(parts, ahead, strict=True), first):
            label = labels[part].to(device, non_blocking=True)
            yield *prepare(number, images.to(device, non_blocking=True)), label

    return run()


def draw_geometry(count: int, size: int, recipe: Recipe, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (count, 4) as left, top, width, height in pixels of the frame, angles (count,) in degrees, flips (count,).

    A positive angle turns counter-clockwise. Boxes are whole pixels.
    """
    angle = (2 * torch.rand(count, generator=generator) - 1) * recipe.rotation
    if recipe.scale_low < 1:
        boxes = _random_boxes(count, size, recipe.scale_low, generator)
    else:
        edge = torch.full((count, 2), float(_centre(size, recipe.crop)))
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
    fits = (sides <= size).all(dim=2) & (sides > 0).all(dim=2)
    first = fits.int().argmax(dim=1)
    sides = torch.where(fits.any(dim=1, keepdim=True), sides[torch.arange(count), first], float(size))
    place = (torch.rand(count, 2, generator=generator) * (size - sides + 1)).floor()
    return torch.cat([place, sides], dim=1)


def _generator(seed: int, epoch: int, number: int) -> torch.Generator:
    state = np.random.SeedSequence([seed, epoch, number]).generate_state(2)
    return torch.Generator().manual_seed(int(state[0]) << 32 | int(state[1]))


def _read_ahead(store: Store, parts: list[np.ndarray]) -> Iterator[Tensor]:
    """Page-locked batches, the next of which is read while one is used."""
    with ThreadPoolExecutor(1) as reader:
        pending = reader.submit(store.read, parts[0], pin=True) if parts else None
        for following in [*parts[1:], None]:
            if pending is None:
                return
            images = pending.result()
            pending = reader.submit(store.read, following, pin=True) if following is not None else None
            yield images


def _resized(images: Tensor, recipe: Recipe) -> Tensor:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[-1] != images.shape[-2]:
        raise ValueError(f"images are {images.dtype} {tuple(images.shape)}; expected uint8 (frames, channels, S, S)")
    if images.shape[-1] == recipe.resize:
        return images
    size = (recipe.resize, recipe.resize)
    resized = F.interpolate(images.float(), size, mode="bilinear", align_corners=False, antialias=True)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def _centre(size: int, crop: int) -> int:
    return round((size - crop) / 2)  # torchvision's rounding


def _sliced(images: Tensor, boxes: Tensor, flip: Tensor, crop: int) -> Tensor:
    """Crops of the size of the view: no interpolation."""
    corners = boxes[:, :2].int().tolist()
    if all(corner == corners[0] for corner in corners):
        left, top = corners[0]
        views = images[..., top : top + crop, left : left + crop].contiguous()
    else:
        pairs = zip(images, corners, strict=True)
        views = torch.stack([image[:, top : top + crop, left : left + crop] for image, (left, top) in pairs])
    chosen = torch.arange(len(images)) + len(images) * flip
    return torch.cat([views, views.flip(-1)]).index_select(0, chosen.to(images.device, non_blocking=True))


def _resampled(images: Tensor, boxes: Tensor, angle: Tensor, flip: Tensor, crop: int) -> Tensor:
    """Rotation, crop and flip as one affine map from each output pixel to a place in the frame, bilinear."""
    maps = affine_maps(boxes, angle, flip, images.shape[-1]).to(images.device, non_blocking=True)
    padding = "zeros" if angle.any() else "border"  # black corners; else the edge goes on, as in a plain resize
    views = images.new_empty((*images.shape[:2], crop, crop))
    for source, target, grid in zip(*map(_parts, (images, views, _grids(maps, crop))), strict=True):
        sampled = F.grid_sample(source.float(), grid, mode="bilinear", padding_mode=padding, align_corners=False)
        target.copy_(sampled.round_())
    return views


def _grids(maps: Tensor, crop: int) -> Tensor:
    """``F.affine_grid``, a tenth of its time: both coordinates as one complex number, (B, crop, crop, 2)."""
    pixel = (2 * torch.arange(crop, device=maps.device) + 1) / crop - 1
    across, down, shift = torch.view_as_complex(maps.transpose(1, 2).contiguous())[..., None].unbind(1)
    return torch.view_as_real((across * pixel)[:, None, :] + (down * pixel + shift)[:, :, None])


def _empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """``torch.empty``; on the CPU by numpy, which asks for huge pages (fresh small ones cost a third of the time)."""
    if device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.empty(math.prod(shape) * dtype.itemsize, np.uint8)).view(dtype).view(shape)


def _parts(images: Tensor) -> tuple[Tensor, ...]:
    """A batch in pieces that stay in the processor's cache; whole on other devices."""
    return images.split(PART * torch.get_num_threads() if images.device.type == "cpu" else max(1, len(images)))


def affine_maps(boxes: Tensor, angle: Tensor, flip: Tensor, size: int) -> Tensor:
    """Matrices (B, 2, 3) from the view's coordinates in [-1, 1] to those of the frame: flip, box, inverse rotation."""
    centre, half = (2 * boxes[:, :2] + boxes[:, 2:]) / size - 1, boxes[:, 2:] / size
    across, down = torch.where(flip, -half[:, 0], half[:, 0]), half[:, 1]
    cos, sin = torch.cos(torch.deg2rad(angle)), torch.sin(torch.deg2rad(angle))
    first = torch.stack([cos * across, -sin * down, cos * centre[:, 0] - sin * centre[:, 1]], dim=1)
    second = torch.stack([sin * across, cos * down, sin * centre[:, 0] + cos * centre[:, 1]], dim=1)
    return torch.stack([first, second], dim=1)


def _coloured(views: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Colour jitter and greyscale of the first three channels, in place, for the frames that are drawn."""
    count = len(views)
    if recipe.jitter and recipe.jitter_probability:
        factors = 1 + recipe.jitter * (2 * torch.rand(4, count, generator=generator) - 1)
        factors[3] = (factors[3] - 1) / 2
        order = torch.randperm(4, generator=generator).tolist()  # one order a batch; in torchvision one a frame
        rows = (torch.rand(count, generator=generator) < recipe.jitter_probability).nonzero()[:, 0]
        _recolour(views, rows, lambda rgb: colour_jitter(rgb, *factors[:, rows].to(rgb.device), order))
    if recipe.grey_probability:
        rows = (torch.rand(count, generator=generator) < recipe.grey_probability).nonzero()[:, 0]
        _recolour(views, rows, lambda rgb: _luminance(rgb).expand_as(rgb))
    return views


def _recolour(views: Tensor, rows: Tensor, change) -> None:
    rows = rows.to(views.device)
    rgb = change(views[:, :3].index_select(0, rows).float() / 255)
    views[rows, :3] = (rgb * 255).round_().to(torch.uint8)


def colour_jitter(rgb: Tensor, brightness, contrast, saturation, hue, order: Sequence[int] = (0, 1, 2, 3)) -> Tensor:
    """torchvision's colour jitter with one factor a frame.

    Args:
        rgb: float (B, 3, H, W) in [0, 1].
        brightness, contrast, saturation: (B,), 1 = unchanged; negative values count as 0.
        hue: (B,), a share of the colour circle, 0 = unchanged.
        order: in which the four are applied.
    """
    shape = (-1, 1, 1, 1)
    brightness, contrast, saturation = (f.clamp(min=0).view(shape) for f in (brightness, contrast, saturation))
    steps = (
        lambda x: (x * brightness).clamp(0, 1),
        lambda x: torch.lerp(_luminance(x).mean(dim=(1, 2, 3), keepdim=True), x, contrast).clamp(0, 1),
        lambda x: torch.lerp(_luminance(x), x, saturation).clamp(0, 1),
        lambda x: turn_hue(x, hue.view(shape)),
    )
    for step in order:
        rgb = steps[step](rgb)
    return rgb


def _luminance(rgb: Tensor) -> Tensor:
    red, green, blue = rgb.split(1, dim=1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def turn_hue(rgb: Tensor, turn: Tensor) -> Tensor:
    """Shift the hue of HSV by a share of the colour circle; value and saturation stay. rgb (B, 3, H, W) in [0, 1]."""
    red, green, blue = rgb.split(1, dim=1)
    value = rgb.amax(dim=1, keepdim=True)
    chroma = value - rgb.amin(dim=1, keepdim=True)
    safe = chroma.clamp(min=1e-6)  # where it is 0, so are the differences
    sextant = torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    sextant = torch.where(value == red, (green - blue) / safe, sextant) + 6 * turn
    place = sextant + torch.tensor([5.0, 3.0, 1.0], device=rgb.device).view(1, 3, 1, 1)
    place -= 6 * torch.floor(place / 6)
    return value - chroma * torch.minimum(place, 4 - place).clamp_(0, 1)


def _normalised(
    views: Tensor, normalisation: Normalisation, channels: Sequence[int] | None, dtype: torch.dtype
) -> Batch:
    """(x / 255 - mean) / std of every modality, three channels each."""
    channels = channels or CHANNELS.get(views.shape[1], ())
    if len(channels) != 3 or sum(channels) != views.shape[1]:
        raise ValueError(f"{views.shape[1]} channels cannot be {tuple(channels)} of rgb, depth and IR; pass channels")
    mean = torch.tensor(normalisation.mean, dtype=torch.float64)
    std = torch.tensor(normalisation.std, dtype=torch.float64)
    # pixels and colours of a row in one line, so that the arithmetic runs over long vectors
    scale, shift = (v.float().repeat(views.shape[-1]).to(views.device) for v in (1 / (255 * std), -mean / std))

    def normalise(images: Tensor) -> Tensor:
        count, _, height, width = images.shape
        out = _empty((count, height, width * 3), dtype, images.device)
        for source, target in zip(_parts(images), _parts(out), strict=True):
            planes = source.unbind(1) if source.shape[1] == 3 else [source[:, 0]] * 3
            lines = torch.stack(planes, dim=-1).view(target.shape)
            if dtype == torch.float32:
                target.copy_(lines).mul_(scale).add_(shift)  # in place: no second array passes through the cache
            else:
                target.copy_(lines.float().mul_(scale).add_(shift))
        return out.view(count, height, width, 3).permute(0, 3, 1, 2)

    return tuple(normalise(part) for part in views.split(tuple(channels), dim=1))

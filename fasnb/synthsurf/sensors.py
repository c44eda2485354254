"""Light and cameras of SynthSURF: from reflectance and relief to 8-bit RGB, depth and infrared frames.

Nothing here knows what a face is. Inputs are maps of shape (n, rows, columns): reflectance in [0, 1], unit surface
normals and the height ``z`` towards the camera in head units (1 unit = 75 mm). Parameters are tensors of shape
(n, ..., 1, 1), one row a frame, so that they broadcast over maps.

To keep the floating-point work as reproducible as the random numbers (``fasnb.synthsurf.draws``), maps are worked on
elementwise, sums over a map are taken in float64, and parameters are computed for a multiple of
``fasnb.synthsurf.rendering.ROW_BLOCK`` rows: what is left over after whole vector registers is computed with other
instructions, whose results may differ in the last bit.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from fasnb.synthsurf.draws import Draws, Rows

HALF_FIELD = 1.38  # the frame covers +-1.38 head units, i.e. +-103 mm
MM_PER_UNIT = 75.0
GREY_PER_MM = 1.6  # depth frames: one grey level = 0.625 mm
REFERENCE_DISTANCE = 500.0  # mm; depth noise is stated for this distance and grows with its square


@dataclass(frozen=True)
class Preset:
    """Strength of everything that varies or disturbs. Standard deviations unless a range (low, high) is given."""

    pose: tuple[float, float, float] = (14.0, 10.0, 8.0)  # degrees: yaw, pitch, roll
    light: float = 1.0  # scale of the variation of direction, colour, saturation and tone curve
    rgb_noise: float = 0.025  # of full scale
    rgb_blur: float = 0.8  # largest share of a 3x3 binomial blur
    rgb_gain: float = 0.25  # of the logarithm of exposure
    ir_noise: float = 0.03  # of full scale
    ir_gain: float = 0.25  # of the logarithm of exposure
    ir_unevenness: float = 0.06  # smooth multiplicative pattern of the illuminator
    depth_white: float = 1.5  # mm at 500 mm, independent between pixels
    depth_wave: float = 3.0  # mm at 500 mm, smooth over about an eighth of the frame
    depth_dropout: float = 0.02  # how readily patches of the depth map fail
    depth_edge: float = 9.0  # mm in a 3x3 neighbourhood of a 64-pixel frame; larger steps tear holes
    depth_offset: float = 14.0  # mm, of the whole map
    depth_scale: float = 0.12  # relative
    depth_smooth: float = 0.6  # share of a 3x3 binomial blur before the noise
    print_gamut: float = 0.10  # how far the printer's black, white and saturation fall short
    print_blur: float = 0.5  # largest share of a 3x3 binomial blur
    print_cast: float = 0.05  # colour cast
    print_halftone: float = 0.02  # amplitude of the screen, of full scale
    carbon: tuple[float, float] = (0.0, 1.0)  # share of the grey printed with carbon black, which absorbs infrared
    dye: tuple[float, float] = (0.02, 0.20)  # infrared absorbed by full cyan, magenta and yellow, nearly transparent
    paper_ir: tuple[float, float] = (0.60, 0.85)  # infrared reflectance of blank paper
    cut: float = 0.10  # relative, size of the cut-outs
    gap: float = 0.06  # head units between nose tip and sheet, at most twice this
    shadow: float = 0.35  # darkening of cut edges and of skin behind the sheet
    curve: tuple[float, float] = (1.05, 2.4)  # head units, radius of the bent sheet
    outline: float = 0.05  # relative, radius at which the background is cut away


PLAUSIBLE = Preset()
"""Sensor noise like that of a consumer RGB-D camera; networks that see all modalities soon make no error."""

HARD = Preset(
    ir_noise=0.16,
    ir_unevenness=0.25,
    paper_ir=(0.48, 0.68),
    carbon=(0.4, 1.0),
    depth_white=7.0,
    depth_wave=15.0,
    depth_dropout=0.10,
    depth_edge=22.0,
    depth_smooth=1.0,
    shadow=0.1,
)
"""Noise raised beyond any real camera's until small networks make errors. Not physically plausible."""

PRESETS = {"plausible": PLAUSIBLE, "hard": HARD}


# ---- maps -----------------------------------------------------------------------------------------------------------


def pixel_grid(size: int, zoom: Tensor, shift_x: Tensor, shift_y: Tensor, cos: Tensor, sin: Tensor):
    """Head coordinates of the pixels after in-plane rotation (its cosine and sine), scale and shift.

    Maps get a few rows below the frame so that they fill whole vector registers (see the module's docstring).

    Returns:
        x (right) and y (up): tensors (n, rows, size) with rows >= size.
    """
    rows = map_rows(size)
    step = 2 * HALF_FIELD / size
    columns = torch.arange(size, device=zoom.device, dtype=torch.float32)
    lines = torch.arange(rows, device=zoom.device, dtype=torch.float32)
    x = ((columns + 0.5) * step - HALF_FIELD)[None, None, :] / zoom - shift_x
    y = (HALF_FIELD - (lines + 0.5) * step)[None, :, None] / zoom - shift_y
    return cos * x + sin * y, cos * y - sin * x


def map_rows(size: int) -> int:
    """Rows of a map for a frame of size x size pixels: the fewest that make rows * size a multiple of 64."""
    return size + next(extra for extra in range(64) if (size + extra) * size % 64 == 0)


def _neighbours(m: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Left, right, upper and lower neighbours of each pixel; the border is repeated."""
    p = pad(m, (1, 1, 1, 1), mode="replicate")
    return p[..., 1:-1, :-2], p[..., 1:-1, 2:], p[..., :-2, 1:-1], p[..., 2:, 1:-1]


def surface_normals(z: Tensor, pixel: Tensor) -> Tensor:
    """Unit normals (n, 3, rows, columns) of the surface z (n, rows, columns), ``pixel`` head units wide per pixel."""
    left, right, upper, lower = _neighbours(z)
    nx = (left - right) / (2 * pixel)
    ny = (lower - upper) / (2 * pixel)
    nz = (nx * nx + ny * ny + 1).rsqrt_()
    return torch.stack([nx.mul_(nz), ny.mul_(nz), nz], 1)


def blurred(m: Tensor, share: Tensor | float) -> Tensor:
    """``share`` (0 to 1) of a 3x3 binomial blur mixed into the maps (n, [channels,] rows, columns)."""
    p = pad(m if m.dim() == 4 else m[:, None], (1, 1, 1, 1), mode="replicate")
    p = (p[..., :-2, :] + p[..., 2:, :]).add_(p[..., 1:-1, :], alpha=2.0)
    p = (p[..., :-2] + p[..., 2:]).add_(p[..., 1:-1], alpha=2.0).mul_(1 / 16).view_as(m)
    return p.sub_(m).mul_(share).add_(m)


def smooth_pattern(draws: Draws, nodes: int, rows: int, size: int) -> Tensor:
    """Smooth random map (n, rows, size): cubic interpolation (Keys, a = -0.75) of nodes x nodes normal numbers."""
    values = draws.normal(nodes, nodes).view(-1, nodes, nodes)
    index, weight = _cubic_taps(nodes, size, size, values.device)
    columns = sum(values[:, :, index[tap]] * weight[tap] for tap in range(4))
    index, weight = _cubic_taps(nodes, rows, size, values.device)
    out = columns.index_select(1, index[0]).mul_(weight[0][:, None])
    for tap in range(1, 4):
        out.addcmul_(columns.index_select(1, index[tap]), weight[tap][:, None])
    return out


def _cubic_taps(nodes: int, count: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Node numbers and weights, each (4, count), of the cubic interpolation at pixels 0..count-1 of ``size``."""
    place = (torch.arange(count, dtype=torch.float64) + 0.5) * nodes / size - 0.5
    offsets = torch.arange(-1, 3, dtype=torch.float64)[:, None]
    distance = (offsets - (place - place.floor())).abs()
    a = -0.75
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * a * distance - 4 * a
    index = (place.floor() + offsets).clamp(0, nodes - 1).long()
    return index.to(device), torch.where(distance <= 1, near, far).float().to(device)


def power(base: Tensor, exponent: Tensor | float) -> Tensor:
    """base ** exponent for base > 0, in place; several times faster than ``torch.pow``."""
    return base.log_().mul_(exponent).exp_()


def _mean(m: Tensor, inside: Tensor) -> Tensor:
    """Mean of a map over the pixels inside, (n, 1, 1), summed in float64."""
    total = (m * inside).sum((1, 2), keepdim=True, dtype=torch.float64)
    return (total / inside.sum((1, 2), keepdim=True, dtype=torch.float64).clamp(min=1)).float()


# ---- the colour camera ----------------------------------------------------------------------------------------------


@dataclass
class Camera(Rows):
    """Light and cameras of a frame. Shapes (n, 1, 1) unless stated."""

    light: Tensor  # (n, 3, 1, 1) unit vector towards the lamp
    half: Tensor  # (n, 3, 1, 1) unit vector half-way between lamp and camera
    ambient: Tensor  # share of the light that comes from everywhere
    colour: Tensor  # (n, 3, 1, 1) colour of the light
    gain: Tensor  # exposure
    saturation: Tensor
    gamma: Tensor  # exponent of the tone curve
    shine: Tensor  # strength of the highlight
    blur: Tensor
    noise: Tensor  # scale of all sensors' noise
    ir_level: Tensor  # mean that the automatic exposure of the infrared camera aims at
    distance: Tensor  # mm from camera to head
    depth_offset: Tensor  # mm
    depth_scale: Tensor


def draw_camera(draws: Draws, preset: Preset) -> Camera:
    """Light and camera settings of one video (the drift from frame to frame is added elsewhere)."""
    light = preset.light
    direction = _unit(0.8 * light * draws.normal(), 0.3 + 0.5 * light * draws.normal(), 1.0)
    warmth = 0.05 * light * draws.normal()
    colour = torch.stack([1 + warmth, torch.ones_like(warmth), 1 - 1.2 * warmth], 1)
    return Camera(
        light=direction,
        half=_unit(direction[:, 0], direction[:, 1], direction[:, 2] + 1.0),
        ambient=draws.uniform(0.35, 0.85),
        colour=colour * (1 + 0.015 * light * draws.normal(3)),
        gain=(preset.rgb_gain * draws.normal()).exp(),
        saturation=1 + 0.10 * light * draws.normal(),
        gamma=(0.12 * light * draws.normal()).exp() / 1.6,
        shine=draws.uniform(0.0, 0.22),
        blur=preset.rgb_blur * draws.uniform(0.0, 1.0),
        noise=draws.uniform(0.3, 1.7),
        ir_level=0.42 * (preset.ir_gain * draws.normal()).exp(),
        distance=draws.uniform(380.0, 700.0),
        depth_offset=preset.depth_offset * draws.normal(),
        depth_scale=1 + preset.depth_scale * draws.normal(),
    )


def _unit(x: Tensor, y: Tensor, z: Tensor | float) -> Tensor:
    """Vectors of length 1, (n, 3, 1, 1), from components (n, 1, 1)."""
    length = (x * x + y * y + z * z).sqrt()
    return torch.stack([x / length, y / length, z / length], 1)


def colour_image(reflectance: Tensor, normal: Tensor, gloss: Tensor | float, camera: Camera) -> Tensor:
    """Noise-free colour image in [0, 1]: Lambert and Blinn reflection, exposure, saturation, tone curve.

    Args:
        reflectance: (n, >= 3, rows, columns), the first three channels are R, G, B.
        normal: unit normals (n, 3, rows, columns).
        gloss: local factor of the highlight, (n, rows, columns).
        camera: light and camera.

    Returns:
        (n, 3, rows, columns).
    """
    light, half = camera.light, camera.half
    lambert = (normal[:, 0] * light[:, 0]).addcmul_(normal[:, 1], light[:, 1]).addcmul_(normal[:, 2], light[:, 2])
    lit = lambert.clamp_(min=0).mul_(1.15 - camera.ambient).add_(camera.ambient)
    facing = (normal[:, 0] * half[:, 0]).addcmul_(normal[:, 1], half[:, 1]).addcmul_(normal[:, 2], half[:, 2])
    square = facing.clamp_(min=0).square_()
    highlight = _eighth(square) * square * gloss * camera.shine  # the 18th power of the cosine
    image = (reflectance[:, :3] * lit[:, None]).add_(highlight[:, None])
    image.mul_(camera.colour * camera.gain[:, None])
    grey = to_grey(image)
    image.sub_(grey).mul_(camera.saturation[:, None]).add_(grey)
    return power(image.clamp_(1e-3, 1.0), camera.gamma[:, None])


def _eighth(x: Tensor) -> Tensor:
    return x.square().square_().square_()


def to_grey(image: Tensor) -> Tensor:
    """Mean of the three channels, (n, 1, rows, columns), by additions in a fixed order."""
    return (image[:, :1] + image[:, 1:2]).add_(image[:, 2:3]).mul_(1 / 3)


# ---- the three cameras ----------------------------------------------------------------------------------------------


def colour_frame(image: Tensor, inside: Tensor, camera: Camera, draws: Draws, preset: Preset) -> Tensor:
    """Lens blur, sensor noise and the black background: the R, G, B frame, float 0..255, (n, 3, rows, columns)."""
    red, green = draws.normal_maps(*image.shape[2:])
    blue, _ = draws.normal_maps(*image.shape[2:])
    noise = torch.stack([red, green, blue], 1).mul_(preset.rgb_noise * camera.noise[:, None])
    return _grey_levels(blurred(image, camera.blur[:, None]).add_(noise), inside[:, None])


def infrared_signal(reflectance: Tensor, normal_z: Tensor, gloss: Tensor, depth: Tensor, camera: Camera) -> Tensor:
    """Light that returns to an active infrared camera whose illuminator sits beside the lens.

    Reflectance times cos(incidence)^0.8, falling with the square of the distance ``depth`` (mm; (n, rows, columns)),
    plus a narrow highlight where the surface faces the camera.
    """
    falloff = (camera.distance / depth).square_()
    facing = normal_z.clamp(min=1e-3)
    eighth = _eighth(facing)
    highlight = eighth.square().square_().mul_(eighth).mul_(gloss).mul_(0.10)  # the 40th power of the cosine
    return power(facing, 0.8).mul_(reflectance).mul_(falloff).add_(highlight)


def infrared_frame(
    signal: Tensor, inside: Tensor, camera: Camera, draws: Draws, preset: Preset
) -> tuple[Tensor, Tensor]:
    """Uneven illumination, automatic exposure, tone curve and noise.

    Returns:
        The frame, float 0..255, and the exposed signal before noise, both (n, rows, columns).
    """
    rows, size = signal.shape[1:]
    signal = smooth_pattern(draws, 6, rows, size).mul_(preset.ir_unevenness).add_(1).mul_(signal).clamp_(1e-4, 1.2)
    exposure = (camera.ir_level / _mean(signal, inside).clamp(min=0.02)).clamp(max=8.0)
    signal.mul_(exposure)
    noise, _ = draws.normal_maps(rows, size)
    frame = power(signal.clamp(1e-4, 1.2), 0.8).add_(noise.mul_(preset.ir_noise * camera.noise))
    return _grey_levels(frame, inside), signal


def depth_frame(depth: Tensor, signal: Tensor, inside: Tensor, camera: Camera, draws: Draws, preset: Preset) -> Tensor:
    """Depth frame: nearer is brighter, 0 where the sensor fails; the mean over the face carries no information.

    Noise grows with the square of the distance. Holes appear at steps, in random patches and where little infrared
    light returns. Depth is stored relative to the mean over the frame, as 0.625 mm a grey level.

    Args:
        depth: mm from the camera, (n, rows, columns).
        signal: exposed infrared signal.
        inside: 1 on the face, 0 on the background.

    Returns:
        float 0..255, (n, rows, columns).
    """
    rows, size = depth.shape[1:]
    white, trust = draws.normal_maps(rows, size)
    measured = smooth_pattern(draws, 8, rows, size).mul_(preset.depth_wave)
    measured.add_(white.mul_(preset.depth_white * camera.noise)).mul_((camera.distance / REFERENCE_DISTANCE).square())
    measured.add_(blurred(depth, preset.depth_smooth)).sub_(_mean(depth, inside)).add_(camera.depth_offset)
    grey = measured.mul_(-GREY_PER_MM * camera.depth_scale).add_(128.0).round_().clamp_(1.0, 255.0)
    works = _depth_works(depth, signal, trust, draws, preset)
    return grey.mul_(works).mul_(inside)


def _depth_works(depth: Tensor, signal: Tensor, trust: Tensor, draws: Draws, preset: Preset) -> Tensor:
    """1 where the depth sensor gives a value, 0 in holes, float (n, rows, columns)."""
    rows, size = depth.shape[1:]
    at_step, at_patch = draws.uniform_maps(rows, size)
    limit = 2.2 * (preset.depth_edge * 64 / size * (1 + 0.35 * trust) + 4)
    torn = (_range3x3(depth) > limit) & (at_step < 0.7)
    patch = (smooth_pattern(draws, 12, rows, size) > 2.6 - 12 * preset.depth_dropout) & (at_patch < 0.5)
    dark = signal * (trust * 0.3 + 1) < 0.10
    return (torn | patch | dark).logical_not_().float()


def _range3x3(m: Tensor) -> Tensor:
    """Largest minus smallest value in the 3x3 neighbourhood of each pixel."""
    p = pad(m[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    high = torch.maximum(torch.maximum(p[:, :-2], p[:, 1:-1]), p[:, 2:])
    low = torch.minimum(torch.minimum(p[:, :-2], p[:, 1:-1]), p[:, 2:])
    high = torch.maximum(torch.maximum(high[..., :-2], high[..., 1:-1]), high[..., 2:])
    return high - torch.minimum(torch.minimum(low[..., :-2], low[..., 1:-1]), low[..., 2:])


def _grey_levels(frame: Tensor, inside: Tensor) -> Tensor:
    """[0, 1] to rounded 0..255, black outside."""
    return frame.mul_(255.0).round_().clamp_(0.0, 255.0).mul_(inside)

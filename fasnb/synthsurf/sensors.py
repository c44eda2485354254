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

HALF_FIELD = 1.0  # a frame spans +-1 before its crop
MM_PER_UNIT = 75.0
REFERENCE_DISTANCE = 500.0  # mm; depth noise is stated for this distance and grows with its square

# One rule from distance to the 8 bits of a depth frame, for all frames: 2.5 mm a grey level, black from 625 mm on. What
# CASIA-SURF used is not published. Known are the whole-frame mean and deviation of its validation frames, 0.143 and
# 0.101 of full scale, black background included: where a face fills three quarters of a frame, it lies near grey 48,
# with a deviation of about 18. At 2.5 mm a level its own relief makes 7 of these, the distance of the person the rest.
GREY_PER_MM = 0.4
BLACK_AT = 625.0  # mm


@dataclass
class Crop(Rows):
    """The part of the picture that becomes the frame. Shapes (n, 1, 1)."""

    zoom_x: Tensor  # frames per ``2 * HALF_FIELD`` head units
    zoom_y: Tensor
    centre_x: Tensor  # head units
    centre_y: Tensor


@dataclass(frozen=True)
class Look:
    """Strength of everything that varies or disturbs: standard deviations unless a range is given, of prints and sheets
    from a careless attacker to a careful one.

    ``look`` makes one of a difficulty; the reason stands beside each value there.
    """

    pose: tuple[float, float, float]  # degrees: yaw, pitch, roll
    crop: float  # relative, size and place of the face detector's box
    outline: float  # relative, radius at which the background is cut away
    light: float  # scale of the variation of direction, colour, saturation and tone curve
    rgb_noise: float  # of full scale
    rgb_blur: float  # largest share of a 3x3 binomial blur
    rgb_gain: float  # of the logarithm of exposure
    ir_noise: float  # of full scale
    ir_gain: float  # of the logarithm of exposure
    flare: float  # largest share of the colour frame's light that strays in from lamps behind the person
    ir_ambient: float  # largest share of the infrared light that is the room's, without shape
    ir_unevenness: float  # smooth multiplicative pattern of the illuminator
    distance: float  # mm, between videos
    depth_white: float  # mm at 500 mm, independent between pixels
    depth_wave: float  # mm at 500 mm, smooth over about an eighth of the frame
    depth_edge: float  # mm by which a pixel lies behind its neighbour where the projector's light is hidden from it
    jpeg: float  # scale of the quantisation
    photo_pose: float  # degrees: how far the person on the print looks aside
    print_gamut: tuple[float, float]  # how far the printer's black, white and saturation fall short
    print_blur: tuple[float, float]  # share of a 3x3 binomial blur
    print_cast: float  # colour cast
    print_halftone: tuple[float, float]  # amplitude of the screen, of full scale
    carbon: tuple[float, float]  # share of the grey printed with carbon black, which absorbs infrared
    dye: tuple[float, float]  # infrared absorbed by full cyan, magenta and yellow, nearly transparent
    paper_ir: tuple[float, float]  # infrared reflectance of blank paper
    cut: tuple[float, float]  # size of the cut-outs relative to the usual one
    gap: tuple[float, float]  # head units between the face and the sheet
    care: float  # exponent of the care with which prints are made and worn: large = few are made with care
    tilt: float  # degrees, of the sheet against the head
    shadow: float  # darkening of cut edges and of skin behind the sheet
    bow: float  # of a flat sheet: how it bends in the hand
    curve: tuple[float, float]  # head units, radius of the bent sheet
    ridge: tuple[float, float]  # head units, height of the fold that a sheet gets over the nose
    mould: tuple[float, float]  # share of the large forms of the face that are pressed into the sheet


def look(difficulty: float) -> Look:
    """The values at a difficulty from 0 (easy) to 1 (hard).

    Everything that changes with it is a cause one could meet: wider poses, stray light, stronger compression, better
    prints that are worn closer. Their ranges, and the difficulty of each profile, were set by one number on one world that no
    profile uses, see ``benchmarks/difficulty.py``, and frozen before anything else was trained.
    """

    def between(easy: float, hard: float) -> float:
        return easy + (hard - easy) * difficulty

    return Look(
        # subjects were asked to turn their heads while they were filmed
        pose=(between(9.0, 26.0), between(6.0, 18.0), between(5.0, 13.0)),
        # boxes of face detectors are off by some percent; the region comes from a fitted face model
        crop=0.04,
        outline=0.04,
        # indoor light from several sides; colour cameras keep their exposure within about half a stop
        light=between(0.6, 1.0),
        rgb_gain=between(0.10, 0.25),
        # a 1280 x 720 sensor indoors: two percent of noise once a face of some 280 pixels is made smaller
        rgb_noise=0.02,
        rgb_blur=0.6,
        # the projector of an SR300 is much brighter than the room; its pattern is averaged away
        ir_noise=0.015,
        ir_gain=between(0.10, 0.30),
        # backlight and sunny windows: they add light everywhere and so take contrast away
        flare=between(0.05, 0.35),
        ir_ambient=between(0.10, 0.65),
        ir_unevenness=0.10,
        # the camera works from 300 mm on, and people sit at arm's length
        distance=42.0,
        # an SR300 stores 0.125 mm and repeats to about 1 mm at half a metre, less well on dark skin and hair; below 2 mm
        depth_white=between(0.6, 1.4),
        depth_wave=between(0.8, 1.9),
        depth_edge=6.0,
        # files of quality 95 to 75
        jpeg=between(0.7, 2.5),
        # inkjet and laser prints on office paper, from dull to good
        photo_pose=between(4.0, 11.0),
        print_gamut=(0.12, between(0.06, 0.0)),
        print_blur=(0.7, between(0.3, 0.0)),
        print_cast=0.03,
        print_halftone=(0.02, between(0.01, 0.0)),
        # dye inks are nearly transparent to near infrared, laser toner is carbon; office paper reflects like skin or more
        carbon=(0.2, 1.0),
        dye=(0.05, 0.45),
        paper_ir=(0.85, between(0.65, 0.55)),
        # cut by hand along the eyes, nose and mouth of the print
        cut=(1.2, between(1.0, 0.72)),
        shadow=between(0.45, 0.20),
        # worn like a mask: from loose to touching
        gap=(0.24, between(0.06, 0.0)),
        care=1.0,
        tilt=6.0,
        bow=between(0.03, 0.20),
        curve=(2.4, between(1.4, 0.95)),
        ridge=(0.0, between(0.05, 0.32)),
        mould=(0.0, between(0.1, 1.0)),
    )


# ---- maps -----------------------------------------------------------------------------------------------------------


def pixel_grid(size: int, crop: Crop, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Head coordinates of the pixels of a crop after in-plane rotation (its cosine and sine).

    Maps get a few rows below the frame so that they fill whole vector registers (see the module's docstring).

    Returns:
        x (right) and y (up): tensors (n, rows, size) with rows >= size.
    """
    step = 2 * HALF_FIELD / size
    columns = torch.arange(size, device=cos.device, dtype=torch.float32)
    lines = torch.arange(map_rows(size), device=cos.device, dtype=torch.float32)
    x = ((columns + 0.5) * step - HALF_FIELD)[None, None, :] / crop.zoom_x + crop.centre_x
    y = (HALF_FIELD - (lines + 0.5) * step)[None, :, None] / crop.zoom_y + crop.centre_y
    return cos * x + sin * y, cos * y - sin * x


def map_rows(size: int) -> int:
    """Rows of a map for a frame of size x size pixels: the fewest that make rows * size a multiple of 64."""
    return size + next(extra for extra in range(64) if (size + extra) * size % 64 == 0)


def _neighbours(m: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Left, right, upper and lower neighbours of each pixel; the border is repeated."""
    p = pad(m, (1, 1, 1, 1), mode="replicate")
    return p[..., 1:-1, :-2], p[..., 1:-1, 2:], p[..., :-2, 1:-1], p[..., 2:, 1:-1]


def surface_normals(z: Tensor, pixel_x: Tensor, pixel_y: Tensor) -> Tensor:
    """Unit normals (n, 3, rows, columns) of the surface z (n, rows, columns); pixels in head units."""
    left, right, upper, lower = _neighbours(z)
    nx = (left - right) / (2 * pixel_x)
    ny = (lower - upper) / (2 * pixel_y)
    nz = (nx * nx + ny * ny + 1).rsqrt_()
    return torch.stack([nx.mul_(nz), ny.mul_(nz), nz], 1)


def halved(m: Tensor, size: int) -> Tensor:
    """Maps (n, rows, size) at half the resolution: means over 2 x 2 pixels, (n, map_rows(half), half)."""
    half = (size + 1) // 2
    rows = map_rows(half)
    m = pad(
        m[:, None, : min(m.shape[1], 2 * rows)], (0, 2 * half - size, 0, max(0, 2 * rows - m.shape[1])), "replicate"
    )
    m = m[:, 0, 0::2] + m[:, 0, 1::2]
    return (m[..., 0::2] + m[..., 1::2]).mul_(0.25)


def enlarged(m: Tensor, size: int) -> Tensor:
    """Maps at half the resolution brought to (n, size, size), linearly."""
    p = pad(m[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    near, before, after = p[:, 1:-1] * 0.75, p[:, :-2] * 0.25, p[:, 2:] * 0.25
    p = torch.stack([near + before, near + after], 2).flatten(1, 2)[:, :size]
    near, before, after = p[..., 1:-1] * 0.75, p[..., :-2] * 0.25, p[..., 2:] * 0.25
    return torch.stack([near + before, near + after], 3).flatten(2, 3)[..., :size]


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
    flare: Tensor  # share of stray light
    ir_ambient: Tensor
    ir_level: Tensor  # mean that the automatic exposure of the infrared camera aims at
    distance: Tensor  # mm from camera to face or sheet


def draw_camera(person: Draws, video: Draws, look: Look) -> Camera:
    """Light and camera settings of one video (the drift from frame to frame is added elsewhere).

    All videos of a person are taken in the same room: colour and strength of the light are the person's, its direction
    and the rest the video's.
    """
    light = look.light
    direction = _unit(0.7 * light * video.normal(), 0.3 + 0.4 * light * video.normal(), 1.0)
    warmth = 0.05 * light * person.normal()
    colour = torch.stack([1 + warmth, torch.ones_like(warmth), 1 - 1.2 * warmth], 1)
    return Camera(
        light=direction,
        half=_unit(direction[:, 0], direction[:, 1], direction[:, 2] + 1.0),
        ambient=video.uniform(0.35, 0.80),
        colour=colour * (1 + 0.01 * light * video.normal(3)),
        gain=(look.rgb_gain * (0.87 * person.normal() + 0.5 * video.normal())).exp(),
        saturation=1 + 0.08 * light * person.normal(),
        gamma=(0.10 * light * person.normal()).exp() / 1.6,
        shine=video.uniform(0.0, 0.20),
        blur=look.rgb_blur * video.uniform(0.0, 1.0),
        noise=person.uniform(0.5, 1.5),
        flare=look.flare * video.uniform(0.0, 1.0),
        ir_ambient=look.ir_ambient * video.uniform(0.0, 1.0),
        ir_level=0.44 * (look.ir_gain * video.normal()).exp(),
        distance=REFERENCE_DISTANCE + look.distance * video.normal().clamp(-2.2, 2.2),
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
    image.mul_(1 - camera.flare[:, None]).add_(0.5 * camera.flare[:, None]).mul_(camera.colour * camera.gain[:, None])
    grey = to_grey(image)
    image.sub_(grey).mul_(camera.saturation[:, None]).add_(grey)
    return power(image.clamp_(1e-3, 1.0), camera.gamma[:, None])


def _eighth(x: Tensor) -> Tensor:
    return x.square().square_().square_()


def to_grey(image: Tensor) -> Tensor:
    """Mean of the three channels, (n, 1, rows, columns), by additions in a fixed order."""
    return (image[:, :1] + image[:, 1:2]).add_(image[:, 2:3]).mul_(1 / 3)


# ---- the three cameras ----------------------------------------------------------------------------------------------


def colour_frame(image: Tensor, camera: Camera, draws: Draws, look: Look) -> Tensor:
    """Lens blur and sensor noise: R, G, B, float 0..255, (n, 3, rows, columns)."""
    red, green = draws.normal_maps(*image.shape[2:])
    blue, _ = draws.normal_maps(*image.shape[2:])
    noise = torch.stack([red, green, blue], 1).mul_(look.rgb_noise * camera.noise[:, None])
    return blurred(image, camera.blur[:, None]).add_(noise).mul_(255.0)


def infrared_signal(reflectance: Tensor, normal_z: Tensor, gloss: Tensor, depth: Tensor, camera: Camera) -> Tensor:
    """Light that returns to an active infrared camera whose illuminator sits beside the lens.

    It falls with the square of the distance ``depth`` (mm; (n, rows, columns)) and, as near infrared is scattered below
    the surface of skin and paper, only softly where the surface turns away. Where it faces the camera it shines.
    """
    falloff = (camera.distance / depth).square_()
    facing = normal_z.clamp(min=1e-3)
    eighth = _eighth(facing)
    highlight = eighth.square().mul_(eighth).mul_(gloss).mul_(0.10)  # the 24th power of the cosine
    return facing.mul_(0.4).add_(0.6).mul_(reflectance).mul_(falloff).add_(highlight)


def infrared_frame(signal: Tensor, inside: Tensor, camera: Camera, draws: Draws, look: Look) -> Tensor:
    """Uneven illumination, the room's own infrared, automatic exposure, tone curve and noise: float 0..255, (n, rows, columns)."""
    rows, size = signal.shape[1:]
    signal = smooth_pattern(draws, 6, rows, size).mul_(look.ir_unevenness).add_(1).mul_(signal).clamp_(1e-4, 1.2)
    mean = _mean(signal, inside).clamp(min=0.02)
    signal.mul_(1 - camera.ir_ambient).add_(camera.ir_ambient * mean)
    exposure = (camera.ir_level / mean).clamp(max=8.0)
    signal.mul_(exposure)
    noise, _ = draws.normal_maps(rows, size)
    return power(signal.clamp_(1e-4, 1.2), 0.8).add_(noise.mul_(look.ir_noise * camera.noise)).mul_(255.0)


def depth_frame(depth: Tensor, pixel: Tensor, camera: Camera, draws: Draws, look: Look) -> tuple[Tensor, Tensor]:
    """Grey levels of the distances, and where there is one.

    Nearer is brighter. Noise grows with the square of the distance. Where a pixel lies behind its neighbour by more
    than an edge's height, the projector's light does not reach it: a hole.

    Args:
        depth: mm from the camera, (n, rows, columns).
        pixel: height of a pixel, mm, (n, 1, 1).

    Returns:
        float and 1 = a value, 0 = a hole, both (n, rows, columns).
    """
    rows, size = depth.shape[1:]
    white, edge = draws.normal_maps(rows, size)
    measured = smooth_pattern(draws, 8, rows, size).mul_(look.depth_wave)
    measured.add_(white.mul_(look.depth_white * camera.noise)).mul_((camera.distance / REFERENCE_DISTANCE).square())
    measured.add_(depth)
    limit = edge.mul_(0.2).add_(1.0).mul_(look.depth_edge + 3.2 * pixel)  # a steep cheek is no edge
    works = ((depth - _nearest3x3(depth)) < limit).float()
    return measured.mul_(-GREY_PER_MM).add_(GREY_PER_MM * BLACK_AT), works


def _nearest3x3(m: Tensor) -> Tensor:
    """Smallest value in the 3x3 neighbourhood of each pixel."""
    p = pad(m[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    p = torch.minimum(torch.minimum(p[:, :-2], p[:, 1:-1]), p[:, 2:])
    return torch.minimum(torch.minimum(p[..., :-2], p[..., 1:-1]), p[..., 2:])


# ---- what is stored -------------------------------------------------------------------------------------------------

_STEPS = (1.0, 1.5, 2.5, 3.5)  # grey levels, of frequencies 0 to 3 along one side of a block


def compressed(planes: Tensor, strength: float) -> Tensor:
    """What a JPEG file loses: blocks are kept as a few frequencies, each rounded to a step that grows with it.

    Blocks are 4 x 4 pixels, as those of 8 x 8 in a camera's frame of 280 pixels are once it is brought to 125, and the
    transform is Walsh's, which needs additions alone and so gives the same bits everywhere.

    Args:
        planes: grey levels, (n, channels, size, size).
        strength: scale of the steps.
    """
    n, channels, size = planes.shape[:3]
    extra = -size % 4
    p = pad(planes, (0, extra, 0, extra), mode="replicate")
    p = p.view(n, channels, (size + extra) // 4, 4, (size + extra) // 4, 4)
    steps = planes.new_tensor(_STEPS).mul_(strength)
    steps = torch.maximum(steps[:, None, None], steps)
    p = _walsh(_walsh(p, 3), 5).mul_(1 / steps).round_().mul_(steps)
    return _walsh(_walsh(p, 3), 5).view(n, channels, size + extra, size + extra)[..., :size, :size]


def _walsh(p: Tensor, side: int) -> Tensor:
    """Walsh transform of length 4 along one side, its own inverse; frequencies in rising order."""
    a, b, c, d = p.unbind(side)
    outer, inner, turn, wave = a + d, b + c, a - d, b - c
    return torch.stack([outer + inner, turn + wave, outer - inner, turn - wave], side).mul_(0.5)


def colour_compressed(image: Tensor, strength: float) -> Tensor:
    """R, G, B after JPEG: brightness as ``compressed`` does, colour differences at half the resolution and coarser."""
    green = image[:, 1:2]
    grey = ((image[:, :1] + image[:, 2:]).mul_(0.5) + green).mul_(0.5)
    colours = torch.cat([image[:, :1] - grey, image[:, 2:] - grey], 1)
    grey, colours = compressed(grey, strength), compressed(colours, 3 * strength)
    red, blue = colours[:, :1] + grey, colours[:, 1:] + grey
    return torch.cat([red, grey * 2.0 - (red + blue).mul_(0.5), blue], 1)

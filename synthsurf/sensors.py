"""Light and cameras of SynthSURF: from reflectance and relief to 8-bit RGB, depth and infrared frames.

Nothing here knows what a face is. Inputs are maps (n, rows, columns): reflectance in [0, 1], unit surface normals and
the height ``z`` towards the camera in head units. Parameters are tensors (n, ..., 1, 1), one row a frame.

So that every bit can be had again, maps are worked on elementwise and parameters are computed for a multiple of
``rendering.ROW_BLOCK`` rows: what is left over after whole vector registers is computed with other instructions, whose
results may differ in the last bit.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from synthsurf.draws import Draws, Rows

MM_PER_UNIT = 75.0  # head units; a frame spans +-1 of them before its crop
REFERENCE_DISTANCE = 500.0  # mm; depth noise is stated for this distance and grows with its square

# The one rule from distance to the 8 bits of a depth frame: near is bright, 255 at 0.3 m and 0 at 1.0 m, the range in
# which CASIA-SURF was captured (its own paper), clipped at both ends.
WHITE_AT, BLACK_AT = 300.0, 1000.0  # mm
GREY_PER_MM = 255.0 / (BLACK_AT - WHITE_AT)

# Share of full scale of a white surface that faces the infrared camera at REFERENCE_DISTANCE. Living skin then lies near
# 64 of 255 (CASIA-SURF's paper 73 to 78, FaceBagNet's 60, the winners' fact sheet 49), a print near 45 (40 to 54).
IR_EXPOSURE = 0.38
IR_ROOM = 0.40  # what the room's infrared adds at most, as reflectance at REFERENCE_DISTANCE


@dataclass
class Crop(Rows):
    """The part of the picture that becomes the frame. Shapes (n, 1, 1)."""

    zoom_x: Tensor  # frames per two head units
    zoom_y: Tensor
    centre_x: Tensor  # head units
    centre_y: Tensor


@dataclass(frozen=True)
class Look:
    """Strength of everything that varies or disturbs, here at its easiest; ``look`` makes one of a difficulty.

    Standard deviations unless a range is given, of prints and sheets from a careless attacker to a careful one.
    """

    # subjects were asked to turn their heads while they were filmed
    pose: tuple[float, float, float] = (9.0, 6.0, 5.0)  # degrees: yaw, pitch, roll
    crop: float = 0.04  # relative, size and place of the face detector's box, which is off by some percent
    outline: float = 0.04  # relative, radius at which the background is cut away
    # indoor light from several sides; colour cameras keep their exposure within about half a stop
    light: float = 0.6  # scale of the variation of direction, colour, saturation and tone curve
    # a 1280 x 720 sensor indoors: two percent of noise once a face of some 280 pixels is made smaller
    rgb_noise: float = 0.02  # of full scale
    rgb_blur: float = 0.6  # largest share of a 3x3 binomial blur
    rgb_gain: float = 0.10  # of the logarithm of exposure
    # the projector of an SR300 is much brighter than the room; its pattern is averaged away
    ir_noise: float = 0.008  # of full scale
    ir_gain: float = 0.04  # of the logarithm of exposure
    # backlight and sunny windows: they add light everywhere and so take contrast away
    flare: float = 0.05  # largest share of the colour frame's light that strays in from lamps behind the person
    ir_ambient: float = 0.10  # largest share of the infrared light that is the room's, without shape
    ir_unevenness: float = 0.10  # smooth multiplicative pattern of the illuminator
    # mm, mean and deviation between videos: people sit at arm's length; a print is held or worn further away, since
    # before the eyes one sees little
    distance: tuple[float, float] = (440.0, 22.0)
    print_distance: tuple[float, float] = (650.0, 50.0)
    # an SR300 stores 0.125 mm and repeats to about 1 mm at half a metre, less well on dark skin and hair; below 2 mm
    depth_white: float = 0.6  # mm at 500 mm, independent between pixels
    depth_wave: float = 0.8  # mm at 500 mm, smooth over about an eighth of the frame
    depth_edge: float = 6.0  # mm by which a pixel lies behind its neighbour where the projector's light misses it
    # the code is read from infrared: too little light or too much and there is no depth
    depth_dark: float = 0.15  # least signal, in reflectance at REFERENCE_DISTANCE
    depth_bright: float = 2.0  # largest
    motion: float = 0.004  # share of the frame by which a head moves while the patterns are projected
    registration: float = 0.004  # share of the frame, offset of depth and infrared against colour, between videos
    jpeg: float = 0.7  # scale of the quantisation; up to 2.5 it is that of files of quality 95 to 75
    # inkjet and laser prints on office paper, from dull to good
    photo_pose: float = 4.0  # degrees: how far the person on the print looks aside
    print_gamut: tuple[float, float] = (0.12, 0.06)  # how far the printer's black, white and saturation fall short
    print_blur: tuple[float, float] = (0.7, 0.3)  # share of a 3x3 binomial blur
    print_cast: float = 0.03  # colour cast
    print_grain: tuple[float, float] = (0.02, 0.01)  # amplitude, of full scale
    # dye inks are nearly transparent to near infrared, laser toner is carbon; office paper reflects like skin or more
    carbon: tuple[float, float] = (0.1, 0.5)  # share of the grey printed with carbon black, which absorbs infrared
    dye: tuple[float, float] = (0.03, 0.14)  # infrared absorbed by full cyan, magenta and yellow
    paper_ir: tuple[float, float] = (0.95, 0.85)  # infrared reflectance of blank paper
    # cut by hand along the eyes, nose and mouth of the print; worn like a mask, from loose to touching
    cut: tuple[float, float] = (1.2, 1.0)  # size of the cut-outs relative to the usual one
    gap: tuple[float, float] = (0.24, 0.06)  # head units between the face and the sheet
    care: float = 1.0  # exponent of the care with which prints are made and worn: large = few are made with care
    tilt: float = 16.0  # degrees, of the sheet against the head
    shadow: float = 0.45  # darkening of cut edges and of skin behind the sheet
    bow: float = 0.03  # of a flat sheet: how it bends in the hand
    curve: tuple[float, float] = (2.4, 1.4)  # head units, radius of the bent sheet
    ridge: tuple[float, float] = (0.0, 0.05)  # head units, height of the fold that a sheet gets over the nose
    mould: tuple[float, float] = (0.0, 0.1)  # share of the large forms of the face that are pressed into the sheet


_HARD = {"pose": (26.0, 18.0, 13.0), "light": 1.0, "rgb_gain": 0.25, "ir_gain": 0.14, "flare": 0.35}
_HARD |= {"ir_ambient": 0.65, "depth_white": 1.4, "depth_wave": 1.9, "jpeg": 2.5, "photo_pose": 11.0}
_HARD |= {"print_gamut": (0.12, 0.0), "print_blur": (0.7, 0.0), "print_grain": (0.02, 0.0), "paper_ir": (0.95, 0.80)}
_HARD |= {"cut": (1.2, 0.72), "gap": (0.24, 0.0), "shadow": 0.20, "bow": 0.20, "curve": (2.4, 0.95)}
_HARD |= {"ridge": (0.0, 0.32), "mould": (0.0, 1.0), "motion": 0.012, "registration": 0.010}
_HARD |= {"distance": (440.0, 34.0), "print_distance": (570.0, 88.0)}
"""What is harder at difficulty 1: wider poses, stray light, stronger compression, better prints that are worn closer."""


def look(difficulty: float) -> Look:
    """The values at a difficulty from 0 (easy) to 1 (hard), linear between the two.

    Everything that changes with it is a cause one could meet. Distances were set by an untrained rule on the level of
    depth: at an FPR of 1e-2 it accepts all bona fide frames at 0, about 85% at 0.5, less than 20% at 1.

    Raises:
        ValueError: a difficulty that is no number from 0 to 1.
    """
    if isinstance(difficulty, bool) or not isinstance(difficulty, int | float) or not 0 <= difficulty <= 1:
        raise ValueError(f"difficulty is {difficulty!r}; it must be a number from 0 (easy) to 1 (hard)")

    def between(easy, hard):
        if isinstance(easy, tuple):
            return tuple(map(between, easy, hard))
        return easy + (hard - easy) * float(difficulty)

    return Look(**{name: between(getattr(Look, name), hard) for name, hard in _HARD.items()})


def pixel_grid(size: int, crop: Crop, cos: Tensor | float, sin: Tensor | float) -> tuple[Tensor, Tensor]:
    """Head coordinates x (right) and y (up) of the pixels of a crop after in-plane rotation, (n, rows, size).

    Maps get a few rows below the frame so that they fill whole vector registers (see the module's docstring).
    """
    step = 2.0 / size
    columns = torch.arange(size, dtype=torch.float32)
    lines = torch.arange(map_rows(size), dtype=torch.float32)
    x = ((columns + 0.5) * step - 1.0)[None, None, :] / crop.zoom_x + crop.centre_x
    y = (1.0 - (lines + 0.5) * step)[None, :, None] / crop.zoom_y + crop.centre_y
    return cos * x + sin * y, cos * y - sin * x


def map_rows(size: int) -> int:
    """Rows of a map for a frame of size x size pixels: the fewest that make rows * size a multiple of 64."""
    return size + next(extra for extra in range(64) if (size + extra) * size % 64 == 0)


def surface_normals(z: Tensor, pixel_x: Tensor, pixel_y: Tensor) -> Tensor:
    """Unit normals (n, 3, rows, columns) of the surface z (n, rows, columns); pixels in head units."""
    p = pad(z, (1, 1, 1, 1), mode="replicate")
    nx = (p[..., 1:-1, :-2] - p[..., 1:-1, 2:]) / (2 * pixel_x)
    ny = (p[..., 2:, 1:-1] - p[..., :-2, 1:-1]) / (2 * pixel_y)
    nz = (nx * nx + ny * ny + 1).rsqrt_()
    return torch.stack([nx.mul_(nz), ny.mul_(nz), nz], 1)


def halved(m: Tensor, size: int) -> Tensor:
    """Maps (n, rows, size) at half the resolution: means over 2 x 2 pixels, (n, map_rows(half), half)."""
    half = (size + 1) // 2
    rows = map_rows(half)
    m = m[:, None, : 2 * rows]
    m = pad(m, (0, 2 * half - size, 0, 2 * rows - m.shape[2]), "replicate")
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
    """Smooth random map (n, rows, size): nodes x nodes normal numbers and what lies between them."""
    values = draws.normal(nodes, nodes).view(-1, nodes, nodes)
    low, high, weight = _between_nodes(nodes, size, size)
    values = (values[:, :, high] - values[:, :, low]).mul_(weight).add_(values[:, :, low])
    low, high, weight = _between_nodes(nodes, rows, size)
    start = values.index_select(1, low)
    return (values.index_select(1, high) - start).mul_(weight[:, None]).add_(start)


def _between_nodes(nodes: int, count: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of pixels 0..count-1 of ``size`` the node before, the one behind, and the share of the latter: a smooth step."""
    place = (torch.arange(count, dtype=torch.float32) + 0.5) * (nodes / size) - 0.5
    share = place - place.floor()
    low, high = ((place.floor() + step).clamp(0, nodes - 1).long() for step in (0, 1))
    return low, high, (3.0 - 2.0 * share) * share * share


def power(base: Tensor, exponent: Tensor | float) -> Tensor:
    """base ** exponent for base > 0, in place; several times faster than ``torch.pow``."""
    return base.log_().mul_(exponent).exp_()


def shifted(m: Tensor, shift: Tensor) -> Tensor:
    """Maps (n, channels, rows, size) moved by ``shift`` (n, 2, 1, 1), right and down, in shares of ``size``."""
    rows, size = m.shape[2:]
    columns = (torch.arange(size, dtype=torch.float32) + 0.5) * (2 / size) - 1.0
    lines = ((torch.arange(rows, dtype=torch.float32) + 0.5) * (2 / rows) - 1.0)[:, None]
    across, down = (columns - 2 * shift[:, 0]), (lines - (2 * size / rows) * shift[:, 1])
    grid = torch.stack([across.expand(-1, rows, -1), down.expand(-1, -1, size)], 3)
    return grid_sample(m, grid, align_corners=False, padding_mode="border")


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
    ir_gain: Tensor  # exposure of the infrared camera
    distance: Tensor  # mm from camera to face or sheet
    offset: Tensor  # (n, 2, 1, 1) of depth and infrared against colour, right and down, shares of the frame
    motion: Tensor  # (n, 2, 1, 1) movement while depth is measured


def draw_camera(person: Draws, video: Draws, look: Look, attack: bool = False) -> Camera:
    """Light and camera settings of one video (the drift from frame to frame is added elsewhere).

    All videos of a person are taken in the same room: colour and strength of the light are the person's, its direction
    and the rest the video's.
    """
    light, (usual, spread) = look.light, look.print_distance if attack else look.distance
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
        ir_gain=IR_EXPOSURE * (look.ir_gain * video.normal()).exp(),
        distance=usual + spread * video.normal().clamp(-2.2, 2.2),
        offset=look.registration * video.normal(2),
        motion=torch.zeros(len(video.keys), 2, 1, 1),
    )


def _unit(x: Tensor, y: Tensor, z: Tensor | float) -> Tensor:
    """Vectors of length 1, (n, 3, 1, 1), from components (n, 1, 1)."""
    length = (x * x + y * y + z * z).sqrt()
    return torch.stack([x / length, y / length, z / length], 1)


def colour_image(reflectance: Tensor, normal: Tensor, gloss: Tensor | float, camera: Camera) -> Tensor:
    """Noise-free colour image in [0, 1], (n, 3, rows, columns): Lambert and Blinn reflection, exposure, tone curve.

    The first three channels of reflectance (n, >= 3, rows, columns) are R, G, B; ``gloss`` is the local factor of the
    highlight, (n, rows, columns).
    """
    lit = _cosine(normal, camera.light).mul_(1.15 - camera.ambient).add_(camera.ambient)
    square = _cosine(normal, camera.half).square_()
    highlight = square.square().square_().square_().mul_(square) * gloss * camera.shine  # the 18th power of the cosine
    image = (reflectance[:, :3] * lit[:, None]).add_(highlight[:, None])
    image.mul_(1 - camera.flare[:, None]).add_(0.5 * camera.flare[:, None]).mul_(camera.colour * camera.gain[:, None])
    grey = to_grey(image)
    image.sub_(grey).mul_(camera.saturation[:, None]).add_(grey)
    return power(image.clamp_(1e-3, 1.0), camera.gamma[:, None])


def _cosine(normal: Tensor, towards: Tensor) -> Tensor:
    """Of the angle between unit vectors, (n, rows, columns); 0 where the surface turns away."""
    along_x = normal[:, 0] * towards[:, 0]
    return along_x.addcmul_(normal[:, 1], towards[:, 1]).addcmul_(normal[:, 2], towards[:, 2]).clamp_(min=0)


def to_grey(image: Tensor) -> Tensor:
    """Mean of the three channels, (n, 1, rows, columns), by additions in a fixed order."""
    return (image[:, :1] + image[:, 1:2]).add_(image[:, 2:3]).mul_(1 / 3)


def colour_frame(image: Tensor, camera: Camera, draws: Draws, look: Look) -> Tensor:
    """Lens blur and sensor noise: R, G, B, float 0..255, (n, 3, rows, columns)."""
    red, green = draws.normal_maps(*image.shape[2:])
    blue, _ = draws.normal_maps(*image.shape[2:])
    noise = torch.stack([red, green, blue], 1).mul_(look.rgb_noise * camera.noise[:, None])
    return blurred(image, camera.blur[:, None]).add_(noise).mul_(255.0)


def infrared_signal(reflectance: Tensor, normal_z: Tensor, gloss: Tensor, depth: Tensor) -> Tensor:
    """Light that returns to an active infrared camera whose illuminator sits beside the lens.

    It falls with the square of the distance ``depth`` (mm; (n, rows, columns)) and, as near infrared is scattered below
    the surface of skin and paper, only softly where the surface turns away. Where it faces the camera it shines.
    """
    facing = normal_z.clamp(min=1e-3)
    eighth = facing.square().square_().square_()
    highlight = eighth.square().mul_(eighth).mul_(gloss).mul_(0.14)  # the 24th power of the cosine
    light = facing.mul_(0.4).add_(0.6).mul_(reflectance).add_(highlight)
    return light.mul_((REFERENCE_DISTANCE / depth).square_())


def infrared_frame(signal: Tensor, camera: Camera, draws: Draws, look: Look) -> Tensor:
    """Uneven illumination, the room's own infrared, fixed exposure and noise: float 0..255, (n, rows, columns)."""
    rows, size = signal.shape[1:]
    lit = smooth_pattern(draws, 6, rows, size).mul_(look.ir_unevenness).add_(1).mul_(signal)
    lit.mul_(1 - camera.ir_ambient).add_(IR_ROOM * camera.ir_ambient).mul_(camera.ir_gain)
    return lit.add_(draws.normal_maps(rows, size)[0].mul_(look.ir_noise * camera.noise)).mul_(255.0)


def depth_frame(
    start: Tensor, end: Tensor, signal: Tensor, pixel: Tensor, camera: Camera, draws: Draws, look: Look
) -> tuple[Tensor, Tensor]:
    """Grey levels (float; nearer is brighter), and 1 where there is a depth, 0 in a hole; maps (n, rows, columns).

    The mean of the distances (mm) at start and end of the measurement, with noise that grows with the distance squared.
    Holes have causes: a pixel, ``pixel`` mm (n, 1, 1) wide, that lies behind its neighbour by more than an edge's height
    is not lit by the projector beside the camera; over an edge that moves the patterns do not belong together; the
    infrared ``signal`` is too weak (hair, dark toner) or saturates (glints).
    """
    rows, size = signal.shape[1:]
    mean = (start + end).mul_(0.5)
    white, ragged = draws.normal_maps(rows, size)
    measured = smooth_pattern(draws, 8, rows, size).mul_(look.depth_wave)
    measured.add_(white.mul_(look.depth_white * camera.noise)).mul_((camera.distance / REFERENCE_DISTANCE).square())
    ragged.mul_(0.2).add_(1.0)
    lit_first = pad(mean[:, None], (1, 0, 0, 0), mode="replicate")[:, 0, :, :-1]  # the projector stands on the left
    step = torch.maximum(mean - lit_first, (start - end).abs_())
    works = step < ragged * (look.depth_edge + 3.2 * pixel)  # a steep cheek is no edge
    works &= (signal > ragged * look.depth_dark) & (signal < look.depth_bright)
    return measured.add_(mean).mul_(-GREY_PER_MM).add_(GREY_PER_MM * BLACK_AT), works.float()


_STEPS = (1.0, 1.5, 2.5, 3.5)  # grey levels, of frequencies 0 to 3 along one side of a block


def compressed(planes: Tensor, strength: float) -> Tensor:
    """What a JPEG file loses: blocks are kept as a few frequencies, each rounded to a step that grows with it.

    Planes are grey levels (n, channels, size, size), ``strength`` scales the steps. Blocks are 4 x 4 pixels, as those of
    8 x 8 in a camera's frame of 280 pixels are once it is brought to 125, and the transform is Walsh's, which needs
    additions alone and so gives the same bits everywhere.
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

"""Parametric faces of SynthSURF: who somebody is, how the head is turned, and what is seen at each pixel.

Head coordinates: x to the right, y up, z towards the camera; 1 unit = 75 mm, half the width of a face. A face is a
height field z(x, y), a rounded head plus Gaussian bumps symmetric in x, with its reflectance (R, G, B, infrared)
painted on. An identity fixes both; expression and pose change from frame to frame.
"""

import math
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from synthsurf.draws import Draws, Rows
from synthsurf.sensors import Crop, Look, pixel_grid, smooth_pattern

# Relief in (|x|, y): centre x, y, standard deviations x, y, height; head units. Heights follow what anthropometry gives
# for adults, in millimetres: nose 20 over the cheeks, brow 9 over the eye's inner corner, lips 6, chin 7.
RELIEF = (
    (0.135, -0.34, 0.06, 0.06, 0.10),  # wings of the nose
    (0.36, 0.08, 0.16, 0.10, -0.20),  # eye socket
    (0.37, 0.07, 0.10, 0.06, 0.09),  # eyeball
    (0.32, 0.29, 0.24, 0.07, 0.07),  # ridge of the brow
    (0.55, -0.16, 0.20, 0.16, 0.10),  # cheekbone
    (0.06, -0.60, 0.15, 0.045, 0.085),  # upper lip
    (0.00, -0.665, 0.20, 0.020, -0.06),  # between the lips
    (0.00, -0.73, 0.14, 0.045, 0.095),  # lower lip
    (0.00, -0.86, 0.18, 0.05, -0.08),  # hollow below it
    (0.00, -1.03, 0.18, 0.13, 0.15),  # chin
    (0.62, -0.58, 0.16, 0.22, -0.05),  # hollow of the cheek
    (0.00, -0.29, 0.085, 0.075, 0.06),  # ball of the nose
)
RELIEF_VARIATION = (0.02, 0.02, 0.10, 0.10, 0.25)  # of centres in head units, of the rest relative
WINGS, SOCKET, EYEBALL, RIDGE, MOUTH, CHIN = 0, 1, 2, 3, slice(5, 8), 9
NOSE_TOP, NOSE_TIP, NOSE_BASE = 0.20, -0.29, -0.42  # y where the nose begins to rise, is highest, ends
EYE = (0.37, 0.08)
MOUTH_Y = -0.66
MOST_TURNED = math.radians(30)  # beyond it a face hides parts of itself, which a height field cannot show
ROOT_2 = math.sqrt(2)
FAR = 30.0  # exp(-30) is nothing; smaller arguments would give denormal numbers, which are slow
SKIN_NODES, SKIN_REACH = 24, 0.5  # of the map of a skin: grain of 3 mm; half its side in head units
TURNING_DEPTH = 0.75  # the head turns about a point this far behind the nose tip, so that it stays in the frame

POPULATIONS = {"all": (0.0, 0.9), "A": (0.30, 0.9), "B": (0.0, 0.40)}  # range of skin darkness


@dataclass
class Identity(Rows):
    """What stays the same in all frames of one subject. Shapes (n, 1, 1) unless stated; colours are (n, 4, 1, 1)."""

    width: Tensor  # half axes of the head, head units
    height: Tensor
    depth: Tensor
    jaw: Tensor  # how much the face narrows downwards
    relief: Tensor  # (n, 12, 5, 1, 1): centre x, y, standard deviations x, y, height
    nose: Tensor  # height of its tip
    nose_width: Tensor  # standard deviation at the bridge
    skin: Tensor
    texture: Tensor  # (n, 2, 24, 24): grain and blotches
    freckles: Tensor
    age: Tensor  # 0 smooth .. 1 lined
    hair: Tensor
    beard: Tensor  # opacity, 0 = shaven
    beard_line: Tensor  # y of its upper edge in the middle of the cheek
    moustache: Tensor
    eye_x: Tensor
    eye_y: Tensor
    eye_width: Tensor
    eye_height: Tensor
    eye_tilt: Tensor
    crease: Tensor  # of the upper lid, 0 = single lid
    iris: Tensor
    brow_y: Tensor
    brow_width: Tensor
    brow_thickness: Tensor
    brow_arch: Tensor
    brow_slope: Tensor
    brow_density: Tensor
    mouth_y: Tensor
    mouth_width: Tensor
    upper_lip: Tensor
    lower_lip: Tensor
    lips: Tensor
    frame: Tensor
    rim: Tensor  # of glasses, half thickness relative to the lens; 0 = wears none
    lens_width: Tensor
    lens_height: Tensor


@dataclass
class Pose(Rows):
    """Where the head is in the frame and what it does. Shapes (n, 1, 1); angles in radians, lengths in head units."""

    yaw: Tensor
    pitch: Tensor
    roll: Tensor
    zoom: Tensor  # how loosely the detector's box lies around the face, relative
    shift_x: Tensor  # and how far it is off
    shift_y: Tensor
    smile: Tensor
    open: Tensor  # mouth, 0..1
    blink: Tensor  # eyelids, 0 closed .. 1 open
    gaze_x: Tensor
    gaze_y: Tensor
    outline: Tensor  # relative radius at which the background is cut away


@dataclass
class View(Rows):
    """A pose, made ready for projection: what is a function of parameters alone is computed here, once a row."""

    cos_yaw: Tensor
    sin_yaw: Tensor
    cos_pitch: Tensor
    sin_pitch: Tensor
    cos_roll: Tensor
    sin_roll: Tensor


def draw_identities(draws: Draws, population: str = "all", trait: Tensor | float = 0.0) -> Identity:
    """Identities of a population ("all", "A" or "B"), one a row of ``draws``.

    ``trait`` is a gender-like attribute, -1 or +1 (0 = neither), a number or (n, 1, 1): with +1 faces have wider jaws,
    stronger brows, thinner lips and often beards, with -1 the reverse.
    """
    normal, uniform = draws.normal, draws.uniform
    lean = {"all": 0.0, "A": 1.0, "B": -1.0}[population]
    eye_x, eye_y = EYE[0] + 0.03 * normal(), EYE[1] + 0.025 * normal()
    mouth_shift = 0.035 * normal()
    darkness, undertone = uniform(*POPULATIONS[population]), 0.02 * normal()
    skin = _colours(darkness, (0.80, 0.57, 0.45), (0.27, 0.155, 0.105)) + 0.012 * normal(3)
    skin += undertone[:, None] * skin.new_tensor((0.3, 0.25, -0.8)).view(3, 1, 1)
    hair = _colours(uniform(0, 1) ** 3, (0.045, 0.035, 0.03), (0.30, 0.20, 0.13)) * (1 + 0.2 * lean)
    iris = _colours(uniform(0, 1) ** (3 - lean), (0.09, 0.05, 0.03), (0.24, 0.26, 0.26))
    lips = skin * skin.new_tensor((0.86, 0.60, 0.62)).view(3, 1, 1) * (1 + 0.12 * normal(3))
    age, bearded = uniform(0, 1) ** 1.5, uniform(0, 1) < 0.35 * (1 + 0.9 * trait)
    plastic = (uniform(0, 1) < 0.6).float()  # dark and thick, or a thin wire
    return Identity(
        width=1.0 + 0.06 * normal() - 0.02 * lean,
        height=1.25 + 0.05 * normal(),
        depth=0.92 + 0.06 * normal(),
        jaw=(uniform(0.02, 0.20) - 0.05 * trait).clamp(0, 0.26),
        relief=_draw_relief(draws, eye_x, eye_y, mouth_shift, lean, trait),
        nose=0.27 * (1 + 0.13 * normal() + 0.10 * lean),
        nose_width=0.095 * (1 + 0.13 * normal() - 0.08 * lean),
        skin=_with_infrared(skin.clamp(0.03, 0.95), uniform(0.58, 0.66)),
        texture=_draw_texture(draws),
        freckles=uniform(-0.6, 0.4).clamp(min=0),
        age=age,
        hair=_with_infrared(hair.clamp(0.02, 0.9), uniform(0.14, 0.30)),
        beard=bearded * uniform(0.1, 0.95),
        beard_line=uniform(-0.95, -0.50),
        moustache=bearded * uniform(-0.2, 0.95).clamp(min=0),
        eye_x=eye_x,
        eye_y=eye_y,
        eye_width=0.178 * (1 + 0.10 * normal()),
        eye_height=0.076 * (1 + 0.17 * normal() + 0.10 * lean - 0.06 * trait),
        eye_tilt=0.08 + 0.10 * normal() - 0.06 * lean,
        crease=uniform(-0.3, 1.0).clamp(min=0),
        iris=_with_infrared(iris, torch.full_like(eye_x, 0.28)),
        brow_y=0.245 + eye_y - EYE[1] + 0.03 * normal() - 0.02 * trait,
        brow_width=0.235 * (1 + 0.10 * normal()),
        brow_thickness=uniform(0.018, 0.072) * (1 + 0.3 * trait),
        brow_arch=uniform(0.0, 0.11) - 0.02 * trait,
        brow_slope=0.03 * normal(),
        brow_density=uniform(0.45, 1.0),
        mouth_y=MOUTH_Y + mouth_shift,
        mouth_width=0.27 * (1 + 0.12 * normal()),
        upper_lip=uniform(0.040, 0.095) * (1 - 0.2 * trait),
        lower_lip=uniform(0.065, 0.135) * (1 - 0.2 * trait),
        lips=_with_infrared(lips.clamp(0.02, 0.95), torch.full_like(eye_x, 0.52)),
        frame=_with_infrared(uniform(0.02, 0.16, 3) + 0.30 * (1 - plastic[:, None]), 0.05 + 0.30 * (1 - plastic)),
        rim=(uniform(0, 1) < 1 / 3) * (uniform(0.03, 0.06) + 0.06 * plastic * uniform(0, 1)),
        lens_width=uniform(0.24, 0.31),
        lens_height=uniform(0.16, 0.27),
    )


def _colours(t: Tensor, start: tuple, end: tuple) -> Tensor:
    """Colours (n, 3, 1, 1) between start (t = 0) and end (t = 1)."""
    start, end = (t.new_tensor(colour).view(3, 1, 1) for colour in (start, end))
    return start + t[:, None] * (end - start)


def _with_infrared(rgb: Tensor, infrared: Tensor) -> Tensor:
    return torch.cat([rgb, infrared[:, None]], 1)


def _draw_relief(draws: Draws, eye_x: Tensor, eye_y: Tensor, mouth: Tensor, lean: float, trait) -> Tensor:
    """Bumps of the height field, (n, 12, 5, 1, 1); eyes and mouth lie where the painted ones do."""
    table = eye_x.new_tensor(RELIEF)[..., None, None]
    variation = eye_x.new_tensor(RELIEF_VARIATION)[:, None, None]
    change = draws.normal(len(RELIEF), 5) * variation
    centre = table[:, :2] + change[:, :, :2] * (table[:, :2] != 0)
    shape = table[:, 2:] * (1 + change[:, :, 2:].clamp(-0.5, 0.5))
    centre[:, SOCKET, 0] = centre[:, EYEBALL, 0] = eye_x
    centre[:, SOCKET, 1] = centre[:, EYEBALL, 1] = eye_y
    centre[:, MOUTH, 1] += mouth[:, None]
    shape[:, WINGS, 0] *= 1 - 0.12 * lean
    shape[:, RIDGE, 2] *= 1 + 0.5 * trait
    shape[:, CHIN, 2] *= 1 + 0.2 * trait
    return torch.cat([centre, shape], 2)


def _draw_texture(draws: Draws) -> Tensor:
    """A map of the skin, (n, 2, 24, 24): grain and blotches, with standard deviations of about 1."""
    grain, other = draws.normal_maps(SKIN_NODES, SKIN_NODES)
    return torch.stack([grain, smooth_pattern(draws, 5, SKIN_NODES, SKIN_NODES).add_(0.5 * other)], 1)


def draw_pose(draws: Draws, look: Look) -> Pose:
    """One capture's pose and expression a row."""
    yaw, pitch, roll = (math.radians(sd) * draws.normal() for sd in look.pose)
    return Pose(
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        zoom=(look.crop * draws.normal()).exp(),
        shift_x=look.crop * draws.normal(),
        shift_y=look.crop * draws.normal(),
        smile=0.12 * draws.normal(),
        open=draws.uniform(0, 1) ** 4,
        blink=draws.uniform(0.62, 1.15),
        gaze_x=0.025 * draws.normal(),
        gaze_y=0.012 * draws.normal(),
        outline=1 + look.outline * draws.normal(),
    )


def drifted(video: Pose, frame: Pose) -> Pose:
    """A frame of a video: pose and smile keep about half of their variance, mouth, lids and box are the frame's own."""
    kept = ("yaw", "pitch", "roll", "smile")
    return replace(frame, **{name: 0.5 * getattr(video, name) + 0.87 * getattr(frame, name) for name in kept})


def view_of(pose: Pose, yaw: Tensor | float = 0.0, pitch: Tensor | float = 0.0) -> View:
    """The view of the head, or of something held in front of it and turned against it by yaw and pitch (radians)."""
    yaw = (pose.yaw + yaw).clamp(-MOST_TURNED, MOST_TURNED)
    pitch = (pose.pitch + pitch).clamp(-MOST_TURNED, MOST_TURNED)
    return View(yaw.cos(), yaw.sin(), pitch.cos(), pitch.sin(), pose.roll.cos(), pose.roll.sin())


def project(view: View, x: Tensor, y: Tensor, start: Tensor, surfaces) -> tuple[Tensor, Tensor, Tensor]:
    """x and y on a turned surface, and its z towards the camera, of the point seen at image coordinates x and y.

    By fixed-point iteration from a first guess of the height, (n, 1, 1); ``surfaces`` are height functions of (x, y), one
    a step, from coarse to fine. All in head units.
    """
    x = x + TURNING_DEPTH * view.sin_yaw
    y = y - TURNING_DEPTH * view.sin_pitch * view.cos_yaw
    slant = view.sin_pitch * view.cos_yaw

    def unturned(height: Tensor) -> tuple[Tensor, Tensor]:
        on_x = (x - view.sin_yaw * height) / view.cos_yaw
        on_y = (y + slant * height).sub_(view.sin_pitch * view.sin_yaw * on_x).div_(view.cos_pitch)
        return on_x, on_y

    height = start
    for surface in surfaces:
        height = surface(*unturned(height))
    on_x, on_y = unturned(height)
    z = (view.cos_yaw * view.cos_pitch * height).add_(view.sin_pitch * on_y)
    return on_x, on_y, z.sub_(view.cos_pitch * view.sin_yaw * on_x)


def see(face: Identity, pose: Pose, view: View, crop: Crop, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """A living face before light: reflectance (n, 4, rows, columns), factor of the highlight and z."""
    x, y = pixel_grid(size, crop, view.cos_roll, view.sin_roll)
    relief = _moved_relief(face, pose)

    def exact(on_x: Tensor, on_y: Tensor) -> Tensor:
        return height(face, relief, on_x, _smiling(pose, face, on_x, on_y))

    x, y, z = project(view, x, y, 0.8 * face.depth, (partial(height, face, None), exact))
    reflectance, gloss = _painted(face, pose, x, _smiling(pose, face, x, y))
    return reflectance, gloss, z


def turned(view: View, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Where points of a turned surface are seen, before roll and crop (head units): the inverse of ``project``."""
    above = z - TURNING_DEPTH
    across = view.cos_yaw * x + view.sin_yaw * above
    up = view.cos_pitch * y + view.sin_pitch * view.sin_yaw * x - view.sin_pitch * view.cos_yaw * above
    return across, up


def rolled(view: View, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Image coordinates after the roll."""
    return view.cos_roll * x - view.sin_roll * y, view.sin_roll * x + view.cos_roll * y


def height(face: Identity, relief: Tensor | None, x: Tensor, y: Tensor) -> Tensor:
    """Height z (head units) of the face above the plane of its outline, (n, rows, columns); without relief the nose."""
    below = (-y).clamp_(0.0, 2.0)
    narrower = below.sqrt().mul_(below).mul_(-face.jaw).add_(1.0)  # towards the chin, with the power 1.5
    r2 = (x / narrower.mul_(face.width)).square_().add_(((y + 0.05) / face.height).square_()).clamp_(max=2.0)
    ax = x.square().add_(0.01).sqrt_()  # |x|, without a crease in the middle of the face
    bumps = _nose(face, x, y)
    for k in range(0 if relief is None else relief.shape[1]):
        centre_x, centre_y, spread_x, spread_y, tall = relief[:, k].unbind(1)
        bumps.addcmul_(bell(ax - centre_x, y - centre_y, spread_x, spread_y), tall)
    bumps.mul_((1.35 - r2).clamp_(0.0, 1.0))
    return (r2 * -0.4 - 0.25).mul_(r2).add_(1.0).mul_(face.depth).add_(bumps)


def _nose(face: Identity, x: Tensor, y: Tensor) -> Tensor:
    """Height of the nose: a wedge that rises and widens from the bridge to the tip and ends above the lips."""
    rise = (NOSE_TOP - y).mul_(1 / (NOSE_TOP - NOSE_TIP)).clamp_(0.0, 1.0)
    start = (rise * 8.0).clamp_(max=1.0)
    base = (y - NOSE_BASE).mul_(1 / (NOSE_TIP - NOSE_BASE)).clamp_(0.0, 1.0)
    base = (base * -2.0 + 3.0).mul_(base).mul_(base)
    half2 = (x / (rise * 0.7 + 0.7).mul_(face.nose_width)).square_().mul_(0.5).clamp_(max=FAR).neg_().exp_()
    return rise.mul_(0.85).add_(0.15).mul_(start).mul_(base).mul_(half2).mul_(face.nose)


def _moved_relief(face: Identity, pose: Pose) -> Tensor:
    """The relief with the mouth opened: the slit deepens and widens, the lower lip sinks."""
    relief = face.relief.clone()
    _, slit, lower = range(*MOUTH.indices(len(RELIEF)))
    relief[:, slit, 3] *= 1 + 2 * pose.open
    relief[:, slit, 4] *= 1 + 2.5 * pose.open
    relief[:, lower, 1] -= 0.06 * pose.open
    return relief


def _smiling(pose: Pose, face: Identity, x: Tensor, y: Tensor) -> Tensor:
    """y of the face at rest: a smile lifts the corners of the mouth."""
    near_mouth = ((y - face.mouth_y) / 0.22).square_().clamp_(max=FAR).neg_().exp_()
    return near_mouth.mul_(x).mul_(x).mul_(-pose.smile).add_(y)


def _ramp(distance: Tensor, width: float = 0.03) -> Tensor:
    """0 below -width / 2, 1 above width / 2, in place: a soft edge of a painted region."""
    return distance.mul_(1 / width).add_(0.5).clamp_(0.0, 1.0)


def bell(x: Tensor, y: Tensor, width: Tensor | float, tall: Tensor | float) -> Tensor:
    """Gaussian of standard deviations ``width`` and ``tall``, in place."""
    x.div_(width * ROOT_2)
    y.div_(tall * ROOT_2)
    return x.square_().addcmul_(y, y).clamp_(max=FAR).neg_().exp_()


def _paint(canvas: Tensor, colour: Tensor | tuple, opacity: Tensor) -> None:
    """Lay a colour (n, 4, 1, 1) over the canvas (n, 4, rows, columns) where opacity (n, rows, columns) says."""
    if isinstance(colour, tuple):
        colour = canvas.new_tensor(colour).view(1, 4, 1, 1)
    canvas.lerp_(colour, opacity[:, None])


def _painted(face: Identity, pose: Pose, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Reflectance (n, 4, rows, columns) in R, G, B, infrared, and the factor of the highlight."""
    ax = x.abs()
    eye = _eye(face, pose, x, ax, y)
    lips, lip_line = _lips(face, pose, ax, y)
    place = torch.stack([x - 0.3, y], 3).mul_(1 / SKIN_REACH)  # what lies beyond the map is its mirror image
    grain, blotches = grid_sample(face.texture, place, align_corners=False, padding_mode="reflection").unbind(1)
    canvas = _skin(face, grain, blotches, _lines(face, ax, y).add_(eye["crease"]))
    hairs = grain.mul(0.15).add_(0.85)  # neither brows nor beards are solid
    _paint(canvas, (0.62, 0.30, 0.25, 0.60), bell(ax - 0.52, y + 0.28, 0.17, 0.14).mul_(0.25))
    _paint(canvas, 0.25 * face.skin + 0.75 * face.hair, _beard(face, ax, y).mul_(1 - lips).mul_(hairs).clamp_(0.0, 1.0))
    _paint(canvas, face.lips, lips.mul_(0.85))
    _paint(canvas, (0.62, 0.56, 0.52, 0.42), eye["white"])
    _paint(canvas, face.iris, eye["iris"])
    nostrils = _ramp(bell(ax - 0.085, y + 0.395, 0.045, 0.026).sub_(0.55), 0.5)
    dark = torch.maximum(torch.maximum(lip_line, eye["dark"]), nostrils.mul_(0.75))
    _paint(canvas, (0.05, 0.03, 0.03, 0.20), dark)
    _paint(canvas, (0.03, 0.02, 0.02, 0.03), eye["pupil"])
    _paint(canvas, face.hair, _brows(face, ax, y).mul_(hairs).clamp_(0.0, 1.0))
    gloss = grain.mul_(0.15).add_(0.45).clamp_(min=0.0).add_(eye["gloss"])
    frame, glint = _spectacles(face, pose, x, ax, y)
    _paint(canvas, face.frame, frame)
    return canvas.clamp_(0.01, 1.0), gloss.add_(glint)


def _skin(face: Identity, grain: Tensor, blotches: Tensor, dark: Tensor) -> Tensor:
    """Skin with grain, redder and paler blotches, freckles and moles, and what is darker on it; infrared hardly shows them."""
    uneven = 0.03 + 0.04 * face.age
    dark.addcmul_((grain - 0.7).clamp_(min=0), face.freckles).add_((grain - 2.6).clamp_(min=0))
    even, red = 1 + uneven * grain, blotches.mul(uneven)
    colours = torch.stack([even, even - red, even - 0.8 * red, even.mul(0.3).add_(0.7)], 1)
    share = dark.new_tensor((0.55, 0.65, 0.70, 0.20)).view(1, 4, 1, 1)
    return colours.mul_(1 - share * dark.clamp_(max=1.0)[:, None]).mul_(face.skin)


def _lines(face: Identity, ax: Tensor, y: Tensor) -> Tensor:
    """Darkness of shaded sockets, folds beside nose and mouth, and the lines of age on the forehead and below the eyes."""
    dx, dy = ax - face.eye_x, y - face.eye_y
    dark = bell(dx + 0.03, dy - 0.02, 0.17, 0.12).mul_(0.08 + 0.25 * face.age)
    along = y + 0.60
    dark.addcmul_(bell((along * 0.45).add_(ax).sub_(0.31), along, 0.035, 0.13), 0.1 + 0.4 * face.age)
    dark.add_(bell(ax - 0.19, y + 0.35, 0.03, 0.06).mul_(0.30))  # behind the wings of the nose
    furrows = (y + 0.06 * ax.square()).mul_(60.0).sin_().clamp_(min=0).square_()
    dark.addcmul_(furrows.mul_(bell(ax.clone(), y - 0.50, 0.38, 0.10)), 0.7 * face.age)
    dark.addcmul_(bell(ax - 0.07, dy - 0.20, 0.018, 0.07), 0.5 * face.age)  # between the brows
    bag = (dx * dx).mul_(-3.0).add_(dy).add_(0.155)
    return dark.addcmul_(bell(bag, dx, 0.022, 0.13), 0.1 + 0.4 * face.age)


def _eye(face: Identity, pose: Pose, x: Tensor, ax: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Opacities of the parts of both eyes, the crease of the lid, and the factor of the highlight: eyes are wet."""
    dx, side = ax - face.eye_x, x.sign()
    dy = y - face.eye_y - face.eye_tilt * dx
    lid = (dx / face.eye_width).square_().neg_().add_(1.0)
    upper = lid * (face.eye_height * pose.blink.clamp(max=1.0))
    opening = _ramp(torch.minimum(upper - dy, dy + 0.55 * face.eye_height * lid), 0.02)
    iris2 = (dx * side - pose.gaze_x).square_().add_((dy - 0.012 - pose.gaze_y).square_())
    iris = _ramp(0.074**2 - iris2, 0.0022).mul_(opening)
    pupil = _ramp(0.031**2 - iris2, 0.0012).mul_(opening)
    limbus = _ramp((iris2 - 0.066**2).abs_().neg_().add_(0.0012), 0.0012).mul_(iris).mul_(0.5)
    near = (lid + 0.12).mul_(8.0).clamp_(0.0, 1.0)
    to_lid = dy - upper.clamp(min=-0.01)
    lashes = _ramp((to_lid - 0.004).abs_().neg_().add_(0.018), 0.016).mul_(near).mul_(0.9)
    crease = _ramp((to_lid - 0.055).abs_().neg_().add_(0.012), 0.03).mul_(near).mul_(0.7 * face.crease)
    glint = bell(dx * side - 0.025, dy - 0.035, 0.014, 0.014).mul_(opening)
    shadow = _ramp(0.03 - (upper - dy), 0.05).mul_(0.45)  # of the upper lid on the eyeball
    white = opening * (1 - 0.35 * shadow)
    gloss = glint.mul_(6.0).add_(0.5 * opening)
    dark = torch.maximum(limbus, torch.maximum(lashes, shadow.mul_(opening)))
    return {"white": white, "iris": iris, "pupil": pupil, "dark": dark, "crease": crease, "gloss": gloss}


def _lips(face: Identity, pose: Pose, ax: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Opacity of the lips, with a cupid's bow, and of the dark line or opening between them."""
    width = face.mouth_width * (1 + 0.5 * pose.smile)
    across = (ax / width).square_()
    body = 1 - across
    dy = y - face.mouth_y
    bow = (across * -18.0).clamp_(min=-FAR).exp_().mul_(-0.22).add_(1.0)
    upper = body * bow * face.upper_lip - dy
    lower = body.clamp(min=0).sqrt_().mul_(body).mul_(face.lower_lip * (1 + 0.6 * pose.open)).add_(dy)
    lips = _ramp(torch.minimum(upper, lower), 0.035)
    slit = _ramp((dy + 0.03 * pose.open).abs_().neg_().add_(body * (0.006 + 0.05 * pose.open)), 0.03)
    return lips, slit.mul_((body * 6.0).clamp_(0.0, 1.0)).mul_(0.85)


def _brows(face: Identity, ax: Tensor, y: Tensor) -> Tensor:
    """Opacity of the brows: an arch that thins outwards."""
    along = (ax - face.eye_x - 0.01) / face.brow_width  # -1 at the nose, 1 at the temple
    middle = (along - 0.25).square_().mul_(-face.brow_arch).addcmul_(along, face.brow_slope).add_(face.brow_y + 0.03)
    thickness = (along * -0.45).add_(0.75).mul_(face.brow_thickness)
    ends = (1 - along.square()).mul_(3.0).clamp_(0.0, 1.0)
    return _ramp((y - middle).abs_().neg_().add_(thickness), 0.045).mul_(ends).mul_(face.brow_density)


def _beard(face: Identity, ax: Tensor, y: Tensor) -> Tensor:
    """Opacity of beard and moustache; the chin strap follows the jaw."""
    cheek = _ramp((0.5 * ax.square()).add_(face.beard_line).sub_(y), 0.22)
    moustache = bell(ax.clone(), y - face.mouth_y - 0.13, 0.17, 0.05)
    return torch.maximum(cheek.mul_(face.beard), moustache.mul_(face.moustache))


def _spectacles(face: Identity, pose: Pose, x: Tensor, ax: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Opacity of the frame of a pair of glasses (rims, bridge, temples) and the factor of the lenses' highlight.

    A lens is a dome of about 70 mm radius, which shows a lamp beside the camera where it faces the camera.
    """
    dx, dy, worn = ax - face.eye_x, y - face.eye_y + 0.03, (face.rim > 0).float()
    across, up = (dx / face.lens_width).square_(), (dy / face.lens_height).square_()
    rim = across.square_().add_(up.square_()).sqrt_().sqrt_()
    lens = _ramp(1 - rim, 0.09)
    rim = _ramp((rim - 1).abs_().neg_().add_(face.rim), 0.09)
    beside = dx.abs().sub_(face.lens_width).mul_(30.0).clamp_(0.0, 1.0)
    bars = _ramp((dy - 0.07).abs_().neg_().add_(0.018), 0.03).mul_(beside)
    glint = bell(dx * x.sign() + 0.9 * pose.yaw, dy - 0.9 * pose.pitch - 0.06, 0.045, 0.035)
    return torch.maximum(rim, bars).mul_(0.9 * worn), glint.mul_(lens).mul_(150.0 * worn)

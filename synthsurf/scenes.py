"""What stands before the cameras of SynthSURF, a live face or a sheet before one, and the frames taken of it."""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from synthsurf import sensors
from synthsurf.draws import Draws, Rows
from synthsurf.faces import Identity, Pose, View, height, project, rolled, see, turned
from synthsurf.prints import Sheet, from_page, on_paper, openings, sheet_height
from synthsurf.sensors import MM_PER_UNIT, REFERENCE_DISTANCE, Camera, Crop, Look, blurred, enlarged, halved

# The tight hull of a fitted 3D face: brows and half of the forehead to the chin, without ears; head units
HULL_MIDDLE, HULL_HEIGHT, HULL_WIDTH = -0.28, 0.87, 0.86
BOX = 1.05  # the frame relative to the box around the hull, which then fills about 72% (real frames: 63 to 78)
BASELINE = 4.0  # mm, what registration leaves of the 25 mm between the colour camera and the depth sensor
_POINTS, _SIDES = 64, 20  # of the hull; 64 is a whole number of vector registers


@dataclass
class Capture(Rows):
    """All parameters of a frame."""

    face: Identity
    pose: Pose
    view: View
    crop: Crop
    camera: Camera
    keys: Tensor  # (n, 2), of the pixels' noise
    sheet: Sheet | None = None  # None before a living face


@dataclass
class Scene:
    """Maps of what stands before the cameras."""

    reflectance: Tensor  # (n, 4, rows, columns)
    normal: Tensor  # (n, 3, rows, columns)
    z: Tensor  # head units, towards the camera
    gloss: Tensor
    inside: Tensor  # 1 on the face, 0 on the black background
    middle: Tensor  # z of what stands at the camera's distance, (n, 1, 1)
    opening: Tensor | None = None  # 1 in a cut-out, 0 on paper


def living_face(capture: Capture, size: int, edge: tuple[Tensor, Tensor] | None = None) -> Scene:
    """A living face, cut out along its own edge or another one."""
    edge = edge or face_edge(capture.face, capture.pose, capture.view)
    reflectance, gloss, z = see(capture.face, capture.pose, capture.view, capture.crop, size)
    normal = sensors.surface_normals(z, *pixels(capture.crop, size))
    return Scene(reflectance, normal, z, gloss, within(edge, capture.crop, size), 0.75 * capture.face.depth)


def _face_points(face: Identity, pose: Pose) -> tuple[Tensor, Tensor]:
    """x and y, (n, points, 1), of the rim of the fitted face: between an ellipse and a rectangle, narrower at the chin."""
    angle = torch.arange(_POINTS, dtype=torch.float32).mul_(2 * math.pi / _POINTS)[:, None]
    cos, sin = angle.cos(), angle.sin()
    reach = (2 / (1 + (1 - 2 * (cos * sin).square()).sqrt())).sqrt()  # solves X + Y - X Y / 2 = 1 along the ray
    y = (HULL_HEIGHT / 1.25) * face.height * pose.outline * reach * sin + HULL_MIDDLE
    below = (-y).clamp(0.0, 2.0)
    return HULL_WIDTH * face.width * pose.outline * reach * cos * (1 - (0.08 + face.jaw) * below.sqrt() * below), y


def face_edge(face: Identity, pose: Pose, view: View) -> tuple[Tensor, Tensor]:
    """Where the rim of a living face is seen, head units before the crop, (n, points, 1)."""
    x, y = _face_points(face, pose)
    return rolled(view, *turned(view, x, y, height(face, None, x, y)))


def sheet_edge(sheet: Sheet, face: Identity, pose: Pose) -> tuple[Tensor, Tensor]:
    """Where the rim of a printed face is seen, head units before the crop, (n, points, 1)."""
    u, v = _face_points(face, pose)
    u, y = u * sheet.scale, v * sheet.scale
    x = u + ((u / sheet.radius).clamp(-1.5, 1.5).sin() * sheet.radius - u) * sheet.bent
    x, y = turned(sheet.view, x, y, sheet_height(sheet, x, y))
    return rolled(sheet.view, x + sheet.shift_x, y + sheet.shift_y)


def crop_around(edge: tuple[Tensor, Tensor], pose: Pose) -> Crop:
    """The box around the points of an edge, made a square frame."""
    (low_x, high_x), (low_y, high_y) = ((p.amin(1, True), p.amax(1, True)) for p in edge)
    half_x, half_y = (0.5 * BOX * pose.zoom * (high - low) for low, high in ((low_x, high_x), (low_y, high_y)))
    return Crop(1 / half_x, 1 / half_y, (low_x + high_x) / 2 + pose.shift_x, (low_y + high_y) / 2 + pose.shift_y)


def within(edge: tuple[Tensor, Tensor], crop: Crop, size: int) -> Tensor:
    """1 in the convex hull of an edge's points, 0 on the black background, (n, rows, size).

    The hull is a polygon of sides in fixed directions, each moved in until it touches a point. What it leaves of a line
    of pixels is what lies between its rightmost left side and its leftmost right side.
    """
    angle = (torch.arange(_SIDES, dtype=torch.float64) + 0.5) * (2 * math.pi / _SIDES)
    cos, sin = (f(angle).float()[:, None] for f in (torch.cos, torch.sin))
    edge_x, edge_y = (p.transpose(1, 2) for p in edge)
    reach = (cos * edge_x + sin * edge_y).amax(2, True)
    x, y = sensors.pixel_grid(size, crop, 1.0, 0.0)
    ends = (reach - sin * y[:, None, :, 0]) / cos  # (n, sides, rows)
    right = cos[:, 0] > 0
    return ((x < ends[:, right].amin(1)[..., None]) & (x > ends[:, ~right].amax(1)[..., None])).float()


def pixels(crop: Crop, size: int) -> tuple[Tensor, Tensor]:
    """Width and height of a pixel, head units."""
    return 2.0 / size / crop.zoom_x, 2.0 / size / crop.zoom_y


def portrait(capture: Capture, size: int) -> tuple[Tensor, Tensor]:
    """Colour image of a living face before noise, [0, 1], (n, 3, rows, columns), and where the face is."""
    scene = living_face(capture, size)
    return sensors.colour_image(scene.reflectance, scene.normal, scene.gloss, capture.camera), scene.inside


def behind_sheet(capture: Capture, pages: Tensor, look: Look, size: int) -> Scene:
    """The sheet, printed with ``pages``, before the live face, which shows through the cut-outs."""
    sheet, view = capture.sheet, capture.sheet.view
    live = living_face(capture, size, sheet_edge(sheet, capture.face, capture.pose))
    pixel_x, pixel_y = pixels(capture.crop, size)
    x, y = sensors.pixel_grid(size, capture.crop, view.cos_roll, view.sin_roll)
    surface = partial(sheet_height, sheet)
    x, y, z = project(view, x - sheet.shift_x, y - sheet.shift_y, sheet.ahead, (surface, surface))
    u, v = on_paper(sheet, x, y)
    opening = openings(sheet, u, v, pixel_y)
    rim = (1 - opening).mul_(opening).mul_(-4.0 * look.shadow).add_(1.0)
    skin_shadow = blurred(blurred(opening, 1.0), 1.0).sub_(1.0).mul_(opening).mul_(2.0 * look.shadow).add_(1.0)
    paper = from_page(pages, u, v)
    reflectance = paper.lerp_(live.reflectance.mul_(skin_shadow[:, None]), opening[:, None]).mul_(rim[:, None])
    normal = sensors.surface_normals(z, pixel_x, pixel_y).lerp_(live.normal, opening[:, None])
    squared = normal[:, 0].square().add_(normal[:, 1].square()).add_(normal[:, 2].square())
    open_ = (opening > 0.5).float()
    return Scene(
        reflectance=reflectance,
        normal=normal.mul_(squared.rsqrt_()[:, None]),
        z=z.mul_(1 - open_).add_(live.z.mul_(open_)),
        gloss=(live.gloss - sheet.gloss).mul_(opening).add_(sheet.gloss),
        inside=live.inside,
        middle=sheet.ahead - 0.10 * sheet.bent,
        opening=opening,
    )


def registered_frames(scene: Scene, capture: Capture, look: Look, size: int) -> Tensor:
    """The three frames R, G, B, depth, IR, uint8 (n, 5, size, size), registered up to a small shift.

    Depth and infrared come from one sensor of half the colour camera's resolution, and are enlarged to it.
    """
    camera, draws = capture.camera, Draws(capture.keys)
    image = sensors.colour_image(scene.reflectance, scene.normal, scene.gloss, camera)
    colour = sensors.colour_frame(image, camera, draws, look)[:, :, :size].clamp_(0.0, 255.0)
    pixel = MM_PER_UNIT * pixels(capture.crop, (size + 1) // 2)[0]
    maps = scene.reflectance[:, 3], scene.normal[:, 2], scene.gloss, distances(scene.z, scene.middle, camera)
    maps = torch.stack([halved(m, size) for m in (*maps, scene.inside)], 1)
    shift = camera.offset.clone()  # two cameras registered at one distance differ by 1 / distance at others
    shift[:, 0] += (1.0 - camera.distance / REFERENCE_DISTANCE) * (BASELINE / maps.shape[3] / pixel)
    surface = sensors.shifted(maps[:, :4], shift)
    moved = sensors.shifted(maps[:, 3:4], shift + camera.motion)[:, 0]
    signal = sensors.infrared_signal(*surface.unbind(1))
    infrared = sensors.infrared_frame(signal, camera, draws, look)
    distance, works = sensors.depth_frame(surface[:, 3], moved, signal, pixel, camera, draws, look)
    works = works.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, :size, :size]
    # cut out before they are enlarged, as CASIA-SURF's frames were: the rim is dark
    planes = torch.stack([enlarged(m.mul_(maps[:, 4]), size) for m in (distance, infrared)], 1).clamp_(0.0, 255.0)
    planes = sensors.compressed(planes, look.jpeg)
    frames = torch.cat([sensors.colour_compressed(colour, look.jpeg), planes], 1).round_().clamp_(0.0, 255.0)
    frames[:, 3].clamp_(min=1.0).mul_(works)
    return frames.mul_(scene.inside[:, None, :size]).to(torch.uint8)


def distances(z: Tensor, middle: Tensor, camera: Camera) -> Tensor:
    """Millimetres from the camera to heights ``z``: face or sheet stand at the camera's distance."""
    return camera.distance - MM_PER_UNIT * (z - middle)

"""What stands before the cameras of SynthSURF, a live face or a sheet before one, and the frames taken of it."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

from synthsurf import sensors
from synthsurf.draws import Draws, Rows
from synthsurf.faces import Identity, Pose, View, outline, project, see
from synthsurf.prints import Sheet, from_page, on_paper, openings, sheet_height
from synthsurf.sensors import MM_PER_UNIT, Camera, Crop, Look, enlarged, halved


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


def living_face(capture: Capture, size: int) -> Scene:
    """A living face."""
    reflectance, gloss, z, edge = see(capture.face, capture.pose, capture.view, capture.crop, size)
    normal = sensors.surface_normals(z, *pixels(capture.crop, size))
    inside = (edge < capture.pose.outline.square()).float()
    return Scene(reflectance, normal, z, gloss, inside, 0.75 * capture.face.depth)


def pixels(crop: Crop, size: int) -> tuple[Tensor, Tensor]:
    """Width and height of a pixel, head units."""
    return 2.0 / size / crop.zoom_x, 2.0 / size / crop.zoom_y


def portrait(capture: Capture, size: int) -> tuple[Tensor, Tensor]:
    """Colour image of a living face before noise, [0, 1], (n, 3, rows, columns), and where the face is."""
    scene = living_face(capture, size)
    return sensors.colour_image(scene.reflectance, scene.normal, scene.gloss, capture.camera), scene.inside


def behind_sheet(capture: Capture, pages: Tensor, look: Look, size: int) -> Scene:
    """The sheet, printed with ``pages``, before the live face, which shows through the cut-outs."""
    sheet, view, live = capture.sheet, capture.sheet.view, living_face(capture, size)
    pixel_x, pixel_y = pixels(capture.crop, size)
    x, y = sensors.pixel_grid(size, capture.crop, view.cos_roll, view.sin_roll)
    surface = partial(sheet_height, sheet)
    x, y, z = project(view, x - sheet.shift_x, y - sheet.shift_y, sheet.ahead, (surface, surface))
    u, v = on_paper(sheet, x, y)
    opening = openings(sheet, u, v, pixel_y)
    rim = (1 - opening).mul_(opening).mul_(-2.0 * look.shadow).add_(1.0)
    skin_shadow = (_box5(opening) - 1).mul_(opening).mul_(0.8 * look.shadow).add_(1.0)
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
        inside=(outline(capture.face, u, v) < capture.pose.outline.square()).float(),  # the printed oval
        middle=sheet.ahead - 0.10 * sheet.bent,
        opening=opening,
    )


def _box5(m: Tensor) -> Tensor:
    """Mean over 5 x 5 pixels."""
    p = pad(m[:, None], (2, 2, 2, 2), mode="replicate")[:, 0]
    rows, columns = m.shape[1:]
    lines = sum(p[:, k : k + rows] for k in range(5))
    return sum(lines[..., k : k + columns] for k in range(5)) * (1 / 25)


def registered_frames(scene: Scene, capture: Capture, look: Look, size: int) -> Tensor:
    """The three registered frames R, G, B, depth, IR, uint8 (n, 5, size, size).

    Depth and infrared come from one sensor of half the colour camera's resolution, and are enlarged to it.
    """
    camera, draws = capture.camera, Draws(capture.keys)
    image = sensors.colour_image(scene.reflectance, scene.normal, scene.gloss, camera)
    colour = sensors.colour_frame(image, camera, draws, look)[:, :, :size].clamp_(0.0, 255.0)
    maps = scene.reflectance[:, 3], scene.normal[:, 2], scene.gloss, scene.z, scene.inside
    reflectance, facing, gloss, z, inside = (halved(m, size) for m in maps)
    depth = distances(z, scene.middle, camera)
    signal = sensors.infrared_signal(reflectance, facing, gloss, depth, camera)
    infrared = sensors.infrared_frame(signal, inside, camera, draws, look)
    pixel = MM_PER_UNIT * pixels(capture.crop, (size + 1) // 2)[1]
    distance, works = sensors.depth_frame(depth, pixel, camera, draws, look)
    works = works.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, :size, :size]
    inside = scene.inside[:, None, :size]
    colour = sensors.colour_compressed(colour, look.jpeg)
    planes = torch.stack([enlarged(distance, size), enlarged(infrared, size).clamp_(0.0, 255.0)], 1)
    planes = sensors.compressed(planes, look.jpeg)
    frames = torch.cat([colour, planes], 1).round_().clamp_(0.0, 255.0)
    frames[:, 3].clamp_(min=1.0).mul_(works)
    return frames.mul_(inside).to(torch.uint8)


def distances(z: Tensor, middle: Tensor, camera: Camera) -> Tensor:
    """Millimetres from the camera to heights ``z``: face or sheet stand at the camera's distance."""
    return camera.distance - MM_PER_UNIT * (z - middle)

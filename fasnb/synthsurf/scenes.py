"""What stands before the cameras of SynthSURF, a live face or a sheet before one, and the frames taken of it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from fasnb.synthsurf import sensors
from fasnb.synthsurf.draws import Draws, Rows
from fasnb.synthsurf.faces import Identity, Pose, View, project, radius2, see
from fasnb.synthsurf.prints import Sheet, from_page, on_paper, openings, sheet_height
from fasnb.synthsurf.sensors import HALF_FIELD, MM_PER_UNIT, Camera, Preset


@dataclass
class Capture(Rows):
    """All parameters of a frame without a sheet."""

    face: Identity
    pose: Pose
    view: View
    camera: Camera
    keys: Tensor  # (n, 2), of the pixels' noise


@dataclass
class Scene:
    """Maps of what stands before the cameras."""

    reflectance: Tensor  # (n, 4, rows, columns)
    normal: Tensor  # (n, 3, rows, columns)
    z: Tensor  # head units, towards the camera
    gloss: Tensor
    inside: Tensor  # 1 on the face, 0 on the black background
    opening: Tensor | None = None  # 1 in a cut-out, 0 on paper


def living_face(capture: Capture, size: int) -> Scene:
    """A living face."""
    pose = capture.pose
    seen = see(capture.face, pose, capture.view, size)
    normal = sensors.surface_normals(seen.z, 2 * HALF_FIELD / size / pose.zoom)
    inside = (seen.radius2 < 1.02 * pose.outline.square()).float()
    return Scene(seen.reflectance, normal, seen.z, seen.gloss, inside)


def portrait(capture: Capture, size: int) -> tuple[Tensor, Tensor]:
    """Colour image of a living face before noise, [0, 1], (n, 3, rows, columns), and where the face is."""
    scene = living_face(capture, size)
    return sensors.colour_image(scene.reflectance, scene.normal, scene.gloss, capture.camera), scene.inside


def behind_sheet(capture: Capture, sheet: Sheet, pages: Tensor, preset: Preset, size: int) -> Scene:
    """The sheet before the live face, which shows through the cut-outs; the printed oval is the outline."""
    live, pose, view = living_face(capture, size), capture.pose, sheet.view
    pixel = 2 * HALF_FIELD / size
    x, y = sensors.pixel_grid(size, pose.zoom, pose.shift_x, pose.shift_y, view.cos_roll, view.sin_roll)

    def surface(on_x: Tensor, on_y: Tensor) -> Tensor:
        return sheet_height(sheet, on_x, on_y)

    x, y, z = project(view, x - sheet.shift_x, y - sheet.shift_y, sheet.ahead, (surface, surface))
    u, v = on_paper(sheet, x, y)
    opening = openings(sheet, u, v, pixel)
    rim = (1 - opening).mul_(opening).mul_(-2.0 * preset.shadow).add_(1.0)
    skin_shadow = (_box5(opening) - 1).mul_(opening).mul_(0.8 * preset.shadow).add_(1.0)
    paper = from_page(pages, u, v)
    reflectance = paper.lerp_(live.reflectance.mul_(skin_shadow[:, None]), opening[:, None]).mul_(rim[:, None])
    normal = sensors.surface_normals(z, pixel / pose.zoom).lerp_(live.normal, opening[:, None])
    squared = normal[:, 0].square().add_(normal[:, 1].square()).add_(normal[:, 2].square())
    open_ = (opening > 0.5).float()
    return Scene(
        reflectance=reflectance,
        normal=normal.mul_(squared.rsqrt_()[:, None]),
        z=z.mul_(1 - open_).add_(live.z.mul_(open_)),
        gloss=(live.gloss - sheet.gloss).mul_(opening).add_(sheet.gloss),
        inside=(radius2(capture.face, u, v) < 1.02 * pose.outline.square()).float(),
        opening=opening,
    )


def _box5(m: Tensor) -> Tensor:
    """Mean over 5 x 5 pixels."""
    p = pad(m[:, None], (2, 2, 2, 2), mode="replicate")[:, 0]
    rows, columns = m.shape[1:]
    lines = sum(p[:, k : k + rows] for k in range(5))
    return sum(lines[..., k : k + columns] for k in range(5)) * (1 / 25)


def registered_frames(scene: Scene, camera: Camera, keys: Tensor, preset: Preset, size: int) -> Tensor:
    """The three registered frames R, G, B, depth, IR, uint8 (n, 5, size, size)."""
    draws = Draws(keys)
    image = sensors.colour_image(scene.reflectance, scene.normal, scene.gloss, camera)
    colour = sensors.colour_frame(image, scene.inside, camera, draws, preset)
    depth = distances(scene, camera)
    signal = sensors.infrared_signal(scene.reflectance[:, 3], scene.normal[:, 2], scene.gloss, depth, camera)
    infrared, signal = sensors.infrared_frame(signal, scene.inside, camera, draws, preset)
    distance = sensors.depth_frame(depth, signal, scene.inside, camera, draws, preset)
    return torch.cat([colour, distance[:, None], infrared[:, None]], 1)[:, :, :size].to(torch.uint8)


def distances(scene: Scene, camera: Camera) -> Tensor:
    """Millimetres from the camera to each point; a face's middle surface lies 0.8 head units above its outline."""
    return camera.distance - MM_PER_UNIT * (scene.z - 0.8)

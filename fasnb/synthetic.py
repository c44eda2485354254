"""SynthSURF: a procedural stand-in for CASIA-SURF, and source tasks for initialisation from the same renderer.

A frame is a pure function of (seed, split, subject, kind, number): neither the batch it is rendered in nor the number
of threads or processes changes a byte. Subjects, lights, prints and noise of different splits and tasks come from
different streams of random numbers, so that no subject is in two of them.
"""

import hashlib
import json
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from fasnb import faces as _faces
from fasnb import sensors
from fasnb.faces import Identity, Pose, View, draw_identities, draw_pose, drifted, project, radius2, see, view_of
from fasnb.frames import ATTACK_FOLDERS, TRAIN_ATTACKS, frame_table
from fasnb.sensors import HALF_FIELD, HARD, MM_PER_UNIT, PLAUSIBLE, PRESETS, Camera, Draws, Preset, Rows, row_keys

__all__ = ["CHALLENGE", "HARD", "PLAUSIBLE", "PRESETS", "Preset", "SynthSurf", "faces", "gender", "generic"]

RENDERER_VERSION = 1  # raise it with every change that alters a pixel: stores are rebuilt then

BONA_FIDE = 0
SPLIT_KINDS = {"train": (BONA_FIDE, *TRAIN_ATTACKS), "valid": (BONA_FIDE, 1, 2, 3), "test": (BONA_FIDE, 1, 2, 3)}
CHALLENGE = {
    "train": {"subjects": 300, "frames": {0: 8942, 4: 6518, 5: 6942, 6: 6864}},
    "valid": {"subjects": 100, "frames": {0: 2994, 1: 2243, 2: 2118, 3: 2253}},
    "test": {"subjects": 600, "frames": {0: 17458, 1: 13418, 2: 13417, 3: 13417}},
}
"""Frames of CASIA-SURF by kind (the challenge does not tell the test attacks apart: dealt out evenly), at 125 x 125."""

CUT_OUTS = {1: (1, 0, 0), 2: (1, 0, 0), 3: (1, 1, 0), 4: (1, 1, 0), 5: (1, 1, 1), 6: (1, 1, 1)}
"""Attack of Table 1 -> are eyes, nose, mouth cut out. Even attacks are bent sheets, odd ones flat."""

_HOLES = ((0.37, 0.08, 0.23, 0.13), (0.0, -0.14, 0.20, 0.36), (0.0, -0.66, 0.30, 0.15))  # x, y, half axes; head units
# A stream of random numbers for each set of people; A and B are the populations of the face recognition task.
_STREAMS = {"train": 1, "valid": 2, "test": 3, "A": 4, "B": 5, "gender": 6, "generic": 7}
_FOLDER_OF_ATTACK = {attack: folder for folder, attack in ATTACK_FOLDERS.items()}
_LETTER = {"train": "A", "valid": "B", "test": "C"}
_PAGE_CACHE = 128 << 20  # bytes of printed pages kept in memory
_BLOCK = 256  # frames whose parameters are drawn together
_PIXELS_AT_ONCE = {"cpu": 1 << 17, "cuda": 1 << 22}  # on the CPU a map then stays in the cache


@contextmanager
def _rendering() -> Iterator[None]:
    """One thread and no gradients; the number of threads is as before afterwards.

    One thread because what a thread gets of a map may end within a vector register. Processes share out the frames.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)


# ---- the printed sheet ----------------------------------------------------------------------------------------------


@dataclass
class Sheet(Rows):
    """A printed face before a real one. Shapes (n, 1, 1) unless stated; lengths in head units, angles in radians."""

    cut: Tensor  # (n, 3, 1, 1): 1 where eyes, nose, mouth are cut out
    holes: Tensor  # (n, 3, 4, 1, 1): centre x, y, half axes of the cut-outs
    bent: Tensor  # 1 = wrapped around a vertical cylinder
    radius: Tensor
    ahead: Tensor  # height over the plane of the face's outline
    wave: Tensor  # amplitude of the ripple
    wave_x: Tensor
    wave_y: Tensor
    phase: Tensor
    bow: Tensor  # slight bend of the flat sheet
    shift_x: Tensor
    shift_y: Tensor
    scale: Tensor  # of the printed face
    gloss: Tensor
    view: View


def _draw_sheets(draws: Draws, face: Identity, pose: Pose, kind: Tensor, preset: Preset) -> Sheet:
    """One sheet a row; kind: attack ids (n,)."""
    normal, uniform = draws.normal, draws.uniform
    cut = face.depth.new_tensor([CUT_OUTS.get(k, (0, 0, 0)) for k in range(7)])[kind][..., None, None]
    bent = (kind % 2 == 0).float()[:, None, None]
    holes = face.depth.new_tensor(_HOLES)[..., None, None].repeat(len(kind), 1, 1, 1, 1)
    change = preset.cut * normal(3, 4)
    holes[:, :, :2] += 0.25 * change[:, :, :2] * (holes[:, :, :2] != 0)
    holes[:, :, 2:] *= (1 + change[:, :, 2:]).clamp(0.5, 1.6)
    holes[:, 0, 0] += face.eye_x - _faces.EYE[0]
    holes[:, 0, 1] += face.eye_y - _faces.EYE[1]
    holes[:, 2, 1] += face.mouth_y - _faces.MOUTH_Y
    nose_free = cut[:, 1]
    return Sheet(
        cut=cut,
        holes=holes,
        bent=bent,
        radius=uniform(*preset.curve),
        ahead=face.depth + 0.32 - (0.20 - 0.02 * bent) * nose_free + preset.gap * uniform(0.0, 2.0),
        view=view_of(pose, math.radians(4) * normal(), math.radians(4) * normal()),
        wave=0.02 * normal(),
        wave_x=1.1 * (1 - bent),
        wave_y=2.2 + 0.3 * bent,
        phase=uniform(0.0, 2 * math.pi),
        bow=-0.06 * normal().abs() * (1 - bent),
        shift_x=0.03 * normal(),
        shift_y=0.03 * normal(),
        scale=1 + 0.04 * normal(),
        gloss=uniform(0.0, 1.0),
    )


def _sheet_height(sheet: Sheet, x: Tensor, y: Tensor) -> Tensor:
    ripple = (sheet.wave_x * x).add_(sheet.wave_y * y).add_(sheet.phase).sin_().mul_(sheet.wave)
    square = x * x
    cylinder = (sheet.radius.square() - square).clamp_(min=0.05).sqrt_().sub_(sheet.radius).mul_(sheet.bent)
    return ripple.addcmul_(square, sheet.bow).add_(cylinder).add_(sheet.ahead)


def _on_paper(sheet: Sheet, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates on the printed face (head units) of points on the sheet: arc length around the cylinder."""
    arc = (x / sheet.radius).clamp_(-0.97, 0.97).asin_().mul_(sheet.radius)
    return (arc - x).mul_(sheet.bent).add_(x).div_(sheet.scale), y / sheet.scale


def _opening(sheet: Sheet, u: Tensor, v: Tensor, pixel: float) -> Tensor:
    """1 in a cut-out, 0 on paper, soft over about a pixel: superellipses of exponent 3, as cut by hand."""
    opening = torch.zeros_like(u)
    au = u.abs()
    for region in range(3):
        x, y, half_x, half_y = sheet.holes[:, region].unbind(1)
        across = (au - x).abs_().div_(half_x)
        up = (v - y).abs_().div_(half_y)
        excess = across.square().mul_(across).add_(up.square().mul_(up)).sub_(1.0)
        to_edge = excess.mul_((half_x + half_y) * (-1 / 6))  # to first order, head units
        edge = to_edge.mul_(1 / (1.2 * pixel)).add_(0.5).clamp_(0.0, 1.0)
        opening = torch.maximum(opening, edge.mul_(sheet.cut[:, region]))
    return opening


def _from_page(pages: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """The pages (n, 4, rows, columns) seen at paper coordinates."""
    rows, size = pages.shape[2:]
    down = (HALF_FIELD - v).mul_(size / (HALF_FIELD * rows)).sub_(1.0)
    grid = torch.stack([u / HALF_FIELD, down], 3)
    return grid_sample(pages, grid, align_corners=False, padding_mode="border")


def _box5(m: Tensor) -> Tensor:
    """Mean over 5 x 5 pixels."""
    p = pad(m[:, None], (2, 2, 2, 2), mode="replicate")[:, 0]
    rows, columns = m.shape[1:]
    lines = sum(p[:, k : k + rows] for k in range(5))
    return sum(lines[..., k : k + columns] for k in range(5)) * (1 / 25)


# ---- one batch of frames --------------------------------------------------------------------------------------------


@dataclass
class _Capture(Rows):
    """All parameters of a frame without a sheet."""

    face: Identity
    pose: Pose
    view: View
    camera: Camera
    keys: Tensor  # (n, 2), of the pixels' noise


@dataclass
class _Scene:
    """Maps of what stands before the cameras."""

    reflectance: Tensor  # (n, 4, rows, columns)
    normal: Tensor  # (n, 3, rows, columns)
    z: Tensor  # head units, towards the camera
    gloss: Tensor
    inside: Tensor  # 1 on the face, 0 on the black background
    opening: Tensor | None = None  # 1 in a cut-out, 0 on paper


def _live(capture: _Capture, size: int) -> _Scene:
    """A living face."""
    pose = capture.pose
    seen = see(capture.face, pose, capture.view, size)
    normal = sensors.surface_normals(seen.z, 2 * HALF_FIELD / size / pose.zoom)
    inside = (seen.radius2 < 1.02 * pose.outline.square()).float()
    return _Scene(seen.reflectance, normal, seen.z, seen.gloss, inside)


def _photograph(capture: _Capture, size: int) -> tuple[Tensor, Tensor]:
    """Colour image of a living face before noise, [0, 1], (n, 3, rows, columns), and where the face is."""
    scene = _live(capture, size)
    return sensors.colour_image(scene.reflectance, scene.normal, scene.gloss, capture.camera), scene.inside


def _behind_sheet(capture: _Capture, sheet: Sheet, pages: Tensor, preset: Preset, size: int) -> _Scene:
    """The sheet before the live face, which shows through the cut-outs; the printed oval is the outline."""
    live, pose, view = _live(capture, size), capture.pose, sheet.view
    pixel = 2 * HALF_FIELD / size
    x, y = sensors.pixel_grid(size, pose.zoom, pose.shift_x, pose.shift_y, view.cos_roll, view.sin_roll)

    def surface(on_x: Tensor, on_y: Tensor) -> Tensor:
        return _sheet_height(sheet, on_x, on_y)

    x, y, z = project(view, x - sheet.shift_x, y - sheet.shift_y, sheet.ahead, (surface, surface))
    u, v = _on_paper(sheet, x, y)
    opening = _opening(sheet, u, v, pixel)
    rim = (1 - opening).mul_(opening).mul_(-2.0 * preset.shadow).add_(1.0)
    skin_shadow = (_box5(opening) - 1).mul_(opening).mul_(0.8 * preset.shadow).add_(1.0)
    paper = _from_page(pages, u, v)
    reflectance = paper.lerp_(live.reflectance.mul_(skin_shadow[:, None]), opening[:, None]).mul_(rim[:, None])
    normal = sensors.surface_normals(z, pixel / pose.zoom).lerp_(live.normal, opening[:, None])
    squared = normal[:, 0].square().add_(normal[:, 1].square()).add_(normal[:, 2].square())
    open_ = (opening > 0.5).float()
    return _Scene(
        reflectance=reflectance,
        normal=normal.mul_(squared.rsqrt_()[:, None]),
        z=z.mul_(1 - open_).add_(live.z.mul_(open_)),
        gloss=(live.gloss - sheet.gloss).mul_(opening).add_(sheet.gloss),
        inside=(radius2(capture.face, u, v) < 1.02 * pose.outline.square()).float(),
        opening=opening,
    )


def _photographed(scene: _Scene, camera: Camera, keys: Tensor, preset: Preset, size: int) -> Tensor:
    """The three registered frames R, G, B, depth, IR, uint8 (n, 5, size, size)."""
    draws = Draws(keys)
    image = sensors.colour_image(scene.reflectance, scene.normal, scene.gloss, camera)
    colour = sensors.colour_frame(image, scene.inside, camera, draws, preset)
    depth = _distance(scene, camera)
    signal = sensors.infrared_signal(scene.reflectance[:, 3], scene.normal[:, 2], scene.gloss, depth, camera)
    infrared, signal = sensors.infrared_frame(signal, scene.inside, camera, draws, preset)
    distance = sensors.depth_frame(depth, signal, scene.inside, camera, draws, preset)
    return torch.cat([colour, distance[:, None], infrared[:, None]], 1)[:, :, :size].to(torch.uint8)


def _distance(scene: _Scene, camera: Camera) -> Tensor:
    """Millimetres from the camera to each point; a face's middle surface lies 0.8 head units above its outline."""
    return camera.distance - MM_PER_UNIT * (scene.z - 0.8)


def _padded(*columns: np.ndarray) -> list[Tensor]:
    """Columns of integers as int64 tensors, the last row repeated to a multiple of ``sensors.ROW_BLOCK``."""
    extra = -len(columns[0]) % sensors.ROW_BLOCK
    return [torch.from_numpy(np.pad(np.asarray(c, dtype=np.int64), (0, extra), mode="edge")) for c in columns]


def _blocks(count: int) -> Iterator[slice]:
    """Cut rows into blocks whose parameters are drawn together."""
    return (slice(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK))


def _tiles(count: int, size: int, device: torch.device) -> Iterator[slice]:
    """Cut the rows of a block into batches of maps that suit the device."""
    step = max(1, _PIXELS_AT_ONCE.get(device.type, 1 << 22) // size**2)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def _checked_indices(indices, count: int) -> np.ndarray:
    index = np.asarray(indices)
    if index.size == 0:
        index = index.astype(np.int64)
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise ValueError(f"frame indices must be one sequence of integers, got {index.dtype} of shape {index.shape}")
    if index.size and (index.min() < 0 or index.max() >= count):
        wrong = index[(index < 0) | (index >= count)][0]
        raise ValueError(f"frame index {wrong} is out of range; there are {count:,} frames, the first is 0")
    return index.astype(np.int64)


def _require_positive(**values: int) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")


def _require_common(size: int, seed: int) -> None:
    _require_positive(size=size)
    if size < 16:
        raise ValueError(f"size is {size}; frames need at least 16 pixels a side")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 1 << 63:
        raise ValueError(f"seed is {seed!r}; it must be a whole number from 0 to 2**63 - 1")


def _fingerprint(**spec) -> str:
    text = json.dumps({"renderer": RENDERER_VERSION, **spec}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


# ---- the data set ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spec:
    """What a SynthSurf holds: everything that determines its pixels and its frame table."""

    split: str
    subjects: int
    frames: tuple[tuple[int, int], ...]  # (kind, frames over all subjects)
    size: int
    preset: Preset
    seed: int


class SynthSurf:
    """One split of SynthSURF. A source of ``fasnb.store``.

    Every subject has one bona fide video and one of each attack of the split (train: 4, 5, 6; valid, test: 1, 2, 3).
    Frames of a video share light, print and sheet; pose, expression and noise change from frame to frame.

    Args:
        split: train, valid or test.
        subjects: people in the split.
        frames_per_video: frames of every video. Give either this or ``frames``.
        size: height and width in pixels, at least 16.
        preset: "plausible", "hard" or a ``Preset``.
        seed: of everything.
        frames: frames of the whole split, or {kind: frames of that kind}, dealt out evenly over the videos.
        device: where to render. Integer parts are equal on every device; rounding can differ by one grey level between
            the kinds of device, so this is not part of the fingerprint.

    Attributes:
        spec: the validated specification.
        frames: the frame table; subjects and attacks are known in all splits.
        size, channels, fingerprint: as ``fasnb.store`` needs them.

    Raises:
        ValueError: a value that makes no sense.
    """

    def __init__(
        self,
        split: str,
        subjects: int,
        frames_per_video: int | None = None,
        size: int = 64,
        preset: str | Preset = "hard",
        seed: int = 0,
        *,
        frames: int | Mapping[int, int] | None = None,
        device: str | torch.device = "cpu",
    ):
        if split not in SPLIT_KINDS:
            raise ValueError(f"split is {split!r}; it must be one of {', '.join(SPLIT_KINDS)}")
        _require_positive(subjects=subjects)
        _require_common(size, seed)
        if isinstance(preset, str) and preset not in PRESETS:
            raise ValueError(f"preset is {preset!r}; it must be one of {', '.join(PRESETS)} or a Preset")
        counts = _frames_of_kinds(SPLIT_KINDS[split], subjects, frames_per_video, frames)
        preset = PRESETS[preset] if isinstance(preset, str) else preset
        self.spec = Spec(split, int(subjects), counts, int(size), preset, int(seed))
        self.size = int(size)
        self.channels = {"rgb": 3, "depth": 1, "ir": 1}
        self.device = torch.device(device)
        self.fingerprint = _fingerprint(source="SynthSurf", **asdict(self.spec))
        self._subject, self._kind, self._number = _videos(self.spec)
        self.frames = self._frame_table()
        self._pages: OrderedDict[tuple[int, int], Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        return f"SynthSurf({self.spec.split}, {self.spec.subjects} subjects, {len(self):,} frames of {self.size} px)"

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_pages": OrderedDict()}

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Frames as uint8 (n, 5, size, size): R, G, B, depth (nearer is brighter, 0 = hole), infrared.

        Raises:
            ValueError: an index that is not there.
        """
        index = _checked_indices(indices, len(self))
        out = np.empty((len(index), 5, self.size, self.size), dtype=np.uint8)
        subject, kind, number = self._subject[index], self._kind[index], self._number[index]
        by_video = np.lexsort((subject, kind))
        with _rendering():
            for attack in (False, True):
                chosen = by_video[(kind[by_video] != BONA_FIDE) == attack]
                for block in _blocks(len(chosen)):
                    place = chosen[block]
                    self._render(subject[place], kind[place], number[place], out, place)
        return out

    def example(self, kind: int, subject: int = 0, number: int = 0) -> dict[str, np.ndarray]:
        """One frame and what it was made of, for any kind (0 bona fide, 1..6 attack), in the split or not.

        Returns:
            ``frame`` uint8 (5, size, size) and, as float32 (..., size, size): ``reflectance`` (R, G, B, infrared),
            ``normal`` (3), ``depth`` (mm from the camera), ``inside``; for attacks ``page``, the printed sheet laid
            flat (R, G, B, infrared), and ``opening``, 1 in the cut-outs.

        Raises:
            ValueError: a kind, subject or number that makes no sense.
        """
        limits = {"kind": (kind, 7), "subject": (subject, self.spec.subjects), "number": (number, 1 << 31)}
        for name, (value, end) in limits.items():
            if value not in range(end):
                raise ValueError(f"{name} is {value!r}; it must be a whole number from 0 to {end - 1}")
        who = np.array([subject]), np.array([kind]), np.array([number])
        with _rendering():
            capture, sheet = self._parameters(*who)
            scene = self._scene(capture, sheet, *who[:2], slice(1))
            parts = {"reflectance": scene.reflectance, "normal": scene.normal, "inside": scene.inside}
            parts["depth"] = _distance(scene, capture.camera.take(slice(1)))
            if kind != BONA_FIDE:
                parts |= {"page": self._pages[subject, kind].float()[None], "opening": scene.opening}
            parts = {name: part[0, ..., : self.size, :].cpu().numpy().copy() for name, part in parts.items()}
            frame = np.empty((1, 5, self.size, self.size), dtype=np.uint8)
            self._render(*who, frame, np.array([0]))
        return {"frame": frame[0]} | parts

    def _render(self, subject, kind, number, out: np.ndarray, place: np.ndarray) -> None:
        """Render a block, all bona fide or all attacks, into the places of ``out``."""
        capture, sheet = self._parameters(subject, kind, number)
        for tile in _tiles(len(subject), self.size, self.device):
            scene = self._scene(capture, sheet, subject, kind, tile)
            part = capture.take(tile)
            frames = _photographed(scene, part.camera, part.keys, self.spec.preset, self.size)
            out[place[tile]] = frames.cpu().numpy()
        self._forget_pages()

    def _scene(self, capture: _Capture, sheet: Sheet | None, subject, kind, tile: slice) -> _Scene:
        if sheet is None:
            return _live(capture.take(tile), self.size)
        videos = zip(subject[tile].tolist(), kind[tile].tolist(), strict=True)
        pages = torch.stack([self._pages[video] for video in videos]).float()
        return _behind_sheet(capture.take(tile), sheet.take(tile), pages, self.spec.preset, self.size)

    def _keys(self, part: int, *words: Tensor) -> Tensor:
        return row_keys(len(words[0]), self.spec.seed, _STREAMS[self.spec.split], part, *words, device=self.device)

    def _parameters(self, subject, kind, number) -> tuple[_Capture, Sheet | None]:
        """All parameters of a block of frames, rows padded; its prints are made if they are not there yet."""
        preset = self.spec.preset
        row_subject, row_kind, row_number = _padded(subject, kind, number)
        face = draw_identities(Draws(self._keys(0, row_subject)))
        video = Draws(self._keys(1, row_subject, row_kind))
        frame = Draws(self._keys(2, row_subject, row_kind, row_number))
        pose = drifted(draw_pose(video, preset), draw_pose(frame, preset))
        camera = _jittered(sensors.draw_camera(video, preset), frame, preset)
        keys = self._keys(3, row_subject, row_kind, row_number)
        capture = _Capture(face, pose, view_of(pose), camera, keys)
        if kind[0] == BONA_FIDE:
            return capture, None
        self._print(set(zip(subject.tolist(), kind.tolist(), strict=True)))
        return capture, _draw_sheets(video, face, pose, row_kind.to(self.device), preset)

    def _print(self, videos: set[tuple[int, int]]) -> None:
        """Print the page of each video (subject, kind) that has none yet: another, nearly frontal photograph.

        Pages are reflectances (4, rows, columns) in half precision.
        """
        for video in videos & self._pages.keys():
            self._pages.move_to_end(video)
        missing = sorted(videos - self._pages.keys())
        if not missing:
            return
        subject, kind = _padded(*np.array(missing).T)
        draws = Draws(self._keys(4, subject, kind))
        pose = draw_pose(draws, replace(self.spec.preset, pose=(5.0, 4.0, 0.0)))
        middle = torch.zeros_like(pose.shift_x)
        pose = replace(pose, zoom=torch.ones_like(pose.zoom), shift_x=middle, shift_y=middle)
        camera = sensors.draw_camera(draws, self.spec.preset)
        capture = _Capture(draw_identities(Draws(self._keys(0, subject))), pose, view_of(pose), camera, draws.keys)
        printer = sensors.draw_printer(draws, self.spec.preset)
        for tile in _tiles(len(missing), self.size, self.device):
            photograph, _ = _photograph(capture.take(tile), self.size)
            pages = sensors.printed(photograph, printer.take(tile)).half()
            self._pages |= {video: page.clone() for video, page in zip(missing[tile], pages, strict=True)}

    def _forget_pages(self) -> None:
        """Drop the pages used longest ago when they take too much memory."""
        page = next(iter(self._pages.values()), None)
        while page is not None and len(self._pages) * page.numel() * page.element_size() > _PAGE_CACHE:
            self._pages.popitem(last=False)

    def _frame_table(self) -> pd.DataFrame:
        letter = _LETTER[self.spec.split]
        subject = [f"SYNT_{letter}S{s + 1:04d}" for s in self._subject]
        if self.spec.split == "train":
            paths = {m: _train_paths(subject, self._kind, self._number, f) for m, f in _MODALITY_FOLDERS.items()}
        else:
            root = {"valid": "Val", "test": "Testing"}[self.spec.split]
            count = len(subject)
            paths = {
                m: [f"{root}/{i // 1000:04d}/{i:06d}-{f}.jpg" for i in range(count)]
                for m, f in _MODALITY_FOLDERS.items()
            }
        return frame_table(
            sample=paths["rgb"],
            **paths,
            label=(self._kind == BONA_FIDE).astype(int),
            subject=subject,
            attack=self._kind,
            split=self.spec.split,
        )


_MODALITY_FOLDERS = {"rgb": "color", "depth": "depth", "ir": "ir"}


def _train_paths(subject: list[str], kind: np.ndarray, number: np.ndarray, folder: str) -> list[str]:
    def video(k: int) -> tuple[str, str]:
        return ("real_part", "real") if k == BONA_FIDE else ("fake_part", _FOLDER_OF_ATTACK[k])

    parts = {k: video(k) for k in set(kind.tolist())}
    return [
        f"Training/{parts[k][0]}/{s}/{parts[k][1]}.rssdk/{folder}/{i + 1}.jpg"
        for s, k, i in zip(subject, kind.tolist(), number.tolist(), strict=True)
    ]


def _frames_of_kinds(
    kinds: tuple[int, ...], subjects: int, per_video: int | None, frames: int | Mapping[int, int] | None
) -> tuple[tuple[int, int], ...]:
    """(kind, frames over all subjects) from one of the two ways to say it."""
    if (per_video is None) == (frames is None):
        raise ValueError("give either frames_per_video or frames, not both and not neither")
    if per_video is not None:
        _require_positive(frames_per_video=per_video)
        return tuple((kind, int(per_video) * int(subjects)) for kind in kinds)
    if isinstance(frames, Mapping):
        if set(frames) != set(kinds):
            raise ValueError(f"frames names the kinds {sorted(frames)}; this split has {list(kinds)} (0 = bona fide)")
        _require_positive(**{f"frames[{kind}]": count for kind, count in frames.items()})
        return tuple((kind, int(frames[kind])) for kind in kinds)
    _require_positive(frames=frames)
    if frames < len(kinds):
        raise ValueError(f"frames is {frames}; a split needs at least one frame of each of its {len(kinds)} kinds")
    share, extra = divmod(int(frames), len(kinds))
    return tuple((kind, share + (place < extra)) for place, kind in enumerate(kinds))


def _videos(spec: Spec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Subject (from 0), kind and number within the video (from 0) of every frame, in the order of the table.

    Training frames are ordered by subject; the others are shuffled, so that a file's number tells nothing of its label.
    """
    columns = []
    for kind, count in spec.frames:
        share, extra = divmod(count, spec.subjects)
        length = share + (np.arange(spec.subjects) < extra)
        subject = np.repeat(np.arange(spec.subjects), length)
        number = np.arange(count) - np.repeat(np.cumsum(length) - length, length)
        columns.append(np.stack([subject, np.full(count, kind), number]))
    table = np.concatenate(columns, 1)
    table = table[:, np.lexsort(table[::-1])]
    if spec.split != "train":
        keys = row_keys(table.shape[1], spec.seed, _STREAMS[spec.split], 5, *(torch.from_numpy(c) for c in table))
        table = table[:, np.lexsort(keys.numpy().T)]
    return tuple(np.ascontiguousarray(column) for column in table)


def _jittered(camera: Camera, frame: Draws, preset: Preset) -> Camera:
    """A video's camera at one frame: the head moves by 20 mm, the zero of the depth map drifts."""
    offset = 0.6 * camera.depth_offset + 0.8 * preset.depth_offset * frame.normal()
    return replace(camera, distance=camera.distance + 20.0 * frame.normal(), depth_offset=offset)


# ---- source tasks for initialisation --------------------------------------------------------------------------------


class SourceTask:
    """Labelled colour images to start networks from.

    Attributes:
        labels: int64 (N,), 0 .. classes - 1.
        classes: number of classes.
        size: height = width in pixels.
        fingerprint: hex sha256 over all that determines images and labels.
    """

    def __init__(self, task: str, labels: np.ndarray, classes: int, size: int, seed: int, device, **spec):
        _require_common(size, seed)
        self.labels, self.classes, self.size, self.seed = labels, int(classes), int(size), int(seed)
        self.device = torch.device(device)
        self.fingerprint = _fingerprint(task=task, images=len(labels), size=self.size, seed=self.seed, **spec)
        self._stream = _STREAMS[spec.get("population", task)]

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Images as uint8 (n, 3, size, size), R, G, B.

        Raises:
            ValueError: an index that is not there.
        """
        index = _checked_indices(indices, len(self))
        out = np.empty((len(index), 3, self.size, self.size), dtype=np.uint8)
        with _rendering():
            for block in _blocks(len(index)):
                parameters = self._parameters(index[block])
                for tile in _tiles(len(index[block]), self.size, self.device):
                    image = self._render(parameters.take(tile))[:, :, : self.size]
                    out[block][tile] = image.to(torch.uint8).cpu().numpy()
        return out

    def _parameters(self, index: np.ndarray) -> Rows:
        """The parameters of a block of images, rows padded."""
        raise NotImplementedError

    def _render(self, parameters: Rows) -> Tensor:
        """Images, float 0..255, (n, 3, rows, size) with rows >= size."""
        raise NotImplementedError

    def _keys(self, part: int, *words: Tensor) -> Tensor:
        return row_keys(len(words[0]), self.seed, self._stream, part, *words, device=self.device)


class _FaceTask(SourceTask):
    """Single captures of live faces, each in its own light; image i shows identity i // captures."""

    def __init__(self, task: str, labels: np.ndarray, classes: int, size: int, seed: int, device, **spec):
        super().__init__(task, labels, classes, size, seed, device, **spec)
        self._captures, self._population = int(spec["captures"]), spec.get("population", "all")
        self._gendered = task == "gender"

    def _parameters(self, index: np.ndarray) -> _Capture:
        identity, capture = _padded(index // self._captures, index % self._captures)
        face = draw_identities(Draws(self._keys(0, identity)), self._population, self._trait(identity))
        draws = Draws(self._keys(1, identity, capture))
        pose, camera = draw_pose(draws, PLAUSIBLE), sensors.draw_camera(draws, PLAUSIBLE)
        return _Capture(face, pose, view_of(pose), camera, self._keys(2, identity, capture))

    def _render(self, parameters: _Capture) -> Tensor:
        image, inside = _photograph(parameters, self.size)
        return sensors.colour_frame(image, inside, parameters.camera, Draws(parameters.keys), PLAUSIBLE)

    def _trait(self, identity: Tensor) -> Tensor | float:
        if not self._gendered:
            return 0.0
        return (2.0 * (identity % 2) - 1.0).float()[:, None, None].to(self.device)


@dataclass
class _Object(Rows):
    """A coloured shape before a smooth background. Shapes (n, 1, 1) unless stated."""

    shape: Tensor  # number in _SHAPES
    texture: Tensor  # number in _TEXTURES
    cos: Tensor
    sin: Tensor
    scale: Tensor
    shift_x: Tensor
    shift_y: Tensor
    wave: Tensor  # wave number of stripes and checks
    colour: Tensor  # (n, 3, 1, 1)
    background: Tensor  # (n, 3, 1, 1)
    keys: Tensor  # (n, 2), of the pixels' noise


class _GenericTask(SourceTask):
    """Coloured shapes with textures on smooth backgrounds."""

    def _parameters(self, index: np.ndarray) -> _Object:
        image, label = _padded(index, self.labels[index])
        draws, label = Draws(self._keys(0, image)), label.to(self.device)[:, None, None]
        turn = draws.uniform(0.0, 2 * math.pi)
        return _Object(
            shape=label % len(_SHAPES),
            texture=label // len(_SHAPES),
            cos=turn.cos(),
            sin=turn.sin(),
            scale=1.4 * draws.uniform(0.35, 0.8),
            shift_x=0.2 * draws.normal(),
            shift_y=0.2 * draws.normal(),
            wave=draws.uniform(8.0, 16.0),
            colour=draws.uniform(0.0, 1.0, 3),
            background=draws.uniform(0.0, 1.0, 3),
            keys=self._keys(1, image),
        )

    def _render(self, parameters: _Object) -> Tensor:
        it, noise = parameters, Draws(parameters.keys)
        x, y = sensors.pixel_grid(self.size, it.scale, it.shift_x, it.shift_y, it.cos, it.sin)
        rows, columns = x.shape[1:]
        cover = _chosen(_shapes(x, y), it.shape).mul_(-12.0).sigmoid_()[:, None]
        grain, blemish = noise.normal_maps(rows, columns)
        texture = _chosen(_textures(x, y, it.wave, grain), it.texture)[:, None]
        behind = sensors.smooth_pattern(noise, 6, rows, columns)[:, None] * 0.15 + it.background
        picture = behind.lerp(it.colour + 0.2 * texture, cover).add_(blemish[:, None], alpha=0.03)
        return picture.clamp_(0.0, 1.0).mul_(255.0).round_()


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


def faces(
    identities: int, captures: int, size: int = 64, seed: int = 0, population: str = "A", *, device: str = "cpu"
) -> SourceTask:
    """Face recognition: which identity is it? ``captures`` images of each, label = identity.

    Args:
        identities: classes.
        captures: images of each, in other poses and light.
        size: height and width in pixels.
        seed: of everything.
        population: "A" or "B", which differ in the distributions of skin, hair, eyes, nose and face width.
        device: where to render.

    Raises:
        ValueError: a value that makes no sense.
    """
    _require_positive(identities=identities, captures=captures)
    if population not in ("A", "B"):
        raise ValueError(f"population is {population!r}; it must be A or B")
    labels = np.arange(identities).repeat(captures)
    return _FaceTask("faces", labels, identities, size, seed, device, captures=captures, population=population)


def gender(identities: int, captures: int = 1, size: int = 64, seed: int = 0, *, device: str = "cpu") -> SourceTask:
    """A gender-like binary attribute of faces (jaw, brows, lips, beard, hairline); odd identities have label 1.

    Args and errors as in ``faces``.
    """
    _require_positive(identities=identities, captures=captures)
    labels = (np.arange(identities) % 2).repeat(captures)
    return _FaceTask("gender", labels, 2, size, seed, device, captures=captures)


def generic(images: int, size: int = 64, seed: int = 0, *, device: str = "cpu") -> SourceTask:
    """Generic objects, a stand-in for ImageNet: 6 shapes x 4 textures = 24 classes, image i has label i mod 24.

    Args and errors as in ``faces``.
    """
    _require_positive(images=images)
    classes = len(_SHAPES) * len(_TEXTURES)
    return _GenericTask("generic", np.arange(images) % classes, classes, size, seed, device)

"""SynthSURF: a procedural stand-in for CASIA-SURF.

A frame is a pure function of (seed, split, subject, kind, number): neither the batch it is rendered in nor the number
of threads or processes changes a byte. Subjects, lights, prints and noise of different splits and tasks come from
different streams of random numbers, so that no subject is in two of them.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from synthsurf import scenes, sensors
from synthsurf.draws import Draws
from synthsurf.faces import draw_identities, draw_pose, drifted, view_of
from synthsurf.prints import draw_printer, draw_sheets, page_crop, printed
from synthsurf.rendering import Renderer, fingerprint_of, one_thread, padded, require_positive, tiles
from synthsurf.scenes import Capture, Scene, crop_around
from synthsurf.sensors import Camera, Look, look, power

BONA_FIDE = 0
CHALLENGE = {
    "train": {"subjects": 300, "frames": {0: 8942, 4: 6518, 5: 6942, 6: 6864}},
    "valid": {"subjects": 100, "frames": {0: 2994, 1: 2243, 2: 2118, 3: 2253}},
    "test": {"subjects": 600, "frames": {0: 17458, 1: 13418, 2: 13417, 3: 13417}},
}
"""People and frames of CASIA-SURF by kind: 0 bona fide, 1 to 6 the attacks of Table 1 (the challenge does not tell the
test attacks apart: dealt out evenly)."""

_PAGE_CACHE = 128 << 20  # bytes of printed pages kept in memory
_PERSON = {"train": "SYNT_AS{:04d}", "valid": "SYNT_BS{:04d}", "test": "SYNT_CS{:04d}"}
_VIDEO = {0: "real_part/{}/real", 4: "fake_part/{}/04_en_b", 5: "fake_part/{}/05_enm_s", 6: "fake_part/{}/06_enm_b"}
_FILE = {"valid": "Val/{:04d}/{:06d}", "test": "Testing/{:04d}/{:06d}"}
_TYPES = dict.fromkeys(("sample", "rgb", "depth", "ir"), "string")
_TYPES |= {"label": "Int8", "subject": "string", "attack": "Int8", "split": "string"}


@dataclass(frozen=True)
class Spec:
    """What a SynthSurf holds: everything that determines its pixels and its frame table."""

    split: str
    subjects: int
    frames: tuple[tuple[int, int], ...]  # (kind, frames over all subjects)
    size: int
    look: Look
    seed: int


class SynthSurf(Renderer):
    """One split of SynthSURF. A source of ``fasnb.data.store``.

    Every subject has one bona fide video and one of each attack of the split (train: 4, 5, 6; valid, test: 1, 2, 3).
    Frames of a video share light, print and sheet; pose, expression and noise change from frame to frame.

    Args:
        split: train, valid or test.
        subjects: people in the split.
        frames_per_video: frames of every video. Give either this or ``frames``.
        size: height and width in pixels, at least 16.
        difficulty: from 0 (easy) to 1 (hard), see ``synthsurf.sensors.look``, or a ``Look`` of one's own.
        seed: of everything.
        frames: frames of the whole split, in the proportions of kinds of CASIA-SURF, or {kind: frames of that kind};
            dealt out evenly over the videos of a kind.

    Attributes:
        spec: the validated specification.
        frames: the frame table; subjects and attacks are known in all splits.
        size, channels, fingerprint: as ``fasnb.data.store`` needs them.

    Raises:
        ValueError: a value that makes no sense.
    """

    planes = 5

    def __init__(
        self,
        split: str,
        subjects: int,
        frames_per_video: int | None = None,
        size: int = 64,
        difficulty: float | Look = 0.5,
        seed: int = 0,
        *,
        frames: int | Mapping[int, int] | None = None,
    ):
        if split not in CHALLENGE:
            raise ValueError(f"split is {split!r}; it must be one of {', '.join(CHALLENGE)}")
        super().__init__(size, seed, split)
        require_positive(subjects=subjects)
        counts = _frames_of_kinds(split, subjects, frames_per_video, frames)
        difficulty = difficulty if isinstance(difficulty, Look) else look(difficulty)
        self.spec = Spec(split, int(subjects), counts, self.size, difficulty, self.seed)
        self.channels = {"rgb": 3, "depth": 1, "ir": 1}
        self.fingerprint = fingerprint_of(source="SynthSurf", **asdict(self.spec))
        self._videos = self._order()
        self.frames = _frame_table(split, *self._videos)
        self._pages: OrderedDict[tuple[int, int], Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        return f"SynthSurf({self.spec.split}, {self.spec.subjects} subjects, {len(self):,} frames of {self.size} px)"

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_pages": OrderedDict()}

    def at_size(self, size: int) -> "SynthSurf":
        """The same frames drawn with more or fewer pixels: the same people, poses, light and prints; noise is its own."""
        it = self.spec
        return SynthSurf(it.split, it.subjects, None, size, it.look, it.seed, frames=dict(it.frames))

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
        with one_thread():
            capture = self._captures(np.array([subject]), np.array([kind]), np.array([number])).take(slice(1))
            scene = self._scene(capture)
            parts = {"reflectance": scene.reflectance, "normal": scene.normal, "inside": scene.inside}
            parts["depth"] = scenes.distances(scene.z, scene.middle, capture.camera)
            if kind != BONA_FIDE:
                parts |= {"page": self._pages[subject, kind].float()[None], "opening": scene.opening}
            parts |= {"frame": scenes.registered_frames(scene, capture, self.spec.look, self.size)}
            return {name: part[0, ..., : part.shape[-1], :].numpy().copy() for name, part in parts.items()}

    def _order(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Subject (from 0), kind and number within the video (from 0) of every frame, in the order of the table.

        Training frames are ordered by subject; the others are shuffled, so that a file's number tells nothing of its label.
        """
        columns, subjects = [], self.spec.subjects
        for kind, count in self.spec.frames:
            share, extra = divmod(count, subjects)
            length = share + (np.arange(subjects) < extra)
            number = np.arange(count) - np.repeat(np.cumsum(length) - length, length)
            columns.append(np.stack([np.repeat(np.arange(subjects), length), np.full(count, kind), number]))
        table = np.concatenate(columns, 1)
        table = table[:, np.lexsort(table[::-1])]
        if self.spec.split != "train":
            table = table[:, np.lexsort(self._keys(5, *torch.from_numpy(table)).numpy().T)]
        return tuple(np.ascontiguousarray(column) for column in table)

    def _groups(self, index: np.ndarray) -> list[np.ndarray]:
        """Bona fide and attacks; the frames of one print together."""
        subject, kind, _ = (column[index] for column in self._videos)
        by_video = np.lexsort((subject, kind))
        return [by_video[(kind[by_video] != BONA_FIDE) == attack] for attack in (False, True)]

    def _parameters(self, index: np.ndarray) -> Capture:
        return self._captures(*(column[index] for column in self._videos))

    def _render(self, capture: Capture) -> Tensor:
        return scenes.registered_frames(self._scene(capture), capture, self.spec.look, self.size)

    def _scene(self, capture: Capture) -> Scene:
        if capture.sheet is None:
            return scenes.living_face(capture, self.size)
        pages = torch.stack([self._pages[tuple(video)] for video in capture.sheet.video.tolist()]).float()
        return scenes.behind_sheet(capture, pages, self.spec.look, self.size)

    def _captures(self, subject: np.ndarray, kind: np.ndarray, number: np.ndarray) -> Capture:
        """All parameters of frames, all bona fide or all attacks, rows padded; their prints are made if they are not there."""
        attack, look = kind[0] != BONA_FIDE, self.spec.look
        if attack:
            self._print(set(zip(subject.tolist(), kind.tolist(), strict=True)))
        subject, kind, number = padded(subject, kind, number)
        face = draw_identities(Draws(self._keys(0, subject)))
        video = Draws(self._keys(1, subject, kind))
        frame = Draws(self._keys(2, subject, kind, number))
        pose = drifted(draw_pose(video, look), draw_pose(frame, look))
        camera = sensors.draw_camera(Draws(self._keys(6, subject)), video, look, attack)
        camera.distance += 12.0 * frame.normal()  # people sway
        camera.motion = look.motion * frame.normal(2)
        view, keys = view_of(pose), self._keys(3, subject, kind, number)
        if not attack:
            return Capture(face, pose, view, crop_around(scenes.face_edge(face, pose, view), pose), camera, keys)
        sheet = draw_sheets(video, face, pose, torch.stack([subject, kind], 1), look, self._care(subject, kind))
        return Capture(face, pose, view, crop_around(scenes.sheet_edge(sheet, face, pose), pose), camera, keys, sheet)

    def _care(self, subject: Tensor, kind: Tensor) -> Tensor:
        """How good an attacker's work on one print is, from 0 to 1: who prints well also cuts and wears it well."""
        return power(Draws(self._keys(7, subject, kind)).uniform(0.0, 1.0), self.spec.look.care)

    def _print(self, videos: set[tuple[int, int]]) -> None:
        """Print the page of each video (subject, kind) that has none yet: another, nearly frontal photograph.

        As many pages as fit ``_PAGE_CACHE`` are kept. They are reflectances (4, rows, columns) in half precision.
        """
        for video in videos & self._pages.keys():
            self._pages.move_to_end(video)
        missing = sorted(videos - self._pages.keys())
        if not missing:
            return
        subject, kind = padded(*np.array(missing).T)
        draws = Draws(self._keys(4, subject, kind))
        aside = self.spec.look.photo_pose
        pose = draw_pose(draws, replace(self.spec.look, pose=(aside, 0.7 * aside, 0.0)))
        camera = _studio(sensors.draw_camera(draws, draws, self.spec.look))
        face = draw_identities(Draws(self._keys(0, subject)))
        capture = Capture(face, pose, view_of(pose), page_crop(pose.zoom), camera, draws.keys)
        printer = draw_printer(draws, self.spec.look, self._care(subject, kind))
        size = 3 * self.size // 2  # a page is half as wide again as a frame, and no finer than what the camera resolves
        for tile in tiles(len(missing), size):
            photograph, _ = scenes.portrait(capture.take(tile), size)
            pages = printed(photograph, printer.take(tile)).half()
            self._pages |= {video: page.clone() for video, page in zip(missing[tile], pages, strict=True)}
        page = pages[0]
        while len(self._pages) > max(len(videos), _PAGE_CACHE // (page.numel() * page.element_size())):
            self._pages.popitem(last=False)  # the one used longest ago


def _frames_of_kinds(
    split: str, subjects: int, per_video: int | None, frames: int | Mapping[int, int] | None
) -> tuple[tuple[int, int], ...]:
    """(kind, frames over all subjects) from one of the two ways to say it."""
    of = CHALLENGE[split]["frames"]
    if (per_video is None) == (frames is None):
        raise ValueError("give either frames_per_video or frames, not both and not neither")
    if per_video is not None:
        require_positive(frames_per_video=per_video)
        return tuple((kind, int(per_video) * int(subjects)) for kind in of)
    if isinstance(frames, Mapping):
        if set(frames) != set(of):
            raise ValueError(f"frames names the kinds {sorted(frames)}; this split has {list(of)} (0 = bona fide)")
        require_positive(**{f"frames[{kind}]": count for kind, count in frames.items()})
        return tuple((kind, int(frames[kind])) for kind in of)
    require_positive(frames=frames)
    if frames < len(of):
        raise ValueError(f"frames is {frames}; a split needs at least one frame of each of its {len(of)} kinds")
    return _dealt_out(int(frames), of)


def _dealt_out(total: int, of: Mapping[int, int]) -> tuple[tuple[int, int], ...]:
    """``total`` frames in the proportions of the real split, at least one of each kind; the largest remainders round up."""
    exact = {kind: total * count / sum(of.values()) for kind, count in of.items()}
    dealt = {kind: max(1, int(value)) for kind, value in exact.items()}
    while sum(dealt.values()) != total:
        step = 1 if sum(dealt.values()) < total else -1
        kind = max(dealt, key=lambda k: step * (exact[k] - dealt[k]))
        dealt[kind] += step
    return tuple(dealt.items())


def _frame_table(split: str, subject: np.ndarray, kind: np.ndarray, number: np.ndarray) -> pd.DataFrame:
    """The frame table, with the paths that CASIA-SURF has."""
    people = [_PERSON[split].format(s + 1) for s in subject]
    if split == "train":
        videos = zip(people, kind.tolist(), number.tolist(), strict=True)
        paths = [f"Training/{_VIDEO[k].format(who)}.rssdk/*/{n + 1}.jpg" for who, k, n in videos]
    else:
        paths = [_FILE[split].format(i // 1000, i) + "-*.jpg" for i in range(len(people))]
    columns = {
        m: [p.replace("*", name) for p in paths] for m, name in (("rgb", "color"), ("depth", "depth"), ("ir", "ir"))
    }
    labels = {"label": (kind == BONA_FIDE).astype(int), "subject": people, "attack": kind, "split": split}
    return pd.DataFrame({"sample": columns["rgb"]} | columns | labels).astype(_TYPES)


def _studio(camera: Camera) -> Camera:
    """A camera whose photograph is meant to be printed: white light, right exposure."""
    one = torch.ones_like(camera.gain)
    white, clear = torch.ones_like(camera.colour), torch.zeros_like(one)
    return replace(camera, gain=0.92 * one, flare=clear, saturation=one, colour=white, gamma=one / 1.6)

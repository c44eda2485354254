"""SynthSURF: a procedural stand-in for CASIA-SURF.

A frame is a pure function of (seed, split, subject, kind, number): neither the batch it is rendered in nor the number
of threads or processes changes a byte. Subjects, lights, prints and noise of different splits and tasks come from
different streams of random numbers, so that no subject is in two of them.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fasnb.data.frames import ATTACK_FOLDERS, TRAIN_ATTACKS, frame_table
from fasnb.synthsurf import sensors
from fasnb.synthsurf.draws import Draws, row_keys
from fasnb.synthsurf.faces import crop_of_face, draw_identities, draw_pose, drifted, view_of
from fasnb.synthsurf.prints import Sheet, crop_of_sheet, draw_printer, draw_sheets, page_crop, printed
from fasnb.synthsurf.rendering import (
    STREAMS,
    blocks,
    checked_indices,
    fingerprint_of,
    one_thread,
    padded,
    require_common,
    require_positive,
    tiles,
)
from fasnb.synthsurf.scenes import Capture, Scene, behind_sheet, distances, living_face, portrait, registered_frames
from fasnb.synthsurf.sensors import Camera, Look, look, power

__all__ = ["CHALLENGE", "Look", "SynthSurf", "look"]

BONA_FIDE = 0
SPLIT_KINDS = {"train": (BONA_FIDE, *TRAIN_ATTACKS), "valid": (BONA_FIDE, 1, 2, 3), "test": (BONA_FIDE, 1, 2, 3)}
CHALLENGE = {
    "train": {"subjects": 300, "frames": {0: 8942, 4: 6518, 5: 6942, 6: 6864}},
    "valid": {"subjects": 100, "frames": {0: 2994, 1: 2243, 2: 2118, 3: 2253}},
    "test": {"subjects": 600, "frames": {0: 17458, 1: 13418, 2: 13417, 3: 13417}},
}
"""Frames of CASIA-SURF by kind (the challenge does not tell the test attacks apart: dealt out evenly), at 125 x 125."""

_FOLDER_OF_ATTACK = {attack: folder for folder, attack in ATTACK_FOLDERS.items()}
_LETTER = {"train": "A", "valid": "B", "test": "C"}
_PAGE_CACHE = 128 << 20  # bytes of printed pages kept in memory


@dataclass(frozen=True)
class Spec:
    """What a SynthSurf holds: everything that determines its pixels and its frame table."""

    split: str
    subjects: int
    frames: tuple[tuple[int, int], ...]  # (kind, frames over all subjects)
    size: int
    look: Look
    seed: int


class SynthSurf:
    """One split of SynthSURF. A source of ``fasnb.data.store``.

    Every subject has one bona fide video and one of each attack of the split (train: 4, 5, 6; valid, test: 1, 2, 3).
    Frames of a video share light, print and sheet; pose, expression and noise change from frame to frame.

    Args:
        split: train, valid or test.
        subjects: people in the split.
        frames_per_video: frames of every video. Give either this or ``frames``.
        size: height and width in pixels, at least 16.
        difficulty: from 0 (easy) to 1 (hard), see ``fasnb.synthsurf.sensors.look``, or a ``Look`` of one's own.
        seed: of everything.
        frames: frames of the whole split, in the proportions of kinds of CASIA-SURF, or {kind: frames of that kind}; dealt out
            evenly over the videos of a kind.
        device: where to render. Integer parts are equal on every device; rounding can differ by one grey level between
            the kinds of device, so this is not part of the fingerprint.

    Attributes:
        spec: the validated specification.
        frames: the frame table; subjects and attacks are known in all splits.
        size, channels, fingerprint: as ``fasnb.data.store`` needs them.

    Raises:
        ValueError: a value that makes no sense.
    """

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
        device: str | torch.device = "cpu",
    ):
        if split not in SPLIT_KINDS:
            raise ValueError(f"split is {split!r}; it must be one of {', '.join(SPLIT_KINDS)}")
        require_positive(subjects=subjects)
        require_common(size, seed)
        if not isinstance(difficulty, Look):
            if isinstance(difficulty, bool) or not isinstance(difficulty, int | float) or not 0 <= difficulty <= 1:
                raise ValueError(f"difficulty is {difficulty!r}; it must be a number from 0 (easy) to 1 (hard)")
            difficulty = look(float(difficulty))
        counts = _frames_of_kinds(split, subjects, frames_per_video, frames)
        self.spec = Spec(split, int(subjects), counts, int(size), difficulty, int(seed))
        self.size = int(size)
        self.channels = {"rgb": 3, "depth": 1, "ir": 1}
        self.device = torch.device(device)
        self.fingerprint = fingerprint_of(source="SynthSurf", **asdict(self.spec))
        self._subject, self._kind, self._number = _videos(self.spec)
        self.frames = self._frame_table()
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
        return SynthSurf(
            it.split, it.subjects, None, size, it.look, it.seed, frames=dict(it.frames), device=self.device
        )

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Frames as uint8 (n, 5, size, size): R, G, B, depth (nearer is brighter, 0 = hole), infrared.

        Raises:
            ValueError: an index that is not there.
        """
        index = checked_indices(indices, len(self))
        out = np.empty((len(index), 5, self.size, self.size), dtype=np.uint8)
        subject, kind, number = self._subject[index], self._kind[index], self._number[index]
        by_video = np.lexsort((subject, kind))
        with one_thread():
            for attack in (False, True):
                chosen = by_video[(kind[by_video] != BONA_FIDE) == attack]
                for block in blocks(len(chosen)):
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
        with one_thread():
            capture, sheet = self._parameters(*who)
            scene = self._scene(capture, sheet, *who[:2], slice(1))
            parts = {"reflectance": scene.reflectance, "normal": scene.normal, "inside": scene.inside}
            parts["depth"] = distances(scene.z, scene.middle, capture.camera.take(slice(1)))
            if kind != BONA_FIDE:
                page = self._pages[subject, kind].float()[None, :, : 2 * self.size]
                parts |= {"page": page, "opening": scene.opening[:, : self.size]}
            parts = {name: part[0, ..., : part.shape[-1], :].cpu().numpy().copy() for name, part in parts.items()}
            frame = np.empty((1, 5, self.size, self.size), dtype=np.uint8)
            self._render(*who, frame, np.array([0]))
        return {"frame": frame[0]} | parts

    def _render(self, subject, kind, number, out: np.ndarray, place: np.ndarray) -> None:
        """Render a block, all bona fide or all attacks, into the places of ``out``."""
        capture, sheet = self._parameters(subject, kind, number)
        for tile in tiles(len(subject), self.size, self.device):
            scene = self._scene(capture, sheet, subject, kind, tile)
            part = capture.take(tile)
            frames = registered_frames(scene, part.camera, part.crop, part.keys, self.spec.look, self.size)
            out[place[tile]] = frames.cpu().numpy()
        self._forget_pages()

    def _scene(self, capture: Capture, sheet: Sheet | None, subject, kind, tile: slice) -> Scene:
        if sheet is None:
            return living_face(capture.take(tile), self.size)
        videos = zip(subject[tile].tolist(), kind[tile].tolist(), strict=True)
        pages = torch.stack([self._pages[video] for video in videos]).float()
        return behind_sheet(capture.take(tile), sheet.take(tile), pages, self.spec.look, self.size)

    def _keys(self, part: int, *words: Tensor) -> Tensor:
        return row_keys(len(words[0]), self.spec.seed, STREAMS[self.spec.split], part, *words, device=self.device)

    def _parameters(self, subject, kind, number) -> tuple[Capture, Sheet | None]:
        """All parameters of a block of frames, rows padded; its prints are made if they are not there yet."""
        look = self.spec.look
        row_subject, row_kind, row_number = padded(subject, kind, number)
        face = draw_identities(Draws(self._keys(0, row_subject)))
        video = Draws(self._keys(1, row_subject, row_kind))
        frame = Draws(self._keys(2, row_subject, row_kind, row_number))
        pose = drifted(draw_pose(video, look), draw_pose(frame, look))
        camera = sensors.draw_camera(Draws(self._keys(6, row_subject)), video, look)
        camera = replace(camera, distance=camera.distance + 12.0 * frame.normal())  # people sway
        view, keys = view_of(pose), self._keys(3, row_subject, row_kind, row_number)
        if kind[0] == BONA_FIDE:
            crop = crop_of_face(face, pose, view)
            return Capture(face, pose, view, crop, camera, keys), None
        self._print(set(zip(subject.tolist(), kind.tolist(), strict=True)))
        sheet = draw_sheets(video, face, pose, row_kind.to(self.device), look, self._care(row_subject, row_kind))
        return Capture(face, pose, view, crop_of_sheet(sheet, face, pose), camera, keys), sheet

    def _care(self, subject: Tensor, kind: Tensor) -> Tensor:
        """How good an attacker's work on one print is, from 0 to 1: who prints well also cuts and wears it well."""
        return power(Draws(self._keys(7, subject, kind)).uniform(0.0, 1.0), self.spec.look.care)

    def _print(self, videos: set[tuple[int, int]]) -> None:
        """Print the page of each video (subject, kind) that has none yet: another, nearly frontal photograph.

        Pages are reflectances (4, rows, columns) in half precision.
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
        size = 2 * self.size  # prints are finer than what the camera resolves of them
        for tile in tiles(len(missing), size, self.device):
            photograph, _ = portrait(capture.take(tile), size)
            pages = printed(photograph, printer.take(tile)).half()
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
    split: str, subjects: int, per_video: int | None, frames: int | Mapping[int, int] | None
) -> tuple[tuple[int, int], ...]:
    """(kind, frames over all subjects) from one of the two ways to say it."""
    kinds = SPLIT_KINDS[split]
    if (per_video is None) == (frames is None):
        raise ValueError("give either frames_per_video or frames, not both and not neither")
    if per_video is not None:
        require_positive(frames_per_video=per_video)
        return tuple((kind, int(per_video) * int(subjects)) for kind in kinds)
    if isinstance(frames, Mapping):
        if set(frames) != set(kinds):
            raise ValueError(f"frames names the kinds {sorted(frames)}; this split has {list(kinds)} (0 = bona fide)")
        require_positive(**{f"frames[{kind}]": count for kind, count in frames.items()})
        return tuple((kind, int(frames[kind])) for kind in kinds)
    require_positive(frames=frames)
    if frames < len(kinds):
        raise ValueError(f"frames is {frames}; a split needs at least one frame of each of its {len(kinds)} kinds")
    return _dealt_out(int(frames), CHALLENGE[split]["frames"])


def _dealt_out(total: int, of: Mapping[int, int]) -> tuple[tuple[int, int], ...]:
    """``total`` frames in the proportions of the real split, at least one of each kind; the largest remainders round up."""
    exact = {kind: total * count / sum(of.values()) for kind, count in of.items()}
    dealt = {kind: max(1, int(value)) for kind, value in exact.items()}
    while sum(dealt.values()) != total:
        step = 1 if sum(dealt.values()) < total else -1
        kind = max(dealt, key=lambda k: step * (exact[k] - dealt[k]))
        dealt[kind] += step
    return tuple(dealt.items())


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
        keys = row_keys(table.shape[1], spec.seed, STREAMS[spec.split], 5, *(torch.from_numpy(c) for c in table))
        table = table[:, np.lexsort(keys.numpy().T)]
    return tuple(np.ascontiguousarray(column) for column in table)


def _studio(camera: Camera) -> Camera:
    """A camera whose photograph is meant to be printed: white light, right exposure."""
    one = torch.ones_like(camera.gain)
    return replace(
        camera,
        gain=0.92 * one,
        flare=torch.zeros_like(one),
        saturation=one,
        colour=torch.ones_like(camera.colour),
        gamma=one / 1.6,
    )

"""Pictures of frames for people: drawn larger than networks see them, depth stretched, cut through, and measured."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fasnb.data.casia_surf import CasiaSurf
from fasnb.data.shortcut import left_over
from fasnb.data.store import Source
from fasnb.lab.palette import CAMERA_NAMES, PAGE
from fasnb.paper.experiments import MODALITIES
from fasnb.paper.profile import Profile
from fasnb.paper.published import TABLE1
from fasnb.synthsurf.dataset import SynthSurf
from fasnb.synthsurf.sensors import GREY_PER_MM, look

TITLES = CAMERA_NAMES | {"depth": "depth,\nstretched"}
NOT_MEASURED = (204, 51, 17)  # Paul Tol's red, of no palette
FACE_WIDTH_MM = 150.0  # of the average head of the stand-in


# ---- one picture ----------------------------------------------------------------------------------------------------


def stretched(depth: np.ndarray) -> np.ndarray:
    """A depth map (H, W) for display, uint8: its nearest points white, its farthest 15% dark, holes and background black.

    A stored map uses some thirty of its 256 grey levels, in which the eye sees nothing. Networks get what is stored.
    """
    there = depth > 0
    if not there.any():
        return depth
    low, high = np.percentile(depth[there], [15, 99.7])
    grey = 40 + (depth.astype(float) - low) / max(high - low, 8.0) * 215
    return np.where(there, np.clip(grey, 20, 255), 0).astype(np.uint8)


def picture(image: np.ndarray, name: str, channels: Mapping[str, int], stretch: bool = True) -> np.ndarray:
    """What one camera sees of a frame (C, H, W), for ``imshow``: (H, W, 3) or (H, W).

    Depth is stretched, and red where the face has none.

    Args:
        stretch: False shows the depth that is stored, which networks get.
    """
    parts = dict(zip(channels, np.split(image, np.cumsum(list(channels.values()))[:-1]), strict=True))
    part = parts[name]
    if name == "depth":
        grey = stretched(part[0]) if stretch else part[0]
        hole = (part[0] == 0) & (parts["rgb"].any(0) | parts["ir"].any(0))
        return np.where(hole[..., None], np.array(NOT_MEASURED, np.uint8), grey[..., None])
    return part.transpose(1, 2, 0) if len(part) == 3 else part[0]


def larger_images(source: Source, samples: Sequence[str], size: int = 224) -> np.ndarray | None:
    """Images of some frames for people: the same scenes drawn with more pixels where the source can, else as stored.

    None where the images are not on this machine. uint8 (n, C, size, size).
    """
    source = source.at_size(size) if isinstance(source, SynthSurf) else source
    row_of = dict(zip(source.frames["sample"], range(len(source.frames)), strict=True))
    rows = [row_of[sample] for sample in samples]
    if isinstance(source, CasiaSurf) and not all(source.path(r, m).is_file() for r in rows for m in MODALITIES):
        return None
    return source.read(rows)


# ---- Figure 1 and Table 1 -------------------------------------------------------------------------------------------


def kind_names() -> list[str]:
    """Bona fide, and the attacks of Table 1 in words."""
    regions = ["+".join(r for r in ("eyes", "nose", "mouth") if getattr(row, r)) for row in TABLE1.itertuples()]
    attacks = zip(TABLE1.itertuples(), regions, strict=True)
    return ["bona fide", *(f"{row.attack}: {row.surface},\n{cut}" for row, cut in attacks)]


def one_person(profile: Profile, size: int, subject: int = 1, facing: bool = False) -> np.ndarray | None:
    """One validation person bona fide and with all six attacks, uint8 (7, 5, size, size); None but on the synthetic source.

    Args:
        size: pixels; the same number gives the same scenes at every size.
        facing: the head looks straight at the camera.
    """
    source = _examples(profile, size, facing)
    return None if source is None else np.stack([source.example(kind, subject)["frame"] for kind in range(7)])


def _examples(profile: Profile, size: int, facing: bool) -> SynthSurf | None:
    if profile.source != "synthetic":
        return None
    chosen = look(profile.difficulty)
    chosen = replace(chosen, pose=(0.0, 0.0, 0.0), crop=0.0, tilt=1.0) if facing else chosen
    return SynthSurf("valid", 8, 1, size=size, difficulty=chosen, seed=profile.data_seed)


def frame_pairs(large: np.ndarray, small: np.ndarray, rows: Sequence[str], channels: Mapping[str, int]) -> Figure:
    """Frames as a reader and as a network sees them: each camera's picture, and beside it the same with fewer pixels, where
    depth is not stretched.

    Args:
        large, small: uint8 (n, C, size, size) of the same frames, at two sizes.
        rows: label of each.
        channels: modality -> number of channels, in order.
    """
    left, top = 1.15, 0.46
    cell = (PAGE - left) / (2 * len(channels))
    width, size = PAGE, (PAGE, cell * len(rows) + top)
    fig, axes = plt.subplots(len(rows), 2 * len(channels), figsize=size, squeeze=False, layout="none")
    fig.subplots_adjust(left=left / width, right=1, bottom=0, top=1 - top / size[1], wspace=0.04, hspace=0.04)
    for i, label in enumerate(rows):
        for j, name in enumerate(channels):
            for k, images in enumerate((large, small)):
                ax = axes[i, 2 * j + k]
                ax.imshow(picture(images[i], name, channels, stretch=k == 0), cmap="gray", vmin=0, vmax=255)
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set_visible(False)
                if i == 0:
                    whose = TITLES[name] if k == 0 else f"{CAMERA_NAMES[name]},\nnetwork"
                    ax.set_title(f"{whose}\n{images.shape[-1]} px", fontsize=7, pad=2)
        axes[i, 0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=7)
    return fig


# ---- what the depth camera sees -------------------------------------------------------------------------------------


def depth_sections(profile: Profile, size: int = 224, subject: int = 1) -> pd.DataFrame | None:
    """Two horizontal cuts through the depth maps of ``one_person``, looking straight at the camera.

    Returns:
        Columns ``kind``, ``name``, ``line`` ("eyes" or "nose"), ``mm`` across the face and ``height``: by how many mm the
        depth camera sees a point nearer than the middle of the face's depth, NaN where it sees nothing. None but on the
        synthetic source.
    """
    source = _examples(profile, size, facing=True)
    if source is None:
        return None
    parts = []
    for kind, name in enumerate(kind_names()):
        example = source.example(kind, subject)
        grey, columns = example["frame"][3].astype(float), np.flatnonzero(example["inside"].any(0))
        height = np.where(grey > 0, grey, np.nan) / GREY_PER_MM
        height -= np.nanmedian(height)
        mm = (np.arange(size) - columns.mean()) * FACE_WIDTH_MM / len(columns)
        for line, row in (("eyes", 0.45), ("nose", 0.60)):
            cut = {"kind": kind, "name": name, "line": line, "mm": mm}
            parts.append(pd.DataFrame(cut | {"height": height[round(row * size)]}))
    return pd.concat(parts, ignore_index=True)


def sections(table: pd.DataFrame) -> Figure:
    """Cuts through depth maps: a small panel a kind, one line through the eyes and one through the nose, both with gaps
    where nothing was measured.

    Args:
        table: as of ``depth_sections``.
    """
    names = list(dict.fromkeys(table["name"]))
    fig, axes = plt.subplots(2, (len(names) + 1) // 2, figsize=(PAGE, 3.4), sharex=True, sharey=True, squeeze=False)
    for ax, name in zip(axes.flat, names, strict=False):
        for line, style in (("nose", "-"), ("eyes", "--")):
            part = table[(table["name"] == name) & (table["line"] == line)]
            ax.plot(part["mm"], part["height"], ls=style, color="k", lw=1.1, label=f"through the {line}")
        ax.set_title(name, fontsize=7)
        ax.grid(lw=0.3, alpha=0.5)
    for ax in axes.flat[len(names) :]:
        ax.axis("off")
    for ax in axes.flat[len(names) - axes.shape[1] : len(names)]:
        ax.tick_params(labelbottom=True)  # the lowest panel of each column
    axes.flat[-1].legend(*axes[0, 0].get_legend_handles_labels(), loc="center", frameon=False)
    fig.supxlabel("across the face (mm)", fontsize=8)
    fig.supylabel("towards the camera (mm)", fontsize=8)
    return fig


# ---- what each camera sees, in numbers ------------------------------------------------------------------------------

CAMERA_STATISTICS = {
    "colourfulness": "RGB: colourfulness\n(saturation, %)",
    "relief": "depth: left over\na bent sheet (grey levels)",
    "highlight": "IR: middle of the face\nover its sides (%)",
}
"""Columns of ``camera_statistics`` -> titles, for ``figures.by_attack``."""


def camera_statistics(source: Source, per_kind: int | None = None) -> pd.DataFrame:
    """One number a camera that tells living faces from prints, with sample, label, attack, subject and split.

    ``colourfulness``: mean saturation, which printers lose. ``relief``: what is left of the depth map
    over a bent sheet, ``fasnb.data.shortcut.left_over``. ``highlight``: how much brighter than its
    sides the middle of a face is, where skin turns to the infrared lamp.

    Args:
        per_kind: only the first so many frames of each attack; by default all frames.
    """
    frames = source.frames
    frames = frames if per_kind is None else frames.groupby("attack", dropna=False).head(per_kind)
    edges = np.cumsum([0, *source.channels.values()])
    at = dict(zip(source.channels, edges, strict=False))
    rows = []
    for part in np.array_split(frames.index, max(1, len(frames) // 256)):
        for image in source.read(part).astype(float):
            rgb, depth, infrared = (image[at[name]] for name in ("rgb", "depth", "ir"))
            rgb = image[at["rgb"] : at["rgb"] + 3]
            rows.append((_saturation(rgb), left_over(depth, 2), _highlight(infrared, rgb.any(0))))
    numbers = pd.DataFrame(rows, columns=list(CAMERA_STATISTICS))
    return numbers.join(frames[["sample", "label", "attack", "subject", "split"]].reset_index(drop=True))


def _saturation(rgb: np.ndarray) -> float:
    face = rgb[:, rgb.any(0)]
    return 100 * float(np.mean(1 - face.min(0) / face.max(0).clip(1)))


def _highlight(infrared: np.ndarray, face: np.ndarray) -> float:
    size = len(infrared)
    rows = slice(round(0.42 * size), round(0.62 * size))
    middle, left, right = ((0.42, 0.58), (0.13, 0.21), (0.79, 0.87))
    levels = [np.median(infrared[rows, round(a * size) : round(b * size)]) for a, b in (middle, left, right)]
    return 100 * float((levels[0] - (levels[1] + levels[2]) / 2) / infrared[face].mean())

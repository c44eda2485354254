"""Image files as 8-bit pictures, decoded as the authors did: mode L of depth and infrared, RGB of colour.

Files of 16 bits become 8 by a stated range, with the one rule of the stand-in's camera: near is bright.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps

FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # none that starts other programs, as EPS would
COLOUR_TOLERANCE = 8  # grey levels by which the channels of a grey image may differ after JPEG
KINDS = {"L": "8-bit grey", "RGB": "8-bit colour", "RGBA": "colour, alpha dropped", "LA": "grey, alpha dropped"}
KINDS |= {"P": "palette, expanded", "PA": "palette, alpha dropped"}
DEEP = ("I", "I;16", "I;16B", "I;16L")  # PIL's modes of 16 bits and more
RANGES = {
    "depth": "--depth-mm NEAR:FAR, in mm such as 300:1000 (fasnb run: --set depth_mm=NEAR:FAR)",
    "ir": "--ir-range LOW:HIGH, such as 0:1023 (fasnb run: --set ir_range=LOW:HIGH)",
}


class MissingRange(RuntimeError):
    """A camera's files have 16 bits and nobody said what of them is black and white: none can be read."""


class Picture(NamedTuple):
    """A decoded file."""

    image: Image.Image  # of mode L, or RGB of colour
    kind: str  # what the file is, such as "PNG, 16-bit grey"


def scales_of(depth_mm: str | None = "", ir_range: str | None = "") -> dict[str, tuple[float, float]]:
    """Camera -> the values of its 16-bit files that become 0 and 255, from "NEAR:FAR" and "LOW:HIGH"; empty: none.

    Raises ValueError for any other text.
    """
    scales = {}
    for camera, text in (("depth", depth_mm), ("ir", ir_range)):
        parts = re.fullmatch(r"(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)", (text or "").strip())
        if text and not (parts and float(parts[1]) < float(parts[2]) and float(parts[2]) >= 50):  # 50: not metres
            raise ValueError(f"{text!r} is no range, the smaller number first; write {RANGES[camera]}")
        if text:
            low, high = map(float, parts.groups())
            scales[camera] = (high, low) if camera == "depth" else (low, high)
    return scales


def scaled(values: np.ndarray, black: float, white: float) -> np.ndarray:
    """Grey levels, uint8: 0 at ``black`` and 255 at ``white``, linear between and clipped; 0, no measurement, stays 0."""
    grey = np.rint(255 * (values.astype(np.float64) - black) / (white - black)).clip(0, 255)
    return np.where(values == 0, 0, grey).astype(np.uint8)


def decode(path: Path, camera: str, scales: Mapping[str, tuple[float, float]]) -> Picture:
    """One file of a camera (rgb, depth, ir), upright as its EXIF says.

    Raises MissingRange; a ValueError says what is wrong with this file.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            image.load()
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        ImageOps.exif_transpose(image, in_place=True)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing") from None
    except Exception:  # a damaged image can raise nearly anything in a decoder; nothing of ours runs in this block
        raise ValueError(f"{path} is unreadable: no image of {', '.join(FORMATS)}, cut off or too large") from None
    kind = f"{image.format}, {KINDS.get(image.mode, '16-bit grey')}{', turned by EXIF' * turned}"
    if image.mode in DEEP and camera != "rgb":
        if camera not in scales:
            raise MissingRange(f"{path} has 16 bits: say what of them is black and white, {RANGES[camera]}")
        return Picture(Image.fromarray(scaled(np.asarray(image), *scales[camera])), kind)
    if image.mode not in KINDS:
        wanted = "an 8-bit colour image" if camera == "rgb" else "grey of 8 bits, or of 16 (depth in whole millimetres)"
        raise ValueError(f"{path} is a {image.format} of mode {image.mode}; save it as {wanted}")
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGBA").convert("RGB")
    if camera == "rgb":
        return Picture(image.convert("RGB"), kind)
    if image.mode == "RGB" and np.ptp(np.asarray(image), axis=2).max() > COLOUR_TOLERANCE:
        what = "depth and infrared must be grey; store what the camera measured, not a picture that a viewer coloured"
        raise ValueError(f"{path} is coloured; {what}")
    return Picture(image.convert("L"), kind)

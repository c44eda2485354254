"""Opening image files of others: nothing but ordinary files of known formats and sane sizes is decoded."""

import os
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from fasnb.tools.files import is_regular

FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # none that starts other programs, as EPS would
MOST_PIXELS = 50_000_000  # 150 MB in colour
LONGEST = 20  # width over height, or height over width: resizing a thin strip would take what the limit on pixels saves


class ImageError(ValueError):
    """A file that is not decoded; the message says why and begins with a verb: ``is a folder or pipe``."""


@contextmanager
def open_image(path: Path, root: Path | None = None):
    """The opened, not yet decoded image of a file; whatever fails in decoding it inside is an ``ImageError`` too.

    Args:
        root: folder that the file must lie in, symbolic links followed.

    Raises:
        FileNotFoundError: there is no such file.
        ImageError: the file is not to be decoded, or cannot be.
    """
    try:
        if not is_regular(path):
            raise ImageError("is no ordinary file but a folder, pipe or device")
        if root is not None and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
            raise ImageError(
                f"is a symbolic link that leaves {root}; copy the file, or give the folder it lies in as root"
            )
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MOST_PIXELS or max(width, height) > LONGEST * min(width, height):
                raise ImageError(
                    f"has {width} x {height} pixels; at most {MOST_PIXELS:,} and sides of 1 to {LONGEST} are decoded"
                )
            yield image
    except (ImageError, FileNotFoundError):
        raise
    except OSError as error:
        raise ImageError(f"is unreadable: {error.strerror or 'not an image or cut off'}") from None
    except Exception:  # a damaged image can raise nearly anything in a decoder; nothing of ours runs in this block
        raise ImageError("is unreadable: not an image or cut off") from None

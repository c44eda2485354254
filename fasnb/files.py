"""Writing files so that a kill or a full disk never leaves half a file where a whole one was."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path


def replace_file(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Call ``write(temporary path)`` in the same folder, flush to disk, then rename onto ``path``.

    The temporary name keeps the suffix of ``path``, because many writers choose their format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_text(path: str | Path, text: str) -> Path:
    """Write one text file, UTF-8, atomically."""
    return replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))

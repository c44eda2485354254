"""Checksums of what is read back: one flipped bit is named, and nothing is made again before someone asks for it.

Asking means to remove what the message names. JSON files that name other files carry a seal of their own: the SHA-256 of
all that stands before it.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from fasnb.tools.files import file_sha256, write_text

SEAL = "seal"
RESULT = "result.json"
"""Name of the file, written last, that says that a folder is done and how its other files read."""

SUMS = "sums.csv"
"""Name of the file with the SHA-256 of all others in a folder, see ``write_sums``."""


class Damaged(ValueError):
    """A file does not read back as it was written; the message names it, and what to remove so that it is made again."""


def require(path: Path, sha256: str | None, remedy: str) -> Path:
    """The path of a file whose SHA-256 is the given one.

    Raises:
        Damaged: it is another, or none was noted.
        FileNotFoundError: there is no such file.
    """
    if file_sha256(path) != sha256:
        raise Damaged(f"{path} is damaged: it is not what was written; {remedy}")
    return path


def write_sealed(path: Path, content: dict) -> Path:
    """Write JSON with its seal."""
    return write_text(path, _sealed(content))


def read_sealed(path: Path, remedy: str) -> dict:
    """The content of a file that ``write_sealed`` wrote.

    Raises:
        Damaged: not a byte of it may differ.
        FileNotFoundError: there is no such file.
    """
    text = path.read_bytes()
    try:
        content = json.loads(text)
        content.pop(SEAL)
        whole = text == _sealed(content).encode()
    except (
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
        RecursionError,
    ):  # no JSON, or no dictionary with a seal
        whole = False
    if not whole:
        raise Damaged(f"{path} is damaged, or was written by an earlier version; {remedy}")
    return content


def _sealed(content: dict) -> str:
    digest = hashlib.sha256(json.dumps(content, indent=2).encode()).hexdigest()
    return json.dumps(content | {SEAL: digest}, indent=2) + "\n"


def write_result(folder: Path, content: dict, names: Iterable[str]) -> None:
    """Write a folder's ``RESULT``, sealed, with the SHA-256 of the files named; those in ``content`` are kept."""
    known = content.get("sha256", {})
    write_sealed(folder / RESULT, content | {"sha256": known | {name: file_sha256(folder / name) for name in names}})


def read_result(folder: Path) -> dict:
    """The content of a folder's ``RESULT``. Raises Damaged, and FileNotFoundError where the folder is not done."""
    return read_sealed(folder / RESULT, _again(folder))


def whole(folder: Path, name: str) -> Path:
    """The path of a file in a folder that is done; it reads as it was written. Raises as ``read_result``."""
    return require(folder / name, read_result(folder)["sha256"].get(name), _again(folder))


def _again(folder: Path) -> str:
    return f"remove the folder {folder} to make it again"


def write_sums(folder: Path, files: Iterable[Path]) -> Path:
    """Write the SHA-256 of files below a folder, one line each, and first that of these lines."""
    lines = [f"{file_sha256(path)},{path.relative_to(folder).as_posix()}\n" for path in sorted(files)]
    body = "".join(lines)
    return write_text(folder / SUMS, f"{hashlib.sha256(body.encode()).hexdigest()},{SUMS}\n{body}")


def check_sums(folder: Path, names: Iterable[str] | None = None, edited: bool = False) -> None:
    """Compare files of a folder with what ``write_sums`` noted of them; a folder without notes is not checked.

    Args:
        names: of those to look at; by default all that are noted and still there.
        edited: pass over files that were written later than the notes.

    Raises:
        Damaged: the first file that differs.
    """
    sums = folder / SUMS
    if not sums.is_file():
        return
    first, _, body = sums.read_bytes().partition(b"\n")
    if first.decode(errors="replace") != f"{hashlib.sha256(body).hexdigest()},{SUMS}":
        raise Damaged(
            f"{sums} is damaged; remove it, and what it should check is read unchecked until it is made again"
        )
    noted = {name: digest for digest, _, name in (line.partition(",") for line in body.decode().splitlines())}
    for name in noted if names is None else names:
        path = folder / name
        later = edited and path.is_file() and path.stat().st_mtime_ns > sums.stat().st_mtime_ns
        if path.is_file() and not later:
            require(path, noted.get(name), "remove it and make it again")

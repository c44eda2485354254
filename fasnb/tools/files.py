"""Files that a kill never leaves half written, locks, and checksums of everything that is read back.

A folder that is done holds a ``done.json``, written last: what is known of the folder, the SHA-256 of its files, and a
seal, the SHA-256 of all that. One flipped bit is named, and nothing is made again before someone asks for it.
"""

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout

DONE = "done.json"


class Damaged(ValueError):
    """A file does not read back as it was written; the message names it, and what to remove so that it is made again."""


def replace_file(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Call ``write(temporary path)`` in the same folder, flush to disk, then rename onto ``path``.

    The temporary name, ``.<stem>-<8 hex digits><suffix>``, keeps the suffix, because many writers choose their format by it.
    Raises OSError where the folder cannot be written, or the disk is full; the message says what to do.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        advice = "free some room and run the same command again, which goes on from what is finished"
        raise OSError(error.errno, f"no room for {path}; {advice}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_text(path: str | Path, text: str) -> Path:
    """Write one text file, UTF-8, by ``replace_file``."""
    return replace_file(path, lambda temporary: temporary.write_bytes(text.encode()))


@contextmanager
def locked(path: str | Path, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold the lock file ``path``, so that one process at a time does what is inside. A killed process frees its lock.

    ``waiting`` is called once, before waiting, where another process holds it.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if waiting is not None and is_locked(path):
        waiting()
    with FileLock(path):
        yield


def is_locked(path: str | Path) -> bool:
    """Whether another process holds a lock file."""
    try:
        with FileLock(path, timeout=0) if Path(path).exists() else nullcontext():
            return False
    except Timeout:
        return True


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: str | Path, content: dict, names: Iterable[str] = (), file: str = DONE) -> Path:
    """Write ``file`` into a folder: ``content``, the SHA-256 of the files ``names`` there, and its own seal.

    Hashes that ``content`` brings under "sha256" are kept, so that a sealed folder can be given more files.
    """
    hashes = content.get("sha256", {}) | {name: file_sha256(Path(folder) / name) for name in names}
    return write_text(Path(folder) / file, _with_seal(content | {"sha256": hashes}))


def sealed(folder: str | Path, file: str = DONE) -> dict:
    """What ``seal`` wrote. FileNotFoundError where there is no such file, Damaged where a byte of it differs."""
    text = (Path(folder) / file).read_bytes()
    try:
        content = json.loads(text)
        content.pop("seal")
        whole = text == _with_seal(content).encode()
    except (
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
        RecursionError,
    ):  # no JSON, or no dictionary with a seal
        whole = False
    if not whole:
        raise _damaged(folder, file)
    return content


def whole(folder: str | Path, name: str, file: str = DONE) -> Path:
    """The path of one of the files that ``seal`` noted, once its SHA-256 was compared. Raises as ``sealed``."""
    path = Path(folder) / name
    if sealed(folder, file)["sha256"].get(name) != file_sha256(path):
        raise _damaged(folder, name)
    return path


def _with_seal(content: dict) -> str:
    digest = hashlib.sha256(json.dumps(content, indent=2).encode()).hexdigest()
    return json.dumps(content | {"seal": digest}, indent=2) + "\n"


def _damaged(folder: str | Path, name: str) -> Damaged:
    return Damaged(f"{Path(folder) / name} is not what was written; remove the folder {folder} to make it again")

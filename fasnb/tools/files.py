"""Files that a kill never leaves half written, locks, and checksums of everything that is read back.

A folder that is done holds a ``done.json``, written last: what is known of the folder, the SHA-256 of its files, and a
seal, the SHA-256 of all that. One flipped bit is named, and nothing is made again before someone asks for it.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

DONE = "done.json"


class Damaged(ValueError):
    """A file does not read back as it was written; the message names it, and what to remove to make it again."""


def replace_file(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Call ``write(temporary path)`` in the same folder, flush to disk, then rename onto ``path``.

    The temporary name, ``.<stem>-<8 hex digits><suffix>``, keeps the suffix, by which many writers choose a format.
    What was there stays as it was where that raises OSError, as on a full disk.
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
        raise OSError(error.errno, f"{error.strerror or error}: {path} keeps what it had") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_text(path: str | Path, text: str) -> Path:
    """Write one text file, UTF-8, by ``replace_file``."""
    return replace_file(path, lambda temporary: temporary.write_bytes(text.encode()))


@contextmanager
def locked(path: str | Path, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold a lock file, which a killed process frees. ``waiting`` is called before waiting for another process."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        waiting()
        held = lock.acquire()
    with held:
        yield


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: str | Path, content: dict, names: Iterable[str] = (), file: str = DONE) -> Path:
    """Write ``file`` into a folder: ``content``, the SHA-256 of the files ``names`` there, and last its own seal.

    Hashes that ``content`` brings under "sha256" are kept, so that a sealed folder can be given more files.
    """
    hashes = content.get("sha256", {}) | {name: file_sha256(Path(folder) / name) for name in names}
    text = json.dumps(content | {"sha256": hashes}, indent=2).removesuffix("\n}")
    return write_text(Path(folder) / file, text + _seal_of(text))


def sealed(folder: str | Path, file: str = DONE) -> dict:
    """What ``seal`` wrote. FileNotFoundError where there is no such file, Damaged where a byte of it differs."""
    found = (Path(folder) / file).read_bytes().decode(errors="replace")
    text = found.rpartition(",\n")[0]
    if found != text + _seal_of(text):
        raise _damaged(folder, file)
    return json.loads(text + "\n}")


def whole(folder: str | Path, name: str, file: str = DONE) -> Path:
    """The path of one of the files that ``seal`` noted, once its SHA-256 was compared. Raises as ``sealed``."""
    if sealed(folder, file)["sha256"].get(name) != file_sha256(Path(folder) / name):
        raise _damaged(folder, name)
    return Path(folder) / name


def _seal_of(text: str) -> str:
    """The last lines of a sealed file, whose text before them, a JSON object but for its end, is given."""
    digest = hashlib.sha256(f"{text}\n}}".encode()).hexdigest()
    return f',\n  "seal": "{digest}"\n}}\n'


def _damaged(folder: str | Path, name: str) -> Damaged:
    return Damaged(f"{Path(folder) / name} is not what was written; remove the folder {folder} to make it again")

"""Writing files so that a kill or a full disk never leaves half a file where a whole one was; locks, and hashes."""

import errno
import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

try:
    import fcntl
except ImportError:  # Windows: files of killed processes stay
    fcntl = None

FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
TEMPORARY = re.compile(r"\..+-[0-9a-f]{8}(\.[^.]+)?")  # names that ``replace_file`` gives
PREFIX = "fasnb-"  # of folders in the system's folder for temporary files
LONGEST, SHORT = 80, "/tmp"  # sockets below a path of more characters may not have a name; what then serves instead


def replace_file(path: str | Path, write: Callable[[Path], object], need: int | None = None) -> Path:
    """Call ``write(temporary path)`` in the same folder, flush to disk, then rename onto ``path``.

    The temporary name keeps the suffix of ``path``, because many writers choose their format by it. The file is locked
    while it is written, so that ``sweep`` knows what a killed process left.

    Args:
        need: how many bytes it takes, where that is known.

    Raises:
        OSError: there is no room, or the folder cannot be written; the message says what to do.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    with explained(path, need):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as held:
                with suppress(OSError, AttributeError):  # a file system without locks: no sweeping there
                    fcntl.flock(held, fcntl.LOCK_EX)
                write(temporary)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


@contextmanager
def explained(path: Path, need: int | None = None) -> Iterator[None]:
    """Say of a full disk or a folder that cannot be written which file it is about, what it takes and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK | READ_ONLY or isinstance(error, Explained):
            raise
        if error.filename and not TEMPORARY.fullmatch(Path(error.filename).name):
            path = Path(error.filename)
        reason = os.strerror(error.errno)
        what = f"{path} cannot be written ({reason}); allow it, or choose another folder"
        if error.errno in FULL_DISK:
            free = shutil.disk_usage(next(folder for folder in path.absolute().parents if folder.is_dir())).free
            needs = f"more than the {free:,} bytes that" if need is None else f"{need:,} bytes and {free:,} bytes"
            what = (
                f"no room for {path} ({reason}): it needs {needs} are free; free some and run the same command "
                "again, which goes on from what is finished"
            )
        raise Explained(error.errno, what) from error


class Explained(OSError):
    """An error of the system in one sentence that says what to do; its number is kept."""

    def __str__(self) -> str:
        return self.strerror


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is gone afterwards; if the process is killed, once another calls ``sweep``.

    Its path is short enough for a socket: a TMPDIR that is too long for that is passed over.
    """
    place = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place if len(place) <= LONGEST else SHORT))
    try:
        with locked(folder / "alive.lock"):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(*folders: Path) -> None:
    """Remove what killed processes left: half-written files below ``folders``, and temporary folders of the system."""
    for folder in folders:
        for path in folder.rglob(".*"):
            if fcntl and TEMPORARY.fullmatch(path.name) and path.is_file():
                with suppress(OSError), open(path, "rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # OSError where a process still writes it
                    path.unlink()
    places = dict.fromkeys((Path(tempfile.gettempdir()), Path(SHORT)))
    for folder in (found for place in places for found in place.glob(f"{PREFIX}*")):
        lock = folder / "alive.lock"
        with suppress(OSError):  # another user's, or gone meanwhile
            new = time.time() - folder.stat().st_mtime < 24 * 3600  # its lock may not be there yet
            if not is_locked(lock) and (lock.exists() or not new):
                shutil.rmtree(folder)


def write_text(path: str | Path, text: str) -> Path:
    """Write one text file, UTF-8, atomically."""
    content = text.encode()
    return replace_file(path, lambda temporary: temporary.write_bytes(content), need=len(content))


@contextmanager
def locked(path: str | Path, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold the lock file ``path``, so that one process at a time does what is inside; its folder must be there.

    A lock whose process was killed is free again.

    Args:
        waiting: called once, before waiting, where another process holds it.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if waiting is not None:
            waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def is_locked(path: str | Path) -> bool:
    """Whether another process holds a lock file."""
    if not Path(path).exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def is_regular(path: str | Path) -> bool:
    """Whether a path leads to an ordinary file: no folder, pipe or device, which might never end. OSError if to nothing."""
    return stat.S_ISREG(os.stat(path).st_mode)


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_hashes(paths: Sequence[Path], cache: str | Path | None = None) -> list[str]:
    """SHA-256 of each file in hex, or ``missing`` where there is no ordinary file.

    Args:
        cache: parquet file with the hashes of an earlier call. A file is read again where its size or modification time
            is another; the hash itself does not depend on the time.
    """
    stamps = {str(path): _stamp(path) for path in paths}
    known = _known_hashes(cache)
    new = [path for path, stamp in stamps.items() if stamp and known.get(path, ("",))[0] != stamp]
    with ThreadPoolExecutor(8) as pool:
        read = tqdm(pool.map(file_sha256, new), total=len(new), unit="file", desc="hashing", delay=2)
        known |= {path: (stamps[path], found) for path, found in zip(new, read, strict=True)}
    if cache is not None and new:
        rows = pd.DataFrame([(path, *found) for path, found in known.items()], columns=["path", "stamp", "sha256"])
        replace_file(cache, partial(rows.to_parquet, index=False))
    return [known[str(path)][1] if stamps[str(path)] else "missing" for path in paths]


def _stamp(path: Path) -> str:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return ""
    return f"{status.st_size} {status.st_mtime_ns}" if stat.S_ISREG(status.st_mode) else ""


def _known_hashes(cache: str | Path | None) -> dict[str, tuple[str, str]]:
    if cache is None or not Path(cache).is_file():
        return {}
    try:
        return {row.path: (row.stamp, row.sha256) for row in pd.read_parquet(cache).itertuples()}
    except (OSError, ValueError, AttributeError):
        return {}  # a damaged cache is made anew

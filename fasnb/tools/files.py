"""Writing files so that a kill or a full disk never leaves half a file where a whole one was; locks, and hashes."""

import hashlib
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout
from tqdm.auto import tqdm


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


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_hashes(paths: Sequence[Path], cache: str | Path | None = None) -> list[str]:
    """SHA-256 of each file in hex, or ``missing``.

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
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


def _known_hashes(cache: str | Path | None) -> dict[str, tuple[str, str]]:
    if cache is None or not Path(cache).is_file():
        return {}
    try:
        return {row.path: (row.stamp, row.sha256) for row in pd.read_parquet(cache).itertuples()}
    except (OSError, ValueError, AttributeError):
        return {}  # a damaged cache is made anew

"""Where things lie: the repository, and the authors' released scores."""

import os
from pathlib import Path


class MissingData(FileNotFoundError):
    """The profile's source is not on this machine; the message says what to obtain and where to lay it."""


def home() -> Path:
    """The repository: the nearest folder at or above the working directory that holds the notebooks, else the package's."""
    package = Path(__file__).resolve().parent.parent.parent  # of an editable installation: the repository
    here = Path.cwd()
    places = (here, *here.parents, package)
    return next((p for p in places if (p / "notebooks").is_dir() and (p / "fasnb" / "paper").is_dir()), here)


def cache() -> Path:
    """Folder of stores and hashes, which can be deleted at any time: ``FASNB_CACHE``, else ``data/cache``."""
    return home() / (os.environ.get("FASNB_CACHE") or Path("data") / "cache")


def spare_home() -> None:
    """Where the user's home cannot be written matplotlib keeps its fonts in the cache, here and in processes started here."""
    if not os.access(Path.home(), os.W_OK):
        os.environ.setdefault("MPLCONFIGDIR", str(cache() / "matplotlib"))


def released_root(given: str = "") -> Path:
    """Where the authors' repository is: the given folder, else ``FASNB_RELEASED``, else ``data/released``.

    Raises:
        MissingData: it is at none of these places.
    """
    given = given or os.environ.get("FASNB_RELEASED")
    root = home() / (given or Path("data") / "released")
    if not (root / "data" / "lists" / "phase1_list.txt").is_file():
        raise MissingData(
            f"the authors' released scores are not at {given or 'data/released'}; clone "
            "github.com/AlexanderParkin/ChaLearn_liveness_challenge and lay it at data/released, set FASNB_RELEASED to "
            "the clone, or pass --set released_root=PATH"
        )
    return root

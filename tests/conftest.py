"""Fixtures: where the reference files are. Tests that need them skip, with a reason, where they are absent."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder with ``released/``, ``official/``, ``owner/``, ``golden.json`` and ``state_dicts.json``."""
    folder = Path(os.environ.get("FASNB_REFERENCE", REPOSITORY.parent / "shared" / "reference"))
    if not (folder / "golden.json").is_file():
        pytest.skip("reference files not found; set FASNB_REFERENCE to their folder")
    return folder


@pytest.fixture(scope="session")
def released(reference: Path) -> Path:
    """A clone of the authors' repository, or its lists and scores."""
    return reference / "released"

"""Fixtures: where the reference files are. Tests that need them skip, with a reason, where they are absent."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def reference() -> Path:
    """What the authors, organisers and owner published, for checks against their own files and numbers.

    ``released/``: a clone of the authors' repository; ``official/``, ``owner/``: a list of the organisers and of the data
    set's owner; ``golden.json``, ``state_dicts.json``: outputs and key names of the authors' networks.
    """
    folder = Path(os.environ.get("FASNB_REFERENCE", REPOSITORY / "tests" / "reference"))
    if not (folder / "golden.json").is_file():
        pytest.skip("reference files not found; set FASNB_REFERENCE to their folder")
    return folder


@pytest.fixture(scope="session")
def released(reference: Path) -> Path:
    """A clone of the authors' repository, or its lists and scores."""
    return reference / "released"

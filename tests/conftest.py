"""What tests share, and where the reference files are: tests that need them skip where they are absent."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fasnb.data.frames import frame_table
from fasnb.data.scores import score_table


def listed(names, **known) -> pd.DataFrame:
    """Frames of these names or of so many, attack and bona fide in turn unless ``known`` says other things of them."""
    names = [f"{number}-color.jpg" for number in range(names)] if isinstance(names, int) else names
    columns = dict.fromkeys(("sample", "rgb", "depth", "ir"), names) | {"label": np.arange(len(names)) % 2}
    return frame_table(**columns | known)


def random_scores(networks=(("A", 1, 7), ("B", 1, 704)), names=40, **known) -> pd.DataFrame:
    """Scores that networks, each an experiment, a fold and a seed, give to such frames by chance."""
    frames, rng = listed(names, **known), np.random.default_rng(0)
    return pd.concat([score_table(frames, rng.random(len(frames)), *network) for network in networks])


def flip(path: Path, bit: int) -> None:
    """Turn one bit of a file round; a second time puts it back."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


REPOSITORY = Path(__file__).resolve().parent.parent
PYTHONPATH = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")])


def begun(code: str, *arguments, **options) -> subprocess.Popen:
    """A process of its own that runs Python code on one thread, with the package and the tests at hand."""
    places = {"PYTHONPATH": PYTHONPATH, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=os.environ | places, stdout=subprocess.PIPE, text=True, **options)


@pytest.fixture(scope="session")
def reference() -> Path:
    """What the authors, organisers and owner published, for checks against their own files and numbers.

    ``released/``: a clone of the authors' repository; ``official/``, ``owner/``: a list of the organisers and of the
    data set's owner; ``golden.json``, ``state_dicts.json``: outputs and key names of the authors' networks.
    """
    folder = Path(os.environ.get("FASNB_REFERENCE", REPOSITORY / "tests" / "reference"))
    if not (folder / "golden.json").is_file():
        pytest.skip("reference files not found; set FASNB_REFERENCE to their folder")
    return folder


@pytest.fixture(scope="session")
def released(reference: Path) -> Path:
    """A clone of the authors' repository, or its lists and scores."""
    return reference / "released"


@pytest.fixture(scope="session")
def third_team(reference: Path) -> Path:
    """The scores that the challenge's third team kept in its repository."""
    folder = reference / "third_team"
    return folder if folder.is_dir() else pytest.skip("the third team's files are not among the reference files")


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Path:
    """Results of the whole study in small, as a user runs it; FASNB_SMOKE names some that are there already."""
    if os.environ.get("FASNB_SMOKE"):
        return Path(os.environ["FASNB_SMOKE"])
    out = tmp_path_factory.mktemp("results") / "smoke"
    command = [sys.executable, "-m", "fasnb", "run", "--profile", "smoke", "--out", str(out)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return out


@pytest.fixture
def cache(tmp_path, monkeypatch) -> None:
    """A folder of the test's own for the frames that the command keeps."""
    monkeypatch.setenv("FASNB_CACHE", str(tmp_path / "cache"))


def said(capsys, *arguments, status: int = 0) -> str:
    """What the command prints; where it is to fail, what it complains of."""
    from fasnb.command.main import main

    assert main([str(each) for each in arguments]) == status, capsys.readouterr().err
    out, error = capsys.readouterr()
    return error if status else out


def refused(capsys, *arguments) -> str:
    """What the command says of wrong input: one sentence, in characters that can be seen."""
    _, began, error = said(capsys, *arguments, status=2).rpartition("fasnb: ")  # before it the bar of decoding, if any
    assert began and error.strip().isprintable()
    return error

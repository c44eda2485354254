"""A notebook that plain papermill is given refuses what it does not know, and writes where one works."""

import sys
from pathlib import Path

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from papermill.exceptions import PapermillExecutionError

from fasnb.lab import Session
from fasnb.lab.parameters import check_parameters
from fasnb.paper import ProfileError

PARAMETERS = 'profile = "smoke"  # a profile\nsettings = {}\nout = None'
OPEN = "from fasnb.lab import open_study\nstudy, show = open_study(profile, settings, out)\nprint(study.out)"


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """A notebook that begins as all do."""
    path = tmp_path_factory.mktemp("notebooks") / "chapter.ipynb"
    cells = [new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), new_code_cell(OPEN)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def run(notebook: Path, folder: Path, **parameters) -> str:
    done = papermill.execute_notebook(
        str(notebook), str(folder / "done.ipynb"), parameters=parameters, kernel_name="python3", progress_bar=False,
        cwd=str(folder),
    )  # fmt: skip
    return "".join(output.get("text", "") for output in done.cells[-1].outputs).strip()


def test_a_misspelt_parameter_is_refused_by_the_notebook_in_one_sentence(notebook, tmp_path):
    with pytest.raises(PapermillExecutionError) as raised:
        run(notebook, tmp_path, profil="tiny")
    assert raised.value.evalue == "this notebook has no parameter 'profil'; did you mean 'profile'?"
    assert len(raised.value.traceback) == 1, "a notebook shows the sentence alone"


@pytest.mark.skipif(sys.platform == "win32", reason="paths are compared as text")
def test_from_another_folder_results_stay_there(notebook, tmp_path):
    assert run(notebook, tmp_path) == str(tmp_path / "results" / "smoke")


def test_results_lie_in_the_repository_that_one_works_in(monkeypatch, tmp_path):
    repository = Path(__file__).resolve().parent.parent
    monkeypatch.chdir(repository / "notebooks")
    assert Session("smoke").out == repository / "results" / "smoke"
    monkeypatch.chdir(tmp_path)
    assert Session("smoke").out == tmp_path / "results" / "smoke"
    assert Session("smoke", out="mine").out == tmp_path / "mine"


@pytest.mark.parametrize(
    "given, sentence",
    [
        ((3, {}, None), "profile = 3 is not a text"),
        (("smoke", '{"epochs": 3}', None), "settings = '{\"epochs\": 3}' is not a dictionary; give one"),
        (("smoke", {3: 4}, None), "settings has the key 3"),
        (("smoke", {}, 5), "out = 5 is not a path"),
    ],
)
def test_a_value_of_a_wrong_type_is_named(given, sentence):
    with pytest.raises(ProfileError) as raised:
        check_parameters(*given)
    assert str(raised.value).startswith(sentence) and "\n" not in str(raised.value)

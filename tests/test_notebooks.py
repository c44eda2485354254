"""The rules that every chapter keeps, that papermill alone refuses a misspelt parameter, and exercises: each answer of
``notebooks/exercises.py``, from a study, is accepted, and refused once it is changed."""

import ast
import importlib.util
import re
import subprocess
import sys
from functools import cache
from itertools import product

import nbformat
import numpy as np
import pytest
from conftest import REPOSITORY
from sklearn.metrics import cohen_kappa_score

from fasnb.lab import NOTEBOOKS, open_study
from fasnb.metrics.pad import apcer_by_attack

FOLDER = REPOSITORY / "notebooks"
spec = importlib.util.spec_from_file_location("exercises", FOLDER / "exercises.py")
exercises = importlib.util.module_from_spec(spec)
spec.loader.exec_module(exercises)
SOURCE_TAGS = {"synthetic", "casia-surf", "released"}
WORDS = 2500  # at most, in the text of a chapter
THIRD_TEAM = {"third-team", "no-third-team"}  # whether its files are on the machine
KNOWN_TAGS = SOURCE_TAGS | THIRD_TEAM | {"parameters", "lesson", "nbval-check-output"}


def tags(cell) -> set[str]:
    return set(cell.metadata.get("tags", ()))


def code(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(params=NOTEBOOKS)
def chapter(request):
    return request.param


@pytest.fixture
def notebook(chapter):
    return nbformat.read(FOLDER / f"{chapter}.ipynb", as_version=4)


def test_a_source_is_whole_and_holds_no_outputs_and_no_long_cells(notebook):
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert all(not cell.outputs and cell.execution_count is None for cell in code(notebook))
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert not [cell.id for cell in code(notebook) if len(cell.source.splitlines()) > 25]


def test_tags_are_known_and_name_sources_that_the_chapter_serves(chapter, notebook):
    for cell in notebook.cells:
        unknown = {tag for tag in tags(cell) - KNOWN_TAGS if not re.fullmatch(r"(table|figure)[\w-]*", tag)}
        assert not unknown, f"{cell.id}: {unknown}"
        named = tags(cell) & SOURCE_TAGS
        assert named <= set(NOTEBOOKS[chapter].sources), cell.id
        assert named != set(NOTEBOOKS[chapter].sources), f"{cell.id} is for all sources: it needs no tag"


def test_no_cell_uses_a_name_that_only_another_sources_cells_make(chapter, notebook, tmp_path):
    """Cells of other sources are left out of an execution: what they define is not there."""
    for source, third in product(NOTEBOOKS[chapter].sources, sorted(THIRD_TEAM)):
        others = (SOURCE_TAGS | THIRD_TEAM) - {source, third}
        here = [cell.source for cell in code(notebook) if tags(cell) & {source, third} or not tags(cell) & others]
        (tmp_path / f"{source}-{third}.py").write_text("\n".join(here), encoding="utf-8")
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "F821", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_chapter_asks_explains_and_lets_predict(notebook):
    for mark in ("**Question.**", "**In the paper.**", "**Run time.**"):
        assert mark in notebook.cells[0].source
    words = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert re.search(r"\bpredict", words, re.IGNORECASE), "nothing to predict"
    assert "What this does not show" in words and "Exercise" in words
    assert len(words.split()) <= WORDS, f"{len(words.split())} words"
    assert not re.search(r"\\sqrt\{\\frac|matrix\}", words), "browsers without a font for mathematics draw this wrong"


def test_each_prediction_has_a_place_to_write_it_and_then_a_folded_answer(chapter, notebook):
    """In what is executed of a chapter from drawn frames, else of the released scores."""
    here, elsewhere = NOTEBOOKS[chapter].sources[0], SOURCE_TAGS | {"no-third-team"}
    cells = [cell for cell in notebook.cells if here in tags(cell) or not tags(cell) & elsewhere]
    asked = [i for i, cell in enumerate(cells) if "**Predict.**" in cell.source]
    for i, following in zip(asked, [*asked[1:], len(cells)], strict=True):
        assert cells[i + 1].cell_type == "code" and re.search(r"^\w.* = \.\.\.", cells[i + 1].source), cells[i].id
        text = "\n".join(cell.source for cell in cells[i + 2 : following + 1])
        assert "<details><summary>After you have looked</summary>\n\n" in text, cells[i].id


def test_parameters_are_literals_explained_and_used_and_what_is_shown_has_the_chapters_number(chapter, notebook):
    cells = code(notebook)
    given = [cell for cell in cells if "parameters" in tags(cell)]
    assert len(given) == 1
    lines, others = given[0].source.splitlines(), [ast.parse(cell.source) for cell in cells if cell not in given]
    nodes = [node for tree in others for node in ast.walk(tree)]
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    for statement in ast.parse(given[0].source).body:
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)
        assert statement.targets[0].id in used
        assert "#" in lines[statement.end_lineno - 1], f"no comment for {statement.targets[0].id}"
    assert any("study, show, check = open_study(profile, settings, out)" in cell.source for cell in cells)
    shown = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "show"]
    names = [ast.literal_eval(node.args[1]) for node in shown]
    assert not [name for name in names if not re.fullmatch(rf"{chapter[:2]}-[a-z0-9-]+", name)]


def test_every_notebook_and_exercise_is_known_and_the_plan_for_a_class_names_what_is_in_them():
    assert sorted(path.stem for path in FOLDER.rglob("*.ipynb")) == list(NOTEBOOKS)
    asked = {path.stem[:2]: re.findall(r'check\(\\"(\d\d-\d)\\"', path.read_text()) for path in FOLDER.glob("*.ipynb")}
    assert sorted(sum(asked.values(), [])) == sorted(exercises.EXERCISES)
    assert all(name.startswith(chapter) for chapter, names in asked.items() for name in names)
    assert all(len(names) != 1 for names in asked.values())  # own cameras have no key
    text = (FOLDER / "TEACHING.md").read_text(encoding="utf-8")
    assert len([word for word in text.split() if re.search(r"\w", word)]) <= 1200
    chapters = {name[:2]: (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8") for name in NOTEBOOKS}
    assert {*re.findall(r"\d\d-\d\b", text)} <= {*exercises.EXERCISES}
    planned = re.findall(r"^\| \d+–\d+ \| (\d\d), ([^|]+) \|", text, re.MULTILINE)
    sections = [(number, title) for number, where in planned for title in re.findall(r"\*(.+?)\*", where)]
    lost = [pair for pair in sections if not re.search(rf'"##+ {re.escape(pair[1])}', chapters[pair[0]])]
    assert len(sections) >= 10 and not lost


def test_papermill_alone_refuses_a_misspelt_parameter(tmp_path):
    command = [sys.executable, "-m", "papermill", str(FOLDER / "00_data.ipynb"), str(tmp_path / "00.ipynb")]
    given = ["-p", "profil", "smoke", "-p", "out", str(tmp_path)]
    done = subprocess.run([*command, *given], capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert "this notebook has no parameter 'profil'; did you mean 'profile'?" in done.stderr


@cache
def opened(profile, out, **settings):
    return open_study(profile, settings, out)[0]


def study_of(chapter, request):
    """A study of a source that a chapter serves: the smoke study, else the released scores."""
    sources = next(it.sources for name, it in NOTEBOOKS.items() if name.startswith(chapter))
    smoke = str(request.getfixturevalue("smoke"))
    if "synthetic" in sources:
        return opened("smoke", smoke)
    return opened("released", smoke, released_root=str(request.getfixturevalue("released")))


def changed(answer):
    """Something of the same kind that is wrong."""
    if callable(answer):
        return lambda *case: changed(answer(*case))
    if isinstance(answer, dict):
        return answer | {"worst": answer["worst"] + 1}
    return np.asarray(answer, dtype=float) + 1


@pytest.mark.parametrize("name", exercises.EXERCISES)
def test_an_answer_is_accepted_and_a_changed_one_refused_with_a_hint(name, request):
    study = study_of(name[:2], request)
    wanted, cases = exercises.EXERCISES[name]
    answer = wanted if cases else wanted(study)
    right, sentence = exercises.judge(study, name, answer)
    assert right and re.fullmatch(rf"Right \({name}\)\. .*[.?]", sentence), sentence
    wrong, sentence = exercises.judge(study, name, changed(answer))
    assert not wrong and re.fullmatch(rf"Not yet \({name}\)\. .*[.?)]", sentence), sentence
    waits = exercises.judge(study, name, ...)[1]
    assert waits.startswith(f"Exercise {name} waits for your answer")


def test_every_answer_gets_one_sentence_and_a_solution_shows_its_source(tmp_path, capsys):
    check = open_study("smoke", {}, str(tmp_path))[2]
    for name, answer, said in (
        ("00-3", np.float32(70.004), "Right (00-3). "),  # to a hundredth
        ("00-9", 1, "'00-9' is no exercise; there are 00-1, "),
        ("00-1", "nine", "Exercise 00-1 cannot be judged: ValueError: "),
        ("00-1", float("nan"), "Not yet (00-1). "),
        ("00-2", lambda *case: 1 / 0, "Exercise 00-2 cannot be judged: ZeroDivisionError: "),
        ("04-2", [1, 2, 3], "Exercise 04-2 cannot be judged: FileNotFoundError: A's weights are not here; fasnb run "),
        ("08-1", 1, "Not yet (08-1). "),
    ):
        check(name, answer)
        printed = capsys.readouterr().out
        assert printed.startswith(said) and printed.count("\n") == 1, printed
    check.solution("01-1")
    assert "def se_parameters(channels):" in capsys.readouterr().out


def test_answers_agree_with_libraries():
    for case in exercises.EXERCISES["07-3"][1](None):
        assert exercises.kappa(*case) == pytest.approx(cohen_kappa_score(*case))
    for labels, scores, attacks, threshold in exercises.EXERCISES["00-2"][1](None):
        apcer = apcer_by_attack(labels, scores, threshold, attacks)
        assert exercises.by_type(labels, scores, attacks, threshold) == apcer | {"worst": max(apcer.values())}

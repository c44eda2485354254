"""The rules that every chapter keeps, and that papermill alone refuses a misspelt parameter."""

import ast
import re
import subprocess
import sys
from itertools import product

import nbformat
import pytest
from conftest import REPOSITORY

from fasnb.lab import NOTEBOOKS

FOLDER = REPOSITORY / "notebooks"
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


def test_every_notebook_is_known():
    assert sorted(path.stem for path in FOLDER.rglob("*.ipynb")) == list(NOTEBOOKS)


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


def test_no_cell_uses_a_name_that_only_another_sources_cells_make(chapter, notebook):
    """Cells of other sources are left out of an execution: what they define is not there."""
    cells = code(notebook)
    names = [made_and_used(ast.parse(cell.source)) for cell in cells]
    for source, third in product(NOTEBOOKS[chapter].sources, THIRD_TEAM):
        here = [tags(cell) & {source, third} or not tags(cell) & (SOURCE_TAGS | THIRD_TEAM) for cell in cells]
        elsewhere = {name for (made, _), is_here in zip(names, here, strict=True) if not is_here for name in made}
        for cell, (made, used), is_here in zip(cells, names, here, strict=True):
            if is_here:
                elsewhere -= made
                assert not used & elsewhere, f"{source}, {third}: {cell.id} uses {used & elsewhere}"


def made_and_used(tree) -> tuple[set[str], set[str]]:
    """Names that a cell assigns, defines or imports, and those that it reads, but arguments of its functions."""
    nodes = list(ast.walk(tree))
    read_or_set = [node for node in nodes if isinstance(node, ast.Name)]
    made = {node.id for node in read_or_set if isinstance(node.ctx, ast.Store)}
    made |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    made |= {(node.asname or node.name).partition(".")[0] for node in nodes if isinstance(node, ast.alias)}
    used = {node.id for node in read_or_set if isinstance(node.ctx, ast.Load)}
    return made, used - {node.arg for node in nodes if isinstance(node, ast.arg)}


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


def test_the_parameters_are_literals_each_explained_and_used(notebook):
    cells = code(notebook)
    given = [cell for cell in cells if "parameters" in tags(cell)]
    assert len(given) == 1
    lines, others = given[0].source.splitlines(), [ast.parse(cell.source) for cell in cells if cell not in given]
    used = {node.id for tree in others for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for statement in ast.parse(given[0].source).body:
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)
        assert statement.targets[0].id in used
        assert "#" in lines[statement.end_lineno - 1], f"no comment for {statement.targets[0].id}"
    assert any("study, show, check = open_study(profile, settings, out)" in cell.source for cell in cells)


def test_tables_and_figures_carry_the_number_of_their_chapter(chapter, notebook):
    for cell in code(notebook):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "show":
                name = ast.literal_eval(node.args[1])
                assert re.fullmatch(rf"{chapter[:2]}-[a-z0-9-]+", name), name


def test_the_plan_for_a_class_names_chapters_sections_and_exercises_that_are_there():
    text = (FOLDER / "TEACHING.md").read_text(encoding="utf-8")
    assert len([word for word in text.split() if re.search(r"\w", word)]) <= 1200
    chapters = {name[:2]: (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8") for name in NOTEBOOKS}
    assert all(f'check(\\"{name}\\"' in chapters[name[:2]] for name in re.findall(r"\d\d-\d\b", text))
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

"""Exercises: each answer of ``notebooks/exercises.py``, from a study, is accepted, and refused once it is changed."""

import importlib.util
import re

import numpy as np
import pytest
from conftest import REPOSITORY

from fasnb.lab import NOTEBOOKS, open_study

FILE = REPOSITORY / "notebooks" / "exercises.py"
spec = importlib.util.spec_from_file_location("exercises", FILE)
exercises = importlib.util.module_from_spec(spec)
spec.loader.exec_module(exercises)


@pytest.fixture(scope="module")
def studies(smoke):
    """Chapter -> a study of a source that it serves: the smoke study, else the released scores."""
    opened = {}

    def study_of(chapter, request):
        sources = next(it.sources for name, it in NOTEBOOKS.items() if name.startswith(chapter))
        if "synthetic" in sources:
            return opened.setdefault("smoke", open_study("smoke", {}, str(smoke))[0])
        root = {"released_root": str(request.getfixturevalue("released"))}
        return opened.setdefault("released", open_study("released", root, str(smoke))[0])

    return study_of


def changed(answer):
    """Something of the same kind that is wrong."""
    if callable(answer):
        return lambda *case: changed(answer(*case))
    if isinstance(answer, str):
        return answer + "?"
    if isinstance(answer, set):
        return answer | {"another"}
    return np.asarray(answer, dtype=float) + 1


@pytest.mark.parametrize("name", exercises.EXERCISES)
def test_an_answer_is_accepted_and_a_changed_one_refused_with_a_hint(name, studies, request):
    study = studies(name[:2], request)
    wanted, cases = exercises.EXERCISES[name]
    answer = wanted if cases else wanted(study)
    right, sentence = exercises.judge(study, name, answer)
    assert right and re.fullmatch(rf"Right \({name}\)\. .*[.?]", sentence), sentence
    wrong, sentence = exercises.judge(study, name, changed(answer))
    assert not wrong and re.fullmatch(rf"Not yet \({name}\)\. .*[.?)]", sentence), sentence
    waits = exercises.judge(study, name, ...)[1]
    assert waits.startswith(f"Exercise {name} waits for your answer")


def test_the_exercises_are_those_that_the_chapters_ask_for():
    asked = [re.findall(r'check\(\\"(\d\d-\d)\\"', path.read_text()) for path in sorted(FILE.parent.glob("*.ipynb"))]
    assert sorted(sum(asked, [])) == sorted(exercises.EXERCISES)
    assert all(len(names) != 1 for names in asked)  # own cameras have no key


@pytest.fixture
def check(smoke):
    return open_study("smoke", {}, str(smoke))[2]


def test_what_cannot_be_judged_is_said_in_a_sentence(check, capsys):
    for name, answer, said in (
        ("00-9", 1, "'00-9' is no exercise; there are 00-1, "),
        ("00-1", "nine", "Exercise 00-1 cannot be judged: ValueError: "),
        ("00-1", float("nan"), "Not yet (00-1). "),
        ("00-2", lambda *case: 1 / 0, "Exercise 00-2 cannot be judged: ZeroDivisionError: "),
        ("02-1", 1, "Not yet (02-1). "),
    ):
        check(name, answer)
        printed = capsys.readouterr().out
        assert printed.startswith(said) and printed.count("\n") == 1, printed


def test_numbers_are_right_to_a_hundredth_sets_in_any_order_and_a_solution_shows_its_source(check, capsys):
    assert exercises._same((6, "5", 0), {0, 5, 6}) and not exercises._same([6, 0], {0, 5, 6})
    for name, answer in (("00-3", 70), ("00-3", np.float32(70.004))):
        check(name, answer)
        assert capsys.readouterr().out.startswith("Right")
    check.solution("01-1")
    assert "def se_parameters(channels):" in capsys.readouterr().out

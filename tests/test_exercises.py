"""Exercises: each answer of ``notebooks/exercises.py``, from a study, is accepted, and refused once it is changed."""

import importlib.util
import re
from itertools import combinations

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from sklearn.metrics import cohen_kappa_score

from fasnb.lab import NOTEBOOKS, open_study
from fasnb.metrics.pad import apcer_by_attack

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
    if isinstance(answer, dict):
        return answer | {"worst": answer["worst"] + 1}
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
        ("02-1", 1, "Exercise 02-1 cannot be judged: TypeError: "),
        ("01-2", 99, "Not yet (01-2). "),
    ):
        check(name, answer)
        printed = capsys.readouterr().out
        assert printed.startswith(said) and printed.count("\n") == 1, printed


def test_numbers_are_right_to_a_hundredth_dictionaries_by_key_and_a_solution_shows_its_source(check, capsys):
    assert exercises._same({1: 0.5, "worst": 0.504}, {1: 0.5, "worst": 0.5})
    assert not exercises._same({1: 0.5}, {1: 0.5, "worst": 0.5}) and not exercises._same(0.5, {1: 0.5})
    for name, answer in (("00-3", 70), ("00-3", np.float32(70.004))):
        check(name, answer)
        assert capsys.readouterr().out.startswith("Right")
    check.solution("01-1")
    assert "def se_parameters(channels):" in capsys.readouterr().out


def test_answers_agree_with_those_of_libraries():
    for case in exercises.EXERCISES["07-3"][1](None):
        assert exercises.kappa(*case) == pytest.approx(cohen_kappa_score(*case))
    for labels, scores, attacks, threshold in exercises.EXERCISES["00-2"][1](None):
        found = exercises.by_type(labels, scores, attacks, threshold)
        assert {k: v for k, v in found.items() if k != "worst"} == apcer_by_attack(labels, scores, threshold, attacks)
        assert found["worst"] == max(v for k, v in found.items() if k != "worst")


def test_a_cut_changes_the_network_and_needs_weights_that_are_there(studies, smoke, request, monkeypatch):
    whole, *parts = (exercises.cut(*case) for case in exercises._untrained(True, (0, 1, 2, 3)))  # there is no block 0
    network, images, _ = exercises._untrained(True, [0])[0]
    torch.testing.assert_close(whole, network(*images))
    apart = [float((one - other).abs().max()) for one, other in combinations([whole, *parts], 2)]
    assert min(apart) > 0.05  # what a wrong block gives is refused
    monkeypatch.setenv("FASNB_PUBLISHED", "1")
    right, said = exercises.judge(open_study("smoke", {}, str(smoke))[0], "04-2", [1, 2, 3])
    assert not right and said.endswith("A's weights are not here; fasnb run --profile smoke --only 04 makes them")

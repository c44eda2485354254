"""Exercises: each answer of ``notebooks/exercises.py``, from a study, is accepted, and refused once it is changed."""

import importlib.util
import re

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


@pytest.mark.parametrize(("answer", "mlfa", "numbers"), [("cut", True, range(4)), ("without_se", False, (3, 0, 1, 2))])
def test_what_is_taken_out_of_a_network_shows_in_its_logits(answer, mlfa, numbers):
    cases = exercises._untrained(mlfa, numbers)  # there is no block 0 and no camera 3
    found = [getattr(exercises, answer)(*case) for case in cases]
    torch.testing.assert_close(found[0], cases[0][0](*cases[0][1]))
    assert torch.pdist(torch.stack(found).flatten(1)).min() > 0.05  # so that another part in its place is refused

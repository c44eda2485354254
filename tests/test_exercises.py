"""Exercises: right, wrong, unreadable and unknown answers are each told in one sentence that does not hold the answer."""

import re

import numpy as np
import pytest

from fasnb.lab import Session, exercises
from fasnb.lab.exercises import Choice, Names, Number, Unreadable, Whole, judge
from fasnb.metrics import allowed_attacks


@pytest.fixture(scope="module")
def study():
    return Session("smoke")


@pytest.fixture(scope="module")
def allowed(study):
    attacks = int((study.sources["valid"].frames["label"] == 0).sum())
    return int(allowed_attacks(study.profile.headline_fpr, attacks))


def test_a_right_answer_of_any_numeric_type_is_right(study, allowed):
    for answer in (allowed, float(allowed), np.int64(allowed), np.array([allowed])):
        right, sentence = judge(study, "00-1", answer)
        assert right and sentence.startswith("Right (00-1).")


def test_a_wrong_answer_is_explained_and_not_revealed(study, allowed):
    for answer in (allowed + 1, allowed + 5, 0 if allowed else 7):
        right, sentence = judge(study, "00-1", answer)
        assert not right and sentence.startswith("Not yet (00-1).")
        assert str(allowed) not in re.sub(r"00-1", "", sentence)
    common = judge(study, "00-1", allowed + 1)[1]
    assert common != judge(study, "00-1", allowed + 5)[1], "a common error has its own explanation"


def test_the_right_digits_in_the_wrong_unit_are_told_apart(study):
    assert "unit" in judge(study, "00-3", 0.7)[1] and judge(study, "00-3", 70)[0]


@pytest.mark.parametrize(
    "answer, reason",
    [
        ("nine", "is of type str; give a number"),
        (None, "is of type NoneType"),
        (True, "is of type bool"),
        (2.5, "it is no whole number"),
        ([1, 2], "is of type list"),
        (np.arange(3), "it holds 3 values; give one number"),
        (float("nan"), "it is no whole number"),
    ],
)
def test_an_answer_of_another_kind_is_refused_in_one_sentence(study, answer, reason):
    right, sentence = judge(study, "00-1", answer)
    assert not right and "\n" not in sentence
    assert sentence.startswith("Exercise 00-1 cannot take this answer: ") and reason in sentence


@pytest.mark.parametrize("name", ["00-9", "chapter 00", 1, None])
def test_an_unknown_exercise_names_those_there_are(study, name):
    right, sentence = judge(study, name, 1)
    assert not right and f"{name!r} is no exercise" in sentence and "00-1" in sentence and "\n" not in sentence


def test_dots_are_no_answer_yet(study, capsys):
    exercises.of(study)("00-1", ...)
    assert capsys.readouterr().out == "Exercise 00-1 waits for your answer in place of the dots.\n"


def test_a_function_is_run_on_cases_and_what_it_raises_is_told(study):
    def mean(labels, scores, attacks, threshold):
        return np.mean(scores[labels == 0] >= threshold)

    assert judge(study, "00-2", mean)[1].startswith("Not yet (00-2).")
    assert "stops with ZeroDivisionError" in judge(study, "00-2", lambda *given: 1 / 0)[1]
    assert "give a function of labels" in judge(study, "00-2", 0.3)[1]


def test_choices_and_names_are_read_as_people_write_them():
    assert Choice(("rgb", "depth")).read(" Depth ") == "depth"
    with pytest.raises(Unreadable, match="'colour' is none of 'rgb', 'depth'"):
        Choice(("rgb", "depth")).read("colour")
    assert Names().equal(Names().read([0, 5, 6]), Names().read({"6", 5, 0}))
    with pytest.raises(Unreadable, match="give a list of names"):
        Names().read("0, 5, 6")
    assert Number(tolerance=0.1).equal(1.0, 1.09) and not Whole().equal(1.0, 1.09)


def test_every_answer_is_readable_by_its_own_kind_and_says_something(study):
    for name, exercise in exercises.all_exercises().items():
        assert re.fullmatch(r"\d\d-\d", name)
        for sentence in (exercise.right, exercise.wrong, *exercise.mistakes):
            assert sentence.endswith((".", "?", ")")) and "\n" not in sentence, name

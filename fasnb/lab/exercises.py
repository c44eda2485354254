"""Exercises of the notebooks: ``check("05-2", answer)`` says whether an answer is right, and never what the answer is.

An exercise is registered by the function that computes its answer from the study at hand, so that it holds for every
profile and source::

    @exercise("05-2", Number("percent"), right="...", wrong="...", mistakes={"You counted ...": _all_frames})
    def _worst_member(study: Session) -> float:
        return ...

The functions stand in ``answers_building`` (chapters 00 to 03), ``answers_results`` (04 to 06, 10)
and ``answers_evidence`` (07 to 09). In a notebook::

    check = exercises.of(study)
    answer = ...
    check("05-2", answer)
"""

import importlib
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from fasnb.lab.session import Session
from fasnb.metrics.scores import IncompleteError

ANSWERS = ("fasnb.lab.answers_building", "fasnb.lab.answers_results", "fasnb.lab.answers_evidence")
"""Modules that register exercises."""


class Unreadable(TypeError):
    """An answer of another kind than the exercise asks for; the message is a whole sentence."""


# ---------------------------------------------------------------------------------------------------------------------
# Kinds of answers: ``read`` makes an answer comparable or raises Unreadable, ``equal`` compares two
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Number:
    """A number, right to ``tolerance``; ``unit`` is said where the answer is of another kind."""

    unit: str = ""
    tolerance: float = 0.01

    def read(self, answer) -> float:
        if isinstance(answer, np.ndarray | pd.Series) or hasattr(answer, "item"):
            if getattr(answer, "size", 1) != 1 and not callable(getattr(answer, "size", None)):
                raise Unreadable(f"it holds {answer.size} values; give one number")
            answer = answer.item() if hasattr(answer, "item") else answer
        if isinstance(answer, bool) or not isinstance(answer, numbers.Real):
            raise Unreadable(f"it is of type {type(answer).__name__}; give a number{self.unit and ' in ' + self.unit}")
        return float(answer)

    def equal(self, one: float, other: float) -> bool:
        return abs(one - other) <= self.tolerance


@dataclass(frozen=True)
class Whole(Number):
    """A whole number, such as a count."""

    tolerance: float = 0.0

    def read(self, answer) -> float:
        value = super().read(answer)
        if not value.is_integer():  # not of NaN either
            raise Unreadable("it is no whole number; give a count")
        return value


@dataclass(frozen=True)
class Choice:
    """One of some texts; capitals do not count. ``options`` may depend on the study: then it is a function of it."""

    options: tuple[str, ...]

    def read(self, answer) -> str:
        if not isinstance(answer, str):
            raise Unreadable(f"it is of type {type(answer).__name__}; give one of {', '.join(map(repr, self.options))}")
        known = {option.casefold(): option for option in self.options}
        if answer.strip().casefold() not in known:
            raise Unreadable(f"{answer!r} is none of {', '.join(map(repr, self.options))}")
        return known[answer.strip().casefold()]

    def equal(self, one: str, other: str) -> bool:
        return one == other


@dataclass(frozen=True)
class Names:
    """Some texts or numbers in any order, as a list, tuple or set."""

    def read(self, answer) -> frozenset:
        if isinstance(answer, str | Mapping) or not hasattr(answer, "__iter__"):
            raise Unreadable(f"it is of type {type(answer).__name__}; give a list of names")
        return frozenset(str(name).strip() for name in answer)

    def equal(self, one: frozenset, other: frozenset) -> bool:
        return one == other


@dataclass(frozen=True)
class Function:
    """A function, right where it gives the same as the exercise's own on every one of ``cases``.

    ``arguments`` says in words what it takes, ``cases(study)`` gives tuples of arguments.
    """

    arguments: str
    cases: Callable[[Session], Sequence[tuple]]
    tolerance: float = 1e-6

    def read(self, answer) -> Callable:
        if not callable(answer):
            raise Unreadable(
                f"it is of type {type(answer).__name__}; give a function of {self.arguments}, not its result"
            )
        return answer

    def equal(self, one: Callable, other: Callable, study: Session) -> bool:
        return all(self._close(one(*case), other(*case)) for case in self.cases(study))

    def _close(self, one, other) -> bool:
        one, other = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
        return one.shape == other.shape and np.allclose(one, other, rtol=0, atol=self.tolerance)


# ---------------------------------------------------------------------------------------------------------------------
# Exercises
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    right: what a right answer means, a sentence or two. wrong: where to look, without the answer. mistakes: what to say
    of a wrong answer that a common error gives -> function of the study that makes this error.
    """

    name: str
    kind: Any
    answer: Callable[[Session], Any]
    right: str
    wrong: str
    mistakes: Mapping[str, Callable[[Session], Any]] = field(default_factory=dict)


_EXERCISES: dict[str, Exercise] = {}


def exercise(name: str, kind, *, right: str, wrong: str, mistakes: Mapping[str, Callable] | None = None):
    """Register the function below as the answer of an exercise. ``name`` is the chapter and a number, such as 05-2."""

    def register(answer: Callable[[Session], Any]) -> Callable:
        if name in _EXERCISES and _EXERCISES[name].answer.__module__ != answer.__module__:
            raise ValueError(f"exercise {name} is registered twice")
        _EXERCISES[name] = Exercise(name, kind, answer, right, wrong, mistakes or {})
        return answer

    return register


def all_exercises() -> dict[str, Exercise]:
    """Name -> exercise, in order."""
    for module in ANSWERS:
        importlib.import_module(module)
    return dict(sorted(_EXERCISES.items()))


def of(study: Session) -> Callable[[str, Any], None]:
    """``check(name, answer)`` for the exercises of a study's chapters: it prints a sentence and returns nothing."""

    def check(name: str, answer: Any = ...) -> None:
        print(judge(study, name, answer)[1])

    return check


def judge(study: Session, name: str, answer: Any) -> tuple[bool, str]:
    """Whether an answer is right, and what to say of it. ``...`` is no answer yet."""
    known = all_exercises()
    if not isinstance(name, str) or name not in known:
        chapter = [other for other in known if isinstance(name, str) and other[:2] == name[:2]]
        return False, f"{name!r} is no exercise; there are {', '.join(chapter or known)}."
    chosen = known[name]
    if answer is ...:
        return False, f"Exercise {name} waits for your answer in place of the dots."
    try:
        given = chosen.kind.read(answer)
    except Unreadable as error:
        return False, f"Exercise {name} cannot take this answer: {error}."
    try:
        return _judged(study, chosen, given)
    except (FileNotFoundError, IncompleteError) as error:
        return False, f"Exercise {name} cannot be judged with this study: {error}"


def _judged(study: Session, chosen: Exercise, given) -> tuple[bool, str]:
    wanted, kind = chosen.kind.read(chosen.answer(study)), chosen.kind
    if isinstance(kind, Function):
        try:
            right = kind.equal(given, wanted, study)
        except Exception as error:  # whatever the reader's function raises
            return False, f"Not yet ({chosen.name}): your function stops with {type(error).__name__}: {error}"
        return (True, f"Right ({chosen.name}). {chosen.right}") if right else (False, _hint(chosen, chosen.wrong))
    if kind.equal(given, wanted):
        return True, f"Right ({chosen.name}). {chosen.right}"
    for sentence, made in chosen.mistakes.items():
        if kind.equal(given, kind.read(made(study))):
            return False, _hint(chosen, sentence)
    if isinstance(kind, Number) and any(kind.equal(given * factor, wanted) for factor in (100, 0.01)):
        return False, _hint(chosen, f"The digits are right, the unit is not: give it in {kind.unit or 'another unit'}.")
    return False, _hint(chosen, chosen.wrong)


def _hint(chosen: Exercise, sentence: str) -> str:
    return f"Not yet ({chosen.name}). {sentence}"

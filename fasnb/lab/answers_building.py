"""Answers of the exercises of chapters 00 to 03, computed from the study at hand, see ``fasnb.lab.exercises``."""

import numpy as np
import pandas as pd
import torch

from fasnb.lab.exercises import Function, Names, Number, Whole, exercise
from fasnb.lab.session import Session
from fasnb.metrics.pad import allowed_attacks, apcer_by_attack, tpr_at_fpr
from fasnb.metrics.scores import IncompleteError, average, first_seed
from fasnb.model.network import Fusion, ThreeBranchNetwork, build
from fasnb.model.parts import describe
from fasnb.tools.places import MissingData

LIVING = (0.98, 0.95, 0.93, 0.90, 0.86, 0.81, 0.74, 0.62, 0.55, 0.31)
PRINTS = (0.88, 0.74, 0.43, 0.35, 0.28, 0.22, 0.15, 0.11, 0.06, 0.02)
"""The twenty scores of chapter 00."""


# ---------------------------------------------------------------------------------------------------------------------
# 00
# ---------------------------------------------------------------------------------------------------------------------


def _attack_frames(study: Session) -> int:
    labels = study.sources["valid"].frames["label"]
    if labels.isna().any():
        raise IncompleteError("the validation frames have no labels here.")
    return int((labels == 0).sum())


def _rounded_up(study: Session) -> float:
    return np.floor(study.profile.headline_fpr * _attack_frames(study)) + 1


def _of_all_frames(study: Session) -> float:
    return np.floor(study.profile.headline_fpr * len(study.sources["valid"].frames))


@exercise(
    "00-1",
    Whole(),
    right="The share is of attack frames alone, rounded down: at most the target, never more.",
    wrong="Count the attack frames of the validation split, take the share, and mind which way to round.",
    mistakes={
        "That many would be above the target: the FPR must be at most the headline FPR.": _rounded_up,
        "You took the share of all frames; the FPR is a share of the attack frames.": _of_all_frames,
    },
)
def _may_pass(study: Session) -> int:
    return int(allowed_attacks(study.profile.headline_fpr, _attack_frames(study)))


def _attack_cases(study: Session) -> list[tuple]:
    draw = np.random.default_rng(0)
    attacks = [draw.permutation([0] * 8 + [1] * 3 + [2] * 6 + [3] * 4) for _ in range(5)]
    return [((kinds == 0).astype(int), draw.random(len(kinds)).round(1), kinds, 0.5) for kinds in attacks]


@exercise(
    "00-2",
    Function("labels, scores, attacks and a threshold", _attack_cases),
    right="The mean over all attack frames would hide it if a rare attack always worked.",
    wrong="For each attack type, which share of its frames has a score at or above the threshold? Return the largest share; "
    "bona fide frames (0) are no attack.",
)
def _worst_attack(study: Session):
    return lambda labels, scores, attacks, threshold: max(apcer_by_attack(labels, scores, threshold, attacks).values())


@exercise(
    "00-3",
    Number("percent"),
    right="His number is higher than any threshold can give: this is why ties must count against the network.",
    wrong="Order the twenty scores from high to low, with the bona fide frame first where two are equal, and go down until a "
    "second print would pass.",
    mistakes={
        "That is the honest TPR, with ties against the network; he is not honest.": lambda study: (
            100 * tpr_at_fpr([1] * len(LIVING) + [0] * len(PRINTS), [*LIVING, *PRINTS], 0.1)
        ),
    },
)
def _ties_in_favour(study: Session) -> float:
    first_refused = sorted(PRINTS, reverse=True)[len(PRINTS) // 10]
    return 100 * float(np.mean(np.array(LIVING) >= first_refused))


# ---------------------------------------------------------------------------------------------------------------------
# 01
# ---------------------------------------------------------------------------------------------------------------------


def _se_parameters(channels: int) -> int:
    with torch.device("meta"):
        return sum(part.numel() for part in Fusion(channels, squeeze=True).parameters())


@exercise(
    "01-1",
    Function("the number of channels", lambda study: [(channels,) for channels in (16, 32, 64, 256, 512)]),
    right="Against the convolutions around it this is little, which is why SE costs next to nothing.",
    wrong="A layer from n to m units has n * m weights and m biases. There are two layers in a block and a block for each "
    "camera; mind that the hidden layer has at least 4 units.",
)
def _parameters_of_fusion(study: Session):
    return _se_parameters


def _tpr(study: Session, scores: pd.DataFrame) -> float:
    """TPR in percent at the headline FPR, of a scores table with one network or mean."""
    return 100 * tpr_at_fpr(scores["label"].astype(int), scores["score"], study.profile.headline_fpr)


def _folds_and_mean(study: Session, experiment: str) -> tuple[list[float], float]:
    """TPR of each fold's network and of their mean score, in percent, first seed."""
    if not study.serves(experiment):
        raise MissingData(f"there are no scores of {experiment}.")
    scores = first_seed(study.scores(experiment))
    return [_tpr(study, part) for _, part in scores.groupby("fold")], _tpr(study, average(scores))


def _above_mean_of_folds(study: Session) -> float:
    folds, mean = _folds_and_mean(study, "resnet34-subject")
    return mean - float(np.mean(folds))


@exercise(
    "01-2",
    Number("points", tolerance=0.05),
    right="To choose the best fold one needs the labels of validation; the mean needs none.",
    wrong="Give the difference in percentage points: the mean score of each frame over the five folds first, then its TPR, minus "
    "the highest TPR of a single fold. First seed only.",
    mistakes={"That is the gain over the mean of the folds' TPRs, not over the best fold.": _above_mean_of_folds},
)
def _above_best_fold(study: Session) -> float:
    folds, mean = _folds_and_mean(study, "resnet34-subject")
    return mean - max(folds)


def _cost(study: Session, experiment: str, column: str) -> float:
    it = study.plan.of(experiment)[0].specification
    return float(describe(it.architecture, it.recipe.crop)[column].iloc[-1])


@exercise(
    "01-3",
    Number("a multiple", tolerance=0.01),
    right="A comparison at equal cost would have to give the cheaper network more of something else.",
    wrong="Divide the two numbers of the table of networks, the larger experiment above.",
    mistakes={
        "That is the ratio of the parameters; a weight of a large map is used at every position of it.": lambda study: (
            _cost(study, "resnet34-subject", "parameters") / _cost(study, "zhang", "parameters")
        ),
        "You divided the other way round.": lambda study: (
            _cost(study, "zhang", "multiply_adds") / _cost(study, "resnet34-subject", "multiply_adds")
        ),
    },
)
def _cost_ratio(study: Session) -> float:
    return _cost(study, "resnet34-subject", "multiply_adds") / _cost(study, "zhang", "multiply_adds")


# ---------------------------------------------------------------------------------------------------------------------
# 02
# ---------------------------------------------------------------------------------------------------------------------


def _kinds(study: Session, held_out: bool) -> set[int]:
    frames, fold = study.sources["train"].frames, study.plan.folds["attack"]
    return set(frames["attack"][(fold == 1) if held_out else (fold != 1)])


@exercise(
    "02-1",
    Names(),
    right="Two attacks and the living faces: its third attack is as new to it as those of validation.",
    wrong="Member k learns from the frames whose fold is not k. Living faces are held out by person, not all at once.",
    mistakes={
        "Those are what fold 1 holds out; the member learns from the other frames.": lambda study: _kinds(study, True),
        "It also learns from living faces.": lambda study: _kinds(study, False) - {0},
    },
)
def _learned_kinds(study: Session) -> set[int]:
    return _kinds(study, False)


def _people_of(study: Session, fold: int, living: bool) -> int:
    frames, folds = study.sources["train"].frames, study.plan.folds["attack"]
    rows = (folds == fold) & ((frames["attack"] == 0) if living else True)
    return int(frames["subject"][rows].nunique())


@exercise(
    "02-2",
    Whole("people"),
    right="About a third of the people; it meets them only behind prints.",
    wrong="Look at the bona fide frames that fold 2 holds out, and count people, not frames.",
    mistakes={
        "You counted everyone of whom fold 2 holds out anything; ask for living faces.": lambda s: _people_of(
            s, 2, False
        ),
    },
)
def _never_living(study: Session) -> int:
    return _people_of(study, 2, True)


@exercise(
    "02-3",
    Number("points", tolerance=0.05),
    right="The mean of scores is another system than any of its members, and its TPR is no mean of theirs.",
    wrong="Two numbers in percent: the TPR of the mean score over the three folds, and the mean of the three folds' TPRs. First "
    "seed only.",
)
def _gain_of_averaging(study: Session) -> float:
    folds, mean = _folds_and_mean(study, "resnet34-attack")
    return mean - float(np.mean(folds))


# ---------------------------------------------------------------------------------------------------------------------
# 03
# ---------------------------------------------------------------------------------------------------------------------


def _share(study: Session, parts: tuple[str, ...]) -> float:
    """Share in percent of the parameters of model A's network that lie in these parts."""
    with torch.device("meta"):
        network: ThreeBranchNetwork = build(study.plan.of("A")[0].specification.architecture)
    sizes = {name: part.numel() for name, part in network.named_parameters()}
    return 100 * sum(size for name, size in sizes.items() if name.startswith(parts)) / sum(sizes.values())


@exercise(
    "03-1",
    Number("percent", tolerance=0.1),
    right="What starts at random in A is mostly the aggregation path, the subject of the next chapter.",
    wrong="Add up the parameters of the three branches and of the shared stage, and divide by all of the network.",
    mistakes={
        "You counted the branches alone; the shared stage 4 starts from the backbone too.": lambda s: _share(
            s, ("branches",)
        ),
        "The aggregation blocks start at random here.": lambda s: _share(s, ("branches", "shared", "aggregation")),
    },
)
def _share_copied(study: Session) -> float:
    return _share(study, ("branches", "shared"))


@exercise(
    "03-2",
    Number("points", tolerance=0.05),
    right="One seed and one data set: the paired table beside it says how sure this is.",
    wrong="Average the scores of each frame over the folds first, then measure, for both experiments; first seed.",
    mistakes={
        "You averaged the folds' TPRs; average the scores.": lambda study: (
            float(np.mean(_folds_and_mean(study, "resnet34-face")[0]))
            - float(np.mean(_folds_and_mean(study, "face34-generic")[0]))
        ),
    },
)
def _faces_against_objects(study: Session) -> float:
    return _folds_and_mean(study, "resnet34-face")[1] - _folds_and_mean(study, "face34-generic")[1]


def _weights(study: Session) -> list[tuple]:
    draw = torch.Generator().manual_seed(0)
    return [(torch.randn(4, channels, 3, 3, generator=draw),) for channels in (2, 5)]


@exercise(
    "03-3",
    Function("a weight tensor", _weights, tolerance=1e-5),
    right="The authors' released code does not divide; fine-tuning has to find the scale by itself.",
    wrong="The result has three times as many input channels as the weight, and three equal inputs must give the sum that one "
    "gave before.",
)
def _divided(study: Session):
    return lambda weight: weight.repeat(1, 3, 1, 1) / 3

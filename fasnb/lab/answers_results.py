"""Answers of the exercises of chapters 04 to 06, and 10, computed from the study at hand, see ``fasnb.lab.exercises``."""

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from fasnb.lab.exercises import Choice, Function, Number, Whole, exercise
from fasnb.lab.session import Session
from fasnb.metrics import comparisons, scores
from fasnb.metrics.pad import tpr_at_fpr
from fasnb.model.network import ThreeBranchNetwork, build
from fasnb.paper.experiments import MEMBERS, MODALITY_EXPERIMENTS


def _network_a(study: Session) -> ThreeBranchNetwork:
    return build(study.plan.of("A")[0].specification.architecture)


def _first_models(study: Session, *experiments: str) -> pd.DataFrame:
    """Scores of each experiment's first seed, mean over folds."""
    return scores.first_seed(scores.average(study.scores(*experiments), over=["fold"]))


def _refused(study: Session, *experiments: str) -> pd.DataFrame:
    """Which bona fide frames (rows) each experiment (columns) refuses at its own threshold for the headline FPR; bool."""
    models = _first_models(study, *experiments)
    wide, facts = scores.matrix(models), scores.facts(models)
    refused = wide.lt(pd.Series(comparisons.thresholds(models, study.profile.headline_fpr)))
    return refused[(facts["label"] == 1).to_numpy()][list(experiments)]


# 04: multi-level feature aggregation


@exercise(
    "04-1",
    Whole("parameters"),
    right="Mixing three cameras costs a matrix and a bias a level; most of a block's parameters are in its residual stage.",
    wrong="A 1x1 convolution from m to n channels is a matrix of n rows and m columns and a bias of n; m is three branches'.",
    mistakes={
        "You counted the matrices; each convolution has a bias too.": lambda study: sum(
            block.reduce.weight.numel() for block in _network_a(study).aggregation
        ),
        "You counted the whole blocks; the question is of their 1x1 convolutions.": lambda study: _parameters(
            _network_a(study).aggregation
        ),
    },
)
def _mixing_parameters(study: Session) -> int:
    return sum(_parameters(block.reduce) for block in _network_a(study).aggregation)


@exercise(
    "04-2",
    Whole("frames"),
    right="That is the whole effect in frames: one attack frame more or less above the threshold can move as many.",
    wrong="Each network has its own threshold; take bona fide frames (label 1) below it, first seeds, mean over folds, A less "
    "the other.",
    mistakes={
        "The sign is the other way round: it is A's refused frames less the other's.": lambda study: (
            -_more_refused(study)
        )
    },
)
def _more_refused(study: Session) -> int:
    counts = _refused(study, "resnet34-face", "A").sum()
    return int(counts["A"] - counts["resnet34-face"])


@exercise(
    "04-3",
    Choice(("branches", "res4", "aggregation")),
    right="Each stage has twice the channels of the one before and so about four times the parameters: the last stages weigh most.",
    wrong="Sum the rows of the table of parts by where they belong; which stages have the most channels, and how often do they "
    "stand in the network?",
)
def _heaviest_part(study: Session) -> str:
    network = _network_a(study)
    parts = {"branches": network.branches, "res4": network.shared, "aggregation": network.aggregation}
    return max(parts, key=lambda name: _parameters(parts[name]))


def _parameters(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# 05: the ensemble


@exercise(
    "05-1",
    Whole("frames"),
    right="These frames can be rescued by averaging: one model scores them well still.",
    wrong="Among bona fide frames (label 1), count those below A's threshold and not below B's.",
    mistakes={
        "These are the frames that both refuse.": lambda study: int(_refused(study, "A", "B").all(axis=1).sum()),
        "These are all that A refuses, whatever B does.": lambda study: int(_refused(study, "A", "B")["A"].sum()),
        "It is the other way round: refused by A, accepted by B.": lambda study: _refused_by_one(study, "B", "A"),
    },
)
def _refused_by_a_alone(study: Session) -> int:
    return _refused_by_one(study, "A", "B")


def _refused_by_one(study: Session, one: str, other: str) -> int:
    refused = _refused(study, "A", "B")
    return int((refused[one] & ~refused[other]).sum())


@exercise(
    "05-2",
    Number("percent", tolerance=0.01),
    right="The mean is a system of its own, with its own threshold.",
    wrong="Take the mean of the two scores of every frame, find its threshold at the headline FPR, then the share of bona fide "
    "frames at or above it.",
    mistakes={"You averaged the two TPRs; average the scores.": lambda study: _mean_of_tprs(study, "A", "D")},
)
def _tpr_of_mean(study: Session) -> float:
    wide, labels, fpr = _scores_of(study, "A", "D")
    return 100 * tpr_at_fpr(labels, wide.mean(axis=1), fpr)


def _mean_of_tprs(study: Session, *experiments: str) -> float:
    wide, labels, fpr = _scores_of(study, *experiments)
    return 100 * float(np.mean([tpr_at_fpr(labels, wide[name], fpr) for name in wide]))


def _scores_of(study: Session, *experiments: str) -> tuple[pd.DataFrame, np.ndarray, float]:
    """Scores (n, experiments) of the first seeds, labels (n,), and the headline FPR."""
    models = _first_models(study, *experiments)
    labels = scores.facts(models)["label"].to_numpy(dtype=int)
    return scores.matrix(models)[list(experiments)], labels, study.profile.headline_fpr


def _some_scores(study: Session) -> list[tuple]:
    wide, labels, fpr = _scores_of(study, *MEMBERS)
    values = wide.to_numpy().T
    return [(labels, values, fpr), (labels, values[:2], max(study.profile.fprs)), (labels, values[:1], fpr)]


@exercise(
    "05-3",
    Function("labels, scores and fpr", cases=_some_scores),
    right="It is negative where a weak model drags the mean below the best one: no law says that averaging helps.",
    wrong="Two numbers are needed: the TPR of np.mean(scores, axis=0), and the largest TPR of a single row; give the first less "
    "the second, between -1 and 1.",
)
def _gain_over_best(study: Session):
    def gain(labels, values, fpr):
        return tpr_at_fpr(labels, np.mean(values, axis=0), fpr) - max(tpr_at_fpr(labels, one, fpr) for one in values)

    return gain


# 06: what each camera contributes


@exercise(
    "06-1",
    Choice(("RGB", "IR", "Depth")),
    right="A camera that falls fast takes some attacks for living faces with great confidence: they are the ones that must not pass.",
    wrong="For each single camera take the measured TPR at the largest FPR less that at the smallest, and leave all three out.",
)
def _steepest_camera(study: Session) -> str:
    rows = scores.average(study.scores(*MODALITY_EXPERIMENTS), over=["fold"])
    table = comparisons.by_modality(rows, study.profile.fprs, replicates=2)
    by_camera = table[table["experiment"] != "A"].groupby("modality", sort=False)["measured"]
    return (by_camera.first() - by_camera.last()).idxmax()  # rows go from the largest FPR to the smallest


@exercise(
    "06-2",
    Whole("frames"),
    right="These are what the other two cameras give to depth; hold them against the number of frames that A refuses.",
    wrong="Among bona fide frames, count those that the network with depth alone refuses and A accepts.",
    mistakes={
        "These are all that depth refuses; leave out those that A refuses too.": lambda study: int(
            _refused(study, "A-depth", "A")["A-depth"].sum()
        ),
        "It is the other way round: refused by depth alone, accepted by all three.": lambda study: _given_by_others(
            study, "A", "A-depth"
        ),
    },
)
def _given_to_depth(study: Session) -> int:
    return _given_by_others(study, "A-depth", "A")


def _given_by_others(study: Session, one: str, other: str) -> int:
    refused = _refused(study, "A-depth", "A")
    return int((refused[one] & ~refused[other]).sum())


@exercise(
    "06-3",
    Number("percent", tolerance=0.01),
    right="Fusing scores weighs every camera alike, also one that errs with confidence; a network can learn whom to trust.",
    wrong="Take the mean over the three single-camera networks of every frame's score, then its TPR at the headline FPR.",
    mistakes={
        "You averaged the TPRs; average the scores.": lambda study: _mean_of_tprs(study, "A-rgb", "A-ir", "A-depth"),
        "That is A itself, which fuses inside.": lambda study: _mean_of_tprs(study, "A"),
    },
)
def _fused_outside(study: Session) -> float:
    wide, labels, fpr = _scores_of(study, "A-rgb", "A-ir", "A-depth")
    return 100 * tpr_at_fpr(labels, wide.mean(axis=1), fpr)


# 10: augmentation, and learning people by heart


@exercise(
    "10-1",
    Function(
        "x, y and degrees", cases=lambda study: [(1.0, 0.0, 90.0), (0.3, -0.8, 30.0), (-0.5, 0.25, -12.0), (0, 0, 45)]
    ),
    right="The output asks the input: so no output pixel is ever left without a colour.",
    wrong="Write the matrix of step 1 out, with the angle in radians: x' = cos a x - sin a y, and y' likewise.",
)
def _turned(study: Session):
    def looks_at(x, y, degrees):
        angle = np.deg2rad(degrees)
        return np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y

    return looks_at


def _living(study: Session, most: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """The first bona fide frames of the training split, and who is in them."""
    frames = study.sources["train"].frames
    at = np.flatnonzero(frames["label"] == 1)[:most]
    return at, frames["subject"].to_numpy()[at].astype(str)


@exercise(
    "10-2",
    Choice(("rgb", "depth", "ir")),
    right="This camera invites learning people by heart; whether a network accepts the invitation is what the table of people tests.",
    wrong="The table of step 3 has the rate of each camera.",
)
def _most_telling_camera(study: Session) -> str:
    source, (living, people) = study.sources["train"], _living(study)
    parts = torch.from_numpy(source.read(living)).float().split(list(source.channels.values()), dim=1)
    rates = {name: _recognised(part, people) for name, part in zip(source.channels, parts, strict=True)}
    return max(rates, key=rates.get)


def _recognised(images: torch.Tensor, people: np.ndarray, side: int = 12) -> float:
    """Share of frames whose most similar other frame shows the same person; images (n, C, S, S)."""
    flat = functional.adaptive_avg_pool2d(images, side).flatten(1)
    vectors = functional.normalize(flat - flat.mean(dim=1, keepdim=True), dim=1)
    nearest = (vectors @ vectors.T).fill_diagonal_(-2).argmax(dim=1).numpy()
    return float((people[nearest] == people).mean())


@exercise(
    "10-3",
    Number("percent", tolerance=0.05),
    right="The rates of step 3 are to be held against this, not against zero.",
    wrong="Of n frames, one whose person has k of them has k - 1 others of the same person among n - 1; average over frames.",
    mistakes={
        "You drew from all frames, the frame itself included.": lambda study: (
            100 * float(np.mean(_living(study)[1][:, None] == _living(study)[1]))
        )
    },
)
def _by_chance(study: Session) -> float:
    people = _living(study)[1]
    same = (people[:, None] == people).sum() - len(people)
    return 100 * float(same) / (len(people) * (len(people) - 1))

"""Answers of the exercises of chapters 07 to 09, computed from the study at hand, see ``fasnb.lab.exercises``."""

from itertools import combinations

import numpy as np
import pandas as pd

from fasnb.data.released import read_snapshots
from fasnb.lab.exercises import Function, Names, Number, Whole, exercise
from fasnb.lab.session import Session
from fasnb.metrics import comparisons, scores, snapshots
from fasnb.paper.experiments import MEMBERS
from fasnb.paper.published import FINDINGS
from fasnb.tools.places import MissingData, released_root

# ---------------------------------------------------------------------------------------------------------------------
# 07
# ---------------------------------------------------------------------------------------------------------------------


def _models(study: Session) -> pd.DataFrame:
    """Scores of the members, first seed, mean over folds."""
    members = [name for name in MEMBERS if study.serves(name)]
    return scores.first_seed(scores.average(study.scores(*members), over=["fold"]))


def _accepted(study: Session) -> tuple[pd.DataFrame, pd.Series]:
    """Verdict of every model (columns) on every frame at its own threshold, and which frames are bona fide; bool."""
    models = _models(study)
    wide, facts = scores.matrix(models), scores.facts(models)
    return wide >= pd.Series(comparisons.thresholds(models, study.profile.headline_fpr)), facts["label"] == 1


def _errors(study: Session) -> pd.Series:
    """How many models err, of every frame."""
    accepted, bona_fide = _accepted(study)
    return accepted.ne(bona_fide, axis=0).sum(axis=1)


@exercise(
    "07-1",
    Whole("frames"),
    right="Only on these frames can an average of the models be something else than what all of them say.",
    wrong="A frame counts where its row of verdicts holds both answers, whichever of them is right.",
    mistakes={
        "You counted the frames on which some model errs; on some of them all may err together.": lambda study: int(
            (_errors(study) > 0).sum()
        ),
    },
)
def _contradicted(study: Session) -> int:
    accepted, _ = _accepted(study)
    return int((accepted.any(axis=1) & ~accepted.all(axis=1)).sum())


@exercise(
    "07-2",
    Number("percent", tolerance=0.05),
    right="The larger this share, the less the models have learned the same, and the more an average has to work with.",
    wrong="Two counts: frames with exactly one wrong verdict, over frames with at least one.",
    mistakes={
        "You divided by all frames; the question is of those on which some model errs.": lambda study: float(
            100 * (_errors(study) == 1).mean()
        ),
    },
)
def _alone(study: Session) -> float:
    errors = _errors(study)
    return float(100 * (errors == 1).sum() / max(1, (errors > 0).sum()))


@exercise(
    "07-3",
    Names(),
    right="What these two share, backbone or source task, is a guess at the reason; notebook 03 takes such reasons apart.",
    wrong="The table of rank correlations has the answer: the largest value beside the diagonal.",
)
def _most_alike(study: Session) -> tuple[str, str]:
    correlation = scores.matrix(_models(study)).corr(method="spearman")
    return max(combinations(correlation, 2), key=lambda pair: correlation.loc[pair])


# ---------------------------------------------------------------------------------------------------------------------
# 08
# ---------------------------------------------------------------------------------------------------------------------


@exercise(
    "08-1",
    Number("percent", tolerance=0.1),
    right="A page that tests many claims without a correction nearly promises a discovery.",
    wrong="What is the probability that one test stays silent? That all of them do? And that not all of them do?",
    mistakes={
        "That is the probability that none comes out as different.": lambda study: 100 * 0.95 ** len(FINDINGS),
        "Adding up 5% for each claim counts pages twice on which two come out.": lambda study: 5.0 * len(FINDINGS),
    },
)
def _some_false_alarm(study: Session) -> float:
    return 100 * (1 - 0.95 ** len(FINDINGS))


@exercise(
    "08-2",
    Function(
        "an array of p values",
        lambda study: [(np.random.default_rng(seed).random(7) ** 2,) for seed in range(3)] + [(np.array([0.02]),)],
    ),
    right="Holm's adjusted p is never larger than this one, and both keep the same promise.",
    wrong="Multiply by the number of p values, and let nothing exceed 1.",
)
def _bonferroni(study: Session):
    return lambda p: np.minimum(1, len(p) * np.asarray(p))


# ---------------------------------------------------------------------------------------------------------------------
# 09
# ---------------------------------------------------------------------------------------------------------------------


def _snapshots(study: Session) -> pd.DataFrame:
    if study.profile.source != "released":
        raise MissingData("it is about the released scores; open the profile released.")
    return snapshots.models_of(read_snapshots(released_root(study.profile.released_root)))


def _ensemble_refuses(models: pd.DataFrame, fpr: float) -> int:
    """Bona fide frames that the mean over seeds, then members refuses; other columns, such as epochs, are averaged first."""
    frames = models.groupby(["sample", "label", "experiment", "seed"], dropna=False, observed=True)["score"].mean()
    mean = frames.groupby(["sample", "label", "experiment"]).mean().groupby(["sample", "label"]).mean().reset_index()
    return snapshots.count_refused(mean["label"].to_numpy(int), mean["score"], fpr)


@exercise(
    "09-1",
    Whole("frames"),
    right="To choose an epoch one has to look at the frames that are then reported; to average all needs no look.",
    wrong="The mean over the epochs first, of every model and frame; then seeds, then models. The threshold is set on the "
    "mean scores.",
)
def _both_epochs(study: Session) -> int:
    models = _snapshots(study).query("crop == 'mean'")
    return _ensemble_refuses(models, study.profile.headline_fpr)


@exercise(
    "09-2",
    Whole("frames"),
    right="At a looser FPR the highest attack scores no longer decide, and the snapshots move together.",
    wrong="The table of `snapshots.refused` at the other FPR: the row of the ensemble at this epoch and crop.",
    mistakes={
        "That is at the headline FPR.": lambda study: _ensemble_refuses(
            _snapshots(study).query("crop == 'mean' and epoch == 50"), study.profile.headline_fpr
        ),
    },
)
def _looser(study: Session) -> int:
    return _ensemble_refuses(_snapshots(study).query("crop == 'mean' and epoch == 50"), 1e-3)

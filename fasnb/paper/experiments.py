"""The experiments: each row of the paper's tables that is trained, as data."""

from dataclasses import dataclass, replace
from typing import Any

MODALITIES = ("rgb", "depth", "ir")
"""The three cameras, in the order of every table, array and argument."""

SEEDS = (7, 704, 2019, 1905, 26, 112, 125, 1080)
"""Seeds of the networks: first the two of the released options, then more."""


@dataclass(frozen=True)
class Experiment:
    """One row of a table: a network, its initialisation and its folds. Trained once for each fold and seed."""

    id: str
    title: str
    backbone: str
    mlfa: bool
    initialisation: str  # random, or the name of a source task below
    folds: str  # "subject" (5 folds, Section 5.3) or "attack" (3 folds, Section 4.1)
    baseline: bool = False  # fusion of Zhang et al.: after their res3, with its own head
    modalities: tuple[str, str, str] = MODALITIES
    member: bool = False  # of the ensemble (Section 5.7), and so trained with several seeds
    like: str | None = None  # takes over the changed values of this experiment, so that the comparison stays fair
    extra: bool = False  # not in the paper
    appendix: bool = False  # of a claim made in passing; trained where the profile says ``appendix = true``
    recipe: tuple[tuple[str, Any], ...] = ()  # values of the recipe that make the experiment what it is
    people: float = 1.0  # share of the training subjects that it may see

    @property
    def fold_count(self) -> int:
        return 5 if self.folds == "subject" else 3


_A = Experiment("A", "A: resnet-34, faces, MLFA", "face_resnet34", True, "face", "attack", member=True)

_APART = replace(_A, member=False, like="A", appendix=True)
_FACE = Experiment("resnet34-face", "face network, faces", "face_resnet34", False, "face", "attack")

EXPERIMENTS = {
    experiment.id: experiment
    for experiment in (
        Experiment("zhang", "resnet-18, Zhang et al.", "resnet18", False, "random", "subject", baseline=True),
        Experiment("resnet34-subject", "resnet-34, random, subject folds", "resnet34", False, "random", "subject"),
        Experiment("resnet34-attack", "resnet-34, random, attack folds", "resnet34", False, "random", "attack"),
        Experiment("resnet34-imagenet", "resnet-34, objects", "resnet34", False, "imagenet", "attack"),
        _FACE,
        _A,
        Experiment("B", "B: resnet-50, faces, MLFA", "ir50", True, "msceleb", "attack", member=True),
        Experiment("C", "C: resnet-50, other faces, MLFA", "ir50", True, "asian", "attack", member=True),
        Experiment("D", "D: resnet-34, gender, MLFA", "face_resnet34", True, "gender", "attack", member=True),
        replace(_A, id="A-rgb", title="A with RGB alone", modalities=("rgb",) * 3, member=False, like="A"),
        replace(_A, id="A-ir", title="A with IR alone", modalities=("ir",) * 3, member=False, like="A"),
        replace(_A, id="A-depth", title="A with depth alone", modalities=("depth",) * 3, member=False, like="A"),
        # "Different crop and rotation strategies as well as test-time augmentation" (Section 5.2)
        replace(_APART, id="A-rotated", title="A, rotated up to 30 degrees", recipe=(("rotation", 30.0),)),
        replace(_APART, id="A-cropped", title="A, random crops", recipe=(("scale_low", 0.5),)),
        replace(_APART, id="A-mirrored", title="A, mean with the mirror image", recipe=(("mirror", True),)),
        # "Overfitting to people" by RGB (Section 5.10), which the paper does not test: fewer people, the same frames of each
        replace(_APART, id="A-half", title="A, half of the people", people=0.5),
        replace(_APART, id="A-quarter", title="A, a quarter of the people", people=0.25),
        replace(
            _APART, id="A-rgb-half", title="A with RGB alone, half of the people", people=0.5, modalities=("rgb",) * 3
        ),
        replace(
            _APART,
            id="A-rgb-quarter",
            title="A with RGB alone, a quarter of the people",
            people=0.25,
            modalities=("rgb",) * 3,
        ),
        # The paper changes the network together with its initialisation (Section 5.5). These three keep the network of
        # resnet34-face and change the initialisation alone.
        replace(_FACE, id="face34-random", title="face network, random", initialisation="random", extra=True),
        replace(_FACE, id="face34-generic", title="face network, objects", initialisation="generic", extra=True),
        replace(_FACE, id="face34-gender", title="face network, gender", initialisation="gender", extra=True),
    )
}

PREPROCESSING_EXPERIMENTS = ("A", "A-rotated", "A-cropped", "A-mirrored")
PEOPLE_EXPERIMENTS = ("A-rgb-quarter", "A-rgb-half", "A-rgb", "A-quarter", "A-half", "A")
MEMBERS = tuple(experiment.id for experiment in EXPERIMENTS.values() if experiment.member)

MODALITY_EXPERIMENTS = ("A-rgb", "A-ir", "A-depth", "A")

RELEASED_SECOND_STAGE = {
    "A": {"second_epochs": 20, "second_rotation": 30.0, "second_scale_low": 0.5, "second_jitter": 0.25}
}
"""Experiment A alone was trained on with weaker augmentation in the released options."""

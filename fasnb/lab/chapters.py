"""The notebooks in order: which sources each serves and which experiments it needs."""

from dataclasses import dataclass

from fasnb.paper.experiments import (
    EXPERIMENTS,
    MEMBERS,
    MODALITY_EXPERIMENTS,
    PEOPLE_EXPERIMENTS,
    PREPROCESSING_EXPERIMENTS,
)


@dataclass(frozen=True)
class Notebook:
    """What one notebook asks of a session."""

    sources: tuple[str, ...]
    experiments: tuple[str, ...] = ()


_TRAINED = ("synthetic", "casia-surf")

_FACE34 = ("face34-random", "face34-generic", "face34-gender")

NOTEBOOKS = {
    "00_data": Notebook(_TRAINED),
    "01_baseline": Notebook(_TRAINED, ("zhang", "resnet34-subject")),
    "02_attack_folds": Notebook(_TRAINED, ("resnet34-subject", "resnet34-attack")),
    "03_initialization": Notebook(_TRAINED, ("resnet34-attack", "resnet34-imagenet", "resnet34-face", *_FACE34)),
    "04_mlfa": Notebook(_TRAINED, ("resnet34-face", "A")),
    "05_ensemble": Notebook((*_TRAINED, "released"), MEMBERS),
    "06_modalities": Notebook((*_TRAINED, "released"), MODALITY_EXPERIMENTS),
    "07_disagreement": Notebook((*_TRAINED, "released"), MEMBERS),
    "08_report": Notebook(
        (*_TRAINED, "released"),
        (
            *(e.id for e in EXPERIMENTS.values() if not (e.extra or e.appendix)),
            "face34-generic",
            *PREPROCESSING_EXPERIMENTS[1:],
            *PEOPLE_EXPERIMENTS[:2],
        ),
    ),
    "09_released": Notebook(("released",)),
    "10_appendix": Notebook(_TRAINED, (*PREPROCESSING_EXPERIMENTS, *PEOPLE_EXPERIMENTS)),
}
"""Notebook -> the sources it serves and the experiments it needs, in order of execution."""

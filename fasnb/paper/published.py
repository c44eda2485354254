"""The paper's published numbers and claims, as data.

Rates are in percent, as printed. Sections and tables are those of Parkin and Grinchuk, "Recognizing Multi-Modal Face
Spoofing with Face Recognition Networks", CVPR Workshops 2019.
"""

from dataclasses import dataclass

import pandas as pd

TABLE1 = pd.DataFrame(
    [
        (1, "flat", True, False, False, "val/test"),
        (2, "curved", True, False, False, "val/test"),
        (3, "flat", True, True, False, "val/test"),
        (4, "curved", True, True, False, "train"),
        (5, "flat", True, True, True, "train"),
        (6, "curved", True, True, True, "train"),
    ],
    columns=["attack", "surface", "eyes", "nose", "mouth", "split"],
)
"""Table 1, Section 3: the six print attacks; which regions are cut out of the print."""

TABLE2 = pd.DataFrame(
    [
        ("A", "resnet-34", "CASIA-WebFace", "face recognition"),
        ("D", "resnet-34", "AFAD-lite", "gender classification"),
        ("B", "resnet-50", "MSCeleb-1M", "face recognition"),
        ("C", "resnet-50", "Asian dataset", "face recognition"),
    ],
    columns=["experiment", "backbone", "dataset", "task"],
)
"""Table 2, Section 4.2: what the four members of the ensemble were pre-trained on."""

TABLE3 = pd.DataFrame(
    [
        ("zhang", "resnet-18", "", "subject 5-fold", 60.54, "5.3"),
        ("resnet34-subject", "resnet-34", "", "subject 5-fold", 74.55, "5.3"),
        ("resnet34-attack", "resnet-34", "", "attack 3-fold", 78.89, "5.4"),
        ("resnet34-imagenet", "resnet-34", "ImageNet", "attack 3-fold", 92.12, "5.5"),
        ("resnet34-face", "resnet-34", "CASIA-WebFace", "attack 3-fold", 99.80, "5.5"),
        ("A", "A. resnet-34 with MLFA", "CASIA-WebFace", "attack 3-fold", 99.87, "5.6"),
        ("B", "B. resnet-50 with MLFA", "MSCeleb-1M", "attack 3-fold", 99.63, "5.7"),
        ("C", "C. resnet-50 with MLFA", "Asian dataset", "attack 3-fold", 99.33, "5.7"),
        ("D", "D. resnet-34 with MLFA", "AFAD-lite", "attack 3-fold", 98.70, "5.7"),
        ("ensemble", "A, B, C, D ensemble", "", "attack 3-fold", 100.00, "5.7"),
    ],
    columns=["experiment", "method", "initialization", "fold", "published", "section"],
)
"""Table 3, Sections 5.3 to 5.7: TPR in percent at FPR = 1e-4 on the validation set."""


def table3(source: str) -> pd.DataFrame:
    """Table 3; on the synthetic source its initialisations are named as the stand-ins they are here."""
    if source != "synthetic":
        return TABLE3
    return TABLE3.assign(initialization=TABLE3["initialization"].map(lambda name: name and f"stand-in for {name}"))


ZHANG_TEST = 56.80
"""First row of Table 3, from Zhang et al.: TPR in percent at FPR = 1e-4 on the test set."""

TABLE4 = pd.DataFrame(
    [
        ("Ours", 100.0000, 99.8739),
        ("Team 2", 100.0000, 99.8282),
        ("Team 3", 100.0000, 99.8052),
        ("Team 4", 100.0000, 98.1441),
        ("Team 5", 99.9665, 93.1550),
        ("Team 6", 100.0000, 87.2094),
        ("Team 7", 100.0000, 25.0601),
    ],
    columns=["team", "valid", "test"],
)
"""Table 4, Section 5.8: TPR in percent at FPR = 1e-4 on the validation and the test set."""

TABLE5 = pd.DataFrame(
    [
        ("A-rgb", "RGB", 71.74, 22.34, 7.85),
        ("A-ir", "IR", 91.82, 72.25, 57.41),
        ("A-depth", "Depth", 100.00, 99.77, 98.40),
        ("A", "RGB+IR+Depth", 100.00, 100.00, 99.87),
    ],
    columns=["experiment", "modality", 1e-2, 1e-3, 1e-4],
)
"""Table 5, Section 5.10: TPR in percent at three FPRs on the validation set, one network type fed with each modality."""

WITHOUT_D = "A, B, C"
"""Name of the ensemble without D."""


@dataclass(frozen=True)
class Claim:
    """A claim of the paper that pairs of methods decide: in each the first must have the higher TPR@FPR.

    A claim that a change brings no gain has the pair turned: the network without the change above the one with it, so
    that a gain which is shown makes it *opposite*.
    """

    claim: str
    section: str
    pairs: tuple[tuple[str, str], ...]


CLAIMS = (
    Claim("Other crops and rotations bring no gain", "5.2", (("A", "A-rotated"), ("A", "A-cropped"))),
    Claim("Test-time augmentation brings no gain", "5.2", (("A", "A-mirrored"),)),
    Claim("The resnet-34 network is above the resnet-18 baseline", "5.3", (("resnet34-subject", "zhang"),)),
    Claim("Attack folds are above subject folds", "5.4", (("resnet34-attack", "resnet34-subject"),)),
    Claim("ImageNet is a better start than random weights", "5.5", (("resnet34-imagenet", "resnet34-attack"),)),
    Claim("Faces are a better start, on another network", "5.5", (("resnet34-face", "resnet34-imagenet"),)),
    Claim("Faces are a better start, on one network", "5.5", (("resnet34-face", "face34-generic"),)),
    Claim("Multi-level feature aggregation helps", "5.6", (("A", "resnet34-face"),)),
    Claim("The ensemble is above each of its members", "5.7", tuple(("ensemble", member) for member in "ABCD")),
    Claim("D is the lowest of the four members", "5.9", tuple((member, "D") for member in "ABC")),
    Claim("All four members are above A, B and C alone", "5.9", (("ensemble", WITHOUT_D),)),
    Claim("IR is above RGB", "5.10", (("A-ir", "A-rgb"),)),
    Claim("Depth is above IR", "5.10", (("A-depth", "A-ir"),)),
    Claim("All cameras together are above depth alone", "5.10", (("A", "A-depth"),)),
    Claim("More people in training help RGB", "5.10", (("A-rgb", "A-rgb-half"), ("A-rgb", "A-rgb-quarter"))),
)
"""The claims of Sections 5.2 to 5.10, in the order of the sections that test them. The paper does not test *on one network*."""

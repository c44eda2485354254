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


@dataclass(frozen=True)
class Finding:
    """A claim of the paper, and how it is tested.

    Most say that one method has a higher TPR@FPR than another: ``pairs`` of (better, worse), which must all hold. Others
    need numbers of another kind, which ``fasnb.metrics.verdicts.judge`` is given under the name ``evidence``. ``needs`` says
    what it takes beyond the pairs. A claim that a change brings no gain has the pair turned: the network without the change
    above the one with it, so that a gain which is shown makes it *opposite*.
    """

    claim: str
    section: str
    pairs: tuple[tuple[str, str], ...] = ()
    evidence: str = ""
    needs: str = ""


WITHOUT_D = "A, B, C"
"""Name of the ensemble without D."""

FINDINGS = (
    Finding(
        "The method is the best on the test set, above the second team",
        "abstract",
        evidence="first-on-test",
        needs="the other teams' test scores, or the counts behind Table 4, which the released scores come with",
    ),
    Finding(
        "Other crops and rotations in training bring no significant gain",
        "5.2",
        (("A", "A-rotated"), ("A", "A-cropped")),
        needs="a margin below which a gain is none",
    ),
    Finding(
        "Test-time augmentation brings no significant gain",
        "5.2",
        (("A", "A-mirrored"),),
        evidence="test-time-augmentation",
        needs="a margin below which a gain is none",
    ),
    Finding(
        "The reproduced baseline is near the TPR that Zhang et al. report on the test set",
        "5.3",
        evidence="baseline-reproduced",
        needs="the scores of Zhang et al. on the same frames, as their 56.80% is of the test set and the paper's 60.54% of the "
        "validation set, and how near is near",
    ),
    Finding("The resnet-34 network is above the resnet-18 baseline", "5.3", (("resnet34-subject", "zhang"),)),
    Finding(
        "Attack-specific folds help: 3 attack folds above 5 subject folds",
        "5.4",
        (("resnet34-attack", "resnet34-subject"),),
    ),
    Finding(
        "They help because networks trained on different attacks generalise better to new ones",
        "5.4",
        evidence="new-attacks",
        needs="both kinds of folds with equally many frames, judged on known and on new attacks apart",
    ),
    Finding("ImageNet initialisation helps", "5.5", (("resnet34-imagenet", "resnet34-attack"),)),
    Finding(
        "Face recognition is a better start than ImageNet (the network changes too)",
        "5.5",
        (("resnet34-face", "resnet34-imagenet"),),
    ),
    Finding(
        "The same on one network, which the paper does not test: faces above generic objects",
        "5.5",
        (("resnet34-face", "face34-generic"),),
    ),
    Finding("Multi-level feature aggregation helps", "5.6", (("A", "resnet34-face"),)),
    Finding(
        "It divides the share of refused bona fide frames by 1.5",
        "5.6",
        evidence="error-ratio",
        needs="far more errors than the paper's ten, and how near to 1.5 is near",
    ),
    Finding(
        "The ensemble is above each of its members",
        "5.7",
        tuple(("ensemble", member) for member in "ABCD"),
    ),
    Finding(
        "Its score meets the requirements of real-world security",
        "5.7",
        evidence="requirements",
        needs="a requirement in numbers, and more kinds of attack than print",
    ),
    Finding(
        "The ensemble loses least of all teams from validation to test",
        "5.8",
        evidence="least-drop",
        needs="the other teams' scores on both sets, or the counts behind Table 4, which the released scores come with",
    ),
    Finding(
        "Only three of seven teams hold their level on the test set",
        "5.8",
        evidence="teams-that-hold",
        needs="the other teams' scores, and how near to its level a team must stay",
    ),
    Finding(
        "The ensemble is stable because its networks differ",
        "5.8",
        evidence="diversity",
        needs="test labels, and ensembles of as many networks of one kind that share none with the others",
    ),
    Finding("D is the lowest of the four members", "5.9", tuple((member, "D") for member in "ABC")),
    Finding(
        "D understates the score of bona fide frames",
        "5.9",
        evidence="d-understates",
        needs="two seeds of each member",
    ),
    Finding(
        "D helps on hard attacks, where two of the three others are wrong",
        "5.9",
        evidence="d-on-hard-attacks",
        needs="two seeds of each member",
    ),
    Finding("Three members give a lower score: all four above A, B, C", "5.9", (("ensemble", WITHOUT_D),)),
    Finding(
        "Frames near the threshold look like the other class in one camera, and all three together overcome it",
        "5.9",
        evidence="one-camera-errors",
        needs="scores of the networks with one camera, on frames that other networks chose",
    ),
    Finding("IR is above RGB", "5.10", (("A-ir", "A-rgb"),)),
    Finding("Depth is above IR", "5.10", (("A-depth", "A-ir"),)),
    Finding("All modalities together are above depth alone", "5.10", (("A", "A-depth"),)),
    Finding(
        "RGB overfits to the people of the training set: more people help it",
        "5.10",
        (("A-rgb", "A-rgb-half"), ("A-rgb", "A-rgb-quarter")),
    ),
    Finding(
        "IR depends less on the number of people, because it shows less of their identity",
        "5.10",
        evidence="people-in-ir",
        needs="networks of IR alone trained with fewer people; notebook 10 has those of RGB and of all three cameras",
    ),
)
"""The claims of the abstract and Sections 4.1 to 6, in the order of the sections that test them. Section 6 repeats those of
5.4, 5.5, 5.6 and 5.7; Section 4 announces them."""


for _number, _table in enumerate((TABLE1, TABLE2, TABLE3, TABLE4, TABLE5), 1):
    _table.attrs = {"published": f"Table {_number} of the paper"}

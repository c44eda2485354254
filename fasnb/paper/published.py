"""The paper's published tables (``published.toml``) and claims, as data.

Sections and tables are those of Parkin and Grinchuk, "Recognizing Multi-Modal Face Spoofing with Face Recognition
Networks", CVPR Workshops 2019.
"""

import tomllib
from importlib import resources

import pandas as pd

_TABLES = tomllib.loads(resources.files("fasnb.paper").joinpath("published.toml").read_text(encoding="utf-8"))
TABLE1, TABLE2, TABLE3, TABLE4, TABLE5 = (pd.DataFrame(it["rows"], columns=it["columns"]) for it in _TABLES.values())
"""Tables 1 to 5 as printed, rates in percent; TPRs at FPR = 1e-4 in Tables 3 and 4, columns by FPR in Table 5."""

ZHANG_TEST = 56.80  # first row of Table 3, from Zhang et al.: TPR in percent at FPR = 1e-4 on the test set


def table3(source: str) -> pd.DataFrame:
    """Table 3; on the synthetic source its initialisations are named as the stand-ins they are here."""
    if source != "synthetic":
        return TABLE3
    return TABLE3.assign(initialization=TABLE3["initialization"].map(lambda name: name and f"stand-in for {name}"))


WITHOUT_D = "A, B, C"  # name of the ensemble without D

CLAIMS = (
    ("Other crops and rotations bring no gain", "5.2", (("A", "A-rotated"), ("A", "A-cropped"))),
    ("Test-time augmentation brings no gain", "5.2", (("A", "A-mirrored"),)),
    ("The resnet-34 network is above the resnet-18 baseline", "5.3", (("resnet34-subject", "zhang"),)),
    ("Attack folds are above subject folds", "5.4", (("resnet34-attack", "resnet34-subject"),)),
    ("ImageNet is a better start than random weights", "5.5", (("resnet34-imagenet", "resnet34-attack"),)),
    ("Faces are a better start, on another network", "5.5", (("resnet34-face", "resnet34-imagenet"),)),
    ("Faces are a better start, on one network", "5.5", (("resnet34-face", "face34-generic"),)),
    ("Multi-level feature aggregation helps", "5.6", (("A", "resnet34-face"),)),
    ("The ensemble is above each of its members", "5.7", tuple(("ensemble", member) for member in "ABCD")),
    ("D is the lowest of the four members", "5.9", tuple((member, "D") for member in "ABC")),
    ("All four members are above A, B and C alone", "5.9", (("ensemble", WITHOUT_D),)),
    ("IR is above RGB", "5.10", (("A-ir", "A-rgb"),)),
    ("Depth is above IR", "5.10", (("A-depth", "A-ir"),)),
    ("All cameras together are above depth alone", "5.10", (("A", "A-depth"),)),
    ("More people in training help RGB", "5.10", (("A-rgb", "A-rgb-half"), ("A-rgb", "A-rgb-quarter"))),
)
"""The claims of Sections 5.2 to 5.10 that pairs of methods decide, in the order of the sections that test them: claim,
section, and pairs in each of which the first must have the higher TPR@FPR. The paper does not test *on one network*.

A claim that a change brings no gain has the pair turned: the network without the change above the one with it, so that
a gain which is shown makes it *opposite*.
"""

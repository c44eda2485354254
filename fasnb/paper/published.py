"""The published tables (``published.toml``) and claims of Parkin and Grinchuk, CVPR Workshops 2019, as data."""

import tomllib
from importlib import resources

import pandas as pd

_TABLES = tomllib.loads(resources.files("fasnb.paper").joinpath("published.toml").read_text(encoding="utf-8"))
_PRIMARY, _OTHER, KNOWN = (_TABLES.pop(name) for name in ("primary", "other", "known"))
# KNOWN: split -> what CASIA-SURF counts
TABLE1, TABLE2, TABLE3, TABLE4, TABLE5 = (pd.DataFrame(it["rows"], columns=it["columns"]) for it in _TABLES.values())
"""Tables 1 to 5 as printed, rates in percent; TPRs at FPR = 1e-4 in Tables 3 and 4, columns by FPR in Table 5."""
ZHANG_TEST = 56.80  # first row of Table 3, from Zhang et al.: TPR in percent at FPR = 1e-4 on the test set
WITHOUT_D = "A, B, C"  # name of the ensemble without D


def table3(source: str) -> pd.DataFrame:
    """Table 3; on the synthetic source its initialisations are named as the stand-ins they are here."""
    if source != "synthetic":
        return TABLE3
    return TABLE3.assign(initialization=TABLE3["initialization"].map(lambda name: name and f"stand-in for {name}"))


PRIMARY, OTHER = ([(claim, at, [*map(tuple, pairs)]) for claim, at, pairs in part] for part in (_PRIMARY, _OTHER))
"""Claims, primary ones and the others: what is said, section, and pairs of which the first must err less."""

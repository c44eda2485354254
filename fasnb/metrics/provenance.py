"""What a number is made of, carried by the table that holds it (``DataFrame.attrs``), so that a caption can say it.

Keys: ``seeds`` of the networks; ``frames``, ``bona fide``, ``attack``: counts; ``subjects``, None where unknown; ``fpr``, the
targets as text; ``limits``, of the columns low and high: ``bootstrap`` (percentiles), ``seeds`` (``differences``: seeds and a
bootstrap of frames) or ``exact``, absent where there are none; ``replicates`` of the bootstrap.
"""

import pandas as pd

from fasnb.metrics.pad import fpr_name


def provenance(table: pd.DataFrame, fprs=(), replicates: int | None = None, limits: str = "bootstrap") -> dict:
    """What is known of the numbers made of ``table``, a scores table, a frame table, or one that carries it already."""
    known = dict(table.attrs)
    if "sample" in table and "label" in table:
        frames = table.drop_duplicates("sample")
        labels, subjects = frames["label"], frames["subject"]
        known = {"frames": len(frames), "bona fide": int((labels == 1).sum()), "attack": int((labels == 0).sum())}
        known |= {"subjects": None if subjects.isna().any() else int(subjects.nunique())}
        if "seed" in table:
            known |= {"seeds": tuple(int(seed) for seed in sorted(table["seed"].dropna().unique()))}
    for name in ("replicates", "limits"):
        known.pop(name, None)
    if fprs:
        known |= {"fpr": ", ".join(fpr_name(fpr) for fpr in fprs)}
    return known | ({} if replicates is None else {"replicates": replicates, "limits": limits})


def carried(
    result: pd.DataFrame, table: pd.DataFrame, fprs=(), replicates: int | None = None, limits: str = "bootstrap"
) -> pd.DataFrame:
    """``result``, which now says that it was made of ``table``."""
    result.attrs = provenance(table, fprs, replicates, limits)
    return result

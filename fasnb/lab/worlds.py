"""Several worlds of the stand-in: does a result hold for other people, frames, prints and first weights?

A world is a seed of the renderer. World 0 is the study's own; the others have the profile's values and seeds of their own.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from fasnb.lab.session import Session
from fasnb.metrics.comparisons import measure
from fasnb.metrics.provenance import carried
from fasnb.metrics.scores import average

WORLD_STEP = 1000  # between the seeds of a profile's worlds


def world(study: Session, number: int) -> Session:
    """The study in another world, with results of its own below ``worlds`` in the study's folder; 0 is the study itself."""
    if number == 0:
        return study
    other, seed = copy.copy(study), study.profile.data_seed + WORLD_STEP * number
    for name in ("sources", "plan", "published", "released"):
        vars(other).pop(name, None)  # found anew when asked for
    other.profile = replace(study.profile, data_seed=seed, worlds=1)
    other.out = study.out / "worlds" / str(seed)
    return other


def scores_of_worlds(study: Session, *experiments: str) -> dict[int, pd.DataFrame]:
    """Renderer seed -> scores table, one score a frame and network seed, of each of the profile's worlds.

    Networks that are not there yet are trained first.
    """
    worlds = [world(study, number) for number in range(study.profile.worlds)]
    return {it.profile.data_seed: average(it.scores(*experiments), over=["fold"]) for it in worlds}


def between_worlds(tables: Mapping[int, pd.DataFrame], fprs: Sequence[float]) -> pd.DataFrame:
    """TPR in percent in each world, and how far worlds and how far seeds differ.

    Args:
        tables: as of ``scores_of_worlds``.

    Returns:
        One row an experiment and FPR: ``experiment``, ``FPR``, one column a world (mean over its network seeds), ``mean``,
        ``between worlds`` (standard deviation of these), ``between seeds`` (standard deviation within a world, the
        variances averaged) and ``between worlds alone``: what is left of the first once the seeds' part is taken off.
        Deviations are missing where there is one world or one seed.
    """
    measured = pd.concat(
        [
            measure(table, fprs, ["experiment", "seed"], replicates=10).assign(world=seed)
            for seed, table in tables.items()
        ]
    )
    by = ["experiment", "FPR"]
    of_worlds = measured.groupby([*by, "world"], sort=False)["measured"]
    means, counts = of_worlds.mean().unstack("world"), of_worlds.size()
    variance = of_worlds.var().groupby(by, sort=False).mean()
    shares = (of_worlds.var() / counts).groupby(by, sort=False).mean()  # of the variance of a world's mean
    table = means.reindex(measured[by].drop_duplicates().itertuples(index=False, name=None))
    table.columns = [f"world {seed}" for seed in table.columns]
    worlds = means.reindex(table.index)
    table["mean"], table["between worlds"] = worlds.mean(axis=1), worlds.std(axis=1)
    table["between seeds"] = np.sqrt(variance.reindex(table.index))
    left = worlds.var(axis=1) - shares.reindex(table.index)
    table["between worlds alone"] = np.sqrt(left.clip(lower=0))
    first = next(iter(tables.values()))
    return carried(table.reset_index(), first, fprs)

"""The same networks at several epochs and crops: how far a result depends on them (Sections 5.2, 5.7 and 5.9).

A snapshot is one epoch and one crop. Tables of several snapshots are scores tables with the columns ``epoch`` and ``crop``
besides. Results are counted in refused bona fide frames at the threshold for the target FPR, because near 100% a rate
hides that it rests on a handful of them.
"""

from collections.abc import Iterator
from itertools import combinations, product

import numpy as np
import pandas as pd

from fasnb.metrics.ensembles import outvoted
from fasnb.metrics.pad import threshold_at_fpr
from fasnb.metrics.provenance import carried
from fasnb.metrics.scores import average, facts, first_seed, matrix
from fasnb.metrics.uncertainty import clopper_pearson, compare

CROPS = {"mean": "mirror mean", "crop0": "single crop"}
"""What an image's score is: the mean over the centre crop and its mirror image, or the centre crop's alone."""

SNAPSHOT = ("epoch", "crop")

READINGS = ("first seeds", "mean of the seeds", "averaged scores")
"""How a method with several seeds may be given one TPR; see ``lowest``."""


def snapshot_name(epoch: int, crop: str) -> str:
    """The name that people read."""
    return f"epoch {epoch}, {CROPS[crop]}"


def each_snapshot(table: pd.DataFrame) -> Iterator[tuple[tuple[int, str], pd.DataFrame]]:
    """((epoch, crop), its scores table), in order of appearance."""
    for snapshot, part in table.groupby(list(SNAPSHOT), sort=False):
        yield snapshot, part.drop(columns=list(SNAPSHOT)).reset_index(drop=True)


def models_of(networks: pd.DataFrame) -> pd.DataFrame:
    """The mean over the folds of every experiment and seed, snapshot by snapshot; what the functions below take."""
    parts = [average(part, over=["fold"]).assign(epoch=e, crop=c) for (e, c), part in each_snapshot(networks)]
    return pd.concat(parts, ignore_index=True)


def count_refused(labels: np.ndarray, score, fpr: float) -> int:
    """Bona fide frames below the threshold for a target FPR: the misses behind a TPR@FPR."""
    return int((np.asarray(score)[labels == 1] < threshold_at_fpr(labels, score, fpr)).sum())


def refused(models: pd.DataFrame, fpr: float) -> pd.DataFrame:
    """Misses of every model with each of its seeds, of the mean score of its seeds, and of the ensemble of all.

    Returns:
        One row a snapshot and model: ``epoch``, ``crop``, ``experiment`` (``ensemble`` comes last), ``seed`` (missing: the
        scores of all seeds averaged), ``refused`` and ``TPR %``.
    """
    rows = []
    for snapshot, part in each_snapshot(models):
        labels, seeds, members = _matrices(part)
        scored = {name: seeds[name] for name in seeds} | {(name, pd.NA): members[name] for name in members}
        scored |= {("ensemble", pd.NA): members.mean(axis=1)}
        rows += [(*snapshot, *name, count_refused(labels, score, fpr)) for name, score in scored.items()]
    table = pd.DataFrame(rows, columns=[*SNAPSHOT, "experiment", "seed", "refused"]).astype({"seed": "Int64"})
    table["TPR %"] = 100 * (1 - table["refused"] / int(labels.sum()))
    return carried(table, models, [fpr])


def _matrices(part: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame]:
    """Labels (n,), scores (n, models) by experiment and seed, and (n, experiments) averaged over seeds."""
    seeds = matrix(part, ["experiment", "seed"])
    return facts(part)["label"].to_numpy(dtype=int), seeds, seeds.T.groupby(level="experiment").mean().T


def rates(counts: pd.DataFrame) -> pd.DataFrame:
    """TPRs of ``refused`` with the mean of each experiment's seeds: what to expect of one more training.

    Returns:
        ``epoch``, ``crop``, ``experiment``, ``of`` (a seed, ``mean of the seeds``, ``averaged scores``) and ``TPR %``.
    """
    rows = []
    for (*snapshot, experiment), part in counts.groupby([*SNAPSHOT, "experiment"], sort=False):
        single, averaged = part.dropna(subset="seed"), part.loc[part["seed"].isna(), "TPR %"].iloc[0]
        found = {f"seed {row.seed}": tpr for row, tpr in zip(single.itertuples(), single["TPR %"], strict=True)}
        if len(single) != 1:  # the mean of one seed is that seed
            found |= {READINGS[1]: single["TPR %"].mean()} if len(single) else {}
            found |= {READINGS[2]: averaged}
        rows += [(*snapshot, experiment, of, tpr) for of, tpr in found.items()]
    return carried(pd.DataFrame(rows, columns=[*SNAPSHOT, "experiment", "of", "TPR %"]), counts)


def subsets(models: pd.DataFrame, fpr: float) -> pd.DataFrame:
    """Misses of the mean score of every subset of the experiments.

    Returns:
        One row a snapshot and subset: ``epoch``, ``crop``, ``methods``, ``size``, ``refused`` (all seeds averaged first, as
        the paper's ensemble), and ``fewest`` and ``most`` over all choices of one seed for each member.
    """
    rows = []
    for snapshot, part in each_snapshot(models):
        labels, seeds, members = _matrices(part)
        for size in range(1, members.shape[1] + 1):
            for chosen in combinations(members, size):
                choices = one_seed_each(seeds, chosen)
                single = [count_refused(labels, seeds[choice].mean(axis=1), fpr) for choice in choices]
                whole = count_refused(labels, members[list(chosen)].mean(axis=1), fpr)
                rows.append((*snapshot, "+".join(chosen), size, whole, min(single), max(single)))
    columns = [*SNAPSHOT, "methods", "size", "refused", "fewest", "most"]
    return carried(pd.DataFrame(rows, columns=columns), models, [fpr])


def seed_span(parts: pd.DataFrame) -> pd.Series:
    """``fewest`` and ``most`` of ``subsets`` as text: 0 to 10."""
    return parts["fewest"].astype(str) + " to " + parts["most"].astype(str)


def one_seed_each(seeds: pd.DataFrame, experiments) -> list[list[tuple[str, int]]]:
    """All choices of one seed for each of the experiments, as lists of columns (experiment, seed)."""
    return [list(choice) for choice in product(*([c for c in seeds if c[0] == name] for name in experiments))]


def lowest(counts: pd.DataFrame) -> pd.DataFrame:
    """Which experiment has the lowest TPR, by four readings of "lowest" (Section 5.9).

    Args:
        counts: as of ``refused``.

    Returns:
        One row a ``snapshot`` (its name): the experiment that refuses the most frames by ``first seeds``, by the ``mean of the seeds``'
        TPRs, by the TPR of their ``averaged scores``; and for each experiment how often it refuses more than every other
        over all choices of one seed for each (``A, of 8`` and so on); ``tie, of 8`` where two refuse equally many.
    """
    rows = []
    for snapshot, part in counts[counts["experiment"] != "ensemble"].groupby(list(SNAPSHOT), sort=False):
        single = part.dropna(subset="seed").groupby("experiment")["refused"]
        averaged = part[part["seed"].isna()].set_index("experiment")["refused"]
        worst = [_highest(value) for value in (single.first(), single.mean(), averaged)]
        choices = [dict(zip(single.groups, values, strict=True)) for values in product(*(v for _, v in single))]
        alone = [_highest(pd.Series(choice)) for choice in choices]
        often = {f"{name}, of {len(choices)}": alone.count(name) for name in single.groups}
        often |= {f"tie, of {len(choices)}": sum("+" in worst for worst in alone)}
        rows.append({"snapshot": snapshot_name(*snapshot)} | dict(zip(READINGS, worst, strict=True)) | often)
    return carried(pd.DataFrame(rows), counts)


def _highest(values: pd.Series) -> str:
    """Where the highest value stands; all places of a tie."""
    return "+".join(values.index[values == values.max()])


def mirror_gain(models: pd.DataFrame, fpr: float, replicates: int = 1000) -> pd.DataFrame:
    """What averaging with the mirror image changes, for each model and for the ensemble, paired on the same frames.

    Returns:
        One row an epoch and model: ``epoch``, ``experiment``, ``seed``, misses with ``single crop`` and ``mirror mean``,
        ``difference`` in TPR (points, mirror mean minus single crop) with its 95% bootstrap limits ``low`` and ``high``.
    """
    rows = []
    for epoch, part in models.groupby("epoch", sort=False):
        by_crop = {crop: _matrices(table) for (_, crop), table in each_snapshot(part)}
        labels = by_crop["mean"][0]
        mean, single = (_with_ensemble(*by_crop[crop][1:]) for crop in ("mean", "crop0"))
        for name in mean:
            counts = [count_refused(labels, table[name], fpr) for table in (single, mean)]
            gain = compare(labels, mean[name], single[name], fpr, None, replicates)
            rows.append((epoch, *name, *counts, *(100 * x for x in gain)))
    columns = ["epoch", "experiment", "seed", CROPS["crop0"], CROPS["mean"], "difference", "low", "high"]
    return carried(pd.DataFrame(rows, columns=columns).astype({"seed": "Int64"}), models, [fpr], replicates)


def _with_ensemble(seeds: pd.DataFrame, members: pd.DataFrame) -> dict[tuple, pd.Series]:
    return {name: seeds[name] for name in seeds} | {("ensemble", pd.NA): members.mean(axis=1)}


def helpers(models: pd.DataFrame) -> pd.DataFrame:
    """Does each experiment help on attacks that the others get wrong at a score of 0.5 (Section 5.9)?

    Of first seeds, as the paper's Figure 3. An attack frame is hard for a helper where more than half of the others, but
    not all of them, take it for bona fide; beyond that lie the frames on which all others are wrong.

    Returns:
        One row a snapshot and helper: ``epoch``, ``crop``, ``helper``, ``attacks wrong`` (by itself, of all attack frames),
        ``hard``, ``right on hard`` and its share in percent with exact 95% limits ``low`` and ``high``, ``all others wrong``
        and ``right on these``.
    """
    rows = []
    for snapshot, part in each_snapshot(models):
        methods, labels = matrix(first_seed(part)), facts(part)["label"]
        wrong = (methods > 0.5)[labels.reindex(methods.index) == 0]  # as ``outvoted`` counts
        for name in methods:
            attacks = outvoted(methods, labels, name).set_index("class").loc["attack"]
            hard, right = int(attacks["others mostly wrong"]), int(attacks[f"{name} right on these"])
            limits = clopper_pearson(right, hard) if hard else (0.0, 1.0)
            share = [100 * right / max(hard, 1), *(100 * limit for limit in limits)]
            alone = wrong.drop(columns=name).all(axis=1)
            beyond = int(alone.sum()), int((alone & ~wrong[name]).sum())
            rows.append((*snapshot, name, int(wrong[name].sum()), hard, right, *share, *beyond))
    columns = [*SNAPSHOT, "helper", "attacks wrong", "hard", "right on hard", "%", "low", "high"]
    columns += ["all others wrong", "right on these"]
    table = carried(pd.DataFrame(rows, columns=columns), first_seed(models))
    table.attrs["limits"] = "exact"
    return table


def beside(table: pd.DataFrame, rows: list[str], value: str) -> pd.DataFrame:
    """One column of a table of snapshots, the snapshots side by side.

    Args:
        rows: columns that name a row, in whose order of appearance the result stands.
        value: the column that is shown, under each snapshot's name.
    """
    parts = []
    for snapshot, part in table.groupby(list(SNAPSHOT), sort=False):
        parts.append(part[rows].assign(**{"": part[value]}).rename(columns={"": snapshot_name(*snapshot)}))
    wide = parts[0].reset_index(drop=True)
    for part in parts[1:]:
        wide = wide.merge(part, on=rows, how="left", validate="one_to_one")
    return carried(wide, table)

"""From scores to rows of a table: measured values with intervals, beside the published ones, and differences.

Rates are in percent here, as the paper prints them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from fasnb.metrics.differences import Method, difference, luck_of
from fasnb.metrics.pad import apcer_by_attack, bpcer, fpr_name, threshold_at_fpr, tpr_at_fpr
from fasnb.metrics.provenance import carried
from fasnb.metrics.scores import average, facts, matrix
from fasnb.metrics.uncertainty import System, attacks_needed, bootstrap, interval, resolved, system
from fasnb.paper.experiments import MEMBERS
from fasnb.paper.published import TABLE5


def measure(table: pd.DataFrame, fprs: Sequence[float], by: Sequence[str] = ("experiment",), replicates: int = 1000):
    """TPR@FPR in percent of every method of a scores table, with 95% intervals (notebook 00, "How a network is judged").

    Where a method has several seeds, its TPR is the mean over them, and so is each bootstrap replicate.

    Args:
        table: scores table; one score a frame for each seed of a method, which the columns ``by`` name.
        fprs: target FPRs in [0, 1].

    Returns:
        One row a method and FPR: the columns ``by``, ``FPR``, ``seeds`` (unless in ``by``), ``measured``; of this system,
        a single seed or ensemble: ``system low``, ``system high`` and ``FPR up to``, in [0, 1], with ``FPR up to, clips``
        where the data set's clips are known; of the method: ``low`` (missing where the data do not resolve the FPR) and
        ``high``; ``attacks needed`` for a lower limit, whether there are as many or not.
    """
    parts = []
    for fpr in fprs:
        found = _methods(table, fpr, by, replicates)
        parts += [
            dict(zip(by, name, strict=True)) | {"FPR": fpr} | _row(of_seeds, fpr) for name, of_seeds in found.items()
        ]
    measured = pd.DataFrame(parts).astype({"attacks needed": "Int64", "seeds": "Int64"})
    if "experiment" in by:  # an ensemble of all seeds is none of them
        measured.loc[measured["experiment"].isin(table.loc[table["seed"].isna(), "experiment"]), "seeds"] = pd.NA
    measured = measured.drop(columns="seeds") if "seed" in by else measured
    return carried(measured, table, fprs, replicates)


@dataclass(frozen=True)
class _Seed:
    """One seed of a method at one FPR: its TPR, bootstrap replicates of it, and limits at its threshold."""

    number: int  # 0: an ensemble of all seeds
    tpr: float
    drawn: np.ndarray
    system: System


def _methods(table: pd.DataFrame, fpr: float, by: Sequence[str], replicates: int) -> dict[tuple, list[_Seed]]:
    """Method (the values of ``by``) -> its seeds, all from the same bootstrap draws."""
    names = list(dict.fromkeys([*by, "seed"]))
    wide, frames = matrix(table.assign(seed=table["seed"].fillna(0)), names), facts(table)
    labels, subjects = frames["label"].to_numpy(dtype=int), groups(frames)
    drawn = bootstrap(labels, wide.to_numpy().T, fpr, subjects, replicates)
    found = {}
    for name, score, replicate in zip(wide.columns, wide.to_numpy().T, drawn, strict=True):
        threshold = threshold_at_fpr(labels, score, fpr)
        tpr, limits = float(np.mean(score[labels == 1] >= threshold)), system(labels, score, threshold, subjects)
        found.setdefault(name[: len(by)], []).append(_Seed(int(name[names.index("seed")]), tpr, replicate, limits))
    return found


def _row(seeds: list[_Seed], fpr: float) -> dict:
    row = {"seeds": len(seeds), "measured": 100 * float(np.mean([seed.tpr for seed in seeds]))}
    of = seeds[0].system
    limits = {"system low": 100 * of.tpr_low, "system high": 100 * of.tpr_high, "FPR up to": of.fpr_high}
    limits |= {} if of.fpr_high_clips is None else {"FPR up to, clips": of.fpr_high_clips}
    row |= limits if len(seeds) == 1 else dict.fromkeys(limits, np.nan)
    low, high = interval(np.mean([seed.drawn for seed in seeds], axis=0))
    enough = all(resolved(fpr, seed.system.effective_attack) for seed in seeds)
    row |= {"low": 100 * low if enough else np.nan, "high": 100 * high}
    return row | {"attacks needed": attacks_needed(fpr)}


def effective_attacks(table: pd.DataFrame, fpr: float) -> pd.Series:
    """How many independent attack frames those of each method (column ``experiment``) are worth at its threshold for ``fpr``.

    The number of attack frames divided by the design effect; of several seeds the smallest. It decides whether ``measure``
    gives a lower limit.
    """
    found = _methods(table, fpr, ["experiment"], 2)
    return pd.Series({name: min(seed.system.effective_attack for seed in seeds) for (name,), seeds in found.items()})


def groups(frames: pd.DataFrame) -> pd.Series | None:
    """The subjects to resample, or None where they are unknown and frames are resampled."""
    return None if frames["subject"].isna().any() else frames["subject"]


def beside_published(measured: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Rows of a published table (column ``experiment``) with the measured columns beside; missing where not measured."""
    both = published.merge(measured.drop(columns="FPR"), on="experiment", how="left")
    both.attrs = measured.attrs
    return both


def by_modality(table: pd.DataFrame, fprs: Sequence[float], replicates: int = 1000) -> pd.DataFrame:
    """Table 5: the measured TPR in percent of each modality and FPR, with intervals, beside the published one.

    Args:
        table: scores table with one score a frame, experiment and seed; other experiments than Table 5's are left out.

    Returns:
        One row a modality and FPR, in the paper's order: ``experiment``, ``modality``, ``FPR`` (text), ``published`` (missing
        at other FPRs than the paper's) and the columns of ``measure``.
    """
    measured = measure(table[table["experiment"].isin(TABLE5["experiment"])], fprs, replicates=replicates)
    published = TABLE5.melt(["experiment", "modality"], var_name="FPR", value_name="published")
    both = measured.merge(published.drop(columns="modality"), on=["experiment", "FPR"], how="left")
    both.insert(1, "modality", both["experiment"].map(TABLE5.set_index("experiment")["modality"]))
    order = {name: i for i, name in enumerate(TABLE5["experiment"])}
    both = both.sort_values(["experiment", "FPR"], key=lambda c: c.map(order) if c.name == "experiment" else -c)
    both.insert(3, "published", both.pop("published"))
    both = both.assign(FPR=both["FPR"].map(fpr_name)).reset_index(drop=True)
    return carried(both, table, fprs, replicates)


def compare_all(
    table: pd.DataFrame,
    fpr: float,
    pairs: Sequence[tuple[str, str]] | None = None,
    replicates: int = 1000,
    study: pd.DataFrame | None = None,
):
    """Differences of methods (column ``experiment``) in TPR@FPR, in points, with 95% intervals; see ``differences``.

    Where methods have several seeds, their means over all seeds are compared. Nothing is corrected for the number of pairs.

    Args:
        pairs: (a, b) for a - b; by default all pairs in order of appearance.
        study: scores table like ``table`` of all methods whose seeds tell how far another seed moves a TPR, so that a pair
            has one interval wherever it is shown; by default ``table`` itself.

    Returns:
        ``a``, ``b``, ``difference``, ``low``, ``high`` (over frames or subjects, and seeds where any method has two),
        ``seeds`` of both, ``clear`` (the interval does not hold zero), missing where a method has one seed, and ``note``,
        which then says so.
    """
    found, units = methods_of(table, fpr, replicates)
    luck, rows = luck_of(list((found if study is None else methods_of(study, fpr, 2)[0]).values())), []
    borrowed = "its luck is taken to be that of methods with several, so no verdict"
    of_another = borrowed if luck.df else "what another would change is not known"
    for a, b in combinations(found, 2) if pairs is None else pairs:
        delta = difference(found[a], found[b], luck, units)
        clear = bool(delta.low > 0 or delta.high < 0) if delta.seeded else pd.NA
        limits = (100 * delta.value, 100 * delta.low, 100 * delta.high)
        alone = min(found[a].seeds, found[b].seeds) == 1
        note = f"one seed: {of_another}" if alone else pd.NA
        rows.append((a, b, *limits, seeds_of(found[a], found[b]), clear, note))
    columns = ["a", "b", "difference", "low", "high", "seeds", "clear", "note"]
    kinds = {"clear": object, "note": object}
    return carried(pd.DataFrame(rows, columns=columns).astype(kinds), table, [fpr], replicates, "seeds")


def methods_of(table: pd.DataFrame, fpr: float, replicates: int) -> tuple[dict[str, Method], int]:
    """Experiment -> its seeds' TPRs and replicates; and how many subjects, or frames, are drawn."""
    found = {name: seeds for (name,), seeds in _methods(table, fpr, ["experiment"], replicates).items()}
    frames = facts(table)
    drawn = groups(frames)
    counts = {name: len(seeds) for name, seeds in found.items() if seeds[0].number}
    # an ensemble counts as its member with the fewest seeds
    fewest = min([counts[name] for name in MEMBERS if name in counts] or list(counts.values()) or [1])
    methods = {
        name: Method(
            np.array([seed.tpr for seed in seeds]),
            np.stack([seed.drawn for seed in seeds]),
            counts.get(name, fewest),
            name in counts,
        )
        for name, seeds in found.items()
    }
    return methods, len(frames) if drawn is None else drawn.nunique()


def seeds_of(a: Method, b: Method) -> str:
    """How many seeds of each, for people."""
    return " and ".join(str(method.seeds) if method.single else "all" for method in (a, b))


def errors_by_attack(table: pd.DataFrame, fpr: float) -> pd.DataFrame:
    """APCER in percent of each attack type, and BPCER, at each method's own threshold for ``fpr``.

    Returns:
        One row a method (column ``experiment``); the attack columns are absent where attack types are unknown.
    """
    wide, frames = matrix(table), facts(table)
    labels = frames["label"].to_numpy(dtype=int)
    rows = []
    for name in wide:
        threshold = threshold_at_fpr(labels, wide[name], fpr)
        row = {"experiment": name, "BPCER %": 100 * bpcer(labels, wide[name], threshold)}
        if frames["attack"].notna().all():
            by_attack = apcer_by_attack(labels, wide[name], threshold, frames["attack"])
            row |= {f"APCER % attack {attack}": 100 * rate for attack, rate in by_attack.items()}
        rows.append(row)
    return carried(pd.DataFrame(rows), table, [fpr])


def thresholds(table: pd.DataFrame, fpr: float) -> dict[str, float]:
    """Each method's threshold for ``fpr``."""
    labels = facts(table)["label"].to_numpy(dtype=int)
    return {name: float(threshold_at_fpr(labels, score, fpr)) for name, score in matrix(table).items()}


def seed_spread(measured: pd.DataFrame) -> pd.DataFrame:
    """Standard deviation of TPR between the seeds of a method beside that between methods, in points.

    That of two or three seeds says next to nothing (with two, the truth may be half of it or thirty times as much), so one
    pooled over all methods stands below: the root of the mean variance, each weighted by its seeds less one. Between
    methods each has its first seed, so that single networks' means are compared on both sides; that spread holds the luck
    of the seeds too.

    Args:
        measured: rows of ``measure`` by experiment and seed.

    Returns:
        One row a method with two seeds or more, and two last rows: pooled over the seeds of all these, and between
        methods.
    """
    by = measured.groupby("experiment", sort=False)["measured"]
    several = [(name, len(seeds), seeds.mean(), seeds.std()) for name, seeds in by if len(seeds) > 1]
    rows, first = list(several), by.first()
    if several:
        _, numbers, means, deviations = (np.array(column) for column in zip(*several, strict=True))
        pooled = float(np.average(deviations**2, weights=numbers - 1) ** 0.5)
        rows.append(("between seeds, pooled", int(numbers.sum()), float(np.average(means, weights=numbers)), pooled))
    rows.append(("between methods, first seeds", len(first), first.mean(), first.std()))
    return carried(pd.DataFrame(rows, columns=["method", "values", "mean", "standard deviation"]), measured)


def valid_to_test(valid: pd.DataFrame, test: pd.DataFrame, fpr: float, replicates: int = 1000) -> pd.DataFrame:
    """TPR in percent on validation and test, and on test with the validation's threshold (Section 5.8, Table 4).

    Args:
        valid, test: scores tables of the same networks, one score a frame and network.

    Returns:
        One row a method and one for the ensemble: ``valid``, ``test``, its limits ``test low`` and ``test high`` of the method
        and ``attacks needed``, as of ``measure``; and in counts the bona fide frames refused and the attack frames accepted
        on test, with a threshold set anew there and with that of validation. How many there are, the columns' names say.
    """
    facts_of_test, rows = facts(test)["label"], []
    every = f"refused of {(facts_of_test == 1).sum():,}", f"accepted of {(facts_of_test == 0).sum():,}"
    columns = ["method", "valid", "test", "test low", "test high", "attacks needed"]
    columns += [f"{count}, {threshold}" for threshold in ("set anew", "that of valid") for count in every]
    for mean in (average, lambda table: average(table, over=["fold", "seed", "experiment"])):
        a, b = mean(valid), mean(test)
        labels = facts(b)["label"].to_numpy(dtype=int)
        on_valid, on_test = (measure(table, [fpr], replicates=replicates).set_index("experiment") for table in (a, b))
        for name, carried_over in thresholds(a, fpr).items():
            score, counts = matrix(b)[name].to_numpy(), []
            for threshold in (threshold_at_fpr(labels, score, fpr), carried_over):
                counts += [int((score[labels == 1] < threshold).sum()), int((score[labels == 0] >= threshold).sum())]
            of_test = [on_test.at[name, column] for column in ("measured", "low", "high", "attacks needed")]
            rows.append((name, on_valid.at[name, "measured"], *of_test, *counts))
    return carried(pd.DataFrame(rows, columns=columns).astype({"attacks needed": "Int64"}), test, [fpr], replicates)


def choices_of_members(table: pd.DataFrame, size: int, fpr: float) -> pd.Series:
    """TPR@FPR in percent of the mean score of every choice of ``size`` folds of one experiment.

    The folds are chosen within each seed, so each value is of ``size`` networks; it is the mean of those of the seeds.
    """
    wide, labels = matrix(table, ["seed", "fold"]), facts(table)["label"].to_numpy(dtype=int)
    of_seeds = [
        [100 * tpr_at_fpr(labels, of_seed[list(choice)].mean(axis=1), fpr) for choice in combinations(of_seed, size)]
        for of_seed in (wide[seed] for seed in table["seed"].unique())
    ]
    return pd.Series(np.mean(of_seeds, axis=0), name="TPR %")


def rescued(table: pd.DataFrame, fpr: float) -> pd.DataFrame:
    """How many of the bona fide frames that the row's method refuses (``frames``) the column's accepts."""
    wide = matrix(table)
    bona_fide = facts(table)["label"].to_numpy(dtype=int) == 1
    accepted = (wide >= pd.Series(thresholds(table, fpr)))[bona_fide]
    rows = [
        {"refused by": row, "frames": int((~accepted[row]).sum())}
        | {name: int(accepted[name][~accepted[row]].sum()) if name != row else pd.NA for name in wide}
        for row in wide
    ]
    return carried(pd.DataFrame(rows).astype(dict.fromkeys(wide, "Int64")), table, [fpr])

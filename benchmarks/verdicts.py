"""How often do the verdicts on claims err? Simulated studies in which no method is better, and in which some are.

    OMP_NUM_THREADS=1 python benchmarks/verdicts.py --studies 1000

A study has 13 methods and the 12 claims "method i is better than method i + 1", all judged on the same frames: 100 subjects,
each with 6 bona fide and 18 attack frames, at FPR = 1e-2. A score has five parts: the class; the subject, common to all
methods and the method's own; the frame, likewise common and the network's own; and the seed, which moves all bona fide
scores so that the TPR moves by the given deviation in points. Single claims are the first of reports of two methods each.

Rules, all at 5%: ``frames``, the percentile interval of the paired bootstrap of subjects, seeds kept as they are;
``bootstrap``, the same with seeds drawn again too, each method for itself (hierarchical bootstrap); ``rule``, the package's
(``fasnb.metrics.differences``); ``full``, the same with what is in both of its variances counted twice. Printed as
Markdown, each share with its own standard error: the wrong verdicts (shown or opposite), of single claims their share, of 12
claims with Holm the share of studies with one or more; then the share of true differences that are shown. Each line is a
setting: TPR of the methods, deviations of the seeds in points, seeds.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import Pool

import numpy as np
import pandas as pd
from scipy.stats import norm

from fasnb.metrics.differences import Difference, Luck, Method, difference, holm, luck_of
from fasnb.metrics.pad import tpr_at_fpr
from fasnb.metrics.uncertainty import bootstrap

SUBJECTS, BONA_FIDE, ATTACKS, FPR, METHODS = 100, 6, 18, 1e-2, 13

SPREAD = {"subject": 0.5, "own subject": 0.3, "frame": 0.5, "own frame": 0.64}
"""Deviations of a score's random parts, together 1; seeds come on top."""


@dataclass(frozen=True)
class Setting:
    """One line of the tables: (METHODS,) TPRs and deviations between seeds, both in points, and (METHODS,) seeds."""

    name: str
    tpr: Sequence[float]
    deviation: Sequence[float]
    seeds: Sequence[int]
    ensembles: bool = False  # every second method is an ensemble of all seeds: one TPR, that of so many seeds' mean


def scores_of(setting: Setting, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[int]]:
    """labels (n,), subjects (n,), scores (networks, n), and the method of each network."""
    labels = np.tile(np.arange(BONA_FIDE + ATTACKS) < BONA_FIDE, SUBJECTS)
    subjects = np.repeat(np.arange(SUBJECTS), BONA_FIDE + ATTACKS)
    person = 2 * subjects + labels  # a subject is drawn for each class apart: a face and its prints differ

    def normal(name: str, size: int) -> np.ndarray:
        return SPREAD[name] * rng.standard_normal(size)

    shared = normal("subject", 2 * SUBJECTS)[person] + normal("frame", labels.size)
    threshold, rows, owner = norm.isf(FPR), [], []
    for method in range(METHODS):
        tpr, seeds = setting.tpr[method] / 100, setting.seeds[method]
        lies = threshold + norm.ppf(tpr)
        moved = setting.deviation[method] / 100 / norm.pdf(norm.ppf(tpr))  # of the mean, to move the TPR so far
        own = shared + normal("own subject", 2 * SUBJECTS)[person]
        single = not (setting.ensembles and method % 2)
        for _ in range(seeds if single else 1):
            luck = moved * rng.standard_normal() / (1 if single else seeds**0.5)
            rows.append(own + normal("own frame", labels.size) + labels * (lies + luck))
            owner.append(method)
    return labels.astype(int), subjects, np.stack(rows), owner


def methods_of(setting: Setting, rng: np.random.Generator, replicates: int) -> list[Method]:
    labels, subjects, scores, owner = scores_of(setting, rng)
    drawn = bootstrap(labels, scores, FPR, subjects, replicates, int(rng.integers(2**31)))
    tpr, owner = np.array([tpr_at_fpr(labels, row, FPR) for row in scores]), np.array(owner)
    return [
        Method(tpr[owner == i], drawn[owner == i], setting.seeds[i], not (setting.ensembles and i % 2))
        for i in range(METHODS)
    ]


def percentile_p(drawn: np.ndarray) -> float:
    """Two-sided p value of a percentile interval: twice the smaller tail beyond zero."""
    return min(1.0, 2 * min((drawn <= 0).mean(), (drawn >= 0).mean()))


def seeds_drawn(method: Method, rng: np.random.Generator) -> np.ndarray:
    """Replicates of a method's mean whose seeds are drawn with replacement too."""
    k, replicates = method.drawn.shape
    chosen = rng.integers(k, size=(k, replicates))
    return np.take_along_axis(method.drawn, chosen, axis=0).mean(axis=0)


def full(a: Method, b: Method, luck: Luck) -> Difference:
    """The rule with all of the frames' variance, though what each seed errs on alone is in that of the seeds too."""
    means = [Method(m.tpr.mean(keepdims=True), m.drawn.mean(axis=0)[None], m.seeds, m.single) for m in (a, b)]
    return difference(*means, luck, SUBJECTS)


def p_values(methods: Sequence[Method], rng: np.random.Generator) -> dict[str, list[float]]:
    """Rule -> p value of each claim of one report; NaN where the rule gives no verdict."""
    luck, found = luck_of(methods), {name: [] for name in ("frames", "bootstrap", "full", "rule")}
    for a, b in zip(methods, methods[1:], strict=False):
        found["frames"].append(percentile_p(a.drawn.mean(axis=0) - b.drawn.mean(axis=0)))
        found["bootstrap"].append(percentile_p(seeds_drawn(a, rng) - seeds_drawn(b, rng)))
        for name, judged in (("full", full(a, b, luck)), ("rule", difference(a, b, luck, SUBJECTS))):
            found[name].append(judged.p if judged.seeded else np.nan)
    return found


def one_study(task: tuple[Setting, int, int]) -> list[tuple]:
    """(claims in the report, rule, claim, difference of the TPRs, measured difference, adjusted p) of one study."""
    setting, number, replicates = task
    rng = np.random.default_rng([number, 20190616])
    methods, rows = methods_of(setting, rng, replicates), []
    starts = range(0, METHODS - 1, 2)
    reports = {12: [(0, methods)], 1: [(i, methods[i : i + 2]) for i in starts]}
    for claims, of_size in reports.items():
        for first, report in of_size:
            for rule, p in p_values(report, rng).items():
                for i, adjusted in holm(dict(enumerate(p))).items():
                    a, b = first + i, first + i + 1
                    measured = methods[a].mean - methods[b].mean
                    rows.append((claims, rule, number, a, setting.tpr[a] - setting.tpr[b], measured, adjusted))
    return rows


def share(decided: pd.Series, study: pd.Series) -> str:
    """A share in percent and its standard error, which takes the studies as independent and nothing within one."""
    means = decided.groupby(study).mean()
    return f"{100 * means.mean():.1f} ± {100 * means.std() / len(means) ** 0.5:.1f}"


def summary(rows: list[tuple], power: bool) -> dict[str, str]:
    """Size of the report and rule -> share of wrong verdicts, or of true differences that are shown."""
    table = pd.DataFrame(rows, columns=["claims", "rule", "study", "claim", "true", "measured", "p"])
    table = table[(table["true"] > 0) if power else (table["true"] == 0)]
    found = {}
    for (claims, rule), part in table.groupby(["claims", "rule"], sort=False):
        decided = (part["p"] < 0.05) & ((part["measured"] > 0) | (not power))
        if claims > 1 and not power:  # a study errs where any of its claims does
            decided = decided.groupby(part["study"]).transform("any")
        found[f"{claims} claims: {rule}" if claims > 1 else f"1 claim: {rule}"] = share(decided, part["study"])
    return found


def settings() -> list[Setting]:
    """No differences: every deviation and number of seeds; what the rule supposes, and what it does not. Then power."""
    every, found = np.ones(METHODS), []
    for deviation in (0, 1, 3, 5):
        for k in (1, 2, 3):
            name = f"80%, deviation {deviation}, {k} seeds"
            found.append(Setting(name, 80 * every, deviation * every, [k] * METHODS))
    for k in (2, 3):
        for deviation in (0, 3, 5):
            name = f"80%, ensembles against members, deviation {deviation}, {k} seeds"
            found.append(Setting(name, 80 * every, deviation * every, [k] * METHODS, ensembles=True))
    mixed = [2, 3] * 6 + [2]
    found.append(Setting("80%, deviation 3, 2 seeds against 3", 80 * every, 3 * every, mixed))
    found.append(Setting("98%, deviation 1, 3 seeds", 98 * every, every, [3] * METHODS))
    # claims between equals, at different heights: pairs (0, 1), (2, 3), ... are equal, the others are true differences
    heights = np.repeat([60, 70, 80, 90, 95, 98, 98], 2)[:METHODS]
    room = (heights * (100 - heights)) ** 0.5
    found.append(Setting("60 to 98%, deviations as supposed, 3 seeds", heights, 0.08 * room, [3] * METHODS))
    found.append(Setting("60 to 98%, deviation 2 everywhere, 3 seeds", heights, 2 * every, [3] * METHODS))
    for deviation in (0, 1, 3, 5):
        for k in (2, 3):
            for gap in (5, 10, 20):
                tpr = np.where(np.arange(METHODS) % 2, 80 - gap / 2, 80 + gap / 2)
                name = f"power, {gap} points, deviation {deviation}, {k} seeds"
                found.append(Setting(name, tpr, deviation * every, [k] * METHODS))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--power-studies", type=int, default=200)
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--only", default="", help="settings whose name holds this text")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    with Pool(args.processes) as pool:
        for power in (False, True):
            studies = args.power_studies if power else args.studies
            print(
                f"\n{'True differences that are shown' if power else 'Wrong verdicts'}, %, of {studies} studies each\n"
            )
            chosen = [one for one in settings() if one.name.startswith("power") == power and args.only in one.name]
            for i, setting in enumerate(chosen):
                tasks = [(setting, number, args.replicates) for number in range(studies)]
                found = [row for one in pool.imap_unordered(one_study, tasks, chunksize=10) for row in one]
                cells = summary(found, power)
                if i == 0:
                    print(f"| setting | {' | '.join(cells)} |\n|{' --- |' * (1 + len(cells))}")
                print(f"| {setting.name.removeprefix('power, ')} | {' | '.join(cells.values())} |", flush=True)


if __name__ == "__main__":
    main()

"""How often do the verdicts on claims err? Simulated studies in which no method is better, and in which some are.

    OMP_NUM_THREADS=1 python benchmarks/verdicts.py --studies 1000

A study has 13 methods and the 12 claims "method i is better than method i + 1", all judged on the same frames: 100
subjects, each with 6 bona fide and 18 attack frames, at FPR = 1e-2. Parts of a score are common to all methods or a
method's own, for subjects and for frames; a seed moves all bona fide scores, the TPR by a given deviation in points.

Rules, all at 5%: ``frames``, the percentile interval of the paired bootstrap of subjects, seeds kept as they are;
``rule``, the package's. Printed with standard errors: the wrong verdicts, of single claims (reports of two methods)
their share, of 12 claims with Holm the share of studies with any; then the share of true differences that are shown.
"""

import argparse
from collections.abc import Iterator, Sequence
from itertools import product
from multiprocessing import Pool
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import norm

from fasnb.metrics.comparisons import difference, holm, luck_of
from fasnb.metrics.pad import tpr_at_fpr
from fasnb.metrics.uncertainty import Method, bootstrap

SUBJECTS, BONA_FIDE, ATTACKS, FPR, METHODS = 100, 6, 18, 1e-2, 13

SPREAD = {"subject": 0.5, "own subject": 0.3, "frame": 0.5, "own frame": 0.64}  # deviations, together 1; seeds on top


class Setting(NamedTuple):
    """One line of the tables: (METHODS,) TPRs, deviations between seeds, both in points, and seeds."""

    name: str
    tpr: Sequence[float]
    deviation: Sequence[float]
    seeds: Sequence[int]
    ensembles: bool = False  # every second method is an ensemble of all seeds: one TPR, that of so many seeds' mean


def methods_of(setting: Setting, rng: np.random.Generator, replicates: int) -> list[Method]:
    labels = np.tile(np.arange(BONA_FIDE + ATTACKS) < BONA_FIDE, SUBJECTS)
    subjects = np.repeat(np.arange(SUBJECTS), BONA_FIDE + ATTACKS)
    person = 2 * subjects + labels  # a subject is drawn for each class apart: a face and its prints differ

    def normal(name: str, size: int) -> np.ndarray:
        return SPREAD[name] * rng.standard_normal(size)

    shared = normal("subject", 2 * SUBJECTS)[person] + normal("frame", labels.size)
    rows, owner = [], []
    for method, (tpr, deviation, seeds) in enumerate(zip(setting.tpr, setting.deviation, setting.seeds, strict=True)):
        lies = norm.isf(FPR) + norm.ppf(tpr / 100)
        moved = deviation / 100 / norm.pdf(norm.ppf(tpr / 100))  # of the mean, to move the TPR so far
        own = shared + normal("own subject", 2 * SUBJECTS)[person]
        together = setting.ensembles and method % 2
        for _ in range(1 if together else seeds):
            luck = moved * rng.standard_normal() / (seeds**0.5 if together else 1)
            rows.append(own + normal("own frame", labels.size) + labels * (lies + luck))
            owner.append(method)
    drawn = bootstrap(labels, np.stack(rows), FPR, subjects, replicates, int(rng.integers(2**31)))
    tpr, owner = np.array([tpr_at_fpr(labels, row, FPR) for row in rows]), np.array(owner)
    alone = [not (setting.ensembles and i % 2) for i in range(METHODS)]
    return [Method(tpr[owner == i], drawn[owner == i], setting.seeds[i], alone[i]) for i in range(METHODS)]


def one_study(task: tuple[Setting, int, int]) -> list[tuple]:
    """(claims in the report, rule, study, difference of the TPRs, measured difference, adjusted p) of one study."""
    setting, number, replicates = task
    methods, rows = methods_of(setting, np.random.default_rng([number, 20190616]), replicates), []
    for first, last in [(0, METHODS), *((i, i + 2) for i in range(0, METHODS - 1, 2))]:
        report, p = methods[first:last], {"frames": [], "rule": []}
        for a, b in zip(report, report[1:], strict=False):
            drawn = a.drawn.mean(axis=0) - b.drawn.mean(axis=0)
            p["frames"].append(min(1.0, 2 * min((drawn <= 0).mean(), (drawn >= 0).mean())))
            p["rule"].append(difference(a, b, luck_of(report), SUBJECTS)[3])
        for rule, i in product(p, range(len(report) - 1)):
            true = setting.tpr[first + i] - setting.tpr[first + i + 1]
            adjusted, measured = holm(dict(enumerate(p[rule])))[i], report[i].mean - report[i + 1].mean
            rows.append((len(report) - 1, rule, number, true, measured, adjusted))
    return rows


def summary(rows: list[tuple], power: bool) -> dict[str, str]:
    """Size of the report and rule -> share of wrong verdicts, or of true differences that are shown, with its error."""
    table, found = pd.DataFrame(rows, columns=["claims", "rule", "study", "true", "measured", "p"]), {}
    table = table[(table["true"] > 0) if power else (table["true"] == 0)]
    for (claims, rule), part in table.groupby(["claims", "rule"], sort=False):
        decided = (part["p"] < 0.05) & ((part["measured"] > 0) | (not power))
        means = decided.groupby(part["study"]).agg("any" if claims > 1 and not power else "mean").astype(float)
        found[f"{claims} claims: {rule}"] = f"{100 * means.mean():.1f} ± {100 * means.std() / len(means) ** 0.5:.1f}"
    return found


def settings() -> Iterator[Setting]:
    """No differences: every deviation and number of seeds; what the rule supposes, and what it does not. Then power."""
    every, alike = np.ones(METHODS), {k: [k] * METHODS for k in (1, 2, 3)}
    for deviation, k in product((0, 1, 3, 5), (1, 2, 3)):
        yield Setting(f"80%, deviation {deviation}, {k} seeds", 80 * every, deviation * every, alike[k])
    for k, deviation in product((2, 3), (0, 3, 5)):
        name = f"80%, ensembles against members, deviation {deviation}, {k} seeds"
        yield Setting(name, 80 * every, deviation * every, alike[k], ensembles=True)
    yield Setting("80%, deviation 3, 2 seeds against 3", 80 * every, 3 * every, [2, 3] * 6 + [2])
    yield Setting("98%, deviation 1, 3 seeds", 98 * every, every, alike[3])
    heights = np.repeat([60, 70, 80, 90, 95, 98, 98], 2)[:METHODS]  # of each two the first is as good as the second
    supposed = 0.08 * (heights * (100 - heights)) ** 0.5
    yield Setting("60 to 98%, deviations as supposed, 3 seeds", heights, supposed, alike[3])
    yield Setting("60 to 98%, deviation 2 everywhere, 3 seeds", heights, 2 * every, alike[3])
    for deviation, k, gap in product((0, 1, 3, 5), (2, 3), (5, 10, 20)):
        tpr = np.where(np.arange(METHODS) % 2, 80 - gap / 2, 80 + gap / 2)
        yield Setting(f"power, {gap} points, deviation {deviation}, {k} seeds", tpr, deviation * every, alike[k])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"studies": 1000, "power-studies": 200, "replicates": 200, "processes": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", default="", help="settings whose name holds this text")
    args = parser.parse_args()
    with Pool(args.processes) as pool:
        for i, setting in enumerate(one for one in settings() if args.only in one.name):
            power = setting.name.startswith("power")
            studies = range(args.power_studies if power else args.studies)
            tasks = [(setting, number, args.replicates) for number in studies]
            found = [row for one in pool.imap_unordered(one_study, tasks, chunksize=10) for row in one]
            cells = pd.DataFrame(summary(found, power), index=pd.Index([setting.name], name="setting"))
            print(cells.to_csv(sep="|", header=i == 0), end="", flush=True)


if __name__ == "__main__":
    main()

"""How often do the limits that the study prints hold the truth? Simulated scores, whose truth is known.

    OMP_NUM_THREADS=1 python benchmarks/coverage.py

A bona fide score is m + u + e, an attack score v + e: e differs by frame, u and v by subject, all of them normal or Student's t
with 3 degrees of freedom; m sets the true TPR@FPR. Without subject effects u = v = 0. Counted are: the TPR limits and the FPR
bound of this system, against TPR and FPR of the whole population at the threshold that was found, and the limits of this
method, against the population's TPR@FPR. The method's interval is counted whether or not the data resolve the FPR; beside
it stand the share of simulations in which they do, so that the study prints a lower limit, and the share of those printed
that lie below the truth (97.5% would be right).
"""

import argparse
import math
import os
from concurrent.futures import ProcessPoolExecutor
from itertools import product

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from fasnb.metrics.pad import fpr_name, threshold_at_fpr
from fasnb.metrics.uncertainty import bootstrap, interval, resolved, system

SIZES = ((100, 600, 1800, 1e-2), (200, 2400, 7200, 1e-3), (100, 2994, 6614, 1e-4), (100, 2994, 6614, 1e-2))
"""Subjects, bona fide frames, attack frames, FPR: the profiles tiny and small, and CASIA-SURF's validation set."""

TAILS = {"normal": stats.norm, "t3": stats.t(3)}

SHARES = (0.0, 0.3)
"""Share of the scores' variance that is between subjects."""

TRUE_TPRS = (0.8, 0.98)


class Population:
    """Scores of all frames there could be: their distribution, and samples of them."""

    def __init__(self, tail: str, share: float, fpr: float, tpr: float):
        self.noise, self.of_frame, self.of_subject = TAILS[tail], math.sqrt(1 - share), math.sqrt(share)
        self._effects = self.of_subject * self.noise.ppf((np.arange(100_000) + 0.5) / 100_000) if share else np.zeros(1)
        self.mean = self._quantile(fpr) - self._quantile(tpr)

    def above(self, score: float) -> float:
        """Share of attack frames above a score."""
        return float(self.noise.sf((score - self._effects) / self.of_frame).mean())

    def _quantile(self, share: float) -> float:
        return brentq(lambda score: self.above(score) - share, -1e3, 1e3)

    def sample(self, subjects: int, bona_fide: int, attack: int, rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels, scores and subjects of a data set."""
        labels = np.repeat([1, 0], [bona_fide, attack])
        people = np.concatenate([np.arange(bona_fide) % subjects, np.arange(attack) % subjects])
        effects = self.of_subject * self.noise.rvs(size=(2, subjects), random_state=rng)
        noise = self.of_frame * self.noise.rvs(size=labels.size, random_state=rng)
        return labels, self.mean * labels + effects[1 - labels, people] + noise, people


COLUMNS = ("TPR", "FPR bound", "method", "low printed", "printed low holds")


def held(setting: tuple) -> dict[tuple[bool, str], list[bool]]:
    """(subjects known, column) -> which limits held the truth, one entry a simulation."""
    (subjects, bona_fide, attack, fpr), tail, share, tpr, simulations, for_method, replicates = setting
    population, rng = Population(tail, share, fpr, tpr), np.random.default_rng(1)
    found = {(known, column): [] for known in (True, False) for column in COLUMNS}
    for i in range(simulations):
        labels, scores, people = population.sample(subjects, bona_fide, attack, rng)
        threshold = threshold_at_fpr(labels, scores, fpr)
        true_tpr, true_fpr = population.above(threshold - population.mean), population.above(threshold)
        for known, groups in ((True, people), (False, None)):
            limits = system(labels, scores, threshold, groups)
            printed = resolved(fpr, limits.effective_attack)
            found[known, "TPR"].append(limits.tpr_low <= true_tpr <= limits.tpr_high)
            found[known, "FPR bound"].append(true_fpr <= limits.fpr_high)
            found[known, "low printed"].append(printed)
            if i < for_method:
                low, high = interval(bootstrap(labels, scores, fpr, groups, replicates, seed=i))
                found[known, "method"].append(low <= tpr <= high)
                found[known, "printed low holds"] += [low <= tpr] if printed else []
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=400, help="for the limits of the system")
    parser.add_argument("--method-simulations", type=int, default=200)
    parser.add_argument("--replicates", type=int, default=400)
    options = parser.parse_args()
    counts = options.simulations, options.method_simulations, options.replicates
    error = [100 * math.sqrt(0.05 * 0.95 / n) for n in counts[:2]]
    print(f"{counts[0]} simulations a row, {counts[1]} of them for the method, with {counts[2]} replicates;")
    print(f"standard error of a coverage of 95%: {error[0]:.1f} and {error[1]:.1f} points\n")
    print("| frames | FPR | tails | between subjects | TPR | subjects |", " | ".join(COLUMNS), "|")
    print("|" + " --- |" * (6 + len(COLUMNS)))
    settings = [(*setting, *counts) for setting in product(SIZES, TAILS, SHARES, TRUE_TPRS)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for (size, tail, share, tpr, *_), found in zip(settings, pool.map(held, settings), strict=True):
            for known in (True, False):
                name = f"{size[1]:,} / {size[2]:,} | {fpr_name(size[3])} | {tail} | {share:g} | {tpr:g}"
                rates = [f"{100 * np.mean(found[known, c]):.0f}" if found[known, c] else "–" for c in COLUMNS]
                print(f"| {name} | {'known' if known else 'unknown'} |", " | ".join(rates), "|", flush=True)


if __name__ == "__main__":
    main()

"""How often do the limits that the study prints hold the truth? Simulated scores, whose truth is known.

    OMP_NUM_THREADS=1 python benchmarks/coverage.py

A bona fide score is m + u + e, an attack score v + e: e differs by frame, u and v by subject, all of them normal or
Student's t with 3 degrees of freedom; m sets the true TPR@FPR. Counted are the TPR limits and the FPR bound of this
system, against TPR and FPR of the whole population at the threshold that was found, and the limits of this method,
against the population's TPR@FPR, whether or not the data resolve the FPR; then how often they do, so that the study
prints a lower limit, and how often such a limit lies below the truth (97.5% would be right).
"""

import argparse
import math
from itertools import product
from multiprocessing import Pool

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import brentq

from fasnb.metrics.pad import fpr_name
from fasnb.metrics.uncertainty import bootstrap, interval, operating_point

SIZES = ((100, 600, 1800, 1e-2), (200, 2400, 7200, 1e-3), (100, 2994, 6614, 1e-4), (100, 2994, 6614, 1e-2))
"""Subjects, bona fide frames, attack frames, FPR: two smaller sets, and CASIA-SURF's validation set."""

TAILS = {"normal": stats.norm, "t3": stats.t(3)}


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


def held(setting: tuple) -> pd.DataFrame:
    """How often the limits held the truth, in percent: one row with subjects known, and one without."""
    (subjects, bona_fide, attack, fpr), tail, share, tpr, simulations, for_method, replicates = setting
    population, rng, rows = Population(tail, share, fpr, tpr), np.random.default_rng(1), []
    for i in range(simulations):
        labels, scores, people = population.sample(subjects, bona_fide, attack, rng)
        for known, groups in (("known", people), ("unknown", None)):
            drawn = bootstrap(labels, scores, fpr, groups, replicates, i) if i < for_method else np.ones(1)
            point, (low, high) = operating_point(labels, scores, fpr, drawn, groups), interval(drawn)
            true_tpr, true_fpr = population.above(point.threshold - population.mean), population.above(point.threshold)
            of_system = point.tpr_low <= true_tpr <= point.tpr_high, true_fpr <= point.fpr_high
            printed = point.method_low is not None
            of_method = (low <= tpr <= high, low <= tpr if printed else np.nan) if i < for_method else (np.nan, np.nan)
            rows.append((known, *of_system, printed, *of_method))
    columns = ["subjects", "TPR", "FPR bound", "low printed", "method", "printed low holds"]
    rates = (100 * pd.DataFrame(rows, columns=columns).set_index("subjects").astype(float)).groupby("subjects").mean()
    name = f"{bona_fide:,} / {attack:,} frames, FPR {fpr_name(fpr)}, {tail}, {share:g} between subjects, TPR {tpr:g}"
    return rates.round().reset_index().assign(setting=name).set_index("setting")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"simulations": 400, "method-simulations": 200, "replicates": 400, "processes": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    counts = options.simulations, options.method_simulations, options.replicates
    settings = [(*setting, *counts) for setting in product(SIZES, TAILS, (0.0, 0.3), (0.8, 0.98))]
    with Pool(options.processes) as pool:
        for i, table in enumerate(pool.imap(held, settings)):
            print(table.to_csv(sep="|", header=i == 0, na_rep="–", float_format="%g"), end="", flush=True)


if __name__ == "__main__":
    main()

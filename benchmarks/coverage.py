"""How often do the limits that the study prints hold the truth? Simulated scores, whose truth is known.

    OMP_NUM_THREADS=1 python benchmarks/coverage.py

A bona fide score is m + u + e, an attack score v + e: e differs by frame, u and v by subject, all of them normal or Student's t
with 3 degrees of freedom; m sets the true TPR@FPR. Without subject effects u = v = 0. Counted are: the TPR limits and the FPR
bound of this system, against TPR and FPR of the whole population at the threshold that was found, and the limits of this
method, against the population's TPR@FPR. The lower limit is counted although the study does not print it where the data
do not resolve the FPR; the share of simulations in which it does is printed beside.
"""

import argparse
import math

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


def held(population: Population, size: tuple, tpr: float, options, rng) -> dict[str, list]:
    """For subjects known and unknown: which limits held the truth, one entry a simulation."""
    subjects, bona_fide, attack, fpr = size
    found = {f"{what} {known}": [] for what in ("tpr", "fpr", "method", "resolved") for known in (True, False)}
    for i in range(options.simulations):
        labels, scores, people = population.sample(subjects, bona_fide, attack, rng)
        threshold = threshold_at_fpr(labels, scores, fpr)
        true_tpr, true_fpr = population.above(threshold - population.mean), population.above(threshold)
        for known, groups in ((True, people), (False, None)):
            limits = system(labels, scores, threshold, groups)
            found[f"tpr {known}"].append(limits.tpr_low <= true_tpr <= limits.tpr_high)
            found[f"fpr {known}"].append(true_fpr <= limits.fpr_high)
            found[f"resolved {known}"].append(resolved(fpr, limits.effective_attack))
            if i < options.method_simulations:
                low, high = interval(bootstrap(labels, scores, fpr, groups, options.replicates, seed=i))
                found[f"method {known}"].append(low <= tpr <= high)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=500, help="for the limits of the system")
    parser.add_argument("--method-simulations", type=int, default=200)
    parser.add_argument("--replicates", type=int, default=400)
    options = parser.parse_args()
    error = [100 * math.sqrt(0.05 * 0.95 / n) for n in (options.simulations, options.method_simulations)]
    print(f"{options.simulations} simulations a row, {options.method_simulations} of them for the method, with")
    print(f"{options.replicates} replicates; standard error at 95%: {error[0]:.1f} and {error[1]:.1f} points\n")
    heads = [
        f"{what}, {known}" for known in ("known", "unknown") for what in ("TPR", "FPR bound", "method", "resolved")
    ]
    print("| frames | FPR | tails | subjects' share | true TPR |", " | ".join(heads), "|")
    print("|" + " --- |" * (5 + len(heads)))
    for size in SIZES:
        for tail in TAILS:
            for share in SHARES:
                for tpr in TRUE_TPRS:
                    rng = np.random.default_rng(1)
                    found = held(Population(tail, share, size[3], tpr), size, tpr, options, rng)
                    setting = f"{size[1]:,} / {size[2]:,} | {fpr_name(size[3])} | {tail} | {share:g} | {tpr:g}"
                    names = [
                        f"{what} {known}" for known in (True, False) for what in ("tpr", "fpr", "method", "resolved")
                    ]
                    print(
                        f"| {setting} |",
                        " | ".join(f"{100 * np.mean(found[name]):.0f}" for name in names),
                        "|",
                        flush=True,
                    )


if __name__ == "__main__":
    main()

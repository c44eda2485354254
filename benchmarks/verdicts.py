"""How often do the verdicts on claims err, and how often do they see what is there? Simulated studies, truth known.

    OMP_NUM_THREADS=1 python benchmarks/verdicts.py

A study has eight claims "this method is better than that one", judged by ``fasnb.metrics.judge``. In each world a method
has the luck of its network in the logarithm of its error, so that log ratios have a given deviation. Mostly that *is* the
measured error: a pilot's deviations hold all that frames add. With *frames* it is measured on scores of the study's sizes:
class difference, by the network's error, + difficulty of the person and of the frame, shared by all methods, + own noise.
"""

import argparse
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import norm

from fasnb.metrics import judge, mean_error

BONA_FIDE, ATTACKS, PRINTED, FPR = 935, 2065, 689, 1e-2  # 935 people's living frames, three prints of each of 689
LEAST = 0.5 / BONA_FIDE
PERSON, FRAME, OWN = 0.5, 0.5, 0.5**0.5  # deviations of a score's parts, together 1
PILOT = (0.3, 0.6, 0.7, 0.7, 0.8, 1.1, 1.1, 2.6)  # of log ratios, in three worlds; the second 1.1 is a guess
OF_FRAMES = 0.27  # about what frames add to the deviation at an error of 0.1, see the row without luck
RATIOS = (1, 1, 1.25, 1.5, 1.5, 2, 3, 5)  # true ratios of the claims, where there are any
CLAIMS = [(f"claim {i}", "", [(f"better {i}", f"worse {i}")]) for i in range(8)]
_SEPARATIONS = np.linspace(0, 12, 2401)  # of the classes, and the log errors that they give over all frames; they fall
_LOG_ERRORS = np.log(norm.cdf(norm.isf(np.linspace(0, FPR, 401)[1::2, None]) - _SEPARATIONS).mean(axis=0))


class Setting(NamedTuple):
    """One row of a table."""

    deviations: float | tuple  # of log ratios, by the luck of the networks
    worlds: int = 16
    heavy: bool = False  # Student's t with 3 degrees of freedom, of the same deviation
    frames: float = 0.0  # the methods' middle error, where frames are drawn
    ratios: float | tuple = 1.0

    def cells(self) -> list:
        name = "pilot" if isinstance(self.deviations, tuple) else f"{self.deviations:.2g}"
        return [name, self.worlds, "t3" if self.heavy else "normal", f"{self.frames:.2g}" if self.frames else "–"]


def logs_of(setting: Setting, rng: np.random.Generator) -> np.ndarray:
    """Log errors (worlds, methods) of one study."""
    shape = (2, setting.worlds, len(CLAIMS))
    luck = rng.standard_t(3, shape) / 3**0.5 if setting.heavy else rng.standard_normal(shape)
    better, worse = luck * np.array(setting.deviations) / 2**0.5
    apart, middle = np.log(setting.ratios) / 2, np.log(setting.frames or 0.1)
    logs = middle + np.stack([better - apart, worse + apart], axis=-1).reshape(setting.worlds, -1)
    return np.stack([on_frames(world, rng) for world in logs]) if setting.frames else logs


def on_frames(logs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Measured log errors of methods (methods,) that have the log errors ``logs`` on all frames that there could be."""
    labels = np.arange(BONA_FIDE + ATTACKS) < BONA_FIDE
    person = np.where(labels, np.arange(labels.size), BONA_FIDE + np.arange(labels.size) % PRINTED)
    shared = PERSON * rng.standard_normal(BONA_FIDE + PRINTED)[person] + FRAME * rng.standard_normal(labels.size)
    scores = shared + OWN * rng.standard_normal((logs.size, labels.size))
    scores += labels * np.interp(-logs, -_LOG_ERRORS, _SEPARATIONS)[:, None]
    # mean_error, but fast: while k attack frames may pass, what lies below the next one is refused
    width = np.diff(np.minimum(np.arange(int(FPR * ATTACKS) + 2) / ATTACKS, FPR)) / FPR
    nearest = -np.sort(-scores[:, BONA_FIDE:])[:, : width.size]
    refused = [np.searchsorted(*pair) for pair in zip(np.sort(scores[:, :BONA_FIDE]), nearest, strict=True)]
    errors = refused @ width / BONA_FIDE
    assert rng.random() > 0.02 or np.isclose(errors[0], mean_error(labels, scores[0], FPR))
    return np.log(np.maximum(errors, LEAST))


def judged(setting: Setting, studies: int) -> pd.DataFrame:
    """One row a study and claim: what ``judge`` says, ``true`` ratio, ``variance`` of the log ratios over worlds."""
    rng, found = np.random.default_rng([20190616, *str(setting).encode()]), []
    methods = [name for _, _, [pair] in CLAIMS for name in pair]
    table = pd.DataFrame(product(range(setting.worlds), methods), columns=["world", "experiment"])
    for study in range(studies):
        logs = logs_of(setting, rng)
        variance = (logs[:, 1::2] - logs[:, ::2]).var(axis=0, ddof=1)
        verdicts = judge(CLAIMS, table.assign(error=np.exp(logs).ravel(), least=LEAST))
        found.append(verdicts.assign(study=study, true=setting.ratios, variance=variance))
    return pd.concat(found, ignore_index=True)


def no_difference(setting: Setting, studies: int) -> list:
    found = judged(setting, studies)
    any_wrong = found["verdict"].isin(["shown", "opposite"]).groupby(found["study"]).any()
    shares = [found["p"] < 0.05, found["Wilcoxon p"] < 0.05, any_wrong, found["verdict"] == "equivalent"]
    room = f"{np.exp(np.log(found['room']).mean()):.1f}" if setting.frames else "–"
    return [f"{found['variance'].mean() ** 0.5:.2f}", room, *(f"{100 * one.mean():.1f}" for one in shares)]


def differences(setting: Setting, studies: int) -> list:
    found, cells = judged(setting._replace(ratios=RATIOS), studies), []
    for _, part in found.groupby("true"):
        shares = [(part["verdict"] == name).mean() for name in ("shown", "opposite", "equivalent", "undecided")]
        cells.append(" / ".join(f"{100 * share:.0f}" for share in shares))
    stated = float(np.exp(np.log(found["detectable"]).mean()))
    again = judged(setting._replace(ratios=stated), studies // 2)  # each claim by itself, at Holm's strictest level
    strict = [(again[p] < 0.05 / len(CLAIMS)) & (again["ratio"] > 1) for p in ("p", "Wilcoxon p")]
    return [*cells, f"{stated:.2f}", *(f"{100 * one.mean():.0f}" for one in strict)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200, help="a setting without differences; with them half of it")
    studies, names = parser.parse_args().studies, ["deviation", "worlds", "luck", "frames"]
    luck = tuple((one**2 - OF_FRAMES**2) ** 0.5 for one in PILOT)  # with frames as much as PILOT without
    nulls = [Setting(PILOT, worlds, heavy) for worlds, heavy in product((8, 16, 32), (False, True))]
    nulls += [Setting(luck, heavy=heavy, frames=0.1) for heavy in (False, True)]
    nulls += [Setting(one, frames=error) for one, error in ((0.0, 0.1), (0.0, 0.01), (0.6, LEAST))]
    powers = [Setting(one, worlds) for worlds, one in product((8, 16, 32), (0.3, 0.6, 1.1))]
    powers += [Setting(2.6), Setting(0.6, heavy=True), Setting(luck[1], frames=0.1), Setting(0.6, frames=LEAST)]
    print("", *names, "all", "room", "t", "Wilcoxon", "any of 8", "equivalent", "", sep=" | ", flush=True)
    for setting in nulls:
        print("", *setting.cells(), *no_difference(setting, studies), "", sep=" | ", flush=True)
    print("", *names, *np.unique(RATIOS), "detectable", "t", "Wilcoxon", "", sep=" | ", flush=True)
    for setting in powers:
        print("", *setting.cells(), *differences(setting, studies // 2), "", sep=" | ", flush=True)


if __name__ == "__main__":
    main()

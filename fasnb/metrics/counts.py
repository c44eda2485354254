"""What two counts of errors can tell apart: exact tests of published rates, of which the counts behind are all there is.

They take frames as independent and the two sets of errors as unpaired. Frames of one subject resemble each other, so what
these tests call likely chance is chance all the more; pairing on the same frames, were it known, could see more.
"""

import pandas as pd
from scipy.stats import fisher_exact

from fasnb.metrics.uncertainty import clopper_pearson


def misses(tpr: float, frames: int, digits: int) -> int:
    """The number of refused bona fide frames that a printed TPR stands for.

    Args:
        tpr: in percent, as printed.
        frames: how many bona fide frames there were.
        digits: decimals of the print; it may have been rounded or cut.

    Raises:
        ValueError: no count of misses, or more than one, prints as this TPR.
    """
    unit = 10.0**-digits
    near = round((100 - tpr) * frames / 100)
    fitting = [n for n in (near - 1, near, near + 1) if abs(100 * (1 - n / frames) - tpr) < unit]
    if len(fitting) != 1:
        raise ValueError(f"a TPR of {tpr:.{digits}f}% is not that of one count of misses of {frames:,} frames")
    return fitting[0]


def fisher(a: int, b: int, frames: int, frames_of_b: int | None = None) -> float:
    """Fisher's exact test, two-sided: how likely are counts so different, of ``frames`` each, if the rates are equal?"""
    return float(fisher_exact([[a, frames - a], [b, (frames_of_b or frames) - b]]).pvalue)


def against_first(published: pd.DataFrame, frames: int, digits: int) -> pd.DataFrame:
    """Each published TPR against the first one (Table 4).

    Args:
        published: a name and a TPR in percent, in this order.

    Returns:
        The same, with ``misses`` of ``frames``, ``p`` (Fisher's test against the first, missing for the first itself), and
        ``low``, ``high``: exact 95% limits of the TPR, in percent.
    """
    counts = [misses(tpr, frames, digits) for tpr in published.iloc[:, 1]]
    p = [float("nan"), *(fisher(counts[0], count, frames) for count in counts[1:])]
    limits = [clopper_pearson(frames - count, frames) for count in counts]
    table = published.assign(misses=counts, p=p)
    return table.assign(low=[100 * low for low, _ in limits], high=[100 * high for _, high in limits])


def first_distinguishable(count: int, frames: int, level: float = 0.05) -> int:
    """The lowest number of misses above ``count`` that Fisher's test tells from it at this level."""
    return next(other for other in range(count + 1, frames + 1) if fisher(count, other, frames) < level)


def error_ratio(a: int, b: int, confidence: float = 0.95) -> tuple[float, float, float]:
    """Ratio a / b of two error rates on equally many frames, with exact limits (Section 5.6's factor).

    Given that a + b errors happened, a is binomial with probability ratio / (1 + ratio); Clopper-Pearson limits of that
    probability give those of the ratio. Rare errors only: each count stands for a Poisson variable.

    Raises:
        ValueError: no errors at all.
    """
    low, high = clopper_pearson(a, a + b, confidence)
    return a / b if b else float("inf"), low / (1 - low), high / (1 - high) if high < 1 else float("inf")

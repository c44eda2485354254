"""Rows of tables: means over seeds, paired differences, verdicts on claims."""

import numpy as np
import pandas as pd
import pytest

from fasnb import comparisons, metrics
from fasnb.frames import frame_table
from fasnb.scores import score_table
from fasnb.study import Finding

N = 300
LABEL = np.arange(N) % 3 == 0


def model(experiment, seed, strength, noise):
    """One model's scores: the larger ``strength``, the better; ``noise`` seeds its luck."""
    names = [f"{i}-color.jpg" for i in range(N)]
    frames = frame_table(sample=names, rgb=names, depth=names, ir=names, label=LABEL.astype(int))
    score = 1 / (1 + np.exp(-(strength * LABEL + np.random.default_rng(noise).normal(size=N))))
    return score_table(frames, score, experiment, 1, seed)


def tpr(table, fpr=0.1):
    return 100 * metrics.tpr_at_fpr(table["label"], table["score"], fpr)


def test_a_methods_value_is_the_mean_over_its_seeds():
    one, two, other = model("A", 1, 1.5, 0), model("A", 2, 1.5, 1), model("B", 1, 1.0, 2)
    rows = comparisons.measure(pd.concat([one, two, other]), [0.1], replicates=50).set_index("experiment")
    assert rows.loc["A", "measured"] == pytest.approx((tpr(one) + tpr(two)) / 2)
    assert rows.loc["B", "measured"] == pytest.approx(tpr(other))
    assert rows["seeds"].to_dict() == {"A": 2, "B": 1}
    assert (
        np.isnan(rows.loc["A", "exact low"]) and rows.loc["B", "exact low"] < tpr(other) < rows.loc["B", "exact high"]
    )


def test_differences_are_those_of_the_means():
    one, two, other = model("A", 1, 1.5, 0), model("A", 2, 1.5, 1), model("B", 1, 1.0, 2)
    row = comparisons.compare_all(pd.concat([one, two, other]), 0.1, replicates=50).iloc[0]
    assert (row["a"], row["b"]) == ("A", "B")
    assert row["difference"] == pytest.approx((tpr(one) + tpr(two)) / 2 - tpr(other))
    assert comparisons.compare_all(one, 0.1, pairs=[], replicates=10).empty


def test_verdicts():
    strong = [model("strong", seed, 4.0, seed) for seed in (1, 2)]
    weak = [model("weak", seed, 0.5, 10 + seed) for seed in (1, 2)]
    findings = [
        Finding("a", "1", "strong", "weak"),
        Finding("b", "1", "weak", "strong"),
        Finding("c", "1", "weak", "weak"),
    ]
    judged = comparisons.judge(pd.concat(strong + weak), [*findings, Finding("d", "1", "weak", "none")], 0.1, 100)
    assert judged["verdict"].tolist() == ["shown", "opposite", "not shown", "not measured"]
    assert judged.loc[0, "agree"] == "4 of 4" and judged.loc[0, "seeds"] == "2 and 2"


def test_one_seed_against_the_claim_withholds_shown():
    lucky = [model("A", 1, 6.0, 1), model("A", 2, 0.5, 2)]
    judged = comparisons.judge(pd.concat([*lucky, model("B", 1, 1.5, 3)]), [Finding("a", "1", "A", "B")], 0.1, 100)
    assert judged.loc[0, "verdict"] == "not shown" and judged.loc[0, "agree"] == "1 of 2"

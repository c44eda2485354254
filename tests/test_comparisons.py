"""Rows of tables: means over seeds, errors in several worlds, verdicts on claims."""

import numpy as np
import pandas as pd
import pytest
from conftest import listed
from scipy import stats
from sklearn.metrics import roc_curve

from fasnb import metrics
from fasnb.data.scores import score_table

N = 300
LABEL = np.arange(N) % 3 == 0


def model(experiment, seed, strength, noise, **known):
    """One model's scores: the larger ``strength``, the better; ``noise`` seeds its luck; ``known`` of the frames."""
    score = 1 / (1 + np.exp(-(strength * LABEL + np.random.default_rng(noise).normal(size=N))))
    return score_table(listed(N, label=LABEL.astype(int), **known), score, experiment, 1, seed)


def tpr(table, fpr=0.1):
    return 100 * metrics.tpr_at_fpr(table["label"], table["score"], fpr)


def claim(*pairs):
    return "; ".join(f"{better} above {worse}" for better, worse in pairs), "1", pairs


def in_worlds(least=1e-4, **logs) -> pd.DataFrame:
    """Errors of methods in worlds, from their logarithms."""
    rows = [(world, name, np.exp(log), least) for name, values in logs.items() for world, log in enumerate(values)]
    return pd.DataFrame(rows, columns=["world", "experiment", "error", "least"])


def test_a_methods_value_is_the_mean_over_its_seeds_and_its_row_the_report_of_its_scores():
    one, two, other = model("A", 1, 1.5, 0), model("A", 2, 1.5, 1), model("B", 1, 1.0, 2)
    rows = metrics.measure(pd.concat([one, two, other]), [0.1], replicates=50).set_index("experiment")
    assert rows.loc["A", "measured"] == pytest.approx((tpr(one) + tpr(two)) / 2)
    assert rows.loc["B", "measured"] == pytest.approx(tpr(other))
    assert rows["seeds"].to_dict() == {"A": 2, "B": 1}
    assert (rows["low"] <= rows["measured"]).all() and (rows["measured"] <= rows["high"]).all()
    fine = metrics.measure(one, [0.01], replicates=50).iloc[0]  # 200 attack frames do not resolve it
    assert np.isnan(fine["low"]) and fine["high"] > 0
    single = metrics.measure(pd.concat([one, two, other]), [0.1], ["experiment", "seed"], 50)
    assert list(single)[:3] == ["experiment", "seed", "FPR"] and "seeds" not in single
    assert single["measured"].tolist() == pytest.approx([tpr(one), tpr(two), tpr(other)])
    table = model("A", 1, 2.0, 0, subject=[f"s{i % 40}" for i in range(N)])
    row = metrics.measure(table, [0.1, 0.01], replicates=50).set_index("FPR").loc[0.1]
    point = metrics.evaluate(table["label"], table["score"], [0.1], None, table["subject"], 50).points[0]
    found = row[["measured", "low", "high"]].astype(float) / 100
    assert found.tolist() == pytest.approx([point.tpr, point.method_low, point.method_high])


def test_an_error_is_the_mean_bpcer_up_to_the_fpr_and_at_least_half_a_bona_fide_frame():
    table = model("A", 1, 1.5, 0)
    fpr, rate, _ = roc_curve(table["label"], table["score"], drop_intermediate=False)
    at = np.linspace(0, 0.1, 100_001)
    found = metrics.mean_error(table["label"], table["score"], 0.1)
    assert found == pytest.approx(1 - np.interp(at, fpr, rate).mean(), abs=1e-5)
    perfect = model("A", 1, 0.0, 0).assign(score=LABEL.astype(float))
    found = metrics.errors(pd.concat([perfect, model("B", 1, 0.0, 1), model("B", 2, 0.0, 2)]))
    assert found["least"].eq(0.5 / 100).all() and found.loc[0, "error"] == 0.5 / 100
    assert found[["experiment", "seed"]].values.tolist() == [["A", 1], ["B", 1], ["B", 2]]
    assert (found["error"][1:] > 0.9).all()  # of chance


GAINS = np.array([0.5, 0.9, 0.7, 0.2, 0.6, 0.4])


def test_a_ratio_by_hand():
    """Paired Student's t on the differences of log errors, Wilcoxon's test beside it."""
    base, mean = np.array([-3.0, -2.0, -4.0, -3.5, -2.5, -3.0]), GAINS.mean()
    row = metrics.judge([claim(("A", "B"))], in_worlds(A=base - GAINS, B=base)).loc[0]
    low, high = stats.t.interval(0.95, 5, mean, GAINS.std(ddof=1) / 6**0.5)
    assert np.log(row[["ratio", "low", "high"]].astype(float)).tolist() == pytest.approx([mean, low, high])
    assert row["p"] == pytest.approx(stats.ttest_rel(base, base - GAINS).pvalue)
    assert row["Wilcoxon p"] == pytest.approx(stats.wilcoxon(GAINS).pvalue)
    assert np.log(row["room"]) == pytest.approx(base.mean() - np.log(1e-4))
    assert (row["worlds"], row["verdict"]) == (6, "shown")


def test_verdicts_take_several_worlds():
    level, close = np.zeros(8), 0.02 * np.array([1, -1, 1, -1, 1, -1, 1, -2])
    wild = np.array([2.0, -2.0, 1.5, -1.5, 1.0, -1.2, 2.0, -1.9])
    table = in_worlds(good=level - 1 + close, base=level, equal=level + close, wild=wild, perfect=np.log(level + 1e-4))
    claims = [claim(pair) for pair in (("good", "base"), ("base", "good"), ("equal", "base"), ("wild", "base"))]
    judged = metrics.judge([*claims, claim(("good", "none"))], table)
    assert judged["verdict"].tolist() == ["shown", "opposite", "equivalent", "undecided", "not measured"]
    assert judged.loc[0, "ratio"] == pytest.approx(1 / judged.loc[1, "ratio"]) and judged.loc[4, "worlds"] == 0
    assert metrics.judge([claim(("perfect", "perfect"))], table).loc[0, "verdict"] == "undecided"  # there is no room
    assert "verdict" not in metrics.judge(claims, table, verdicts=False)
    row = metrics.judge([claim(("A", "B"))], in_worlds(A=[-3.0], B=[-2.0])).loc[0]
    assert row["ratio"] == pytest.approx(np.e) and row[["low", "high", "p", "detectable"]].isna().all()
    assert row["verdict"] == "one world" and row["worlds"] == 1


def test_a_verdict_counts_all_claims_that_were_tested_and_keeps_the_order_of_their_p_values():
    table = in_worlds(A=-GAINS, B=0 * GAINS, C=np.array([2.0, -2.0, 1.5, -1.5, 1.0, -1.2]))
    alone, among = (metrics.judge([claim(("A", "B")), *[claim(("C", "B"))] * n], table) for n in (0, 60))
    assert (alone.loc[0, "verdict"], among.loc[0, "verdict"]) == ("shown", "undecided")
    assert among.loc[0, "detectable"] > alone.loc[0, "detectable"]
    adjusted = metrics.holm({0: 0.04, 1: 0.01, 2: np.nan, 3: 0.03, 4: 0.9})
    assert [adjusted[i] for i in (1, 3, 0, 4)] == pytest.approx([0.04, 0.09, 0.09, 0.9]) and np.isnan(adjusted[2])


def test_a_claim_is_that_of_its_weakest_pair_and_of_the_mean_of_its_seeds_in_each_world():
    table = in_worlds(best=[-3.0, -3.0], A=[-2.0, -1.0], B=[-1.0, -2.5])
    each = metrics.ratios([claim(("best", "A"), ("best", "B"))], table)
    assert np.log(each["ratio"]).tolist() == pytest.approx([1.0, 0.5]) and list(each["world"]) == [0, 1]
    without = table[(table["world"] == 0) | (table["experiment"] != "B")]  # the claim lacks a pair in world 1
    assert list(metrics.ratios([claim(("best", "A"), ("best", "B"))], without)["world"]) == [0]
    table = pd.concat([in_worlds(A=[-3.0, -2.0]), in_worlds(A=[-1.0, -2.0], B=[-1.0, -1.0])])
    assert np.log(metrics.ratios([claim(("A", "B"))], table)["ratio"]).tolist() == pytest.approx([1.0, 1.0])


def test_errors_at_each_methods_own_threshold():
    kinds = np.where(LABEL, 0, np.arange(N) % 2 + 1)
    table = pd.concat([model(name, 1, 1.0, i, attack=kinds) for i, name in enumerate("AB")])
    found, borders = metrics.errors_by_attack(table, 0.1).set_index("experiment"), metrics.thresholds(table, 0.1)
    for name, scores in metrics.matrix(table).items():
        assert borders[name] == metrics.threshold_at_fpr(LABEL, scores, 0.1)
        assert found.loc[name, "BPCER %"] == pytest.approx(100 * (scores[LABEL] < borders[name]).mean())
        assert found.loc[name, "APCER % attack 2"] == pytest.approx(100 * (scores[kinds == 2] >= borders[name]).mean())
    unknown = metrics.errors_by_attack(pd.concat([model("A", 1, 1.0, 0)]), 0.1)
    assert list(unknown) == ["experiment", "BPCER %"]

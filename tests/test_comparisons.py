"""Rows of tables: means over seeds, paired differences, verdicts on claims."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from fasnb import metrics
from fasnb.data.frames import frame_table
from fasnb.data.scores import score_table
from fasnb.metrics.comparisons import luck_of
from fasnb.metrics.uncertainty import Method, methods_of

N = 300
LABEL = np.arange(N) % 3 == 0
NAMES = [f"{i}-color.jpg" for i in range(N)]


def model(experiment, seed, strength, noise, **known):
    """One model's scores: the larger ``strength``, the better; ``noise`` seeds its luck; ``known`` of the frames."""
    frames = frame_table(sample=NAMES, rgb=NAMES, depth=NAMES, ir=NAMES, label=LABEL.astype(int), **known)
    score = 1 / (1 + np.exp(-(strength * LABEL + np.random.default_rng(noise).normal(size=N))))
    return score_table(frames, score, experiment, 1, seed)


def seeds_of(experiment, strengths, noise):
    """One model with a seed for each of the strengths."""
    return [model(experiment, i + 1, strength, 100 * noise + i) for i, strength in enumerate(strengths)]


def tpr(table, fpr=0.1):
    return 100 * metrics.tpr_at_fpr(table["label"], table["score"], fpr)


def claim(*pairs):
    return "; ".join(f"{better} above {worse}" for better, worse in pairs), "1", pairs


STRONG, WEAK = seeds_of("strong", [4.0, 4.2, 3.8], 1), seeds_of("weak", [0.5, 0.6, 0.4], 2)
STUDY = pd.concat([*STRONG, *WEAK, *seeds_of("other", [0.5, 0.4, 0.6], 3)])


def test_a_methods_value_is_the_mean_over_its_seeds():
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


def test_a_row_is_the_report_of_its_scores():
    table = model("A", 1, 2.0, 0, subject=[f"s{i % 40}" for i in range(N)])
    row = metrics.measure(table, [0.1, 0.01], replicates=50).set_index("FPR").loc[0.1]
    point = metrics.evaluate(table["label"], table["score"], [0.1], None, table["subject"], 50).points[0]
    found = row[["measured", "low", "high"]].astype(float) / 100
    assert found.tolist() == pytest.approx([point.tpr, point.method_low, point.method_high])


def test_a_difference_by_hand():
    """Independent seeds: mean, pooled variance between seeds, Student's quantile, and what the bootstrap adds."""
    a, b = np.array([0.80, 0.84]), np.array([0.70, 0.78])
    methods = [Method(tpr, np.repeat(tpr[:, None], 5, axis=1), 2) for tpr in (a, b)]
    room = [0.82 * 0.18, 0.74 * 0.26]
    dispersion = (2 * 0.02**2 + 2 * 0.04**2) / sum(room)
    df = sum(room) ** 2 / (room[0] ** 2 + room[1] ** 2)
    assert luck_of(methods) == pytest.approx((dispersion, df))
    deviation = (dispersion * 0.78 * 0.22 * (1 / 2 + 1 / 2)) ** 0.5
    value, low, high, p = metrics.difference(*methods, luck_of(methods), 100)
    half = pytest.approx(student.ppf(0.975, df) * deviation)
    assert value == pytest.approx(0.08) and high - value == value - low == half
    assert p == pytest.approx(2 * student.sf(0.08 / deviation, df))
    shifts = np.array([-0.03, -0.01, 0.0, 0.01, 0.03])  # frames move both seeds of a alike, those of b not at all
    moved = [Method(a, a[:, None] + shifts, 2), methods[1]]
    wider = metrics.difference(*moved, luck_of(methods), 100)
    assert wider[2] - wider[0] == pytest.approx(student.ppf(0.975, df) * (deviation**2 + shifts.var(ddof=1)) ** 0.5)


def test_a_difference_of_rates_has_limits_that_rates_can_have():
    methods = [Method(np.array(tpr), np.tile(tpr, (50, 1)).T, 2) for tpr in ([0.1, 0.9], [0.2, 1.0])]
    _, low, high, p = metrics.difference(*methods, luck_of(methods), 10)
    assert low == -1 and high == 1 and p < 1
    perfect = Method(np.ones(2), np.ones((2, 50)), 2)
    assert luck_of([perfect]) == (0.0, np.inf)
    value, low, high, p = metrics.difference(perfect, perfect, luck_of(methods), 10)
    assert (value, p) == (0.0, 1.0) and np.isnan([low, high]).all()


def test_equal_methods_are_seldom_called_different():
    """2 or 3 seeds that differ by luck, and frames that all methods share: 5% at most, in every report of six."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(300):
        frames = rng.normal(0, 0.02, 200)
        methods = [
            Method(tpr, tpr[:, None] + frames, tpr.size) for tpr in (rng.normal(0.8, 0.04, k) for k in (2, 3) * 3)
        ]
        p = [metrics.difference(a, b, luck_of(methods), 100)[3] for a, b in zip(methods, methods[1:], strict=False)]
        wrong += min(metrics.holm(dict(enumerate(p))).values()) < 0.05
    assert wrong / 300 < 0.06


def test_pairs_are_those_of_the_means():
    one, two, other = model("A", 1, 1.5, 0), model("A", 2, 1.5, 1), model("B", 1, 1.0, 2)
    row = metrics.pairs(pd.concat([one, two, other]), [("A", "B")], 0.1, 50).iloc[0]
    assert row["difference"] == pytest.approx((tpr(one) + tpr(two)) / 2 - tpr(other)) and row["seeds"] == "2 and 1"
    assert np.isnan(row["p"]) and row["low"] < row["difference"] < row["high"]  # one seed of B: no test
    assert metrics.pairs(one, [], 0.1, 10).empty
    clear, level = metrics.pairs(STUDY, [("strong", "weak"), ("weak", "other")], 0.1, 100).itertuples()
    assert clear.low > 0 and clear.p < 0.05 and level.low < 0 < level.high and level.p > 0.05


def test_a_seed_pairs_with_nothing():
    a, b = seeds_of("A", [2.0, 2.0, 2.0], 1), seeds_of("B", [1.0, 1.0], 2)
    renamed = [table.assign(seed=table["seed"] + 10) for table in b]
    first, again = (metrics.pairs(pd.concat(a + part), [("A", "B")], 0.1, 50) for part in (b, renamed))
    pd.testing.assert_frame_equal(first, again, check_exact=True)


def test_verdicts():
    claims = [claim(("strong", "weak")), claim(("weak", "strong")), claim(("weak", "other")), claim(("weak", "none"))]
    judged = metrics.judge(claims, STUDY, 0.1, 100)
    assert judged["verdict"].tolist() == ["shown", "opposite", "undecided", "not measured"]
    assert judged.loc[0, "seeds"] == "3 and 3" and judged.loc[0, "low"] > 0 > judged.loc[1, "high"]
    assert judged.loc[0, "adjusted p"] == pytest.approx(min(1, 3 * judged.loc[0, "p"]))
    assert judged.loc[3, ["better", "difference", "adjusted p"]].isna().all()
    assert metrics.judge(claims[3:], STUDY, 0.1, 20)["verdict"].tolist() == ["not measured"]


def test_a_verdict_counts_all_claims_of_the_report():
    close = pd.concat([STUDY, *seeds_of("A", [1.6, 1.6, 1.6], 4), *seeds_of("B", [0.55, 0.55, 0.55], 5)])
    claims = [claim(("A", "B")), *[claim(("weak", "other"))] * 30]
    assert metrics.judge(claims[:1], close, 0.1, 100).loc[0, "verdict"] == "shown"
    assert metrics.judge(claims, close, 0.1, 100).loc[0, "verdict"] == "undecided"


def test_one_seed_gives_no_verdict():
    one = [model("A", 1, 4.0, 1), model("B", 1, 0.5, 2)]
    judged = metrics.judge([claim(("A", "B"))], pd.concat(one), 0.1, 100).loc[0]
    assert judged["verdict"] == "undecided" and judged["low"] > 0 and np.isnan(judged["adjusted p"])
    judged = metrics.judge([claim(("A", "weak")), claim(("strong", "weak"))], pd.concat([STUDY, one[0]]), 0.1, 100)
    assert judged["verdict"].tolist() == ["undecided", "shown"]


def test_seeds_that_differ_widen_the_interval_and_withhold_the_verdict():
    others = seeds_of("B", [1.0, 1.0, 1.0], 2)
    calm, wild = (pd.concat([*seeds_of("A", a, 1), *others]) for a in ([4.0, 4.0, 4.0], [5.0, 5.0, 1.2]))
    calm, wild = (metrics.judge([claim(("A", "B"))], part, 0.1, 200).loc[0] for part in (calm, wild))
    assert calm["verdict"] == "shown" and wild["verdict"] == "undecided"
    assert wild["high"] - wild["low"] > 2 * (calm["high"] - calm["low"])


def test_a_claim_of_several_pairs_is_that_of_its_weakest():
    lowest = claim(*((name, "D") for name in "ABC"))
    high = [part for i, name in enumerate("AB") for part in seeds_of(name, [4.0, 4.1, 3.9], i)]
    low = seeds_of("D", [0.5, 0.6, 0.4], 3)
    shown = metrics.judge([lowest], pd.concat([*high, *seeds_of("C", [3.8, 3.9, 4.0], 5), *low]), 0.1, 100).loc[0]
    level = metrics.judge([lowest], pd.concat([*high, *seeds_of("C", [0.5, 0.5, 0.7], 5), *low]), 0.1, 100).loc[0]
    assert (shown["verdict"], level["verdict"], level["better"]) == ("shown", "undecided", "C")
    below, above = seeds_of("C", [-2.0, -2.1, -1.9], 4), seeds_of("D", [2.0, 2.1, 1.9], 6)
    opposite = metrics.judge([lowest], pd.concat([*high, *below, *above]), 0.1, 100).loc[0]
    assert opposite["verdict"] == "opposite" and opposite["better"] == "C"
    assert opposite["adjusted p"] == pytest.approx(3 * opposite["p"])  # any of three parts may speak against it by luck


def test_an_ensemble_counts_as_its_member_with_the_fewest_seeds():
    a, b = seeds_of("A", [2.0, 2.2, 1.8], 1), seeds_of("B", [2.0, 1.8], 2)
    ensemble = metrics.average(pd.concat(a + b), over=["seed", "experiment"])
    table = pd.concat([*a, *b, ensemble])
    found = methods_of(table, [0.1], replicates=20)[0.1, "ensemble"]
    assert found.seeds == 2 and not found.single
    judged = metrics.judge([claim(("ensemble", "A"))], table, 0.1, 50).loc[0]
    assert judged["seeds"] == "all and 3" and not np.isnan(judged["adjusted p"])
    rows = metrics.measure(table, [0.1], replicates=20).set_index("experiment")
    assert pd.isna(rows.loc["ensemble", "seeds"]) and rows.loc["ensemble", "high"] > 0


def test_holm_keeps_the_order_of_p_values_and_leaves_out_what_was_not_tested():
    adjusted = metrics.holm({0: 0.04, 1: 0.01, 2: np.nan, 3: 0.03, 4: 0.9})
    assert [adjusted[i] for i in (1, 3, 0, 4)] == pytest.approx([0.04, 0.09, 0.09, 0.9]) and np.isnan(adjusted[2])


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

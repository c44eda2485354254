"""Rows of tables: means over seeds, paired differences, verdicts on claims."""

import numpy as np
import pandas as pd
import pytest

from fasnb import metrics
from fasnb.data.frames import frame_table
from fasnb.data.released import read_released
from fasnb.lab import figures, tables
from fasnb.metrics import comparisons, ensembles
from fasnb.metrics.scores import average, first_seed, matrix, score_table
from fasnb.paper.published import Finding

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
    assert rows.loc["A", ["system low", "system high", "FPR up to"]].isna().all()
    assert rows.loc["B", "system low"] < tpr(other) < rows.loc["B", "system high"] and rows.loc["B", "FPR up to"] > 0.1
    assert (rows["low"] <= rows["measured"]).all() and rows["attacks needed"].isna().all()


def test_no_lower_limit_where_the_attack_frames_are_too_few():
    rows = comparisons.measure(model("A", 1, 3.0, 0), [0.1, 0.01], replicates=50).set_index("FPR")
    assert np.isfinite(rows.loc[0.1, "low"]) and np.isnan(rows.loc[0.01, "low"])
    assert rows["high"].notna().all() and rows["attacks needed"].tolist() == [pd.NA, 368]
    columns = ["experiment", "FPR", "seeds", "measured", "system low", "system high", "FPR up to"]
    assert list(rows.reset_index())[:1] == ["FPR"] and set(rows) | {"FPR"} == {
        *columns, "low", "high", "attacks needed"}  # fmt: skip
    for figure in (figures.intervals(rows.assign(method="A")), figures.seed_spread(rows.assign(seed=[1, 2]), "TPR")):
        figure.canvas.draw()


def test_the_released_rows_say_what_clips_would_bound(released):
    rows = comparisons.measure(first_seed(average(read_released(released), over=["fold"])), [1e-4], replicates=20)
    assert (rows["FPR up to"].round(5) == 5.6e-4).all() and (rows["FPR up to, clips"].round(3) == 1.2e-2).all()
    assert (rows["attacks needed"] == 36_887).all() and rows["low"].isna().all()
    assert tables.shown(rows)["FPR up to, clips"].tolist() == ["1.2e-2"] * len(rows)
    table5 = comparisons.by_modality(
        first_seed(average(read_released(released), over=["fold"])), (1e-4,), replicates=20
    )
    figures.modality_bars(table5, ["1e-4"]).canvas.draw()


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
    other = [model("B", 1, 1.5, 3), model("B", 2, 1.5, 4)]
    judged = comparisons.judge(pd.concat([*lucky, *other]), [Finding("a", "1", "A", "B")], 0.1, 100)
    assert judged.loc[0, "verdict"] == "not shown" and judged.loc[0, "agree"] == "2 of 4"


def test_only_the_seeds_that_both_methods_have_are_compared():
    a, b = [model("A", seed, 2.0, seed) for seed in (1, 2, 3)], [model("B", 2, 1.0, 9)]
    judged = comparisons.judge(pd.concat(a + b), [Finding("a", "1", "A", "B")], 0.1, 50, others=[0.1, 0.05])
    assert judged.loc[0, "difference"] == pytest.approx(tpr(a[1]) - tpr(b[0])) and judged.loc[0, "seeds"] == "1 and 1"
    assert "at 5e-2" in judged and "at 1e-1" not in judged
    ensemble = average(pd.concat(a), over=["seed", "experiment"]).assign(experiment="ensemble")
    judged = comparisons.judge(pd.concat([*a, ensemble]), [Finding("b", "1", "ensemble", "A")], 0.1, 50)
    assert judged.loc[0, "seeds"] == "all and 3" and judged.loc[0, "agree"].endswith("of 3")


def test_answers_name_the_verdict_and_leave_out_what_is_not_measured():
    models = pd.concat([model("A", 1, 4.0, 1), model("B", 1, 0.5, 2)])
    claims = [Finding("A is better", "1", "A", "B"), Finding("never tested", "1"), Finding("other", "2", "B", "A")]
    said = comparisons.answers(models, claims, "1", 0.1, 100)
    assert said.startswith("A is better: shown here (+") and "one seed each" in said and "never" not in said
    assert "None of the claims" in comparisons.answers(models, claims[1:2], "1", 0.1, 100)


def test_table5_stands_beside_the_published_values(released):
    models = first_seed(average(read_released(released), over=["fold"]))
    table = comparisons.by_modality(models, (1e-2, 5e-3, 1e-4), replicates=20)
    assert table["experiment"].tolist() == ["A"] * 3 and table["FPR"].tolist() == ["1e-2", "5e-3", "1e-4"]
    assert table["published"].fillna(-1).tolist() == [100.0, -1, 99.87]
    assert table["measured"].round(2).tolist() == [100.0, 100.0, 99.87]


def test_a_helper_is_right_where_most_others_are_wrong():
    scores = pd.DataFrame({"A": [0.9, 0.9, 0.9, 0.1], "B": [0.9, 0.9, 0.9, 0.1], "C": [0.1, 0.1, 0.9, 0.9],
                           "D": [0.1, 0.9, 0.1, 0.9]}, index=list("wxyz"))  # fmt: skip
    labels = pd.Series([0, 0, 0, 1], index=list("wxyz"))
    table = ensembles.outvoted(scores, labels, "D").set_index("class")
    assert table.loc["attack", "others mostly wrong"] == 2 and table.loc["attack", "D right on these"] == 1
    assert table.loc["bona fide", "others mostly wrong"] == 1 and table.loc["bona fide", "D right on these"] == 1


def test_released_d_refuses_attacks_that_two_of_the_others_accept(released):
    scores = read_released(released)
    wide = matrix(first_seed(average(scores, over=["fold"])))
    label = scores.drop_duplicates("sample").set_index("sample")["label"].reindex(wide.index)
    two = (wide[["A", "B", "C"]][label == 0] > 0.5).sum(axis=1) == 2
    refused = (wide["D"][label == 0][two] <= 0.5).sum()
    table = ensembles.outvoted(wide, label, "D").set_index("class")
    assert table.loc["attack", ["others mostly wrong", "D right on these"]].tolist() == [two.sum(), refused]

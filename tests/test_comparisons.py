"""Rows of tables: means over seeds, paired differences, verdicts on claims."""

import numpy as np
import pandas as pd
import pytest

from fasnb import metrics
from fasnb.data.frames import frame_table
from fasnb.data.released import read_released
from fasnb.lab import figures, tables
from fasnb.metrics import comparisons, differences, ensembles, verdicts
from fasnb.metrics.scores import average, first_seed, matrix, score_table
from fasnb.paper.experiments import EXPERIMENTS
from fasnb.paper.published import FINDINGS, WITHOUT_D, Finding

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
    assert (rows["low"] <= rows["measured"]).all() and (rows["attacks needed"] == 36).all()


def test_no_lower_limit_where_the_attack_frames_are_too_few():
    rows = comparisons.measure(model("A", 1, 3.0, 0), [0.1, 0.01], replicates=50).set_index("FPR")
    assert np.isfinite(rows.loc[0.1, "low"]) and np.isnan(rows.loc[0.01, "low"])
    assert rows["high"].notna().all() and rows["attacks needed"].tolist() == [36, 368]
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


def seeds_of(experiment, strengths, noise):
    """One model with a seed for each of the strengths."""
    return [model(experiment, i + 1, strength, 100 * noise + i) for i, strength in enumerate(strengths)]


def claim(better, worse, section="1"):
    return Finding(f"{better} above {worse}", section, ((better, worse),))


STUDY = pd.concat(
    [
        *seeds_of("strong", [4.0, 4.2, 3.8], 1),
        *seeds_of("weak", [0.5, 0.6, 0.4], 2),
        *seeds_of("other", [0.5, 0.4, 0.6], 3),
    ]
)


def test_verdicts():
    findings = [claim("strong", "weak"), claim("weak", "strong"), claim("weak", "other"), claim("weak", "none")]
    judged = verdicts.judge(STUDY, findings, 0.1, 100, absent={"none": "it was lost"})
    assert judged["verdict"].tolist() == ["shown", "opposite", "undecided", "not measured"]
    assert judged.loc[0, "seeds"] == "3 and 3" and judged.loc[0, "low"] > 0 > judged.loc[1, "high"]
    assert judged.loc[2, "reason"] == "the interval holds zero, so either may be the higher"
    assert judged.loc[3, "reason"] == "it takes scores of none (it was lost)"


def test_a_claim_without_pairs_says_what_it_takes_and_can_be_given_evidence():
    findings = [claim("strong", "weak"), Finding("odd", "2", evidence="special", needs="a telescope")]
    judged = verdicts.judge(STUDY, findings, 0.1, 100)
    assert judged.loc[1, ["verdict", "reason"]].tolist() == ["not measured", "it takes a telescope"]
    given = {"special": verdicts.Evidence(-2.0, -3.0, -1.0, 0.03, reason="seen by eye")}
    judged = verdicts.judge(STUDY, findings, 0.1, 100, evidence=given)
    assert judged.loc[1, ["verdict", "adjusted p", "difference"]].tolist() == ["opposite", 0.03, -2.0]
    judged = verdicts.judge(STUDY, [*findings, claim("weak", "other")], 0.1, 100, evidence=given)
    assert judged.loc[1, "adjusted p"] == pytest.approx(0.06) and judged.loc[1, "verdict"] == "undecided"
    assert (
        judged.loc[1, "reason"]
        == "seen by eye; clear as a single comparison, but not among the 3 claims that are tested together"
    )


def test_evidence_without_a_test_decides_nothing_and_without_a_number_is_none():
    findings = [claim("strong", "weak"), Finding("odd", "2", evidence="special", needs="a telescope")]
    given = {"special": verdicts.Evidence(5.0, reason="seen by eye")}
    judged = verdicts.judge(STUDY, findings, 0.1, 100, given)
    assert judged.loc[1, ["verdict", "reason"]].tolist() == ["undecided", "seen by eye; a verdict takes a telescope"]
    alone = verdicts.judge(STUDY, findings[:1], 0.1, 100)
    assert judged.loc[0, "adjusted p"] == alone.loc[0, "adjusted p"]  # what has no test takes no part in the correction
    given = {"special": verdicts.Evidence(reason="it takes a telescope; by eye it is far away")}
    judged = verdicts.judge(STUDY, findings, 0.1, 100, given)
    assert judged.loc[1, ["verdict", "reason"]].tolist() == ["not measured", given["special"].reason]


def test_evidence_goes_before_pairs():
    finding = Finding("no gain", "1", (("weak", "strong"),), "special", "a margin")
    plain = verdicts.judge(STUDY, [finding], 0.1, 100).loc[0]
    given = verdicts.judge(STUDY, [finding], 0.1, 100, {"special": verdicts.Evidence(0.5, -1.0, 2.0, 0.4)}).loc[0]
    assert plain["verdict"] == "opposite" and given["verdict"] == "undecided"
    assert given["reason"] == "the interval holds zero, so either may be the higher; a verdict takes a margin"


def test_one_of_several_differences_may_be_clear_and_the_claim_not():
    finding = Finding("both", "1", (("weak", "other"), ("other", "weak")))
    found = verdicts.Evidence(-10.0, -20.0, -1.0, 0.09)
    assert "clear as a single comparison, but not as one of 2" in verdicts._row(finding, found, 0.3, 3)["reason"]


def test_one_seed_gives_no_verdict():
    one = [model("A", 1, 4.0, 1), model("B", 1, 0.5, 2)]
    judged = verdicts.judge(pd.concat(one), [claim("A", "B")], 0.1, 100)
    assert (
        judged.loc[0, "verdict"] == "undecided" and judged.loc[0, "low"] > 0 and np.isnan(judged.loc[0, "adjusted p"])
    )
    assert judged.loc[0, "reason"].startswith("one seed of A and B,")
    judged = verdicts.judge(pd.concat([STUDY, one[0]]), [claim("A", "weak"), claim("strong", "weak")], 0.1, 100)
    assert judged["verdict"].tolist() == ["undecided", "shown"] and judged.loc[0, "reason"].startswith("one seed of A,")
    pairs = comparisons.compare_all(pd.concat([STUDY, one[0]]), 0.1, [("A", "weak"), ("strong", "weak")], 100)
    assert pd.isna(pairs.loc[0, "clear"]) and pairs.loc[1, "clear"] is True


def test_seeds_that_differ_widen_the_interval_and_withhold_the_verdict():
    calm, wild = (
        [*seeds_of("A", a, 1), *seeds_of("B", [1.0, 1.0, 1.0], 2)] for a in ([4.0, 4.0, 4.0], [5.0, 5.0, 1.2])
    )
    calm, wild = (verdicts.judge(pd.concat(part), [claim("A", "B")], 0.1, 200).loc[0] for part in (calm, wild))
    assert calm["verdict"] == "shown" and wild["verdict"] == "undecided"
    assert wild["high"] - wild["low"] > 2 * (calm["high"] - calm["low"])


def test_all_seeds_of_both_methods_are_compared():
    a, b = seeds_of("A", [2.0, 2.0, 2.0], 1), seeds_of("B", [1.0, 1.0], 2)
    judged = verdicts.judge(pd.concat(a + b), [claim("A", "B")], 0.1, 50)
    means = np.mean([tpr(table) for table in a]), np.mean([tpr(table) for table in b])
    assert judged.loc[0, "difference"] == pytest.approx(means[0] - means[1]) and judged.loc[0, "seeds"] == "3 and 2"
    renamed = [table.assign(seed=table["seed"] + 10) for table in b]  # a seed pairs with nothing
    again = verdicts.judge(pd.concat(a + renamed), [claim("A", "B")], 0.1, 50)
    pd.testing.assert_frame_equal(judged, again, check_exact=True)


def test_an_ensemble_counts_as_its_member_with_the_fewest_seeds():
    a, b = seeds_of("A", [2.0, 2.2, 1.8], 1), seeds_of("B", [2.0, 1.8], 2)
    ensemble = average(pd.concat(a + b), over=["seed", "experiment"])
    methods, frames = comparisons.methods_of(pd.concat([*a, *b, ensemble]), 0.1, 20)
    assert methods["ensemble"].seeds == 2 and not methods["ensemble"].single and frames == N
    judged = verdicts.judge(pd.concat([*a, *b, ensemble]), [claim("ensemble", "A")], 0.1, 50)
    assert judged.loc[0, "seeds"] == "all and 3" and not np.isnan(judged.loc[0, "adjusted p"])


def test_the_spread_of_seeds_is_pooled_over_methods_of_any_number_of_seeds():
    rows = pd.DataFrame({"experiment": list("AAABBC"), "measured": [50.0, 52.0, 54.0, 60.0, 66.0, 90.0]})
    spread = comparisons.seed_spread(rows).set_index("method")
    assert spread.loc["A", "standard deviation"] == 2.0 and spread.loc["B", "values"] == 2 and "C" not in spread.index
    pooled = spread.loc["between seeds, pooled"]
    assert pooled["standard deviation"] == pytest.approx(((2 * 4 + 18) / 3) ** 0.5) and pooled["values"] == 5
    assert spread.loc["between methods, first seeds", "values"] == 3
    alone = comparisons.seed_spread(rows.iloc[[0, 3]])
    assert alone["method"].tolist() == ["between methods, first seeds"]


def test_from_valid_to_test_an_unresolved_limit_says_what_it_takes():
    valid, test = model("A", 1, 3.0, 0), model("A", 1, 3.0, 1)
    fine, coarse = (comparisons.valid_to_test(valid, test, fpr, 50) for fpr in (0.01, 0.1))
    assert fine["test low"].isna().all() and (fine["attacks needed"] == 368).all()
    assert (coarse["test low"] <= coarse["test"]).all() and (coarse["attacks needed"] == 36).all()


def test_the_lowest_of_four_is_below_each_of_the_others():
    lowest = Finding("D is the lowest", "1", tuple((name, "D") for name in "ABC"))
    high = [part for i, name in enumerate("AB") for part in seeds_of(name, [4.0, 4.1, 3.9], i)]
    low, least = seeds_of("D", [0.5, 0.6, 0.4], 3), seeds_of("C", [0.1, 0.0, 0.2], 4)
    shown = verdicts.judge(pd.concat([*high, *seeds_of("C", [3.8, 3.9, 4.0], 5), *low]), [lowest], 0.1, 100).loc[0]
    assert shown["verdict"] == "shown" and shown["reason"].startswith("least of 3: ")
    level = verdicts.judge(pd.concat([*high, *seeds_of("C", [0.5, 0.5, 0.7], 5), *low]), [lowest], 0.1, 100).loc[0]
    assert level["verdict"] == "undecided" and "C above D" in level["reason"]
    below = [part.assign(score=part["score"].sample(frac=1, random_state=0).to_numpy()) for part in least]
    opposite = verdicts.judge(pd.concat([*high, *below, *seeds_of("D", [2.0, 2.1, 1.9], 6)]), [lowest], 0.1, 100).loc[0]
    assert opposite["verdict"] == "opposite" and "C above D" in opposite["reason"]


def test_holm_keeps_the_order_of_p_values_and_leaves_out_what_was_not_tested():
    adjusted = differences.holm({0: 0.04, 1: 0.01, 2: np.nan, 3: 0.03, 4: 0.9})
    assert [adjusted[i] for i in (1, 3, 0, 4)] == pytest.approx([0.04, 0.09, 0.09, 0.9]) and np.isnan(adjusted[2])
    p = dict(enumerate(np.random.default_rng(0).random(20) ** 3))
    adjusted = differences.holm(p)
    assert all(p[i] <= adjusted[i] <= 1 for i in p)
    assert all(adjusted[i] <= adjusted[j] for i in p for j in p if p[i] <= p[j])


def test_the_variance_between_seeds_is_pooled_and_held_against_the_room():
    drawn = np.zeros((2, 3))
    methods = [differences.Method(np.array(tpr), drawn, 2) for tpr in ([0.45, 0.55], [0.85, 0.95], [1.0, 1.0])]
    luck = differences.luck_of(methods)
    assert luck.dispersion == pytest.approx((0.005 + 0.005) / (0.25 + 0.09)) and 1 < luck.df < 2
    alone = differences.luck_of(methods[2:])
    assert np.isnan(alone.dispersion) and alone.df == 0
    same = differences.difference(methods[2], methods[2], luck, 100)
    assert (same.value, same.p, same.seeded) == (0.0, 1.0, True) and np.isnan([same.low, same.high]).all()


def test_sentences_of_a_section_have_the_verdicts_of_the_whole_report():
    close = pd.concat([STUDY, *seeds_of("A", [1.6, 1.6, 1.6], 4), *seeds_of("B", [0.55, 0.55, 0.55], 5)])
    claims = [claim("A", "B", "1"), Finding("never tested", "1"), *[claim("weak", "other", "2")] * 30]
    judged = verdicts.judge(close, claims, 0.1, 100)
    said = verdicts.sentences(judged, ["1"])
    assert (
        said.startswith("Undecided: A above B. At FPR = 1e-1 A has ")
        and " points more TPR than B (95% interval: " in said
    )
    assert "seeds: 3 and 3" in said and "never" not in said and "weak" not in said
    assert verdicts.judge(close, claims[:1], 0.1, 100).loc[0, "verdict"] == "shown"
    assert judged.loc[0, "verdict"] == "undecided" and "not among the 31 claims that are tested together" in said
    assert "None of these claims" in verdicts.sentences(verdicts.judge(close, claims[1:2], 0.1, 100), ["1"])


def test_every_claim_can_be_tested_or_says_what_it_takes():
    known = {*EXPERIMENTS, "ensemble", WITHOUT_D}
    assert all({name for pair in finding.pairs for name in pair} <= known for finding in FINDINGS)
    assert all(finding.pairs or (finding.needs and finding.evidence) for finding in FINDINGS)
    names = [finding.evidence for finding in FINDINGS if finding.evidence]
    assert len(set(names)) == len(names)
    assert {f"5.{i}" for i in range(2, 11)} <= {finding.section for finding in FINDINGS}


def test_choices_of_members_are_made_within_each_seed():
    folds = [model("A", seed, 1.0, 10 * seed + fold).assign(fold=fold) for seed in (1, 2) for fold in (1, 2, 3)]
    table = pd.concat(folds)
    found = comparisons.choices_of_members(table, 2, 0.1)
    labels = table.drop_duplicates("sample")["label"]
    pairs = [(1, 2), (1, 3), (2, 3)]
    by_hand = [
        np.mean(
            [
                100 * metrics.tpr_at_fpr(labels, np.mean([folds[3 * seed + k - 1]["score"] for k in pair], axis=0), 0.1)
                for seed in (0, 1)
            ]
        )
        for pair in pairs
    ]
    assert found.to_numpy() == pytest.approx(by_hand)


def test_released_d_is_not_the_lowest_over_all_seeds(released):
    models = average(read_released(released), over=["fold"])
    lowest = [finding for finding in FINDINGS if finding.claim.startswith("D is the lowest")]
    row = verdicts.judge(models, lowest, 1e-4, 50).loc[0]
    assert row["verdict"] == "undecided" and "one seed of A" in row["reason"]


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


def test_a_pair_has_the_interval_of_the_whole_study_wherever_it_is_shown():
    """The variance between seeds is that of the study's methods, not of the two that a table happens to show."""
    pair = STUDY[STUDY["experiment"].isin(["strong", "weak"])]
    of_study = comparisons.compare_all(STUDY, 0.1, [("strong", "weak")], 50).iloc[0]
    shown = comparisons.compare_all(pair, 0.1, [("strong", "weak")], 50, study=STUDY).iloc[0]
    assert shown[["low", "high"]].tolist() == of_study[["low", "high"]].tolist()


def test_a_difference_of_rates_has_limits_that_rates_can_have():
    methods = [differences.Method(np.array(tpr), np.tile(tpr, (50, 1)).T, 2) for tpr in ([0.1, 0.9], [0.2, 1.0])]
    found = differences.difference(*methods, differences.luck_of(methods), 10)
    assert found.low == -1 and found.high == 1 and found.p < 1


def test_leaving_a_member_out_has_no_interval_where_no_attack_may_pass():
    table = pd.concat([model(name, 1, 2.0, i) for i, name in enumerate("AB")])
    wide, labels = metrics.scores.matrix(table), metrics.scores.facts(table)["label"].astype(int).to_numpy()
    strict, loose = (ensembles.leave_one_out(wide, labels, fpr, None, 50) for fpr in (1e-4, 0.1))
    assert strict[["low", "high"]].isna().all(axis=None) and loose[["low", "high"]].notna().all(axis=None)
    assert (loose["low"] <= loose["loss"] + 1e-9).all() and strict["loss"].notna().all()


def test_frames_that_another_network_rescues_are_counted():
    counted = comparisons.rescued(pd.concat([model("A", 1, 1.0, 0), model("B", 1, 1.0, 1)]), 0.1).set_index(
        "refused by"
    )
    assert pd.isna(counted.loc["A", "A"]) and 0 <= counted.loc["A", "B"] <= counted.loc["A", "frames"]

"""Metrics against scikit-learn and brute force, on scores with ties; averages of scores tables; limits: exact ones,
design effects, the bootstrap against repeating drawn frames."""

import json
from fractions import Fraction
from itertools import product

import numpy as np
import pandas as pd
import pytest
from conftest import listed
from scipy.stats import binom, norm
from sklearn.metrics import roc_auc_score, roc_curve

from fasnb import metrics
from fasnb.data.scores import score_table
from fasnb.metrics.uncertainty import CLIPS, attacks_needed, design_effect, operating_point

FPRS = (0, 1e-4, 0.01, 0.1, 0.25, 0.29, 1 / 3, 0.5, 0.999, 1)


def tied(seed, n=80, levels=9):
    """Labels and scores with many ties."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 3 == 0).astype(int)
    return labels, np.round(rng.normal(labels, 1.0) * levels / 4) / levels


def brute_tpr(labels, scores, fpr):
    """The definition in words: try every threshold, count, keep the best allowed."""
    bona_fide, attack = scores[labels == 1], scores[labels == 0]
    best = 0.0
    for threshold in [*scores, np.inf]:
        if (attack >= threshold).sum() / len(attack) <= fpr:
            best = max(best, (bona_fide >= threshold).sum() / len(bona_fide))
    return best


@pytest.mark.parametrize("seed", range(15))
def test_tpr_at_fpr_equals_brute_force_and_scikit_learn(seed):
    labels, scores = tied(seed)
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    for target in FPRS:
        value = metrics.tpr_at_fpr(labels, scores, target)
        assert value == pytest.approx(brute_tpr(labels, scores, target), abs=1e-12)
        assert value == pytest.approx(tpr[fpr <= target].max(), abs=1e-12)
        threshold = metrics.threshold_at_fpr(labels, scores, target)
        assert metrics.apcer(labels, scores, threshold) <= target
        assert 1 - metrics.bpcer(labels, scores, threshold) == pytest.approx(value)


def test_29_of_100_attacks_are_29_percent_and_equal_or_infinite_scores_are_no_exception():
    labels = np.r_[np.zeros(100, int), np.ones(10, int)]
    scores = np.r_[np.arange(100), np.full(10, 70.5)]
    assert metrics.tpr_at_fpr(labels, scores, 0.29) == 1.0  # 29 attacks score above 70.5, and 0.29 * 100 < 29 in floats
    assert metrics.allowed_attacks(np.array([0.29, 0.1]), 100).tolist() == [29, 10]
    assert [metrics.fpr_name(fpr) for fpr in (1e-4, 0.29, 0)] == ["1e-4", "2.9e-1", "0"]
    single = np.array([0.1, 0.2, 0.2, 0.7], dtype=np.float32)  # the threshold keeps float32 scores apart
    assert (single >= metrics.threshold_at_fpr([0, 0, 1, 1], single, 0)).tolist() == [False, False, False, True]
    assert metrics.tpr_at_fpr((0, 0, 1, 1), [0.1, 0.9, 0.95, 0.5], 1e-4) == 0.5  # no attack frame may pass
    labels, scores = np.array([0, 1, 1]), np.full(3, 0.5)
    assert (metrics.tpr_at_fpr(labels, scores, 0.5), metrics.tpr_at_fpr(labels, scores, 1.0)) == (0.0, 1.0)
    assert metrics.auc(labels, scores) == 0.5
    labels, scores = np.array([0, 0, 1, 1]), np.array([-np.inf, 0.0, 1.0, np.inf])
    assert metrics.tpr_at_fpr(labels, scores, 0) == metrics.auc(labels, scores) == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_rates_against_their_definitions(seed):
    labels, scores = tied(seed)
    attacks = np.where(labels == 1, 0, np.arange(len(labels)) % 3 + 1)
    each = metrics.apcer_by_attack(labels, scores, 0.4, attacks)
    assert each == {k: pytest.approx((scores[attacks == k] >= 0.4).mean()) for k in (1, 2, 3)}
    refused = (scores[labels == 1] < 0.4).mean()
    assert metrics.acer(labels, scores, 0.4, attacks) == pytest.approx((max(each.values()) + refused) / 2)
    assert metrics.acer(labels, scores, 0.4) == pytest.approx(((scores[labels == 0] >= 0.4).mean() + refused) / 2)
    assert metrics.auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    report, at_eer = metrics.evaluate(labels, scores, [1.0], attacks), metrics.eer_threshold(labels, scores)
    found = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert found["acer_at_eer"] == metrics.acer(labels, scores, at_eer, attacks)
    assert found["apcer_max_at_eer"] == max(metrics.apcer_by_attack(labels, scores, at_eer, attacks).values())
    assert found["tpr_at_fpr"][0]["threshold"] is None and found["tpr_at_fpr"][0]["tpr"] == 1.0
    for apcer, bpcer, threshold in zip(*metrics.det(labels, scores), strict=True):
        assert apcer == pytest.approx(np.mean(scores[labels == 0] >= threshold))
        assert bpcer == pytest.approx(np.mean(scores[labels == 1] < threshold))


@pytest.mark.parametrize("seed", range(20))
def test_equal_error_rate_in_whole_numbers(seed):
    """Where APCER and BPCER are nearest, in exact arithmetic; of several such thresholds the highest."""
    labels, scores = tied(seed, n=40 + seed)
    attack, bona_fide = scores[labels == 0], scores[labels == 1]
    candidates = [np.inf, *np.unique(scores)[::-1]]
    accepted = {threshold: Fraction(int(sum(attack >= threshold)), len(attack)) for threshold in candidates}
    refused = {threshold: Fraction(int(sum(bona_fide < threshold)), len(bona_fide)) for threshold in candidates}
    best = min(
        candidates, key=lambda threshold: abs(accepted[threshold] - refused[threshold])
    )  # of equal ones the first
    assert metrics.eer_threshold(labels, scores) == best
    assert metrics.eer(labels, scores) == pytest.approx(float(accepted[best] + refused[best]) / 2, abs=1e-12)


def test_calls_without_sense_are_refused_in_one_sentence():
    for call, message in (
        (lambda: metrics.tpr_at_fpr([1, 1], [0.1, 0.2], 0.1), "none of them attack"),
        (lambda: metrics.evaluate([], []), "none of them"),
        (lambda: metrics.tpr_at_fpr([0, 1], [0.1, np.nan], 0.1), "1 scores are NaN"),
        (lambda: metrics.evaluate([0, None], [0.1, 0.2]), "label None is neither"),
        (lambda: metrics.evaluate([0, 1, 1], [0.1, 0.2]), "do not match"),
        (lambda: metrics.evaluate([1, 1, 0, 0], [np.inf, 1, np.inf, 0]), "infinite"),
        (lambda: metrics.tpr_at_fpr([1, 0], [0.5, 0.2], "1e-2"), "fpr is '1e-2'"),
        (lambda: metrics.apcer([1, 0], [0.5, 0.2], np.nan), "the threshold is NaN"),
        (lambda: metrics.apcer_by_attack([1, 0], [0.5, 0.2], 0.3, ["print", None]), "missing or no whole number"),
        (lambda: metrics.apcer_by_attack([1, 0], [0.5, 0.2], 0.3, [0, 0]), "no whole number from 1 on"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def network(values, experiment="A", fold=1, seed=7):
    """The scores table of one network."""
    return score_table(listed(len(values)), values, experiment, fold, seed)


@pytest.fixture
def networks():
    """Experiment A with one seed, B with two, three folds each."""
    seeds = [("A", 1), ("B", 1), ("B", 2)]
    parts = [network([0.1 * fold, 0.8, 0.3, 0.6], name, fold, seed) for name, seed in seeds for fold in (1, 2, 3)]
    return pd.concat(parts, ignore_index=True)


def test_the_order_of_averaging_matters_with_uneven_seeds():
    parts = [network([0.0, 0.0], "X", 1, 1), network([0.3, 0.6], "X", 2, 1)]
    parts += [network([1.0, 1.0], "Y", 1, 1), network([0.0, 0.0], "Y", 1, 2)]
    mean = metrics.average(pd.concat(parts), over=["fold", "seed", "experiment"])
    assert mean["score"].to_list() == pytest.approx([(0.15 + 0.5) / 2, (0.3 + 0.5) / 2])
    assert mean["experiment"].to_list() == ["ensemble"] * 2 and mean["fold"].isna().all() and mean["seed"].isna().all()
    with pytest.raises(ValueError, match="'epoch' is not in list"):
        metrics.average(mean, over=["epoch"])


def test_a_fold_that_is_missing_everywhere_is_missed_and_the_last_one_where_it_is_expected(networks):
    lost = networks["fold"] == 1, (networks["fold"] == 2) & (networks["experiment"] == "A")
    for drop, over in product(lost, (["fold"], ["fold", "seed"], ["fold", "seed", "experiment"])):
        with pytest.raises(metrics.IncompleteError, match=r"networks are missing: .*fold [12] seed"):
            metrics.average(networks[~drop], over=over)
    without = networks[(networks["experiment"] != "B") | (networks["fold"] != 3)]
    metrics.average(without)
    expected = list(networks[["experiment", "fold", "seed"]].drop_duplicates().itertuples(index=False, name=None))
    with pytest.raises(metrics.IncompleteError, match="2 of 9 networks are missing: B fold 3 seed 1; B fold 3 seed 2"):
        metrics.average(without, expected=expected)


def test_what_is_incomplete_or_contradicts_itself_is_not_averaged(networks):
    uneven = [network([0, 1], "X", 1, 1), network([0, 1], "X", 2, 1), network([0, 1], "X", 1, 2)]
    for table, message in (
        (pd.concat(uneven), "1 of 4 networks are missing: X fold 2 seed 2"),
        (pd.concat([network([0, 1, 0.5], "X", 1), network([0, 1], "X", 2)]), "X fold 2 seed 7: 2"),
        (networks.assign(score=networks["score"].where(networks.index != 5)), "1 scores are missing"),
    ):
        with pytest.raises(metrics.IncompleteError, match=message):
            metrics.average(table)
    with pytest.raises(metrics.IncompleteError, match="networks scored different frames"):
        metrics.average(metrics.average(networks, over=["fold"]).drop(index=3), over=["seed"])
    with pytest.raises(ValueError, match="has more than one label"):
        metrics.average(networks.assign(label=networks["label"].where(networks.index != 5, 0)))


def test_scores_stand_side_by_side_in_the_order_of_the_table(networks):
    turned = pd.concat([networks[networks["experiment"] == "B"], networks[networks["experiment"] == "A"]])
    wide = metrics.matrix(metrics.average(turned))
    assert list(wide) == ["B", "A"] and list(wide.index) == list(metrics.facts(turned).index)
    assert list(metrics.matrix(turned, ["experiment", "fold", "seed"]))[:2] == [("B", 1, 1), ("B", 2, 1)]
    first = metrics.first_seed(networks)
    assert first.groupby("experiment")["seed"].unique().map(list).to_dict() == {"A": [1], "B": [1]}
    with pytest.raises(metrics.IncompleteError, match="1 frames lack the score"):
        metrics.matrix(metrics.average(networks).iloc[1:])


def test_exact_limits_are_where_the_binomial_tails_are_2_5_percent_and_take_so_many_attack_frames():
    low, high = metrics.exact(7, 50)
    assert binom.sf(6, 50, low) == pytest.approx(0.025) and binom.cdf(7, 50, high) == pytest.approx(0.025)
    assert metrics.exact(0, 10) == pytest.approx((0.0, 0.308497), abs=1e-6)
    assert metrics.exact(0, 6614)[1] == pytest.approx(5.6e-4, abs=5e-6)
    needed = {fpr: attacks_needed(fpr) for fpr in (1e-4, 1e-3, 1e-2, 0, 1)}
    assert needed == {1e-4: 36_887, 1e-3: 3_688, 1e-2: 368, 0: None, 1: 1}
    assert all((1 - f) ** needed[f] <= 0.025 < (1 - f) ** (needed[f] - 1) for f in (1e-4, 1e-3, 1e-2))


def test_frames_that_are_alike_count_as_their_subjects():
    rng = np.random.default_rng(0)
    people = np.arange(2000) % 100
    alike, independent = rng.normal(size=100)[people], rng.normal(size=2000)
    assert design_effect(alike, 0.0, people) == pytest.approx(20)
    assert design_effect(independent, 0.0, people) == pytest.approx(1, abs=0.25)
    assert design_effect(independent, 0.0, np.arange(2000)) == 1
    # where no error tells: that of the nearest threshold
    scores = 0.7 * rng.normal(size=100)[people] + rng.normal(size=2000)
    at_5_percent = design_effect(scores, np.sort(scores)[100], people)
    assert design_effect(scores, -99.0, people) == at_5_percent > 1.3
    assert design_effect(np.ones(2000), 0.5, people) == 20  # nothing to estimate it from: the highest possible
    assert design_effect(scores, 0.0, np.zeros(2000, int)) == 2000


def drawn_frames(labels, groups, replicates, seed):
    """The plain way: for each replicate, the frames that were drawn, each as often as it was."""
    rng = np.random.default_rng(seed)
    units = [np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)] if groups is None else [pd.unique(groups)]
    draws = [rng.integers(len(of), size=(replicates, len(of))) for of in units]
    for r in range(replicates):
        names = np.concatenate([of[draw[r]] for of, draw in zip(units, draws, strict=True)])
        yield names if groups is None else np.concatenate([np.flatnonzero(groups == name) for name in names])


@pytest.mark.parametrize(("grouped", "cells"), [(False, 4_000_000), (True, 4_000_000), (True, 300)])
def test_bootstrap_replicates_equal_repeating_the_drawn_frames_in_one_chunk_or_in_several(grouped, cells, monkeypatch):
    monkeypatch.setattr("fasnb.metrics.uncertainty.CELLS", cells)
    labels, scores = tied(1, n=60)
    scores = np.stack([scores, -scores, np.zeros(60)])
    groups = np.random.default_rng(2).permutation(np.arange(60) % 13) if grouped else None
    fprs = (0, 0.1, 0.29)
    values = metrics.bootstrap(labels, scores, fprs, groups, 25, 5)
    for r, index in enumerate(drawn_frames(labels, groups, 25, 5)):
        for fpr, of_fpr in zip(fprs, values, strict=True):
            for row, value in zip(scores[:, index], of_fpr[:, r], strict=True):
                assert value == pytest.approx(brute_tpr(labels[index], row, fpr))
    assert metrics.bootstrap(labels, scores[0], 0.1, groups, 25, 5).tolist() == values[1, 0].tolist()
    units = ([None, *np.arange(59)], None)  # some subjects unknown: frames are the unit
    unknown, frames = (metrics.bootstrap(labels, scores[0], 0.1, of, 9).tolist() for of in units)
    assert unknown == frames


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_limits_of_a_system_cover_its_true_rates(share):
    rng, people, labels = np.random.default_rng(0), np.tile(np.arange(60), 10), np.repeat([1, 0], [150, 450])
    hits = np.zeros(2)
    for _ in range(200):
        effects = np.sqrt(share) * rng.normal(size=(2, 60))[labels, people]
        scores = 2.5 * labels + effects + np.sqrt(1 - share) * rng.normal(size=600)
        point = operating_point(labels, scores, 0.02, np.zeros(1), people)
        tpr, fpr = norm.sf(point.threshold - 2.5), norm.sf(point.threshold)
        hits += point.tpr_low <= tpr <= point.tpr_high, fpr <= point.fpr_high
    assert (hits / 200 >= 0.92).all()


def test_the_clips_of_the_real_validation_set_bound_its_fpr():
    (bona_fide, attack), clips = next(iter(CLIPS.items()))
    labels = np.repeat([1, 0], [bona_fide, attack])
    report = metrics.evaluate(labels, labels + np.linspace(0, 0.1, labels.size), [1e-4, 1e-3], replicates=20)
    point, easier = report.points
    assert point.fpr_high == pytest.approx(5.6e-4, abs=5e-6) and clips == 300
    assert point.fpr_high_clips == metrics.exact(0, 300)[1] == pytest.approx(1.2e-2, abs=5e-4)
    assert (point.method_low, point.attacks_needed) == (None, 36_887)
    assert easier.method_low == 1 and any("FPR up to 1.2e-2 with" in note for note in report.notes)
    table = report.table()
    assert table["FPR"].tolist() == ["1e-4", "1e-3"] and table["attacks needed"].tolist() == [36_887, 3_688]
    assert table["low"].isna().tolist() == [True, False]


def test_attack_frames_of_few_subjects_do_not_resolve_what_as_many_independent_ones_would():
    rng = np.random.default_rng(0)
    labels, people = np.repeat([1, 0], [400, 800]), np.arange(1200) % 20
    scores = 4 * labels + rng.normal(size=20)[people] + 0.3 * rng.normal(size=1200)
    alone, of_subjects = (metrics.evaluate(labels, scores, [0.01], None, of, 50).points[0] for of in (None, people))
    assert alone.attacks_needed == 368 < alone.effective_attack and alone.method_low is not None
    assert of_subjects.attacks_needed == 368 > of_subjects.effective_attack and of_subjects.method_low is None


def test_what_a_reader_of_limits_must_know_is_noted():
    labels, scores = tied(0)
    notes = metrics.evaluate(labels, scores, [0.1], groups=labels, replicates=200).notes
    assert any("fewer than 10 subjects" in note for note in notes)
    with pytest.raises(ValueError, match="no replicate drew both classes"):
        metrics.interval(np.array([np.nan]))
    with pytest.raises(ValueError, match="give more subjects or replicates"):
        metrics.evaluate(labels, scores, [0.1], replicates=0)
    with pytest.raises(ValueError, match="does not match length"):
        metrics.evaluate(labels, scores, [0.1], groups=["a"])

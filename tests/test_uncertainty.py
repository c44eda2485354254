"""Limits: exact ones, design effects, the bootstrap against repeating drawn frames, and the whole report."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, norm
from test_metrics import brute_tpr, tied

from fasnb import metrics
from fasnb.metrics.uncertainty import CLIPS, attacks_needed, design_effect, operating_point


def test_exact_limits_are_where_the_binomial_tails_are_2_5_percent():
    low, high = metrics.exact(7, 50)
    assert binom.sf(6, 50, low) == pytest.approx(0.025) and binom.cdf(7, 50, high) == pytest.approx(0.025)
    assert metrics.exact(0, 10) == pytest.approx((0.0, 0.308497), abs=1e-6)
    assert metrics.exact(0, 6614)[1] == pytest.approx(5.6e-4, abs=5e-6)


@pytest.mark.parametrize(("fpr", "needed"), [(1e-4, 36_887), (1e-3, 3_688), (1e-2, 368), (0, None), (1, 1)])
def test_attack_frames_that_a_lower_limit_takes(fpr, needed):
    assert attacks_needed(fpr) == needed
    if needed and fpr < 1:
        assert (1 - fpr) ** needed <= 0.025 < (1 - fpr) ** (needed - 1)


def test_frames_that_are_alike_count_as_their_subjects():
    rng = np.random.default_rng(0)
    people = np.arange(2000) % 100
    alike, independent = rng.normal(size=100)[people], rng.normal(size=2000)
    assert design_effect(alike, 0.0, people) == pytest.approx(20)
    assert design_effect(independent, 0.0, people) == pytest.approx(1, abs=0.25)
    assert design_effect(independent, 0.0, np.arange(2000)) == 1


def test_a_design_effect_that_errors_cannot_tell_is_that_of_the_nearest_threshold():
    rng = np.random.default_rng(1)
    people = np.arange(2000) % 100
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


@pytest.mark.parametrize("grouped", [False, True])
def test_bootstrap_replicates_equal_repeating_the_drawn_frames(grouped):
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


def test_bootstrap_in_chunks_draws_the_same_subjects(monkeypatch):
    labels, scores = tied(4, n=90)
    groups = np.arange(90) % 11
    whole = metrics.bootstrap(labels, scores, 0.1, groups, 40)
    monkeypatch.setattr("fasnb.metrics.uncertainty.CELLS", 300)
    assert metrics.bootstrap(labels, scores, 0.1, groups, 40).tolist() == whole.tolist()


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


def test_limits_of_a_system_are_exact_on_the_effective_number_of_frames():
    labels, people = np.repeat([1, 0], [300, 900]), np.r_[np.arange(300) % 30, np.arange(900) % 30]
    frames, subjects = (operating_point(labels, labels + 0.0, 0.0, np.ones(1), of) for of in (None, people))
    assert (frames.tpr_low, frames.tpr_high) == metrics.exact(300, 300) and frames.fpr_high_clips is None
    assert frames.fpr_high == metrics.exact(0, 900)[1]
    assert (subjects.tpr_low, subjects.fpr_high) == (metrics.exact(30, 30)[0], metrics.exact(0, 30)[1])


def test_the_clips_of_the_real_validation_set_bound_its_fpr():
    (bona_fide, attack), clips = next(iter(CLIPS.items()))
    labels = np.repeat([1, 0], [bona_fide, attack])
    report = metrics.evaluate(labels, labels + np.linspace(0, 0.1, labels.size), [1e-4, 1e-3], replicates=20)
    point, easier = report.points
    assert point.fpr_high == pytest.approx(5.6e-4, abs=5e-6) and clips == 300
    assert point.fpr_high_clips == metrics.exact(0, 300)[1] == pytest.approx(1.2e-2, abs=5e-4)
    assert (point.method_low, point.attacks_needed) == (None, 36_887)
    assert easier.method_low == 1 and easier.attacks_needed == 3_688
    assert all(any(part in note for note in report.notes) for part in ("it takes 36,887", "FPR up to 1.2e-2 with"))
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


def test_a_report_as_json():
    labels, scores = tied(3, n=240)
    kinds = np.where(labels == 1, 0, np.arange(240) % 2 + 1)
    report = metrics.evaluate(labels, scores, [0.1, 1.0], kinds, [f"s{i % 30}" for i in range(240)], 50)
    found = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert (found["n_bona_fide"], found["n_attack"], found["n_subjects"]) == (80, 160, 30)
    point, everything = found["tpr_at_fpr"]
    assert point["tpr"] == metrics.tpr_at_fpr(labels, scores, 0.1) and point["false_positives"] <= 16
    assert point["tpr_low"] < point["tpr"] < point["tpr_high"] and set(point["apcer_by_attack"]) == {"1", "2"}
    assert everything["threshold"] is None and everything["tpr"] == 1.0
    at_eer = metrics.eer_threshold(labels, scores)
    assert found["acer_at_eer"] == metrics.acer(labels, scores, at_eer, kinds)
    assert found["apcer_max_at_eer"] == max(metrics.apcer_by_attack(labels, scores, at_eer, kinds).values())


def test_what_a_reader_of_limits_must_know_is_noted():
    labels, scores = tied(0)
    notes = metrics.evaluate(labels, scores, [0.1], groups=labels, replicates=200).notes
    assert any("fewer than 10 subjects" in note for note in notes)
    notes = metrics.evaluate([0, 0, 1, 1], [0.1, 0.9, 0.95, 0.5], [1e-4], replicates=50).notes
    assert any("subjects unknown" in note for note in notes)
    assert any("finer than 1 / 2 attack frames" in note for note in notes)
    with pytest.raises(ValueError, match="no replicate drew both classes"):
        metrics.interval(np.array([np.nan]))
    with pytest.raises(ValueError, match="give more subjects or replicates"):
        metrics.evaluate(labels, scores, [0.1], replicates=0)
    with pytest.raises(ValueError, match="does not match length"):
        metrics.evaluate(labels, scores, [0.1], groups=["a"])

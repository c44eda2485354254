"""Metrics against scikit-learn and against brute force, on scores with ties."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from fasnb import metrics
from fasnb.metrics.uncertainty import CLIPS, attacks_needed, design_effect, system

FPRS = (0, 1e-4, 0.01, 0.1, 0.25, 0.29, 1 / 3, 0.5, 0.999, 1)


def tied(seed, n=80, levels=9):
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


def test_threshold_keeps_float32_scores_apart():
    labels = np.array([0, 0, 1, 1])
    scores = np.array([0.1, 0.2, 0.2, 0.7], dtype=np.float32)
    threshold = metrics.threshold_at_fpr(labels, scores, 0)
    assert (scores >= threshold).tolist() == [False, False, False, True]


def test_29_of_100_attacks_are_29_percent():
    labels = np.r_[np.zeros(100, int), np.ones(10, int)]
    scores = np.r_[np.arange(100), np.full(10, 70.5)]
    assert metrics.tpr_at_fpr(labels, scores, 0.29) == 1.0  # 29 attacks score above 70.5, and 0.29 * 100 < 29 in floats


def test_fewer_attacks_than_one_over_fpr_lets_none_pass():
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.9, 0.95, 0.5])
    assert metrics.tpr_at_fpr(labels, scores, 1e-4) == 0.5
    report = metrics.evaluate(labels, scores, [1e-4], replicates=50)
    assert any("finer than 1 / 2 attack frames" in note for note in report.notes)


def test_all_scores_equal():
    labels, scores = np.array([0, 1, 1]), np.full(3, 0.5)
    assert metrics.tpr_at_fpr(labels, scores, 0.5) == 0.0
    assert metrics.tpr_at_fpr(labels, scores, 1.0) == 1.0
    assert metrics.auc(labels, scores) == 0.5


def test_infinite_logits_are_ordered():
    labels, scores = np.array([0, 0, 1, 1]), np.array([-np.inf, 0.0, 1.0, np.inf])
    assert metrics.tpr_at_fpr(labels, scores, 0) == 1.0
    assert metrics.auc(labels, scores) == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_rates_against_their_definitions(seed):
    labels, scores = tied(seed)
    attacks = np.where(labels == 1, 0, np.arange(len(labels)) % 3 + 1)
    each = metrics.apcer_by_attack(labels, scores, 0.4, attacks)
    assert each == {k: pytest.approx((scores[attacks == k] >= 0.4).mean()) for k in (1, 2, 3)}
    refused = (scores[labels == 1] < 0.4).mean()
    assert metrics.acer(labels, scores, 0.4, attacks) == pytest.approx((max(each.values()) + refused) / 2)
    assert metrics.hter(labels, scores, 0.4) == pytest.approx(((scores[labels == 0] >= 0.4).mean() + refused) / 2)
    assert metrics.auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    errors = [abs((scores[labels == 0] >= t).mean() - (scores[labels == 1] < t).mean()) for t in np.unique(scores)]
    threshold = metrics.eer_threshold(labels, scores)
    gap = abs(metrics.apcer(labels, scores, threshold) - metrics.bpcer(labels, scores, threshold))
    assert gap == pytest.approx(min(errors))
    assert metrics.eer(labels, scores) == pytest.approx(metrics.hter(labels, scores, threshold))


def test_det_is_one_minus_roc():
    labels, scores = tied(3)
    apcer, bpcer, thresholds = metrics.det(labels, scores)
    for a, b, t in zip(apcer, bpcer, thresholds, strict=True):
        assert (a, b) == (
            pytest.approx(np.mean(scores[labels == 0] >= t)),
            pytest.approx(np.mean(scores[labels == 1] < t)),
        )


@pytest.mark.parametrize(("k", "n", "low", "high"), [(1, 2, 0.012579, 0.987421), (0, 10, 0.0, 0.308497)])
def test_clopper_pearson(k, n, low, high):
    assert metrics.clopper_pearson(k, n) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))


def test_no_false_positive_in_6614_bounds_the_fpr():
    assert metrics.clopper_pearson(0, 6614)[1] == pytest.approx(5.6e-4, abs=5e-6)


def drawn_frames(labels, groups, replicates, seed):
    """The plain way: for each replicate, the frames that were drawn, each as often as it was."""
    rng = np.random.default_rng(seed)
    units = [np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)] if groups is None else [pd.unique(groups)]
    draws = [rng.integers(len(of), size=(replicates, len(of))) for of in units]
    for r in range(replicates):
        names = np.concatenate([of[draw[r]] for of, draw in zip(units, draws, strict=True)])
        yield names if groups is None else np.concatenate([np.flatnonzero(groups == name) for name in names])


def brute_per_attack(labels, scores, fpr, kinds):
    """TPR of the lowest threshold that every attack type allows."""
    types = [k for k in np.unique(kinds) if k > 0]
    return min(brute_tpr(labels[of], scores[of], fpr) for k in types for of in [(labels == 1) | (kinds == k)])


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("per_attack", [False, True])
def test_bootstrap_replicates_equal_repeating_the_drawn_frames(grouped, per_attack):
    labels, scores = tied(1, n=60)
    scores = np.stack([scores, -scores, np.zeros(60)])
    groups = np.random.default_rng(2).permutation(np.arange(60) % 13) if grouped else None
    kinds = np.where(labels == 1, 0, np.arange(60) % 2 + 1)
    fprs = (0, 0.1, 0.29)
    values = metrics.bootstrap(labels, scores, fprs, groups, 25, 5, kinds if per_attack else None)
    for r, index in enumerate(drawn_frames(labels, groups, 25, 5)):
        of = labels[index], kinds[index]
        plain = (lambda row, fpr: brute_per_attack(of[0], row, fpr, of[1])) if per_attack else (  # noqa: B023
            lambda row, fpr: brute_tpr(of[0], row, fpr))  # noqa: B023  # fmt: skip
        assert values[:, :, r] == pytest.approx(np.array([[plain(row[index], fpr) for row in scores] for fpr in fprs]))
    one = metrics.bootstrap(labels, scores[0], 0.1, groups, 25, 5, kinds if per_attack else None)
    assert one.tolist() == values[1, 0].tolist()


def test_bootstrap_in_chunks_draws_the_same_subjects(monkeypatch):
    labels, scores = tied(4, n=90)
    groups = np.arange(90) % 11
    whole = metrics.bootstrap(labels, scores, 0.1, groups, 40)
    monkeypatch.setattr("fasnb.metrics.uncertainty._CELLS", 300)
    assert metrics.bootstrap(labels, scores, 0.1, groups, 40).tolist() == whole.tolist()


def test_bootstrap_interval_covers_a_known_rate():
    rng = np.random.default_rng(0)
    labels = np.r_[np.zeros(400, int), np.ones(400, int)]
    hits = 0
    for _ in range(60):
        scores = np.r_[np.linspace(-9, -8, 400), np.where(rng.random(400) < 0.8, 1.0, -10.0)]  # TPR = 0.8 at any FPR
        low, high = metrics.interval(metrics.bootstrap(labels, scores, 0.01, replicates=200))
        hits += low <= 0.8 <= high
    assert hits >= 52


def test_compare_pairs_the_draws():
    labels, scores = tied(2, n=300)
    assert metrics.compare(labels, scores, scores, 0.1, replicates=50) == (0, 0, 0)
    difference, low, high = metrics.compare(labels, labels + 0.0, scores, 0.1, replicates=50)
    assert 0 < low <= difference <= high


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, 1], [0.1, 0.2], "none of them attack"),
        ([0, 0], [0.1, 0.2], "none of them bona fide"),
        ([], [], "none of them"),
        ([0, 1], [0.1, np.nan], "1 scores are NaN"),
        ([0, 2], [0.1, 0.2], "label 2 is neither"),
        ([0, None], [0.1, 0.2], "1 labels are missing"),
        ([0, 1, 1], [0.1, 0.2], "do not match"),
    ],
)
def test_what_no_metric_is_defined_for_is_refused(labels, scores, message):
    for metric in (lambda: metrics.tpr_at_fpr(labels, scores, 0.1), lambda: metrics.evaluate(labels, scores)):
        with pytest.raises(ValueError, match=message):
            metric()


def test_an_impossible_fpr_is_refused():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        metrics.tpr_at_fpr([0, 1], [0.1, 0.2], 1.5)


def test_unknown_groups_and_attacks_are_refused():
    labels, scores = tied(0)
    with pytest.raises(ValueError, match="group is missing for 1 frames"):
        metrics.bootstrap(labels, scores, 0.1, groups=[None, *range(79)])
    with pytest.raises(ValueError, match="attack type is missing"):
        metrics.apcer_by_attack(labels, scores, 0.5, [None] * 80)


def test_few_or_lopsided_subjects_are_noted():
    labels, scores = tied(0)
    report = metrics.evaluate(labels, scores, [0.1], groups=labels, replicates=200)
    assert any("fewer than 10 subjects" in note for note in report.notes)
    assert any("drew subjects of one class only" in note for note in report.notes)


@pytest.mark.parametrize("attack", [0, 4.5, -1])
def test_impossible_attack_types_are_refused(attack):
    labels, scores = tied(0)
    with pytest.raises(ValueError, match="no whole number from 1 on"):
        metrics.evaluate(labels, scores, [0.1], attacks=np.where(labels == 1, 0, attack), replicates=10)


def test_plain_sequences_are_as_good_as_arrays():
    assert metrics.tpr_at_fpr((1, 1, 0), (0.9, 0.2, 0.3), 0.1) == 0.5
    report = metrics.evaluate((1, 0, 1, 0), [0.9, 0.1, 0.8, 0.2], (0.1,), [0, 4, 0, 5], ("a", "a", "b", "b"), 20)
    assert report.n_groups == 2 and report.points[0].tpr == 1.0


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (
            lambda: metrics.tpr_at_fpr([1, 1, 0, 0], [np.inf, 1, np.inf, 0], 0.0),
            "1 scores of attack frames are infinite",
        ),
        (lambda: metrics.tpr_at_fpr([1, 0], [[0.5, 0.2]], 0.1), "do not match"),
        (lambda: metrics.tpr_at_fpr([1, 0], ["a", "b"], 0.1), "are no numbers"),
        (lambda: metrics.tpr_at_fpr([1, 0], [pd.NA, 0.2], 0.1), "1 scores are NaN"),
        (lambda: metrics.tpr_at_fpr([1, 0], [0.5, 0.2], "1e-2"), "fpr is '1e-2'"),
        (lambda: metrics.apcer([1, 0], [0.5, 0.2], np.nan), "the threshold is NaN"),
        (lambda: metrics.acer([1, 0], [0.5, 0.2], 0.3, [4]), "attack types do not match"),
        (lambda: metrics.evaluate([1, 0], [0.5, 0.2], groups=["a"]), "subjects do not match"),
        (lambda: metrics.clopper_pearson(1, 2, 95), "confidence is 95"),
        (lambda: metrics.interval(np.array([np.nan])), "every replicate drew one class only"),
    ],
)
def test_calls_without_sense_are_refused_in_one_sentence(call, what):
    with pytest.raises(ValueError, match=what):
        call()


def test_a_target_asked_of_each_attack_type_holds_for_the_worst():
    labels, scores = tied(5, n=240, levels=60)
    kinds = np.where(labels == 1, 0, np.arange(240) % 4 + 1)
    for target in FPRS:
        threshold = metrics.threshold_at_fpr(labels, scores, target, kinds)
        assert max(metrics.apcer_by_attack(labels, scores, threshold, kinds).values()) <= target
        assert metrics.tpr_at_fpr(labels, scores, target, kinds) == pytest.approx(
            brute_per_attack(labels, scores, target, kinds)
        )
        if np.isfinite(threshold):  # it is the lowest: the next score below would be too many of some type
            lower = max(metrics.apcer_by_attack(labels, scores, np.nextafter(threshold, -np.inf), kinds).values())
            assert lower > target
    report = metrics.evaluate(labels, scores, [0.05], kinds, replicates=50, per_attack=True)
    assert report.points[0].apcer_max == max(report.points[0].apcer_by_attack.values()) <= 0.05
    assert report.points[0].effective_attack == min(np.bincount(kinds)[1:])
    with pytest.raises(ValueError, match="types are unknown"):
        metrics.evaluate(labels, scores, [0.05], per_attack=True)


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


def test_limits_of_a_system_are_exact_on_the_effective_number_of_frames():
    labels = np.repeat([1, 0], [300, 900])
    scores = np.where(labels == 1, 1.0, 0.0)
    people = np.r_[np.arange(300) % 30, np.arange(900) % 30]
    frames, subjects = system(labels, scores, 0.5), system(labels, scores, 0.5, people)
    assert (frames.tpr_low, frames.tpr_high) == metrics.clopper_pearson(300, 300)
    assert frames.fpr_high == metrics.clopper_pearson(0, 900)[1]
    assert (subjects.tpr_low, subjects.fpr_high) == (
        metrics.clopper_pearson(30, 30)[0],
        metrics.clopper_pearson(0, 30)[1],
    )
    assert frames.fpr_high_clips is None


def test_the_clips_of_the_real_validation_set_bound_its_fpr():
    (bona_fide, attack), (_, clips) = next(iter(CLIPS.items()))
    labels = np.repeat([1, 0], [bona_fide, attack])
    report = metrics.evaluate(labels, labels + np.linspace(0, 0.1, labels.size), [1e-4, 1e-3], replicates=20)
    point, easier = report.points
    assert point.fpr_high == pytest.approx(5.6e-4, abs=5e-6) and point.fpr_high_clips == pytest.approx(1.2e-2, abs=5e-4)
    assert (point.method_low, point.attacks_needed) == (None, 36_887) and clips == 300
    assert easier.method_low == 1 and easier.attacks_needed == 3_688
    assert any("it takes 36,887" in note for note in report.notes)
    table = report.table()
    assert table.loc[0, "FPR up to"] == "5.6e-4" and table.loc[0, "of clips"] == "1.2e-2"
    assert np.isnan(table.loc[0, "method low"]) and table["attacks needed"].tolist() == [36_887, 3_688]


def test_attack_frames_of_few_subjects_do_not_resolve_what_as_many_independent_ones_would():
    rng = np.random.default_rng(0)
    labels, people = np.repeat([1, 0], [400, 800]), np.arange(1200) % 20
    scores = 4 * labels + rng.normal(size=20)[people] + 0.3 * rng.normal(size=1200)
    alone, of_subjects = (metrics.evaluate(labels, scores, [0.01], None, of, 50).points[0] for of in (None, people))
    assert alone.attacks_needed == 368 < alone.effective_attack and alone.method_low is not None
    assert of_subjects.attacks_needed == 368 > of_subjects.effective_attack and of_subjects.method_low is None


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_limits_of_a_system_cover_its_true_rates(share):
    rng, people, labels = np.random.default_rng(0), np.tile(np.arange(60), 10), np.repeat([1, 0], [150, 450])
    hits = np.zeros(2)
    for _ in range(200):
        effects = np.sqrt(share) * rng.normal(size=(2, 60))[labels, people]
        scores = 2.5 * labels + effects + np.sqrt(1 - share) * rng.normal(size=600)
        threshold = metrics.threshold_at_fpr(labels, scores, 0.02)
        limits = system(labels, scores, threshold, people)
        hits += limits.tpr_low <= norm.sf(threshold - 2.5) <= limits.tpr_high, norm.sf(threshold) <= limits.fpr_high
    assert (hits / 200 >= 0.92).all()

"""Metrics against scikit-learn and against brute force, on scores with ties."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from fasnb import metrics
from fasnb.metrics.uncertainty import _weights

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


@pytest.mark.parametrize("grouped", [False, True])
def test_bootstrap_replicates_equal_repeating_the_drawn_frames(grouped):
    labels, scores = tied(1, n=60)
    labels, scores = labels, np.stack([scores, -scores, np.zeros(60)])
    groups = np.arange(60) % 13 if grouped else None
    for fpr in (0, 0.1, 0.29):
        values = metrics.bootstrap(labels, scores, fpr, groups, replicates=25, seed=5)
        bona_fide, attack = _weights(labels.astype(bool), groups, 25, np.random.default_rng(5))
        for r in range(25):
            index = np.repeat(
                np.r_[np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)], np.r_[bona_fide[r], attack[r]]
            )
            expected = [brute_tpr(labels[index], row[index], fpr) for row in scores]
            assert values[:, r] == pytest.approx(expected)


def test_bootstrap_draws_subjects_whole():
    labels, groups = np.tile([0, 1], 20), np.repeat(np.arange(10), 4)
    bona_fide, attack = _weights(labels.astype(bool), groups, 50, np.random.default_rng(0))
    assert (bona_fide.reshape(50, 10, 2) == bona_fide.reshape(50, 10, 2)[:, :, :1]).all()
    assert (bona_fide == attack).all() and (bona_fide.sum(1) == 20).all()


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
    same = metrics.compare(labels, scores, scores, 0.1, replicates=50)
    assert (same.difference, same.low, same.high, same.clear) == (0, 0, 0, False)
    better = metrics.compare(labels, labels + 0.0, scores, 0.1, replicates=50)
    assert better.difference > 0 and better.clear


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

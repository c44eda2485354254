"""Metrics against scikit-learn and brute force, on scores with ties; averages of scores tables."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from conftest import listed
from sklearn.metrics import roc_auc_score, roc_curve

from fasnb import metrics
from fasnb.data.scores import score_table

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


def test_29_of_100_attacks_are_29_percent():
    labels = np.r_[np.zeros(100, int), np.ones(10, int)]
    scores = np.r_[np.arange(100), np.full(10, 70.5)]
    assert metrics.tpr_at_fpr(labels, scores, 0.29) == 1.0  # 29 attacks score above 70.5, and 0.29 * 100 < 29 in floats
    assert metrics.allowed_attacks(np.array([0.29, 0.1]), 100).tolist() == [29, 10]
    assert [metrics.fpr_name(fpr) for fpr in (1e-4, 0.29, 0)] == ["1e-4", "2.9e-1", "0"]
    single = np.array([0.1, 0.2, 0.2, 0.7], dtype=np.float32)  # the threshold keeps float32 scores apart
    assert (single >= metrics.threshold_at_fpr([0, 0, 1, 1], single, 0)).tolist() == [False, False, False, True]


def test_all_scores_equal_and_infinite_ones():
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
    for apcer, bpcer, threshold in zip(*metrics.det(labels, scores), strict=True):
        assert apcer == pytest.approx(np.mean(scores[labels == 0] >= threshold))
        assert bpcer == pytest.approx(np.mean(scores[labels == 1] < threshold))


@pytest.mark.parametrize("seed", range(20))
def test_equal_error_rate_in_whole_numbers(seed):
    """Where APCER and BPCER are nearest, in exact arithmetic; of several such thresholds the highest."""
    labels, scores = tied(seed, n=40 + seed)
    attack, bona_fide = np.sort(scores[labels == 0]), np.sort(scores[labels == 1])
    candidates = []
    for threshold in [np.inf, *np.unique(scores)[::-1]]:
        accepted, refused = int((attack >= threshold).sum()), int((bona_fide < threshold).sum())
        gap = abs(accepted * len(bona_fide) - refused * len(attack))
        candidates.append((gap, threshold, (accepted / len(attack) + refused / len(bona_fide)) / 2))
    best = min(candidates, key=lambda one: one[0])  # the first of equal ones has the highest threshold
    assert metrics.eer_threshold(labels, scores) == best[1]
    assert metrics.eer(labels, scores) == pytest.approx(best[2], abs=1e-12)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, 1], [0.1, 0.2], "none of them attack"),
        ([], [], "none of them"),
        ([0, 1], [0.1, np.nan], "1 scores are NaN"),
        ([0, None], [0.1, 0.2], "label None is neither"),
        ([0, 1, 1], [0.1, 0.2], "do not match"),
        ([1, 1, 0, 0], [np.inf, 1, np.inf, 0], "infinite"),
    ],
)
def test_what_no_metric_is_defined_for_is_refused(labels, scores, message):
    for metric in (lambda: metrics.tpr_at_fpr(labels, scores, 0.1), lambda: metrics.evaluate(labels, scores)):
        with pytest.raises(ValueError, match=message):
            metric()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.tpr_at_fpr([1, 0], [0.5, 0.2], "1e-2"), "fpr is '1e-2'"),
        (lambda: metrics.apcer([1, 0], [0.5, 0.2], np.nan), "the threshold is NaN"),
        (lambda: metrics.apcer_by_attack([1, 0], [0.5, 0.2], 0.3, ["print", None]), "missing or no whole number"),
        (lambda: metrics.apcer_by_attack([1, 0], [0.5, 0.2], 0.3, [0, 0]), "no whole number from 1 on"),
    ],
)
def test_calls_without_sense_are_refused_in_one_sentence(call, message):
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
    with pytest.raises(metrics.IncompleteError, match="1 of 4 networks are missing: X fold 2 seed 2"):
        metrics.average(pd.concat(uneven))
    with pytest.raises(metrics.IncompleteError, match="X fold 2 seed 7: 2"):
        metrics.average(pd.concat([network([0, 1, 0.5], "X", 1), network([0, 1], "X", 2)]))
    with pytest.raises(metrics.IncompleteError, match="networks scored different frames"):
        metrics.average(metrics.average(networks, over=["fold"]).drop(index=3), over=["seed"])
    with pytest.raises(metrics.IncompleteError, match="1 scores are missing"):
        metrics.average(networks.assign(score=networks["score"].where(networks.index != 5)))
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

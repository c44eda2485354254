"""Evidence on the paper's claims that no two TPRs can test, and that every claim of a report has it or says why not."""

import re

import numpy as np
import pandas as pd
import pytest

from fasnb.data.casia_check import KNOWN
from fasnb.data.frames import frame_table
from fasnb.data.released import read_released
from fasnb.lab import claims
from fasnb.lab.session import Session
from fasnb.metrics import evidence, snapshots
from fasnb.metrics.scores import average, score_table
from fasnb.paper.experiments import MEMBERS
from fasnb.paper.published import FINDINGS

N = 400
LABEL = np.arange(N) % 4 == 0
NAMES = [f"{i}-color.jpg" for i in range(N)]
FRAMES = frame_table(
    sample=NAMES, rgb=NAMES, depth=NAMES, ir=NAMES, label=LABEL.astype(int), subject=[f"s{i % 40}" for i in range(N)]
)


def network(experiment, seed, fold=1, strength=2.0, shift=0.0, noise=None):
    """Scores of one network: bona fide frames ``strength`` above attacks, all of them moved by ``shift``."""
    rng = np.random.default_rng([seed, fold, len(experiment), ord(experiment[-1])] if noise is None else noise)
    margin = strength * (LABEL - 0.5) + shift + rng.normal(size=N)
    return score_table(FRAMES, 1 / (1 + np.exp(-margin)), experiment, fold, seed)


def study(seeds=3, **shifts):
    """The members with some seeds each; ``shifts`` moves the scores of a member."""
    return pd.concat(
        [network(name, seed, shift=shifts.get(name, 0.0)) for name in MEMBERS for seed in range(1, seeds + 1)]
    )


@pytest.fixture(scope="module")
def session(released, tmp_path_factory):
    return Session("released", {"released_root": str(released), "replicates": 50}, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def found(session):
    """Every claim on the released scores."""
    return claims.findings(session, session.scores(*MEMBERS)).set_index("claim")


def row_of(found, name):
    """The row of the claim with this evidence."""
    return found.loc[next(finding.claim for finding in FINDINGS if finding.evidence == name)]


def test_published_counts_of_the_teams():
    given = evidence.of_published(KNOWN["valid"]["bona fide"], KNOWN["test"]["bona fide"])
    first = given["first-on-test"]
    assert first.difference == pytest.approx(100 * 8 / 17458) and round(first.p, 2) == 0.33  # 22 against 30 misses
    assert given["least-drop"].difference == pytest.approx(99.8739 - 99.8282) and given["least-drop"].p == first.p
    assert given["teams-that-hold"].difference == pytest.approx((100 - 98.1441) - (100 - 99.8052))
    assert "0.13, 0.17, 0.19, 1.86, 6.81, 12.79 and 74.94" in given["teams-that-hold"].reason
    assert "6 against 4 misses" in given["error-ratio"].reason and "0.36 and 7.2" in given["error-ratio"].reason
    assert np.isnan([given["teams-that-hold"].p, given["error-ratio"].p]).all()


def test_the_mirror_image_of_the_released_networks(found, models):
    given = row_of(found, "test-time-augmentation")
    gains = snapshots.mirror_gain(models, 1e-4, 20).query("epoch == 31 and experiment != 'ensemble'")["difference"]
    assert given["difference"] == pytest.approx(-gains.mean()) and given["low"] < given["difference"] < given["high"]
    assert "3 gain by it and 4 lose, from -0.53 to +0.40 points" in given["reason"] and given["adjusted p"] > 0.5


@pytest.fixture(scope="module")
def models(released):
    crops = [read_released(released, 31, crop).assign(epoch=31, crop=crop) for crop in ("mean", "crop0")]
    return snapshots.models_of(pd.concat(crops))


def test_a_crop_that_helps_every_model_is_shown_to():
    single = pd.concat([network(name, seed, noise=[seed, 7]) for name in MEMBERS for seed in (1, 2)])
    better = pd.concat([network(name, seed, strength=4.0, noise=[seed, 7]) for name in MEMBERS for seed in (1, 2)])
    gain, none = evidence.of_mirror(single, better, 0.05, 100), evidence.of_mirror(single, single, 0.05, 100)
    assert gain.high < 0 and gain.p < 0.001  # it speaks against "no gain"
    assert none.difference == 0 and none.p == 1


def test_shares_on_hard_attacks_are_those_of_the_counts(found, models):
    given = row_of(found, "d-on-hard-attacks")
    table = snapshots.helpers(models).query("crop == 'mean'").set_index("helper")
    for name in MEMBERS:  # the first count is that of the first seed, which the table has
        said = rf"{name} on {table.loc[name, 'right on hard']}( and \d+)? of {table.loc[name, 'hard']}"
        assert re.search(said, given["reason"])
    assert np.isnan(given["adjusted p"]) and "one seed of A" in given["reason"]


def test_a_member_with_low_scores_understates_and_one_with_equal_scores_does_not():
    low = evidence.of_bona_fide(average(study(D=-1.0), over=["fold"]), 200)
    same = evidence.of_bona_fide(average(study(), over=["fold"]), 200)
    assert low.difference > 0 and low.low > 0 and low.p < 0.05 <= same.p
    one = evidence.of_bona_fide(average(study(seeds=1, D=-1.0), over=["fold"]), 50)
    assert one.difference > 0 and np.isnan(one.p) and "one seed of" in one.reason


def test_shares_are_drawn_by_subject():
    members = average(study(seeds=2), over=["fold"])
    same = {("A", 1): (np.repeat([0.0, 1.0], N // 2), np.ones(N, dtype=bool))}
    by_subject = {("A", 1): (np.tile(np.arange(40) < 20, N // 40).astype(float), np.ones(N, dtype=bool))}
    (within, units), (between, _) = (evidence.shares(members, counted, 500) for counted in (same, by_subject))
    assert units == 40 and within["A"].tpr == between["A"].tpr == 0.5
    assert between["A"].drawn.std() == pytest.approx((0.25 / 40) ** 0.5, rel=0.2) and within["A"].drawn.std() < 1e-9


def test_members_that_err_alike_gain_nothing_by_their_difference():
    valid, test = (
        average(study(), over=["fold"]),
        average(study().assign(sample=lambda t: "t" + t["sample"]), over=["fold"]),
    )
    same = evidence.of_diversity(valid, test, 0.05)
    assert same.difference == pytest.approx(0) and np.isnan(same.p) and "changes by +0.00 points" in same.meaning
    assert (
        "the 108 and 4 ensembles" in same.reason
    )  # 4 choices of 3 kinds with 3 seeds each; one of 3 seeds for each kind
    one = average(study(seeds=1), over=["fold"])
    assert np.isnan(evidence.of_diversity(one, one, 0.05).difference)


def test_what_a_studys_scores_say_depends_on_its_experiments():
    folds = [network("resnet34-subject", 1, fold) for fold in range(1, 6)]
    folds += [network("resnet34-attack", 1, fold, strength=3.0) for fold in range(1, 4)]
    folds, cameras = pd.concat(folds), [network(f"A-{camera}", 1) for camera in ("rgb", "depth", "ir")]
    members = average(study(seeds=2), over=["fold"])
    networks = pd.concat([study(seeds=2), folds, *cameras, network("resnet34-face", 1)])
    given = evidence.of_rates(networks, average(networks, over=["fold"]), 0.05)
    assert set(given) == {"requirements", "new-attacks", "error-ratio", "one-camera-errors"}
    assert given["new-attacks"].difference > 0 and "3 attack folds" in given["new-attacks"].meaning
    assert np.isnan(given["requirements"].difference) and "an FPR of at most" in given["requirements"].reason
    assert set(evidence.of_rates(study(seeds=2), members, 0.05, test=members)) == {"requirements", "diversity"}
    assert set(evidence.of_rates(folds, average(folds, over=["fold"]), 0.05)) == {"new-attacks"}
    assert set(evidence.of_scores(members, 50)) == {"d-understates", "d-on-hard-attacks"}
    assert evidence.of_scores(members[members["experiment"] != "D"], 50) == {}


def test_every_claim_on_the_released_scores_has_evidence_or_a_reason(found):
    assert found.index.tolist() == [finding.claim for finding in FINDINGS]
    table, measured = found, found[found["verdict"] != "not measured"]
    assert measured["difference"].notna().all() and (table["reason"] != "").all()
    assert set(measured["section"]) == {"abstract", "5.2", "5.6", "5.7", "5.8", "5.9"}
    assert (table.loc[table["verdict"] == "not measured", "reason"].str.startswith("it takes ")).all()
    assert set(table["verdict"]) == {"undecided", "not measured"}  # one seed of A, and counts that are close


def test_a_notebooks_answers_are_the_verdicts_of_the_report(session, found):
    rows = found[(found["section"] == "5.9") & (found["verdict"] != "not measured")]
    said = claims.answers(session, "5.9").splitlines()
    assert [line.partition(".")[0] for line in said] == [
        f"{row['verdict'].capitalize()}: {claim}" for claim, row in rows.iterrows()
    ]

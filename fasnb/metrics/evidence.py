"""Evidence on the claims that need more than the TPRs of two methods: what ``verdicts.judge`` is given beside the scores.

Keys are ``Finding.evidence`` of ``fasnb.paper.published.FINDINGS``. Where there is a test it follows the rule of
``differences``: the luck of seeds and that of frames, and no p value where a method has one seed. Where there is none, the
reason says what was seen and why that decides nothing.
"""

from collections.abc import Mapping
from itertools import combinations, product

import numpy as np
import pandas as pd
from scipy.stats import t as student

from fasnb.metrics import sentences
from fasnb.metrics.comparisons import choices_of_members, groups
from fasnb.metrics.counts import against_first, fisher, misses
from fasnb.metrics.differences import Method
from fasnb.metrics.ensembles import nearest_threshold
from fasnb.metrics.pad import fpr_name, threshold_at_fpr, tpr_at_fpr
from fasnb.metrics.scores import average, facts, first_seed, matrix
from fasnb.metrics.uncertainty import bootstrap, bound_name, draws, system
from fasnb.metrics.verdicts import Evidence, compared, of_pairs
from fasnb.paper.experiments import MEMBERS, MODALITIES
from fasnb.paper.published import TABLE3, TABLE4

PUBLISHED_FPR = 1e-4
"""Of Tables 3 and 4: what the counts behind them say holds at this FPR alone."""

WRONG = 0.5
"""A frame counts as taken for bona fide above this score where the paper speaks of right and wrong (Section 5.9)."""

NEAREST = 5
"""Frames of each class that count as nearest to the threshold, as many as Figure 4 shows."""

ONE_CAMERA = tuple(f"A-{camera}" for camera in MODALITIES)

LEAST = "D"
"""The member of which Section 5.9 says that it understates scores, and yet helps."""


def of_published(valid: int, test: int) -> dict[str, Evidence]:
    """What the counts behind the printed rates of Tables 3 and 4 say (Sections 5.6 and 5.8).

    Args:
        valid, test: bona fide frames of the sets.
    """
    teams, drops = against_first(TABLE4[["team", "test"]], test, digits=4), TABLE4["valid"] - TABLE4["test"]
    order, p = drops.sort_values().to_numpy(), float(teams["p"].max())
    first, second = teams["misses"].sort_values()[:2]
    begun = misses(TABLE4["valid"][0], valid, digits=4)
    own = fisher(begun, first, valid, test)
    best = f"Table 4 in counts: {sentences.of_counts(teams, test).rstrip('.')}"
    same = "Table 4 in counts: the first two teams began without a miss, so this is the comparison of their test misses again"
    hold = (
        f"the drops are {sentences.listed(f'{drop:.2f}' for drop in order)} points, and nothing says where holding ends: even "
        f"{begun} misses of {valid:,} and {first} of {test:,}, the least drop, differ with p = {own:.2f} by Fisher's test"
    )
    counted = [misses(TABLE3.set_index("experiment")["published"][name], valid, 2) for name in ("resnet34-face", "A")]
    ratio = f"Table 3 in counts: {sentences.of_ratio(*counted, valid).rstrip('.')}"
    value = {
        "first-on-test": 100 * (second - first) / test,
        "least-drop": order[1] - drops[0],
        "teams-that-hold": order[3] - order[2],
        "error-ratio": 100 * (counted[0] - counted[1]) / valid,
    }
    meant = {
        "first-on-test": f"the printed rates give the first team {compared(value['first-on-test'])} TPR than the second",
        "least-drop": f"the printed rate of the first team falls by {compared(-value['least-drop'])} than any other",
        "teams-that-hold": f"the third and the fourth smallest drop lie {value['teams-that-hold']:.2f} points apart",
        "error-ratio": f"in Table 3 aggregation refuses {compared(-value['error-ratio'])} of the bona fide frames",
    }
    return {
        "first-on-test": Evidence(value["first-on-test"], p=p, reason=best, meaning=meant["first-on-test"]),
        "least-drop": Evidence(value["least-drop"], p=p, reason=same, meaning=meant["least-drop"]),
        "teams-that-hold": Evidence(value["teams-that-hold"], reason=hold, meaning=meant["teams-that-hold"]),
        "error-ratio": Evidence(value["error-ratio"], reason=ratio, meaning=meant["error-ratio"]),
    }


def of_mirror(single: pd.DataFrame, mean: pd.DataFrame, fpr: float, replicates: int = 1000) -> Evidence:
    """Test-time augmentation (Section 5.2): minus what averaging with the mirror image gains, the models as units.

    The variance of the mean gain is that between models and that of the bootstrap of frames; Student's distribution.

    Args:
        single, mean: scores tables of the same models (experiments and seeds) with either crop.
    """
    columns, frames = ["experiment", "seed"], facts(mean)
    labels, crops = (
        frames["label"].to_numpy(dtype=int),
        [matrix(table, columns).to_numpy().T for table in (single, mean)],
    )
    gains = np.subtract(*([tpr_at_fpr(labels, row, fpr) for row in crop] for crop in crops[::-1]))
    before, after = np.split(bootstrap(labels, np.concatenate(crops), fpr, groups(frames), replicates), 2)
    variance = gains.var(ddof=1) / gains.size + np.nanvar((after - before).mean(axis=0), ddof=1)
    value, df = float(gains.mean()), gains.size - 1
    half = float(student.ppf(0.975, df) * variance**0.5)
    p = float(2 * student.sf(abs(value) / variance**0.5, df)) if variance else float(value == 0)
    up, down = int((gains > 0).sum()), int((gains < 0).sum())
    said = f"of {gains.size} models {up} gain by it and {down} lose, from {100 * gains.min():+.2f} to {100 * gains.max():+.2f} points"
    meaning = (
        f"at FPR = {fpr_name(fpr)} the models have {compared(-100 * value)} TPR without the mirror image, in the mean"
    )
    return Evidence(-100 * value, 100 * (-value - half), 100 * (half - value), p, reason=said, meaning=meaning)


def of_scores(models: pd.DataFrame, replicates: int = 1000) -> dict[str, Evidence]:
    """What the scores themselves say, whatever the target FPR; nothing where a member is missing.

    Args:
        models: scores table with one score a frame, experiment and seed.
    """
    members = models[models["experiment"].isin(MEMBERS)]
    if not set(MEMBERS) <= set(members["experiment"]):
        return {}
    return {
        "d-understates": of_bona_fide(members, replicates),
        "d-on-hard-attacks": of_hard_attacks(members, replicates),
    }


def of_rates(
    networks: pd.DataFrame, models: pd.DataFrame, fpr: float, test: pd.DataFrame | None = None
) -> dict[str, Evidence]:
    """What rates at a target FPR say; a claim whose experiments are missing is left out.

    Args:
        networks: scores table of single networks on validation.
        models: the same, averaged over folds.
        test: as ``models``, of the members on the test set, where its labels are known.
    """
    there, members = set(models["experiment"]), models[models["experiment"].isin(MEMBERS)]
    found = {} if members.empty else {"requirements": of_ensemble(members, fpr)}
    if set(MEMBERS) <= there and test is not None:
        found["diversity"] = of_diversity(members, test, fpr)
    if {"resnet34-attack", "resnet34-subject"} <= there:
        found["new-attacks"] = of_folds(networks, fpr)
    if {"resnet34-face", "A"} <= there:
        found["error-ratio"] = of_aggregation(models, fpr)
    if set(MEMBERS) | set(ONE_CAMERA) <= there:
        found["one-camera-errors"] = of_cameras(models, fpr)
    return found


def of_ensemble(members: pd.DataFrame, fpr: float) -> Evidence:
    """Whether the score meets the requirements of security (Section 5.7): limits of this system, no verdict."""
    ensemble = average(members, over=["seed", "experiment"])
    labels, score = ensemble["label"].to_numpy(dtype=int), ensemble["score"].to_numpy()
    limits = system(labels, score, threshold_at_fpr(labels, score, fpr), groups(facts(ensemble)))
    clips = "" if limits.fpr_high_clips is None else f" ({bound_name(limits.fpr_high_clips)} with clips as units)"
    return Evidence(
        reason="it takes a requirement in numbers, and more kinds of attack than print; the limits here: a TPR of at least "
        f"{100 * limits.tpr_low:.2f}% and an FPR of at most {bound_name(limits.fpr_high)}{clips} at the ensemble's threshold"
    )


def of_bona_fide(members: pd.DataFrame, replicates: int = 1000) -> Evidence:
    """Whether D understates the score of bona fide frames (Section 5.9): its mean there against the others'."""
    seeds, bona_fide = matrix(members, ["experiment", "seed"]), facts(members)["label"].to_numpy(dtype=int) == 1
    means, units = shares(members, {name: (seeds[name].to_numpy(), bona_fide) for name in seeds}, replicates)
    said = sentences.listed(f"{name} {100 * method.mean:.2f}" for name, method in means.items())
    pairs = [(other, LEAST) for other in means if other != LEAST]
    meaning = "the mean score of bona fide frames, times 100, is {points} from {a} than from {b}"
    return of_pairs(pairs, means, units, means=meaning).saying(f"these mean scores are: {said}")


def of_hard_attacks(members: pd.DataFrame, replicates: int = 1000) -> Evidence:
    """Whether D is right on attacks that two of the three others get wrong (Section 5.9), more often than they in its place.

    A frame is hard for a helper where more than half of the others, first seeds, but not all, take it for bona fide.
    """
    seeds, attack = matrix(members, ["experiment", "seed"]), facts(members)["label"].to_numpy(dtype=int) == 0
    wrong = matrix(first_seed(members)) > WRONG
    by_others = {name: wrong.drop(columns=name).mean(axis=1).to_numpy() for name in wrong}
    hard = {name: attack & (share > 0.5) & (share < 1) for name, share in by_others.items()}
    if not all(frames.any() for frames in hard.values()):
        return Evidence(
            reason="it takes attack frames that two of the three others take for bona fide, for each member in turn"
        )
    right = {name: ((seeds[name] <= WRONG).to_numpy(), hard[name[0]]) for name in seeds}
    means, units = shares(members, right, replicates)
    said = sentences.listed(
        f"{name} on {sentences.listed(str(int(count)) for count in method.tpr * hard[name].sum() + 0.5)} of {hard[name].sum()}"
        for name, method in means.items()
    )
    pairs = [(LEAST, other) for other in means if other != LEAST]
    meaning = (
        "the share of right answers on hard attack frames is {points} for {a} on its own ones than for {b} on its own"
    )
    return of_pairs(pairs, means, units, means=meaning).saying(
        f"right answers, one count for each seed: {said}; a model that scores everything low is right there for that reason alone"
    )


def shares(
    models: pd.DataFrame, counted: Mapping[tuple, tuple[np.ndarray, np.ndarray]], replicates: int
) -> tuple[dict[str, Method], int]:
    """Mean of a value over some of the frames, for each method, as ``differences`` takes TPRs; and how many units are drawn.

    Args:
        counted: (experiment, seed) -> the value of each frame (n,), in [0, 1], and which frames count (n,).
    """
    subjects, used = groups(facts(models)), np.any([among for _, among in counted.values()], axis=0)
    codes = np.arange(used.sum()) if subjects is None else pd.factorize(subjects[used])[0]
    weights = draws(int(codes.max()) + 1, replicates, np.random.default_rng(0)).astype(float)
    found = {}
    for (experiment, _), (value, among) in counted.items():
        top, bottom = np.bincount(codes, (value * among)[used]), np.bincount(codes, among[used])
        with np.errstate(invalid="ignore"):
            row = top.sum() / bottom.sum(), (weights @ top) / (weights @ bottom)
        found.setdefault(experiment, []).append(row)
    methods = {
        name: Method(np.array([value for value, _ in rows]), np.stack([drawn for _, drawn in rows]), len(rows))
        for name, rows in found.items()
    }
    return methods, int(codes.max()) + 1


def of_diversity(valid: pd.DataFrame, test: pd.DataFrame, fpr: float) -> Evidence:
    """Whether ensembles of different members fall less from validation to test than as many networks of one kind (5.8).

    Args:
        valid, test: scores tables of the members, by experiment and seed.
    """
    sets = [
        (facts(table)["label"].to_numpy(dtype=int), matrix(table, ["experiment", "seed"])) for table in (valid, test)
    ]
    seeds = {name: [c for c in sets[0][1] if c[0] == name] for name in valid["experiment"].unique()}
    size = min(len(seeds), *map(len, seeds.values()))
    if size < 2:
        return Evidence(reason="it takes two seeds of each member, for ensembles of as many networks of one kind")

    def drop(columns: list[tuple]) -> float:
        at = [tpr_at_fpr(labels, wide[columns].mean(axis=1), fpr) for labels, wide in sets]
        return 100 * (at[0] - at[1])

    alike = [drop(list(chosen)) for of_one in seeds.values() for chosen in combinations(of_one, size)]
    mixed = [drop(list(c)) for kinds in combinations(seeds, size) for c in product(*(seeds[kind] for kind in kinds))]
    gain, of_mixed, of_alike = np.mean(alike) - np.mean(mixed), 0 - np.mean(mixed), 0 - np.mean(alike)
    meaning = (
        f"from validation to test the TPR of {size} models of different kinds changes by {of_mixed:+.2f} points, that "
    )
    meaning += f"of {size} seeds of one kind by {of_alike:+.2f}, at FPR = {fpr_name(fpr)}"
    said = f"the {len(mixed)} and {len(alike)} ensembles share their networks, so there is no test"
    return Evidence(gain, reason=said, meaning=meaning)


def of_folds(networks: pd.DataFrame, fpr: float) -> Evidence:
    """Whether attack folds help because of new attacks (Section 5.4): equally many networks of both kinds of folds."""
    subject, attack = (networks[networks["experiment"] == f"resnet34-{kind}"] for kind in ("subject", "attack"))
    size = attack["fold"].nunique()
    means = [float(choices_of_members(table, size, fpr).mean()) for table in (attack, subject)]
    gain = means[0] - means[1]
    meaning = f"on new attacks {size} attack folds have {compared(gain)} TPR than {size} subject folds, at FPR = {fpr_name(fpr)}"
    said = f"attack folds {means[0]:.2f}%, any {size} subject folds {means[1]:.2f}% in the mean"
    return Evidence(gain, reason=said, meaning=meaning)


def of_aggregation(models: pd.DataFrame, fpr: float) -> Evidence:
    """By which factor aggregation divides the refused bona fide frames (Section 5.6), means over seeds."""
    wide, labels = (
        matrix(models[models["experiment"].isin(["resnet34-face", "A"])], ["experiment", "seed"]),
        facts(models)["label"].to_numpy(dtype=int),
    )
    refused = {
        name: np.mean([100 * (1 - tpr_at_fpr(labels, wide[c], fpr)) for c in wide if c[0] == name])
        for name in ("resnet34-face", "A")
    }
    without, with_it = refused.values()
    factor = f"a factor of {without / with_it:.2f}" if with_it else "no factor, as none is left"
    meaning = f"at FPR = {fpr_name(fpr)} {without:.2f}% of the bona fide frames are refused without it, {with_it:.2f}% with it"
    said = f"this is {factor}; a factor belongs to the frames it was found on"
    return Evidence(without - with_it, reason=said, meaning=meaning)


def of_cameras(models: pd.DataFrame, fpr: float) -> Evidence:
    """Whether frames near the threshold look like the other class in one camera (Section 5.9), judged at ``WRONG``."""
    wide, labels = matrix(first_seed(models)), facts(models)["label"]
    ensemble = average(models[models["experiment"].isin(MEMBERS)], over=["seed", "experiment"]).set_index("sample")[
        "score"
    ]
    near = list(nearest_threshold(ensemble, labels, fpr, NEAREST))
    wrong = (wide > WRONG).ne(labels.reindex(wide.index) == 1, axis=0)
    fooled = wrong[list(ONE_CAMERA)].any(axis=1)
    meaning = (
        f"of the {len(near)} frames nearest to the ensemble's threshold {fooled[near].sum()} are taken for the other class by "
        f"a network with one camera, of all frames {100 * fooled.mean():.0f}%"
    )
    said = (
        f"A, with all cameras, takes {wrong.loc[near, 'A'].sum()} of these {len(near)} for the other class, and "
        f"{100 * wrong['A'].mean():.0f}% of all; the scores that chose the frames judge them, so there is no test"
    )
    return Evidence(100 * (fooled[near].mean() - fooled.mean()), reason=said, meaning=meaning)

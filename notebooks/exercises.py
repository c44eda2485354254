"""The answers of all exercises: ``check("05-2", answer)`` judges one, ``check.solution("05-2")`` shows how to get it.

An answer is a function of the study at hand, so it holds for every profile and source; where the reader is asked for a
function it is that function, and both are called with some cases. The first line of its docstring is the hint for a wrong
answer, the second what a right one means.
"""

import inspect
from itertools import combinations

import numpy as np
import torch

from fasnb.data.released import read_snapshots
from fasnb.metrics import allowed_attacks, average, facts, first_seed, matrix, threshold_at_fpr, tpr_at_fpr
from fasnb.model import build, describe
from fasnb.paper import MEMBERS, PRIMARY
from fasnb.tools.machine import released_root

EXERCISES = {}  # name -> answer, cases


def exercise(name, cases=None):
    """Register the answer below; ``cases(study)`` are tuples of arguments where the reader is asked for a function."""
    return lambda answer: EXERCISES.update({name: (answer, cases)}) or answer


def judge(study, name, answer):
    """Whether an answer is right (a bool), and a sentence on it that does not hold the answer."""
    if name not in EXERCISES:
        return False, f"{name!r} is no exercise; there are {', '.join(EXERCISES)}."
    wanted, cases = EXERCISES[name]
    if answer is ...:
        return False, f"Exercise {name} waits for your answer in place of the dots; check.solution({name!r}) shows one."
    try:
        pairs = ((answer(*case), wanted(*case)) for case in cases(study)) if cases else [(answer, wanted(study))]
        right = all(_same(given, true) for given, true in pairs)
    except Exception as error:  # whatever a reader's answer raises
        return False, f"Exercise {name} cannot be judged: {type(error).__name__}: {error}"
    hint, meaning = inspect.getdoc(wanted).split("\n")
    return right, f"Right ({name}). {meaning}" if right else f"Not yet ({name}). {hint}"


def _same(given, true):
    """Texts are equal but for capitals, sets as sets of texts, numbers and arrays but for a hundredth."""
    if isinstance(true, str):
        return isinstance(given, str) and given.strip().casefold() == true.casefold()
    if isinstance(true, set):
        return {str(one) for one in given} == {str(one) for one in true}
    given, true = np.asarray(given, dtype=float), np.asarray(true, dtype=float)
    return given.shape == true.shape and bool((abs(given - true) <= 0.01 + 1e-9).all())


def check_for(study):
    """``check(name, answer)`` for a study; it prints one sentence. ``check.solution(name)`` prints the answer's source."""

    def check(name, answer=...):
        print(judge(study, name, answer)[1])

    check.solution = lambda name: print(inspect.getsource(EXERCISES[name][0]))
    return check


def tpr(table, fpr):
    """TPR in percent at a target FPR, of a scores table with one network or mean."""
    return 100 * tpr_at_fpr(table["label"].astype(int), table["score"], fpr)


@exercise("00-1")
def may_pass(study):
    """Count the attack frames of validation, take the share of them alone, and mind which way to round.
    The share is of attack frames alone, rounded down: at most the target, never more."""
    attacks = (study.sources["valid"].frames["label"] == 0).sum()
    return allowed_attacks(7e-3, attacks)


def _attack_cases(study):
    draw = np.random.default_rng(0)
    attacks = [draw.permutation([0] * 8 + [1] * 3 + [2] * 6 + [3] * 4) for _ in range(5)]
    return [((kinds == 0).astype(int), draw.random(len(kinds)).round(1), kinds, 0.5) for kinds in attacks]


@exercise("00-2", _attack_cases)
def worst(labels, scores, attacks, threshold):
    """For each attack type, which share of its frames reaches the threshold? Return the largest; 0 is no attack.
    The mean over all attack frames would hide it if a rare attack always worked."""
    accepted = scores >= threshold
    return max(accepted[attacks == kind].mean() for kind in set(attacks[labels == 0]))


@exercise("00-3")
def ties_in_favour(study):
    """In percent: order the scores from high to low, bona fide first where two tie; stop before a second print passes.
    No threshold gives so high a number: this is why ties must count against the network."""
    living = np.array([0.98, 0.95, 0.93, 0.90, 0.86, 0.81, 0.74, 0.62, 0.55, 0.31])
    prints = np.array([0.88, 0.74, 0.43, 0.35, 0.28, 0.22, 0.15, 0.11, 0.06, 0.02])
    return 100 * np.mean(living >= prints[1])  # one print in ten may pass; an honest count has > here


@exercise("01-1", lambda study: [(channels,) for channels in (16, 32, 64, 256, 512)])
def se_parameters(channels):
    """A layer from n to m units has n * m weights and m biases; two layers a block, a block a camera, at least 4 units.
    Against the convolutions around it this is little, which is why SE costs next to nothing."""
    hidden = max(4, channels // 16)
    return 3 * (channels * hidden + hidden + hidden * channels + channels)


@exercise("01-2")
def median_for_mean(study):
    """In points, first seed: the TPR of the median score over the folds, less that of the mean score; each its threshold.
    The median forgets how sure the other folds are, the mean lets one of them that errs with confidence spoil a frame."""
    models, fpr = first_seed(study.scores("resnet34-subject")), study.profile.headline_fpr
    return tpr(models.groupby("sample")[["label", "score"]].median(), fpr) - tpr(average(models), fpr)


@exercise("01-3")
def share_of_branches(study):
    """In percent: add the multiply-adds of all parts whose name begins with branch, and divide by the last line's.
    Three cameras cost nearly three networks, so the stage of the fusion decides what a frame costs."""
    network = study.plan.of("resnet34-subject")[0]
    cost = describe(network.architecture, network.recipe.crop).set_index("part")["multiply_adds"]
    return 100 * cost[cost.index.str.startswith("branch")].sum() / cost["total"]


@exercise("02-1")
def learned_by_both(study):
    """Member k learns from all frames whose fold is not k; every frame is held out by one of the three members.
    Two members share the frames that the third holds out: one attack and the living faces of a third of the people."""
    return (~study.plan.folds["attack"].isin([1, 2])).sum()


@exercise("02-2")
def never_living(study):
    """Look at the bona fide frames that fold 2 holds out, those alone, and count people, not frames.
    About a third of the people; it meets them only behind prints."""
    frames = study.sources["train"].frames
    return frames["subject"][(study.plan.folds["attack"] == 2) & (frames["label"] == 1)].nunique()


@exercise("02-3")
def gain_of_averaging(study):
    """In points, first seed: the TPR of the mean score over the three folds, less the mean of their three TPRs.
    The mean of scores is another system than any of its members, and its TPR is no mean of theirs."""
    models, fpr = first_seed(study.scores("resnet34-attack")), study.profile.headline_fpr
    return tpr(average(models), fpr) - np.mean([tpr(one, fpr) for _, one in models.groupby("fold")])


@exercise("03-1")
def share_copied(study):
    """In percent: parameters of the three branches and the shared stage, by the whole; aggregation starts at random.
    What starts at random in A is mostly the aggregation path, the subject of the next chapter."""
    parts = describe(study.plan.of("A")[0].architecture, 112).set_index("part")["parameters"]
    return 100 * parts[parts.index.str.startswith(("branch", "shared"))].sum() / parts["total"]


@exercise("03-2")
def members_from_faces(study):
    """In points, first seed, faces less objects: measure every member at its own threshold, then average over the folds.
    Hold it against the mean scores of the table: a start may give its members more, or less, than their mean."""
    models, fpr = first_seed(study.scores("resnet34-face", "face34-generic")), study.profile.headline_fpr
    each = {name: [tpr(one, fpr) for _, one in part.groupby("fold")] for name, part in models.groupby("experiment")}
    return np.mean(each["resnet34-face"]) - np.mean(each["face34-generic"])


@exercise("03-3", lambda study: [(torch.linspace(-9, 9, 36 * width).view(4, width, 3, 3),) for width in (2, 5)])
def divided(weight):
    """Three times as many input channels as the weight has; three equal inputs must give the sum that one gave.
    The authors' released code does not divide; fine-tuning has to find the scale by itself."""
    return weight.repeat(1, 3, 1, 1) / 3


@exercise("04-1")
def mixing_parameters(study):
    """From m to n channels: a matrix of n rows and m columns and a bias of n; m is three branches'. No residual stages.
    Mixing three cameras costs a matrix and a bias a level; most of a block's parameters are in its residual stage."""
    network = build(study.plan.of("A")[0].architecture)
    return sum(block.reduce.weight.numel() + block.reduce.bias.numel() for block in network.aggregation)


@exercise("04-2")
def more_refused(study):
    """Each network has its own TPR at the FPR: count the bona fide frames below; A less the other, first seeds.
    That is the whole effect in frames: one attack frame more or less above the threshold can move as many."""
    models, fpr = average(first_seed(study.scores("A", "resnet34-face")), over=["fold"]), study.profile.headline_fpr
    by = {name: (1 - tpr(part, fpr) / 100) * part["label"].sum() for name, part in models.groupby("experiment")}
    return round(by["A"] - by["resnet34-face"])


@exercise("04-3", lambda study: [([(3, 1)],), ([(7, 2), (3, 2), (3, 1), (3, 1)],), ([(3, 1), (1, 2), (3, 2), (3, 1)],)])
def receptive_field(layers):
    """A layer's kernel of k reaches k - 1 steps further; a step is as long as the strides of all layers before, multiplied.
    What a network looks at is a matter of arithmetic; what it makes of it is not."""
    side, step = 1, 1
    for kernel, stride in layers:
        side, step = side + (kernel - 1) * step, step * stride
    return side


def models_of(study, *experiments):
    """Scores of the first seeds, mean over folds (frames, experiments); labels (frames,); and the headline FPR."""
    models = average(first_seed(study.scores(*experiments)), over=["fold"])
    return matrix(models)[list(experiments)], facts(models)["label"].to_numpy(dtype=int), study.profile.headline_fpr


def refused_by(study, *experiments):
    """Which bona fide frames (rows) each experiment (columns) refuses at its own threshold for the headline FPR."""
    scores, labels, fpr = models_of(study, *experiments)
    return scores.apply(lambda score: score < threshold_at_fpr(labels, score, fpr))[labels == 1]


@exercise("05-1")
def rescued(study):
    """Bona fide frames that at least one of A to D refuses, and that the mean of the four accepts at its own threshold.
    The mean brings back what one model misses and the others score well; it may lose frames of its own."""
    scores, labels, fpr = models_of(study, *MEMBERS)
    mean, refused = scores.mean(axis=1), refused_by(study, *MEMBERS).any(axis=1)
    return (refused & (mean >= threshold_at_fpr(labels, mean, fpr))[labels == 1]).sum()


@exercise("05-2")
def tpr_of_mean(study):
    """In percent: the mean of the two scores of every frame first, not of the two TPRs; then its own threshold.
    The mean is a system of its own, with its own threshold."""
    scores, labels, fpr = models_of(study, "A", "D")
    return 100 * tpr_at_fpr(labels, scores.mean(axis=1), fpr)


def _made_up_models(study):
    draws, labels = [np.random.default_rng(seed) for seed in range(3)], np.arange(400) % 2
    return [(labels, labels * draw.uniform(0, 3, (4, 1)) + draw.normal(size=(4, 400)), 0.05) for draw in draws]


@exercise("05-3", _made_up_models)
def gain_over_best(labels, scores, fpr):
    """The TPR of np.mean(scores, axis=0) less the largest TPR of a single row, between -1 and 1, not in percent.
    It is negative where a weak model drags the mean below the best one: no law says that averaging helps."""
    return tpr_at_fpr(labels, np.mean(scores, axis=0), fpr) - max(tpr_at_fpr(labels, one, fpr) for one in scores)


@exercise("06-1")
def any_camera(study):
    """In percent: the attack frames that at least one of the three networks accepts at its own threshold, over all attacks.
    Verdicts joined by "or" add up the errors of all; a mean of scores has one threshold and keeps to the target."""
    scores, labels, fpr = models_of(study, "A-rgb", "A-ir", "A-depth")
    accepted = scores.apply(lambda score: score >= threshold_at_fpr(labels, score, fpr))
    return 100 * accepted[labels == 0].any(axis=1).mean()


@exercise("06-2")
def given_to_depth(study):
    """Among bona fide frames, count those that the network with depth alone refuses and A accepts.
    These are what the other two cameras give to depth; hold them against the number of frames that A refuses."""
    refused = refused_by(study, "A-depth", "A")
    return (refused["A-depth"] & ~refused["A"]).sum()


@exercise("06-3")
def fused_outside(study):
    """In percent: the mean over the three single-camera networks of every frame's score, then its TPR; not of TPRs.
    Fusing scores weighs every camera alike, also one that errs with confidence; a network can learn whom to trust."""
    scores, labels, fpr = models_of(study, "A-rgb", "A-ir", "A-depth")
    return 100 * tpr_at_fpr(labels, scores.mean(axis=1), fpr)


def verdicts_of(study):
    """Whether A to D accept each frame (frames, 4), each at its own threshold; and which frames are bona fide."""
    scores, labels, fpr = models_of(study, *MEMBERS)
    return scores.apply(lambda score: score >= threshold_at_fpr(labels, score, fpr)).to_numpy(), labels == 1


@exercise("07-1")
def contradicted(study):
    """A frame counts where its row of verdicts holds both answers, whichever of them is right.
    Only on these frames can an average of the models be something else than what all of them say."""
    accepted, _ = verdicts_of(study)
    return (accepted.any(axis=1) & ~accepted.all(axis=1)).sum()


@exercise("07-2")
def refused_by_one(study):
    """In percent: bona fide frames that exactly one model refuses, over those that at least one refuses, not over all.
    The larger this share, the less the models have learned the same, and the more an average has to work with."""
    accepted, bona_fide = verdicts_of(study)
    refusals = (~accepted[bona_fide]).sum(axis=1)
    return 100 * (refusals == 1).sum() / max(1, (refusals > 0).sum())


@exercise("07-3")
def most_alike(study):
    """Keep the rows of bona fide frames, then take rank correlations: the largest value beside the diagonal.
    Without the distance between the classes the models agree far less: that part every useful model must have."""
    scores, labels, _ = models_of(study, *MEMBERS)
    correlation = scores[labels == 1].corr(method="spearman")
    return set(max(combinations(MEMBERS, 2), key=lambda pair: correlation.loc[pair]))


@exercise("08-1")
def some_false_alarm(study):
    """In percent: the probability that one test stays silent, that all of them do, and that not all of them do.
    A page that tests many claims without a correction is likely to announce a discovery that is none."""
    return 100 * (1 - 0.95 ** len(PRIMARY))


@exercise("08-2", lambda study: [(np.random.default_rng(seed).random(7) ** 2,) for seed in range(3)])
def bonferroni(p):
    """Multiply by the number of p values, and let nothing exceed 1.
    Holm's adjusted p is never larger than this one, and both keep the same promise."""
    return np.minimum(1, len(p) * np.asarray(p))


def ensemble_refuses(study, fpr, *epochs):
    """Bona fide frames refused by the mean (with the mirror image) over folds and epochs, then seeds, then members."""
    table = read_snapshots(released_root(study.profile.released_root)).query("crop == 'mean' and epoch in @epochs")
    mean = table.groupby(["sample", "label", "experiment", "seed"], observed=True)["score"].mean()
    mean = mean.groupby(["sample", "label", "experiment"]).mean().groupby(["sample", "label"]).mean().reset_index()
    labels = mean["label"].to_numpy(dtype=int)
    return (mean["score"][labels == 1] < threshold_at_fpr(labels, mean["score"], fpr)).sum()


@exercise("09-1")
def both_epochs(study):
    """The mean over the epochs first, of every model and frame; then seeds, then models; the threshold comes last.
    To choose an epoch one has to look at the frames that are then reported; to average all needs no look."""
    return ensemble_refuses(study, 1e-4, 31, 50)


@exercise("09-2")
def looser(study):
    """The ensemble's mean score at epoch 50 with the mirror mean, and `refused(score, 1e-3)` of it.
    At a looser FPR the highest attack scores no longer decide, and the snapshots move together."""
    return ensemble_refuses(study, 1e-3, 50)


@exercise("10-1", lambda study: [(1.0, 0.0, 90.0), (0.3, -0.8, 30.0), (-0.5, 0.25, -12.0), (0, 0, 45)])
def looks_at(x, y, degrees):
    """Write the matrix of step 1 out, with the angle in radians: x' = cos a x - sin a y, and y' likewise.
    The output asks the input: so no output pixel is ever left without a colour."""
    angle = np.deg2rad(degrees)
    return np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y


@exercise("10-2")
def by_chance(study):
    """In percent: of n frames, one whose person has k of them has k - 1 others among n - 1; average over frames.
    The rates of step 3 are to be held against this, not against zero."""
    frames = study.sources["train"].frames
    people = frames.loc[frames["label"] == 1, "subject"].to_numpy()[:240].astype(str)
    same = (people[:, None] == people).sum() - len(people)
    return 100 * same / (len(people) * (len(people) - 1))


@exercise("12-1", lambda study: [([(5, 16, 2), (16, 32, 2)], 112), ([(3, 4, 1), (4, 8, 2)], 13), ([(5, 7, 2)], 28)])
def convolutions_cost(layers, side):
    """The side first: over the stride, rounded up; then nine times both numbers of channels at each output position.
    Early layers hold few weights and cost much, as they stand at many positions: parameters say little about time."""
    total = 0
    for channels_in, channels, stride in layers:
        side = -(-side // stride)
        total += 9 * channels_in * channels * side**2
    return total


@exercise(
    "12-2", lambda study: [(np.array([0.02, 0.4, 0.97]), 2.0), (np.array([0.5, 0.999]), 5.0), (np.array([0.3]), 1.0)]
)
def softer(p, temperature):
    """The log-odds are log(p / (1 - p)); a log-odds x is the probability 1 / (1 + exp(-x)). At 1 nothing changes.
    At a high temperature all targets come close to 1/2, and what is left of them is their order."""
    odds = np.log(p / (1 - p)) / temperature
    return 1 / (1 + np.exp(-odds))


def _made_up_scores(study):
    draws = [np.random.default_rng(seed) for seed in range(3)]
    return [(draw.beta(2, 1, (50, 4)), draw.integers(2, size=50)) for draw in draws]


@exercise("12-3", _made_up_scores)
def hardness(scores, labels):
    """A row's standard deviation over the networks, the distance of its mean from its label, and np.corrcoef of the two.
    Where it is high, a soft target says which frames are hard; a label treats them all alike."""
    distance = np.abs(scores.mean(axis=1) - labels)
    return np.corrcoef(scores.std(axis=1), distance)[0, 1]

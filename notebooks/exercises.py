"""The answers of all exercises: ``check("05-2", answer)`` judges one, ``check.solution("05-2")`` shows how to get it.

An answer is a function of the study at hand, so it holds for every profile and source; where the reader is asked for a
function it is that function, and both are called with some cases. The first line of its docstring is the hint for a wrong
answer, the second what a right one means.
"""

import inspect

import numpy as np
import torch

from fasnb.data import augment
from fasnb.data.released import read_snapshots
from fasnb.metrics import allowed_attacks, average, facts, first_seed, matrix, threshold_at_fpr, tpr_at_fpr
from fasnb.model import Architecture, build
from fasnb.model.weights import load_network
from fasnb.paper import MEMBERS, PRIMARY
from fasnb.tools.machine import released_root
from fasnb.training.archive import is_done

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
        return False, f"Exercise {name} waits for your answer in place of the dots."
    try:
        pairs = ((answer(*case), wanted(*case)) for case in cases(study)) if cases else [(answer, wanted(study))]
        right = all(_same(given, true) for given, true in pairs)
    except Exception as error:  # whatever a reader's answer raises
        return False, f"Exercise {name} cannot be judged: {type(error).__name__}: {error}"
    hint, meaning = inspect.getdoc(wanted).split("\n")
    return right, f"Right ({name}). {meaning}" if right else f"Not yet ({name}). {hint}"


def _same(given, true):
    """Numbers and arrays are equal but for a hundredth, dictionaries if what they have of each key is."""
    if isinstance(true, dict):
        return isinstance(given, dict) and given.keys() == true.keys() and all(_same(given[k], true[k]) for k in true)
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
    return allowed_attacks(7e-3, (study.sources["valid"].frames["label"] == 0).sum())


def _attack_cases(study):
    draw = np.random.default_rng(0)
    attacks = [draw.permutation([0] * 8 + [1] * 3 + [2] * 6 + [3] * 4) for _ in range(5)]
    return [((kinds == 0).astype(int), draw.random(len(kinds)).round(1), kinds, 0.5) for kinds in attacks]


@exercise("00-2", _attack_cases)
def by_type(labels, scores, attacks, threshold):
    """Attack type that occurs -> which share of its frames reaches the threshold, "worst" -> the largest; 0 is no attack.
    The mean over all attack frames would hide it if a rare attack always worked."""
    found = {int(kind): np.mean(scores[attacks == kind] >= threshold) for kind in set(attacks[labels == 0])}
    return found | {"worst": max(found.values())}


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


def _untrained(mlfa, numbers):
    """A small network with random weights, images of four frames, and in turn each number, of a camera or a level."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = build(Architecture("resnet18", "se", mlfa, width=0.125, blocks=(1, 1, 1, 1), small_images=True))
        network.head.weight *= 30  # so that every part shows in the logits
        images = list(torch.rand(3, 4, 3, 32, 32))
    return [(network.eval().requires_grad_(False), images, number) for number in numbers]


@exercise("01-3", lambda study: _untrained(False, (0, 1, 2)))
def without_se(network, images, camera):
    """The last maps of all branches, SE but for one camera, concatenation, shared stages, mean over the map, head.
    All else was trained for maps with factors: a network that is trained without SE is another experiment."""
    maps = [branch.levels(image)[-1] for branch, image in zip(network.branches, images, strict=True)]
    maps = [x if k == camera else network.fusion.excitations[k](x) for k, x in enumerate(maps)]
    return network.head(network.shared(torch.cat(maps, dim=1)).mean(dim=(2, 3)))


def _dealt(study):
    """Who is on 80 frames, with which attack, and the attack fold that holds each out; and the fold that is asked for."""
    draw = np.random.default_rng(0)
    people, attacks = draw.integers(1, 13, 80), draw.choice([0, 4, 5, 6], 80)
    return [(people, attacks, np.where(attacks == 0, people % 3 + 1, attacks - 3), k) for k in (1, 2, 3)]


@exercise("02-1", _dealt)
def met(people, attacks, fold, k):
    """Of the attack frames with fold == k alone: is their person among those of the bona fide frames with fold != k?
    With attack folds about two in three; with subject folds none, for they hold people out with all that they have."""
    alive = people[(attacks == 0) & (fold != k)]
    return np.isin(people[(attacks != 0) & (fold == k)], alive).mean()


@exercise("02-2", _dealt)
def strict(people, attacks, fold, k):
    """All frames with fold != k, less the attack frames of those people whose bona fide frames have fold == k.
    It has a price: about four ninths of the attack frames are left to learn from, where attack folds leave two thirds."""
    strangers = people[(attacks == 0) & (fold == k)]
    return (fold != k) & ~np.isin(people, strangers)


@exercise("03-1")
def members_from_faces(study):
    """In points, first seed, faces less objects: measure every member at its own threshold, then average over the folds.
    Hold it against the mean scores of the table: a start may give its members more, or less, than their mean."""
    models, fpr = first_seed(study.scores("resnet34-face", "face34-generic")), study.profile.headline_fpr
    each = {name: [tpr(one, fpr) for _, one in part.groupby("fold")] for name, part in models.groupby("experiment")}
    return np.mean(each["resnet34-face"]) - np.mean(each["face34-generic"])


@exercise("03-2", lambda study: [(torch.linspace(-9, 9, 36 * width).view(4, width, 3, 3),) for width in (2, 5)])
def divided(weight):
    """Three times as many input channels as the weight has; three equal inputs must give the sum that one gave.
    The authors' released code does not divide; fine-tuning has to find the scale by itself."""
    return weight.repeat(1, 3, 1, 1) / 3


@exercise("04-1", lambda study: _untrained(True, (1, 2, 3)))
def cut(network, images, level):
    """Step 4's forward pass with the output of one block, not its input, times 0; the blocks above it go on from there.
    What a cut costs says how much this network relies on the block, not how good one would be that never had it."""
    levels = [branch.levels(image) for branch, image in zip(network.branches, images, strict=True)]
    upper, below = network.shared(network.fusion([maps[-1] for maps in levels])).mean(dim=(2, 3)), None
    for number, block in enumerate(network.aggregation, 1):
        below = block([maps[number - 1] for maps in levels], below) * (number != level)
    return network.head(upper + below.mean(dim=(2, 3)))


@exercise("04-2")
def tpr_of_cuts(study):
    """In percent, without block 1, 2 and 3 in this order: scores by the cut network first, then TPR at the headline FPR.
    Each cut network has a threshold of its own, so what is lost is order among the frames, not a shift of the scores."""
    planned = study.plan.of("A")[0]
    if not is_done(planned):
        raise FileNotFoundError(
            f"A's weights are not here; fasnb run --profile {study.profile.name} --only 04 makes them"
        )
    network, store, found = load_network(planned.weights()), planned.splits["valid"].open(), []
    rows = np.arange(min(1000, len(store)))
    images = [store.read(part) for part in np.array_split(rows, 10)]
    batches = [augment.evaluation(part, planned.recipe, network.architecture.normalisation) for part in images]
    for level in (1, 2, 3):
        with torch.inference_mode():
            score = torch.cat([cut(network, batch, level) for batch in batches]).double().softmax(dim=1)[:, 1]
        found.append(100 * tpr_at_fpr(store.frames["label"][rows].astype(int), score, study.profile.headline_fpr))
    return found


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


@exercise("05-1", lambda study: [(np.random.default_rng(seed).uniform(0.001, 0.999, (4, 50)),) for seed in range(3)])
def by_log_odds(scores):
    """log(s / (1 - s)) of every score, their mean over the models, and back: 1 / (1 + exp(-mean)).
    A model that is very sure weighs more than in a plain mean: good if it is sure where it is right."""
    return 1 / (1 + np.exp(-np.log(scores / (1 - scores)).mean(axis=0)))


def _made_up_models(study):
    draws, labels = [np.random.default_rng(seed) for seed in range(3)], np.arange(400) % 2
    return [(labels, labels * draw.uniform(0, 3, (4, 1)) + draw.normal(size=(4, 400)), 0.05) for draw in draws]


@exercise("05-2", _made_up_models)
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


@exercise("06-2", lambda _: [(*draw.round(1), 0.2, 0.7, 0.4) for draw in np.random.default_rng(0).random((3, 2, 60))])
def in_two_steps(depth, full, low, high, threshold):
    """Refuse below low and accept from high on, as depth says; between them the second network decides alone.
    Where depth is sure, one network suffices; what that costs in errors is to be measured on frames not used to choose."""
    return np.where(depth < low, False, (depth >= high) | (full >= threshold))


@exercise("06-3")
def fused_outside(study):
    """In percent: the mean over the three single-camera networks of every frame's score, then its TPR; not of TPRs.
    Fusing scores weighs every camera alike, also one that errs with confidence; a network can learn whom to trust."""
    scores, labels, fpr = models_of(study, "A-rgb", "A-ir", "A-depth")
    return 100 * tpr_at_fpr(labels, scores.mean(axis=1), fpr)


def _two_groups(study):
    labels, people, draws = np.arange(300) % 3 % 2, np.arange(300) // 10, map(np.random.default_rng, range(3))
    return [(labels, labels + draw.normal(size=300), people, draw.permutation(30)[:15], 0.05) for draw in draws]


@exercise("07-1", _two_groups)
def carried(labels, scores, people, chosen, fpr):
    """The threshold from the frames of the chosen people alone; then the APCER and the BPCER of all other frames.
    The target is kept on the people it was set on; on others the APCER lies now above it, now below."""
    here = np.isin(people, chosen)
    accepted = scores[~here] >= threshold_at_fpr(labels[here], scores[here], fpr)
    return accepted[labels[~here] == 0].mean(), 1 - accepted[labels[~here] == 1].mean()


@exercise("07-2")
def refused_by_one(study):
    """In percent: bona fide frames that exactly one model refuses, over those that at least one refuses, not over all.
    The larger this share, the less the models have learned the same, and the more an average has to work with."""
    scores, labels, fpr = models_of(study, *MEMBERS)
    refused = scores.apply(lambda score: score < threshold_at_fpr(labels, score, fpr))
    refusals = refused[labels == 1].sum(axis=1)
    return 100 * (refusals == 1).sum() / max(1, (refusals > 0).sum())


_PAIRS = [(a < 0.9, np.where(c < 0.7, a, b) < 0.6) for a, b, c in np.random.default_rng(0).random((3, 3, 80))]


@exercise("07-3", lambda study: _PAIRS)
def kappa(one, other):
    """Chance: both accept, or both refuse, if each did so by lot at its own rate. Then (equal - chance) / (1 - chance).
    Where nearly all verdicts are right, nearly all are equal: only above chance does agreement tell anything."""
    equal, chance = np.mean(one == other), one.mean() * other.mean() + (1 - one.mean()) * (1 - other.mean())
    return (equal - chance) / (1 - chance)


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


@exercise("10-2", lambda study: [(np.random.default_rng(seed).integers(0, 12, 90), 4, 5) for seed in range(3)])
def of_fewer(people, count, each):
    """The first so many people in order of appearance, and of each the first so many frames; True for these.
    With as many frames in all, what is left of the difference between many and few people is theirs."""
    kept = np.zeros(len(people), dtype=bool)
    for person in list(dict.fromkeys(people))[:count]:
        kept[np.flatnonzero(people == person)[:each]] = True
    return kept


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

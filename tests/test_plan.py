"""From a profile to a plan: what depends on what, and the real data's layout with true backbone formats."""

import json
import math
import pickle

import pytest
import torch
import torchvision

from fasnb.data import casia_surf
from fasnb.paper import profile as profiles
from fasnb.paper.experiments import EXPERIMENTS
from fasnb.training.fit import initial_network
from fasnb.training.plan import WEIGHT_FILES, backbones_of, plan
from fasnb.training.scoring import score
from synthsurf.dataset import SynthSurf

PLANNED = {name for name, experiment in EXPERIMENTS.items() if not experiment.switch}
TAUGHT = {name for name, experiment in EXPERIMENTS.items() if experiment.taught}


def keys(settings, out):
    return {network.title: network.key for network in plan(profiles.load("smoke", settings), out).networks}


def changed(settings, out):
    before, after = keys({}, out), keys(settings, out)
    return {title.split(" ")[0] for title in before if before[title] != after[title]}


def test_the_study_has_57_networks_and_17_of_our_own(tmp_path):
    titles = keys({}, tmp_path)
    own = [title for title in titles if EXPERIMENTS[title.split(" ")[0]].extra]
    assert len(titles) == 69 and len(own) == 17  # with two seeds of the members


def test_one_changed_value_touches_what_depends_on_it_and_nothing_else(tmp_path):
    assert changed({"A.learning_rate": 0.001}, tmp_path) == {"A", "A-rgb", "A-ir", "A-depth", "A-longer"} | TAUGHT
    assert changed({"zhang.epochs": 1}, tmp_path) == {"zhang"}
    random = {name for name, experiment in EXPERIMENTS.items() if experiment.initialisation == "random"} - TAUGHT
    assert changed({"pretrain_epochs": 2}, tmp_path) == PLANNED - random
    objects = {name for name in PLANNED if EXPERIMENTS[name].initialisation in ("gender", "generic", "imagenet")}
    assert changed({"pretrain_objects": 120}, tmp_path) == objects | TAUGHT
    assert changed({"fold_seed": 1}, tmp_path) == PLANNED - {"student-labels"}  # which holds out no fold
    for everything in ({"recipe": "released"}, {"precision": "bf16"}, {"train_frames": 240}):
        assert changed(everything, tmp_path) == PLANNED
    for execution in ({"workers": 1}, {"replicates": 50}, {"valid_frames": 240}, {"device": "cpu"}):
        assert changed(execution, tmp_path) == set()


def test_seeds_and_the_appendix_add_networks_and_change_none_but_who_learns_from_more_teachers(tmp_path):
    plain, three, more = (keys(s, tmp_path) for s in ({}, {"seeds": 3, "row_seeds": 3}, {"appendix": True}))
    different = {title.split(" ")[0] for title in plain if three[title] != plain[title]}
    assert different == TAUGHT and len(three) == 3 * (5 + 5 + 17 * 3 - 9 + 5)
    assert plain.items() <= more.items() and len(more) == len(plain) + 7 * 3
    with pytest.raises(FileNotFoundError, match="appendix = false"):
        plan(profiles.load("smoke"), tmp_path).of("A-half")


def test_fewer_people_see_fewer_subjects_and_the_same_frames_of_each(tmp_path):
    made = plan(profiles.load("smoke", {"appendix": True}), tmp_path)
    subject = made.sources["train"].frames["subject"]
    quarter, half, everyone = (made.of(name)[0].frames.rows for name in ("A-quarter", "A-half", "A"))
    people = [set(subject.iloc[rows]) for rows in (quarter, half, everyone)]
    assert people[0] < people[1] < people[2] and len(people[1]) == 5
    assert set(half) == {row for row in everyone if subject.iloc[row] in people[1]} and set(quarter) < set(half)


def test_the_plan_says_of_every_network_where_it_starts_and_what_it_scores(tmp_path):
    made = plan(profiles.load("smoke"), tmp_path)
    table = made.table().set_index(["experiment", "fold", "seed"])
    assert len(table) == 69 and table.loc[("A", 1, 7), "scores"] == "valid test"
    assert table.loc[("zhang", 1, 7), "starts from"] == "random" and table.loc[("zhang", 1, 7), "scores"] == "valid"
    [key] = {network.start.key for network in made.of("A", "A-rgb")}  # one backbone, pre-trained once, starts them all
    [start] = [backbone for backbone in backbones_of(made.networks) if backbone.key == key]
    assert start.title == "face: 10 classes, face_resnet34" and len(backbones_of(made.networks)) == 6
    assert table.loc[("A", 1, 7), "starts from"] == start.folder.name and start.folder.parent == tmp_path / "runs"
    for network in made.networks:
        fold = made.folds[EXPERIMENTS[network.experiment].folds]
        assert (fold.iloc[network.frames.rows] != network.fold).all()
        assert (fold == network.fold).any() == (network.fold > 0) == (network.watched is not None)
        assert network.watched is None or (fold.iloc[network.watched] == network.fold).all()
    copy = pickle.loads(pickle.dumps(made.of("A")[0]))
    assert copy.key == made.of("A")[0].key and copy.start.key == start.key and copy.frames.source is None


# Real data


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A small set in the true layout."""
    root = tmp_path_factory.mktemp("casia-surf")
    for split, subjects in (("train", 6), ("valid", 3)):
        casia_surf.write(SynthSurf(split, subjects, 2, size=56, seed=5), root)
    return root


@pytest.fixture(scope="module")
def weights(reference, tmp_path_factory):
    """Made-up weights in the true formats: torchvision's, and the two of ``state_dicts.json``."""
    folder = tmp_path_factory.mktemp("weights")
    layouts = json.loads((reference / "state_dicts.json").read_text())
    torch.manual_seed(0)

    def value(key, kind, *shape):
        if kind in ("conv", "linear"):
            return torch.randn(shape) * math.sqrt(2 / math.prod(shape[1:]))
        if not shape:
            return torch.tensor(0)
        return torch.zeros(shape) if key.endswith(("running_mean", "bias")) else torch.ones(shape)

    torch.save(torchvision.models.resnet34().state_dict(), folder / WEIGHT_FILES["imagenet"])
    for name, layout in (("face", "face_resnet34_backbone"), ("msceleb", "face_ir50_backbone")):
        torch.save({key: value(key, *spec) for key, spec in layouts[layout].items()}, folder / WEIGHT_FILES[name])
    return folder


def real_plan(real, weights, out):
    small = {"resize": 64, "crop": 64, "epochs": 1, "second_epochs": 0, "A.second_epochs": 0, "batch_size": 8}
    roots = {"data_root": str(real), "weights_root": str(weights), "precision": "fp32", "seeds": 1}
    return plan(profiles.load("casia-surf", small | roots), out)


def test_experiments_without_their_weights_are_left_out(real, weights, tmp_path):
    made = real_plan(real, weights, tmp_path)
    lacking = ("asian", "gender", "generic", "rendered")
    without = {name for name, experiment in EXPERIMENTS.items() if experiment.initialisation in lacking} | TAUGHT
    assert set(made.left_out) - {"dlib-real"} == without  # which hangs on a package
    with pytest.raises(FileNotFoundError, match=r"'asian' needs asian-ir50\.pth .*data/README\.md"):
        made.of("C")
    assert made.sources["valid"].frames["subject"].isna().all() and made.labelled("valid")


@pytest.mark.parametrize("experiment", ["resnet34-imagenet", "A", "B"])
def test_real_layout_and_true_weight_formats_make_a_network(real, weights, tmp_path, monkeypatch, experiment):
    monkeypatch.setenv("FASNB_CACHE", str(tmp_path))
    network = real_plan(real, weights, tmp_path).of(experiment)[0]
    module = initial_network(network)
    found = score(module, network.splits["valid"].open(), [0, 1], network.recipe, device="cpu")
    assert found.shape == (2,) and ((found >= 0) & (found <= 1)).all()
    name = "input_layer.0.weight" if experiment == "B" else "conv1.weight"
    first = torch.load(network.start, weights_only=True)[name]
    assert all(torch.equal(branch.stem.conv.weight, first) for branch in module.branches)

"""From a profile to tasks: what depends on what, and the real data's layout with true backbone formats."""

import json
import math

import pytest
import torch
import torchvision

from fasnb.data import casia_surf, store
from fasnb.lab.session import Session
from fasnb.paper.experiments import EXPERIMENTS
from fasnb.synthsurf.dataset import SynthSurf
from fasnb.training import fit as training
from fasnb.training.fit import initial_network
from fasnb.training.workshop import WEIGHT_FILES, Workshop


def keys(settings, out):
    workshop = Session("smoke", settings, out).workshop
    tasks = workshop.tasks(EXPERIMENTS)
    return {task.specification.title: task.specification.key for task in tasks}


def changed(settings, tmp_path):
    before, after = keys({}, tmp_path), keys(settings, tmp_path)
    return {title.split(" ")[0] for title in before if before[title] != after[title]}


def test_the_study_has_52_networks_and_9_of_our_own(tmp_path):
    titles = keys({}, tmp_path)
    own = [title for title in titles if EXPERIMENTS[title.split(" ")[0]].extra]
    assert len(titles) == 61 and len(own) == 9


def test_one_changed_value_touches_what_depends_on_it_and_nothing_else(tmp_path):
    assert changed({"A.learning_rate": 0.001}, tmp_path) == {"A", "A-rgb", "A-ir", "A-depth"}
    assert changed({"zhang.epochs": 3}, tmp_path) == {"zhang"}
    random = {name for name, experiment in EXPERIMENTS.items() if experiment.initialisation == "random"}
    assert changed({"pretrain_epochs": 2}, tmp_path) == set(EXPERIMENTS) - random
    attack = {
        name
        for name, experiment in EXPERIMENTS.items()
        if experiment.initialisation in ("gender", "generic", "imagenet")
    }
    assert changed({"pretrain_objects": 120}, tmp_path) == attack
    assert changed({"fold_seed": 1}, tmp_path) == set(EXPERIMENTS)
    for execution in ({"workers": 1}, {"replicates": 50}, {"valid_frames": 240}, {"device": "cpu"}):
        assert changed(execution, tmp_path) == set()


def test_seeds_add_networks_and_keep_those_there(tmp_path):
    two, three = keys({}, tmp_path), keys({"seeds": 3, "row_seeds": 3}, tmp_path)
    assert two.items() <= three.items() and len(three) == 3 * (5 + 5 + 16 * 3 - 9)


def test_the_mirrored_released_recipe_is_another_study(tmp_path):
    assert changed({"recipe": "released"}, tmp_path) == set(EXPERIMENTS)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A small set in the true layout."""
    root = tmp_path_factory.mktemp("casia-surf")
    for split, subjects in (("train", 6), ("valid", 3)):
        casia_surf.write(SynthSurf(split, subjects, 2, size=56, seed=5), root, workers=1, progress=False)
    return root


@pytest.fixture(scope="module")
def weights(reference, tmp_path_factory):
    """Made-up weights in the true formats: torchvision's, and the two of ``state_dicts.json``."""
    folder = tmp_path_factory.mktemp("weights")
    layouts = json.loads((reference / "state_dicts.json").read_text())
    torch.manual_seed(0)

    def value(kind, *shape):
        return (
            torch.randn(shape) * math.sqrt(2 / math.prod(shape[1:]))
            if kind in ("conv", "linear")
            else torch.ones(shape)
        )

    def made(layout):
        filled = {key: value(*spec) if len(spec) > 1 else torch.tensor(0) for key, spec in layouts[layout].items()}
        return {key: torch.zeros_like(v) if key.endswith(("running_mean", "bias")) else v for key, v in filled.items()}

    torch.save(torchvision.models.resnet34().state_dict(), folder / WEIGHT_FILES["imagenet"])
    torch.save(made("face_resnet34_backbone"), folder / WEIGHT_FILES["face"])
    torch.save(made("face_ir50_backbone"), folder / WEIGHT_FILES["msceleb"])
    return folder


SMALL = {
    "resize": 64,
    "crop": 64,
    "epochs": 1,
    "second_epochs": 0,
    "A.second_epochs": 0,
    "batch_size": 8,
    "seeds": 1,
    "workers": 1,
}


def session_on(real, weights, out):
    roots = {"data_root": str(real), "weights_root": str(weights), "recipe": "released", "precision": "fp32"}
    return Session("casia-surf", SMALL | roots, out)


def test_experiments_without_their_weights_are_left_out(real, weights, tmp_path):
    session = session_on(real, weights, tmp_path)
    served = {name for name in EXPERIMENTS if session.serves(name)}
    without = {name for name, e in EXPERIMENTS.items() if e.initialisation in ("asian", "gender", "generic")}
    assert served == set(EXPERIMENTS) - without
    with pytest.raises(FileNotFoundError, match=r"'asian' needs asian-ir50\.pth .*data/README\.md"):
        session.workshop.tasks(["C"])


@pytest.mark.parametrize("experiment", ["resnet34-imagenet", "A", "B"])
def test_real_layout_and_true_weight_formats_make_a_network(real, weights, tmp_path, experiment):
    workshop = session_on(real, weights, tmp_path).workshop
    task = workshop.tasks([experiment])[0]
    network = initial_network(task.specification, task.backbone)
    built = store.build(workshop.source("valid"), tmp_path / "valid", workers=1, progress=False)
    score = training.score(network, built, [0, 1], task.specification.recipe, device="cpu")
    assert score.shape == (2,) and ((score >= 0) & (score <= 1)).all()
    first = torch.load(task.backbone, weights_only=True)[
        "input_layer.0.weight" if experiment == "B" else "conv1.weight"
    ]
    assert all(torch.equal(branch.stem.conv.weight, first) for branch in network.branches)
    assert workshop.source("valid").frames["subject"].isna().all() and workshop.labelled("valid")


def test_authors_fold_lists_are_refused_where_they_name_other_frames(real, weights, released, tmp_path):
    session = session_on(real, weights, tmp_path)
    workshop = Workshop(session.profile, tmp_path, tmp_path, real, weights, released)
    object.__setattr__(workshop.profile, "authors_folds", True)
    with pytest.raises(
        ValueError, match="24 of 48 training frames|training frames are in none of the authors' fold lists"
    ):
        workshop.fold("attack")

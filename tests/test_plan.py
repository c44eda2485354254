"""From a profile to a plan: what depends on what, and the real data's layout with true backbone formats."""

import json
import math

import pytest
import torch
import torchvision

from fasnb.data import casia_write, store
from fasnb.lab.session import Session
from fasnb.paper import profile as profiles
from fasnb.paper.experiments import EXPERIMENTS
from fasnb.synthsurf.dataset import SynthSurf
from fasnb.training.cost import Work, work_of_plan
from fasnb.training.fit import initial_network
from fasnb.training.inference import score
from fasnb.training.plan import WEIGHT_FILES, plan, sources_of

PLANNED = {name for name, experiment in EXPERIMENTS.items() if not experiment.appendix}


def plan_of(settings, out):
    return plan(profiles.load("smoke", settings), out)


def keys(settings, out):
    return {n.specification.title: n.specification.key for n in plan_of(settings, out).networks}


def changed(settings, out):
    before, after = keys({}, out), keys(settings, out)
    return {title.split(" ")[0] for title in before if before[title] != after[title]}


def test_the_study_has_52_networks_and_9_of_our_own(tmp_path):
    titles = keys({}, tmp_path)
    own = [title for title in titles if EXPERIMENTS[title.split(" ")[0]].extra]
    assert len(titles) == 61 and len(own) == 9


def test_one_changed_value_touches_what_depends_on_it_and_nothing_else(tmp_path):
    assert changed({"A.learning_rate": 0.001}, tmp_path) == {"A", "A-rgb", "A-ir", "A-depth"}
    assert changed({"zhang.epochs": 3}, tmp_path) == {"zhang"}
    random = {name for name, experiment in EXPERIMENTS.items() if experiment.initialisation == "random"}
    assert changed({"pretrain_epochs": 2}, tmp_path) == PLANNED - random
    objects = {name for name, e in EXPERIMENTS.items() if e.initialisation in ("gender", "generic", "imagenet")}
    assert changed({"pretrain_objects": 120}, tmp_path) == objects
    assert changed({"fold_seed": 1}, tmp_path) == PLANNED
    for execution in ({"workers": 1}, {"replicates": 50}, {"valid_frames": 240}, {"device": "cpu"}):
        assert changed(execution, tmp_path) == set()


def test_seeds_add_networks_and_keep_those_there(tmp_path):
    two, three = keys({}, tmp_path), keys({"seeds": 3, "row_seeds": 3}, tmp_path)
    assert two.items() <= three.items() and len(three) == 3 * (5 + 5 + 16 * 3 - 9)


def test_the_mirrored_released_recipe_is_another_study(tmp_path):
    assert changed({"recipe": "released"}, tmp_path) == PLANNED


def test_the_appendix_adds_networks_and_changes_none(tmp_path):
    plain, more = keys({}, tmp_path), keys({"appendix": True}, tmp_path)
    assert plain.items() <= more.items() and len(more) == len(plain) + 7 * 3
    with pytest.raises(FileNotFoundError, match="appendix = false"):
        plan_of({}, tmp_path).of("A-half")


def test_fewer_people_see_fewer_subjects_and_the_same_frames_of_each(tmp_path):
    made = plan_of({"appendix": True}, tmp_path)
    frames = made.sources["train"].frames
    quarter, half, everyone = (made.of(name)[0].train_index for name in ("A-quarter", "A-half", "A"))
    assert set(quarter) < set(half) < set(everyone)
    people = [set(frames["subject"].iloc[index]) for index in (quarter, half, everyone)]
    assert people[0] < people[1] < people[2] and len(people[1]) == 5
    assert set(half) == {row for row in everyone if frames["subject"].iloc[row] in people[1]}
    assert made.of("A-rotated")[0].specification.recipe.rotation == 30.0


def test_the_plan_says_of_every_network_where_it_starts_and_what_it_scores(tmp_path):
    made = plan_of({}, tmp_path)
    table = made.table().set_index(["experiment", "fold", "seed"])
    assert len(table) == 61 and table.loc[("A", 1, 7), "scores"] == "valid test"
    assert table.loc[("zhang", 1, 7), "starts from"] == "random" and table.loc[("zhang", 1, 7), "scores"] == "valid"
    assert table.loc[("A", 1, 7), "starts from"] == made.backbones["A"].folder.name
    for network in made.of("A", "A-rgb"):  # one backbone, pre-trained once, starts them all
        assert network.backbone == made.backbones["A-rgb"].file
        assert len(network.train_index) + len(network.held_out) == 120
        assert network.folder.parent == tmp_path / "runs" and set(network.data) == set(network.stores)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "smoke"),
        ({"device": "cpu", "workers": 2, "released_root": "/elsewhere"}, "smoke"),
        ({"seeds": 2}, "smoke"),  # what it says already
    ],
)
def test_what_changes_no_number_keeps_the_results_folder(settings, name):
    assert profiles.results_name("smoke", settings) == name


def test_changed_settings_get_a_folder_of_their_own():
    names = {profiles.results_name("smoke", {"epochs": epochs}) for epochs in (3, 4)}
    assert len(names) == 2 and all(name.startswith("smoke-") and len(name) == len("smoke-") + 8 for name in names)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A small set in the true layout."""
    root = tmp_path_factory.mktemp("casia-surf")
    for split, subjects in (("train", 6), ("valid", 3)):
        casia_write.write(SynthSurf(split, subjects, 2, size=56, seed=5), root, workers=1, progress=False)
    return root


@pytest.fixture(scope="module")
def weights(reference, tmp_path_factory):
    """Made-up weights in the true formats: torchvision's, and the two of ``state_dicts.json``."""
    folder = tmp_path_factory.mktemp("weights")
    layouts = json.loads((reference / "state_dicts.json").read_text())
    torch.manual_seed(0)

    def value(kind, *shape):
        if kind in ("conv", "linear"):
            return torch.randn(shape) * math.sqrt(2 / math.prod(shape[1:]))
        return torch.ones(shape)

    def made(layout):
        filled = {key: value(*spec) if len(spec) > 1 else torch.tensor(0) for key, spec in layouts[layout].items()}
        return {key: torch.zeros_like(v) if key.endswith(("running_mean", "bias")) else v for key, v in filled.items()}

    torch.save(torchvision.models.resnet34().state_dict(), folder / WEIGHT_FILES["imagenet"])
    torch.save(made("face_resnet34_backbone"), folder / WEIGHT_FILES["face"])
    torch.save(made("face_ir50_backbone"), folder / WEIGHT_FILES["msceleb"])
    return folder


SMALL = {"resize": 64, "crop": 64, "epochs": 1, "second_epochs": 0, "A.second_epochs": 0, "batch_size": 8, "seeds": 1}
SMALL |= {"workers": 1}


def session_on(real, weights, out, **more):
    roots = {"data_root": str(real), "weights_root": str(weights), "recipe": "released", "precision": "fp32"}
    return Session("casia-surf", SMALL | roots | more, out)


def test_experiments_without_their_weights_are_left_out(real, weights, tmp_path):
    session = session_on(real, weights, tmp_path)
    served = {name for name in EXPERIMENTS if session.serves(name)}
    without = {name for name, e in EXPERIMENTS.items() if e.initialisation in ("asian", "gender", "generic")}
    assert served == set(EXPERIMENTS) - without == set(EXPERIMENTS) - set(session.plan.left_out)
    with pytest.raises(FileNotFoundError, match=r"'asian' needs asian-ir50\.pth .*data/README\.md"):
        session.plan.of("C")


@pytest.mark.parametrize("experiment", ["resnet34-imagenet", "A", "B"])
def test_real_layout_and_true_weight_formats_make_a_network(real, weights, tmp_path, experiment):
    made = session_on(real, weights, tmp_path).plan
    planned = made.of(experiment)[0]
    network = initial_network(planned.specification, planned.backbone)
    built = store.build(made.sources["valid"], tmp_path / "valid", workers=1, progress=False)
    found = score(network, built, [0, 1], planned.specification.recipe, device="cpu")
    assert found.shape == (2,) and ((found >= 0) & (found <= 1)).all()
    first = "input_layer.0.weight" if experiment == "B" else "conv1.weight"
    first = torch.load(planned.backbone, weights_only=True)[first]
    assert all(torch.equal(branch.stem.conv.weight, first) for branch in network.branches)
    assert made.sources["valid"].frames["subject"].isna().all() and made.labelled("valid")


def test_authors_fold_lists_are_refused_where_they_name_other_frames(real, weights, released, tmp_path):
    session = session_on(real, weights, tmp_path, authors_folds=True, released_root=str(released))
    with pytest.raises(ValueError, match="training frames are in none of the authors' fold lists"):
        session.plan.of("A")


def test_frames_that_are_not_there_are_asked_for_in_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="no CASIA-SURF data at .*data/README.md"):
        sources_of(profiles.load("casia-surf", {"data_root": str(tmp_path)}))


def test_the_work_told_grows_with_what_is_trained_and_scored(tmp_path):
    def work(**settings):
        return work_of_plan(plan_of(settings, tmp_path))

    before = work()
    assert work(epochs=4, pretrain_epochs=2, schedule_epochs=4).training == pytest.approx(2 * before.training)
    scored = work(valid_frames=240, test_frames=240)
    assert scored.training == before.training and scored.scoring > 1.5 * before.scoring
    assert before.seconds(Work(1e9, 1e9)) == pytest.approx((before.training + before.scoring) / 1e9)

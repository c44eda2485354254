"""Profiles refuse what they do not know and become a plan: what depends on what, and the layout of the real data."""

import pickle
import re
from dataclasses import replace

import pytest
import torch
import torchvision

from fasnb.data import casia_surf
from fasnb.paper import profile as profiles
from fasnb.paper.experiments import EXPERIMENTS
from fasnb.paper.profile import ProfileError, load, results_name
from fasnb.paper.published import OTHER, PRIMARY, TABLE3, WITHOUT_D, table3
from fasnb.training.fit import initial_network
from fasnb.training.plan import WEIGHT_FILES, backbones_of, plan
from fasnb.training.scoring import score
from synthsurf.dataset import SynthSurf

PLANNED = {name for name, experiment in EXPERIMENTS.items() if not experiment.switch}
TAUGHT = {name for name, experiment in EXPERIMENTS.items() if experiment.taught}


def keys(settings, out):
    return {network.title: network.key for network in plan(load("smoke", settings), out).networks}


def changed(settings, out):
    before, after = keys({}, out), keys(settings, out)
    return {title.split(" ")[0] for title in before if before[title] != after[title]}


@pytest.mark.parametrize("name", profiles.names())
def test_every_profile_loads_and_resolves(name):
    profile = load(name)
    for experiment in EXPERIMENTS.values():
        assert profile.recipe_of(experiment).batch_size > 0 and profile.seeds_of(experiment)


def test_wrong_settings_are_refused():
    for settings, message in (
        ({"learnin_rate": "1"}, "unknown key 'learnin_rate'; did you mean 'learning_rate'?"),
        ({"resnet34-imagnet.epochs": 1}, "did you mean 'resnet34-imagenet'?"),
        ({"seeds": 0}, "seeds = 0: "),
        ({"batch_size": 1.5}, "batch_size = 1.5: "),
        ({"source": "synthetc"}, "source"),
        ({"fprs": [0.1, 0.1]}, "fprs"),
        ({"headline_fpr": 0.5}, "headline_fpr = 0.5 is not one of fprs"),
        ({"crop": 126}, "crop = 126 is larger than resize = 125"),
        ({"flip": "nan"}, "flip = nan: "),
        ({"A.width": 9}, "width = 9.0: "),
    ):
        with pytest.raises(ProfileError, match=re.escape(message)):
            load("released", settings)


def test_a_change_of_one_experiment_reaches_what_is_like_it_and_nothing_else():
    plain, changed = load("released"), load("released", {"A.learning_rate": 0.5})
    differing = [e.id for e in EXPERIMENTS.values() if plain.recipe_of(e) != changed.recipe_of(e)]
    assert differing == [e.id for e in EXPERIMENTS.values() if "A" in (e.id, e.like)] and len(differing) == 16


def test_recipes_give_model_a_its_second_stage_and_twice_the_steps_of_whatever_the_profile_says():
    profile = load("released", {"recipe": "released"})
    second = {e.id: profile.recipe_of(e).second_epochs for e in EXPERIMENTS.values()}
    assert (second["A"], second["D"], second["B"]) == (20, 0, 0)
    profile = load("tiny", {"A.epochs": 3, "A.schedule_epochs": 5})
    longer = profile.recipe_of(EXPERIMENTS["A-longer"])
    assert (longer.epochs, longer.schedule_epochs) == (6, 10)
    student = profile.recipe_of(EXPERIMENTS["student"])  # half
    assert student.epochs == student.schedule_epochs == profile.recipe_of(EXPERIMENTS["B"]).epochs // 2


def test_a_profile_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('source = "released"\nlearning_rate = 0.01\n[experiments.A]\nepochs = 3\n')
    profile = load(str(path))
    assert (profile.name, profile.recipe_of(EXPERIMENTS["A"]).epochs) == ("mine", 3)
    path.write_text("source = released")
    with pytest.raises(ProfileError, match="is not TOML"):
        load(str(path))
    (tmp_path / "tiny.toml").write_text('source = "released"')
    with pytest.raises(ProfileError, match="has the name of a profile that comes with the package; rename it"):
        load(str(tmp_path / "tiny.toml"))


def test_the_results_folder_is_named_by_what_changes_results():
    assert results_name("tiny", {"workers": 3, "data_root": "/elsewhere", "seeds": "1"}) == "tiny"
    changed = results_name("tiny", {"A.learning_rate": "1"})
    assert re.fullmatch("tiny-[0-9a-f]{8}", changed) and changed == results_name("tiny", {"A.learning_rate": 1.0})


def test_claims_speak_of_experiments_that_there_are():
    known = {*EXPERIMENTS, "ensemble", WITHOUT_D}
    assert all(pairs and {name for pair in pairs for name in pair} <= known for _, _, pairs in PRIMARY + OTHER)
    assert {*TABLE3["experiment"]} <= known and len({claim for claim, _, _ in PRIMARY + OTHER}) == len(PRIMARY + OTHER)
    assert table3("synthetic")["initialization"].str.startswith("stand-in for ").sum() == 6


def test_small_is_tiny_in_other_worlds_each_with_frames_and_first_weights_of_its_own():
    tiny, small = load("tiny"), load("small")
    its_own = ("name", "title", "budget_minutes", "population", "world", "worlds")
    assert replace(small, **{name: getattr(tiny, name) for name in its_own}) == tiny
    assert tiny.population == "small" and small.worlds >= 16
    assert tiny.world not in range(small.world, small.world + small.worlds)
    here, there = (load("tiny", {"world": world}) for world in (0, 3))
    assert here.world_seed != there.world_seed
    assert not {*here.seeds_of(EXPERIMENTS["A"])} & {*there.seeds_of(EXPERIMENTS["A"])}
    assert results_name("tiny", {"worlds": "4"}) == "tiny"


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
        plan(load("smoke"), tmp_path).of("A-half")


def test_fewer_people_see_fewer_subjects_and_the_same_frames_of_each(tmp_path):
    made = plan(load("smoke", {"appendix": True}), tmp_path)
    subject = made.sources["train"].frames["subject"]
    quarter, half, everyone = (made.of(name)[0].frames.rows for name in ("A-quarter", "A-half", "A"))
    people = [set(subject.iloc[rows]) for rows in (quarter, half, everyone)]
    assert people[0] < people[1] < people[2] and len(people[1]) == 5
    assert set(half) == {row for row in everyone if subject.iloc[row] in people[1]} and set(quarter) < set(half)


def test_the_plan_says_of_every_network_where_it_starts_and_what_it_scores(tmp_path):
    made = plan(load("smoke"), tmp_path)
    table = made.table().set_index(["experiment", "fold", "seed"])
    own = [network.title for network in made.networks if EXPERIMENTS[network.experiment].extra]
    assert (len(table), len(own)) == (69, 17)  # the study's 57 with two seeds of the members, and of these our own
    assert table.loc[("A", 1, 7), "scores"] == "valid test"
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


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A small set in the true layout, and of all files of weights torchvision's."""
    root = tmp_path_factory.mktemp("casia-surf")
    for split, subjects in (("train", 6), ("valid", 3)):
        casia_surf.write(SynthSurf(split, subjects, 2, size=56, seed=5), root)
    torch.save(torchvision.models.resnet34().state_dict(), root / WEIGHT_FILES["imagenet"])
    return root


def real_plan(real, out):
    small = {"resize": 64, "crop": 64, "epochs": 1, "second_epochs": 0, "A.second_epochs": 0, "batch_size": 8}
    roots = {"data_root": str(real), "weights_root": str(real), "precision": "fp32", "seeds": 1}
    return plan(load("casia-surf", small | roots), out)


def test_experiments_without_their_weights_are_left_out(real, tmp_path):
    made = real_plan(real, tmp_path)
    without = {name for name in EXPERIMENTS if EXPERIMENTS[name].initialisation not in ("random", "imagenet")} | TAUGHT
    assert set(made.left_out) | {"dlib-real"} == without  # which hangs on a package
    with pytest.raises(FileNotFoundError, match=r"'asian' needs asian-ir50\.pth .*data/README\.md"):
        made.of("C")
    assert made.sources["valid"].frames["subject"].isna().all() and made.labelled("valid")


def test_real_layout_and_a_true_file_of_weights_make_a_network(real, tmp_path, monkeypatch):
    monkeypatch.setenv("FASNB_CACHE", str(tmp_path))
    network = real_plan(real, tmp_path).of("resnet34-imagenet")[0]
    module = initial_network(network)
    found = score(module, network.splits["valid"].open(), [0, 1], network.recipe, device="cpu")
    assert found.shape == (2,) and ((found >= 0) & (found <= 1)).all()
    first = torch.load(network.start, weights_only=True)["conv1.weight"]
    assert all(torch.equal(branch.stem.conv.weight, first) for branch in module.branches)

"""Profiles and recipes refuse what they do not know, and resolve what experiments inherit."""

import re
from dataclasses import replace

import pytest

from fasnb.paper import profile as profiles
from fasnb.paper.experiments import EXPERIMENTS
from fasnb.paper.profile import ProfileError, load, results_name
from fasnb.paper.published import OTHER, PRIMARY, TABLE3, WITHOUT_D, table3
from fasnb.paper.recipe import PAPER


@pytest.mark.parametrize("name", profiles.names())
def test_every_profile_loads_and_resolves(name):
    profile = load(name)
    for experiment in EXPERIMENTS.values():
        assert profile.recipe_of(experiment).batch_size > 0 and profile.seeds_of(experiment)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learnin_rate": "1"}, "unknown key 'learnin_rate'; did you mean 'learning_rate'?"),
        ({"sede": 1}, "did you mean 'seeds'?"),
        ({"resnet34-imagnet.epochs": 1}, "did you mean 'resnet34-imagenet'?"),
        ({"seeds": 0}, "seeds = 0: "),
        ({"seeds": "two"}, "seeds = 'two'"),
        ({"batch_size": 1.5}, "batch_size = 1.5: "),
        ({"source": "synthetc"}, "source"),
        ({"fprs": "[]"}, "fprs"),
        ({"fprs": "[2.0]"}, "fprs"),
        ({"fprs": [0.1, 0.1]}, "fprs"),
        ({"headline_fpr": 0.5}, "headline_fpr = 0.5 is not one of fprs"),
        ({"crop": 126}, "crop = 126 is larger than resize = 125"),
        ({"flip": "nan"}, "flip = nan: "),
        ({"A.width": 9}, "width = 9.0: "),
        ({"recipe": "papers"}, "recipe"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ProfileError, match=re.escape(message)):
        load("released", settings)


@pytest.mark.parametrize("changes", [{"batch_size": 0}, {"fusion": "sum"}, {"flip": True}, {"crop": 200}, {"epoch": 3}])
def test_a_recipe_refuses_what_no_training_could_use(changes):
    with pytest.raises((ValueError, TypeError), match=next(iter(changes))):
        replace(PAPER, **changes)


def test_settings_written_as_text_or_value_give_the_same_profile():
    as_text, as_values = {"seeds": "3", "learning_rate": "1"}, {"seeds": 3, "learning_rate": 1.0}
    assert load("released", as_text) == load("released", as_values)


def test_a_change_of_one_experiment_reaches_what_is_like_it_and_nothing_else():
    plain, changed = load("released"), load("released", {"A.learning_rate": 0.5})
    differing = [e.id for e in EXPERIMENTS.values() if plain.recipe_of(e) != changed.recipe_of(e)]
    assert differing == [e.id for e in EXPERIMENTS.values() if "A" in (e.id, e.like)] and len(differing) == 16


def test_released_recipe_gives_model_a_its_second_stage():
    profile = load("released", {"recipe": "released"})
    second = {e.id: profile.recipe_of(e).second_epochs for e in EXPERIMENTS.values()}
    assert (second["A"], second["D"], second["B"]) == (20, 0, 0)


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


def test_small_is_tiny_in_other_worlds():
    tiny, small = load("tiny"), load("small")
    its_own = ("name", "title", "budget_minutes", "population", "world", "worlds")
    assert replace(small, **{name: getattr(tiny, name) for name in its_own}) == tiny
    assert tiny.population == "small" and small.worlds >= 16
    assert tiny.world not in range(small.world, small.world + small.worlds)


def test_a_world_has_frames_and_first_weights_of_its_own():
    here, there = (load("tiny", {"world": world}) for world in (0, 3))
    assert here.world_seed != there.world_seed
    assert not {*here.seeds_of(EXPERIMENTS["A"])} & {*there.seeds_of(EXPERIMENTS["A"])}
    assert results_name("tiny", {"worlds": "4"}) == "tiny"


def test_twice_the_steps_are_twice_the_epochs_of_whatever_the_profile_says():
    profile = load("tiny", {"A.epochs": 3, "A.schedule_epochs": 5})
    longer = profile.recipe_of(EXPERIMENTS["A-longer"])
    assert (longer.epochs, longer.schedule_epochs) == (6, 10)
    student = profile.recipe_of(EXPERIMENTS["student"])  # half
    assert student.epochs == student.schedule_epochs == profile.recipe_of(EXPERIMENTS["B"]).epochs // 2

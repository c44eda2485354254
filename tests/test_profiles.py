"""Profiles refuse what they do not know and resolve what experiments inherit."""

import re

import pytest

from fasnb.paper import profile as profiles
from fasnb.paper.experiments import EXPERIMENTS
from fasnb.paper.profile import ProfileError, load


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
        ({"A.learning_rat": 1.0}, "unknown key A.learning_rat; did you mean 'learning_rate'?"),
        ({"resnet34-imagnet.epochs": 1}, "did you mean 'resnet34-imagenet'?"),
        ({"seeds": 0}, "seeds = 0; it must be at least 1"),
        ({"seeds": "two"}, "seeds = 'two' is not a whole number"),
        ({"seeds": True}, "seeds = True is not a whole number"),
        ({"batch_size": 1.5}, "batch_size = 1.5 is not a whole number"),
        ({"source": "synthetc"}, "did you mean 'synthetic'?"),
        ({"fprs": "[]"}, "fprs is empty"),
        ({"fprs": "[2.0]"}, "fprs = 2.0; it must be at least 0 and at most 1"),
        ({"headline_fpr": 0.5}, "headline_fpr = 0.5 is not one of fprs"),
        ({"crop": 126}, "crop = 126 is larger than resize = 125"),
        ({"flip": "2.0"}, "flip = 2.0; it must lie in [0, 1]"),
        ({"recipe": "papers"}, "did you mean 'paper'?"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ProfileError, match=re.escape(message)):
        load("released", settings)


def test_unknown_profile_names_the_nearest():
    with pytest.raises(ProfileError, match="did you mean 'released'"):
        load("realeased")


def test_a_profile_cannot_be_changed():
    with pytest.raises(AttributeError):
        load("released").seeds = 3


def test_settings_written_as_text_or_value_give_the_same_profile():
    assert load("released", {"seeds": "3", "learning_rate": "1"}) == load(
        "released", {"seeds": 3, "learning_rate": 1.0}
    )


def test_a_change_of_one_experiment_reaches_what_is_like_it_and_nothing_else():
    plain, changed = load("released"), load("released", {"A.learning_rate": 0.5})
    differing = [e.id for e in EXPERIMENTS.values() if plain.recipe_of(e) != changed.recipe_of(e)]
    assert differing == [e.id for e in EXPERIMENTS.values() if "A" in (e.id, e.like)] and len(differing) == 11


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

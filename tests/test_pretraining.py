"""Source tasks: pre-training, and the way from a backbone into a network."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_runs import made, splits  # noqa: F401
from test_training import STAGES, equal, one_thread  # noqa: F401

from fasnb.model.backbones import Stages
from fasnb.training.archive import is_done, load_facts, load_history
from fasnb.training.fit import fit, initial_network
from fasnb.training.plan import Network
from fasnb.training.pretraining import Pretraining, split
from fasnb.training.run import train


class Colours:
    """Pictures that are easy to learn: the class is the brightest channel."""

    fingerprint, classes, size, labels = "colours", 3, 16, np.arange(192) % 3
    pixels = np.random.default_rng(0).integers(0, 120, (192, 3, 16, 16)).astype(np.uint8)
    pixels[np.arange(192), labels] += 60

    def __len__(self):
        return len(self.labels)

    def read(self, indices):
        return self.pixels[np.asarray(indices)]


def backbone(seed=0, **recipe) -> Network:
    """A backbone to pre-train, of the stages that the striped networks have."""
    recipe = Pretraining(**{"epochs": 4, "batch_size": 32} | recipe)
    return Network("colours", 0, seed, Stages(*STAGES), recipe, Colours())


def test_it_learns_and_generalises():
    _, history = fit(backbone(epochs=6, batch_size=16), "cpu")
    assert history["loss"].iloc[-1] < history["loss"].iloc[0] and history["accuracy"].iloc[-1] > 0.8


def test_a_stopped_pretraining_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    network, state = backbone(), tmp_path / "state.pt"
    whole, history = fit(network, "cpu")
    backward, steps = torch.Tensor.backward, iter(range(7))
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss: (next(steps), backward(loss)))
    with pytest.raises(StopIteration):  # at the eighth step, in the second epoch
        fit(network, "cpu", state)
    monkeypatch.undo()
    resumed, again = fit(network, "cpu", state)
    assert equal(resumed, whole)
    assert len(again) == 4 and again[["loss", "accuracy"]].equals(history[["loss", "accuracy"]])


def test_the_backbone_that_a_network_starts_from_is_made_first(made, tmp_path):  # noqa: F811
    network = made(tmp_path, start=replace(backbone(), out=tmp_path))
    train([network], device="cpu")
    assert is_done(network.start) and "accuracy" in load_history(network.start)
    assert load_facts([network.start])["frames"].item() == 192 and network.start.key == backbone().key
    saved = torch.load(network.start.weights(), weights_only=True)["state_dict"]["stage2.0.bn1.running_mean"]
    assert torch.equal(initial_network(network).branches[1].stage2[0].bn1.running_mean, saved)
    assert network.key != made(tmp_path).key != made(tmp_path, start=backbone(seed=1)).key


def test_held_out_pictures_are_a_share_of_every_class_and_never_trained_on():
    labels = np.repeat([0, 1, 2, 3], [40, 20, 10, 1])
    train, held_out = split(labels, 0.2, seed=0)
    assert sorted([*train, *held_out]) == list(range(71))
    assert np.bincount(labels[held_out], minlength=4).tolist() == [8, 4, 2, 0]

"""Several worlds: other people and frames, and deviations between worlds and between seeds that are what they say."""

import numpy as np
import pandas as pd
import pytest

from fasnb.lab.session import Session
from fasnb.lab.worlds import between_worlds, world


def scores(accepted: dict[int, int]) -> pd.DataFrame:
    """A scores table of 100 bona fide and 100 attack frames; each seed accepts so many bona fide frames."""
    parts = []
    for seed, count in accepted.items():
        part = pd.DataFrame({"sample": [f"{i}" for i in range(200)], "label": [1] * 100 + [0] * 100})
        part["score"] = np.r_[np.where(np.arange(100) < count, 0.9, 0.1), np.full(100, 0.5)]
        parts.append(part.assign(attack=pd.NA, subject=pd.NA, experiment="A", fold=pd.NA, seed=seed))
    table = pd.concat(parts, ignore_index=True)
    return table.astype({"attack": "Int64", "fold": "Int64", "seed": "Int64", "subject": "string"})


def test_deviations_between_worlds_and_between_seeds():
    table = between_worlds(
        {1: scores({7: 80, 704: 84}), 2: scores({7: 90, 704: 94}), 3: scores({7: 70, 704: 74})}, [1e-2]
    )
    row = table.iloc[0]
    assert [row[f"world {k}"] for k in (1, 2, 3)] == [82, 92, 72] and row["mean"] == 82
    assert row["between worlds"] == pytest.approx(10)
    assert row["between seeds"] == pytest.approx(np.sqrt(8))  # variance of two values four apart
    assert row["between worlds alone"] == pytest.approx(np.sqrt(100 - 8 / 2))


def test_another_world_has_other_people_the_same_values_and_a_folder_of_its_own(tmp_path):
    study = Session("smoke", out=tmp_path)
    other = world(study, 2)
    assert world(study, 0) is study
    assert other.profile.data_seed == study.profile.data_seed + 2000 and other.out.parent.parent == study.out
    assert len(other.sources["valid"]) == len(study.sources["valid"])
    assert (other.sources["valid"].read([0]) != study.sources["valid"].read([0])).any()
    assert {n.folder.name for n in other.plan.networks}.isdisjoint(n.folder.name for n in study.plan.networks)

"""SynthSURF: reproducible to the byte, disjoint subjects, the right attacks, and no shortcut to the label."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fasnb.data.frames import FRAME_COLUMNS, FRAME_TYPES
from synthsurf import dataset, source_tasks
from synthsurf.dataset import CHALLENGE, SynthSurf
from synthsurf.sensors import look

DEPTH, IR = 3, 4
STILL = replace(look(0.5), pose=(0.0, 0.0, 0.0), tilt=0.0, crop=0.0)  # no poses, and the sheet hangs straight


def small(split="test", size=50, **changes) -> SynthSurf:
    """A source of 48 frames (50 x 50 is no whole number of vector registers)."""
    return SynthSurf(split, **({"subjects": 4, "frames_per_video": 3, "size": size, "seed": 11} | changes))


@pytest.mark.parametrize("size", [48, 50, 125])
def test_bytes_do_not_depend_on_the_batch_or_on_forgotten_prints(size, monkeypatch):
    every, source = small(size=size).read(np.arange(48)), small(size=size)
    for batch in ([0], [17], range(40, 48), np.random.default_rng(0).permutation(48)[:30]):
        np.testing.assert_array_equal(source.read(batch), every[list(batch)])
    monkeypatch.setattr(dataset, "_PAGE_CACHE", 0)
    for index in (5, 6, 5):
        np.testing.assert_array_equal(source.read([index])[0], every[index])
    assert source.read([]).shape == (0, 5, size, size)


def test_bytes_do_not_depend_on_threads_or_the_callers_defaults():
    frames, before = small().read([3, 30]), torch.get_num_threads()
    try:
        torch.set_default_dtype(torch.float64)
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            np.testing.assert_array_equal(small().read([3, 30]), frames)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(before)


def test_fingerprint_follows_what_determines_the_pixels():
    changes = [{}, {"seed": 12}, {"size": 51}, {"split": "valid"}, {"difficulty": 0.6}, {"subjects": 5}]
    changes += [{"frames_per_video": 4}, {"difficulty": replace(look(0.5), ir_noise=0.2)}]
    prints = [small(**change).fingerprint for change in changes]
    assert len(set(prints)) == len(prints) and all(len(p) == 64 for p in prints)
    assert small(difficulty=0.5).fingerprint == small(difficulty=look(0.5)).fingerprint == prints[0]
    assert pickle.loads(pickle.dumps(small())).fingerprint == prints[0]


@pytest.mark.parametrize(("split", "attacks"), [("train", {4, 5, 6}), ("valid", {1, 2, 3}), ("test", {1, 2, 3})])
def test_table_of_a_split(split, attacks):
    table = small(split).frames
    assert tuple(table.columns) == FRAME_COLUMNS
    assert {name: str(kind) for name, kind in table.dtypes.items()} == FRAME_TYPES
    assert set(table["attack"]) == {0} | attacks
    assert (table.groupby(["subject", "attack"]).size() == 3).all() and len(table) == 48
    assert ((table["label"] == 1) == (table["attack"] == 0)).all()
    assert (table["split"] == split).all() and table["sample"].is_unique


def test_subjects_of_splits_are_disjoint_by_name_and_by_face():
    sources = [small(split) for split in ("train", "valid", "test")]
    names = [set(source.frames["subject"]) for source in sources]
    assert sum(map(len, names)) == len(set.union(*names)) == 12
    sources += [source_tasks.faces(2, 1, 32, 11, population) for population in "AB"]
    sources += [source_tasks.gender(2, 1, 32, 11)]
    streams = [{tuple(key) for key in source._keys(0, torch.arange(600)).tolist()} for source in sources]
    assert len(set.union(*streams)) == 6 * 600


@pytest.mark.parametrize("split", ["valid", "test"])
def test_the_order_of_the_names_tells_no_label(split):
    labels = SynthSurf(split, 30, 10, 32).frames["label"]
    assert 0.30 < (labels.diff().iloc[1:] != 0).mean() < 0.45  # 2 x 1/4 x 3/4 for a shuffled order


def test_totals_have_the_kinds_of_the_real_data():
    assert [sum(split["frames"].values()) for split in CHALLENGE.values()] == [29266, 9608, 57710]
    for split, size in CHALLENGE.items():
        table = SynthSurf(split, size["subjects"], frames=sum(size["frames"].values()), size=32).frames
        assert table["attack"].value_counts().to_dict() == size["frames"]
        videos = table.groupby(["subject", "attack"]).size().groupby("attack")
        assert table["subject"].nunique() == size["subjects"] and (videos.max() - videos.min()).max() <= 1
    few = SynthSurf("train", 7, size=32, frames=123).frames
    assert few["attack"].value_counts().to_dict() == {0: 38, 5: 29, 6: 29, 4: 27}


def test_a_larger_frame_shows_the_same_scene():
    few, many = small(size=56), small(size=56).at_size(112)
    for kind in (0, 3, 6):
        a, b = few.example(kind)["frame"].astype(float), many.example(kind)["frame"].astype(float)
        b = b.reshape(5, 56, 2, 56, 2).mean((2, 4))
        assert min(np.corrcoef(a[channel].ravel(), b[channel].ravel())[0, 1] for channel in range(5)) > 0.9


def test_a_cut_out_shows_the_live_face_in_every_modality():
    """Other paper and ink change what is seen beside the cut-outs and nothing within."""
    one = small(size=96, difficulty=replace(STILL, shadow=0.0, paper_ir=(0.8, 0.8)))
    ink = {"print_gamut": (0.3, 0.3), "print_cast": 0.2}
    two = small(size=96, difficulty=replace(STILL, shadow=0.0, paper_ir=(0.3, 0.3), **ink))
    for subject in range(2):
        shares = []
        for kind in (1, 3, 5):
            a, b = one.example(kind, subject), two.example(kind, subject)
            face = (a["inside"] > 0) & (b["inside"] > 0)
            cut = face & (a["opening"] == 1) & (b["opening"] == 1)
            paper = face & (a["opening"] == 0) & (b["opening"] == 0)
            np.testing.assert_array_equal(a["reflectance"][:, cut], b["reflectance"][:, cut])
            np.testing.assert_array_equal(a["depth"][cut], b["depth"][cut])
            assert (np.abs(a["reflectance"] - b["reflectance"])[:, paper].mean(1) > 0.005).all()
            shares.append(cut.sum() / face.sum())
        assert 0.02 < shares[0] < shares[1] < shares[2] < 0.4


def test_relief_of_faces_and_sheets():
    """Millimetres of the depth map: a face has a nose, of which a print keeps less; a bent sheet falls to its sides."""
    source = small(size=96, difficulty=STILL, subjects=12)
    maps = np.array([[source.example(kind, subject)["depth"] for subject in range(12)] for kind in range(4)])

    def depth(kind: int, row: float, column: float) -> float:
        row, column = int(row * 96), int(column * 96)
        return np.median(maps[kind, :, row - 2 : row + 3, column - 2 : column + 3], (1, 2)).mean()

    nose = [depth(kind, 0.50, 0.27) - depth(kind, 0.50, 0.50) for kind in range(4)]
    assert nose[0] > 15 and 0 < nose[1] < 12 and 5 < nose[3] < nose[0] - 5
    assert depth(0, 0.30, 0.28) - depth(0, 0.20, 0.31) > 2  # eye socket and brow
    sag = [depth(kind, 0.70, 0.15) + depth(kind, 0.70, 0.85) - 2 * depth(kind, 0.70, 0.5) for kind in (1, 2)]
    assert sag[1] > 10 + sag[0]


def test_frames_measure_as_real_ones_do():
    """Quartiles of medians within the outline, 8-bit, and whole-frame means, against CASIA-SURF's frames in papers."""
    source = SynthSurf("valid", 40, frames=400, size=112, seed=5)
    images, labels = source.read(np.arange(400)), source.frames["label"].to_numpy(int)
    inside = (images[:, :3] > 0).any(1)
    assert 0.63 < np.median(inside.mean((1, 2))) < 0.78
    assert not images[:, DEPTH:].max(1)[~inside].any() and (images[:, IR] > 0)[inside].mean() > 0.99
    medians = np.array([[np.median(m[m > 0]) for m in image[DEPTH:]] for image in images])
    holes = (inside & (images[:, DEPTH] == 0)).sum((1, 2)) / inside.sum((1, 2))
    for label, bounds, most in ((1, ((180, 240), (45, 85)), 0.005), (0, ((90, 185), (32, 60)), 0.023)):
        for values, (low, high) in zip(medians[labels == label].T, bounds, strict=True):
            assert low < np.percentile(values, 25) < np.percentile(values, 75) < high
        assert holes[labels == label].mean() < most
    np.testing.assert_allclose(images[:, DEPTH:].mean((0, 2, 3)) / 255, (0.44, 0.16), atol=0.03)


@pytest.mark.parametrize(("difficulty", "low", "high"), [(0.0, 0.98, 1.0), (0.5, 0.75, 0.95), (1.0, 0.02, 0.20)])
def test_what_the_level_of_depth_alone_tells(difficulty, low, high):
    """Bona fide frames accepted at an FPR of 1e-2 by an untrained rule."""
    source = SynthSurf("valid", 250, frames=1500, size=32, difficulty=difficulty, seed=1)
    depth, labels = source.read(np.arange(1500))[:, DEPTH], source.frames["label"].to_numpy(int)
    level = np.array([np.median(image[image > 0]) for image in depth])
    assert low <= (level[labels == 1] > np.quantile(level[labels == 0], 0.99)).mean() <= high


TASKS = {
    "faces A": lambda: source_tasks.faces(6, 8, 50, 3, "A"),
    "faces B": lambda: source_tasks.faces(6, 8, 50, 3, "B"),
    "gender": lambda: source_tasks.gender(24, 2, 50, 3),
    "generic": lambda: source_tasks.generic(48, 50, 3),
}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_source_tasks_are_deterministic_with_equal_classes(task):
    every = task().read(np.arange(48))
    assert every.shape == (48, 3, 50, 50) and every.dtype == np.uint8
    order = np.random.default_rng(1).permutation(48)
    np.testing.assert_array_equal(task().read(order), every[order])
    assert len(np.unique(every.reshape(48, -1), axis=0)) == 48
    labels = task().labels
    assert labels.dtype == np.int64 and set(np.bincount(labels)) == {48 // task().classes}


def test_source_tasks_differ_from_each_other():
    made = [make() for make in TASKS.values()] + [source_tasks.gender(12, 4, 50, 3)]
    made += [source_tasks.faces(8, 6, 50, 3, "A"), source_tasks.faces(6, 8, 50, 4, "A")]
    assert len({task.fingerprint for task in made}) == len(made)
    mean = {p: source_tasks.faces(60, 1, 32, 0, p).read(np.arange(60)).mean() for p in "AB"}
    assert mean["B"] > 1.1 * mean["A"]  # skin


def test_gender_can_be_learned_and_is_not_trivial():
    x = source_tasks.gender(600, 1, 24, 5).read(np.arange(600)).reshape(600, -1) / 255.0
    y = np.arange(600) % 2
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=300)).fit(x[:450], y[:450])
    assert 0.58 < model.score(x[450:], y[450:]) < 0.99


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: small("dev"), "'dev'.*train, valid, test"),
        (lambda: small(subjects=0), "subjects is 0"),
        (lambda: small(difficulty=1.5), "1.5.*from 0"),
        (lambda: small(frames=100), "either frames_per_video or frames"),
        (lambda: small(frames_per_video=None, frames=3), "at least one frame of each"),
        (lambda: small(frames_per_video=None, frames={0: 5, 4: 5}), r"\[0, 4\].*\[0, 1, 2, 3\]"),
        (lambda: small().read([48]), "48 is out of range; there are 48"),
        (lambda: small().read([0.5]), "integers"),
        (lambda: small().example(0, 4), "subject is 4.*0 to 3"),
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        wrong()

"""SynthSURF: reproducible to the byte, disjoint subjects, the right attacks, and no shortcut to the label."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fasnb.data.frames import FRAME_COLUMNS, FRAME_TYPES
from synthsurf import dataset, sensors, source_tasks
from synthsurf.dataset import CHALLENGE, SynthSurf
from synthsurf.draws import Draws, row_keys
from synthsurf.sensors import look

DEPTH, IR = 3, 4
STILL = replace(look(0.5), pose=(0.0, 0.0, 0.0), tilt=0.0, crop=0.0)  # no poses, and the sheet hangs straight


def small(split="test", size=50, **changes) -> SynthSurf:
    """A source of 48 frames (50 x 50 is no whole number of vector registers)."""
    return SynthSurf(split, **({"subjects": 4, "frames_per_video": 3, "size": size, "seed": 11} | changes))


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return small().read(np.arange(48))


@pytest.mark.parametrize("size", [48, 50, 125])
def test_bytes_do_not_depend_on_the_batch_or_on_forgotten_prints(size, monkeypatch):
    every, source = small(size=size).read(np.arange(48)), small(size=size)
    for batch in ([0], [17], range(40, 48), np.random.default_rng(0).permutation(48)[:30]):
        np.testing.assert_array_equal(source.read(batch), every[list(batch)])
    monkeypatch.setattr(dataset, "_PAGE_CACHE", 0)
    for index in (5, 6, 5):
        np.testing.assert_array_equal(source.read([index])[0], every[index])
    assert source.read([]).shape == (0, 5, size, size)


def test_bytes_do_not_depend_on_threads_or_the_callers_defaults(frames):
    before = torch.get_num_threads()
    try:
        torch.set_default_dtype(torch.float64)
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            np.testing.assert_array_equal(small().read([3, 30]), frames[[3, 30]])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(before)


def test_bytes_do_not_depend_on_the_process(frames):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        even, odd = pool.map(small().read, [np.arange(0, 48, 2), np.arange(1, 48, 2)])
    np.testing.assert_array_equal(even, frames[::2])
    np.testing.assert_array_equal(odd, frames[1::2])


def test_more_frames_a_video_leave_the_first_ones_as_they_were():
    short, long = small("train", frames_per_video=2), small("train", frames_per_video=5)
    place = long.frames.reset_index().set_index("sample")["index"][short.frames["sample"]]
    np.testing.assert_array_equal(long.read(place.to_numpy()), short.read(np.arange(len(short))))


def test_fingerprint_follows_what_determines_the_pixels():
    changes = [{}, {"seed": 12}, {"size": 51}, {"split": "valid"}, {"difficulty": 0.6}, {"subjects": 5}]
    changes += [{"frames_per_video": 4}, {"difficulty": replace(look(0.5), ir_noise=0.2)}]
    prints = [small(**change).fingerprint for change in changes]
    assert len(set(prints)) == len(prints) and all(len(p) == 64 for p in prints)
    assert small(difficulty=0.5).fingerprint == small(difficulty=look(0.5)).fingerprint == prints[0]
    assert pickle.loads(pickle.dumps(small())).fingerprint == prints[0]


def test_draws_are_uniform_normal_and_independent_between_neighbouring_keys():
    keys = row_keys(64, 3, torch.arange(64))
    uniform = Draws(keys).uniform(0.0, 1.0, 2048).flatten(1).numpy()
    normal = np.stack([m.numpy() for m in Draws(keys).normal_maps(32, 64)])
    assert stats.kstest(uniform.ravel(), "uniform").pvalue > 1e-3
    assert stats.kstest(normal.ravel(), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(uniform)[~np.eye(64, dtype=bool)]).max() < 5 / np.sqrt(2048)


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


def test_paths_follow_casia_surf():
    train = small("train").frames.set_index("sample")
    attack = train.loc["Training/fake_part/SYNT_AS0001/04_en_b.rssdk/color/1.jpg"]
    assert attack["attack"] == 4 and attack["subject"] == "SYNT_AS0001"
    assert attack["depth"] == "Training/fake_part/SYNT_AS0001/04_en_b.rssdk/depth/1.jpg"
    assert train.loc["Training/real_part/SYNT_AS0002/real.rssdk/color/3.jpg", "ir"].endswith("real.rssdk/ir/3.jpg")
    for split, root in (("valid", "Val"), ("test", "Testing")):
        table = SynthSurf(split, 30, 10, 32).frames
        assert list(table.loc[1001, ["sample", "ir"]]) == [f"{root}/0001/001001-{name}.jpg" for name in ("color", "ir")]
        assert 0.30 < (table["label"].diff().iloc[1:] != 0).mean() < 0.45  # 2 x 1/4 x 3/4 for a shuffled order


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
    two = small(
        size=96, difficulty=replace(STILL, shadow=0.0, paper_ir=(0.3, 0.3), print_gamut=(0.3, 0.3), print_cast=0.2)
    )
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


def test_depth_is_one_rule_and_its_holes_have_causes():
    """255 at 0.3 m, 0 at 1 m; no depth behind an edge, over an edge that moves, in the dark and in a glint."""
    draws, wall = Draws(row_keys(32, torch.arange(32))), torch.full((32, 16, 16), 500.0)
    exact = replace(look(0.5), depth_white=0.0, depth_wave=0.0)
    camera, pixel, place = sensors.draw_camera(draws, draws, exact), torch.ones(32, 1, 1), torch.arange(16)

    def measured(start, end, signal=0.5):
        return sensors.depth_frame(start, end, torch.full_like(wall, signal), pixel, camera, draws, exact)

    floor, grey = (torch.linspace(*ends, 16)[:, None].expand_as(wall) for ends in ((300.0, 1000.0), (255.0, 0.0)))
    assert (measured(floor, floor)[0] - grey).abs().max() < 0.01 and measured(floor, floor)[1].all()
    step = wall + 40 * (place > 7)
    assert (measured(step, step)[1] == (place != 8)).all() and (measured(step, wall)[1] == (place < 8)).all()
    assert not measured(wall, wall, 0.01)[1].any() and not measured(wall, wall, 4.0)[1].any()


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
    np.testing.assert_array_equal(task().read([4])[0], every[4])
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


def test_wrong_values_are_refused():
    wrong = {
        "'dev'.*train, valid, test": {"split": "dev"},
        "subjects is 0": {"subjects": 0},
        "size is 8.*16": {"size": 8},
    }
    wrong |= {"1.5.*from 0": {"difficulty": 1.5}, "either frames_per_video or frames": {"frames": 100}}
    wrong |= {"at least one frame of each": {"frames_per_video": None, "frames": 3}}
    wrong |= {r"\[0, 4\].*\[0, 1, 2, 3\]": {"frames_per_video": None, "frames": {0: 5, 4: 5}}}
    for words, change in wrong.items():
        with pytest.raises(ValueError, match=words):
            small(**change)


def test_wrong_indices_are_refused():
    source = small()
    wrong = {"48 is out of range; there are 48": [48], "-1": [-1], "integers": [0.5], "sequence": 3}
    for words, index in wrong.items():
        with pytest.raises(ValueError, match=words):
            source.read(index)
    for example, words in [((7,), "kind is 7"), ((0, 4), r"subject is 4.*0 to 3")]:
        with pytest.raises(ValueError, match=words):
            source.example(*example)

"""SynthSURF: reproducible to the byte, disjoint subjects, the right attacks, and no shortcut to the label."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.ndimage import maximum_filter
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fasnb.data.frames import FRAME_COLUMNS, FRAME_TYPES
from fasnb.data.shortcut import frame_statistics, shortcut_report
from fasnb.synthsurf import dataset as synthetic
from fasnb.synthsurf import sensors, source_tasks
from fasnb.synthsurf.dataset import CHALLENGE, SynthSurf, look
from fasnb.synthsurf.draws import Draws, row_keys

R, G, B, DEPTH, IR = range(5)


def small(split="test", size=50, **changes) -> SynthSurf:
    """A fresh source of 48 frames (50 x 50 is no whole number of vector registers)."""
    return SynthSurf(split, **({"subjects": 4, "frames_per_video": 3, "size": size, "seed": 11} | changes))


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return small().read(np.arange(48))


# ---- determinism ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_bytes_do_not_depend_on_the_batch(frames, batch):
    source = small()
    parts = [source.read(range(start, min(start + batch, 48))) for start in range(0, 48, batch)]
    np.testing.assert_array_equal(np.concatenate(parts), frames)


@pytest.mark.parametrize("size", [48, 125])
def test_bytes_do_not_depend_on_the_batch_at_other_sizes(size):
    every = small(size=size).read(np.arange(48))
    source = small(size=size)
    for index in (0, 17, 47):
        np.testing.assert_array_equal(source.read([index])[0], every[index])


def test_bytes_do_not_depend_on_order_or_subset(frames):
    order = np.random.default_rng(0).permutation(48)[:30]
    np.testing.assert_array_equal(small().read(order), frames[order])


def test_bytes_do_not_depend_on_threads(frames):
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            np.testing.assert_array_equal(small().read(np.arange(48)), frames)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_bytes_do_not_depend_on_the_process(frames):
    halves = [np.arange(0, 48, 2), np.arange(1, 48, 2)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        even, odd = pool.map(small().read, halves)
    np.testing.assert_array_equal(even, frames[::2])
    np.testing.assert_array_equal(odd, frames[1::2])


def test_bytes_do_not_depend_on_the_callers_defaults(frames):
    try:
        torch.set_default_dtype(torch.float64)
        np.testing.assert_array_equal(small().read([3, 30]), frames[[3, 30]])
    finally:
        torch.set_default_dtype(torch.float32)


def test_bytes_do_not_depend_on_forgotten_prints(frames, monkeypatch):
    monkeypatch.setattr(synthetic, "_PAGE_CACHE", 0)
    source = small()
    assert source.read([]).shape == (0, 5, 50, 50)
    for index in (5, 6, 5):
        np.testing.assert_array_equal(source.read([index])[0], frames[index])


def test_more_frames_a_video_leave_the_first_ones_as_they_were():
    short, long = small("train", frames_per_video=2), small("train", frames_per_video=5)
    place = long.frames.reset_index().set_index("sample")["index"][short.frames["sample"]]
    np.testing.assert_array_equal(long.read(place.to_numpy()), short.read(np.arange(len(short))))


def test_seed_and_split_change_every_frame():
    base = small("valid").example(0)["frame"]
    for other in (small("valid", seed=12), small("test"), small("train"), small("valid", seed=11 + (1 << 32))):
        assert (other.example(0)["frame"] != base).mean() > 0.2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_renders_the_same_up_to_rounding(frames):
    difference = np.abs(small(device="cuda").read(np.arange(48)).astype(int) - frames)
    assert (difference > 1).mean() < 1e-3


# ---- random numbers -------------------------------------------------------------------------------------------------


def test_draws_are_uniform_normal_and_independent_between_neighbouring_keys():
    keys = row_keys(64, 3, torch.arange(64))
    uniform = Draws(keys).uniform(0.0, 1.0, 2048).flatten(1).numpy()
    normal = np.stack([m.numpy() for m in Draws(keys).normal_maps(32, 64)])
    assert stats.kstest(uniform.ravel(), "uniform").pvalue > 1e-3
    assert stats.kstest(normal.ravel(), "norm").pvalue > 1e-3
    rows = np.corrcoef(uniform)
    assert np.abs(rows[~np.eye(64, dtype=bool)]).max() < 5 / np.sqrt(2048)
    columns = np.corrcoef(uniform.T[:64])  # the same number of neighbouring streams
    assert np.abs(columns[~np.eye(64, dtype=bool)]).max() < 0.62  # 64 samples: five standard deviations


def test_row_keys_of_different_words_differ():
    subject, number = (grid.ravel() for grid in np.meshgrid(np.arange(300), np.arange(200)))
    keys = row_keys(len(subject), 1, 2, torch.from_numpy(subject), torch.from_numpy(number))
    assert len(np.unique(keys.numpy(), axis=0)) == len(subject)


def test_smooth_pattern_is_torchs_bicubic_interpolation():
    keys = row_keys(5, 9)
    nodes = Draws(keys).normal(6, 6).view(5, 1, 6, 6)
    expected = torch.nn.functional.interpolate(nodes, (48, 48), mode="bicubic", align_corners=False)[:, 0]
    torch.testing.assert_close(sensors.smooth_pattern(Draws(keys), 6, 48, 48), expected, rtol=0, atol=1e-5)


# ---- the frame table ------------------------------------------------------------------------------------------------


def test_attacks_of_the_splits_and_one_video_of_each():
    for split, attacks in (("train", {0, 4, 5, 6}), ("valid", {0, 1, 2, 3}), ("test", {0, 1, 2, 3})):
        table = small(split).frames
        assert set(table["attack"]) == attacks
        assert (table.groupby(["subject", "attack"]).size() == 3).all() and len(table) == 48
        assert ((table["label"] == 1) == (table["attack"] == 0)).all()
        assert (table["split"] == split).all() and table["sample"].is_unique


def test_table_has_the_columns_and_types_of_every_frame_table():
    table = small().frames
    assert tuple(table.columns) == FRAME_COLUMNS
    assert {name: str(kind) for name, kind in table.dtypes.items()} == FRAME_TYPES


def test_subjects_of_splits_are_disjoint_by_name_and_by_face():
    sources = {split: small(split) for split in ("train", "valid", "test")}
    names = [set(source.frames["subject"]) for source in sources.values()]
    assert sum(map(len, names)) == len(set.union(*names)) == 12
    streams = {split: {tuple(k) for k in s._keys(0, torch.arange(600)).tolist()} for split, s in sources.items()}
    tasks = [
        source_tasks.faces(2, 1, 32, 11, "A"),
        source_tasks.faces(2, 1, 32, 11, "B"),
        source_tasks.gender(2, 1, 32, 11),
    ]
    streams |= {i: {tuple(k) for k in task._keys(0, torch.arange(600)).tolist()} for i, task in enumerate(tasks)}
    assert len(set.union(*streams.values())) == 6 * 600


def test_paths_follow_casia_surf():
    train = small("train").frames.set_index("sample")
    attack = train.loc["Training/fake_part/SYNT_AS0001/04_en_b.rssdk/color/1.jpg"]
    assert attack["attack"] == 4 and attack["subject"] == "SYNT_AS0001"
    assert attack["depth"] == "Training/fake_part/SYNT_AS0001/04_en_b.rssdk/depth/1.jpg"
    assert train.loc["Training/real_part/SYNT_AS0002/real.rssdk/color/3.jpg", "ir"].endswith("real.rssdk/ir/3.jpg")
    for split, root in (("valid", "Val"), ("test", "Testing")):
        table = SynthSurf(split, 30, 10, 32).frames
        expected = [f"{root}/0000/000000-{name}.jpg" for name in ("color", "depth", "ir")]
        assert list(table.loc[0, ["rgb", "depth", "ir"]]) == expected
        assert table.loc[1001, "sample"] == f"{root}/0001/001001-color.jpg"


def test_file_number_does_not_reveal_the_label():
    label = SynthSurf("valid", 50, 20, 32).frames["label"].to_numpy(int)
    assert abs(np.corrcoef(np.arange(len(label)), label)[0, 1]) < 0.06
    assert 0.30 < (np.diff(label) != 0).mean() < 0.45  # 2 x 1/4 x 3/4 for a shuffled order


def test_challenge_size_has_the_frames_of_casia_surf():
    totals = {}
    for split, size in CHALLENGE.items():
        source = SynthSurf(split, size=125, **size)
        table, totals[split] = source.frames, len(source)
        assert table["subject"].nunique() == size["subjects"]
        assert table["attack"].value_counts().to_dict() == size["frames"]
        videos = table.groupby(["subject", "attack"]).size().groupby("attack")
        assert (videos.max() - videos.min()).max() <= 1
    assert totals == {"train": 29266, "valid": 9608, "test": 57710}


def test_a_total_of_frames_has_the_kinds_of_the_real_data():
    for split, size in CHALLENGE.items():
        table = SynthSurf(split, size["subjects"], frames=sum(size["frames"].values()), size=32).frames
        assert table["attack"].value_counts().to_dict() == size["frames"]
    table = SynthSurf("train", 7, size=32, frames=123).frames
    counts = table.groupby(["attack", "subject"]).size()
    assert len(table) == 123 and (counts.groupby("attack").max() - counts.groupby("attack").min()).max() <= 1
    assert table["attack"].value_counts().to_dict() == {0: 38, 5: 29, 6: 29, 4: 27}
    assert len(SynthSurf("valid", 2, size=32, frames=4).frames["attack"].unique()) == 4


def test_fingerprint_follows_what_determines_the_pixels():
    prints = [small(**change).fingerprint for change in (
        {}, {"seed": 12}, {"size": 51}, {"split": "valid"}, {"difficulty": 0.6}, {"subjects": 5},
        {"frames_per_video": 4}, {"difficulty": replace(look(0.5), ir_noise=0.2)},
    )]  # fmt: skip
    assert len(set(prints)) == len(prints) and all(len(p) == 64 for p in prints)
    assert small(difficulty=0.5).fingerprint == small(difficulty=look(0.5)).fingerprint == prints[0]
    assert pickle.loads(pickle.dumps(small())).fingerprint == prints[0]


# ---- what the pictures show -----------------------------------------------------------------------------------------


def test_background_is_black_and_outlines_agree():
    source = small(size=96)
    for kind in range(7):
        for subject in range(4):
            example = source.example(kind, subject)
            outside, frame = example["inside"] == 0, example["frame"]
            assert not frame[:, outside].any()
            seen = (frame[:3] > 0).any(0)[~outside].mean(), (frame[IR] > 0)[~outside].mean()
            assert min(seen) > 0.99
            assert (frame[DEPTH] > 0)[~outside].mean() > 0.8  # the rest are holes


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
def test_frames_have_the_depth_and_the_crop_of_the_real_ones(difficulty):
    """Whole-frame mean 0.143 and deviation 0.101 of CASIA-SURF's validation depth; a face fills 65 to 90% of a frame."""
    frames = SynthSurf("valid", 60, frames=480, size=48, difficulty=difficulty, seed=3).read(np.arange(480))
    depth = frames[:, DEPTH] / 255
    assert depth.mean() == pytest.approx(0.143, abs=0.02) and depth.std() == pytest.approx(0.101, abs=0.02)
    area = (frames[:, :3] > 0).any(1).mean((1, 2))
    assert 0.65 < np.median(area) < 0.9 and np.mean((area > 0.55) & (area < 0.9)) > 0.95


def test_a_larger_frame_shows_the_same_scene():
    few, many = small(size=56), small(size=112)
    for kind in (0, 3, 6):
        a, b = few.example(kind)["frame"].astype(float), many.example(kind)["frame"].astype(float)
        b = b.reshape(5, 56, 2, 56, 2).mean((2, 4))
        for channel in range(5):
            assert np.corrcoef(a[channel].ravel(), b[channel].ravel())[0, 1] > 0.9


def still(**changes):
    """A look without poses, in which the sheet hangs straight."""
    return replace(look(0.5), pose=(0.0, 0.0, 0.0), tilt=0.0, crop=0.0, **changes)


def test_a_cut_out_shows_the_live_face_in_every_modality():
    """Other paper and ink change what is seen beside the cut-outs and nothing within."""
    one = small(size=96, difficulty=still(shadow=0.0, paper_ir=(0.8, 0.8)))
    two = small(size=96, difficulty=still(shadow=0.0, paper_ir=(0.3, 0.3), print_gamut=(0.3, 0.3), print_cast=0.2))
    for subject in range(4):
        shares = []
        for kind in (1, 3, 5):
            a, b = one.example(kind, subject), two.example(kind, subject)
            face = (a["inside"] > 0) & (b["inside"] > 0)
            cut = face & (a["opening"] == 1) & (b["opening"] == 1)
            paper = face & (a["opening"] == 0) & (b["opening"] == 0)
            np.testing.assert_array_equal(a["reflectance"][:, cut], b["reflectance"][:, cut])
            np.testing.assert_array_equal(a["depth"][cut], b["depth"][cut])
            for channel in (R, G, B, 3):
                assert np.abs(a["reflectance"][channel][paper] - b["reflectance"][channel][paper]).mean() > 0.005
            shares.append(cut.sum() / face.sum())
        assert 0.02 < shares[0] < shares[1] < shares[2] < 0.4


def test_the_person_behind_the_sheet_looks_through_the_eyes_that_are_cut_out():
    source = small(size=96, subjects=12)
    for subject in range(12):
        part = source.example(1, subject)
        infrared = part["reflectance"][3][part["opening"] == 1]
        assert infrared.min() < 0.15 < 0.5 < infrared.max()  # pupil or lashes, and skin


def test_a_person_keeps_skin_and_light_over_all_seven_kinds():
    source = small(size=64, subjects=12)
    tint = np.empty((12, 7, 3))
    for subject in range(12):
        for kind in range(7):
            frame = source.example(kind, subject)["frame"][:3].astype(float)
            tint[subject, kind] = frame.sum((1, 2)) / frame.sum()
    assert tint.std(axis=1).mean() < 0.85 * tint.mean(axis=1).std(axis=0).mean()


def relief(
    source: SynthSurf, kind: int, subject: int, where: tuple[float, float], beside: tuple[float, float]
) -> float:
    """Millimetres by which one place of a frame (row, column; shares of its size) is nearer than another."""
    depth, size = source.example(kind, subject)["depth"], source.size

    def at(place: tuple[float, float]) -> float:
        row, column = (int(share * size) for share in place)
        return np.median(depth[row - 2 : row + 3, column - 2 : column + 3])

    return at(beside) - at(where)


def test_a_living_face_has_a_nose_and_eye_sockets_and_a_print_has_them_only_where_it_is_cut():
    source = small(size=96, difficulty=still(), subjects=12)
    nose, cheek, eye, brow = (0.60, 0.50), (0.60, 0.30), (0.45, 0.33), (0.36, 0.36)

    def mean(kind: int, where, beside) -> float:
        return np.mean([relief(source, kind, subject, where, beside) for subject in range(12)])

    assert mean(0, nose, cheek) > 15 and abs(mean(1, nose, cheek)) < 5
    assert mean(3, nose, cheek) > mean(1, nose, cheek) + 5
    assert mean(0, brow, eye) > 2 and abs(mean(1, brow, cheek)) < 5


def test_a_bent_sheet_is_bent_and_a_flat_one_flat():
    source = small(size=64, difficulty=still(), subjects=12)

    def sag(kind: int, subject: int) -> float:
        """Millimetres from the middle of the forehead back to the sides of the sheet."""
        part = source.example(kind, subject)
        row = part["depth"][14]
        columns = np.flatnonzero(part["inside"][14])
        return row[columns[[1, -2]]].mean() - row[columns[len(columns) // 2]]

    assert np.mean([sag(2, s) for s in range(12)]) > 10 + np.mean([sag(1, s) for s in range(12)])


def test_depth_fails_at_edges_alone():
    """Nine of ten holes lie within two pixels of a step of the surface, and a flat print without a step has none."""
    source = small(size=112, subjects=12)
    for subject in range(12):
        part = source.example(1, subject)
        hole = (part["frame"][DEPTH] == 0) & (part["inside"] > 0)
        near_cut = maximum_filter((part["opening"] > 0) & (part["opening"] < 1), 9)
        assert hole[~near_cut].mean() < 0.02


def test_a_face_is_brighter_in_infrared_where_it_is_nearer():
    ratio = []
    draws = Draws(row_keys(32, 5))
    camera = sensors.draw_camera(draws, draws, look(0.5))
    flat = torch.ones(32, 8, 8)
    for mm in (400.0, 800.0):
        ratio.append(sensors.infrared_signal(flat * 0.5, flat, flat * 0, flat * mm, camera))
    torch.testing.assert_close(ratio[0] / ratio[1], flat * 4.0)  # the square of the distance


def test_compression_keeps_flat_planes_and_drops_faint_detail():
    planes = torch.full((2, 3, 50, 50), 77.0)
    torch.testing.assert_close(sensors.compressed(planes, 1.0), planes)
    faint = 0.4 * torch.randn(2, 3, 50, 50, generator=torch.Generator().manual_seed(0))
    kept = sensors.compressed(planes + faint, 1.0) - planes
    assert kept.std() < 0.7 * faint.std()
    strong = 40 * torch.randn(2, 3, 50, 50, generator=torch.Generator().manual_seed(1))
    assert (sensors.compressed(planes + strong, 1.0) - planes - strong).std() < 1.5


def test_identity_is_kept_over_frames_and_kinds():
    source = SynthSurf("test", 12, 4, 48, seed=2)

    def parameters(kind: int, number: int):
        return source._parameters(np.arange(12), np.full(12, kind), np.full(12, number))[0].take(slice(12))

    first, later, attacked = parameters(0, 0), parameters(0, 1), parameters(1, 0)
    for name in ("relief", "skin", "iris", "moles", "hairline", "glasses"):
        face = getattr(first.face, name)
        assert torch.equal(face, getattr(later.face, name)) and torch.equal(face, getattr(attacked.face, name))
    assert len(np.unique(first.face.relief.flatten(1).numpy(), axis=0)) == 12
    assert len(torch.cat([c.pose.yaw for c in (first, later, attacked)]).unique()) == 36
    assert torch.equal(first.camera.light, later.camera.light) and not torch.equal(first.keys, later.keys)


def test_frames_of_a_video_share_their_light_but_not_their_noise():
    source = small("train", frames_per_video=2, size=64)
    for video in range(16):
        first, second = source.read([2 * video, 2 * video + 1]).astype(float)
        assert (first != second).mean() > 0.2
        tint = [frame[:3].sum((1, 2)) / frame[:3].sum() for frame in (first, second)]
        np.testing.assert_allclose(*tint, atol=0.03)


# ---- no shortcut ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [1, 2, 3])
def test_no_simple_statistic_tells_bona_fide_from_attack(world):
    """Outline area, means and deviations of each channel, share of holes; train attacks against unseen ones."""
    tables = []
    for split, subjects, count in (("train", 40, 960), ("valid", 100, 1600)):
        source = SynthSurf(split, subjects, frames=count, size=48, seed=world)
        statistics = frame_statistics(source.read(np.arange(count)), source.channels)
        tables.append(statistics.join(source.frames[["label", "subject"]]))
    assert shortcut_report(*tables, [1e-2]).points[0].tpr < 0.20


# ---- source tasks ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=["faces A", "faces B", "gender", "generic"])
def task(request):
    make = {
        "faces A": lambda: source_tasks.faces(6, 8, 50, 3, "A"),
        "faces B": lambda: source_tasks.faces(6, 8, 50, 3, "B"),
        "gender": lambda: source_tasks.gender(24, 2, 50, 3),
        "generic": lambda: source_tasks.generic(48, 50, 3),
    }
    return make[request.param]


def test_source_tasks_are_deterministic(task):
    every = task().read(np.arange(48))
    assert every.shape == (48, 3, 50, 50) and every.dtype == np.uint8
    order = np.random.default_rng(1).permutation(48)
    np.testing.assert_array_equal(task().read(order), every[order])
    np.testing.assert_array_equal(np.concatenate([task().read([i]) for i in range(5)]), every[:5])
    assert len(np.unique(every.reshape(48, -1), axis=0)) == 48
    assert task().fingerprint == task().fingerprint


def test_source_tasks_have_labels_of_every_class(task):
    labels = task().labels
    assert labels.dtype == np.int64 and set(labels) == set(range(task().classes))
    counts = np.bincount(labels)
    assert counts.max() == counts.min()


def test_source_tasks_differ_from_each_other():
    made = [
        source_tasks.faces(6, 8, 50, 3, "A"), source_tasks.faces(6, 8, 50, 3, "B"),
        source_tasks.faces(8, 6, 50, 3, "A"), source_tasks.faces(6, 8, 50, 4, "A"),
        source_tasks.gender(24, 2, 50, 3), source_tasks.gender(12, 4, 50, 3), source_tasks.generic(48, 50, 3),
    ]  # fmt: skip
    assert len({task.fingerprint for task in made}) == len(made)
    assert len({task.read([0]).tobytes() for task in made[:2] + made[3:5]}) == 4


def test_populations_differ_in_skin():
    mean = {p: source_tasks.faces(60, 1, 32, 0, p).read(np.arange(60))[:, :3].mean() for p in ("A", "B")}
    assert mean["B"] > 1.1 * mean["A"]


def test_gender_can_be_learned_and_is_not_trivial():
    x = source_tasks.gender(600, 1, 24, 5).read(np.arange(600)).reshape(600, -1) / 255.0
    y = np.arange(600) % 2
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=300)).fit(x[:450], y[:450])
    assert 0.58 < model.score(x[450:], y[450:]) < 0.99


# ---- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split": "dev"}, "'dev'.*train, valid, test"),
        ({"subjects": 0}, "subjects is 0"),
        ({"size": 8}, "size is 8.*16"),
        ({"seed": -1}, "seed is -1"),
        ({"difficulty": "easy"}, "'easy'.*from 0"),
        ({"difficulty": 1.5}, "1.5.*from 0"),
        ({"frames": 100}, "either frames_per_video or frames"),
        ({"frames_per_video": None}, "either frames_per_video or frames"),
        ({"frames_per_video": None, "frames": 3}, "at least one frame of each"),
        ({"frames_per_video": None, "frames": {0: 5, 4: 5}}, r"\[0, 4\].*\[0, 1, 2, 3\]"),
        ({"frames_per_video": 2.5}, "frames_per_video is 2.5"),
    ],
)
def test_wrong_values_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        small(**change)


def test_wrong_indices_are_refused():
    source = small()
    wrong = [([48], "48 is out of range; there are 48"), ([-1], "-1"), ([0.5], "integers"), (3, "sequence")]
    for index, words in wrong:
        with pytest.raises(ValueError, match=words):
            source.read(index)
    with pytest.raises(ValueError, match="kind is 7"):
        source.example(7)
    with pytest.raises(ValueError, match=r"subject is 4.*0 to 3"):
        source.example(0, 4)
    with pytest.raises(ValueError, match="population is 'C'"):
        source_tasks.faces(5, 2, population="C")

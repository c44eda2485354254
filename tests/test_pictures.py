"""Pictures for people: the same scenes with more pixels, depth that can be seen, and numbers that tell faces from prints."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fasnb.data.shortcut import left_over
from fasnb.lab import figures, pictures
from fasnb.lab.palette import log_ticks
from fasnb.paper import profile as profiles
from fasnb.synthsurf.dataset import SynthSurf

CHANNELS = {"rgb": 3, "depth": 1, "ir": 1}


@pytest.fixture(scope="module")
def tiny():
    return profiles.load("tiny")


def test_stretched_depth_uses_the_grey_levels_and_keeps_holes_black():
    depth = np.tile(np.arange(40, 60, dtype=np.uint8), (20, 1))
    depth[5, 5] = 0
    shown = pictures.stretched(depth)
    assert shown[5, 5] == 0 and shown.max() > 240 and shown[depth > 0].min() >= 20
    assert (np.diff(shown[0].astype(int)) >= 0).all()
    assert not pictures.stretched(np.zeros((4, 4), np.uint8)).any()


def test_a_frame_on_its_way_into_a_network_is_drawn_with_visible_depth():
    """A depth map whose values lie close together is nearly black unless it is stretched."""
    triple = np.full((3, 3, 16, 16), 0.2)
    triple[1] = np.linspace(30, 60, 16) / 255
    fig = figures.views([("stored", triple)])
    shown = fig.axes[1].images[0].get_array()
    assert shown.max() == 255 and np.ptp(shown) > 150 and "stretched" in fig.axes[1].get_ylabel()
    plt.close(fig)


def test_a_picture_is_the_cameras_own():
    image = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 6, 6), np.uint8)
    assert pictures.picture(image, "rgb", CHANNELS).shape == (6, 6, 3)
    assert (pictures.picture(image, "ir", CHANNELS) == 4).all()
    assert (pictures.picture(image[[3, 0, 1, 2, 4]], "rgb", {"depth": 1, "rgb": 3, "ir": 1})[0, 0] == [0, 1, 2]).all()


def test_larger_images_are_the_same_frames():
    source = SynthSurf("valid", 3, frames=24, size=48, seed=5)
    samples = source.frames["sample"].iloc[[7, 2]]
    large, small = pictures.larger_images(source, samples, 96), source.read([7, 2])
    assert large.shape == (2, 5, 96, 96)
    shrunk = large.reshape(2, 5, 48, 2, 48, 2).mean((3, 5))
    for k in range(2):
        assert np.corrcoef(shrunk[k, :3].ravel(), small[k, :3].ravel())[0, 1] > 0.95


def test_one_person_is_drawn_alive_and_with_six_attacks(tiny):
    large, small = pictures.one_person(tiny, 64), pictures.one_person(tiny, 32)
    assert large.shape == (7, 5, 64, 64) and len(pictures.kind_names()) == 7
    plt.close(pictures.frame_pairs(large, small, pictures.kind_names(), CHANNELS))
    plt.close(figures.frame_grid(large, pictures.kind_names(), CHANNELS, cell=1.2))
    assert pictures.one_person(profiles.load("released"), 64) is None
    assert pictures.depth_sections(profiles.load("released")) is None


def test_a_section_shows_the_nose_of_the_living_and_the_holes_of_a_print(tiny):
    table = pictures.depth_sections(tiny, 112)
    middle = table[table["mm"].abs() < 4].groupby(["kind", "line"])["height"].max()
    cheek = table[(table["mm"].abs() - 40).abs() < 5].groupby(["kind", "line"])["height"].median()
    assert middle[0, "nose"] - cheek[0, "nose"] > 15 > middle[1, "nose"] - cheek[1, "nose"]
    eyes = table[(table["mm"].abs() - 30).abs() < 3].groupby(["kind", "line"])["height"].median()
    assert middle[1, "eyes"] - eyes[1, "eyes"] > 5  # the living eyes lie behind the paper
    plt.close(pictures.sections(table))


def test_the_depth_camera_sees_relief_that_prints_lack():
    table = pictures.camera_statistics(SynthSurf("valid", 30, frames=240, size=64, seed=9), per_kind=40)
    assert list(pictures.CAMERA_STATISTICS) == list(table.columns[:3]) and len(table) == 160
    auc = {name: roc_auc_score(table["label"].astype(int), table[name]) for name in pictures.CAMERA_STATISTICS}
    assert auc["relief"] > 0.9 and min(auc.values()) > 0.5


@pytest.mark.parametrize(("limits", "shown"), [((0.5, 0.7), {"0.5", "0.6", "0.7"}), ((0.02, 3.0), {"0.1", "1"})])
def test_a_logarithmic_axis_has_numbers_whatever_its_range(limits, shown):
    fig, ax = plt.subplots()
    ax.set(yscale="log", ylim=limits)
    log_ticks(ax.yaxis)
    fig.canvas.draw()
    texts = {tick.label1.get_text() for tick in ax.yaxis.get_major_ticks() + ax.yaxis.get_minor_ticks()}
    plt.close(fig)
    assert shown <= texts and not any("$" in text for text in texts)


def test_what_is_left_over_a_sheet_is_a_face_and_no_hole():
    across, down = np.meshgrid(np.linspace(-1, 1, 40), np.linspace(-1, 1, 40))
    tilted, bent = 120 + 20 * across + 9 * down, 120 - 30 * across**2
    head = bent + 40 * np.exp(-8 * (across**2 + down**2))
    assert left_over(tilted, 1) < 1e-9 and left_over(bent, 2) < 1e-9 < 5 < left_over(bent, 1)
    with_holes = bent.copy()
    with_holes[12:15, 8:14], with_holes[12:15, 26:32], with_holes[30, 30] = 90, 90, 0
    assert left_over(with_holes, 2) < 1 < left_over(head, 2)
    assert left_over(np.zeros((8, 8)), 2) == 0


def test_no_distance_is_red_inside_a_face_and_black_beside_it():
    image = np.zeros((5, 6, 6), np.uint8)
    image[:, 1:5, 1:5] = 100
    image[3, 2, 2] = 0
    seen = pictures.picture(image, "depth", CHANNELS)
    assert tuple(seen[2, 2]) == pictures.NOT_MEASURED and not seen[0, 0].any() and np.ptp(seen[3, 3]) == 0
    stored = pictures.picture(image, "depth", CHANNELS, stretch=False)
    assert tuple(stored[2, 2]) == pictures.NOT_MEASURED and (stored[3, 3] == 100).all()


def test_frames_in_two_columns_have_every_label_and_stay_on_the_page():
    source = SynthSurf("valid", 5, frames=12, size=24)
    labels = [f"frame {number}\nA 0.5" for number in range(5)]
    figure = figures.frame_columns(source.read(range(5)), labels, source.channels)
    assert [ax.get_title(loc="left") for ax in figure.axes[:: len(CHANNELS)]] == labels
    places = [ax.get_position() for ax in figure.axes]
    assert all(0 <= at.x0 < at.x1 <= 1 and 0 < at.y0 < at.y1 < 1 for at in places)
    assert sum(ax.get_xlabel() == "depth, stretched" for ax in figure.axes) == 2  # below each column
    plt.close(figure)

"""The paper's own rows from the authors' released scores; submission files."""

import shutil

import numpy as np
import pytest

from fasnb import metrics
from fasnb.data.frames import frame_table, read_list
from fasnb.data.released import read_released
from fasnb.data.submission import CALIBRATION_THRESHOLD, write_submission
from fasnb.metrics.scores import IncompleteError, average, first_seed, score_table
from fasnb.paper.experiments import MEMBERS
from fasnb.paper.published import TABLE3, TABLE5


@pytest.fixture(scope="module")
def networks(released):
    return read_released(released)


def printed(table, fpr=1e-4):
    return round(100 * metrics.tpr_at_fpr(table["label"], table["score"], fpr), 2)


def frames_of(names):
    return frame_table(sample=names, rgb=names, depth=names, ir=names)


def table(values):
    """One network's scores of frames 0-color.jpg, 1-color.jpg and so on."""
    return score_table(frames_of([f"{i}-color.jpg" for i in range(len(values))]), values, "A", fold=1, seed=7)


def test_table_3_to_the_printed_digit(networks):
    models = first_seed(average(networks, over=["fold"]))
    rows = {name: printed(model) for name, model in models.groupby("experiment")}
    rows["ensemble"] = printed(average(networks, over=["fold", "seed", "experiment"]))
    published = TABLE3.set_index("experiment")["published"]
    assert rows == {name: published[name] for name in (*MEMBERS, "ensemble")}


def test_last_row_of_table_5_to_the_printed_digit(networks):
    models = first_seed(average(networks, over=["fold"]))
    published = TABLE5.set_index("experiment").loc["A"]
    assert [printed(models[models["experiment"] == "A"], fpr) for fpr in (1e-2, 1e-3, 1e-4)] == [
        published[fpr] for fpr in (1e-2, 1e-3, 1e-4)
    ]


def test_second_seeds(networks):
    models = average(networks, over=["fold"])
    second = {name: printed(model) for name, model in models[models["seed"] == 2].groupby("experiment")}
    assert second == {"B": 99.27, "C": 99.83, "D": 99.63}  # FACTS of the release; A has one seed


@pytest.fixture
def clone(released, tmp_path):
    """The list and one network's scores, at epoch 31."""
    for name in ("lists/phase1_list.txt", "opts/exp2_seed1/fold1/tta_epoch31_val_score.txt"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(released / "data" / name, tmp_path / "data" / name)
    return tmp_path


def change(clone, edit):
    """Write the lines of the clone's scores anew, as ``edit`` gives them."""
    path = clone / "data/opts/exp2_seed1/fold1/tta_epoch31_val_score.txt"
    path.write_text("".join(f"{line}\n" for line in edit(path.read_text().splitlines())))


def test_a_part_of_the_networks_is_read_as_it_is(clone, networks):
    found = read_released(clone)
    same = networks[(networks["experiment"] == "D") & (networks["fold"] == 1) & (networks["seed"] == 1)]
    assert found["score"].to_list() == same["score"].to_list() and set(found["experiment"]) == {"D"}


def test_other_epochs_are_named(clone):
    folder = clone / "data/opts/exp2_seed1/fold1"
    shutil.copy(folder / "tta_epoch31_val_score.txt", folder / "tta_epoch50_val_score.txt")
    with pytest.raises(FileNotFoundError, match="no scores of epoch 30; epochs 31, 50 are there"):
        read_released(clone, epoch=30)


def test_a_folder_that_is_no_clone(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no clone of"):
        read_released(tmp_path)


def test_a_cut_score_file_is_refused(clone):
    change(clone, lambda lines: lines[: len(lines) // 2])
    with pytest.raises(ValueError, match="must hold 9,608 pairs"):
        read_released(clone)


def test_released_scores_outside_0_and_1_are_refused(clone):
    change(clone, lambda lines: [*lines[:5], "17,0.5", *lines[6:]])
    with pytest.raises(ValueError, match=r"line 6: no probability in \[0, 1\] \(1 such lines\)"):
        read_released(clone)


def test_submission_in_the_challenge_format(reference, networks, tmp_path):
    frames = read_list(reference / "official/val_public_list.txt")
    ensemble = average(networks, over=["fold", "seed", "experiment"])
    lines = write_submission(frames, ensemble, tmp_path / "s.txt").read_text().splitlines()
    listed = (reference / "official/val_public_list.txt").read_text().splitlines()
    assert [line.rsplit(" ", 1)[0] for line in lines] == [line.strip() for line in listed]
    assert [float(line.rsplit(" ", 1)[1]) for line in lines] == pytest.approx(ensemble["score"].to_list(), abs=5e-7)


def test_calibration_moves_the_threshold_to_one_half(tmp_path):
    values = [0.932107, 0.9321069, 0.4660535, 0.0, 1.0]
    written = table(values)
    path = write_submission(frames_of(written["sample"]), written, tmp_path / "s.txt", calibrate=CALIBRATION_THRESHOLD)
    written_down = [line.split()[3] for line in path.read_text().splitlines()]
    assert written_down == ["0.932107", "0.499999", "0.250000", "0.000000", "1.000000"]


def test_a_submission_needs_every_frame(tmp_path):
    written = table([0.1, 0.2])
    with pytest.raises(IncompleteError, match=r"1 frames lack one, see other\.jpg"):
        write_submission(frames_of(["other.jpg"]), written, tmp_path / "s.txt")
    assert not (tmp_path / "s.txt").exists()


@pytest.mark.parametrize(
    ("values", "calibrate", "what"),
    [
        ([0.1, 0.6], 0.3, "calibrate is 0.3"),
        ([-5.0, 0.5], None, "1 scores are no probability"),
        ([0.5, np.inf], None, "1"),
    ],
)
def test_submissions_that_would_mislead_are_refused(tmp_path, values, calibrate, what):
    scored = table([0.5, 0.5]).assign(score=values)
    with pytest.raises(ValueError, match=what):
        write_submission(frames_of(scored["sample"]), scored, tmp_path / "s.txt", calibrate)
    assert not (tmp_path / "s.txt").exists()

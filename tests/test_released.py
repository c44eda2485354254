"""The paper's own rows from the authors' released scores, at every snapshot; README's table; submission files."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from fasnb import metrics
from fasnb.command.main import main
from fasnb.command.readme import BEGIN, END, read_block, released_block, write_block
from fasnb.data.casia_check import KNOWN
from fasnb.data.frames import frame_table, read_list
from fasnb.data.released import read_released, read_snapshots
from fasnb.data.submission import CALIBRATION_THRESHOLD, write_submission
from fasnb.lab import figures
from fasnb.metrics import counts, sentences, snapshots
from fasnb.metrics.scores import IncompleteError, average, first_seed, score_table
from fasnb.paper.experiments import MEMBERS
from fasnb.paper.published import TABLE3, TABLE4, TABLE5

REPOSITORY = Path(__file__).resolve().parent.parent
PUBLISHED = REPOSITORY / "results" / "published"


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


@pytest.fixture(scope="module")
def models(released):
    """The models at all four snapshots."""
    return snapshots.models_of(read_snapshots(released))


@pytest.fixture(scope="module")
def refused(models):
    return snapshots.refused(models, 1e-4)


@pytest.fixture(scope="module")
def parts(models):
    return snapshots.subsets(models, 1e-4)


def at(table, epoch, crop, **values):
    """The rows of one snapshot, and of these values."""
    chosen = table[(table["epoch"] == epoch) & (table["crop"] == crop)]
    for name, value in values.items():
        chosen = chosen[chosen[name] == value]
    return chosen


def rounded(table):
    """Rates of each experiment and seed, as printed; the ensemble's seed is 0."""
    rows = table[table["seed"].notna() | (table["experiment"] == "ensemble")]
    names = zip(rows["experiment"], rows["seed"].fillna(0), strict=True)
    return {f"{name}{seed or ''}": rate for (name, seed), rate in zip(names, rows["TPR %"].round(2), strict=True)}


def test_every_model_after_both_epochs(refused):
    rows = {
        "A1": 99.87,
        "B1": 99.63,
        "B2": 99.27,
        "C1": 99.33,
        "C2": 99.83,
        "D1": 98.70,
        "D2": 99.63,
        "ensemble": 100.0,
    }
    assert rounded(at(refused, 31, "mean")) == rows
    rows = {
        "A1": 97.06,
        "B1": 100.0,
        "B2": 100.0,
        "C1": 99.50,
        "C2": 99.63,
        "D1": 97.36,
        "D2": 98.53,
        "ensemble": 99.63,
    }
    assert rounded(at(refused, 50, "mean")) == rows


def test_the_single_crop(refused):
    rows = rounded(at(refused, 31, "crop0"))
    assert [rows[name] for name in ("A1", "B1", "C1", "D1")] == [99.67, 99.80, 99.63, 99.23]
    assert [rounded(at(refused, epoch, "crop0"))["ensemble"] for epoch in (31, 50)] == [100.0, 99.63]


def test_the_crop_chooses_the_column(released, networks):
    path = released / "data/opts/exp3b_seed2/fold3/tta_epoch31_val_score.txt"
    columns = pd.read_csv(path)
    for table, score in ((networks, columns.mean(axis=1)), (read_released(released, crop="crop0"), columns["crop0"])):
        one = table.query("experiment == 'B' and fold == 3 and seed == 2")
        assert one["score"].to_list() == score.to_list()


def test_counts_are_those_of_the_plain_metrics(networks, refused):
    """Against ``average`` and ``tpr_at_fpr``, which the paper's rows go through elsewhere."""
    averaged = {name: printed(model) for name, model in average(networks).groupby("experiment")}
    averaged["ensemble"] = printed(average(networks, over=["fold", "seed", "experiment"]))
    rows = at(refused, 31, "mean")
    rows = rows[rows["seed"].isna()].set_index("experiment")["TPR %"].round(2)
    assert rows.to_dict() == averaged == {"A": 99.87, "B": 99.53, "C": 99.83, "D": 99.90, "ensemble": 100.0}


def test_means_of_seeds_are_not_the_tpr_of_averaged_scores(refused):
    rates = at(snapshots.rates(refused), 31, "mean").set_index(["experiment", "of"])["TPR %"].round(2)
    assert rates["D", "seed 1"] == 98.70 and rates["D", "seed 2"] == 99.63
    assert rates["D", "mean of the seeds"] == 99.16 and rates["D", "averaged scores"] == 99.90
    assert "mean of the seeds" not in rates["A"].index  # of one seed


def test_lowest_depends_on_epoch_and_reading(refused):
    ranks = snapshots.lowest(refused).set_index("snapshot")
    assert ranks.loc["epoch 31, mirror mean", list(snapshots.READINGS)].to_list() == ["D", "D", "B"]
    assert ranks.loc["epoch 50, mirror mean", list(snapshots.READINGS)].to_list() == ["A", "A", "A"]
    assert ranks["D, of 8"].to_list() == [4, 8, 0, 0]


def test_subsets_of_the_members(parts, refused):
    assert parts.groupby(["epoch", "crop"]).size().to_list() == [15] * 4
    one = at(parts, 31, "mean").set_index("methods")["refused"]
    assert [one[name] for name in ("A+B+C+D", "B+C+D", "A+C+D", "A+B+D", "A+B+C")] == [0, 3, 1, 1, 0]
    assert (parts["fewest"] <= parts["most"]).all()
    alone = parts[parts["size"] == 1].rename(columns={"methods": "experiment"})
    seeds = refused.dropna(subset="seed").groupby(["epoch", "crop", "experiment"])["refused"].agg(["min", "max"])
    both = alone.join(seeds, on=["epoch", "crop", "experiment"])
    assert (both["fewest"] == both["min"]).all() and (both["most"] == both["max"]).all()


def test_the_mirror_image_helps_some_and_harms_some(models):
    gains = snapshots.mirror_gain(models, 1e-4, replicates=50)
    single = gains[gains["experiment"] != "ensemble"]
    found = {epoch: np.sign(part["difference"]).value_counts().to_dict() for epoch, part in single.groupby("epoch")}
    assert found == {31: {-1: 4, 1: 3}, 50: {-1: 3, 1: 2, 0: 2}}
    assert (single["difference"].min().round(2), single["difference"].max().round(2)) == (-0.77, 0.73)
    frames = 2994
    assert np.allclose(gains["difference"], 100 * (gains["single crop"] - gains["mirror mean"]) / frames)


def test_d_and_the_others_on_hard_attacks(models):
    table = at(snapshots.helpers(models), 31, "mean").set_index("helper")
    assert table["hard"].to_dict() == {"A": 408, "B": 96, "C": 101, "D": 376}
    assert table["right on hard"].to_dict() == {"A": 345, "B": 11, "C": 17, "D": 353}
    assert table.loc["D", ["low", "high"]].astype(float).round(1).to_list() == [91.0, 96.1]
    assert table.loc["D", ["attacks wrong", "all others wrong", "right on these"]].to_list() == [72, 95, 62]


def test_sentences_are_made_of_the_numbers(refused, parts, models):
    said = sentences.of_headline(refused, parts)
    assert "0 (100.00%) at epoch 31, mirror mean" in said and "11 (99.63%) at epoch 50, single crop" in said
    assert "1 to 5 at epoch 31, single crop" in said
    said = sentences.of_members(parts)
    assert (
        "At epoch 31, mirror mean the ensemble refuses 0 with all members, 3 without A, 1 without B, 1 without C"
        in said
    )
    said = sentences.of_lowest(snapshots.lowest(refused), "D")
    assert "At epoch 31 D is the lowest in 12 of 16 choices" in said and "two are equally low in 1" in said
    assert "At epoch 50 A is the lowest in 16 of 16" in said and "D in 0" in said
    assert "9 lie below their bracket" in sentences.of_outside(parts)
    assert "D is right on 353 of 376 (94%)" in sentences.of_helpers(snapshots.helpers(models), "D")
    assert sentences.of_resolution(2994, 6614, 300).count("5.6e-4") == 1


def test_figure_of_the_snapshots_shows_every_count(refused, parts):
    published = TABLE3.set_index("experiment")["published"]
    figure = figures.snapshot_misses(refused, parts[parts["size"] == 4], published)
    assert len(figure.axes) == 4 and figure.provenance["bona fide"] == 2994
    for ax, (_, rows) in zip(figure.axes, refused.groupby(["epoch", "crop"], sort=False), strict=True):
        shown = [text.get_text().partition(" =")[0] for text in ax.texts if " to " not in text.get_text()]
        kept = rows[rows["seed"].notna() | (rows["experiment"] == "ensemble")]
        assert shown == kept["refused"].astype(str).to_list()


def test_an_unknown_crop_is_refused(released):
    with pytest.raises(ValueError, match="crop is 'crop1'; it must be one of mean, crop0"):
        read_released(released, crop="crop1")


def test_snapshots_need_every_network(released, tmp_path):
    shutil.copytree(released, tmp_path / "clone")
    shutil.rmtree(tmp_path / "clone/data/opts/exp3c_seed2/fold2")
    with pytest.raises(IncompleteError, match="1 of 21 networks are missing: C fold 2 seed 2"):
        read_snapshots(tmp_path / "clone")


def test_published_rates_as_counts_of_misses():
    table = counts.against_first(TABLE4[["team", "test"]], KNOWN["test"]["bona fide"], digits=4)
    assert table["misses"].to_list() == [22, 30, 34, 324, 1195, 2233, 13083]
    assert table["p"].round(2).to_list()[1:4] == [0.33, 0.14, 0.0] and np.isnan(table["p"][0])
    assert [
        counts.misses(TABLE3.set_index("experiment")["published"][name], 2994, 2) for name in ("resnet34-face", "A")
    ] == [6, 4]
    said = sentences.of_counts(table, 17458)
    assert "Team 2 (30, p = 0.33) and Team 3 (34, p = 0.14)" in said and "39 misses" in said


@pytest.mark.parametrize(("tpr", "frames", "digits"), [(99.5, 20, 4), (99.87, 100_000, 2), (99.99, 2994, 2)])
def test_a_rate_that_no_count_or_several_give_is_refused(tpr, frames, digits):
    with pytest.raises(ValueError, match="is not that of one count of misses"):
        counts.misses(tpr, frames, digits)


def test_what_counts_can_tell_apart():
    enough = counts.first_distinguishable(22, 17458)
    assert counts.fisher(22, enough, 17458) < 0.05 <= counts.fisher(22, enough - 1, 17458)
    ratio, low, high = counts.error_ratio(6, 4)
    assert (ratio, round(low, 2), round(high, 1)) == (1.5, 0.36, 7.2)
    assert binom.sf(5, 10, low / (1 + low)) == pytest.approx(0.025) == binom.cdf(6, 10, high / (1 + high))
    assert counts.error_ratio(3, 0)[0] == counts.error_ratio(3, 0)[2] == np.inf


def test_readme_shows_what_the_released_scores_give(released):
    assert read_block(REPOSITORY / "README.md") == released_block(released).strip()


@pytest.fixture(scope="module")
def text() -> str:
    """README's, in one line."""
    return " ".join((REPOSITORY / "README.md").read_text().split())


def test_readme_says_what_the_table_shows(text, refused, parts):
    """The sentences beside the block, which are typed."""
    assert "100.00 holds after epoch 31 and not after epoch 50" in text
    whole = refused[refused["experiment"] == "ensemble"].groupby("epoch")["refused"]
    assert whole.max()[31] == 0 < whole.min()[50]
    assert "refuses 0 of 2,994 living faces. The same networks, kept nineteen epochs later, refuse 11." in text
    assert (whole.min()[50], whole.max()[50], refused.attrs["bona fide"]) == (11, 11, 2994)
    assert "not for every choice at epoch 31, with the single crop for none" in text
    every = parts[parts["size"] == 4]
    assert at(every, 31, "mean")["most"].item() > 0 and at(every, 31, "crop0")["fewest"].item() > 0
    assert "loses at most three frames at epoch 31, and without D none; at epoch 50 it is better off without D" in text
    rest = parts[parts["size"] == 3]
    assert rest.loc[rest["epoch"] == 31, "refused"].max() == 3
    without_d = rest[rest["methods"] == "A+B+C"].groupby("epoch")["refused"].max()
    assert without_d[31] == 0 and without_d[50] < whole.min()[50]


def test_readme_says_what_its_figure_shows(text):
    path = PUBLISHED / "tiny/tables/06-table5.csv"
    assert "RGB stays far below IR and IR below depth" in text
    assert "depth alone stands above all three cameras together here" in text
    for _, rows in pd.read_csv(path).groupby("FPR"):
        found = rows.set_index("modality")["measured"]
        assert found["RGB"] < 0.7 * found["IR"] and found["IR"] < found["Depth"] > found["RGB+IR+Depth"]


def test_readme_says_how_easy_depth_is(text):
    path = PUBLISHED / "tiny/tables/06-untrained.csv"
    assert "does nearly as well as the network that sees depth alone" in text
    found = pd.read_csv(path).set_index("method")
    number, network = (
        found.loc[name] for name in ("depth left over a plane, standard deviation", "network, depth alone")
    )
    assert (network - number).between(0, 2).all()


def test_readme_says_what_small_found(text):
    path = PUBLISHED / "small/tables/08-findings.csv"
    assert (
        "two of the paper's claims are shown there (a deeper network is better, depth is above IR), none is opposite"
        in text
    )
    verdict = pd.read_csv(path).set_index("claim")["verdict"]
    assert set(verdict.index[verdict == "shown"]) == {
        "The resnet-34 network is above the resnet-18 baseline",
        "Depth is above IR",
    }
    assert not (verdict == "opposite").any()
    worlds = pd.read_csv(path.with_name("06-worlds.csv"))
    assert "another world moves most numbers of Table 5 further than another seed does" in text
    assert (worlds["between worlds"] > worlds["between seeds"]).mean() > 0.8


def test_the_block_of_a_file_is_written_anew(released, tmp_path, capsys):
    path = tmp_path / "README.md"
    path.write_text(f"before\n{BEGIN}\nstale\n{END}\nafter\n")
    assert main(["released", str(released), "--readme", str(path)]) == 0
    text = path.read_text()
    assert text.startswith(f"before\n{BEGIN}\n\n| row") and text.endswith(f"\n{END}\nafter\n") and "stale" not in text
    write_block(path, "new")
    assert read_block(path) == "new"
    path.write_text("no block")
    with pytest.raises(ValueError, match="has no block between the lines"):
        write_block(path, "new")


def test_released_command_names_epoch_and_crop(released, capsys):
    assert main(["released", str(released), "--epoch", "50", "--crop", "crop0"]) == 0
    text = capsys.readouterr().out
    assert "epoch 50, single crop" in text and "96.33" in text


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

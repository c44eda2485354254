"""The command line as a user runs it."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest

from fasnb.command.main import _parser, main, settings_of
from fasnb.metrics.pad import tpr_at_fpr


@pytest.fixture
def scores_file(tmp_path):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 500)
    path = tmp_path / "scores.csv"
    pd.DataFrame({"label": label, "score": rng.normal(label, 0.5)}).to_csv(path, index=False)
    return path


def test_evaluate_json(scores_file, capsys):
    assert main(["evaluate", str(scores_file), "--fpr", "0.01", "--fpr", "0.1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    table = pd.read_csv(scores_file)
    assert (report["n_bona_fide"], report["n_attack"]) == (int(table["label"].sum()), int((1 - table["label"]).sum()))
    assert [point["fpr"] for point in report["tpr_at_fpr"]] == [0.01, 0.1]
    for point in report["tpr_at_fpr"]:
        assert point["tpr"] == tpr_at_fpr(table["label"], table["score"], point["fpr"])
        assert point["tpr_low"] <= point["tpr"] <= point["tpr_high"] and point["fpr_high"] > point["fpr"]
        assert point["method_high"] >= point["tpr"] and point["apcer_max"] is None
    narrow, wide = report["tpr_at_fpr"]
    assert narrow["method_low"] is None and narrow["attacks_needed"] == 368
    assert wide["method_low"] <= wide["tpr"] and wide["attacks_needed"] == 36


def test_evaluate_prints_limits_and_the_meaning_of_a_score(scores_file, capsys):
    assert main(["evaluate", str(scores_file)]) == 0
    out = capsys.readouterr().out
    assert "high means a living face" in out and "finer than 1 /" in out and "exact" not in out
    assert all(heading in out for heading in ("system low", "FPR up to", "method low", "attacks needed"))
    assert "it takes 36,887" in out and "the unit is the frame" in out


def test_a_target_may_be_asked_of_each_attack_type(scores_file, capsys):
    table = pd.read_csv(scores_file)
    table["attack"] = np.where(table["label"] == 1, 0, np.arange(500) % 3 + 1)
    table.loc[table["attack"] == 1, "score"] += 0.3
    table.to_csv(scores_file, index=False)
    found = {}
    for option in ([], ["--per-attack"]):
        assert main(["evaluate", str(scores_file), "--fpr", "0.05", *option, "--threshold", "0.6", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        found[bool(option)] = point = report["tpr_at_fpr"][0]
        assert point["apcer_max"] == max(point["apcer_by_attack"].values())
        at = report["at_threshold"]
        assert at["acer"] == pytest.approx((at["apcer_max"] + at["bpcer"]) / 2) and at["apcer_max"] > at["apcer"]
        assert report["acer_at_eer"] > report["apcer_max_at_eer"] / 2
    assert found[True]["apcer_max"] <= 0.05 < found[False]["apcer_max"] and found[True]["tpr"] < found[False]["tpr"]
    assert main(["evaluate", str(scores_file), "--per-attack"]) == 0
    out = capsys.readouterr().out
    assert "worst APCER %" in out and "worst attack type's APCER" in out and "asked of each attack type" in out


def test_per_attack_needs_the_types(scores_file, capsys):
    assert main(["evaluate", str(scores_file), "--per-attack"]) == 2
    assert "the types are unknown" in capsys.readouterr().err


def test_a_threshold_set_on_one_file_serves_another(scores_file, capsys, tmp_path):
    assert main(["evaluate", str(scores_file), "--fpr", "0.1", "--json"]) == 0
    point = json.loads(capsys.readouterr().out)["tpr_at_fpr"][0]
    assert main(["evaluate", str(scores_file), "--fpr", "0.1", "--threshold", repr(point["threshold"]), "--json"]) == 0
    at = json.loads(capsys.readouterr().out)["at_threshold"]
    table = pd.read_csv(scores_file)
    attack = table["label"] == 0
    assert at["apcer"] == point["false_positives"] / attack.sum() <= 0.1
    assert at["bpcer"] == pytest.approx(1 - point["tpr"]) and at["acer"] == at["hter"]
    assert main(["evaluate", str(scores_file), "--fpr", "0.1", "--threshold", "0.5"]) == 0
    out = capsys.readouterr().out
    assert repr(point["threshold"]) in out and "at the given threshold 0.5: APCER" in out


def test_evaluate_json_is_json_where_every_frame_may_pass(scores_file, capsys):
    assert main(["evaluate", str(scores_file), "--fpr", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tpr_at_fpr"][0]["threshold"] is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("label,scores\n1,0.5\n", "has no column score"),
        ("label,score\n1,0.5\n", "none of them attack"),
        ("label,score\n1,high\n0,0.1\n", "score 'high' is not a number"),
        ("label,score\n1,0.5\n0,\n", "1 scores are NaN"),
        ("label,score\n3,0.5\n0,0.2\n", "label 3 is neither"),
        ("", "cannot be read as a table"),
        ("label,score\n", "has a header and no rows"),
    ],
)
def test_evaluate_refuses_a_broken_file_by_name(tmp_path, capsys, content, message):
    path = tmp_path / "bad.csv"
    path.write_text(content)
    assert main(["evaluate", str(path)]) == 2
    error = capsys.readouterr().err
    assert message in error and "bad.csv" in error and len(error.strip().splitlines()) == 1


def test_released_json(released, capsys):
    assert main(["released", str(released), "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    at = {name: round(100 * row["tpr_at_fpr"][-1]["tpr"], 2) for name, row in rows.items()}
    assert at["exp1_2stage_seed1"] == 99.87 and at["ensemble"] == 100.0 and len(rows) == 8
    assert all(row["folds"] == 3 for row in rows.values())
    finest = rows["ensemble"]["tpr_at_fpr"][-1]
    assert finest["method_low"] is None and finest["attacks_needed"] == 36_887
    assert round(finest["fpr_high"], 5) == 5.6e-4 and round(finest["fpr_high_clips"], 3) == 1.2e-2
    assert main(["released", str(released)]) == 0
    out = capsys.readouterr().out
    assert "99.87 [99.66, 99.96]" in out and "99.87 [-, 100.00]" in out and "1.2e-2 with clips" in out


def test_run_without_the_released_files_says_what_to_obtain(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("FASNB_RELEASED", raising=False)
    status = main(
        ["run", "--profile", "released", "--set", f"released_root={tmp_path}", "--out", str(tmp_path / "out")]
    )
    assert status == 2
    assert "github.com/AlexanderParkin/ChaLearn_liveness_challenge" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_paths_of_the_command_line_are_those_of_its_folder(tmp_path, monkeypatch):
    (tmp_path / "mine.toml").write_text('source = "released"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASNB_RELEASED", "clone")
    arguments = ["run", "--profile", "mine.toml", "--set", "released_root=rel", "--out", "out"]
    args = _parser().parse_args(arguments)
    settings = settings_of(args)
    assert settings == {"released_root": str(tmp_path / "rel")} and os.environ["FASNB_RELEASED"] == str(
        tmp_path / "clone"
    )
    assert args.profile == str(tmp_path / "mine.toml") and args.out == tmp_path / "out"


def test_a_profile_of_ones_own_may_not_take_the_name_of_another(tmp_path, capsys):
    (tmp_path / "tiny.toml").write_text('source = "synthetic"\n')
    assert main(["run", "--profile", str(tmp_path / "tiny.toml")]) == 2
    assert "rename it" in capsys.readouterr().err


def test_doctor_names_what_is_missing(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("FASNB_RELEASED", str(tmp_path))
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "ok      torch" in out and "missing the authors' released scores" in out


def test_a_setting_without_value(capsys):
    assert main(["run", "--profile", "released", "--set", "seeds"]) == 2
    assert "write key=value" in capsys.readouterr().err


def test_evaluate_refuses_several_networks_in_one_table(scores_file, capsys, tmp_path):
    table = pd.read_csv(scores_file)
    pd.concat([table.assign(seed=1), table.assign(seed=2)]).to_csv(tmp_path / "two.csv", index=False)
    assert main(["evaluate", str(tmp_path / "two.csv")]) == 2
    assert "several values of seed" in capsys.readouterr().err


def test_released_refuses_a_clone_that_lacks_a_fold(released, tmp_path, capsys):
    shutil.copytree(released, tmp_path / "clone")
    shutil.rmtree(tmp_path / "clone/data/opts/exp3b_seed1/fold2")
    assert main(["released", str(tmp_path / "clone")]) == 2
    assert "1 of 3 networks are missing: B fold 2 seed 1" in capsys.readouterr().err


def test_released_names_no_ensemble_of_some_members(released, tmp_path, capsys):
    shutil.copytree(released, tmp_path / "clone")
    shutil.rmtree(tmp_path / "clone/data/opts/exp2_seed2")
    assert main(["released", str(tmp_path / "clone")]) == 2
    assert "3 of 21 networks are missing" in capsys.readouterr().err

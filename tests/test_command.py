"""The command as a user runs it: scores evaluated, frames scored, wrong input refused in one sentence with status 2."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY, begun, refused, said
from test_runs import made, splits  # noqa: F401

from fasnb.command.checkpoint import score_frames
from fasnb.command.main import settings_of
from fasnb.data import casia_surf, read_list
from fasnb.metrics import tpr_at_fpr
from fasnb.training.run import ensure
from synthsurf.dataset import SynthSurf


@pytest.fixture
def scores_file(tmp_path):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 500)
    path = tmp_path / "scores.csv"
    pd.DataFrame({"label": label, "score": rng.normal(label, 0.5)}).to_csv(path, index=False)
    return path


def evaluated(capsys, *arguments) -> dict:
    return json.loads(said(capsys, "evaluate", *arguments, "--json"))


def test_evaluate_json_has_its_keys(scores_file, capsys):
    report = evaluated(capsys, scores_file, "--fpr", "0.01", "--fpr", "0.1")
    keys = "n_bona_fide n_attack n_subjects tpr_at_fpr auc eer acer_at_eer apcer_max_at_eer at_threshold notes"
    assert set(report) == set(keys.split())
    table = pd.read_csv(scores_file)
    assert (report["n_bona_fide"], report["n_attack"]) == (int(table["label"].sum()), int((1 - table["label"]).sum()))
    for point in report["tpr_at_fpr"]:
        assert point["tpr"] == tpr_at_fpr(table["label"], table["score"], point["fpr"])
        assert point["tpr_low"] <= point["tpr"] <= point["tpr_high"] and point["fpr_high"] > point["fpr"]
        assert point["method_high"] >= point["tpr"] and point["apcer_max"] is None
    narrow, wide = report["tpr_at_fpr"]
    assert narrow["method_low"] is None and narrow["attacks_needed"] == 368
    assert wide["method_low"] <= wide["tpr"] and wide["attacks_needed"] == 36
    keys = "fpr tpr threshold method_low method_high attacks_needed false_positives apcer_by_attack apcer_max tpr_low"
    keys += " tpr_high fpr_high fpr_high_clips effective_bona_fide effective_attack"
    assert set(narrow) == set(keys.split())


def test_evaluate_prints_limits_and_the_meaning_of_a_score(scores_file, capsys):
    out = said(capsys, "evaluate", scores_file, "--threshold", "0.5")
    assert "high means a living face" in out and "at_threshold: {'threshold': 0.5, 'apcer': " in out
    assert all(part in out for part in ("FPR up to", "finer than 1 /", "it takes 36,887", "the unit is the frame"))


def test_a_threshold_set_on_one_file_serves_another(scores_file, capsys):
    point = evaluated(capsys, scores_file, "--fpr", "0.1")["tpr_at_fpr"][0]
    at = evaluated(capsys, scores_file, "--threshold", repr(point["threshold"]))["at_threshold"]
    attacks = (pd.read_csv(scores_file)["label"] == 0).sum()
    assert at["apcer"] == point["false_positives"] / attacks <= 0.1
    assert at["bpcer"] == pytest.approx(1 - point["tpr"]) and at["acer"] == at["hter"]
    assert evaluated(capsys, scores_file, "--fpr", "1")["tpr_at_fpr"][0]["threshold"] is None  # every frame may pass
    table, words = pd.read_csv(scores_file), np.resize(["print", "replay", "mask"], 500)
    table.assign(attack=np.where(table["label"] == 1, "", words)).to_csv(scores_file, index=False)
    at = evaluated(capsys, scores_file, "--threshold", "0.6")["at_threshold"]
    assert at["apcer_max"] == max(at["apcer_by_attack"].values()) > at["apcer"]
    assert at["acer"] == pytest.approx((at["apcer_max"] + at["bpcer"]) / 2) and "mask" in at["apcer_by_attack"]
    assert "scores look reversed" in str(evaluated(capsys, scores_file, "--bona-fide-label", "0")["notes"])


def test_evaluate_refuses_scores_of_several_networks_by_the_name_of_the_file(tmp_path, capsys):
    path = tmp_path / "a\u202eb\x1b[31m.csv"  # a name that hides what follows it
    path.write_text("label,score,seed\n1,0.5,1\n0,0.2,2\n")
    error = refused(capsys, "evaluate", path)
    assert "several values of seed" in error and r"a\u202eb\x1b[31m.csv" in error


def test_released_json_has_the_papers_rows(released, capsys):
    rows = {row["name"]: row for row in json.loads(said(capsys, "released", released, "--json"))}
    at = {name: round(100 * row["tpr_at_fpr"][-1]["tpr"], 2) for name, row in rows.items()}
    published = {"exp1_2stage_seed1": 99.87, "exp3b_seed1": 99.63, "exp3c_seed1": 99.33, "exp2_seed1": 98.7}
    published |= {"ensemble": 100}
    assert published.items() <= at.items() and len(rows) == 8 and all(row["folds"] == 3 for row in rows.values())
    finest = rows["ensemble"]["tpr_at_fpr"][-1]
    assert finest["method_low"] is None and finest["attacks_needed"] == 36_887
    assert round(finest["fpr_high"], 5) == 5.6e-4 and round(finest["fpr_high_clips"], 3) == 1.2e-2


def test_released_prints_every_row_and_refuses_a_clone_that_lacks_one(released, tmp_path, capsys):
    out = said(capsys, "released", released, "--epoch", "50", "--crop", "crop0")
    assert "epoch 50, crop0" in out and out.count("1e-4") > 8 and "99.63" in out
    shutil.copytree(released, tmp_path / "clone")
    shutil.rmtree(tmp_path / "clone/data/opts/exp3b_seed1/fold2")
    assert "1 of 3 networks are missing: B fold 2 seed 1" in refused(capsys, "released", tmp_path / "clone")


def test_own_frames_are_scored_under_the_names_of_the_run(made, cache, tmp_path, capsys):  # noqa: F811
    """With ``network.pt`` alone."""
    casia_surf.write(SynthSurf("valid", 1, 1, size=32), tmp_path / "surf")
    network, listed = made(tmp_path), casia_surf.find(tmp_path / "surf").lists["valid"]
    ensure(network, "cpu")
    own = shutil.copy(network.weights(), tmp_path / "mine.pt")
    files = ["--checkpoint", own, "--frames", listed, "--root", listed.parent]
    outputs = ["--out", tmp_path / "s.csv", "--submission", tmp_path / "s.txt", "--device", "cpu"]
    assert "high means a living face" in said(capsys, "score", *files, *outputs)
    table, frames = pd.read_csv(tmp_path / "s.csv"), read_list(listed, listed.parent)
    assert table["sample"].tolist() == frames["sample"].tolist() and table["score"].between(0, 1).all()
    assert table[["experiment", "fold", "seed"]].drop_duplicates().to_numpy().tolist() == [["A", 1, 7]]
    assert len((tmp_path / "s.txt").read_text().splitlines()) == len(frames)
    for precision, near in (("fp32", 1e-8), ("bf16", 0.05)):
        again = score_frames(own, frames, listed.parent, "cpu", precision)
        assert np.allclose(again["score"], table["score"], atol=near)
    next(listed.parent.rglob("*.jpg")).write_bytes(b"%!PS-Adobe-3.0")
    error = refused(capsys, "score", *files, "--out", tmp_path / "none.csv")
    assert "1 of" in error and not (tmp_path / "none.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --profile released --set seeds", "write key=value"),
        ("run --profile smoke --only 3x", "'3x' begins no notebook of the synthetic source"),
        ("run --minutes 0", "no time limit"),
        ("plan --profile tny", "did you mean 'tiny'"),
        ("networks Q", "'Q' is not one of 'zhang'"),
        ("compare results/elsewhere", "does not carry the name of a profile"),
        ("data make --profile tiny", "give --out DIR"),
        ("run --profile released --set released_root=. --out out", "github.com/AlexanderParkin/ChaLearn_liveness"),
        ("frobnicate", "No such command"),
        ("evaluate nowhere.csv", "nowhere.csv does not exist"),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_nothing_behind(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASNB_RELEASED", raising=False)
    assert message in refused(capsys, *arguments.split()) and not list(tmp_path.iterdir())


def test_paths_of_the_command_line_are_those_of_its_folder(tmp_path, monkeypatch):
    (tmp_path / "mine.toml").write_text('source = "released"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASNB_RELEASED", "clone")
    given = settings_of("mine.toml", ["released_root=rel"], out=Path("out"))
    assert given == (str(tmp_path / "mine.toml"), {"released_root": str(tmp_path / "rel")}, tmp_path / "out")
    assert os.environ["FASNB_RELEASED"] == str(tmp_path / "clone")


def test_data_that_is_made_passes_its_check_and_is_refused_once_a_file_is_broken(tmp_path, capsys):
    sizes = "train_frames=24 valid_frames=8 test_frames=8 train_subjects=6 valid_subjects=2 test_subjects=2"
    changes = [part for size in sizes.split() for part in ("--set", size)]
    said(capsys, "data", "make", "--profile", "smoke", *changes, "--out", tmp_path / "surf")
    said(capsys, "data", "check", "--root", tmp_path / "surf")
    next((tmp_path / "surf").rglob("*.jpg")).write_bytes(b"")
    assert "1 problems in" in refused(capsys, "data", "check", "--root", tmp_path / "surf")


def test_plan_networks_and_doctor_tell(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("FASNB_RELEASED", str(tmp_path))
    out = said(capsys, "plan", "--profile", "smoke", "--out", tmp_path / "none", "--time")
    assert out.count("missing") == 69 and re.search(r"about [\d.]+ minutes for 69 networks", out)
    assert "B: resnet-50, faces, MLFA" in said(capsys, "networks", "B", "--profile", "tiny")
    out = said(capsys, "doctor")
    assert "ok      python" in out and "missing the authors' released scores" in out


@pytest.mark.parametrize(("minutes", "status", "word"), [("9", 130, "interrupted"), ("0.1", 3, "the time is up")])
def test_ctrl_c_and_the_end_of_the_time_are_one_line(tmp_path, minutes, status, word):
    given = f"run --profile smoke --set epochs=10000 --set schedule_epochs=10000 --minutes {minutes} --out".split()
    hears = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"  # in the background too
    code = f"{hears}; from fasnb.command.main import main; sys.exit(main())"
    apart = {"cwd": REPOSITORY, "stderr": subprocess.PIPE, "start_new_session": True}
    running = begun(code, *given, tmp_path / "out", **apart)
    while status == 130 and not list(tmp_path.glob("out/runs/*/*")) and running.poll() is None:
        time.sleep(0.1)
    if status == 130:
        os.killpg(running.pid, signal.SIGINT)
    error = running.communicate(timeout=60)[1]
    assert running.returncode == status and f"fasnb: {word}; what was finished is kept" in error, error[-3000:]
    assert "Traceback" not in error

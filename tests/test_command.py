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
import torch
from conftest import REPOSITORY, begun
from test_runs import made, splits  # noqa: F401

from fasnb.command.checkpoint import score_frames
from fasnb.command.main import main, settings_of
from fasnb.command.report import with_mathml
from fasnb.data import casia_surf, read_list
from fasnb.metrics import tpr_at_fpr
from fasnb.training.run import ensure
from synthsurf.dataset import SynthSurf


def refused(capsys, *arguments) -> str:
    """What is said of wrong input: one sentence, in characters that can be seen."""
    assert main([str(each) for each in arguments]) == 2
    _, began, error = capsys.readouterr().err.rpartition("fasnb: ")  # before it the bar of decoding, if any
    assert began and error.strip().isprintable()
    return error


# Evaluation


@pytest.fixture
def scores_file(tmp_path):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 500)
    path = tmp_path / "scores.csv"
    pd.DataFrame({"label": label, "score": rng.normal(label, 0.5)}).to_csv(path, index=False)
    return path


def evaluated(capsys, *arguments) -> dict:
    assert main(["evaluate", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


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
    assert main(["evaluate", str(scores_file), "--threshold", "0.5"]) == 0
    out = capsys.readouterr().out
    assert "high means a living face" in out and "at_threshold: {'threshold': 0.5, 'apcer': " in out
    assert all(part in out for part in ("FPR up to", "finer than 1 /", "it takes 36,887", "the unit is the frame"))


def test_a_threshold_set_on_one_file_serves_another(scores_file, capsys):
    point = evaluated(capsys, scores_file, "--fpr", "0.1")["tpr_at_fpr"][0]
    at = evaluated(capsys, scores_file, "--threshold", repr(point["threshold"]))["at_threshold"]
    attacks = (pd.read_csv(scores_file)["label"] == 0).sum()
    assert at["apcer"] == point["false_positives"] / attacks <= 0.1
    assert at["bpcer"] == pytest.approx(1 - point["tpr"]) and at["acer"] == at["hter"]
    assert evaluated(capsys, scores_file, "--fpr", "1")["tpr_at_fpr"][0]["threshold"] is None  # every frame may pass
    table = pd.read_csv(scores_file)
    words = np.array(["print", "replay", "mask"])[np.arange(500) % 3]
    table.assign(attack=np.where(table["label"] == 1, "", words)).to_csv(scores_file, index=False)
    at = evaluated(capsys, scores_file, "--threshold", "0.6")["at_threshold"]
    assert at["apcer_max"] == max(at["apcer_by_attack"].values()) > at["apcer"]
    assert at["acer"] == pytest.approx((at["apcer_max"] + at["bpcer"]) / 2) and "mask" in at["apcer_by_attack"]
    assert "scores look reversed" in str(evaluated(capsys, scores_file, "--bona-fide-label", "0")["notes"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("label,fake\n1,0.5\n", "has no column score"), ("label,score\n1,high\n0,0.1\n", "line 2: 'high' is not a number"),
        ("label,score\n3,0.5\n0,0.2\n", "'3' is no label"), ("label,score,seed\n1,0.5,1\n0,0.2,2\n", "several values of seed"),
    ],
)  # fmt: skip
def test_evaluate_refuses_a_broken_file_by_name(tmp_path, capsys, content, message):
    path = tmp_path / "a\u202eb\x1b[31m.csv"  # a name that hides what follows it
    path.write_text(content)
    error = refused(capsys, "evaluate", path)
    assert message in error and r"a\u202eb\x1b[31m.csv" in error


# The authors' scores


def test_released_json_has_the_papers_rows(released, capsys):
    assert main(["released", str(released), "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    at = {name: round(100 * row["tpr_at_fpr"][-1]["tpr"], 2) for name, row in rows.items()}
    published = {
        "exp1_2stage_seed1": 99.87,
        "exp3b_seed1": 99.63,
        "exp3c_seed1": 99.33,
        "exp2_seed1": 98.7,
        "ensemble": 100,
    }
    assert published.items() <= at.items() and len(rows) == 8 and all(row["folds"] == 3 for row in rows.values())
    finest = rows["ensemble"]["tpr_at_fpr"][-1]
    assert finest["method_low"] is None and finest["attacks_needed"] == 36_887
    assert round(finest["fpr_high"], 5) == 5.6e-4 and round(finest["fpr_high_clips"], 3) == 1.2e-2


def test_released_prints_every_row_and_refuses_a_clone_that_lacks_one(released, tmp_path, capsys):
    assert main(["released", str(released), "--epoch", "50", "--crop", "crop0"]) == 0
    out = capsys.readouterr().out
    assert "epoch 50, crop0" in out and out.count("1e-4") > 8 and "99.63" in out
    shutil.copytree(released, tmp_path / "clone")
    shutil.rmtree(tmp_path / "clone/data/opts/exp3b_seed1/fold2")
    assert "1 of 3 networks are missing: B fold 2 seed 1" in refused(capsys, "released", tmp_path / "clone")
    shutil.rmtree(tmp_path / "clone/data/opts/exp3b_seed1")
    assert "3 of 21 networks are missing" in refused(capsys, "released", tmp_path / "clone")


# One's own frames


@pytest.fixture
def surf(tmp_path, monkeypatch):
    """A small data set, in a folder that is the home of data/cache."""
    monkeypatch.setenv("FASNB_CACHE", str(tmp_path / "cache"))
    casia_surf.write(SynthSurf("valid", 1, 1, size=32), tmp_path / "surf")
    return tmp_path / "surf"


def test_own_frames_are_scored_under_the_names_of_the_run(made, surf, tmp_path, capsys):  # noqa: F811
    """With ``network.pt`` alone."""
    network, listed = made(tmp_path), casia_surf.find(surf).lists["valid"]
    ensure(network, "cpu")
    own = shutil.copy(network.weights(), tmp_path / "mine.pt")
    files = ["--checkpoint", own, "--frames", listed, "--root", listed.parent]
    outputs = ["--out", tmp_path / "s.csv", "--submission", tmp_path / "s.txt", "--device", "cpu"]
    assert main([str(each) for each in ("score", *files, *outputs)]) == 0
    assert "high means a living face" in capsys.readouterr().out
    table, frames = pd.read_csv(tmp_path / "s.csv"), read_list(listed, listed.parent)
    assert table["sample"].tolist() == frames["sample"].tolist() and table["score"].between(0, 1).all()
    assert table[["experiment", "fold", "seed"]].drop_duplicates().to_numpy().tolist() == [["A", 1, 7]]
    assert len((tmp_path / "s.txt").read_text().splitlines()) == len(frames)
    for precision, near in (("fp32", 1e-8), ("bf16", 0.05)):
        again = score_frames(own, frames, listed.parent, "cpu", precision)
        assert np.allclose(again["score"], table["score"], atol=near)
    next(surf.rglob("*.jpg")).write_bytes(b"%!PS-Adobe-3.0")
    error = refused(capsys, "score", *files, "--out", tmp_path / "none.csv")
    assert "1 of" in error and not (tmp_path / "none.csv").exists()


def test_a_checkpoint_of_the_authors_has_the_name_of_its_file(surf, tmp_path, reference):
    layout = json.loads((reference / "state_dicts.json").read_text())["resnet34_mlfa_released"]
    counter, one = torch.zeros((), dtype=torch.long), torch.zeros(())  # small: each tensor stores one number
    model = {k: counter if k.endswith("tracked") else one.expand(shape) for k, (_, *shape) in layout.items()}
    head = {"weight": one.expand(2, 512), "bias": one.expand(2)}
    torch.save({"model_state_dict": model, "classifier_state_dict": head}, tmp_path / "exp2_fold1.pth")
    listed = casia_surf.find(surf).lists["valid"]
    table = score_frames(
        tmp_path / "exp2_fold1.pth", read_list(listed, listed.parent)[:2], listed.parent, "cpu", "fp32"
    )
    assert table[["experiment", "fold", "seed", "score"]].to_numpy().tolist() == 2 * [["exp2_fold1", 0, 0, 0.5]]


# Profiles, data, what is missing


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --profile released --set seeds", "write key=value"),
        ("run --profile smoke --only 3x", "'3x' begins no notebook of the synthetic source"),
        ("run --minutes 0", "no time limit"),
        ("plan --profile tny", "did you mean 'tiny'"),
        ("networks Q", "'Q' is not one of 'zhang'"),
        ("networks --profile released", "there is no network to describe"),
        ("compare results/elsewhere", "does not carry the name of a profile"),
        ("data make --profile tiny", "give --out DIR"),
        ("data check --root nowhere", "nowhere"),
        ("frobnicate", "No such command"),
        ("evaluate nowhere.csv", "nowhere.csv does not exist"),
    ],
)
def test_wrong_input_is_one_sentence(arguments, message, capsys):
    assert message in refused(capsys, *arguments.split())


def test_run_without_the_released_files_says_what_to_obtain(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("FASNB_RELEASED", raising=False)
    given = ["--set", f"released_root={tmp_path}", "--out", tmp_path / "out"]
    error = refused(capsys, "run", "--profile", "released", *given)
    assert "github.com/AlexanderParkin/ChaLearn_liveness_challenge" in error and not (tmp_path / "out").exists()


def test_paths_of_the_command_line_are_those_of_its_folder(tmp_path, monkeypatch):
    (tmp_path / "mine.toml").write_text('source = "released"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASNB_RELEASED", "clone")
    given = settings_of("mine.toml", ["released_root=rel"], out=Path("out"))
    assert given == (str(tmp_path / "mine.toml"), {"released_root": str(tmp_path / "rel")}, tmp_path / "out")
    assert os.environ["FASNB_RELEASED"] == str(tmp_path / "clone")


def test_data_that_is_made_passes_its_check_and_names_a_broken_file(tmp_path, capsys):
    sizes = "train_frames=24 valid_frames=8 test_frames=8 train_subjects=6 valid_subjects=2 test_subjects=2"
    changes = [part for size in sizes.split() for part in ("--set", size)]
    assert main(["data", "make", "--profile", "smoke", *changes, "--out", str(tmp_path / "surf")]) == 0
    assert main(["data", "check", "--root", str(tmp_path / "surf")]) == 0
    broken = next((tmp_path / "surf").rglob("*.jpg"))
    broken.write_bytes(broken.read_bytes()[:100])
    capsys.readouterr()
    assert main(["data", "check", "--root", str(tmp_path / "surf")]) == 2
    told = capsys.readouterr()
    assert broken.name in told.out and "problems in" in told.err


def test_plan_networks_and_doctor_tell(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("FASNB_RELEASED", str(tmp_path))
    assert main(["plan", "--profile", "smoke", "--out", str(tmp_path / "none"), "--time"]) == 0
    out = capsys.readouterr().out
    assert out.count("missing") == 69 and re.search(r"about [\d.]+ minutes for 69 networks", out)
    assert main(["networks", "B", "--profile", "tiny"]) == 0
    assert "B: resnet-50, faces, MLFA" in capsys.readouterr().out
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "ok      python" in out and "missing the authors' released scores" in out


@pytest.mark.parametrize(("minutes", "status", "word"), [("9", 130, "interrupted"), ("0.1", 3, "the time is up")])
def test_ctrl_c_and_the_end_of_the_time_are_one_line(tmp_path, minutes, status, word):
    given = (
        f"run --profile smoke --set epochs=10000 --set schedule_epochs=10000 --out {tmp_path}/out --minutes {minutes}"
    )
    code = "import sys; from fasnb.command.main import main; sys.exit(main())"
    running = begun(code, *given.split(), cwd=REPOSITORY, stderr=subprocess.PIPE, start_new_session=True)
    while status == 130 and not list(tmp_path.glob("out/runs/*/*")) and running.poll() is None:
        time.sleep(0.1)
    if status == 130:
        os.killpg(running.pid, signal.SIGINT)
    said = running.communicate(timeout=60)[1]
    assert running.returncode == status and f"fasnb: {word}; what was finished is kept" in said, said[-3000:]
    assert "Traceback" not in said


def test_formulas_become_mathml_and_code_stays():
    text = with_mathml(r"a $x_1$ costs $5 and `$y$`; $$\frac{a}{b}$$")
    assert text.count("<math") == 2 and "<mfrac>" in text and "`$y$`" in text and "costs $5" in text

"""A study opened, and what it shows: scores by their source, captions, tables and figures, nothing read as markup."""

import matplotlib
import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import random_scores
from matplotlib import pyplot as plt

from fasnb.lab import Show, Study, plots
from fasnb.lab.show import MARKS, markdown, readable
from fasnb.metrics import IncompleteError
from fasnb.paper import ProfileError, load
from fasnb.training.archive import MissingScores, is_done, write_published

matplotlib.use("agg")
EVIL = "<script>alert(1)</script> | $x_1$ 100% \\input{x} *a* [b](c)"
TINY = {"train_frames": 48, "valid_frames": 24, "train_subjects": 12, "valid_subjects": 4, "row_seeds": 1, "seeds": 1}
TINY |= {"pretrain_epochs": 1, "epochs": 1, "batch_size": 8, "replicates": 20, "workers": 1}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A study with the networks of one row trained."""
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASNB_CACHE", str(folder / "cache"))
        study = Study("smoke", TINY, folder / "results")
        study.scores("zhang")
        yield study


def test_published_scores_come_in_the_place_of_missing_ones_and_alone_where_asked_for(trained, tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "fasnb" / "paper").mkdir(parents=True)
    write_published(trained.plan.of("zhang"), tmp_path / "results" / "published" / "smoke")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASNB_PUBLISHED", "1")
    study = Study("smoke", TINY)
    pd.testing.assert_frame_equal(study.scores("zhang"), trained.scores("zhang"))
    with pytest.raises(MissingScores, match="A fold 1 seed 7"):
        study.scores("A")
    assert not any(map(is_done, study.plan.networks)) and not list(tmp_path.rglob("done.json"))[1:]


def test_a_study_says_what_it_cannot_show_and_leaves_claims_open_while_networks_are_missing(trained):
    with pytest.raises(IncompleteError, match="resnet34-attack"):
        trained.scores("nobody")
    assert trained.served("A", "zhang") == ["A", "zhang"] and not trained.serves("A", "nowhere")
    assert repr(trained) == "profile smoke: SynthSURF, a synthetic stand-in for CASIA-SURF"
    for given in ({"settings": "{'epochs': 3}"}, {"out": 7}, {"settings": {"epoch": 3}}):
        with pytest.raises(ProfileError):
            Study("smoke", **given)
    assert set(trained.errors["experiment"]) == {"zhang"} and set(trained.claims()["verdict"]) == {"not measured"}
    assert set(trained.claims("5.4")["section"]) == {"5.4"}


def test_released_scores_serve_the_members_alone_and_judge_their_claims(released):
    study = Study("released", {"released_root": str(released), "replicates": 50})
    assert study.served("A", "zhang", "D") == ["A", "D"]
    assert len(study.scores("A")) == 3 * 9608
    assert set(study.errors["experiment"]) == {"A", "B", "C", "D", "ensemble", "A, B, C"}  # of the first seeds
    found = study.claims().set_index("claim").loc["The ensemble is better than its best member"]
    assert (found["worlds"], found["verdict"]) == (1, "one world") and found["ratio"] == 1  # both at half a frame


def shown(show, what, capsys, **options) -> str:
    show(what, "x", "One sentence at FPR = {fpr}", **options)
    return capsys.readouterr().out


def test_a_caption_says_source_profile_seeds_and_frames_of_each_class(tmp_path, capsys):
    show, table = Show(load("smoke"), tmp_path), pd.DataFrame({"experiment": ["A"], "measured": [1.0]})
    text = shown(show, table, capsys, of=random_scores())
    assert "One sentence at FPR = 1e-1. Source: SynthSURF, a synthetic stand-in for CASIA-SURF; profile smoke; " in text
    assert "seeds 7, 704; 40 frames (20 bona fide, 20 attack)." in text
    assert "Source: the paper." in shown(show, table, capsys, of="the paper")


def test_tables_are_read_by_people_and_nothing_of_them_is_markup(tmp_path, capsys, monkeypatch):
    table = pd.DataFrame({"experiment": ["zhang", "A"], EVIL: [EVIL, "b"], "measured": [99.126, np.nan], "FPR": 1e-4})
    table = table.assign(seed=[2019, 7], frames=[9608, 1], nothing=np.nan)
    shown(Show(load("smoke"), tmp_path), table, capsys)
    cells = readable(table)
    assert list(cells["experiment"]) == ["resnet-18, Zhang et al.", "A"] and "nothing" not in cells
    assert list(cells["measured"]) == ["99.13", "–"] and list(cells["FPR"]) == ["1e-4"] * 2
    assert list(cells["seed"]) == ["2019", "7"] and list(cells["frames"]) == ["9,608", "1"]
    limits = pd.DataFrame({"ratio": [2.0, 1.0, 3.0], "low": [1.5, np.nan, np.nan], "high": [2.5, np.nan, 4.0]})
    assert readable(limits).to_dict("list") == {"ratio": ["2.00 [1.50, 2.50]", "1.00", "3.00 [–, 4.00]"]}
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "tables" / "x.csv"), table)  # every digit, identifiers
    assert "<script" not in markdown(cells) and r"\*a\*" in markdown(cells)
    latex = (tmp_path / "tables" / "x.tex").read_text()
    assert r"\textbackslash{}input\{x\}" in latex and r"\$x\_1\$ 100\%" in latex and r"{llrrrr}" in latex
    found = []
    monkeypatch.setattr("fasnb.lab.show.display", lambda what, **_: found.append(what))
    Show(load("smoke"), None)(pd.DataFrame({EVIL: [EVIL]}), "x", EVIL, of=EVIL)
    assert "<script" not in found[0]["text/html"] and found[0]["text/html"].count("&lt;script") == 4


def test_every_figure_carries_its_source_and_becomes_png_and_pdf(tmp_path, capsys):
    for source, layout in (("smoke", "constrained"), ("released", "none"), ("casia-surf", "constrained")):
        fig, _ = plt.subplots(layout=layout)
        shown(Show(load(source), tmp_path), fig, capsys)
        assert [text.get_text() for text in fig.texts] == [MARKS[load(source).source]]
    files = {path.suffix: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert files[".png"].startswith(b"\x89PNG") and files[".pdf"].startswith(b"%PDF") and b"One" in files[".txt"]


@pytest.mark.parametrize("backend", ["Agg", "TkAgg"])
def test_pictures_are_there_whatever_backend_the_caller_has_set(backend, tmp_path, monkeypatch):
    """Without the command: papermill, nbconvert and jupyter execute all run a notebook with nbclient."""
    monkeypatch.setenv("MPLBACKEND", backend)
    opened = f"from fasnb.lab import open_study; study, show, check = open_study('smoke', out={str(tmp_path)!r})"
    sources = opened, "from matplotlib import pyplot as plt; show(plt.subplots()[0], 'x', 'One')", "plt.plot([1, 2])"
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbclient.execute(notebook := nbformat.v4.new_notebook(cells=cells))
    assert all(any("image/png" in output.get("data", ()) for output in cell.outputs) for cell in notebook.cells[1:])


def test_a_bpcer_of_zero_is_not_drawn_as_a_line_and_hinders_no_drawing():
    labels, rng = np.arange(400) % 2, np.random.default_rng(0)
    table = pd.DataFrame({"A": np.where(labels == 1, 0.9, 0.1) + 0.05 * rng.random(400), "B": rng.random(400)})
    det = plots.roc_det(table, labels, [0.1]).axes[1]
    curve, other = (line for line in det.lines if line.get_marker() == "None")
    assert np.isnan(curve.get_ydata()).all()  # A refuses none at any FPR
    assert np.nanmin(other.get_ydata()) >= 100 / 200
    assert plots.roc_det(table[["A"]], labels, [0.1]).axes[1].get_yscale() == "log"


def test_pictures_are_as_stored_and_mark_where_a_face_has_no_depth():
    image, channels = np.full((5, 8, 8), 200, np.uint8), {"rgb": 3, "depth": 1, "ir": 1}
    image[3, 0, 0] = 0
    depth = plots.picture(image, "depth", channels)
    assert list(depth[0, 0]) == [204, 51, 17] and (depth[1:] == 200).all()
    assert plots.picture(image, "rgb", channels).shape == (8, 8, 3) and plots.picture(image, "ir", channels).ndim == 2

"""Tables and figures as people see them: captions that say where numbers come from, and nothing of the data as markup."""

import re
import shutil
import subprocess

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_notebook, new_output

from fasnb.data.frames import frame_table
from fasnb.lab import figures
from fasnb.lab.show import Show
from fasnb.lab.tables import Shown, latex, latex_text, markdown
from fasnb.metrics import comparisons, ensembles, scores, verdicts
from fasnb.paper import TABLE1, Finding, profile

EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"
SPECIALS = r"50% of A_1 & B#2: {x} ~ $y^2$ \ <z> | `c` [d](e)"


@pytest.fixture
def table():
    """Scores of two experiments with two seeds each, on 60 frames of six subjects."""
    label = np.arange(60) % 3 == 0
    names = [f"{i}-color.jpg" for i in range(60)]
    subject = [f"s{i % 6}" for i in range(60)]
    frames = frame_table(sample=names, rgb=names, depth=names, ir=names, label=label.astype(int), subject=subject)
    rng = np.random.default_rng(0)
    return pd.concat(
        [
            scores.score_table(frames, rng.random(60), name, 1, seed)
            for name in ("A", "resnet34-face")
            for seed in (7, 704)
        ]
    )


@pytest.fixture
def show(tmp_path):
    return Show(profile.load("smoke"), tmp_path)


def test_the_caption_finds_source_seeds_frames_and_interval_by_itself(table, show, tmp_path):
    show(comparisons.measure(table, [0.1], replicates=20), "t", "TPR (%) at FPR = {fpr}")
    caption = (tmp_path / "tables" / "t.md").read_text().strip().splitlines()[-1]
    assert caption == (
        "TPR (%) at FPR = 1e-1. Source: SynthSURF, a synthetic stand-in for CASIA-SURF; profile smoke; seeds 7, 704; "
        "60 frames (20 bona fide, 40 attack); 95% intervals: bootstrap of 6 subjects, 20 replicates."
    )


def test_the_caption_names_every_kind_of_limit_in_the_table(table, show, tmp_path):
    def caption_of(what):
        show(what, "t", "Limits")
        return (tmp_path / "tables" / "t.md").read_text().strip().splitlines()[-1]

    drawn = "bootstrap of 6 subjects, 20 replicates"
    one = caption_of(comparisons.measure(scores.first_seed(table), [0.1], replicates=20))
    assert f"95% intervals: {drawn}; limits of this system: exact" in one and "on the effective number of frames" in one
    unknown = comparisons.measure(scores.first_seed(table).assign(subject=pd.NA), [0.1], replicates=20)
    assert "exact (Clopper-Pearson) on frames, 95% for the TPR, 97.5% for the FPR" in caption_of(unknown)
    assert "limits of this system" not in caption_of(
        comparisons.measure(table, [0.1], replicates=20)
    )  # of no single one
    pairs = caption_of(comparisons.compare_all(table, 0.1, replicates=20))
    assert f"Student's, of the variance between seeds and that of a {drawn}" in pairs
    finding = Finding("not here", "1", evidence="x", needs="more")
    assert "no interval" in caption_of(verdicts.judge(table, [finding], 0.1, 20))


def test_columns_without_any_value_are_not_shown_but_kept_in_the_csv(table, show, tmp_path):
    show(comparisons.measure(table, [0.1], replicates=20).assign(note="–"), "t", "Means of two seeds")
    kept = pd.read_csv(tmp_path / "tables" / "t.csv")
    assert kept["system low"].isna().all() and {"FPR up to", "note"} <= set(kept)
    for path in ("t.md", "t.tex"):
        text = (tmp_path / "tables" / path).read_text()
        assert "system low" not in text and "note" not in text and "measured" in text
    assert "system low" not in Shown(kept, "t", "")._repr_html_()
    rows = markdown(kept.iloc[:0], "").splitlines()[0]
    assert "system low" in rows  # a table without rows says what it would hold


def test_a_table_without_an_interval_claims_none(table, show, tmp_path):
    methods = scores.matrix(scores.first_seed(table))
    facts = scores.facts(table)
    show(ensembles.all_combinations(methods, facts["label"], 0.1), "t", "Subsets")
    text = (tmp_path / "tables" / "t.md").read_text()
    assert "no interval" in text and "bootstrap" not in text and "seed 7;" in text


def test_published_tables_are_said_to_be_the_papers(show, tmp_path):
    show(TABLE1, "t", "The six attacks.")
    assert (tmp_path / "tables" / "t.md").read_text().strip().endswith("The six attacks. Source: Table 1 of the paper.")


def test_a_figure_carries_what_its_table_is_made_of(table, show, tmp_path, monkeypatch):
    monkeypatch.setattr(plt, "show", plt.close)
    measured = comparisons.measure(table, [0.1], replicates=20).assign(method="x")
    show(figures.intervals(measured, published=None), "f", "Intervals at FPR = {fpr}")
    assert "Intervals at FPR = 1e-1. Source: SynthSURF" in (tmp_path / "figures" / "f.txt").read_text()
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"f.png", "f.pdf", "f.txt"}


def test_people_read_names_and_files_keep_identifiers(table, show, tmp_path):
    show(comparisons.compare_all(table, 0.1, [("A", "resnet34-face")], 20), "t", "Pairs")
    assert "A: resnet-34, faces, MLFA | face network, faces" in (tmp_path / "tables" / "t.md").read_text()
    assert pd.read_csv(tmp_path / "tables" / "t.csv")["b"].tolist() == ["resnet34-face"]


def test_without_a_results_folder_nothing_is_written(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Show(profile.load("smoke"), None)(TABLE1, "t", "The six attacks.")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["cell", "column", "caption"])
def test_no_page_takes_a_name_for_markup(where):
    frame = pd.DataFrame({EVIL if where == "column" else "sample": [EVIL if where == "cell" else "x"], "n": [1.5]})
    shown = Shown(frame, "t", EVIL if where == "caption" else "c")
    output = new_output("display_data", {"text/html": shown._repr_html_(), "text/plain": repr(shown)})
    page, _ = HTMLExporter(template_name="basic").from_notebook_node(
        new_notebook(cells=[new_code_cell("", outputs=[output])])
    )
    assert "alert(1)" in page and "<script>alert" not in page and not re.search(r"<img[^>]*onerror", page)
    text = repr(shown)
    assert "<script>" not in text and "<img" not in text and "alert(1)" in text


def test_a_figures_caption_is_no_markup(table, show, tmp_path, monkeypatch):
    monkeypatch.setattr(plt, "show", plt.close)
    shown = []
    monkeypatch.setattr("fasnb.lab.show.display", shown.append)
    fig = figures.frame_scores(
        pd.DataFrame({"frame": [EVIL, "$a_1$ $"], "class": ["attack", "bona fide"], "A": [0.1, 0.2]}), ["A"]
    )
    show(fig, "f", EVIL)
    page = shown[0]._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_markdown_cells_stay_cells():
    text = markdown(pd.DataFrame({"a|b": [SPECIALS, "two\nlines"]}), SPECIALS)
    rows = text.splitlines()
    assert len(rows) == 6 and all(len(re.findall(r"(?<!\\)\|", row)) == 2 for row in rows[:4])
    assert r"\[d\](e)" in text and "&lt;z&gt;" in text


def unescaped(text: str) -> list[str]:
    """Special characters of LaTeX outside the commands that the table itself is made of."""
    text = re.sub(r"\\(?:textbackslash|textasciitilde|textasciicircum|textless|textgreater)\{\}", "", text)
    return re.findall(r"(?<!\\)[%$#_^~]", re.sub(r"\\[&%$#_{}]", "", text))


def test_latex_escapes_captions_cells_and_columns():
    text = latex(pd.DataFrame({SPECIALS: [SPECIALS]}), "t", SPECIALS)
    body = text.replace(r"\label{tab:t}", "")
    assert not unescaped(body), text
    assert body.count(latex_text(SPECIALS)) == 3


def test_every_latex_table_compiles(table, show, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("no LaTeX on this machine; captions and cells are parsed in the test above")
    show(comparisons.measure(table, [0.1], replicates=20), "one", f"{SPECIALS} at FPR = {{fpr}}")
    show(TABLE1, "two", "The six attacks – 50% cut & pasted")
    inputs = "".join(path.read_text() for path in (tmp_path / "tables").glob("*.tex"))
    page = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n" + inputs + "\\end{document}\n"
    (tmp_path / "page.tex").write_text(page)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout[-2000:]

"""A study from notebooks to a report, what is published of it and compared with it, and the page of a paper."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
from conftest import PYTHONPATH, REPOSITORY, begun, refused, said

from fasnb.command.results import compiled, write_paper
from fasnb.command.study import NotebookError, chosen_notebooks, execute, execute_all
from fasnb.lab import Study
from fasnb.metrics import judge
from fasnb.paper import OTHER, PRIMARY
from fasnb.paper.profile import load
from fasnb.tools.files import DONE, seal, sealed, whole
from fasnb.tools.machine import OutOfTime, time_limit

PUBLISHED = REPOSITORY / "results" / "published"
PAPER = {".pdf"} if shutil.which("pdflatex") else set()


@pytest.fixture
def lone(tmp_path, monkeypatch):
    """A repository with one notebook, 00_data, whose cells are given as (source, tags)."""
    (tmp_path / "fasnb" / "paper").mkdir(parents=True)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)  # its fasnb is a folder and no package
    monkeypatch.chdir(tmp_path)

    def write(*cells) -> dict:
        given = ('profile = "tiny"  # größe\nsettings = {}  # such as {"a": 1}\nout = None', ["parameters"])
        made = [nbformat.v4.new_code_cell(source, metadata={"tags": tags}) for source, tags in (given, *cells)]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": kernel})
        nbformat.write(notebook, tmp_path / "notebooks" / "00_data.ipynb")
        return {"profile": "smoke", "settings": {"data_root": str(tmp_path), "x": "y"}, "out": None}

    return write


def test_a_notebook_keeps_what_it_was_run_with_and_nothing_of_the_machine(lone, tmp_path):
    draw = "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show(); print(profile, settings['data_root'] != '')"
    given = lone((draw, []), ("1", ["synthetic", "casia-surf"]), ("1 / 0", ["released"]), ("1 / 0", ["third-team"]))
    assert dict(execute_all(["00_data"], {"synthetic"}, given, tmp_path / "out"))["00_data"] > 0
    text = (tmp_path / "out" / "notebooks" / "00_data.ipynb").read_text()
    notebook = nbformat.reads(text, as_version=4)
    parameters = "profile = 'smoke'  # größe\nsettings = {'x': 'y'}  # such as {\"a\": 1}\nout = None"
    assert notebook.cells[0].source == parameters
    assert len(notebook.cells) == 3 and "1 / 0" not in text and str(tmp_path) not in text and "papermill" not in text
    outputs = notebook.cells[1].outputs
    assert any("image/png" in output.get("data", {}) for output in outputs) and "smoke True" in text
    assert notebook.metadata.fasnb.parameters == {"profile": "smoke", "settings": {"x": "y"}, "out": None}
    assert [path.name for path in (tmp_path / "out" / "notebooks").iterdir()] == ["00_data.ipynb"]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("raise KeyError('x')", "00_data, cell 2: KeyError: 'x'; see out/notebooks/00_data.failed.ipynb"),
        ("import os; os._exit(1)", "00_data: DeadKernelError: Kernel died"),
    ],
)
def test_a_notebook_that_fails_is_named_and_an_earlier_copy_stays(lone, tmp_path, cell, message):
    execute("00_data", {"synthetic"}, lone(), tmp_path / "out")
    with pytest.raises(NotebookError, match=re.escape(message)):
        execute("00_data", {"synthetic"}, lone((cell, [])), tmp_path / "out")
    assert len(nbformat.read(tmp_path / "out" / "notebooks" / "00_data.ipynb", 4).cells) == 1


def test_a_notebook_at_work_obeys_the_end_of_the_time(lone, tmp_path):
    cell = "from fasnb.tools.machine import keep_time\nimport time\nkeep_time()  # as open_study does\ntime.sleep(100)"
    started = time.monotonic()
    with pytest.raises(OutOfTime), time_limit(0.25):
        list(execute_all(["00_data"], "synthetic", lone((cell, [])), tmp_path / "out"))
    assert time.monotonic() - started < 40


def test_smoke_leaves_notebooks_tables_and_figures_and_nothing_of_this_machine(smoke):
    for name in chosen_notebooks(load("smoke")):
        notebook = nbformat.read(smoke / "notebooks" / f"{name}.ipynb", as_version=4)
        outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
        assert outputs and not any(output.output_type == "error" for output in outputs)
        assert notebook.metadata.fasnb.parameters["profile"] == "smoke"
    assert not list(smoke.glob("notebooks/*.failed.ipynb"))
    assert len(list(smoke.glob("runs/*/done.json"))) >= 64
    for path in smoke.glob("tables/*.csv"):
        caption = path.with_suffix(".md").read_text().strip().splitlines()[-1]
        assert path.with_suffix(".tex").is_file() and ("Source" in caption or "profile smoke" in caption)
    assert all(path.with_suffix(".pdf").is_file() for path in smoke.glob("figures/*.png"))
    table3 = pd.read_csv(smoke / "tables" / "08-table3.csv")
    assert len(table3) == 10 and table3["measured"].between(0, 100).all()
    for path in [*smoke.glob("notebooks/*.ipynb"), *smoke.glob("runs/*/*.json"), smoke / "report.html"]:
        text = path.read_text().replace(str(smoke), "")  # the results folder was chosen by the test
        assert str(REPOSITORY) not in text and str(Path.home()) + "/" not in text


def lost_links(page: Path) -> list[str]:
    """Links of a page, HTML or Markdown, to files and places that are not there."""
    text = re.sub(r'srcdoc="[^"]*"', "", page.read_text(encoding="utf-8"))
    links = re.findall(r'(?:href|src)="([^"]*)"' + r"|\]\(([^)]*)\)" * (page.suffix == ".md"), text)
    links = [link for link in map("".join, links) if "://" not in link and not link.startswith("data:")]
    heads = [head.lower().replace(" ", "-") for head in re.findall(r"(?m)^#+ (.*)", text)]
    places = {f"#{name}" for name in [*re.findall(r'id="([^"]*)"', text), *heads]}
    return [link for link in links if not (link in places or (page.parent / link.partition("#")[0]).is_file())]


def test_smoke_report_is_one_page_of_its_own(smoke):
    page = (smoke / "report.html").read_text()
    cells = [cell for path in smoke.glob("notebooks/*.ipynb") for cell in nbformat.read(path, as_version=4).cells]
    lessons = [cell for cell in cells if "lesson" in cell.metadata.get("tags", ())]
    assert 0 < len(lessons) == page.count('<div class="highlight hl-ipython3">')  # other code is not shown
    assert all(f'<section id="{name}">' in page for name in chosen_notebooks(load("smoke")))
    pictures = re.findall('<img [^>]*src="data:image/[a-z]+;base64[^>]*>', page)
    assert len(pictures) >= 10 and all('alt="figure, described be' in picture for picture in pictures)
    first, table3 = page.partition("<section")[0], pd.read_csv(smoke / "tables" / "08-table3.csv")
    rows = [re.findall("<td[^>]*>(.*?)</td>", row) for row in re.findall("<tr>(.*?)</tr>", first)]
    measured = {row[0]: row[-1] for row in rows if len(row) == 4}  # of two seeds, the first and the mean
    a = table3[table3["method"].str.startswith("A.")].iloc[0]
    assert measured[f"{a['method']}, CASIA-WebFace"].startswith(f"{a['measured']:.2f}")
    assert pictures[0] in first and page.count('<nav class="') == 2 and page.count("<details open") == 0
    assert all(part in page for part in ('<iframe class="explorer"', "<math", "What it found", "one world"))
    assert not re.findall(r"(?:src|href)=\"(https?://[^\"]+)", page) and not lost_links(smoke / "report.html")


def test_tables_and_figures_of_a_paper(smoke, tmp_path):
    for name in ("tables", "figures"):
        shutil.copytree(smoke / name, tmp_path / name)
    page, folder = write_paper(Study("smoke", out=tmp_path)), tmp_path / "paper"
    names = {path.name for path in folder.iterdir()}
    assert {*(f"table{n}.tex" for n in range(1, 6)), *(f"figure{n}.pdf" for n in range(1, 5)), "page.tex"} <= names
    text = (folder / "page.tex").read_text()
    assert text.count("\\input{table") == 5 and text.count("\\includegraphics") == 4 and "Not here" not in text
    assert "profile smoke" in text and "a synthetic stand-in" in text
    assert "08-table3" in (folder / "table3.tex").read_text()
    for name in ("07-figure4.pdf", "07-figure3.pdf"):
        (tmp_path / "figures" / name).unlink()
    if shutil.which("pdflatex") is None:
        pytest.skip("no LaTeX on this machine: what was written is not compiled")
    assert page.suffix == ".pdf" and "Overfull" not in page.with_suffix(".log").read_text(errors="replace")
    before = page.read_bytes()
    assert len(before) < 500_000 and compiled(folder / "page.tex").read_bytes() == before
    write_paper(Study("smoke", out=tmp_path))  # without pictures the scores of Figure 3 take its place
    text = (folder / "page.tex").read_text()
    assert "Not here: Figure 4. Their chapters were not run" in text and "Scores of the frames of Figure 3" in text
    (folder / "page.tex").write_text("\\documentclass{article}\\begin{document}\\nothing\\end{document}")
    with pytest.raises(RuntimeError, match="does not compile: ! Undefined"):
        compiled(folder / "page.tex")


def git(folder: Path, *command: str) -> str:
    who = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    return subprocess.run([*who, *command], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def fasnb(folder: Path, *command: str, **changed: str) -> subprocess.CompletedProcess:
    places = {"env": os.environ | {"PYTHONPATH": str(folder)} | changed, "cwd": folder, "timeout": 600}
    return subprocess.run([sys.executable, "-m", "fasnb", *command], capture_output=True, text=True, **places)


@pytest.fixture(scope="module")
def clone(smoke, tmp_path_factory):
    """A repository of its own, with the finished smoke study of its one commit."""
    folder = tmp_path_factory.mktemp("clone")
    for part in ("fasnb", "synthsurf", "notebooks"):
        shutil.copytree(REPOSITORY / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".gitignore").write_text("results/*\n!results/published/\ndata/\n__pycache__/\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")
    shutil.copytree(smoke, folder / "results" / "smoke")
    for path in (folder / "results" / "smoke" / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        notebook.metadata["fasnb"]["commit"] = git(folder, "rev-parse", "HEAD")
        nbformat.write(notebook, path)
    names = sealed(smoke)["sha256"]
    seal(folder / "results" / "smoke", {}, names)  # as an honest run would have
    return folder


@pytest.fixture(scope="module")
def published(clone):
    done = fasnb(clone, "publish", "--profile", "smoke")
    assert done.returncode == 0, done.stderr
    return clone / "results" / "published" / "smoke"


def test_what_is_published_is_whole(published):
    files = {path.relative_to(published).as_posix() for path in published.rglob("*.*")}
    assert {"scores.parquet", "runs.csv", "history.csv", DONE, "figures/00-cameras.png"} <= files
    report = published.parents[2] / "docs" / "smoke.html"
    assert set(sealed(published)["sha256"]) == files - {DONE} | {"../../../docs/smoke.html"}
    assert not lost_links(report) and 'href="../results/published/smoke/notebooks/00_data.ipynb"' in report.read_text()
    assert {Path(name).suffix for name in files} == {".parquet", ".csv", ".png", ".ipynb", ".json", ".pt"} | PAPER
    runs, scores = pd.read_csv(published / "runs.csv"), pd.read_parquet(published / "scores.parquet")
    assert len(runs) == 69 and runs["key"].is_unique and set(scores["key"]) == set(runs["key"])
    assert scores.groupby("split")["score"].size().to_dict() == {"valid": 69 * 120, "test": 24 * 120}


def test_ones_own_study_equals_what_it_was_published_from(clone, published):
    done = fasnb(clone, "compare", "results/smoke")
    assert done.returncode == 0, done.stderr
    found = {"TPR of a network": 138, "TPR of a mean of folds": 50, "error of a method": 25}
    said = [f"{what}: {count} equal; largest difference 0.00 points" for what, count in found.items()]
    assert done.stdout.strip().splitlines()[-3:] == said
    assert fasnb(clone, "doctor", "--profile", "smoke").stdout.strip() == "all that is there is as it was written"


def test_a_changed_score_is_found_and_told_from_the_spread(clone, published, tmp_path):
    mine = shutil.copytree(clone / "results" / "smoke", tmp_path / "smoke")
    path = next(mine.glob("runs/A-depth-1-7-*/scores-valid-*.parquet"))
    table = pd.read_parquet(path)
    table.assign(score=table["label"].astype(float)).to_parquet(path, index=False)  # a perfect network
    named = fasnb(clone, "doctor", "--profile", "smoke", "--out", str(mine))
    assert named.returncode == 2 and f"{path} is not what was written; remove the folder" in named.stdout
    seal(path.parent, sealed(path.parent), [path.name])
    lines = fasnb(clone, "compare", str(mine)).stdout.splitlines()
    assert any("A-depth" in line and line.split()[-1] == "differs" for line in lines)
    assert "24 equal, 1 outside" in lines[-1]  # the error of A-depth: no published worlds say how far it may move


def test_notebooks_open_on_published_scores_and_leave_the_repository_as_it_was(clone, published, tmp_path):
    git(tmp_path, "clone", "-q", str(clone), ".")
    shutil.copytree(published, tmp_path / "results" / "published" / "smoke")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "two")
    code = "from fasnb.lab import open_study; s, show, check = open_study('smoke'); print(len(s.scores('A', 'B')))"
    assert begun(code, cwd=tmp_path).communicate()[0].strip() == str(12 * 120)
    assert fasnb(tmp_path, "plan", "--profile", "smoke").stdout.count("published") == 69
    assert not (tmp_path / "results" / "smoke").exists() and git(tmp_path, "status", "--porcelain") == ""


def test_only_a_whole_study_of_the_present_commit_is_published(clone, published, tmp_path):
    table = clone / "results/smoke/tables/08-table3.csv"
    before, text = (published / DONE).stat().st_mtime_ns, table.read_text()
    (tmp_path / "git").symlink_to(shutil.which("git"))
    (published / "paper.pdf").touch()
    no_latex = fasnb(clone, "publish", "--profile", "smoke", PATH=str(tmp_path))
    (clone / "notebooks" / "note.txt").write_text("changed")
    dirty = fasnb(clone, "publish", "--profile", "smoke")
    (clone / "notebooks" / "note.txt").unlink()
    table.write_text(text + " ")
    damaged = fasnb(clone, "publish", "--profile", "smoke")
    table.write_text(text)
    missing = fasnb(clone, "publish", "--profile", "tiny")
    for done, sentence in (
        (no_latex, "paper.pdf of "),
        (dirty, "commit, then run the study"),
        (damaged, "08-table3.csv is not what was written"),
        (missing, "finish the study first"),
    ):
        assert done.returncode == 2 and sentence in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert (published / DONE).stat().st_mtime_ns == before
    whole(published, "../../../docs/smoke.html")


def test_a_class_gets_copies_without_answers_that_run_elsewhere(smoke, tmp_path, monkeypatch, capsys):
    given = ["notebooks", "--student", tmp_path / "class", "--profile", "smoke", "--out", smoke]
    assert said(capsys, *given).startswith("11 notebooks without answers: ")
    copies = {path.name[:2]: nbformat.read(path, as_version=4) for path in (tmp_path / "class").iterdir()}
    cells = [cell for notebook in copies.values() for cell in notebook.cells]
    text = "\n".join(cell.source for cell in cells)
    hidden = "details>|sixteen published worlds|check.solution\\(|Of CASIA-SURF there is"
    assert text.count("**Predict.**") >= 30 and not re.findall(hidden, text)
    assert [cell.metadata for cell in cells if cell.metadata] == [{"tags": ["parameters"]}] * len(copies)
    assert "00_data.ipynb is there already" in refused(capsys, *given)
    copies["05"].cells.append(nbformat.v4.new_code_cell('check.solution("05-1")'))
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)
    done = papermill.execute_notebook(copies["05"], None, kernel_name="python3", cwd=tmp_path, progress_bar=False)
    assert done.cells[-1].outputs[0].text == "Ask your teacher.\n"


def test_the_repository_shows_little_and_its_links_lead_somewhere():
    pages = [*(REPOSITORY / "docs").glob("*.html")]
    files = [*pages, *(path for path in PUBLISHED.rglob("*") if path.is_file())]
    assert 0 < len(files) <= 150 and sum(path.stat().st_size for path in files) < 10e6
    guides = [REPOSITORY / folder / "README.md" for folder in (".", "results", "data", "benchmarks")]
    assert len(pages) == 5 and not sum(map(lost_links, [*pages, *guides]), [])
    assert len(guides[0].read_text(encoding="utf-8").split()) <= 900


def test_released_notebooks_give_the_papers_rows(released, third_team, tmp_path):
    places = ["--set", f"released_root={released}", "--set", f"third_team_root={third_team}", "--out", str(tmp_path)]
    done = fasnb(REPOSITORY, "run", "--profile", "released", *places)
    assert done.returncode == 0, done.stderr[-2000:]
    table3 = pd.read_csv(tmp_path / "tables" / "05-table3.csv").round(2)
    assert table3["measured"].tolist() == table3["published"].tolist() == [99.87, 99.63, 99.33, 98.70, 100.0]
    assert (tmp_path / "report.html").is_file() and str(released) not in (tmp_path / "report.html").read_text()


def test_what_chapters_and_readme_say_of_the_published_worlds_is_so():
    errors = pd.read_csv(PUBLISHED / "small" / "worlds.csv")  # of sixteen worlds
    chapters = {"5.3": "01", "5.4": "02", "5.5": "03", "5.6": "04", "5.7": "05", "5.9": "05", "5.10": "06"}
    chapters |= {"future work": "12"}
    readme, results = ((REPOSITORY / name).read_text(encoding="utf-8") for name in ("README.md", "results/README.md"))
    told, known = {}, set()
    for number in chapters.values():
        notebook = nbformat.read(next((REPOSITORY / "notebooks").glob(f"{number}_*.ipynb")), as_version=4)
        cell = next(cell for cell in notebook.cells if cell.id == f"{number}-published")
        told[number] = " ".join(cell.source.split())
    for row in judge(PRIMARY, errors).itertuples():
        limits = f"{row.ratio:.2f} [{row.low:.2f}, {row.high:.2f}]"
        assert f"{limits}, {row.verdict}" in told[chapters[row.section]] and f"{limits} | {row.verdict}" in results
        known.add(limits)
    assert {*re.findall(r"\d\.\d\d \[[^]]*\]", readme)} <= known
    for row in judge(OTHER, errors, verdicts=False).query("worlds > 0").itertuples():
        assert f"{row.ratio:.2f} [{row.low:.2f}, {row.high:.2f}]" in told[chapters[row.section]]

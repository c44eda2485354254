"""What is published, what is compared with it, and what is promised to be equal on every machine (results/README.md)."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from fasnb.command.study import shown_files
from fasnb.lab import pictures
from fasnb.paper import profile as profiles
from fasnb.tools.seals import write_result, write_sums
from fasnb.training.plan import sources_of

REPOSITORY = Path(__file__).resolve().parent.parent
PUBLISHED = REPOSITORY / "results" / "published"


def git(folder: Path, *command: str) -> str:
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    return subprocess.run(
        ["git", *who, *command], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def clone(smoke, tmp_path_factory):
    """A repository of its own, with the finished smoke study of its one commit."""
    folder = tmp_path_factory.mktemp("clone")
    for part in ("fasnb", "notebooks"):
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
    write_sums(folder / "results" / "smoke", shown_files(folder / "results" / "smoke"))
    return folder


def fasnb(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess:
    places = os.environ | {"PYTHONPATH": str(folder)} | environment
    command = [sys.executable, "-m", "fasnb", *command]
    return subprocess.run(command, cwd=folder, env=places, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def published(clone):
    done = fasnb(clone, "publish", "--profile", "smoke")
    assert done.returncode == 0, done.stderr
    return clone / "results" / "published" / "smoke"


def test_what_is_published_is_small_and_whole(published):
    files = {path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()}
    assert {"report.html", "scores.parquet", "runs.csv", "history.csv"} <= files and len(files) < 110
    assert {Path(name).suffix for name in files} == {".html", ".parquet", ".csv", ".png", ".ipynb"}
    runs = pd.read_csv(published / "runs.csv")
    assert len(runs) == 61 and runs["key"].is_unique and json.loads(runs["specification"][0])["experiment"] == "zhang"
    scores = pd.read_parquet(published / "scores.parquet")
    assert scores.groupby("split")["score"].size().to_dict() == {"valid": 61 * 120, "test": 24 * 120}


def test_publishing_says_of_each_table_and_figure_what_made_it(clone, published):
    text = (clone / "codecheck.yml").read_text()
    made = [*published.glob("tables/*"), *published.glob("figures/*")]
    assert text.count("  - file:") == text.count("    sha256:") == len(made) > 50
    assert 'cell: "table3"' in text and 'command: "fasnb run --profile smoke --only 05"' in text


def lost_links(page: Path) -> list[str]:
    """Links of a page to files and places that are not there."""
    text = re.sub(r'srcdoc="[^"]*"', "", page.read_text())
    links = [link for link in re.findall(r'href="([^"]*)"', text) if "://" not in link]
    places = {f"#{name}" for name in re.findall(r'id="([^"]*)"', text)}
    return [link for link in links if not (link in places or (page.parent / link.partition("#")[0]).is_file())]


@pytest.mark.parametrize("profile", ["tiny", "small", "released"])
def test_links_of_a_published_report_lead_somewhere(profile):
    assert not lost_links(PUBLISHED / profile / "report.html")


def test_a_report_can_be_published_without_its_notebooks(clone, published):
    aside = published.with_name("aside")
    shutil.copytree(published, aside)
    whole = (clone / "codecheck.yml").read_text()
    done = fasnb(clone, "publish", "--profile", "smoke", "--tables-only")
    assert done.returncode == 0, done.stderr
    files = {path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()}
    assert {"report.html", "sums.csv", "tables/08-findings.csv", "tables/08-table3.csv"} <= files and len(files) < 15
    assert not {name for name in files if name.startswith(("notebooks", "figures", "scores"))}
    report = (published / "report.html").read_text()
    assert "<iframe" not in report and "The explorer is in the report that" in report and report.count("<table") > 40
    assert not lost_links(published / "report.html")
    text = (clone / "codecheck.yml").read_text()
    assert text.count("  - file:") == len(files) - 2 and 'cell: "table5"' in text
    shutil.rmtree(published)
    aside.rename(published)
    assert fasnb(clone, "publish", "--profile", "smoke").returncode == 0
    assert (clone / "codecheck.yml").read_text() == whole


def test_what_an_earlier_run_left_is_not_published(clone, published):
    left = clone / "results" / "smoke" / "tables" / "05-old.csv"
    left.write_text("x\n1\n")
    try:
        done = fasnb(clone, "publish", "--profile", "smoke")
    finally:
        left.unlink()
    assert done.returncode == 2 and "shows tables/05-old.csv; delete what an earlier run left" in done.stderr


def test_ones_own_study_equals_what_it_was_published_from(clone, published):
    done = fasnb(clone, "compare", "results/smoke")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1].startswith("160 numbers: 160 equal, 0 within, 0 outside")


def test_a_changed_score_is_found_and_told_from_the_spread(clone, published, tmp_path):
    mine = tmp_path / "smoke"
    shutil.copytree(clone / "results" / "smoke", mine)
    path = next(mine.glob("runs/A-depth-fold1-seed7-*/scores-valid.parquet"))
    table = pd.read_parquet(path)
    table.assign(score=table["label"].astype(float)).to_parquet(path, index=False)  # a perfect network
    result = json.loads((path.parent / "result.json").read_text())
    del result["seal"]
    write_result(path.parent, result, [path.name])
    done = fasnb(clone, "compare", str(mine))
    lines = [line for line in done.stdout.splitlines() if not line.endswith(" equal")]
    assert any("A-depth" in line and ("outside" in line or "within" in line) for line in lines), done.stdout
    assert "160 numbers" in done.stdout and "160 equal" not in done.stdout


def test_notebooks_open_on_published_scores_and_leave_the_repository_as_it_was(clone, published):
    shutil.move(clone / "results" / "smoke", clone / "results" / "aside")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "publish")
    try:
        code = "from fasnb.lab import open_study; s, show = open_study('smoke'); print(len(s.scores('A', 'B')))"
        done = subprocess.run([sys.executable, "-c", code], cwd=clone, env=os.environ | {"PYTHONPATH": str(clone)},
                              capture_output=True, text=True, timeout=100)  # fmt: skip
        assert done.stdout.strip() == str(12 * 120), done.stderr
        assert not (clone / "results" / "smoke").exists()  # nothing was trained
        listed = fasnb(clone, "runs", "--profile", "smoke").stdout.splitlines()
        assert sum("published" in line for line in listed) == 61
        assert git(clone, "status", "--porcelain") == ""
    finally:
        shutil.rmtree(clone / "results" / "smoke", ignore_errors=True)
        shutil.move(clone / "results" / "aside", clone / "results" / "smoke")


def test_only_a_study_of_the_present_commit_is_published(clone, published):
    before = (published / "report.html").stat().st_mtime_ns
    (clone / "notebooks" / "note.txt").write_text("changed")
    try:
        done = fasnb(clone, "publish", "--profile", "smoke")
    finally:
        (clone / "notebooks" / "note.txt").unlink()
    assert done.returncode == 2 and "commit, then run the study" in done.stderr
    assert (published / "report.html").stat().st_mtime_ns == before
    done = fasnb(clone, "publish", "--profile", "tiny")
    assert done.returncode == 2 and "finish the study first" in done.stderr


@pytest.mark.parametrize(
    ("folder", "message"),
    [("elsewhere", "does not carry the name of a profile"), ("gpu", "has no scores of profile gpu"), ("released", "no networks of ours")],
)  # fmt: skip
def test_what_cannot_be_compared_is_said_in_one_sentence(clone, released, folder, message):
    done = fasnb(clone, "compare", f"results/{folder}", FASNB_RELEASED=str(released))
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_changed_settings_never_write_into_the_unchanged_results(clone, published):
    before = {path: path.stat().st_mtime_ns for path in (clone / "results" / "smoke").rglob("*")}
    trained = fasnb(clone, "run", "--profile", "smoke", "--only", "06", "--set", "A-rgb.epochs=1")
    assert trained.returncode == 0, trained.stderr
    own = [path for path in (clone / "results").glob("smoke-*")]
    assert len(own) == 1 and (own[0] / "report.html").is_file()
    assert {path: path.stat().st_mtime_ns for path in (clone / "results" / "smoke").rglob("*")} == before
    made = [path.name for path in (own[0] / "runs").iterdir()]
    assert len(made) == 15 and "[3/3] A-rgb" in trained.stdout + trained.stderr  # the other twelve were copied


# What the repository shows


def test_the_repository_shows_little():
    files = [path for path in PUBLISHED.rglob("*") if path.is_file()]
    assert 0 < len(files) <= 150 and sum(path.stat().st_size for path in files) < 10e6


@pytest.mark.parametrize("disturbed", [False, True], ids=["this processor", "another processor's last bits"])
def test_statistics_of_rendered_frames_agree_with_the_published_ones(disturbed):
    """Equal up to three hundredths of what kinds differ by, far below the differences that the notebook speaks of."""
    sources = sources_of(profiles.load("tiny"))
    if disturbed:
        for source in sources.values():
            source.read = _with_other_last_bits(source.read)
    seen = pd.concat([pictures.camera_statistics(sources[split], per_kind=120) for split in ("train", "valid")])
    published = pd.read_csv(PUBLISHED / "tiny" / "tables" / "00-statistics.csv").set_index("attack")
    mine = seen.groupby("attack")[list(published)].mean()
    difference = (mine - published).abs().max() / (published.max() - published.min())
    assert (difference < 0.03).all(), difference


def _with_other_last_bits(read):
    """Every hundredth pixel inside the face one grey level off."""

    def disturbed(index):
        images = read(index)
        moved = (np.random.default_rng(0).random(images.shape) < 0.01) & (images > 0) & (images < 255)
        return images + moved.astype(np.uint8)

    return disturbed
